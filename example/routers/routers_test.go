package routers_test

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"example.com/msauth"
	"example.com/msauth/example/routers"
	"example.com/msauth/msauthtest"
)

func init() { gin.SetMode(gin.ReleaseMode) }

// site is one of the routers on TLS, with a local Microsoft that signs Ada in
// without asking, and a browser.
type site struct {
	*httptest.Server
	ms      *msauthtest.Server
	browser *http.Client
}

func newSite(t *testing.T, router func(*msauth.Middleware) http.Handler, changes ...func(*msauth.Config)) *site {
	t.Helper()
	s := &site{Server: httptest.NewUnstartedServer(nil), ms: msauthtest.NewServer()}
	t.Cleanup(s.ms.Close)
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	key := make([]byte, 32)
	rand.Read(key)
	cfg := msauth.Config{
		ClientID:     s.ms.ClientID,
		ClientSecret: s.ms.ClientSecret,
		Authority:    s.ms.URL,
		BaseURL:      "https://" + s.Listener.Addr().String() + "/auth",
		Keys:         [][]byte{key},
		Logger:       slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, change := range changes {
		change(&cfg)
	}
	auth, err := msauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Config.Handler = router(auth)
	s.StartTLS()
	t.Cleanup(s.Close)
	s.browser = s.Client()
	if s.browser.Jar, err = cookiejar.New(nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// get sends a request with the headers that a browser sends for a mode:
// "navigate" for a link, "cors" for a script.
func (s *site) get(t *testing.T, path, mode string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Mode", mode)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Sec-Fetch-Dest", "empty")
	if mode == "navigate" {
		req.Header.Set("Sec-Fetch-Dest", "document")
		req.Header.Set("Accept", "text/html")
	}
	res, err := s.browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func (s *site) want(t *testing.T, path, mode string, status int, text string) *http.Response {
	t.Helper()
	res, body := s.get(t, path, mode)
	if res.StatusCode != status || !strings.Contains(body, text) {
		t.Errorf("GET %s (%s): status %d, body %q; want %d with %q", path, mode, res.StatusCode, body, status, text)
	}
	return res
}

func TestRouters(t *testing.T) {
	t.Parallel()
	for _, router := range []struct {
		name string
		make func(*msauth.Middleware) http.Handler
	}{
		{"net/http", routers.Std},
		{"http.StripPrefix", routers.Stripped},
		{"chi", routers.Chi},
		{"echo", routers.Echo},
		{"gin", routers.Gin},
		{"gorilla/mux", routers.Gorilla},
	} {
		t.Run(router.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, router.make)

			// Nobody is signed in: everybody's page is served, a script is
			// told where to sign in.
			s.want(t, "/", "navigate", http.StatusOK, "Hello, whoever you are")
			res, body := s.get(t, "/private", "cors")
			var problem struct {
				LoginURL string `json:"login_url"`
			}
			if err := json.Unmarshal([]byte(body), &problem); err != nil {
				t.Errorf("401 body %q: %v", body, err)
			}
			if res.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(problem.LoginURL, "/auth/login") {
				t.Errorf("script: status %d, login_url %q", res.StatusCode, problem.LoginURL)
			}
			s.want(t, "/auth/nothing", "navigate", http.StatusNotFound, "Page not found")

			// A person goes to Microsoft and comes back to the page that was
			// wanted.
			res = s.want(t, "/private?x=1&y=%2F", "navigate", http.StatusOK, "For Ada Lindqvist only")
			if got, want := res.Request.URL.RequestURI(), "/private?x=1&y=%2F"; got != want {
				t.Errorf("came back to %s, want %s", got, want)
			}
			s.want(t, "/", "navigate", http.StatusOK, "Hello, Ada Lindqvist")
			s.want(t, "/private", "cors", http.StatusOK, "For Ada Lindqvist only")
			if got := s.ms.Count(msauthtest.TokenCode); got != 1 {
				t.Errorf("%d codes redeemed, want 1", got)
			}

			// The link in a template signs out, here and at Microsoft.
			res = s.want(t, "/auth/logout", "navigate", http.StatusOK, "You are signed out")
			if got := res.Request.URL.Path; got != "/auth/signed-out" {
				t.Errorf("signing out led to %s", got)
			}
			if got := s.ms.Count(msauthtest.Logout); got != 1 {
				t.Errorf("%d sign-outs at the provider, want 1", got)
			}
			s.want(t, "/", "navigate", http.StatusOK, "Hello, whoever you are")
			s.want(t, "/private", "cors", http.StatusUnauthorized, "login_url")
		})
	}
}

// Routers have response writers of their own: the cookie of a renewal must get
// through them, from under Load and from under Require.
func TestRenewalReachesTheBrowser(t *testing.T) {
	t.Parallel()
	for _, router := range []struct {
		name string
		make func(*msauth.Middleware) http.Handler
	}{
		{"net/http", routers.Std},
		{"chi", routers.Chi},
		{"echo", routers.Echo},
		{"gin", routers.Gin},
		{"gorilla/mux", routers.Gorilla},
	} {
		for _, path := range []string{"/", "/private"} {
			t.Run(router.name+path, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, router.make)
				s.ms.Set(func(b *msauthtest.Behavior) { b.RefreshIn = time.Second })
				s.want(t, "/private", "navigate", http.StatusOK, "For Ada Lindqvist only")
				time.Sleep(1100 * time.Millisecond) // until refresh_in has passed
				s.ms.Set(func(b *msauthtest.Behavior) { b.RefreshIn = 0 })
				s.ms.ResetCalls() // a slow machine renews on the way in already

				res := s.want(t, path, "cors", http.StatusOK, "Ada Lindqvist")
				if got := s.ms.Count(msauthtest.TokenRefresh); got != 1 {
					t.Errorf("%d renewals, want 1", got)
				}
				if len(res.Header["Set-Cookie"]) == 0 {
					t.Error("the renewed session is not in the response")
				}
				res = s.want(t, path, "cors", http.StatusOK, "Ada Lindqvist")
				if len(res.Header["Set-Cookie"]) != 0 {
					t.Errorf("session written again without need: %d cookies", len(res.Header["Set-Cookie"]))
				}
			})
		}
	}
}

// The pages that ask for more, each with what it asks for.
func TestAsking(t *testing.T) {
	t.Parallel()
	var orders string
	s := newSite(t, func(auth *msauth.Middleware) http.Handler { return routers.Asking(auth, orders) },
		func(c *msauth.Config) {
			orders = c.Authority + "/v1.0/me/events"
			c.TokenHosts = map[string][]string{strings.TrimPrefix(c.Authority, "http://"): {"Calendars.Read"}}
		})
	ada := "For Ada Lindqvist only"
	s.want(t, "/calendar", "navigate", http.StatusOK, ada)
	s.want(t, "/codes", "navigate", http.StatusOK, ada)
	s.want(t, "/orders", "navigate", http.StatusOK, "")
	s.want(t, "/pay", "cors", http.StatusUnauthorized, "login_url")
	s.want(t, "/pay", "navigate", http.StatusOK, ada)
	s.want(t, "/admin", "navigate", http.StatusForbidden, "This account may not use this page")
	s.want(t, "/admin", "cors", http.StatusForbidden, "This account may not use this page")

	s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Close: true} })
	s.want(t, "/orders", "navigate", http.StatusBadGateway, "cannot be read")
}
