// Package nginx_test puts a real nginx between people and an app that uses
// msauth, because what a proxy does with headers is seen at the proxy only: does
// a shared cache hand one person's session to another, and does a session fit
// the buffers that a proxy has by default? One whole visit is in Chromium.
//
// The tests start an nginx of their own, with a configuration in a temporary
// directory and on a free port of 127.0.0.1. On Debian: apt-get install nginx-light
package nginx_test

import (
	"crypto/rand"
	"fmt"
	"html"
	"io"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// A proxied app: nginx in front, the local Microsoft behind.
type proxied struct {
	t      *testing.T
	ms     *msauthtest.Server
	client *http.Client
	url    string // at nginx
	direct string // at the app
	log    *log
}

// log is the app's.
type log struct {
	mu    sync.Mutex
	lines strings.Builder
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

// serve starts all three. location is added to nginx's location; wrap may
// change the app, which answers with a page that says that anybody may keep it.
func serve(t *testing.T, location string, wrap func(http.Handler) http.Handler) *proxied {
	t.Helper()
	return serveBelow(t, "", `
		location / {
			proxy_pass http://127.0.0.1:8080;
			proxy_set_header Host $http_host;
			add_header X-Cache-Status $upstream_cache_status always;
			`+location+`
		}`, wrap)
}

// serveBelow is serve for an app below a path. locations are nginx's, with
// http://127.0.0.1:8080 in place of the app.
func serveBelow(t *testing.T, prefix, locations string, wrap func(http.Handler) http.Handler) *proxied {
	t.Helper()
	p := &proxied{t: t, ms: msauthtest.NewServer(), log: new(log), client: &http.Client{
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(p.ms.Close)
	front := freeAddress(t)
	p.url = "http://" + front

	key := make([]byte, 32)
	rand.Read(key)
	auth, err := msauth.New(msauth.Config{
		ClientID: p.ms.ClientID, ClientSecret: p.ms.ClientSecret, Authority: p.ms.URL,
		BaseURL: p.url + prefix + "/auth", Keys: [][]byte{key}, Claims: []string{"filler"},
		Logger: slog.New(slog.NewTextHandler(p.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	if prefix != "" {
		mux.Handle(prefix+"/auth/", auth)
	}
	mux.Handle("/", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		if strings.HasPrefix(r.URL.Path, "/public") {
			w.Header().Set("Cache-Control", "public, max-age=600")
		}
		fmt.Fprintf(w, "hello %s", s.User.Name)
	})))
	app := httptest.NewServer(wrap(mux))
	t.Cleanup(app.Close)
	p.direct = app.URL

	startNginx(t, front, "", strings.ReplaceAll(locations, "http://127.0.0.1:8080", app.URL))
	return p
}

// startNginx starts nginx at an address, with locations of its server and what
// stands before that.
func startNginx(t *testing.T, address, before, locations string) {
	t.Helper()
	binary := findNginx(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`
daemon off;
master_process off;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	proxy_cache_path %[1]s/cache keys_zone=pages:1m;
	%[3]s
	server {
		listen %[2]s;
		%[4]s
	}
}
`, dir, address, before, locations)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	nginx := exec.Command(binary, "-p", dir, "-c", conf, "-e", filepath.Join(dir, "error.log"))
	nginx.Stdout, nginx.Stderr = &out, &out
	if err := nginx.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nginx.Process.Kill()
		nginx.Wait()
	})
	for range 100 {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	nginx.Process.Kill()
	nginx.Wait()
	errors, _ := os.ReadFile(filepath.Join(dir, "error.log"))
	t.Fatalf("nginx does not listen at %s:\n%s%s", address, out.String(), errors)
}

func findNginx(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("nginx is missing. On Debian and Ubuntu: sudo apt-get install -y nginx-light")
	return ""
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A person is a browser: its cookies.
type person struct {
	at  *proxied
	jar map[string]string
}

type answer struct {
	*http.Response
	body string
}

func (p *person) get(target string) answer {
	p.at.t.Helper()
	req, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		p.at.t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	req.Header.Set("Accept", "text/html")
	if !strings.HasPrefix(target, p.at.ms.URL) {
		for name, value := range p.jar {
			req.AddCookie(&http.Cookie{Name: name, Value: value})
		}
	}
	res, err := p.at.client.Do(req)
	if err != nil {
		p.at.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.at.t.Fatal(err)
	}
	for _, c := range res.Cookies() {
		if c.MaxAge < 0 {
			delete(p.jar, c.Name)
		} else {
			p.jar[c.Name] = c.Value
		}
	}
	return answer{res, string(body)}
}

// signIn goes through the whole sign-in at an origin of the app.
func (p *proxied) signIn(name, origin string) *person {
	p.t.Helper()
	return p.signInTo(name, origin, "/")
}

// signInTo signs somebody in who has opened a path.
func (p *proxied) signInTo(name, origin, path string) *person {
	p.t.Helper()
	p.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = name })
	v := &person{at: p, jar: map[string]string{}}
	login := v.get(origin + path)
	consent := v.get(login.Header.Get("Location"))
	callback := strings.Replace(consent.Header.Get("Location"), p.url, origin, 1)
	if got := v.get(callback); got.StatusCode != http.StatusSeeOther {
		p.t.Fatalf("callback of %s: %s\n%.500s", name, got.Status, got.body)
	}
	return v
}

func sessionOf(header http.Header) string {
	for _, line := range header["Set-Cookie"] {
		if c, err := http.ParseSetCookie(line); err == nil && c.MaxAge >= 0 && len(c.Value) > 100 {
			return c.Value
		}
	}
	return ""
}

// without is the app as it would be without header lines of msauth's.
// "cache-control" is the line of its own that comes with every cookie.
func without(names ...string) func(http.Handler) http.Handler {
	return func(app http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			app.ServeHTTP(&stripper{w, names}, r)
		})
	}
}

type stripper struct {
	http.ResponseWriter
	names []string
}

func (s *stripper) strip() {
	for _, name := range s.names {
		delete(s.Header(), name) // this spelling only
	}
}

func (s *stripper) WriteHeader(status int) {
	s.strip()
	s.ResponseWriter.WriteHeader(status)
}

func (s *stripper) Write(p []byte) (int, error) {
	s.strip()
	return s.ResponseWriter.Write(p)
}

func unchanged(app http.Handler) http.Handler { return app }

// By default nginx stores no answer that sets a cookie. Many are told to, and
// to ignore Vary as well, for the sake of a high hit rate; then the line is all
// that keeps one person's session from the next.
func TestSharedCacheNeverHandsOutASession(t *testing.T) {
	t.Parallel()
	const careless = `
			proxy_cache pages;
			proxy_cache_key $request_uri;
			proxy_cache_valid 200 10m;
			proxy_ignore_headers %s;`
	for _, c := range []struct {
		name    string
		ignored string
		wrap    func(http.Handler) http.Handler
		leaks   bool
	}{
		{"Set-Cookie ignored", "Set-Cookie", unchanged, false},
		{"Set-Cookie and Vary ignored", "Set-Cookie Vary", unchanged, false},
		{"without Vary, the line alone", "Set-Cookie", without("Vary"), false},
		// The controls: without the line it does happen.
		{"control without the line", "Set-Cookie Vary", without("cache-control"), true},
		{"control without the line and Vary", "Set-Cookie", without("cache-control", "Vary"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, fmt.Sprintf(careless, c.ignored), c.wrap)
			// Tokens of a second, so that the next page brings a new cookie.
			p.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
			ada, bruno := p.signIn(msauthtest.Ada, p.direct), p.signIn(msauthtest.Bruno, p.direct)
			time.Sleep(1100 * time.Millisecond)
			p.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })

			first := ada.get(p.url + "/public/page")
			session := sessionOf(first.Header)
			if first.body != "hello Ada Lindqvist" || session == "" || !strings.Contains(strings.Join(first.Header["Cache-Control"], ","), "public") {
				t.Fatalf("%s %q, new session %t, Cache-Control %q", first.Status, first.body, session != "", first.Header["Cache-Control"])
			}
			time.Sleep(200 * time.Millisecond) // nginx answers before it has stored
			second := bruno.get(p.url + "/public/page")
			hit := second.Header.Get("X-Cache-Status") == "HIT"
			handedOver := sessionOf(second.Header) == session
			t.Logf("first %s, second %s, page %q", first.Header.Get("X-Cache-Status"), second.Header.Get("X-Cache-Status"), second.body)
			if hit != c.leaks || handedOver != c.leaks {
				t.Errorf("HIT %t, Ada's session handed to Bruno %t, want both %t", hit, handedOver, c.leaks)
			}
			if !c.leaks && second.body != "hello Bruno Okafor" {
				t.Errorf("Bruno sees %q", second.body)
			}
		})
	}
}

