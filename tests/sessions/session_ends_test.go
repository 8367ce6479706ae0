package sessions_test

import (
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

// What each sign-in does to the end of a session: one that goes on from another
// of the same person ends when that would have, unless credentials were entered
// anew.
func TestWhatASignInDoesToTheEndOfTheSession(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, test := range []struct {
		name   string
		again  string // the page or link that leads to Microsoft, a day after the first sign-in
		person string
		change func(*msauthtest.Behavior)
		ends   time.Duration // after the first sign-in
	}{
		{"consent", "/calendar", msauthtest.Ada, nil, 7 * day},
		{"step-up that asks for nothing", "/c1", msauthtest.Ada, func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["auth_time"] = claims["auth_time"].(int64) - 0 }
		}, 8 * day}, // the second factor is entered: auth_time says so
		{"credentials entered anew", "/fresh", msauthtest.Ada, nil, 8 * day},
		{"a plain link", "/auth/login", msauthtest.Ada, nil, 7 * day},
		{"a plain link without auth_time", "/auth/login", msauthtest.Ada, func(b *msauthtest.Behavior) { b.OmitAuthTime = true }, 7 * day},
		{"consent without auth_time", "/calendar", msauthtest.Ada, func(b *msauthtest.Behavior) { b.OmitAuthTime = true }, 7 * day},
		{"somebody else", "/auth/login", msauthtest.Bruno, nil, 8 * day},
	} {
		for _, stored := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, stored), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := testsite.NewInProcess(t, func(c *msauth.Config) {
						if c.IdleTimeout = 400 * day; stored {
							c.Store = testsite.FileStore(t)
						}
					})
					s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
					if test.change != nil {
						s.MS.Set(test.change)
					}
					s.Guard("/calendar", s.Auth.RequireScopes("Calendars.Read"))
					s.Guard("/fresh", s.Auth.RequireFreshSignIn(5*time.Minute))
					s.Guard("/c1", s.Auth.RequireAuthContext("c1"))
					s.Mux.Handle("/ends", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if session, ok := msauth.FromContext(r.Context()); ok {
							fmt.Fprint(w, time.Until(session.Ends()).Round(time.Minute), " ", time.Since(session.SignedIn()).Round(time.Minute))
						}
					})))
					b := s.Browser(t)
					b.SignIn(msauthtest.Ada)
					began := time.Now()
					time.Sleep(day)
					s.As(test.person)
					s.MS.ResetCalls()
					if res := b.Get(test.again); res.StatusCode != http.StatusOK {
						t.Fatalf("status %d, page %q; log:\n%s", res.StatusCode, res.Kind(), s.Log)
					}
					s.WantCalls(t, msauthtest.Authorize, 1)
					// Twice: it is carried on from session to session.
					time.Sleep(time.Hour)
					want := fmt.Sprint((test.ends - time.Since(began)).Round(time.Minute), " 1h0m0s")
					if got := b.Get("/ends").Text; got != want {
						t.Errorf("the session ends in, and its sign-in was ago: %s, want %s", got, want)
					}
					if test.again == "/auth/login" {
						b.Get(test.again)
						if got := b.Get("/ends").Text; !strings.HasPrefix(got, strings.Fields(want)[0]) {
							t.Errorf("after one more sign-in: %s, want %s", got, want)
						}
					}
					time.Sleep(test.ends - time.Since(began) - time.Minute)
					if got := b.Get("/public/").Text; got == testsite.HelloNobody {
						t.Error("the session has ended too early")
					}
					time.Sleep(2 * time.Minute)
					b.WantGreeting(testsite.HelloNobody)
				})
			})
		}
	}
}

// A session that is over is none to go on from.
func TestSignInAfterASessionBeginsANewOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, func(c *msauth.Config) { c.MaxAge, c.IdleTimeout = 48*time.Hour, 12*time.Hour })
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		time.Sleep(13 * time.Hour) // idle
		if res := b.Get("/"); res.Text != testsite.HelloAda {
			t.Fatalf("page %q", res.Text)
		}
		for range 4 {
			time.Sleep(11 * time.Hour)
			b.WantGreeting(testsite.HelloAda)
		}
		time.Sleep(5 * time.Hour)
		b.WantGreeting(testsite.HelloNobody)
	})
}

