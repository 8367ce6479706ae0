package device

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"

	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

// Whatever a page asks for, the browser proves the device before it does, and once for
// what it asks for at once.
func TestRequestsOfAPage(t *testing.T) {
	parallel(t)
	s := newSite(t)
	s.page("/events", s.auth().Require(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: an event\n\n")
	})))
	s.page("/socket", s.auth().Require(http.HandlerFunc(socket)))
	s.page("/worker.js", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, `addEventListener("activate", e => e.waitUntil(clients.claim()));
			addEventListener("fetch", e => e.respondWith(fetch(e.request)))`)
	}))
	p := s.person(t)
	p.signIn(t, "/page")
	for _, test := range []struct{ name, script, want string }{
		{"fetch", `Promise.all([1, 2, 3, 4, 5, 6].map(n => fetch("/page?" + n).then(r => r.status))).then(String)`, "200,200,200,200,200,200"},
		{"events", `new Promise(done => { const e = new EventSource("/events"); e.onmessage = m => { e.close(); done(m.data) }; e.onerror = () => { e.close(); done("error") } })`, "an event"},
		{"WebSocket", `new Promise(done => { const w = new WebSocket("wss://" + location.host + "/socket"); w.onmessage = m => done(m.data); w.onerror = () => done("error") })`, "a message"},
		{"service worker", `navigator.serviceWorker.ready.then(() => fetch("/page?worker")).then(r => r.status + " " + !!navigator.serviceWorker.controller)`, "200 true"},
	} {
		if test.name == "service worker" {
			chrome.Eval[any](p.Tab, `navigator.serviceWorker.register("/worker.js").then(() => new Promise(done => {
				if (navigator.serviceWorker.controller) done(); else navigator.serviceWorker.oncontrollerchange = done }))`)
		}
		p.drop()
		s.forget()
		if got := chrome.Eval[string](p.Tab, test.script); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if n := s.proofs(); n != 1 {
			t.Errorf("%s: %d proofs", test.name, n)
		}
	}
}

// socket answers the handshake of a WebSocket (RFC 6455) and sends one message.
func socket(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", "websocket")
	w.Header().Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
	w.WriteHeader(http.StatusSwitchingProtocols)
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	const message = "a message"
	fmt.Fprintf(connection, "\x81%c%s", len(message), message)
	_, _ = connection.Read(make([]byte, 100)) // until the browser has it
}

// Another person signs in over a bound session: that binding ends, and theirs begins.
func TestAnotherPerson(t *testing.T) {
	parallel(t)
	s := newSite(t)
	p := s.person(t)
	p.signIn(t, "/page")
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Mia })
	p.Open(s.url + "/auth/login?return_to=/page")
	p.waitBound(t, 0)
	const mia = "hello Mia Müller, bound"
	p.shows(t, "after the other sign-in", "/page", mia)
	if !p.has("ended ServerRequested") {
		t.Errorf("the browser says %q", p.said())
	}
	p.drop()
	s.forget()
	p.shows(t, "after the end of the bound cookie", "/page", mia)
	if n := len(s.answered(refresh)); n != 2 || s.proofs() != 1 {
		t.Errorf("%d requests of the browser, %d proofs", n, s.proofs())
	}
}
