package msauth_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

func TestCase091_NavigationWithoutSession(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	for name, header := range map[string][]string{
		"navigation":           navigation,
		"from another site":    crossSite,
		"typed":                slices.Concat(navigation, []string{"Sec-Fetch-Site", "none"}),
		"an old browser":       {"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		"with little appetite": {"Accept", "application/json;q=1, text/html;q=0.1"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			b := s.browser(t)
			res := b.still().do(method, "/a", header...)
			if res.StatusCode != 303 || !strings.HasPrefix(res.Header.Get("Location"), s.ms.URL+"/common/oauth2/v2.0/authorize?") || len(b.cookies()) != 1 {
				c.Errorf("%s, %s: status %d to %.60s, %d cookies", name, method, res.StatusCode, res.Header.Get("Location"), len(b.cookies()))
			}
		}
	}
	c.calls(s, msauthtest.Discovery, 1)
	c.calls(s, msauthtest.Authorize, 0)
}

func TestCase092_ScriptsGet401(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
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
			b := s.browser(t)
			res := b.still().do(method, "/a", header...)
			if res.StatusCode != 401 || res.Header.Get("Location") != "" || len(res.Header["Set-Cookie"]) > 0 || res.Header.Get("WWW-Authenticate") != `Cookie realm="msauth"` || res.Header.Get("Cache-Control") != "no-store" {
				c.Errorf("%s by %s: status %d to %q, cookies %v, %v", name, method, res.StatusCode, res.Header.Get("Location"), res.Header["Set-Cookie"], res.Header)
			}
		}
	}
	c.silent(s)
}

func TestCase093_FormPostWithoutSession(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	ran := 0
	s.mux.Handle("/order", s.auth.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran++ })))
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	b.keep(b.session()[0].Name, "1ended")
	s.ms.ResetCalls()
	for _, header := range [][]string{navigation, {"Accept", "text/html"}, {"Accept", "text/html", "Referer", s.URL + "/form?x=1"}} {
		res := b.still().do("POST", "/order", header...)
		s.wantPage(t, res, 401, "sign-in-required", "")
		if !strings.Contains(res.body, "nothing of it was sent on") || !strings.Contains(res.body, `href="/auth/login`) || strings.Contains(res.body, `"/order`) {
			c.Errorf("the page does not say what became of the form, or leads to the action: %s", res.body)
		}
		if len(header) > 2 && header[2] == "Referer" && !strings.Contains(res.body, "return_to=%2Fform%3Fx%3D1") {
			c.Errorf("the page does not lead back to the form: %s", res.body)
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
		s := newSiteInProcess(c.T)
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		b, _ := adaSession(c.T, s)
		b.get("/")
		session := b.session()[0].Value
		fresh := s.browser(c.T)
		callback := fresh.attempt("/a")
		time.Sleep(59 * time.Minute) // a renewal and a note of use are due
		late := s.browser(c.T)
		lateCallback := late.attempt("/a")
		s.ms.ResetCalls()
		for _, purpose := range prefetches {
			header := slices.Concat(navigation, purpose)
			for target, want := range map[string]int{"/a": 401, "/auth/login": 503, lateCallback: 503, callback: 503, "/auth/logout": 503} {
				for _, who := range []*browser{s.browser(c.T), late} {
					res := who.still().get(target, header...)
					if res.StatusCode != want || len(res.Header["Set-Cookie"]) != 0 || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Location") != "" {
						c.Errorf("%v of %s: status %d, %v", purpose, target, res.StatusCode, res.Header)
					}
				}
			}
			// With a session the page is served as it is, nothing is renewed.
			res := b.still().get("/a", header...)
			if res.body != helloAda || len(res.Header["Set-Cookie"]) != 0 {
				c.Errorf("%v with a session: %q, %v", purpose, res.body, res.Header["Set-Cookie"])
			}
			if res := b.still().get("/auth/logout", append(header, "Sec-Fetch-Site", "same-origin")...); len(res.Header["Set-Cookie"]) != 0 || res.StatusCode != 503 {
				c.Errorf("%v of the sign-out link: status %d, %v", purpose, res.StatusCode, res.Header["Set-Cookie"])
			}
		}
		if b.session()[0].Value != session {
			c.Error("a prefetch has written the session")
		}
		c.silent(s)
		if got := late.get(lateCallback).body; got != helloAda {
			c.Errorf("the callback after its prefetch: %q", got)
		}
		b.get("/a")
		c.calls(s, msauthtest.TokenRefresh, 1)
	})
}

func TestCase095_ManyTabs(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	for range 3 {
		b := s.browser(t)
		var callbacks []string
		for tab := range 10 {
			callbacks = append(callbacks, b.attempt(fmt.Sprintf("/tab/%d?x", tab)))
		}
		if n := len(b.cookies()); n != 10 {
			c.Errorf("%d attempts in the browser, want 10", n)
		}
		s.ms.ResetCalls()
		for _, tab := range rand.Perm(10) {
			res := b.get(callbacks[tab])
			if got, want := res.Request.URL.RequestURI(), fmt.Sprintf("/tab/%d?x", tab); got != want || res.body != helloAda {
				c.Errorf("tab %d ends at %s with %q:\n%s", tab, got, res.body, s.log)
			}
		}
		for _, cookie := range b.cookies() {
			if !sessionCookie.MatchString(cookie.Name) {
				c.Errorf("%s is left", cookie.Name)
			}
		}
		c.calls(s, msauthtest.TokenCode, 10)
	}
}

