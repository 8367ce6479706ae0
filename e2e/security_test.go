package e2e

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// signedInLongAgo is signedIn of somebody who has been signed in at Microsoft
// for an hour: the password was not asked for when they came here. It stays so
// until fresh is called.
func signedInLongAgo(t *testing.T) (ms *msauthtest.Server, a *app, b *tab, fresh func()) {
	t.Helper()
	ms = newMicrosoft(t)
	ms.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["auth_time"] = time.Now().Add(-time.Hour).Unix()
		}
	})
	a = newApp(t, ms)
	b = newPerson(t)
	b.open(a.url)
	b.click("#sign-in")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/")
	return ms, a, b, func() { ms.Set(func(b *msauthtest.Behavior) { b.IDToken = nil }) }
}

// wantFreshAsked expects that the latest sign-in asked this very person for
// the password.
func wantFreshAsked(t testing.TB, ms *msauthtest.Server) {
	t.Helper()
	calls := ms.Calls(msauthtest.Authorize)
	if q := calls[len(calls)-1].Query; q.Get("prompt") != "login" || q.Get("max_age") != "300" || q.Get("login_hint") == "" {
		t.Errorf("asked with %v, want prompt=login, max_age=300 and a login_hint", q)
	}
}

func TestSecurityOfAFreshSignInAsksNothing(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.click(".cards a[href='/security']")
	b.at(a.url + "/security")
	if got := b.text("#account"); !strings.HasPrefix(got, msauthtest.TenantContoso+".") {
		t.Errorf("account %q", got)
	}
	b.look("security")
	b.wantFetch("/api/security", 200)
	wantAsked(t, ms, 1)
}

func TestSecurityAsksForThePasswordAgain(t *testing.T) {
	parallel(t)
	ms, a, b, fresh := signedInLongAgo(t)
	fresh()
	b.click(".cards a[href='/security']")
	b.shows("button[name=user][data-hinted]")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/security")
	b.shows("#account")
	wantFreshAsked(t, ms)
	wantAsked(t, ms, 2)
	// For a while.
	b.click("nav a[href='/files']")
	b.shows("#files")
	b.open(a.url + "/security")
	b.at(a.url + "/security")
	b.wantFetch("/api/security", 200)
	wantAsked(t, ms, 2)
}

func TestSecurityCancelled(t *testing.T) {
	parallel(t)
	ms, a, b, fresh := signedInLongAgo(t)
	fresh()
	b.open(a.url + "/security")
	b.click("button#cancel")
	b.onPage("declined", 403)
	b.stillSignedIn(a)
	b.wantFetch("/api/security", 401)
	wantAsked(t, ms, 2)
}

func TestSecurityAskedByAScript(t *testing.T) {
	parallel(t)
	ms, a, b, fresh := signedInLongAgo(t)
	fresh()
	b.open(a.url + "/session")
	b.click("#call-security")
	b.shows("#api-result .bad")
	b.look("session-401-fresh")
	wantAsked(t, ms, 1)
	b.click("#api-sign-in")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/session")
	wantFreshAsked(t, ms)
	b.click("#call-security")
	b.shows("#api-result .good")
	wantAsked(t, ms, 2)
}

func TestSecurityWithoutAuthTimeSaysWhatIsMissing(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	ms.Set(func(b *msauthtest.Behavior) { b.OmitAuthTime = true })
	a := newApp(t, ms)
	b := newPerson(t)
	b.open(a.url + "/session")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/session")
	b.open(a.url + "/security")
	b.pick(msauthtest.Ada)
	b.onPage("no-auth-time", 403)
	if got := b.text("main"); !strings.Contains(got, "auth_time") {
		t.Errorf("the page says %q", got)
	}
	if !a.log.contains("auth_time is missing") {
		t.Error("the log does not say what is missing")
	}
	b.look("no-auth-time")
	wantAsked(t, ms, 2)
	b.stillSignedIn(a)
	wantAsked(t, ms, 2)
}

// What asks for the password stands in the address bar at Microsoft.
func TestSecurityOfWhoeverTakesTheQuestionOutOfTheAddress(t *testing.T) {
	parallel(t)
	ms, a, b, fresh := signedInLongAgo(t)
	for _, gone := range [][]string{{"prompt", "max_age"}, {"prompt"}} {
		b.open(a.url + "/security")
		b.shows("button[name=user]")
		address, err := url.Parse(eval[string](b, "location.href"))
		if err != nil {
			t.Fatal(err)
		}
		q := address.Query()
		for _, name := range gone {
			if !q.Has(name) {
				t.Fatalf("no %s in %s", name, address)
			}
			q.Del(name)
		}
		address.RawQuery = q.Encode()
		b.follow(address.String()) // where Ada is signed in: nobody asks
		b.onPage("not-enough", 403)
		b.look("not-asked-again")
		b.stillSignedIn(a)
		b.wantFetch("/api/security", 401)
	}
	b.open(a.url + "/security")
	b.pick(msauthtest.Ada) // and yet the password is an hour old
	b.onPage("not-enough", 403)
	fresh()
	b.click("main a[href^='/auth/login']") // Sign in again
	b.pick(msauthtest.Ada)
	b.at(a.url + "/security")
	wantFreshAsked(t, ms)
}

// Whoever sits down at somebody else's computer sees what is their own.
func TestSecurityOfAnotherPerson(t *testing.T) {
	parallel(t)
	_, a, b, fresh := signedInLongAgo(t)
	fresh()
	b.open(a.url + "/security")
	b.pick(msauthtest.Bruno)
	b.at(a.url + "/security")
	if got := b.text("#account"); !strings.HasPrefix(got, msauthtest.TenantFabrikam+".") {
		t.Errorf("account %q", got)
	}
	if got := b.text("#who"); got != "Bruno Okafor" {
		t.Errorf("signed in as %q", got)
	}
}
