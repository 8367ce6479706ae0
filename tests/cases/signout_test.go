package cases_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCase139_HereAndAtMicrosoft(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	var hint string
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { hint = claims["login_hint"].(string) }
	})
	b, cookie := testsite.AdaSession(t, s)
	res := b.Still().Get("/auth/logout", testsite.SameOrigin...)
	to, err := res.Location()
	if err != nil || res.StatusCode != 303 || to.Path != "/common/oauth2/v2.0/logout" {
		c.Fatalf("status %d to %v", res.StatusCode, to)
	}
	want := url.Values{"post_logout_redirect_uri": {s.URL + "/auth/signed-out"}, "logout_hint": {hint}}
	if got := to.Query(); got.Encode() != want.Encode() || hint == "" {
		c.Errorf("parameters %v, want %v", got, want)
	}
	if len(b.Cookies()) != 0 {
		c.Errorf("%v is left", b.Cookies())
	}
	end := b.Get(to.String())
	s.WantPage(t, end, 200, "signed-out", "")
	c.calls(s, msauthtest.Logout, 1)
	c.logged(s, "event=sign_out", 1)
	if got := ask(t, s, testsite.HeaderOf(cookie)).Text; got != testsite.HelloNobody {
		c.Errorf("a copy of the cookie shows %q", got)
	}
	// Without a session it works all the same.
	nobody := s.Browser(t)
	if got := nobody.Still().Get("/auth/logout", testsite.SameOrigin...).Header.Get("Location"); !strings.HasPrefix(got, s.MS.URL) || strings.Contains(got, "logout_hint") {
		c.Errorf("nobody's sign-out leads to %q", got)
	}
}

func TestCase139_WithoutTheProvider(t *testing.T) {
	c := newCase(t)
	for name, change := range map[string]func(*msauthtest.Behavior){
		"discovery is down": func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Discovery] = msauthtest.Failure{Status: 500} },
		"no end-session endpoint": func(b *msauthtest.Behavior) {
			b.Discovery = func(doc map[string]any) { delete(doc, "end_session_endpoint") }
		},
	} {
		c.run(name, func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			b, cookie := testsite.AdaSession(c.T, s)
			s.Restart(c.T)
			s.MS.Set(change)
			s.MS.ResetCalls()
			res := b.Get("/auth/logout", testsite.SameOrigin...)
			s.WantPage(c.T, res, 200, "signed-out", "")
			if len(b.Cookies()) != 0 || ask(c.T, s, testsite.HeaderOf(cookie)).Text != testsite.HelloNobody {
				c.Error("not signed out")
			}
			c.calls(s, msauthtest.Logout, 0)
		})
	}
}

func TestCase140_LogoutCSRF(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	b, cookie := testsite.AdaSession(t, s)
	s.MS.ResetCalls()
	fetch := func(site, mode, dest string, more ...string) []string {
		return append([]string{"Sec-Fetch-Site", site, "Sec-Fetch-Mode", mode, "Sec-Fetch-Dest", dest, "Accept", "*/*"}, more...)
	}
	evil := []string{"Origin", "https://evil.example"}
	for name, request := range map[string][]string{
		"a link elsewhere":              append([]string{"GET"}, testsite.CrossSite...),
		"a link on a sibling subdomain": append([]string{"GET"}, fetch("same-site", "navigate", "document")...),
		"typed or a bookmark":           append([]string{"GET"}, fetch("none", "navigate", "document")...),
		"an image":                      append([]string{"GET"}, fetch("cross-site", "no-cors", "image")...),
		"an image of the same site":     append([]string{"GET"}, fetch("same-origin", "no-cors", "image")...),
		"a frame of the same origin":    append([]string{"GET"}, fetch("same-origin", "navigate", "iframe")...),
		"a fetch of the same origin":    append([]string{"GET"}, fetch("same-origin", "cors", "empty")...),
		"a fetch from elsewhere":        append([]string{"GET"}, fetch("cross-site", "cors", "empty", evil...)...),
		"a prefetch":                    append([]string{"GET"}, fetch("same-origin", "navigate", "document", "Sec-Purpose", "prefetch")...),
		"a HEAD from elsewhere":         append([]string{"HEAD"}, testsite.CrossSite...),
		"an old browser's link":         {"GET", "Accept", "text/html", "Referer", s.URL + "/"},
		"a form elsewhere":              append([]string{"POST"}, fetch("cross-site", "navigate", "document", evil...)...),
		"a form on a sibling":           append([]string{"POST"}, fetch("same-site", "navigate", "document", "Origin", "https://other.app.test")...),
		"a form of a sandbox":           append([]string{"POST"}, fetch("cross-site", "navigate", "document", "Origin", "null")...),
		"a form in a frame":             append([]string{"POST"}, fetch("cross-site", "navigate", "iframe", evil...)...),
		"a post by script":              append([]string{"POST"}, fetch("cross-site", "no-cors", "empty", evil...)...),
		"an old browser's form":         {"POST", "Accept", "text/html", "Origin", "https://evil.example"},
		"an old browser's sandbox":      {"POST", "Accept", "text/html", "Origin", "null"},
		"another scheme":                {"POST", "Accept", "text/html", "Origin", "http://app.test"},
		"another port":                  {"POST", "Accept", "text/html", "Origin", "https://app.test:8443"},
		"a suffix":                      {"POST", "Accept", "text/html", "Origin", "https://app.test.evil.example"},
		"a method override":             append([]string{"GET"}, append(slices.Clone(testsite.CrossSite), "X-HTTP-Method-Override", "POST")...),
		"a DELETE":                      append([]string{"DELETE"}, fetch("same-origin", "cors", "empty")...),
	} {
		res := b.Still().Request(request[0], "/auth/logout?confirm=1&_method=POST", request[1:]...)
		if res.Header.Get("Location") != "" || len(res.Header["Set-Cookie"]) != 0 {
			c.Errorf("%s: status %d to %q, %d cookies set", name, res.StatusCode, res.Header.Get("Location"), len(res.Header["Set-Cookie"]))
		}
		if request[0] != "HEAD" && request[0] != "DELETE" && res.StatusCode == 200 {
			s.WantPage(t, res, 200, "confirm-sign-out", "")
			if !strings.Contains(res.Text, `<form method="post" action="/auth/logout">`) {
				c.Errorf("%s: the page does not ask: %s", name, res.Text)
			}
		}
	}
	if got := ask(t, s, testsite.HeaderOf(cookie)).Text; got != testsite.HelloAda {
		c.Errorf("afterwards the session shows %q", got)
	}
	c.silent(s)
	c.logged(s, "event=sign_out", 0)
	// What a person does works.
	for name, request := range map[string][]string{
		"a form of ours":            append([]string{"POST"}, fetch("same-origin", "navigate", "document", "Origin", s.URL)...),
		"an old browser's form":     {"POST", "Accept", "text/html", "Origin", s.URL},
		"behind a proxy that hides": {"POST", "Accept", "text/html", "Origin", s.URL, "Host", "internal:8080"},
		"a link of ours":            append([]string{"GET"}, testsite.SameOrigin...),
	} {
		b, _ := testsite.AdaSession(t, s)
		header := request[1:]
		if name == "behind a proxy that hides" {
			header = append(header, "Cookie", b.CookieLine())
		}
		if res := b.Still().Request(request[0], "/auth/logout", header...); res.StatusCode != 303 {
			c.Errorf("%s: status %d", name, res.StatusCode)
		}
	}
	c.logged(s, "event=sign_out", 4)
}

