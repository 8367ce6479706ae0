package device_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestSessionIsBoundToTheDevice(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := bound(t, s)
		for _, c := range m.Cookies() {
			if strings.HasSuffix(c.Name, "-device") && len(c.Name)+len(c.Value) >= 120 {
				t.Errorf("the bound cookie has %d bytes", len(c.Name)+len(c.Value))
			}
		}
		// It goes on for as long as the device is proved, over several proofs.
		for range 5 {
			time.Sleep(9 * time.Minute)
			m.hello("before the end of the bound cookie")
			if res := m.refresh(); res.StatusCode != http.StatusOK {
				t.Fatalf("refresh: status %d; log:\n%s", res.StatusCode, s.Log)
			}
		}
		m.hello("after five refreshes")
		stats := s.Auth.Stats().Devices
		if stats.Offered != 1 || stats.Registered != 1 || stats.Refreshed != 5 || len(stats.Refused) != 0 || len(stats.Unproved) != 0 {
			t.Errorf("stats %+v", stats)
		}
		s.WantNoSecrets(t, "the log", s.Log.String())
	}, offered)
}

func TestBrowserThatCannotBindIsAsBefore(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		time.Sleep(time.Hour)
		b.WantGreeting(testsite.HelloAda)
		if len(b.Session()) == 0 {
			t.Error("no session")
		}
	}, offered)
}

// The thief's table.
func TestCopiesOfCookies(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := bound(t, s)
		refusedAs(t, "the session's cookies alone", m.thief(mainOnly))
		copied := m.thief(all)
		copied.WantGreeting(testsite.HelloAda) // until the bound cookie ends
		time.Sleep(9 * time.Minute)
		m.refresh()
		time.Sleep(time.Minute)
		refusedAs(t, "all cookies, after the bound cookie has ended", copied)
		m.hello("the owner, after the thief came")

		// Signing out as the thief ends nothing at the owner.
		thief := m.thief(mainOnly)
		thief.Get("/auth/logout", testsite.SameOrigin...)
		m.hello("the owner, after the thief signed out")
		// Nor does signing in as somebody else over the copy.
		thief = m.thief(mainOnly)
		s.As(msauthtest.Mia)
		thief.Get("/")
		m.hello("the owner, after the thief signed in")

		// Another session's bound cookie is worth nothing.
		skipping := m.thief(mainOnly)
		skipping.Get("/public/", "Secure-Session-Skipped", `quota_exceeded;session_identifier="`+m.identifier+`"`)
		skipping.Get("/public/", "Secure-Session-Skipped", "whatever")
		refusedAs(t, "who says that it was skipped", skipping)

		other := bound(t, s)
		mixed := m.thief(mainOnly)
		for _, c := range other.Cookies() {
			if strings.HasSuffix(c.Name, "-device") {
				mixed.Keep(c.Name, c.Value)
			}
		}
		refusedAs(t, "with another session's bound cookie", mixed)
		forged := m.thief(mainOnly)
		for _, c := range m.Cookies() {
			if strings.HasSuffix(c.Name, "-device") {
				forged.Keep(c.Name, strings.Repeat("A", len(c.Value)))
			}
		}
		refusedAs(t, "with a forged bound cookie", forged)
		stats := s.Auth.Stats().Devices
		for _, reason := range []string{"missing", "expired", "forged", "of another session"} {
			if stats.Unproved[reason] < 3 {
				t.Errorf("unproved: %v, want some %q", stats.Unproved, reason)
			}
		}
		if stats.Skipped["quota_exceeded"] != 1 || stats.Skipped["other"] != 1 {
			t.Errorf("skipped: %v", stats.Skipped)
		}
	}, offered)
}

// A copy from before the registration is worthless once another request has come.
func TestCopyFromBeforeTheRegistration(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := newMachine(t, s)
		path, challenge := m.signIn("/")
		copied, late := m.thief(all), newMachine(t, s)
		for _, c := range m.Cookies() {
			late.Keep(c.Name, c.Value)
		}
		m.register(path, challenge)
		// A key of somebody else's over the session: the challenge is spent.
		if res := late.register(path, challenge); res.StatusCode != http.StatusBadRequest || late.identifier != "" {
			t.Errorf("registered over it: status %d, %q", res.StatusCode, res.Text)
		}
		time.Sleep(31 * time.Second)
		refusedAs(t, "the copy from before", copied)
		m.hello("the owner")
	}, offered)
}