func TestCase096_TabAfterAnother(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	first, second := b.attempt("/first"), b.attempt("/second")
	b.get(second)
	for range 2 { // the back button on top
		if res := b.get(first); res.Request.URL.Path != "/first" || res.body != helloAda {
			c.Errorf("%q at %s", res.body, res.Request.URL)
		}
	}
	c.calls(s, msauthtest.TokenCode, 2)
	// A third that is no longer there is a page with a link, not a loop.
	third := b.attempt("/auth/login?return_to=/third")
	for _, cookie := range b.cookies() {
		if strings.Contains(cookie.Name, "-login-") {
			b.keep(cookie.Name, "")
		}
	}
	c.refused(b, b.get(third), 400, "start-again", "no cookie of this attempt")
	b.wantGreeting(helloAda)
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
			s := newSiteInProcess(c.T)
			s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Authorize] = test.fail })
			b := s.browser(c.T)
			for round := range 3 {
				res := b.get("/a")
				c.refused(b, res, test.status, test.kind, test.reason)
				c.calls(s, msauthtest.Authorize, 2*round+1)
				if regexp.MustCompile(`http-equiv|<script|onload`).MatchString(res.body) || res.Header.Get("Refresh") != "" {
					c.Error("the page goes on by itself")
				}
				link := regexp.MustCompile(`href="(/auth/login[^"]*)"`).FindStringSubmatch(res.body)
				if link == nil {
					c.Fatalf("no link to start again: %s", res.body)
				}
				c.refused(b, b.get(strings.ReplaceAll(link[1], "&amp;", "&")), test.status, test.kind, test.reason)
			}
			c.calls(s, msauthtest.TokenCode, 0)
			b.wantGreeting(helloNobody)
		})
	}
}

func TestCase098_CookiesDisabled(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	b.Jar = noCookies{}
	res := b.get("/a")
	c.refused(b, res, 400, "start-again", "no cookie of this attempt, nor any other")
	c.calls(s, msauthtest.Authorize, 1)
	c.refused(b, b.get(linksOf(res)[0]), 400, "cookies-blocked", "no cookie of this attempt, nor any other")
	c.calls(s, msauthtest.Authorize, 2)
	c.calls(s, msauthtest.TokenCode, 0)
	// Cookies that are taken, but never sent for long: those of attempts only.
	jar, _ := cookiejar.New(nil)
	b.Jar = forgetful{jar}
	res = b.get("/a")
	c.page(s, res, 400, "loop", "was the cookie dropped or cut")
	c.calls(s, msauthtest.Authorize, 3)
}

// blockedPage is what a browser gets that never brings a cookie back.
func blockedPage(t *testing.T, s *site, b *browser) seen {
	t.Helper()
	cfg := s.cfg
	cfg.Page = nil
	plain, err := msauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	first := newRecorder()
	plain.Callback(first, httptest.NewRequest(http.MethodGet, b.attempt("/auth/login"), nil))
	return s.browser(t).get(b.attempt(linksOf(seen{body: first.Body.String()})[0]))
}

type noCookies struct{}

func (noCookies) SetCookies(*url.URL, []*http.Cookie) {}
func (noCookies) Cookies(*url.URL) []*http.Cookie     { return nil }

// forgetful drops long cookies, as a browser does with those that are too large.
type forgetful struct{ http.CookieJar }

func (j forgetful) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.CookieJar.SetCookies(u, slices.DeleteFunc(cookies, func(c *http.Cookie) bool { return len(c.Value) > 1000 }))
}

func TestCase099_FramingAndReferrers(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	pages := map[string]seen{
		"confirm-sign-out": b.get("/auth/logout"), "signed-out": b.get("/auth/signed-out"), "not-found": b.get("/auth/x"),
		"start-again": b.get("/auth/callback"), "bad-request": b.get("/auth/login?prompt=x"),
		"sign-in-required": b.do("POST", "/a", "Accept", "text/html"), "cookies-blocked": blockedPage(t, s, b),
	}
	for kind, res := range pages {
		if res.kind() != kind {
			c.Fatalf("page %q, want %q", res.kind(), kind)
		}
		policy := res.Header.Get("Content-Security-Policy")
		forms := "form-action 'none'"
		if kind == "confirm-sign-out" {
			forms = "form-action 'self' " + s.ms.URL
		}
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", forms} {
			if !slices.Contains(strings.Split(policy, "; "), want) {
				c.Errorf("%s: policy %q has no %s", kind, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script") {
			c.Errorf("%s: policy %q", kind, policy)
		}
		for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"} {
			if got := res.Header.Get(name); got != want {
				c.Errorf("%s: %s is %q, want %q", kind, name, got, want)
			}
		}
		if bad := regexp.MustCompile(`(?i)(src|href|action|url)\s*[=(]\s*["']?(https?:|//)|<script|<img|<iframe|@import|javascript:`).FindString(res.body); bad != "" {
			c.Errorf("%s: the page holds %q", kind, bad)
		}
	}
	// In a frame of the app's own page the 401 page can be shown, elsewhere not.
	framed := s.browser(t).get("/a", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Accept", "text/html")
	if policy := framed.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'self'") {
		c.Errorf("in a frame: policy %q", policy)
	}
	for _, res := range []seen{s.browser(t).still().get("/a"), b.still().get(b.attempt("/a"))} {
		if res.Header.Get("Referrer-Policy") != "no-referrer" {
			c.Errorf("a redirect with Referrer-Policy %q", res.Header.Get("Referrer-Policy"))
		}
	}
	c.calls(s, msauthtest.TokenCode, 1)
}
