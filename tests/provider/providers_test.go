package provider_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// elsewhere runs a test in a bubble at another provider than Entra, with somebody
// signed in whose session does not end for want of use.
func elsewhere(t *testing.T, at string, person string, f func(t *testing.T, s *testsite.Site, b *testsite.Browser), changes ...func(*msauth.Config)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, append([]func(*msauth.Config){testsite.Issuer(at), func(c *msauth.Config) { c.IdleTimeout = 400 * 24 * time.Hour }}, changes...)...)
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		s.RouteTokens()
		b := s.Browser(t)
		b.SignIn(person)
		s.MS.ResetCalls()
		f(t, s, b)
		time.Sleep(time.Minute)
	})
}

// withoutRefreshToken has the provider give none at sign-in.
func withoutRefreshToken(b *msauthtest.Behavior) {
	b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "refresh_token") }
}

// Azure AD B2C sends no access token where no scope is of an API (azure-docs
// issue 64582). That is no outage.
func TestReplyWithoutAnAccessTokenSignsIn(t *testing.T) {
	elsewhere(t, testsite.B2cIssuer, msauthtest.Ada, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		b.WantGreeting(testsite.HelloAda)
		if res := b.Get("/"); res.Text != testsite.HelloAda {
			t.Errorf("page %q", res.Text)
		}
		res := b.Get("/?token")
		for _, want := range []string{"app misconfigured", "Config.Scopes", "client ID itself"} {
			if !strings.Contains(res.Text, want) {
				t.Errorf("Token: status %d, %q, want %q in it", res.StatusCode, res.Text, want)
			}
		}
		if got := b.Token(); got != "ErrTokenUnavailable" {
			t.Errorf("Token: %s", got)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 0) // asking again would bring none
		if err := s.Auth.Ready(t.Context()); err != nil {
			t.Errorf("Ready returns %v", err)
		}

		// Disabled people are noticed when the ID token is over.
		for range 3 {
			s.MS.ResetCalls()
			time.Sleep(testsite.Expired)
			b.WantGreeting(testsite.HelloAda)
			b.WantGreeting(testsite.HelloAda)
			s.WantCalls(t, msauthtest.TokenRefresh, 1)
		}
		s.MS.Revoke(msauthtest.Ada)
		time.Sleep(testsite.Expired)
		b.WantGreeting(testsite.HelloNobody)
	})
}

func TestB2CIsAlwaysAskedForOfflineAccess(t *testing.T) {
	t.Parallel()
	for _, at := range []string{testsite.B2cIssuer, testsite.ExternalIDIssuer} {
		s := testsite.NewInProcess(t, testsite.Issuer(at))
		res := s.Browser(t).Still().Get("/")
		to, err := res.Location()
		if err != nil || !strings.Contains(to.Query().Get("scope"), "offline_access") {
			t.Errorf("status %d to %v; log:\n%s", res.StatusCode, to, s.Log)
		}
	}
}

// A scope of an API brings an access token, at sign-in or later.
func TestB2CGivesAnAccessTokenForAScope(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.Restart(t, testsite.Issuer(testsite.B2cIssuer))
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)

		// The operator has read what the error says. Whoever is signed in has
		// a token after the next renewal.
		s.Restart(t, testsite.Scopes(s.MS.ClientID))
		time.Sleep(testsite.Expired)
		if res := b.Get("/?token"); res.StatusCode != http.StatusOK || res.Text == "" {
			t.Errorf("status %d, %s; log:\n%s", res.StatusCode, res.Text, s.Log)
		}
	})
}

// Other providers give no refresh token at times. Identity then lives as long as
// the session, and tokens as long as they do.
func TestSessionWithoutARefreshTokenLivesOn(t *testing.T) {
	for name, at := range map[string]string{"plain": "http://localhost:9/generic", "B2C": testsite.B2cIssuer, "External ID": testsite.ExternalIDIssuer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, testsite.Issuer(at), func(c *msauth.Config) { c.IdleTimeout, c.MaxAge = 72*time.Hour, 48*time.Hour })
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour; withoutRefreshToken(b) })
				s.RouteTokens()
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				if lines := s.Log.With("event=no_refresh_token"); len(lines) != 1 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "RecheckAfter") {
					t.Errorf("log lines %q, want one warning that names RecheckAfter", lines)
				}
				s.MS.ResetCalls()
				for range 47 {
					time.Sleep(time.Hour)
					if res := b.Get("/"); res.Text != testsite.HelloAda {
						t.Fatalf("page %q; log:\n%s", res.Text, s.Log)
					}
				}
				if got := b.Token(); name != "B2C" && got != "ErrSignInRequired" {
					t.Errorf("Token: %s", got)
				}
				b.WantGreeting(testsite.HelloAda)
				s.WantCalls(t, msauthtest.TokenRefresh, 0)
				if got := s.MS.Count(msauthtest.Authorize); got != 0 {
					t.Errorf("sent to sign in %d times", got)
				}
				time.Sleep(time.Hour)
				b.WantGreeting(testsite.HelloNobody)
			})
		})
	}
}

