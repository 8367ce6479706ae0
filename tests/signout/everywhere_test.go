package signout_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// frame loads an address as a hidden frame of another site does: without cookies.
func frame(t *testing.T, s *testsite.Site, method, address string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"} {
		r.Header.Set(name, value)
	}
	res, err := s.Wire.RoundTrip(r)
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

var frames = regexp.MustCompile(`<iframe src="([^"]*)" hidden>`)

// signOutAtProvider signs a browser out at the provider alone, and loads the frames
// of its page.
func signOutAtProvider(t *testing.T, s *testsite.Site, b *testsite.Browser, endpoint string) (addresses []string) {
	t.Helper()
	for _, m := range frames.FindAllStringSubmatch(b.Get(s.MS.URL+endpoint).Text, -1) {
		address := strings.ReplaceAll(m[1], "&amp;", "&")
		if res, _ := frame(t, s, http.MethodGet, address); res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", address, res.StatusCode)
		}
		addresses = append(addresses, address)
	}
	return addresses
}

func TestSigningOutAtTheProviderSignsOutHere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		change   func(s *testsite.Site) func(*msauth.Config)
		endpoint string
	}{
		{"Microsoft", func(*testsite.Site) func(*msauth.Config) { return func(*msauth.Config) {} }, "/common/oauth2/v2.0/logout"},
		{"another provider", testsite.Generic, "/generic/oauth2/v2.0/logout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				s.MS.Set(func(b *msauthtest.Behavior) { b.FrontChannelLogout = []string{s.URL + "/auth/front-channel-logout"} })
				s.Restart(t, test.change(s))
				b, other := s.Browser(t), s.Browser(t)
				b.SignIn(msauthtest.Ada)
				b.WantGreeting(testsite.HelloAda)
				stolen := testsite.HeaderOf(b.Session()...)
				other.SignIn(msauthtest.Ada)
				time.Sleep(time.Second)
				before := s.Auth.Stats().SignOuts
				if got := signOutAtProvider(t, s, b, test.endpoint); len(got) != 1 {
					t.Fatalf("frames: %q", got)
				}
				if got := s.Ask(stolen).Body.String(); got != testsite.HelloNobody {
					t.Errorf("a copy of the cookie: %q", got)
				}
				if got := b.Get("/public/").Text; got != testsite.HelloNobody {
					t.Errorf("the browser: %q", got)
				}
				other.WantGreeting(testsite.HelloAda) // another session at the provider
				if n := s.Auth.Stats().SignOuts - before; n != 1 {
					t.Errorf("%d sign-outs counted, want 1", n)
				}
				if lines := s.Log.With("event=front_channel_logout"); len(lines) != 1 {
					t.Errorf("log lines: %q", lines)
				}
				time.Sleep(time.Second)
				b.SignIn(msauthtest.Ada)
				b.WantGreeting(testsite.HelloAda)
			})
		})
	}
}

// What does not name a session ends none, and the answer does not tell.
func TestFrontChannelLogoutOfNobody(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	_, want := frame(t, s, http.MethodGet, s.URL+"/auth/front-channel-logout?sid=unknown")
	iss := url.QueryEscape(s.MS.URL + "/" + msauthtest.TenantContoso + "/v2.0")
	for _, test := range []struct {
		name, method, query string
		status              int
	}{
		{"no sid", http.MethodGet, "", 200},
		{"empty", http.MethodGet, "?sid=", 200},
		{"unknown", http.MethodGet, "?sid=8342b3fe-9359-4c66-8314-5ba888da8409", 200},
		{"two", http.MethodGet, "?sid=a&sid=b", 200},
		{"with the right issuer", http.MethodGet, "?sid=a&iss=" + iss, 200},
		{"a megabyte", http.MethodGet, "?sid=" + strings.Repeat("x", 1<<19), 200},
		{"malformed", http.MethodGet, "?sid=%zz&%", 200},
		{"another issuer", http.MethodGet, "?sid=a&iss=https%3A%2F%2Fevil.example", 400},
		{"two issuers", http.MethodGet, "?sid=a&iss=" + iss + "&iss=" + iss, 400},
		{"no issuer's name", http.MethodGet, "?sid=a&iss=", 400},
		{"HEAD", http.MethodHead, "?sid=a", 405},
		{"POST", http.MethodPost, "?sid=a", 405},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest(test.method, s.URL+"/auth/front-channel-logout"+test.query, nil))
			res, body := w.Result(), w.Body.String()
			if res.StatusCode != test.status || test.status == 200 && body != want {
				t.Errorf("status %d, page %q", res.StatusCode, body)
			}
			if len(res.Cookies()) > 0 || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("header %v", res.Header)
			}
			if test.status == 200 && (res.Header.Get("X-Frame-Options") != "" || !strings.HasSuffix(res.Header.Get("Content-Security-Policy"), "frame-ancestors "+s.MS.URL)) {
				t.Errorf("header %v", res.Header)
			}
		})
	}
	b.WantGreeting(testsite.HelloAda)
	if lines := s.Log.With("event=front_channel_logout"); len(lines) != 0 {
		t.Errorf("log lines: %q", lines)
	}
}

