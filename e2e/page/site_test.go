package page

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

func TestMain(m *testing.M) { chrome.Main(m) }

// policy lets a page load its script and ask its own server, and nothing else: no style, no
// text as HTML, no other host.
const policy = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'; report-uri /violation"

// app is the script of the site's page. The tests look at what it has seen.
const app = `
import * as msauth from "%s";
Object.assign(window, {
	msauth, session: msauth.session, events: [], answers: [], violations: [],
	ask(path, init) {
		return msauth.fetch(path, init).then(async r => answers.push(r.status + " " + await r.text()), e => answers.push(e.name));
	},
});
for (const type of ["signin", "change", "ending"]) session.addEventListener(type, e => events.push(type));
session.addEventListener("change", e => {
	events.push((e.detail.old.name || "nobody") + " > " + (e.detail.state.name || "nobody") + (e.detail.other ? ", another person" : ""));
	document.getElementById("private").hidden = true;
});
document.addEventListener("securitypolicyviolation", e => violations.push(e.violatedDirective + " " + e.blockedURI));
addEventListener("pageshow", e => window.persisted = e.persisted);
document.getElementById("act").onclick = () => window.onact?.();
session.look().then(() => window.ready = true);
`

// A site is an app at http://localhost, and a provider at http://127.0.0.1.
type site struct {
	t    *testing.T
	url  string
	ms   *msauthtest.Server
	auth *msauth.Middleware

	mu         sync.Mutex
	instead    func(w http.ResponseWriter, r *http.Request) bool
	served     []string // what the app's own handlers did
	asked      []string // paths below /auth/
	violations []string
	foreign    []string // requests to other hosts
}

func newSite(t *testing.T, changes ...func(*msauth.Config)) *site {
	t.Helper()
	s := &site{t: t, ms: msauthtest.NewServer()}
	t.Cleanup(s.ms.Close)
	server := httptest.NewUnstartedServer(s)
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	s.url = "http://localhost" + address[strings.LastIndex(address, ":"):]
	key := make([]byte, 32)
	rand.Read(key)
	cfg := msauth.Config{
		ClientID: s.ms.ClientID, ClientSecret: s.ms.ClientSecret, Authority: s.ms.URL,
		BaseURL: s.url + "/auth", Keys: [][]byte{key}, Logger: slog.New(slog.DiscardHandler),
	}
	for _, change := range changes {
		change(&cfg)
	}
	auth, err := msauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.auth = auth
	server.Start()
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.violations) > 0 || len(s.foreign) > 0 {
			t.Errorf("violations of the policy: %q; requests to other hosts: %q", s.violations, s.foreign)
		}
		if t.Failed() {
			t.Logf("served %q, asked %q", s.served, s.asked)
		}
	})
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	instead := s.instead
	if strings.HasPrefix(r.URL.Path, "/auth/") {
		s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	}
	s.mu.Unlock()
	switch {
	case instead != nil && instead(w, r):
	case strings.HasPrefix(r.URL.Path, "/auth/"):
		s.auth.ServeHTTP(w, r)
	case r.URL.Path == "/app.js":
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprintf(w, app, s.auth.ScriptURL())
	case r.URL.Path == "/violation":
		report, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.violations = append(s.violations, string(report))
	case strings.HasPrefix(r.URL.Path, "/api/fresh"):
		s.auth.RequireFreshSignIn(time.Second)(http.HandlerFunc(s.api)).ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/api/scopes"):
		s.auth.RequireScopes("Calendars.Read")(http.HandlerFunc(s.api)).ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/api/"):
		s.auth.Require(http.HandlerFunc(s.api)).ServeHTTP(w, r)
	default:
		s.auth.Load(http.HandlerFunc(s.page)).ServeHTTP(w, r)
	}
}

func (s *site) api(w http.ResponseWriter, r *http.Request) {
	session, _ := msauth.FromContext(r.Context())
	body, _ := io.ReadAll(r.Body)
	line := fmt.Sprintf("%s %s %s by %s", r.Method, r.URL.Path, body, session.User.Username)
	s.mu.Lock()
	s.served = append(s.served, line)
	s.mu.Unlock()
	fmt.Fprint(w, line)
}

