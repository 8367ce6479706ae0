package e2e

import (
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

func TestLiveScript(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	a := newLive(t, ms, "script")
	b := newPerson(t)
	b.open(a.url)
	b.liveStatus("unknown")
	b.look("live-script")
	b.click("#sign-in")
	b.click("button#cancel")
	b.at(a.url + "/")
	b.liveStatus("notConnected")
	if b.status() != 200 {
		t.Errorf("status %d", b.status())
	}

	// A script is answered 401 with login_url, which leads back to the page.
	authorized := ms.Count(msauthtest.Authorize)
	b.click("#ask")
	b.shows("#login-url")
	if got := b.text("#result"); !strings.Contains(got, "Status 401") {
		t.Errorf("the button shows %q", got)
	}
	b.look("live-script-401")
	if got := ms.Count(msauthtest.Authorize); got != authorized {
		t.Error("a script started a sign-in")
	}
	b.click("#login-url")
	b.pick(msauthtest.Mia)
	b.at(a.url + "/")
	b.liveStatus("connected")
	b.look("live-script-connected")
	user := b.text("#user")
	if len(user) != 32 {
		t.Errorf("user %q", user)
	}
	b.click("#ask")
	b.until("document.querySelector('#result').innerText.includes(" + quote(user) + ")")

	// Nothing that the script could read is a token.
	readable := eval[string](b, `(async () => {
		const texts = [document.documentElement.outerHTML, document.cookie, JSON.stringify({...localStorage}), JSON.stringify({...sessionStorage})];
		for (const path of ["/", "/api/status", "/api/me"]) texts.push(await (await fetch(path)).text());
		return texts.join("\n");
	})()`)
	for _, secret := range ms.Secrets() {
		if strings.Contains(readable, secret) {
			t.Error("a token, a code or the client secret can be read by the script")
			break
		}
	}
	if got := eval[string](b, "document.cookie"); got != "" {
		t.Errorf("the script can read the cookies %q", got)
	}

	// Signed out in another tab.
	other := b.newTab()
	other.open(a.url)
	other.click("#sign-out")
	other.at(a.url + "/auth/signed-out")
	b.click("#ask")
	b.shows("#login-url")
	b.reload()
	b.liveStatus("unknown")
}

func TestLiveScriptSeesThatASessionIsOver(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 2 * time.Second })
	a, b := liveSignedIn(t, ms, "script")
	ms.Revoke(msauthtest.Mia)
	if err := eventually(b.ctx, func() bool {
		b.reload()
		b.until("document.querySelector('#status').innerText !== 'not asked yet'")
		return b.text("#status") == "expired"
	}); err != nil {
		b.fatal("the script does not say that the session has ended")
	}
	b.look("live-script-expired")
	b.click("#sign-in")
	b.pick(msauthtest.Mia)
	b.at(a.url + "/")
	b.liveStatus("connected")
}
