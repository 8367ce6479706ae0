package device_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/sharedtest"
	"example.com/msauth/tests/testsite"
	"github.com/gorilla/sessions"
)

// Whatever a thief does with the session's own cookie, wherever sessions are kept, the
// owner's session goes on.
func TestThiefEndsNoSession(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*msauth.Config){
		"cookies": func(*msauth.Config) {},
		"store":   func(c *msauth.Config) { c.Store = testsite.FileStore(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, s *testsite.Site) {
				m := bound(t, s)
				m.thief(mainOnly).Get("/auth/logout", testsite.SameOrigin...)
				m.hello("after the thief signed out")
				s.As(msauthtest.Mia)
				m.thief(mainOnly).Get("/")
				m.hello("after the thief signed in as somebody else")
				s.As(msauthtest.Ada)
				m.thief(mainOnly).Get("/")
				m.hello("after the thief signed in as the owner")
				for _, path := range []string{"/auth/login", "/auth/continue", "/auth/device/register", "/auth/device/refresh"} {
					m.thief(mainOnly).Get(path)
					m.thief(mainOnly).Request(http.MethodPost, path, "Sec-Fetch-Site", "same-origin")
				}
				m.hello("after all of it")
			}, offered, change)
		})
	}
}

// Requests that were under way with the cookie from before the registration are answered.
func TestRequestsAroundTheRegistration(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*msauth.Config){
		"cookies": func(*msauth.Config) {},
		"store":   func(c *msauth.Config) { c.Store = testsite.FileStore(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, s *testsite.Site) {
				m := newMachine(t, s)
				path, challenge := m.signIn("/")
				under := m.thief(func(string) bool { return true })
				m.register(path, challenge)
				if res := under.Still().Get("/"); res.Text != testsite.HelloAda || strings.Contains(strings.Join(res.Header["Set-Cookie"], "\n"), testsite.CookieName(t, s)+"=") {
					t.Errorf("page: status %d, %.100q, %q", res.StatusCode, res.Text, res.Header["Set-Cookie"])
				}
				if res := under.Get("/", testsite.Script...); res.StatusCode != 200 {
					t.Errorf("script: status %d", res.StatusCode)
				}
				m.hello("the browser")
				if name == "store" { // a stored session is not mended: nothing has put its cookie back
					mixed := under.Still()
					under.Keep(deviceOf(m))
					if res := mixed.Get("/"); res.Text != testsite.HelloAda || len(res.Header["Set-Cookie"]) > 0 {
						t.Errorf("page with the new bound cookie: status %d, %q", res.StatusCode, res.Header["Set-Cookie"])
					}
				}
				time.Sleep(31 * time.Second)
				refusedAs(t, "later", under)
				m.hello("the browser, later")
			}, offered, change)
		})
	}
}

// Signing out ends the session that a registration under way makes of it, in whatever
// order the two arrive.
func TestSignOutAroundTheRegistration(t *testing.T) {
	t.Parallel()
	for name, signOut := range map[string]func(t *testing.T, s *testsite.Site, before *testsite.Browser, user string){
		"logout": func(_ *testing.T, _ *testsite.Site, before *testsite.Browser, _ string) {
			before.Still().Get("/auth/logout", testsite.SameOrigin...)
		},
		"another person": func(_ *testing.T, s *testsite.Site, before *testsite.Browser, _ string) {
			s.As(msauthtest.Mia)
			before.Get("/auth/login?prompt=select_account")
		},
		"SignOutSession": func(t *testing.T, s *testsite.Site, _ *testsite.Browser, user string) {
			list, err := s.Auth.Sessions(t.Context(), user)
			for _, one := range list {
				if !one.DeviceBound { // as a page lists it that is older than the registration
					err = errors.Join(err, s.Auth.SignOutSession(t.Context(), user, one.ID))
				}
			}
			if err != nil {
				t.Errorf("sessions %+v, %v", list, err)
			}
		},
	} {
		for _, first := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s first %t", name, first), func(t *testing.T) {
				t.Parallel()
				inBubble(t, func(t *testing.T, s *testsite.Site) {
					m := newMachine(t, s)
					path, challenge := m.signIn("/")
					before, user := m.thief(all), m.User().Key()
					if first {
						signOut(t, s, before, user)
					}
					m.register(path, challenge)
					if !first {
						signOut(t, s, before, user)
					}
					refusedAs(t, "who has signed out", m.Browser)
				}, offered)
			})
		}
	}
}

