package device_test

import (
	"net/http"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// The largest sessions beside a long address, and all that an answer can set or delete.
func TestHeadersWithBinding(t *testing.T) {
	t.Parallel()
	for filler := 800; filler <= 1200; filler += 50 {
		inBubble(t, func(t *testing.T, s *testsite.Site) {
			s.Mux.Handle("/corporate-expenses/auth/", s.Auth)
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.AutoSignIn = msauthtest.Ada
				b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
					claims["filler"] = strings.ReplaceAll(testsite.LongAddress(filler + 11)[11:], "/", "|")
				}
			})
			for _, n := range []int{11, 160, 161, 600, 2000} {
				m := newMachine(t, s)
				m.Keep("__Host-corporate-expenses-of-all-our-department-device", strings.Repeat("A", 75))
				for range 20 {
					m.Still().Get("/corporate-expenses/auth/login")
				}
				largest, still := m.Measured(), m.Still()
				to := still.Get(testsite.LongAddress(n))
				if to.StatusCode == http.StatusOK {
					to = still.Get(testsite.LinksOf(to)[0])
				} else {
					to = still.Get(to.Header.Get("Location"))
				}
				res := still.Get(to.Header.Get("Location"))
				found := offer.FindStringSubmatch(res.Header.Get("Secure-Session-Registration"))
				if found == nil {
					t.Fatalf("status %d, %.100q", res.StatusCode, res.Text)
				}
				if res := m.register(found[1], found[2]); res.StatusCode != http.StatusOK || largest.Load() > 4000 {
					t.Errorf("filler %d, address %d: status %d, up to %d bytes of headers", filler, n, res.StatusCode, largest.Load())
				}
			}
		}, offered, func(c *msauth.Config) {
			c.BaseURL, c.CookieName, c.Claims = "https://app.test/corporate-expenses/auth", "corporate-expenses-of-all-our-department", []string{"filler"}
		})
	}
}
