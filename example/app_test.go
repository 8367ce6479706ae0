package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// A site is the app on http://localhost, and a local Microsoft on
// http://127.0.0.1 that signs everybody in as Ada.
type site struct {
	t   *testing.T
	URL string
	ms  *msauthtest.Server
	set *settings
	log *lockedBuffer
}

// newSite starts both, after changes have adjusted the settings.
func newSite(t *testing.T, changes ...func(*settings, *msauthtest.Server)) *site {
	t.Helper()
	return newSiteOn(t, httptest.NewUnstartedServer(nil), changes...)
}

// newSiteOn is newSite on a server that has not started.
func newSiteOn(t *testing.T, server *httptest.Server, changes ...func(*settings, *msauthtest.Server)) *site {
	t.Helper()
	s := &site{t: t, ms: msauthtest.NewServer(), log: &lockedBuffer{}}
	t.Cleanup(s.ms.Close)
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })

	_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	var err error
	if s.set, err = readSettings(env{"PORT": port}.get); err != nil {
		t.Fatal(err)
	}
	s.set.useLocal(s.ms)
	s.set.Auth.KeepFragments = false // these browsers follow redirects, and no page that goes on by itself
	for _, change := range changes {
		change(s.set, s.ms)
	}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	s.set.Auth.Logger = log
	auth, err := msauth.New(s.set.Auth)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = newApp(auth, s.set, log)
	server.Start()
	t.Cleanup(server.Close)
	s.URL = "http://localhost:" + port
	return s
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

// signedIn is a browser in which Ada has signed in.
func (s *site) signedIn() *browser {
	s.t.Helper()
	b := s.browser()
	b.get("/session").want(http.StatusOK, `id="who"`)
	return b
}

type answer struct {
	*http.Response
	t    *testing.T
	body string
}

// get navigates to a page, or what the headers (names and values in turn) say.
func (b *browser) get(path string, headers ...string) *answer {
	b.site.t.Helper()
	return b.send(http.MethodGet, path, headers...)
}

func (b *browser) send(method, path string, headers ...string) *answer {
	b.site.t.Helper()
	req, err := http.NewRequestWithContext(b.site.t.Context(), method, b.site.URL+path, nil)
	if err != nil {
		b.site.t.Fatal(err)
	}
	return b.do(req, headers...)
}

// body posts a body.
func (b *browser) body(path, contentType string, body io.Reader, headers ...string) *answer {
	b.site.t.Helper()
	req, err := http.NewRequestWithContext(b.site.t.Context(), http.MethodPost, b.site.URL+path, body)
	if err != nil {
		b.site.t.Fatal(err)
	}
	return b.do(req, append([]string{"Content-Type", contentType, "Sec-Fetch-Site", "same-origin"}, headers...)...)
}

func (b *browser) do(req *http.Request, headers ...string) *answer {
	t := b.site.t
	t.Helper()
	req.Header.Set("Accept", "text/html")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
		}
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

// href returns the link that a pattern matches in its group.
func (a *answer) href(pattern string) string {
	a.t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(a.body)
	if m == nil {
		a.t.Fatalf("%s: no %s in\n%s", a.Request.URL, pattern, a.body)
	}
	return strings.ReplaceAll(m[1], "&amp;", "&")
}

// link returns the URL of a file or folder in the list.
func (a *answer) link(name string) string {
	a.t.Helper()
	for entry := range strings.SplitSeq(a.body, "<li>") {
		if strings.Contains(entry, `<span class="name">`+name+`<`) {
			return (&answer{a.Response, a.t, entry}).href(`<a class="(?:file|folder)" href="([^"]+)"`)
		}
	}
	a.t.Fatalf("%s: no %q in\n%s", a.Request.URL, name, a.body)
	return ""
}

func TestSignedOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	b.get("/").want(http.StatusOK, `id="sign-in"`, "local stand-in for Microsoft").lack(`id="who"`, `id="sign-out"`)
	for _, path := range []string{"/profile", "/profile/photo", "/files", "/files/ABC", "/files/ABC/content", "/session", "/sessions", "/api/me",
		"/calendar", "/api/calendar", "/security", "/api/security", "/admin", "/api/admin"} {
		a := b.get(path)
		if to := a.Header.Get("Location"); a.StatusCode/100 != 3 || !strings.HasPrefix(to, s.ms.URL+"/") {
			t.Errorf("%s: status %d to %q, want a redirect to the provider", path, a.StatusCode, to)
		}
	}
	if n := s.ms.Count(msauthtest.Graph); n != 0 {
		t.Errorf("%d requests to Graph, want none", n)
	}
}

