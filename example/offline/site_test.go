package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// A site is the app on http://localhost, without its worker, which tests run
// themselves. Its Microsoft, on http://127.0.0.1, keeps running when the app is
// restarted, and signs everybody in as Ada.
type site struct {
	*app
	t   *testing.T
	URL string
	ms  *msauthtest.Server
	env env
	log *lockedBuffer

	mu      sync.Mutex
	handler http.Handler
	due     time.Time // of the next run
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, ms: msauthtest.NewServer(), log: &lockedBuffer{}, due: time.Now().Truncate(time.Minute)}
	t.Cleanup(s.ms.Close)
	s.as(msauthtest.Ada)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		handler := s.handler
		s.mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	s.env = env{
		"AZURE_CLIENT_ID": s.ms.ClientID, "AZURE_CLIENT_SECRET": s.ms.ClientSecret, "AZURE_AUTHORITY_HOST": s.ms.URL,
		"PORT": port, "DIGEST_DB": filepath.Join(t.TempDir(), "a b%20?.db"),
	}
	s.start()
	server.Start()
	t.Cleanup(func() {
		server.Close()
		s.db.Close()
		for _, secret := range append(s.ms.Secrets(), password) {
			if strings.Contains(s.log.String(), secret) {
				t.Error("a token, a code, a password or the client secret is in the log")
				break
			}
		}
		if t.Failed() {
			t.Logf("log:\n%s", s.log.String())
		}
	})
	s.URL = "http://localhost:" + port
	return s
}

// start starts the app from the environment and the files.
func (s *site) start() {
	s.t.Helper()
	set, err := readSettings(s.env.get)
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := newApp(s.t.Context(), set, slog.New(slog.NewTextHandler(s.log, nil)))
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.app, s.handler = a, a.handler()
}

func (s *site) restart() {
	s.t.Helper()
	s.db.Close()
	s.start()
}

// as changes who is signed in at Microsoft.
func (s *site) as(person string) {
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = person })
}

// lifetime sets the lifetime of access tokens. It is stored in whole seconds, so a
// token of one second may expire at once.
func (s *site) lifetime(d time.Duration) {
	s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = d })
}

// run makes the worker do the run of the next minute.
func (s *site) run() *run {
	s.t.Helper()
	s.due = s.due.Add(time.Minute)
	return s.worker.run(s.t.Context(), s.due)
}

// wantRun does a run and checks its counts.
func (s *site) wantRun(want run) *run {
	s.t.Helper()
	r := s.run()
	got := run{Users: r.Users, Written: r.Written, Skipped: r.Skipped, Waiting: r.Waiting, Failed: r.Failed, Why: r.Why}
	if got != want {
		s.t.Fatalf("the run says %+v, want %+v", got, want)
	}
	return r
}

// number returns the result of a query for a number.
func (s *site) number(query string, args ...any) (n int) {
	s.t.Helper()
	if err := s.db.QueryRow(query, args...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *site) wantDigests(want int) {
	s.t.Helper()
	if n := s.number(`SELECT count(*) FROM digests`); n != want {
		s.t.Fatalf("%d digests, want %d", n, want)
	}
}

type env map[string]string

func (e env) get(name string) string { return e[name] }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

const password = "correct horse battery"

// A browser keeps cookies and navigates.
type browser struct {
	*http.Client
	site *site
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{&http.Client{Jar: jar, Timeout: 30 * time.Second}, s}
}

// user returns a browser of a user who has just signed up.
func (s *site) user(name string) *browser {
	s.t.Helper()
	b := s.browser()
	b.post("/sign-up", "name", name, "password", password).want(http.StatusOK, "No account is connected.", name)
	return b
}

// connected returns a browser of a user who has connected an account too.
func (s *site) connected(name, person string) *browser {
	s.t.Helper()
	b := s.user(name)
	s.as(person)
	b.post("/settings/connect").want(http.StatusOK, "Connected: ", person)
	return b
}

// still returns the same browser, following no redirects.
func (b *browser) still() *browser {
	c := *b.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{&c, b.site}
}

type answer struct {
	*http.Response
	t    *testing.T
	body string
}

func (b *browser) get(path string) *answer {
	b.site.t.Helper()
	return b.send(http.MethodGet, path, nil, nil)
}

// post posts a form of this site, of names and values in turn.
func (b *browser) post(path string, fields ...string) *answer {
	b.site.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return b.send(http.MethodPost, path, form, map[string]string{"Origin": b.site.URL, "Sec-Fetch-Site": "same-origin"})
}

func (b *browser) send(method, path string, form url.Values, header map[string]string) *answer {
	t := b.site.t
	t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = b.site.URL + path
	}
	req, err := http.NewRequestWithContext(context.Background(), method, path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &answer{res, t, string(body)}
}

// want checks the status, and that the body contains the texts.
func (a *answer) want(status int, texts ...string) *answer {
	a.t.Helper()
	if a.StatusCode != status {
		a.t.Fatalf("%s: status %d, want %d\n%s", a.Request.URL, a.StatusCode, status, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			a.t.Errorf("%s: %q is missing in\n%s", a.Request.URL, text, a.body)
		}
	}
	return a
}

func (a *answer) lack(texts ...string) *answer {
	a.t.Helper()
	for _, text := range texts {
		if strings.Contains(a.body, text) {
			a.t.Errorf("%s: %q is in\n%s", a.Request.URL, text, a.body)
		}
	}
	return a
}
