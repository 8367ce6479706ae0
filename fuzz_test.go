package msauth

import (
	"bytes"
	"encoding/json"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/script"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// fuzzed is a Middleware whose provider cannot be reached: nothing that these
// targets do may need it.
func fuzzed(tb testing.TB, changes ...func(*Config)) *Middleware {
	tb.Helper()
	cfg := Config{
		ClientID: "11111111-2222-3333-4444-555555555555", ClientSecret: "secret",
		BaseURL: "https://app.example.com/auth", Keys: [][]byte{bytes.Repeat([]byte{1, 2, 3, 4}, 8)},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		HTTPClient: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			tb.Errorf("request to %s", r.URL.Host)
			return nil, io.ErrUnexpectedEOF
		})},
	}
	for _, change := range changes {
		change(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// aRecord is a session of a work account, with tokens that look like JWTs.
func aRecord() *session.Record {
	now := time.Now().Unix()
	jwt := seal.Base64url.EncodeToString([]byte(`{"typ":"JWT","alg":"RS256","kid":"abc"}`)) + "." +
		seal.Base64url.EncodeToString([]byte(`{"aud":"https://graph.microsoft.com","name":"Ada","oid":"0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e"}`)) + "." +
		seal.Base64url.EncodeToString(bytes.Repeat([]byte{7, 200, 3}, 80))
	r := &session.Record{
		Layout: &session.Layout{Authority: "https://login.microsoftonline.com", ClientID: "11111111-2222-3333-4444-555555555555"}, SignedIn: now, Used: now, Renewed: now, Expiry: now + 3600, RefreshAt: now + 3300,
		User: provider.Account{
			Issuer: "https://login.microsoftonline.com/40a0cffe-4fc9-448b-9790-232954984f24/v2.0", Subject: "sub",
			TenantID: "40a0cffe-4fc9-448b-9790-232954984f24", ObjectID: "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e",
			Name: "Ada", Username: "ada@contoso.example", Roles: []string{"admin"}, Groups: []string{"0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4f"},
		},
		Scopes: "openid User.Read", Access: seal.Secret(jwt), Refresh: "1.AXoA.AgABAAEAAAD",
	}
	seal.RandomBytes(r.ID[:])
	return r
}

// Whatever a Cookie header holds, it is a session or it is none: no panic, no
// request to the provider, no redirect off the site, no 5xx.
func FuzzCookieHeader(f *testing.F) {
	m := fuzzed(f)
	rec := aRecord()
	w := httptest.NewRecorder()
	if err := m.sessions.Create(w, httptest.NewRequest("GET", "/", nil), rec, 0); err != nil {
		f.Fatal(err)
	}
	good, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	f.Add(good)
	f.Add("a=b; " + good + "; " + good)
	f.Add(good[:len(good)/2])
	f.Add(strings.Replace(good, "=1", "=2", 1) + "; " + m.cookies.Name + "-1=AAAA")
	f.Add(m.cookies.Name + "=; " + m.cookies.Name + "-9=x;;;=;" + m.cookies.Name)
	f.Add(m.markerName() + "=1; " + m.cookies.Name + "-login-0000000000000000=x")
	handler := m.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, ok := FromContext(r.Context())
		if !ok || s.User.Key() != rec.User.Key() {
			f.Error("a handler under Require ran for nobody")
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	f.Fuzz(func(t *testing.T, cookie string) {
		r := httptest.NewRequest("GET", "/page", nil)
		r.Header["Cookie"] = []string{cookie}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusNoContent && w.Code != http.StatusUnauthorized {
			t.Errorf("status %d for the cookies %q", w.Code, cookie)
		}
	})
}

func FuzzReturnPath(f *testing.F) {
	for _, s := range returnPathSeeds {
		f.Add(s)
	}
	m := fuzzed(f)
	origin, _ := url.Parse("https://app.example.com/auth/callback")
	f.Fuzz(func(t *testing.T, s string) {
		p := m.returnPath(s)
		if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t\x00") || len(p) > web.MaxReturnPath {
			t.Fatalf("%q gives %q", s, p)
		}
		u, err := origin.Parse(p)
		if err != nil || u.Host != origin.Host || u.Scheme != origin.Scheme {
			t.Fatalf("%q gives %q, which leads to %v", s, p, u)
		}
		if clean := path.Clean(u.Path); clean == "/auth/login" || clean == "/auth/callback" || clean == "/auth/logout" || clean == "/auth/continue" {
			t.Fatalf("%q gives our own route %q", s, p)
		}
		if again := m.returnPath(p); again != p {
			t.Fatalf("%q gives %q, and that gives %q", s, p, again)
		}
	})
}

var returnPathSeeds = []string{
	"/", "/a/b?x=1&y=%2F%20ü", "//evil", "/\\evil", "/%09/evil", "/\t/evil", "/\v\\evil", "/./\\evil", "/.//evil", "///evil",
	"https:evil", "https:/evil", "/%5cevil", "/%2f%2fevil", "javascript:alert(1)", "data:,x", "/@evil", "\\\\evil", "?//evil",
	"/a\r\nSet-Cookie: x=y", "/..//evil", "/a/..//evil", "/%2e%2e//evil", "/auth/login", "/auth/./logout", "/auth%2flogin", "/auth/callback?x",
	"/a#b", "/#//evil", "/a b", "/%zz", "/\u2028x", "/\uff0f\uff0fevil", "/a;//b", "/" + strings.Repeat("x", 700), "/x?" + strings.Repeat("y", 700),
}

// Whatever the address, the page that keeps its fragment has one script and leads to one
// login link of this site.
func FuzzFragmentPage(f *testing.F) {
	for _, s := range returnPathSeeds {
		f.Add(s, "de")
	}
	f.Add(`/"><script>alert(1)</script>`, `"><script>`)
	m := fuzzed(f, func(c *Config) { c.KeepFragments = true })
	f.Fuzz(func(t *testing.T, path, accept string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RequestURI, r.URL.Path = path, path
		r.Header = http.Header{"Accept-Language": {accept}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
		w := httptest.NewRecorder()
		m.Require(http.NotFoundHandler()).ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized { // the address of a page of ours
			return
		}
		body := w.Body.String()
		if strings.Count(body, "<script") != 1 || !strings.Contains(body, "<script>"+fragmentScript+"</script>") {
			t.Fatalf("%q: %s", path, body)
		}
		_, link, _ := strings.Cut(body, `<a href="`)
		link, _, _ = strings.Cut(link, `"`)
		u, err := url.Parse(html.UnescapeString(link))
		if err != nil || u.Host != "" || u.Path != "/auth/login" {
			t.Fatalf("%q leads to %q", path, link)
		}
		if to := u.Query().Get("return_to"); to != "" && m.returnPath(to) != to {
			t.Fatalf("%q returns to %q", path, to)
		}
	})
}

// The short route leads to the address that was kept for this session's sign-in,
// or to the home page, whatever cookies come.
func FuzzAddressCookie(f *testing.F) {
	m := fuzzed(f, func(c *Config) { c.Home = "/home" })
	a, _ := session.NewAttempt()
	a.ReturnTo = "/orders?id=" + strings.Repeat("x", 300)
	rec := aRecord()
	rec.Attempt = a.ID
	w := httptest.NewRecorder()
	if err := m.sessions.Create(w, httptest.NewRequest("GET", "/", nil), rec, 0); err != nil {
		f.Fatal(err)
	}
	session, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	h := http.Header{}
	m.attempts.KeepAddress(h, a)
	good, _, _ := strings.Cut(strings.TrimPrefix(h.Get("Set-Cookie"), m.attempts.AddressName()+"="), ";")
	for _, value := range []string{good, good[1:], "", "/x", "AAAA", "; " + m.attempts.AddressName() + "=" + good} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest("GET", "/auth/continue", nil)
		r.Header["Cookie"] = []string{session + "; " + m.attempts.AddressName() + "=" + value}
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		to := w.Header().Get("Location")
		// Seeds may come from another process with the same key.
		if w.Code != http.StatusSeeOther || to != "/home" && to != a.ReturnTo || to == a.ReturnTo && w.Header().Get("Set-Cookie") == "" {
			t.Errorf("%q: %d to %q", value, w.Code, to)
		}
		if r.Header["Cookie"] = r.Header["Cookie"][:0]; value != "" {
			r.Header["Cookie"] = []string{m.attempts.AddressName() + "=" + value}
		}
		w = httptest.NewRecorder()
		if m.ServeHTTP(w, r); w.Header().Get("Location") != "/home" {
			t.Errorf("%q without a session: %d to %q", value, w.Code, w.Header().Get("Location"))
		}
	})
}

// Whatever a login link holds, it leads to a page of this site and is marked as
// a second try only if this package has marked it.
func FuzzLoginLink(f *testing.F) {
	m := fuzzed(f)
	for _, link := range []string{m.LoginURL(LoginOptions{ReturnTo: "/a?b=c", AppState: "x", Scopes: []string{"Mail.Read"}}), m.retryURL("/a"), "?return_to=%2F%2Fevil&prompt=login", "?sealed=x"} {
		_, query, _ := strings.Cut(link, "?")
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		o, err := m.loginOptions(query)
		if err != nil {
			return
		}
		if onSite, _ := web.ReturnPath(o.returnTo, m.noReturn, ""); onSite != o.returnTo {
			t.Errorf("%q leads back to %q", query, o.returnTo)
		}
		if q, _ := url.ParseQuery(query); (o.retried || o.appState != "") && q.Get("sealed") == "" {
			t.Errorf("%q is more than it can be", query)
		}
	})
}

