package cases_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCase083_Fixation(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t, func(cfg *msauth.Config) {
		cfg.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			if in.AppData != "" {
				return errors.New("AppData of an earlier session")
			}
			in.AppData = "for " + in.Session.User.Name
			return nil
		}
	})
	attacker := s.Browser(t)
	attacker.SignIn(msauthtest.Bruno)
	planted := attacker.Session()[0]
	s.As(msauthtest.Bruno)
	attempt := attacker.Attempt("/auth/login?return_to=/trap")

	victim := s.Browser(t)
	victim.Keep(planted.Name, planted.Value)
	for _, cookie := range attacker.Cookies() { // the attacker's unfinished sign-in, too
		victim.Keep(cookie.Name, cookie.Value)
	}
	s.As(msauthtest.Ada)
	victim.Get(victim.Attempt("/auth/login?return_to=/mine"))
	victim.WantGreeting(testsite.HelloAda)
	if victim.Session()[0].Value == planted.Value {
		c.Error("the planted session goes on")
	}
	// What was planted opens nothing of the victim's, and is over itself.
	if got := ask(t, s, testsite.HeaderOf(planted)).Text; got != testsite.HelloNobody {
		c.Errorf("the planted session shows %q", got)
	}
	c.logged(s, "reason=ended", 1)
	c.calls(s, msauthtest.TokenCode, 2)
	// The attacker's attempt, finished in the victim's browser, is what a
	// planted cookie of an attempt allows: see SECURITY.md. It does not mix.
	victim.Get(attempt)
	if got := victim.Get("/public/").Text; got != testsite.HelloBruno && got != testsite.HelloAda {
		c.Errorf("page %q", got)
	}
}

func TestCase083_StoredSessionsGetNewNames(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t, func(cfg *msauth.Config) { cfg.Store = testsite.FileStore(t) })
	attacker, victim := s.Browser(t), s.Browser(t)
	attacker.SignIn(msauthtest.Bruno)
	planted := attacker.Session()[0]
	victim.Keep(planted.Name, planted.Value)
	s.As(msauthtest.Ada)
	victim.Get(victim.Attempt("/auth/login"))
	victim.WantGreeting(testsite.HelloAda)
	if victim.Session()[0].Value == planted.Value {
		c.Error("the name of the planted session is kept")
	}
	if got := ask(t, s, testsite.HeaderOf(planted)).Text; got != testsite.HelloNobody {
		c.Errorf("the planted session shows %q", got)
	}
	c.calls(s, msauthtest.TokenCode, 2)
}

func TestCase084_AnotherPersonSignsIn(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t, large, func(cfg *msauth.Config) { cfg.Claims = []string{"login_hint", "only_grace"} })
	s.Mux.Handle("/all", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		token, err := session.Token(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, "%q %v %s", session.User.Groups, session.User.Claims, token.AccessToken)
		fmt.Fprintf(w, "\n%+v %s %q %v", struct{ K, N, E, U string }{session.User.Key(), session.User.Name, session.User.Email, session.User.Username}, session.AppData, session.User.Roles, session.Scopes())
	})))
	s.MS.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	s.MS.Set(claimIs("only_grace", "grace's own"))
	b := s.Browser(t)
	b.SignIn(msauthtest.Grace)
	graceCookies := b.Session()
	grace := b.Get("/all").Text
	s.MS.Set(func(b *msauthtest.Behavior) { b.IDToken = nil })
	res := b.Get(attempt2(b, msauthtest.Bruno))
	if res.Text != testsite.HelloBruno {
		c.Fatalf("page %q", res.Text)
	}
	bruno := b.Get("/all").Text
	for _, text := range []string{"Grace", "grace", msauthtest.TenantContoso, strings.Fields(grace)[0]} {
		if strings.Contains(bruno, text) {
			c.Errorf("Bruno's session holds Grace's %q", text)
		}
	}
	if len(b.Session()) != 1 {
		c.Errorf("%d session cookies, want Bruno's one", len(b.Session()))
	}
	if got := ask(t, s, testsite.HeaderOf(graceCookies...)).Text; got != testsite.HelloNobody {
		c.Errorf("Grace's cookies still show %q", got)
	}
	c.logged(s, "reason=ended", 1)
	c.calls(s, msauthtest.TokenCode, 2)
	// One who is refused leaves the session that is there.
	s.Restart(t, testsite.Tenant("common", msauthtest.TenantFabrikam))
	c.refused(b, b.Get(attempt2(b, msauthtest.Ada)), http.StatusForbidden, "not-allowed", "account not admitted")
	b.WantGreeting(testsite.HelloBruno)
}

