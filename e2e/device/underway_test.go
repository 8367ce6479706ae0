package device

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

// Tabs that go on at the same moment share one proof.
func TestSeveralTabs(t *testing.T) {
	parallel(t)
	s := newSite(t)
	p := s.person(t)
	p.signIn(t, "/page")
	tabs := []*chrome.Tab{p.Tab, p.Beside(), p.Beside()}
	for _, tab := range tabs[1:] {
		tab.Open(s.url + "/page")
	}
	p.drop()
	s.forget()
	var all sync.WaitGroup
	for i, tab := range tabs {
		all.Go(func() { tab.Open(fmt.Sprintf("%s/page?tab=%d", s.url, i)) })
	}
	all.Wait()
	for i, tab := range tabs {
		if got := tab.Text(); got != helloBound {
			t.Errorf("tab %d shows %q", i, got)
		}
	}
	if pages := s.answered("/page"); s.proofs() != 1 || len(pages) != len(tabs) || s.ms.Count(msauthtest.Authorize) != 0 {
		t.Errorf("%d proofs, %d requests for the page, %d times at Microsoft", s.proofs(), len(pages), s.ms.Count(msauthtest.Authorize))
	}
}

// What the browser fetches before anybody has clicked needs the proof too, and is worth as
// much as the page itself.
func TestPrefetch(t *testing.T) {
	parallel(t)
	s := newSite(t)
	p := s.person(t)
	p.signIn(t, "/page")
	for i, how := range []string{
		`const l = document.createElement("link"); l.rel = "prefetch"; l.href = path; document.head.append(l)`,
		`const r = document.createElement("script"); r.type = "speculationrules"; r.text = JSON.stringify({prefetch: [{urls: [path], eagerness: "immediate"}]}); document.head.append(r)`,
	} {
		path := fmt.Sprintf("/page%d", i)
		p.drop()
		s.forget()
		chrome.Eval[any](p.Tab, fmt.Sprintf(`(() => { const path = %q; %s })()`, path, how))
		eventually(t, "the prefetch of "+path, func() bool { return len(s.answered(path)) > 0 })
		got := s.answered(path)[0]
		if got.r.Header.Get("Sec-Purpose") == "" {
			t.Errorf("%s: no prefetch: %v", path, got.r.Header)
		}
		if got.status != http.StatusOK || s.proofs() != 1 {
			t.Errorf("%s: status %d after %d proofs", path, got.status, s.proofs())
		}
		p.shows(t, "the page that was prefetched", path, helloBound)
		if s.proofs() != 1 || s.ms.Count(msauthtest.Authorize) != 0 {
			t.Errorf("%s: %d proofs, %d times at Microsoft", path, s.proofs(), s.ms.Count(msauthtest.Authorize))
		}
	}
}

// Connections that are open when the bound cookie ends go on. When they break off, the
// browser proves the device before it connects again.
func TestConnectionsOutlastTheBoundCookie(t *testing.T) {
	parallel(t)
	s := newSite(t)
	next := make(chan string) // what the server says, "" to close the connection
	s.page("/events", s.auth().Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "retry: 10\n\n")
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case text := <-next:
				if text == "" {
					return
				}
				fmt.Fprintf(w, "data: %s\n\n", text)
			case <-r.Context().Done():
				return
			}
		}
	})))
	p := s.person(t)
	p.signIn(t, "/page")
	say := func(text string) {
		t.Helper()
		select {
		case next <- text:
		case <-time.After(patience):
			t.Fatalf("nobody listens to %q", text)
		}
	}
	chrome.Eval[any](p.Tab, `(() => {
		window.seen = "";
		window.events = new EventSource("/events");
		window.events.onmessage = m => window.seen += m.data + " ";
	})()`)
	say("one")
	p.Until(`window.seen === "one "`)
	p.drop()
	s.forget()
	say("two") // over the connection from before
	p.Until(`window.seen === "one two "`)
	if n := len(s.answered("")); n != 0 {
		t.Errorf("%d requests while the connection is open", n)
	}
	say("")
	say("three") // over the one after it
	p.Until(`window.seen === "one two three "`)
	if s.proofs() != 1 || s.ms.Count(msauthtest.Authorize) != 0 {
		t.Errorf("%d proofs, %d times at Microsoft", s.proofs(), s.ms.Count(msauthtest.Authorize))
	}
	chrome.Eval[any](p.Tab, `window.events.close()`)
}
