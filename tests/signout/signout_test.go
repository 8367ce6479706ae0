package signout_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestSignOutThatNobodyAskedForIsConfirmedFirst(t *testing.T) {
	t.Parallel()
	nav := func(site string) []string {
		return []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", site}
	}
	tests := []struct {
		name   string
		method string
		header []string
		want   string // "out", "asked" or "prefetch"
	}{
		{"link on the site", "GET", testsite.OwnPage, "out"},
		{"form on the site", "POST", testsite.OwnPage, "out"},
		{"form of a browser without Fetch Metadata", "POST", []string{"Accept", "text/html", "Origin", "https://app.test"}, "out"},
		{"program", "POST", []string{"Accept", "*/*"}, "out"},

		{"link on another site", "GET", nav("cross-site"), "asked"},
		{"link on a sibling", "GET", nav("same-site"), "asked"},
		{"address typed", "GET", nav("none"), "asked"},
		{"navigation of an old browser", "GET", []string{"Accept", "text/html"}, "asked"},
		{"image", "GET", []string{"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image", "Sec-Fetch-Site", "cross-site"}, "asked"},
		{"image on the site", "GET", []string{"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image", "Sec-Fetch-Site", "same-origin"}, "asked"},
		{"script of the site, by GET", "GET", []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin"}, "asked"},
		{"frame on the site", "GET", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "same-origin"}, "asked"},
		{"form on another site", "POST", nav("cross-site"), "asked"},
		{"form on a sibling", "POST", nav("same-site"), "asked"},
		{"form on another site, old browser", "POST", []string{"Accept", "text/html", "Origin", "https://evil.example"}, "asked"},
		{"form of a page without an origin", "POST", []string{"Accept", "text/html", "Origin", "null"}, "asked"},
		{"form on another port", "POST", []string{"Accept", "text/html", "Origin", "https://app.test:8443"}, "asked"},
		{"form on plain http", "POST", append(nav("cross-site"), "Origin", "http://app.test"), "asked"},
		{"prefetch of a link on the site", "GET", append([]string{"Sec-Purpose", "prefetch"}, testsite.OwnPage...), "prefetch"},
		{"prerendering of a link on the site", "GET", append([]string{"Sec-Purpose", "prefetch;prerender"}, testsite.OwnPage...), "prefetch"},
		{"prefetch of an old browser", "GET", append([]string{"Purpose", "prefetch"}, testsite.OwnPage...), "prefetch"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t)
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			res := b.Still().Request(test.method, "/auth/logout", test.header...)
			if test.want == "out" {
				if res.StatusCode != http.StatusSeeOther || len(b.Cookies()) != 0 {
					t.Errorf("status %d, %d cookies left, want 303 and none", res.StatusCode, len(b.Cookies()))
				}
				return
			}
			if len(res.Cookies()) != 0 {
				t.Errorf("cookies %v, want none", res.Cookies())
			}
			b.WantGreeting(testsite.HelloAda)
			if test.want == "prefetch" {
				if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("status %d, %v, want 503 and no-store", res.StatusCode, res.Header)
				}
				return
			}
			s.WantPage(t, res, http.StatusOK, "confirm-sign-out", "")
			if !strings.Contains(res.Text, `<form method="post" action="/auth/logout"><input type="hidden" name="msauth_token" value="`) || strings.Contains(res.Text, "<script") {
				t.Errorf("page %s, want a form with a token", res.Text)
			}
			if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' "+s.MS.URL+";") {
				t.Errorf("policy %q, want form-action for the redirect to the provider", csp)
			}
			// Its button works.
			if res := b.Still().Request("POST", "/auth/logout", testsite.OwnPage...); res.StatusCode != http.StatusSeeOther {
				t.Errorf("status %d for the page's own form, want 303", res.StatusCode)
			}
			b.WantGreeting(testsite.HelloNobody)
		})
	}
}

func TestSignOutMethods(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	for method, want := range map[string]int{"PUT": 405, "DELETE": 405, "OPTIONS": 405, "PATCH": 405, "HEAD": 303} {
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		if res := b.Still().Request(method, "/auth/logout", testsite.OwnPage...); res.StatusCode != want || (res.Header.Get("Allow") == "") != (want != 405) {
			t.Errorf("%s: status %d, Allow %q, want %d", method, res.StatusCode, res.Header.Get("Allow"), want)
		}
	}
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405} {
		if res := s.Browser(t).Request(method, "/auth/signed-out"); res.StatusCode != want {
			t.Errorf("%s of the landing page: status %d, want %d", method, res.StatusCode, want)
		}
	}
}