func TestCase085_IdleAndAbsoluteEnd(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T, func(cfg *msauth.Config) { cfg.IdleTimeout, cfg.MaxAge = 2*time.Hour, 10*time.Hour })
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 24 * time.Hour })
		idle, stolen := testsite.AdaSession(c.T, s)
		steady, _ := testsite.AdaSession(c.T, s)
		start := time.Now()
		for range 4 {
			time.Sleep(30 * time.Minute)
			steady.WantGreeting(testsite.HelloAda)
		}
		// A copy that ignores Max-Age.
		for _, cookie := range []string{idle.CookieLine(), testsite.HeaderOf(stolen)} {
			if got := ask(c.T, s, cookie).Text; got != testsite.HelloNobody {
				c.Errorf("after two hours without use: page %q", got)
			}
		}
		c.logged(s, "reason=idle", 2)
		for time.Since(start) < 10*time.Hour-time.Minute {
			time.Sleep(10 * time.Minute)
			if time.Since(start) < 10*time.Hour {
				steady.WantGreeting(testsite.HelloAda)
			}
		}
		last := steady.CookieLine()
		time.Sleep(time.Until(start.Add(10 * time.Hour)))
		if last == "" {
			last = testsite.HeaderOf(stolen)
		}
		if got := ask(c.T, s, last).Text; got != testsite.HelloNobody {
			c.Errorf("after ten hours of use: page %q", got)
		}
		c.logged(s, `reason="too old"`, 1)
		c.signedOut(steady)
	})
}

func TestCase086_SlidingDoesNotWriteEveryTime(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := testsite.NewInProcess(c.T, func(cfg *msauth.Config) { cfg.IdleTimeout = 24 * time.Minute }) // a step of a minute
		b, _ := testsite.AdaSession(c.T, s)
		b.Get("/") // the marker goes
		s.MS.ResetCalls()
		set := 0
		for range 100 {
			time.Sleep(600 * time.Millisecond)
			set += len(b.Get("/").Header["Set-Cookie"])
		}
		if set > 1 {
			c.Errorf("%d Set-Cookie lines in a minute, want at most one", set)
		}
		c.silent(s)
	})
}

func TestCase087_NoSessionWithoutThePerson(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	for _, header := range [][]string{
		testsite.Script, {"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Accept", "text/html"},
		{"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image", "Accept", "image/*"},
		slices.Concat(testsite.Navigation, []string{"Sec-Purpose", "prefetch"}),
	} {
		b := s.Browser(t)
		for _, target := range []string{"/", "/auth/login", "/public/"} {
			if res := b.Get(target, header...); len(b.Cookies()) > 0 || res.Request.URL.Host != "app.test" {
				c.Errorf("%v at %s: cookies %v, ended at %s", header, target, b.Cookies(), res.Request.URL)
			}
		}
	}
	c.silent(s)
	b := s.Browser(t)
	c.page(s, b.Get("/auth/login?prompt=none"), http.StatusBadRequest, "bad-request", "prompt is neither")
	if got := b.AuthorizeQuery("/")["prompt"]; len(got) != 0 {
		c.Errorf("prompt %q on a plain visit", got)
	}
	if res := b.Get("/public/"); res.Text != testsite.HelloNobody {
		c.Errorf("a public page starts %q", res.Text)
	}
	c.calls(s, msauthtest.Authorize, 0)
}