// deviceOf is the bound cookie of a machine.
func deviceOf(m *machine) (name, value string) {
	for _, c := range m.Cookies() {
		if strings.HasSuffix(c.Name, "-device") {
			return c.Name, c.Value
		}
	}
	m.t.Error("no bound cookie")
	return "", ""
}

// A bound cookie of one's own makes nothing of a session that is not bound: one that has
// ended stays so, and one that goes on is not another one.
func TestBoundCookieBesideAnotherSession(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := newMachine(t, s)
		path, challenge := m.signIn("/")
		before := m.thief(all)
		m.register(path, challenge)
		cannot := s.Browser(t)
		cannot.SignIn(msauthtest.Mia)
		time.Sleep(31 * time.Second)
		own := bound(t, s)
		before.Keep(deviceOf(own))
		refusedAs(t, "who copied a cookie from before the registration", before)
		user := own.User().Key()
		cannot.Keep(deviceOf(own))
		cannot.WantGreeting("hello Mia Müller")
		if err := s.Auth.SignOutUser(t.Context(), user); err != nil {
			t.Fatal(err)
		}
		cannot.WantGreeting("hello Mia Müller")
		m.thief(all).Get("/auth/logout", testsite.SameOrigin...)
		refusedAs(t, "who was signed out", own.Browser)
	}, offered)
}

// A bound cookie is of one session and one key.
func TestBoundCookieIsOfOneSessionAndKey(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := newMachine(t, s)
		path, challenge := m.signIn("/")
		thief := newMachine(t, s)
		for _, c := range m.Cookies() {
			thief.Keep(c.Name, c.Value)
		}
		m.register(path, challenge)
		second := newMachine(t, s)
		second.key = m.key // no browser does that
		second.register(second.signIn("/"))
		mixed := m.thief(mainOnly)
		mixed.Keep(deviceOf(second))
		refusedAs(t, "with the bound cookie of another session with the same key", mixed)
		if res := m.post(m.refreshURL, "Sec-Secure-Session-Id", second.identifier); !strings.Contains(res.Text, `"continue":false`) {
			t.Errorf("with the identifier of another session with the same key: status %d", res.StatusCode)
		}

		s.Restart(t) // another process, which does not know that the session is bound
		if res := thief.register(path, challenge); res.StatusCode != http.StatusOK {
			t.Fatalf("status %d", res.StatusCode)
		}
		mixed = m.thief(mainOnly)
		mixed.Keep(deviceOf(thief))
		refusedAs(t, "with the bound cookie of another key", mixed)
		mixed = thief.thief(mainOnly)
		mixed.Keep(deviceOf(m))
		refusedAs(t, "the other way round", mixed)
		m.hello("the owner")
		if res := thief.post(thief.refreshURL, "Sec-Secure-Session-Id", m.identifier); !strings.Contains(res.Text, `"continue":false`) {
			t.Errorf("with the owner's identifier: status %d", res.StatusCode)
		}
	}, offered)
}

// A session from before binding was required is bound by signing in again, which its page
// offers.
func TestSessionFromBeforeTheRequirement(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := newMachine(t, s)
		if path, _ := m.signIn("/"); path != "" {
			t.Errorf("offered %q", path)
		}
		time.Sleep(time.Hour)
		s.Restart(t, required)
		res := m.Get("/orders")
		s.WantPage(t, res, http.StatusForbidden, "device-required", "not bound to a device")
		again := testsite.LinksOf(res)[0]
		if again != "/auth/login?return_to=%2Forders" {
			t.Fatalf("the page leads to %q", again)
		}
		m.register(m.signIn(again))
		m.hello("after signing in again")
	})
}

// Live Connect cannot prove that credentials were entered.
func TestRequireDeviceAtLiveConnect(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		s.Mux.Handle("/pay", s.Auth.RequireDevice(2*time.Minute)(http.HandlerFunc(testsite.Hello)))
		m := newMachine(t, s)
		path, challenge := m.signIn("/")
		s.WantPage(t, m.Get("/pay"), http.StatusForbidden, "device-required", "not bound to a device")
		m.register(path, challenge)
		if res := m.Get("/pay"); res.Text != testsite.HelloAda {
			t.Errorf("bound: status %d, %.100q", res.StatusCode, res.Text)
		}
		time.Sleep(3 * time.Minute)
		if res := m.Still().Get("/pay"); res.StatusCode != http.StatusTemporaryRedirect {
			t.Errorf("later: status %d", res.StatusCode)
		}
	}, offered, testsite.AtLiveConnect)
}

