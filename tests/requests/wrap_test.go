package requests_test

import (
	"net/http"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestRequireAroundAWholeSiteServesItsOwnPages(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Config.Handler = s.Auth.Require(http.HandlerFunc(testsite.Hello)) // nothing else is mounted
	b := s.Browser(t)
	s.As(msauthtest.Ada)
	if res := b.Get("/deep?x=1"); res.Text != "hello Ada Lindqvist" || res.Request.URL.RequestURI() != "/deep?x=1" {
		t.Errorf("page %q at %s", res.Text, res.Request.URL)
	}
	if res := b.Get("/auth/signed-out"); !strings.Contains(res.Text, "You are signed out") {
		t.Errorf("signed-out page: %q", res.Text)
	}
	if res := b.Get("/auth/other"); res.Text != "hello Ada Lindqvist" {
		t.Errorf("a path of the app's own below BaseURL: %q", res.Text)
	}
}

// The request that signs out is itself due for renewal, and the renewed session
// would take more cookies than came in.
func TestSigningOutUnderLoadLeavesNoCookie(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, func(c *msauth.Config) { c.CookieBudget = 7168 })
	s.Config.Handler = s.Auth.Load(s.Mux)
	b := s.Browser(t)
	b.SignInExpired(msauthtest.Grace)
	s.MS.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	b.Still().Get("/auth/logout", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin")
	s.WantCalls(t, msauthtest.TokenRefresh, 1)
	for _, c := range b.Cookies() { // the provider's own is there too: ports share cookies
		if !strings.HasPrefix(c.Name, "__Host-msauth-") {
			continue
		}
		t.Errorf("%s is left after signing out", c.Name)
	}
}
