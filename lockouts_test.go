package msauth_test

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
)

// An API gives up a scope that some people have granted. They go on with what
// Config.Scopes names, and nobody else notices.
func TestScopeThatTheAPIGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, tenant(msauthtest.TenantContoso), scopes("api://orders/A"))
		o.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"A", "B"}})
		o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		var people []*visitor
		for i := range 12 {
			o.ms.Set(func(b *msauthtest.Behavior) {
				b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) {
					if i < 8 {
						reply["scope"] = reply["scope"].(string) + " api://orders/B"
					}
				}
			})
			people = append(people, o.signInNew())
		}
		o.ms.Set(func(b *msauthtest.Behavior) { b.TokenReply = nil })
		o.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"A"}})
		time.Sleep(61 * time.Minute)
		for i, v := range people {
			if got := v.get("/?token"); got.status != http.StatusOK {
				t.Errorf("person %d: status %d, %s", i, got.status, got.body)
			}
		}
		if err := o.auth.Ready(t.Context()); err != nil || o.auth.Stats().Paused {
			t.Errorf("Ready returns %v, renewals pause: %t", err, o.auth.Stats().Paused)
		}
	})
}

// The app moves to another scope of its API, and the person takes the old one
// back: the token is for that API or there is none, never one for Graph.
func TestTokenIsNeverForGraphInPlaceOfTheAppsAPI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		s.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"A", "B"}})
		s.restart(t, scopes("api://orders/B"))
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		s.restart(t, scopes("api://orders/A"))
		s.ms.Consent(msauthtest.Ada, "api://orders/A")
		s.ms.Withdraw(msauthtest.Ada, "api://orders/B")
		time.Sleep(expired)
		res := b.get("/?token")
		if _, err := s.ms.VerifyAccessToken(res.body, "api://orders"); res.StatusCode != http.StatusOK || err != nil {
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
				s := newSiteInProcess(t, issuer(b2cIssuer))
				s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.AutoSignIn = time.Hour, msauthtest.Ada })
				s.guard("/api", s.auth.RequireScopes("https://fabrikam.onmicrosoft.com/api/read"))
				b := s.browser(t)
				b.get(first)
				for range 3 {
					if res := b.get("/api"); res.body != helloAda {
						t.Fatalf("status %d, page %q; log:\n%s", res.StatusCode, res.kind(), s.log)
					}
					time.Sleep(expired)
				}
				if err := s.auth.Ready(t.Context()); err != nil {
					t.Errorf("Ready returns %v", err)
				}
			})
		})
	}
	t.Run("the app's own API by the form that is refused", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newSiteInProcess(t)
			s.restart(t, scopes("api://"+s.ms.ClientID+"/read"))
			s.ms.AddAPI(msauthtest.API{ID: "api://" + s.ms.ClientID, ClientID: s.ms.ClientID})
			s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn, b.RefuseOwnURI = msauthtest.Ada, true })
			s.guard("/mail", s.auth.RequireScopes("Mail.Read"))
			if res := s.browser(t).get("/mail"); res.body != helloAda {
				t.Errorf("status %d, page %q; log:\n%s", res.StatusCode, res.kind(), s.log)
			}
		})
	})
}

// A sign-in for another API, after which the session's own token is another
// person's: that is no session of anybody.
func TestOwnTokenOfAnotherPersonSignsNobodyIn(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t, func(c *msauth.Config) { c.Scopes = []string{} })
	s.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn, b.RefreshAs = msauthtest.Ada, msauthtest.Bruno })
	b := s.browser(t)
	b.wantRefused(b.get(s.auth.LoginURL(msauth.LoginOptions{Scopes: []string{ordersRead}})), 400, "start-again", "another person")
	b.wantGreeting(helloNobody)
}

// Graph's scopes have two names at External ID too.
func TestScopesOfGraphAtExternalID(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"https://graph.microsoft.com/", "00000003-0000-0000-c000-000000000000/"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t, issuer(externalIDIssuer), scopes("User.Read", form+"Files.Read"))
			s.ms.Set(func(b *msauthtest.Behavior) {
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
			s.guard("/mail", s.auth.RequireScopes("Mail.Read"))
			s.guard("/long", s.auth.RequireScopes(form+"Mail.Read"))
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			for _, page := range []string{"/mail", "/long"} {
				if res := b.get(page); res.body != helloAda {
					t.Errorf("%s: status %d, page %q; log:\n%s", page, res.StatusCode, res.kind(), s.log)
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
		s := newSiteInProcess(t, issuer(b2cIssuer), func(c *msauth.Config) {
			c.Tokens = &memory{entries: map[string]msauth.StoredTokens{}}
			c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error { user = in.UserKey; return nil }
		})
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		s.browser(t).signIn(msauthtest.Ada)
		s.restart(t, scopes(s.ms.ClientID))
		for _, test := range []struct {
			after time.Duration
			ok    bool
		}{{0, false}, {2 * time.Hour, true}, {48 * time.Hour, true}} {
			time.Sleep(test.after)
			session, err := s.auth.Offline(t.Context(), user)
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
				s := newSiteInProcess(t)
				if at != "" {
					s.restart(t, issuer(at))
				}
				s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.Rotation = time.Hour, msauthtest.RotateStrict })
				b := s.browser(t)
				b.signIn(msauthtest.Ada)
				odd := true
				s.ms.Set(func(b *msauthtest.Behavior) {
					b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) {
						if odd {
							reply["access_token"] = nil
						}
						odd = false
					}
				})
				time.Sleep(expired)
				if res := b.get("/?token"); res.StatusCode != http.StatusBadGateway || !strings.Contains(res.body, "msauth: retry") {
					t.Errorf("status %d, %s", res.StatusCode, res.body)
				}
				time.Sleep(2 * time.Second)
				if res := b.get("/?token"); res.StatusCode != http.StatusOK {
					t.Errorf("two seconds later: status %d, %s", res.StatusCode, res.body)
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
				s := newSiteInProcess(t)
				s.browser(t).signIn(msauthtest.Ada)
				time.Sleep(time.Hour)
				s.ms.RollKeys()
				s.ms.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Keys] = []msauthtest.Failure{failure} })
				if res := s.browser(t).get("/"); res.kind() != "unavailable" {
					t.Errorf("status %d, page %q", res.StatusCode, res.kind())
				}
				time.Sleep(6 * time.Second)
				s.browser(t).signIn(msauthtest.Ada)
			})
		})
	}
}

