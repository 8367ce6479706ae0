package device

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"example.com/msauth"
	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

// The browser registers a key for the answer of the sign-in, which is a redirect, and
// forgets it when the person signs out.
func TestSessionIsBoundUntilSignOut(t *testing.T) {
	parallel(t)
	s := newSite(t)
	p := s.person(t)
	p.Open(s.url + "/page")
	p.waitBound(t, 0)
	p.shows(t, "after the registration", "/page", helloBound)
	if list := s.answered("/auth/callback"); len(list) != 1 || list[0].status != http.StatusSeeOther || list[0].header.Get("Secure-Session-Registration") == "" {
		t.Error("the answer of the sign-in is no redirect that offers to bind the session")
	}
	if n := len(s.answered(register)); n != 1 {
		t.Errorf("%d registrations", n)
	}
	if stats := s.auth().Stats().Devices; stats.Offered != 1 || stats.Registered != 1 || stats.Refreshed != 0 {
		t.Errorf("stats %+v", stats)
	}
	if c := p.cookie(bound); c == nil || !c.Secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteNone || time.Until(time.Unix(int64(c.Expires), 0)) > 10*time.Minute {
		t.Errorf("the bound cookie is kept as %+v", c)
	}

	s.forget()
	p.Follow(`location.href = "` + s.auth().LogoutURL() + `"`)
	if got := p.Text(); !strings.HasPrefix(got, "You are signed out") {
		t.Errorf("signing out shows %q", got)
	}
	ended := s.answered(refresh)
	if len(ended) != 1 || ended[0].status != http.StatusOK || !strings.Contains(ended[0].body, `"continue":false`) {
		t.Errorf("after signing out: %+v", ended)
	}
	if !p.has("ended ServerRequested") {
		t.Errorf("the browser says %q", p.said())
	}
	s.forget()
	p.shows(t, "signed out", "/public/", "hello nobody")
	if n := len(s.answered(refresh)); n != 0 {
		t.Errorf("%d refreshes of a binding that has ended", n)
	}
	for _, name := range []string{session, bound} {
		if p.cookie(name) != nil {
			t.Errorf("the cookie %s is left", name)
		}
	}
}

// People notice nothing when the bound cookie has ended, also if the refresh is slow.
func TestPageAfterTheEndOfTheBoundCookie(t *testing.T) {
	parallel(t)
	s := newSite(t)
	p := s.person(t)
	p.signIn(t, "/page")
	for _, delay := range []time.Duration{0, 0, 2 * time.Second} {
		s.instead(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == refresh {
				time.Sleep(delay)
			}
			return false
		})
		p.drop()
		p.goesOn(t, "after the end of the bound cookie")
	}
}

func TestCopyOfAllCookies(t *testing.T) {
	parallel(t)
	s := newSite(t)
	owner := s.person(t)
	owner.signIn(t, "/page")
	thief := s.person(t)
	for _, c := range owner.Cookies() {
		if strings.HasPrefix(c.Name, session) {
			thief.SetCookie(s.url, c)
		}
	}
	thief.shows(t, "the copy, while the bound cookie lasts", "/page", helloBound)

	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = "" }) // nobody is signed in there at Microsoft
	for _, test := range []struct {
		name string
		end  func()
	}{
		{"with a bound cookie whose time is over", func() { thief.age(t, 10*time.Minute) }},
		{"without the bound cookie", thief.drop},
	} {
		test.end()
		s.forget()
		thief.Open(s.url + "/page")
		if got := thief.Text(); strings.Contains(got, "hello") || s.ms.Count(msauthtest.Authorize) != 1 {
			t.Errorf("the copy %s: %d times at Microsoft, the page shows %q", test.name, s.ms.Count(msauthtest.Authorize), got)
		}
		thief.shows(t, "the copy "+test.name, "/public/", "hello nobody")
		if n := len(s.answered(refresh)); n != 0 {
			t.Errorf("the copy %s: %d refreshes without a key", test.name, n)
		}
	}
	owner.shows(t, "the owner", "/page", helloBound)
	owner.drop()
	owner.goesOn(t, "the owner, after the end of the bound cookie")
}

