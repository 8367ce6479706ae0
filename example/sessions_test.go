package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/sharedtest"
)

const (
	firefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
	safari  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)

// signedInWith is a browser that calls itself agent, in which Ada has signed in.
func (s *site) signedInWith(agent string) *browser {
	s.t.Helper()
	b := s.browser()
	b.get("/session", "User-Agent", agent).want(http.StatusOK, `id="who"`)
	return b
}

// ours are the headers of a form on a page of the site.
func (s *site) ours() []string {
	return []string{"Origin", s.URL, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
}

// post posts a form with an id.
func (b *browser) post(path, id string, headers ...string) *answer {
	b.site.t.Helper()
	return b.submit(path, url.Values{"id": {id}}, append([]string{"Sec-Fetch-Site", ""}, headers...)...)
}

const otherID = `name="id" value="([^"]+)"`

// wantSignedOut checks that the browser's next page is the sign-in, by what is asked
// for and not by what a browser without a cookie would be told.
func (b *browser) wantSignedOut() {
	b.site.t.Helper()
	b.get("/").want(http.StatusOK, `id="sign-in"`).lack(`id="who"`)
	still := *b.Client
	still.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a := (&browser{&still, b.site}).get("/sessions")
	if to := a.Header.Get("Location"); a.StatusCode/100 != 3 || !strings.HasPrefix(to, b.site.ms.URL+"/") {
		b.site.t.Errorf("/sessions: status %d to %q, want a redirect to the provider", a.StatusCode, to)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	here, phone := s.signedInWith(firefox), s.signedInWith(safari)
	unknown := s.signedIn()
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Mia })
	mia := s.signedInWith(firefox)

	a := here.get("/sessions").want(http.StatusOK, "Firefox on Windows", "Safari on iPhone", "Unknown browser", "This browser", "Last used</dt> <dd>now",
		`aria-label="Sign out Safari on iPhone, signed in `, `href="/auth/logout" aria-label="Sign out of this browser`, time.Now().UTC().Format("2 Jan 2006, 15:")).lack("Mia")
	if n := strings.Count(a.body, `action="/sessions/end"`); n != 2 {
		t.Errorf("%d other sessions, want 2:\n%s", n, a.body)
	}
	others := a.body[strings.Index(a.body, `id="others"`):]
	if strings.Contains(others, "Firefox") {
		t.Errorf("this browser is among the others:\n%s", others)
	}
	mia.get("/sessions").want(http.StatusOK, "No other browser is in the list.")
	here.get("/").want(http.StatusOK, `href="/sessions"`)
	here.get("/session").want(http.StatusOK, `<a href="/sessions">Where you are signed in</a>`)

	// Each ends what is their own.
	entry := others[strings.Index(others, "Safari on iPhone"):]
	id := (&answer{a.Response, t, entry}).href(otherID)
	mia.post("/sessions/end", id, s.ours()...).want(http.StatusOK, "That browser was signed out already.").lack("Safari")
	phone.get("/sessions").want(http.StatusOK, "Safari on iPhone")
	back := here.post("/sessions/end", id, s.ours()...).want(http.StatusOK, "That browser is signed out.", `role="status"`, "Unknown browser").lack("Safari on iPhone")
	if back.Request.URL.Path != "/sessions" {
		t.Errorf("the form leads to %s", back.Request.URL)
	}
	phone.wantSignedOut()
	here.post("/sessions/end", id, s.ours()...).want(http.StatusOK, "That browser was signed out already.")
	for _, id := range []string{"", "x", strings.Repeat("0", 32)} {
		here.post("/sessions/end", id, s.ours()...).want(http.StatusOK, "That browser was signed out already.")
	}
	unknown.get("/session").want(http.StatusOK, `id="who"`)
	here.post("/sessions/end", strings.Repeat("x", 5<<10), s.ours()...).want(http.StatusBadRequest, "The form could not be read.")
	phone.post("/sessions/end", id, s.ours()...).want(http.StatusUnauthorized, "msauth-sign-in-required")
}

// A page may be older than the session: its list of others then has this one.
func TestOwnSessionIsNotEndedByTheForm(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b, other := s.signedInWith(firefox), s.signedInWith(safari)
	id := other.get("/sessions").href(otherID)
	a := b.post("/sessions/end", id, s.ours()...).want(http.StatusConflict, "This is the browser that you are using", `id="sign-out"`)
	if again := a.href(`id="switch-account" href="([^"]+)"`); strings.Contains(again, "sessions%2Fend") {
		t.Errorf("a sign-in leads to %s", again)
	}
	b.get("/session").want(http.StatusOK, `id="who"`)

	out := b.get("/sessions").href(`class="button quiet" href="([^"]+)" aria-label="Sign out of this browser`)
	b.get(out, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document").want(http.StatusOK, "You are signed out")
	if n := s.ms.Count(msauthtest.Logout); n != 1 {
		t.Errorf("%d requests to the end-session endpoint, want 1", n)
	}
	other.get("/sessions").want(http.StatusOK, "No other browser is in the list.")
}

func TestEndSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	here, phone := s.signedInWith(firefox), s.signedInWith(safari)
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Mia })
	mia := s.signedInWith(firefox)

	a := here.post("/sessions/end-all", "", s.ours()...).want(http.StatusOK, "You are signed out everywhere", "this browser too", "Sign in again").lack(`id="who"`, "other servers")
	here.wantSignedOut()
	phone.wantSignedOut()
	mia.get("/session").want(http.StatusOK, "Mia")
	if n := s.ms.Count(msauthtest.Logout); n != 0 {
		t.Errorf("%d requests to the end-session endpoint, want none yet", n)
	}
	here.get(a.href(`id="sign-out-at-microsoft" href="([^"]+)"`), "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document").
		want(http.StatusOK, "You are signed out")
	if n := s.ms.Count(msauthtest.Logout); n != 1 {
		t.Errorf("%d requests to the end-session endpoint, want 1", n)
	}
	here.post("/sessions/end-all", "", s.ours()...).want(http.StatusUnauthorized, "msauth-sign-in-required")
}

