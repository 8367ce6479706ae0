package signin_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// returnPaths are what somebody may want people to be sent to, and where they
// are sent.
var returnPaths = []struct{ path, want string }{
	// Pages of this site, as they are.
	{"/", "/"},
	{"/a/b", "/a/b"},
	{"/a/b/", "/a/b/"},
	{"/a?x=1&y=%2F%20%C3%BC", "/a?x=1&y=%2F%20%C3%BC"},
	{"/a?next=https://evil.example/", "/a?next=https://evil.example/"},
	{"/a?x=//evil.example", "/a?x=//evil.example"},
	{"/?//evil.example", "/?//evil.example"},
	{"/#top", "/#top"},
	{"/#//evil.example", "/#//evil.example"},
	{"/a;b=c/d,e", "/a;b=c/d,e"},
	{"/@evil.example", "/@evil.example"},
	{"/:80", "/:80"},
	{"/https://evil.example", "/https://evil.example"},
	{"/javascript:alert(1)", "/javascript:alert(1)"},
	{"/evil.example", "/evil.example"},
	{"/..", "/.."},
	{"/../a", "/../a"},
	{"/a//b", "/a//b"},
	{"/a%2Fb", "/a%2Fb"},
	{"/a+b", "/a+b"},
	{"/%25", "/%25"},
	{"/auth/", "/auth/"},
	{"/auth/other", "/auth/other"},
	{"/authx/login", "/authx/login"},
	// What a header line cannot carry is encoded.
	{"/ü?ß=é", "/%C3%BC?%C3%9F=%C3%A9"},
	{"/a b", "/a%20b"},
	{"/\u2028\u202e", "/%E2%80%A8%E2%80%AE"},
	{"/\u0085", "/%C2%85"},
	{"/\xff\xfe", "/%FF%FE"},
	{"/<script>\"'", "/%3Cscript%3E%22'"},
	// Not a path.
	{"", "/"},
	{"a", "/"},
	{"a/b", "/"},
	{"?x=1", "/"},
	{"?//evil.example", "/"},
	{"#x", "/"},
	{".", "/"},
	{"..", "/"},
	{"*", "/"},
	{"@evil.example", "/"},
	// Another site.
	{"https://evil.example", "/"},
	{"https://app.test/a", "/"},
	{"http:/evil.example", "/"},
	{"https:evil.example", "/"},
	{"HTTPS://EVIL.EXAMPLE/", "/"},
	{"//evil.example", "/"},
	{"///evil.example", "/"},
	{"////evil.example", "/"},
	{"//evil.example@app.test/", "/"},
	{"//app.test/a", "/"},
	{"/\\evil.example", "/"},
	{"\\/evil.example", "/"},
	{"\\\\evil.example", "/"},
	{"\\evil.example", "/"},
	{"/a\\b", "/"},
	{"/a?x=\\", "/"},
	{"/\t/evil.example", "/"},
	{"/\n/evil.example", "/"},
	{"/\r\n/evil.example", "/"},
	{"\t//evil.example", "/"},
	{" //evil.example", "/"},
	{" /a", "/"},
	{"/a ", "/"},
	{"/\v/evil.example", "/"},
	{"/\x00/evil.example", "/"},
	{"/\x7f/evil.example", "/"},
	{"/a\r\nSet-Cookie: x=y", "/"},
	{"/a\nLocation: https://evil.example", "/"},
	// Another site to whoever decodes or resolves once more.
	{"/%2Fevil.example", "/"},
	{"/%2f%2fevil.example", "/"},
	{"/%5Cevil.example", "/"},
	{"/%5c%5cevil.example", "/"},
	{"/a/%5C../b", "/"},
	{"/%09/evil.example", "/"},
	{"/%0d%0aSet-Cookie:x=y", "/"},
	{"/%00", "/"},
	{"/%7F", "/"},
	{"/./evil.example", "/./evil.example"},
	{"/.//evil.example", "/"},
	{"/..//evil.example", "/"},
	{"/a/..//evil.example", "/"},
	{"/%2e//evil.example", "/"},
	{"/%2e%2e//evil.example", "/"},
	{"/a/%2e%2e/%2fevil.example", "/"},
	{"/./\\evil.example", "/"},
	{"/%zz", "/"},
	{"/%", "/"},
	// Schemes.
	{"javascript:alert(1)", "/"},
	{"JavaScript:alert(1)", "/"},
	{"java\nscript:alert(1)", "/"},
	{"data:text/html,x", "/"},
	{"vbscript:x", "/"},
	{"file:///etc/passwd", "/"},
	{"mailto:a@b", "/"},
	// Our own routes, which would start over or sign out.
	{"/auth/login", "/"},
	{"/auth/login?return_to=/a", "/"},
	{"/auth/callback?code=x&state=y", "/"},
	{"/auth/logout", "/"},
	{"/auth/logout#x", "/"},
	{"/auth/logout/", "/"},
	{"/auth/signed-out", "/"},
	{"/auth//login", "/"},
	{"/auth/./login", "/"},
	{"/auth/x/../login", "/"},
	{"/x/../auth/logout", "/"},
	{"/auth/%6cogin", "/"},
	{"/%61uth/login", "/"},
	{"/auth%2Flogin", "/"},
	// Too long.
	{"/" + strings.Repeat("a", 1999), "/" + strings.Repeat("a", 1999)},
	{"/" + strings.Repeat("a", 2000), "/"},
	{"/a?" + strings.Repeat("b", 1997), "/a?" + strings.Repeat("b", 1997)},
	{"/a?" + strings.Repeat("b", 1998), "/a"},
	{"/a?" + strings.Repeat("b", 1000) + "#" + strings.Repeat("c", 1000), "/a"},
	{"/" + strings.Repeat("ü", 334), "/"},
	{"/" + strings.Repeat("a/", 40_000), "/"},
}

