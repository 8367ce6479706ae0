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
	"net"
	"net/http"
	"net/http/httptest"
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

func unchanged(app http.Handler) http.Handler { return app }

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
