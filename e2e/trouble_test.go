package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

func TestBlockedCookiesEndOnAPageThatSaysSo(t *testing.T) {
	parallel(t)
	// What "Block all cookies" in the settings sets.
	browser, stop, err := chrome.Launch(`{"profile": {"default_content_setting_values": {"cookies": 2}}}`)
	if err != nil {
		t.Fatal(err)
	}
	ms := newMicrosoft(t)
	a := newApp(t, ms)
	t.Cleanup(stop)
	b := openTab(t, browser, "")
	b.open(a.url)
	if got := eval[string](b, "document.cookie = 'a=b', document.cookie"); got != "" {
		t.Fatalf("the browser does not block cookies: it keeps %q", got)
	}
	b.open(a.url + "/files?x=1")
	b.pick(msauthtest.Ada)
	b.shows("#msauth-start-again") // it may as well have begun elsewhere
	if b.status() != 400 {
		t.Errorf("status %d", b.status())
	}
	b.look("cookies-blocked-or-elsewhere")
	if got := b.cookies(); len(got) != 0 {
		t.Errorf("%d cookies were stored: this proves nothing", len(got))
	}
	if got := ms.Count(msauthtest.Authorize); got != 1 {
		t.Errorf("%d authorize requests, want 1", got)
	}
	if got := ms.Count(msauthtest.TokenCode); got != 0 {
		t.Errorf("%d codes redeemed for a browser that nobody knows", got)
	}
	// Each click is one more round, no more.
	b.click("main a[href^='/auth/login']")
	b.pick(msauthtest.Ada)
	b.shows("#msauth-cookies-blocked")
	b.look("cookies-blocked")
	if got := ms.Count(msauthtest.Authorize); got != 2 {
		t.Errorf("%d authorize requests after two clicks, want 2", got)
	}
	b.expectNoProblems()
}

// From the third sign-in within seconds on a page goes on by itself, under a
// policy that allows no script.
func TestThirdSignInWithinSecondsGoesOnByItself(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	a := newApp(t, ms)
	b := newPerson(t)
	b.open(a.url + "/files")
	b.open(a.url + "/auth/login?return_to=/files")
	b.at(a.url + "/files")
	began := time.Now()
	b.open(a.url + "/auth/login?return_to=/files?x=3")
	b.shows("#msauth-wait")
	if b.status() != 200 {
		t.Errorf("status %d", b.status())
	}
	if got := ms.Count(msauthtest.Authorize); got != 2 {
		t.Errorf("%d authorize requests, want 2", got)
	}
	b.at(a.url + "/files?x=3")
	if took := time.Since(began); took < 4*time.Second || ms.Count(msauthtest.TokenCode) != 3 {
		t.Errorf("goes on after %v, with %d sign-ins", took, ms.Count(msauthtest.TokenCode))
	}
	b.expectNoProblems()
}

// A long address comes back whole, by the short route where the callback's
// answer has no room for it.
func TestLongAddressComesBack(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	a := newApp(t, ms)
	for _, n := range []int{500, 1990} {
		b := newPerson(t)
		b.open(a.url + "/files?x=" + strings.Repeat("a1%2F", n/5-1))
		b.pick(msauthtest.Ada)
		b.at(a.url + "/files?x=" + strings.Repeat("a1%2F", n/5-1))
		for _, c := range b.cookies() {
			if strings.HasSuffix(c.Name, "-to") {
				t.Errorf("%s is left", c.Name)
			}
		}
		b.expectNoProblems()
	}
}

func TestWrongHostIsExplainedAndItsLinkWorks(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	a := newApp(t, ms)
	b := newPerson(t)
	wrong := "127.0.0.1:" + a.port
	b.open("http://" + wrong + "/files?x=1")
	b.pick(msauthtest.Ada)
	b.shows("#msauth-wrong-host")
	if b.status() != 400 {
		t.Errorf("status %d", b.status())
	}
	b.look("wrong-host")
	if got := b.text("main p"); !strings.Contains(got, wrong) || !strings.Contains(got, a.url) {
		t.Errorf("the page does not name both %s and %s: %q", wrong, a.url, got)
	}
	if !a.log.contains(wrong) {
		t.Error("the log does not name the wrong host")
	}
	b.click("main a[href^='/auth/login']") // at the provider Ada is signed in now
	b.at(a.url + "/files?x=1")
	if got := b.text("#who"); got != "Ada Lindqvist" {
		t.Errorf("signed in as %q", got)
	}
	if got := ms.Count(msauthtest.Authorize); got != 2 {
		t.Errorf("%d authorize requests, want 2", got)
	}
}

// replicas are two processes of the example behind one address.
func replicas(t *testing.T, sameKeys bool) (*msauthtest.Server, *front, []*app) {
	t.Helper()
	ms := newMicrosoft(t)
	f := newFront(t, false)
	base, keys := "MSAUTH_BASE_URL="+f.url+"/auth", newKeys()
	apps := []*app{newApp(t, ms, base, "MSAUTH_KEYS="+keys)}
	if !sameKeys {
		keys = newKeys()
	}
	return ms, f, append(apps, newApp(t, ms, base, "MSAUTH_KEYS="+keys))
}

