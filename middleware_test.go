package msauth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// site is an app that uses the package, with a local Microsoft.
type site struct {
	*httptest.Server // of an in-process site, only its URL
	ms               *msauthtest.Server
	auth             *msauth.Middleware
	log              *logBuffer
	cfg              msauth.Config
	mux              *http.ServeMux

	wire    http.RoundTripper // leads to the site and to the provider
	current atomic.Pointer[http.ServeMux]

	mu       sync.Mutex
	canaries []string // texts that must not show up in the log
}

// newSite starts one on TLS; changes adjust the configuration. Its pages are
//
//	/public/...  under Load: "hello NAME" or "hello nobody"
//	/...         under Require: "hello NAME"; with ?token the access token
func newSite(t *testing.T, changes ...func(*msauth.Config)) *site {
	t.Helper()
	s := &site{ms: msauthtest.NewServer(), log: &logBuffer{}}
	t.Cleanup(s.ms.Close)
	s.Server = httptest.NewUnstartedServer(s)
	s.URL = "https://" + s.Listener.Addr().String()
	s.configure(t, nil, changes)
	s.Server.URL = "" // StartTLS wants to set it
	s.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(s.log, nil), slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	s.wire = s.Server.Client().Transport
	return s
}

// newSiteInProcess is newSite without a network, for testing/synctest and for
// tables that need many sites.
func newSiteInProcess(t *testing.T, changes ...func(*msauth.Config)) *site {
	t.Helper()
	s := &site{ms: msauthtest.New("http://localhost:9"), log: &logBuffer{}, Server: &httptest.Server{URL: "https://app.test"}}
	s.configure(t, &http.Client{Transport: s.ms.Transport(), Timeout: 15 * time.Second}, changes)
	s.wire = inProcess{"app.test": s, "localhost:9": s.ms, "fabrikam.b2clogin.com": s.ms, "fabrikam.ciamlogin.com": s.ms}
	return s
}

func (s *site) configure(t *testing.T, client *http.Client, changes []func(*msauth.Config)) {
	t.Helper()
	s.cfg = msauth.Config{
		ClientID:     s.ms.ClientID,
		ClientSecret: s.ms.ClientSecret,
		Authority:    s.ms.URL,
		BaseURL:      s.URL + "/auth",
		Keys:         [][]byte{newKey()},
		HTTPClient:   client,
		Logger:       slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	s.restart(t, changes...)
	t.Cleanup(func() { s.wantNoSecrets(t, "the log", s.log.String()) })
}

// restart replaces the app by one with a changed configuration and an empty
// memory.
func (s *site) restart(t *testing.T, changes ...func(*msauth.Config)) {
	t.Helper()
	for _, change := range changes {
		change(&s.cfg)
	}
	var err error
	if s.auth, err = msauth.New(s.cfg); err != nil {
		t.Fatal(err)
	}
	s.mux = http.NewServeMux()
	s.mux.Handle("/auth/", s.auth)
	s.mux.Handle("/public/", s.auth.Load(http.HandlerFunc(hello)))
	s.mux.Handle("/", s.auth.Require(http.HandlerFunc(hello)))
	s.current.Store(s.mux)
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.current.Load().ServeHTTP(w, r) }

// wantNoSecrets fails the test when a text holds anything that was secret.
func (s *site) wantNoSecrets(t *testing.T, what, text string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	secrets := append(s.ms.Secrets(), s.canaries...)
	for _, call := range s.ms.Calls(msauthtest.TokenCode) {
		secrets = append(secrets, call.Form.Get("code_verifier"))
	}
	for _, key := range s.cfg.Keys {
		secrets = append(secrets, string(key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), fmt.Sprint(key))
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(text, secret) {
			t.Errorf("a secret of %d bytes (%.6s...) is in %s", len(secret), secret, what)
			return
		}
	}
}

// watch keeps what an answer gave to the browser alone.
func (s *site) watch(res seen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range res.Cookies() {
		if len(c.Value) > 8 {
			s.canaries = append(s.canaries, c.Value)
		}
	}
	if to, err := res.Location(); err == nil {
		for _, name := range []string{"state", "nonce"} {
			if value := to.Query().Get(name); len(value) > 8 {
				s.canaries = append(s.canaries, value)
			}
		}
	}
}

// inProcess calls handlers by host.
type inProcess map[string]http.Handler

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	handler := p[r.URL.Host]
	if handler == nil {
		return nil, fmt.Errorf("no such host: %s", r.URL.Host)
	}
	if ms, ok := handler.(*msauthtest.Server); ok {
		return ms.Transport().RoundTrip(r)
	}
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	in.URL.Scheme, in.URL.Host = "", ""
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, in)
	res := rec.Result()
	res.Request = r
	header := http.Header{}
	for name, values := range res.Header { // as a reader of the wire joins them
		name = http.CanonicalHeaderKey(name)
		header[name] = append(header[name], values...)
	}
	res.Header = header
	return res, nil
}

