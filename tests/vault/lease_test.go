package vault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func wantToken(t *testing.T, s *msauth.Session, scopes ...string) {
	t.Helper()
	if _, err := s.Token(context.Background(), scopes...); err != nil {
		t.Error(err)
	}
}

// oversized makes sign-ins fail after their tokens were kept: the session fits
// no cookie.
func oversized(c *msauth.Config, on *bool) {
	c.CookieBudget = 1024
	before := c.OnSignIn
	c.OnSignIn = func(w http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
		if *on {
			in.AppData = random(512)
		}
		return before(w, r, in)
	}
}

// A sign-in that fails after its tokens were kept puts back what was there,
// unless that is used up by then.
func TestASignInThatFailsDuringARenewalLosesNothing(t *testing.T) {
	t.Parallel()
	for name, who := range map[string]string{"of the same account": msauthtest.Ada, "of another account": msauthtest.Bruno} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, big := &wrapped{Tokens: testsite.NewTokens()}, false
			away(t, func(s *testsite.Site, _ *testsite.Tokens, _ *testsite.Browser) {
				testsite.Strict(s)
				worker, err := s.Elsewhere(t, w.Tokens).Offline(context.Background(), "7")
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Hour)
				s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 3 * time.Second })
				var wg sync.WaitGroup
				wg.Go(func() { worker.Token(context.Background()) })
				time.Sleep(time.Second)
				w.after = func(string) error { w.after = nil; time.Sleep(5 * time.Second); return nil }
				big = true
				s.As(who)
				if got := s.Browser(t).Get("/").Kind(); got != "too-large" {
					t.Errorf("the sign-in ends on %q", got)
				}
				wg.Wait()
				big = false
				s.MS.Set(func(b *msauthtest.Behavior) { delete(b.Delay, msauthtest.TokenRefresh) })
				time.Sleep(2 * time.Hour)
				session := offline(s, t, "7")
				wantToken(t, session)
				if session.User.Username != msauthtest.Ada {
					t.Errorf("the tokens are those of %s", session.User.Username)
				}
				s.WantNoReuse(t)
			}, replacing, func(c *msauth.Config) { c.Tokens = w; oversized(c, &big) })
		})
	}
}

// Who replaces an account waits for whoever renews its tokens, but not for
// those that never end.
func TestReplacingAnAccountWaitsForItsRenewal(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, _ *testsite.Browser) {
		e := kept.Entry("7")
		old := e.Version
		e.Version, e.Lease = old+1, time.Now().Add(2*time.Minute)
		if err := kept.Save(context.Background(), "7", old, e); err != nil {
			t.Fatal(err)
		}
		s.As(msauthtest.Bruno)
		start := time.Now()
		if res := s.Browser(t).Get("/"); res.StatusCode != http.StatusServiceUnavailable || time.Since(start) > 21*time.Second {
			t.Errorf("after %v: status %d", time.Since(start), res.StatusCode)
		}
		if got := kept.Entry("7").Version; got != old+1 {
			t.Error("the entry was replaced")
		}
	}, replacing)
}

// Who was late to end a renewal, or died of it, is not waited for.
func TestALeaseThatIsOverKeepsNoAccountFromBeingReplaced(t *testing.T) {
	t.Parallel()
	for _, ends := range []time.Duration{-time.Second, -4 * time.Minute, 24 * time.Hour} { // nobody's lease lasts that long
		away(t, func(s *testsite.Site, kept *testsite.Tokens, _ *testsite.Browser) {
			e := kept.Entry("7")
			old := e.Version
			e.Version, e.Lease = old+1, time.Now().Add(ends)
			if err := kept.Save(context.Background(), "7", old, e); err != nil {
				t.Fatal(err)
			}
			s.As(msauthtest.Bruno)
			start := time.Now()
			if res := s.Browser(t).Get("/"); res.StatusCode != http.StatusOK || time.Since(start) > time.Second {
				t.Errorf("a lease that ends in %v: after %v status %d", ends, time.Since(start), res.StatusCode)
			}
		}, replacing)
	}
}

