package signin_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// An attempt is over in the process that has seen its end, also for whoever has
// copied its cookie before and has another code.
func TestAnAttemptIsFinishedOnce(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"signed in", "declined"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t)
			s.As(msauthtest.Ada)
			b := s.Browser(t)
			still := b.Still()
			to := still.Get("/page").Header.Get("Location")
			back := still.Get(to).Header.Get("Location")
			thief := s.Browser(t)
			for _, c := range b.Cookies() {
				thief.Keep(c.Name, c.Value)
			}
			other := thief.Still().Get(to).Header.Get("Location") // the same state, another code
			if other == back || !strings.HasPrefix(other, s.URL+"/auth/callback?") {
				t.Fatalf("second answer %q", other)
			}
			first := back
			if end == "declined" {
				code := back[strings.Index(back, "code="):]
				code, _, _ = strings.Cut(code, "&")
				first = strings.Replace(back, code, "error=access_denied", 1)
			}
			still.Get(first)
			s.MS.ResetCalls()
			thief.WantRefused(thief.Still().Get(other), http.StatusBadRequest, "start-again", "finished before")
			thief.WantGreeting(testsite.HelloNobody)
			s.WantCalls(t, msauthtest.TokenCode, 0)
			if end == "declined" {
				return
			}
			b.WantGreeting(testsite.HelloAda)
			// The same browser: the back button, or the second of two clicks.
			for _, again := range []string{back, other} {
				if res := still.Get(again); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/page" {
					t.Errorf("status %d to %q, want the page", res.StatusCode, res.Header.Get("Location"))
				}
			}
			s.WantCalls(t, msauthtest.TokenCode, 0)
		})
	}
}

func TestAnAttemptIsFinishedOnceAtTheSameMoment(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	back := b.Attempt("/page")
	var signedIn atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		copied := s.Browser(t).Still()
		for _, c := range b.Cookies() {
			copied.Keep(c.Name, c.Value)
		}
		wg.Go(func() {
			if copied.Get(back).StatusCode == http.StatusSeeOther {
				signedIn.Add(1)
			}
		})
	}
	wg.Wait()
	if signedIn.Load() != 1 {
		t.Errorf("%d browsers were signed in by one attempt", signedIn.Load())
	}
	s.WantCalls(t, msauthtest.TokenCode, 1)
}

// wreck is a slog.Handler that panics at every turn.
type wreck struct {
	slog.Handler
	on *atomic.Bool
}

func (w wreck) Enabled(ctx context.Context, level slog.Level) bool {
	if w.on.Load() && level < slog.LevelInfo {
		panic("bug in Enabled")
	}
	return true
}

func (w wreck) Handle(ctx context.Context, r slog.Record) error {
	if w.on.Load() {
		panic("bug in Handle")
	}
	return w.Handler.Handle(ctx, r)
}

// Whatever the app's Logger does, nothing but the line is lost: not a sign-in,
// not a sign-out, not a page, not the deletion of what is unreadable.
func TestALoggerThatPanicsChangesNothing(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*msauth.Config){
		"cookies": func(*msauth.Config) {},
		"Store":   func(c *msauth.Config) { c.Store = testsite.FileStore(t) },
		"Tokens":  func(c *msauth.Config) { c.Tokens = testsite.NewTokens() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var on atomic.Bool
			s := testsite.New(t, change, func(c *msauth.Config) { c.Logger = slog.New(wreck{c.Logger.Handler(), &on}) })
			on.Store(true)
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			if res := b.Get("/auth/callback?state=x&code=y"); res.Kind() != "start-again" {
				t.Errorf("a failed sign-in: status %d, page %q", res.StatusCode, res.Kind())
			}
			cookie := b.Session()[0]
			if res := b.Still().Request("POST", "/auth/logout", testsite.OwnPage...); res.StatusCode != http.StatusSeeOther || len(b.Session()) != 0 {
				t.Errorf("signing out: status %d, cookies %v", res.StatusCode, b.Session())
			}
			b.Keep(cookie.Name, cookie.Value)
			b.WantGreeting(testsite.HelloNobody)
			if len(b.Session()) != 0 {
				t.Error("what opens nothing is not deleted")
			}
			on.Store(false)
		})
	}
}
