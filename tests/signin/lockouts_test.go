package signin_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// An API gives up a scope that some people have granted. They go on with what
// Config.Scopes names, and nobody else notices.
func TestScopeThatTheAPIGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t, testsite.Tenant(msauthtest.TenantContoso), testsite.Scopes("api://orders/A"))
		o.MS.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"A", "B"}})
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		var people []*testsite.Visitor
		for i := range 12 {
			o.MS.Set(func(b *msauthtest.Behavior) {
				b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) {
					if i < 8 {
						reply["scope"] = reply["scope"].(string) + " api://orders/B"
					}
				}
			})
			people = append(people, o.SignInNew())
		}
		o.MS.Set(func(b *msauthtest.Behavior) { b.TokenReply = nil })
		o.MS.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"A"}})
		time.Sleep(61 * time.Minute)
		for i, v := range people {
			if got := v.Get("/?token"); got.Status != http.StatusOK {
				t.Errorf("person %d: status %d, %s", i, got.Status, got.Body)
			}
		}
		if err := o.Auth.Ready(t.Context()); err != nil || o.Auth.Stats().Paused {
			t.Errorf("Ready returns %v, renewals pause: %t", err, o.Auth.Stats().Paused)
		}
	})
}

// The app moves to another scope of its API, and the person takes the old one
// back: the token is for that API or there is none, never one for Graph.
func TestTokenIsNeverForGraphInPlaceOfTheAppsAPI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.MS.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"A", "B"}})
		s.Restart(t, testsite.Scopes("api://orders/B"))
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		s.Restart(t, testsite.Scopes("api://orders/A"))
		s.MS.Consent(msauthtest.Ada, "api://orders/A")
		s.MS.Withdraw(msauthtest.Ada, "api://orders/B")
		time.Sleep(testsite.Expired)
		res := b.Get("/?token")
		if _, err := s.MS.VerifyAccessToken(res.Text, "api://orders"); res.StatusCode != http.StatusOK || err != nil {
			t.Errorf("status %d, %v", res.StatusCode, err)
		}
	})
}

// A page that needs another API's scope as the first thing that somebody sees.
func TestFirstVisitToAPageOfAnotherAPI(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"/", "/api"} {
		t.Run("B2C "+first, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, testsite.Issuer(testsite.B2cIssuer))
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.AutoSignIn = time.Hour, msauthtest.Ada })
				s.Guard("/api", s.Auth.RequireScopes("https://fabrikam.onmicrosoft.com/api/read"))
				b := s.Browser(t)
				b.Get(first)
				for range 3 {
					if res := b.Get("/api"); res.Text != testsite.HelloAda {
						t.Fatalf("status %d, page %q; log:\n%s", res.StatusCode, res.Kind(), s.Log)
					}
					time.Sleep(testsite.Expired)
				}
				if err := s.Auth.Ready(t.Context()); err != nil {
					t.Errorf("Ready returns %v", err)
				}
			})
		})
	}
	t.Run("the app's own API by the form that is refused", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := testsite.NewInProcess(t)
			s.Restart(t, testsite.Scopes("api://"+s.MS.ClientID+"/read"))
			s.MS.AddAPI(msauthtest.API{ID: "api://" + s.MS.ClientID, ClientID: s.MS.ClientID})
			s.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn, b.RefuseOwnURI = msauthtest.Ada, true })
			s.Guard("/mail", s.Auth.RequireScopes("Mail.Read"))
			if res := s.Browser(t).Get("/mail"); res.Text != testsite.HelloAda {
				t.Errorf("status %d, page %q; log:\n%s", res.StatusCode, res.Kind(), s.Log)
			}
		})
	})
}

// A sign-in for another API, after which the session's own token is another
// person's: that is no session of anybody.
func TestOwnTokenOfAnotherPersonSignsNobodyIn(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Scopes = []string{} })
	s.MS.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
	s.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn, b.RefreshAs = msauthtest.Ada, msauthtest.Bruno })
	b := s.Browser(t)
	b.WantRefused(b.Get(s.Auth.LoginURL(msauth.LoginOptions{Scopes: []string{testsite.OrdersRead}})), 400, "start-again", "another person")
	b.WantGreeting(testsite.HelloNobody)
}

