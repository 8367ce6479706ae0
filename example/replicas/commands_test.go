//go:build unix

package main

import (
	"net/http"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/redisshared/redistest"
)

// others are the commands that belong to requests, of all servers together.
func (s *site) others() (n int, names map[string]int) {
	s.t.Helper()
	names = map[string]int{}
	for _, srv := range s.servers {
		var sent counts
		srv.ask("/debug/commands", &sent)
		for name, count := range sent.Others {
			names[name] += count
			n += count
		}
	}
	return n, names
}

// counted returns how many commands f sends, and what it leaves behind requests.
func (s *site) counted(f func()) int {
	s.t.Helper()
	before, _ := s.others()
	f()
	for now := before; ; {
		time.Sleep(300 * time.Millisecond)
		later, _ := s.others()
		if later == now {
			return later - before
		}
		now = later
	}
}

func signOut(s *site, p *person) {
	s.t.Helper()
	if got := s.do(nil, http.MethodPost, "/auth/logout", p.cookies()); got.status != http.StatusSeeOther {
		s.t.Fatalf("signing out: status %d", got.status)
	}
}

// What is asked of Redis for what people do: nothing for a page.
func TestCommands(t *testing.T) {
	needServers(t)
	t.Parallel()
	s := newSite(t, onRedis(redistest.Start(t)))
	expires := func(in any) { s.ms.Set(func(b *msauthtest.Behavior) { b.ExpiresIn = in }) }
	within := func(what string, limit, n int) {
		t.Logf("%s: %d commands", what, n)
		if n > limit || n == 0 && limit > 0 { // or nothing is counted
			t.Errorf("%s: %d commands, want at most %d", what, n, limit)
		}
	}
	var p *person
	renewal := func() {
		expires(2)
		p = s.signIn("Warm")
		expires(nil)
		time.Sleep(2100 * time.Millisecond)
	}
	renewal() // so that all scripts are known to the server
	p.get("/me")
	signOut(s, p)
	if got := s.do(nil, http.MethodPost, "/sign-out-everywhere", s.signIn("Warm").cookies()); got.status != http.StatusSeeOther {
		t.Fatalf("signing out everywhere: status %d", got.status)
	}

	within("a sign-in", 3, s.counted(func() { p = s.signIn("Ada") }))
	answered := map[string]bool{}
	within("a protected page", 0, s.counted(func() {
		for range 30 {
			got := p.get("/me")
			if got.person != "Ada" {
				t.Fatalf("status %d, %q", got.status, got.person)
			}
			answered[got.instance] = true
		}
	}))
	if len(answered) != 3 {
		t.Errorf("servers %v have answered", answered)
	}
	within("a sign-out", 2, s.counted(func() { signOut(s, p) }))
	renewal()
	before := s.ms.Count(msauthtest.TokenRefresh)
	within("a renewal", 4, s.counted(func() { p.get("/me") }))
	if n := s.ms.Count(msauthtest.TokenRefresh) - before; n != 1 {
		t.Errorf("%d renewals", n)
	}
	_, names := s.others()
	t.Logf("in all: %v", names)
}
