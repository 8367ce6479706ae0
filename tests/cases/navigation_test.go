package cases_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCase091_NavigationWithoutSession(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	for name, header := range map[string][]string{
		"navigation":           testsite.Navigation,
		"from another site":    testsite.CrossSite,
		"typed":                slices.Concat(testsite.Navigation, []string{"Sec-Fetch-Site", "none"}),
		"an old browser":       {"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		"with little appetite": {"Accept", "application/json;q=1, text/html;q=0.1"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			b := s.Browser(t)
			res := b.Still().Request(method, "/a", header...)
			if res.StatusCode != 303 || !strings.HasPrefix(res.Header.Get("Location"), s.MS.URL+"/common/oauth2/v2.0/authorize?") || len(b.Cookies()) != 1 {
				c.Errorf("%s, %s: status %d to %.60s, %d cookies", name, method, res.StatusCode, res.Header.Get("Location"), len(b.Cookies()))
			}
		}
	}
	c.calls(s, msauthtest.Discovery, 1)
	c.calls(s, msauthtest.Authorize, 0)
}

func TestCase092_ScriptsGet401(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	fetch := func(mode, dest, accept string) []string {
		return []string{"Sec-Fetch-Mode", mode, "Sec-Fetch-Dest", dest, "Accept", accept}
	}
	for name, header := range map[string][]string{
		"fetch":              fetch("cors", "empty", "*/*"),
		"fetch of HTML":      fetch("cors", "empty", "text/html"),
		"same-origin fetch":  fetch("same-origin", "empty", "application/json"),
		"image":              fetch("no-cors", "image", "image/avif,image/webp,*/*;q=0.8"),
		"module script":      fetch("cors", "script", "*/*"),
		"style":              fetch("no-cors", "style", "text/css"),
		"frame":              fetch("navigate", "iframe", "text/html"),
		"object":             fetch("navigate", "object", "text/html"),
		"embed":              fetch("navigate", "embed", "text/html"),
		"service worker":     fetch("same-origin", "serviceworker", "*/*"),
		"WebSocket":          {"Sec-Fetch-Mode", "websocket", "Sec-Fetch-Dest", "empty", "Accept", "*/*", "Upgrade", "websocket", "Connection", "Upgrade"},
		"old WebSocket":      {"Accept", "text/html", "Upgrade", "websocket", "Connection", "Upgrade"},
		"EventSource":        fetch("cors", "empty", "text/event-stream"),
		"old XHR":            {"Accept", "text/html, */*", "X-Requested-With", "XMLHttpRequest"},
		"old API client":     {"Accept", "application/json"},
		"htmx":               {"Accept", "text/html", "HX-Request", "true"},
		"curl":               {"Accept", "*/*"},
		"refused HTML":       {"Accept", "text/html;q=0, */*"},
		"navigate, no dest":  {"Sec-Fetch-Mode", "navigate", "Accept", "text/html"},
		"mode in other case": fetch("Navigate", "document", "text/html"),
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			b := s.Browser(t)
			res := b.Still().Request(method, "/a", header...)
			if res.StatusCode != 401 || res.Header.Get("Location") != "" || len(res.Header["Set-Cookie"]) > 0 || res.Header.Get("WWW-Authenticate") != `Cookie realm="msauth"` || res.Header.Get("Cache-Control") != "no-store" {
				c.Errorf("%s by %s: status %d to %q, cookies %v, %v", name, method, res.StatusCode, res.Header.Get("Location"), res.Header["Set-Cookie"], res.Header)
			}
		}
	}
	c.silent(s)
}

func TestCase093_FormPostWithoutSession(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	ran := 0
	s.Mux.Handle("/order", s.Auth.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran++ })))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	b.Keep(b.Session()[0].Name, "1ended")
	s.MS.ResetCalls()
	for _, header := range [][]string{testsite.Navigation, {"Accept", "text/html"}, {"Accept", "text/html", "Referer", s.URL + "/form?x=1"}} {
		res := b.Still().Request("POST", "/order", header...)
		s.WantPage(t, res, 401, "sign-in-required", "")
		if !strings.Contains(res.Text, "your form was not sent") || !strings.Contains(res.Text, `href="/auth/login`) || strings.Contains(res.Text, `"/order`) {
			c.Errorf("the page does not say what became of the form, or leads to the action: %s", res.Text)
		}
		if len(header) > 2 && header[2] == "Referer" && !strings.Contains(res.Text, "return_to=%2Fform%3Fx%3D1") {
			c.Errorf("the page does not lead back to the form: %s", res.Text)
		}
	}
	if ran != 0 {
		c.Error("the action ran")
	}
	c.silent(s)
}

var prefetches = [][]string{
	{"Sec-Purpose", "prefetch"}, {"Sec-Purpose", "prefetch;prerender"}, {"Sec-Purpose", "prefetch;anonymous-client-ip"}, {"Purpose", "prefetch"},
	{"X-Moz", "prefetch"}, {"Sec-Purpose", "Prefetch; Prerender"}, {"X-Sec-Purpose", "prefetch"}, {"Purpose", "preview"},
}

