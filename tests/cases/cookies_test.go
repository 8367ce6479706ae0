package cases_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// everySetCookie walks through all that sets or deletes a cookie and returns
// the lines.
func everySetCookie(t *testing.T, s *testsite.Site) (lines []string) {
	t.Helper()
	b := s.Browser(t)
	still := b.Still()
	add := func(res testsite.Seen) testsite.Seen { lines = append(lines, res.Header["Set-Cookie"]...); return res }
	s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
	s.As(msauthtest.Ada)
	to := add(still.Get("/a")).Header.Get("Location")
	back := still.Get(to).Header.Get("Location")
	add(still.Get(back))
	add(still.Get("/a")) // the marker goes
	s.MS.ResetCalls()
	s.Lifetime(time.Hour) // of the next token
	time.Sleep(1100 * time.Millisecond)
	add(still.Get("/a")) // renewal
	add(still.Get("/auth/login"))
	add(still.Get("/auth/logout", testsite.SameOrigin...))
	for range 18 {
		add(still.Get("/auth/login"))
	}
	b.Keep(testsite.CookieName(t, s), "garbage")
	b.Keep(testsite.CookieName(t, s)+"-1", "garbage")
	add(still.Get("/public/"))
	return lines
}

func TestCase060_Attributes(t *testing.T) {
	c := newCase(t)
	for name, newSite := range map[string]func(*testing.T, ...func(*msauth.Config)) *testsite.Site{"TLS": testsite.New, "in process": testsite.NewInProcess} {
		c.run(name, func(c *testCase) {
			s := newSite(c.T)
			kinds := map[string]int{}
			form := regexp.MustCompile(`^__Host-msauth-[A-Za-z0-9]{6}(-[1-9]|-ok|-to|-login-[0-9a-f]{16})?=[A-Za-z0-9_.-]*; Path=/; Max-Age=\d+; HttpOnly; Secure; SameSite=Lax$`)
			for _, line := range everySetCookie(c.T, s) {
				if !form.MatchString(line) {
					c.Errorf("%.60s...%s", line, line[strings.Index(line, ";"):])
				}
				kind := regexp.MustCompile(`[0-9a-f]{16}`).ReplaceAllString(line[:strings.Index(line, "=")], "ID")
				if strings.Contains(line, "Max-Age=0") {
					kind += " deleted"
				}
				kinds[kind[strings.LastIndex(kind[:min(len(kind), 21)], "msauth-"):]]++
			}
			if len(kinds) < 6 {
				c.Errorf("only these were seen: %v", kinds)
			}
			c.calls(s, msauthtest.TokenRefresh, 1)
		})
	}
}

func TestCase061_DeletionMatches(t *testing.T) {
	c := newCase(t)
	s := testsite.New(t, func(cfg *msauth.Config) { cfg.CookieBudget = 7168 })
	s.MS.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	for name, end := range map[string]func(b *testsite.Browser) testsite.Seen{
		"sign-out by link": func(b *testsite.Browser) testsite.Seen { return b.Still().Get("/auth/logout", testsite.SameOrigin...) },
		"sign-out by form": func(b *testsite.Browser) testsite.Seen {
			return b.Still().Request("POST", "/auth/logout", "Sec-Fetch-Site", "same-origin")
		},
		"session refused": func(b *testsite.Browser) testsite.Seen {
			last := b.Session()[len(b.Session())-1]
			b.Keep(last.Name, last.Value[1:])
			return b.Still().Get("/public/")
		},
	} {
		b := s.Browser(t)
		b.SignIn(msauthtest.Grace)
		before := b.Session()
		if len(before) < 2 {
			c.Fatalf("a session of %d cookies, want several", len(before))
		}
		b.Attempt("/auth/login")
		res := end(b)
		deleted := map[string]bool{}
		for _, cookie := range res.Cookies() {
			if cookie.MaxAge < 0 {
				deleted[cookie.Name] = true
				if !cookie.Secure || !cookie.HttpOnly || cookie.Path != "/" || cookie.Domain != "" || cookie.SameSite != http.SameSiteLaxMode || cookie.Value != "" {
					c.Errorf("%s: %s is deleted by %s", name, cookie.Name, cookie.Raw)
				}
			}
		}
		for _, cookie := range before {
			if !deleted[cookie.Name] {
				c.Errorf("%s: %s is not deleted", name, cookie.Name)
			}
		}
		if strings.HasPrefix(name, "sign-out") && len(b.Cookies()) > 0 {
			c.Errorf("%s leaves %v", name, b.Cookies())
		}
		if name == "session refused" {
			c.logged(s, "reason=unreadable", 1)
		}
		c.signedOut(b)
	}
}