func TestSessionWithoutARefreshTokenEndsWhenItIsToBeRechecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		changes []func(*msauth.Config)
		lasts   time.Duration
	}{
		{"RecheckAfter", []func(*msauth.Config){testsite.Issuer("http://localhost:9/generic"), func(c *msauth.Config) { c.RecheckAfter = 3 * time.Hour }}, 3 * time.Hour},
		{"RecheckAfter before the token is over", []func(*msauth.Config){testsite.Issuer("http://localhost:9/generic"), func(c *msauth.Config) { c.RecheckAfter = 10 * time.Minute }}, 10 * time.Minute},
		{"a user of the app", []func(*msauth.Config){testsite.Issuer("http://localhost:9/generic"), func(c *msauth.Config) { c.Tokens = testsite.NewTokens() }}, 58 * time.Minute},
		{"Microsoft", nil, 58 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, test.changes...)
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour; withoutRefreshToken(b) })
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				s.MS.ResetCalls()
				time.Sleep(test.lasts - 9*time.Minute)
				b.WantGreeting(testsite.HelloAda)
				time.Sleep(10 * time.Minute)
				b.WantGreeting(testsite.HelloNobody)
				s.WantCalls(t, msauthtest.TokenRefresh, 0)
			})
		})
	}
}

// An API that does not take the token ends no session either that has no refresh
// token.
func TestRejectedTokenWithoutARefreshToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, testsite.Issuer("http://localhost:9/generic"), func(c *msauth.Config) {
			c.TokenHosts = map[string][]string{"localhost:9": nil}
		})
		s.MS.Set(func(b *msauthtest.Behavior) {
			withoutRefreshToken(b)
			b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Status: http.StatusUnauthorized}
		})
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		s.Mux.Handle("/api", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			res, err := session.Client(r.Context()).Get("http://localhost:9/v1.0/me")
			if err == nil {
				res.Body.Close()
			}
			fmt.Fprint(w, errors.Is(err, msauth.ErrSignInRequired))
		})))
		time.Sleep(2 * time.Minute)
		if res := b.Get("/api"); res.Text != "true" {
			t.Errorf("the handler learns that the person must help: %s", res.Text)
		}
		for range 3 {
			b.WantGreeting(testsite.HelloAda)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 0)
	})
}

// B2C says how long its ID token is good where it gives no access token.
func TestSessionWithoutAnAccessTokenIsRecheckedWhenItsIDTokenIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, testsite.Issuer(testsite.B2cIssuer))
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["id_token_expires_in"] = "600" }
		})
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		for range 3 {
			s.MS.ResetCalls()
			time.Sleep(8 * time.Minute)
			b.WantGreeting(testsite.HelloAda)
			s.WantCalls(t, msauthtest.TokenRefresh, 0)
			time.Sleep(3 * time.Minute)
			b.WantGreeting(testsite.HelloAda)
			s.WantCalls(t, msauthtest.TokenRefresh, 1)
		}
	})
}