func TestOpenToAll(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.get("/healthz").want(http.StatusOK, "ok")
	b.get("/readyz").want(http.StatusOK, "ready")
	for name, kind := range map[string]string{"app.css": "text/css", "session.js": "text/javascript", "logo.svg": "image/svg+xml"} {
		a := b.get("/static/" + name).want(http.StatusOK)
		if got, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type")); got != kind {
			t.Errorf("%s: Content-Type %q, want %s", name, got, kind)
		}
		if got := a.Header.Get("Cache-Control"); !strings.HasPrefix(got, "public") {
			t.Errorf("%s: Cache-Control %q, want public", name, got)
		}
	}
	b.get("/static/").want(http.StatusNotFound)
	b.get("/static/..%2Ftemplates%2Flayout.html").want(http.StatusNotFound)
	b.get("/nowhere").want(http.StatusNotFound, "Not found", "Reference:")
	b.send(http.MethodPost, "/profile").want(http.StatusNotFound)
}

func TestReadyWithoutMicrosoft(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.ms.Close()
	b := s.browser()
	b.get("/readyz").want(http.StatusServiceUnavailable, "not ready")
	b.get("/healthz").want(http.StatusOK)
	b.get("/").want(http.StatusOK, `id="sign-in"`)
}

func TestPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()

	home := b.get("/").want(http.StatusOK, "Hello, Ada Lindqvist", `<span id="who">Ada Lindqvist</span>`, "ada@contoso.example").lack(`id="sign-in"`)
	if n := s.ms.Count(msauthtest.Graph); n != 0 {
		t.Errorf("%d requests to Graph for /session and /, want none", n)
	}
	if to := home.href(`id="switch-account" href="([^"]+)"`); !strings.Contains(to, "prompt=select_account") {
		t.Errorf("use another account: %q, want prompt=select_account", to)
	}
	profile := b.get("/profile").want(http.StatusOK, "<h1>Ada Lindqvist</h1>", "Structural engineer", "Work or school account", `src="/profile/photo"`)
	if got := profile.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("/profile: Cache-Control %q, want no-store", got)
	}
	photo := b.get("/profile/photo").want(http.StatusOK)
	if got := photo.Header.Get("Content-Type"); got != "image/jpeg" || !strings.HasPrefix(photo.body, "\xff\xd8") {
		t.Errorf("photo: Content-Type %q, want a JPEG", got)
	}
	session := b.get("/session").want(http.StatusOK, msauthtest.TenantContoso,
		"40a0cffe-4fc9-448b-9790-232954984f24.8342b3fe-9359-4c66-8314-5ba888da8409", "User.Read", "Files.Read", `id="call-api"`, `id="api-result"`, `<span class="chip">Admin</span>`).lack("Calendars.Read")
	for id, least := range map[string]time.Duration{"renewed": -time.Minute, "signed-in": -time.Minute, "expires": 50 * time.Minute, "ends": 160 * time.Hour} {
		text := session.href(`<time id="` + id + `" datetime="([^"]+)"`)
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || time.Until(at) < least {
			t.Errorf("%s: %q, want a time %v from now or later", id, text, least)
		}
	}

	inline := regexp.MustCompile(`<style|\sstyle=|\son[a-z]+=|<script(>|\s+[^>]*>\s*[^<\s])|(src|href)="(https?:)?//`)
	for _, path := range []string{"/", "/profile", "/files", "/session", "/sessions", "/calendar", "/security", "/admin", "/nowhere"} {
		a := b.get(path)
		if found := inline.FindString(a.body); found != "" {
			t.Errorf("%s: %q does not go with the policy", path, found)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "same-origin",
			"Content-Type":            "text/html; charset=utf-8",
		} {
			if got := a.Header.Get(name); !strings.Contains(got, want) {
				t.Errorf("%s: %s is %q, want %q in it", path, name, got, want)
			}
		}
	}
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.ms.Set(func(b *msauthtest.Behavior) { b.RefreshIn = time.Second })
	b := s.signedIn()
	renewed := func() string { return b.get("/session").href(`<time id="renewed" datetime="([^"]+)"`) }
	before := renewed()
	time.Sleep(2 * time.Second)
	if after := renewed(); after == before || s.ms.Count(msauthtest.TokenCode) != 1 {
		t.Errorf("renewed at %s, before at %s, after %d sign-ins, want a renewal without another one", after, before, s.ms.Count(msauthtest.TokenCode))
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()

	root := b.get("/files").want(http.StatusOK, "Your files", `<ul id="files">`, "Welcome, Ada.txt", "of 5 GB used").lack(`class="crumbs"`)
	documents := b.get(root.link("Documents")).want(http.StatusOK, "<h1>Documents</h1>", `<a href="/files">OneDrive</a>`, "Budget 2026.csv")
	reports := b.get(documents.link("Reports")).want(http.StatusOK, "<h1>Reports</h1>", ">Documents</a>")
	year := b.get(reports.link("2026")).want(http.StatusOK, ">Documents</a>", ">Reports</a>")

	link := year.link("測定結果.csv")
	file := b.get(strings.TrimSuffix(link, "/content")).want(http.StatusOK) // sent on to the content
	if file.Request.URL.Path != link {
		t.Errorf("a file's page is %s, want %s", file.Request.URL.Path, link)
	}

	b.get("/files?next=$top%3D2").want(http.StatusOK, "First page", "Next page")
	for _, next := range []string{"a%20b", "a%00", "a%23", "%F0%9F%98%80"} {
		b.get("/files?next="+next).want(http.StatusNotFound, "Not found")
	}
	b.get("/files/NOSUCHID").want(http.StatusNotFound, "Not found")
	b.get("/files/..%2F..%2F..%2Fme").want(http.StatusNotFound, "Not found")
	b.get(year.href(`<li><a href="(/files/[^"]+)">Documents</a>`) + "/content").want(http.StatusNotFound)
}

