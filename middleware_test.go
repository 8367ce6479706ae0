package msauth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// site is an app that uses the package, on TLS, with a local Microsoft.
type site struct {
	*httptest.Server
	ms   *msauthtest.Server
	auth *msauth.Middleware
	log  *logBuffer
	cfg  msauth.Config
	mux  *http.ServeMux
}

// newSite starts one; changes adjust the configuration. Its pages are
//
//	/public/...  under Load: "hello NAME" or "hello nobody"
//	/...         under Require: "hello NAME"; with ?token the access token
func newSite(t *testing.T, changes ...func(*msauth.Config)) *site {
	t.Helper()
	s := &site{ms: msauthtest.NewServer(), log: &logBuffer{}, mux: http.NewServeMux()}
	t.Cleanup(s.ms.Close)
	s.Server = httptest.NewUnstartedServer(nil)
	s.cfg = msauth.Config{
		ClientID:     s.ms.ClientID,
		ClientSecret: s.ms.ClientSecret,
		Authority:    s.ms.URL,
		BaseURL:      "https://" + s.Listener.Addr().String() + "/auth",
		Keys:         [][]byte{newKey()},
		TokenHosts:   []string{strings.TrimPrefix(s.ms.URL, "http://")},
		Logger:       slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, change := range changes {
		change(&s.cfg)
	}
	var err error
	if s.auth, err = msauth.New(s.cfg); err != nil {
		t.Fatal(err)
	}
	s.mux.Handle("/auth/", s.auth)
	s.mux.Handle("/public/", s.auth.Load(http.HandlerFunc(hello)))
	s.mux.Handle("/", s.auth.Require(http.HandlerFunc(hello)))
	s.Config.Handler = s.mux
	s.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(s.log, nil), slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
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
		Jar: jar, Transport: navigating{s.Server.Client().Transport}, Timeout: 30 * time.Second,
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
		req.Header.Set(header[i], header[i+1])
	}
	res, err := b.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return seen{res, string(body)}
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

// cookies are those the browser would send to the site.
func (b *browser) cookies() []*http.Cookie {
	u, _ := url.Parse(b.site.URL)
	return b.Jar.Cookies(u)
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

func (s *site) wantCalls(t *testing.T, kind msauthtest.Kind, want int) {
	t.Helper()
	if got := s.ms.Count(kind); got != want {
		t.Errorf("%d requests of kind %s at the provider, want %d", got, kind, want)
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
	if calls := len(s.ms.Calls("")); calls != 0 {
		t.Errorf("%d requests at the provider for a person who is signed in, want none", calls)
	}
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
	if len(lines) != 1 || len(lines[0]) >= 3800 {
		t.Fatalf("%d session cookies, want 1 of less than 3800 bytes: %d", len(lines), len(strings.Join(lines, "")))
	}
	t.Logf("Set-Cookie line of a work account: %d bytes", len(lines[0]))
}
