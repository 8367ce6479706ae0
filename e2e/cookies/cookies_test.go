package cookies

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"example.com/msauth"
	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

func TestMain(m *testing.M) { chrome.Main(m) }

func newTab(t *testing.T) *chrome.Tab {
	t.Helper()
	return chrome.NewTab(t, chrome.Shared(t))
}

// site is an app at http://localhost and a provider at http://127.0.0.1:
// another site, as Microsoft is.
type site struct {
	url  string
	ms   *msauthtest.Server
	auth *msauth.Middleware
	name string       // of the session cookie
	outs atomic.Int32 // requests to the sign-out route that came in

	mu    sync.Mutex
	extra map[string]http.HandlerFunc
}

func newSite(t *testing.T, secure bool, changes ...func(*msauth.Config)) *site {
	t.Helper()
	s := &site{ms: msauthtest.NewServer(), extra: map[string]http.HandlerFunc{}}
	t.Cleanup(s.ms.Close)
	server := httptest.NewUnstartedServer(s)
	t.Cleanup(server.Close)
	scheme := "http"
	if secure {
		scheme = "https"
	}
	s.url = scheme + "://localhost:" + port(server.Listener.Addr().String())
	key := make([]byte, 32)
	rand.Read(key)
	cfg := msauth.Config{
		ClientID: s.ms.ClientID, ClientSecret: s.ms.ClientSecret, Authority: s.ms.URL,
		BaseURL: s.url + "/auth", Keys: [][]byte{key}, CookieName: "app",
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, change := range changes {
		change(&cfg)
	}
	if s.name = cfg.CookieName; secure {
		s.name = "__Host-" + s.name
	}
	var err error
	if s.auth, err = msauth.New(cfg); err != nil {
		t.Fatal(err)
	}
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	return s
}

func port(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	extra := s.extra[r.URL.Path]
	s.mu.Unlock()
	switch {
	case extra != nil:
		extra(w, r)
	case strings.HasPrefix(r.URL.Path, "/auth/"):
		if r.URL.Path == "/auth/logout" {
			s.outs.Add(1)
		}
		s.auth.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/public/"):
		s.auth.Load(http.HandlerFunc(s.hello)).ServeHTTP(w, r)
	default:
		s.auth.Require(http.HandlerFunc(s.hello)).ServeHTTP(w, r)
	}
}

func (s *site) hello(w http.ResponseWriter, r *http.Request) {
	name := "nobody"
	if session, ok := msauth.FromContext(r.Context()); ok {
		name = session.User.Name
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<link rel="icon" href="data:,"><p>hello %s</p><a id="out" href="%s">Sign out</a>`, name, s.auth.LogoutURL())
}

// page serves HTML at a path of the site.
func (s *site) page(path string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extra[path] = h
}

func (s *site) signIn(t *testing.T, b *chrome.Tab, person string) {
	t.Helper()
	s.ms.Set(func(behavior *msauthtest.Behavior) { behavior.AutoSignIn = person })
	b.Open(s.url + "/page")
	if got := b.Text(); !strings.HasPrefix(got, "hello ") {
		t.Fatalf("signing in shows %q", got)
	}
}

// greets checks who is signed in.
func (s *site) greets(t *testing.T, b *chrome.Tab, want string) {
	t.Helper()
	b.Open(s.url + "/public/")
	if got := b.Text(); !strings.HasPrefix(got, "hello "+want) {
		t.Errorf("the page shows %q, want %q", got, "hello "+want)
	}
}

// ours are the cookies that the browser keeps of the package.
func (s *site) ours(b *chrome.Tab) (cookies []*network.Cookie) {
	for _, c := range b.Cookies() {
		if strings.HasPrefix(strings.ToLower(c.Name), strings.ToLower(s.name)) {
			cookies = append(cookies, c)
		}
	}
	return cookies
}

// elsewhere is a page of somebody else's server, at a host name.
func elsewhere(t *testing.T, host string, h http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return "http://" + host + ":" + port(server.Listener.Addr().String())
}

func html(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<link rel="icon" href="data:,">`, text)
	}
}

