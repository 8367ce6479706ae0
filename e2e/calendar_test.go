package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"

	"example.com/msauth/msauthtest"
)

// An answer is what a script of the page gets.
type answer struct {
	Status   int
	Type     string
	Title    string
	LoginURL string
}

// fetch asks as a script of the page that the tab shows.
func (b *tab) fetch(path string) answer {
	b.t.Helper()
	return eval[answer](b, `(async () => {
		const res = await fetch(`+quote(path)+`, {headers: {Accept: "application/json"}});
		const doc = await res.json();
		return {Status: res.status, Type: res.headers.get("Content-Type"), Title: doc.title ?? "", LoginURL: doc.login_url ?? ""};
	})()`)
}

// wantFetch fetches and expects a status; an error must be a problem document.
func (b *tab) wantFetch(path string, status int) answer {
	b.t.Helper()
	a := b.fetch(path)
	if problem := a.Type == "application/problem+json"; a.Status != status || problem != (status >= 400) || problem != (a.Title != "") || (status == 401) != (a.LoginURL != "") {
		b.t.Errorf("fetching %s gives %+v, want status %d", path, a, status)
	}
	return a
}

// follow goes to an address as a script of the page does.
func (b *tab) follow(url string) {
	b.t.Helper()
	eval[bool](b, "setTimeout(() => location.assign("+quote(url)+")), true")
}

// wantAsked expects so many requests to sign in since the app was started.
func wantAsked(t testing.TB, ms *msauthtest.Server, n int) {
	t.Helper()
	if got := ms.Count(msauthtest.Authorize); got != n {
		t.Errorf("%d requests to sign in so far, want %d", got, n)
	}
}

// onPage waits for one of the pages of the package, with a status.
func (b *tab) onPage(kind string, status int64) {
	b.t.Helper()
	b.shows("#msauth-" + kind)
	if got := b.status(); got != status {
		b.t.Errorf("the page %s has status %d, want %d", kind, got, status)
	}
}

// stillSignedIn opens a page that asks nothing of Graph.
func (b *tab) stillSignedIn(a *app) {
	b.t.Helper()
	b.open(a.url + "/session")
	b.at(a.url + "/session")
	if got := b.text("#who"); got != "Ada Lindqvist" {
		b.t.Errorf("signed in as %q", got)
	}
}

// texts are those of all elements.
func (b *tab) texts(selector string) []string {
	b.t.Helper()
	b.shows(selector)
	return eval[[]string](b, "[...document.querySelectorAll("+quote(selector)+")].map(e => e.innerText)")
}

// consent agrees to one scope on the provider's page.
func (b *tab) consent(scope string) {
	b.t.Helper()
	b.shows("button#accept")
	if got := b.texts("ul#scopes li"); !slices.Equal(got, []string{"https://graph.microsoft.com/" + scope}) {
		b.t.Errorf("asked to agree to %q, want %s alone", got, scope)
	}
	b.click("button#accept")
}

func TestCalendarIsAskedForOnTheFirstVisit(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.click("nav a[href='/calendar']")
	b.shows("button#accept")
	b.look("consent")
	b.consent("Calendars.Read")
	b.at(a.url + "/calendar")
	if got := b.texts(".what"); !slices.Equal(got, []string{"Site visit", "Weekly meeting", "Lunch with Priya", "Report is due"}) {
		t.Errorf("appointments: %q", got)
	}
	b.look("calendar")
	wantAsked(t, ms, 2)

	// Once and for all, and nothing else is lost.
	for _, page := range []string{"/files", "/profile", "/calendar", "/session", "/calendar"} {
		b.click("nav a[href='" + page + "']")
		b.at(a.url + page)
		b.shows("#who")
		if b.status() != 200 {
			t.Errorf("%s: status %d", page, b.status())
		}
	}
	b.wantFetch("/api/calendar", 200)
	b.click("#week-after")
	b.at(a.url + "/calendar?from=2026-03-09")
	b.shows(".empty")
	b.look("calendar-empty")
	wantAsked(t, ms, 2)

	// Nor after signing out and in again: Microsoft remembers.
	b.click("#sign-out")
	b.at(a.url + "/auth/signed-out")
	b.open(a.url + "/calendar?from=2026-03-04")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/calendar?from=2026-03-04")
	if got := b.texts(".what"); !slices.Equal(got, []string{"Report is due"}) {
		t.Errorf("appointments: %q", got)
	}
}

func TestCalendarOfSomebodyWhoIsSignedOut(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	a := newApp(t, ms)
	b := newPerson(t)
	b.open(a.url + "/calendar?from=2026-03-03&x=%2F")
	b.pick(msauthtest.Mia)
	b.until("location.pathname === '/calendar' || document.querySelector('button#accept')")
	if eval[bool](b, "location.pathname !== '/calendar'") {
		b.click("button#accept")
	}
	b.at(a.url + "/calendar?from=2026-03-03&x=%2F")
	if got := b.texts(".what"); len(got) != 3 {
		t.Errorf("appointments: %q", got)
	}
	if got := ms.Count(msauthtest.Authorize); got > 2 {
		t.Errorf("%d requests to sign in", got)
	}
}

