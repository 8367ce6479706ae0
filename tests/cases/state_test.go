package cases_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCase001_CallbackWithoutStateIsRefused(t *testing.T) {
	c := newCase(t)
	for _, query := range []string{"code=x", "code=x&state=", "error=access_denied", "code=x&State=y", "", "?state=x&code=y", "code=x#state=y"} {
		c.run(query, func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			c.refused(s.Browser(c.T), s.Browser(c.T).Get("/auth/callback?"+query), 400, "start-again", "state is missing")
			b := s.Browser(c.T)
			s.As(msauthtest.Ada)
			b.Attempt("/a") // leaves its cookie
			c.refused(b, b.Get("/auth/callback?"+query), 400, "start-again", "state is missing")
			c.calls(s, msauthtest.TokenCode, 0)
			c.signedOut(b)
		})
	}
}

func TestCase002_WrongStateLeavesTheCodeUnspent(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	good := b.Attempt("/a")
	state := url.Values{}
	testsite.Reworded(t, good, func(q url.Values) { state = q })
	text := state.Get("state")
	other := map[byte]string{'A': "B"}[text[len(text)-1]]
	if other == "" {
		other = "A"
	}
	for _, wrong := range []string{
		"x", strings.Repeat("A", len(text)), text[:len(text)-1], text[1:], text + "A", text + "=", text + " ", " " + text,
		text[:len(text)-1] + other, strings.ToUpper(text), strings.Repeat(text, 2), strings.Repeat("A", 1<<20>>2), "\x00", "../" + text,
		text[:9] + "\n" + text[9:], text + "\r\n", "\n" + text,
	} {
		bad := testsite.Reworded(t, good, func(q url.Values) { q.Set("state", wrong) })
		c.refused(b, b.Get(bad), 400, "start-again", "state is missing, altered or of another app")
	}
	c.calls(s, msauthtest.TokenCode, 0)
	if got := b.Get(good); got.Text != testsite.HelloAda || got.Request.URL.Path != "/a" {
		c.Errorf("the right answer afterwards: page %q at %s", got.Text, got.Request.URL)
	}
	c.calls(s, msauthtest.TokenCode, 1)
}

// State of an app with the same keys, but another registration, is no state.
func TestCase002_StateOfAnotherApp(t *testing.T) {
	c := newCase(t)
	one, other := testsite.NewInProcess(t), testsite.NewInProcess(t)
	other.Restart(t, withKeysOf(one))
	one.As(msauthtest.Ada)
	b := one.Browser(t)
	foreign := b.Attempt("/a")
	them := other.Browser(t)
	for _, cookie := range b.Cookies() {
		them.Keep(strings.Replace(cookie.Name, testsite.CookieName(t, one), testsite.CookieName(t, other), 1), cookie.Value)
	}
	query := foreign[strings.Index(foreign, "?"):]
	c.refused(them, them.Get("/auth/callback"+query), 400, "start-again", "state is missing, altered or of another app")
	c.silent(other)
}

func TestCase003_CallbackOfAnAttackerSignsNobodyIn(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Bruno)
	attacker := s.Browser(t)
	trap := attacker.Attempt("/a")
	for _, victim := range []struct {
		name, kind, reason string
		prepare            func(b *testsite.Browser)
	}{
		{"who was never here", "start-again", "no cookie of this attempt", func(*testsite.Browser) {}},
		{"who has other cookies", "start-again", "no cookie of this attempt", func(b *testsite.Browser) { b.Keep("theme", "dark") }},
		{"who is signing in", "start-again", "no cookie of this attempt", func(b *testsite.Browser) { b.Attempt("/mine") }},
		{"who is signed in", "start-again", "no cookie of this attempt", func(b *testsite.Browser) { b.SignIn(msauthtest.Ada) }},
		{"whose attempt cookie is made up", "start-again", "no cookie of this attempt", func(b *testsite.Browser) {
			for _, cookie := range attacker.Cookies() {
				b.Keep(cookie.Name, "x")
			}
		}},
		{"whose attempt cookie is another's", "start-again", "no cookie of this attempt", func(b *testsite.Browser) {
			b.Attempt("/mine")
			mine := b.Cookies()[0]
			for _, cookie := range attacker.Cookies() {
				b.Keep(cookie.Name, mine.Value)
			}
		}},
	} {
		b := s.Browser(t)
		victim.prepare(b)
		was := b.Get("/public/").Text
		spent := s.MS.Count(msauthtest.TokenCode)
		c.refused(b, b.Get(trap), 400, victim.kind, victim.reason)
		// The sign-in that the page offers is one click away, not automatic.
		c.calls(s, msauthtest.TokenCode, spent)
		b.WantGreeting(was)
	}
	if got := attacker.Get(trap).Text; got != testsite.HelloBruno {
		c.Errorf("the attacker's own browser: %q", got)
	}
}