func hello(w http.ResponseWriter, r *http.Request) {
	session, ok := msauth.FromContext(r.Context())
	if !ok {
		fmt.Fprint(w, "hello nobody")
		return
	}
	if r.URL.Query().Has("token") {
		token, err := session.Token(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, token.AccessToken)
		return
	}
	fmt.Fprintf(w, "hello %s", session.User.Name)
}

func newKey() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

// as makes every sign-in be that of one person, without a page.
func (s *site) as(person string) {
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = person })
}

// browser is a client with a cookie jar whose requests look like a person's
// navigation, unless they say otherwise.
type browser struct {
	*http.Client
	t    *testing.T
	site *site
}

func (s *site) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, site: s, Client: &http.Client{
		Jar: jar, Transport: navigating{s.wire}, Timeout: 30 * time.Second,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if s.watch(seen{Response: r.Response}); len(via) >= 10 {
				return fmt.Errorf("10 redirects, now to %s", r.URL)
			}
			return nil
		},
	}}
}

// still makes the browser show redirects instead of following them.
func (b *browser) still() *browser {
	c := *b.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{Client: &c, t: b.t, site: b.site}
}

type navigating struct{ base http.RoundTripper }

func (n navigating) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Sec-Fetch-Mode") == "" && r.Header.Get("Accept") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
		r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	}
	return n.base.RoundTrip(r)
}

// seen is a response with its body read.
type seen struct {
	*http.Response
	body string
}

func (b *browser) do(method, target string, header ...string) seen {
	b.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.site.URL + target
	}
	req, err := http.NewRequestWithContext(context.Background(), method, target, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	return b.send(req)
}

func (b *browser) send(req *http.Request) seen {
	b.t.Helper()
	res, err := b.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	got := seen{res, string(body)}
	b.site.watch(got)
	if got.kind() != "" || strings.HasPrefix(got.Header.Get("Content-Type"), "application/problem") {
		b.site.wantNoSecrets(b.t, "a page", got.body)
	}
	return got
}

var (
	pageKind = regexp.MustCompile(`<main id="msauth-([a-z-]+)">`)
	pageID   = regexp.MustCompile(`<code>([0-9a-f]{12})</code>`)
)

// kind is that of a page of the package; "" for all other answers.
func (s seen) kind() string {
	if m := pageKind.FindStringSubmatch(s.body); m != nil {
		return m[1]
	}
	return ""
}

// wantPage checks that an answer is the page of a kind, under headers that let
// it do nothing but be read. For a page about a failure, reason must be in the
// one log line that has the page's id.
func (s *site) wantPage(t *testing.T, res seen, status int, kind, reason string) {
	t.Helper()
	if res.StatusCode != status || res.kind() != kind {
		t.Fatalf("status %d, page %q, want %d, %q; body %.300q; log:\n%s", res.StatusCode, res.kind(), status, kind, res.body, s.log)
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'sha256-", "X-Content-Type-Options": "nosniff",
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "Content-Type": "text/html; charset=utf-8",
	} {
		if got := res.Header.Get(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if res.Header.Get("Location") != "" || !strings.Contains(res.body, `<html lang="en">`) {
		t.Errorf("the page has a Location %q, or no language", res.Header.Get("Location"))
	}
	if reason == "" {
		if pageID.MatchString(res.body) {
			t.Errorf("the page has an id, though nothing failed: %q", res.body)
		}
		return
	}
	id := pageID.FindStringSubmatch(res.body)
	if id == nil {
		t.Fatalf("the page has no id: %q", res.body)
	}
	lines := s.log.with(" id=" + id[1])
	if len(lines) != 1 || !strings.Contains(lines[0], reason) {
		t.Fatalf("log lines of the page %q, want one with %q", lines, reason)
	}
}

// wantRefused checks that the answer of a callback is a page, and that nobody
// was signed in by it.
func (b *browser) wantRefused(res seen, status int, kind, reason string) {
	b.t.Helper()
	b.site.wantPage(b.t, res, status, kind, reason)
	if !strings.HasPrefix(res.Request.URL.Path, "/auth/callback") {
		b.t.Errorf("the page is at %s, want the callback", res.Request.URL.Path)
	}
	for _, c := range res.Cookies() {
		if c.MaxAge >= 0 && sessionCookie.MatchString(c.Name) {
			b.t.Errorf("a refused sign-in sets %s", c.Name)
		}
	}
}

func (b *browser) get(target string, header ...string) seen {
	b.t.Helper()
	return b.do(http.MethodGet, target, header...)
}

// signIn signs a person in and fails the test if that does not work.
func (b *browser) signIn(person string) {
	b.t.Helper()
	b.site.as(person)
	if res := b.get("/"); res.StatusCode != http.StatusOK || !strings.HasPrefix(res.body, "hello ") || res.body == "hello nobody" {
		b.t.Fatalf("signing in as %s: status %d, page %q, log:\n%s", person, res.StatusCode, res.body, b.site.log)
	}
}

// attempt begins a sign-in at target and has the provider answer, as the
// person of [site.as]. It returns the address of the callback, not yet opened.
func (b *browser) attempt(target string, header ...string) string {
	b.t.Helper()
	still := b.still()
	res := still.get(target, header...)
	to := res.Header.Get("Location")
	if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, b.site.ms.URL) {
		b.t.Fatalf("%s: status %d to %q, want a redirect to the provider; log:\n%s", target, res.StatusCode, to, b.site.log)
	}
	back := still.get(to).Header.Get("Location")
	if !strings.HasPrefix(back, b.site.URL+"/auth/callback?") {
		b.t.Fatalf("the provider sends back to %q, want the callback", back)
	}
	return back
}

// wantGreeting checks who is signed in, without starting a sign-in.
func (b *browser) wantGreeting(want string) {
	b.t.Helper()
	if got := b.get("/public/").body; got != want {
		b.t.Errorf("page %q, want %q; log:\n%s", got, want, b.site.log)
	}
}

const (
	helloAda    = "hello Ada Lindqvist"
	helloBruno  = "hello Bruno Okafor"
	helloNobody = "hello nobody"
)

var sessionCookie = regexp.MustCompile(`^__Host-msauth-[A-Za-z0-9]{6}(-[1-9])?$`)

// session are the cookies of the browser's session, in their order.
func (b *browser) session() (cookies []*http.Cookie) {
	for _, c := range b.cookies() {
		if sessionCookie.MatchString(c.Name) {
			cookies = append(cookies, c)
		}
	}
	slices.SortFunc(cookies, func(a, b *http.Cookie) int { return strings.Compare(a.Name, b.Name) })
	return cookies
}

// keep puts a cookie into the browser; an empty value takes it away.
func (b *browser) keep(name, value string) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true}
	if value == "" {
		c.MaxAge = -1
	}
	u, _ := url.Parse(b.site.URL)
	b.Jar.SetCookies(u, []*http.Cookie{c})
}