func TestProofsThatAreReplayed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := bound(t, s)
		time.Sleep(9 * time.Minute)
		m.refresh()
		proof := m.proof(m.challenge, false) // as the thief has copied it, with all cookies
		thief := m.thief(all)
		replay := func() testsite.Seen {
			return thief.Request(http.MethodPost, m.refreshURL, "Sec-Fetch-Site", "same-origin", "Sec-Secure-Session-Id", m.identifier, "Secure-Session-Response", proof)
		}
		time.Sleep(50 * time.Second)
		if res := replay(); res.StatusCode != http.StatusOK || !strings.Contains(res.Header.Get("Set-Cookie"), "; Max-Age=550;") {
			t.Errorf("within a minute: status %d, %q", res.StatusCode, res.Header["Set-Cookie"]) // a browser repeats itself too
		}
		time.Sleep(11 * time.Second)
		if res := replay(); res.StatusCode != http.StatusForbidden {
			t.Errorf("after a minute: status %d", res.StatusCode)
		}
		// What the replay gave counts from the challenge, and so ends with the owner's.
		time.Sleep(8*time.Minute + 58*time.Second)
		thief.WantGreeting(testsite.HelloAda)
		time.Sleep(2 * time.Second)
		refusedAs(t, "after the end of the replayed proof", thief)
	}, offered)
}

func TestRegistrationsThatAreRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := newMachine(t, s)
		path, challenge := m.signIn("/")
		nobody := newMachine(t, s)
		nobody.Keep(m.Session()[0].Name, "1abc")
		other := newMachine(t, s)
		_, theirs := other.signIn("/")
		for _, test := range []struct {
			name   string
			send   func() testsite.Seen
			status int
			reason string
		}{
			{"by GET", func() testsite.Seen { return m.Get(path) }, 405, ""},
			{"from another site", func() testsite.Seen {
				return m.Request(http.MethodPost, path, "Sec-Fetch-Site", "cross-site", "Secure-Session-Response", m.proof(challenge, true))
			}, 403, "request"},
			{"without Fetch Metadata", func() testsite.Seen {
				return m.Request(http.MethodPost, path, "Secure-Session-Response", m.proof(challenge, true))
			}, 403, "request"},
			{"without a proof", func() testsite.Seen { return m.post(path) }, 400, "proof"},
			{"with a proof that is no string", func() testsite.Seen { return m.post(path, "Secure-Session-Response", `"`+m.proof(challenge, true)) }, 400, "proof"},
			{"without a key", func() testsite.Seen { return m.post(path, "Secure-Session-Response", m.proof(challenge, false)) }, 400, "proof"},
			{"with a session that does not open", func() testsite.Seen { return nobody.register(path, challenge) }, 400, "session"},
			{"with another session's challenge", func() testsite.Seen { return m.register(path, theirs) }, 400, "challenge"},
			{"with a challenge of its own making", func() testsite.Seen { return m.register(path, "c1") }, 400, "challenge"},
			{"with a huge header", func() testsite.Seen { return m.post(path, "Secure-Session-Response", strings.Repeat("A", 1<<20)) }, 400, "proof"},
		} {
			s.Log.Reset()
			if res := test.send(); res.StatusCode != test.status {
				t.Errorf("%s: status %d, want %d", test.name, res.StatusCode, test.status)
			}
			wantRefusal(t, s, test.name, test.reason)
		}
		m.hello("after all of it")
		time.Sleep(61 * time.Second)
		if res := m.register(path, challenge); res.StatusCode != http.StatusBadRequest {
			t.Errorf("after a minute: status %d", res.StatusCode)
		}
		if stats := s.Auth.Stats().Devices; stats.Registered != 0 || stats.Refused["request"] != 2 || stats.Refused["proof"] != 4 || stats.Refused["session"] != 1 || stats.Refused["challenge"] != 3 {
			t.Errorf("stats %+v", stats)
		}
	}, offered)
}