func TestCase088_ErrorMeansNotSignedIn(t *testing.T) {
	c := newCase(t)
	c.run("configuration", func(c *testCase) {
		cfg := testsite.LeastConfig()
		cfg.Keys = nil
		m, err := msauth.New(cfg)
		c.fails(err, "Config.Keys")
		if m != nil {
			c.Error("a Middleware beside an error")
		}
	})
	c.run("a hook that panics", func(c *testCase) {
		s := testsite.NewInProcess(c.T, func(cfg *msauth.Config) {
			cfg.OnSignIn = func(http.ResponseWriter, *http.Request, *msauth.SignIn) error {
				var nobody *msauth.SignIn
				nobody.AppState = "x"
				return nil
			}
		})
		s.As(msauthtest.Ada)
		b := s.Browser(c.T)
		c.refused(b, b.Get("/"), http.StatusInternalServerError, "app-error", "OnSignIn panicked")
		c.signedOut(b)
	})
	c.run("a hook that makes AppData too long", func(c *testCase) {
		s := testsite.NewInProcess(c.T, func(cfg *msauth.Config) {
			cfg.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
				in.AppData = strings.Repeat("x", 513)
				return nil
			}
		})
		s.As(msauthtest.Ada)
		b := s.Browser(c.T)
		c.refused(b, b.Get("/"), http.StatusInternalServerError, "app-error", "AppData has 513 bytes")
	})
	c.run("a broken store", func(c *testCase) {
		store := &brokenStore{Store: testsite.FileStore(c.T)}
		s := testsite.NewInProcess(c.T, func(cfg *msauth.Config) { cfg.Store = store })
		b := s.Browser(c.T)
		b.SignIn(msauthtest.Ada)
		store.broken = true
		s.MS.ResetCalls()
		c.page(s, b.Get("/a"), http.StatusServiceUnavailable, "unavailable", "the disk is gone")
		if res := b.Get("/a", testsite.Script...); res.StatusCode != http.StatusServiceUnavailable {
			c.Errorf("a script gets status %d", res.StatusCode)
		}
		b.WantGreeting(testsite.HelloNobody)
		c.silent(s)
		store.broken = false
		b.WantGreeting(testsite.HelloAda)
	})
	c.run("no Middleware around the handler", func(c *testCase) {
		session, ok := msauth.FromContext(c.Context())
		if ok || session != nil || session.Expiry() != (time.Time{}) {
			c.Errorf("session %v, %v", session, ok)
		}
		_, err := session.Token(c.Context())
		c.fails(err, "nobody is signed in")
		_, err = session.Client(c.Context()).Get("https://graph.microsoft.com/v1.0/me")
		c.fails(err, "nobody is signed in")
	})
	c.run("a session that a handler put into the context", func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		forged := msauth.NewSession(msauth.User{Name: "Eve"}, nil)
		for _, session := range []*msauth.Session{forged, nil} {
			for _, header := range [][]string{testsite.Script, testsite.Navigation} {
				req, _ := http.NewRequest("GET", "/", nil)
				for i := 0; i < len(header); i += 2 {
					req.Header.Set(header[i], header[i+1])
				}
				rec := httptest.NewRecorder()
				s.Auth.Require(http.HandlerFunc(testsite.Hello)).ServeHTTP(rec, req.WithContext(msauth.NewContext(req.Context(), session)))
				if rec.Code != 401 && rec.Code != 303 {
					c.Errorf("status %d: %s", rec.Code, rec.Body)
				}
			}
		}
		other := testsite.NewInProcess(c.T) // another Middleware's session is none of ours
		b := other.Browser(c.T)
		other.Mux.Handle("/nested", other.Auth.Require(s.Auth.Require(http.HandlerFunc(testsite.Hello))))
		b.SignIn(msauthtest.Ada)
		if res := b.Get("/nested", testsite.Script...); res.StatusCode != 401 {
			c.Errorf("the session of another app opens the page: %d %q", res.StatusCode, res.Text)
		}
		c.calls(s, msauthtest.TokenCode, 0)
	})
}

// brokenStore fails while it is told to.
type brokenStore struct {
	sessions.Store
	broken bool
}

func (s *brokenStore) New(r *http.Request, name string) (*sessions.Session, error) {
	if s.broken {
		return nil, errors.New("the disk is gone")
	}
	return s.Store.New(r, name)
}

func TestCase089_IdentityHeadersAreNotRead(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	spoofed := []string{
		"X-User", "eve", "X_User", "eve", "X-Ms-Client-Principal", "eyJ1c2VySWQiOiJldmUifQ==", "X-Ms-Client-Principal-Name", "eve", "X-Ms-Client-Principal-Id", "eve",
		"X-Ms-Token-Aad-Id-Token", "x", "X-Forwarded-User", "eve", "X-Forwarded-Email", "eve@evil.example", "X-Auth-Request-User", "eve", "Remote-User", "eve",
		"Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJldmUifQ.",
	}
	for _, header := range [][]string{spoofed, append(slices.Clone(spoofed), testsite.Script...)} {
		res := s.Browser(t).Still().Get("/a", append(slices.Clone(header), "Accept", "text/html")...)
		if res.StatusCode != 303 && res.StatusCode != 401 {
			c.Errorf("status %d, page %q", res.StatusCode, res.Text)
		}
		if got := s.Browser(t).Get("/public/", header...).Text; got != testsite.HelloNobody {
			c.Errorf("page %q", got)
		}
	}
	// The handler gets the request's headers as they came, and none of ours.
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.MS.ResetCalls()
	seen := make(chan http.Header, 1)
	s.Mux.Handle("/headers", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })))
	b.Get("/headers", testsite.Script...)
	for name, values := range <-seen {
		if name != "Cookie" && !regexp.MustCompile(`^(Sec-Fetch-(Mode|Dest)|Accept)$`).MatchString(name) {
			c.Errorf("the handler sees %s: %q", name, values)
		}
	}
	c.silent(s)
}
