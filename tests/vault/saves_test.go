package vault_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// What one browser's sign-in has proved is not true of another's; what Microsoft
// says of the person is, whoever renews.
func TestWhatBrowsersOfAUserShare(t *testing.T) {
	t.Parallel()
	t.Run("not authentication contexts", func(t *testing.T) {
		t.Parallel()
		for _, elsewhere := range []bool{false, true} {
			away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
				s.Guard("/pay", s.Auth.RequireAuthContext("c1"))
				proved := s.Browser(t)
				proved.SignIn(msauthtest.Ada)
				if res := proved.Get("/pay"); res.Text != testsite.HelloAda {
					t.Fatal(res.Text)
				}
				time.Sleep(61 * time.Minute)
				if elsewhere {
					worker, err := s.Elsewhere(t, kept).Offline(context.Background(), "7")
					if err != nil {
						t.Fatal(err)
					}
					wantToken(t, worker)
				}
				b.WantGreeting(testsite.HelloAda)
				if res := b.Still().Get("/pay"); res.StatusCode != http.StatusSeeOther {
					t.Errorf("renewed elsewhere: %v; the browser that never met c1 gets status %d, %q", elsewhere, res.StatusCode, res.Text)
				}
				if res := proved.Get("/pay"); res.Text != testsite.HelloAda {
					t.Errorf("the browser that has met c1 gets %q", res.Text)
				}
			})
		}
	})
	t.Run("roles", func(t *testing.T) {
		t.Parallel()
		away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
			s.Guard("/admin", s.Auth.RequireRole("Admin"))
			roles := func(roles ...string) {
				for _, u := range s.MS.Users() {
					if u.SignInName == msauthtest.Ada {
						u.Roles = roles
						s.MS.SetUser(u)
					}
				}
			}
			roles("Admin")
			b.Get("/auth/login")
			if res := b.Get("/admin"); res.Text != testsite.HelloAda {
				t.Fatal(res.Text)
			}
			roles()
			time.Sleep(61 * time.Minute)
			worker, err := s.Elsewhere(t, kept).Offline(context.Background(), "7")
			if err != nil {
				t.Fatal(err)
			}
			wantToken(t, worker) // it renews first
			if res := b.Get("/admin"); res.StatusCode != http.StatusForbidden {
				t.Errorf("status %d, %q for somebody who is no administrator any more", res.StatusCode, res.Text)
			}
			s.WantCalls(t, msauthtest.TokenRefresh, 1)
		})
	})
}

// A renewal's ID token that cannot be accepted, such as one from a machine whose
// clock is ahead, is no reason to lose the refresh token that comes with it.
func TestARefreshTokenBesideABadIDTokenIsNotLost(t *testing.T) {
	ahead := func(s *testsite.Site, on bool) {
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.IDToken = nil
			if on {
				b.IDToken = func(_ msauthtest.Kind, c map[string]any) { c["iat"] = time.Now().Add(6 * time.Minute).Unix() }
			}
		})
	}
	t.Run("kept for a user", func(t *testing.T) {
		away(t, func(s *testsite.Site, _ *testsite.Tokens, _ *testsite.Browser) {
			testsite.Strict(s)
			worker := offline(s, t, "7")
			time.Sleep(2 * time.Hour)
			ahead(s, true)
			if _, err := worker.Token(context.Background()); !errors.Is(err, msauth.ErrTokenUnavailable) {
				t.Errorf("the first time: %v", err)
			}
			ahead(s, false)
			time.Sleep(time.Minute)
			wantToken(t, worker)
			s.WantNoReuse(t)
			s.WantCalls(t, msauthtest.TokenRefresh, 2)
		})
	})
	testsite.Renewing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		testsite.Strict(s)
		time.Sleep(2 * time.Hour)
		ahead(s, true)
		b.Get("/public/")
		ahead(s, false)
		time.Sleep(time.Minute)
		s.Restart(t, func(*msauth.Config) {}) // the browser has it
		b.WantGreeting(testsite.HelloAda)
		s.WantNoReuse(t)
		s.WantCalls(t, msauthtest.TokenRefresh, 2)
	})
}

// panicky is a slog.Handler with a bug.
type panicky struct {
	slog.Handler
	on *atomic.Bool
}

func (p panicky) Handle(ctx context.Context, r slog.Record) error {
	if p.on.Load() && (strings.Contains(r.Message, "renewed") || strings.Contains(r.Message, "renewals resumed")) {
		panic("bug in the handler")
	}
	return p.Handler.Handle(ctx, r)
}

func (p panicky) WithAttrs(a []slog.Attr) slog.Handler { return panicky{p.Handler.WithAttrs(a), p.on} }