func TestFormsOfOtherSites(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	here, phone := s.signedInWith(firefox), s.signedInWith(safari)
	id := here.get("/sessions").href(otherID)
	for name, headers := range map[string][]string{
		"cross-site":                {"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"},
		"same-site":                 {"Origin", "http://other.localhost", "Sec-Fetch-Site", "same-site"},
		"an old browser's":          {"Origin", "https://evil.example"},
		"without a word, sandboxed": {"Origin", "null"},
	} {
		for _, path := range []string{"/sessions/end", "/sessions/end-all"} {
			a := here.post(path, id, headers...)
			if a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "posted by another site") {
				t.Errorf("%s, %s: status %d\n%s", path, name, a.StatusCode, a.body)
			}
		}
	}
	here.get("/sessions/end").want(http.StatusNotFound)
	here.get("/sessions/end-all").want(http.StatusNotFound)
	here.get("/session").want(http.StatusOK, `id="who"`)
	phone.get("/session").want(http.StatusOK, `id="who"`)
}

// Sessions outlive the program if its keys do; the list is in its memory.
func TestSessionsAfterARestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedInWith(firefox)
	second := newSite(t, func(set *settings, _ *msauthtest.Server) { // another process, on the same address as far as msauth knows
		set.Auth = s.set.Auth
	})
	u, _ := url.Parse(s.URL)
	after := second.browser()
	u2, _ := url.Parse(second.URL)
	after.Jar.SetCookies(u2, b.Jar.Cookies(u))
	after.get("/sessions").want(http.StatusOK, "This browser", "Signed in</dt>", "Last used</dt> <dd>now", "No other browser is in the list.").lack("<h3>", "Firefox")
	after.post("/sessions/end", "", second.ours()...).want(http.StatusOK, "was signed out already")
	after.get("/sessions").want(http.StatusOK, `id="current"`)
	after.post("/sessions/end-all", "", second.ours()...).want(http.StatusOK, "You are signed out everywhere")
	after.get("/").want(http.StatusOK, `id="sign-in"`)
}

// failing is a Shared whose writes, or all calls, fail on demand.
type failing struct {
	msauth.Shared
	writes, reads atomic.Bool
}

var errDown = errors.New("the shared store is down")

func (f *failing) Append(ctx context.Context, log string, entry []byte, life time.Duration) (uint64, error) {
	if f.writes.Load() {
		return 0, errDown
	}
	return f.Shared.Append(ctx, log, entry, life)
}

func (f *failing) Read(ctx context.Context, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
	if f.reads.Load() {
		return nil, errDown
	}
	return f.Shared.Read(ctx, log, after, wait)
}

func TestSessionsWithoutTheSharedStore(t *testing.T) {
	t.Parallel()
	down := &failing{Shared: sharedtest.New()}
	s := newSite(t, func(set *settings, _ *msauthtest.Server) { set.Auth.Shared = down })
	here, phone, third := s.signedInWith(firefox), s.signedInWith(safari), s.signedIn()
	a := here.get("/sessions").want(http.StatusOK, "Safari on iPhone", "Unknown browser")
	id := (&answer{a.Response, t, a.body[strings.Index(a.body, "Safari on iPhone"):]}).href(otherID)

	down.writes.Store(true)
	here.post("/sessions/end", id, s.ours()...).want(http.StatusAccepted, "That browser is signed out here", "other servers cannot be reached", `id="who"`)
	phone.wantSignedOut()
	third.get("/session").want(http.StatusOK, `id="who"`)

	down.reads.Store(true)
	here.get("/sessions").want(http.StatusServiceUnavailable, "The list of your sessions is not available", `href="/sessions">Try again`)
	here.post("/sessions/end", id, s.ours()...).want(http.StatusServiceUnavailable, "Nothing has changed", `href="/sessions">Try again`)
	third.get("/session").want(http.StatusOK, `id="who"`)

	here.post("/sessions/end-all", "", s.ours()...).want(http.StatusAccepted, "You are signed out everywhere", "other servers cannot be reached").lack(`id="who"`)
	here.wantSignedOut()
	third.wantSignedOut()
	for _, text := range []string{"the shared store is down", "ended on this server only"} {
		if !strings.Contains(s.log.String(), text) {
			t.Errorf("the log lacks %q", text)
		}
	}
}