// A session of another issuer's name is not ended, though its sid is known.
func TestFrontChannelLogoutOfAnotherIssuer(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.MS.Set(func(b *msauthtest.Behavior) { b.FrontChannelLogout = []string{s.URL + "/auth/front-channel-logout"} })
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	m := frames.FindStringSubmatch(b.Get(s.MS.URL + "/common/oauth2/v2.0/logout").Text)
	if m == nil {
		t.Fatal("no frame")
	}
	if res, _ := frame(t, s, http.MethodGet, m[1]+"&iss=https%3A%2F%2Fevil.example"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", res.StatusCode)
	}
	b.WantGreeting(testsite.HelloAda)
}

// A process that has started since the sign-in hears of the session when it renews
// its tokens.
func TestFrontChannelLogoutAfterARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.AccessTokenLifetime = time.Hour
			b.FrontChannelLogout = []string{s.URL + "/auth/front-channel-logout"}
		})
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		s.Restart(t)
		time.Sleep(2 * time.Hour)
		b.WantGreeting(testsite.HelloAda)
		time.Sleep(time.Second)
		signOutAtProvider(t, s, b, "/common/oauth2/v2.0/logout")
		if got := b.Get("/public/").Text; got != testsite.HelloNobody {
			t.Errorf("the browser: %q", got)
		}
	})
}

// An administrator's "this person has left" ends every session of an account.
func TestSignOutUser(t *testing.T) {
	t.Parallel()
	for _, kept := range []string{"in cookies", "in a store"} {
		t.Run(kept, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, func(c *msauth.Config) {
					if kept == "in a store" {
						c.Store = testsite.FileStore(t)
					}
				})
				ada, phone, bob := s.Browser(t), s.Browser(t), s.Browser(t)
				ada.SignIn(msauthtest.Ada)
				phone.SignIn(msauthtest.Ada)
				bob.SignIn(msauthtest.Grace)
				key := ada.User()
				time.Sleep(time.Second)
				for _, wrong := range []string{"", "ada@contoso.example", "msauth:x"} {
					if err := s.Auth.SignOutUser(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "User.Key") {
						t.Errorf("%q: %v", wrong, err)
					}
				}
				if err := s.Auth.SignOutUser(t.Context(), key.Key()); err != nil {
					t.Fatal(err)
				}
				if n := s.Auth.Stats().SignOuts; n != 1 {
					t.Errorf("%d sign-outs counted, want 1 for both sessions", n)
				}
				for name, b := range map[string]*testsite.Browser{"the computer": ada, "the phone": phone} {
					if res := b.Fetch("/"); res.StatusCode != http.StatusUnauthorized {
						t.Errorf("%s, a script: status %d", name, res.StatusCode)
					}
					if got := b.Get("/public/").Text; got != testsite.HelloNobody {
						t.Errorf("%s: %q", name, got)
					}
				}
				if got := bob.Get("/public/").Text; !strings.HasPrefix(got, "hello Grace") {
					t.Errorf("somebody else: %q", got)
				}
				time.Sleep(time.Second)
				phone.SignIn(msauthtest.Ada)
				phone.WantGreeting(testsite.HelloAda)
				if lines := s.Log.With("event=user_signed_out"); len(lines) != 1 {
					t.Errorf("log lines: %q", lines)
				}
			})
		})
	}
}