func TestAttributesAsStored(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{true, false} {
		t.Run(map[bool]string{true: "https", false: "http on localhost"}[secure], func(t *testing.T) {
			t.Parallel()
			s := newSite(t, secure, func(c *msauth.Config) { c.CookieBudget = 7168 })
			s.ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
			b := newTab(t)
			s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = "" })
			b.Open(s.url + "/page") // an attempt that stays open on the provider's page
			attempts := s.ours(b)
			s.signIn(t, b, msauthtest.Grace)
			cookies := append(s.ours(b), attempts...)
			session := 0
			for _, c := range cookies {
				if !regexp.MustCompile(`^` + s.name + `(-[1-9]|-ok|-login-[0-9a-f]{16})?$`).MatchString(c.Name) {
					t.Errorf("a cookie %q", c.Name)
				}
				if c.Secure != secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Path != "/" || c.Domain != "localhost" || c.Session || c.PartitionKey != nil {
					t.Errorf("%s is stored as %+v", c.Name, *c)
				}
				left := time.Until(time.Unix(int64(c.Expires), 0))
				most := 7 * 24 * time.Hour
				if strings.Contains(c.Name, "-login-") {
					most = 30 * time.Minute
				}
				if left > most+time.Minute || left < most-time.Hour {
					t.Errorf("%s lasts %v, want %v", c.Name, left, most)
				}
				if len(c.Name)+len(c.Value) > 4096 {
					t.Errorf("%s has %d bytes", c.Name, len(c.Name)+len(c.Value))
				}
				if regexp.MustCompile(`^` + s.name + `(-[1-9])?$`).MatchString(c.Name) {
					session++
				}
			}
			if session < 2 || len(attempts) != 1 {
				t.Errorf("%d session cookies, %d attempts, want several and one", session, len(attempts))
			}
			if got := chrome.Eval[string](b, "document.cookie"); got != "" {
				t.Errorf("scripts see %q", got)
			}
		})
	}
}

func TestDeletionReallyDeletes(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{true, false} {
		t.Run(map[bool]string{true: "https", false: "http on localhost"}[secure], func(t *testing.T) {
			t.Parallel()
			s := newSite(t, secure, func(c *msauth.Config) { c.CookieBudget = 7168 })
			s.ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
			b := newTab(t)
			s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = "" })
			for range 3 {
				b.Open(s.url + "/auth/login") // attempts that nobody finishes
			}
			s.signIn(t, b, msauthtest.Grace)
			if n := len(s.ours(b)); n < 5 {
				t.Fatalf("%d cookies, want pieces and attempts", n)
			}
			b.Follow("document.getElementById('out').click()")
			b.Until("document.querySelector('#msauth-signed-out')")
			if left := s.ours(b); len(left) != 0 {
				t.Errorf("%d cookies are left after signing out, the first is %s", len(left), left[0].Name)
			}
			s.greets(t, b, "nobody")

			// A session that does not open any more is taken away whole, and
			// with it the pieces that a smaller one does not need.
			s.signIn(t, b, msauthtest.Grace)
			s.page("/spoil", func(w http.ResponseWriter, r *http.Request) {
				http.SetCookie(w, &http.Cookie{Name: s.name + "-1", Value: "spoilt", Path: "/", Secure: true, HttpOnly: true})
			})
			b.Open(s.url + "/spoil")
			s.greets(t, b, "nobody")
			for _, c := range s.ours(b) {
				if !strings.HasSuffix(c.Name, "-ok") {
					t.Errorf("%s is left of a session that does not open", c.Name)
				}
			}
			b.Open(s.url + "/auth/login") // as the page says that stands in for a loop
			s.greets(t, b, "Grace")
			s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
			b.Open(s.url + "/auth/login?prompt=login")
			s.greets(t, b, "Ada")
			if n := len(s.ours(b)); n != 1 {
				t.Errorf("%d cookies of Ada's small session after Grace's, want 1", n)
			}
		})
	}
}

func TestFirstPageAfterSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	var mu sync.Mutex
	var came []string
	s.page("/watched", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		came = append(came, r.Header.Get("Sec-Fetch-Site"))
		mu.Unlock()
		s.auth.Require(http.HandlerFunc(s.hello)).ServeHTTP(w, r)
	})
	// The way in begins on a third site, and comes back from a second one.
	third := elsewhere(t, "127.0.0.1", html(`<a id="in" href="`+s.url+`/watched?x=1">in</a>`))
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	b := newTab(t)
	b.Open(third)
	b.Follow("document.getElementById('in').click()")
	if got := b.Text(); !strings.HasPrefix(got, "hello Ada") {
		t.Errorf("the page shows %q", got)
	}
	if got := chrome.Eval[string](b, "location.href"); got != s.url+"/watched?x=1" {
		t.Errorf("ended at %s", got)
	}
	if n := s.ms.Count(msauthtest.Authorize); n != 1 {
		t.Errorf("%d visits to the provider, want 1", n)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(came, []string{"cross-site", "cross-site"}) {
		t.Errorf("the page was asked for with %q", came)
	}
}

