package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/example/internal/webapp"
	"example.com/msauth/msauthtest"
)

// asked returns the authorization requests so far.
func (s *site) asked() []msauthtest.Call { return s.ms.Calls(msauthtest.Authorize) }

// lastAsked returns the last of n authorization requests.
func (s *site) lastAsked(n int) url.Values {
	s.t.Helper()
	calls := s.asked()
	if len(calls) != n {
		s.t.Fatalf("%d sign-ins so far, want %d", len(calls), n)
	}
	return calls[n-1].Query
}

// refused checks that this is the 403 that scripts get.
func (a *answer) refused() *answer {
	a.t.Helper()
	a.want(http.StatusForbidden, `"title":`, `"detail":`).lack("login_url")
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("Content-Type %q, want application/problem+json", got)
	}
	return a
}

func TestCalendar(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	if scope := s.lastAsked(1).Get("scope"); strings.Contains(scope, "Calendars") {
		t.Errorf("signing in asks for %q", scope)
	}

	a := b.get("/calendar").want(http.StatusOK, "2 March to 8 March 2026", "Monday, 2 March", "Site visit", "Harbour", "09:00 – 11:00",
		"Tuesday, 3 March", "Lunch with Priya", "Friday, 6 March", "Report is due", "stand-in’s users have appointments in March 2026")
	if strings.Count(a.body, `class="card day"`) != 3 || strings.Index(a.body, "Weekly meeting") > strings.Index(a.body, "Lunch with Priya") {
		t.Errorf("not three days in order:\n%s", a.body)
	}
	q := s.lastAsked(2)
	if !slices.Contains(strings.Fields(q.Get("scope")), "Calendars.Read") || q.Get("prompt") != "" || q.Get("login_hint") == "" {
		t.Errorf("the first visit asks for %v, want Calendars.Read of the same person", q)
	}
	b.get("/session").want(http.StatusOK, "Calendars.Read", "Files.Read")

	// From here on Microsoft does not ask.
	b.get(a.href(`id="week-after" href="([^"]+)"`)).want(http.StatusOK, "9 March to 15 March 2026", "No appointments this week")
	b.get(a.href(`id="week-before" href="([^"]+)"`)).want(http.StatusOK, "23 February to 1 March 2026")
	b.get("/calendar?from=2026-03-04").want(http.StatusOK, "Report is due").lack("Site visit")
	for _, from := range []string{"yesterday", "2026-02-30", "2026-03-04T00:00:00Z", "9999-12-31", "0001-01-01"} {
		b.get("/calendar?from="+from).want(http.StatusNotFound, "Not found")
		b.get("/api/calendar?from="+from, s.script()...).want(http.StatusNotFound, `"title"`)
	}
	var got week
	api := b.get("/api/calendar", s.script()...).want(http.StatusOK)
	if err := json.Unmarshal([]byte(api.body), &got); err != nil || len(got.Appointments) != 4 ||
		got.Appointments[0] != (appointment{Subject: "Site visit", Place: "Harbour", Start: got.From.Add(9 * time.Hour), End: got.From.Add(11 * time.Hour)}) {
		t.Errorf("%s: %v", api.body, err)
	}
	b.get("/files").want(http.StatusOK, "Shopping list.txt")
	s.lastAsked(2)
}

func TestCalendarForScripts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	link := b.get("/api/calendar", s.script()...).loginURL()
	s.lastAsked(1)
	back := b.get(link).want(http.StatusOK, "Calendars.Read")
	if back.Request.URL.Path != "/session" {
		t.Errorf("login_url leads to %s, want /session", back.Request.URL)
	}
	own := strings.Fields(s.asked()[0].Query.Get("scope"))
	more := strings.Fields(s.lastAsked(2).Get("scope"))
	if more = slices.DeleteFunc(more, func(scope string) bool { return slices.Contains(own, scope) }); !slices.Equal(more, []string{"Calendars.Read"}) {
		t.Errorf("login_url asks for %q more, want Calendars.Read alone", more)
	}
	b.get("/api/calendar", s.script()...).want(http.StatusOK, "Site visit")
	b.get("/calendar").want(http.StatusOK, "Site visit")
	s.lastAsked(2)
}

// Users who do not get the permission see a page, stay signed in, and are not
// redirected in a loop.
func TestCalendarRefused(t *testing.T) {
	t.Parallel()
	calendar := []string{"Calendars.Read"}
	for name, tt := range map[string]struct {
		refuse func(*msauthtest.Behavior)
		page   string
	}{
		"by the person":        {func(b *msauthtest.Behavior) { b.RefuseScopes = calendar }, "msauth-declined"},
		"by the administrator": {func(b *msauthtest.Behavior) { b.AdminScopes = calendar }, "Only an administrator"},
		"without a word":       {func(b *msauthtest.Behavior) { b.WithholdScopes = calendar }, "msauth-not-granted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			b := s.signedIn()
			s.ms.Set(tt.refuse)
			a := b.get("/calendar").want(http.StatusForbidden, tt.page, "You are still signed in")
			s.lastAsked(2)
			b.get("/files").want(http.StatusOK, "Shopping list.txt")
			s.lastAsked(2)

			again := a.href(`href="([^"]+)"[^>]*>Ask me again<`)
			b.get(again).want(http.StatusForbidden, tt.page)
			s.lastAsked(3)
			s.ms.Set(func(b *msauthtest.Behavior) { b.RefuseScopes, b.AdminScopes, b.WithholdScopes = nil, nil, nil })
			b.get(again).want(http.StatusOK, "Site visit")
			s.lastAsked(4)
		})
	}

	t.Run("scripts", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		b := s.signedIn()
		s.ms.Set(func(b *msauthtest.Behavior) { b.WithholdScopes = calendar })
		b.get(b.get("/api/calendar", s.script()...).loginURL()).want(http.StatusOK, `id="who"`) // back on the session page
		b.get("/api/calendar", s.script()...).refused()
		s.lastAsked(2)
	})
}

