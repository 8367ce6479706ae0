package msauth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// elsewhere is another process of the same app, with a store of its own to look
// through.
func (s *site) elsewhere(t *testing.T, store msauth.TokenStore) *msauth.Middleware {
	t.Helper()
	cfg := s.cfg
	cfg.Tokens = store
	other, err := msauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

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
			w, big := &wrapped{tokens: newTokens()}, false
			away(t, func(s *site, _ *tokens, _ *browser) {
				strict(s)
				worker, err := s.elsewhere(t, w.tokens).Offline(context.Background(), "7")
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Hour)
				s.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 3 * time.Second })
				var wg sync.WaitGroup
				wg.Go(func() { worker.Token(context.Background()) })
				time.Sleep(time.Second)
				w.after = func(string) error { w.after = nil; time.Sleep(5 * time.Second); return nil }
				big = true
				s.as(who)
				if got := s.browser(t).get("/").kind(); got != "too-large" {
					t.Errorf("the sign-in ends on %q", got)
				}
				wg.Wait()
				big = false
				s.ms.Set(func(b *msauthtest.Behavior) { delete(b.Delay, msauthtest.TokenRefresh) })
				time.Sleep(2 * time.Hour)
				session := s.offline(t, "7")
				wantToken(t, session)
				if session.User.Username != msauthtest.Ada {
					t.Errorf("the tokens are those of %s", session.User.Username)
				}
				s.wantNoReuse(t)
			}, replacing, func(c *msauth.Config) { c.Tokens = w; oversized(c, &big) })
		})
	}
}

// Who replaces an account waits for whoever renews its tokens, but not for
// those that never end.
func TestReplacingAnAccountWaitsForItsRenewal(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, _ *browser) {
		e := kept.entry("7")
		old := e.Version
		e.Version, e.Lease = old+1, time.Now().Add(2*time.Minute)
		if err := kept.Save(context.Background(), "7", old, e); err != nil {
			t.Fatal(err)
		}
		s.as(msauthtest.Bruno)
		start := time.Now()
		if res := s.browser(t).get("/"); res.StatusCode != http.StatusServiceUnavailable || time.Since(start) > 21*time.Second {
			t.Errorf("after %v: status %d", time.Since(start), res.StatusCode)
		}
		if got := kept.entry("7").Version; got != old+1 {
			t.Error("the entry was replaced")
		}
	}, replacing)
}