func TestCase004_StateAndCodeOfTwoAttempts(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	b := s.Browser(t)
	s.As(msauthtest.Ada)
	first := b.Attempt("/first")
	second := b.Attempt("/second")
	var code string
	testsite.Reworded(t, first, func(q url.Values) { code = q.Get("code") })
	mixed := testsite.Reworded(t, second, func(q url.Values) { q.Set("code", code) })
	c.refused(b, b.Get(mixed), 400, "start-again", "AADSTS501481") // the verifier is not that of this code
	c.calls(s, msauthtest.TokenCode, 1)
	c.signedOut(b)
}

func TestCase005_CallbackOpenedAgain(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	callback := b.Attempt("/a?x=1")
	b.Get(callback)
	session := b.Session()
	c.calls(s, msauthtest.TokenCode, 1)
	for range 3 {
		res := b.Get(callback)
		if res.Text != testsite.HelloAda || res.Request.URL.RequestURI() != "/a?x=1" {
			c.Errorf("page %q at %s, want the app's", res.Text, res.Request.URL)
		}
	}
	// With other parameters than those that were answered, too.
	if got := b.Get(testsite.Reworded(t, callback, func(q url.Values) { q.Set("code", "x"); q.Set("iss", "https://evil.example") })).Text; got != testsite.HelloAda {
		c.Errorf("page %q", got)
	}
	if got := b.Session(); len(got) != 1 || got[0].Value != session[0].Value {
		c.Error("the session has changed")
	}
	other := s.Browser(t)
	c.refused(other, other.Get(callback), 400, "start-again", "no cookie of this attempt")
	bruno := s.Browser(t)
	bruno.SignIn(msauthtest.Bruno)
	c.calls(s, msauthtest.TokenCode, 2)
	c.refused(bruno, bruno.Get(callback), 400, "start-again", "no cookie of this attempt")
	bruno.WantGreeting(testsite.HelloBruno)
	// After signing out, the address opens nothing any more.
	b.Still().Get("/auth/logout", testsite.SameOrigin...)
	c.refused(b, b.Get(callback), 400, "start-again", "no cookie of this attempt")
	c.calls(s, msauthtest.TokenCode, 2)
}

func TestCase006_AttemptsExpire(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.As(msauthtest.Ada)
		for _, wait := range []time.Duration{30*time.Minute + 2*time.Second, 5 * time.Hour, 23 * time.Hour} {
			b := s.Browser(c.T)
			callback := b.Attempt("/a?x=1")
			kept := b.Cookies()
			time.Sleep(wait)
			for _, cookie := range kept { // a browser that keeps them for too long
				b.Keep(cookie.Name, cookie.Value)
			}
			res := b.Get(callback)
			c.refused(b, res, 400, "expired", "took too long")
			if !strings.Contains(res.Text, `href="/auth/login?return_to=%2Fa%3Fx%3D1"`) || strings.Contains(res.Text, "http-equiv") {
				c.Errorf("the page has no link to start again, or starts by itself: %s", res.Text)
			}
		}
		// The key of the day before yesterday is gone: not even that it is old can be told.
		b := s.Browser(c.T)
		callback := b.Attempt("/a")
		time.Sleep(49 * time.Hour)
		c.refused(b, b.Get(callback), 400, "start-again", "state is missing, altered or of another app")
	})
}

func TestCase006_AnAttemptLastsUntilThen(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.As(msauthtest.Ada)
		// Microsoft's code is good for ten minutes from when the person has
		// signed in, so the slow part is before.
		b := s.Browser(c.T)
		to := b.Still().Get("/a").Header.Get("Location")
		time.Sleep(29 * time.Minute)
		if got := b.Get(to); got.Text != testsite.HelloAda {
			c.Errorf("after 29 minutes: %q", got.Text)
		}
		c.calls(s, msauthtest.TokenCode, 1)
	})
}

