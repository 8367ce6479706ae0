package msauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

func TestCase001_CallbackWithoutStateIsRefused(t *testing.T) {
	c := newCase(t)
	for _, query := range []string{"code=x", "code=x&state=", "error=access_denied", "code=x&State=y", "", "?state=x&code=y", "code=x#state=y"} {
		c.run(query, func(c *testCase) {
			s := newSiteInProcess(c.T)
			c.refused(s.browser(c.T), s.browser(c.T).get("/auth/callback?"+query), 400, "start-again", "state is missing")
			b := s.browser(c.T)
			s.as(msauthtest.Ada)
			b.attempt("/a") // leaves its cookie
			c.refused(b, b.get("/auth/callback?"+query), 400, "start-again", "state is missing")
			c.calls(s, msauthtest.TokenCode, 0)
			c.signedOut(b)
		})
	}
}

func TestCase002_WrongStateLeavesTheCodeUnspent(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	good := b.attempt("/a")
	state := url.Values{}
	reworded(t, good, func(q url.Values) { state = q })
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
		bad := reworded(t, good, func(q url.Values) { q.Set("state", wrong) })
		c.refused(b, b.get(bad), 400, "start-again", "state is missing, altered or of another app")
	}
	c.calls(s, msauthtest.TokenCode, 0)
	if got := b.get(good); got.body != helloAda || got.Request.URL.Path != "/a" {
		c.Errorf("the right answer afterwards: page %q at %s", got.body, got.Request.URL)
	}
	c.calls(s, msauthtest.TokenCode, 1)
}

// State of an app with the same keys, but another registration, is no state.
func TestCase002_StateOfAnotherApp(t *testing.T) {
	c := newCase(t)
	one, other := newSiteInProcess(t), newSiteInProcess(t)
	other.restart(t, withKeysOf(one))
	one.as(msauthtest.Ada)
	b := one.browser(t)
	foreign := b.attempt("/a")
	them := other.browser(t)
	for _, cookie := range b.cookies() {
		them.keep(strings.Replace(cookie.Name, cookieName(t, one), cookieName(t, other), 1), cookie.Value)
	}
	query := foreign[strings.Index(foreign, "?"):]
	c.refused(them, them.get("/auth/callback"+query), 400, "start-again", "state is missing, altered or of another app")
	c.silent(other)
}

func TestCase003_CallbackOfAnAttackerSignsNobodyIn(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Bruno)
	attacker := s.browser(t)
	trap := attacker.attempt("/a")
	for _, victim := range []struct {
		name, kind, reason string
		prepare            func(b *browser)
	}{
		{"who was never here", "start-again", "no cookie of this attempt", func(*browser) {}},
		{"who has other cookies", "start-again", "no cookie of this attempt", func(b *browser) { b.keep("theme", "dark") }},
		{"who is signing in", "start-again", "no cookie of this attempt", func(b *browser) { b.attempt("/mine") }},
		{"who is signed in", "start-again", "no cookie of this attempt", func(b *browser) { b.signIn(msauthtest.Ada) }},
		{"whose attempt cookie is made up", "start-again", "no cookie of this attempt", func(b *browser) {
			for _, cookie := range attacker.cookies() {
				b.keep(cookie.Name, "x")
			}
		}},
		{"whose attempt cookie is another's", "start-again", "no cookie of this attempt", func(b *browser) {
			b.attempt("/mine")
			mine := b.cookies()[0]
			for _, cookie := range attacker.cookies() {
				b.keep(cookie.Name, mine.Value)
			}
		}},
	} {
		b := s.browser(t)
		victim.prepare(b)
		was := b.get("/public/").body
		spent := s.ms.Count(msauthtest.TokenCode)
		c.refused(b, b.get(trap), 400, victim.kind, victim.reason)
		// The sign-in that the page offers is one click away, not automatic.
		c.calls(s, msauthtest.TokenCode, spent)
		b.wantGreeting(was)
	}
	if got := attacker.get(trap).body; got != helloBruno {
		c.Errorf("the attacker's own browser: %q", got)
	}
}

