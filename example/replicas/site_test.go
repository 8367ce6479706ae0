//go:build unix

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/redisshared/redistest"
	"example.com/msauth/tests/testsite"
)

// The tests wait for the clock more than they compute: eight at a time, however few
// processors there are.
func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "8")
	code := m.Run()
	_ = os.RemoveAll(built.dir)
	os.Exit(code)
}

// built is the program, which is compiled once: in long tests with the race detector,
// which makes it several times slower.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func program(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "replicas"); built.err != nil {
			return
		}
		args := []string{"build", "-o", filepath.Join(built.dir, "replicas")}
		if testsite.Long {
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "replicas")
}

// needServers skips a test of the whole in quick runs.
func needServers(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts Redis, and the program three times")
	}
}

// A site is the program, running three times on http://localhost behind a proxy that
// sends each request to the next one. Its Microsoft is on http://127.0.0.1.
type site struct {
	t       *testing.T
	ms      *msauthtest.Server
	env     []string
	proxy   *url.URL // where browsers go
	servers []*server
	next    atomic.Uint64
	only    atomic.Pointer[server] // if set, the proxy sends all requests to this one
}

// transport is for many requests at a time.
var transport = &http.Transport{MaxIdleConnsPerHost: 300, IdleConnTimeout: 10 * time.Second}

// newSite starts a site on Redis, which env tells the program of.
func newSite(t *testing.T, env ...string) *site {
	t.Helper()
	ms := msauthtest.NewServer()
	t.Cleanup(ms.Close)
	return newSiteAt(t, ms, env...)
}

// newSiteAt is newSite for a Microsoft that listens already.
func newSiteAt(t *testing.T, ms *msauthtest.Server, env ...string) *site {
	t.Helper()
	s := &site{t: t, ms: ms}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			to := s.only.Load()
			if to == nil {
				to = s.servers[s.next.Add(1)%3] // a fourth one has started later
			}
			r.SetURL(to.url)
			r.Out.Host = r.In.Host
		},
		Transport: transport,
	})
	t.Cleanup(proxy.Close)
	_, port, _ := net.SplitHostPort(proxy.Listener.Addr().String())
	s.proxy = &url.URL{Scheme: "http", Host: "localhost:" + port}
	s.env = append([]string{
		"AZURE_CLIENT_ID=" + s.ms.ClientID, "AZURE_CLIENT_SECRET=" + s.ms.ClientSecret, "AZURE_AUTHORITY_HOST=" + s.ms.URL,
		"MSAUTH_BASE_URL=" + s.proxy.String() + "/auth", "MSAUTH_KEYS=" + testKey, "REPLICAS_DEBUG=1",
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
	}, env...)
	t.Cleanup(s.checkLogs)
	for range 3 {
		s.add()
	}
	return s
}

func onRedis(r *redistest.Server) string { return "REDIS_ADDRS=" + r.Addr }

