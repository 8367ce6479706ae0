package e2e

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"example.com/msauth/msauthtest"
)

func TestSignOut(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.click("#sign-out")
	b.at(a.url + "/auth/signed-out")
	b.shows("#msauth-signed-out")
	if b.status() != 200 {
		t.Errorf("status %d", b.status())
	}
	b.look("signed-out")

	calls := ms.Calls(msauthtest.Logout)
	if len(calls) != 1 {
		t.Fatalf("%d requests to the end-session endpoint, want 1", len(calls))
	}
	q := calls[0].Query
	if q.Get("logout_hint") == "" || q.Get("post_logout_redirect_uri") != a.url+"/auth/signed-out" {
		t.Errorf("signed out at the provider with %v", q)
	}
	if q.Has("id_token_hint") {
		t.Error("the ID token is in a URL")
	}
	if session, attempts, mark := b.appCookies(); len(session)+len(attempts)+len(mark) != 0 {
		t.Errorf("cookies are left: %v %v %v", session, attempts, mark)
	}

	// Nobody is signed in any more, at the provider neither.
	b.click("main a[href='/']")
	b.at(a.url + "/")
	b.shows("#sign-in")
	b.open(a.url + "/session")
	b.shows("button[name=user]")
	if got := b.body(); strings.Contains(got, "Signed in") {
		t.Errorf("the provider still knows somebody: %q", got)
	}
	b.pick(msauthtest.Bruno)
	b.at(a.url + "/session")
	if got := b.text("#who"); got != "Bruno Okafor" {
		t.Errorf("signed in as %q", got)
	}
}

// Chromium keeps even no-store pages, to show them at once when somebody goes
// back, unless it has seen an HttpOnly cookie change meanwhile. It does not see
// that for a page it was redirected to from another site, as after signing in;
// the README says so under Limits.
func TestBackButtonAfterSignOutShowsNoPrivatePage(t *testing.T) {
	parallel(t)
	a := newApp(t, newMicrosoft(t))
	for name, reach := range map[string]func(*tab){
		"that was clicked": func(b *tab) {
			b.click("nav a[href='/profile']")
			b.at(a.url + "/profile")
			b.click("nav a[href='/files']")
		},
		"that was loaded again": (*tab).reload,
	} {
		t.Run(name, func(t *testing.T) {
			b := newPerson(t)
			b.open(a.url + "/files")
			b.pick(msauthtest.Ada)
			b.at(a.url + "/files")
			reach(b)
			b.at(a.url + "/files")
			b.shows("#files")
			b.click("#sign-out")
			b.at(a.url + "/auth/signed-out")
			b.back()
			b.until("location.href !== " + quote(a.url+"/auth/signed-out") + " && document.readyState === 'complete'")
			if eval[bool](b, "!!document.querySelector('#files, #who')") {
				t.Errorf("the back button shows %.300q", b.body())
			}
			b.shows("button[name=user]")
		})
	}
}

func TestSignOutAsksWhoeverComesFromElsewhere(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.open(a.url + "/auth/logout") // typed, or out of a mail
	b.shows("#msauth-confirm-sign-out")
	b.look("confirm-sign-out")
	if got := ms.Count(msauthtest.Logout); got != 0 {
		t.Errorf("signed out without a question")
	}
	b.click("main a[href='/']")
	b.at(a.url + "/")
	b.shows("#who")
	b.open(a.url + "/auth/logout")
	b.click("main form button")
	b.at(a.url + "/auth/signed-out")
	if got := ms.Count(msauthtest.Logout); got != 1 {
		t.Errorf("%d requests to the end-session endpoint, want 1", got)
	}
}

// Who signs out at Microsoft, or in another app, is signed out here as well: the
// browser loads a hidden frame, without cookies.
func TestSignOutAtMicrosoft(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	ms.Set(func(behavior *msauthtest.Behavior) {
		behavior.FrontChannelLogout = []string{a.url + "/auth/front-channel-logout"}
	})
	other := newPerson(t)
	other.open(a.url)
	other.click("#sign-in")
	other.pick(msauthtest.Grace)
	other.at(a.url + "/")
	b.open(ms.URL + "/common/oauth2/v2.0/logout")
	b.shows("#signed-out")
	b.open(a.url + "/")
	b.shows("#sign-in")
	if session, _, _ := b.appCookies(); len(session) != 0 {
		t.Errorf("cookies are left: %v", session)
	}
	other.open(a.url + "/")
	other.shows("#who")
}

func TestFetchButtonAfterSignOutInAnotherTab(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.open(a.url + "/session")
	b.click("#call-api")
	b.shows("#api-result .good")

	b.unaware(a)
	other := b.newTab()
	other.open(a.url + "/")
	other.click("#sign-out")
	other.at(a.url + "/auth/signed-out")

	authorized := ms.Count(msauthtest.Authorize)
	b.click("#call-api")
	b.shows("#api-result .bad")
	if got := b.text("#api-result"); !strings.Contains(got, "Status 401") {
		t.Errorf("the button shows %q", got)
	}
	b.look("session-401")
	if got := ms.Count(msauthtest.Authorize); got != authorized {
		t.Error("a script started a sign-in")
	}
	b.click("#api-sign-in")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/session")
	b.click("#call-api")
	b.shows("#api-result .good")
}

func TestFrameShowsALinkToSignIn(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	f := newFront(t, false)
	a := newApp(t, ms, "MSAUTH_BASE_URL="+f.url+"/auth")
	f.pages = map[string]string{"/embedding": `<!doctype html><html lang="en"><title>Embedding</title><h1>Embedding</h1>
		<iframe src="/files" width="600" height="400"></iframe>`}
	f.start(a)
	b := newPerson(t)
	b.open(f.url + "/embedding")
	if got := ms.Count(msauthtest.Authorize); got != 0 {
		t.Errorf("a frame started a sign-in")
	}
	// The link in the frame opens in the whole window, and leads back here.
	b.until("document.querySelector('iframe').contentDocument?.querySelector('#msauth-sign-in-required a')")
	b.screenshot("sign-in-required-in-a-frame", false)
	point := eval[[]float64](b, `(() => {
		const f = document.querySelector("iframe").getBoundingClientRect();
		const a = document.querySelector("iframe").contentDocument.querySelector("a").getBoundingClientRect();
		return [f.left + a.left + a.width / 2, f.top + a.top + a.height / 2];
	})()`)
	if _, err := do(b, chromedp.MouseClickXY(point[0], point[1])); err != nil {
		t.Fatal(err)
	}
	b.pick(msauthtest.Ada)
	b.at(f.url + "/embedding")
	// The example does not let its own pages be framed, as it should be.
	b.forgetProblems()
}
