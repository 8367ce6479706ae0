package msauth_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

func TestRequireAroundAWholeSiteServesItsOwnPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Config.Handler = s.auth.Require(http.HandlerFunc(hello)) // nothing else is mounted
	b := s.browser(t)
	s.as(msauthtest.Ada)
	if res := b.get("/deep?x=1"); res.body != "hello Ada Lindqvist" || res.Request.URL.RequestURI() != "/deep?x=1" {
		t.Errorf("page %q at %s", res.body, res.Request.URL)
	}
	if res := b.get("/auth/signed-out"); !strings.Contains(res.body, "You are signed out") {
		t.Errorf("signed-out page: %q", res.body)
	}
	if res := b.get("/auth/other"); res.body != "hello Ada Lindqvist" {
		t.Errorf("a path of the app's own below BaseURL: %q", res.body)
	}
}

// The request that signs out is itself due for renewal, and the renewed session
// would take more cookies than came in.
func TestSigningOutUnderLoadLeavesNoCookie(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *msauth.Config) { c.CookieBudget = 7168 })
	s.Config.Handler = s.auth.Load(s.mux)
	s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
	b := s.browser(t)
	b.signIn(msauthtest.Grace)
	s.ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	time.Sleep(1100 * time.Millisecond)
	b.still().get("/auth/logout", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin")
	s.wantCalls(t, msauthtest.TokenRefresh, 1)
	for _, c := range b.cookies() { // the provider's own is there too: ports share cookies
		if !strings.HasPrefix(c.Name, "__Host-msauth-") {
			continue
		}
		t.Errorf("%s is left after signing out", c.Name)
	}
}
