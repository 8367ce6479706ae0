package renewal_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

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
		for _, when := range []time.Duration{testsite.BeforeExpiry, testsite.AfterExpiry} {
			t.Run(fmt.Sprint(c.name, " at ", when), func(t *testing.T) {
				t.Parallel()
				testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
					changes := []func(*msauth.Config){at.Change}
					if c.want == misconfigured { // see TestOneTenantDoesNotSpeakForTheApp
						changes = append(changes, testsite.OneTenant)
					}
					o := testsite.RenewingOffice(t, changes...)
					v := o.SignIn()
					token := v.Get("/?token").Body
					before := v.Copy()
					o.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = c.failure })
					o.MS.ResetCalls()
					time.Sleep(when)

					script := v.Fetch("/")
					o.WantCalls(msauthtest.TokenRefresh, 1)
					if script.ClearsSession() {
						t.Error("the answer to a script deletes the session's cookie")
					}
					switch c.want {
					case signIn:
						if script.Status != http.StatusUnauthorized {
							t.Errorf("script: status %d, want 401", script.Status)
						}
						if got := v.Get("/public/"); got.Body != "hello nobody" {
							t.Errorf("page under Load: %q, want nobody", got.Body)
						}
						if len(v.Jar) != 0 {
							t.Errorf("a navigation left cookies: %v", v.Jar)
						}
						page := before.Get("/")
						if !testsite.ToProvider(page) || !page.ClearsSession() {
							t.Errorf("navigation: status %d to %q, cleared %t", page.Status, page.Header.Get("Location"), page.ClearsSession())
						}
					case stepUp:
						if script.Status != http.StatusUnauthorized || !script.SetsSession() {
							t.Errorf("script: status %d, session kept %t, want 401 and the session marked", script.Status, script.SetsSession())
						}
						if got := v.Get("/public/?token"); !strings.Contains(got.Body, "msauth: step up") {
							t.Errorf("Token: %q, want an error of class step up", got.Body)
						}
						page := v.Get("/")
						to, err := url.Parse(page.Header.Get("Location"))
						if err != nil || !testsite.ToProvider(page) || page.ClearsSession() {
							t.Fatalf("navigation: status %d to %q", page.Status, page.Header.Get("Location"))
						}
						if got, want := to.Query().Get("claims"), c.failure.Claims; got != want {
							t.Errorf("claims %q go to the provider, want %q", got, want)
						}
						if to.Query().Get("login_hint") == "" && !at.Live() { // its tokens have none
							t.Error("no login_hint: the person would have to choose")
						}
						// The old cookie too, though its browser saw no answer.
						if got := before.Get("/"); !testsite.ToProvider(got) {
							t.Errorf("the cookie of before: status %d", got.Status)
						}
						o.WantCalls(msauthtest.TokenRefresh, 1)
						o.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
						back := signInAt(o, v, page)
						back.WantHello("after the step-up")
					case retry, misconfigured:
						if script.Status != http.StatusOK || len(script.Header["Set-Cookie"]) != 0 {
							t.Errorf("script: status %d, cookies %d, want 200 and none", script.Status, len(script.Header["Set-Cookie"]))
						}
						v.WantHello("navigation")
						got := v.Get("/?token")
						if when == testsite.BeforeExpiry && got.Body != token {
							t.Errorf("Token: status %d, want the token of before", got.Status)
						}
						if when == testsite.AfterExpiry && !strings.HasPrefix(got.Body, "msauth: "+string(c.want)) {
							t.Errorf("Token: status %d, %q, want an error of class %q", got.Status, got.Body, c.want)
						}
						o.WantCalls(msauthtest.TokenRefresh, 1)
						if err := o.Auth.Ready(context.Background()); (err != nil) != (c.want == misconfigured) {
							t.Errorf("Ready returns %v", err)
						}
						o.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
						time.Sleep(26 * time.Second) // the silent call, too, is over
						if got := v.Get("/?token"); got.Status != http.StatusOK || got.Body == token {
							t.Errorf("when it is over: status %d, a new token %t", got.Status, got.Body != token)
						}
						return
					}
					for range 10 {
						before.Copy().Fetch("/")
					}
					o.WantCalls(msauthtest.TokenRefresh, 1)
				})
			})
		}
	}
}

