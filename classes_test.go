package msauth_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

const (
	beforeExpiry = 59 * time.Minute // of a token of one hour: it is due, and good
	afterExpiry  = 61 * time.Minute
)

// renewingOffice is an office whose tokens live for an hour, and where nothing
// but a renewal writes cookies.
func renewingOffice(t *testing.T, changes ...func(*msauth.Config)) *office {
	o := newOffice(t, append(changes, func(c *msauth.Config) { c.IdleTimeout = 400 * 24 * time.Hour })...)
	o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
	return o
}

// Every way in which a renewal can be refused, and what the visitor sees of it.
func TestEachRefusalOfARenewalHasOneClass(t *testing.T) {
	t.Parallel()
	signIn, stepUp, retry, misconfigured := msauth.ClassSignIn, msauth.ClassStepUp, msauth.ClassRetry, msauth.ClassMisconfigured
	grant := func(suberror string) msauthtest.Failure {
		return msauthtest.Failure{Error: "invalid_grant", Suberror: suberror}
	}
	const challenge = `{"access_token":{"capolids":{"essential":true,"values":["c1"]}}}`
	for _, c := range []struct {
		name    string
		failure msauthtest.Failure
		want    msauth.Class
	}{
		{"invalid_grant", grant(""), signIn},
		{"bad_token", grant("bad_token"), signIn},
		{"token_expired", grant("token_expired"), signIn},
		{"a suberror that is not known", grant("something_new"), signIn},
		{"revoked", msauthtest.Failure{Error: "invalid_grant", Codes: []int{50173}}, signIn},
		{"disabled", msauthtest.Failure{Error: "invalid_grant", Codes: []int{50057}}, signIn},
		// A number never decides: this one is that of an expired secret.
		{"a number of another class", msauthtest.Failure{Error: "invalid_grant", Codes: []int{7000222}}, signIn},
		{"invalid_grant with status 401", msauthtest.Failure{Error: "invalid_grant", Status: 401}, signIn},

		{"basic_action", grant("basic_action"), stepUp},
		{"additional_action", grant("additional_action"), stepUp},
		{"message_only", grant("message_only"), stepUp},
		{"consent_required as a suberror", grant("consent_required"), stepUp},
		{"user_password_expired", grant("user_password_expired"), stepUp},
		{"protection_policy_required", grant("protection_policy_required"), stepUp},
		{"device_authentication_failed", grant("device_authentication_failed"), stepUp},
		{"interaction_required", msauthtest.Failure{Error: "interaction_required"}, stepUp},
		{"interaction_required with a suberror", msauthtest.Failure{Error: "interaction_required", Suberror: "basic_action"}, stepUp},
		{"consent_required", msauthtest.Failure{Error: "consent_required"}, stepUp},
		{"login_required", msauthtest.Failure{Error: "login_required"}, stepUp},
		{"claims challenge", msauthtest.Failure{Error: "interaction_required", Claims: challenge}, stepUp},
		{"claims challenge without another sign", msauthtest.Failure{Error: "invalid_grant", Claims: challenge}, stepUp},
		{"step-up with a number of another class", msauthtest.Failure{Error: "interaction_required", Codes: []int{50173}}, stepUp},

		{"temporarily_unavailable", msauthtest.Failure{Error: "temporarily_unavailable"}, retry},
		{"temporarily_unavailable with status 400", msauthtest.Failure{Error: "temporarily_unavailable", Status: 400}, retry},
		{"server_error", msauthtest.Failure{Error: "server_error"}, retry},
		{"status 500", msauthtest.Failure{Status: 500}, retry},
		{"status 502", msauthtest.Failure{Status: 502, Body: "<html>Bad Gateway</html>"}, retry},
		{"status 429", msauthtest.Failure{Status: 429}, retry},
		{"status 408", msauthtest.Failure{Status: 408}, retry},
		{"status 403 of a proxy", msauthtest.Failure{Status: 403, Body: "<html>Forbidden</html>"}, retry},
		{"status 400 without a reason", msauthtest.Failure{Status: 400, Body: "{}"}, retry},
		{"an error that is no text", msauthtest.Failure{Status: 400, Body: `{"error":{"code":"invalid_grant"}}`}, retry},
		{"no connection", msauthtest.Failure{Close: true}, retry},
		{"silence", msauthtest.Failure{Hang: true}, retry},
		// A server in trouble is not believed.
		{"status 503 with invalid_grant", msauthtest.Failure{Status: 503, Error: "invalid_grant"}, retry},
		{"status 429 with invalid_client", msauthtest.Failure{Status: 429, Error: "invalid_client"}, retry},
		{"retry with a number of another class", msauthtest.Failure{Error: "temporarily_unavailable", Codes: []int{50173}}, retry},

		{"invalid_client", msauthtest.Failure{Error: "invalid_client"}, misconfigured},
		{"client_mismatch", grant("client_mismatch"), misconfigured},
		{"unauthorized_client", msauthtest.Failure{Error: "unauthorized_client"}, misconfigured},
		{"invalid_request", msauthtest.Failure{Error: "invalid_request"}, misconfigured},
		{"invalid_scope", msauthtest.Failure{Error: "invalid_scope"}, misconfigured},
		{"unsupported_grant_type", msauthtest.Failure{Error: "unsupported_grant_type"}, misconfigured},
		{"an error that is not known", msauthtest.Failure{Error: "brand_new"}, misconfigured},
		{"an error with status 200", msauthtest.Failure{Status: 200, Error: "invalid_client"}, misconfigured},
	} {
		for _, when := range []time.Duration{beforeExpiry, afterExpiry} {
			t.Run(fmt.Sprint(c.name, " at ", when), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var changes []func(*msauth.Config)
					if c.want == misconfigured { // see TestOneTenantDoesNotSpeakForTheApp
						changes = append(changes, tenant(msauthtest.TenantContoso))
					}
					o := renewingOffice(t, changes...)
					v := o.signIn()
					token := v.get("/?token").body
					before := v.copy()
					o.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = c.failure })
					o.ms.ResetCalls()
					time.Sleep(when)

					script := v.fetch("/")
					o.wantCalls(msauthtest.TokenRefresh, 1)
					if script.clearsSession() {
						t.Error("the answer to a script deletes the session's cookie")
					}
					switch c.want {
					case signIn:
						if script.status != http.StatusUnauthorized {
							t.Errorf("script: status %d, want 401", script.status)
						}
						if got := v.get("/public/"); got.body != "hello nobody" {
							t.Errorf("page under Load: %q, want nobody", got.body)
						}
						if len(v.jar) != 0 {
							t.Errorf("a navigation left cookies: %v", v.jar)
						}
						page := before.get("/")
						if !toProvider(page) || !page.clearsSession() {
							t.Errorf("navigation: status %d to %q, cleared %t", page.status, page.header.Get("Location"), page.clearsSession())
						}
					case stepUp:
						if script.status != http.StatusUnauthorized || !script.setsSession() {
							t.Errorf("script: status %d, session kept %t, want 401 and the session marked", script.status, script.setsSession())
						}
						if got := v.get("/public/?token"); !strings.Contains(got.body, "msauth: step up") {
							t.Errorf("Token: %q, want an error of class step up", got.body)
						}
						page := v.get("/")
						to, err := url.Parse(page.header.Get("Location"))
						if err != nil || !toProvider(page) || page.clearsSession() {
							t.Fatalf("navigation: status %d to %q", page.status, page.header.Get("Location"))
						}
						if got, want := to.Query().Get("claims"), c.failure.Claims; got != want {
							t.Errorf("claims %q go to the provider, want %q", got, want)
						}
						if to.Query().Get("login_hint") == "" {
							t.Error("no login_hint: the person would have to choose")
						}
						// The old cookie too, though its browser saw no answer.
						if got := before.get("/"); !toProvider(got) {
							t.Errorf("the cookie of before: status %d", got.status)
						}
						o.wantCalls(msauthtest.TokenRefresh, 1)
						o.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
						back := o.signInAt(v, page)
						back.wantHello("after the step-up")
					case retry, misconfigured:
						if script.status != http.StatusOK || len(script.header["Set-Cookie"]) != 0 {
							t.Errorf("script: status %d, cookies %d, want 200 and none", script.status, len(script.header["Set-Cookie"]))
						}
						v.wantHello("navigation")
						got := v.get("/?token")
						if when == beforeExpiry && got.body != token {
							t.Errorf("Token: status %d, want the token of before", got.status)
						}
						if when == afterExpiry && !strings.HasPrefix(got.body, "msauth: "+string(c.want)) {
							t.Errorf("Token: status %d, %q, want an error of class %q", got.status, got.body, c.want)
						}
						o.wantCalls(msauthtest.TokenRefresh, 1)
						if err := o.auth.Ready(context.Background()); (err != nil) != (c.want == misconfigured) {
							t.Errorf("Ready returns %v", err)
						}
						o.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
						time.Sleep(26 * time.Second) // the silent call, too, is over
						if got := v.get("/?token"); got.status != http.StatusOK || got.body == token {
							t.Errorf("when it is over: status %d, a new token %t", got.status, got.body != token)
						}
						return
					}
					for range 10 {
						before.copy().fetch("/")
					}
					o.wantCalls(msauthtest.TokenRefresh, 1)
				})
			})
		}
	}
}

