package live_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

var accessDenied = msauthtest.Failure{Error: "access_denied", Description: "The user has denied access to the scope requested by the client application."}

// declining makes the next sign-in be declined at Microsoft.
func declining(s *testsite.Site) {
	s.As(msauthtest.Mia)
	s.MS.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Authorize] = []msauthtest.Failure{accessDenied} })
}

func TestDecliningIsNoError(t *testing.T) {
	t.Parallel()
	for _, service := range []struct {
		name    string
		changes []func(*msauth.Config)
	}{{"Live Connect", []func(*msauth.Config){atLive}}, {"Entra", nil}} {
		t.Run(service.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t, service.changes...)
			routes(s.Mux, s.Auth)
			b := s.Browser(t)
			declining(s)
			link := s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/status?from=link", ReturnDeclined: true})
			res := b.Get(link)
			want(t, res, "notConnected nobody")
			if got := res.Request.URL.RequestURI(); got != "/status?from=link" {
				t.Errorf("back at %s", got)
			}
			if lines := s.Log.With("page=declined"); len(lines) != 1 || !strings.Contains(lines[0], "access_denied") || !strings.Contains(lines[0], "level=INFO") {
				t.Errorf("log lines %q", lines)
			}
			want(t, b.Get("/skydrive"), "notConnected nobody")
			if n := s.Auth.Stats().SignInsRefused; n != 1 {
				t.Errorf("%d sign-ins refused", n)
			}

			// A page that needs a sign-in does not ask the same again at once.
			s.MS.ResetCalls()
			s.WantPage(t, b.Get("/files"), http.StatusForbidden, "declined", "declined at Microsoft a moment ago")
			s.WantCalls(t, msauthtest.Authorize, 0)
			// A script is told so as ever. Who comes once more means it.
			if res := b.Get("/files", testsite.Script...); res.StatusCode != http.StatusUnauthorized {
				t.Errorf("script: status %d", res.StatusCode)
			}
			if res := b.Still().Get("/files"); res.StatusCode != http.StatusSeeOther {
				t.Errorf("once more: status %d", res.StatusCode)
			}

			// The person can think better of it.
			if res := b.Get(link); !strings.HasPrefix(res.Text, "connected ") {
				t.Errorf("status %d, page %.200q", res.StatusCode, res.Text)
			}
			want(t, b.Get("/files"), "connected ")

			// Declining more than the session has leaves the session.
			s.MS.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Authorize] = []msauthtest.Failure{accessDenied} })
			want(t, b.Get(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/status", Scopes: []string{"wl.skydrive"}, ReturnDeclined: true})), "connected ")
			want(t, b.Get("/skydrive"), "notConnected ")
		})
	}
}

// A page of the app that sends everybody to sign in who is not would be a loop, at a
// provider that declines without asking.
func TestDecliningIsNoLoop(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Mux.Handle("/auto", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/auto", ReturnDeclined: true}), http.StatusFound)
	})))
	s.As(msauthtest.Mia)
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.Authorize] = []msauthtest.Failure{accessDenied, accessDenied, accessDenied, accessDenied}
	})
	s.WantPage(t, s.Browser(t).Get("/auto"), http.StatusForbidden, "declined", "access_denied")
	s.WantCalls(t, msauthtest.Authorize, 2)
}

// Who declines more than the session has is not asked the same again at once either.
func TestDecliningMoreLeadsBackToAPageThatNeedsIt(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Mux.Handle("/challenge", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		_, err := session.Token(r.Context(), "wl.skydrive")
		if !s.Auth.Challenge(w, r, err) {
			t.Errorf("not challenged: %v", err)
		}
	})))
	for _, page := range []string{"/drive", "/challenge"} {
		b := s.Browser(t)
		link := s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: page, Scopes: []string{"wl.skydrive"}, ReturnDeclined: true})
		for _, signedIn := range []bool{false, true} {
			if signedIn {
				signIn(t, s, b, msauth.LoginOptions{})
			}
			declining(s)
			s.MS.ResetCalls()
			res := b.Get(link)
			s.WantPage(t, res, http.StatusForbidden, "declined", "declined at Microsoft a moment ago")
			s.WantCalls(t, msauthtest.Authorize, 1)
			if signedIn != strings.Contains(res.Text, "You are still signed in") {
				t.Errorf("%s, signed in %t: page %.2000q", page, signedIn, res.Text)
			}
			if res := b.Get(page, testsite.Script...); res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s, signed in %t: a script gets %d", page, signedIn, res.StatusCode)
			}
		}
		// The link on the page asks for the scope.
		again := testsite.LinksOf(b.Get(page))[0]
		if q := b.AuthorizeQuery(again); !strings.Contains(q.Get("scope"), "wl.skydrive") {
			t.Errorf("%s: the link asks for %q", page, q.Get("scope"))
		}
	}
}

