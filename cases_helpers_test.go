package msauth_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/sessions"

	"example.com/msauth"
)

// withKeysOf makes a site share the keys of another.
func withKeysOf(other *site) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Keys = other.cfg.Keys }
}

// cookieName is that of a site's session cookie.
func cookieName(t *testing.T, s *site) string {
	t.Helper()
	for _, line := range s.browser(t).still().get("/").Header["Set-Cookie"] {
		if name, _, ok := strings.Cut(line, "-login-"); ok {
			return name
		}
	}
	t.Fatal("no attempt was begun")
	return ""
}

// cookieLine is the browser's Cookie header for the site.
func (b *browser) cookieLine() string {
	var pairs []string
	for _, c := range b.cookies() {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

// fileStore is a store of gorilla's that keeps sessions on the server.
func fileStore(t *testing.T) sessions.Store {
	t.Helper()
	store := sessions.NewFilesystemStore(t.TempDir(), newKey(), newKey())
	store.MaxLength(1 << 20)
	return store
}
