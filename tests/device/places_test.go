package device_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/sharedtest"
	"example.com/msauth/tests/testsite"
)

// places are the ways to keep sessions and tokens.
func places(t *testing.T) map[string]func(*msauth.Config) {
	return map[string]func(*msauth.Config){
		"cookies": func(*msauth.Config) {},
		"store":   func(c *msauth.Config) { c.Store = testsite.FileStore(t) },
		"tokens":  func(c *msauth.Config) { c.Tokens = testsite.NewTokens() },
		"shared":  func(c *msauth.Config) { c.Shared = sharedtest.New() },
	}
}

// Wherever sessions and tokens are kept, a binding works, and a copy does not.
func TestBindingWhereverSessionsAreKept(t *testing.T) {
	t.Parallel()
	for name, change := range places(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, s *testsite.Site) {
				s.Lifetime(time.Hour)
				early := newMachine(t, s)
				path, challenge := early.signIn("/")
				before := early.thief(all)
				early.register(path, challenge)
				early.hello("bound")
				copied := early.thief(mainOnly)
				for range 8 { // over a renewal
					time.Sleep(9 * time.Minute)
					early.refresh()
				}
				early.hello("after an hour")
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
				refusedAs(t, "a copy of the session's cookies", copied)
				refusedAs(t, "a copy from before the registration", before)
				list, err := s.Auth.Sessions(t.Context(), key(t, s, early))
				if err != nil || len(list) != 1 || !list[0].DeviceBound {
					t.Errorf("sessions %+v, %v", list, err)
				}
			}, offered, change)
		})
	}
}

// key returns the key of who is signed in, and checks that the session says that it is
// bound.
func key(t *testing.T, s *testsite.Site, m *machine) (key string) {
	t.Helper()
	s.Mux.Handle("/key", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		if key = session.User.Key(); !session.DeviceBound() {
			t.Error("the session does not say that it is bound")
		}
	})))
	m.Get("/key")
	return key
}

// What travels through the browser works at any process with the same keys, after a
// restart and while keys change.
func TestBindingOverProcessesAndKeys(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := newMachine(t, s)
		path, challenge := m.signIn("/")
		s.Restart(t)
		m.register(path, challenge)
		s.Restart(t)
		m.hello("after a restart")
		time.Sleep(9 * time.Minute)
		next := testsite.NewKey()
		s.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{next, c.Keys[0]} })
		m.hello("with a new key")
		m.refresh()
		m.hello("after a refresh with a new key")
		time.Sleep(9 * time.Minute)
		s.Restart(t, func(c *msauth.Config) { c.Keys = c.Keys[:1] })
		// The identifier was sealed with the key that is gone: the binding ends, and the
		// session with it.
		if m.refresh(); !m.ended {
			t.Error("the binding has outlived its key")
		}
	}, offered)
}

// A slow answer puts back the cookie from before the registration: the next request
// mends that.
func TestSlowAnswerAfterTheRegistration(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := newMachine(t, s)
		path, challenge := m.signIn("/")
		before := m.Session()
		m.register(path, challenge)
		bound := m.Session()
		for _, c := range before {
			m.Keep(c.Name, c.Value)
		}
		m.hello("with the cookie from before")
		if now := m.Session(); len(now) != len(bound) || now[0].Value == before[0].Value {
			t.Error("the cookie was not mended")
		}
		refusedAs(t, "a copy of what was mended", m.thief(mainOnly))
		time.Sleep(11 * time.Minute)
		for _, c := range before { // and once more, when the bound cookie has ended
			m.Keep(c.Name, c.Value)
		}
		refusedAs(t, "a copy of them, when the bound cookie has ended", m.thief(all))
		if m.refresh(); m.ended {
			t.Error("the binding has ended")
		}
		m.hello("later")
	}, offered)
}

// A registration that fails because the store does can be sent again.
func TestRegistrationWhileTheStoreFails(t *testing.T) {
	t.Parallel()
	store := testsite.NewFiles(t)
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := newMachine(t, s)
		path, challenge := m.signIn("/")
		for _, what := range []string{"New", "write"} {
			store.Breaks(what, 0, errors.New("out of order"))
			if res := m.register(path, challenge); res.StatusCode != http.StatusServiceUnavailable || len(res.Header["Set-Cookie"]) > 0 {
				t.Errorf("%s: status %d, %v", what, res.StatusCode, res.Header)
			}
			store.Works()
		}
		user := m.User().Key()
		if list, err := s.Auth.Sessions(t.Context(), user); err != nil || len(list) != 1 {
			t.Errorf("sessions %+v, %v", list, err)
		}
		m.register(path, challenge)
		m.hello("afterwards")
	}, offered, func(c *msauth.Config) { c.Store = store })
}

// A session of a store that fails is not ended by that, and nor is its binding.
func TestRefreshWhileTheStoreFails(t *testing.T) {
	t.Parallel()
	store := testsite.NewFiles(t)
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := bound(t, s)
		store.Breaks("New", 0, errors.New("out of order"))
		if res := m.post(m.refreshURL, "Sec-Secure-Session-Id", m.identifier); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("status %d", res.StatusCode)
		}
		store.Works()
		m.refresh()
		m.hello("afterwards")
	}, offered, func(c *msauth.Config) { c.Store = store })
}