func TestEndOfABinding(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := bound(t, s)
		m.Get("/auth/logout", testsite.SameOrigin...)
		for _, c := range m.Cookies() {
			t.Errorf("cookie %s is left", c.Name)
		}
		if m.refresh(); !m.ended {
			t.Error("after signing out the binding goes on")
		}
		// A new sign-in offers anew.
		again := newMachine(t, s)
		again.Browser = m.Browser
		path, challenge := again.signIn("/")
		again.register(path, challenge)
		again.hello("after signing in again")
		// The refresh of the binding before does not disturb it.
		m.ended = false
		if m.refresh(); !m.ended {
			t.Error("the binding of the session before goes on")
		}
		again.hello("after a refresh of the binding before")
		if err := s.Auth.SignOutUser(t.Context(), again.User().Key()); err != nil {
			t.Fatal(err)
		}
		if again.refresh(); !again.ended {
			t.Error("the binding of a session that has ended goes on")
		}
	}, offered)
}

// Whoever enters credentials again has a new session: its binding takes the place of the
// one before, which ends in the browser too.
func TestStepUpEndsTheBindingBefore(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		s.Mux.Handle("/codes", s.Auth.RequireFreshSignIn(time.Minute)(http.HandlerFunc(testsite.Hello)))
		m := bound(t, s)
		before := m.thief(all)
		time.Sleep(5 * time.Minute)
		again := newMachine(t, s)
		again.Browser = m.Browser
		path, challenge := again.signIn("/codes")
		if path == "" {
			t.Fatal("the step-up offers no binding")
		}
		for _, c := range m.Cookies() {
			if strings.HasSuffix(c.Name, "-device") {
				t.Errorf("the bound cookie of the session before is left: %s", c.Name)
			}
		}
		if m.refresh(); !m.ended {
			t.Error("the binding of the session before goes on")
		}
		again.hello("before the new session is bound")
		again.register(path, challenge)
		if res := again.Still().Get("/codes"); res.Text != testsite.HelloAda {
			t.Errorf("bound anew: status %d, page %.200q", res.StatusCode, res.Text)
		}
		refusedAs(t, "a copy of the new session's cookies", again.thief(mainOnly))
		time.Sleep(31 * time.Second)
		refusedAs(t, "a copy of all cookies from before the step-up", before)
		if stats := s.Auth.Stats().Devices; stats.Offered != 2 || stats.Registered != 2 {
			t.Errorf("stats %+v", stats)
		}
	}, offered)
}

func TestRequiredBinding(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		m := newMachine(t, s)
		path, challenge := m.signIn("/")
		if res := m.Still().Get("/"); res.StatusCode != http.StatusOK || res.Kind() != "wait" || !strings.Contains(res.Header.Get("Refresh")+res.Text, "bound to this device") {
			t.Errorf("at once: status %d, page %.300q", res.StatusCode, res.Text)
		}
		if got := m.Get("/public/").Text; got != "hello nobody" {
			t.Errorf("under Load: %q", got)
		}
		if res := m.Get("/", testsite.Script...); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("script: status %d", res.StatusCode)
		}
		// A script that leads to the sign-in then begins no other session, which would have
		// to be bound anew.
		res := m.Still().Get("/auth/login?return_to=%2Forders")
		if links := testsite.LinksOf(res); res.Kind() != "wait" || links[0] != "/orders" {
			t.Errorf("signing in meanwhile: status %d, %q", res.StatusCode, links)
		}
		m.register(path, challenge)
		m.hello("bound")

		old := newMachine(t, s)
		old.signIn("/")
		time.Sleep(30 * time.Second)
		s.WantPage(t, old.Get("/"), http.StatusForbidden, "device-required", "not bound to a device")
		if res := old.Get("/", testsite.Script...); res.StatusCode != http.StatusForbidden {
			t.Errorf("script: status %d", res.StatusCode)
		}
		s.WantCalls(t, msauthtest.Authorize, 2)
	}, required)
}