// Tokens that could not be saved yet outlive sign-ins, whether these fail or not.
func TestSignInsDoNotDropWhatIsNotSavedYet(t *testing.T) {
	t.Parallel()
	t.Run("one that fails", func(t *testing.T) {
		t.Parallel()
		big := false
		away(t, func(s *testsite.Site, kept *testsite.Tokens, _ *testsite.Browser) {
			testsite.Strict(s)
			worker := offline(s, t, "7")
			time.Sleep(2 * time.Hour)
			kept.Set(downAfter(1))
			if _, err := worker.Token(context.Background()); !errors.Is(err, errDown) {
				t.Fatal(err)
			}
			kept.Set(nil)
			big = true
			if got := s.Browser(t).Get("/").Kind(); got != "too-large" {
				t.Errorf("the sign-in ends on %q", got)
			}
			big = false
			time.Sleep(5 * time.Minute)
			wantToken(t, offline(s, t, "7"))
			s.WantNoReuse(t)
		}, func(c *msauth.Config) { oversized(c, &big) })
	})
	t.Run("one whose save is slow to answer", func(t *testing.T) {
		t.Parallel()
		for wait := range 4 { // at one of these moments it is not saved yet
			var slow atomic.Bool
			w := &wrapped{Tokens: testsite.NewTokens()}
			w.after = func(string) error {
				if slow.CompareAndSwap(true, false) {
					time.Sleep(8*time.Second + time.Duration(wait)*500*time.Millisecond)
				}
				return nil
			}
			away(t, func(s *testsite.Site, _ *testsite.Tokens, _ *testsite.Browser) {
				testsite.Strict(s)
				s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
				slow.Store(true)
				var wg sync.WaitGroup
				wg.Go(func() { s.Browser(t).SignIn(msauthtest.Ada) })
				time.Sleep(time.Second)
				w.Tokens.Set(downAfter(1))
				if _, err := offline(s, t, "7").Token(context.Background(), testsite.OrdersRead); !errors.Is(err, errDown) {
					t.Errorf("the worker: %v", err)
				}
				wg.Wait()
				w.Tokens.Set(nil)
				time.Sleep(2 * time.Hour)
				wantToken(t, offline(s, t, "7"))
				s.WantNoReuse(t)
			}, func(c *msauth.Config) { c.Tokens = w })
		}
	})
}

// What is not saved yet of one sign-in is not displaced by what was asked for
// before it.
func TestTokensOfBeforeASignInDoNotDisplaceItsOwn(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, _ *testsite.Browser) {
		testsite.Strict(s)
		s.MS.AddAPI(msauthtest.API{ID: "api://orders"})
		s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
		old := offline(s, t, "7")
		time.Sleep(2 * time.Hour)
		s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 14 * time.Second })
		var wg sync.WaitGroup
		wg.Go(func() { old.Token(context.Background()) })
		time.Sleep(time.Second)
		s.MS.Set(func(b *msauthtest.Behavior) { delete(b.Delay, msauthtest.TokenRefresh) })
		s.Browser(t).SignIn(msauthtest.Ada)
		worker := offline(s, t, "7")
		kept.Set(downAfter(1))
		if _, err := worker.Token(context.Background(), testsite.OrdersRead); !errors.Is(err, errDown) {
			t.Errorf("the worker: %v", err)
		}
		wg.Wait()
		time.Sleep(10 * time.Second)
		kept.Set(nil)
		time.Sleep(2 * time.Hour)
		wantToken(t, offline(s, t, "7"))
		s.WantNoReuse(t)
	})
}

// Sign-ins at a provider that gives no refresh tokens have nothing in common.
func TestSignInsWithoutARefreshTokenDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	w := &wrapped{Tokens: testsite.NewTokens()}
	var first atomic.Bool
	away(t, func(s *testsite.Site, _ *testsite.Tokens, _ *testsite.Browser) {
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "refresh_token") }
		})
		first.Store(true)
		w.after = func(string) error {
			if first.CompareAndSwap(true, false) {
				time.Sleep(9 * time.Second)
			}
			return nil
		}
		var wg sync.WaitGroup
		wg.Go(func() { s.Browser(t).SignIn(msauthtest.Ada) })
		time.Sleep(100 * time.Millisecond)
		start := time.Now()
		s.Browser(t).SignIn(msauthtest.Ada)
		if took := time.Since(start); took > time.Second {
			t.Errorf("the second user's sign-in took %v", took)
		}
		wg.Wait()
	}, func(c *msauth.Config) {
		c.Tokens = w
		var n atomic.Int64
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.UserKey, in.ShareAccount = fmt.Sprint(n.Add(1)), true
			return nil
		}
	})
}

// Whatever OnSignIn has begun with the session goes on with what is kept.
func TestAHookThatGoesOnWhileTokensAreKeptUsesNoneTwice(t *testing.T) {
	t.Parallel()
	w, use := &wrapped{Tokens: testsite.NewTokens()}, false
	var wg sync.WaitGroup
	away(t, func(s *testsite.Site, _ *testsite.Tokens, _ *testsite.Browser) {
		testsite.Strict(s)
		s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
		use = true
		w.after = func(string) error { w.after = nil; time.Sleep(time.Second); return nil }
		s.Browser(t).SignIn(msauthtest.Ada)
		wg.Wait()
		time.Sleep(2 * time.Hour)
		wantToken(t, offline(s, t, "7"))
		s.WantNoReuse(t)
	}, func(c *msauth.Config) {
		c.Tokens = w
		before := c.OnSignIn
		c.OnSignIn = func(rw http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			if use {
				wg.Go(func() {
					time.Sleep(500 * time.Millisecond)
					if _, err := in.Session.Token(context.Background(), testsite.OrdersRead); err != nil && !errors.Is(err, msauth.ErrTokenUnavailable) {
						t.Error(err)
					}
				})
			}
			return before(rw, r, in)
		}
	})
}