// What is no proof is refused so that the browser does what is meant: with 403 it signs
// the challenge that it gets, with any other status of 400 or more, or by
// "continue":false, it forgets the binding.
func TestRefreshesThatAreRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m, other := bound(t, s), bound(t, s)
		m.refresh()
		other.refresh()
		ends := func(res testsite.Seen) bool {
			return res.StatusCode == 200 && strings.Contains(res.Text, `"continue":false`)
		}
		again := func(res testsite.Seen) bool {
			return res.StatusCode == 403 && newChallenge.MatchString(res.Header.Get("Secure-Session-Challenge"))
		}
		post := func(m *machine, header ...string) func() testsite.Seen {
			return func() testsite.Seen { return m.post("/auth/device/refresh", header...) }
		}
		proving := func(proof string) func() testsite.Seen {
			return post(m, "Sec-Secure-Session-Id", m.identifier, "Secure-Session-Response", proof)
		}
		good := m.proof(m.challenge, false)
		for _, test := range []struct {
			name   string
			send   func() testsite.Seen
			want   func(testsite.Seen) bool
			reason string // "" for what happens to browsers too
		}{
			{"without an identifier", post(m), ends, "session"},
			{"with another text", post(m, "Sec-Secure-Session-Id", "abc"), ends, "session"},
			{"with an identifier that is no string", post(m, "Sec-Secure-Session-Id", `"`+m.identifier), ends, "session"},
			{"with a huge identifier", post(m, "Sec-Secure-Session-Id", strings.Repeat("A", 1<<20)), ends, "session"},
			{"with another session's identifier", post(m, "Sec-Secure-Session-Id", other.identifier), ends, ""},
			{"with another machine's key", proving(other.proof(m.challenge, false)), status(400), "proof"},
			{"with a new key", proving(other.proof(m.challenge, true)), status(400), "proof"},
			{"with a proof that is no string", proving(`"` + good), status(400), "proof"},
			{"with a proof of several strings", proving(good + ", x"), status(400), "proof"},
			{"with a huge proof", proving(strings.Repeat("A", 1<<20)), status(400), "proof"},
			{"with a challenge of its own making", proving(m.proof("c1", false)), again, "challenge"},
			{"with another session's challenge", proving(m.proof(other.challenge, false)), again, "challenge"},
			{"without a proof", post(m, "Sec-Secure-Session-Id", m.identifier), again, ""},
			{"with another session and this one's identifier", post(other, "Sec-Secure-Session-Id", m.identifier), ends, ""},
			{"without cookies", newMachine(t, s).refreshOf(m), again, ""},
			{"from another site", func() testsite.Seen {
				return m.Request(http.MethodPost, "/auth/device/refresh", "Sec-Fetch-Site", "cross-site", "Sec-Secure-Session-Id", m.identifier)
			}, status(403), "request"},
			{"by GET", func() testsite.Seen { return m.Get("/auth/device/refresh") }, status(405), ""},
		} {
			s.Log.Reset()
			res := test.send()
			if !test.want(res) {
				t.Errorf("%s: status %d, %.200q", test.name, res.StatusCode, res.Text)
			}
			if res.Header.Get("Set-Cookie") != "" || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v", test.name, res.Header)
			}
			wantRefusal(t, s, test.name, test.reason)
		}
		s.Log.Reset()
		m.hello("after all of it")
	}, offered)
}

// refreshOf is a refresh of a machine's binding, by another browser without its cookies.
func (m *machine) refreshOf(of *machine) func() testsite.Seen {
	return func() testsite.Seen { return m.post("/auth/device/refresh", "Sec-Secure-Session-Id", of.identifier) }
}

// wantRefusal checks that one line of the log says why a request was refused, none if the
// reason is "", and that nothing else is said.
func wantRefusal(t *testing.T, s *testsite.Site, name, reason string) {
	t.Helper()
	lines := slices.DeleteFunc(s.Log.With("level="), func(line string) bool { return strings.Contains(line, "level=DEBUG") })
	want := 0
	if reason != "" {
		want = 1
	}
	if len(lines) != want || want == 1 && !(strings.Contains(lines[0], "level=INFO") && strings.Contains(lines[0], "event=device_refused reason="+reason+" ")) {
		t.Errorf("%s: log lines %.500q, want %d for the reason %q", name, lines, want, reason)
	}
}

func status(want int) func(testsite.Seen) bool {
	return func(res testsite.Seen) bool { return res.StatusCode == want }
}

func TestConfigurationsOfBinding(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		change func(*msauth.Config)
		want   string
	}{
		{offered, ""}, {required, ""},
		{func(c *msauth.Config) { c.DeviceBinding = "yes" }, `Config.DeviceBinding is "yes"`},
		{func(c *msauth.Config) { offered(c); c.BaseURL = "http://localhost:8080/auth" }, "Config.DeviceBinding needs a BaseURL of https"},
		{func(c *msauth.Config) { c.CookieName = "a-device" }, "Config.CookieName"},
	} {
		cfg := testsite.LeastConfig()
		test.change(&cfg)
		if _, err := msauth.New(cfg); test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%v, want %q", err, test.want)
		}
	}
	s := testsite.NewInProcess(t)
	s.Mux.Handle("/pay", s.Auth.RequireDevice(2*time.Minute)(http.HandlerFunc(testsite.Hello)))
	s.Mux.Handle("/short", s.Auth.RequireDevice(time.Minute)(http.HandlerFunc(testsite.Hello)))
	if err := s.Auth.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "RequireDevice needs Config.DeviceBinding") || !strings.Contains(err.Error(), "must be at least 2 minutes") {
		t.Errorf("ready: %v", err)
	}
}
