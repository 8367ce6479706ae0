package msauth_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestSignInLeadsBackToThePageThatWasWanted(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	res := b.Get("/a/b?x=1&y=%2F%20z")
	if want := "hello Ada Lindqvist"; res.Text != want {
		t.Fatalf("page %q, want %q; log:\n%s", res.Text, want, s.Log)
	}
	if got, want := res.Request.URL.RequestURI(), "/a/b?x=1&y=%2F%20z"; got != want {
		t.Errorf("ended at %s, want %s", got, want)
	}
	s.WantCalls(t, msauthtest.TokenCode, 1)
	s.WantCalls(t, msauthtest.Discovery, 1)
	s.WantCalls(t, msauthtest.Keys, 1)
	s.MS.ResetCalls()
	for range 5 {
		b.Get("/again")
	}
	s.WantNoCalls(t)
}

func TestWorkSessionIsOneCookie(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	b := s.Browser(t)
	s.As(msauthtest.Ada)
	still := b.Still()
	to := still.Get("/").Header.Get("Location")
	back := still.Get(to).Header.Get("Location")
	res := still.Get(back)
	var lines []string
	for _, line := range res.Header["Set-Cookie"] {
		if c, _ := http.ParseSetCookie(line); c != nil && c.Value != "" && len(c.Value) > 100 {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || len(lines[0]) >= 3300 {
		t.Fatalf("%d session cookies, want 1 of less than 3300 bytes: %d", len(lines), len(strings.Join(lines, "")))
	}
	t.Logf("Set-Cookie line of a work account: %d bytes", len(lines[0]))
}

func TestRenewalIsOneRequestThatNobodyNotices(t *testing.T) {
	testsite.Renewing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		first, cookie := b.Token(), b.Session()[0].Value
		s.WantNoCalls(t)
		time.Sleep(testsite.Due)
		res := b.Get("/")
		if res.Text != testsite.HelloAda || len(res.Cookies()) != 1 || b.Session()[0].Value == cookie {
			t.Errorf("page %q, cookies %v, want the session rewritten", res.Text, res.Cookies())
		}
		second := b.Token()
		if second == first || len(second) < 1000 {
			t.Errorf("token %.20q, want a new one", second)
		}
		if want := map[msauthtest.Kind]int{msauthtest.TokenRefresh: 1}; !maps.Equal(s.Calls(), want) {
			t.Errorf("requests at the provider %v, want %v", s.Calls(), want)
		}
		form := s.MS.Calls(msauthtest.TokenRefresh)[0].Form
		got := slices.Sorted(maps.Keys(form))
		if want := []string{"client_id", "client_secret", "grant_type", "refresh_token", "scope"}; !slices.Equal(got, want) {
			t.Errorf("the request has %v, want %v", got, want)
		}
		if got := form.Get("scope"); got != "openid profile email offline_access User.Read" {
			t.Errorf("the request names %q", got)
		}
		for range 100 { // nothing more to do
			if res := b.Get("/"); len(res.Cookies()) > 0 {
				t.Fatalf("a cookie is written again: %v", res.Cookies())
			}
			time.Sleep(time.Second / 2)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

func TestLoopIsBrokenByAPage(t *testing.T) {
	t.Parallel()
	lose := func(s *testsite.Site, b *testsite.Browser) { // a proxy that drops the session's cookie
		for _, c := range b.Session() {
			b.Keep(c.Name, "")
		}
	}
	tests := []struct {
		name   string
		before func(*testing.T, *testsite.Site, *testsite.Browser)
		header []string
		want   int
	}{
		{"cookie lost", func(_ *testing.T, s *testsite.Site, b *testsite.Browser) { lose(s, b) }, nil, 400},
		{"cookie cut", func(_ *testing.T, s *testsite.Site, b *testsite.Browser) {
			for _, c := range b.Session() {
				b.Keep(c.Name, c.Value[:len(c.Value)/2])
			}
		}, nil, 400},
		{"another instance with other keys", func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			s.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{testsite.NewKey()} })
		}, nil, 400},
		{"cookie lost, 19 seconds later", func(_ *testing.T, s *testsite.Site, b *testsite.Browser) { lose(s, b); time.Sleep(19 * time.Second) }, nil, 400},
		{"cookie lost, 21 seconds later", func(_ *testing.T, s *testsite.Site, b *testsite.Browser) { lose(s, b); time.Sleep(21 * time.Second) }, nil, 303},
		{"script", func(_ *testing.T, s *testsite.Site, b *testsite.Browser) { lose(s, b) }, []string{"Sec-Fetch-Mode", "cors", "Accept", "*/*"}, 401},
		{"a good page first", func(_ *testing.T, s *testsite.Site, b *testsite.Browser) { b.Get("/"); lose(s, b) }, nil, 303},
		{"a good public page first", func(_ *testing.T, s *testsite.Site, b *testsite.Browser) {
			b.WantGreeting(testsite.HelloAda)
			lose(s, b)
		}, nil, 303},
		{"signed out first", func(_ *testing.T, s *testsite.Site, b *testsite.Browser) {
			b.Still().Request("POST", "/auth/logout", testsite.OwnPage...)
		}, nil, 303},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				s.As(msauthtest.Ada)
				b := s.Browser(t)
				res := b.Still().Get(b.Attempt("/page"))
				marker := slices.IndexFunc(res.Cookies(), func(c *http.Cookie) bool { return strings.HasSuffix(c.Name, "-ok") })
				if marker < 0 || res.Cookies()[marker].Value != "1" || res.Cookies()[marker].MaxAge != 20 {
					t.Fatalf("the callback sets %v, want a marker for 20 seconds", res.Cookies())
				}
				test.before(t, s, b)
				res = b.Still().Get("/page?x=1", test.header...)
				if res.StatusCode != test.want {
					t.Fatalf("status %d, want %d; log:\n%s", res.StatusCode, test.want, s.Log)
				}
				if test.want != 400 {
					return
				}
				s.WantPage(t, res, 400, "loop", "no session came back")
				if line := s.Log.With("page=loop")[0]; !strings.Contains(line, "level=ERROR") || !strings.Contains(line, "base_url="+s.Cfg.BaseURL) {
					t.Errorf("log line %s", line)
				}
				// Asking again is the person's choice, and not braked.
				if !strings.Contains(res.Text, `href="/auth/login?return_to=%2Fpage%3Fx%3D1"`) {
					t.Fatalf("page %s, want a way to try again", res.Text)
				}
				if got := b.Get("/auth/login?return_to=/page%3Fx%3D1"); got.Text != testsite.HelloAda || got.Request.URL.RequestURI() != "/page?x=1" {
					t.Errorf("trying again leads to %q at %s", got.Text, got.Request.URL)
				}
			})
		})
	}
}