// Nor does it take back, when its request ends at the wrong moment, what was
// handed over.
func TestAHookThatGoesOnForLongUsesNoTokenTwice(t *testing.T) {
	t.Parallel()
	for range 30 {
		use := false
		var wg sync.WaitGroup
		away(t, func(s *testsite.Site, _ *testsite.Tokens, _ *testsite.Browser) {
			testsite.Strict(s)
			s.MS.AddAPI(msauthtest.API{ID: "api://orders"})
			s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
			s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 2 * time.Second })
			use = true
			s.Browser(t).SignIn(msauthtest.Ada)
			time.Sleep(2 * time.Hour)
			wantToken(t, offline(s, t, "7"))
			wg.Wait()
			s.WantNoReuse(t)
		}, func(c *msauth.Config) {
			before := c.OnSignIn
			c.OnSignIn = func(rw http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
				if use {
					for range 20 {
						wg.Go(func() { in.Session.Token(context.Background(), testsite.OrdersRead) })
					}
					wg.Go(func() {
						in.Session.Token(context.Background(), testsite.OrdersRead)
						time.Sleep(4 * time.Hour)
						in.Session.Token(context.Background(), testsite.OrdersRead)
					})
					time.Sleep(time.Second)
				}
				return before(rw, r, in)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// skewed is the store as a machine sees it whose clock is ahead.
type skewed struct {
	*testsite.Tokens
	ahead time.Duration
}

func (w *skewed) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	e, err := w.Tokens.Load(ctx, user)
	if !e.Lease.IsZero() {
		e.Lease = e.Lease.Add(-w.ahead)
	}
	return e, err
}

func (w *skewed) Save(ctx context.Context, user string, old int64, e msauth.StoredTokens) error {
	if !e.Lease.IsZero() {
		e.Lease = e.Lease.Add(w.ahead)
	}
	return w.Tokens.Save(ctx, user, old, e)
}

func TestLeasesHoldWhereClocksDiffer(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{4*time.Minute + 50*time.Second, 65 * time.Second, -65 * time.Second, -4*time.Minute - 50*time.Second} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			away(t, func(s *testsite.Site, kept *testsite.Tokens, _ *testsite.Browser) {
				testsite.Strict(s)
				one := offline(s, t, "7")
				two, err := s.Elsewhere(t, &skewed{kept, ahead}).Offline(context.Background(), "7")
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Hour)
				s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 2 * time.Second })
				var wg sync.WaitGroup
				wg.Go(func() { wantToken(t, one) })
				time.Sleep(time.Second)
				wg.Go(func() { wantToken(t, two) })
				wg.Wait()
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
			})
		})
	}
}

// hanging is a store that does not answer one process.
type hanging struct {
	*testsite.Tokens
	hang atomic.Bool
}

func (h *hanging) wait(ctx context.Context) error {
	if h.hang.Load() {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (h *hanging) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	if err := h.wait(ctx); err != nil {
		return msauth.StoredTokens{}, err
	}
	return h.Tokens.Load(ctx, user)
}

func (h *hanging) Save(ctx context.Context, user string, old int64, e msauth.StoredTokens) error {
	if err := h.wait(ctx); err != nil {
		return err
	}
	return h.Tokens.Save(ctx, user, old, e)
}

func TestALeaseOutlastsTheRequestAndItsSaves(t *testing.T) {
	t.Parallel()
	w := &hanging{Tokens: testsite.NewTokens()}
	away(t, func(s *testsite.Site, _ *testsite.Tokens, _ *testsite.Browser) {
		testsite.Strict(s)
		one := offline(s, t, "7")
		two, err := s.Elsewhere(t, w.Tokens).Offline(context.Background(), "7")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 14 * time.Second })
		var wg sync.WaitGroup
		wg.Go(func() { one.Token(context.Background()) }) // whose saves hang
		time.Sleep(time.Second)
		w.hang.Store(true)
		wg.Go(func() { wantToken(t, two) })
		time.Sleep(56 * time.Second)
		w.hang.Store(false)
		wg.Wait()
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
	}, func(c *msauth.Config) { c.Tokens = w })
}
