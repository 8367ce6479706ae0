package device

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// What a click on another site begins, Chromium treats as that site's request until a page
// of this site is there. From the requests that it makes for itself meanwhile it leaves out
// cookies with SameSite=Lax, and it keeps none from their answers.
func TestPersonWhoClicksAtMicrosoft(t *testing.T) {
	for name, binding := range map[string]msauth.DeviceBinding{"offered": msauth.DeviceBindingOffered, "required": msauth.DeviceBindingRequired} {
		t.Run(name, func(t *testing.T) {
			parallel(t)
			s := newSite(t, func(c *msauth.Config) { c.DeviceBinding = binding })
			s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = "" })
			p := s.person(t)
			p.Open(s.url + "/page")
			p.Follow(`[...document.querySelectorAll("button")].find(b => b.innerText.includes("Ada")).click()`)
			p.waitBound(t, 0)
			if binding == msauth.DeviceBindingRequired {
				p.Until(`document.body.innerText.includes("bound")`) // by itself
			}
			p.shows(t, "the next page", "/page", helloBound)
			p.shows(t, "and the one after it", "/page", helloBound)
			if s.auth().Stats().Devices.Registered != 1 {
				t.Errorf("stats %+v", s.auth().Stats().Devices)
			}
			p.drop()
			p.goesOn(t, "after the end of the bound cookie")
		})
	}
}

// A link in a mail, as it is read in a browser, leads to a page while the bound cookie is
// over.
func TestLinkOnAnotherSite(t *testing.T) {
	parallel(t)
	s := newSite(t)
	p := s.person(t)
	p.signIn(t, "/page")
	mail := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `<!DOCTYPE html><link rel="icon" href="data:,"><a href="%s/page">look at this</a>`, s.url)
	}))
	defer mail.Close()
	for range 2 {
		p.drop()
		s.forget()
		p.Open(mail.URL)
		p.Follow(`document.links[0].click()`)
		if got := p.Text(); got != helloBound || s.proofs() != 1 || s.ms.Count(msauthtest.Authorize) != 0 {
			t.Errorf("the page shows %q after %d proofs, %d times at Microsoft", got, s.proofs(), s.ms.Count(msauthtest.Authorize))
		}
	}
	p.drop()
	p.goesOn(t, "an address that is typed")
}
