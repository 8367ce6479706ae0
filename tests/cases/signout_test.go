package cases_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/msauth"
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
			module := `<script type="module" src="` + s.Auth.ScriptURL() + `"></script>`
			res.Text = strings.Replace(res.Text, module, "", 1)
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

// The provider's page loads the address in a hidden frame, without cookies.
func TestCase144_FrontChannel(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		var sid string
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { sid = claims["sid"].(string) }
		})
		_, cookie := testsite.AdaSession(c.T, s)
		s.MS.ResetCalls()
		issuer := url.QueryEscape(s.MS.URL + "/" + msauthtest.TenantContoso + "/v2.0")
		load := func(query string, status int) testsite.Seen {
			c.Helper()
			res := s.Browser(c.T).Still().Get("/auth/front-channel-logout"+query, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "cross-site")
			if res.StatusCode != status || len(res.Header["Set-Cookie"]) != 0 || res.Header.Get("Cache-Control") != "no-store" {
				c.Errorf("%s: status %d, header %v", query, res.StatusCode, res.Header)
			}
			if framed := res.Header.Get("Content-Security-Policy"); !strings.HasSuffix(framed, "frame-ancestors "+s.MS.URL) {
				c.Errorf("%s: %s", query, framed)
			}
			return res
		}
		want := load("", 200).Text
		for _, query := range []string{"?sid=x", "?sid=", "?iss=" + issuer, "?sid=x&iss=" + issuer, "?sid=" + sid + "&sid=" + sid} {
			if got := load(query, 200).Text; got != want {
				c.Errorf("%s: %s", query, got)
			}
		}
		load("?sid="+sid+"&iss=https%3A%2F%2Fevil.example", 400)
		if got := ask(c.T, s, testsite.HeaderOf(cookie)).Text; got != testsite.HelloAda {
			c.Errorf("the session shows %q", got)
		}
		// Nor does the ordinary address act in a frame of the provider.
		res := s.Browser(c.T).Still().Get("/auth/logout?iss=x&sid="+sid, "Cookie", testsite.HeaderOf(cookie), "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "cross-site")
		s.WantPage(c.T, res, 200, "confirm-sign-out", "")
		c.logged(s, "event=front_channel_logout", 0)

		if got := load("?sid="+sid+"&iss="+issuer, 200).Text; got != want {
			c.Errorf("the right one is told: %s", got)
		}
		if got := ask(c.T, s, testsite.HeaderOf(cookie)).Text; got != testsite.HelloNobody {
			c.Errorf("the session shows %q", got)
		}
		c.logged(s, "event=front_channel_logout", 1)
		c.silent(s)
	})
}

// Another provider's server posts a logout token. Every rule about it is in
// tests/signout/backchannel_test.go.
func TestCase145_BackChannel(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.Restart(c.T, testsite.Generic(s))
		var sid string
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { sid = claims["sid"].(string) }
		})
		_, cookie := testsite.AdaSession(c.T, s)
		s.MS.ResetCalls()
		call := func(form string, status int, reason string) {
			c.Helper()
			r, err := http.NewRequest(http.MethodPost, s.URL+"/auth/back-channel-logout", strings.NewReader(form))
			if err != nil {
				c.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			res := s.Browser(c.T).Still().Send(r)
			if res.StatusCode != status || !strings.Contains(res.Text, reason) || len(res.Header["Set-Cookie"]) != 0 || res.Header.Get("Cache-Control") != "no-store" {
				c.Errorf("status %d, header %v, %q; want %d, %q", res.StatusCode, res.Header, res.Text, status, reason)
			}
		}
		token := func(changes map[string]any) string {
			return "logout_token=" + s.MS.LogoutToken(msauthtest.Ada, sid, changes)
		}
		for reason, changes := range map[string]map[string]any{
			"iss is not the provider": {"iss": "https://evil.example"},
			"aud is not this app":     {"aud": "another"},
			"events has no":           {"events": nil},
			"nonce is there":          {"nonce": "n"},
			"sid and sub are missing": {"sid": nil, "sub": nil},
			"iat is missing":          {"iat": nil},
			"jti is missing":          {"jti": nil},
			"expired ":                {"exp": 1},
		} {
			call(token(changes), 400, reason)
		}
		call("x="+strings.Repeat("x", 10<<20), 400, "more than")
		s.WantPage(c.T, s.Browser(c.T).Still().Get("/auth/back-channel-logout?"+token(nil)), 405, "bad-request", "")
		s.MS.Set(func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignNone })
		call(token(nil), 400, "its alg is not one")
		s.MS.Set(func(b *msauthtest.Behavior) { b.Signing = "" })
		if got := ask(c.T, s, testsite.HeaderOf(cookie)).Text; got != testsite.HelloAda {
			c.Errorf("the session shows %q", got)
		}
		c.logged(s, "event=back_channel_logout", 0)
		c.logged(s, "event=back_channel_refused", 1)

		good := token(nil)
		call(good, 200, "")
		call(good, 400, "used before")
		if got := ask(c.T, s, testsite.HeaderOf(cookie)).Text; got != testsite.HelloNobody {
			c.Errorf("the session shows %q", got)
		}
		c.logged(s, "event=back_channel_logout", 1)
		c.silent(s)

		s.Restart(c.T, func(cfg *msauth.Config) { cfg.Issuer, cfg.Authority = "", s.MS.URL })
		call(token(nil), 404, "")
	})
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
