package signin_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func keepFragments(c *msauth.Config) { c.KeepFragments = true }

var continueLink = regexp.MustCompile(`<a href="([^"]+)"`)

// goesOn returns the link of the page that keeps fragments.
func goesOn(t *testing.T, res testsite.Seen) *url.URL {
	t.Helper()
	found := continueLink.FindStringSubmatch(res.Text)
	if res.StatusCode != http.StatusUnauthorized || found == nil || !strings.Contains(res.Header.Get("Content-Security-Policy"), "script-src 'sha256-") ||
		res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("X-Frame-Options") != "DENY" {
		t.Fatalf("status %d, %v, page %.300q", res.StatusCode, res.Header, res.Text)
	}
	if n := strings.Count(res.Text, found[1]); n != 2 {
		t.Errorf("the link is there %d times, want it for browsers without script too", n)
	}
	u, err := url.Parse(html.UnescapeString(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// What the script of the page does: it adds the fragment to the address to return to.
// The real one runs in Chromium (e2e).
func withFragment(u *url.URL, fragment string) string {
	q := u.Query()
	q.Set("return_to", q.Get("return_to")+fragment)
	u.RawQuery = q.Encode()
	return u.String()
}

func TestFragmentsComeBack(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, keepFragments)
	s.As(msauthtest.Ada)
	for _, test := range []struct{ asked, fragment, want string }{
		{"/app?x=1", "#/orders/7", "/app?x=1#/orders/7"},
		{"/app", "#a b\"<é", "/app#a%20b%22%3C%C3%A9"},
		{"/app", "#" + strings.Repeat("x", 3000), "/app"},
		{"/app", "", "/app"},
	} {
		b := s.Browser(t)
		still := b.Still()
		link := withFragment(goesOn(t, still.Get(test.asked)), test.fragment)
		back := b.Attempt(link)
		if to := still.Get(back).Header.Get("Location"); to != test.want {
			t.Errorf("%s%.20s: back at %q, want %q", test.asked, test.fragment, to, test.want)
		}
		// Who is signed in gets the page.
		b.WantGreeting(testsite.HelloAda)
		if res := still.Get(test.asked); res.StatusCode != http.StatusOK {
			t.Errorf("signed in: status %d", res.StatusCode)
		}
	}
}

func TestFragmentsAreOfPageLoadsOnly(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, keepFragments)
	b := s.Browser(t).Still()
	if res := b.Get("/app", testsite.Script...); res.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") {
		t.Errorf("script: status %d, %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
	if res := b.Request(http.MethodHead, "/app", testsite.Navigation...); res.StatusCode != http.StatusSeeOther {
		t.Errorf("HEAD: status %d", res.StatusCode)
	}
	if res := b.Get(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/app"})); res.StatusCode != http.StatusSeeOther {
		t.Errorf("a link to sign in: status %d", res.StatusCode)
	}
	if res := testsite.New(t).Browser(t).Still().Get("/app"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("without the setting: status %d", res.StatusCode)
	}
}

// A page that needs more asks for it, with the fragment.
func TestFragmentsOfPagesThatNeedMore(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, keepFragments)
	s.Mux.Handle("/calendar", s.Auth.RequireScopes("Calendars.Read")(http.HandlerFunc(testsite.Hello)))
	b := s.Browser(t)
	s.As(msauthtest.Ada)
	b.Get(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/public/"}))
	link := withFragment(goesOn(t, b.Still().Get("/calendar")), "#today")
	back := b.Attempt(link)
	if to := b.Still().Get(back).Header.Get("Location"); to != "/calendar#today" {
		t.Errorf("back at %q", to)
	}
	if res := b.Get("/calendar"); res.Text != testsite.HelloAda {
		t.Errorf("status %d, page %.100q", res.StatusCode, res.Text)
	}
}
