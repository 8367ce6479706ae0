package apis_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
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

func TestClientMeetsAClaimsChallengeSilently(t *testing.T) {
	t.Parallel()
	use(t, func(s *testsite.Site, b *testsite.Browser, client *http.Client) {
		s.MS.Challenge(msauthtest.Challenge{CapableOnly: true})
		if status, err := testsite.Call(client, "GET", testsite.GraphMe, nil); status != 200 {
			t.Fatalf("status %d, %v", status, err)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		form := s.MS.Calls(msauthtest.TokenRefresh)[0].Form
		if got := form.Get("claims"); !strings.Contains(got, `"nbf"`) || !strings.Contains(got, `"xms_cc":{"values":["cp1"]}`) || form.Get("scope") != "openid profile email offline_access User.Read" {
			t.Errorf("claims %s, scope %q", got, form.Get("scope"))
		}
		old := b.Session()[0].Value
		b.Get("/")
		if fresh := b.Session()[0].Value; fresh == old {
			t.Error("the cookie has the token that was refused")
		} else if b.Get("/"); b.Session()[0].Value != fresh {
			t.Error("the cookie is written once more")
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
	}, func(c *msauth.Config) { c.ContinuousAccess = true })
}

func TestContinuousAccessIsDeclaredWhereItIsSet(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		s := testsite.New(t, func(c *msauth.Config) { c.ContinuousAccess = on })
		s.Guard("/pay", s.Auth.RequireAuthContext("c1"))
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		b.Get("/pay")
		const cp1 = `"xms_cc":{"values":["cp1"]}`
		for _, call := range append(s.MS.Calls(msauthtest.Authorize), s.MS.Calls(msauthtest.TokenCode)...) {
			claims := call.Query.Get("claims") + call.Form.Get("claims")
			if strings.Contains(claims, cp1) != on {
				t.Errorf("declared %v: %s %s", on, call.Kind, claims)
			}
		}
		if got := s.Asked(t).Get("claims"); !strings.Contains(got, `"acrs":{"essential":true,"value":"c1"}`) {
			t.Errorf("the demand is lost: %s", got)
		}
	}
}

// The way to a stronger sign-in and back, for a page and for a script.
func TestChallengeLeadsToAStrongerSignIn(t *testing.T) {
	t.Parallel()
	for _, audience := range []string{"https://graph.microsoft.com", "api://orders"} {
		for _, script := range []bool{false, true} {
			t.Run(fmt.Sprint(audience, " script ", script), func(t *testing.T) {
				t.Parallel()
				var s *testsite.Site
				s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
					target := s.MS.URL + "/v1.0/me"
					if audience == "api://orders" {
						target = api
					}
					res, err := session.Client(r.Context()).Get(target)
					pass(s, w, r, res, err)
				})
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				b.Get("/do")
				s.MS.Challenge(msauthtest.Challenge{ACRS: "c1", Audience: audience})
				s.MS.ResetCalls()
				if script {
					res := b.Get(b.WantProblem(b.Fetch("/do"), http.StatusUnauthorized).LoginURL)
					if res.Request.URL.Path != "/seen" {
						t.Errorf("came back to %s", res.Request.URL)
					}
				}
				res := b.Get("/do?again=%2F")
				if res.StatusCode != http.StatusOK || !strings.Contains(res.Text, "Ada") || res.Request.URL.RequestURI() != "/do?again=%2F" {
					t.Fatalf("status %d at %s: %q; log:\n%s", res.StatusCode, res.Request.URL, res.Text, s.Log)
				}
				s.WantCalls(t, msauthtest.Authorize, 1)
				if got := s.Asked(t); !strings.Contains(got.Get("claims"), `"acrs"`) || got.Get("login_hint") == "" {
					t.Errorf("asked with claims %s of %q", got.Get("claims"), got.Get("login_hint"))
				}
			})
		}
	}
}

