package vault_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestRefreshAs(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		worker := offline(s, t, "7")
		account := kept.Entry("7").Account
		time.Sleep(2 * time.Hour)
		s.MS.Set(func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Bruno })
		if _, err := worker.Token(context.Background()); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Error(err)
		}
		if e := kept.Entry("7"); e.Account != account || !e.SignInRequired {
			t.Error(e.Account, e.SignInRequired)
		}
		if res := b.Get("/public/"); res.Text != testsite.HelloNobody {
			t.Error(res.Text)
		}
	})
}

func TestSignOutMeanwhile(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		time.Sleep(2 * time.Hour)
		s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 3 * time.Second })
		var wg sync.WaitGroup
		wg.Go(func() {
			if res := b.Get("/public/"); res.Text != testsite.HelloNobody {
				t.Error(res.Text)
			}
		})
		time.Sleep(time.Second)
		b.Still().Request("POST", "/auth/logout", "Sec-Fetch-Site", "same-origin", "Origin", s.URL)
		wg.Wait()
		b.WantGreeting(testsite.HelloNobody)
		offline(s, t, "7").Token(context.Background())
	})
}

func TestBudgetSheds(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		for range 30 {
			b.WantGreeting(testsite.HelloAda)
			time.Sleep(10 * time.Minute)
		}
		if n := s.MS.Count(msauthtest.TokenRefresh); n > 6 {
			t.Errorf("%d requests", n)
		}
	}, func(c *msauth.Config) { c.CookieBudget = 1100 })
}

func TestTokensAddedAndRemoved(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		s.Restart(t, func(c *msauth.Config) { c.Tokens = nil })
		b.WantGreeting(testsite.HelloNobody)
		b.SignIn(msauthtest.Ada)
		s.Restart(t, func(c *msauth.Config) { c.Tokens = kept })
		time.Sleep(2 * time.Hour)
		b.WantGreeting(testsite.HelloAda)
	})
}

func TestDisconnectMeanwhile(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		testsite.Strict(s)
		worker := offline(s, t, "7")
		time.Sleep(2 * time.Hour)
		s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 3 * time.Second })
		var wg sync.WaitGroup
		wg.Go(func() { worker.Token(context.Background()) })
		time.Sleep(time.Second)
		s.Auth.Disconnect(context.Background(), "7")
		wg.Wait()
		if len(kept.Users()) != 0 {
			t.Error("back again")
		}
	})
}

func TestSignInMeanwhile(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		testsite.Strict(s)
		worker := offline(s, t, "7")
		time.Sleep(2 * time.Hour)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Delay[msauthtest.TokenRefresh] = 3 * time.Second
			b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Error: "invalid_grant", Codes: []int{50173}}}
		})
		var wg sync.WaitGroup
		wg.Go(func() { worker.Token(context.Background()) })
		time.Sleep(time.Second)
		s.Browser(t).SignIn(msauthtest.Ada)
		wg.Wait()
		time.Sleep(15 * time.Second)
		if _, err := offline(s, t, "7").Token(context.Background(), "User.Read"); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour)
		if _, err := offline(s, t, "7").Token(context.Background()); err != nil {
			t.Error(err)
		}
		s.WantNoReuse(t)
	})
}