func TestCalendarOfGraph(t *testing.T) {
	t.Parallel()
	var asked string
	answer := `{"value":[
		{"subject":"Fair","start":{"dateTime":"2026-02-27T00:00:00.0000000","timeZone":"UTC"},"end":{"dateTime":"2026-03-04T00:00:00.0000000","timeZone":"UTC"},"isAllDay":true},
		{"subject":"<b>Night shift</b>","start":{"dateTime":"2026-03-03T22:00:00","timeZone":"UTC"},"end":{"dateTime":"2026-03-04T06:00:00","timeZone":"UTC"},"location":{"displayName":"Plant"}},
		{"start":{"dateTime":"2026-03-08T09:00:00","timeZone":"UTC"},"end":{"dateTime":"2026-03-08T09:00:00","timeZone":"UTC"}}]}`
	a, serve := stubbed(t, someToken, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path + "?" + r.URL.RawQuery
		io.WriteString(w, answer)
	})
	body := serve(a.page(a.calendar), "/calendar?from=2026-03-02").Body.String()
	for _, want := range []string{"Monday, 2 March", "All day", "Tuesday, 3 March", "22:00 – 4 Mar, 06:00", "&lt;b&gt;Night shift", "Plant", "Sunday, 8 March", "No subject", "09:00 – 09:00"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in\n%s", want, body)
		}
	}
	if want := "/me/calendarView?$orderby=start%2FdateTime&$select=subject%2Cstart%2Cend%2CisAllDay%2Clocation&$top=100&endDateTime=2026-03-09T00%3A00%3A00Z&startDateTime=2026-03-02T00%3A00%3A00Z"; asked != want {
		t.Errorf("asked Graph for %s, want %s", asked, want)
	}

	// With the real Microsoft it is the coming week.
	real := &settings{Settings: webapp.Settings{Graph: "https://graph.microsoft.com/v1.0"}}
	if got, now := real.firstDay(), time.Now().UTC(); got.After(now) || now.Sub(got) > 24*time.Hour+time.Minute {
		t.Errorf("the calendar opens with %v", got)
	}

	for _, text := range []string{`{"value":[{"start":{"dateTime":"soon"}}]}`, `{"value":[{"start":{"dateTime":"2026-03-03T22:00:00"}}]}`} {
		answer = text
		if w := serve(a.page(a.calendar), "/calendar"); w.Code != http.StatusBadGateway {
			t.Errorf("%s: status %d, want %d", text, w.Code, http.StatusBadGateway)
		}
	}
	a, serve = stubbed(t, someToken, http.NotFound)
	if w := serve(a.page(a.calendar), "/calendar"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "No calendar found") {
		t.Errorf("no mailbox: status %d\n%s", w.Code, w.Body)
	}
}

// since makes ID tokens say that the password was entered that long ago, as after
// a day of being signed in at Microsoft.
func since(ms *msauthtest.Server, ago time.Duration) {
	ms.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["auth_time"] = time.Now().Add(-ago).Unix() }
	})
}

func TestSecurity(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	since(s.ms, time.Hour)
	b := s.signedIn()
	since(s.ms, 0)
	b.get("/security").want(http.StatusOK, "What this app stores about you", "within 5 minutes",
		msauthtest.TenantContoso+".8342b3fe-9359-4c66-8314-5ba888da8409", "ada@contoso.example", "Files.Read")
	if q := s.lastAsked(2); q.Get("prompt") != "login" || q.Get("max_age") != "300" || q.Get("login_hint") == "" {
		t.Errorf("asked with %v, want prompt=login, max_age=300 and who it is", q)
	}
	var got personalData
	api := b.get("/api/security", s.script()...).want(http.StatusOK)
	if err := json.Unmarshal([]byte(api.body), &got); err != nil || got.Username != msauthtest.Ada || got.Object == "" || len(got.Scopes) == 0 {
		t.Errorf("%s: %v", api.body, err)
	}
	s.lastAsked(2)
}

func TestSecurityForScripts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	since(s.ms, time.Hour)
	b := s.signedIn()
	link := b.get("/api/security", s.script()...).loginURL()
	since(s.ms, 0)
	back := b.get(link).want(http.StatusOK, `id="who"`)
	if q := s.lastAsked(2); back.Request.URL.Path != "/session" || q.Get("prompt") != "login" || q.Get("max_age") != "300" {
		t.Errorf("login_url leads to %s and asks with %v, want /session and a fresh sign-in", back.Request.URL, q)
	}
	b.get("/api/security", s.script()...).want(http.StatusOK, `"account":`)
}