// Who was late to end a renewal, or died of it, is not waited for.
func TestALeaseThatIsOverKeepsNoAccountFromBeingReplaced(t *testing.T) {
	t.Parallel()
	for _, ends := range []time.Duration{-time.Second, -4 * time.Minute, 24 * time.Hour} { // nobody's lease lasts that long
		away(t, func(s *site, kept *tokens, _ *browser) {
			e := kept.entry("7")
			old := e.Version
			e.Version, e.Lease = old+1, time.Now().Add(ends)
			if err := kept.Save(context.Background(), "7", old, e); err != nil {
				t.Fatal(err)
			}
			s.as(msauthtest.Bruno)
			start := time.Now()
			if res := s.browser(t).get("/"); res.StatusCode != http.StatusOK || time.Since(start) > time.Second {
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
		away(t, func(s *site, kept *tokens, _ *browser) {
			strict(s)
			worker := s.offline(t, "7")
			time.Sleep(2 * time.Hour)
			kept.set(downAfter(1))
			if _, err := worker.Token(context.Background()); !errors.Is(err, errDown) {
				t.Fatal(err)
			}
			kept.set(nil)
			big = true
			if got := s.browser(t).get("/").kind(); got != "too-large" {
				t.Errorf("the sign-in ends on %q", got)
			}
			big = false
			time.Sleep(5 * time.Minute)
			wantToken(t, s.offline(t, "7"))
			s.wantNoReuse(t)
		}, func(c *msauth.Config) { oversized(c, &big) })
	})
	t.Run("one whose save is slow to answer", func(t *testing.T) {
		t.Parallel()
		for wait := range 4 { // at one of these moments it is not saved yet
			var slow atomic.Bool
			w := &wrapped{tokens: newTokens()}
			w.after = func(string) error {
				if slow.CompareAndSwap(true, false) {
					time.Sleep(8*time.Second + time.Duration(wait)*500*time.Millisecond)
				}
				return nil
			}
			away(t, func(s *site, _ *tokens, _ *browser) {
				strict(s)
				s.ms.Consent(msauthtest.Ada, ordersRead)
				slow.Store(true)
				var wg sync.WaitGroup
				wg.Go(func() { s.browser(t).signIn(msauthtest.Ada) })
				time.Sleep(time.Second)
				w.tokens.set(downAfter(1))
				if _, err := s.offline(t, "7").Token(context.Background(), ordersRead); !errors.Is(err, errDown) {
					t.Errorf("the worker: %v", err)
				}
				wg.Wait()
				w.tokens.set(nil)
				time.Sleep(2 * time.Hour)
				wantToken(t, s.offline(t, "7"))
				s.wantNoReuse(t)
			}, func(c *msauth.Config) { c.Tokens = w })
		}
	})
}

// What is not saved yet of one sign-in is not displaced by what was asked for
// before it.
func TestTokensOfBeforeASignInDoNotDisplaceItsOwn(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, _ *browser) {
		strict(s)
		s.ms.AddAPI(msauthtest.API{ID: "api://orders"})
		s.ms.Consent(msauthtest.Ada, ordersRead)
		old := s.offline(t, "7")
		time.Sleep(2 * time.Hour)
		s.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 14 * time.Second })
		var wg sync.WaitGroup
		wg.Go(func() { old.Token(context.Background()) })
		time.Sleep(time.Second)
		s.ms.Set(func(b *msauthtest.Behavior) { delete(b.Delay, msauthtest.TokenRefresh) })
		s.browser(t).signIn(msauthtest.Ada)
		worker := s.offline(t, "7")
		kept.set(downAfter(1))
		if _, err := worker.Token(context.Background(), ordersRead); !errors.Is(err, errDown) {
			t.Errorf("the worker: %v", err)
		}
		wg.Wait()
		time.Sleep(10 * time.Second)
		kept.set(nil)
		time.Sleep(2 * time.Hour)
		wantToken(t, s.offline(t, "7"))
		s.wantNoReuse(t)
	})
}