func TestRequireDevice(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site) {
		s.Mux.Handle("/pay", s.Auth.RequireDevice(2*time.Minute)(http.HandlerFunc(testsite.Hello)))
		m := bound(t, s)
		want := func(b *testsite.Browser, status int) testsite.Seen {
			t.Helper()
			res := b.Still().Get("/pay?x=1")
			if res.StatusCode != status {
				t.Errorf("status %d, want %d; page %.100q", res.StatusCode, status, res.Text)
			}
			return res
		}
		want(m.Browser, 200)
		time.Sleep(2*time.Minute + time.Second)
		m.hello("other pages")
		copied := m.thief(all)
		if res := want(m.Browser, 307); res.Header.Get("Location") != "/pay?x=1" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("to %q, %v", res.Header.Get("Location"), res.Header)
		}
		m.refresh()
		want(m.Browser, 200)
		// The thief has all cookies, and no key.
		want(copied, 307)
		want(copied, 303)

		// A browser that cannot bind: credentials instead.
		unbound := s.Browser(t)
		unbound.SignIn(msauthtest.Ada)
		want(unbound, 200) // they were entered just now
		s.MS.Set(testsite.Claim("auth_time", time.Now().Add(-time.Hour).Unix()))
		long := s.Browser(t)
		long.SignIn(msauthtest.Ada)
		want(long, 303) // Microsoft has let them in without
		s.MS.Set(func(b *msauthtest.Behavior) { b.IDToken = nil })
		time.Sleep(2*time.Minute + time.Second)
		if res := want(unbound, 303); !strings.Contains(res.Header.Get("Location"), "max_age=120") || !strings.Contains(res.Header.Get("Location"), "prompt=login") {
			t.Errorf("sent to %s", res.Header.Get("Location"))
		}
		if res := unbound.Get("/pay"); res.Text != testsite.HelloAda {
			t.Errorf("after entering them: status %d, page %.100q", res.StatusCode, res.Text)
		}
		time.Sleep(2*time.Minute + time.Second)
		if res := unbound.Get("/pay", testsite.Script...); res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.Text, "login_url") {
			t.Errorf("a script: status %d, %.100q", res.StatusCode, res.Text)
		}
	}, offered)
}

func TestPagesThatABindingIsFor(t *testing.T) {
	t.Parallel()
	const expenses = `"scope_specification":[{"type":"exclude","domain":"*","path":"/"},{"type":"include","domain":"*","path":"/expenses/"}]`
	for _, test := range []struct{ base, home, want string }{
		{"/auth", "", ""},
		{"/expenses/auth", "", expenses},
		{"/expenses/auth", "/expenses/?tab=mine/all", expenses},
		{"/expenses/auth", "/expenses/all/", expenses},
		{"/expenses/auth", "/start", strings.TrimSuffix(expenses, "]") + `,{"type":"include","domain":"*","path":"/start"}]`},
		{"/expenses/auth", "/", ""},
		{"/auth", "/dashboard/", ""}, // one page of many
	} {
		inBubble(t, func(t *testing.T, s *testsite.Site) {
			s.Mux.Handle("/expenses/auth/", s.Auth)
			m, res := newMachine(t, s), testsite.Seen{}
			s.As(msauthtest.Ada)
			next := test.base + "/login"
			for range 3 { // to Microsoft, back, and in
				res = m.Still().Get(next)
				next = res.Header.Get("Location")
			}
			found := offer.FindStringSubmatch(res.Header.Get("Secure-Session-Registration"))
			if found == nil || found[1] != test.base+"/device/register" {
				t.Fatalf("%+v: offered %q", test, found)
			}
			text := m.register(found[1], found[2]).Text
			if got := strings.Contains(text, "scope_specification"); got != (test.want != "") || !strings.Contains(text, test.want) {
				t.Errorf("%+v: %s", test, text)
			}
			if m.refreshURL != test.base+"/device/refresh" {
				t.Errorf("%+v: refresh at %q", test, m.refreshURL)
			}
		}, offered, func(c *msauth.Config) {
			c.BaseURL, c.Home = strings.TrimSuffix(c.BaseURL, "/auth")+test.base, test.home
		})
	}
}