// A renewed ID token may name a later auth_time. It is accepted, and proves no
// fresh sign-in: the person was not there.
func TestLaterAuthTimeOfARenewalProvesNothing(t *testing.T) {
	t.Parallel()
	for _, omit := range []bool{false, true} {
		t.Run(fmt.Sprint("none at sign-in ", omit), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.AccessTokenLifetime = time.Hour
					b.IDToken = func(grant msauthtest.Kind, claims map[string]any) {
						if grant == msauthtest.TokenRefresh {
							claims["auth_time"] = time.Now().Unix()
						} else if omit {
							delete(claims, "auth_time")
						}
					}
				})
				s.Guard("/fresh", s.Auth.RequireFreshSignIn(10*time.Minute))
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				s.WantRenewed(t, b, "User.Read")
				if res := b.Still().Get("/fresh"); res.StatusCode != http.StatusSeeOther || !strings.Contains(res.Header.Get("Location"), "max_age=600") {
					t.Errorf("status %d to %q, want a fresh sign-in", res.StatusCode, res.Header.Get("Location"))
				}
			})
		})
	}
}

// OpenID Connect Core section 12.2: a nonce of a renewed ID token is that of the
// sign-in. Another one ends the session.
func TestAnotherNonceAtARenewalEndsTheSession(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		nonce any
		lives bool
	}{{"absent", nil, true}, {"another", "n-0S6_WzA2Mj", false}, {"empty", "", false}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.IDToken = func(grant msauthtest.Kind, claims map[string]any) {
						if grant == msauthtest.TokenRefresh && test.nonce != nil {
							claims["nonce"] = test.nonce
						}
					}
				})
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				time.Sleep(2 * time.Hour)
				if got := b.Get("/public/").Text; (got == testsite.HelloAda) != test.lives {
					t.Errorf("page %q; log:\n%s", got, s.Log)
				}
			})
		})
	}
}

// ID tokens that cannot be used are no outage: five people with one stop nobody.
func TestUnusableIDTokensPauseNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t)
		var people []*testsite.Visitor
		for range 8 {
			people = append(people, o.SignInNew())
		}
		time.Sleep(2 * time.Hour)
		o.MS.Set(func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["iat"] = time.Now().Add(-48 * time.Hour).Unix() }
		})
		for _, v := range people[:7] {
			v.WantHello("with an ID token that is too old")
		}
		if o.Auth.Stats().Paused {
			t.Error("renewals pause")
		}
		o.MS.Set(func(b *msauthtest.Behavior) { b.IDToken = nil })
		if got := people[7].Get("/?token"); got.Status != http.StatusOK {
			t.Errorf("the eighth person: status %d, %s", got.Status, got.Body)
		}
	})
}

// A renewed ID token need not say how somebody is called.
func TestRenewalWithoutNamesKeepsThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.MS.SetUser(msauthtest.User{SignInName: msauthtest.Ada, Name: "Ada Lindqvist", Email: msauthtest.Ada, TenantID: msauthtest.TenantContoso, Roles: []string{"Admin"}})
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.AccessTokenLifetime = time.Hour
			b.IDToken = func(grant msauthtest.Kind, claims map[string]any) {
				if grant == msauthtest.TokenRefresh {
					for _, name := range []string{"name", "preferred_username", "email", "xms_edov", "roles"} {
						delete(claims, name)
					}
				}
			}
		})
		s.Mux.Handle("/who", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			u := session.User
			fmt.Fprint(w, u.Name, " ", u.Username, " ", u.Email, " ", u.EmailVerified, " ", u.Roles)
		})))
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		before := b.Get("/who").Text
		s.WantRenewed(t, b, "User.Read")
		// Roles are what was asserted last: nobody keeps one that was taken away.
		if got, want := b.Get("/who").Text, strings.Replace(before, "[Admin]", "[]", 1); got != want || !strings.Contains(before, "[Admin]") {
			t.Errorf("before %q, after %q", before, got)
		}
	})
}

// The name of a guest in the directory leads nobody anywhere.
func TestGuestsAreNotUsedAsLoginHint(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ username, hint string }{
		{"nora_mail.example#EXT#@contoso.onmicrosoft.com", ""},
		{"nora_mail.example#ext#@contoso.onmicrosoft.com", ""},
		{"nora@contoso.example", "nora@contoso.example"},
	} {
		t.Run(test.username, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t)
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
					claims["preferred_username"] = test.username
					delete(claims, "login_hint")
				}
			})
			s.Guard("/calendar", s.Auth.RequireScopes("Calendars.Read"))
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			to, err := b.Still().Get("/calendar").Location()
			if err != nil || to.Query().Get("login_hint") != test.hint {
				t.Errorf("login_hint %q, want %q", to.Query().Get("login_hint"), test.hint)
			}
		})
	}
}