func TestCase004_StateAndCodeOfTwoAttempts(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	b := s.browser(t)
	s.as(msauthtest.Ada)
	first := b.attempt("/first")
	second := b.attempt("/second")
	var code string
	reworded(t, first, func(q url.Values) { code = q.Get("code") })
	mixed := reworded(t, second, func(q url.Values) { q.Set("code", code) })
	c.refused(b, b.get(mixed), 400, "start-again", "AADSTS501481") // the verifier is not that of this code
	c.calls(s, msauthtest.TokenCode, 1)
	c.signedOut(b)
}

func TestCase005_CallbackOpenedAgain(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	callback := b.attempt("/a?x=1")
	b.get(callback)
	session := b.session()
	c.calls(s, msauthtest.TokenCode, 1)
	for range 3 {
		res := b.get(callback)
		if res.body != helloAda || res.Request.URL.RequestURI() != "/a?x=1" {
			c.Errorf("page %q at %s, want the app's", res.body, res.Request.URL)
		}
	}
	// With other parameters than those that were answered, too.
	if got := b.get(reworded(t, callback, func(q url.Values) { q.Set("code", "x"); q.Set("iss", "https://evil.example") })).body; got != helloAda {
		c.Errorf("page %q", got)
	}
	if got := b.session(); len(got) != 1 || got[0].Value != session[0].Value {
		c.Error("the session has changed")
	}
	other := s.browser(t)
	c.refused(other, other.get(callback), 400, "start-again", "no cookie of this attempt")
	bruno := s.browser(t)
	bruno.signIn(msauthtest.Bruno)
	c.calls(s, msauthtest.TokenCode, 2)
	c.refused(bruno, bruno.get(callback), 400, "start-again", "no cookie of this attempt")
	bruno.wantGreeting(helloBruno)
	// After signing out, the address opens nothing any more.
	b.still().get("/auth/logout", sameOrigin...)
	c.refused(b, b.get(callback), 400, "start-again", "no cookie of this attempt")
	c.calls(s, msauthtest.TokenCode, 2)
}

func TestCase006_AttemptsExpire(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		s.as(msauthtest.Ada)
		for _, wait := range []time.Duration{30*time.Minute + 2*time.Second, 5 * time.Hour, 23 * time.Hour} {
			b := s.browser(c.T)
			callback := b.attempt("/a?x=1")
			kept := b.cookies()
			time.Sleep(wait)
			for _, cookie := range kept { // a browser that keeps them for too long
				b.keep(cookie.Name, cookie.Value)
			}
			res := b.get(callback)
			c.refused(b, res, 400, "expired", "took too long")
			if !strings.Contains(res.body, `href="/auth/login?return_to=%2Fa%3Fx%3D1"`) || strings.Contains(res.body, "http-equiv") {
				c.Errorf("the page has no link to start again, or starts by itself: %s", res.body)
			}
		}
		// The key of the day before yesterday is gone: not even that it is old can be told.
		b := s.browser(c.T)
		callback := b.attempt("/a")
		time.Sleep(49 * time.Hour)
		c.refused(b, b.get(callback), 400, "start-again", "state is missing, altered or of another app")
	})
}

func TestCase006_AnAttemptLastsUntilThen(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T)
		s.as(msauthtest.Ada)
		// Microsoft's code is good for ten minutes from when the person has
		// signed in, so the slow part is before.
		b := s.browser(c.T)
		to := b.still().get("/a").Header.Get("Location")
		time.Sleep(29 * time.Minute)
		if got := b.get(to); got.body != helloAda {
			c.Errorf("after 29 minutes: %q", got.body)
		}
		c.calls(s, msauthtest.TokenCode, 1)
	})
}

