package msauth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"
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

// someRecord is a session of a work account, with tokens that look like JWTs.
func someRecord() *record {
	now := time.Now().Unix()
	jwt := base64url.EncodeToString([]byte(`{"typ":"JWT","alg":"RS256","kid":"abc"}`)) + "." +
		base64url.EncodeToString([]byte(`{"aud":"https://graph.microsoft.com","name":"Ada","oid":"0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e"}`)) + "." +
		base64url.EncodeToString(bytes.Repeat([]byte{7, 200, 3}, 80))
	r := &record{
		layout: &layout{authority: "https://login.microsoftonline.com", clientID: "11111111-2222-3333-4444-555555555555"}, signedIn: now, used: now, renewed: now, expiry: now + 3600, refreshAt: now + 3300,
		user: account{
			Issuer: "https://login.microsoftonline.com/40a0cffe-4fc9-448b-9790-232954984f24/v2.0", Subject: "sub",
			TenantID: "40a0cffe-4fc9-448b-9790-232954984f24", ObjectID: "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e",
			Name: "Ada", Username: "ada@contoso.example", Roles: []string{"admin"}, Groups: []string{"0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4f"},
		},
		scopes: "openid User.Read", access: secret(jwt), refresh: "1.AXoA.AgABAAEAAAD",
	}
	randomBytes(r.id[:])
	return r
}

// aRecord is a session of a work account, with tokens that look like JWTs.
func aRecord() *record {
	now := time.Now().Unix()
	jwt := base64url.EncodeToString([]byte(`{"typ":"JWT","alg":"RS256","kid":"abc"}`)) + "." +
		base64url.EncodeToString([]byte(`{"aud":"https://graph.microsoft.com","name":"Ada","oid":"0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e"}`)) + "." +
		base64url.EncodeToString(bytes.Repeat([]byte{7, 200, 3}, 80))
	r := &record{
		layout: &layout{authority: "https://login.microsoftonline.com", clientID: "11111111-2222-3333-4444-555555555555"}, signedIn: now, used: now, renewed: now, expiry: now + 3600, refreshAt: now + 3300,
		user: account{
			Issuer: "https://login.microsoftonline.com/40a0cffe-4fc9-448b-9790-232954984f24/v2.0", Subject: "sub",
			TenantID: "40a0cffe-4fc9-448b-9790-232954984f24", ObjectID: "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e",
			Name: "Ada", Username: "ada@contoso.example", Roles: []string{"admin"}, Groups: []string{"0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4f"},
		},
		scopes: "openid User.Read", access: secret(jwt), refresh: "1.AXoA.AgABAAEAAAD",
	}
	randomBytes(r.id[:])
	return r
}

// Whatever a Cookie header holds, it is a session or it is none: no panic, no
// request to the provider, no redirect off the site, no 5xx.
func FuzzCookieHeader(f *testing.F) {
	m := fuzzed(f)
	rec := aRecord()
	w := httptest.NewRecorder()
	if err := m.sessions.create(w, httptest.NewRequest("GET", "/", nil), rec); err != nil {
		f.Fatal(err)
	}
	good, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	f.Add(good)
	f.Add("a=b; " + good + "; " + good)
	f.Add(good[:len(good)/2])
	f.Add(strings.Replace(good, "=1", "=2", 1) + "; " + m.cookies.name + "-1=AAAA")
	f.Add(m.cookies.name + "=; " + m.cookies.name + "-9=x;;;=;" + m.cookies.name)
	f.Add(m.markerName() + "=1; " + m.cookies.name + "-login-0000000000000000=x")
	handler := m.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, ok := FromContext(r.Context())
		if !ok || s.User.Key() != rec.user.key() {
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
		if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t\x00") || len(p) > maxReturnTo {
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

// The short route leads to the address that was kept for this session's sign-in,
// or to the home page, whatever cookies come.
func FuzzAddressCookie(f *testing.F) {
	m := fuzzed(f, func(c *Config) { c.Home = "/home" })
	a, _ := newAttempt()
	a.returnTo = "/orders?id=" + strings.Repeat("x", 300)
	rec := aRecord()
	rec.attempt = a.id
	w := httptest.NewRecorder()
	if err := m.sessions.create(w, httptest.NewRequest("GET", "/", nil), rec); err != nil {
		f.Fatal(err)
	}
	session, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	h := http.Header{}
	m.attempts.keepAddress(h, a)
	good, _, _ := strings.Cut(strings.TrimPrefix(h.Get("Set-Cookie"), m.attempts.addressName()+"="), ";")
	for _, value := range []string{good, good[1:], "", "/x", "AAAA", "; " + m.attempts.addressName() + "=" + good} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest("GET", "/auth/continue", nil)
		r.Header["Cookie"] = []string{session + "; " + m.attempts.addressName() + "=" + value}
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		to := w.Header().Get("Location")
		// Seeds may come from another process with the same key.
		if w.Code != http.StatusSeeOther || to != "/home" && to != a.returnTo || to == a.returnTo && w.Header().Get("Set-Cookie") == "" {
			t.Errorf("%q: %d to %q", value, w.Code, to)
		}
		if r.Header["Cookie"] = r.Header["Cookie"][:0]; value != "" {
			r.Header["Cookie"] = []string{m.attempts.addressName() + "=" + value}
		}
		w = httptest.NewRecorder()
		if m.ServeHTTP(w, r); w.Header().Get("Location") != "/home" {
			t.Errorf("%q without a session: %d to %q", value, w.Code, w.Header().Get("Location"))
		}
	})
}

