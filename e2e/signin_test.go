package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"example.com/msauth/msauthtest"
)

// signedIn is an app, its provider, and a tab in which Ada has signed in from
// the home page.
func signedIn(t testing.TB) (*msauthtest.Server, *app, *tab) {
	t.Helper()
	ms := newMicrosoft(t)
	a := newApp(t, ms)
	b := newPerson(t)
	b.open(a.url)
	b.click("#sign-in")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/")
	return ms, a, b
}

func TestSignInFromTheHomePage(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	a := newApp(t, ms)
	b := newPerson(t)

	b.open(a.url)
	b.look("home-signed-out")
	b.click("#sign-in")
	b.shows("button[name=user]")
	b.look("account-picker")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/")
	if got := b.text("#who"); got != "Ada Lindqvist" {
		t.Errorf("signed in as %q", got)
	}
	if got := b.text("h1"); got != "Hello, Ada Lindqvist" {
		t.Errorf("greeting: %q", got)
	}
	b.look("home-signed-in")

	for kind, want := range map[msauthtest.Kind]int{
		msauthtest.Authorize: 1, msauthtest.TokenCode: 1, msauthtest.TokenRefresh: 0, msauthtest.Discovery: 1, msauthtest.Keys: 1,
	} {
		if got := ms.Count(kind); got != want {
			t.Errorf("%d requests of kind %s, want %d", got, kind, want)
		}
	}
}

func TestSignInWithoutAnyConfiguration(t *testing.T) {
	parallel(t)
	port := freePort(t)
	// The port alone is set, since somebody may be using 8080.
	a := &app{t: t, port: port, url: "http://localhost:" + port, env: []string{"PORT=" + port}, log: &buffer{}}
	a.start()
	if eventually(t.Context(), func() bool {
		return a.log.contains("Open "+a.url+"/") && a.log.contains(a.url+"/auth/callback")
	}) != nil {
		t.Errorf("the program does not say what to open and what to register:\n%s", a.log.tail(20))
	}
	b := newPerson(t)
	b.open(a.url)
	b.shows("#stand-in")
	b.look("home-local")
	b.click("#sign-in")
	b.pick(msauthtest.Grace) // of 200 groups
	b.at(a.url + "/")
	if got := b.text("#who"); got != "Grace Achterberg" {
		t.Errorf("signed in as %q", got)
	}
	b.click("nav a[href='/files']")
	b.shows("#files")
	b.screenshot("docs-files-local", false)
	b.click("#sign-out")
	b.at(a.url + "/auth/signed-out")
}

func TestSignInWithAKeyboard(t *testing.T) {
	parallel(t)
	a := newApp(t, newMicrosoft(t))
	b := newPerson(t)
	// press goes to an element with the tab key and presses Enter.
	press := func(selector string) {
		t.Helper()
		b.shows(selector)
		for range 30 {
			if eval[bool](b, fmt.Sprintf("document.activeElement.matches(%s)", quote(selector))) {
				if _, err := do(b, chromedp.KeyEvent(kb.Enter)); err != nil {
					t.Fatal(err)
				}
				return
			}
			if _, err := do(b, chromedp.KeyEvent(kb.Tab)); err != nil {
				t.Fatal(err)
			}
		}
		b.fatal("the tab key does not reach " + selector)
	}
	b.open(a.url)
	press("#sign-in")
	press(fmt.Sprintf("button[value=%q]", msauthtest.Mia))
	b.at(a.url + "/")
	if got := b.text("#who"); got != "Mia Müller" {
		t.Errorf("signed in as %q", got)
	}
	press("#sign-out")
	b.at(a.url + "/auth/signed-out")
}