// slowStore is a store that takes a while to save.
type slowStore struct{ *testsite.Files }

func (s slowStore) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	time.Sleep(time.Second)
	return s.Files.Save(r, w, session)
}

// Of two registrations at a time one counts.
func TestTwoRegistrationsAtATime(t *testing.T) {
	t.Parallel()
	store := testsite.NewFiles(t)
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m, thief := newMachine(t, s), newMachine(t, s)
		path, challenge := m.signIn("/")
		for _, c := range m.Cookies() {
			thief.Keep(c.Name, c.Value)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			time.Sleep(time.Millisecond)
			if res := thief.register(path, challenge); res.StatusCode != http.StatusBadRequest {
				t.Errorf("the second one: status %d", res.StatusCode)
			}
		}()
		if res := m.register(path, challenge); res.StatusCode != http.StatusOK {
			t.Errorf("the first one: status %d", res.StatusCode)
		}
		<-done
		m.hello("afterwards")
	}, offered, func(c *msauth.Config) { c.Store = slowStore{store} })
}

// A sign-in without credentials, over a session whose proof is missing, lasts no longer than
// that session.
func TestSessionWithoutProofGoesOn(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		s.MS.Set(testsite.Claim("auth_time", time.Now().Add(-time.Hour).Unix()))
		m := bound(t, s)
		user := m.User().Key()
		before, err := s.Auth.Sessions(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if res := m.Get("/"); res.Text != testsite.HelloAda {
			t.Errorf("signed in again: status %d", res.StatusCode)
		}
		list, err := s.Auth.Sessions(t.Context(), user)
		if err != nil || len(list) != 2 || list[0].DeviceBound || !list[0].Ends.Equal(before[0].Ends) {
			t.Errorf("before %+v, then %+v, %v", before, list, err)
		}
	}, offered)
}

// slow is Shared as a process has it whose answers come late.
type slow struct{ msauth.Shared }

func (s slow) Read(ctx context.Context, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
	entries, err := s.Shared.Read(ctx, log, after, wait)
	time.Sleep(500 * time.Millisecond)
	return entries, err
}

// What another process has ended, of which the one with the registration does not know
// yet, is not brought back by it.
func TestSignOutUserAroundTheRegistration(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		backend := sharedtest.New()
		s.Restart(t, func(c *msauth.Config) { c.Shared = slow{backend} })
		cfg := s.Cfg
		cfg.Shared = backend
		other, err := msauth.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		newMachine(t, s).signIn("/") // from now on the process follows what others do
		time.Sleep(5 * time.Minute)
		m := newMachine(t, s)
		path, challenge := m.signIn("/")
		user := m.User().Key()
		time.Sleep(2 * time.Second)
		if err := other.SignOutUser(t.Context(), user); err != nil {
			t.Fatal(err)
		}
		if res := m.register(path, challenge); res.StatusCode != http.StatusOK {
			t.Errorf("registration: status %d; the process knows already", res.StatusCode)
		}
		time.Sleep(3 * time.Second)
		refusedAs(t, "who was signed out", m.Browser)
		if err := errors.Join(s.Auth.Close(t.Context()), other.Close(t.Context())); err != nil {
			t.Error(err)
		}
	}, offered)
}

// A path that browsers take for another site's address is not where the proof leads.
func TestRequireDeviceLeadsToThisSite(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := bound(t, s)
		pay := s.Auth.RequireDevice(2 * time.Minute)(http.HandlerFunc(testsite.Hello)) // no ServeMux cleans the path
		time.Sleep(3 * time.Minute)
		for target, want := range map[string]string{
			"/pay?x=1": "/pay?x=1", "https://app.test/pay": "/pay", "/pay?" + strings.Repeat("x", 3000): "/pay?" + strings.Repeat("x", 3000),
			"//evil.example/x": "/", `/\evil.example`: "/", "/.//evil.example": "/", "https://app.test//evil.example/x": "/",
		} {
			r := httptest.NewRequest(http.MethodGet, s.URL, nil)
			r.RequestURI = target
			r.Header = http.Header{"Cookie": {m.CookieLine()}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
			w := httptest.NewRecorder()
			pay.ServeHTTP(w, r)
			if got := w.Header().Get("Location"); w.Code != http.StatusTemporaryRedirect || got != want {
				t.Errorf("%.50q: status %d to %.50q, want %.50q", target, w.Code, got, want)
			}
		}
	}, offered)
}
