//go:build unix

// Package nginx_test runs nginx with site.conf and the files of the systemd recipe, in
// front of servers that fail.
package nginx_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/msauth/deploy/internal/material"
)

// site is nginx, and what is behind it.
type site struct {
	url    string
	client *http.Client
	logs   string // directory
}

// start starts nginx as Debian's service does: what it prints goes to a socket, and its
// own error log is at the default level.
func start(t *testing.T, servers ...string) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("needs nginx")
	}
	program := ""
	for _, candidate := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx", "/opt/homebrew/bin/nginx"} {
		if path, err := exec.LookPath(candidate); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Fatal("nginx is missing. On Debian and Ubuntu: scripts/setup")
	}
	dir := t.TempDir()
	if _, err := material.Write(filepath.Join(dir, "tls"), "localhost"); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	s := &site{url: "https://localhost" + address[strings.LastIndexByte(address, ':'):], logs: filepath.Join(dir, "logs")}
	if err := os.Mkdir(s.logs, 0o755); err != nil {
		t.Fatal(err)
	}
	common, listen := read(t, "site.conf"), read(t, "../systemd/listen.conf")
	if !strings.Contains(listen, "listen 443 ") || strings.Count(listen, "/var/log/nginx/") != 2 {
		t.Fatalf("listen.conf:\n%s", listen)
	}
	upstreams := ""
	for _, server := range servers {
		upstreams += "server " + strings.TrimPrefix(server, "http://") + " fail_timeout=2s;\n"
	}
	for name, text := range map[string]string{
		"nginx.conf": "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log " + s.logs + "/nginx.log;\nevents {}\nhttp {\n" +
			"client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n" +
			"include site.conf;\n}\n",
		"site.conf":      common,
		"listen.conf":    strings.NewReplacer("listen 443 ", "listen "+address+" ", "/var/log/nginx/", s.logs+"/").Replace(listen),
		"upstreams.conf": upstreams,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	journal := os.NewFile(uintptr(pair[0]), "journal")
	printed := os.NewFile(uintptr(pair[1]), "journal")
	nginx := exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	nginx.Stdout, nginx.Stderr = journal, journal
	err = nginx.Start()
	journal.Close()
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(printed)
		printed.Close()
		_ = nginx.Wait()
		said <- string(text)
	}()
	t.Cleanup(func() {
		_ = nginx.Process.Signal(syscall.SIGTERM)
		select {
		case <-said:
		case <-time.After(10 * time.Second):
			_ = nginx.Process.Kill()
			t.Error("nginx does not end")
		}
	})
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			break
		}
		select {
		case text := <-said:
			said <- text
			t.Fatalf("nginx does not start:\n%s", text)
		default:
		}
		if time.Since(began) > 20*time.Second {
			t.Fatal("nginx does not listen")
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(read(t, filepath.Join(dir, "tls", material.CA)))) {
		t.Fatal("the CA cannot be read")
	}
	s.client = &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true},
		Timeout:   20 * time.Second,
	}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// request returns the status and the body of an answer.
func (s *site) request(t *testing.T, method, path string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(""))
	if method == http.MethodPost {
		req, err = http.NewRequest(method, s.url+path, strings.NewReader("amount=5"))
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// backend starts a server.
func backend(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// The app learns who asks and by what name, and nobody can tell it something else. What
// operators ask is answered to them only.
func TestRequests(t *testing.T) {
	t.Parallel()
	s := start(t, backend(t, func(w http.ResponseWriter, r *http.Request) {
		for range 2 { // cookies of the default CookieBudget and a sign-in: 7 KB in all
			w.Header().Add("Set-Cookie", "a="+strings.Repeat("x", 3400))
		}
		fmt.Fprintf(w, "%s %q %q", r.Host, r.Header["X-Forwarded-For"], r.Header["X-Forwarded-Proto"])
	}))
	claims := http.Header{"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Proto": {"gopher"}}
	want := strings.TrimPrefix(s.url, "https://") + ` ["127.0.0.1"] ["https"]`
	if status, body := s.request(t, http.MethodGet, "/", claims); status != http.StatusOK || body != want {
		t.Errorf("status %d, the app sees %s, want %s", status, body, want)
	}
	// The longest login link, with the cookies of a session.
	long := "/auth/login?return_to=" + strings.Repeat("x", 4000)
	if status, _ := s.request(t, http.MethodGet, long, http.Header{"Cookie": {"a=" + strings.Repeat("x", 7500)}}); status != http.StatusOK {
		t.Errorf("a long link has status %d", status)
	}
	for _, path := range []string{"/healthz", "/readyz", "/startupz", "/debug/stats", "/%68ealthz", "//readyz", "/x/../startupz", "/healthz?x"} {
		if status, _ := s.request(t, http.MethodGet, path, nil); status != http.StatusNotFound {
			t.Errorf("%s has status %d", path, status)
		}
	}
}

// A form is sent to one server, whatever becomes of it; a server that was not reached has
// not got it. A page is asked for at another server when one fails, but a page that no
// server can answer does not have all of them left out.
func TestFailures(t *testing.T) {
	t.Parallel()
	var forms, pages atomic.Int32
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/form":
			forms.Add(1)
			panic(http.ErrAbortHandler)
		case r.URL.Path == "/auth/callback":
			pages.Add(1)
			panic(http.ErrAbortHandler)
		default:
			io.WriteString(w, "page")
		}
	}
	s := start(t, backend(t, handler), backend(t, handler), backend(t, handler))
	if status, _ := s.request(t, http.MethodPost, "/form", nil); status != http.StatusBadGateway || forms.Load() != 1 {
		t.Errorf("a form: status %d, sent to %d servers", status, forms.Load())
	}
	time.Sleep(3200 * time.Millisecond) // nginx counts whole seconds: the server is asked again
	if status, _ := s.request(t, http.MethodGet, "/auth/callback?code=the-code&state=the-state", nil); status != http.StatusBadGateway || pages.Load() != 2 {
		t.Errorf("a page that no server answers: status %d, asked for at %d servers, want 2", status, pages.Load())
	}
	if status, body := s.request(t, http.MethodGet, "/", nil); status != http.StatusOK || body != "page" {
		t.Errorf("the next page: status %d", status)
	}

	gone := httptest.NewServer(nil)
	gone.Close()
	s2 := start(t, gone.URL, backend(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "taken") }))
	for range 2 {
		if status, body := s2.request(t, http.MethodPost, "/form", nil); status != http.StatusOK || body != "taken" {
			t.Errorf("a form while a server is gone: status %d", status)
		}
	}

	// No log has what came with the answer of Microsoft, not even of requests that failed.
	for _, each := range []*site{s, s2} {
		logs := ""
		for _, name := range []string{"nginx.log", "msauth.log", "msauth-error.log"} {
			logs += read(t, filepath.Join(each.logs, name))
		}
		if strings.Contains(logs, "the-code") || strings.Contains(logs, "the-state") || !strings.Contains(logs, `"POST /form HTTP`) {
			t.Errorf("the logs:\n%s", logs)
		}
	}
}

// The recipes differ in where they log, not in what.
func TestLogs(t *testing.T) {
	t.Parallel()
	for _, recipe := range []string{"compose", "systemd"} {
		text := read(t, filepath.Join("..", recipe, "listen.conf"))
		for _, line := range []string{`(?m)^access_log \S+ site;`, `(?m)^error_log \S+ crit;`} {
			if !regexp.MustCompile(line).MatchString(text) {
				t.Errorf("%s/listen.conf lacks %s:\n%s", recipe, line, text)
			}
		}
	}
}
