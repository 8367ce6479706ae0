package renewal_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// What is different at Live Connect. All that is the same is tested with Entra's.

// livingAt runs a test in a bubble where Ada is signed in at Live Connect.
func livingAt(t *testing.T, f func(t *testing.T, s *testsite.Site, b *testsite.Browser), changes ...func(*msauth.Config)) {
	t.Helper()
	testsite.Renewing(t, f, append([]func(*msauth.Config){testsite.AtLiveConnect}, changes...)...)
}

// A renewal has the redirect URI and names no scopes, as the Live SDK sent it.
func TestRenewalAtLiveConnectIsThatOfTheLiveSDK(t *testing.T) {
	livingAt(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		for range 2 {
			time.Sleep(testsite.Due)
			b.WantGreeting(testsite.HelloAda)
		}
		calls := s.MS.Calls(msauthtest.TokenRefresh)
		if len(calls) != 2 {
			t.Fatalf("%d renewals, want 2", len(calls))
		}
		for _, call := range calls {
			if names := slices.Sorted(maps.Keys(call.Form)); !slices.Equal(names, []string{"client_id", "client_secret", "grant_type", "redirect_uri", "refresh_token"}) {
				t.Errorf("the renewal has %q", names)
			}
			if got := call.Form.Get("redirect_uri"); got != s.URL+"/auth/callback" || !strings.HasSuffix(call.Path, "/oauth20_token.srf") {
				t.Errorf("redirect_uri %q, sent to %s", got, call.Path)
			}
		}
		s.WantCalls(t, msauthtest.Discovery, 0) // nothing but the token endpoint can fail
		s.WantCalls(t, msauthtest.Keys, 0)
	})
}

// A refresh token that has expired takes the person to the sign-in, with no page in
// the way, and from there back to where they were.
func TestExpiredRefreshTokenAtLiveConnectLeadsBackToTheSignIn(t *testing.T) {
	livingAt(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		time.Sleep(91 * 24 * time.Hour)
		res := b.Still().Get("/orders?page=2")
		to, err := res.Location()
		if err != nil || !strings.HasSuffix(to.Path, "/oauth20_authorize.srf") || to.Query().Get("scope") != "wl.signin wl.offline_access wl.basic" {
			t.Fatalf("status %d, to %v; log:\n%s", res.StatusCode, to, s.Log)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		if len(b.Session()) != 0 {
			t.Error("the session's cookie is left")
		}
		if n := len(s.Log.With("event=session_ended")); n != 1 {
			t.Errorf("%d lines about it, want 1:\n%s", n, s.Log)
		}
		if res := b.Get("/orders?page=2"); res.Text != testsite.HelloAda || res.Request.URL.RequestURI() != "/orders?page=2" {
			t.Errorf("page %q at %s", res.Text, res.Request.URL)
		}
	}, func(c *msauth.Config) { c.MaxAge, c.IdleTimeout = 400*24*time.Hour, 400*24*time.Hour })
}

// Live Connect says invalid_grant of whatever a person must do, without more.
func TestWhatAPersonMustDoAtLiveConnectEndsTheSession(t *testing.T) {
	for name, change := range map[string]func(*msauthtest.Behavior){
		"another proof": func(b *msauthtest.Behavior) { b.RequireMFA = true },
		"consent":       func(b *msauthtest.Behavior) { b.RequireConsent = true },
	} {
		t.Run(name, func(t *testing.T) {
			livingAt(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
				time.Sleep(testsite.Due)
				s.MS.Set(change)
				b.WantGreeting(testsite.HelloNobody)
				q := b.AuthorizeQuery("/page")
				for _, name := range []string{"claims", "login_hint", "prompt", "nonce"} {
					if q.Has(name) {
						t.Errorf("the sign-in has %s", name)
					}
				}
				if got := b.Get("/page").Text; got != testsite.HelloAda {
					t.Errorf("page %q", got)
				}
			})
		})
	}
}

