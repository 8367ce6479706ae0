package renew

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

// slow answers with tokens after a while.
func slow(d time.Duration) func(int, url.Values) (int, string) {
	return func(n int, _ url.Values) (int, string) {
		time.Sleep(d)
		return 200, tokens(n)
	}
}

// However many ask with one refresh token, at once or late, it is used once, and
// all get what it gave.
func TestOneRequestForEachRefreshToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &fakeProvider{reply: slow(time.Second)}
		r, told := fixture(p, nil)
		rec := expired("ada", "R0")
		var wait sync.WaitGroup
		for n := range 50 {
			wait.Go(func() {
				time.Sleep(time.Duration(n) * 100 * time.Millisecond) // half of them late
				if g, err := r.Renew(t.Context(), renewal(rec)); err != nil || g.Access != "A1" {
					t.Errorf("%v, %v", g, err)
				}
			})
		}
		wait.Wait()
		if got := p.used(); !slices.Equal(got, []string{"R0"}) {
			t.Errorf("used %q", got)
		}
		if got := told.take(); !slices.Equal(got, []string{"renewed expired false"}) {
			t.Errorf("told %q", got)
		}
	})
}

// Requests for different scopes with one refresh token go one after the other, each
// with the token that the one before has brought.
func TestRequestsForOtherScopesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &fakeProvider{reply: slow(time.Second)}
		r, _ := fixture(p, nil)
		rec := expired("ada", "R0")
		var wait sync.WaitGroup
		for _, scopes := range []string{"", "api://x/a", "api://y/b"} {
			wait.Go(func() {
				if g, err := r.Renew(t.Context(), other(rec, scopes)); err != nil || g.Access == "A" {
					t.Errorf("%q: %v, %v", scopes, g, err)
				}
			})
		}
		wait.Wait()
		if got := p.used(); !slices.Equal(got, []string{"R0", "R1", "R2"}) {
			t.Errorf("used %q", got)
		}
		if own, _, newest := r.Own(rec); newest != "R3" || own.Refresh != "R3" {
			t.Errorf("the newest is %q, of the tokens %q", string(newest), string(own.Refresh))
		}
	})
}

// No more requests than maxFlights are under way at once, whoever asks.
func TestRequestsAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &fakeProvider{reply: slow(time.Second)}
		r, _ := fixture(p, nil)
		for n := range 2 * maxFlights {
			person := fmt.Sprint("person", n)
			go func() { _, _ = r.Renew(t.Context(), renewal(expired(person, seal.Secret("R"+person)))) }()
		}
		time.Sleep(500 * time.Millisecond)
		if got := len(p.used()); got != maxFlights {
			t.Errorf("%d requests at once, want %d", got, maxFlights)
		}
		time.Sleep(2 * time.Second)
		if got := len(p.used()); got != 2*maxFlights {
			t.Errorf("%d requests, want %d", got, 2*maxFlights)
		}
	})
}

// What Renew answers without asking the provider.
func TestRenewAsksOnlyWhereItMust(t *testing.T) {
	t.Parallel()
	valid := expired("ada", "R0")
	valid.Expiry = time.Now().Add(time.Hour).Unix()
	known := renewal(expired("ada", "R0"))
	known.OnlyKnown = true
	tests := []struct {
		name string
		want Request
		err  error
	}{
		{"valid tokens", renewal(valid), nil},
		{"only what is known", known, nil},
		{"no refresh token", renewal(expired("ada", "")), ErrNoRefreshToken},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := &fakeProvider{}
			r, _ := fixture(p, nil)
			g, err := r.Renew(t.Context(), test.want)
			if !errors.Is(err, test.err) || g == nil || g.Access != "A" || len(p.used()) > 0 {
				t.Errorf("%v, %v, %d requests", g, err, len(p.used()))
			}
		})
	}
}

// Whoever stops waiting does not stop the renewal, and finds its outcome later.
func TestARenewalOutlivesWhoWaits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		ctx  func(context.Context) (context.Context, context.CancelFunc)
		wait time.Duration
		err  error
	}{
		{"impatience", func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithCancel(ctx) }, ValidPatience, ErrPending},
		{"gone", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, 0, context.DeadlineExceeded},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &fakeProvider{reply: slow(3 * time.Second)}
				r, _ := fixture(p, nil)
				want := renewal(expired("ada", "R0"))
				want.Patience = test.wait
				ctx, cancel := test.ctx(t.Context())
				defer cancel()
				began := time.Now()
				g, err := r.Renew(ctx, want)
				if took := time.Since(began); !errors.Is(err, test.err) || g == nil || g.Access != "A" || took != time.Second {
					t.Errorf("%v, %v after %v", g, err, took)
				}
				time.Sleep(5 * time.Second)
				if g, err := r.Renew(t.Context(), renewal(want.Rec)); err != nil || g.Access != "A1" || len(p.used()) != 1 {
					t.Errorf("%v, %v, %d requests", g, err, len(p.used()))
				}
			})
		})
	}
}