func TestTwoProcessesWithTheSameKeysAreOneSite(t *testing.T) {
	parallel(t)
	ms, f, apps := replicas(t, true)
	f.start(apps...) // in turns
	b := newPerson(t)
	b.open(f.url)
	b.click("#sign-in")
	b.pick(msauthtest.Ada)
	b.at(f.url + "/")
	for range 2 {
		for _, page := range []string{"/profile", "/files", "/session"} {
			b.click("nav a[href='" + page + "']")
			b.at(f.url + page)
			if got := b.text("#who"); got != "Ada Lindqvist" {
				t.Errorf("%s: signed in as %q", page, got)
			}
		}
	}
	b.click("#sign-out")
	b.at(f.url + "/auth/signed-out")
	for range 2 { // at both
		b.open(f.url + "/session")
		b.shows("button[name=user]")
	}
	for i, a := range apps {
		if !a.log.contains("path=/profile") && !a.log.contains("path=/files") && !a.log.contains("path=/session") {
			t.Errorf("process %d was not asked", i)
		}
	}
	if got := ms.Count(msauthtest.TokenCode); got != 1 {
		t.Errorf("%d codes redeemed, want 1", got)
	}
}

func TestTwoProcessesWithDifferentKeysEndOnAPageAndNotInALoop(t *testing.T) {
	parallel(t)
	isPage := func(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Dest") == "document" }

	t.Run("signed in at one and sent to the other", func(t *testing.T) {
		ms, f, apps := replicas(t, false)
		ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada }) // nobody there to stop it
		pages := 0
		f.backend = func(_ int, r *http.Request) *app { // two pages each
			if isPage(r) && r.URL.Path != "/auth/login" { // which follows a page by itself
				pages++
			}
			return apps[(pages+1)/2%2]
		}
		f.start()
		b := newPerson(t)
		b.open(f.url + "/session?x=1")
		b.shows("#msauth-loop")
		if b.status() != 400 {
			t.Errorf("status %d", b.status())
		}
		b.look("loop")
		if got := ms.Count(msauthtest.Authorize); got != 1 {
			t.Errorf("%d authorize requests, want 1", got)
		}
		if id := b.text("p.id code"); !apps[0].log.contains(id) && !apps[1].log.contains(id) {
			t.Errorf("the page's id %q is in neither log", id)
		}
		b.open(f.url + "/files") // whatever one opens next
		b.until("document.readyState === 'complete' && document.querySelector('h1')")
		if got := ms.Count(msauthtest.Authorize); got > 2 {
			t.Errorf("%d authorize requests after two clicks", got)
		}
	})

	t.Run("in turns", func(t *testing.T) {
		ms, f, apps := replicas(t, false)
		ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
		f.start(apps...)
		b := newPerson(t)
		b.open(f.url + "/session?x=1")
		b.shows("main[id^=msauth-]")
		if b.status() != 400 {
			t.Errorf("status %d", b.status())
		}
		b.look("start-again")
		if got := ms.Count(msauthtest.Authorize); got != 1 {
			t.Errorf("%d authorize requests, want 1", got)
		}
		b.click("main a[href^='/auth/login']")
		b.until("document.readyState === 'complete' && document.querySelector('h1')")
		if got := ms.Count(msauthtest.Authorize); got > 2 {
			t.Errorf("%d authorize requests after two clicks", got)
		}
	})
}

func TestTheConsoleReportsViolatedPolicies(t *testing.T) {
	parallel(t)
	a := newApp(t, newMicrosoft(t))
	browser, err := chromium()
	if err != nil {
		t.Fatal(err)
	}
	b := openTab(t, browser, "")
	b.open(a.url)
	// Ours is applied ...
	for _, page := range []string{"/", "/auth/signed-out"} {
		b.open(a.url + page)
		if got := eval[string](b, "getComputedStyle(document.body).backgroundColor"); got == "rgba(0, 0, 0, 0)" {
			t.Errorf("%s: the style sheet is not applied", page)
		}
		if len(b.problems) > 0 {
			t.Errorf("%s: %q", page, b.problems)
		}
		// ... and what is not ours is not, which the other tests would see.
		eval[bool](b, `(() => {
			const p = document.createElement("p");
			p.id = "foreign";
			p.setAttribute("style", "color: rgb(1, 2, 3)");
			document.body.append(p);
			return true;
		})()`)
		if got := eval[string](b, "getComputedStyle(document.getElementById('foreign')).color"); got == "rgb(1, 2, 3)" {
			t.Errorf("%s: a foreign style was applied", page)
		}
		if eventually(t.Context(), func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return len(b.problems) > 0
		}) != nil {
			t.Errorf("%s: nothing was reported", page)
		}
		b.forgetProblems()
	}
}