// toProvider tells whether an answer leads to the sign-in page.
func toProvider(a answer) bool {
	to := a.header.Get("Location")
	return a.status == http.StatusSeeOther && strings.HasPrefix(to, "http://localhost:9/") && strings.Contains(to, "/oauth2/v2.0/authorize?")
}

// signInAt finishes a sign-in that an answer began.
func (o *office) signInAt(v *visitor, to answer) *visitor {
	o.t.Helper()
	req, err := http.NewRequest(http.MethodGet, to.header.Get("Location"), nil)
	if err != nil {
		o.t.Fatal(err)
	}
	back, err := o.ms.Transport().RoundTrip(req)
	if err != nil {
		o.t.Fatal(err)
	}
	if got := v.get(strings.TrimPrefix(back.Header.Get("Location"), officeURL)); got.status != http.StatusSeeOther {
		o.t.Fatalf("callback: status %d; log:\n%s", got.status, o.log)
	}
	return v
}

// Whatever the token endpoint says, the session is as good afterwards as it
// was before, and the error is one that a handler can act on.
func TestReplyThatIsNoneLosesNothing(t *testing.T) {
	t.Parallel()
	body := func(status int, contentType, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			io.WriteString(w, text)
		}
	}
	const ok, js = http.StatusOK, "application/json"
	for _, c := range []struct {
		name  string
		reply http.HandlerFunc
	}{
		{"HTML with status 200", body(ok, "text/html", "<!doctype html><title>Captive portal</title>")},
		{"HTML with status 302", body(302, "text/html", "<a href=/>moved</a>")},
		{"empty", body(ok, js, "")},
		{"truncated", body(ok, js, `{"token_type":"Bearer","expires_in":3600,"access_token":"eyJ0`)},
		{"truncated by its length", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"token_type":"Bearer","access_token":"x","expires_in":3600}`)
		}},
		{"no JSON", body(ok, js, "token_type=Bearer&access_token=x&expires_in=3600")},
		{"an array", body(ok, js, `[{"token_type":"Bearer","access_token":"x","expires_in":3600}]`)},
		{"null", body(ok, js, `null`)},
		{"a text", body(ok, js, `"Bearer x"`)},
		{"two documents", body(ok, js, `{"token_type":"Bearer","access_token":"x"}{}`)},
		{"access_token is a number", body(ok, js, `{"token_type":"Bearer","access_token":7,"expires_in":3600}`)},
		{"access_token is a list", body(ok, js, `{"token_type":"Bearer","access_token":["x"],"expires_in":3600}`)},
		{"access_token is empty", body(ok, js, `{"token_type":"Bearer","access_token":"","expires_in":3600}`)},
		{"access_token is absent", body(ok, js, `{"token_type":"Bearer","expires_in":3600}`)},
		{"token_type is absent", body(ok, js, `{"access_token":"x","expires_in":3600}`)},
		{"token_type is another", body(ok, js, `{"token_type":"mac","access_token":"x","expires_in":3600}`)},
		{"token_type is a number", body(ok, js, `{"token_type":1,"access_token":"x","expires_in":3600}`)},
		{"id_token is none", body(ok, js, `{"token_type":"Bearer","access_token":"x","id_token":"y","expires_in":3600}`)},
		{"status 204", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }},
		{"status 201", body(201, js, `{"token_type":"Bearer","access_token":"x","expires_in":3600}`)},
		{"deeply nested", body(ok, js, strings.Repeat(`{"a":`, 200_000)+"1"+strings.Repeat("}", 200_000))},
		{"binary", body(ok, "application/octet-stream", "\x00\xff\x1f\x8b\x08")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.ms.Set(func(b *msauthtest.Behavior) {
				b.AccessTokenLifetime = time.Second
				b.Rotation = msauthtest.RotateStrict
			})
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			time.Sleep(1100 * time.Millisecond)
			s.ms.Set(func(b *msauthtest.Behavior) {
				b.AccessTokenLifetime = time.Hour
				b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Handler: c.reply}}
			})
			s.ms.ResetCalls()
			wantRetry(t, b)
			s.wantCalls(t, msauthtest.TokenRefresh, 1)

			// A process that knows nothing of the failure asks again, with the
			// same refresh token, and is served.
			auth, err := msauth.New(s.cfg)
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, "/?token", nil)
			r.Header.Set("Cookie", cookieHeader(b.cookies()))
			auth.Require(http.HandlerFunc(hello)).ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Errorf("the next try: status %d, %s", w.Code, w.Body)
			}
			s.wantCalls(t, msauthtest.TokenRefresh, 2)
		})
	}
}

func wantRetry(t *testing.T, b *browser) {
	t.Helper()
	if got := b.get("/?token"); got.StatusCode != http.StatusBadGateway || !strings.HasPrefix(got.body, "msauth: retry") || len(got.body) > 500 {
		t.Errorf("Token: status %d, %.200q, want an error of class retry", got.StatusCode, got.body)
	}
	if got := b.get("/"); got.StatusCode != http.StatusOK || got.body != helloEverybody {
		t.Errorf("page: status %d, %.100q", got.StatusCode, got.body)
	}
}

// expiredBrowser is signed in with a token that is over.
func expiredBrowser(t *testing.T, s *site) *browser {
	t.Helper()
	s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	time.Sleep(1100 * time.Millisecond)
	s.ms.ResetCalls()
	return b
}

func TestEndlessReplyIsReadToALimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		gzip bool
	}{{"50 MB", false}, {"50 MB in 50 KB", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const size = 50 << 20
			var wrote atomic.Int64
			ended := make(chan struct{})
			s := newSite(t)
			b := expiredBrowser(t, s)
			s.ms.Set(func(b *msauthtest.Behavior) {
				b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
					defer close(ended)
					w.Header().Set("Content-Type", "application/json")
					out := io.Writer(w)
					if c.gzip {
						if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
							t.Error("gzip is not accepted, so a bomb proves nothing")
						}
						w.Header().Set("Content-Encoding", "gzip")
						z := gzip.NewWriter(w)
						defer z.Close()
						out = z
					}
					io.WriteString(out, `{"token_type":"Bearer","expires_in":3600,"access_token":"`)
					chunk := []byte(strings.Repeat("A", 1<<16))
					for wrote.Load() < size {
						n, err := out.Write(chunk)
						wrote.Add(int64(n))
						if err != nil {
							return
						}
					}
					io.WriteString(out, `"}`)
				}}
			})
			wantRetry(t, b)
			<-ended
			if !c.gzip && wrote.Load() > 16<<20 {
				t.Errorf("%d bytes of the reply were taken, want about 1 MB and what buffers hold", wrote.Load())
			}
			s.wantCalls(t, msauthtest.TokenRefresh, 1)
			if lines := s.log.String(); !strings.Contains(lines, "reply too large") {
				t.Errorf("the log does not say why:\n%.1000s", lines)
			}
		})
	}
}

func TestReplyThatDripsIsGivenUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *msauth.Config) { c.HTTPClient = &http.Client{Timeout: 2 * time.Second} })
	b := expiredBrowser(t, s)
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "{")
			for r.Context().Err() == nil {
				io.WriteString(w, " ")
				http.NewResponseController(w).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		}}
	})
	began := time.Now()
	wantRetry(t, b)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("gave up after %v, want the client's 2s", took)
	}
}

// Even a client without a timeout of its own gives up.
func TestSilentProviderIsGivenUpAfterFifteenSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := renewingOffice(t)
		v := o.signIn()
		time.Sleep(afterExpiry)
		o.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Hang: true} })
		began := time.Now()
		got := v.get("/?token")
		if took := time.Since(began); got.status != http.StatusBadGateway || took > 15*time.Second {
			t.Errorf("status %d after %v, want 502 after 15s at most", got.status, took)
		}
		began = time.Now()
		v.wantHello("at once, now that it is known")
		if took := time.Since(began); took != 0 {
			t.Errorf("the next request waited %v", took)
		}
	})
}

// The form of a token request holds the client secret and the refresh token:
// it goes where it was sent or nowhere.
func TestRedirectOfTheTokenEndpointIsNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			var hits atomic.Int64
			elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				hits.Add(1)
				json.NewEncoder(w).Encode(map[string]any{"token_type": "Bearer", "access_token": "x", "expires_in": 3600})
			}))
			defer elsewhere.Close()
			s := newSite(t)
			b := expiredBrowser(t, s)
			for _, to := range []string{elsewhere.URL + "/token", s.ms.URL + "/common/oauth2/v2.0/token"} {
				s.ms.Set(func(b *msauthtest.Behavior) {
					b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Status: status, Header: http.Header{"Location": {to}}}}
				})
				wantRetry(t, b)
			}
			if hits.Load() != 0 {
				t.Errorf("%d requests at the target of the redirect, want none", hits.Load())
			}
			s.wantCalls(t, msauthtest.TokenRefresh, 1)
			s.wantCalls(t, msauthtest.TokenOther, 0)
		})
	}
}

