package device

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// What a click on another site begins, Chromium treats as that site's request until a page
// of this site is there. It leaves cookies with SameSite=Lax out of the requests that it
// makes for itself, and accepts none from them.

func TestPersonWhoClicksAtMicrosoft(t *testing.T) {
	parallel(t)
	s := newSite(t)
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = "" })
	p := s.person(t)
	p.Open(s.url + "/page")
	p.Follow(`[...document.querySelectorAll("button")].find(b => b.innerText.includes("Ada")).click()`)
	p.waitBound(t, 0)
	s.forget()
	p.shows(t, "the next page", "/page", helloBound)
	p.shows(t, "and the one after it", "/page", helloBound)
	p.drop()
	p.goesOn(t, "after the end of the bound cookie")
	fmt.Println(s.requests(), p.said())
}

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
		p.Open(strings.Replace(mail.URL, "127.0.0.1", "127.0.0.1", 1))
		p.Follow(`document.links[0].click()`)
		if got := p.Text(); got != helloBound || s.proofs() != 1 || s.ms.Count(msauthtest.Authorize) != 0 {
			t.Errorf("the page shows %q after %d proofs, %d times at Microsoft", got, s.proofs(), s.ms.Count(msauthtest.Authorize))
		}
		fmt.Println(s.requests(), p.said())
	}
	p.drop()
	p.goesOn(t, "an address that is typed")
}