// Where an ID token holds neither name nor e-mail, another provider is asked how
// the person is called, once, and for nothing else.
func TestNamesThatTheIDTokenLacks(t *testing.T) {
	t.Parallel()
	type table struct {
		name   string
		issuer string
		behave func(*msauthtest.Behavior)
		want   string
		calls  int
	}
	const plain = "http://localhost:9/generic"
	bare := func(_ msauthtest.Kind, claims map[string]any) {
		for _, name := range []string{"name", "preferred_username", "email", "emails", "email_verified"} {
			delete(claims, name)
		}
	}
	for _, test := range []table{
		{"none", plain, func(b *msauthtest.Behavior) { b.PlainBareIDToken = true }, "Ada Lindqvist ada@contoso.example ada@contoso.example false [] map[]", 1},
		{"more than names", plain, func(b *msauthtest.Behavior) {
			b.PlainBareIDToken = true
			b.UserInfo = func(doc map[string]any) {
				doc["roles"], doc["groups"], doc["dept"], doc["email_verified"] = []string{"Admin"}, []string{"x"}, "IT", true
			}
		}, "Ada Lindqvist ada@contoso.example ada@contoso.example false [] map[]", 1},
		{"of somebody else", plain, func(b *msauthtest.Behavior) {
			b.PlainBareIDToken = true
			b.UserInfo = func(doc map[string]any) { doc["sub"] = "eve" }
		}, "   false [] map[]", 1},
		{"that fails", plain, func(b *msauthtest.Behavior) {
			b.PlainBareIDToken = true
			b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Status: 500}
		}, "   false [] map[]", 1},
		{"a name is there", plain, func(b *msauthtest.Behavior) {
			b.IDToken = func(k msauthtest.Kind, claims map[string]any) { bare(k, claims); claims["name"] = "Ada L." }
		}, "Ada L.   false [] map[]", 0},
		{"an e-mail is there", plain, func(b *msauthtest.Behavior) {
			b.IDToken = func(k msauthtest.Kind, claims map[string]any) { bare(k, claims); claims["email"] = "a@b.example" }
		}, "  a@b.example false [] map[]", 0},
		{"Microsoft", "", func(b *msauthtest.Behavior) { b.IDToken = bare }, "   false [] map[]", 0},
		{"B2C, which has no userinfo", testsite.B2cIssuer, func(b *msauthtest.Behavior) { b.IDToken = bare }, "   false [] map[]", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Claims = []string{"dept"} })
			if test.issuer != "" {
				s.Restart(t, testsite.Issuer(test.issuer))
			}
			s.MS.Set(test.behave)
			s.Mux.Handle("/who", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				u := session.User
				fmt.Fprint(w, u.Name, " ", u.Username, " ", u.Email, " ", u.EmailVerified, " ", u.Roles, u.Groups, " ", u.Claims)
			})))
			b := s.Browser(t)
			s.As(msauthtest.Ada)
			b.Get("/who")
			if got, want := b.Get("/who").Text, strings.Replace(test.want, "[]", "[] []", 1); got != want {
				t.Errorf("%q, want %q; log:\n%s", got, want, s.Log)
			}
			s.WantCalls(t, msauthtest.Graph, test.calls)
			failed := strings.HasPrefix(test.want, "   ") && test.issuer == plain
			if lines := s.Log.With("userinfo"); (len(lines) > 0) != failed {
				t.Errorf("log lines %q", lines)
			}
		})
	}
}

// What a plain provider can be like, each time with a sign-in, a renewal and a
// sign-out.
func TestHabitsOfOtherProviders(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		behave  func(*msauthtest.Behavior)
		offline bool // offline_access is asked for
		basic   bool // the app proves itself in a header
	}{
		{"client_secret_post", func(b *msauthtest.Behavior) { b.PlainAuthMethods = []string{"client_secret_post"} }, true, false},
		{"client_secret_basic", func(b *msauthtest.Behavior) { b.PlainAuthMethods = []string{"client_secret_basic"} }, true, true},
		{"both", func(b *msauthtest.Behavior) {
			b.PlainAuthMethods = []string{"client_secret_basic", "client_secret_post"}
		}, true, false},
		{"no list of methods", func(b *msauthtest.Behavior) { b.PlainNoAuthMethods = true }, true, true},
		{"scopes with offline_access", func(b *msauthtest.Behavior) { b.PlainScopes = []string{"openid", "profile", "email", "offline_access"} }, true, false},
		{"scopes without offline_access", func(b *msauthtest.Behavior) { b.PlainScopes = []string{"openid", "profile", "email"} }, false, false},
		{"no list of scopes", func(b *msauthtest.Behavior) {
			b.Discovery = func(doc map[string]any) { delete(doc, "scopes_supported") }
		}, true, false},
		{"sign-out needs the ID token", func(b *msauthtest.Behavior) { b.RequireIDTokenHint = true }, true, false},
		{"strict rotation, no ID token at renewals", func(b *msauthtest.Behavior) {
			b.Rotation, b.OmitIDTokenOnRefresh, b.RequireIDTokenHint = msauthtest.RotateStrict, true, true
		}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, testsite.Issuer("http://localhost:9/generic"))
				s.MS.ClientSecret = "p%ss: word+/&=ü" // RFC 6749 section 2.3.1 has it encoded first
				s.Restart(t, func(c *msauth.Config) { c.ClientSecret = s.MS.ClientSecret })
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour; test.behave(b) })
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				if got := strings.Contains(s.Asked(t).Get("scope"), "offline_access"); got != test.offline {
					t.Errorf("asked for %q", s.Asked(t).Get("scope"))
				}
				if test.offline {
					before := b.Get("/?token").Text
					time.Sleep(testsite.Expired)
					if res := b.Get("/?token"); res.StatusCode != http.StatusOK || res.Text == before {
						t.Errorf("renewal: status %d, %s; log:\n%s", res.StatusCode, res.Text, s.Log)
					}
				}
				for _, call := range append(s.MS.Calls(msauthtest.TokenCode), s.MS.Calls(msauthtest.TokenRefresh)...) {
					if basic := strings.HasPrefix(call.Header.Get("Authorization"), "Basic "); basic != test.basic || basic == call.Form.Has("client_secret") || basic == call.Form.Has("client_id") {
						t.Errorf("Basic %t, secret in the form %t", basic, call.Form.Has("client_secret"))
					}
				}
				res := b.Get("/auth/logout", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
				if res.Request.URL.Path != "/auth/signed-out" || res.Kind() != "signed-out" {
					t.Errorf("signed out at %s: status %d, page %.200q", res.Request.URL, res.StatusCode, res.Text)
				}
				b.WantGreeting(testsite.HelloNobody)
				calls := s.MS.Calls(msauthtest.Logout)
				if len(calls) != 1 || calls[0].Query.Get("id_token_hint") == "" {
					t.Errorf("sign-out at the provider: %v", calls)
				}
			})
		})
	}
}

