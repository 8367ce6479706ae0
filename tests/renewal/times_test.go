package renewal_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestRenewalWaitsForThoseWhoWantAPage(t *testing.T) {
	tests := []struct {
		name   string
		after  time.Duration
		header []string
		want   int // token requests
	}{
		{"navigation", testsite.Due, nil, 1},
		{"script", testsite.Due, []string{"Sec-Fetch-Mode", "cors", "Accept", "*/*"}, 1},
		{"prefetch", testsite.Due, []string{"Sec-Purpose", "prefetch"}, 0},
		{"WebSocket", testsite.Due, []string{"Upgrade", "websocket", "Connection", "Upgrade"}, 0},
		{"WebSocket, expired", testsite.Expired, []string{"Upgrade", "websocket", "Connection", "Upgrade"}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
				time.Sleep(test.after)
				res := b.Get("/", test.header...)
				if res.Text != testsite.HelloAda {
					t.Errorf("page %q, want %q", res.Text, testsite.HelloAda)
				}
				s.WantCalls(t, msauthtest.TokenRefresh, test.want)
				if test.want == 0 && len(res.Cookies()) > 0 {
					t.Errorf("cookies %v, want none", res.Cookies())
				}
				// However it began, what follows needs one request in all.
				b.WantGreeting(testsite.HelloAda)
				b.Token()
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
			})
		})
	}
}

func TestRenewalTimesThatTheProviderNames(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   any // expires_in
		want time.Duration
	}{
		{"a number", 600, 10 * time.Minute},
		{"a text", "600", 10 * time.Minute},
		{"a fraction", 600.9, 10 * time.Minute},
		{"absent", msauthtest.Omit, time.Hour},
		{"negative", -1, time.Hour},
		{"zero", 0, time.Hour},
		{"nonsense", "soon", time.Hour},
		{"endless", 1e300, 48 * time.Hour},
		{"more digits than an integer has", json.RawMessage("99999999999999999999"), 48 * time.Hour},
		{"NaN", "NaN", time.Hour},
		{"a list", []int{600}, time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
				s := testsite.NewInProcess(t, at.Change)
				s.MS.Set(func(b *msauthtest.Behavior) { b.ExpiresIn = test.in })
				var got time.Duration
				s.Mux.Handle("/expiry", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					session, _ := msauth.FromContext(r.Context())
					got = time.Until(session.Expiry())
				})))
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				if b.Get("/expiry"); got != test.want {
					t.Errorf("the token expires in %v, want %v", got, test.want)
				}
				// Whatever it is, the margin is at most five minutes and jitter.
				time.Sleep(got - 8*time.Minute)
				if got > 20*time.Minute {
					b.Get("/")
					s.WantCalls(t, msauthtest.TokenRefresh, 0)
				}
				time.Sleep(8*time.Minute - time.Second)
				b.Get("/")
				if n := s.MS.Count(msauthtest.TokenRefresh); n != 1 && got < 24*time.Hour {
					t.Errorf("%d renewals a second before the end, want 1", n)
				}
			})
		})
	}
}

func TestSessionEndsWhateverTheCookieSays(t *testing.T) {
	tests := []struct {
		name string
		age  time.Duration
		use  time.Duration // steady, every so long
	}{
		{"seldom used", 7 * 24 * time.Hour, 23 * time.Hour},
		{"steadily used", 7 * 24 * time.Hour, time.Hour},
		{"longer", 30 * 24 * time.Hour, 20 * time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
				end := time.Now().Add(test.age)
				for time.Until(end) > test.use {
					time.Sleep(test.use)
					if got := b.Get("/public/").Text; got != testsite.HelloAda {
						t.Fatalf("%v before the end: page %q; log:\n%s", time.Until(end), got, s.Log)
					}
				}
				kept := b.Session()
				time.Sleep(time.Until(end))
				if len(b.Session()) != 0 {
					t.Error("the browser still has the cookie")
				}
				for _, c := range kept { // and if it had
					b.Keep(c.Name, c.Value)
				}
				b.WantGreeting(testsite.HelloNobody)
				if len(s.Log.With(`reason="too old"`)) != 1 {
					t.Errorf("log %s, want the reason", s.Log)
				}
			}, func(c *msauth.Config) { c.MaxAge = test.age })
		})
	}
}