func TestCase094_Prefetch(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		b, _ := testsite.AdaSession(c.T, s)
		b.Get("/")
		session := b.Session()[0].Value
		fresh := s.Browser(c.T)
		callback := fresh.Attempt("/a")
		time.Sleep(59 * time.Minute) // a renewal and a note of use are due
		late := s.Browser(c.T)
		lateCallback := late.Attempt("/a")
		s.MS.ResetCalls()
		for _, purpose := range prefetches {
			header := slices.Concat(testsite.Navigation, purpose)
			for target, want := range map[string]int{"/a": 401, "/auth/login": 503, lateCallback: 503, callback: 503, "/auth/logout": 503} {
				for _, who := range []*testsite.Browser{s.Browser(c.T), late} {
					res := who.Still().Get(target, header...)
					if res.StatusCode != want || len(res.Header["Set-Cookie"]) != 0 || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Location") != "" {
						c.Errorf("%v of %s: status %d, %v", purpose, target, res.StatusCode, res.Header)
					}
				}
			}
			// With a session the page is served as it is, nothing is renewed.
			res := b.Still().Get("/a", header...)
			if res.Text != testsite.HelloAda || len(res.Header["Set-Cookie"]) != 0 {
				c.Errorf("%v with a session: %q, %v", purpose, res.Text, res.Header["Set-Cookie"])
			}
			if res := b.Still().Get("/auth/logout", append(header, "Sec-Fetch-Site", "same-origin")...); len(res.Header["Set-Cookie"]) != 0 || res.StatusCode != 503 {
				c.Errorf("%v of the sign-out link: status %d, %v", purpose, res.StatusCode, res.Header["Set-Cookie"])
			}
		}
		if b.Session()[0].Value != session {
			c.Error("a prefetch has written the session")
		}
		c.silent(s)
		if got := late.Get(lateCallback).Text; got != testsite.HelloAda {
			c.Errorf("the callback after its prefetch: %q", got)
		}
		b.Get("/a")
		c.calls(s, msauthtest.TokenRefresh, 1)
	})
}

func TestCase095_ManyTabs(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	for range 3 {
		b := s.Browser(t)
		var callbacks []string
		for tab := range 10 {
			callbacks = append(callbacks, b.Attempt(fmt.Sprintf("/tab/%d?x", tab)))
		}
		if n := len(b.Cookies()); n != 10 {
			c.Errorf("%d attempts in the browser, want 10", n)
		}
		s.MS.ResetCalls()
		for _, tab := range rand.Perm(10) {
			res := b.Get(callbacks[tab])
			if got, want := res.Request.URL.RequestURI(), fmt.Sprintf("/tab/%d?x", tab); got != want || res.Text != testsite.HelloAda {
				c.Errorf("tab %d ends at %s with %q:\n%s", tab, got, res.Text, s.Log)
			}
		}
		for _, cookie := range b.Cookies() {
			if !testsite.SessionCookie.MatchString(cookie.Name) {
				c.Errorf("%s is left", cookie.Name)
			}
		}
		c.calls(s, msauthtest.TokenCode, 10)
	}
}

func TestCase096_TabAfterAnother(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	first, second := b.Attempt("/first"), b.Attempt("/second")
	b.Get(second)
	for range 2 { // the back button on top
		if res := b.Get(first); res.Request.URL.Path != "/first" || res.Text != testsite.HelloAda {
			c.Errorf("%q at %s", res.Text, res.Request.URL)
		}
	}
	c.calls(s, msauthtest.TokenCode, 2)
	// A third that is no longer there is a page with a link, not a loop.
	third := b.Attempt("/auth/login?return_to=/third")
	for _, cookie := range b.Cookies() {
		if strings.Contains(cookie.Name, "-login-") {
			b.Keep(cookie.Name, "")
		}
	}
	c.refused(b, b.Get(third), 400, "start-again", "no cookie of this attempt")
	b.WantGreeting(testsite.HelloAda)
}