// OpenID Connect Core section 12.2.
func TestRenewedIDTokenIsVerifiedLikeTheFirst(t *testing.T) {
	t.Parallel()
	claim := func(name string, value any) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			b.IDToken = func(grant msauthtest.Kind, claims map[string]any) {
				authTime(grant, claims)
				if grant != msauthtest.TokenRefresh {
					return
				}
				if value == nil {
					delete(claims, name)
					return
				}
				claims[name] = value
			}
		}
	}
	signed := func(how msauthtest.Signing) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) { b.Signing = how }
	}
	const renewed, ended, refused = "renewed", "ended", "refused"
	for _, c := range []struct {
		name string
		set  func(*msauthtest.Behavior)
		want string
	}{
		{"as it should be", func(b *msauthtest.Behavior) {}, renewed},
		{"none at all", func(b *msauthtest.Behavior) { b.OmitIDTokenOnRefresh = true }, renewed},
		{"without a nonce", claim("nonce", nil), renewed},
		{"without auth_time", claim("auth_time", nil), renewed},
		{"without a name", claim("name", nil), renewed},

		{"another person", func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Grace }, ended},
		{"a person of another tenant", func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Bruno }, ended},
		{"other sub", claim("sub", "somebody-else"), ended},
		{"other oid", claim("oid", "00000000-0000-4000-8000-000000000001"), ended},
		{"other tid", claim("tid", msauthtest.TenantFabrikam), ended},
		{"other iss", claim("iss", "http://localhost:9/"+msauthtest.TenantFabrikam+"/v2.0"), ended},
		{"other aud", claim("aud", "11111111-2222-4333-8444-555555555555"), ended},
		{"without sub", claim("sub", nil), ended},
		{"another person, badly signed", func(b *msauthtest.Behavior) { b.RefreshAs, b.Signing = msauthtest.Grace, msauthtest.SignFlippedBit }, ended},

		{"nonce of another sign-in", claim("nonce", "AAAAAAAAAAAAAAAAAAAAAA"), ended},
		{"nonce is empty", claim("nonce", ""), ended},
		{"nonce is a number", claim("nonce", 7), refused},
		{"other azp", claim("azp", "11111111-2222-4333-8444-555555555555"), refused},
		{"expired", claim("exp", 946684800), refused},
		{"issued in the future", claim("iat", int64(4102444800)), refused},
		{"auth_time is later", claim("auth_time", 946684801), renewed},
		{"auth_time is earlier", claim("auth_time", 946683999), refused},
		{"auth_time is gone", claim("auth_time", nil), renewed},
		{"not signed", signed(msauthtest.SignNone), refused},
		{"signed with the client secret", signed(msauthtest.SignHS256Secret), refused},
		{"signed with the public key as a secret", signed(msauthtest.SignHS256Public), refused},
		{"one bit changed", signed(msauthtest.SignFlippedBit), refused},
		{"unknown key", signed(msauthtest.SignUnknownKey), refused},
		{"unpublished key", signed(msauthtest.SignUnpublished), refused},
		{"key of personal accounts", signed(msauthtest.SignOtherClass), refused},
		{"another algorithm", signed(msauthtest.SignPS256), refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := renewingOffice(t)
				o.ms.Set(func(b *msauthtest.Behavior) { b.IDToken = authTime })
				v := o.signIn()
				token := v.get("/?token").body
				o.ms.Set(c.set)
				o.ms.ResetCalls()
				time.Sleep(afterExpiry)
				got := v.get("/?token")
				switch c.want {
				case renewed:
					if got.status != http.StatusOK || got.body == token {
						t.Errorf("status %d, a new token %t; log:\n%s", got.status, got.body != token, o.log)
					}
				case ended:
					if !toProvider(got) || !got.clearsSession() {
						t.Errorf("status %d, want the session ended and a new sign-in; log:\n%s", got.status, o.log)
					}
				case refused:
					if !strings.HasPrefix(got.body, "msauth: retry") {
						t.Errorf("status %d, %.100q, want no token and the session as it was; log:\n%s", got.status, got.body, o.log)
					}
					if page := v.get("/"); page.body != helloEverybody {
						t.Errorf("page %q, want the person of before", page.body)
					}
				}
				o.wantCalls(msauthtest.TokenRefresh, 1)
			})
		})
	}
}

