package device

import (
	"net/http"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

func TestSessionIsBound(t *testing.T) {
	parallel(t)
	s := newSite(t)
	p := s.person(t)
	p.Open(s.url + "/page")
	p.waitBound(t, 0)
	p.shows(t, "after the registration", "/page", helloBound)
	for _, r := range s.answered("/auth/callback") {
		if r.status != http.StatusSeeOther || r.header.Get("Secure-Session-Registration") == "" {
			t.Errorf("the answer of the sign-in: status %d, %v", r.status, r.header)
		}
	}
	if list := s.answered(register); len(list) != 1 {
		t.Errorf("%d registrations", len(list))
	}
	if list := s.answered(refresh); len(list) != 0 {
		t.Errorf("%d refreshes", len(list))
	}
	if stats := s.auth().Stats().Devices; stats.Offered != 1 || stats.Registered != 1 || stats.Refused != 0 || stats.Unproved != 0 {
		t.Errorf("stats %+v", stats)
	}
}

// People notice nothing when the bound cookie has ended.
func TestPageAfterTheEndOfTheBoundCookie(t *testing.T) {
	parallel(t)
	s := newSite(t)
	p := s.person(t)
	p.signIn(t, "/page")
	for range 2 {
		p.drop()
		s.forget()
		p.shows(t, "after the end", "/page", helloBound)
		proofs := 0
		for _, r := range s.answered(refresh) {
			if r.r.Header.Get("Secure-Session-Response") != "" && r.status == http.StatusOK {
				proofs++
			}
		}
		if pages := s.answered("/page"); proofs != 1 || len(pages) != 1 || pages[0].status != http.StatusOK {
			t.Errorf("%d proofs, %d pages", proofs, len(pages))
		}
		if n := s.ms.Count(msauthtest.Authorize); n != 0 {
			t.Errorf("%d times through Microsoft", n)
		}
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
	thief.shows(t, "within the life of the bound cookie", "/page", helloBound)

	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = "" }) // nobody is signed in at Microsoft there
	thief.drop()
	s.forget()
	thief.Open(s.url + "/page")
	if got := thief.Text(); strings.Contains(got, "hello") || s.ms.Count(msauthtest.Authorize) != 1 {
		t.Errorf("after the end of the bound cookie: %d times at Microsoft, the page shows %q", s.ms.Count(msauthtest.Authorize), got)
	}
	thief.shows(t, "after the end of the bound cookie", "/public/", "hello nobody")
	if n := len(s.answered(refresh)); n != 0 {
		t.Errorf("%d refreshes in a browser without a key", n)
	}

	owner.shows(t, "the owner", "/page", helloBound)
	owner.drop()
	owner.shows(t, "the owner, after a proof", "/page", helloBound)
}