// Sign-ins at a provider that gives no refresh tokens have nothing in common.
func TestSignInsWithoutARefreshTokenDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	w := &wrapped{tokens: newTokens()}
	var first atomic.Bool
	away(t, func(s *site, _ *tokens, _ *browser) {
		s.ms.Set(func(b *msauthtest.Behavior) {
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
		wg.Go(func() { s.browser(t).signIn(msauthtest.Ada) })
		time.Sleep(100 * time.Millisecond)
		start := time.Now()
		s.browser(t).signIn(msauthtest.Ada)
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
	w, use := &wrapped{tokens: newTokens()}, false
	var wg sync.WaitGroup
	away(t, func(s *site, _ *tokens, _ *browser) {
		strict(s)
		s.ms.Consent(msauthtest.Ada, ordersRead)
		use = true
		w.after = func(string) error { w.after = nil; time.Sleep(time.Second); return nil }
		s.browser(t).signIn(msauthtest.Ada)
		wg.Wait()
		time.Sleep(2 * time.Hour)
		wantToken(t, s.offline(t, "7"))
		s.wantNoReuse(t)
	}, func(c *msauth.Config) {
		c.Tokens = w
		before := c.OnSignIn
		c.OnSignIn = func(rw http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			if use {
				wg.Go(func() {
					time.Sleep(500 * time.Millisecond)
					if _, err := in.Session.Token(context.Background(), ordersRead); err != nil && !errors.Is(err, msauth.ErrTokenUnavailable) {
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
		away(t, func(s *site, _ *tokens, _ *browser) {
			strict(s)
			s.ms.AddAPI(msauthtest.API{ID: "api://orders"})
			s.ms.Consent(msauthtest.Ada, ordersRead)
			s.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 2 * time.Second })
			use = true
			s.browser(t).signIn(msauthtest.Ada)
			time.Sleep(2 * time.Hour)
			wantToken(t, s.offline(t, "7"))
			wg.Wait()
			s.wantNoReuse(t)
		}, func(c *msauth.Config) {
			before := c.OnSignIn
			c.OnSignIn = func(rw http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
				if use {
					for range 20 {
						wg.Go(func() { in.Session.Token(context.Background(), ordersRead) })
					}
					wg.Go(func() {
						in.Session.Token(context.Background(), ordersRead)
						time.Sleep(4 * time.Hour)
						in.Session.Token(context.Background(), ordersRead)
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
	*tokens
	ahead time.Duration
}

func (w *skewed) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	e, err := w.tokens.Load(ctx, user)
	if !e.Lease.IsZero() {
		e.Lease = e.Lease.Add(-w.ahead)
	}
	return e, err
}

func (w *skewed) Save(ctx context.Context, user string, old int64, e msauth.StoredTokens) error {
	if !e.Lease.IsZero() {
		e.Lease = e.Lease.Add(w.ahead)
	}
	return w.tokens.Save(ctx, user, old, e)
}

func TestLeasesHoldWhereClocksDiffer(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{4*time.Minute + 50*time.Second, 65 * time.Second, -65 * time.Second, -4*time.Minute - 50*time.Second} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			away(t, func(s *site, kept *tokens, _ *browser) {
				strict(s)
				one := s.offline(t, "7")
				two, err := s.elsewhere(t, &skewed{kept, ahead}).Offline(context.Background(), "7")
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Hour)
				s.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 2 * time.Second })
				var wg sync.WaitGroup
				wg.Go(func() { wantToken(t, one) })
				time.Sleep(time.Second)
				wg.Go(func() { wantToken(t, two) })
				wg.Wait()
				s.wantCalls(t, msauthtest.TokenRefresh, 1)
			})
		})
	}
}

// hanging is a store that does not answer one process.
type hanging struct {
	*tokens
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
	return h.tokens.Load(ctx, user)
}

func (h *hanging) Save(ctx context.Context, user string, old int64, e msauth.StoredTokens) error {
	if err := h.wait(ctx); err != nil {
		return err
	}
	return h.tokens.Save(ctx, user, old, e)
}

func TestALeaseOutlastsTheRequestAndItsSaves(t *testing.T) {
	t.Parallel()
	w := &hanging{tokens: newTokens()}
	away(t, func(s *site, _ *tokens, _ *browser) {
		strict(s)
		one := s.offline(t, "7")
		two, err := s.elsewhere(t, w.tokens).Offline(context.Background(), "7")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		s.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 14 * time.Second })
		var wg sync.WaitGroup
		wg.Go(func() { one.Token(context.Background()) }) // whose saves hang
		time.Sleep(time.Second)
		w.hang.Store(true)
		wg.Go(func() { wantToken(t, two) })
		time.Sleep(56 * time.Second)
		w.hang.Store(false)
		wg.Wait()
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
	}, func(c *msauth.Config) { c.Tokens = w })
}

// What one browser's sign-in has proved is not true of another's; what Microsoft
// says of the person is, whoever renews.
func TestWhatBrowsersOfAUserShare(t *testing.T) {
	t.Parallel()
	t.Run("not authentication contexts", func(t *testing.T) {
		t.Parallel()
		for _, elsewhere := range []bool{false, true} {
			away(t, func(s *site, kept *tokens, b *browser) {
				s.guard("/pay", s.auth.RequireAuthContext("c1"))
				proved := s.browser(t)
				proved.signIn(msauthtest.Ada)
				if res := proved.get("/pay"); res.body != helloAda {
					t.Fatal(res.body)
				}
				time.Sleep(61 * time.Minute)
				if elsewhere {
					worker, err := s.elsewhere(t, kept).Offline(context.Background(), "7")
					if err != nil {
						t.Fatal(err)
					}
					wantToken(t, worker)
				}
				b.wantGreeting(helloAda)
				if res := b.still().get("/pay"); res.StatusCode != http.StatusSeeOther {
					t.Errorf("renewed elsewhere: %v; the browser that never met c1 gets status %d, %q", elsewhere, res.StatusCode, res.body)
				}
				if res := proved.get("/pay"); res.body != helloAda {
					t.Errorf("the browser that has met c1 gets %q", res.body)
				}
			})
		}
	})
	t.Run("roles", func(t *testing.T) {
		t.Parallel()
		away(t, func(s *site, kept *tokens, b *browser) {
			s.guard("/admin", s.auth.RequireRole("Admin"))
			roles := func(roles ...string) {
				for _, u := range s.ms.Users() {
					if u.SignInName == msauthtest.Ada {
						u.Roles = roles
						s.ms.SetUser(u)
					}
				}
			}
			roles("Admin")
			b.get("/auth/login")
			if res := b.get("/admin"); res.body != helloAda {
				t.Fatal(res.body)
			}
			roles()
			time.Sleep(61 * time.Minute)
			worker, err := s.elsewhere(t, kept).Offline(context.Background(), "7")
			if err != nil {
				t.Fatal(err)
			}
			wantToken(t, worker) // it renews first
			if res := b.get("/admin"); res.StatusCode != http.StatusForbidden {
				t.Errorf("status %d, %q for somebody who is no administrator any more", res.StatusCode, res.body)
			}
			s.wantCalls(t, msauthtest.TokenRefresh, 1)
		})
	})
}

// A renewal's ID token that cannot be accepted, such as one from a machine whose
// clock is ahead, is no reason to lose the refresh token that comes with it.
func TestARefreshTokenBesideABadIDTokenIsNotLost(t *testing.T) {
	ahead := func(s *site, on bool) {
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.IDToken = nil
			if on {
				b.IDToken = func(_ msauthtest.Kind, c map[string]any) { c["iat"] = time.Now().Add(6 * time.Minute).Unix() }
			}
		})
	}
	t.Run("kept for a user", func(t *testing.T) {
		away(t, func(s *site, _ *tokens, _ *browser) {
			strict(s)
			worker := s.offline(t, "7")
			time.Sleep(2 * time.Hour)
			ahead(s, true)
			if _, err := worker.Token(context.Background()); !errors.Is(err, msauth.ErrTokenUnavailable) {
				t.Errorf("the first time: %v", err)
			}
			ahead(s, false)
			time.Sleep(time.Minute)
			wantToken(t, worker)
			s.wantNoReuse(t)
			s.wantCalls(t, msauthtest.TokenRefresh, 2)
		})
	})
	renewing(t, func(t *testing.T, s *site, b *browser) {
		strict(s)
		time.Sleep(2 * time.Hour)
		ahead(s, true)
		b.get("/public/")
		ahead(s, false)
		time.Sleep(time.Minute)
		s.restart(t, func(*msauth.Config) {}) // the browser has it
		b.wantGreeting(helloAda)
		s.wantNoReuse(t)
		s.wantCalls(t, msauthtest.TokenRefresh, 2)
	})
}

// panicky is a slog.Handler with a bug.
type panicky struct {
	slog.Handler
	on *atomic.Bool
}

func (p panicky) Handle(ctx context.Context, r slog.Record) error {
	if p.on.Load() && (strings.Contains(r.Message, "renewed") || strings.Contains(r.Message, "renewals go on")) {
		panic("bug in the handler")
	}
	return p.Handler.Handle(ctx, r)
}
func (p panicky) WithAttrs(a []slog.Attr) slog.Handler { return panicky{p.Handler.WithAttrs(a), p.on} }
func (p panicky) WithGroup(a string) slog.Handler      { return panicky{p.Handler.WithGroup(a), p.on} }

func TestALoggerThatPanicsLosesNothing(t *testing.T) {
	t.Parallel()
	for name, pause := range map[string]bool{"as usual": false, "at the end of a pause": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var on atomic.Bool
			n := 0
			away(t, func(s *site, _ *tokens, _ *browser) {
				for n = range 6 {
					s.browser(t).signIn(msauthtest.Ada)
				}
				strict(s)
				time.Sleep(2 * time.Hour)
				if pause {
					refuses := msauthtest.Failure{Error: "invalid_client"}
					s.ms.Set(func(b *msauthtest.Behavior) {
						b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{refuses, refuses, refuses, refuses, refuses}
					})
					for i := range 5 {
						s.offline(t, fmt.Sprint(i)).Token(context.Background())
					}
					if len(s.log.with("renewal_pause")) == 0 {
						t.Error("renewals do not pause")
					}
					time.Sleep(time.Minute)
				}
				on.Store(true)
				wantToken(t, s.offline(t, "5"))
				on.Store(false)
				time.Sleep(2 * time.Hour)
				wantToken(t, s.offline(t, "5"))
				s.wantNoReuse(t)
			}, func(c *msauth.Config) {
				c.Logger = slog.New(panicky{c.Logger.Handler(), &on})
				c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
					in.UserKey, in.ShareAccount = fmt.Sprint(n), true
					return nil
				}
			})
		})
	}
}