// Packed texts are read as they were, and bytes that nobody packed give
// printable text or nothing.
func FuzzPackASCII(f *testing.F) {
	for n := range 17 {
		f.Add([]byte(strings.Repeat("a~!", 6)[:n]))
	}
	f.Add([]byte{0, 0x80, 0xFF, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		text, ok := unpackASCII(b)
		if ok && strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Fatalf("%x gives %q", b, text)
		}
		for i := range b {
			b[i] = '!' + b[i]%('~'-'!'+1)
		}
		packed := packASCII([]byte("x"), string(b))
		if len(packed) != 1+(len(b)*7+7)/8 {
			t.Errorf("%d characters take %d bytes", len(b), len(packed)-1)
		}
		if text, ok := unpackASCII(packed[1:]); !ok || text != string(b) {
			t.Errorf("%q comes back as %q, %t", b, text, ok)
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
		if onSite, _ := localPath(o.returnTo, m.ownRoute, ""); onSite != o.returnTo {
			t.Errorf("%q leads back to %q", query, o.returnTo)
		}
		if q, _ := url.ParseQuery(query); (o.retried || o.appState != "") && q.Get("sealed") == "" {
			t.Errorf("%q is more than it can be", query)
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

func FuzzTokenReply(f *testing.F) {
	endpoint := &tokenEndpoint{authority: &authority{providerSettings: providerSettings{origin: "https://login.microsoftonline.com"}}}
	f.Add(`{"token_type":"Bearer","expires_in":3599,"access_token":"x"}`, 200, "")
	f.Add(`{"error":"invalid_grant","suberror":"bad_token","error_codes":[50173],"claims":"{}"}`, 400, "5")
	f.Add(`{"expires_in":"1e400","refresh_in":-1}`, 200, "Fri, 01 Jan 2100 00:00:00 GMT")
	f.Fuzz(func(t *testing.T, body string, status int, retry string) {
		var reply claims
		if json.Unmarshal([]byte(body), &reply) != nil {
			reply = nil
		}
		now := time.Now()
		g := endpoint.grantFrom(reply, now)
		if g.expiry <= now.Unix() || g.expiry > now.Add(maxLifetime).Unix() || g.refreshAt > g.expiry || g.refreshAt < now.Unix() {
			t.Errorf("%q: expires in %d s, renewed after %d s", body, g.expiry-now.Unix(), g.refreshAt-now.Unix())
		}
		e := endpoint.failure(&http.Response{StatusCode: status, Header: http.Header{"Retry-After": {retry}}}, reply, grantRenewal)
		if e.Class == "" || e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter || strings.ContainsAny(e.Error(), "\r\n\x00") {
			t.Errorf("%q: %+v", body, e)
		}
	})
}

// reread writes a record and reads it.
func reread(rec *record) (*record, error) {
	identity, tokens, err := splitParts(joinParts(rec.encode()))
	if err != nil {
		return nil, err
	}
	back, err := decodeRecord(identity, rec.layout)
	if err == nil {
		back.packed = tokens
	}
	return back, err
}

// A session that is written is read as it was, whatever its tokens look like.
func FuzzTokensRoundTrip(f *testing.F) {
	rec := someRecord()
	f.Add(string(rec.access), "M.C5xx_BAY.0.U.-CvK*8!pQ$$", "Ada")
	f.Add("EwB4A+/=", "a.b.c.d", "")
	f.Add("", "...", "x")
	for _, payload := range []string{
		`{"iat":-1,"nbf":1e3,"exp":0.5,"x":"1","y":"1","amr":["pwd",[],{}],"groups":["0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4f"],"t":true,"f":false,"n":null}`,
		`{"scp":"User.Read Files.Read x","rh":"1.AXoAbm90IGEga2V5.","aio":"AVQAq/8TAAAAbm90IGEga2V5+","name":"Ada \"\u00e9\" Müller"}`,
		`{"a": 1}`, `{"a":01}`, `{"a":9223372036854775808,"b":-0}`, `{`, `{"a":"\`, `{"":""}`, strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9),
	} {
		f.Add(base64url.EncodeToString([]byte(`{"alg":"RS256"}`))+"."+base64url.EncodeToString([]byte(payload))+".c2lnbmF0dXJl", "", "Ada")
	}
	f.Fuzz(func(t *testing.T, access, refresh, name string) {
		if len(access)+len(refresh) > 40<<10 {
			return
		}
		rec := someRecord()
		rec.user.Name, rec.access, rec.refresh = name, secret(access), secret(refresh)
		back, err := reread(rec)
		if err != nil {
			t.Fatal(err)
		}
		if alone, err := back.accessToken(); err != nil || string(alone) != access {
			t.Fatalf("%q alone came back as %q, %v", access, string(alone), err)
		}
		if err := back.unpack(); err != nil {
			t.Fatal(err)
		}
		if string(back.access) != access || string(back.refresh) != refresh {
			t.Fatalf("%q, %q came back as %q, %q", access, refresh, string(back.access), string(back.refresh))
		}
	})
}

// A session that is read, and found too large to be written again as it is,
// gives up its access token, and no more than it must.
func TestShrinkingKeepsTheRefreshToken(t *testing.T) {
	rec := someRecord()
	want := rec.refresh
	read, err := reread(rec)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"access token", "groups", ""} {
		if got := read.shrink(); got != what {
			t.Errorf("gives up %q, want %q", got, what)
		}
		back, err := reread(read)
		if err != nil {
			t.Fatal(err)
		}
		if err := back.unpack(); err != nil || back.refresh != want || back.access != "" {
			t.Errorf("after %q: refresh token of %d bytes, access token of %d, %v", what, len(back.refresh), len(back.access), err)
		}
	}
}

// Any API's header gives a short claims request or nothing, and what is made of
// it for Microsoft is one that declares the capability.
func FuzzWWWAuthenticate(f *testing.F) {
	claims := base64.StdEncoding.EncodeToString([]byte(`{"access_token":{"nbf":{"essential":true,"value":"1"},"xms_cc":null},"x":1}`))
	f.Add(`Bearer realm="", authorization_uri="https://x/y", error="insufficient_claims", claims="`+claims+`"`, "")
	f.Add(`Negotiate YII==, Bearer error=insufficient_claims,claims=`+strings.TrimRight(claims, "="), `Basic realm="\"a, b\\"`)
	f.Add("Bearer ,,==\"", "\x00")
	f.Fuzz(func(t *testing.T, one, two string) {
		got := challengeIn(http.Header{"Www-Authenticate": {one, two}})
		if got == "" {
			return
		}
		if _, ok := readMembers([]byte(got)); !ok || len(got) > maxChallenge {
			t.Fatalf("%d bytes: %q", len(got), got)
		}
		if again := checkChallenge(got); again != got {
			t.Errorf("%q becomes %q", got, again)
		}
		merged := mergeClaims(got, capability)
		if !asksFor(merged, "xms_cc") || len(merged) > maxClaims {
			t.Errorf("merged: %q", merged)
		}
		if (demand{claims: got}).digest() == (demandDigest{}) {
			t.Errorf("no digest of %q", got)
		}
	})
}
