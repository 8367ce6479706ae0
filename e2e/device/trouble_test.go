package device

import (
	"net/http"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// If the device cannot be proved, people come back by way of Microsoft, without a click,
// with a session that is bound anew.
func TestRefreshThatFails(t *testing.T) {
	parallel(t)
	s := newSite(t)
	p := s.person(t)
	p.signIn(t, "/page")
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for _, test := range []struct {
		name, skipped, says string
		answer              http.HandlerFunc
	}{
		// Chromium forgets the binding, and the page's request does not say why.
		{"throttled", "", "ended RefreshFatalError", status(http.StatusTooManyRequests)},
		{"an error", "server_error", "refreshed ServerError TransientHttpError", status(http.StatusInternalServerError)},
		{"broken off", "unreachable", "refreshed Unreachable NetError", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	} {
		s.instead(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == refresh {
				test.answer(w, r)
			}
			return r.URL.Path == refresh
		})
		p.drop()
		s.forget()
		p.Open(s.url + "/page")
		if got := p.Text(); !strings.HasPrefix(got, "hello Ada") {
			t.Errorf("%s: the page shows %q", test.name, got)
		}
		if n := s.ms.Count(msauthtest.Authorize); n != 1 {
			t.Errorf("%s: %d times at Microsoft", test.name, n)
		}
		pages := s.answered("/page")
		if len(pages) != 2 || pages[0].status != http.StatusSeeOther || pages[1].status != http.StatusOK {
			t.Fatalf("%s: %d requests for the page", test.name, len(pages))
		}
		if got := pages[0].r.Header.Get("Secure-Session-Skipped"); !strings.HasPrefix(got, test.skipped) || (got == "") != (test.skipped == "") {
			t.Errorf("%s: skipped %q, want %q", test.name, got, test.skipped)
		}
		if !p.has(test.says) {
			t.Errorf("%s: the browser says %q, want %q", test.name, p.said(), test.says)
		}
		p.waitBound(t, 0)
		s.instead(nil)
		s.forget()
		p.shows(t, test.name+", afterwards", "/page", helloBound)
		if n := s.ms.Count(msauthtest.Authorize); n != 0 {
			t.Errorf("%s, afterwards: %d times at Microsoft", test.name, n)
		}
	}
	p.drop()
	p.goesOn(t, "at the end")
}