// Where the provider hands out the same refresh token again, a save that comes
// late has nothing that must not be lost.
func TestALateSaveDoesNotUndoNewerNews(t *testing.T) {
	t.Parallel()
	for name, revoked := range map[string]bool{"a newer access token": false, "a refusal": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			away(t, func(s *site, kept *tokens, _ *browser) {
				s.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateSame })
				var down atomic.Int64
				s.restart(t, func(c *msauth.Config) { c.Tokens = &failing{kept, &down} })
				worker := s.offline(t, "7")
				time.Sleep(2 * time.Hour)
				down.Store(1)
				worker.Token(context.Background())
				time.Sleep(55 * time.Minute)
				if revoked {
					s.ms.Revoke(msauthtest.Ada)
				}
				two, err := s.elsewhere(t, kept).Offline(context.Background(), "7")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := two.Token(context.Background()); (err != nil) != revoked {
					t.Error(err)
				}
				newer := kept.entry("7")
				down.Store(0)
				time.Sleep(2 * time.Minute)
				if e := kept.entry("7"); e.Version != newer.Version || e.SignInRequired != revoked {
					t.Errorf("overwritten; SignInRequired is %v", e.SignInRequired)
				}
			})
		})
	}
}

// failing is a store of which, while it is down, every save but the first fails.
type failing struct {
	*tokens
	down *atomic.Int64
}

