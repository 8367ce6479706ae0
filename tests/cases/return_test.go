package cases_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// listedReturnPaths reads testdata/returnpaths.txt: one string a line, in Go's
// quoting without the quotes.
func listedReturnPaths(t testing.TB) (paths []string) {
	t.Helper()
	file, err := os.Open("testdata/returnpaths.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if lines.Text() == "" || strings.HasPrefix(lines.Text(), "# ") {
			continue
		}
		path, err := strconv.Unquote(`"` + lines.Text() + `"`)
		if err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		paths = append(paths, path)
	}
	if len(paths) < 200 {
		t.Fatalf("%d return paths, want 200 and more", len(paths))
	}
	return paths
}

func TestCase055_DeepLink(t *testing.T) {
	c := newCase(t)
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	n := 0
	for _, target := range []string{
		"/a/b?x=1&y=%2F%20%C3%BC", "/a%20b/c%C3%BC?q=%26&q=+&z", "/a?return_to=//evil.example", "/a?b=c?d=e", "/%41?%41=%2525", "/a;b=c,d?x;y",
		"/~a/(b)/!$&'*+,;=:@?/?", "/a?x=%0d%0aSet-Cookie:%20x", "/x?" + strings.Repeat("y", 590),
	} {
		b := s.Browser(t)
		res := b.Get(target)
		if got := res.Request.URL.RequestURI(); got != target || res.Text != testsite.HelloAda {
			c.Errorf("ends at %s with %q, want %s", got, res.Text, target)
		}
		n++
	}
	c.calls(s, msauthtest.TokenCode, n)
}

// onSite checks that a browser which follows location stays on the site.
func onSite(t *testing.T, s *testsite.Site, given, location string) {
	t.Helper()
	base, _ := url.Parse(s.Cfg.BaseURL + "/callback?x")
	u, err := base.Parse(location)
	if err != nil || u.Scheme+"://"+u.Host != s.URL || !strings.HasPrefix(location, "/") || strings.HasPrefix(location, "//") || strings.ContainsAny(location, "\\\t\r\n\x00") {
		t.Errorf("%q leads to %q: %v, %v", given, location, u, err)
	}
}