// A page of an app that lets caches keep it, with nothing of ours to set, is
// still kept: the line comes with cookies only.
func TestPageWithoutANewCookieMayBeKept(t *testing.T) {
	t.Parallel()
	p := serve(t, `
			proxy_cache pages;
			proxy_cache_valid 200 10m;`, unchanged)
	ada := p.signIn(msauthtest.Ada, p.direct)
	ada.get(p.direct + "/") // forgets that a sign-in has just been
	status := ""
	for tries := 0; status != "HIT"; tries++ {
		got := ada.get(p.url + "/public/page")
		status = got.Header.Get("X-Cache-Status")
		if got.body != "hello Ada Lindqvist" || tries == 0 && status != "MISS" {
			t.Errorf("request %d: %s, %s, page %q", tries, got.Status, status, got.body)
		}
		if tries == 50 {
			t.Fatalf("never kept: %s", status)
		}
		time.Sleep(20 * time.Millisecond) // nginx answers before it has stored
	}
	// Vary keeps people apart, who have different cookies.
	bruno := p.signIn(msauthtest.Bruno, p.direct)
	bruno.get(p.direct + "/")
	if got := bruno.get(p.url + "/public/page"); got.body != "hello Bruno Okafor" {
		t.Errorf("Bruno sees %q", got.body)
	}
}