func TestIdleSessionEnds(t *testing.T) {
	tests := []struct {
		name   string
		change func(*msauth.Config)
		wait   time.Duration
		want   string
	}{
		{"before", nil, 23*time.Hour - time.Second, testsite.HelloAda}, // one step early at most
		{"after", nil, 24 * time.Hour, testsite.HelloNobody},
		{"shorter, before", func(c *msauth.Config) { c.IdleTimeout = 10 * time.Minute }, 9*time.Minute + 30*time.Second, testsite.HelloAda},
		{"shorter, after", func(c *msauth.Config) { c.IdleTimeout = 10 * time.Minute }, 10 * time.Minute, testsite.HelloNobody},
		{"off", func(c *msauth.Config) { c.IdleTimeout = 7 * 24 * time.Hour }, 6 * 24 * time.Hour, testsite.HelloAda},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var changes []func(*msauth.Config)
			if test.change != nil {
				changes = append(changes, test.change)
			}
			testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
				for range 3 {
					time.Sleep(test.wait)
					b.WantGreeting(test.want)
					if test.want == testsite.HelloNobody {
						if len(s.Log.With("reason=idle")) != 1 {
							t.Errorf("log %s, want the reason", s.Log)
						}
						return
					}
					if test.name == "off" {
						return
					}
				}
			}, changes...)
		})
	}
}

func TestUseIsNotedInSteps(t *testing.T) {
	testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		writes := 0
		for range 24 * 12 { // every five minutes of a day
			time.Sleep(5 * time.Minute)
			if res := b.Get("/public/"); len(res.Cookies()) > 0 {
				writes++
			}
		}
		// Twenty-four steps, and 48 renewals that write anyway.
		if writes > 24+48 || writes < 24 {
			t.Errorf("%d Set-Cookie lines in a day of steady use", writes)
		}
		if n := s.MS.Count(msauthtest.TokenRefresh); n < 40 || n > 48 {
			t.Errorf("%d renewals in a day", n)
		}
	})
}

func TestHandlerThatOutlastsItsToken(t *testing.T) {
	testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		var tokens []string
		s.Mux.Handle("/long", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			for range 5 {
				token, err := session.Token(r.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if token.RefreshToken != "" || !token.Valid() {
					t.Error("a token with a refresh token, or one that has expired")
				}
				tokens = append(tokens, token.AccessToken)
				time.Sleep(31 * time.Minute)
			}
		})))
		b.Timeout = 0
		b.Get("/long")
		slices.Sort(tokens)
		if n := len(slices.Compact(tokens)); n != 3 {
			t.Errorf("%d tokens in 124 minutes, want 3", n)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 2)
		// The next request comes with the old cookie and goes on from there.
		b.WantGreeting(testsite.HelloAda)
		if got := b.Token(); len(got) < shortestToken {
			t.Errorf("Token: %.40q; log:\n%s", got, s.Log)
		}
	})
}

func TestRenewalOutlivesTheBrowserThatBeganIt(t *testing.T) {
	testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		time.Sleep(testsite.Expired)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Rotation = msauthtest.RotateStrict
			b.Delay[msauthtest.TokenRefresh] = 2 * time.Second
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/", nil)
		res, err := b.Do(req)
		if err == nil {
			res.Body.Close()
		}
		time.Sleep(5 * time.Second)
		b.WantGreeting(testsite.HelloAda)
		if got := b.Token(); len(got) < shortestToken {
			t.Errorf("Token: %.40q; log:\n%s", got, s.Log)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

func TestSignOutWinsOverARenewalUnderWay(t *testing.T) {
	testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		time.Sleep(testsite.Expired)
		s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 2 * time.Second })
		slow := s.Browser(t)
		for _, c := range b.Session() {
			slow.Keep(c.Name, c.Value)
		}
		var got testsite.Seen
		var done sync.WaitGroup
		done.Go(func() { got = slow.Still().Get("/", "Sec-Fetch-Mode", "cors", "Accept", "*/*") })
		time.Sleep(time.Second)
		b.Still().Request("POST", "/auth/logout", testsite.OwnPage...)
		done.Wait()
		if got.StatusCode != http.StatusUnauthorized || len(got.Cookies()) > 0 {
			t.Errorf("status %d, cookies %v, want 401 and none", got.StatusCode, got.Cookies())
		}
		slow.WantGreeting(testsite.HelloNobody)
	})
}