// Whatever a front-channel call brings, it ends no session but the one whose sid it
// names, sets no cookie and answers alike.
func FuzzFrontChannelQuery(f *testing.F) {
	m := fuzzed(f)
	for _, query := range []string{"sid=x", "sid=x&iss=https%3A%2F%2Fevil.example", "sid=a&sid=b", "sid=&iss=", "%zz&sid=x;y", ""} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/auth/front-channel-logout", nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest || len(w.Header()["Set-Cookie"]) > 0 || w.Header().Get("Location") != "" || w.Body.Len() > 100 {
			t.Errorf("status %d, header %v for %q", w.Code, w.Header(), query)
		}
		if m.Stats().SignOuts != 0 {
			t.Errorf("%q ends a session", query)
		}
	})
}

func FuzzCallbackQuery(f *testing.F) {
	m := fuzzed(f)
	f.Add("code=x&state=y")
	f.Add("state=a&state=b&code=c")
	f.Add("error=access_denied&error_description=<script>&state=x")
	f.Add("%zz")
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/auth/callback", nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		m.Callback(w, r)
		if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" {
			t.Errorf("status %d, Location %q for %q", w.Code, w.Header().Get("Location"), query)
		}
	})
}

// Whatever a request for the session holds, it is answered or refused: only scripts of the
// site learn anything, and a session is the one that was sealed here or none.
func FuzzSessionRequest(f *testing.F) {
	m := fuzzed(f)
	rec := aRecord()
	w := httptest.NewRecorder()
	if err := m.sessions.Create(w, httptest.NewRequest("GET", "/", nil), rec, 0); err != nil {
		f.Fatal(err)
	}
	good, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	f.Add(true, good, "same-origin", "", "https://app.example.com/page?x=1")
	f.Add(false, good, "", "1", "https://app.example.com/auth/done")
	f.Add(true, good+"; "+good, "cross-site", "1", "//evil.example")
	f.Add(false, good[:len(good)/2], "same-origin, none", "", "https://app.example.com//evil.example/")
	f.Add(true, m.cookies.DeviceName()+"=x; "+m.cookies.Name+"-1=x", "same-site", "\x00", "https://evil@app.example.com/\\")
	f.Fuzz(func(t *testing.T, post bool, cookie, site, script, referer string) {
		r := httptest.NewRequest(map[bool]string{true: "POST", false: "GET"}[post], "/auth/session", nil)
		for name, value := range map[string]string{"Cookie": cookie, "Sec-Fetch-Site": site, scriptHeader: script, "Referer": referer} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		ours := site == "same-origin" || site == "" && script != ""
		if !ours {
			if w.Code != http.StatusForbidden || w.Header().Get("Set-Cookie") != "" || strings.Contains(w.Body.String(), rec.User.Name) {
				t.Fatalf("status %d for %q, %q: %s", w.Code, site, script, w.Body)
			}
			return
		}
		var answer sessionAnswer
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
		}
		if answer.SignedIn != (answer.Person != 0) || answer.SignedIn != (answer.SignIn != 0) || answer.SignedIn && answer.Username != rec.User.Username {
			t.Fatalf("the session of %q is %+v", cookie, answer)
		}
		if o, err := m.loginOptions(strings.TrimPrefix(answer.LoginURL, "/auth/login?")); answer.LoginURL != "/auth/login" && (err != nil || m.returnPath(o.returnTo) != o.returnTo) {
			t.Fatalf("%q gives the link %s: %v", referer, answer.LoginURL, err)
		}
	})
}

