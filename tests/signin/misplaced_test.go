package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// What a proxy makes of the path of BaseURL is logged once, wherever the answer
// arrives.
func TestAnswerAtAnUnexpectedPathIsLoggedOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		base    string
		arrives string // in place of BaseURL's path + "/callback"
		mount   func(s *testsite.Site)
		want    string // what is logged as path
		kind    string // of the page, "" if the sign-in works
	}{
		{"as it should be", "/expenses/auth", "/expenses/auth/callback", nil, "", ""},
		{"encoded", "/expenses/auth", "/expenses/%61uth/callback", nil, "", ""},
		{"below http.StripPrefix", "/expenses/auth", "/expenses/auth/callback", func(s *testsite.Site) {
			s.Mux.Handle("/expenses/", http.StripPrefix("/expenses/auth", s.Auth))
		}, "", ""},
		{"stripped, and found", "/expenses/auth", "/auth/callback", func(s *testsite.Site) {
			s.Mux.Handle("/auth/", http.StripPrefix("/auth", s.Auth))
		}, "/auth/callback", ""},
		{"stripped, at our other pages", "/expenses/auth", "/auth/callback", func(s *testsite.Site) { s.Mux.Handle("/auth/", s.Auth) }, "/auth/callback", "app-error"},
		{"stripped, under Require", "/expenses/auth", "/x/callback", nil, "/x/callback", "app-error"},
		{"stripped, under Load", "/expenses/auth", "/public/callback", nil, "/public/callback", ""},
		{"added", "/auth", "/expenses/auth/callback", nil, "/expenses/auth/callback", "app-error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t, func(c *msauth.Config) { c.BaseURL = "https://app.test" + test.base })
			s.Mux = http.NewServeMux()
			s.Mux.Handle("/public/", s.Auth.Load(http.HandlerFunc(testsite.Hello)))
			s.Mux.Handle("/", s.Auth.Require(http.HandlerFunc(testsite.Hello)))
			if test.mount != nil {
				test.mount(s)
			}
			s.Current.Store(s.Mux)
			s.As(msauthtest.Ada)
			b := s.Browser(t)
			// Nothing that a stranger makes up is logged.
			b.Still().Get(test.arrives + "?code=x&state=y")
			for range 3 {
				still := b.Still()
				back, _ := url.Parse(still.Get(still.Get("/page").Header.Get("Location")).Header.Get("Location"))
				if back.Path != test.base+"/callback" {
					t.Fatalf("the provider sends back to %s", back)
				}
				res := still.Get(test.arrives + "?" + back.RawQuery)
				if res.Kind() != test.kind {
					t.Errorf("status %d, page %q, want %q", res.StatusCode, res.Kind(), test.kind)
				}
				for _, c := range b.Session() {
					b.Keep(c.Name, "")
				}
				for _, c := range b.Cookies() {
					if strings.HasSuffix(c.Name, "-ok") {
						b.Keep(c.Name, "")
					}
				}
			}
			lines := s.Log.With("arrived at an unexpected path")
			switch {
			case test.want == "" && len(lines) != 0:
				t.Errorf("log lines %q, want none", lines)
			case test.want != "" && (len(lines) != 1 || !strings.Contains(lines[0], " path="+test.want+" ") || !strings.Contains(lines[0], "base_url="+s.Cfg.BaseURL+" ") || !strings.Contains(lines[0], "level=WARN")):
				t.Errorf("log lines %q, want one with %s", lines, test.want)
			}
		})
	}
}