func TestStoreDownBrowsers(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		time.Sleep(2 * time.Hour)
		kept.Set(func(string) error { return errDown })
		for range 3 {
			b.WantGreeting(testsite.HelloAda)
			time.Sleep(2 * time.Second)
		}
		kept.Set(nil)
		b.WantGreeting(testsite.HelloAda)
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

func TestADoubleClickOnTheWayBackFromConnect(t *testing.T) {
	t.Parallel()
	s, kept := testsite.Account(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.Keep("app", "zoe")
	still := b.Still()
	back := still.Get(still.Connect().Header.Get("Location")).Header.Get("Location")
	first, second := still.Get(back), still.Get(back)
	if second.StatusCode != first.StatusCode {
		t.Errorf("%d, then %d %q though connected: %q", first.StatusCode, second.StatusCode, second.Kind(), kept.Users())
	}
}

func TestUserKeysOfTheHook(t *testing.T) {
	t.Parallel()
	key := ""
	s, kept := testsite.Account(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error { in.UserKey = key; return nil }
	})
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.Keep("app", "zoe")
	if res := b.Connect(); res.Request.URL.Path != "/public/settings" || len(s.Log.With("account connected")) > 0 {
		t.Errorf("without a key: at %s, and the log says that it is connected", res.Request.URL)
	}
	key = string(make([]byte, 256)) // the app's fault, and no outage
	s.WantPage(t, b.Connect(), http.StatusInternalServerError, "app-error", "more than 255 bytes")
	if got := kept.Users(); len(got) > 0 {
		t.Errorf("kept for %q", got)
	}
}

// undo deletes what another sign-in of the same user has kept meanwhile.
func TestUndoLeavesAnothersSignInAlone(t *testing.T) {
	t.Parallel()
	w := &wrapped{Tokens: testsite.NewTokens()}
	big := true
	away(t, func(s *testsite.Site, _ *testsite.Tokens, _ *testsite.Browser) {
		s.Auth.Disconnect(context.Background(), "7")
		var b2 *testsite.Browser
		w.after = func(string) error {
			w.after = nil // after the first sign-in has kept its tokens, another one of the same user
			big = false
			b2 = s.Browser(t)
			b2.SignIn(msauthtest.Ada)
			big = true
			return nil
		}
		if res := s.Browser(t).Get("/"); res.Kind() != "too-large" || b2 == nil {
			t.Fatal(res.Kind(), b2 == nil)
		}
		if len(w.Users()) != 1 {
			t.Errorf("kept for %q, though the second sign-in succeeded", w.Users())
		}
		time.Sleep(2 * time.Hour)
		if b2 != nil {
			b2.WantGreeting(testsite.HelloAda)
		}
	}, func(c *msauth.Config) {
		c.Tokens, c.CookieBudget = w, 1024
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.UserKey, in.AppData = "7", ""
			if big {
				in.AppData = random(512)
			}
			return nil
		}
	}, func(c *msauth.Config) {
		big = false
		w.after = func(string) error { big = true; w.after = nil; return nil }
	})
}

func random(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.IntN(256))
	}
	return string(b)
}

func TestStoreAndTokens(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		testsite.Strict(s)
		for range 3 {
			time.Sleep(2 * time.Hour)
			b.WantGreeting(testsite.HelloAda)
			if _, err := offline(s, t, "7").Token(context.Background()); err != nil {
				t.Error(err)
			}
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 3)
		s.WantNoReuse(t)
		s.Auth.Disconnect(context.Background(), "7")
		time.Sleep(2 * time.Hour)
		b.WantGreeting(testsite.HelloNobody)
	}, func(c *msauth.Config) { c.Store = testsite.NewFiles(t) })
}

func TestChallenges(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		testsite.Strict(s)
		s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
		procs := []*msauth.Middleware{s.Auth}
		for range 2 {
			m, _ := msauth.New(s.Cfg)
			procs = append(procs, m)
		}
		for round := range 5 {
			withdraw := s.MS.Challenge(msauthtest.Challenge{})
			var wg sync.WaitGroup
			for i := range 9 {
				session, err := procs[i%3].Offline(context.Background(), "7")
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					if i%2 == 0 {
						session.Token(context.Background(), testsite.OrdersRead)
					}
					if status, err := testsite.Call(session.Client(context.Background()), "GET", testsite.GraphMe, nil); status != 200 {
						t.Errorf("round %d: %d %v", round, status, err)
					}
				})
			}
			wg.Wait()
			withdraw()
			time.Sleep(3 * time.Hour)
		}
		b.WantGreeting(testsite.HelloAda)
		s.WantNoReuse(t)
	})
}

