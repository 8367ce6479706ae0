package msauth_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// wrapped is a store whose calls can be intercepted after they took effect.
type wrapped struct {
	*tokens
	load  func(ctx context.Context, user string)
	after func(method string) error
	save  func(t *msauth.StoredTokens)
	del   func(ctx context.Context)
}

func (w *wrapped) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	if w.load != nil {
		w.load(ctx, user)
	}
	return w.tokens.Load(ctx, user)
}

func (w *wrapped) Save(ctx context.Context, user string, old int64, t msauth.StoredTokens) error {
	if w.save != nil {
		w.save(&t)
	}
	err := w.tokens.Save(ctx, user, old, t)
	if err == nil && w.after != nil {
		err = w.after("save")
	}
	return err
}

func (w *wrapped) Delete(ctx context.Context, user string) error {
	if w.del != nil {
		w.del(ctx)
	}
	return w.tokens.Delete(ctx, user)
}

func strict(s *site) {
	s.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
}

func downAfter(n int) func(string) error {
	saves := 0
	return func(method string) error {
		if method == "save" {
			if saves++; saves > n {
				return errDown
			}
		}
		return nil
	}
}

// A blip of the database of two seconds, and nobody asks for a minute.
func TestWhatCouldNotBeSavedIsTriedAgain(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		strict(s)
		worker := s.offline(t, "7")
		time.Sleep(2 * time.Hour)
		kept.set(downAfter(1))
		_, err := worker.Token(context.Background())
		if !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		kept.set(nil)
		time.Sleep(2 * time.Minute)
		if _, err := worker.Token(context.Background()); err != nil {
			t.Errorf("once it is up: %v", err)
		}
		s.wantNoReuse(t)
	})
}

// Waiting for a slot outlasts the lease.
func TestNoRefreshTokenIsUsedTwiceHoweverLongASlotTakes(t *testing.T) {
	t.Parallel()
	n := 0
	away(t, func(s *site, kept *tokens, b *browser) {
		for i := range 320 {
			n = i
			s.browser(t).signIn(msauthtest.Ada)
		}
		time.Sleep(2 * time.Hour)
		strict(s)
		s.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 14 * time.Second })
		other, err := msauth.New(s.cfg)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 320 {
			key := fmt.Sprint("user ", i)
			one := s.offline(t, key)
			wg.Go(func() {
				if _, err := one.Token(context.Background()); errors.Is(err, msauth.ErrSignInRequired) {
					t.Errorf("%s: %.100v", key, err)
				}
			})
		}
		time.Sleep(10 * time.Second)
		for i := 220; i < 320; i++ {
			two, err := other.Offline(context.Background(), fmt.Sprint("user ", i))
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				if _, err := two.Token(context.Background()); errors.Is(err, msauth.ErrSignInRequired) {
					t.Errorf("other, user %d: %.100v", i, err)
				}
			})
		}
		wg.Wait()
		s.wantNoReuse(t)
	}, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.UserKey, in.ShareAccount = fmt.Sprint("user ", n), true
			return nil
		}
	})
}

func replacing(c *msauth.Config) {
	c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
		in.UserKey, in.ReplaceAccount = "7", true
		return nil
	}
}

// The account was replaced; who still has a session of the one before gets
// the other's tokens.
func TestSessionsOfAnAccountThatWasReplacedAreOver(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		worker := s.offline(t, "7") // Ada's
		bruno := s.browser(t)
		bruno.signIn(msauthtest.Bruno)
		time.Sleep(2 * time.Hour)
		if _, err := s.offline(t, "7").Token(context.Background()); err != nil {
			t.Fatal(err)
		}
		if token, err := worker.Token(context.Background()); err == nil {
			t.Errorf("a worker of %v has a token of %.0v somebody else", worker.User.Name, token)
		}
		if res := b.get("/public/"); res.body != helloNobody {
			t.Errorf("Ada's browser says %q", res.body)
		}
	}, replacing)
}