// Graph's scopes have two names at External ID too.
func TestScopesOfGraphAtExternalID(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"https://graph.microsoft.com/", "00000003-0000-0000-c000-000000000000/"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t, testsite.Issuer(testsite.ExternalIDIssuer), testsite.Scopes("User.Read", form+"Files.Read"))
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) {
					var list []string
					for _, scope := range strings.Fields(reply["scope"].(string)) {
						if strings.Contains(scope, ".") && !strings.Contains(scope, "/") {
							scope = form + scope
						}
						list = append(list, scope)
					}
					reply["scope"] = strings.Join(list, " ")
				}
			})
			s.Guard("/mail", s.Auth.RequireScopes("Mail.Read"))
			s.Guard("/long", s.Auth.RequireScopes(form+"Mail.Read"))
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			for _, page := range []string{"/mail", "/long"} {
				if res := b.Get(page); res.Text != testsite.HelloAda {
					t.Errorf("%s: status %d, page %q; log:\n%s", page, res.StatusCode, res.Kind(), s.Log)
				}
			}
		})
	}
}

// A worker has a token again once the operator has done what the error says.
func TestWorkerWithoutAnAccessTokenRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var user string
		s := testsite.NewInProcess(t, testsite.Issuer(testsite.B2cIssuer), func(c *msauth.Config) {
			c.Tokens = testsite.NewTokens()
			c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error { user = in.UserKey; return nil }
		})
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		s.Browser(t).SignIn(msauthtest.Ada)
		s.Restart(t, testsite.Scopes(s.MS.ClientID))
		for _, test := range []struct {
			after time.Duration
			ok    bool
		}{{0, false}, {2 * time.Hour, true}, {48 * time.Hour, true}} {
			time.Sleep(test.after)
			session, err := s.Auth.Offline(t.Context(), user)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := session.Token(t.Context()); (err == nil) != test.ok {
				t.Errorf("after %v: %v", test.after, err)
			}
		}
	})
}

// One reply without an access token, where there always was one, is a fault that
// passes.
func TestRenewalThatBringsNoAccessToken(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"Entra": "", "another provider": "http://localhost:9/generic"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				if at != "" {
					s.Restart(t, testsite.Issuer(at))
				}
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.Rotation = time.Hour, msauthtest.RotateStrict })
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				odd := true
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) {
						if odd {
							reply["access_token"] = nil
						}
						odd = false
					}
				})
				time.Sleep(testsite.Expired)
				if res := b.Get("/?token"); res.StatusCode != http.StatusBadGateway || !strings.Contains(res.Text, "msauth: retry") {
					t.Errorf("status %d, %s", res.StatusCode, res.Text)
				}
				time.Sleep(2 * time.Second)
				if res := b.Get("/?token"); res.StatusCode != http.StatusOK {
					t.Errorf("two seconds later: status %d, %s", res.StatusCode, res.Text)
				}
			})
		})
	}
}

// A lost answer of the keys endpoint, just when there are new keys, costs
// seconds.
func TestLostAnswerOfTheKeysEndpoint(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]msauthtest.Failure{"cut": {Close: true}, "503": {Status: 503}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				s.Browser(t).SignIn(msauthtest.Ada)
				time.Sleep(time.Hour)
				s.MS.RollKeys()
				s.MS.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Keys] = []msauthtest.Failure{failure} })
				if res := s.Browser(t).Get("/"); res.Kind() != "unavailable" {
					t.Errorf("status %d, page %q", res.StatusCode, res.Kind())
				}
				time.Sleep(6 * time.Second)
				s.Browser(t).SignIn(msauthtest.Ada)
			})
		})
	}
}

// Keys without an id say nothing of their being new.
func TestNewKeysWithoutAnID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, testsite.Issuer("http://localhost:9/generic"))
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Signing = msauthtest.SignWithoutKeyID
			b.KeySet = func(keys []map[string]any) []map[string]any {
				for _, key := range keys {
					delete(key, "kid")
				}
				return keys
			}
		})
		s.Browser(t).SignIn(msauthtest.Ada)
		time.Sleep(time.Minute)
		s.MS.RollKeys()
		s.Browser(t).SignIn(msauthtest.Ada)
		s.MS.Set(func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignFlippedBit })
		for range 3 { // and forgeries do not make us ask each time
			s.Browser(t).Get("/")
		}
		s.WantCalls(t, msauthtest.Keys, 2)
	})
}