// Whoever lists offline_access gets asked for it even where the provider does not
// list it.
func TestOfflineAccessThatTheAppNames(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t, testsite.Issuer("http://localhost:9/generic"), testsite.Scopes("offline_access"))
	s.MS.Set(func(b *msauthtest.Behavior) { b.PlainScopes = []string{"openid", "profile"} })
	to, err := s.Browser(t).Still().Get("/").Location()
	if err != nil || !strings.Contains(to.Query().Get("scope"), "offline_access") {
		t.Errorf("to %v, %v", to, err)
	}
}

// Microsoft's sign-out takes login_hint: no ID token is kept, or sent anywhere.
func TestNoIDTokenGoesToMicrosoftsSignOut(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"Entra": "", "B2C": testsite.B2cIssuer, "External ID": testsite.ExternalIDIssuer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t)
			if at != "" {
				s.Restart(t, testsite.Issuer(at))
			}
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			res := b.Still().Get("/auth/logout", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
			to, err := url.Parse(res.Header.Get("Location"))
			if err != nil || !strings.Contains(to.Path, "/logout") || to.Query().Has("id_token_hint") {
				t.Errorf("to %v", to)
			}
		})
	}
}

// Over budget the ID token is the first thing to go: before the access token.
func TestIDTokenIsLeftOutFirst(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t, testsite.Issuer("http://localhost:9/generic"), func(c *msauth.Config) { c.CookieBudget = 1024 })
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["blob"] = strings.Repeat("x9", 300) + claims["sub"].(string)
		}
	})
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	if lines := s.Log.With("left_out="); len(lines) != 1 || !strings.Contains(lines[0], `left_out="ID token for signing out"`) {
		t.Errorf("log lines %q", lines)
	}
	s.MS.ResetCalls()
	if res := b.Get("/?token"); res.StatusCode != http.StatusOK {
		t.Errorf("status %d, %s", res.StatusCode, res.Text)
	}
	s.WantCalls(t, msauthtest.TokenRefresh, 0)
	res := b.Still().Get("/auth/logout", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	if to := res.Header.Get("Location"); !strings.Contains(to, "client_id=") || strings.Contains(to, "id_token_hint") {
		t.Errorf("to %q", to)
	}
}

// The headers that nginx takes may have no room for an ID token beside what clears
// the cookies of many sign-ins under way.
func TestSignOutWithTooMuchForAHeader(t *testing.T) {
	t.Parallel()
	for attempts, hint := range map[int]bool{1: true, 16: false} {
		s := testsite.NewInProcess(t, testsite.Issuer("http://localhost:9/generic"), func(c *msauth.Config) { c.CookieBudget = 7168 })
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["blob"] = testsite.LongAddress(800) }
		})
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		for range attempts {
			b.Still().Get("/auth/login?prompt=login")
		}
		largest := b.Measured()
		res := b.Still().Get("/auth/logout", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
		to := res.Header.Get("Location")
		if !strings.Contains(to, "post_logout_redirect_uri=") || strings.Contains(to, "id_token_hint=") != hint || largest.Load() > 4000 {
			t.Errorf("%d under way: to %.120q, %d bytes of headers, want an ID token %t", attempts, to, largest.Load(), hint)
		}
	}
}

// Browsers apply form-action to the redirect of a form: the page that asks names
// the provider's origin, also where nothing has made it known yet.
func TestSignOutFormAfterARestart(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t, testsite.Issuer("http://localhost:9/generic"))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.Restart(t)
	page := b.Still().Get("/auth/logout", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	s.WantPage(t, page, http.StatusOK, "confirm-sign-out", "")
	if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' http://localhost:9;") {
		t.Errorf("policy %q", policy)
	}
}
