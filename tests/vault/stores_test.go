package vault_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A save of the lease whose answer is lost holds up this process itself.
func TestTheLostAnswerOfALeaseHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		w := &wrapped{Tokens: kept}
		s.Restart(t, func(c *msauth.Config) { c.Tokens = w })
		worker := offline(s, t, "7")
		time.Sleep(2 * time.Hour)
		n := 0
		w.after = func(string) error {
			if n++; n == 1 {
				return errDown
			}
			return nil
		}
		worker.Token(context.Background())
		time.Sleep(2 * time.Second)
		start := time.Now()
		_, err := worker.Token(context.Background())
		if waited := time.Since(start); err != nil || waited > 5*time.Second {
			t.Errorf("after %v: %v", waited, err)
		}
	})
}

// Keep's answer is lost.
func TestTheLostAnswerOfASignInsSaveIsFound(t *testing.T) {
	t.Parallel()
	w := &wrapped{Tokens: testsite.NewTokens()}
	s := testsite.New(t, func(c *msauth.Config) { c.Tokens = w })
	s.As(msauthtest.Ada)
	w.after = func(string) error { return errDown }
	b := s.Browser(t)
	res := b.Get("/page")
	if got := w.Users(); len(got) != 0 && res.StatusCode != 200 {
		t.Errorf("page %q (%d) says that nothing has changed, kept for %q", res.Kind(), res.StatusCode, got)
	}
}

// Calls have 10 seconds.
func TestEachCallOfTheStoreHasADeadline(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		w := &wrapped{Tokens: kept}
		w.del = func(ctx context.Context) {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("Delete has no deadline")
			}
		}
		w.load = func(ctx context.Context, _ string) {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("Load has no deadline")
			}
		}
		s.Restart(t, func(c *msauth.Config) { c.Tokens, c.Keys = w, [][]byte{testsite.NewKey()} })
		s.Browser(t).SignIn(msauthtest.Ada)
		s.Auth.Disconnect(context.Background(), "7")
	})
}

// A lease far in the future (a clock that was wrong).
func TestALeaseFarInTheFutureIsNone(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		time.Sleep(2 * time.Hour)
		s.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{testsite.NewKey(), c.Keys[0]} })
		e := kept.Entry("7")
		old := e.Version
		e.Version, e.Lease = old+1, time.Now().Add(24*time.Hour)
		kept.Save(context.Background(), "7", old, e)
		start := time.Now()
		if err := s.Auth.Reseal(context.Background(), "7"); err != nil || time.Since(start) > 0 {
			t.Errorf("Reseal waited %v: %v", time.Since(start), err)
		}
		if _, err := offline(s, t, "7").Token(context.Background()); err != nil || time.Since(start) > 0 {
			t.Errorf("Token waited %v: %v", time.Since(start), err)
		}
	})
}

// Odd bytes in keys.
func TestOddKeys(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"\x00", "\xff\xfe", "a\x00b", "Zoë", "00000000-0000-0000-0000-00000000000A", "0000000000000000000000000000000A", " ", "a b ", string(make([]byte, 255))} {
		away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
			time.Sleep(2 * time.Hour)
			if _, err := offline(s, t, key).Token(context.Background()); err != nil {
				t.Errorf("%q: %v", key, err)
			}
			b.WantGreeting(testsite.HelloAda)
		}, func(c *msauth.Config) {
			c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
				in.UserKey = key
				return nil
			}
		})
	}
}