func TestOlderCookieOfALivingSessionStaysGood(t *testing.T) {
	testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		old := b.Session()
		time.Sleep(testsite.Due)
		b.Get("/")
		time.Sleep(10 * time.Minute) // beyond the grace
		late := s.Browser(t)
		for _, c := range old {
			late.Keep(c.Name, c.Value)
		}
		late.WantGreeting(testsite.HelloAda) // Microsoft's old refresh tokens stay valid
		s.WantCalls(t, msauthtest.TokenRefresh, 2)
		b.WantGreeting(testsite.HelloAda)
	})
}

// Nobody's access token may be found by the lack of a refresh token.
func TestPeopleWithoutRefreshTokensDoNotShareAccessTokens(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		s := testsite.NewInProcess(t, at.Change, func(c *msauth.Config) { c.CookieBudget = 1024 }) // the access token is left out
		s.RouteTokens()
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "refresh_token") }
		})
		ada, bruno := s.Browser(t), s.Browser(t)
		ada.SignIn(msauthtest.Ada)
		bruno.SignIn(msauthtest.Bruno)
		if a, b := ada.Token(), bruno.Token(); a == b && a != "ErrSignInRequired" {
			t.Errorf("two people have the token %.20q", a)
		}
	})
}

func TestSessionWithoutARefreshTokenLastsAsLongAsItsAccessToken(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		s := testsite.NewInProcess(t, at.Change)
		s.RouteTokens()
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "refresh_token") }
		})
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		if got := b.Token(); len(got) < shortestToken {
			t.Errorf("Token: %.40q", got)
		}
		time.Sleep(91 * time.Minute)
		s.WantCalls(t, msauthtest.TokenRefresh, 0)
		if at.Live() { // where people can refuse it, the session goes on without tokens
			b.WantGreeting(testsite.HelloAda)
			if got := b.Token(); got != "ErrSignInRequired" {
				t.Errorf("Token: %.40q", got)
			}
			return
		}
		if res := b.Still().Get("/"); res.StatusCode != http.StatusSeeOther {
			t.Errorf("status %d, want 303", res.StatusCode)
		}
	})
}

func TestSessionTellsItsTimes(t *testing.T) {
	testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		began := time.Now()
		check := func(renewed time.Duration) {
			t.Helper()
			var session *msauth.Session
			s.Mux.Handle(fmt.Sprintf("/times/%v", renewed), s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				session, _ = msauth.FromContext(r.Context())
			})))
			b.Get(fmt.Sprintf("/times/%v", renewed))
			got := []time.Duration{session.SignedIn().Sub(began), session.Renewed().Sub(began), session.Expiry().Sub(began), session.Ends().Sub(began)}
			if want := []time.Duration{0, renewed, renewed + time.Hour, 7 * 24 * time.Hour}; !slices.Equal(got, want) {
				t.Errorf("times %v, want %v", got, want)
			}
			// As with Microsoft, offline_access is not named.
			want := []string{"openid", "profile", "email", "User.Read"}
			if s.Live() {
				want = []string{"wl.signin", "wl.offline_access", "wl.basic"}
			}
			if !slices.Equal(session.Scopes(), want) {
				t.Errorf("scopes %q, want %q", session.Scopes(), want)
			}
			session.Scopes()[0] = "changed"
			if session.Scopes()[0] != want[0] {
				t.Error("Scopes hands out its own memory")
			}
		}
		check(0)
		time.Sleep(testsite.Due)
		check(testsite.Due)
	})
}