// Bodies that Live Connect has sent, as answers to a renewal. msauthtest says where
// each was seen.
func TestRefusalsThatLiveConnectSends(t *testing.T) {
	for _, row := range []struct {
		err, text string
		status    int
		want      msauth.Class
	}{
		{"invalid_grant", "The user could not be authenticated or the grant is expired. The user must first sign in and if needed grant the client application access to the requested scope.", 400, msauth.ClassSignIn},
		{"invalid_grant", "The provided value for the 'redirect_uri' is not valid. The value must exactly match the redirect URI used to obtain the authorization code.", 400, msauth.ClassSignIn},
		{"access_denied", "The user has denied access to the scope requested by the client application.", 400, msauth.ClassStepUp},
		{"invalid_client", "The provided value for the input parameter 'client_secret' is not valid.", 400, msauth.ClassMisconfigured},
		{"invalid_client", "The client does not exist. If you are the application developer, configure a new application through the application management site at https://manage.dev.live.com/.", 400, msauth.ClassMisconfigured},
		{"invalid_request", "The provided request must include a 'redirect_uri' input parameter.", 400, msauth.ClassMisconfigured},
		{"server_error", "The server encountered an unexpected error.", 400, msauth.ClassRetry},
		{"server_error", "The server encountered an unexpected error.", 500, msauth.ClassRetry},
		{"invalid_grant", "with the status of a success", 200, msauth.ClassSignIn},
	} {
		body, err := json.Marshal(map[string]string{"error": row.err, "error_description": row.text})
		if err != nil {
			t.Fatal(err)
		}
		for kind, body := range map[string]string{
			"application/json":                  string(body),
			"text/plain":                        string(body),
			"application/x-www-form-urlencoded": url.Values{"error": {row.err}, "error_description": {row.text}}.Encode(),
		} {
			t.Run(fmt.Sprintf("%s %d %.30s %s", row.err, row.status, row.text, kind), func(t *testing.T) {
				livingAt(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
					s.MS.Set(func(b *msauthtest.Behavior) {
						b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: row.status, Body: body, Header: http.Header{"Content-Type": {kind}}}
					})
					time.Sleep(testsite.Expired)
					page := b.Get("/public/")
					if lines := s.Log.With("event=renewal "); len(lines) != 1 || !strings.Contains(strings.ReplaceAll(lines[0], `"`, ""), "outcome="+string(row.want)+" ") {
						t.Errorf("log lines %q, want one of class %q", lines, row.want)
					}
					if ended := page.Text == testsite.HelloNobody; ended != (row.want == msauth.ClassSignIn) {
						t.Errorf("page %q after a refusal of class %q", page.Text, row.want)
					}
					if err := s.Auth.Ready(t.Context()); (err != nil) != (row.want == msauth.ClassMisconfigured) {
						t.Errorf("Ready returns %v", err)
					}
				})
			})
		}
	}
}

// Replies in the forms that the Live SDK read.
func TestFormsOfARenewalAtLiveConnect(t *testing.T) {
	send := func(kind string, write func(reply map[string]any) string) func(http.ResponseWriter, msauthtest.Kind, int, map[string]any) {
		return func(w http.ResponseWriter, _ msauthtest.Kind, status int, reply map[string]any) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			io.WriteString(w, write(reply))
		}
	}
	asJSON := func(change func(map[string]any)) func(map[string]any) string {
		return func(reply map[string]any) string {
			change(reply)
			text, _ := json.Marshal(reply)
			return string(text)
		}
	}
	asForm := func(reply map[string]any) string {
		form := url.Values{}
		for name, value := range reply {
			form.Set(name, fmt.Sprint(value))
		}
		return form.Encode()
	}
	for name, reply := range map[string]func(http.ResponseWriter, msauthtest.Kind, int, map[string]any){
		"text/plain":     send("text/plain", asJSON(func(map[string]any) {})),
		"text/html":      send("text/html", asJSON(func(map[string]any) {})),
		"a form":         send("application/x-www-form-urlencoded", asForm),
		"no type at all": send("application/json", asJSON(func(reply map[string]any) { delete(reply, "token_type") })),
		"commas":         send("application/json", asJSON(func(reply map[string]any) { reply["scope"] = "wl.signin,wl.offline_access,wl.basic" })),
		"a text":         send("application/json", asJSON(func(reply map[string]any) { reply["expires_in"] = "3600" })),
		"an ID token":    send("application/json", asJSON(func(reply map[string]any) { reply["id_token"] = "of no use here" })),
	} {
		t.Run(name, func(t *testing.T) {
			livingAt(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
				s.MS.Set(func(b *msauthtest.Behavior) { b.LiveReply = reply })
				before := b.Token()
				for range 2 {
					time.Sleep(testsite.Expired)
					got := b.Token()
					if got == before || len(got) < shortestToken {
						t.Fatalf("Token: %.60q; log:\n%s", got, s.Log)
					}
					before = got
				}
				var session *msauth.Session
				s.Mux.Handle("/session", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					session, _ = msauth.FromContext(r.Context())
				})))
				b.Get("/session")
				if got := session.Scopes(); !slices.Equal(got, []string{"wl.signin", "wl.offline_access", "wl.basic"}) {
					t.Errorf("scopes %q", got)
				}
				s.WantCalls(t, msauthtest.TokenRefresh, 2)
			})
		})
	}
}

