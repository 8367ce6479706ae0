package signin_test

import (
	"fmt"
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

// reauthenticate is a setting of sites whose sessions end soon.
func reauthenticate(c *msauth.Config) {
	c.Reauthenticate, c.IdleTimeout, c.MaxAge = true, 2*time.Hour, 8*time.Hour
}

// signsBackIn begins a sign-in at target with prompt and max_age taken out of the
// address bar, and opens the callback.
func signsBackIn(b *testsite.Browser, target string) testsite.Seen {
	b.T.Helper()
	still := b.Still()
	to := still.Get(target).Header.Get("Location")
	if !strings.HasPrefix(to, b.Site.MS.URL) {
		b.T.Fatalf("%s leads to %q, want the provider; log:\n%s", target, to, b.Site.Log)
	}
	back := still.Get(testsite.Reworded(b.T, to, func(q url.Values) { q.Del("prompt"); q.Del("max_age") })).Header.Get("Location")
	return b.Get(back)
}

const notAsked = "before the sign-in began, which Reauthenticate does not allow"

// wantNotAsked checks that a sign-in that proves nothing ends on a page, and that
// its link leads to one that works.
func wantNotAsked(b *testsite.Browser, res testsite.Seen, greeting string) {
	b.T.Helper()
	b.WantRefused(res, http.StatusForbidden, "not-enough", notAsked)
	links := testsite.LinksOf(res)
	if len(links) != 2 || !strings.HasPrefix(links[0], "/auth/login?") || !strings.Contains(links[0], "prompt=login") || links[1] != "/" {
		b.T.Fatalf("links %q, want one to sign in with credentials and one to the home page", links)
	}
	if res := b.Get(links[0]); res.Text != greeting {
		b.T.Errorf("the link leads to %q, want %q; log:\n%s", res.Text, greeting, b.Site.Log)
	}
	if got := b.Site.Asked(b.T); got.Get("prompt") != "login" {
		b.T.Errorf("the link asks with %v", got)
	}
}

// Whoever has no valid session enters credentials, whatever became of the last
// one and whatever cookies the browser has. That Microsoft still knows them does
// not help, and nor does editing the address.
func TestReauthenticateHoldsForEverySignInThatBeginsASession(t *testing.T) {
	t.Parallel()
	endings := map[string]func(t *testing.T, s *testsite.Site, b *testsite.Browser){
		"idle":   func(_ *testing.T, _ *testsite.Site, _ *testsite.Browser) { time.Sleep(2 * time.Hour) },
		"closed": func(_ *testing.T, _ *testsite.Site, b *testsite.Browser) { forgetAll(b) },
		"too old, and the browser has deleted the cookies": func(_ *testing.T, _ *testsite.Site, b *testsite.Browser) {
			time.Sleep(8 * time.Hour)
			forgetAll(b)
		},
		"too old, and the browser has kept the cookies": func(_ *testing.T, _ *testsite.Site, b *testsite.Browser) {
			kept := b.Cookies()
			time.Sleep(8 * time.Hour)
			for _, c := range kept {
				b.Keep(c.Name, c.Value)
			}
		},
		"ended by a script's request": func(_ *testing.T, _ *testsite.Site, b *testsite.Browser) {
			time.Sleep(2 * time.Hour)
			b.Fetch("/")
		},
		"signed out here": func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			b.Still().Request(http.MethodPost, "/auth/logout", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Origin", s.URL)
			b.WantGreeting(testsite.HelloNobody)
			time.Sleep(time.Hour)
		},
		"read by a server that does not have its key": func(t *testing.T, s *testsite.Site, _ *testsite.Browser) {
			s.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{testsite.NewKey()} })
			time.Sleep(time.Hour)
		},
	}
	for name, end := range endings {
		for _, stored := range []bool{false, true} {
			for _, target := range []string{"/page", "/auth/login", "/auth/login?prompt=select_account", "/auth/login?prompt=login&return_to=/page"} {
				t.Run(fmt.Sprint(name, stored, target), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						s := testsite.NewInProcess(t, reauthenticate, func(c *msauth.Config) {
							if stored {
								c.Store = testsite.FileStore(t)
							}
						})
						b := s.Browser(t)
						b.SignIn(msauthtest.Ada)
						if got := s.Asked(t); got.Get("prompt") != "login" || got.Get("max_age") != "1800" {
							t.Errorf("first visit: asked with %v", got)
						}
						b.WantGreeting(testsite.HelloAda)
						time.Sleep(2 * time.Minute)
						end(t, s, b)
						wantNotAsked(b, signsBackIn(b, target), testsite.HelloAda)
						b.WantGreeting(testsite.HelloAda)
						forgetAll(b)
						if res := b.Get(target); res.Text != testsite.HelloAda {
							t.Errorf("with credentials: page %q; log:\n%s", res.Text, s.Log)
						}
						if got := s.Asked(t); got.Get("prompt") != "login" || got.Get("max_age") != "1800" {
							t.Errorf("asked with %v", got)
						}
					})
				})
			}
		}
	}
}