func TestSignOutHoldsWhateverTheProviderDoes(t *testing.T) {
	t.Parallel()
	fail := func(f msauthtest.Failure) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Discovery] = f }
	}
	tests := []struct {
		name   string
		behave func(*msauthtest.Behavior)
		want   string
	}{
		{"discovery down", fail(msauthtest.Failure{Status: 500}), "https://app.test/auth/signed-out"},
		{"discovery hangs", fail(msauthtest.Failure{Hang: true}), "https://app.test/auth/signed-out"},
		{"discovery of somebody else", func(b *msauthtest.Behavior) {
			b.Discovery = func(doc map[string]any) { doc["end_session_endpoint"] = "https://evil.example/" }
		}, "https://app.test/auth/signed-out"},
		{"no end-session endpoint", func(b *msauthtest.Behavior) {
			b.Discovery = func(doc map[string]any) { delete(doc, "end_session_endpoint") }
		}, "https://app.test/auth/signed-out"},
		{"end-session endpoint with a query", func(b *msauthtest.Behavior) {
			b.Discovery = func(doc map[string]any) {
				doc["end_session_endpoint"] = "http://localhost:9/out?p=B2C_1_x&post_logout_redirect_uri=https://evil.example"
			}
		}, "http://localhost:9/out?p=B2C_1_x&post_logout_redirect_uri=https%3A%2F%2Fapp.test%2Fauth%2Fsigned-out"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.IDToken = func(_ msauthtest.Kind, c map[string]any) { delete(c, "login_hint") }
				})
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				s.Restart(t) // nothing of the provider is known any more
				s.MS.Set(test.behave)
				began := time.Now()
				res := b.Still().Request("POST", "/auth/logout", testsite.OwnPage...)
				if got := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || got != test.want {
					t.Errorf("status %d to %q, want 303 to %q", res.StatusCode, got, test.want)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				if len(b.Cookies()) != 0 {
					t.Errorf("%d cookies are left", len(b.Cookies()))
				}
				b.WantGreeting(testsite.HelloNobody)
				time.Sleep(time.Minute) // for what still waits
			})
		})
	}
}

func TestSignOutOfNobody(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		cookies map[string]string
	}{
		{"no cookie", nil},
		{"garbage", map[string]string{"__Host-msauth-fixed1": "garbage"}},
		{"garbage in pieces", map[string]string{"__Host-msauth-fixed1": "3garbage", "__Host-msauth-fixed1-1": "x", "__Host-msauth-fixed1-9": "y"}},
		{"the marker", map[string]string{"__Host-msauth-fixed1-ok": "1"}},
		{"attempts", map[string]string{"__Host-msauth-fixed1-login-0123456789abcdef": "x"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t, func(c *msauth.Config) { c.CookieName = "msauth-fixed1" })
			b := s.Browser(t)
			for name, value := range test.cookies {
				b.Keep(name, value)
			}
			b.Keep("theirs", "x")
			res := b.Still().Request("POST", "/auth/logout", testsite.OwnPage...)
			if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), s.MS.URL) {
				t.Errorf("status %d to %q, want 303 to the provider", res.StatusCode, res.Header.Get("Location"))
			}
			if left := b.Cookies(); len(left) != 1 || left[0].Name != "theirs" {
				t.Errorf("cookies %v, want only those of others", left)
			}
		})
	}
}

func TestSignOutLeadsToTheConfiguredPage(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, func(c *msauth.Config) { c.PostLogoutURL = strings.TrimSuffix(c.BaseURL, "auth") + "public/bye?x=1" })
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	res := b.Request("POST", "/auth/logout", testsite.OwnPage...)
	if got := res.Request.URL.RequestURI(); got != "/public/bye?x=1" || res.Text != testsite.HelloNobody {
		t.Errorf("ended at %q with page %q", got, res.Text)
	}
	// Nothing in the address of the landing page leads anywhere.
	for _, query := range []string{"?state=x", "?return_to=//evil.example", "?post_logout_redirect_uri=https://evil.example"} {
		s.WantPage(t, b.Get("/auth/signed-out"+query), http.StatusOK, "signed-out", "")
	}
}

func TestSignOutInAnotherTabEndsTheTokensOfARunningRequest(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	arrived, goOn := make(chan bool), make(chan bool)
	var before, after error
	s.Mux.Handle("/long", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		_, before = session.Token(r.Context())
		close(arrived)
		<-goOn
		_, after = session.Token(r.Context())
	})))
	done := make(chan bool)
	go func() { defer close(done); b.Get("/long") }()
	<-arrived
	b.Still().Request("POST", "/auth/logout", testsite.OwnPage...)
	close(goOn)
	<-done
	if before != nil || after != msauth.ErrNoSession {
		t.Errorf("Token returns %v, and %v after the sign-out, want nil and ErrNoSession", before, after)
	}
}

func TestSignInAfterSignOutIsAFreshSession(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	b.Request("POST", "/auth/logout", testsite.OwnPage...)
	s.MS.ResetCalls()
	s.As(msauthtest.Bruno)
	if got := b.Get("/").Text; got != testsite.HelloBruno {
		t.Errorf("page %q, want %q", got, testsite.HelloBruno)
	}
	if want := map[msauthtest.Kind]int{msauthtest.Authorize: 1, msauthtest.TokenCode: 1}; !maps.Equal(s.Calls(), want) {
		t.Errorf("requests at the provider %v, want %v", s.Calls(), want)
	}
}