func TestHookRefuses(t *testing.T) {
	t.Parallel()
	kept := testsite.NewTokens()
	s := testsite.New(t, func(c *msauth.Config) {
		c.Tokens = kept
		c.OnSignIn = func(http.ResponseWriter, *http.Request, *msauth.SignIn) error { return errors.New("no") }
	})
	s.As(msauthtest.Ada)
	s.Browser(t).Get("/")
	if len(kept.Users()) != 0 {
		t.Error(kept.Users())
	}
}

// A refusal of the tokens before stands in the way of those of a sign-in
// during the request, for as long as ten minutes.
func TestARefusalOfTheTokensBeforeIsForgotten(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
		worker := offline(s, t, "7")
		withdraw := s.MS.Challenge(msauthtest.Challenge{})
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Delay[msauthtest.TokenRefresh] = 3 * time.Second
			b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Error: "invalid_grant", Codes: []int{50173}}}
		})
		var wg sync.WaitGroup
		wg.Go(func() { testsite.Call(worker.Client(context.Background()), "GET", testsite.GraphMe, nil) })
		time.Sleep(time.Second)
		s.Browser(t).SignIn(msauthtest.Ada)
		wg.Wait()
		withdraw()
		time.Sleep(time.Minute)
		if _, err := offline(s, t, "7").Token(context.Background(), testsite.OrdersRead); err != nil {
			t.Errorf("a minute later: %v", err)
		}
	})
}

// A process whose clock is ahead takes leases that are held.
func TestSharingHoldsForTheNextTime(t *testing.T) {
	t.Parallel()
	share := false
	s, kept := testsite.Account(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.ShareAccount = share
			return nil
		}
	})
	s.As(msauthtest.Ada)
	for _, u := range []string{"yan", "xia"} {
		b := s.Browser(t)
		b.Keep("app", u)
		b.Connect()
		share = true
		if u == "xia" {
			b.Connect()
			share = false
			if res := b.Connect(); res.StatusCode != 200 {
				t.Errorf("xia again: %d %q", res.StatusCode, res.Kind())
			}
		}
	}
	if got := kept.Users(); !slices.Equal(got, []string{"xia", "yan"}) {
		t.Errorf("kept for %q", got)
	}
}

// The end of the browser's request during keep.
func TestATabThatIsClosedIsNoError(t *testing.T) {
	t.Parallel()
	w := &wrapped{Tokens: testsite.NewTokens()}
	s := testsite.New(t, func(c *msauth.Config) { c.Tokens = w })
	s.As(msauthtest.Ada)
	inner := s.Mux
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		w.load = func(context.Context, string) { cancel() }
		inner.ServeHTTP(rw, r.WithContext(ctx))
	})
	s.Current.Store(mux)
	s.Browser(t).Get("/")
	if n := len(s.Log.With("level=ERROR")); n > 0 {
		t.Errorf("a closed tab is logged as %d errors: %.300s", n, s.Log.String())
	}
}

// Stored entry of an account no longer admitted.
func TestNoLongerAdmitted(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		s.Restart(t, func(c *msauth.Config) { c.AllowedTenants = []string{"11111111-2222-3333-4444-555555555555"} })
		_, err := s.Auth.Offline(context.Background(), "7")
		if failure, ok := errors.AsType[*msauth.AuthError](err); !ok || failure.Class != msauth.ClassNotAllowed {
			t.Errorf("the error is %v, want class %s", err, msauth.ClassNotAllowed)
		}
	})
}

// The lease of a process that hung is over; both go on.
func TestRevokedIsMarkedOnceAcrossProcesses(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		s.MS.Revoke(msauthtest.Ada)
		other, _ := msauth.New(s.Cfg)
		w1 := offline(s, t, "7")
		w2, _ := other.Offline(context.Background(), "7")
		time.Sleep(2 * time.Hour)
		done := make(chan bool)
		for _, w := range []*msauth.Session{w1, w2} {
			go func() {
				for range 100 {
					if _, err := w.Token(context.Background()); !errors.Is(err, msauth.ErrSignInRequired) {
						t.Error(err)
					}
					time.Sleep(time.Second)
				}
				done <- true
			}()
		}
		<-done
		<-done
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
	})
}