func TestDownload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	pictures := b.get(b.get("/files").link("Pictures"))
	link := pictures.link("Été à la mer.png")
	s.ms.ResetCalls()

	whole := b.get(link).want(http.StatusOK)
	_, params, err := mime.ParseMediaType(whole.Header.Get("Content-Disposition"))
	if err != nil || params["filename"] != "Été à la mer.png" {
		t.Errorf("Content-Disposition %q: file name %q, %v", whole.Header.Get("Content-Disposition"), params["filename"], err)
	}
	if !strings.HasPrefix(whole.body, "\x89PNG") || whole.ContentLength != int64(len(whole.body)) {
		t.Errorf("content of %d bytes, Content-Length %d, want a PNG", len(whole.body), whole.ContentLength)
	}
	for name, want := range map[string]string{
		"Content-Type":            "image/png",
		"Content-Security-Policy": "sandbox; default-src 'none'",
		"X-Content-Type-Options":  "nosniff",
		"Cache-Control":           "no-store",
	} {
		if got := whole.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	part := b.get(link, "Range", "bytes=2-5").want(http.StatusPartialContent)
	if part.body != whole.body[2:6] || !strings.HasPrefix(part.Header.Get("Content-Range"), "bytes 2-5/") {
		t.Errorf("range: %q with Content-Range %q, want %q", part.body, part.Header.Get("Content-Range"), whole.body[2:6])
	}
	if a := b.get(link, "Range", "bytes=2-5", "If-Range", `"x"`).want(http.StatusOK); a.body != whole.body {
		t.Errorf("range of another version: %d bytes, want the whole file", len(a.body))
	}
	b.get(link, "Range", "bytes=9999999-").want(http.StatusRequestedRangeNotSatisfiable)
	if a := b.send(http.MethodHead, link).want(http.StatusOK); a.ContentLength != whole.ContentLength {
		t.Errorf("HEAD: Content-Length %d, want %d", a.ContentLength, whole.ContentLength)
	}

	calls := s.ms.Calls(msauthtest.Download)
	if len(calls) == 0 {
		t.Error("nothing was downloaded from the storage host")
	}
	for _, call := range calls {
		if call.Header.Get("Authorization") != "" {
			t.Error("the storage host was given the access token")
		}
	}
}