func TestCase062_Size(t *testing.T) {
	c := newCase(t)
	for _, budget := range []int{1700, 3300, 7168} {
		for _, person := range []string{msauthtest.Ada, msauthtest.Mia, msauthtest.Grace} {
			c.run(fmt.Sprint(budget, person), func(c *testCase) {
				s := testsite.NewInProcess(c.T, func(cfg *msauth.Config) { cfg.CookieBudget, cfg.Claims = budget, []string{"aio", "x"} })
				s.MS.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
				s.MS.Set(claimIs("x", strings.Repeat("Zaubertrank ", 100)))
				s.As(person)
				b := s.Browser(c.T)
				res := b.Still().Get(b.Attempt("/a"))
				if res.StatusCode == http.StatusForbidden {
					c.refused(b, res, 403, "too-large", "Config.CookieBudget is")
					return
				}
				total := 0
				for _, line := range res.Header["Set-Cookie"] {
					if len("Set-Cookie: ")+len(line) > 4093 {
						c.Errorf("a line of %d bytes", len(line))
					}
					if name, _, _ := strings.Cut(line, "="); testsite.SessionCookie.MatchString(name) {
						total += len("Set-Cookie: \r\n") + len(line)
					}
				}
				if total == 0 || total > budget {
					c.Errorf("%d bytes of session cookies, want at most %d", total, budget)
				}
				if got := b.Get("/a").Text; !strings.HasPrefix(got, "hello ") {
					c.Errorf("page %q", got)
				}
				c.calls(s, msauthtest.TokenCode, 1)
			})
		}
	}
}

func TestCase064_FirstPageAfterSignIn(t *testing.T) {
	c := newCase(t)
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	var hops []string
	b.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		hops = append(hops, r.URL.Host+r.URL.Path)
		return nil
	}
	if got := b.Get("/a").Text; got != testsite.HelloAda {
		c.Errorf("page %q", got)
	}
	if len(hops) != 3 {
		c.Errorf("redirects to %v, want provider, callback, page", hops)
	}
	c.calls(s, msauthtest.Authorize, 1)
}

func TestCase065_PlainHTTP(t *testing.T) {
	c := newCase(t)
	cfg := testsite.LeastConfig()
	for _, base := range []string{"http://app.example.com/auth", "http://10.0.0.1/auth", "http://localhost.example.com/auth", "http://localhost./auth", "http://127.0.0.1.nip.io/auth", "http://[::]/auth", "http://0.0.0.0/auth", "HTTP://app.example.com/auth"} {
		cfg.BaseURL = base
		_, err := msauth.New(cfg)
		c.fails(err, "Config.BaseURL")
	}
	var log testsite.LogBuffer
	cfg.BaseURL, cfg.InsecureCookies, cfg.Logger = "http://app.example.com/auth", true, slog.New(slog.NewTextHandler(&log, nil))
	if _, err := msauth.New(cfg); err != nil || len(log.With("level=WARN")) != 1 {
		c.Errorf("error %v, log %q: want a warning", err, log.String())
	}
	// Whoever claims that TLS ended before, or did not, changes no cookie.
	s := testsite.NewInProcess(t)
	for _, header := range [][]string{{"X-Forwarded-Proto", "http"}, {"X-Forwarded-Ssl", "off"}, {"Forwarded", "proto=http"}, {"Front-End-Https", "off"}, {"X-Url-Scheme", "http"}} {
		for _, line := range s.Browser(t).Still().Get("/a", header...).Header["Set-Cookie"] {
			if !strings.Contains(line, "; Secure") || !strings.HasPrefix(line, "__Host-") {
				c.Errorf("%v: %s", header, line)
			}
		}
	}
}

// pieces signs Grace in with a session of several cookies.
func pieces(t *testing.T, s *testsite.Site) (b *testsite.Browser, cookies []*http.Cookie) {
	t.Helper()
	s.MS.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	b = s.Browser(t)
	b.SignIn(msauthtest.Grace)
	cookies = b.Session()
	if len(cookies) < 2 {
		t.Fatalf("a session of %d cookies, want several", len(cookies))
	}
	return b, cookies
}

func large(cfg *msauth.Config) { cfg.CookieBudget = 7168 }

// ask sends a request with nothing but this Cookie header and returns the
// greeting of the public page.
func ask(t *testing.T, s *testsite.Site, cookie string, header ...string) testsite.Seen {
	t.Helper()
	b := s.Browser(t)
	return b.Get("/public/", append([]string{"Cookie", cookie}, header...)...)
}

func with(c *http.Cookie, value string) *http.Cookie {
	return &http.Cookie{Name: c.Name, Value: value}
}
