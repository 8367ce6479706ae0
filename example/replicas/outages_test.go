//go:build unix

package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/redisshared/redistest"
)

const (
	degraded    = `event=degraded what="shared state fails"`
	degradedEnd = `event=degraded_end what="shared state fails"`
)

// Traffic is what people do while something fails: 50 requests a second, whose tokens
// last a few seconds.
type traffic struct {
	s       *site
	stop    chan struct{}
	all     sync.WaitGroup
	mu      sync.Mutex
	asked   int
	wrong   []string
	slowest time.Duration
}

func (s *site) traffic(people int) *traffic {
	s.t.Helper()
	s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 4 * time.Second })
	crowd := make([]*person, people)
	for i := range crowd {
		crowd[i] = s.signIn(fmt.Sprint("Person ", i))
	}
	f := &traffic{s: s, stop: make(chan struct{})}
	f.all.Go(func() {
		ticker := time.NewTicker(time.Second / 50)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-ticker.C:
				f.all.Go(func() { f.ask(crowd[n%people]) })
			case <-f.stop:
				return
			}
		}
	})
	return f
}

func (f *traffic) ask(p *person) {
	began := time.Now()
	got, err := f.s.send(nil, http.MethodGet, "/me", p.cookies())
	p.take(got)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	f.slowest = max(f.slowest, time.Since(began))
	if err != nil || got.status != http.StatusOK || got.person != p.name {
		// Not where a redirect leads to: it has a nonce.
		to, _, _ := strings.Cut(got.location, "?")
		f.wrong = append(f.wrong, fmt.Sprintf("status %d, person %q, to %q, error %v", got.status, got.person, to, err))
	}
}

// end ends the traffic and checks that everybody was served all the time.
func (f *traffic) end() {
	t := f.s.t
	t.Helper()
	close(f.stop)
	f.all.Wait()
	t.Logf("%d requests, the slowest took %v; %d renewals", f.asked, f.slowest.Round(time.Millisecond), f.s.ms.Count(msauthtest.TokenRefresh))
	if len(f.wrong) > 0 {
		slices.Sort(f.wrong)
		t.Errorf("%d of %d answers are wrong: %q", len(f.wrong), f.asked, slices.Compact(f.wrong))
	}
	for i, srv := range f.s.servers {
		if stats := srv.stats(); stats.SessionsEnded != 0 || stats.Renewals == 0 {
			t.Errorf("server %d: %d sessions ended, %d renewals", i, stats.SessionsEnded, stats.Renewals)
		}
	}
}

// wantDegraded waits until all servers say that the shared state fails, or until none
// does.
func (s *site) wantDegraded(want bool) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("degraded is %t", want), func() bool {
		return s.all(func(srv *server) bool {
			return slices.Contains(srv.stats().Degraded, "shared state fails") == want
		})
	})
}

// wantLogged checks that each server has logged n outages, each once, and their ends.
func (s *site) wantLogged(n int) {
	s.t.Helper()
	for i, srv := range s.servers {
		begun, ended := srv.log.With(degraded), srv.log.With(degradedEnd)
		if len(begun) != n || len(ended) != n {
			s.t.Errorf("server %d: %d lines of an outage and %d of its end, want %d of each:\n%s", i, len(begun), len(ended), n,
				strings.Join(append(begun, ended...), ""))
		}
	}
}

// A Redis that stands still, is killed and starts again empty disturbs nobody.
func TestOutages(t *testing.T) {
	needServers(t)
	t.Parallel()
	r := redistest.Start(t)
	s := newSite(t, onRedis(r))
	out := s.signIn("Out")
	signOut(s, out)
	f := s.traffic(6)
	time.Sleep(2 * time.Second)

	r.Stop()
	s.wantDegraded(true)
	time.Sleep(10 * time.Second)
	s.wantDegraded(true)
	r.Cont()
	s.wantDegraded(false)
	s.wantLogged(1)
	time.Sleep(2 * time.Second)

	r.Kill()
	s.wantDegraded(true)
	time.Sleep(5 * time.Second)
	r.Restart()
	s.wantDegraded(false)
	time.Sleep(5 * time.Second)
	f.end()
	s.wantLogged(2)
	for i, srv := range s.servers {
		if lines := srv.log.With("event=shared_lost"); len(lines) != 1 {
			t.Errorf("server %d: lines %q, want one that says that Redis was empty", i, lines)
		}
	}
	s.wantOn("who signed out before", out.cookies(), "")
}

// A failover to a replica disturbs nobody.
func TestFailover(t *testing.T) {
	needServers(t)
	t.Parallel()
	w := redistest.StartWatched(t)
	s := newSite(t, "REDIS_ADDRS="+w.Sentinel.Addr, "REDIS_MASTER="+w.Name)
	out, later := s.signIn("Out"), s.signIn("Later")
	signOut(s, out)
	f := s.traffic(6)
	time.Sleep(2 * time.Second)
	w.Master.Kill()
	s.wantDegraded(true)
	if got := s.do(s.servers[0], http.MethodPost, "/auth/logout", later.cookies()); got.status != http.StatusSeeOther {
		t.Errorf("signing out: status %d", got.status)
	}
	s.wantDegraded(false)
	s.eventually("all know who signed out meanwhile", func() bool {
		return s.all(func(srv *server) bool { return s.do(srv, http.MethodGet, "/", later.cookies()).person == "" })
	})
	time.Sleep(3 * time.Second)
	f.end()
	s.wantLogged(1)
	s.wantOn("who signed out before", out.cookies(), "")
	s.add()
	s.wantOn("who signed out before, at a server that starts later", out.cookies(), "")
	s.wantOn("who signed out meanwhile, at a server that starts later", later.cookies(), "")
}