func TestCase097_ErrorsOnEveryRound(t *testing.T) {
	c := newCase(t)
	for _, test := range []struct {
		name   string
		fail   msauthtest.Failure
		status int
		kind   string
		reason string
	}{
		{"login_required", msauthtest.Failure{Error: "login_required"}, 400, "start-again", "login_required"},
		{"interaction_required", msauthtest.Failure{Error: "interaction_required"}, 400, "start-again", "interaction_required"},
		{"consent_required", msauthtest.Failure{Error: "consent_required"}, 400, "start-again", "consent_required"},
		{"access_denied", msauthtest.Failure{Error: "access_denied"}, 403, "declined", "access_denied"},
		{"cancel", msauthtest.Failure{Error: "server_error", Suberror: "cancel"}, 403, "declined", "server_error"},
		{"temporarily_unavailable", msauthtest.Failure{Error: "temporarily_unavailable"}, 400, "unavailable", "temporarily_unavailable"},
		{"server_error", msauthtest.Failure{Error: "server_error"}, 400, "unavailable", "server_error"},
		{"unauthorized_client", msauthtest.Failure{Error: "unauthorized_client"}, 400, "app-error", "unauthorized_client"},
		{"loop detected", msauthtest.Failure{Error: "invalid_grant", Codes: []int{50196}}, 400, "app-error", "AADSTS50196"},
		{"unheard of", msauthtest.Failure{Error: "surprise"}, 400, "app-error", "surprise"},
	} {
		c.run(test.name, func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Authorize] = test.fail })
			b := s.Browser(c.T)
			for round := range 3 {
				res := b.Get("/a")
				c.refused(b, res, test.status, test.kind, test.reason)
				c.calls(s, msauthtest.Authorize, 2*round+1)
				if regexp.MustCompile(`http-equiv|<script|onload`).MatchString(res.Text) || res.Header.Get("Refresh") != "" {
					c.Error("the page goes on by itself")
				}
				link := regexp.MustCompile(`href="(/auth/login[^"]*)"`).FindStringSubmatch(res.Text)
				if link == nil {
					c.Fatalf("no link to start again: %s", res.Text)
				}
				c.refused(b, b.Get(strings.ReplaceAll(link[1], "&amp;", "&")), test.status, test.kind, test.reason)
			}
			c.calls(s, msauthtest.TokenCode, 0)
			b.WantGreeting(testsite.HelloNobody)
		})
	}
}

func TestCase098_CookiesDisabled(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.Jar = noCookies{}
	res := b.Get("/a")
	c.refused(b, res, 400, "start-again", "no cookie of this attempt, nor any other")
	c.calls(s, msauthtest.Authorize, 1)
	c.refused(b, b.Get(testsite.LinksOf(res)[0]), 400, "cookies-blocked", "no cookie of this attempt, nor any other")
	c.calls(s, msauthtest.Authorize, 2)
	c.calls(s, msauthtest.TokenCode, 0)
	// Cookies that are taken, but never sent for long: those of attempts only.
	jar, _ := cookiejar.New(nil)
	b.Jar = forgetful{jar}
	res = b.Get("/a")
	c.page(s, res, 400, "loop", "was the cookie dropped or cut")
	c.calls(s, msauthtest.Authorize, 3)
}

type noCookies struct{}

func (noCookies) SetCookies(*url.URL, []*http.Cookie) {}

func (noCookies) Cookies(*url.URL) []*http.Cookie { return nil }

// forgetful drops long cookies, as a browser does with those that are too large.
type forgetful struct{ http.CookieJar }

func (j forgetful) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.CookieJar.SetCookies(u, slices.DeleteFunc(cookies, func(c *http.Cookie) bool { return len(c.Value) > 1000 }))
}

func TestCase099_FramingAndReferrers(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	pages := map[string]testsite.Seen{
		"confirm-sign-out": b.Get("/auth/logout"), "signed-out": b.Get("/auth/signed-out"), "not-found": b.Get("/auth/x"),
		"start-again": b.Get("/auth/callback"), "bad-request": b.Get("/auth/login?prompt=x"),
		"sign-in-required": b.Request("POST", "/a", "Accept", "text/html"), "cookies-blocked": testsite.BlockedPage(t, s, b),
	}
	for kind, res := range pages {
		if res.Kind() != kind {
			c.Fatalf("page %q, want %q", res.Kind(), kind)
		}
		policy := res.Header.Get("Content-Security-Policy")
		forms := "form-action 'none'"
		if kind == "confirm-sign-out" {
			forms = "form-action 'self' " + s.MS.URL
		}
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", forms} {
			if !slices.Contains(strings.Split(policy, "; "), want) {
				c.Errorf("%s: policy %q has no %s", kind, policy, want)
			}
		}
		if kind == "signed-out" { // which tells other tabs
			policy = strings.Replace(policy, " script-src 'self'; require-trusted-types-for 'script';", "", 1)
			res.Text = strings.Replace(res.Text, `<script type="module" src="`+s.Auth.ScriptURL()+`"></script>`, "", 1)
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script") {
			c.Errorf("%s: policy %q", kind, policy)
		}
		for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"} {
			if got := res.Header.Get(name); got != want {
				c.Errorf("%s: %s is %q, want %q", kind, name, got, want)
			}
		}
		if bad := regexp.MustCompile(`(?i)(src|href|action|url)\s*[=(]\s*["']?(https?:|//)|<script|<img|<iframe|@import|javascript:`).FindString(res.Text); bad != "" {
			c.Errorf("%s: the page holds %q", kind, bad)
		}
	}
	// In a frame of the app's own page the 401 page can be shown, elsewhere not.
	framed := s.Browser(t).Get("/a", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Accept", "text/html")
	if policy := framed.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'self'") {
		c.Errorf("in a frame: policy %q", policy)
	}
	for _, res := range []testsite.Seen{s.Browser(t).Still().Get("/a"), b.Still().Get(b.Attempt("/a"))} {
		if res.Header.Get("Referrer-Policy") != "no-referrer" {
			c.Errorf("a redirect with Referrer-Policy %q", res.Header.Get("Referrer-Policy"))
		}
	}
	c.calls(s, msauthtest.TokenCode, 1)
}
