package device

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

// A sensitive page takes a proof of the last two minutes. The browser is sent to the
// same address, proves itself on the way, and repeats what it has sent.
func TestRequireDevice(t *testing.T) {
	parallel(t)
	s := newSite(t)
	html := func(text func(*http.Request) string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, `<link rel="icon" href="data:,">`, text(r))
		})
	}
	s.page("/pay", s.auth().RequireDevice(2*time.Minute)(html(func(r *http.Request) string {
		return r.Method + " of " + r.FormValue("amount")
	})))
	s.page("/form", s.auth().Require(html(func(*http.Request) string {
		return `<form method="post" action="/pay"><input name="amount" value="7"><button>Pay</button></form>`
	})))
	p := s.person(t)
	p.signIn(t, "/form")
	for _, test := range []struct {
		name, method, want string
		ask                func() string
	}{
		{"a page", "GET", "GET of 5", func() string { p.Open(s.url + "/pay?amount=5"); return p.Text() }},
		{"a script", "POST", "POST of 6", func() string {
			return chrome.Eval[string](p.Tab, `fetch("/pay", {method: "POST", body: new URLSearchParams({amount: 6})}).then(r => r.text())`)
		}},
		{"a form", "POST", "POST of 7", func() string {
			p.Open(s.url + "/form")
			p.Follow(`document.querySelector("button").click()`)
			return p.Text()
		}},
	} {
		p.age(t, 2*time.Minute+time.Second)
		s.forget()
		if got := test.ask(); !strings.HasSuffix(strings.TrimSpace(got), test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		asked := s.answered("/pay")
		if len(asked) != 2 || asked[0].status != http.StatusTemporaryRedirect || asked[1].status != http.StatusOK || asked[1].r.Method != test.method || s.proofs() != 1 {
			t.Errorf("%s: %d proofs, %d requests", test.name, s.proofs(), len(asked))
		}
		if n := s.ms.Count(msauthtest.Authorize); n != 0 {
			t.Errorf("%s: %d times at Microsoft", test.name, n)
		}
	}
	// The proof lasts.
	s.forget()
	p.Open(s.url + "/pay?amount=8")
	if got := p.Text(); got != "GET of 8" || len(s.answered("/pay")) != 1 || len(s.answered(refresh)) != 0 {
		t.Errorf("once more: %q", got)
	}

	// If the proof fails, people come back by way of Microsoft, and there is no loop.
	s.instead(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == refresh {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return r.URL.Path == refresh
	})
	p.age(t, 2*time.Minute+time.Second)
	s.forget()
	p.Open(s.url + "/pay?amount=9")
	if got := p.Text(); got != "GET of 9" || s.ms.Count(msauthtest.Authorize) != 1 || len(s.answered("/pay")) != 3 {
		t.Errorf("without a proof: %d times at Microsoft, %d requests, the page shows %q", s.ms.Count(msauthtest.Authorize), len(s.answered("/pay")), got)
	}
}
