package cases_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCase155_SessionIsForScriptsOfTheSite(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	b, _ := testsite.AdaSession(t, s)
	s.MS.ResetCalls()
	for name, header := range map[string][]string{
		"a script of another site":     {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Origin", "https://evil.example", "X-Msauth", "1"},
		"an image of another site":     {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
		"a script element":             {"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script"},
		"a form of another site":       {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Origin", "https://evil.example"},
		"a form, in an old browser":    {"Origin", "https://evil.example", "Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html"},
		"a link, in an old browser":    {"Referer", "https://evil.example/", "Accept", "text/html"},
		"an address that is typed":     {"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"},
		"two values":                   {"Sec-Fetch-Site", "cross-site, same-origin"},
		"an empty value":               {"Sec-Fetch-Site", "", "X-Msauth", "1"},
		"a subdomain, with the header": {"Sec-Fetch-Site", "same-site", "X-Msauth", "1"},
	} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			res := b.Still().Request(method, "/auth/session", header...)
			if res.StatusCode != 403 || len(res.Header["Set-Cookie"]) > 0 || res.Header.Get("Access-Control-Allow-Origin") != "" || res.Header.Get("Cache-Control") != "no-store" || strings.Contains(res.Text, "Ada") {
				c.Errorf("%s by %s: status %d, %v, %.100q", method, name, res.StatusCode, res.Header, res.Text)
			}
		}
	}
	if res := b.Still().Get("/auth/session", "Sec-Fetch-Site", "same-origin"); res.StatusCode != 200 || !strings.Contains(res.Text, `"signed_in":true`) || res.Header.Get("Access-Control-Allow-Origin") != "" {
		c.Errorf("the site's own script: status %d, %.100q", res.StatusCode, res.Text)
	}
	c.silent(s)
}

func TestCase156_ModuleIsTheSameForEverybody(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	b, _ := testsite.AdaSession(t, s)
	s.MS.ResetCalls()
	address := s.Auth.ScriptURL()
	path, version, _ := strings.Cut(address, "?")
	want := s.Browser(t).Get(address).Text
	for _, query := range []string{"", "?", "?" + version, "?v=", "?v=x", "?" + version + "&x=1", "?x=1&" + version, "?" + version + "&" + version, "?V" + version[1:], "?v=%00", "?%zz", "?v=<script>", "?" + strings.Repeat("v", 4000)} {
		for _, browser := range []*testsite.Browser{b, s.Browser(t)} {
			res := browser.Still().Get(path+query, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example", "Host", "evil.example")
			kept := "no-cache"
			if query == "?"+version {
				kept = "public, max-age=31536000, immutable"
			}
			if res.StatusCode != 200 || res.Text != want || len(res.Header["Set-Cookie"]) > 0 || res.Header.Get("Vary") != "" {
				c.Errorf("%.40q: status %d, %v, the same bytes: %t", query, res.StatusCode, res.Header, res.Text == want)
			}
			for name, want := range map[string]string{
				"Cache-Control": kept, "Cross-Origin-Resource-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
				"Content-Type": "text/javascript; charset=utf-8", "Access-Control-Allow-Origin": "",
			} {
				if got := res.Header.Get(name); got != want {
					c.Errorf("%.40q: %s is %q, want %q", query, name, got, want)
				}
			}
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		if res := b.Still().Request(method, address); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" || strings.Contains(res.Header.Get("Cache-Control"), "public") {
			c.Errorf("%s: status %d, %v", method, res.StatusCode, res.Header)
		}
	}
	c.silent(s)
}

func TestCase157_DoneLeadsNowhere(t *testing.T) {
	c := newCase(t)
	for _, base := range []string{"/auth", "", "/a/b"} {
		s := testsite.NewInProcess(t, func(cfg *msauth.Config) { cfg.BaseURL = "https://app.test" + base })
		b := s.Browser(t)
		// It is the one page of ours that a sign-in may lead to, and Home is not.
		link := base + "/login?return_to=" + url.QueryEscape(base+"/done")
		if got := s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: base + "/done"}); got != link {
			c.Errorf("base %q: the link is %s", base, got)
		}
		cfg := s.Cfg
		cfg.Home = base + "/done"
		_, err := msauth.New(cfg)
		c.fails(err, "Home")
		nobody := b.Still().Get(base + "/done?x=//evil.example")
		s.WantPage(c.T, nobody, 200, "done", "")
		if links := testsite.LinksOf(nobody); len(links) != 2 || links[0] != link || strings.Contains(nobody.Text, "<script") || strings.Contains(nobody.Text, "evil") {
			c.Errorf("base %q: links %q of %s", base, links, nobody.Text)
		}
		s.As(msauthtest.Ada)
		for range 2 { // also for those who are signed in already
			res := b.Get(link)
			s.WantPage(c.T, res, 200, "done", "")
			if links := testsite.LinksOf(res); res.Request.URL.Path != base+"/done" || len(links) != 1 || strings.Contains(res.Text, "Ada") || strings.Count(res.Text, "<script") != 1 {
				c.Errorf("base %q: at %s, links %q: %s", base, res.Request.URL, links, res.Text)
			}
			if policy := res.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "script-src 'self'") || strings.Contains(policy, "connect-src") || res.Header.Get("X-Frame-Options") != "DENY" {
				c.Errorf("base %q: policy %s", base, policy)
			}
		}
		if res := b.Still().Request("POST", base+"/done", testsite.SameOrigin...); res.StatusCode != http.StatusMethodNotAllowed {
			c.Errorf("POST: status %d", res.StatusCode)
		}
		c.calls(s, msauthtest.TokenCode, 2)
	}
}
