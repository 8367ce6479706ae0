package msauth_test

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// ownPage is what browsers send when a person follows a link on a page of the
// site, or sends a form on it.
var ownPage = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin"}

func TestSignOutEndsTheSessionHereAndAtMicrosoft(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			var hint string
			s.ms.Set(func(b *msauthtest.Behavior) {
				b.IDToken = func(_ msauthtest.Kind, c map[string]any) { hint, _ = c["login_hint"].(string) }
			})
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			b.still().get("/auth/login") // an attempt that is not finished
			old := b.session()
			s.ms.ResetCalls()

			res := b.still().do(method, "/auth/logout", ownPage...)
			to, err := res.Location()
			if err != nil || res.StatusCode != http.StatusSeeOther {
				t.Fatalf("status %d, %v, want 303; page %q", res.StatusCode, err, res.body)
			}
			want := url.Values{"post_logout_redirect_uri": {s.URL + "/auth/signed-out"}, "logout_hint": {hint}}
			if got := to.Scheme + "://" + to.Host + to.Path; got != s.ms.URL+"/common/oauth2/v2.0/logout" || to.Query().Encode() != want.Encode() {
				t.Errorf("sent to %s, want the end-session endpoint with %v", to, want)
			}
			s.wantNoCalls(t)
			if left := b.cookies(); len(left) != 0 {
				t.Errorf("%d cookies are left: %.20v", len(left), left)
			}
			for _, c := range res.Cookies() {
				if c.MaxAge != -1 || c.Value != "" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.SameSite != http.SameSiteLaxMode {
					t.Errorf("deletion %v, want the attributes of the cookie", c)
				}
			}

			// The way back is public, and leads nowhere by itself.
			back := b.get(to.String())
			s.wantPage(t, back, http.StatusOK, "signed-out", "")
			if !strings.Contains(back.body, `href="/auth/login"`) {
				t.Errorf("page %s, want a link to sign in", back.body)
			}
			b.wantGreeting(helloNobody)
			if got := b.get("/api", "Sec-Fetch-Mode", "cors", "Accept", "application/json").StatusCode; got != http.StatusUnauthorized {
				t.Errorf("a script in another tab gets %d, want 401", got)
			}

			// Whoever kept the cookie has nothing.
			thief := s.browser(t)
			for _, c := range old {
				thief.keep(c.Name, c.Value)
			}
			thief.wantGreeting(helloNobody)
			if len(s.log.with("reason=ended")) != 1 || len(s.log.with("event=sign_out")) != 1 {
				t.Errorf("log %s, want one line of the sign-out and one of the old cookie", s.log)
			}
		})
	}
}

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
		{"link on the site", "GET", ownPage, "out"},
		{"form on the site", "POST", ownPage, "out"},
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
		{"prefetch of a link on the site", "GET", append([]string{"Sec-Purpose", "prefetch"}, ownPage...), "prefetch"},
		{"prerendering of a link on the site", "GET", append([]string{"Sec-Purpose", "prefetch;prerender"}, ownPage...), "prefetch"},
		{"prefetch of an old browser", "GET", append([]string{"Purpose", "prefetch"}, ownPage...), "prefetch"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t)
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			res := b.still().do(test.method, "/auth/logout", test.header...)
			if test.want == "out" {
				if res.StatusCode != http.StatusSeeOther || len(b.cookies()) != 0 {
					t.Errorf("status %d, %d cookies left, want 303 and none", res.StatusCode, len(b.cookies()))
				}
				return
			}
			if len(res.Cookies()) != 0 {
				t.Errorf("cookies %v, want none", res.Cookies())
			}
			b.wantGreeting(helloAda)
			if test.want == "prefetch" {
				if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("status %d, %v, want 503 and no-store", res.StatusCode, res.Header)
				}
				return
			}
			s.wantPage(t, res, http.StatusOK, "confirm-sign-out", "")
			if !strings.Contains(res.body, `<form method="post" action="/auth/logout"><input type="hidden" name="msauth_token" value="`) || strings.Contains(res.body, "<script") {
				t.Errorf("page %s, want a form with a token", res.body)
			}
			if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' "+s.ms.URL+";") {
				t.Errorf("policy %q, want form-action for the redirect to the provider", csp)
			}
			// Its button works.
			if res := b.still().do("POST", "/auth/logout", ownPage...); res.StatusCode != http.StatusSeeOther {
				t.Errorf("status %d for the page's own form, want 303", res.StatusCode)
			}
			b.wantGreeting(helloNobody)
		})
	}
}