// A stale session of the account before ends the session of the new one.
func TestAStaleSessionDoesNotEndTheGoodOne(t *testing.T) {
	t.Parallel()
	kept := &wrapped{tokens: newTokens()}
	away(t, func(s *site, _ *tokens, b *browser) {
		bruno := s.browser(t)
		bruno.signIn(msauthtest.Bruno)
		time.Sleep(2 * time.Hour)
		kept.load = func(context.Context, string) { time.Sleep(500 * time.Millisecond) }
		var wg sync.WaitGroup
		wg.Go(func() { b.get("/public/") })
		time.Sleep(100 * time.Millisecond)
		wg.Go(func() {
			if res := bruno.get("/public/"); res.body == helloNobody {
				t.Errorf("Bruno's browser says %q", res.body)
			}
		})
		wg.Wait()
	}, replacing, func(c *msauth.Config) { c.Tokens = kept })
}

// A refusal that came with a claims challenge outlives a sign-in elsewhere.
func TestASignInElsewhereIsNoticed(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		s.ms.Consent(msauthtest.Ada, ordersRead)
		other, err := msauth.New(s.cfg)
		if err != nil {
			t.Fatal(err)
		}
		worker, err := other.Offline(context.Background(), "7")
		if err != nil {
			t.Fatal(err)
		}
		s.ms.Challenge(msauthtest.Challenge{})
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Error: "invalid_grant", Codes: []int{50173}}
		})
		call(worker.Client(context.Background()), "GET", graphMe, nil)
		if !kept.entry("7").SignInRequired {
			t.Fatal("not marked")
		}
		s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways = nil })
		time.Sleep(time.Second)
		s.browser(t).signIn(msauthtest.Ada)
		time.Sleep(30 * time.Second)
		session, err := other.Offline(context.Background(), "7")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := session.Token(context.Background(), ordersRead); err != nil {
			t.Errorf("30 seconds after a new sign-in in another process: %v", err)
		}
	})
}

// Interaction_required is asked for again and again.
func TestStepUpIsMarked(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		s.ms.Set(func(b *msauthtest.Behavior) { b.RequireMFA = true })
		time.Sleep(2 * time.Hour)
		for range 60 {
			session, err := s.auth.Offline(context.Background(), "7")
			if err == nil {
				_, err = session.Token(context.Background())
			}
			if !errors.Is(err, msauth.ErrSignInRequired) {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
		if !kept.entry("7").SignInRequired {
			t.Error("the entry does not say so")
		}
	})
}

// The store panics in the save after the renewal.
func TestAPanicInSaveLosesNothing(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		strict(s)
		time.Sleep(2 * time.Hour)
		saves := 0
		w := &wrapped{tokens: kept}
		w.save = func(*msauth.StoredTokens) {
			if saves++; saves == 2 {
				panic("bug in the driver")
			}
		}
		s.restart(t, func(c *msauth.Config) { c.Tokens = w })
		worker := s.offline(t, "7")
		if _, err := worker.Token(context.Background()); err != nil && !errors.Is(err, msauth.ErrTokenUnavailable) {
			t.Errorf("the error is %v, want ErrTokenUnavailable", err)
		}
		time.Sleep(10 * time.Second)
		if _, err := worker.Token(context.Background()); err != nil {
			t.Errorf("once it works: %v", err)
		}
		s.wantNoReuse(t)
	})
}

// Undo with a cancelled request, and undo of somebody else's.
func TestUndoDoesNotEndWithTheRequest(t *testing.T) {
	t.Parallel()
	w := &wrapped{tokens: newTokens()}
	s := newSite(t, func(c *msauth.Config) { c.Tokens, c.CookieBudget = w, 1024 })
	roles := make([]string, 60)
	for i := range roles {
		roles[i] = fmt.Sprintf("role %x", newKey())
	}
	s.ms.SetUser(msauthtest.User{SignInName: "many@contoso.example", Roles: roles})
	s.as("many@contoso.example")
	b := s.browser(t)
	ctx, cancel := context.WithCancel(context.Background())
	s.current.Load()
	inner := s.mux
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) { inner.ServeHTTP(rw, r.WithContext(ctx)) })
	s.current.Store(mux)
	w.after = func(string) error { cancel(); return nil } // the person closes the tab
	b.get("/")
	if got := w.users(); len(got) != 0 {
		t.Errorf("kept for %q", got)
	}
}

// The hook gives up waiting for a token of another API; its request goes on
// and uses the refresh token up, which is then kept.
func TestAHookThatGivesUpLosesNothing(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		strict(s)
		s.ms.Consent(msauthtest.Ada, ordersRead)
		s.browser(t).signIn(msauthtest.Ada)
		time.Sleep(2 * time.Hour)
		if _, err := s.offline(t, "7").Token(context.Background()); err != nil {
			t.Errorf("%v", err)
		}
		s.wantNoReuse(t)
	}, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			in.UserKey = "7"
			ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
			defer cancel()
			in.Session.Token(ctx, ordersRead)
			return nil
		}
	}, func(c *msauth.Config) {
		c.HTTPClient = &http.Client{Transport: slowRefresh{c.HTTPClient.Transport}}
	})
}

