//go:build unix

package main

import (
	"net/http"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/redisshared/redistest"
)

// sessionID has the provider give the sessions that begin now this id.
func (s *site) sessionID(sid string) {
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["sid"] = sid }
	})
}

// worthlessSoon checks that all servers refuse cookies a second after now.
func (s *site) worthlessSoon(what, cookies string) {
	s.t.Helper()
	ended := time.Now()
	for i, srv := range s.servers {
		for {
			asked := time.Now()
			if s.do(srv, http.MethodGet, "/", cookies).person == "" {
				break
			}
			if late := asked.Sub(ended); late > time.Second {
				s.t.Errorf("%s: server %d lets a copy in after %v", what, i, late)
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	s.t.Logf("%s: worthless everywhere after %v", what, time.Since(ended).Round(time.Millisecond))
}

// However a session ends, a copy of its cookie is worthless at all servers within a
// second, after all of them were restarted, and after Redis has lost its memory, at a
// server too that starts then.
func TestACopiedCookieIsWorthless(t *testing.T) {
	needServers(t)
	t.Parallel()
	r := redistest.Start(t)
	s := newSite(t, onRedis(r))
	in := s.signIn("Grace")
	ways := []struct {
		name string
		end  func(p *person)
	}{
		{"sign-out", func(p *person) { signOut(s, p) }},
		{"SignOutUser", func(p *person) {
			if got := s.do(nil, http.MethodPost, "/sign-out-everywhere", p.cookies()); got.status != http.StatusSeeOther {
				t.Errorf("status %d", got.status)
			}
		}},
		{"front-channel call", func(p *person) { // at another server than the one that made the session
			if got := s.do(s.servers[2], http.MethodGet, "/auth/front-channel-logout?sid=f00d", ""); got.status != http.StatusOK {
				t.Errorf("status %d", got.status)
			}
		}},
	}
	stolen := map[string]string{}
	for _, way := range ways {
		s.sessionID("f00d")
		s.only.Store(s.servers[0])
		p := s.signIn("Ada")
		s.only.Store(nil)
		s.sessionID("another")
		stolen[way.name] = p.cookies()
		s.wantOn("at first", stolen[way.name], "Ada")
		way.end(p)
		s.worthlessSoon(way.name, stolen[way.name])
	}
	check := func(when string) {
		t.Helper()
		for name, cookies := range stolen {
			s.wantOn(name+", "+when, cookies, "")
		}
		s.wantOn("somebody else, "+when, in.cookies(), "Grace")
	}
	s.restart()
	check("after a restart")

	lost := func() int {
		n := 0
		for _, srv := range s.servers {
			n += len(srv.log.With("event=shared_lost"))
		}
		return n
	}
	if err := r.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	s.eventually("all servers notice", func() bool { return lost() == 3 })
	s.eventually("one of them fills the log again", func() bool {
		logs, err := r.Client().Keys(t.Context(), "msauth:l:*:log").Result()
		return err == nil && len(logs) == 1
	})
	check("after Redis was emptied")
	s.add()
	check("at a server that has started since")
	s.restart()
	check("after another restart")
}

// A sign-out during an outage of Redis holds at its server meanwhile, and everywhere
// when Redis is back.
func TestSigningOutDuringAnOutage(t *testing.T) {
	needServers(t)
	for _, outage := range []struct {
		name       string
		begin, end func(*redistest.Server)
	}{
		{"killed", (*redistest.Server).Kill, (*redistest.Server).Restart},
		{"stopped", (*redistest.Server).Stop, (*redistest.Server).Cont},
	} {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			r := redistest.Start(t)
			s := newSite(t, onRedis(r))
			ada, bruno, in := s.signIn("Ada"), s.signIn("Bruno"), s.signIn("Grace")
			outage.begin(r)
			began := time.Now()
			if got := s.do(s.servers[0], http.MethodPost, "/auth/logout", ada.cookies()); got.status != http.StatusSeeOther {
				t.Errorf("signing out: status %d", got.status)
			}
			if got := s.do(s.servers[0], http.MethodPost, "/sign-out-everywhere", bruno.cookies()); got.status != http.StatusAccepted {
				t.Errorf("signing out everywhere: status %d", got.status)
			}
			t.Logf("both took %v", time.Since(began).Round(time.Millisecond))
			for _, p := range []*person{ada, bruno} {
				if got := s.do(s.servers[0], http.MethodGet, "/", p.cookies()); got.person != "" {
					t.Errorf("%s is still signed in where it was done", p.name)
				}
				if got := s.do(s.servers[1], http.MethodGet, "/", p.cookies()); got.person != p.name {
					t.Errorf("elsewhere %s is signed out: was there an outage?", p.name)
				}
			}
			if n := s.servers[0].stats().SharedQueue; n < 2 {
				t.Errorf("%d sign-outs wait", n)
			}
			s.wantOn("somebody else", in.cookies(), "Grace")
			outage.end(r)
			s.eventually("all servers know", func() bool {
				return s.all(func(srv *server) bool {
					return s.do(srv, http.MethodGet, "/", ada.cookies()).person == "" && s.do(srv, http.MethodGet, "/", bruno.cookies()).person == ""
				})
			})
			s.eventually("nothing waits", func() bool { return s.servers[0].stats().SharedQueue == 0 })
			s.add()
			s.wantOn("a server that starts later", ada.cookies(), "")
			s.wantOn("a server that starts later", bruno.cookies(), "")
			s.wantOn("somebody else", in.cookies(), "Grace")
		})
	}
}
