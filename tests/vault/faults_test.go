package vault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// wrapped is a store whose calls can be intercepted after they took effect.
type wrapped struct {
	*testsite.Tokens
	load  func(ctx context.Context, user string)
	after func(method string) error
	save  func(t *msauth.StoredTokens)
	del   func(ctx context.Context)
}

func (w *wrapped) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	if w.load != nil {
		w.load(ctx, user)
	}
	return w.Tokens.Load(ctx, user)
}

func (w *wrapped) Save(ctx context.Context, user string, old int64, t msauth.StoredTokens) error {
	if w.save != nil {
		w.save(&t)
	}
	err := w.Tokens.Save(ctx, user, old, t)
	if err == nil && w.after != nil {
		err = w.after("save")
	}
	return err
}

func (w *wrapped) Delete(ctx context.Context, user string) error {
	if w.del != nil {
		w.del(ctx)
	}
	return w.Tokens.Delete(ctx, user)
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
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		testsite.Strict(s)
		worker := offline(s, t, "7")
		time.Sleep(2 * time.Hour)
		kept.Set(downAfter(1))
		_, err := worker.Token(context.Background())
		if !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		kept.Set(nil)
		time.Sleep(2 * time.Minute)
		if _, err := worker.Token(context.Background()); err != nil {
			t.Errorf("once it is up: %v", err)
		}
		s.WantNoReuse(t)
	})
}

// Waiting for a slot outlasts the lease.
func TestNoRefreshTokenIsUsedTwiceHoweverLongASlotTakes(t *testing.T) {
	t.Parallel()
	n := 0
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		for i := range 320 {
			n = i
			s.Browser(t).SignIn(msauthtest.Ada)
		}
		time.Sleep(2 * time.Hour)
		testsite.Strict(s)
		s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 14 * time.Second })
		other, err := msauth.New(s.Cfg)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 320 {
			key := fmt.Sprint("user ", i)
			one := offline(s, t, key)
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
		s.WantNoReuse(t)
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
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		worker := offline(s, t, "7") // Ada's
		bruno := s.Browser(t)
		bruno.SignIn(msauthtest.Bruno)
		time.Sleep(2 * time.Hour)
		if _, err := offline(s, t, "7").Token(context.Background()); err != nil {
			t.Fatal(err)
		}
		if token, err := worker.Token(context.Background()); err == nil {
			t.Errorf("a worker of %v has a token of %.0v somebody else", worker.User.Name, token)
		}
		if res := b.Get("/public/"); res.Text != testsite.HelloNobody {
			t.Errorf("Ada's browser says %q", res.Text)
		}
	}, replacing)
}

// A stale session of the account before ends the session of the new one.
func TestAStaleSessionDoesNotEndTheGoodOne(t *testing.T) {
	t.Parallel()
	kept := &wrapped{Tokens: testsite.NewTokens()}
	away(t, func(s *testsite.Site, _ *testsite.Tokens, b *testsite.Browser) {
		bruno := s.Browser(t)
		bruno.SignIn(msauthtest.Bruno)
		time.Sleep(2 * time.Hour)
		kept.load = func(context.Context, string) { time.Sleep(500 * time.Millisecond) }
		var wg sync.WaitGroup
		wg.Go(func() { b.Get("/public/") })
		time.Sleep(100 * time.Millisecond)
		wg.Go(func() {
			if res := bruno.Get("/public/"); res.Text == testsite.HelloNobody {
				t.Errorf("Bruno's browser says %q", res.Text)
			}
		})
		wg.Wait()
	}, replacing, func(c *msauth.Config) { c.Tokens = kept })
}

// A refusal that came with a claims challenge outlives a sign-in elsewhere.
func TestASignInElsewhereIsNoticed(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
		other, err := msauth.New(s.Cfg)
		if err != nil {
			t.Fatal(err)
		}
		worker, err := other.Offline(context.Background(), "7")
		if err != nil {
			t.Fatal(err)
		}
		s.MS.Challenge(msauthtest.Challenge{})
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Error: "invalid_grant", Codes: []int{50173}}
		})
		testsite.Call(worker.Client(context.Background()), "GET", testsite.GraphMe, nil)
		if !kept.Entry("7").SignInRequired {
			t.Fatal("not marked")
		}
		s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways = nil })
		time.Sleep(time.Second)
		s.Browser(t).SignIn(msauthtest.Ada)
		time.Sleep(30 * time.Second)
		session, err := other.Offline(context.Background(), "7")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := session.Token(context.Background(), testsite.OrdersRead); err != nil {
			t.Errorf("30 seconds after a new sign-in in another process: %v", err)
		}
	})
}