type slowRefresh struct{ http.RoundTripper }

func (s slowRefresh) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == "POST" {
		time.Sleep(time.Second)
	}
	return s.RoundTripper.RoundTrip(r)
}

// The hook's session is used on, for example by a goroutine.
func TestAHooksSessionCanBeUsedOn(t *testing.T) {
	t.Parallel()
	var held *msauth.Session
	away(t, func(s *site, kept *tokens, b *browser) {
		strict(s)
		time.Sleep(2 * time.Hour)
		if _, err := held.Token(context.Background()); err != nil {
			t.Error(err)
		}
		if _, err := s.offline(t, "7").Token(context.Background()); err != nil {
			t.Error(err)
		}
		s.wantNoReuse(t)
	}, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			in.UserKey, held = "7", in.Session
			return nil
		}
	})
}

// Another process reseals (or takes and returns the lease) while this one
// holds what could not be saved.
func TestAConflictDoesNotDropTheOnlyGoodToken(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		strict(s)
		fresh := s.cfg
		fresh.Keys = [][]byte{newKey(), s.cfg.Keys[0]}
		s.restart(t, func(c *msauth.Config) { c.Keys = [][]byte{c.Keys[0], fresh.Keys[0]} })
		other, err := msauth.New(fresh)
		if err != nil {
			t.Fatal(err)
		}
		worker := s.offline(t, "7")
		time.Sleep(2 * time.Hour)
		kept.set(downAfter(1))
		if _, err := worker.Token(context.Background()); !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if _, err := worker.Token(context.Background()); !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		kept.set(nil)
		if err := other.Reseal(context.Background(), "7"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if _, err := worker.Token(context.Background()); err != nil {
			t.Errorf("%v", err)
		}
		s.wantNoReuse(t)
	})
}

// A save of the lease whose answer is lost holds up this process itself.
func TestTheLostAnswerOfALeaseHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		w := &wrapped{tokens: kept}
		s.restart(t, func(c *msauth.Config) { c.Tokens = w })
		worker := s.offline(t, "7")
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
	w := &wrapped{tokens: newTokens()}
	s := newSite(t, func(c *msauth.Config) { c.Tokens = w })
	s.as(msauthtest.Ada)
	w.after = func(string) error { return errDown }
	b := s.browser(t)
	res := b.get("/page")
	if got := w.users(); len(got) != 0 && res.StatusCode != 200 {
		t.Errorf("page %q (%d) says that nothing has changed, kept for %q", res.kind(), res.StatusCode, got)
	}
}

// Calls have 10 seconds.
func TestEachCallOfTheStoreHasADeadline(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		w := &wrapped{tokens: kept}
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
		s.restart(t, func(c *msauth.Config) { c.Tokens, c.Keys = w, [][]byte{newKey()} })
		s.browser(t).signIn(msauthtest.Ada)
		s.auth.Disconnect(context.Background(), "7")
	})
}

// A lease far in the future (a clock that was wrong).
func TestALeaseFarInTheFutureIsNone(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		time.Sleep(2 * time.Hour)
		s.restart(t, func(c *msauth.Config) { c.Keys = [][]byte{newKey(), c.Keys[0]} })
		e := kept.entry("7")
		old := e.Version
		e.Version, e.Lease = old+1, time.Now().Add(24*time.Hour)
		kept.Save(context.Background(), "7", old, e)
		start := time.Now()
		if err := s.auth.Reseal(context.Background(), "7"); err != nil || time.Since(start) > 0 {
			t.Errorf("Reseal waited %v: %v", time.Since(start), err)
		}
		if _, err := s.offline(t, "7").Token(context.Background()); err != nil || time.Since(start) > 0 {
			t.Errorf("Token waited %v: %v", time.Since(start), err)
		}
	})
}

