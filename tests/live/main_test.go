// Package live_test is about Live Connect, the service at login.live.com
// (Config.Authority), seen from outside.
package live_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestMain(m *testing.M) { testsite.Main(m) }

// atLive makes a site one of Live Connect.
func atLive(c *msauth.Config) { c.Authority += "/login.live.com" }

// newSite is a site of Live Connect with these pages beside those of testsite.New:
//
//	/status      under Load: the status, and who is signed in
//	/skydrive    under Load: the status for wl.skydrive
//	/files       under Require
//	/drive       under RequireScopes("wl.skydrive")
//	/identity    under Require: the authentication token, or the error
func newSite(t *testing.T, changes ...func(*msauth.Config)) *testsite.Site {
	t.Helper()
	s := testsite.New(t, append([]func(*msauth.Config){atLive}, changes...)...)
	routes(s.Mux, s.Auth)
	return s
}

// inBubble runs a test with such a site, in a bubble of its own time.
func inBubble(t *testing.T, f func(t *testing.T, s *testsite.Site, b *testsite.Browser), changes ...func(*msauth.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, append([]func(*msauth.Config){atLive}, changes...)...)
		routes(s.Mux, s.Auth)
		s.Lifetime(time.Hour)
		f(t, s, s.Browser(t))
		time.Sleep(time.Minute) // for what still waits
	})
}

func routes(mux *http.ServeMux, auth *msauth.Middleware) {
	status := func(scopes ...string) http.Handler {
		return auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			key := "nobody"
			if s, ok := msauth.FromContext(r.Context()); ok {
				key = s.User.Key()
			}
			fmt.Fprintf(w, "%s %s", auth.Status(r, scopes...), key)
		}))
	}
	mux.Handle("/status", status())
	mux.Handle("/skydrive", status("wl.skydrive"))
	mux.Handle("/files", auth.Require(status()))
	mux.Handle("/drive", auth.RequireScopes("wl.skydrive")(status()))
	mux.Handle("/identity", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		token, err := s.AuthenticationToken()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, token)
	})))
}

// signIn signs Mia in by a link.
func signIn(t *testing.T, s *testsite.Site, b *testsite.Browser, o msauth.LoginOptions) {
	t.Helper()
	s.As(msauthtest.Mia)
	if o.ReturnTo == "" {
		o.ReturnTo = "/status"
	}
	if res := b.Get(s.Auth.LoginURL(o)); !strings.HasPrefix(res.Text, "connected https://login.live.com#") {
		t.Fatalf("signed in: status %d, page %.300q; log:\n%s", res.StatusCode, res.Text, s.Log)
	}
}

// want checks what a page says.
func want(t *testing.T, res testsite.Seen, text string) {
	t.Helper()
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Text, text) {
		t.Errorf("status %d, page %.200q, want %q", res.StatusCode, res.Text, text)
	}
}