// Two processes answer in turns, and know nothing of each other. Then their keys change.
func TestReplicasAndOtherKeys(t *testing.T) {
	parallel(t)
	s := newSite(t)
	s.serve(s.middleware(), s.middleware())
	p := s.person(t)
	p.signIn(t, "/page")
	for _, other := range []bool{false, true} { // so that each has every part
		p.drop()
		p.goesOn(t, "over two processes")
		if other {
			p.shows(t, "at the other process", "/page", helloBound)
		}
	}
	s.cfg.Keys = [][]byte{newKey(), s.cfg.Keys[0]}
	s.serve(s.middleware(), s.middleware())
	p.shows(t, "after other keys", "/page", helloBound)
	p.drop()
	p.goesOn(t, "after other keys")
}

// The key is still there when the browser is started again. When it is lost, people come
// back by way of Microsoft.
func TestBrowserIsStartedAgain(t *testing.T) {
	parallel(t)
	s := newSite(t)
	p := s.person(t)
	p.signIn(t, "/page")
	p.stop()
	p.start(t)
	p.shows(t, "started again", "/page", helloBound)
	p.drop()
	p.goesOn(t, "started again, after the end of the bound cookie")
	if n := len(s.answered(register)); n != 0 {
		t.Errorf("%d registrations", n)
	}

	identifier := s.answered(refresh)[0].r.Header.Get("Sec-Secure-Session-Id")
	p.ForgetDeviceSession("https://localhost", identifier)
	p.shows(t, "without the key, while the bound cookie lasts", "/page", helloBound)
	p.drop()
	s.forget()
	p.Open(s.url + "/page")
	if got := p.Text(); !strings.HasPrefix(got, "hello Ada") || s.ms.Count(msauthtest.Authorize) != 1 || len(s.answered(refresh)) != 0 {
		t.Errorf("without the key: %d times at Microsoft, the page shows %q", s.ms.Count(msauthtest.Authorize), got)
	}
	p.waitBound(t, 0)
	p.shows(t, "with another key", "/page", helloBound)
}

// The binding is for the pages of the app, and for no others of its origin.
func TestAppBelowAPath(t *testing.T) {
	parallel(t)
	s := newSite(t, func(c *msauth.Config) { c.BaseURL = strings.TrimSuffix(c.BaseURL, "/auth") + "/expenses/auth" })
	for _, path := range []string{"/", "/other/page", "/expenses-old/page"} {
		s.page(path, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("another app")) }))
	}
	p := s.person(t)
	p.Open(s.url + "/expenses/list")
	eventually(t, "the bound cookie", func() bool { return p.cookie(bound) != nil })
	p.drop()
	s.forget()
	for _, path := range []string{"/", "/other/page", "/expenses-old/page"} {
		p.shows(t, "elsewhere", path, "another app")
	}
	if n := len(s.answered("/expenses/auth/device/refresh")); n != 0 {
		t.Errorf("%d refreshes for pages of other apps", n)
	}
	for _, path := range []string{"/expenses/", "/expenses/list"} {
		p.drop()
		s.forget()
		p.shows(t, path, path, helloBound)
		if n := s.ms.Count(msauthtest.Authorize); n != 0 {
			t.Errorf("%s: %d times at Microsoft", path, n)
		}
	}
}

// Where binding is required, the first page waits for it, and goes on by itself.
func TestRequiredBinding(t *testing.T) {
	parallel(t)
	s := newSite(t, func(c *msauth.Config) { c.DeviceBinding = msauth.DeviceBindingRequired })
	p := s.person(t)
	seen := make(chan struct{})
	s.instead(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == register {
			<-seen
		}
		return false
	})
	p.Open(s.url + "/page?tab=2")
	if got := p.Text(); !strings.Contains(got, "being bound to this device") {
		t.Errorf("at first the page shows %q", got)
	}
	close(seen)
	p.Until(`document.body.innerText.startsWith("hello")`)
	if got := p.Text(); got != helloBound {
		t.Errorf("then it shows %q", got)
	}
	if got := chrome.Eval[string](p.Tab, "location.href"); got != s.url+"/page?tab=2" {
		t.Errorf("at %s", got)
	}
	if n := s.ms.Count(msauthtest.Authorize); n != 1 {
		t.Errorf("%d times at Microsoft", n)
	}
}
