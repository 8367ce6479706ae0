package shared_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A logout token ends sessions in all processes, and counts once over all of them.
func TestBackChannelLogoutOverReplicas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		s := testsite.NewInProcess(t)
		s.Restart(t, testsite.Generic(s), func(c *msauth.Config) { c.Shared = b })
		t.Cleanup(func() { _ = s.Auth.Close(canceled()) })
		other, err := msauth.New(s.Cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = other.Close(canceled()) })
		browser := s.Browser(t)
		browser.SignIn(msauthtest.Ada)
		stolen := testsite.HeaderOf(browser.Session()...)
		call := func(auth *msauth.Middleware, token string) int {
			r := httptest.NewRequest(http.MethodPost, s.URL+"/auth/back-channel-logout", strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			auth.ServeHTTP(w, r)
			return w.Code
		}
		greets := func(auth *msauth.Middleware) string {
			r := httptest.NewRequest(http.MethodGet, s.URL+"/public/", nil)
			r.Header.Set("Cookie", stolen)
			w := httptest.NewRecorder()
			auth.Load(http.HandlerFunc(testsite.Hello)).ServeHTTP(w, r)
			return w.Body.String()
		}
		if got := greets(other); got != testsite.HelloAda {
			t.Fatalf("at first: %q", got)
		}
		token := s.MS.LogoutToken(msauthtest.Ada, "", nil)
		if status := call(s.Auth, token); status != http.StatusOK {
			t.Errorf("status %d; log:\n%s", status, s.Log)
		}
		time.Sleep(time.Second)
		for _, auth := range []*msauth.Middleware{s.Auth, other} {
			if got := greets(auth); got != testsite.HelloNobody {
				t.Errorf("afterwards: %q", got)
			}
		}
		if status := call(other, token); status != http.StatusBadRequest {
			t.Errorf("the same token at another process: status %d", status)
		}
		if status := call(other, s.MS.LogoutToken(msauthtest.Ada, "", nil)); status != http.StatusOK {
			t.Errorf("another token: status %d; log:\n%s", status, s.Log)
		}
	})
}