// authTime adds the claim, always the same one.
func authTime(_ msauthtest.Kind, claims map[string]any) { claims["auth_time"] = 946684000 }

func TestRenewalWithoutKeysKeepsTheTokensAndTheOldClaims(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		as   string
		want string
	}{
		{"of the same person", "", helloEverybody},
		{"of another person", msauthtest.Grace, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := renewingOffice(t)
				o.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
				v := o.signIn()
				o.ms.RollKeys()
				o.ms.SetUser(msauthtest.User{SignInName: msauthtest.Ada, Name: "Ada of the new token"})
				o.ms.Set(func(b *msauthtest.Behavior) {
					b.RefreshAs = c.as
					b.FailAlways[msauthtest.Keys] = msauthtest.Failure{Status: 500}
				})
				time.Sleep(afterExpiry)
				got := v.get("/")
				if got.body != c.want && c.want != "" || c.want == "" && !toProvider(got) {
					t.Fatalf("status %d, page %q; log:\n%s", got.status, got.body, o.log)
				}
				if c.want == "" {
					return
				}
				if got := v.get("/?token"); got.status != http.StatusOK {
					t.Errorf("Token: status %d, %s", got.status, got.body)
				}
				o.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
				time.Sleep(afterExpiry)
				if got := v.get("/"); got.body != "hello Ada of the new token" {
					t.Errorf("with keys again: %q", got.body)
				}
				o.wantCalls(msauthtest.TokenRefresh, 2)
			})
		})
	}
}