func TestCase008_DuplicatedParametersAreRefused(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	good := b.attempt("/a")
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
		c.refused(b, b.get(good+test.add), 400, "start-again", test.reason)
	}
	// Before the good ones as well.
	c.refused(b, b.get(strings.Replace(good, "?", "?state=evil&", 1)), 400, "start-again", "state is repeated")
	c.refused(b, b.get(strings.Replace(good, "?", "?code=evil&", 1)), 400, "start-again", "code is repeated")

	// In the query and in a form.
	req, err := http.NewRequest(http.MethodPost, good, strings.NewReader("code=evil&state=evil"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if res := b.send(req); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Location") != "" {
		c.Errorf("a POST gets status %d", res.StatusCode)
	}
	c.calls(s, msauthtest.TokenCode, 0)
	if got := b.get(good).body; got != helloAda {
		c.Errorf("the right answer afterwards: %q", got)
	}
}

func TestCase009_ErrorAnswerNeedsState(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	s.as(msauthtest.Bruno)
	others := s.browser(t)
	foreign := others.attempt("/a")
	var state string
	reworded(t, foreign, func(q url.Values) { state = q.Get("state") })
	s.ms.ResetCalls()
	for _, query := range []url.Values{
		{"error": {"access_denied"}, "error_description": {"Call 555 0100 now"}},
		{"error": {"access_denied"}, "error_description": {"Call 555 0100 now"}, "state": {"x"}},
		{"error": {"access_denied"}, "error_description": {"Call 555 0100 now"}, "state": {state}},
		{"error": {"AADSTS50105"}, "error_description": {"AADSTS50105: Call 555 0100 now"}, "state": {state}},
	} {
		for _, b := range []*browser{b, s.browser(t)} {
			res := b.get("/auth/callback?" + query.Encode())
			if strings.Contains(res.body, "555 0100") || res.kind() == "declined" || res.kind() == "not-allowed" {
				c.Errorf("%v: the page is %q: %s", query, res.kind(), res.body)
			}
			reason := "state is missing"
			if query.Get("state") == state {
				reason = "no cookie of this attempt"
			}
			c.refused(b, res, 400, res.kind(), reason)
		}
	}
	if s.log.with("555 0100") != nil {
		c.Error("what a stranger sent is in the log as the provider's words")
	}
	c.silent(s)
	b.wantGreeting(helloAda)
}

func TestCase010_TextsOfAnErrorAnswerAreInert(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	hostile := "<script>alert(1)</script>\r\nSet-Cookie: x=y\nlevel=INFO msg=\"fake line\"\u202e\u2066evil\x00\x1b[31m\u2028\"'<!--" + strings.Repeat("A", 100<<10)
	for _, name := range []string{"access_denied", "server_error", "login_required", "invalid_request", hostile[:60] + "\u202e"} {
		b := s.browser(t)
		answer := b.attempt("/a")
		answer = reworded(t, answer, func(q url.Values) {
			q.Del("code")
			q.Set("error", name)
			q.Set("error_description", hostile)
			q.Set("error_uri", "javascript:alert(1)")
		})
		before := len(s.log.String())
		res := b.get(answer)
		c.refused(b, res, res.StatusCode, res.kind(), "err=")
		if res.StatusCode < 400 || res.StatusCode > 499 {
			c.Errorf("%q: status %d, want one of a client's error", name, res.StatusCode)
		}
		for _, text := range []string{"alert(1)", "evil", "AAAA", "fake line", "\u202e", "\x00", "\x1b", "javascript:"} {
			if strings.Contains(res.body, text) {
				c.Errorf("%q: the page holds %q", name, text)
			}
		}
		log := s.log.String()[before:]
		if strings.Count(log, "\n") != 1 || len(log) > 2000 || strings.ContainsAny(log, "\u202e\u2066\x00\x1b\u2028\r") {
			c.Errorf("%q: the log line has %d bytes, %d line breaks or characters that do not print: %q", name, len(log), strings.Count(log, "\n"), log)
		}
		b.wantGreeting(helloNobody)
	}
	c.calls(s, msauthtest.TokenCode, 0)
}
