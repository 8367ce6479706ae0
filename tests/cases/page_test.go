package cases_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/internal/catalog"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

var scripts = regexp.MustCompile(`(?s)<script>(.*?)</script>`)

func TestCase160_FragmentPage(t *testing.T) {
	c := newCase(t)
	s := testsite.New(t, func(c *msauth.Config) { c.KeepFragments = true })
	s.As(msauthtest.Ada)
	b := s.Browser(t).Still()
	for _, target := range []string{
		"/app", `/app?x="><script>alert(1)</script>`, "/app?x=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "/app?return_to=//evil.example", "/app?x=';location='//evil.example",
	} {
		res := b.Get(s.URL + target)
		found := scripts.FindAllStringSubmatch(res.Text, -1)
		if res.StatusCode != http.StatusUnauthorized || len(found) != 1 || strings.Count(res.Text, "<script") != 1 {
			c.Fatalf("%s: status %d, %d scripts: %s", target, res.StatusCode, len(found), res.Text)
		}
		sum := sha256.Sum256([]byte(found[0][1]))
		want := "default-src 'none'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
		if got := res.Header.Get("Content-Security-Policy"); got != want {
			c.Errorf("%s: policy %q, want %q", target, got, want)
		}
		for _, href := range regexp.MustCompile(`(?:href=|url=)"?([^">]*)`).FindAllStringSubmatch(res.Text, -1) {
			u, err := url.Parse(html.UnescapeString(href[1]))
			if err != nil || u.Host != "" || u.Path != "/auth/login" || u.Query().Get("return_to") == "" || strings.HasPrefix(u.Query().Get("return_to"), "//") {
				c.Errorf("%s: leads to %s", target, href[1])
			}
		}
	}
	c.calls(s, msauthtest.Authorize, 0)
}

func TestCase161_Languages(t *testing.T) {
	c := newCase(t)
	s := testsite.New(t)
	b := s.Browser(t)
	german := b.Get("/auth/nothing", "Accept-Language", "de").Text
	for _, header := range []string{
		`"><script>alert(1)</script>`, "../../etc/passwd", "de.json", "..", strings.Repeat("a", 100<<10), "en-" + strings.Repeat("x-", 50000), "*", ";q=1",
	} {
		res := b.Get("/auth/nothing", "Accept-Language", header)
		if res.StatusCode != http.StatusNotFound || strings.Contains(res.Text, "<script") || res.Header.Get("Content-Language") != catalog.Languages[0] || res.Text == german {
			c.Errorf("%.40q: status %d, Content-Language %q", header, res.StatusCode, res.Header.Get("Content-Language"))
		}
	}
	c.calls(s, msauthtest.Authorize, 0)
}
