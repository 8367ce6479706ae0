package libraries

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/msauth"
	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

func TestMain(m *testing.M) { chrome.Main(m) }

// script is a file of a library, as npm installs it.
func script(t *testing.T, path string) []byte {
	t.Helper()
	code, err := os.ReadFile("node_modules/" + path)
	if err != nil {
		missing(t, err)
	}
	return code
}

func missing(t *testing.T, err error) {
	t.Helper()
	t.Fatalf("%v: run scripts/setup, or: cd e2e/libraries && npm ci", err)
}

// site is an app at http://localhost, whose pages have one library, and a
// provider that signs Ada in at http://127.0.0.1.
type site struct {
	url    string
	ms     *msauthtest.Server
	auth   *msauth.Middleware
	script []byte
	asked  atomic.Int32 // how many requests the library has made
}

func newSite(t *testing.T, script []byte) *site {
	t.Helper()
	s := &site{ms: msauthtest.NewServer(), script: script}
	t.Cleanup(s.ms.Close)
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	server := httptest.NewUnstartedServer(s)
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	s.url = "http://localhost" + address[strings.LastIndex(address, ":"):]
	key := make([]byte, 32)
	rand.Read(key)
	var err error
	s.auth, err = msauth.New(msauth.Config{
		ClientID: s.ms.ClientID, ClientSecret: s.ms.ClientSecret, Authority: s.ms.URL,
		BaseURL: s.url + "/auth", Keys: [][]byte{key}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, name := range []string{"X-Turbo-Request-Id", "X-Up-Version", "X-Inertia"} {
		if r.Header.Get(name) != "" {
			s.asked.Add(1)
			break
		}
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/auth/"):
		s.auth.ServeHTTP(w, r)
	case r.URL.Path == "/library.js":
		w.Header().Set("Content-Type", "text/javascript")
		w.Write(s.script)
	case r.URL.Path == "/gone": // the session is over
		for _, c := range r.Cookies() {
			http.SetCookie(w, &http.Cookie{Name: c.Name, Path: "/", MaxAge: -1})
		}
	default:
		s.auth.Require(http.HandlerFunc(s.page)).ServeHTTP(w, r)
	}
}

func (s *site) page(w http.ResponseWriter, r *http.Request) {
	session, _ := msauth.FromContext(r.Context())
	text := fmt.Sprintf("%s %s: hello %s", r.Method, r.URL.RequestURI(), session.User.Name)
	page, _ := json.Marshal(map[string]any{
		"component": "text", "props": map[string]any{"text": text, "errors": map[string]any{}}, "url": r.URL.RequestURI(), "version": "1",
	})
	if r.Header.Get("X-Inertia") != "" {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Inertia", "true")
		w.Header().Set("Vary", "X-Inertia")
		w.Write(page)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if r.Header.Get("X-Turbo-Request-Id") != "" && r.Method == http.MethodPost {
		w.WriteHeader(http.StatusUnprocessableEntity) // it wants a redirect, or this
	}
	fmt.Fprintf(w, `<!DOCTYPE html><html><head><title>%[1]s</title><link rel="icon" href="data:,"><script src="/library.js" defer></script></head><body>
<main data-page="%[2]s"><p>%[1]s</p>
<a id="link" href="/wanted?x=1" up-follow>link</a>
<a id="overlay" href="/part" up-layer="new">overlay</a>
<form id="form" method="post" action="/change" up-submit><button>form</button></form>
<a id="out" href="%[3]s" up-follow>Sign out</a>
</main>
<turbo-frame id="frame"><p>frame of %[1]s</p>
<a id="part" href="/part">part</a>
<form id="partform" method="post" action="/change"><button>form</button></form>
</turbo-frame>
</body></html>`, html.EscapeString(text), html.EscapeString(string(page)), s.auth.LogoutURL())
}

// A step is what somebody does on a page, when nobody is signed in any more.
type step struct {
	name   string
	do     string // a script
	with   string // what is shown to those who are signed in
	page   string // where the page that asks to sign in is shown; without it: straight to Microsoft
	backTo string
}

const (
	seen   = "/seen?y=2"
	wanted = "/wanted?x=1"
)

func (s *site) run(t *testing.T, b *chrome.Tab, step step) {
	t.Helper()
	greeted := func(path string) string {
		return fmt.Sprintf("location.href === %q && document.readyState === 'complete' && document.querySelector('main').innerText.includes('GET %s: hello Ada')", s.url+path, path)
	}
	for _, in := range []bool{true, false} {
		b.Open(s.url + seen)
		b.Until(greeted(seen))
		b.Until("window.Turbo || window.up || window.router")
		asked, signIns := s.asked.Load(), s.ms.Count(msauthtest.Authorize)
		if in { // the control: the library makes the request, and the page stays
			chrome.Eval[any](b, "window.stays = true; "+step.do+"; 0")
			b.Until(fmt.Sprintf("window.stays && document.body.innerText.includes(%q)", step.with+": hello Ada"))
			if s.asked.Load() == asked {
				t.Error("the library has not asked")
			}
			continue
		}
		chrome.Eval[any](b, "fetch('/gone').then(() => 0)")
		chrome.Eval[any](b, "window.old = true; "+step.do+"; 0")
		if step.page != "" {
			b.Until(fmt.Sprintf("document.readyState === 'complete' && document.body && document.querySelector(%q)?.innerText.includes('You are not signed in')", step.page))
			if s.ms.Count(msauthtest.Authorize) != signIns {
				t.Error("somebody has been at Microsoft before the link was clicked")
			}
			t.Logf("at %s: %.300q", chrome.Eval[string](b, "location.href"), b.Text())
			b.Follow("[...document.querySelectorAll('a')].find(a => a.innerText === 'Sign in').click()")
		}
		b.Until("!window.old && " + greeted(step.backTo))
		if s.asked.Load() == asked || s.ms.Count(msauthtest.Authorize) != signIns+1 {
			t.Errorf("%d requests of the library, %d sign-ins", s.asked.Load()-asked, s.ms.Count(msauthtest.Authorize)-signIns)
		}
		t.Logf("back at %s", chrome.Eval[string](b, "location.href"))
	}
}

func click(id string) string  { return "document.getElementById('" + id + "').click()" }
func submit(id string) string { return "document.getElementById('" + id + "').requestSubmit()" }

func TestTurbo(t *testing.T) {
	s := newSite(t, script(t, "@hotwired/turbo/dist/turbo.es2017-umd.js"))
	browser := chrome.Shared(t)
	for _, step := range []step{
		{"a link", click("link"), "GET " + wanted, "", wanted},
		{"a link that the mouse was on", `link.dispatchEvent(new MouseEvent('mouseenter')); setTimeout(() => link.click(), 500)`, "GET " + wanted, "", wanted},
		{"a form", submit("form"), "POST /change", "body > main", seen},
		{"a frame", click("part"), "frame of GET /part", "body > main", seen},
		{"a form in a frame", submit("partform"), "frame of POST /change", "body > main", seen},
	} {
		t.Run(step.name, func(t *testing.T) { s.run(t, chrome.NewWindow(t, browser), step) })
	}
}

func TestUnpoly(t *testing.T) {
	s := newSite(t, script(t, "unpoly/unpoly.js"))
	browser := chrome.Shared(t)
	for _, step := range []step{
		{"a link", click("link"), "GET " + wanted, "body > main", wanted},
		{"a form", submit("form"), "POST /change", "body > main", seen},
		{"a new overlay", click("overlay"), "GET /part", "body > main", seen},
	} {
		t.Run(step.name, func(t *testing.T) { s.run(t, chrome.NewWindow(t, browser), step) })
	}
}

func TestInertia(t *testing.T) {
	script(t, "@inertiajs/core/dist/index.js")
	code, err := exec.Command("node_modules/.bin/esbuild", "inertia.js", "--bundle", "--log-level=error").Output()
	if err != nil {
		missing(t, err)
	}
	s := newSite(t, code)
	browser := chrome.Shared(t)
	for _, step := range []step{
		{"a link", "router.visit('/wanted?x=1')", "GET " + wanted, "", wanted},
		{"a form", "router.post('/change', {text: 'x'})", "POST /change", "", seen},
	} {
		t.Run(step.name, func(t *testing.T) { s.run(t, chrome.NewWindow(t, browser), step) })
	}
}

// What a link in an overlay leads to is shown there.
func TestUnpolyInAnOverlay(t *testing.T) {
	s := newSite(t, script(t, "unpoly/unpoly.js"))
	b := chrome.NewWindow(t, chrome.Shared(t))
	b.Open(s.url + seen)
	b.Until("window.up && document.readyState === 'complete'")
	chrome.Eval[any](b, click("overlay")+"; 0")
	b.Until("document.querySelector('up-modal')?.innerText.includes('GET /part: hello Ada')")
	chrome.Eval[any](b, "fetch('/gone').then(() => 0)")
	// Unpoly looks where the mouse is.
	chrome.Eval[any](b, `(link => {
		const {x, y} = link.getBoundingClientRect()
		link.dispatchEvent(new MouseEvent('mousedown', {bubbles: true, cancelable: true, clientX: x + 3, clientY: y + 3}))
		link.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true, clientX: x + 3, clientY: y + 3}))
	})(document.querySelector('up-modal #link'))`)
	b.Until("document.querySelector('up-modal')?.innerText.includes('You are not signed in')")
	t.Logf("at %s: %.300q", chrome.Eval[string](b, "location.href"), b.Text())
	b.Follow("document.querySelector('up-modal main a[target=_top]').click()")
	b.Until(fmt.Sprintf("location.href === %q && document.querySelector('main')?.innerText.includes('GET /part: hello Ada')", s.url+"/part"))
}

// A link to sign out is a link as any other.
func TestSigningOut(t *testing.T) {
	for _, library := range []struct {
		name, path string
		asks       bool
	}{
		{"Turbo", "@hotwired/turbo/dist/turbo.es2017-umd.js", false},
		{"Unpoly", "unpoly/unpoly.js", true},
	} {
		t.Run(library.name, func(t *testing.T) {
			s := newSite(t, script(t, library.path))
			b := chrome.NewWindow(t, chrome.Shared(t))
			b.Open(s.url + seen)
			b.Until("document.readyState === 'complete' && (window.Turbo || window.up)")
			chrome.Eval[any](b, click("out")+"; 0")
			if library.asks {
				b.Until("document.body.innerText.includes('Sign out?')")
				b.Follow("document.querySelector('main form button').click()")
			}
			b.Until(fmt.Sprintf("location.href === %q && document.body.innerText.includes('You are signed out')", s.url+"/auth/signed-out"))
			if s.asked.Load() != 1 {
				t.Errorf("%d requests of the library, want 1", s.asked.Load())
			}
		})
	}
}