func (f *failing) Save(ctx context.Context, user string, old int64, e msauth.StoredTokens) error {
	if f.down.Load() > 0 && f.down.Add(1) > 2 {
		return errDown
	}
	return f.tokens.Save(ctx, user, old, e)
}

// twice is a store whose driver repeats what it has done already.
type twice struct{ *tokens }

func (w twice) Save(ctx context.Context, user string, old int64, e msauth.StoredTokens) error {
	if err := w.tokens.Save(ctx, user, old, e); err != nil {
		return err
	}
	return w.tokens.Save(ctx, user, old, e)
}

func TestASaveThatIsDoneTwiceIsNoConflict(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, _ *browser) {
		s.restart(t, func(c *msauth.Config) { c.Tokens = twice{kept} })
		worker := s.offline(t, "7")
		time.Sleep(2 * time.Hour)
		start := time.Now()
		wantToken(t, worker)
		if took := time.Since(start); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// To disconnect takes nothing but a store that can delete; nothing is remembered
// afterwards, even if the entry was gone before.
func TestDisconnectForgetsWhateverTheStoreStillHas(t *testing.T) {
	t.Parallel()
	t.Run("an entry that cannot be read", func(t *testing.T) {
		t.Parallel()
		away(t, func(s *site, kept *tokens, _ *browser) {
			kept.set(func(method string) error {
				if method == "load" {
					return errDown
				}
				return nil
			})
			if err := s.auth.Disconnect(context.Background(), "7"); err != nil || len(kept.users()) > 0 {
				t.Errorf("%v, kept for %q", err, kept.users())
			}
		})
	})
	t.Run("an entry that the app has deleted", func(t *testing.T) {
		t.Parallel()
		away(t, func(s *site, kept *tokens, _ *browser) {
			time.Sleep(2 * time.Hour)
			held, late := s.offline(t, "7"), s.offline(t, "7")
			wantToken(t, held)
			if err := kept.Delete(context.Background(), "7"); err != nil {
				t.Fatal(err)
			}
			if err := s.auth.Disconnect(context.Background(), "7"); err != nil {
				t.Fatal(err)
			}
			if _, err := late.Token(context.Background()); !errors.Is(err, msauth.ErrNoTokens) {
				t.Errorf("a session from before: %v, want ErrNoTokens", err)
			}
		})
	})
}

// A refusal that the store does not take is not asked for again and again.
func TestARefusalThatCannotBeSavedIsRemembered(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, _ *browser) {
		worker := s.offline(t, "7")
		time.Sleep(2 * time.Hour)
		s.ms.Revoke(msauthtest.Ada)
		var saves atomic.Int64
		kept.set(func(method string) error {
			if method == "save" && saves.Add(1)%2 == 0 { // leases can be taken
				return errDown
			}
			return nil
		})
		for range 50 {
			if _, err := worker.Token(context.Background()); !errors.Is(err, msauth.ErrSignInRequired) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
	})
}