// forgetAll takes all cookies of the site away.
func forgetAll(b *testsite.Browser) {
	for _, c := range b.Cookies() {
		b.Keep(c.Name, "")
	}
}

func TestReauthenticateIsOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, reauthenticate, func(c *msauth.Config) { c.Reauthenticate = false })
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		time.Sleep(9 * time.Hour)
		if res := b.Get("/"); res.Text != testsite.HelloAda {
			t.Errorf("page %q; log:\n%s", res.Text, s.Log)
		}
		if got := s.Asked(t); got.Has("prompt") || got.Has("max_age") {
			t.Errorf("asked with %v", got)
		}
	})
}

// What the ID token says about the time decides, for each kind of account.
func TestWhatProvesThatCredentialsWereEntered(t *testing.T) {
	t.Parallel()
	at := func(ago time.Duration) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			b.PersonalClaims = true
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["auth_time"] = time.Now().Add(-ago).Unix() }
		}
	}
	omit := func(b *msauthtest.Behavior) { b.OmitAuthTime = true }
	odd := func(b *msauthtest.Behavior) {
		b.PersonalClaims = true
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["auth_time"] = "yesterday" }
	}
	other := func(c *msauth.Config) { c.Authority, c.Issuer = "", c.Authority+"/generic" }
	for _, test := range []struct {
		name         string
		person       string
		change       func(*msauth.Config)
		behave       func(*msauthtest.Behavior)
		kind, reason string // of the page; "" if the person is signed in
	}{
		{"work", msauthtest.Ada, nil, nil, "", ""},
		{"work, a minute early", msauthtest.Ada, nil, at(time.Minute), "", ""},
		{"work, a minute and a second early", msauthtest.Ada, nil, at(61 * time.Second), "not-enough", "auth_time is 1m1s " + notAsked},
		{"work, a provider that takes no notice", msauthtest.Ada, nil, at(time.Hour), "not-enough", "auth_time is 1h0m0s " + notAsked},
		{"work, from 1970", msauthtest.Ada, nil, at(time.Since(time.Unix(1, 0))), "not-enough", notAsked},
		{"work, from the future", msauthtest.Ada, nil, at(-time.Hour), "no-auth-time", "auth_time is missing"},
		{"work, none", msauthtest.Ada, nil, omit, "no-auth-time", "auth_time is missing"},
		{"work, no time", msauthtest.Ada, nil, odd, "no-auth-time", "auth_time is missing"},
		{"personal, none", msauthtest.Mia, nil, nil, "", ""},
		{"personal, no time", msauthtest.Mia, nil, odd, "", ""},
		{"personal, there", msauthtest.Mia, nil, at(0), "", ""},
		{"personal, there and early", msauthtest.Mia, nil, at(time.Hour), "not-enough", notAsked},
		{"another provider", msauthtest.Ada, other, nil, "", ""},
		{"another provider that takes no notice", msauthtest.Ada, other, at(time.Hour), "not-enough", notAsked},
		{"another provider, none", msauthtest.Ada, other, omit, "no-auth-time", "auth_time is missing"},
		{"External ID, none", msauthtest.Ada, testsite.Issuer(testsite.ExternalIDIssuer), omit, "no-auth-time", "auth_time is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				changes := []func(*msauth.Config){reauthenticate}
				if test.change != nil {
					changes = []func(*msauth.Config){test.change, reauthenticate}
				}
				s := testsite.NewInProcess(t, changes...)
				s.As(test.person)
				if test.behave != nil {
					s.MS.Set(test.behave)
				}
				b := s.Browser(t)
				res := b.Get("/page") // with all redirects
				s.WantCalls(t, msauthtest.Authorize, 1)
				if got := s.Asked(t); got.Get("prompt") != "login" || got.Get("max_age") != "1800" {
					t.Errorf("asked with %v", got)
				}
				if test.kind == "" {
					if !strings.HasPrefix(res.Text, "hello ") || res.Text == testsite.HelloNobody {
						t.Fatalf("page %q; log:\n%s", res.Text, s.Log)
					}
					return
				}
				b.WantRefused(res, http.StatusForbidden, test.kind, test.reason)
				if !strings.Contains(res.Text, "You are not signed in.") {
					t.Errorf("page %q does not say that nobody is signed in", res.Text)
				}
				b.WantGreeting(testsite.HelloNobody)
				if res := b.Get("/page"); res.StatusCode != http.StatusForbidden { // again, and no loop
					t.Errorf("the next time: status %d", res.StatusCode)
				}
				s.WantCalls(t, msauthtest.Authorize, 2)
				if got := s.Auth.Stats().Refused["fresh_sign_in"]; got != 2 {
					t.Errorf("%d refusals are counted, want 2", got)
				}
			})
		})
	}
}