// A role that was taken away is gone at the next renewal.
func TestClaimsFollowTheRenewedIDToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := renewingOffice(t)
		o.ms.SetUser(msauthtest.User{SignInName: msauthtest.Ada, Name: "Ada", Roles: []string{"Admin"}})
		o.handler = o.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, _ := msauth.FromContext(r.Context())
			fmt.Fprint(w, s.User.Name, s.User.Roles)
		}))
		app := o.handler
		o.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/auth/") {
				o.auth.ServeHTTP(w, r)
				return
			}
			app.ServeHTTP(w, r)
		})
		v := o.signIn()
		if got := v.get("/").body; got != "Ada[Admin]" {
			t.Fatalf("signed in as %q", got)
		}
		o.ms.SetUser(msauthtest.User{SignInName: msauthtest.Ada, Name: "Ada L."})
		time.Sleep(afterExpiry)
		for range 2 {
			if got := v.get("/").body; got != "Ada L.[]" {
				t.Errorf("after the renewal %q, want the new claims", got)
			}
		}
	})
}

// What a handler gets can be told apart with errors.Is and errors.AsType.
func TestErrorOfTokenIsUsable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		failure msauthtest.Failure
		is, not error
	}{
		{msauthtest.Failure{Status: 503, Header: http.Header{"Retry-After": {"77"}}}, msauth.ErrTokenUnavailable, msauth.ErrSignInRequired},
		{msauthtest.Failure{Error: "invalid_client"}, msauth.ErrTokenUnavailable, msauth.ErrSignInRequired},
		{msauthtest.Failure{Error: "interaction_required"}, msauth.ErrSignInRequired, msauth.ErrTokenUnavailable},
		{msauthtest.Failure{Error: "invalid_grant"}, msauth.ErrSignInRequired, msauth.ErrTokenUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := renewingOffice(t)
			var err, again error
			o.cfg.OnSignIn = func(w http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
				// The session outlives its token in here.
				o.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = c.failure })
				time.Sleep(2 * time.Hour)
				_, err = in.Session.Token(r.Context())
				_, again = in.Session.TokenSource(r.Context()).Token()
				return nil
			}
			o.auth, o.handler = o.open()
			o.signIn()
			for _, err := range []error{err, again} {
				if !errors.Is(err, c.is) || errors.Is(err, c.not) {
					t.Errorf("%v: Is(%v) %t, Is(%v) %t", err, c.is, errors.Is(err, c.is), c.not, errors.Is(err, c.not))
				}
				if failure, ok := errors.AsType[*msauth.AuthError](err); !ok || failure.RetryAfter != 77*time.Second && c.failure.Header != nil {
					t.Errorf("%v: AuthError %t, %+v", err, ok, failure)
				}
			}
			o.wantCalls(msauthtest.TokenRefresh, 1)
		})
	}
}