func TestCase056_OpenRedirects(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	tried := map[string]int{}
	for _, path := range append(listedReturnPaths(t), "/"+strings.Repeat("a/../", 13<<10), strings.Repeat("/", 64<<10)) {
		link, _ := url.Parse(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: path}))
		accepted := link.Query().Get("return_to")
		if accepted == "" {
			accepted = "/"
		}
		onSite(t, s, path, accepted)

		// At the start by anybody's link, and back.
		res := s.Browser(t).Still().Get("/auth/login?" + url.Values{"return_to": {path}}.Encode())
		if len(path) > 16<<10 {
			c.page(s, res, http.StatusBadRequest, "bad-request", "return_to cannot be used")
			continue
		}
		if tried[accepted]++; tried[accepted] > 1 && tried[accepted]%6 != 0 { // most lead to "/"
			continue
		}
		b := s.Browser(t)
		end := b.Still().Get(b.Attempt("/auth/login?" + url.Values{"return_to": {path}}.Encode()))
		if got := end.Header.Get("Location"); got != accepted {
			c.Errorf("%q: the callback leads to %q, the link says %q", path, got, accepted)
		}
	}
	// In the request line.
	for _, target := range []string{"//evil.example/a", "/\\evil.example", "///evil.example", "http://evil.example/a", "//evil.example", "/.//evil.example", "/%09/evil.example", "/%5cevil.example", "http://evil.example//evil.example/", "*", "/a\\..\\..//x"} {
		req, _ := http.NewRequest(http.MethodGet, s.URL+"/", nil)
		rec := httptest.NewRecorder()
		req.RequestURI = target
		req.Header.Set("Accept", "text/html")
		s.Auth.Require(http.HandlerFunc(testsite.Hello)).ServeHTTP(rec, req)
		to, err := rec.Result().Location()
		if err != nil || !strings.HasPrefix(to.String(), s.MS.URL) {
			c.Fatalf("%q: status %d", target, rec.Code)
		}
		b := s.Browser(t)
		for _, cookie := range rec.Result().Cookies() {
			b.Keep(cookie.Name, cookie.Value)
		}
		end := b.Still().Get(b.Still().Get(to.String()).Header.Get("Location"))
		if end.StatusCode != http.StatusSeeOther {
			c.Errorf("%q: status %d", target, end.StatusCode)
		}
		onSite(t, s, target, end.Header.Get("Location"))
	}
	// In the links for scripts, taken from headers that a page cannot choose, but a person's old bookmark can.
	for _, header := range []string{"Referer", "HX-Current-URL"} {
		for _, value := range []string{"https://evil.example/a", "//evil.example", "https://app.test//evil.example", "https://app.test/\\evil.example", "https://app.test@evil.example/", "javascript:alert(1)", "https://app.test/auth/logout", "x"} {
			res := s.Browser(t).Get("/", append([]string{header, value, "HX-Request", "true"}, testsite.Script...)...)
			to := res.Header.Get("HX-Redirect")
			if res.StatusCode != http.StatusUnauthorized || to != "/auth/login" {
				c.Errorf("%s: %s gives %d and %q", header, value, res.StatusCode, to)
			}
		}
	}
	// The hook's.
	s.Restart(t, func(cfg *msauth.Config) {
		cfg.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.ReturnTo = "//evil.example"
			return nil
		}
	})
	b := s.Browser(t)
	if got := b.Still().Get(b.Attempt("/a")).Header.Get("Location"); got != "/" {
		c.Errorf("a hook's path leads to %q", got)
	}
	// At sign-out nothing of the request counts.
	s.MS.ResetCalls()
	for _, query := range []string{"post_logout_redirect_uri=https://evil.example", "return_to=//evil.example", "redirect=https://evil.example", "state=x&next=//evil.example"} {
		to := b.Still().Get("/auth/logout?"+query, testsite.SameOrigin...).Header.Get("Location")
		u, _ := url.Parse(to)
		if !strings.HasPrefix(to, s.MS.URL) || u.Query().Get("post_logout_redirect_uri") != s.URL+"/auth/signed-out" || strings.Contains(to, "evil") {
			c.Errorf("%s leads to %q", query, to)
		}
	}
	c.calls(s, msauthtest.TokenCode, 0)
}

func TestCase056_TheShortRouteIsNoOpenRedirect(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Bruno)
	attacker := s.Browser(t)
	if to := attacker.Still().Get(attacker.Attempt(testsite.LongAddress(1900))).Header.Get("Location"); to != "/auth/continue" {
		c.Fatalf("the callback leads to %q", to)
	}
	// The attacker's cookie, as far as it can be planted, in the browser of somebody who is signed in.
	victim := s.Browser(t)
	victim.SignIn(msauthtest.Ada)
	for _, cookie := range attacker.Cookies() {
		if strings.HasSuffix(cookie.Name, "-to") {
			victim.Keep(cookie.Name, cookie.Value)
		}
	}
	s.MS.ResetCalls()
	for _, path := range append(listedReturnPaths(t), "") {
		res := victim.Still().Get("/auth/continue?" + url.Values{"return_to": {path}, "to": {path}}.Encode())
		if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || to != "/" {
			c.Errorf("%q: %d to %q, want /", path, res.StatusCode, to)
		}
	}
	c.silent(s)
	victim.WantGreeting(testsite.HelloAda)
}