// Somebody else on the same host: below another path, or on another port,
// which shares the cookies.
func TestCookieTossing(t *testing.T) {
	t.Parallel()
	s := newSite(t, true) // over http nothing keeps them out
	b := newTab(t)
	stranger := newSite(t, true) // with the same cookie name, and a session of its own
	s.signIn(t, b, msauthtest.Ada)
	real := s.ours(b)
	lines := []string{
		s.name + "=1AAAA; Path=/",                           // not Secure
		s.name + "=1AAAA; Path=/evil; Secure",               // a path
		s.name + "=1AAAA; Path=/; Secure; Domain=localhost", // a domain
		s.name + "=1AAAA; Secure",                           // the default path
		strings.ToLower(s.name) + "=1AAAA; Path=/evil",
		strings.ToUpper(s.name) + "=1AAAA; Path=/; Domain=localhost",
		"__host-app=1AAAA; Path=/",
		"=" + s.name + "=1AAAA; Path=/; Secure",
		" " + s.name + "=1AAAA; Path=/",
	}
	toss := func(w http.ResponseWriter, r *http.Request) {
		for _, line := range lines {
			w.Header().Add("Set-Cookie", line)
		}
		html("tossed")(w, r)
	}
	s.page("/evil/toss", toss)
	port := elsewhere(t, "localhost", toss)
	for _, from := range []string{s.url + "/evil/toss", port + "/evil/toss"} {
		b.Open(from)
		for _, line := range append(lines, s.name+"=1AAAA; Path=/; Secure") { // HttpOnly ones are not for scripts to overwrite
			chrome.Eval[any](b, fmt.Sprintf("document.cookie = %q", line))
		}
		if got := s.ours(b); len(got) != len(real) || got[0].Value != real[0].Value {
			t.Errorf("from %s: the browser keeps %d cookies of our name", from, len(got))
		}
		s.greets(t, b, "Ada")
		b.Open(s.url + "/evil/page")
		if got := b.Text(); !strings.HasPrefix(got, "hello Ada") {
			t.Errorf("from %s: below the path the page shows %q", from, got)
		}
	}
	// By a whole header another port can overwrite: it is the same host. Then
	// nobody is signed in, neither its session nor ours, and signing in works.
	for name, value := range map[string]string{"garbage": "1AAAA", "a session of another app": "", "nothing": "", "pieces": "2" + strings.Repeat("A", 2000)} {
		owner := newTab(t)
		s.signIn(t, owner, msauthtest.Ada)
		if name == "a session of another app" {
			them := newTab(t)
			stranger.signIn(t, them, msauthtest.Bruno)
			value = stranger.ours(them)[0].Value
		}
		overwrite := elsewhere(t, "localhost", func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: s.name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
			html("overwritten")(w, r)
		})
		owner.Open(overwrite)
		s.greets(t, owner, "nobody")
		s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
		owner.Open(s.url + "/auth/login")
		s.greets(t, owner, "Ada")
	}
}

func TestSignOutFromElsewhere(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	out := s.url + "/auth/logout"
	for _, host := range []string{"127.0.0.1", "localhost"} { // another site; another origin of the same site
		b := newTab(t)
		s.signIn(t, b, msauthtest.Ada)
		for name, page := range map[string]string{
			"image":           `<img src="` + out + `">`,
			"style sheet":     `<link rel="stylesheet" href="` + out + `">`,
			"script":          `<script src="` + out + `"></script>`,
			"frame":           `<iframe src="` + out + `"></iframe>`,
			"object":          `<object data="` + out + `"></object>`,
			"prefetch":        `<link rel="prefetch" href="` + out + `">`,
			"prerender":       `<link rel="prerender" href="` + out + `">`,
			"speculation":     `<script type="speculationrules">{"prefetch":[{"source":"list","urls":["` + out + `"]}],"prerender":[{"source":"list","urls":["` + out + `"]}]}</script>`,
			"fetch":           `<script>fetch("` + out + `", {mode: "no-cors", credentials: "include"})</script>`,
			"post by script":  `<script>fetch("` + out + `", {method: "POST", mode: "no-cors", credentials: "include"})</script>`,
			"beacon":          `<script>navigator.sendBeacon("` + out + `", "x")</script>`,
			"form in a frame": `<iframe name="f"></iframe><form method="post" action="` + out + `" target="f"></form><script>document.forms[0].submit()</script>`,
			"sandbox":         `<iframe sandbox="allow-scripts allow-forms" srcdoc='<form method="post" action="` + out + `"></form><script>document.forms[0].submit()</script>'></iframe>`,
			"background":      `<video poster="` + out + `" src="` + out + `"></video><body style="background: url(` + out + `)">`,
		} {
			came := s.outs.Load()
			where := elsewhere(t, host, html(page+"<p>there</p>"))
			b.Open(where)
			for wait := 0; s.outs.Load() == came && wait < 20; wait++ {
				time.Sleep(10 * time.Millisecond) // some never come
			}
			if got := len(s.ours(b)); got == 0 {
				t.Errorf("%s at %s: signed out", name, host)
			}
		}
		s.greets(t, b, "Ada")
		if s.outs.Load() == 0 {
			t.Error("none of it came in")
		}
		for name, page := range map[string]string{
			"link":             `<a id="go" href="` + out + `">x</a><script>onload = () => setTimeout(() => document.getElementById("go").click())</script>`,
			"form":             `<form method="post" action="` + out + `"></form><script>onload = () => setTimeout(() => document.forms[0].submit())</script>`,
			"GET form":         `<form action="` + out + `"></form><script>onload = () => setTimeout(() => document.forms[0].submit())</script>`,
			"refresh":          `<meta http-equiv="refresh" content="0;url=` + out + `">`,
			"location":         `<script>onload = () => setTimeout(() => location = "` + out + `")</script>`,
			"form of nobody":   `<meta name="referrer" content="no-referrer"><form method="post" action="` + out + `"></form><script>onload = () => setTimeout(() => document.forms[0].submit())</script>`,
			"through sign-in":  `<script>onload = () => setTimeout(() => location = "` + s.url + `/auth/login?return_to=/auth/logout")</script>`,
			"through sign-in2": `<script>onload = () => setTimeout(() => location = "` + s.url + `/auth/login?return_to=/x/..%252f..%252fauth/logout")</script>`,
		} {
			b.Open(elsewhere(t, host, html(page+"<p>there</p>")))
			if strings.HasPrefix(name, "through") {
				// One after another they are taken for a loop.
				b.Until("document.body.innerText.startsWith('hello Ada') || document.querySelector('#msauth-loop')")
			} else {
				b.Until("document.querySelector('#msauth-confirm-sign-out')")
			}
			s.greets(t, b, "Ada")
		}
		// A redirect by somebody else's server, which a page of ours links to.
		hop := elsewhere(t, host, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, out, http.StatusFound) })
		s.page("/links", html(`<a id="hop" href="`+hop+`">x</a>`))
		b.Open(s.url + "/links")
		b.Follow("document.getElementById('hop').click()")
		b.Until("document.querySelector('#msauth-confirm-sign-out')")
		s.greets(t, b, "Ada")
		// The page that asks works, once asked for in earnest.
		b.Open(out)
		b.Follow("document.querySelector('form button').click()")
		b.Until("document.querySelector('#msauth-signed-out')")
		s.greets(t, b, "nobody")
		// And so does the plain link on a page of ours.
		s.signIn(t, b, msauthtest.Ada)
		b.Follow("document.getElementById('out').click()")
		b.Until("document.querySelector('#msauth-signed-out')")
		s.greets(t, b, "nobody")
	}
}

