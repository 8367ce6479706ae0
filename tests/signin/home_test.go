package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// The home page of an app below a path is there, and not at the root of a host
// that it shares with others.
func TestHome(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ base, home, want string }{
		{"/auth", "", "/"},
		{"", "", "/"},
		{"/", "", "/"},
		{"/expenses/auth", "", "/expenses/"},
		{"/expenses/auth/", "", "/expenses/"},
		{"/a/b/c", "", "/a/b/"},
		{"/%C3%BC/auth", "", "/%C3%BC/"},
		{"/expenses/auth", "/", "/"},
		{"/auth", "/start?x=1", "/start?x=1"},
	} {
		s := testsite.NewInProcess(t, func(c *msauth.Config) { c.BaseURL, c.Home = "https://app.test"+test.base, test.home })
		s.As(msauthtest.Ada)
		base := strings.TrimSuffix(test.base, "/")
		if unescaped, err := url.PathUnescape(base); err == nil {
			base = unescaped // as links are written
		}
		for _, path := range []string{"", test.want, "//evil.example", base + "/login"} {
			if got := s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: path}); got != base+"/login" {
				t.Errorf("base %q, home %q: LoginURL of %q is %q", test.base, test.home, path, got)
			}
		}
		if test.want != "/" {
			if got := s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/"}); got != base+"/login?return_to=%2F" {
				t.Errorf("base %q, home %q: LoginURL of / is %q", test.base, test.home, got)
			}
		}
		// A sign-in for nothing in particular, and one for something impossible.
		s.Mux.Handle("/login", s.Auth)
		s.Mux.Handle("/callback", s.Auth)
		s.Mux.Handle("/a/b/c/", s.Auth)
		s.Mux.Handle("/expenses/auth/", s.Auth)
		s.Mux.Handle("/ü/auth/", s.Auth)
		for _, query := range []string{"", "?return_to=", "?return_to=//evil.example"} {
			b := s.Browser(t)
			still := b.Still()
			back := still.Get(still.Get(base + "/login" + query).Header.Get("Location")).Header.Get("Location")
			if got := still.Get(back).Header.Get("Location"); got != test.want {
				t.Errorf("base %q, home %q: %q leads to %q, want %q", test.base, test.home, query, got, test.want)
			}
		}
		if test.home == "" && test.base == "/expenses/auth" { // a script from nowhere, and one of another site
			for _, referer := range []string{"", "https://evil.example/x"} {
				if res := s.Browser(t).Get("/page", append([]string{"Referer", referer}, testsite.Script...)...); !strings.Contains(res.Text, `"login_url":"/expenses/auth/login"`) {
					t.Errorf("login_url with Referer %q: %s", referer, res.Text)
				}
			}
		}
	}
}

func TestHomeIsWhereAHookLeadsToNothing(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t, func(c *msauth.Config) {
		c.Home = "/expenses/"
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.ReturnTo = "https://evil.example"
			return nil
		}
	})
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	if got := b.Still().Get(b.Attempt("/a")).Header.Get("Location"); got != "/expenses/" {
		t.Errorf("leads to %q, want /expenses/", got)
	}
}

func TestEveryPageLinksToHome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, _, all := testsite.Pages(t, func(c *msauth.Config) { c.Home = "/expenses/" })
		linked := 0
		for kind, get := range all {
			body := get().Text
			if strings.Contains(body, `href="/"`) {
				t.Errorf("%s links to /: %s", kind, body)
			}
			if strings.Contains(body, `href="/expenses/"`) {
				linked++
			}
		}
		if linked < 10 {
			t.Errorf("%d pages link to the home page", linked)
		}
	})
}

func TestHomeIsAPathOfThisSite(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	for _, home := range []string{
		"https://app.test/", "//evil.example", "expenses/", "/\\evil.example", "/a b", "/ü", "/auth/login", "/auth/x/../logout", "/" + strings.Repeat("a", 200), "/\n",
	} {
		cfg := s.Cfg
		cfg.Home = home
		if _, err := msauth.New(cfg); err == nil || !strings.Contains(err.Error(), "Config.Home ") {
			t.Errorf("%.50q: %v", home, err)
		}
	}
}