// For a personal account it is asked, and not proved: this is what SECURITY.md
// says.
func TestReauthenticateProvesNothingOfPersonalAccounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, reauthenticate)
		b := s.Browser(t)
		b.SignIn(msauthtest.Mia)
		greeting := b.Get("/public/").Text
		time.Sleep(9 * time.Hour)
		if res := b.Get("/"); res.Text != greeting || s.Asked(t).Get("prompt") != "login" {
			t.Errorf("page %q, asked with %v; log:\n%s", res.Text, s.Asked(t), s.Log)
		}
		time.Sleep(9 * time.Hour)
		if res := signsBackIn(b, "/"); res.Text != greeting {
			t.Errorf("page %q; log:\n%s", res.Text, s.Log)
		}
	})
}

// Whoever has a valid session is asked for what is missing, and for nothing
// more. With the address edited too: nothing is demanded of the answer.
func TestReauthenticateLeavesPeopleWithASessionAlone(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/calendar", "/c1", "/auth/login", "/auth/login?login_hint=ADA@contoso.example", "/again", "script"} {
		for _, stored := range []bool{false, true} {
			t.Run(fmt.Sprint(target, stored), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := testsite.NewInProcess(t, reauthenticate, func(c *msauth.Config) {
						if stored {
							c.Store = testsite.FileStore(t)
						}
					})
					s.Guard("/calendar", s.Auth.RequireScopes("Calendars.Read"))
					s.Guard("/c1", s.Auth.RequireAuthContext("c1"))
					s.Mux.Handle("/again", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if session, _ := msauth.FromContext(r.Context()); time.Since(session.SignedIn()) < time.Minute {
							testsite.Hello(w, r)
							return
						}
						s.Auth.Challenge(w, r, msauth.ErrSignInRequired)
					})))
					b := s.Browser(t)
					b.SignIn(msauthtest.Ada)
					time.Sleep(time.Hour)
					s.MS.ResetCalls()
					target := target
					if target == "script" {
						target = b.WantProblem(b.Fetch("/calendar"), http.StatusUnauthorized).LoginURL
					}
					if res := b.Get(target); res.Text != testsite.HelloAda {
						t.Fatalf("page %q; log:\n%s", res.Text, s.Log)
					}
					s.WantCalls(t, msauthtest.Authorize, 1)
					if got := s.Asked(t); got.Has("prompt") || got.Has("max_age") {
						t.Errorf("asked with %v", got)
					}
				})
			})
		}
	}
}

// A session that ends while the person is at Microsoft for more is none to go on
// from.
func TestASessionThatEndsDuringAStepUpIsBegunAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, reauthenticate)
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		time.Sleep(2*time.Hour - 4*time.Minute)
		back := b.Attempt(s.Auth.LoginURL(msauth.LoginOptions{Scopes: []string{"Calendars.Read"}}))
		if got := s.Asked(t); got.Has("prompt") {
			t.Errorf("asked with %v", got)
		}
		time.Sleep(5 * time.Minute)
		wantNotAsked(b, b.Get(back), testsite.HelloAda)
	})
}

// Another account begins a session of its own, whoever is signed in.
func TestReauthenticateHoldsForAnotherAccount(t *testing.T) {
	t.Parallel()
	setUp := func(t *testing.T) *testsite.Browser {
		b := testsite.NewInProcess(t, reauthenticate).Browser(t)
		b.SignIn(msauthtest.Bruno) // who stays signed in at Microsoft
		forgetAll(b)
		b.SignIn(msauthtest.Ada)
		time.Sleep(time.Hour)
		b.Site.As(msauthtest.Bruno)
		return b
	}
	synctest.Test(t, func(t *testing.T) {
		for _, link := range []msauth.LoginOptions{
			{Prompt: "select_account"}, {Prompt: "login"}, {LoginHint: msauthtest.Bruno}, {LoginHint: msauthtest.Bruno, Prompt: "select_account"},
		} {
			b := setUp(t)
			target := b.Site.Auth.LoginURL(link)
			if res := signsBackIn(b, target); !strings.Contains(res.Text, "You are still signed in as before.") {
				t.Errorf("%s: page %q", target, res.Text)
			} else {
				wantNotAsked(b, res, "hello Bruno Okafor")
			}
			b = setUp(t)
			if res := b.Get(target); res.Text != "hello Bruno Okafor" {
				t.Errorf("%s: page %q; log:\n%s", target, res.Text, b.Site.Log)
			}
			if got := b.Site.Asked(t); got.Get("prompt") != "login" || got.Get("max_age") != "1800" || got.Get("login_hint") != link.LoginHint {
				t.Errorf("%s: asked with %v", target, got)
			}
		}
		// A link that asks nobody, and the person picks another account.
		b := setUp(t)
		wantNotAsked(b, b.Get("/auth/login"), "hello Bruno Okafor")
	})
}

