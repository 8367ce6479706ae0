package e2e

import (
	"strings"
	"testing"

	"example.com/msauth/e2e/internal/webdriver"
	"example.com/msauth/msauthtest"
)

// One whole visit in Safari's engine, which keeps no Secure cookie on
// http://localhost.
func TestVisitInWebKit(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			parallel(t)
			ms := newMicrosoft(t)
			var a *app
			if scheme == "https" {
				f := newFront(t, true)
				a = newApp(t, ms, "MSAUTH_BASE_URL="+f.url+"/auth")
				f.start(a)
			} else {
				a = newApp(t, ms)
			}
			b := webdriver.Start(t)
			pick := func(person string) { b.Click("button[name=user][value='" + person + "']") }

			b.Open(a.url)
			b.Click("#sign-in")
			pick(msauthtest.Ada)
			b.At(a.url + "/")
			if got := b.Text("#who"); got != "Ada Lindqvist" {
				t.Errorf("signed in as %q", got)
			}
			session := 0
			for _, c := range b.Cookies() {
				if !strings.Contains(c.Name, "msauth-") || strings.Contains(c.Name, "msauthtest") {
					continue
				}
				if secure := scheme == "https"; c.Secure != secure || strings.HasPrefix(c.Name, "__Host-") != secure || !c.HTTPOnly || c.SameSite != "Lax" || c.Path != "/" {
					t.Errorf("cookie %s: Secure %t, HttpOnly %t, SameSite %q, path %q", c.Name, c.Secure, c.HTTPOnly, c.SameSite, c.Path)
				}
				if len(c.Value) > 500 {
					session++
				}
			}
			if session != 1 || webdriver.Eval[string](b, "document.cookie") != "" {
				t.Errorf("%d cookies of the session, want 1, and none for scripts", session)
			}

			b.Open(a.url + "/session")
			b.Until("customElements.get('msauth-countdown')") // msauth.js runs here too
			webdriver.Eval[any](b, "import(document.getElementById('msauth').href).then(m => m.session.look()).then(s => window.told = s), 0")
			b.Until("window.told?.signed_in && window.told.name === 'Ada Lindqvist'")
			b.Click("#call-api")
			b.Until("document.querySelector('#api-result .good')")

			b.Open(a.url + "/calendar?from=2026-03-04")
			b.Click("button#accept") // consent
			b.At(a.url + "/calendar?from=2026-03-04")
			if got := b.Text(".what"); got != "Report is due" {
				t.Errorf("appointment %q", got)
			}

			b.Click("#sign-out")
			b.At(a.url + "/auth/signed-out")
			for _, c := range b.Cookies() {
				if strings.Contains(c.Name, "msauth-") {
					t.Errorf("after signing out there is a cookie %s", c.Name)
				}
			}

			// A deep link leads to the provider and back.
			b.Open(a.url + "/profile?x=1&y=%2F")
			pick(msauthtest.Bruno)
			b.At(a.url + "/profile?x=1&y=%2F")
			if got := b.Text("#who"); got != "Bruno Okafor" {
				t.Errorf("signed in as %q", got)
			}
			// A sign-out that the person did not click on is confirmed.
			b.Open(a.url + "/auth/logout")
			b.Click("#msauth-confirm-sign-out form button")
			b.At(a.url + "/auth/signed-out")
			if got := ms.Count(msauthtest.Logout); got != 2 {
				t.Errorf("%d requests to the end-session endpoint, want 2", got)
			}
		})
	}
}