func TestAChallengeThatIsNeverMetEndsOnAPageAfterOneRoundTrip(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		challenge msauthtest.Challenge
		behave    func(*msauthtest.Behavior)
		kind      string
	}{
		{"issued later, for ever", msauthtest.Challenge{Forever: true}, nil, "not-enough"},
		{"a context, for ever", msauthtest.Challenge{Forever: true, ACRS: "c1"}, nil, "not-enough"},
		{"a provider that ignores it", msauthtest.Challenge{ACRS: "c1"}, func(b *msauthtest.Behavior) { b.IgnoreClaims = true }, "not-enough"},
		{"a person who fails it", msauthtest.Challenge{ACRS: "c1"}, func(b *msauthtest.Behavior) { b.RefuseMFA = true }, "declined"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var s *testsite.Site
			s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
				res, err := session.Client(r.Context()).Get(s.MS.URL + "/v1.0/me")
				pass(s, w, r, res, err)
			})
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			withdraw := s.MS.Challenge(test.challenge)
			if test.behave != nil {
				s.MS.Set(test.behave)
			}
			s.MS.ResetCalls()
			res := b.Get("/do")
			if res.StatusCode != http.StatusForbidden || res.Kind() != test.kind {
				t.Fatalf("status %d, page %q; log:\n%s", res.StatusCode, res.Kind(), s.Log)
			}
			s.WantCalls(t, msauthtest.Authorize, 1)
			if test.kind == "not-enough" {
				if p := b.WantProblem(b.Fetch("/do"), http.StatusForbidden); p.LoginURL != "" {
					t.Errorf("a script is sent to %s", p.LoginURL)
				}
			}
			// Pages that do not need it work on, and cost nothing.
			s.MS.ResetCalls()
			if res := b.Get("/"); res.Text != testsite.HelloAda {
				t.Errorf("another page: %q; log:\n%s", res.Text, s.Log)
			}
			s.WantNoCalls(t)

			withdraw()
			s.MS.Set(func(b *msauthtest.Behavior) { b.IgnoreClaims, b.RefuseMFA = false, false })
			if res := b.Get("/do"); !strings.Contains(res.Text, msauthtest.Ada) {
				t.Errorf("once it is over: page %q %s; log:\n%s", res.Kind(), res.Text, s.Log)
			}
		})
	}
}

func base64Std(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// Whatever an API sends as a challenge, the session is unharmed.
func TestBadChallengesAreNoChallenges(t *testing.T) {
	t.Parallel()
	encode := func(s string) string { return `Bearer error="insufficient_claims", claims="` + base64Std(s) + `"` }
	tests := []struct{ name, header string }{
		{"no base64", `Bearer error="insufficient_claims", claims="{}***"`},
		{"no JSON", encode(`{"access_token":`)},
		{"a list", encode(`[1]`)},
		{"null", encode(`null`)},
		{"1 MB", encode(`{"access_token":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`)},
		{"over 512 bytes", encode(`{"access_token":{"x":"` + strings.Repeat("x", 512) + `"}}`)},
		{"claims twice", encode(`{"id_token":{}}`) + `, claims="e30="`},
		{"another scheme", strings.Replace(encode(`{"id_token":{}}`), "Bearer", "Basic", 1)},
		{"another error", strings.Replace(encode(`{"id_token":{}}`), "insufficient_claims", "insufficient_scope", 1)},
		{"an open quote", `Bearer error="insufficient_claims`},
		{"nothing", ""},
		{"commas", ",,,,,Bearer,,,=,"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			use(t, func(s *testsite.Site, b *testsite.Browser, client *http.Client) {
				time.Sleep(2 * time.Minute)
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.Fail[msauthtest.Graph] = []msauthtest.Failure{{Status: 401, Header: http.Header{"Www-Authenticate": {test.header}}}}
				})
				if status, err := testsite.Call(client, "GET", testsite.GraphMe, nil); status != 200 {
					t.Errorf("status %d, %v", status, err)
				}
				for _, call := range s.MS.Calls(msauthtest.TokenRefresh) {
					if got := call.Form.Get("claims"); got != "" {
						t.Errorf("carried to Microsoft: %.100q", got)
					}
				}
				if res := b.Get("/"); res.Text != testsite.HelloAda {
					t.Errorf("the session is harmed: %q", res.Text)
				}
			})
		})
	}
}

func TestChallengesAreReadInEveryForm(t *testing.T) {
	t.Parallel()
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"},"?>":null}}` // with "+" and "/" in base64
	std := base64Std(claims)
	forms := map[string]string{
		"as Graph":                     `Bearer realm="", authorization_uri="https://x/y", client_id="z", error="insufficient_claims", claims="` + std + `"`,
		"without padding":              `Bearer error="insufficient_claims", claims="` + strings.TrimRight(std, "=") + `"`,
		"URL alphabet":                 `Bearer error="insufficient_claims", claims="` + strings.NewReplacer("+", "-", "/", "_").Replace(std) + `"`,
		"not quoted":                   `Bearer error=insufficient_claims, claims=` + strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(std, "=")),
		"in lower case":                `bearer Error = "insufficient_claims" , CLAIMS = "` + std + `"`,
		"after another challenge":      `Basic realm="a, b", Bearer error="insufficient_claims", claims="` + std + `"`,
		"before another challenge":     `Bearer error="insufficient_claims", claims="` + std + `", Negotiate YII=, Basic realm="x"`,
		"after a token68":              `Negotiate YIIabc==, Bearer error="insufficient_claims", claims="` + std + `"`,
		"with escapes":                 `Bearer realm="\"", error="insufficient\_claims", claims="` + std + `"`,
		"with parameters nobody knows": `Bearer x="1", y=2, error="insufficient_claims", claims="` + std + `", z="é"`,
	}
	for name, header := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			use(t, func(s *testsite.Site, _ *testsite.Browser, client *http.Client) {
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.Fail[msauthtest.Graph] = []msauthtest.Failure{{Status: 401, Header: http.Header{"Www-Authenticate": {header}}}}
				})
				_, err := testsite.Call(client, "GET", testsite.GraphMe, nil)
				failure, ok := errors.AsType[*msauth.AuthError](err)
				if !ok || failure.Class != msauth.ClassStepUp || failure.Claims != claims {
					t.Errorf("the error is %v with claims %q", err, failure.Claims)
				}
				if got := s.MS.Calls(msauthtest.TokenRefresh)[0].Form.Get("claims"); got != claims {
					t.Errorf("carried to Microsoft: %q", got)
				}
			})
		})
	}
}