// The secret in a header is as secret as in a form.
func TestHeaderThatAProviderRepeatsIsHidden(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"s3cret-word-20-chars", "pw12345"} {
		s := testsite.NewInProcess(t, testsite.Issuer("http://localhost:9/generic"))
		s.MS.ClientID, s.MS.ClientSecret = "app1", secret
		s.Restart(t, func(c *msauth.Config) { c.ClientID, c.ClientSecret = "app1", secret })
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.AutoSignIn, b.PlainNoAuthMethods = msauthtest.Ada, true
			b.FailAlways[msauthtest.TokenCode] = msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusUnauthorized)
				fmt.Fprintf(w, `{"error":"invalid_client","error_description":"bad header Authorization: %s"}`, r.Header.Get("Authorization"))
			}}
		})
		s.Browser(t).Get("/")
		encoded := base64.StdEncoding.EncodeToString([]byte("app1:" + secret))
		for what, text := range map[string]string{"the log": s.Log.String(), "Ready": fmt.Sprintf("%+v", s.Auth.Ready(t.Context()))} {
			if strings.Contains(text, encoded[:len(encoded)-2]) {
				t.Errorf("the header is in %s: %s", what, text)
			}
		}
		if len(s.Log.With("bad header Authorization: Basic [hidden]")) == 0 {
			t.Errorf("log:\n%s", s.Log)
		}
	}
}

// What a page needs is asked for again where the code was refused for another
// reason.
func TestAuthContextSurvivesARefusedCode(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	s.Guard("/c1", s.Auth.RequireAuthContext("c1"))
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{{
			Error: "invalid_grant", Suberror: "basic_action", Codes: []int{50076},
			Claims: `{"access_token":{"capolids":{"essential":true,"values":["01234567-89ab-cdef-fedc-ba9876543210"]}}}`,
		}}
	})
	b := s.Browser(t)
	if res := b.Get("/c1"); res.Text != testsite.HelloAda {
		t.Errorf("status %d, page %q; log:\n%s", res.StatusCode, res.Kind(), s.Log)
	}
	s.WantCalls(t, msauthtest.Authorize, 2)
	if got := s.Asked(t).Get("claims"); !strings.Contains(got, "capolids") || !strings.Contains(got, `"c1"`) {
		t.Errorf("the second sign-in asks for %s", got)
	}
}

// The portal writes client IDs in lower case, people in any.
func TestClientIDInCapitals(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.Restart(t, func(c *msauth.Config) { c.ClientID = strings.ToUpper(c.ClientID) })
	s.Browser(t).SignIn(msauthtest.Ada)
}

// Names of guests in the older form lead nowhere either.
func TestOlderNamesOfGuestsAreNotUsedAsLoginHint(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			delete(claims, "preferred_username")
			delete(claims, "login_hint")
			claims["unique_name"] = "live.com#nora@mail.example"
		}
	})
	s.Guard("/calendar", s.Auth.RequireScopes("Calendars.Read"))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	to, err := b.Still().Get("/calendar").Location()
	if err != nil || to.Query().Has("login_hint") {
		t.Errorf("to %v, %v", to, err)
	}
}

// Userinfo cannot make a session too large.
func TestHugeNamesOfUserinfo(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t, testsite.Issuer("http://localhost:9/generic"))
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.PlainBareIDToken = true
		b.UserInfo = func(doc map[string]any) {
			doc["name"], doc["email"] = strings.Repeat("A", 30_000), strings.Repeat("e", 30_000)
		}
	})
	b := s.Browser(t)
	s.As(msauthtest.Ada)
	if res := b.Get("/"); res.StatusCode != http.StatusOK || len(res.Text) > 300 {
		t.Errorf("status %d, page of %d bytes %q", res.StatusCode, len(res.Text), res.Kind())
	}
}