func TestCalendarWithoutScripts(t *testing.T) {
	parallel(t)
	a := newApp(t, newMicrosoft(t))
	b := newPerson(t)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open(a.url + "/session")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/session")
	b.click("#call-calendar") // opens the API as a page, by way of the question
	b.consent("Calendars.Read")
	b.at(a.url + "/api/calendar")
	if got := b.body(); !strings.Contains(got, "Lunch with Priya") {
		t.Errorf("/api/calendar shows %q", got)
	}
	b.open(a.url + "/calendar")
	b.click("#week-before")
	b.at(a.url + "/calendar?from=2026-02-23")
	b.shows(".empty")
}

func TestCalendarAskedByAScript(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	t.Run("with the button", func(t *testing.T) {
		b.open(a.url + "/session")
		b.click("#call-calendar")
		b.shows("#api-result .bad")
		if got := b.text("#api-result"); !strings.Contains(got, "Status 401") {
			t.Errorf("the button shows %q", got)
		}
		b.look("session-401-permission")
		wantAsked(t, ms, 1) // no script starts a sign-in
		b.click("#api-sign-in")
		b.consent("Calendars.Read")
		b.at(a.url + "/session")
		if got := b.text("#scopes"); !strings.Contains(got, "Calendars.Read") {
			t.Errorf("may do %q", got)
		}
		b.click("#call-calendar")
		b.shows("#api-result .good")
		if got := b.text("#api-result"); !strings.Contains(got, "Lunch with Priya") {
			t.Errorf("the button shows %q", got)
		}
		wantAsked(t, ms, 2)
	})
	t.Run("from any page", func(t *testing.T) {
		other := newPerson(t)
		other.open(a.url + "/files?x=1&y=%2F")
		other.pick(msauthtest.Grace)
		other.at(a.url + "/files?x=1&y=%2F")
		refused := other.wantFetch("/api/calendar", 401)
		other.follow(refused.LoginURL)
		other.consent("Calendars.Read")
		other.at(a.url + "/files?x=1&y=%2F")
		other.wantFetch("/api/calendar", 200)
		wantAsked(t, ms, 4)
	})
}

func TestCalendarRefusedByThePerson(t *testing.T) {
	parallel(t)
	for _, how := range []string{"cancel", "refuse"} {
		t.Run(how, func(t *testing.T) {
			ms, a, b := signedIn(t)
			b.open(a.url + "/calendar?from=2026-03-02")
			b.click("button#" + how)
			b.onPage("declined", 403)
			b.look("declined-more-" + how)
			wantAsked(t, ms, 2)
			if id := b.text("p.id code"); len(id) < 8 || !a.log.contains(id) {
				t.Errorf("the page's id %q is not in the log", id)
			}
			if session, attempts, _ := b.appCookies(); len(session) != 1 || len(attempts) != 0 {
				t.Errorf("%d session cookies and %d of attempts, want 1 and 0", len(session), len(attempts))
			}
			b.click("main a[href='/']")
			b.at(a.url + "/")
			b.shows("#who")
			b.click("nav a[href='/files']")
			b.shows("#files")
			wantAsked(t, ms, 2)

			// Whoever thinks better of it gets where they were going.
			b.click("nav a[href='/calendar']")
			b.click("button#" + how)
			b.onPage("declined", 403)
			b.click("main a[href='/calendar']") // Ask me again
			b.consent("Calendars.Read")
			b.at(a.url + "/calendar")
			b.shows(".appointments")
			wantAsked(t, ms, 4)
		})
	}
}

func TestCalendarNeverGrantedEndsOnAPage(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	ms.Set(func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Calendars.Read"} })
	b.click("nav a[href='/calendar']")
	b.onPage("not-granted", 403)
	b.at(a.url + "/calendar")
	b.look("not-granted")
	wantAsked(t, ms, 2)
	b.reload()
	b.onPage("not-granted", 403)
	wantAsked(t, ms, 2)
	b.stillSignedIn(a)
	b.wantFetch("/api/calendar", 403)
	wantAsked(t, ms, 2)

	b.open(a.url + "/calendar")
	b.click("main a[href^='/auth/login']") // Ask me again
	b.until("document.querySelector('#msauth-not-granted')")
	if eventually(t.Context(), func() bool { return ms.Count(msauthtest.Authorize) == 3 }) != nil {
		t.Errorf("%d requests to sign in after asking again, want 3", ms.Count(msauthtest.Authorize))
	}
	b.onPage("not-granted", 403)
	ms.Set(func(b *msauthtest.Behavior) { b.WithholdScopes = nil })
	b.click("main a[href^='/auth/login']")
	b.consent("Calendars.Read")
	b.at(a.url + "/calendar")
	b.shows(".appointments")
	wantAsked(t, ms, 4)
}

func TestCalendarThatTakesAnAdministrator(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	ms.Set(func(b *msauthtest.Behavior) { b.AdminScopes = []string{"Calendars.Read"} })
	b.click("nav a[href='/calendar']")
	b.consent("Calendars.Read")
	b.shows("button#return")
	b.look("admin-approval")
	b.click("button#return")
	b.onPage("declined", 403)
	if got := b.text("main p"); !strings.Contains(got, "administrator of your organization") {
		t.Errorf("the page says %q", got)
	}
	b.look("declined-more-administrator")
	wantAsked(t, ms, 2)
	b.stillSignedIn(a)
	wantAsked(t, ms, 2)

	ms.Consent(msauthtest.Ada, "Calendars.Read") // the administrator agrees
	b.click("nav a[href='/calendar']")
	b.at(a.url + "/calendar")
	b.shows(".appointments")
	wantAsked(t, ms, 3)
}