// A page that takes half a second carries a renewed cookie, and the person
// signs out while it is on its way: the cookie comes, and is worth nothing.
func TestSlowAnswerAfterSignOutSignsNobodyIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	s.ms.Set(func(b *msauthtest.Behavior) { b.RefreshIn = time.Second })
	began, signedOut := make(chan string, 1), make(chan struct{})
	s.page("/slow", func(w http.ResponseWriter, r *http.Request) {
		s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			began <- strings.Join(w.Header()["Set-Cookie"], "\n")
			<-signedOut
			time.Sleep(500 * time.Millisecond)
			fmt.Fprint(w, "late")
		})).ServeHTTP(w, r)
	})
	b := newTab(t)
	s.signIn(t, b, msauthtest.Ada)
	session := s.ours(b)
	if len(session) != 1 {
		t.Fatalf("%d cookies after signing in, want 1", len(session))
	}
	time.Sleep(1100 * time.Millisecond) // Chromium's clock, not ours
	chrome.Eval[any](b, "void (window.slow = fetch('/slow').then(r => r.text()))")
	if set := <-began; !strings.HasPrefix(set, s.name+"=") {
		t.Fatalf("the slow page sets %q, want a renewed session", set)
	}
	// In the background, as nobody does: a script cannot sign out without the
	// token of the page that asks.
	chrome.Eval[any](b, `fetch('/auth/logout').then(r => r.text()).then(page => {
		const body = new URLSearchParams(new FormData(new DOMParser().parseFromString(page, 'text/html').querySelector('form')));
		return fetch('/auth/logout', {method: 'POST', redirect: 'manual', body});
	}).then(() => 0)`)
	if left := s.ours(b); len(left) != 0 {
		t.Fatalf("%s is left after signing out", left[0].Name)
	}
	close(signedOut)
	if got := chrome.Eval[string](b, "window.slow"); got != "late" {
		t.Errorf("the slow page says %q", got)
	}
	back := s.ours(b)
	if len(back) != 1 || back[0].Value == session[0].Value {
		t.Fatalf("%d cookies came with the slow page, want the renewed session", len(back))
	}
	if got := chrome.Eval[float64](b, "fetch('/page').then(r => r.status)"); got != 401 {
		t.Errorf("a script is answered %v after signing out, want 401", got)
	}
	s.greets(t, b, "nobody")
	if left := s.ours(b); len(left) != 0 {
		t.Errorf("%s is left after the next page", left[0].Name)
	}
}