func (s *site) page(w http.ResponseWriter, r *http.Request) {
	name := "nobody"
	if session, ok := msauth.FromContext(r.Context()); ok {
		name = session.User.Name
	}
	before, _ := strconv.Atoi(r.URL.Query().Get("before"))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>site</title><link rel="icon" href="data:,">
<script type="module" src="/app.js"></script>
<p id="private">private data of %s</p>
<button id="act">Act</button>
<p><a id="in" href="/auth/login">Sign in</a> <a id="out" href="%s">Sign out</a> <a id="away" href="/elsewhere">Away</a>
<form id="outform" method="post" action="%[2]s"><button id="outbutton">Sign out</button></form>
<msauth-countdown before="%[3]d" hidden><p>Ends in <time></time>. <button data-stay>Stay</button></p></msauth-countdown>`, name, s.auth.LogoutURL(), before)
}

// person opens the site's page in a browser of its own.
func (s *site) person() *chrome.Tab {
	s.t.Helper()
	b := chrome.NewWindow(s.t, chrome.Shared(s.t))
	s.watch(b)
	return b
}

// watch notes requests to other hosts than the site and the provider.
func (s *site) watch(b *chrome.Tab) {
	s.t.Helper()
	b.Requests(func(address string) {
		u, err := url.Parse(address)
		if err != nil || u.Scheme == "data" || strings.HasPrefix(address, s.url+"/") || strings.HasPrefix(address, s.ms.URL+"/") {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.foreign = append(s.foreign, address)
	})
}

// open opens a page of the site and waits until its script knows who is signed in.
func (s *site) open(b *chrome.Tab, path string) {
	s.t.Helper()
	b.Open(s.url + path)
	b.Until("window.ready")
}

const (
	ada = `button[data-user="` + msauthtest.Ada + `"]`
	mia = `button[data-user="` + msauthtest.Mia + `"]`
)

// pick chooses an account on Microsoft's page.
func (s *site) pick(b *chrome.Tab, button string) {
	s.t.Helper()
	b.Until("document.querySelector('" + button + "')")
	b.Click(button)
}

// signedIn is a page of somebody who has signed in.
func (s *site) signedIn(path string) *chrome.Tab {
	s.t.Helper()
	b := s.person()
	b.Open(s.url + "/auth/login?return_to=" + url.QueryEscape(path))
	s.pick(b, ada)
	b.Until("window.ready && session.state?.signed_in")
	return b
}

// window waits for the window of a sign-in.
func (s *site) window(b *chrome.Tab) *chrome.Tab {
	s.t.Helper()
	w := b.Window(s.ms.URL)
	s.watch(w)
	return w
}

// expire ends the session without the page's knowledge, here and at Microsoft.
func (s *site) expire(b *chrome.Tab) {
	s.t.Helper()
	for _, c := range b.Cookies() {
		b.DeleteCookie(s.url, c.Name)
		b.DeleteCookie(s.ms.URL, c.Name)
	}
}

// ask has the page send requests in a click.
func (s *site) ask(b *chrome.Tab, script string) {
	s.t.Helper()
	chrome.Eval[any](b, "window.onact = () => { "+script+" }; 0")
	b.Click("#act")
}

func answers(b *chrome.Tab) []string { return chrome.Eval[[]string](b, "answers") }
func events(b *chrome.Tab) []string  { return chrome.Eval[[]string](b, "events") }

// handled is what the app's handlers have done.
func (s *site) handled() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.served)
}

// count counts requests below /auth/.
func (s *site) count(line string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, asked := range s.asked {
		if asked == line {
			n++
		}
	}
	return n
}

// front has f answer in place of the site, where it returns true.
func (s *site) front(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = f
}

// windows waits until a person has so many tabs and windows.
func (s *site) windows(b *chrome.Tab, n int) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(b.Pages()) != n; time.Sleep(25 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("tabs and windows %q, want %d", b.Pages(), n)
		}
	}
}