func TestCase008_DuplicatedParametersAreRefused(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	good := b.Attempt("/a")
	tests := []struct {
		name, add, reason string
	}{
		{"state, then another", "&state=evil", "state is repeated"},
		{"code, then another", "&code=evil", "code is repeated"},
		{"code, then an empty one", "&code=", "code is repeated"},
		{"code and error", "&error=access_denied", "both code and error"},
		{"two errors", "&error=a&error=b", "error is repeated"},
		{"two issuers", "&iss=a&iss=b", "iss is repeated"},
		{"two descriptions", "&error_description=a&error_description=b", "error_description is repeated"},
		{"a semicolon", "&x=1;state=evil", "malformed query"},
		{"a bad escape", "&x=%zz", "malformed query"},
		{"an escaped name", "&%73tate=evil", "state is repeated"},
	}
	for _, test := range tests {
		c.refused(b, b.Get(good+test.add), 400, "start-again", test.reason)
	}
	// Before the good ones as well.
	c.refused(b, b.Get(strings.Replace(good, "?", "?state=evil&", 1)), 400, "start-again", "state is repeated")
	c.refused(b, b.Get(strings.Replace(good, "?", "?code=evil&", 1)), 400, "start-again", "code is repeated")

	// In the query and in a form.
	req, err := http.NewRequest(http.MethodPost, good, strings.NewReader("code=evil&state=evil"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if res := b.Send(req); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Location") != "" {
		c.Errorf("a POST gets status %d", res.StatusCode)
	}
	c.calls(s, msauthtest.TokenCode, 0)
	if got := b.Get(good).Text; got != testsite.HelloAda {
		c.Errorf("the right answer afterwards: %q", got)
	}
}

func TestCase009_ErrorAnswerNeedsState(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.As(msauthtest.Bruno)
	others := s.Browser(t)
	foreign := others.Attempt("/a")
	var state string
	testsite.Reworded(t, foreign, func(q url.Values) { state = q.Get("state") })
	s.MS.ResetCalls()
	for _, query := range []url.Values{
		{"error": {"access_denied"}, "error_description": {"Call 555 0100 now"}},
		{"error": {"access_denied"}, "error_description": {"Call 555 0100 now"}, "state": {"x"}},
		{"error": {"access_denied"}, "error_description": {"Call 555 0100 now"}, "state": {state}},
		{"error": {"AADSTS50105"}, "error_description": {"AADSTS50105: Call 555 0100 now"}, "state": {state}},
	} {
		for _, b := range []*testsite.Browser{b, s.Browser(t)} {
			res := b.Get("/auth/callback?" + query.Encode())
			if strings.Contains(res.Text, "555 0100") || res.Kind() == "declined" || res.Kind() == "not-allowed" {
				c.Errorf("%v: the page is %q: %s", query, res.Kind(), res.Text)
			}
			reason := "state is missing"
			if query.Get("state") == state {
				reason = "no cookie of this attempt"
			}
			c.refused(b, res, 400, res.Kind(), reason)
		}
	}
	if s.Log.With("555 0100") != nil {
		c.Error("what a stranger sent is in the log as the provider's words")
	}
	c.silent(s)
	b.WantGreeting(testsite.HelloAda)
}

func TestCase010_TextsOfAnErrorAnswerAreInert(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	hostile := "<script>alert(1)</script>\r\nSet-Cookie: x=y\nlevel=INFO msg=\"fake line\"\u202e\u2066evil\x00\x1b[31m\u2028\"'<!--" + strings.Repeat("A", 100<<10)
	for _, name := range []string{"access_denied", "server_error", "login_required", "invalid_request", hostile[:60] + "\u202e"} {
		b := s.Browser(t)
		answer := b.Attempt("/a")
		answer = testsite.Reworded(t, answer, func(q url.Values) {
			q.Del("code")
			q.Set("error", name)
			q.Set("error_description", hostile)
			q.Set("error_uri", "javascript:alert(1)")
		})
		before := len(s.Log.String())
		res := b.Get(answer)
		c.refused(b, res, res.StatusCode, res.Kind(), "err=")
		if res.StatusCode < 400 || res.StatusCode > 499 {
			c.Errorf("%q: status %d, want one of a client's error", name, res.StatusCode)
		}
		for _, text := range []string{"alert(1)", "evil", "AAAA", "fake line", "\u202e", "\x00", "\x1b", "javascript:"} {
			if strings.Contains(res.Text, text) {
				c.Errorf("%q: the page holds %q", name, text)
			}
		}
		log := s.Log.String()[before:]
		if strings.Count(log, "\n") != 1 || len(log) > 2000 || strings.ContainsAny(log, "\u202e\u2066\x00\x1b\u2028\r") {
			c.Errorf("%q: the log line has %d bytes, %d line breaks or characters that do not print: %q", name, len(log), strings.Count(log, "\n"), log)
		}
		b.WantGreeting(testsite.HelloNobody)
	}
	c.calls(s, msauthtest.TokenCode, 0)
}