// signInAt finishes a sign-in that an answer began.
func signInAt(o *testsite.Office, v *testsite.Visitor, to testsite.Answer) *testsite.Visitor {
	o.T.Helper()
	req, err := http.NewRequest(http.MethodGet, to.Header.Get("Location"), nil)
	if err != nil {
		o.T.Fatal(err)
	}
	back, err := o.MS.Transport().RoundTrip(req)
	if err != nil {
		o.T.Fatal(err)
	}
	if got := v.Get(strings.TrimPrefix(back.Header.Get("Location"), testsite.OfficeURL)); got.Status != http.StatusSeeOther {
		o.T.Fatalf("callback: status %d; log:\n%s", got.Status, o.Log)
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
	// At Live Connect a reply may be a form, and token_type may be missing.
	const entra, live = "Entra", "Live Connect"
	for _, c := range []struct {
		name  string
		reply http.HandlerFunc
		only  string // the service, if not each
	}{
		{"HTML with status 200", body(ok, "text/html", "<!doctype html><title>Captive portal</title>"), ""},
		{"HTML with status 302", body(302, "text/html", "<a href=/>moved</a>"), ""},
		{"empty", body(ok, js, ""), ""},
		{"truncated", body(ok, js, `{"token_type":"Bearer","expires_in":3600,"access_token":"eyJ0`), ""},
		{"truncated by its length", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"token_type":"Bearer","access_token":"x","expires_in":3600}`)
		}, ""},
		{"no JSON", body(ok, js, "token_type=Bearer&access_token=x&expires_in=3600"), entra},
		{"an array", body(ok, js, `[{"token_type":"Bearer","access_token":"x","expires_in":3600}]`), ""},
		{"null", body(ok, js, `null`), ""},
		{"a text", body(ok, js, `"Bearer x"`), ""},
		{"two documents", body(ok, js, `{"token_type":"Bearer","access_token":"x"}{}`), ""},
		{"access_token is a number", body(ok, js, `{"token_type":"Bearer","access_token":7,"expires_in":3600}`), ""},
		{"access_token is a list", body(ok, js, `{"token_type":"Bearer","access_token":["x"],"expires_in":3600}`), ""},
		{"access_token is empty", body(ok, js, `{"token_type":"Bearer","access_token":"","expires_in":3600}`), ""},
		{"access_token is absent", body(ok, js, `{"token_type":"Bearer","expires_in":3600}`), ""},
		{"token_type is absent", body(ok, js, `{"access_token":"x","expires_in":3600}`), entra},
		{"token_type is another", body(ok, js, `{"token_type":"mac","access_token":"x","expires_in":3600}`), ""},
		{"token_type is a number", body(ok, js, `{"token_type":1,"access_token":"x","expires_in":3600}`), ""},
		{"id_token is none", body(ok, js, `{"token_type":"Bearer","access_token":"x","id_token":"y","expires_in":3600}`), entra},
		{"status 204", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, ""},
		{"status 201", body(201, js, `{"token_type":"Bearer","access_token":"x","expires_in":3600}`), ""},
		{"deeply nested", body(ok, js, strings.Repeat(`{"a":`, 200_000)+"1"+strings.Repeat("}", 200_000)), ""},
		{"a form without a token", body(ok, "application/x-www-form-urlencoded", "token_type=bearer&expires_in=3600"), live},
		{"a form with two tokens", body(ok, "application/x-www-form-urlencoded", "access_token=x&access_token=y&expires_in=3600"), live},
		{"authentication_token is none", body(ok, js, `{"access_token":"x","authentication_token":"y","expires_in":3600}`), live},
		{"binary", body(ok, "application/octet-stream", "\x00\xff\x1f\x8b\x08"), ""},
	} {
		for _, at := range testsite.Services {
			if c.only != "" && c.only != at.Name {
				continue
			}
			t.Run(c.name+" at "+at.Name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { replyThatIsNone(t, testsite.NewInProcess(t, at.Change), c.reply) })
			})
		}
	}
}

func replyThatIsNone(t *testing.T, s *testsite.Site, reply http.HandlerFunc) {
	t.Helper()
	s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
	b := s.Browser(t)
	b.SignInExpired(msauthtest.Ada)
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.AccessTokenLifetime = time.Hour
		b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Handler: reply}}
	})
	s.MS.ResetCalls()
	wantRetry(t, b)
	s.WantCalls(t, msauthtest.TokenRefresh, 1)

	// A process that knows nothing of the failure asks again, with the
	// same refresh token, and is served.
	auth, err := msauth.New(s.Cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/?token", nil)
	r.Header.Set("Cookie", testsite.HeaderOf(b.Cookies()...))
	auth.Require(http.HandlerFunc(testsite.Hello)).ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("the next try: status %d, %s", w.Code, w.Body)
	}
	s.WantCalls(t, msauthtest.TokenRefresh, 2)
}

func wantRetry(t *testing.T, b *testsite.Browser) {
	t.Helper()
	if got := b.Get("/?token"); got.StatusCode != http.StatusBadGateway || !strings.HasPrefix(got.Text, "msauth: retry") || len(got.Text) > 500 {
		t.Errorf("Token: status %d, %.200q, want an error of class retry", got.StatusCode, got.Text)
	}
	if got := b.Get("/"); got.StatusCode != http.StatusOK || got.Text != testsite.HelloAda {
		t.Errorf("page: status %d, %.100q", got.StatusCode, got.Text)
	}
}