func TestEverythingButTheFetchButtonWorksWithoutScripts(t *testing.T) {
	parallel(t)
	a := newApp(t, newMicrosoft(t))
	b := newPerson(t)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open(a.url + "/files")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/files")
	b.click("a.folder")
	b.shows("nav.crumbs")
	b.click("nav a[href='/session']")
	b.at(a.url + "/session")
	b.click("#call-api") // opens the API as a page
	b.until("location.pathname === '/api/me'")
	if got := b.body(); !strings.Contains(got, "Ada Lindqvist") {
		t.Errorf("/api/me shows %q", got)
	}
	b.open(a.url + "/profile")
	b.click("#sign-out")
	b.at(a.url + "/auth/signed-out")
}

func TestDeepLinkIsKeptWithItsQuery(t *testing.T) {
	parallel(t)
	a := newApp(t, newMicrosoft(t))
	for _, path := range []string{
		"/files?x=1&y=%2F",
		"/session?a=b%20c&a=d+e&empty=&plus=%2B&percent=%2525&%C3%BC=%E6%B8%AC",
		"/profile?return_to=https%3A%2F%2Fevil.example%2F&code=1&state=2",
	} {
		b := newPerson(t)
		b.open(a.url + path)
		b.pick(msauthtest.Ada)
		b.at(a.url + path)
		b.shows("#who")
	}
}

func TestEveryPageWorks(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)

	b.click("nav a[href='/profile']")
	b.at(a.url + "/profile")
	b.until("document.querySelector('img.photo').complete && document.querySelector('img.photo').naturalWidth > 0")
	if got := b.text("h1"); got != "Ada Lindqvist" {
		t.Errorf("profile of %q", got)
	}
	b.look("profile")

	b.click("nav a[href='/files']")
	b.at(a.url + "/files")
	names := eval[[]string](b, "[...document.querySelectorAll('#files .name')].map(e => e.innerText)")
	for _, want := range []string{"Attachments", "Documents", "Pictures", "Shopping list.txt"} {
		if !slices.Contains(names, want) {
			t.Errorf("%q is not among the files %q", want, names)
		}
	}
	b.look("files")
	b.screenshot("docs-files", false)

	b.click("#files li:nth-child(2) a.folder")
	b.until("document.querySelector('h1')?.innerText === 'Documents'")
	b.look("folder")
	b.click("a.folder") // Reports
	b.until("document.querySelector('h1')?.innerText === 'Reports'")
	b.click("a.folder:first-child") // 2025
	b.until("document.querySelector('h1')?.innerText === '2025'")
	if got := b.text(".crumbs"); !strings.Contains(got, "OneDrive") || !strings.Contains(got, "Documents") || !strings.Contains(got, "Reports") {
		t.Errorf("the folders above are said to be %q", got)
	}
	b.click(".crumbs li:first-child a")
	b.at(a.url + "/files")

	t.Run("empty folder", func(t *testing.T) {
		b.click("#files li:nth-child(1) a.folder")
		b.shows(".empty")
		b.look("folder-empty")
	})
	t.Run("download", func(t *testing.T) {
		b.open(a.url + "/files")
		file := download(b, "Measurements.csv")
		if file.name != "Measurements.csv" || !strings.HasPrefix(string(file.content), "time,sensor,value\n") || strings.Count(string(file.content), "\n") != 4001 {
			t.Errorf("downloaded %q: %d bytes, %.30q", file.name, len(file.content), file.content)
		}
		b.at(a.url + "/files") // the page is still there
	})

	b.click("nav a[href='/session']")
	b.at(a.url + "/session")
	for selector, want := range map[string]string{
		"#tenant":  msauthtest.TenantContoso,
		"#account": msauthtest.TenantContoso + ".",
		"#scopes":  "Files.Read",
	} {
		if got := b.text(selector); !strings.Contains(got, want) {
			t.Errorf("%s is %q, without %q", selector, got, want)
		}
	}
	if left := time.Until(b.moment("expires")); left < 50*time.Minute || left > 91*time.Minute {
		t.Errorf("the access token expires in %v", left)
	}
	b.look("session")
	b.click("#call-api")
	b.shows("#api-result .good")
	if got := b.text("#api-result"); !strings.Contains(got, "Status 200") || !strings.Contains(got, "Structural engineer") {
		t.Errorf("the button shows %q", got)
	}
	b.look("session-api-called")

	b.open(a.url + "/nowhere")
	if b.status() != 404 {
		t.Errorf("status %d for a page that does not exist", b.status())
	}
	b.look("not-found")
	b.open(a.url + "/auth/nowhere")
	if b.status() != 404 {
		t.Errorf("status %d for a page that does not exist", b.status())
	}
	b.look("not-found-below-auth")

	if got := ms.Count(msauthtest.TokenCode) + ms.Count(msauthtest.TokenRefresh) + ms.Count(msauthtest.TokenOther); got != 1 {
		t.Errorf("%d token requests for the whole visit, want 1", got)
	}
}