// A failure is remembered for as long as it takes, and told to the Observer once.
func TestFailuresAreRemembered(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		reply func(int, url.Values) (int, string)
		class provider.Class
		rests time.Duration // at least
		told  []string
	}{
		{"refused", refuse(400, "invalid_grant"), provider.SignIn, refusalGrace - time.Second,
			[]string{"failed expired false: sign in again", "ended"}},
		{"down", func(int, url.Values) (int, string) { return 503, "" }, provider.Retry, 799 * time.Millisecond,
			[]string{"failed expired false: retry"}},
		{"misconfigured", refuse(401, "invalid_client"), provider.Misconfigured, 799 * time.Millisecond,
			[]string{"troubled invalid_client", "weak: app misconfigured", "failed expired false: app misconfigured"}},
		{"a panic of the transport", func(int, url.Values) (int, string) { panic("transport") }, provider.Retry, 799 * time.Millisecond,
			[]string{"failed expired false: retry"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &fakeProvider{reply: test.reply}
				r, told := fixture(p, nil)
				for _, rest := range []time.Duration{0, test.rests} {
					time.Sleep(rest)
					g, err := r.Renew(t.Context(), renewal(expired("ada", "R0")))
					if classOf(err) != test.class || g == nil || g.Refresh != "R0" {
						t.Errorf("%v, %v, want class %q", g, err, test.class)
					}
				}
				if got := p.used(); len(got) != 1 {
					t.Errorf("%d requests, want 1", len(got))
				}
				if got := told.take(); !slices.Equal(got, test.told) {
					t.Errorf("told %q, want %q", got, test.told)
				}
				p.answer(nil)
				time.Sleep(time.Second)
				if g, err := r.Renew(t.Context(), renewal(expired("ada", "R0"))); err != nil || g.Access != "A2" {
					t.Errorf("afterwards: %v, %v", g, err)
				}
			})
		})
	}
}

// Outages end for all: five people fail, the sixth is not even asked for, and the
// first success lets everybody ask at once.
func TestAnOutagePausesAndEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &fakeProvider{reply: func(int, url.Values) (int, string) { return 503, "" }}
		r, told := fixture(p, func(s *Settings) { s.OneTenant = true })
		ask := func(person string) error {
			_, err := r.Renew(t.Context(), renewal(expired(person, seal.Secret("R"+person))))
			return err
		}
		for n := range pauseAfter {
			_ = ask(fmt.Sprint("person", n))
		}
		if got := told.take(); !slices.Contains(got, "paused") {
			t.Errorf("told %q", got)
		}
		if err := ask("person9"); classOf(err) != provider.Retry || !errors.Is(err, errPaused) || len(p.used()) != pauseAfter {
			t.Errorf("%v, %d requests", err, len(p.used()))
		}
		p.answer(nil)
		time.Sleep(10 * time.Second)
		if err := ask("person9"); err != nil {
			t.Error(err)
		}
		if got := told.take(); !slices.Equal(got, []string{"resumed", "renewed expired false"}) {
			t.Errorf("told %q", got)
		}
		for n := range pauseAfter {
			if err := ask(fmt.Sprint("person", n)); err != nil {
				t.Error(err)
			}
		}
	})
}

// Another process may have renewed what the server keeps.
func TestOtherProcessesRenewToo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		reload func(rec *session.Record, calls int) (*session.Record, error)
		reply  func(int, url.Values) (int, string)
		access string
		err    error
		used   []string
	}{
		{"before", func(rec *session.Record, _ int) (*session.Record, error) {
			return rec.RenewedBy(&provider.TokenSet{Access: "B", Refresh: "S", Issued: time.Now().Unix(), Expiry: time.Now().Unix() + 3600}), nil
		}, nil, "B", nil, nil},
		{"at the same time", func(rec *session.Record, calls int) (*session.Record, error) {
			if calls < 3 {
				return rec, nil
			}
			return rec.RenewedBy(&provider.TokenSet{Access: "B", Refresh: "S", Issued: time.Now().Unix(), Expiry: time.Now().Unix() + 3600}), nil
		}, refuse(400, "invalid_grant"), "B", nil, []string{"R0"}},
		{"not at all", func(rec *session.Record, _ int) (*session.Record, error) { return rec, nil }, nil, "A1", nil, []string{"R0"}},
		{"and the session ended", func(*session.Record, int) (*session.Record, error) { return nil, nil }, nil, "A", ErrSessionOver, nil},
		{"and the store fails", func(*session.Record, int) (*session.Record, error) { return nil, errStore }, nil, "A", errStore, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &fakeProvider{reply: test.reply}
				r, told := fixture(p, nil)
				rec, calls := expired("ada", "R0"), 0
				want := renewal(rec)
				want.Reload = func() (*session.Record, error) {
					calls++
					return test.reload(rec, calls)
				}
				g, err := r.Renew(t.Context(), want)
				if !errors.Is(err, test.err) || g == nil || string(g.Access) != test.access || !slices.Equal(p.used(), test.used) {
					t.Errorf("%+v, %v, used %q", g, err, p.used())
				}
				if got := told.take(); slices.Contains(got, "ended") {
					t.Errorf("told %q: the session has not been ended by the provider", got)
				}
			})
		})
	}
}

var errStore = errors.New("the store fails")

// A flight that ended between the look of the next one and its start has used the
// refresh token: the next one looks again and does not use it.
func TestAFlightNeverUsesAnOldRefreshToken(t *testing.T) {
	t.Parallel()
	p := &fakeProvider{}
	r, _ := fixture(p, nil)
	rec := expired("ada", "R0")
	if _, err := r.Renew(t.Context(), renewal(rec)); err != nil {
		t.Fatal(err)
	}
	late := &flight{r: r, want: renewal(rec), rec: rec, refresh: "R0", asker: t.Context()}
	if o, err := late.fly(); err != nil || o.tokens != nil || o.newer != nil {
		t.Errorf("%+v, %v, want that it looks again", o, err)
	}
	if got := p.used(); !slices.Equal(got, []string{"R0"}) {
		t.Errorf("used %q", got)
	}
}
