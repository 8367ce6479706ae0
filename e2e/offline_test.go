package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"example.com/msauth/msauthtest"
)

// digests builds the other example once.
var digests = sync.OnceValues(func() (string, error) {
	example, err := program() // for its directory
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(example), "offline")
	cmd := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", path, ".")...)
	cmd.Dir = "../example/offline"
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./example/offline: %w\n%s", err, out)
	}
	return path, nil
})

// newDigests starts it, with a digest each second.
func newDigests(t testing.TB, ms *msauthtest.Server) *app {
	t.Helper()
	path, err := digests()
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	database := filepath.Join(t.TempDir(), "digests.db")
	a := &app{t: t, port: port, url: "http://localhost:" + port, log: &buffer{}, path: path, env: []string{
		"PORT=" + port, "DIGEST_DB=" + database, "DIGEST_EVERY=1s",
		"AZURE_CLIENT_ID=" + ms.ClientID, "AZURE_CLIENT_SECRET=" + ms.ClientSecret, "AZURE_AUTHORITY_HOST=" + ms.URL,
	}}
	a.start()
	return a
}

func TestDigestsAreWrittenForWhoConnectedAnAccount(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	a := newDigests(t, ms)
	b := newPerson(t)
	b.open(a.url)
	b.look("digests-home")
	b.click("#sign-up")
	b.at(a.url + "/sign-up")
	b.look("digests-sign-up")
	b.enter("#name", "zoe")
	b.enter("#password", "correct horse battery")
	b.click("#submit")
	b.at(a.url + "/settings")
	b.look("digests-settings")

	b.click("#connect") // a form that ends at Microsoft: the policy must let it
	b.pick(msauthtest.Ada)
	b.at(a.url + "/settings")
	if got := b.text("#account"); !strings.Contains(got, "Connected: Ada Lindqvist (ada@contoso.example).") {
		t.Errorf("the settings say %q", got)
	}
	b.look("digests-connected")
	b.open(a.url + "/digests")
	digest := func() {
		t.Helper()
		if err := eventually(b.ctx, func() bool {
			b.reload()
			return eval[bool](b, "!!document.querySelector('.digest')")
		}); err != nil {
			b.fatal("there is no digest")
		}
	}
	digest()
	if got := b.text(".digest"); !strings.Contains(got, "Welcome, Ada.txt") || !strings.Contains(got, "Shopping list.txt") {
		t.Errorf("the digest says %q", got)
	}
	b.look("digests")

	// The server goes on after a restart, and so does the person's session.
	newest := func() string { return eval[string](b, "document.querySelector('.digest time').dateTime") }
	before := newest()
	a.stop()
	a.start()
	if err := eventually(b.ctx, func() bool {
		b.reload()
		return newest() > before
	}); err != nil {
		b.fatal("no digest after a restart")
	}

	ms.Revoke(msauthtest.Ada)
	ms.Challenge(msauthtest.Challenge{SignInName: msauthtest.Ada})
	if err := eventually(b.ctx, func() bool {
		b.reload()
		return eval[bool](b, "!!document.querySelector('#refused')")
	}); err != nil {
		b.fatal("the person is not told to sign in again")
	}
	b.look("digests-refused")
	b.click("#refused #connect")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/settings")
	b.open(a.url + "/digests")
	if eval[bool](b, "!!document.querySelector('#refused')") {
		b.fatal("the person is told to sign in again after having done so")
	}

	b.click("nav a[href='/settings']")
	b.click("#disconnect")
	b.until("document.querySelector('#account')?.innerText === 'No account is connected.'")
	b.open(a.url + "/digests")
	b.shows("#unconnected")
	if eval[bool](b, "!!document.querySelector('.digest')") {
		t.Error("digests are left")
	}
	b.look("digests-disconnected")
	b.click("#sign-out")
	b.at(a.url + "/")
	b.shows("#sign-in")
	for _, secret := range append(ms.Secrets(), "correct horse battery") {
		if a.log.contains(secret) {
			t.Error("a secret is in the log")
			break
		}
	}
}

// signUp signs a user of the site up.
func (b *tab) signUp(a *app, name string) {
	b.t.Helper()
	b.open(a.url + "/sign-up")
	b.enter("#name", name)
	b.enter("#password", "correct horse battery")
	b.click("#submit")
	b.at(a.url + "/settings")
}

// Of somebody who has left, the site keeps nothing, and does nothing for them.
func TestAUserWhoHasLeft(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	a := newDigests(t, ms)
	boss, zoe := newPerson(t), newPerson(t)
	boss.signUp(a, "boss") // the first one is the administrator
	zoe.signUp(a, "zoe")
	if eval[bool](zoe, "!!document.querySelector('a[href=\"/people\"]')") {
		t.Error("zoe is led to the administrator's page")
	}
	zoe.click("#connect")
	zoe.pick(msauthtest.Ada)
	zoe.at(a.url + "/settings")
	zoe.open(a.url + "/digests")
	if err := eventually(zoe.ctx, func() bool {
		zoe.reload()
		return eval[bool](zoe, "!!document.querySelector('.digest')")
	}); err != nil {
		zoe.fatal("there is no digest")
	}

	boss.click("nav a[href='/people']")
	boss.at(a.url + "/people")
	boss.look("digests-people")
	boss.click("#people a")
	boss.at(a.url + "/people/2/left")
	boss.look("digests-leaving")
	boss.click("main a[href='/people']") // Cancel
	boss.at(a.url + "/people")
	zoe.reload()
	zoe.shows(".digest")
	boss.click("#people a")
	boss.click("#confirm")
	boss.shows("#left")
	if got := boss.text("#done"); !strings.Contains(got, "Signed out of this site in 1 browser.") || !strings.Contains(got, "The access to the Microsoft account is deleted. The worker no longer acts for zoe.") {
		t.Errorf("the page says %q", got)
	}
	boss.look("digests-left")

	zoe.reload()
	zoe.at(a.url + "/sign-in")
	zoe.enter("#name", "zoe")
	zoe.enter("#password", "correct horse battery")
	zoe.click("#submit")
	zoe.shows("#complaint")
	if got := zoe.text("#complaint"); got != "Wrong name or password. Please try again." {
		t.Errorf("the password is answered by %q", got)
	}

	// Two runs later, Microsoft has not been asked for anything.
	boss.open(a.url + "/digests")
	newest := func() string { return eval[string](boss, "document.querySelector('#runs time')?.dateTime || ''") }
	if err := eventually(boss.ctx, func() bool { boss.reload(); return newest() != "" }); err != nil {
		boss.fatal("there is no run")
	}
	run, asked := newest(), ms.Count(msauthtest.Graph)
	for range 2 {
		if err := eventually(boss.ctx, func() bool { boss.reload(); return newest() > run }); err != nil {
			boss.fatal("the worker does not go on")
		}
		run = newest()
	}
	if got := ms.Count(msauthtest.Graph) - asked; got != 0 {
		t.Errorf("%d requests to Graph for somebody who has left", got)
	}
	if got := eval[string](boss, "document.querySelector('#runs tbody tr td:nth-child(3)').innerText"); got != "0" {
		t.Errorf("the last run had %s users, want 0", got)
	}
}

// enter types into a field.
func (b *tab) enter(selector, text string) {
	b.t.Helper()
	b.click(selector)
	if _, err := do(b, chromedp.KeyEvent(text)); err != nil {
		b.t.Fatal("typing: ", err)
	}
}