func TestSignOutMethods(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	for method, want := range map[string]int{"PUT": 405, "DELETE": 405, "OPTIONS": 405, "PATCH": 405, "HEAD": 303} {
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		if res := b.still().do(method, "/auth/logout", ownPage...); res.StatusCode != want || (res.Header.Get("Allow") == "") != (want != 405) {
			t.Errorf("%s: status %d, Allow %q, want %d", method, res.StatusCode, res.Header.Get("Allow"), want)
		}
	}
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405} {
		if res := s.browser(t).do(method, "/auth/signed-out"); res.StatusCode != want {
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
				s := newSiteInProcess(t)
				s.ms.Set(func(b *msauthtest.Behavior) {
					b.IDToken = func(_ msauthtest.Kind, c map[string]any) { delete(c, "login_hint") }
				})
				b := s.browser(t)
				b.signIn(msauthtest.Ada)
				s.restart(t) // nothing of the provider is known any more
				s.ms.Set(test.behave)
				began := time.Now()
				res := b.still().do("POST", "/auth/logout", ownPage...)
				if got := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || got != test.want {
					t.Errorf("status %d to %q, want 303 to %q", res.StatusCode, got, test.want)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				if len(b.cookies()) != 0 {
					t.Errorf("%d cookies are left", len(b.cookies()))
				}
				b.wantGreeting(helloNobody)
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
			s := newSiteInProcess(t, func(c *msauth.Config) { c.CookieName = "msauth-fixed1" })
			b := s.browser(t)
			for name, value := range test.cookies {
				b.keep(name, value)
			}
			b.keep("theirs", "x")
			res := b.still().do("POST", "/auth/logout", ownPage...)
			if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), s.ms.URL) {
				t.Errorf("status %d to %q, want 303 to the provider", res.StatusCode, res.Header.Get("Location"))
			}
			if left := b.cookies(); len(left) != 1 || left[0].Name != "theirs" {
				t.Errorf("cookies %v, want only those of others", left)
			}
		})
	}
}

func TestSignOutLeadsToTheConfiguredPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *msauth.Config) { c.PostLogoutURL = strings.TrimSuffix(c.BaseURL, "auth") + "public/bye?x=1" })
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	res := b.do("POST", "/auth/logout", ownPage...)
	if got := res.Request.URL.RequestURI(); got != "/public/bye?x=1" || res.body != helloNobody {
		t.Errorf("ended at %q with page %q", got, res.body)
	}
	// Nothing in the address of the landing page leads anywhere.
	for _, query := range []string{"?state=x", "?return_to=//evil.example", "?post_logout_redirect_uri=https://evil.example"} {
		s.wantPage(t, b.get("/auth/signed-out"+query), http.StatusOK, "signed-out", "")
	}
}

func TestSignOutInAnotherTabEndsTheTokensOfARunningRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	arrived, goOn := make(chan bool), make(chan bool)
	var before, after error
	s.mux.Handle("/long", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		_, before = session.Token(r.Context())
		close(arrived)
		<-goOn
		_, after = session.Token(r.Context())
	})))
	done := make(chan bool)
	go func() { defer close(done); b.get("/long") }()
	<-arrived
	b.still().do("POST", "/auth/logout", ownPage...)
	close(goOn)
	<-done
	if before != nil || after != msauth.ErrNoSession {
		t.Errorf("Token returns %v, and %v after the sign-out, want nil and ErrNoSession", before, after)
	}
}

func TestSignInAfterSignOutIsAFreshSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	b.do("POST", "/auth/logout", ownPage...)
	s.ms.ResetCalls()
	s.as(msauthtest.Bruno)
	if got := b.get("/").body; got != helloBruno {
		t.Errorf("page %q, want %q", got, helloBruno)
	}
	if want := map[msauthtest.Kind]int{msauthtest.Authorize: 1, msauthtest.TokenCode: 1}; !maps.Equal(s.calls(), want) {
		t.Errorf("requests at the provider %v, want %v", s.calls(), want)
	}
}