func TestCase057_ReturnPathIsBound(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	callback := b.Attempt("/a")
	// Other parameters change nothing, not even with the names that other libraries use.
	for _, name := range []string{"return_to", "returnUrl", "redirect_uri", "next", "RelayState"} {
		other := s.Browser(t)
		answer := testsite.Reworded(t, other.Attempt("/a"), func(q url.Values) { q.Set(name, "/evil") })
		if got := other.Still().Get(answer).Header.Get("Location"); got != "/a" {
			c.Errorf("%s leads to %q, want /a", name, got)
		}
	}
	s.MS.ResetCalls()
	// Each byte of the state and of the cookie counts.
	var state string
	testsite.Reworded(t, callback, func(q url.Values) { state = q.Get("state") })
	for i := 0; i < len(state); i += 7 {
		changed := state[:i] + string(testsite.OtherCharacter(state[i])) + state[i+1:]
		c.refused(b, b.Get(testsite.Reworded(t, callback, func(q url.Values) { q.Set("state", changed) })), 400, "start-again", "state is missing, altered")
	}
	cookie := b.Cookies()[0]
	for i := range len(cookie.Value) {
		b.Keep(cookie.Name, cookie.Value[:i]+string(testsite.OtherCharacter(cookie.Value[i]))+cookie.Value[i+1:])
		c.refused(b, b.Get(callback), 400, "start-again", "no cookie of this attempt")
	}
	c.silent(s)
	b.Keep(cookie.Name, cookie.Value)
	if got := b.Get(callback).Request.URL.Path; got != "/a" {
		c.Errorf("ends at %q", got)
	}
}

func TestCase058_NoReturnToOurOwnRoutes(t *testing.T) {
	c := newCase(t)
	for _, base := range []string{"/auth", "", "/a/b"} {
		s := testsite.NewInProcess(t, func(cfg *msauth.Config) { cfg.BaseURL = "https://app.test" + base })
		for _, name := range []string{"login", "callback", "logout", "signed-out", "continue", "again", "session", "msauth.js", "front-channel-logout", "back-channel-logout"} {
			for _, path := range []string{
				base + "/" + name, base + "/" + name + "?x=1", base + "/" + name + "#x", base + "/./" + name, base + "/x/../" + name, base + "//" + name,
				"/x/.." + base + "/" + name, base + "/%" + "6c" + name[1:], base + "/" + name + "/.", base + "/" + name + "/", base + "/%2e/" + name, base + "%2f" + name, "/." + base + "/" + name,
				base + "/" + name + "/x/..", base + "/x/%2e%2e/" + name,
			} {
				if strings.Contains(path, "%6c") && name[0] != 'l' {
					continue
				}
				if got := s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: path}); got != base+"/login" {
					c.Errorf("%q is accepted: %s", path, got)
				}
			}
		}
		c.silent(s)
	}
	// Neighbours that are the app's.
	s := testsite.NewInProcess(t)
	for _, path := range []string{"/login", "/auth", "/auth/", "/auth/login2", "/auth/x/login", "/author/login", "/auth/LOGIN"} {
		if got := s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: path}); got != "/auth/login?return_to="+url.QueryEscape(path) {
			c.Errorf("%q is refused: %s", path, got)
		}
	}
}

func TestCase059_RedirectsChangeToGET(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	for _, step := range []struct{ method, target string }{
		{"POST", "/auth/login?return_to=/a"}, {"GET", "/auth/login"}, {"HEAD", "/auth/login"}, {"GET", "/a"}, {"HEAD", "/a"},
	} {
		if res := b.Still().Request(step.method, step.target); res.StatusCode != http.StatusSeeOther {
			c.Errorf("%s %s: status %d, want 303", step.method, step.target, res.StatusCode)
		}
	}
	if res := b.Still().Get(b.Attempt("/a")); res.StatusCode != http.StatusSeeOther {
		c.Errorf("callback: status %d, want 303", res.StatusCode)
	}
	for _, method := range []string{"POST", "GET"} {
		if res := b.Still().Request(method, "/auth/logout", testsite.SameOrigin...); res.StatusCode != http.StatusSeeOther {
			c.Errorf("%s /auth/logout: status %d, want 303", method, res.StatusCode)
		}
	}
	c.calls(s, msauthtest.TokenCode, 1)
}