// cookies are those the browser would send to the site; the provider, on
// another port of the same host, has one of its own.
func (b *browser) cookies() []*http.Cookie {
	u, _ := url.Parse(b.site.URL)
	return slices.DeleteFunc(b.Jar.Cookies(u), func(c *http.Cookie) bool { return strings.HasPrefix(c.Name, "msauthtest-") })
}

// logBuffer is a log that a test can read while the site writes it.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// with returns the lines that contain a text.
func (l *logBuffer) with(text string) (lines []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

func (s *site) wantCalls(t *testing.T, kind msauthtest.Kind, want int) {
	t.Helper()
	if got := s.ms.Count(kind); got != want {
		t.Errorf("%d requests of kind %s at the provider, want %d", got, kind, want)
	}
}

// calls counts the requests at the provider since the last reset, by kind.
func (s *site) calls() map[msauthtest.Kind]int {
	counts := map[msauthtest.Kind]int{}
	for _, kind := range []msauthtest.Kind{
		msauthtest.Discovery, msauthtest.Keys, msauthtest.Authorize, msauthtest.Picked, msauthtest.TokenCode, msauthtest.TokenRefresh,
		msauthtest.TokenOther, msauthtest.Logout, msauthtest.Graph, msauthtest.Download, msauthtest.Other,
	} {
		if n := s.ms.Count(kind); n > 0 {
			counts[kind] = n
		}
	}
	return counts
}

func (s *site) wantNoCalls(t *testing.T) {
	t.Helper()
	if calls := s.calls(); len(calls) > 0 {
		t.Errorf("requests at the provider: %v, want none", calls)
	}
}

func TestSignInLeadsBackToThePageThatWasWanted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	res := b.get("/a/b?x=1&y=%2F%20z")
	if want := "hello Ada Lindqvist"; res.body != want {
		t.Fatalf("page %q, want %q; log:\n%s", res.body, want, s.log)
	}
	if got, want := res.Request.URL.RequestURI(), "/a/b?x=1&y=%2F%20z"; got != want {
		t.Errorf("ended at %s, want %s", got, want)
	}
	s.wantCalls(t, msauthtest.TokenCode, 1)
	s.wantCalls(t, msauthtest.Discovery, 1)
	s.wantCalls(t, msauthtest.Keys, 1)
	s.ms.ResetCalls()
	for range 5 {
		b.get("/again")
	}
	s.wantNoCalls(t)
}

func TestWorkSessionIsOneCookie(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	s.as(msauthtest.Ada)
	still := b.still()
	to := still.get("/").Header.Get("Location")
	back := still.get(to).Header.Get("Location")
	res := still.get(back)
	var lines []string
	for _, line := range res.Header["Set-Cookie"] {
		if c, _ := http.ParseSetCookie(line); c != nil && c.Value != "" && len(c.Value) > 100 {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || len(lines[0]) >= 3300 {
		t.Fatalf("%d session cookies, want 1 of less than 3300 bytes: %d", len(lines), len(strings.Join(lines, "")))
	}
	t.Logf("Set-Cookie line of a work account: %d bytes", len(lines[0]))
}