// A long address, and a response of the callback that has no room for it.
func TestDecliningLeadsBackToALongAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Mux.Handle("/long", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, s.Auth.Status(r), " ", len(r.URL.RequestURI()))
	})))
	for _, padding := range []int{0, 2500} {
		b := s.Browser(t)
		declining(s)
		link := s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/long?" + strings.Repeat("x", 1000), ReturnDeclined: true})
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/auth/callback" {
				w.Header().Set("X-App", strings.Repeat("x", padding))
			}
			s.Mux.ServeHTTP(w, r)
		})
		s.Current.Store(mux)
		want(t, b.Get(link), map[int]string{0: "notConnected 1006", 2500: "notConnected 5"}[padding])
		for _, c := range b.Cookies() {
			if strings.HasSuffix(c.Name, "-to") {
				t.Errorf("%d bytes more: the cookie with the address stays", padding)
			}
		}
	}
}

func TestDecliningShowsAPageWhereNothingElseIsAsked(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.Browser(t)
	declining(s)
	s.WantPage(t, b.Get(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/status"})), http.StatusForbidden, "declined", "access_denied")
	want(t, b.Get("/status"), "unknown nobody")
	declining(s)
	s.WantPage(t, b.Get("/files"), http.StatusForbidden, "declined", "access_denied")
	s.WantPage(t, b.Get(s.Auth.LoginURL(msauth.LoginOptions{})+"?return_declined=2"), http.StatusBadRequest, "bad-request", "return_declined is not 1")
	s.WantPage(t, b.Get("/auth/login?return_declined=1&return_declined=1"), http.StatusBadRequest, "bad-request", "return_declined is repeated")
}

// An administrator who has to approve, or a verification that failed, is explained on a
// page: the person has not declined.
func TestOtherRefusalsShowTheirPage(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	b := s.Browser(t)
	s.As(msauthtest.Ada)
	for _, number := range []int{90094, 500121} {
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.Authorize] = []msauthtest.Failure{msauthtest.Failure{Error: "access_denied", Codes: []int{number}}}
		})
		if res := b.Get(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/public/", ReturnDeclined: true})); res.Kind() != "declined" {
			t.Errorf("AADSTS%d: status %d, page %.100q", number, res.StatusCode, res.Text)
		}
	}
}

// office is a site in a bubble of its own time.
func office(t *testing.T, changes ...func(*msauth.Config)) *testsite.Office {
	o := testsite.NewOffice(t, append([]func(*msauth.Config){atLive}, changes...)...)
	o.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Mia })
	mux := http.NewServeMux()
	mux.Handle("/", o.Handler)
	routes(mux, o.Auth)
	o.Handler = mux
	return o
}

// says checks the status that a page says.
func says(t *testing.T, v *testsite.Visitor, want string) {
	t.Helper()
	if got, _, _ := strings.Cut(v.Get("/status").Body, " "); got != want {
		t.Errorf("status %q, want %q", got, want)
	}
}

func TestStatusOfASessionThatIsOver(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*msauth.Config)
		end    func(*testsite.Office)
		after  time.Duration
	}{
		{"the refresh token has expired", func(*msauth.Config) {}, func(o *testsite.Office) { o.MS.Revoke(msauthtest.Mia) }, 2 * time.Hour},
		{"idle", func(c *msauth.Config) { c.IdleTimeout = time.Hour }, func(*testsite.Office) {}, 61 * time.Minute},
		{"too old", func(c *msauth.Config) { c.MaxAge = time.Hour }, func(*testsite.Office) {}, 61 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := office(t, test.change)
				v := o.SignIn()
				says(t, v, "connected")
				test.end(o)
				time.Sleep(test.after)
				says(t, v, "expired")
				says(t, v, "unknown")
				says(t, o.SignIn(), "connected") // back to step 1
			})
		})
	}
}