// nginx has 4 KB for the headers of an answer and 8 KB for a line of a request.
func TestSessionPassesNginxAtItsDefaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		person string
		groups bool
		want   string
	}{
		{"work account", msauthtest.Ada, false, "hello Ada Lindqvist"},
		{"work account of another tenant", msauthtest.Bruno, false, "hello Bruno Okafor"},
		{"personal account", msauthtest.Mia, false, "hello Mia Müller"},
		{"200 groups", msauthtest.Grace, true, "hello Grace "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, "", unchanged)
			p.ms.Set(func(b *msauthtest.Behavior) {
				b.AccessTokenLifetime = time.Second
				b.GroupClaims = c.groups
			})
			v := p.signIn(c.person, p.url) // all of it through nginx
			if got := v.get(p.url + "/"); !strings.HasPrefix(got.body, c.want) {
				t.Errorf("the page after signing in: %s, %.200q", got.Status, got.body)
			}
			time.Sleep(1100 * time.Millisecond)
			got := v.get(p.url + "/public/page")
			if !strings.HasPrefix(got.body, c.want) || sessionOf(got.Header) == "" {
				t.Errorf("a page that brings a new cookie: %s, %.200q, new cookie %t", got.Status, got.body, sessionOf(got.Header) != "")
			}
			size := 0
			for _, line := range got.Header["Set-Cookie"] {
				size += len("Set-Cookie: ") + len(line) + 2
			}
			t.Logf("%d bytes of Set-Cookie", size)
			// With sign-ins begun and left in other tabs.
			for range 20 {
				v.get(p.url + "/auth/login")
			}
			if got := v.get(p.url + "/"); !strings.HasPrefix(got.body, c.want) {
				t.Errorf("with 16 unfinished sign-ins: %s, %.200q", got.Status, got.body)
			}
		})
	}
}

// However large a session is, what the default budget lets through passes, on
// the way in, where the answer also leads on and clears the attempt, too.
func TestLargestSessionPassesNginxAtItsDefaults(t *testing.T) {
	t.Parallel()
	p := serve(t, "", unchanged)
	path := "/orders/" + strings.Repeat("p", 200)
	largest := 0
	for n := 0; n <= 1200; n += 40 {
		filler := make([]byte, n)
		for i := range filler {
			filler[i] = " !#$%&'()*+,-./:;=?@[]^_`{|}~"[mathrand.IntN(29)] // nothing that packs
		}
		p.ms.Set(func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["filler"] = string(filler) }
		})
		v := p.signInTo(msauthtest.Ada, p.url, path)
		if got := v.get(p.url + path); !strings.HasPrefix(got.body, "hello Ada") {
			t.Errorf("with %d more bytes: %s, %.200q", n, got.Status, got.body)
		}
		size := 0
		for name, value := range v.jar {
			if !strings.HasSuffix(name, "-ok") {
				size += len(name) + 1 + len(value)
			}
		}
		largest = max(largest, size)
	}
	if largest < 3100 {
		t.Errorf("the largest session had %d bytes: nothing was put to the test", largest)
	}
}