// Interaction_required is asked for again and again.
func TestStepUpIsMarked(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		s.MS.Set(func(b *msauthtest.Behavior) { b.RequireMFA = true })
		time.Sleep(2 * time.Hour)
		for range 60 {
			session, err := s.Auth.Offline(context.Background(), "7")
			if err == nil {
				_, err = session.Token(context.Background())
			}
			if !errors.Is(err, msauth.ErrSignInRequired) {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		if !kept.Entry("7").SignInRequired {
			t.Error("the entry does not say so")
		}
	})
}

// The store panics in the save after the renewal.
func TestAPanicInSaveLosesNothing(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		testsite.Strict(s)
		time.Sleep(2 * time.Hour)
		saves := 0
		w := &wrapped{Tokens: kept}
		w.save = func(*msauth.StoredTokens) {
			if saves++; saves == 2 {
				panic("bug in the driver")
			}
		}
		s.Restart(t, func(c *msauth.Config) { c.Tokens = w })
		worker := offline(s, t, "7")
		if _, err := worker.Token(context.Background()); err != nil && !errors.Is(err, msauth.ErrTokenUnavailable) {
			t.Errorf("the error is %v, want ErrTokenUnavailable", err)
		}
		time.Sleep(10 * time.Second)
		if _, err := worker.Token(context.Background()); err != nil {
			t.Errorf("once it works: %v", err)
		}
		s.WantNoReuse(t)
	})
}

// Undo with a cancelled request, and undo of somebody else's.
func TestUndoDoesNotEndWithTheRequest(t *testing.T) {
	t.Parallel()
	w := &wrapped{Tokens: testsite.NewTokens()}
	s := testsite.New(t, func(c *msauth.Config) { c.Tokens, c.CookieBudget = w, 1024 })
	roles := make([]string, 60)
	for i := range roles {
		roles[i] = fmt.Sprintf("role %x", testsite.NewKey())
	}
	s.MS.SetUser(msauthtest.User{SignInName: "many@contoso.example", Roles: roles})
	s.As("many@contoso.example")
	b := s.Browser(t)
	ctx, cancel := context.WithCancel(context.Background())
	s.Current.Load()
	inner := s.Mux
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) { inner.ServeHTTP(rw, r.WithContext(ctx)) })
	s.Current.Store(mux)
	w.after = func(string) error { cancel(); return nil } // the person closes the tab
	b.Get("/")
	if got := w.Users(); len(got) != 0 {
		t.Errorf("kept for %q", got)
	}
}

// The hook gives up waiting for a token of another API; its request goes on
// and uses the refresh token up, which is then kept.
func TestAHookThatGivesUpLosesNothing(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		testsite.Strict(s)
		s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
		s.Browser(t).SignIn(msauthtest.Ada)
		time.Sleep(2 * time.Hour)
		if _, err := offline(s, t, "7").Token(context.Background()); err != nil {
			t.Errorf("%v", err)
		}
		s.WantNoReuse(t)
	}, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			in.UserKey = "7"
			ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
			defer cancel()
			in.Session.Token(ctx, testsite.OrdersRead)
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
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		testsite.Strict(s)
		time.Sleep(2 * time.Hour)
		if _, err := held.Token(context.Background()); err != nil {
			t.Error(err)
		}
		if _, err := offline(s, t, "7").Token(context.Background()); err != nil {
			t.Error(err)
		}
		s.WantNoReuse(t)
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
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		testsite.Strict(s)
		fresh := s.Cfg
		fresh.Keys = [][]byte{testsite.NewKey(), s.Cfg.Keys[0]}
		s.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{c.Keys[0], fresh.Keys[0]} })
		other, err := msauth.New(fresh)
		if err != nil {
			t.Fatal(err)
		}
		worker := offline(s, t, "7")
		time.Sleep(2 * time.Hour)
		kept.Set(downAfter(1))
		if _, err := worker.Token(context.Background()); !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if _, err := worker.Token(context.Background()); !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		kept.Set(nil)
		if err := other.Reseal(context.Background(), "7"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if _, err := worker.Token(context.Background()); err != nil {
			t.Errorf("%v", err)
		}
		s.WantNoReuse(t)
	})
}
