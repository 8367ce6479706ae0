package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/graph"
	"example.com/msauth/msauthtest"
)

// down makes Microsoft fail for everybody.
func down(b *msauthtest.Behavior) {
	b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: http.StatusServiceUnavailable}
	b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Status: http.StatusServiceUnavailable}
}

func TestTheWorkerBacksOffAndResumes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.lifetime(time.Second)
	b := s.connected("zoe", msauthtest.Ada)
	s.lifetime(time.Hour)
	time.Sleep(1100 * time.Millisecond)
	s.ms.Set(down)
	s.worker.every = 300 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.worker.work(ctx)
	}()
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("waited in vain for ", what)
			}
		}
	}
	until("a run that fails", func() bool { return s.number(`SELECT count(*) FROM runs WHERE failed = 1`) >= 4 })
	b.get("/digests").want(http.StatusOK, "The last digest was not written.", "Microsoft did not respond.").lack("sign in again")
	var starts []int64
	s.worker.each(ctx, func(started, _ int64) { starts = append(starts, started) }, `SELECT started, id FROM runs ORDER BY id`)
	if first, third := starts[1]-starts[0], starts[3]-starts[2]; third < 3*300 || third < first+300 {
		t.Errorf("the first run comes after %d ms, the third after %d ms", first, third)
	}
	s.wantDigests(0)
	if n := s.ms.Count(msauthtest.TokenRefresh); n > 3 {
		t.Errorf("Microsoft was asked %d times while it was down", n)
	}
	s.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
	until("a digest", func() bool { return s.number(`SELECT count(*) FROM digests`) > 2 })
	b.get("/digests").want(http.StatusOK, "As of").lack("was not written.")
	cancel()
	select {
	case <-stopped:
	case <-time.After(time.Second):
		t.Error("the worker does not stop within a second")
	}
}

func TestARunEndsWhereMicrosoftFailsAllAlike(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.users(60)
	broken := true
	var mu sync.Mutex
	seen := map[string]bool{}
	s.worker.recent = func(_ context.Context, in *msauth.Session) ([]file, error) {
		mu.Lock()
		defer mu.Unlock()
		if broken {
			return nil, &graph.Error{Status: http.StatusServiceUnavailable, RetryAfter: 7 * time.Second}
		}
		seen[in.User.Key()] = true
		return nil, nil
	}
	r := s.run()
	if r.Failed < maxFailures || r.Failed >= 40 || !strings.Contains(r.Why, "Microsoft is not responding") || r.retryAfter != 7*time.Second {
		t.Errorf("%+v", r)
	}
	if _, wait := pause(0, time.Second, 2*time.Second, r); wait < 7*time.Second {
		t.Errorf("the next run comes after %v", wait)
	}
	from := s.worker.from
	if from == "" {
		t.Error("the next run begins with the same users")
	}
	broken = false
	s.rested()
	s.wantRun(run{Users: 60, Written: 60}) // the others first, but all
}

// rested ends the time for which Microsoft asked to wait.
func (s *site) rested() {
	s.t.Helper()
	if _, err := s.db.Exec(`UPDATE troubles SET not_before = 1`); err != nil {
		s.t.Fatal(err)
	}
}

// If Microsoft asks to wait for one user, the others get their digests on time.
func TestEachIsLeftAloneForAsLongAsMicrosoftWants(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	s.connected("yan", msauthtest.Bruno)
	s.connected("xia", msauthtest.Mia)
	busy := true
	var mu sync.Mutex
	asked := 0
	s.worker.recent = func(_ context.Context, in *msauth.Session) ([]file, error) {
		mu.Lock()
		defer mu.Unlock()
		if in.User.Username != msauthtest.Ada || !busy {
			return nil, nil
		}
		asked++
		return nil, &graph.Error{Status: http.StatusTooManyRequests, RetryAfter: 10 * time.Minute}
	}
	r := s.wantRun(run{Users: 3, Written: 2, Failed: 1})
	if rest, wait := pause(0, time.Minute, time.Minute, r); rest != 0 || wait != time.Minute {
		t.Errorf("all of them wait %v", wait)
	}
	s.wantRun(run{Users: 3, Written: 2, Skipped: 1})
	s.restart()
	s.worker.recent = func(context.Context, *msauth.Session) ([]file, error) { return nil, nil }
	s.wantRun(run{Users: 3, Written: 2, Skipped: 1})
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	b.get("/digests").want(http.StatusOK, "Microsoft was busy.", "next attempt in 10 minutes.")
	s.rested()
	b.get("/digests").want(http.StatusOK, "the next run tries again.")
	s.wantRun(run{Users: 3, Written: 3})
	b.get("/digests").want(http.StatusOK).lack("Microsoft was busy.")
}

// Digests of another worker show that Microsoft is not down.
func TestDigestsOfAnotherWorkerAreASignOfLife(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connected("zoe", msauthtest.Ada)
	s.connected("yan", msauthtest.Bruno)
	for _, when := range []string{"before", "meanwhile"} {
		s.due = s.due.Add(time.Minute)
		write := func() {
			_, err := s.db.Exec(`INSERT INTO digests (user, due, files) VALUES (1, ?, '[]') ON CONFLICT DO NOTHING`, s.due.UnixMilli())
			if err != nil {
				t.Error(err)
			}
		}
		if when == "before" {
			write()
		}
		s.worker.recent = func(_ context.Context, in *msauth.Session) ([]file, error) {
			if in.User.Username == msauthtest.Ada {
				write()
				return nil, nil
			}
			return nil, &graph.Error{Status: http.StatusServiceUnavailable, RetryAfter: time.Hour}
		}
		s.rested()
		r := s.worker.run(t.Context(), s.due)
		if r.Skipped != 1 || r.Failed != 1 {
			t.Fatalf("%s: %+v", when, r)
		}
		if _, wait := pause(0, time.Minute, time.Minute, r); wait != time.Minute {
			t.Errorf("%s: the next run comes after %v", when, wait)
		}
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	bad := &run{microsoft: true, Why: "..."}
	for _, tt := range []struct {
		every time.Duration
		want  []time.Duration // in minutes
	}{
		{time.Minute, []time.Duration{1, 2, 4, 8, 16, 16}},
		{24 * time.Hour, []time.Duration{1440, 1455, 1455}},
	} {
		var rest, wait time.Duration
		for _, want := range tt.want {
			rest, wait = pause(rest, tt.every, tt.every, bad)
			if want *= time.Minute; wait < want || wait > want+2*time.Minute {
				t.Errorf("every %v: waits %v, want about %v", tt.every, wait, want)
			}
		}
	}
	for _, r := range []*run{{}, {Written: 5}, {microsoft: true, Written: 5, Failed: 1}, {microsoft: true, others: true}, {Failed: 3}} {
		if rest, wait := pause(time.Hour, time.Minute, time.Minute, r); rest != 0 || wait != time.Minute {
			t.Errorf("after %+v: rests %d, waits %v", r, rest, wait)
		}
	}
}