// Nothing but its own version has the module kept for long, and nothing changes it.
func FuzzScriptVersion(f *testing.F) {
	m := fuzzed(f)
	_, good, _ := strings.Cut(m.ScriptURL(), "?")
	for _, query := range []string{good, "", "v=", good + "&", "&" + good, "v=%00", "%zz", "V=x", strings.ToLower(good)} {
		f.Add(query, "", "")
	}
	f.Add(good, `W/"`+good[2:]+`"`, "bytes=0-9")
	f.Add("", `*`, "bytes=9-1,x")
	f.Fuzz(func(t *testing.T, query, none, span string) {
		r := httptest.NewRequest("GET", "/auth/msauth.js", nil)
		r.URL.RawQuery = query
		r.Header["If-None-Match"], r.Header["Range"] = []string{none}, []string{span}
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if kept := strings.Contains(w.Header().Get("Cache-Control"), "immutable"); kept != (query == good) && w.Code < 300 {
			t.Fatalf("%q is kept: %t", query, kept)
		}
		body := w.Body.String()
		switch w.Code {
		case http.StatusOK:
			if body != script.Module {
				t.Fatalf("%q gives %q", query, body)
			}
		case http.StatusPartialContent, http.StatusNotModified, http.StatusRequestedRangeNotSatisfiable:
		default:
			t.Fatalf("status %d for %q, %q, %q", w.Code, query, none, span)
		}
	})
}
