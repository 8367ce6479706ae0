package e2e

import (
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// withAdmin makes Ada an administrator of the app.
func withAdmin(ms *msauthtest.Server) {
	for _, u := range ms.Users() {
		if u.SignInName == msauthtest.Ada {
			u.Roles = []string{"Admin"}
			ms.SetUser(u)
		}
	}
}

// signedInAs is an app whose administrator is Ada, and a tab of a person.
func signedInAs(t *testing.T, signInName string) (*msauthtest.Server, *app, *tab) {
	t.Helper()
	ms := newMicrosoft(t)
	withAdmin(ms)
	a := newApp(t, ms)
	b := newPerson(t)
	b.open(a.url)
	b.click("#sign-in")
	b.pick(signInName)
	b.at(a.url + "/")
	return ms, a, b
}

func TestAdminPageOfAnAdministrator(t *testing.T) {
	parallel(t)
	ms, a, b := signedInAs(t, msauthtest.Ada)
	b.click(".cards a[href='/admin']")
	b.at(a.url + "/admin")
	if got := b.text("#sign-ins"); got != "1" {
		t.Errorf("%s sign-ins, want 1", got)
	}
	b.look("admin")
	b.wantFetch("/api/admin", 200)
	b.open(a.url + "/session")
	b.click("#call-admin")
	b.shows("#api-result .good")
	wantAsked(t, ms, 1)
}

func TestAdminPageOfOthers(t *testing.T) {
	parallel(t)
	ms, a, b := signedInAs(t, msauthtest.Bruno)
	refused := func() {
		t.Helper()
		b.open(a.url + "/admin?x=1")
		b.onPage("not-allowed", 403)
	}
	refused()
	b.look("not-allowed")
	if id := b.text("p.id code"); len(id) < 8 || !a.log.contains(id) {
		t.Errorf("the page's id %q is not in the log", id)
	}
	b.click("main a[href='/']")
	b.at(a.url + "/")
	if got := b.text("#who"); got != "Bruno Okafor" {
		t.Errorf("signed in as %q", got)
	}
	if got := b.wantFetch("/api/admin", 403); !strings.Contains(got.Title, "may not use this page") {
		t.Errorf("a script is told %q", got.Title)
	}
	wantAsked(t, ms, 1) // signing in again would not change it

	b.open(a.url + "/session")
	b.click("#call-admin")
	b.shows("#api-result .bad")
	if got := b.text("#api-result"); !strings.Contains(got, "Status 403") || eval[bool](b, "!!document.querySelector('#api-sign-in')") {
		t.Errorf("the button shows %q", got)
	}
	b.look("session-403")

	refused()
	b.click("main a[href*='select_account']") // Use another account
	b.pick(msauthtest.Ada)
	b.at(a.url + "/admin?x=1")
	if got := b.text("#who"); got != "Ada Lindqvist" {
		t.Errorf("signed in as %q", got)
	}

	b.click("#switch-account")
	b.pick(msauthtest.Bruno)
	b.onPage("not-allowed", 403)
	b.click("main a[href='/auth/logout']") // Sign out
	b.at(a.url + "/auth/signed-out")
	if session, attempts, mark := b.appCookies(); len(session)+len(attempts)+len(mark) != 0 {
		t.Errorf("signed out: %d cookies of a session, %d of attempts, %d marks", len(session), len(attempts), len(mark))
	}
}

// A role that was given or taken away counts from the next sign-in on.
func TestAdminPageAfterTheRoleWasGiven(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.open(a.url + "/admin")
	b.onPage("not-allowed", 403)
	withAdmin(ms)
	b.click("main a[href*='select_account']")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/admin")
	b.shows("#sign-ins")
}

func TestAdminPageOfSomebodyWhoIsSignedOut(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	withAdmin(ms)
	a := newApp(t, ms)
	b := newPerson(t)
	b.open(a.url)
	b.shows("#sign-in")
	b.wantFetch("/api/admin", 401)
	b.open(a.url + "/admin")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/admin")
	wantAsked(t, ms, 1)
}