func TestChallengeLeavesOtherErrorsToTheHandler(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	for _, err := range []error{nil, errors.New("x"), msauth.ErrTokenUnavailable, msauth.ErrCookieTooLarge, &url.Error{Err: context.Canceled}} {
		w := httptest.NewRecorder()
		if s.Auth.Challenge(w, httptest.NewRequest("GET", "/", nil), err) || len(w.Header()) > 0 || w.Body.Len() > 0 {
			t.Errorf("%v was answered", err)
		}
	}
	s.Mux.Handle("/gone", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.Auth.Challenge(w, r, fmt.Errorf("wrapped: %w", msauth.ErrNoSession)) {
			t.Error("not answered")
		}
	})))
	b := s.Browser(t)
	if res := b.Still().Get("/gone"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("nobody is signed in: status %d", res.StatusCode)
	}
	b.WantProblem(b.Fetch("/gone"), http.StatusUnauthorized)
}

// A handler that asks for the same whatever happens.
func TestChallengeIsNoWayRoundInCircles(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"sign in": msauth.ErrSignInRequired,
		"scopes":  &msauth.AuthError{Class: msauth.ClassStepUp, Scopes: []string{"Mail.Read"}},
		"claims":  &msauth.AuthError{Class: msauth.ClassStepUp, Claims: `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t)
			s.Mux.Handle("/loop", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.Auth.Challenge(w, r, err)
			})))
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			s.MS.ResetCalls()
			if res := b.Get("/loop"); res.StatusCode != http.StatusForbidden {
				t.Errorf("status %d, page %q; log:\n%s", res.StatusCode, res.Kind(), s.Log)
			}
			s.WantCalls(t, msauthtest.Authorize, 1)
		})
	}
}

// A token for another API that is refused without a word about what would help:
// consent is asked for, once.
func TestAScriptsWayRoundEndsToo(t *testing.T) {
	t.Parallel()
	var s *testsite.Site
	s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
		_, err := session.Token(r.Context(), testsite.OrdersRead)
		if err == nil {
			t.Error("a token, though it was refused")
		}
		s.Auth.Challenge(w, r, err)
	})
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Error: "invalid_grant", Codes: []int{50105}}
	})
	s.MS.ResetCalls()
	p := b.WantProblem(b.Fetch("/do"), http.StatusUnauthorized)
	if res := b.Get(p.LoginURL); res.Request.URL.RequestURI() != "/seen?x=1" {
		t.Fatalf("came back to %s; log:\n%s", res.Request.URL, s.Log)
	}
	for range 3 {
		if p := b.WantProblem(b.Fetch("/do"), http.StatusForbidden); p.LoginURL != "" || p.ID == "" {
			t.Errorf("problem document %+v, want no login_url, and an id", p)
		}
		s.WantPage(t, b.Get("/do"), http.StatusForbidden, "not-granted", "scopes not granted: "+testsite.OrdersRead)
	}
	s.WantCalls(t, msauthtest.Authorize, 1)
	b.WantGreeting(testsite.HelloAda)
}

// An app that asks for nothing of Graph but who somebody is.
func TestTheSessionsOwnTokenStaysThatWithoutScopesOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"api://orders/.default", testsite.OrdersRead} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Scopes = []string{} })
				s.MS.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				s.Guard("/orders", s.Auth.RequireScopes(scope))
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				if got := s.Asked(t).Get("scope"); got != "openid profile email offline_access" {
					t.Errorf("the first sign-in asked for %q", got)
				}
				if res := b.Get("/orders"); res.Text != testsite.HelloAda {
					t.Fatalf("page %.300q; log:\n%s", res.Text, s.Log)
				}
				// The code gave a token for the other API; one for the
				// session's own had to be asked for by name.
				if got := s.MS.Calls(msauthtest.TokenRefresh)[1].Form.Get("scope"); got != "openid profile email offline_access" {
					t.Errorf("the second token request named %q", got)
				}
				for range 3 {
					res := b.Get("/?token")
					if _, err := s.MS.VerifyAccessToken(res.Text, "https://graph.microsoft.com"); err != nil {
						t.Fatalf("status %d, %v; log:\n%s", res.StatusCode, err, s.Log)
					}
					time.Sleep(61 * time.Minute)
				}
			})
		})
	}
}