// script are the headers of a fetch from the session page.
func (s *site) script() []string {
	return []string{"Accept", "application/json", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin", "Referer", s.URL + "/session"}
}

// loginURL returns the URL to sign in at from a script's 401.
func (a *answer) loginURL() string {
	a.t.Helper()
	a.want(http.StatusUnauthorized)
	var problem struct {
		Status   int
		Title    string
		LoginURL string `json:"login_url"`
	}
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil || problem.Status != 401 || problem.Title == "" {
		a.t.Fatalf("%s: %v", a.body, err)
	}
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("Content-Type %q, want application/problem+json", got)
	}
	to, err := url.Parse(problem.LoginURL)
	if err != nil {
		a.t.Fatal(err)
	}
	return to.RequestURI()
}

func TestScript(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	script := s.script()

	a := b.get("/api/me", script...).want(http.StatusOK, `"displayName":"Ada Lindqvist"`)
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q, want application/json", got)
	}

	// Sign out in another tab.
	out := b.get("/").href(`id="sign-out" class="[^"]*" href="([^"]+)"`)
	b.get(out, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document").want(http.StatusOK)

	back := b.get(b.get("/api/me", script...).loginURL()).want(http.StatusOK, `id="who"`)
	if back.Request.URL.Path != "/session" {
		t.Errorf("signing in by login_url leads to %s, want /session", back.Request.URL)
	}
}

func TestSwitchAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn()
	link := b.get("/files/NOSUCHID").href(`id="switch-account" href="([^"]+)"`)
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Mia })
	a := b.get(link).want(http.StatusOK, `<span id="who">Mia Müller</span>`, "Welcome, Mia.txt")
	if a.Request.URL.Path != "/files" {
		t.Errorf("another person came to %s, want /files", a.Request.URL.Path)
	}
	b.get("/profile").want(http.StatusOK, "Personal account")
}

func TestOtherProvider(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(set *settings, ms *msauthtest.Server) {
		set.Auth.Authority, set.Auth.Issuer = "", ms.URL+"/generic"
		set.Auth.Scopes, set.Graph = nil, ""
	})
	b := s.signedIn()
	b.get("/profile").want(http.StatusOK, "<h1>Ada Lindqvist</h1>", "ada@contoso.example")
	b.get("/files").want(http.StatusNotFound, "has no OneDrive")
	b.get("/calendar").want(http.StatusNotFound, "No calendar found")
	b.get("/profile/photo").want(http.StatusOK, "<svg", ">AL<")
	b.get("/session").want(http.StatusOK, "/generic")
	b.get("/api/me", "Accept", "application/json").want(http.StatusOK, "Ada Lindqvist")
}

// The log contains neither tokens nor codes.
func TestNoSecretsInTheLog(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(set *settings, _ *msauthtest.Server) { set.AnswerTime = time.Second })
	b := s.signedIn()
	link := b.get("/files").href(`class="file" href="([^"]+)"`)
	b.get(link).want(http.StatusOK)
	for _, path := range []string{"/calendar", "/api/calendar", "/security", "/api/security", "/admin", "/api/admin"} {
		a := b.get(path).want(http.StatusOK)
		for _, secret := range s.ms.Secrets() {
			if strings.Contains(a.body, secret) {
				t.Errorf("%s shows %q", path, secret)
			}
		}
	}
	s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Download] = msauthtest.Failure{Close: true} })
	b.get(link).want(http.StatusBadGateway, "Microsoft is not responding")

	log := s.log.String()
	for _, secret := range append(s.ms.Secrets(), "tempauth", "code=", "state=") {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q:\n%s", secret, log)
		}
	}
	if !strings.Contains(log, "path=/auth/callback") {
		t.Errorf("no line for the callback in\n%s", log)
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	key := make([]byte, 32)
	rand.Read(key)
	s := newSite(t, func(set *settings, _ *msauthtest.Server) { set.Auth.Keys = [][]byte{key} })
	b := s.signedIn()
	auth, err := msauth.New(s.set.Auth) // what another process would do
	if err != nil {
		t.Fatal(err)
	}
	second := newApp(auth, s.set, slog.New(slog.DiscardHandler))
	u, _ := url.Parse(s.URL)
	r := httptest.NewRequest(http.MethodGet, s.URL+"/session", nil)
	for _, c := range b.Jar.Cookies(u) {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	second.ServeHTTP(w, r)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Ada Lindqvist") {
		t.Errorf("after a restart with the same key: status %d", w.Code)
	}
}