// staysHere resolves a Location as browsers do (WHATWG URL): they trim, drop
// tabs and line breaks, and take a backslash for a slash.
func staysHere(t *testing.T, location string) {
	t.Helper()
	s := strings.Trim(location, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f ")
	s = strings.NewReplacer("\t", "", "\n", "", "\r", "", "\\", "/").Replace(s)
	base, _ := url.Parse("https://app.test/auth/callback")
	u, err := base.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host != "app.test" || u.User != nil || strings.HasPrefix(s, "//") || !strings.HasPrefix(s, "/") {
		t.Errorf("a browser goes from %q to %v (%v)", location, u, err)
	}
	for i := range len(location) {
		if location[i] <= ' ' || location[i] >= 0x7F {
			t.Errorf("byte %d of %q does not belong into a header line", i, location)
		}
	}
}

// leads is where the answer of a callback leads to: at once, by the short route
// for long addresses, or by a page that goes on by itself.
func leads(b *testsite.Browser, res testsite.Seen) string {
	b.T.Helper()
	if res.Header.Get("Location") == "/auth/continue" {
		res = b.Still().Get("/auth/continue")
	}
	if res.Kind() == "wait" {
		refresh := regexp.MustCompile(`<meta http-equiv="refresh" content="0; url=([^"]*)">`).FindStringSubmatch(res.Text)
		if refresh == nil || res.Header.Get("Location") != "" {
			b.T.Fatalf("a page that does not go on: %s", res.Text)
		}
		return html.UnescapeString(refresh[1])
	}
	if res.StatusCode != http.StatusSeeOther {
		b.T.Fatalf("status %d: %.300s", res.StatusCode, res.Text)
	}
	return res.Header.Get("Location")
}

func TestReturnPathStaysOnTheSite(t *testing.T) {
	t.Parallel()
	var hook string
	s := testsite.NewInProcess(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			if hook != "" {
				in.ReturnTo = hook
			}
			return nil
		}
	})
	s.As(msauthtest.Ada)
	for _, test := range returnPaths {
		link, err := url.Parse(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: test.path}))
		if err != nil {
			t.Fatal(err)
		}
		got := link.Query().Get("return_to")
		if got == "" {
			got = "/"
		}
		if staysHere(t, got); got != test.want {
			t.Errorf("LoginURL of %.60q leads to %.60q, want %.60q", test.path, got, test.want)
		}
	}
	for name, follow := range map[string]func(b *testsite.Browser, path string) string{
		"login": func(b *testsite.Browser, path string) string {
			return "/auth/login?return_to=" + url.QueryEscape(path)
		},
		"hook": func(b *testsite.Browser, path string) string {
			hook = path
			return "/auth/login?return_to=/elsewhere"
		},
	} {
		for _, test := range returnPaths {
			if name == "login" && len(test.path) > 16<<10 || name == "hook" && test.path == "" {
				continue // refused as a whole; nothing to change
			}
			b := s.Browser(t)
			got := leads(b, b.Still().Get(b.Attempt(follow(b, test.path))))
			if staysHere(t, got); got != test.want {
				t.Errorf("%s: a sign-in for %.60q ends at %.60q, want %.60q", name, test.path, got, test.want)
			}
		}
		hook = ""
	}
}

func TestReturnPathOfAProtectedPageIsKeptToTheByte(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	for _, path := range []string{
		"/a/b?x=1&y=%2F%20%C3%BC", "/a?", "/a?x", "/a?x=%zz&y=%", "/a?x=a;b", "/a%2Fb%2f", "/%C3%BC", "/a?x=%0D%0A", "/~a/'b'/(c)!*", "/a?a[]=1&b={2}|3^`",
	} {
		b := s.Browser(t)
		if got := b.Still().Get(b.Attempt(path)).Header.Get("Location"); got != path {
			t.Errorf("%s: came back to %q", path, got)
		}
	}
	// The absolute form of a request target, and none at all.
	for target, want := range map[string]string{"https://evil.example/a?x=1": "/a?x=1", "https://evil.example//evil.example": "/", "": "/b?y=2"} {
		b := s.Browser(t)
		if got := b.Still().Get(attemptWithTarget(b.Site, b, target)).Header.Get("Location"); got != want {
			t.Errorf("target %q: came back to %q, want %q", target, got, want)
		}
	}
}

// attemptWithTarget is browser.attempt for /b?y=2 with a request target of its
// own, as proxies send.
func attemptWithTarget(s *testsite.Site, b *testsite.Browser, target string) string {
	old := s.Wire
	defer func() { b.Transport = testsite.Navigating{Base: old} }()
	b.Transport = testsite.Navigating{Base: testsite.Hosts{"app.test": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RequestURI = target
		s.ServeHTTP(w, r)
	}), "localhost:9": s.MS}}
	return b.Attempt("/b?y=2")
}
