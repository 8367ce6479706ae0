// Package livetest runs a sample of example/live beside a stand-in for Live Connect,
// for tests.
package livetest

import (
	"bytes"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth/example/live/internal/livesite"
	"example.com/msauth/msauthtest"
)

// A Site is a sample on http://localhost, and a Microsoft on http://127.0.0.1 that
// signs everybody in as Mia.
type Site struct {
	T   *testing.T
	URL string
	MS  *msauthtest.Server

	Newest *msauthtest.Credential // the client secret that is not active yet

	wire http.RoundTripper // to both; nil for a network
}

// New starts both. env is the environment of the program, in which PORT is set.
func New(t *testing.T, p livesite.Program, env map[string]string) *Site {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	s := &Site{T: t, URL: "http://localhost:" + port, MS: msauthtest.NewServer()}
	t.Cleanup(s.MS.Close)
	server.Config.Handler = s.start(p, port, env)
	server.Start()
	t.Cleanup(server.Close)
	return s
}

// NewInProcess is New without a network, for bubbles of testing/synctest.
func NewInProcess(t *testing.T, p livesite.Program) *Site {
	t.Helper()
	s := &Site{T: t, URL: "http://localhost:8080", MS: msauthtest.New("http://127.0.0.1:9")}
	w := &wire{microsoft: s.MS.Transport()}
	s.wire = w
	w.site = s.start(p, "8080", nil)
	return s
}

func (s *Site) start(p livesite.Program, port string, env map[string]string) http.Handler {
	s.T.Helper()
	s.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Mia })
	set, err := livesite.ReadSettings(func(name string) string {
		if name == "PORT" {
			return port
		}
		return env[name]
	})
	if err != nil {
		s.T.Fatal(err)
	}
	s.Newest = set.UseLocal(s.MS)
	if s.wire != nil {
		set.Auth.HTTPClient = &http.Client{Transport: s.wire, Timeout: 10 * time.Second}
	}
	log := &buffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	set.Auth.Logger = logger
	site, _, err := p.Site(set, logger)
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() {
		for _, secret := range s.MS.Secrets() {
			if strings.Contains(log.String(), secret) {
				s.T.Error("a token, a code or the client secret is in the log")
				break
			}
		}
	})
	return site
}

// wire calls the handlers of the site and of Microsoft.
type wire struct {
	site      http.Handler
	microsoft http.RoundTripper
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Hostname() != "localhost" {
		return w.microsoft.RoundTrip(r)
	}
	arrived := r.Clone(r.Context())
	arrived.RequestURI, arrived.Host = r.URL.RequestURI(), r.URL.Host
	if arrived.Body == nil {
		arrived.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	w.site.ServeHTTP(rec, arrived)
	res := rec.Result()
	res.Request = r
	return res, nil
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A Person is a browser with cookies of its own.
type Person struct {
	s      *Site
	Client *http.Client
}

// Person opens a browser.
func (s *Site) Person() *Person {
	jar, _ := cookiejar.New(nil)
	return &Person{s, &http.Client{Jar: jar, Transport: s.wire}}
}

// A Page is an answer.
type Page struct {
	Status int
	Path   string // where the redirects ended
	Text   string
	Header http.Header
}

// Open loads a page as a browser does, and follows redirects.
func (p *Person) Open(path string) Page {
	p.s.T.Helper()
	req, err := http.NewRequest(http.MethodGet, p.s.URL+path, nil)
	if err != nil {
		p.s.T.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return p.send(req)
}

// Submit submits a form of the site.
func (p *Person) Submit(path string, pairs ...string) Page {
	p.s.T.Helper()
	return p.SubmitFrom(p.s.URL, path, pairs...)
}

// SubmitFrom submits a form of a site, which may be another one.
func (p *Person) SubmitFrom(origin, path string, pairs ...string) Page {
	p.s.T.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	req, err := http.NewRequest(http.MethodPost, p.s.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		p.s.T.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if origin != p.s.URL {
		req.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	req.Header.Set("Origin", origin)
	return p.send(req)
}

// Fetch asks as a script of the page "/" does.
func (p *Person) Fetch(path string) Page {
	p.s.T.Helper()
	req, err := http.NewRequest(http.MethodGet, p.s.URL+path, nil)
	if err != nil {
		p.s.T.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Mode", "cors")
	req.Header.Set("Sec-Fetch-Dest", "empty")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Referer", p.s.URL+"/")
	return p.send(req)
}

func (p *Person) send(req *http.Request) Page {
	p.s.T.Helper()
	res, err := p.Client.Do(req)
	if err != nil {
		p.s.T.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.s.T.Fatal(err)
	}
	page := Page{res.StatusCode, res.Request.URL.RequestURI(), string(body), res.Header}
	for _, secret := range p.s.MS.Secrets() {
		if strings.Contains(page.Text, secret) {
			p.s.T.Errorf("a token, a code or the client secret is in %s", req.URL.Path)
			break
		}
	}
	return page
}

// Element returns the text of the element with an id, or "" if there is none.
func (p Page) Element(id string) string {
	m := regexp.MustCompile(`<[^>]* id="` + regexp.QuoteMeta(id) + `"[^>]*>([^<]*)`).FindStringSubmatch(p.Text)
	if m == nil {
		return ""
	}
	return html.UnescapeString(strings.TrimSpace(m[1]))
}

// Link returns the address of the link with an id.
func (p Page) Link(id string) string {
	m := regexp.MustCompile(`<a [^>]*\bid="` + regexp.QuoteMeta(id) + `"[^>]* href="([^"]*)"`).FindStringSubmatch(p.Text)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}