// No link asks for less.
func TestNoLinkGetsRoundReauthenticate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, reauthenticate)
		s.Guard("/codes", s.Auth.RequireFreshSignIn(5*time.Minute))
		s.Guard("/three", s.Auth.RequireFreshSignIn(3*time.Hour))
		for target, want := range map[string]string{
			"/auth/login?prompt=none":    "",
			"/auth/login?prompt=consent": "",
			"/auth/login?prompt=":        "1800",
			"/auth/login?max_age=999999": "1800",
			"/codes":                     "300",
			"/three":                     "1800",
			s.Auth.LoginURL(msauth.LoginOptions{Scopes: []string{"Files.Read"}, AppState: "x"}): "1800",
		} {
			b := s.Browser(t)
			if want == "" {
				s.WantPage(t, b.Get(target), http.StatusBadRequest, "bad-request", "prompt is neither")
				continue
			}
			if got := b.AuthorizeQuery(target); got.Get("prompt") != "login" || got.Get("max_age") != want {
				t.Errorf("%s asks with %v, want max_age %s", target, got, want)
			}
		}
		// With a session, a handler's own demand is as it was.
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		for range 2 {
			time.Sleep(100 * time.Minute)
			b.WantGreeting(testsite.HelloAda)
		}
		for target, want := range map[string]string{"/codes": "300", "/three": "10800"} {
			if got := b.AuthorizeQuery(target); got.Get("prompt") != "login" || got.Get("max_age") != want {
				t.Errorf("%s with a session asks with %v, want max_age %s", target, got, want)
			}
		}
		// The links of pages after which a person starts again.
		lost := s.Browser(t)
		for _, link := range testsite.LinksOf(lost.Get(s.Browser(t).Attempt("/page"))) {
			if got := lost.AuthorizeQuery(link); got.Get("prompt") != "login" {
				t.Errorf("%s asks with %v", link, got)
			}
		}
	})
}

// Each tab has its attempt. The one that comes back second goes on from the
// session that the first has begun, if it is for the same account.
func TestReauthenticateInTwoTabs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, reauthenticate)
		b := s.Browser(t)
		b.SignIn(msauthtest.Bruno)
		forgetAll(b)
		b.SignIn(msauthtest.Ada)
		time.Sleep(9 * time.Hour)
		first, second := b.Attempt("/one"), b.Attempt("/two")
		s.As(msauthtest.Bruno)
		forged := func(target string) string { // still signed in at Microsoft, and edits the address
			still := b.Still()
			to := still.Get(target).Header.Get("Location")
			return still.Get(testsite.Reworded(t, to, func(q url.Values) { q.Del("prompt"); q.Del("max_age") })).Header.Get("Location")
		}
		others := forged("/three")
		for _, back := range []string{first, second} {
			if res := b.Get(back); res.Text != testsite.HelloAda {
				t.Errorf("page %q; log:\n%s", res.Text, s.Log)
			}
		}
		b.WantRefused(b.Get(others), http.StatusForbidden, "not-enough", notAsked)
		b.WantGreeting(testsite.HelloAda)
		// A tab from before the session ended proves nothing after that.
		s.As(msauthtest.Ada)
		time.Sleep(2*time.Hour - 5*time.Minute)
		late := forged("/auth/login")
		time.Sleep(5 * time.Minute)
		b.WantRefused(b.Get(late), http.StatusForbidden, "not-enough", notAsked)
	})
}

