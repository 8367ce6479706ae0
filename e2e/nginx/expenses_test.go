package nginx_test

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

// A replica is one of the processes that serve the app below /expenses/. They
// have the same settings, and no memory in common.
type replica struct {
	name string
	auth *msauth.Middleware

	mu   sync.Mutex
	seen []string // path and Sec-Fetch-Dest of each request
}

func (a *replica) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.seen = append(a.seen, r.URL.Path+" "+r.Header.Get("Sec-Fetch-Dest"))
	a.mu.Unlock()
	switch {
	case strings.HasPrefix(r.URL.Path, "/expenses/auth/"):
		a.auth.ServeHTTP(w, r)
	case r.URL.Path == "/expenses/sw.js": // no secret, and browsers follow no redirect for it
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, `addEventListener('fetch', event => event.respondWith(fetch(event.request)))`)
	default:
		a.auth.Require(http.HandlerFunc(a.page)).ServeHTTP(w, r)
	}
}

func (a *replica) page(w http.ResponseWriter, r *http.Request) {
	s, _ := msauth.FromContext(r.Context())
	if r.URL.Path == "/expenses/api/total" {
		fmt.Fprintf(w, "total for %s from %s", s.User.Name, a.name)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!DOCTYPE html><link rel="icon" href="data:,"><p>hello %s</p><a id="out" href="%s">Sign out</a>
		<script>navigator.serviceWorker.register('/expenses/sw.js')</script>`, s.User.Name, a.auth.LogoutURL())
}

// requests are those for a path, by Sec-Fetch-Dest; without a path all.
func (a *replica) requests(path, dest string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, request := range a.seen {
		if path == "" || request == path+" "+dest {
			n++
		}
	}
	return n
}

// A site as people have it: below a path, behind nginx as docs/proxies.md configures
// it, on two replicas in turns, with a service worker that passes requests on.
func TestVisitBelowAPathWithAServiceWorkerAndTwoReplicas(t *testing.T) {
	t.Parallel()
	ms := msauthtest.NewServer()
	t.Cleanup(ms.Close)
	address := freeAddress(t)
	// Another site than Microsoft's, which is at 127.0.0.1.
	origin := "http://localhost" + address[strings.LastIndex(address, ":"):]
	key := make([]byte, 32)
	rand.Read(key)
	appLog := new(log)
	var replicas []*replica
	upstream := "upstream replicas {\n"
	for _, name := range []string{"one", "two"} {
		auth, err := msauth.New(msauth.Config{
			ClientID: ms.ClientID, ClientSecret: ms.ClientSecret, Authority: ms.URL,
			BaseURL: origin + "/expenses/auth", Keys: [][]byte{key},
			Logger: slog.New(slog.NewTextHandler(appLog, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		a := &replica{name: name, auth: auth}
		server := httptest.NewServer(a)
		t.Cleanup(server.Close)
		replicas = append(replicas, a)
		upstream += "		server " + strings.TrimPrefix(server.URL, "http://") + ";\n"
	}
	startNginx(t, address, upstream+"	}", strings.Replace(documentedLocation(t), "127.0.0.1:8080", "replicas", 1))
	both := func(path, dest string) int {
		return replicas[0].requests(path, dest) + replicas[1].requests(path, dest)
	}

	b := chrome.NewTab(t, chrome.Start(t))
	at := func(address, text string) {
		t.Helper()
		b.Until(fmt.Sprintf("location.href === %q && document.readyState === 'complete' && document.body.innerText.includes(%q)", address, text))
		t.Logf("at %s: %.60q", address, b.Text())
	}
	picker := func() {
		t.Helper()
		b.Until(fmt.Sprintf("location.origin === %q && document.querySelector('button[name=user]')", ms.URL))
		t.Logf("at %.60s: %.60q", chrome.Eval[string](b, "location.href"), b.Text())
	}
	click := func(selector string) {
		t.Helper()
		b.Follow(fmt.Sprintf("document.querySelector(%q).click()", selector))
	}
	fetch := func() string {
		t.Helper()
		return chrome.Eval[string](b, "fetch('/expenses/api/total').then(answer => answer.text())")
	}
	ada := fmt.Sprintf("button[name=user][value='%s']", msauthtest.Ada)

	// A deep link, a picker, and back.
	ms.Set(func(behavior *msauthtest.Behavior) { behavior.AccessTokenLifetime = 2 * time.Second })
	report := origin + "/expenses/report?year=2026&page=2"
	b.Open(report)
	picker()
	click(ada)
	at(report, "hello Ada Lindqvist")

	// The page is loaded again, by the worker.
	chrome.Eval[any](b, "navigator.serviceWorker.ready.then(() => 0)")
	b.Follow("location.reload()")
	b.Until("navigator.serviceWorker.controller")
	at(report, "hello Ada Lindqvist")
	if both("/expenses/report", "empty") == 0 {
		t.Error("no page load came by the worker")
	}
	for range 2 {
		if got := fetch(); !strings.HasPrefix(got, "total for Ada Lindqvist") {
			t.Errorf("a script gets %q", got)
		}
	}

	// A renewal on one replica, known on the other by its cookie alone.
	ms.Set(func(behavior *msauthtest.Behavior) { behavior.AccessTokenLifetime = time.Hour })
	time.Sleep(2100 * time.Millisecond)
	renewals := ms.Count(msauthtest.TokenRefresh)
	from := map[string]bool{}
	for range 4 {
		from[fetch()] = true
	}
	if n := ms.Count(msauthtest.TokenRefresh) - renewals; n != 1 || len(from) != 2 {
		t.Errorf("%d renewals, answers %v, want one renewal and an answer of each replica", n, from)
	}
	b.Open(report)
	at(report, "hello Ada Lindqvist")

	// What links of the pages lead to.
	home := origin + "/expenses/"
	click("#out")
	at(origin+"/expenses/auth/logout", "Sign out?")
	click("main a")
	at(home, "hello Ada Lindqvist")
	b.Open(origin + "/expenses/auth/callback")
	b.Until("document.querySelector('main[id^=msauth]')")
	if got := chrome.Eval[string](b, "[...document.querySelectorAll('main a')].map(a => a.href).join(' ')"); !strings.Contains(" "+got+" ", " "+home+" ") || strings.Contains(" "+got+" ", " "+origin+"/ ") {
		t.Errorf("the page at the callback links to %s", got)
	}
	b.Open(home)
	at(home, "hello Ada Lindqvist")

	// Signing out takes a click more: the worker hides who asked.
	click("#out")
	at(origin+"/expenses/auth/logout", "Sign out?")
	click("main form button")
	at(origin+"/expenses/auth/signed-out", "You are signed out")
	for _, c := range b.Cookies() {
		if c.Domain == "localhost" {
			t.Errorf("the cookie %s is left", c.Name)
		}
	}
	click("main a[href='/expenses/']")
	picker()
	b.Open(report)
	picker()
	click(ada)
	at(report, "hello Ada Lindqvist")

	for _, a := range replicas {
		t.Logf("replica %s: %d requests", a.name, a.requests("", ""))
		if a.requests("", "") < 5 {
			t.Errorf("replica %s served %d requests", a.name, a.requests("", ""))
		}
	}
	if strings.Contains(appLog.String(), "level=ERROR") {
		t.Errorf("log:\n%s", appLog)
	}
	for _, secret := range ms.Secrets() {
		if strings.Contains(appLog.String(), secret) {
			t.Fatal("a token, a code or the client secret is in the log")
		}
	}
}

// documentedLocation is the configuration of nginx below a path in docs/proxies.md.
func documentedLocation(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Below a path prefix")
	_, rest, _ := strings.Cut(section, "```nginx\n")
	snippet, _, ok := strings.Cut(rest, "```")
	if !ok || strings.Count(snippet, "proxy_pass http://127.0.0.1:8080;") != 1 {
		t.Fatalf("docs/proxies.md has no configuration: %q", snippet)
	}
	return snippet
}

// The documented configuration keeps the path; one with a path after the address
// does not, and the app says so.
func TestBelowAPathPrefix(t *testing.T) {
	t.Parallel()
	snippet := documentedLocation(t)
	p := serveBelow(t, "/expenses", snippet, unchanged)
	p.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	v := &person{at: p, jar: map[string]string{}}
	for _, path := range []string{"/expenses/reports?page=2", "/expenses/" + longAddress(1900)[1:]} {
		v = &person{at: p, jar: map[string]string{}}
		end, way := v.follow(p.url + path)
		if end.body != "hello Ada Lindqvist" || end.Request.URL.RequestURI() != path {
			t.Errorf("%q", way)
		}
	}
	if end, way := v.follow(p.url + "/expenses/auth/login?prompt=login"); end.Request.URL.Path != "/expenses/" || end.StatusCode != 200 {
		t.Errorf("a sign-in for nothing in particular: %q", way)
	}
	if strings.Contains(p.log.String(), "unexpected path") {
		t.Errorf("log:\n%s", p.log)
	}

	p = serveBelow(t, "/expenses", strings.Replace(snippet, "127.0.0.1:8080;", "127.0.0.1:8080/;", 1), unchanged)
	p.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	for range 2 {
		v = &person{at: p, jar: map[string]string{}}
		if end, way := v.follow(p.url + "/expenses/reports"); end.StatusCode != 400 || !strings.Contains(end.body, "msauth-app-error") {
			t.Errorf("where the prefix is stripped: %q", way)
		}
	}
	if text := p.log.String(); strings.Count(text, "unexpected path") != 1 || !strings.Contains(text, "base_url="+p.url+"/expenses/auth path=/auth/callback") {
		t.Errorf("log:\n%s", text)
	}
}