// checkLogs looks for what must not be in any log.
func (s *site) checkLogs() {
	for i, server := range s.servers {
		log := server.log.String()
		for _, secret := range s.ms.Secrets() {
			if strings.Contains(log, secret) {
				s.t.Errorf("server %d: a token, a code or the client secret is in the log", i)
				break
			}
		}
		for _, bad := range []string{"DATA RACE", "panic:"} {
			if strings.Contains(log, bad) {
				s.t.Errorf("server %d: %s in the log:\n%s", i, bad, log)
			}
		}
		if s.t.Failed() {
			lines := strings.Split(log, "\n")
			s.t.Logf("log of server %d:\n%s", i, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	}
}

// A server is one process of the program.
type server struct {
	s     *site
	url   *url.URL
	log   testsite.LogBuffer
	cmd   *exec.Cmd
	guard *exec.Cmd // kills it when this process is gone
	alive io.Closer // what guard waits for
	ended chan struct{}
}

// add starts one more server.
func (s *site) add() *server {
	s.t.Helper()
	srv := &server{s: s}
	s.servers = append(s.servers, srv)
	s.t.Cleanup(srv.kill)
	for range 5 { // the port may be taken by somebody else
		srv.url = &url.URL{Scheme: "http", Host: "localhost:" + strconv.Itoa(10000+rand.IntN(20000))}
		if srv.start() {
			return srv
		}
		srv.kill()
	}
	s.t.Fatalf("the server does not start:\n%s", srv.log.String())
	return nil
}

// start starts the process, and reports whether it serves.
func (srv *server) start() bool {
	t := srv.s.t
	t.Helper()
	srv.cmd = exec.Command(program(t))
	srv.cmd.Env = append([]string{"PORT=" + srv.url.Port(), "INSTANCE=" + srv.url.Port()}, srv.s.env...)
	srv.cmd.Stdout, srv.cmd.Stderr = &srv.log, &srv.log
	if err := srv.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	srv.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(srv.cmd, srv.ended)
	srv.guard = exec.Command("/bin/sh", "-c", `read -r line; kill -KILL "$0"`, strconv.Itoa(srv.cmd.Process.Pid))
	var err error
	if srv.alive, err = srv.guard.StdinPipe(); err == nil {
		err = srv.guard.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 400 {
		select {
		case <-srv.ended:
			return false
		case <-time.After(25 * time.Millisecond):
		}
		if res, err := http.Get(srv.url.String() + "/healthz"); err == nil {
			res.Body.Close()
			return res.StatusCode == http.StatusOK
		}
	}
	return false
}

// stop has the process end as an operator does, and waits for it.
func (srv *server) stop() {
	t := srv.s.t
	t.Helper()
	_ = srv.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-srv.ended:
		if code := srv.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the server ends with status %d:\n%s", code, srv.log.String())
		}
	case <-time.After(20 * time.Second):
		t.Errorf("the server does not end:\n%s", srv.log.String())
	}
	srv.kill()
}

// kill ends the process, if it runs.
func (srv *server) kill() {
	if srv.guard != nil && srv.guard.Process != nil { // first, as it knows but the number of the process
		_ = srv.guard.Process.Kill()
		_ = srv.alive.Close()
		_ = srv.guard.Wait()
	}
	srv.guard = nil
	if srv.cmd != nil && srv.ended != nil {
		_ = srv.cmd.Process.Kill()
		<-srv.ended
	}
}

// restart ends all servers and starts them again.
func (s *site) restart() {
	s.t.Helper()
	for _, srv := range s.servers {
		srv.stop()
	}
	for _, srv := range s.servers {
		if !srv.start() {
			s.t.Fatalf("the server does not start again:\n%s", srv.log.String())
		}
	}
}

// ask reads one of the pages of debug.go.
func (srv *server) ask(path string, into any) {
	t := srv.s.t
	t.Helper()
	res, err := http.Get(srv.url.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func (srv *server) stats() (stats msauth.Stats) {
	srv.s.t.Helper()
	srv.ask("/debug/stats", &stats)
	return stats
}

// An answer of the site.
type answer struct {
	status           int
	person, instance string // as the page says
	cookies          []*http.Cookie
	location         string
}

var (
	personOf   = regexp.MustCompile(`<strong id="person">([^<]*)<`)
	instanceOf = regexp.MustCompile(`<code id="instance">([^<]*)<`)
)

// send sends a request with these cookies: to a server or, if that is nil, to the
// proxy. What a page of the site would send is added to it.
func (s *site) send(to *server, method, path, cookies string) (got answer, err error) {
	address := s.proxy
	if to != nil {
		address = to.url
	}
	req, err := http.NewRequest(method, address.String()+path, nil)
	if err != nil {
		return got, err
	}
	req.Host = s.proxy.Host
	for name, value := range map[string]string{
		"Cookie": cookies, "Origin": s.proxy.String(), "Accept": "text/html",
		"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
	} {
		req.Header.Set(name, value)
	}
	if method == http.MethodGet {
		req.Header.Del("Origin")
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return got, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return got, err
	}
	got = answer{status: res.StatusCode, cookies: res.Cookies(), location: res.Header.Get("Location")}
	if m := personOf.FindSubmatch(body); m != nil {
		got.person = string(m[1])
	}
	if m := instanceOf.FindSubmatch(body); m != nil {
		got.instance = string(m[1])
	}
	return got, nil
}

// do is send, for requests that must be answered.
func (s *site) do(to *server, method, path, cookies string) answer {
	s.t.Helper()
	got, err := s.send(to, method, path, cookies)
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

// A person is somebody who is signed in, with a browser.
type person struct {
	s    *site
	name string
	jar  http.CookieJar
}

// signIn signs a person in who was not known before.
func (s *site) signIn(name string) *person {
	s.t.Helper()
	mail := strings.ToLower(name) + "@contoso.example"
	s.ms.SetUser(msauthtest.User{SignInName: mail, Name: name})
	client, err := msauthtest.Client(s.proxy.String()+"/me", mail)
	if err != nil {
		s.t.Fatal(err)
	}
	return &person{s, name, client.Jar}
}

// cookies is what the browser sends.
func (p *person) cookies() string {
	var pairs []string
	for _, c := range p.jar.Cookies(p.s.proxy) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// take puts into the browser what an answer says.
func (p *person) take(got answer) { p.jar.SetCookies(p.s.proxy, got.cookies) }

// get opens a page by the proxy.
func (p *person) get(path string) answer {
	p.s.t.Helper()
	got := p.s.do(nil, http.MethodGet, path, p.cookies())
	p.take(got)
	return got
}

// wantOn checks what all servers say to cookies: the name of a person, or "".
func (s *site) wantOn(what, cookies, want string) {
	s.t.Helper()
	for i, srv := range s.servers {
		if got := s.do(srv, http.MethodGet, "/", cookies); got.status != http.StatusOK || got.person != want {
			s.t.Errorf("%s: server %d says status %d, %q, want %q", what, i, got.status, got.person, want)
		}
	}
}

// eventually waits until something is true.
func (s *site) eventually(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	s.t.Fatalf("it does not come to be that %s", what)
}

// all reports whether something is true of all servers.
func (s *site) all(is func(*server) bool) bool {
	for _, srv := range s.servers {
		if !is(srv) {
			return false
		}
	}
	return true
}
