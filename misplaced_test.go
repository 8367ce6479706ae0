package msauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// What a proxy makes of the path of BaseURL is logged once, wherever the answer
// arrives.
func TestAnswerAtAnUnexpectedPathIsLoggedOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		base    string
		arrives string // in place of BaseURL's path + "/callback"
		mount   func(s *site)
		want    string // what is logged as path
		kind    string // of the page, "" if the sign-in works
	}{
		{"as it should be", "/expenses/auth", "/expenses/auth/callback", nil, "", ""},
		{"encoded", "/expenses/auth", "/expenses/%61uth/callback", nil, "", ""},
		{"below http.StripPrefix", "/expenses/auth", "/expenses/auth/callback", func(s *site) {
			s.mux.Handle("/expenses/", http.StripPrefix("/expenses/auth", s.auth))
		}, "", ""},
		{"stripped, and found", "/expenses/auth", "/auth/callback", func(s *site) {
			s.mux.Handle("/auth/", http.StripPrefix("/auth", s.auth))
		}, "/auth/callback", ""},
		{"stripped, at our other pages", "/expenses/auth", "/auth/callback", func(s *site) { s.mux.Handle("/auth/", s.auth) }, "/auth/callback", "app-error"},
		{"stripped, under Require", "/expenses/auth", "/x/callback", nil, "/x/callback", "app-error"},
		{"stripped, under Load", "/expenses/auth", "/public/callback", nil, "/public/callback", ""},
		{"added", "/auth", "/expenses/auth/callback", nil, "/expenses/auth/callback", "app-error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t, func(c *msauth.Config) { c.BaseURL = "https://app.test" + test.base })
			s.mux = http.NewServeMux()
			s.mux.Handle("/public/", s.auth.Load(http.HandlerFunc(hello)))
			s.mux.Handle("/", s.auth.Require(http.HandlerFunc(hello)))
			if test.mount != nil {
				test.mount(s)
			}
			s.current.Store(s.mux)
			s.as(msauthtest.Ada)
			b := s.browser(t)
			// Nothing that a stranger makes up is logged.
			b.still().get(test.arrives + "?code=x&state=y")
			for range 3 {
				still := b.still()
				back, _ := url.Parse(still.get(still.get("/page").Header.Get("Location")).Header.Get("Location"))
				if back.Path != test.base+"/callback" {
					t.Fatalf("the provider sends back to %s", back)
				}
				res := still.get(test.arrives + "?" + back.RawQuery)
				if res.kind() != test.kind {
					t.Errorf("status %d, page %q, want %q", res.StatusCode, res.kind(), test.kind)
				}
				for _, c := range b.session() {
					b.keep(c.Name, "")
				}
				for _, c := range b.cookies() {
					if strings.HasSuffix(c.Name, "-ok") {
						b.keep(c.Name, "")
					}
				}
			}
			lines := s.log.with("arrived at an unexpected path")
			switch {
			case test.want == "" && len(lines) != 0:
				t.Errorf("log lines %q, want none", lines)
			case test.want != "" && (len(lines) != 1 || !strings.Contains(lines[0], " path="+test.want+" ") || !strings.Contains(lines[0], "base_url="+s.cfg.BaseURL+" ") || !strings.Contains(lines[0], "level=WARN")):
				t.Errorf("log lines %q, want one with %s", lines, test.want)
			}
		})
	}
}