// Live Connect has no claims challenges.
func TestStepUpCarriesWhatTheProviderAskedFor(t *testing.T) {
	testsite.Renewing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		time.Sleep(testsite.Due)
		s.MS.Set(func(b *msauthtest.Behavior) { b.RequireMFA = true })
		b.WantGreeting(testsite.HelloAda) // public pages still know her
		if got := b.Token(); got != "ErrSignInRequired" {
			t.Errorf("Token: %.40q", got)
		}
		for name, target := range map[string]string{"navigation": "/page", "login link": "/auth/login?return_to=/page"} {
			q := b.AuthorizeQuery(target)
			if !json.Valid([]byte(q.Get("claims"))) || !strings.Contains(q.Get("claims"), "capolids") || q.Get("login_hint") == "" || q.Get("prompt") != "" {
				t.Errorf("%s asks with %v", name, url.Values{"claims": q["claims"], "login_hint": q["login_hint"]})
			}
		}
		if q := b.AuthorizeQuery("/auth/login?prompt=select_account"); q.Get("login_hint") != "" {
			t.Error("another account is asked for with the hint of this one")
		}
		// She comes back with a second factor, and that is that.
		if got := b.Get("/page").Text; got != testsite.HelloAda {
			t.Errorf("page %q", got)
		}
		time.Sleep(testsite.Due)
		if got := b.Token(); len(got) < shortestToken {
			t.Errorf("Token: %.40q; log:\n%s", got, s.Log)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 2)
	})
}

func TestStats(t *testing.T) {
	testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		time.Sleep(testsite.Due)
		b.Get("/")
		b.Still().Request("POST", "/auth/logout", testsite.OwnPage...)
		b.SignIn(msauthtest.Ada)
		s.Browser(t).Get("/auth/callback")
		s.MS.Revoke(msauthtest.Ada)
		time.Sleep(testsite.Due)
		for range 5 {
			b.Get("/api", "Sec-Fetch-Mode", "cors", "Accept", "*/*")
		}
		got := s.Auth.Stats()
		if got.SignIns != 2 || got.SignOuts != 1 || got.SignInsRefused != 1 || got.SessionsEnded != 1 || got.Renewals != 1 ||
			!maps.Equal(got.RenewalsFailed, map[msauth.Class]uint64{msauth.ClassSignIn: 1}) || got.Paused {
			t.Errorf("%+v", got)
		}
	})
}

// Requests for other APIs say nothing about renewals: a handler can ask for what
// does not exist.
// Live Connect has no other APIs.
func TestTokensForOtherAPIsAreNoRenewalsInStats(t *testing.T) {
	testsite.Renewing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		s.MS.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
		s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
		s.Mux.Handle("/orders", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			for _, scope := range []string{testsite.OrdersRead, "api://orders/Nonsense", "api://none/All"} {
				_, err := session.Token(r.Context(), scope)
				fmt.Fprintln(w, err == nil)
			}
		})))
		s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = time.Second })
		if res := b.Get("/orders"); res.Text != "true\nfalse\nfalse\n" {
			t.Fatalf("page %q; log:\n%s", res.Text, s.Log)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 3)
		if got := s.Auth.Stats(); got.Renewals != 0 || got.RenewalTime != 0 || len(got.RenewalsFailed) != 0 {
			t.Errorf("%+v", got)
		}
		if lines := s.Log.With(`reason="other scopes"`); len(lines) != 3 {
			t.Errorf("log lines %q, want one for each request", lines)
		}
		time.Sleep(testsite.Expired)
		b.Get("/")
		if got := s.Auth.Stats(); got.Renewals != 1 || got.RenewalTime != time.Second || len(got.RenewalsFailed) != 0 {
			t.Errorf("after a renewal: %+v", got)
		}
	})
}