func TestCase141_StateAtThePostLogoutPage(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	b, cookie := testsite.AdaSession(t, s)
	s.MS.ResetCalls()
	for _, query := range []string{"", "?state=x", "?state=other&next=//evil.example", "?state=a&state=b", "?return_to=https://evil.example", "?%zz", "?error=x&error_description=<script>"} {
		for _, b := range []*testsite.Browser{b, s.Browser(t)} {
			res := b.Still().Get("/auth/signed-out" + query)
			s.WantPage(t, res, 200, "signed-out", "")
			if strings.Contains(res.Text, "evil") || strings.Contains(res.Text, "<script") || len(res.Header["Set-Cookie"]) != 0 {
				c.Errorf("%s: %s", query, res.Text)
			}
		}
	}
	if res := b.Still().Request("POST", "/auth/signed-out"); res.StatusCode != http.StatusMethodNotAllowed {
		c.Errorf("a POST gets status %d", res.StatusCode)
	}
	if got := ask(t, s, testsite.HeaderOf(cookie)).Text; got != testsite.HelloAda {
		c.Errorf("opening the page has signed out: %q", got)
	}
	c.silent(s)
}

// Neither kind of sign-out by the provider is offered: there is no address
// that could end a session, whoever asks.
func TestCase144_NoFrontChannel(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	_, cookie := testsite.AdaSession(t, s)
	s.MS.ResetCalls()
	for _, target := range []string{"/auth/frontchannel-logout?iss=x&sid=y", "/auth/logout/frontchannel?sid=y", "/auth/backchannel-logout"} {
		res := s.Browser(t).Still().Get(target, "Cookie", testsite.HeaderOf(cookie), "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "cross-site")
		s.WantPage(t, res, 404, "not-found", "")
		if len(res.Header["Set-Cookie"]) != 0 {
			c.Errorf("%s: cookies set", target)
		}
	}
	// Nor does the ordinary one act in a frame of the provider.
	res := s.Browser(t).Still().Get("/auth/logout?iss=x&sid=y", "Cookie", testsite.HeaderOf(cookie), "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "cross-site")
	s.WantPage(t, res, 200, "confirm-sign-out", "")
	if got := ask(t, s, testsite.HeaderOf(cookie)).Text; got != testsite.HelloAda {
		c.Errorf("the session shows %q", got)
	}
	c.silent(s)
}

func TestCase145_NoBackChannel(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	_, cookie := testsite.AdaSession(t, s)
	s.MS.ResetCalls()
	for _, target := range []string{"/auth/backchannel-logout", "/auth/logout/backchannel"} {
		res := s.Browser(t).Still().Request("POST", target+"?logout_token=x", "Cookie", testsite.HeaderOf(cookie))
		s.WantPage(t, res, 404, "not-found", "")
	}
	if got := ask(t, s, testsite.HeaderOf(cookie)).Text; got != testsite.HelloAda {
		c.Errorf("the session shows %q", got)
	}
	c.silent(s)
}

func TestCase147_OtherTabAfterSignOut(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	b, _ := testsite.AdaSession(t, s)
	page := b.Get("/private")
	if got := page.Header["Cache-Control"]; !slices.Contains(got, "no-store") {
		c.Errorf("a private page has Cache-Control %q: the back button shows it after signing out", got)
	}
	old := b.CookieLine()
	b.Still().Get("/auth/logout", testsite.SameOrigin...)
	s.MS.ResetCalls()
	// The other tab's request may have left before the deletion arrived.
	late := s.Browser(t)
	for _, header := range [][]string{testsite.Script, {"Accept", "text/html", "X-Requested-With", "XMLHttpRequest"}} {
		if res := late.Still().Get("/private", append([]string{"Cookie", old}, header...)...); res.StatusCode != 401 {
			c.Errorf("status %d, page %q", res.StatusCode, res.Text)
		}
	}
	c.signedOut(b)
	c.logged(s, "reason=ended", 2)
	c.calls(s, msauthtest.Authorize, 0)
}