func TestOnSignInRunsOncePerSignInAndItsDataStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		s := testsite.NewInProcess(t, func(c *msauth.Config) {
			c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
				runs++
				in.AppData = fmt.Sprintf("row %d", runs)
				return nil
			}
		})
		s.Mux.Handle("/data", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			fmt.Fprint(w, session.AppData)
		})))
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		time.Sleep(3 * time.Hour) // renewed
		if got := b.Get("/data").Text; got != "row 1" || runs != 1 {
			t.Errorf("AppData %q after %d runs, want row 1 after 1", got, runs)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		b.Get("/auth/login")
		if got := b.Get("/data").Text; got != "row 2" || runs != 2 {
			t.Errorf("AppData %q after %d runs, want row 2 after 2", got, runs)
		}
	})
}

func TestSignOutEndsTheSessionHereAndAtMicrosoft(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t)
			var hint string
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.IDToken = func(_ msauthtest.Kind, c map[string]any) { hint, _ = c["login_hint"].(string) }
			})
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			b.Still().Get("/auth/login") // an attempt that is not finished
			old := b.Session()
			s.MS.ResetCalls()

			res := b.Still().Request(method, "/auth/logout", testsite.OwnPage...)
			to, err := res.Location()
			if err != nil || res.StatusCode != http.StatusSeeOther {
				t.Fatalf("status %d, %v, want 303; page %q", res.StatusCode, err, res.Text)
			}
			want := url.Values{"post_logout_redirect_uri": {s.URL + "/auth/signed-out"}, "logout_hint": {hint}}
			if got := to.Scheme + "://" + to.Host + to.Path; got != s.MS.URL+"/common/oauth2/v2.0/logout" || to.Query().Encode() != want.Encode() {
				t.Errorf("sent to %s, want the end-session endpoint with %v", to, want)
			}
			s.WantNoCalls(t)
			if left := b.Cookies(); len(left) != 0 {
				t.Errorf("%d cookies are left: %.20v", len(left), left)
			}
			for _, c := range res.Cookies() {
				if c.MaxAge != -1 || c.Value != "" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.SameSite != http.SameSiteLaxMode {
					t.Errorf("deletion %v, want the attributes of the cookie", c)
				}
			}

			// The way back is public, and leads nowhere by itself.
			back := b.Get(to.String())
			s.WantPage(t, back, http.StatusOK, "signed-out", "")
			if !strings.Contains(back.Text, `href="/auth/login"`) {
				t.Errorf("page %s, want a link to sign in", back.Text)
			}
			b.WantGreeting(testsite.HelloNobody)
			if got := b.Get("/api", "Sec-Fetch-Mode", "cors", "Accept", "application/json").StatusCode; got != http.StatusUnauthorized {
				t.Errorf("a script in another tab gets %d, want 401", got)
			}

			// Whoever kept the cookie has nothing.
			thief := s.Browser(t)
			for _, c := range old {
				thief.Keep(c.Name, c.Value)
			}
			thief.WantGreeting(testsite.HelloNobody)
			if len(s.Log.With("reason=ended")) != 1 || len(s.Log.With("event=sign_out")) != 1 {
				t.Errorf("log %s, want one line of the sign-out and one of the old cookie", s.Log)
			}
		})
	}
}