func (p panicky) WithGroup(a string) slog.Handler { return panicky{p.Handler.WithGroup(a), p.on} }

func TestALoggerThatPanicsLosesNothing(t *testing.T) {
	t.Parallel()
	for name, pause := range map[string]bool{"as usual": false, "at the end of a pause": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var on atomic.Bool
			n := 0
			away(t, func(s *testsite.Site, _ *testsite.Tokens, _ *testsite.Browser) {
				for n = range 6 {
					s.Browser(t).SignIn(msauthtest.Ada)
				}
				testsite.Strict(s)
				time.Sleep(2 * time.Hour)
				if pause {
					refuses := msauthtest.Failure{Error: "invalid_client"}
					s.MS.Set(func(b *msauthtest.Behavior) {
						b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{refuses, refuses, refuses, refuses, refuses}
					})
					for i := range 5 {
						offline(s, t, fmt.Sprint(i)).Token(context.Background())
					}
					if len(s.Log.With("renewal_pause")) == 0 {
						t.Error("renewals do not pause")
					}
					time.Sleep(time.Minute)
				}
				on.Store(true)
				wantToken(t, offline(s, t, "5"))
				on.Store(false)
				time.Sleep(2 * time.Hour)
				wantToken(t, offline(s, t, "5"))
				s.WantNoReuse(t)
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
			away(t, func(s *testsite.Site, kept *testsite.Tokens, _ *testsite.Browser) {
				s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateSame })
				var down atomic.Int64
				s.Restart(t, func(c *msauth.Config) { c.Tokens = &failing{kept, &down} })
				worker := offline(s, t, "7")
				time.Sleep(2 * time.Hour)
				down.Store(1)
				worker.Token(context.Background())
				time.Sleep(55 * time.Minute)
				if revoked {
					s.MS.Revoke(msauthtest.Ada)
				}
				two, err := s.Elsewhere(t, kept).Offline(context.Background(), "7")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := two.Token(context.Background()); (err != nil) != revoked {
					t.Error(err)
				}
				newer := kept.Entry("7")
				down.Store(0)
				time.Sleep(2 * time.Minute)
				if e := kept.Entry("7"); e.Version != newer.Version || e.SignInRequired != revoked {
					t.Errorf("overwritten; SignInRequired is %v", e.SignInRequired)
				}
			})
		})
	}
}

// failing is a store of which, while it is down, every save but the first fails.
type failing struct {
	*testsite.Tokens
	down *atomic.Int64
}

func (f *failing) Save(ctx context.Context, user string, old int64, e msauth.StoredTokens) error {
	if f.down.Load() > 0 && f.down.Add(1) > 2 {
		return errDown
	}
	return f.Tokens.Save(ctx, user, old, e)
}

// twice is a store whose driver repeats what it has done already.
type twice struct{ *testsite.Tokens }

func (w twice) Save(ctx context.Context, user string, old int64, e msauth.StoredTokens) error {
	if err := w.Tokens.Save(ctx, user, old, e); err != nil {
		return err
	}
	return w.Tokens.Save(ctx, user, old, e)
}

func TestASaveThatIsDoneTwiceIsNoConflict(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, _ *testsite.Browser) {
		s.Restart(t, func(c *msauth.Config) { c.Tokens = twice{kept} })
		worker := offline(s, t, "7")
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
		away(t, func(s *testsite.Site, kept *testsite.Tokens, _ *testsite.Browser) {
			kept.Set(func(method string) error {
				if method == "load" {
					return errDown
				}
				return nil
			})
			if err := s.Auth.Disconnect(context.Background(), "7"); err != nil || len(kept.Users()) > 0 {
				t.Errorf("%v, kept for %q", err, kept.Users())
			}
		})
	})
	t.Run("an entry that the app has deleted", func(t *testing.T) {
		t.Parallel()
		away(t, func(s *testsite.Site, kept *testsite.Tokens, _ *testsite.Browser) {
			time.Sleep(2 * time.Hour)
			held, late := offline(s, t, "7"), offline(s, t, "7")
			wantToken(t, held)
			if err := kept.Delete(context.Background(), "7"); err != nil {
				t.Fatal(err)
			}
			if err := s.Auth.Disconnect(context.Background(), "7"); err != nil {
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
	away(t, func(s *testsite.Site, kept *testsite.Tokens, _ *testsite.Browser) {
		worker := offline(s, t, "7")
		time.Sleep(2 * time.Hour)
		s.MS.Revoke(msauthtest.Ada)
		var saves atomic.Int64
		kept.Set(func(method string) error {
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
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
	})
}