func TestRenewedAuthenticationTokenIsVerifiedLikeTheFirst(t *testing.T) {
	t.Parallel()
	claim := func(name string, value any) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			before := b.IDToken
			b.IDToken = func(grant msauthtest.Kind, claims map[string]any) {
				before(grant, claims)
				switch f, ok := value.(func(any) any); {
				case ok:
					claims[name] = f(claims[name])
				case value == nil:
					delete(claims, name)
				default:
					claims[name] = value
				}
			}
		}
	}
	// token replaces the token, whose claims are payload.
	token := func(change func(token, payload string) string) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) {
				token := reply["authentication_token"].(string)
				payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
				if err != nil {
					t.Error(err)
				}
				reply["authentication_token"] = change(token, string(payload))
			}
		}
	}
	const renewed, ended, refused = "renewed", "ended", "refused"
	for _, c := range []struct {
		name string
		set  func(*msauthtest.Behavior)
		want string
	}{
		{"as it should be", func(*msauthtest.Behavior) {}, renewed},
		{"none at all", func(b *msauthtest.Behavior) { b.OmitIDTokenOnRefresh = true }, renewed},
		{"uid in capitals", claim("uid", func(old any) any { return strings.ToUpper(old.(string)) }), renewed},
		{"client ID in capitals", claim("urn:microsoft:appid", func(old any) any { return strings.ToUpper(old.(string)) }), renewed},
		{"without ver", claim("ver", nil), renewed},

		{"another person", func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Grace }, ended},
		{"other uid", claim("uid", "00000000000000000000000000000000"), ended},
		{"without uid", claim("uid", nil), ended},
		{"of another app", claim("urn:microsoft:appid", "000000001C1175CD"), ended},

		{"for another site", claim("aud", "other.example"), refused},
		{"other iss", claim("iss", "https://login.live.com"), refused},
		{"other ver", claim("ver", 2), refused},
		{"expired", claim("exp", 946684800-3600), refused},
		{"without exp", claim("exp", nil), refused},
		{"signed with another secret", token(func(_, payload string) string {
			return msauthtest.SignAuthenticationToken("another", `{"typ":"JWT","alg":"HS256","kid":0}`, payload)
		}), refused},
		{"not signed", token(func(token, _ string) string { return token[:strings.LastIndex(token, ".")+1] }), refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, testsite.AtLiveConnect)
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				s.RouteTokens()
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				token := b.Token()
				s.MS.Set(c.set)
				s.MS.ResetCalls()
				time.Sleep(testsite.AfterExpiry)
				got := b.Token()
				switch c.want {
				case renewed:
					if got == token || len(got) < shortestToken {
						t.Errorf("Token: %.60q; log:\n%s", got, s.Log)
					}
					b.WantGreeting(testsite.HelloAda)
				case ended:
					if got != "ErrNoSession" || len(b.Session()) != 0 {
						t.Errorf("Token: %.60q, want the session ended; log:\n%s", got, s.Log)
					}
				case refused:
					if got != "ErrTokenUnavailable" {
						t.Errorf("Token: %.60q, want none and the session as it was; log:\n%s", got, s.Log)
					}
					b.WantGreeting(testsite.HelloAda)
				}
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
			})
		})
	}
}