// Connect with the longest user and scopes.
func TestConnectWithLongEverything(t *testing.T) {
	t.Parallel()
	s, kept := testsite.Account(t)
	long := make([]byte, 255)
	for i := range long {
		long[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[(i*i+i*7+i/3)%36]
	}
	s.Mux.Handle("/connect2", s.Auth.Connect("/public/settings", "api://orders/Orders.Read", "api://orders/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "api://orders/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "api://orders/ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"))
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.Keep("app", string(long))
	res := b.Still().Request(http.MethodPost, "/connect2", "Sec-Fetch-Site", "same-origin", "Origin", b.Site.URL)
	if res.StatusCode != 303 {
		t.Errorf("status %d kind %q, log %.600s", res.StatusCode, res.Kind(), s.Log)
	}
	res = b.Connect()
	if !slices.Equal(kept.Users(), []string{string(long)}) || res.Request.URL.Path != "/public/settings" {
		t.Errorf("%q %s", kept.Users(), res.Request.URL)
	}
}

// Connect at one Middleware, callback at one without Tokens.
func TestConnectEndsWhereTokensAreKept(t *testing.T) {
	t.Parallel()
	s, kept := testsite.Account(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.Keep("app", "zoe")
	still := b.Still()
	back := still.Get(still.Connect().Header.Get("Location")).Header.Get("Location")
	other := s.Cfg
	other.Tokens = nil
	m, err := msauth.New(other)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", m)
	s.Current.Store(mux)
	b.WantRefused(still.Get(back), http.StatusForbidden, "not-allowed", "than when this began")
	if got := kept.Users(); len(got) > 0 {
		t.Errorf("kept for %q", got)
	}
}

// 64 at once.
func TestManyConnectAtOnce(t *testing.T) {
	t.Parallel()
	s, kept := testsite.Account(t)
	s.As(msauthtest.Ada)
	var wg sync.WaitGroup
	for i := range 64 {
		b := s.Browser(t)
		b.Keep("app", fmt.Sprint("u", i))
		still := b.Still()
		back := still.Get(still.Connect().Header.Get("Location")).Header.Get("Location")
		wg.Go(func() { still.Get(back) })
	}
	wg.Wait()
	if n := len(kept.Users()); n != 1 {
		t.Errorf("%d users", n)
	}
}

// Origins.
func TestOriginsOfConnect(t *testing.T) {
	t.Parallel()
	s, _ := testsite.Account(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.Keep("app", "zoe")
	still := b.Still()
	for _, h := range [][]string{
		{"Origin", "null"}, {"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "cross-site", "Origin", "null"}, {},
		{"Referer", "https://evil.example/"},
	} {
		if res := still.Request(http.MethodPost, "/connect", h...); res.StatusCode != 403 {
			t.Errorf("%q: %d", h, res.StatusCode)
		}
	}
}

// Slots are held while saving.
func TestASlowStoreHoldsUpItsOwnUsersOnly(t *testing.T) {
	t.Parallel()
	n := 0
	w := &slow{Tokens: testsite.NewTokens()}
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		for i := range 41 {
			n = i
			s.Browser(t).SignIn(msauthtest.Ada)
		}
		time.Sleep(2 * time.Hour)
		w.hang = func(user string, nth int) bool { return user != "user 40" && nth > 1 }
		w.n = map[string]int{}
		var wg sync.WaitGroup
		for i := range 40 {
			one := offline(s, t, fmt.Sprint("user ", i))
			wg.Go(func() { one.Token(context.Background()) })
		}
		time.Sleep(time.Second)
		start := time.Now()
		_, err := offline(s, t, "user 40").Token(context.Background())
		if waited := time.Since(start); waited > 2*time.Second {
			t.Errorf("whose store is fast waited %v: %v", waited, err)
		}
		wg.Wait()
	}, func(c *msauth.Config) {
		c.Tokens = w
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.UserKey, in.ShareAccount = fmt.Sprint("user ", n), true
			return nil
		}
	})
}

type slow struct {
	*testsite.Tokens
	mu   sync.Mutex
	n    map[string]int
	hang func(user string, nth int) bool
}

func (w *slow) Save(ctx context.Context, user string, old int64, t msauth.StoredTokens) error {
	w.mu.Lock()
	hang := false
	if w.hang != nil {
		w.n[user]++
		hang = w.hang(testsite.WithoutRegistration(user), w.n[user])
	}
	w.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return w.Tokens.Save(ctx, user, old, t)
}

// What an outage costs the store.
func TestAnOutageOfMicrosoftCostsTheStoreLittle(t *testing.T) {
	t.Parallel()
	n := 0
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		s.MS.SetUser(msauthtest.User{SignInName: "many@contoso.example"})
		for i := range 10 {
			n = i
			name := fmt.Sprintf("p%d@contoso.example", i)
			s.MS.SetUser(msauthtest.User{SignInName: name})
			s.Browser(t).SignIn(name)
		}
		time.Sleep(2 * time.Hour)
		s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		for i := range 9 {
			offline(s, t, fmt.Sprint("user ", i)).Token(context.Background())
		}
		saves, calls := kept.Saves, s.MS.Count(msauthtest.TokenRefresh)
		one := offline(s, t, "user 9")
		for range 50 {
			one.Token(context.Background())
		}
		if got := kept.Saves - saves; got > 2 {
			t.Errorf("%d saves and %d token requests for 50 calls during a pause", got, s.MS.Count(msauthtest.TokenRefresh)-calls)
		}
	}, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.UserKey, in.ReplaceAccount, in.ShareAccount = fmt.Sprint("user ", n), true, true
			return nil
		}
	})
}

// A store error voids Retry-After.
func TestAStoreErrorDoesNotVoidRetryAfter(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		worker := offline(s, t, "7")
		time.Sleep(2 * time.Hour)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 429, Header: http.Header{"Retry-After": {"300"}}}
		})
		kept.Set(downAfter(1))
		worker.Token(context.Background())
		kept.Set(nil)
		for range 5 {
			time.Sleep(3 * time.Second)
			worker.Token(context.Background())
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

// A store whose Load lags behind its Save (a replica).
func TestAStoreThatLagsBehindIsNotAskedWithoutAPause(t *testing.T) {
	t.Parallel()
	kept := &lagging{Tokens: testsite.NewTokens()}
	s := testsite.New(t, func(c *msauth.Config) { c.Tokens = kept })
	s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	user := kept.Users()[0]
	time.Sleep(2 * time.Second)
	session := offline(s, t, user)
	kept.lag(user)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	session.Token(ctx)
	n := kept.loads.Load()
	if n > 100 {
		t.Errorf("%d loads in a second", n)
	}
	time.Sleep(200 * time.Millisecond)
	if m := kept.loads.Load(); m > n+100 {
		t.Errorf("%d more after the context has ended", m-n)
	}
	kept.stale.Store(nil)
}

type lagging struct {
	*testsite.Tokens
	stale atomic.Pointer[msauth.StoredTokens]
	loads atomic.Int64
}

func (l *lagging) lag(user string) {
	e := l.Entry(user)
	e.Version++
	l.stale.Store(&e)
}

func (l *lagging) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	l.loads.Add(1)
	if e := l.stale.Load(); e != nil {
		return *e, nil
	}
	return l.Tokens.Load(ctx, user)
}