// A session that somebody has ended is not one that is over.
func TestStatusAfterSigningOut(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(s *testsite.Site, b *testsite.Browser){
		"everywhere": func(s *testsite.Site, b *testsite.Browser) {
			key := strings.TrimPrefix(b.Get("/status").Text, "connected ")
			if err := s.Auth.SignOutUser(t.Context(), key); err != nil {
				t.Error(err)
			}
		},
		"with a copy of the cookie": func(s *testsite.Site, b *testsite.Browser) {
			kept := b.Cookies()
			b.Still().Get(s.Auth.LogoutURL(), testsite.SameOrigin...)
			for _, c := range kept {
				b.Keep(c.Name, c.Value)
			}
		},
		"the cookie is damaged": func(_ *testsite.Site, b *testsite.Browser) {
			c := b.Session()[0]
			b.Keep(c.Name, testsite.Flip(c.Value, len(c.Value)/2))
		},
	} {
		s := newSite(t)
		b := s.Browser(t)
		signIn(t, s, b, msauth.LoginOptions{})
		end(s, b)
		if got := b.Get("/status").Text; got != "unknown nobody" {
			t.Errorf("%s: %q", name, got)
		}
	}
	// Nor is anything left of a sign-in that was declined.
	s := newSite(t)
	b := s.Browser(t)
	declining(s)
	want(t, b.Get(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/status", ReturnDeclined: true})), "notConnected ")
	b.Still().Get(s.Auth.LogoutURL(), testsite.SameOrigin...)
	want(t, b.Get("/status"), "unknown nobody")
}

// A session that Microsoft wants another sign-in for is there, and of no use.
func TestStatusWhenMicrosoftWantsMore(t *testing.T) {
	t.Parallel()
	for name, changes := range map[string][]func(*msauth.Config){"Live Connect": {atLive}, "Entra": nil} {
		s := testsite.New(t, changes...)
		routes(s.Mux, s.Auth)
		b := s.Browser(t)
		s.Lifetime(time.Second)
		s.As(msauthtest.Mia)
		want(t, b.Get(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/status"})), "connected ")
		time.Sleep(time.Second)
		s.Failing(msauthtest.Failure{Error: "interaction_required"})
		for range 2 {
			if got := b.Get("/status").Text; !strings.HasPrefix(got, "expired ") || strings.HasSuffix(got, "nobody") {
				t.Errorf("%s: status %q; log:\n%s", name, got, s.Log)
			}
		}
		declining(s)
		res := b.Get(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/files", ReturnDeclined: true}))
		s.WantPage(t, res, http.StatusForbidden, "declined", "declined at Microsoft a moment ago")
		if !strings.Contains(res.Text, "You are still signed in") {
			t.Errorf("%s: page %.2000q", name, res.Text)
		}
	}
}

// A code that was refused with a claims challenge sends people to Microsoft again: they
// still come back if they decline there.
func TestDecliningWhatACodeWasRefusedFor(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	routes(s.Mux, s.Auth)
	s.As(msauthtest.Ada)
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{{
			Error: "invalid_grant", Suberror: "basic_action", Codes: []int{50076}, Claims: `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`,
		}}
	})
	b := s.Browser(t)
	res := b.Still().Get(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/status", ReturnDeclined: true}))
	callback := b.Still().Get(res.Header.Get("Location")).Header.Get("Location")
	again := b.Still().Get(callback).Header.Get("Location")
	declining(s)
	want(t, b.Get(again), "notConnected nobody")
}

// Requests whose session is not known have no status.
func TestStatusOfRequestsThatAreNotAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := office(t)
		v := o.SignIn()
		time.Sleep(2 * time.Hour)
		if got := v.Get("/status", "Sec-Purpose", "prefetch").Body; got != "unknown nobody" {
			t.Errorf("prefetch: %q", got)
		}
		says(t, v, "connected")
	})
	files := testsite.NewFiles(t)
	s := newSite(t, func(c *msauth.Config) { c.Store = files })
	b := s.Browser(t)
	signIn(t, s, b, msauth.LoginOptions{})
	want(t, b.Get("/status"), "connected ")
	files.Breaks("New", 0, testsite.ErrStoreDown)
	want(t, b.Get("/status"), "unknown nobody")
	files.Works()
	want(t, b.Get("/status"), "connected ")
}