// Odd bytes in keys.
func TestOddKeys(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"\x00", "\xff\xfe", "a\x00b", "Zoë", "00000000-0000-0000-0000-00000000000A", "0000000000000000000000000000000A", " ", "a b ", string(make([]byte, 255))} {
		away(t, func(s *site, kept *tokens, b *browser) {
			time.Sleep(2 * time.Hour)
			if _, err := s.offline(t, key).Token(context.Background()); err != nil {
				t.Errorf("%q: %v", key, err)
			}
			b.wantGreeting(helloAda)
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
	s, kept := account(t)
	long := make([]byte, 255)
	for i := range long {
		long[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[(i*i+i*7+i/3)%36]
	}
	s.mux.Handle("/connect2", s.auth.Connect("/public/settings", "api://orders/Orders.Read", "api://orders/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "api://orders/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "api://orders/ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"))
	s.as(msauthtest.Ada)
	b := s.browser(t)
	b.keep("app", string(long))
	res := b.still().do(http.MethodPost, "/connect2", "Sec-Fetch-Site", "same-origin", "Origin", b.site.URL)
	if res.StatusCode != 303 {
		t.Errorf("status %d kind %q, log %.600s", res.StatusCode, res.kind(), s.log)
	}
	res = b.connect()
	if !slices.Equal(kept.users(), []string{string(long)}) || res.Request.URL.Path != "/public/settings" {
		t.Errorf("%q %s", kept.users(), res.Request.URL)
	}
}

// Connect at one Middleware, callback at one without Tokens.
func TestConnectEndsWhereTokensAreKept(t *testing.T) {
	t.Parallel()
	s, kept := account(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	b.keep("app", "zoe")
	still := b.still()
	back := still.get(still.connect().Header.Get("Location")).Header.Get("Location")
	other := s.cfg
	other.Tokens = nil
	m, err := msauth.New(other)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", m)
	s.current.Store(mux)
	b.wantRefused(still.get(back), http.StatusForbidden, "not-allowed", "than when this began")
	if got := kept.users(); len(got) > 0 {
		t.Errorf("kept for %q", got)
	}
}

// 64 at once.
func TestManyConnectAtOnce(t *testing.T) {
	t.Parallel()
	s, kept := account(t)
	s.as(msauthtest.Ada)
	var wg sync.WaitGroup
	for i := range 64 {
		b := s.browser(t)
		b.keep("app", fmt.Sprint("u", i))
		still := b.still()
		back := still.get(still.connect().Header.Get("Location")).Header.Get("Location")
		wg.Go(func() { still.get(back) })
	}
	wg.Wait()
	if n := len(kept.users()); n != 1 {
		t.Errorf("%d users", n)
	}
}

// Origins.
func TestOriginsOfConnect(t *testing.T) {
	t.Parallel()
	s, _ := account(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	b.keep("app", "zoe")
	still := b.still()
	for _, h := range [][]string{
		{"Origin", "null"}, {"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "cross-site", "Origin", "null"}, {},
		{"Referer", "https://evil.example/"},
	} {
		if res := still.do(http.MethodPost, "/connect", h...); res.StatusCode != 403 {
			t.Errorf("%q: %d", h, res.StatusCode)
		}
	}
}

// Slots are held while saving.
func TestASlowStoreHoldsUpItsOwnUsersOnly(t *testing.T) {
	t.Parallel()
	n := 0
	w := &slow{tokens: newTokens()}
	away(t, func(s *site, kept *tokens, b *browser) {
		for i := range 41 {
			n = i
			s.browser(t).signIn(msauthtest.Ada)
		}
		time.Sleep(2 * time.Hour)
		w.hang = func(user string, nth int) bool { return user != "user 40" && nth > 1 }
		w.n = map[string]int{}
		var wg sync.WaitGroup
		for i := range 40 {
			one := s.offline(t, fmt.Sprint("user ", i))
			wg.Go(func() { one.Token(context.Background()) })
		}
		time.Sleep(time.Second)
		start := time.Now()
		_, err := s.offline(t, "user 40").Token(context.Background())
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
	*tokens
	mu   sync.Mutex
	n    map[string]int
	hang func(user string, nth int) bool
}

func (w *slow) Save(ctx context.Context, user string, old int64, t msauth.StoredTokens) error {
	w.mu.Lock()
	hang := false
	if w.hang != nil {
		w.n[user]++
		hang = w.hang(withoutRegistration(user), w.n[user])
	}
	w.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return w.tokens.Save(ctx, user, old, t)
}

// What an outage costs the store.
func TestAnOutageOfMicrosoftCostsTheStoreLittle(t *testing.T) {
	t.Parallel()
	n := 0
	away(t, func(s *site, kept *tokens, b *browser) {
		s.ms.SetUser(msauthtest.User{SignInName: "many@contoso.example"})
		for i := range 10 {
			n = i
			name := fmt.Sprintf("p%d@contoso.example", i)
			s.ms.SetUser(msauthtest.User{SignInName: name})
			s.browser(t).signIn(name)
		}
		time.Sleep(2 * time.Hour)
		s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		for i := range 9 {
			s.offline(t, fmt.Sprint("user ", i)).Token(context.Background())
		}
		saves, calls := kept.saves, s.ms.Count(msauthtest.TokenRefresh)
		one := s.offline(t, "user 9")
		for range 50 {
			one.Token(context.Background())
		}
		if got := kept.saves - saves; got > 2 {
			t.Errorf("%d saves and %d token requests for 50 calls during a pause", got, s.ms.Count(msauthtest.TokenRefresh)-calls)
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
	away(t, func(s *site, kept *tokens, b *browser) {
		worker := s.offline(t, "7")
		time.Sleep(2 * time.Hour)
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 429, Header: http.Header{"Retry-After": {"300"}}}
		})
		kept.set(downAfter(1))
		worker.Token(context.Background())
		kept.set(nil)
		for range 5 {
			time.Sleep(3 * time.Second)
			worker.Token(context.Background())
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

// A store whose Load lags behind its Save (a replica).
func TestAStoreThatLagsBehindIsNotAskedWithoutAPause(t *testing.T) {
	t.Parallel()
	kept := &lagging{tokens: newTokens()}
	s := newSite(t, func(c *msauth.Config) { c.Tokens = kept })
	s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	user := kept.users()[0]
	time.Sleep(2 * time.Second)
	session := s.offline(t, user)
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
	*tokens
	stale atomic.Pointer[msauth.StoredTokens]
	loads atomic.Int64
}

func (l *lagging) lag(user string) {
	e := l.entry(user)
	e.Version++
	l.stale.Store(&e)
}

func (l *lagging) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	l.loads.Add(1)
	if e := l.stale.Load(); e != nil {
		return *e, nil
	}
	return l.tokens.Load(ctx, user)
}

func TestRefreshAs(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		worker := s.offline(t, "7")
		account := kept.entry("7").Account
		time.Sleep(2 * time.Hour)
		s.ms.Set(func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Bruno })
		if _, err := worker.Token(context.Background()); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Error(err)
		}
		if e := kept.entry("7"); e.Account != account || !e.SignInRequired {
			t.Error(e.Account, e.SignInRequired)
		}
		if res := b.get("/public/"); res.body != helloNobody {
			t.Error(res.body)
		}
	})
}

func TestSignOutMeanwhile(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		time.Sleep(2 * time.Hour)
		s.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 3 * time.Second })
		var wg sync.WaitGroup
		wg.Go(func() {
			if res := b.get("/public/"); res.body != helloNobody {
				t.Error(res.body)
			}
		})
		time.Sleep(time.Second)
		b.still().do("POST", "/auth/logout", "Sec-Fetch-Site", "same-origin", "Origin", s.URL)
		wg.Wait()
		b.wantGreeting(helloNobody)
		s.offline(t, "7").Token(context.Background())
	})
}

func TestBudgetSheds(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		for range 30 {
			b.wantGreeting(helloAda)
			time.Sleep(10 * time.Minute)
		}
		if n := s.ms.Count(msauthtest.TokenRefresh); n > 6 {
			t.Errorf("%d requests", n)
		}
	}, func(c *msauth.Config) { c.CookieBudget = 1100 })
}

func TestTokensAddedAndRemoved(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		s.restart(t, func(c *msauth.Config) { c.Tokens = nil })
		b.wantGreeting(helloNobody)
		b.signIn(msauthtest.Ada)
		s.restart(t, func(c *msauth.Config) { c.Tokens = kept })
		time.Sleep(2 * time.Hour)
		b.wantGreeting(helloAda)
	})
}

func TestDisconnectMeanwhile(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		strict(s)
		worker := s.offline(t, "7")
		time.Sleep(2 * time.Hour)
		s.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 3 * time.Second })
		var wg sync.WaitGroup
		wg.Go(func() { worker.Token(context.Background()) })
		time.Sleep(time.Second)
		s.auth.Disconnect(context.Background(), "7")
		wg.Wait()
		if len(kept.users()) != 0 {
			t.Error("back again")
		}
	})
}