// A policy challenges the code of a sign-in: the second attempt does not ask for
// the password again, and counts it from when the first began.
func TestReauthenticateWithAClaimsChallengeAtTheCode(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		entered time.Duration // after the first attempt began
		ok      bool
	}{{"entered for the first attempt", 0, true}, {"entered before", -2 * time.Minute, false}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, reauthenticate)
				entered := time.Now().Add(test.entered).Unix()
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.RequireMFAForCode = true
					b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["auth_time"] = entered }
				})
				s.As(msauthtest.Ada)
				b := s.Browser(t)
				back := b.Attempt("/page")
				time.Sleep(10 * time.Minute)
				still := b.Still()
				to := still.Get(back).Header.Get("Location")
				if to, _ := url.Parse(to); to.Query().Has("prompt") || to.Query().Get("max_age") != "1800" || !to.Query().Has("claims") {
					t.Fatalf("asked with %v; log:\n%s", to, s.Log)
				}
				time.Sleep(10 * time.Minute)
				res := b.Get(still.Get(to).Header.Get("Location"))
				if test.ok && res.Text != testsite.HelloAda {
					t.Errorf("page %q; log:\n%s", res.Text, s.Log)
				}
				if !test.ok {
					b.WantRefused(res, http.StatusForbidden, "not-enough", notAsked)
				}
			})
		})
	}
	t.Run("with a session", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := testsite.NewInProcess(t, reauthenticate)
			s.Guard("/calendar", s.Auth.RequireScopes("Calendars.Read"))
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			time.Sleep(time.Hour)
			s.MS.Set(func(b *msauthtest.Behavior) { b.RequireMFAForCode = true })
			if res := b.Get("/calendar"); res.Text != testsite.HelloAda {
				t.Errorf("page %q; log:\n%s", res.Text, s.Log)
			}
			if got := s.Asked(t); got.Has("prompt") || got.Has("max_age") {
				t.Errorf("asked with %v", got)
			}
		})
	})
}

// Connecting an account begins no session, unless OnSignIn wants one.
func TestReauthenticateAndConnect(t *testing.T) {
	t.Parallel()
	for _, makes := range []bool{false, true} {
		t.Run(fmt.Sprint("makes a session ", makes), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				kept := testsite.NewTokens()
				s := testsite.NewInProcess(t, reauthenticate, testsite.OfItsOwn(kept), func(c *msauth.Config) {
					c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
						in.MakeSession, in.ReplaceAccount = in.Connecting && makes, true
						return nil
					}
				})
				s.Mux.Handle("/connect", s.Auth.Connect("/public/settings"))
				b := s.Browser(t)
				b.SignIn(msauthtest.Bruno)
				forgetAll(b)
				b.SignIn(msauthtest.Ada)
				forgetAll(b)
				b.Keep("app", "user-1")
				time.Sleep(time.Hour)
				connect := func(edited bool) testsite.Seen {
					still := b.Still()
					to := still.Connect().Header.Get("Location")
					if edited {
						to = testsite.Reworded(t, to, func(q url.Values) { q.Del("prompt"); q.Del("max_age") })
					}
					return b.Get(still.Get(to).Header.Get("Location"))
				}
				res := connect(true)
				if !makes {
					if res.Text != testsite.HelloNobody || !slices.Equal(kept.Users(), []string{"user-1"}) {
						t.Errorf("page %q, tokens of %q; log:\n%s", res.Text, kept.Users(), s.Log)
					}
					return
				}
				b.WantRefused(res, http.StatusForbidden, "not-enough", notAsked)
				if links := testsite.LinksOf(res); !slices.Equal(links, []string{"/public/settings", "/"}) || len(kept.Users()) > 0 {
					t.Errorf("links %q, tokens of %q", links, kept.Users())
				}
				if res := connect(false); res.Text != testsite.HelloAda {
					t.Errorf("with credentials: page %q; log:\n%s", res.Text, s.Log)
				}
				if got := s.Asked(t); got.Get("prompt") != "login" || got.Get("max_age") != "1800" {
					t.Errorf("asked with %v", got)
				}
				// From here on Ada has a session: the account is chosen, as ever.
				time.Sleep(time.Hour)
				if res := connect(false); res.Text != testsite.HelloAda {
					t.Errorf("with a session: page %q; log:\n%s", res.Text, s.Log)
				}
				if got := s.Asked(t); got.Get("prompt") != "select_account" || got.Has("max_age") {
					t.Errorf("with a session: asked with %v", got)
				}
				s.As(msauthtest.Bruno)
				res = connect(false)
				b.WantRefused(res, http.StatusForbidden, "not-enough", notAsked)
				if links := testsite.LinksOf(res); len(links) != 3 || !strings.HasPrefix(links[1], "/auth/logout") {
					t.Errorf("links %q, want one to sign out", links)
				}
				b.WantGreeting(testsite.HelloAda)
			})
		})
	}
}
