package e2e

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"

	"example.com/msauth/msauthtest"
)

// called makes the browser call itself something else.
func (b *tab) called(userAgent string) {
	b.t.Helper()
	call(b, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: userAgent})
}

// signIn signs a person in from the home page.
func (b *tab) signIn(a *app, signInName string) {
	b.t.Helper()
	b.open(a.url)
	b.click("#sign-in")
	b.pick(signInName)
	b.at(a.url + "/")
}

// wantSignIn checks that the next page is the provider's sign-in.
func (b *tab) wantSignIn(a *app) {
	b.t.Helper()
	b.open(a.url)
	b.shows("#sign-in")
	if eval[bool](b, "!!document.querySelector('#who')") {
		b.fatal("somebody is still signed in")
	}
}

// twoBrowsers are two browsers of Ada's, the second on a phone.
func twoBrowsers(t *testing.T) (*msauthtest.Server, *app, *tab, *tab) {
	t.Helper()
	ms := newMicrosoft(t)
	a := newApp(t, ms)
	b, phone := newPerson(t), newPerson(t)
	b.called("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0")
	phone.called("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1")
	b.signIn(a, msauthtest.Ada)
	phone.signIn(a, msauthtest.Ada)
	return ms, a, b, phone
}

func TestEndingTheSessionOfAnotherBrowser(t *testing.T) {
	parallel(t)
	ms, a, b, phone := twoBrowsers(t)
	b.click("main a[href='/sessions']")
	b.at(a.url + "/sessions")
	if got := b.text("#current"); !strings.Contains(got, "Firefox on Windows") {
		t.Errorf("this browser is %q", got)
	}
	if got := b.text("#others"); !strings.Contains(got, "Safari on iPhone") || strings.Contains(got, "Firefox") {
		t.Errorf("the others are %q", got)
	}
	b.look("sessions")
	phone.open(a.url + "/sessions")
	if got := phone.text("#others"); !strings.Contains(got, "Firefox on Windows") {
		t.Errorf("the phone's others are %q", got)
	}

	b.click("#others button")
	b.at(a.url + "/sessions?ended=now")
	b.shows("#no-others")
	if got := b.text("#done"); got != "That browser is signed out." {
		t.Errorf("the page says %q", got)
	}
	b.look("sessions-ended")
	phone.wantSignIn(a)
	b.open(a.url + "/session")
	b.shows("#who")

	// A page that is out of date: what it offers is done already, or is this browser.
	phone.open(a.url + "/files") // Microsoft still knows the person there
	phone.at(a.url + "/files")
	b.open(a.url + "/sessions")
	other := b.newTab()
	other.open(a.url + "/sessions")
	other.click("#others button")
	other.at(a.url + "/sessions?ended=now")
	b.click("#others button")
	b.at(a.url + "/sessions?ended=before")

	authorized, out := ms.Count(msauthtest.Authorize), ms.Count(msauthtest.Logout)
	b.click("#current a")
	b.at(a.url + "/auth/signed-out")
	if ms.Count(msauthtest.Logout) != out+1 || ms.Count(msauthtest.Authorize) != authorized {
		t.Error("the browser was not signed out at the provider")
	}
	b.wantSignIn(a)
}

func TestSigningOutEverywhere(t *testing.T) {
	parallel(t)
	ms, a, b, phone := twoBrowsers(t)
	b.open(a.url + "/session")
	b.click("main a[href='/sessions']")
	b.at(a.url + "/sessions")
	b.click("#end-all")
	b.at(a.url + "/sessions/end-all")
	b.shows("#ended")
	if got := b.text("h1"); got != "You are signed out everywhere" || b.status() != 200 {
		t.Errorf("status %d: %q", b.status(), got)
	}
	b.look("sessions-ended-everywhere")
	other := b.newTab()
	other.wantSignIn(a)
	phone.wantSignIn(a)

	// The rest is on the page.
	b.click("#sign-out-at-microsoft")
	b.at(a.url + "/auth/signed-out")
	if n := ms.Count(msauthtest.Logout); n != 1 {
		t.Errorf("%d requests to the end-session endpoint, want 1", n)
	}
	b.open(a.url + "/session")
	b.shows("button[name=user]")
	if got := b.body(); strings.Contains(got, "Signed in") {
		t.Errorf("the provider still knows somebody: %q", got)
	}
}

func TestFormsOfOtherSitesEndNoSession(t *testing.T) {
	parallel(t)
	_, a, b, phone := twoBrowsers(t)
	f := newFront(t, false)
	f.pages = map[string]string{"/": `<!doctype html><html lang="en"><title>Evil</title><h1>Evil</h1>
		<form method="post" action="` + a.url + `/sessions/end-all"><button>Win</button></form>`}
	f.start(a)
	evil := strings.Replace(f.url, "localhost", "127.0.0.1", 1) // another site
	b.open(evil + "/")
	b.click("button")
	b.at(a.url + "/sessions/end-all")
	if got := b.text("main"); b.status() != 403 || !strings.Contains(got, "posted by another site") {
		t.Errorf("status %d: %q", b.status(), got)
	}
	b.open(a.url)
	b.shows("#who")
	phone.open(a.url)
	phone.shows("#who")
}