// Keys without an id say nothing of their being new.
func TestNewKeysWithoutAnID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t, issuer("http://localhost:9/generic"))
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.Signing = msauthtest.SignWithoutKeyID
			b.KeySet = func(keys []map[string]any) []map[string]any {
				for _, key := range keys {
					delete(key, "kid")
				}
				return keys
			}
		})
		s.browser(t).signIn(msauthtest.Ada)
		time.Sleep(time.Minute)
		s.ms.RollKeys()
		s.browser(t).signIn(msauthtest.Ada)
		s.ms.Set(func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignFlippedBit })
		for range 3 { // and forgeries do not make us ask each time
			s.browser(t).get("/")
		}
		s.wantCalls(t, msauthtest.Keys, 2)
	})
}

// The secret in a header is as secret as in a form.
func TestHeaderThatAProviderRepeatsIsHidden(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"s3cret-word-20-chars", "pw12345"} {
		s := newSiteInProcess(t, issuer("http://localhost:9/generic"))
		s.ms.ClientID, s.ms.ClientSecret = "app1", secret
		s.restart(t, func(c *msauth.Config) { c.ClientID, c.ClientSecret = "app1", secret })
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.AutoSignIn, b.PlainNoAuthMethods = msauthtest.Ada, true
			b.FailAlways[msauthtest.TokenCode] = msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusUnauthorized)
				fmt.Fprintf(w, `{"error":"invalid_client","error_description":"bad header Authorization: %s"}`, r.Header.Get("Authorization"))
			}}
		})
		s.browser(t).get("/")
		encoded := base64.StdEncoding.EncodeToString([]byte("app1:" + secret))
		for what, text := range map[string]string{"the log": s.log.String(), "Ready": fmt.Sprintf("%+v", s.auth.Ready(t.Context()))} {
			if strings.Contains(text, encoded[:len(encoded)-2]) {
				t.Errorf("the header is in %s: %s", what, text)
			}
		}
		if len(s.log.with("bad header Authorization: Basic [hidden]")) == 0 {
			t.Errorf("log:\n%s", s.log)
		}
	}
}

// What a page needs is asked for again where the code was refused for another
// reason.
func TestAuthContextSurvivesARefusedCode(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	s.guard("/c1", s.auth.RequireAuthContext("c1"))
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{{
			Error: "invalid_grant", Suberror: "basic_action", Codes: []int{50076},
			Claims: `{"access_token":{"capolids":{"essential":true,"values":["01234567-89ab-cdef-fedc-ba9876543210"]}}}`,
		}}
	})
	b := s.browser(t)
	if res := b.get("/c1"); res.body != helloAda {
		t.Errorf("status %d, page %q; log:\n%s", res.StatusCode, res.kind(), s.log)
	}
	s.wantCalls(t, msauthtest.Authorize, 2)
	if got := s.asked(t).Get("claims"); !strings.Contains(got, "capolids") || !strings.Contains(got, `"c1"`) {
		t.Errorf("the second sign-in asks for %s", got)
	}
}

// The portal writes client IDs in lower case, people in any.
func TestClientIDInCapitals(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	s.restart(t, func(c *msauth.Config) { c.ClientID = strings.ToUpper(c.ClientID) })
	s.browser(t).signIn(msauthtest.Ada)
}

// Names of guests in the older form lead nowhere either.
func TestOlderNamesOfGuestsAreNotUsedAsLoginHint(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			delete(claims, "preferred_username")
			delete(claims, "login_hint")
			claims["unique_name"] = "live.com#nora@mail.example"
		}
	})
	s.guard("/calendar", s.auth.RequireScopes("Calendars.Read"))
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	to, err := b.still().get("/calendar").Location()
	if err != nil || to.Query().Has("login_hint") {
		t.Errorf("to %v, %v", to, err)
	}
}

// Userinfo cannot make a session too large.
func TestHugeNamesOfUserinfo(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t, issuer("http://localhost:9/generic"))
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.PlainBareIDToken = true
		b.UserInfo = func(doc map[string]any) {
			doc["name"], doc["email"] = strings.Repeat("A", 30_000), strings.Repeat("e", 30_000)
		}
	})
	b := s.browser(t)
	s.as(msauthtest.Ada)
	if res := b.get("/"); res.StatusCode != http.StatusOK || len(res.body) > 300 {
		t.Errorf("status %d, page of %d bytes %q", res.StatusCode, len(res.body), res.kind())
	}
}
