package device_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/sharedtest"
	"example.com/msauth/tests/testsite"
)

// After a click at Microsoft, or on a link of another site, Chromium sends its own requests
// without the session, and keeps nothing of it from their answers.
func TestBindingWhenAnotherSiteLedHere(t *testing.T) {
	t.Parallel()
	cases := places(t)
	cases["required"] = required
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, s *testsite.Site) {
				s.Lifetime(time.Hour)
				m, late := newMachine(t, s), newMachine(t, s)
				m.abroad = true
				path, challenge := m.signIn("/")
				before := m.thief(all)
				if res := m.register(path, challenge); res.StatusCode != http.StatusOK || len(res.Header["Set-Cookie"]) != 1 {
					t.Fatalf("registration: status %d, cookies %q", res.StatusCode, res.Header["Set-Cookie"])
				}
				if res := late.register(path, challenge); res.StatusCode != http.StatusBadRequest {
					t.Errorf("another key for the same sign-in: status %d", res.StatusCode)
				}
				m.hello("the first page after it")
				copied := m.thief(mainOnly)
				m.hello("the next page")
				if stats := s.Auth.Stats().Devices; stats.Registered != 1 {
					t.Errorf("stats %+v", stats)
				}
				time.Sleep(31 * time.Second)
				refusedAs(t, "a copy from before the registration", before)
				refusedAs(t, "a copy of the session's cookies", copied)
				for range 8 { // over a renewal
					time.Sleep(9 * time.Minute)
					m.refresh()
				}
				m.hello("after an hour")
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
				list, err := s.Auth.Sessions(t.Context(), key(t, s, m))
				if err != nil || len(list) != 1 || !list[0].DeviceBound {
					t.Errorf("sessions %+v, %v", list, err)
				}
				m.Get("/auth/logout", testsite.SameOrigin...)
				if m.refresh(); !m.ended {
					t.Error("after signing out the binding goes on")
				}
			}, offered, change)
		})
	}
}

// The first request after such a registration may be the one that signs out, and then
// copies of the session from before are over too.
func TestSignOutRightAfterTheRegistration(t *testing.T) {
	t.Parallel()
	for name, change := range places(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, s *testsite.Site) {
				m := newMachine(t, s)
				m.abroad = true
				path, challenge := m.signIn("/")
				before := m.thief(all)
				m.register(path, challenge)
				both := m.thief(all)
				m.Get("/auth/logout", testsite.SameOrigin...)
				refusedAs(t, "a copy from before the registration", before)
				refusedAs(t, "a copy with the bound cookie", both)
				if m.refresh(); !m.ended {
					t.Error("the binding goes on")
				}
			}, offered, change)
		})
	}
}

// A bound cookie is no session: with that of somebody else nobody gets in, and a copy of a
// session from before is not bound by it.
func TestBoundCookieAlone(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m, other := newMachine(t, s), newMachine(t, s)
		m.abroad = true
		path, challenge := m.signIn("/")
		m.register(path, challenge)
		alone := m.thief(func(name string) bool { return strings.HasSuffix(name, "-device") })
		refusedAs(t, "the bound cookie alone", alone)
		other.signIn("/")
		for _, c := range alone.Cookies() {
			other.Keep(c.Name, c.Value)
		}
		other.hello("another session with this bound cookie")
		if stats := s.Auth.Stats().Devices; stats.Registered != 0 {
			t.Errorf("bound by it: %+v", stats)
		}
		m.hello("its own session")
		if stats := s.Auth.Stats().Devices; stats.Registered != 1 {
			t.Errorf("stats %+v", stats)
		}
	}, offered)
}

// A binding lasts as long as its session, also where the browser leaves the session out:
// then nothing says that it is over but its greatest age.
func TestBindingEndsWithTheSession(t *testing.T) {
	t.Parallel()
	for _, abroad := range []bool{false, true} {
		inBubble(t, func(t *testing.T, s *testsite.Site) {
			m := bound(t, s)
			m.abroad = abroad
			kept := m.Session()[0]
			time.Sleep(59 * time.Minute)
			if m.refresh(); m.ended {
				t.Fatalf("abroad %t: ended before the session", abroad)
			}
			time.Sleep(2 * time.Minute)
			m.Keep(kept.Name, kept.Value) // by a browser whose clock is wrong
			if m.refresh(); !m.ended {
				t.Errorf("abroad %t: the binding outlives the session", abroad)
			}
		}, offered, func(c *msauth.Config) { c.MaxAge, c.IdleTimeout = time.Hour, time.Hour })
	}
}

// Nor does a session from before outlive the next sign-in, of somebody else or the same.
func TestSignInRightAfterTheRegistration(t *testing.T) {
	t.Parallel()
	for _, who := range []string{msauthtest.Ada, msauthtest.Mia} {
		inBubble(t, func(t *testing.T, s *testsite.Site) {
			m := newMachine(t, s)
			m.abroad = true
			path, challenge := m.signIn("/")
			before := m.thief(all)
			m.register(path, challenge)
			both := m.thief(all)
			s.As(who)
			m.Still().Get(m.Attempt("/auth/login?return_to=/"))
			s.As("")
			time.Sleep(31 * time.Second)
			refusedAs(t, "a copy from before the registration", before)
			refusedAs(t, "a copy with the bound cookie", both)
		}, offered)
	}
}

// A prefetch may be for a page that nobody opens: it only takes back the marker of the
// sign-in.
func TestPrefetchRightAfterTheRegistration(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := newMachine(t, s)
		m.abroad = true
		m.register(m.signIn("/"))
		res := m.Still().Get("/", "Sec-Purpose", "prefetch")
		if res.StatusCode != http.StatusOK || len(res.Header["Set-Cookie"]) != 1 || s.Auth.Stats().Devices.Registered != 0 {
			t.Errorf("prefetch: status %d, cookies %q", res.StatusCode, res.Header["Set-Cookie"])
		}
		m.hello("the page")
		if stats := s.Auth.Stats().Devices; stats.Registered != 1 {
			t.Errorf("stats %+v", stats)
		}
	}, offered)
}

// The first page may come when the tokens are long due.
func TestFirstPageLongAfterTheRegistration(t *testing.T) {
	t.Parallel()
	for name, change := range places(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, s *testsite.Site) {
				s.Lifetime(time.Hour)
				m := newMachine(t, s)
				m.abroad = true
				m.register(m.signIn("/"))
				for range 8 {
					time.Sleep(9 * time.Minute)
					m.refresh()
				}
				m.hello("after an hour")
				m.hello("and again")
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
			}, offered, change)
		})
	}
}

// With Config.Shared all processes know that a sign-in has its key.
func TestSecondKeyAtAnotherProcess(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m, late := newMachine(t, s), newMachine(t, s)
		m.abroad, late.abroad = true, true
		path, challenge := m.signIn("/")
		m.register(path, challenge)
		time.Sleep(2 * time.Second)
		other, err := msauth.New(s.Cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.Mux.Handle("POST "+path, other)
		if res := late.register(path, challenge); res.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d, %q", res.StatusCode, res.Text)
		}
		if err := other.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}, offered, func(c *msauth.Config) { c.Shared = sharedtest.New() })
}