func TestAnotherAccount(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.click("nav a[href='/files']")
	b.at(a.url + "/files")
	b.click("#switch-account")
	b.pick(msauthtest.Bruno)
	b.at(a.url + "/files")
	if got := b.text("#who"); got != "Bruno Okafor" {
		t.Errorf("signed in as %q", got)
	}
	if got := b.body(); !strings.Contains(got, "Welcome, Bruno.txt") || strings.Contains(got, "Ada") {
		t.Errorf("Bruno's page shows %q", got)
	}
	b.click("nav a[href='/session']")
	b.at(a.url + "/session")
	if got := b.text("#tenant"); got != msauthtest.TenantFabrikam {
		t.Errorf("tenant %s", got)
	}
	if session, attempts, _ := b.appCookies(); len(session) != 1 || len(attempts) != 0 {
		t.Errorf("%d session cookies and %d of attempts, want 1 and 0", len(session), len(attempts))
	}
	if got := ms.Count(msauthtest.TokenCode); got != 2 {
		t.Errorf("%d codes redeemed, want 2", got)
	}
}

func TestRefusalEndsOnAPageAndStartsNothing(t *testing.T) {
	parallel(t)
	for _, how := range []string{"cancel", "refuse"} {
		t.Run(how, func(t *testing.T) {
			ms := newMicrosoft(t)
			a := newApp(t, ms)
			b := newPerson(t)
			b.open(a.url + "/files?x=1")
			b.click("button#" + how)
			b.shows("#msauth-declined")
			if b.status() != 403 {
				t.Errorf("status %d", b.status())
			}
			b.look("declined-" + how)
			if got := ms.Count(msauthtest.Authorize); got != 1 {
				t.Errorf("%d authorize requests, want 1", got)
			}
			if _, attempts, _ := b.appCookies(); len(attempts) != 0 {
				t.Errorf("the cookie of the attempt is left: %d", len(attempts))
			}
			// The id on the page is in the log.
			if id := b.text("p.id code"); len(id) < 8 || !a.log.contains(id) {
				t.Errorf("the page's id %q is not in the log", id)
			}
			b.click("main a[href='/']")
			b.at(a.url + "/")
			b.shows("#sign-in")
			// Who goes back is not told that the cookies are to blame, and who
			// thinks better of it gets where they were going.
			b.back()
			b.until("location.pathname === '/auth/callback' && document.readyState === 'complete'")
			if got := eval[string](b, "document.querySelector('main').id"); got != "msauth-declined" && got != "msauth-start-again" {
				t.Errorf("the back button shows the page %s: %q", got, b.text("h1"))
			}
			b.click("main a[href^='/auth/login']")
			b.pick(msauthtest.Ada)
			b.at(a.url + "/files?x=1")
		})
	}
}

// moment reads a time of the session page.
func (b *tab) moment(id string) time.Time {
	b.t.Helper()
	b.shows("#" + id)
	at, err := time.Parse(time.RFC3339, eval[string](b, fmt.Sprintf("document.getElementById(%s).dateTime", quote(id))))
	if err != nil {
		b.t.Fatal(err)
	}
	return at
}