func TestSignInMeanwhile(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		strict(s)
		worker := s.offline(t, "7")
		time.Sleep(2 * time.Hour)
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.Delay[msauthtest.TokenRefresh] = 3 * time.Second
			b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Error: "invalid_grant", Codes: []int{50173}}}
		})
		var wg sync.WaitGroup
		wg.Go(func() { worker.Token(context.Background()) })
		time.Sleep(time.Second)
		s.browser(t).signIn(msauthtest.Ada)
		wg.Wait()
		time.Sleep(15 * time.Second)
		if _, err := s.offline(t, "7").Token(context.Background(), "User.Read"); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour)
		if _, err := s.offline(t, "7").Token(context.Background()); err != nil {
			t.Error(err)
		}
		s.wantNoReuse(t)
	})
}

func TestStoreDownBrowsers(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		time.Sleep(2 * time.Hour)
		kept.set(func(string) error { return errDown })
		for range 3 {
			b.wantGreeting(helloAda)
			time.Sleep(2 * time.Second)
		}
		kept.set(nil)
		b.wantGreeting(helloAda)
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

func TestADoubleClickOnTheWayBackFromConnect(t *testing.T) {
	t.Parallel()
	s, kept := account(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	b.keep("app", "zoe")
	still := b.still()
	back := still.get(still.connect().Header.Get("Location")).Header.Get("Location")
	first, second := still.get(back), still.get(back)
	if second.StatusCode != first.StatusCode {
		t.Errorf("%d, then %d %q though connected: %q", first.StatusCode, second.StatusCode, second.kind(), kept.users())
	}
}

func TestUserKeysOfTheHook(t *testing.T) {
	t.Parallel()
	key := ""
	s, kept := account(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error { in.UserKey = key; return nil }
	})
	s.as(msauthtest.Ada)
	b := s.browser(t)
	b.keep("app", "zoe")
	if res := b.connect(); res.Request.URL.Path != "/public/settings" || len(s.log.with("account connected")) > 0 {
		t.Errorf("without a key: at %s, and the log says that it is connected", res.Request.URL)
	}
	key = string(make([]byte, 256)) // the app's fault, and no outage
	s.wantPage(t, b.connect(), http.StatusInternalServerError, "app-error", "more than 255 bytes")
	if got := kept.users(); len(got) > 0 {
		t.Errorf("kept for %q", got)
	}
}

// undo deletes what another sign-in of the same user has kept meanwhile.
func TestUndoLeavesAnothersSignInAlone(t *testing.T) {
	t.Parallel()
	w := &wrapped{tokens: newTokens()}
	big := true
	away(t, func(s *site, _ *tokens, _ *browser) {
		s.auth.Disconnect(context.Background(), "7")
		var b2 *browser
		w.after = func(string) error {
			w.after = nil // after the first sign-in has kept its tokens, another one of the same user
			big = false
			b2 = s.browser(t)
			b2.signIn(msauthtest.Ada)
			big = true
			return nil
		}
		if res := s.browser(t).get("/"); res.kind() != "too-large" || b2 == nil {
			t.Fatal(res.kind(), b2 == nil)
		}
		if len(w.users()) != 1 {
			t.Errorf("kept for %q, though the second sign-in succeeded", w.users())
		}
		time.Sleep(2 * time.Hour)
		if b2 != nil {
			b2.wantGreeting(helloAda)
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
	away(t, func(s *site, kept *tokens, b *browser) {
		strict(s)
		for range 3 {
			time.Sleep(2 * time.Hour)
			b.wantGreeting(helloAda)
			if _, err := s.offline(t, "7").Token(context.Background()); err != nil {
				t.Error(err)
			}
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 3)
		s.wantNoReuse(t)
		s.auth.Disconnect(context.Background(), "7")
		time.Sleep(2 * time.Hour)
		b.wantGreeting(helloNobody)
	}, func(c *msauth.Config) { c.Store = newFiles(t) })
}

func TestChallenges(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		strict(s)
		s.ms.Consent(msauthtest.Ada, ordersRead)
		procs := []*msauth.Middleware{s.auth}
		for range 2 {
			m, _ := msauth.New(s.cfg)
			procs = append(procs, m)
		}
		for round := range 5 {
			withdraw := s.ms.Challenge(msauthtest.Challenge{})
			var wg sync.WaitGroup
			for i := range 9 {
				session, err := procs[i%3].Offline(context.Background(), "7")
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					if i%2 == 0 {
						session.Token(context.Background(), ordersRead)
					}
					if status, err := call(session.Client(context.Background()), "GET", graphMe, nil); status != 200 {
						t.Errorf("round %d: %d %v", round, status, err)
					}
				})
			}
			wg.Wait()
			withdraw()
			time.Sleep(3 * time.Hour)
		}
		b.wantGreeting(helloAda)
		s.wantNoReuse(t)
	})
}

