package requests_test

import (
	"net/http"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// Browsers load the module once, and ask whether a copy without the version is current.
func TestModuleIsKept(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	b := s.Browser(t)
	address := s.Auth.ScriptURL()
	first := b.Get(address)
	tag := first.Header.Get("ETag")
	if first.StatusCode != http.StatusOK || tag == "" || !strings.Contains(address, strings.Trim(tag, `"`)) || !strings.Contains(first.Text, "export async function fetch(") {
		t.Fatalf("status %d, ETag %s of %s, %.100q", first.StatusCode, tag, address, first.Text)
	}
	for _, path := range []string{address, "/auth/msauth.js"} {
		if res := b.Get(path, "If-None-Match", tag); res.StatusCode != http.StatusNotModified || res.Text != "" || res.Header.Get("ETag") != tag || res.Header.Get("Cache-Control") == "" {
			t.Errorf("%s: status %d, %v", path, res.StatusCode, res.Header)
		}
		if res := b.Get(path, "If-None-Match", `"another"`); res.StatusCode != http.StatusOK || res.Text != first.Text {
			t.Errorf("%s: status %d for an old copy", path, res.StatusCode)
		}
		if res := b.Request(http.MethodHead, path); res.StatusCode != http.StatusOK || res.Text != "" || res.ContentLength != int64(len(first.Text)) {
			t.Errorf("HEAD %s: status %d, length %d, want %d", path, res.StatusCode, res.ContentLength, len(first.Text))
		}
	}
	other := testsite.New(t, func(c *msauth.Config) { c.Page = func(http.ResponseWriter, *http.Request, msauth.Page) {} })
	if got := other.Auth.ScriptURL(); got != address {
		t.Errorf("another process of the app has %s, want %s", got, address)
	}
}

// Whatever of the site needs a sign-in, the module does not.
func TestModuleUnderRequireAndPrefixes(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "/auth", "/a/b"} {
		s := testsite.NewInProcess(t, func(c *msauth.Config) { c.BaseURL = "https://app.test" + base })
		mux := http.NewServeMux()
		mux.Handle("/", s.Auth.Require(http.HandlerFunc(testsite.Hello)))
		s.Current.Store(mux)
		res := s.Browser(t).Get(s.Auth.ScriptURL(), testsite.Script...)
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/javascript") || s.Auth.ScriptURL()[:len(base)+10] != base+"/msauth.js" {
			t.Errorf("base %q: status %d, %v", base, res.StatusCode, res.Header)
		}
	}
}

// A refused request says what a page needs to offer a sign-in, and which one does not
// suffice.
func TestProblemOffersASignIn(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Guard("/scopes", s.Auth.RequireScopes("Calendars.Read"))
	b := s.Browser(t)
	refused := func(path string) (p testsite.Problem) {
		t.Helper()
		if p = b.WantProblem(b.Fetch(path), http.StatusUnauthorized); p.LoginLabel != "Sign in" || p.CancelLabel != "Cancel" || p.LoginURL == "" {
			t.Errorf("problem %+v", p)
		}
		return p
	}
	if p := refused("/"); p.SignIn != 0 {
		t.Errorf("nobody: sign-in %d", p.SignIn)
	}
	b.SignIn(msauthtest.Ada)
	before, _ := session(t, b, http.MethodGet)
	if p := refused("/scopes"); p.SignIn != before.SignIn || before.SignIn == 0 || before.SignIn >= 1<<53 {
		t.Errorf("sign-in %d, the session says %d", p.SignIn, before.SignIn)
	}
	b.Get("/auth/login?return_to=/auth/done")
	if after, _ := session(t, b, http.MethodGet); after.SignIn == before.SignIn || after.Person != before.Person {
		t.Errorf("before %+v, after the next sign-in %+v", before, after)
	}
}
