package msauth_test

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
)

// An attempt is over in the process that has seen its end, also for whoever has
// copied its cookie before and has another code.
func TestAnAttemptIsFinishedOnce(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"signed in", "declined"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.as(msauthtest.Ada)
			b := s.browser(t)
			still := b.still()
			to := still.get("/page").Header.Get("Location")
			back := still.get(to).Header.Get("Location")
			thief := s.browser(t)
			for _, c := range b.cookies() {
				thief.keep(c.Name, c.Value)
			}
			other := thief.still().get(to).Header.Get("Location") // the same state, another code
			if other == back || !strings.HasPrefix(other, s.URL+"/auth/callback?") {
				t.Fatalf("second answer %q", other)
			}
			first := back
			if end == "declined" {
				code := back[strings.Index(back, "code="):]
				code, _, _ = strings.Cut(code, "&")
				first = strings.Replace(back, code, "error=access_denied", 1)
			}
			still.get(first)
			s.ms.ResetCalls()
			thief.wantRefused(thief.still().get(other), http.StatusBadRequest, "start-again", "finished before")
			thief.wantGreeting(helloNobody)
			s.wantCalls(t, msauthtest.TokenCode, 0)
			if end == "declined" {
				return
			}
			b.wantGreeting(helloAda)
			// The same browser: the back button, or the second of two clicks.
			for _, again := range []string{back, other} {
				if res := still.get(again); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/page" {
					t.Errorf("status %d to %q, want the page", res.StatusCode, res.Header.Get("Location"))
				}
			}
			s.wantCalls(t, msauthtest.TokenCode, 0)
		})
	}
}

func TestAnAttemptIsFinishedOnceAtTheSameMoment(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	back := b.attempt("/page")
	var signedIn atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		copied := s.browser(t).still()
		for _, c := range b.cookies() {
			copied.keep(c.Name, c.Value)
		}
		wg.Go(func() {
			if copied.get(back).StatusCode == http.StatusSeeOther {
				signedIn.Add(1)
			}
		})
	}
	wg.Wait()
	if signedIn.Load() != 1 {
		t.Errorf("%d browsers were signed in by one attempt", signedIn.Load())
	}
	s.wantCalls(t, msauthtest.TokenCode, 1)
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
		"Store":   func(c *msauth.Config) { c.Store = fileStore(t) },
		"Tokens":  func(c *msauth.Config) { c.Tokens = newTokens() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var on atomic.Bool
			s := newSite(t, change, func(c *msauth.Config) { c.Logger = slog.New(wreck{c.Logger.Handler(), &on}) })
			on.Store(true)
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			if res := b.get("/auth/callback?state=x&code=y"); res.kind() != "start-again" {
				t.Errorf("a failed sign-in: status %d, page %q", res.StatusCode, res.kind())
			}
			cookie := b.session()[0]
			if res := b.still().do("POST", "/auth/logout", ownPage...); res.StatusCode != http.StatusSeeOther || len(b.session()) != 0 {
				t.Errorf("signing out: status %d, cookies %v", res.StatusCode, b.session())
			}
			b.keep(cookie.Name, cookie.Value)
			b.wantGreeting(helloNobody)
			if len(b.session()) != 0 {
				t.Error("what opens nothing is not deleted")
			}
			on.Store(false)
		})
	}
}