func TestHookRefuses(t *testing.T) {
	t.Parallel()
	kept := newTokens()
	s := newSite(t, func(c *msauth.Config) {
		c.Tokens = kept
		c.OnSignIn = func(http.ResponseWriter, *http.Request, *msauth.SignIn) error { return errors.New("no") }
	})
	s.as(msauthtest.Ada)
	s.browser(t).get("/")
	if len(kept.users()) != 0 {
		t.Error(kept.users())
	}
}

// A refusal of the tokens before stands in the way of those of a sign-in
// during the request, for as long as ten minutes.
func TestARefusalOfTheTokensBeforeIsForgotten(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		s.ms.Consent(msauthtest.Ada, ordersRead)
		worker := s.offline(t, "7")
		withdraw := s.ms.Challenge(msauthtest.Challenge{})
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.Delay[msauthtest.TokenRefresh] = 3 * time.Second
			b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Error: "invalid_grant", Codes: []int{50173}}}
		})
		var wg sync.WaitGroup
		wg.Go(func() { call(worker.Client(context.Background()), "GET", graphMe, nil) })
		time.Sleep(time.Second)
		s.browser(t).signIn(msauthtest.Ada)
		wg.Wait()
		withdraw()
		time.Sleep(time.Minute)
		if _, err := s.offline(t, "7").Token(context.Background(), ordersRead); err != nil {
			t.Errorf("a minute later: %v", err)
		}
	})
}

