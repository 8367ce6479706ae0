package cookies

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"example.com/msauth"
	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

// workers are what service workers do with the requests of a site.
var workers = []struct {
	name, answer string
	signsIn      bool // page loads can lead to Microsoft
}{
	{"the request", `e.respondWith(fetch(e.request))`, true},
	// Forms have to be left alone by a worker that keeps no more than the address.
	{"the address", `if (e.request.method === 'GET') e.respondWith(fetch(e.request.url))`, false},
	{"a new request, same-origin", `e.respondWith(fetch(new Request(e.request, {mode: 'same-origin'})))`, true},
	{"a new request, cors", `e.respondWith(fetch(new Request(e.request, {mode: 'cors'})))`, true},
	{"what is cached, or the request", `e.respondWith(caches.match(e.request).then(found => found || fetch(e.request)))`, true},
}

// work registers a service worker and waits until it has the page.
func (s *site) work(b *chrome.Tab, answer string) {
	s.page("/sw.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprintf(w, `addEventListener('install', () => skipWaiting());
			addEventListener('activate', e => e.waitUntil(clients.claim()));
			addEventListener('fetch', e => { %s });`, answer)
	})
	b.Open(s.url + "/public/")
	chrome.Eval[any](b, `navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready).then(() => 0)`)
	b.Until(`navigator.serviceWorker.controller`)
}

// A service worker hides who asked: what another site wants can look like a
// wish of this one's.
func TestServiceWorkersSignNobodyOut(t *testing.T) {
	for _, worker := range workers {
		t.Run(worker.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, false)
			s.page("/form", html(`<form id="out" method="post" action="/auth/logout"></form>`))
			evil := elsewhere(t, "127.0.0.1", html(`<a id="link" href="`+s.url+`/auth/logout">x</a><form id="form" method="post" action="`+s.url+`/auth/logout"></form>`))
			b := newTab(t)
			s.signIn(t, b, msauthtest.Ada)
			s.work(b, worker.answer)
			for _, do := range []string{"document.querySelector('#link').click()", "document.querySelector('#form').submit()"} {
				asked := s.outs.Load()
				b.Open(evil)
				b.Follow(do)
				if got := b.Text(); !strings.Contains(got, "Sign out?") || s.outs.Load() == asked {
					t.Errorf("%s from another site shows %q", do, got)
				}
				s.greets(t, b, "Ada")
			}
			// On pages of the site, a link and a form work, with a click more.
			for _, do := range []string{"link", "form"} {
				if do == "link" {
					b.Open(s.url + "/public/")
					b.Follow("document.querySelector('#out').click()")
				} else {
					b.Open(s.url + "/form")
					b.Follow("document.querySelector('#out').submit()")
				}
				if strings.Contains(b.Text(), "Sign out?") {
					b.Follow("document.querySelector('form button').click()")
				} else if do == "link" || worker.signsIn {
					t.Errorf("a %s of the site signs out at once: what tells it from another site's?", do)
				}
				b.Until("location.pathname === '/auth/signed-out'")
				s.greets(t, b, "nobody")
				if do == "form" || !worker.signsIn {
					break
				}
				s.signIn(t, b, msauthtest.Ada)
			}
			// A page that needs a sign-in comes back to itself, and never to the
			// script of the worker.
			b.Open(s.url + "/deep?x=1")
			if !worker.signsIn {
				if got := b.Text(); !strings.Contains(got, `"login_url":"/auth/login"`) {
					t.Errorf("the page shows %q", got)
				}
				return
			}
			if got := chrome.Eval[string](b, "location.pathname + location.search"); got != "/deep?x=1" || !strings.HasPrefix(b.Text(), "hello Ada") {
				t.Errorf("at %s, showing %q", got, b.Text())
			}
			// So does the link of the sign-in page, and one to sign in.
			s.page("/in", html(`<a id="in" href="/auth/login?return_to=%2Fdeep%3Fx%3D2">x</a>`))
			b.Open(s.url + "/in")
			b.Follow("document.querySelector('#in').click()")
			b.Until("location.pathname + location.search === '/deep?x=2'")
		})
	}
}

// entries is a TokenStore that forgets.
type entries struct {
	sync.Mutex
	of map[string]msauth.StoredTokens
}

func (e *entries) Load(_ context.Context, user string) (msauth.StoredTokens, error) {
	e.Lock()
	defer e.Unlock()
	if t, ok := e.of[user]; ok {
		return t, nil
	}
	return msauth.StoredTokens{}, msauth.ErrNoTokens
}

func (e *entries) Save(_ context.Context, user string, old int64, t msauth.StoredTokens) error {
	e.Lock()
	defer e.Unlock()
	if e.of[user].Version != old {
		return msauth.ErrConflict
	}
	e.of[user] = t
	return nil
}

func (e *entries) Delete(_ context.Context, user string) error {
	e.Lock()
	defer e.Unlock()
	delete(e.of, user)
	return nil
}

func TestServiceWorkersConnectNobody(t *testing.T) {
	t.Parallel()
	kept := &entries{of: map[string]msauth.StoredTokens{}}
	s := newSite(t, false, func(c *msauth.Config) {
		c.Tokens = kept
		c.User = func(*http.Request) string { return "zoe" }
	})
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	s.page("/connect", s.auth.Connect("/public/").ServeHTTP)
	form := `<form id="form" method="post" action="` + s.url + `/connect"></form>`
	s.page("/form", html(form))
	evil := elsewhere(t, "127.0.0.1", html(form))
	b := newTab(t)
	s.work(b, workers[2].answer)
	connected := func() bool {
		_, err := kept.Load(t.Context(), s.auth.StoredUser("zoe"))
		return err == nil
	}
	b.Open(evil)
	b.Follow("document.querySelector('#form').submit()")
	if got := b.Text(); !strings.Contains(got, "Connect a Microsoft account?") || connected() {
		t.Errorf("another site's form shows %q; connected: %t", got, connected())
	}
	b.Open(s.url + "/form")
	b.Follow("document.querySelector('#form').submit()")
	b.Follow("document.querySelector('form button').click()")
	b.Until("location.pathname === '/public/'")
	if !connected() {
		t.Error("the person's own form, and a click, connect nothing")
	}
}