// longAddress is an address of n bytes.
func longAddress(n int) string {
	b := []byte("/orders?id=")
	for len(b) < n {
		b = append(b, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~&=:@/"[mathrand.IntN(71)])
	}
	return string(b)
}

// follow goes where answers lead to, pages that go on by themselves included.
func (p *person) follow(target string) (end answer, way []string) {
	p.at.t.Helper()
	for range 10 {
		end = p.get(target)
		way = append(way, fmt.Sprintf("%d %.60s", end.StatusCode, target))
		to := end.Header.Get("Location")
		if refresh := refresh.FindStringSubmatch(end.body); refresh != nil {
			to = html.UnescapeString(refresh[1])
		}
		if to == "" {
			return end, way
		}
		if strings.HasPrefix(to, "/") {
			to = p.at.url + to
		}
		target = to
	}
	p.at.t.Fatalf("no end: %q", way)
	return end, way
}

var refresh = regexp.MustCompile(`<meta http-equiv="refresh" content="0; url=([^"]*)">`)

// Addresses of up to 2,000 bytes come back whole, beside sessions of all sizes,
// through an nginx that has 4 KB for the headers of an answer.
func TestLongAddressPassesNginxAtItsDefaults(t *testing.T) {
	t.Parallel()
	p := serve(t, "", unchanged)
	for _, filled := range []int{0, 300, 450, 600} {
		filler := longAddress(filled + 11)[11:]
		p.ms.Set(func(b *msauthtest.Behavior) {
			b.AutoSignIn = msauthtest.Ada
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["filler"] = filler }
		})
		for _, n := range []int{150, 400, 600, 1000, 1990, 2000} {
			v := &person{at: p, jar: map[string]string{}}
			for range 5 { // left behind in other tabs
				v.get(p.url + longAddress(n))
			}
			address := longAddress(n)
			end, way := v.follow(p.url + address)
			if end.StatusCode != 200 || end.body != "hello Ada Lindqvist" || end.Request.URL.RequestURI() != address {
				t.Errorf("filler %d, %d bytes: %q", filled, n, way)
			}
			if n == 2000 && !strings.HasSuffix(way[len(way)-2], "/auth/continue") {
				t.Errorf("not by the short route: %q", way)
			}
		}
	}
}

// Another site cannot make a browser's requests too large for nginx.
func TestHostilePageCannotFillUpTheCookieLine(t *testing.T) {
	t.Parallel()
	p := serve(t, "", unchanged)
	v := p.signIn(msauthtest.Ada, p.url)
	for range 40 {
		if got := v.get(p.url + "/auth/login?prompt=login&return_to=" + url.QueryEscape(longAddress(2000))); got.StatusCode != 303 && got.StatusCode != 200 {
			t.Fatalf("%s", got.Status)
		}
	}
	if got := v.get(p.url + "/"); got.body != "hello Ada Lindqvist" {
		t.Errorf("afterwards: %s", got.Status)
	}
}

// The README says how many sessions of apps on one host fit into a Cookie line.
func TestSessionsOfSiblingApps(t *testing.T) {
	t.Parallel()
	p := serve(t, "", unchanged)
	v := p.signIn(msauthtest.Ada, p.url)
	v.get(p.url + "/") // forgets that a sign-in has just been
	session := ""
	for name, value := range v.jar {
		if strings.HasPrefix(name, "msauth-") { // by plain http without __Host-
			session = value
		} else {
			delete(v.jar, name) // the local Microsoft's
		}
	}
	for n, want := range map[int]int{2: 200, 3: 400} {
		sibling := &person{at: p, jar: maps.Clone(v.jar)}
		for i := 1; i < n; i++ {
			for open := range 16 { // sign-ins that are not finished
				sibling.jar[fmt.Sprintf("msauth-abcde%d-login-%016x", i, open)] = "AAAAAAAAAAAAAAAAAAAAAA"
			}
			sibling.jar[fmt.Sprintf("msauth-abcde%d", i)] = session
		}
		if got := sibling.get(p.url + "/"); len(v.jar) != 1 || got.StatusCode != want {
			t.Errorf("%d sessions of %d bytes: status %d, want %d", n, len(session), got.StatusCode, want)
		}
	}
}

// The README's configuration keeps the path; one with a path after the address
// does not, and the app says so.
func TestBelowAPathPrefix(t *testing.T) {
	t.Parallel()
	snippet := readmeLocation(t)
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