// A process whose clock is ahead takes leases that are held.
func TestSharingHoldsForTheNextTime(t *testing.T) {
	t.Parallel()
	share := false
	s, kept := account(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.ShareAccount = share
			return nil
		}
	})
	s.as(msauthtest.Ada)
	for _, u := range []string{"yan", "xia"} {
		b := s.browser(t)
		b.keep("app", u)
		b.connect()
		share = true
		if u == "xia" {
			b.connect()
			share = false
			if res := b.connect(); res.StatusCode != 200 {
				t.Errorf("xia again: %d %q", res.StatusCode, res.kind())
			}
		}
	}
	if got := kept.users(); !slices.Equal(got, []string{"xia", "yan"}) {
		t.Errorf("kept for %q", got)
	}
}

// The end of the browser's request during keep.
func TestATabThatIsClosedIsNoError(t *testing.T) {
	t.Parallel()
	w := &wrapped{tokens: newTokens()}
	s := newSite(t, func(c *msauth.Config) { c.Tokens = w })
	s.as(msauthtest.Ada)
	inner := s.mux
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		w.load = func(context.Context, string) { cancel() }
		inner.ServeHTTP(rw, r.WithContext(ctx))
	})
	s.current.Store(mux)
	s.browser(t).get("/")
	if n := len(s.log.with("level=ERROR")); n > 0 {
		t.Errorf("a closed tab is logged as %d errors: %.300s", n, s.log.String())
	}
}

// Stored entry of an account no longer admitted.
func TestNoLongerAdmitted(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		s.restart(t, func(c *msauth.Config) { c.AllowedTenants = []string{"11111111-2222-3333-4444-555555555555"} })
		_, err := s.auth.Offline(context.Background(), "7")
		if failure, ok := errors.AsType[*msauth.AuthError](err); !ok || failure.Class != msauth.ClassNotAllowed {
			t.Errorf("the error is %v, want class %s", err, msauth.ClassNotAllowed)
		}
	})
}

// The lease of a process that hung is over; both go on.
func TestRevokedIsMarkedOnceAcrossProcesses(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		s.ms.Revoke(msauthtest.Ada)
		other, _ := msauth.New(s.cfg)
		w1 := s.offline(t, "7")
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
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
	})
}