// A password entered an hour ago, or at an unknown time, is not enough.
func TestSecurityRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		prepare func(*msauthtest.Server)
		page    []string
	}{
		"not asked":    {func(ms *msauthtest.Server) { since(ms, time.Hour) }, []string{"msauth-not-enough", "You were not asked to sign in again"}},
		"nobody knows": {func(ms *msauthtest.Server) { ms.Set(func(b *msauthtest.Behavior) { b.OmitAuthTime = true }) }, []string{"msauth-no-auth-time", "auth_time"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			tt.prepare(s.ms)
			b := s.signedIn()
			b.get("/security").want(http.StatusForbidden, append(tt.page, "You are still signed in as before")...)
			s.lastAsked(2)
			b.get("/api/security", s.script()...).want(http.StatusUnauthorized)
			b.get("/files").want(http.StatusOK, "Shopping list.txt")
			s.lastAsked(2)
		})
	}
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn() // Ada
	b.get("/admin").want(http.StatusOK, "Sign-ins and sessions", `<dd id="sign-ins">1</dd>`)
	b.get("/api/admin", s.script()...).want(http.StatusOK, `"signIns":1`, `"renewalsFailed":{}`)

	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Grace })
	grace := s.signedIn()
	a := grace.get("/admin").want(http.StatusForbidden, "This account may not use this page", "Use another account", "Sign out")
	grace.get("/api/admin", s.script()...).refused()
	grace.get("/files").want(http.StatusOK, "Welcome, Grace.txt")
	s.lastAsked(2)

	// Another account has the role.
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	grace.get(a.href(`href="([^"]+)"[^>]*>Use another account<`)).want(http.StatusOK, "Sign-ins and sessions", `<span id="who">Ada Lindqvist</span>`)
	if q := s.lastAsked(3); q.Get("prompt") != "select_account" {
		t.Errorf("use another account asks with %v", q)
	}
}

// Graph requires another token: one that a renewal can bring is fetched, one that
// requires the user leads to Microsoft once.
func TestGraphChallenges(t *testing.T) {
	t.Parallel()
	t.Run("a newer token", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		b := s.signedIn()
		s.ms.Challenge(msauthtest.Challenge{})
		b.get("/files").want(http.StatusOK, "Shopping list.txt")
		b.get("/api/me", s.script()...).want(http.StatusOK)
		s.lastAsked(1)
		if n := s.ms.Count(msauthtest.TokenRefresh); n != 1 {
			t.Errorf("%d renewals, want 1", n)
		}
	})
	t.Run("a stronger sign-in", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		b := s.signedIn()
		s.ms.Challenge(msauthtest.Challenge{ACRS: "c1"})
		a := b.get("/files?x=1").want(http.StatusOK, "Shopping list.txt")
		if q := s.lastAsked(2); a.Request.URL.RequestURI() != "/files?x=1" || !strings.Contains(q.Get("claims"), `"value":"c1"`) {
			t.Errorf("came to %s by %v, want /files?x=1 by way of c1", a.Request.URL, q)
		}
		b.get("/profile").want(http.StatusOK, "Structural engineer")
		s.lastAsked(2)
	})
	t.Run("a stronger sign-in for a script", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		b := s.signedIn()
		s.ms.Challenge(msauthtest.Challenge{ACRS: "c1"})
		link := b.get("/api/me", s.script()...).loginURL()
		s.lastAsked(1)
		if back := b.get(link).want(http.StatusOK); back.Request.URL.Path != "/session" || !strings.Contains(s.lastAsked(2).Get("claims"), `"value":"c1"`) {
			t.Errorf("login_url leads to %s by %v, want /session by way of c1", back.Request.URL, s.lastAsked(2))
		}
		b.get("/api/me", s.script()...).want(http.StatusOK, "Ada Lindqvist")
	})
	for name, tt := range map[string]struct {
		demand msauthtest.Challenge
		set    func(*msauthtest.Behavior)
		page   string
	}{
		"never content":        {msauthtest.Challenge{ACRS: "c1", Forever: true}, func(*msauthtest.Behavior) {}, "msauth-not-enough"},
		"Microsoft is deaf":    {msauthtest.Challenge{ACRS: "c1"}, func(b *msauthtest.Behavior) { b.IgnoreClaims = true }, "msauth-not-enough"},
		"the person would not": {msauthtest.Challenge{ACRS: "c1"}, func(b *msauthtest.Behavior) { b.RefuseMFA = true }, "msauth-declined"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			b := s.signedIn()
			s.ms.Challenge(tt.demand)
			s.ms.Set(tt.set)
			b.get("/files").want(http.StatusForbidden, tt.page)
			s.lastAsked(2)
			b.get("/session").want(http.StatusOK, "Ada Lindqvist")
			b.get("/").want(http.StatusOK, "Hello, Ada")
			s.lastAsked(2)
		})
	}
}
