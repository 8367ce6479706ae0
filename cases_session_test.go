package msauth_test

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

func TestCase083_Fixation(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t, func(cfg *msauth.Config) {
		cfg.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			if in.AppData != "" {
				return errors.New("AppData of an earlier session")
			}
			in.AppData = "for " + in.Session.User.Name
			return nil
		}
	})
	attacker := s.browser(t)
	attacker.signIn(msauthtest.Bruno)
	planted := attacker.session()[0]
	s.as(msauthtest.Bruno)
	attempt := attacker.attempt("/auth/login?return_to=/trap")

	victim := s.browser(t)
	victim.keep(planted.Name, planted.Value)
	for _, cookie := range attacker.cookies() { // the attacker's unfinished sign-in, too
		victim.keep(cookie.Name, cookie.Value)
	}
	s.as(msauthtest.Ada)
	victim.get(victim.attempt("/auth/login?return_to=/mine"))
	victim.wantGreeting(helloAda)
	if victim.session()[0].Value == planted.Value {
		c.Error("the planted session goes on")
	}
	// What was planted opens nothing of the victim's, and is over itself.
	if got := ask(t, s, headerOf(planted)).body; got != helloNobody {
		c.Errorf("the planted session shows %q", got)
	}
	c.logged(s, "reason=ended", 1)
	c.calls(s, msauthtest.TokenCode, 2)
	// The attacker's attempt, finished in the victim's browser, is what a
	// planted cookie of an attempt allows: see SECURITY.md. It does not mix.
	victim.get(attempt)
	if got := victim.get("/public/").body; got != helloBruno && got != helloAda {
		c.Errorf("page %q", got)
	}
}

func TestCase083_StoredSessionsGetNewNames(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t, func(cfg *msauth.Config) { cfg.Store = fileStore(t) })
	attacker, victim := s.browser(t), s.browser(t)
	attacker.signIn(msauthtest.Bruno)
	planted := attacker.session()[0]
	victim.keep(planted.Name, planted.Value)
	s.as(msauthtest.Ada)
	victim.get(victim.attempt("/auth/login"))
	victim.wantGreeting(helloAda)
	if victim.session()[0].Value == planted.Value {
		c.Error("the name of the planted session is kept")
	}
	if got := ask(t, s, headerOf(planted)).body; got != helloNobody {
		c.Errorf("the planted session shows %q", got)
	}
	c.calls(s, msauthtest.TokenCode, 2)
}

func TestCase084_AnotherPersonSignsIn(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t, large, func(cfg *msauth.Config) { cfg.Claims = []string{"login_hint", "only_grace"} })
	s.mux.Handle("/all", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		token, err := session.Token(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, "%q %v %s", session.User.Groups, session.User.Claims, token.AccessToken)
		fmt.Fprintf(w, "\n%+v %s %q %v", struct{ K, N, E, U string }{session.User.Key(), session.User.Name, session.User.Email, session.User.Username}, session.AppData, session.User.Roles, session.Scopes())
	})))
	s.ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	s.ms.Set(claimIs("only_grace", "grace's own"))
	b := s.browser(t)
	b.signIn(msauthtest.Grace)
	graceCookies := b.session()
	grace := b.get("/all").body
	s.ms.Set(func(b *msauthtest.Behavior) { b.IDToken = nil })
	res := b.get(b.attempt2(msauthtest.Bruno))
	if res.body != helloBruno {
		c.Fatalf("page %q", res.body)
	}
	bruno := b.get("/all").body
	for _, text := range []string{"Grace", "grace", msauthtest.TenantContoso, strings.Fields(grace)[0]} {
		if strings.Contains(bruno, text) {
			c.Errorf("Bruno's session holds Grace's %q", text)
		}
	}
	if len(b.session()) != 1 {
		c.Errorf("%d session cookies, want Bruno's one", len(b.session()))
	}
	if got := ask(t, s, headerOf(graceCookies...)).body; got != helloNobody {
		c.Errorf("Grace's cookies still show %q", got)
	}
	c.logged(s, "reason=ended", 1)
	c.calls(s, msauthtest.TokenCode, 2)
	// One who is refused leaves the session that is there.
	s.restart(t, tenant("common", msauthtest.TenantFabrikam))
	c.refused(b, b.get(b.attempt2(msauthtest.Ada)), http.StatusForbidden, "not-allowed", "account not admitted")
	b.wantGreeting(helloBruno)
}

func TestCase085_IdleAndAbsoluteEnd(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T, func(cfg *msauth.Config) { cfg.IdleTimeout, cfg.MaxAge = 2*time.Hour, 10*time.Hour })
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 24 * time.Hour })
		idle, stolen := adaSession(c.T, s)
		steady, _ := adaSession(c.T, s)
		start := time.Now()
		for range 4 {
			time.Sleep(30 * time.Minute)
			steady.wantGreeting(helloAda)
		}
		// A copy that ignores Max-Age.
		for _, cookie := range []string{idle.cookieLine(), headerOf(stolen)} {
			if got := ask(c.T, s, cookie).body; got != helloNobody {
				c.Errorf("after two hours without use: page %q", got)
			}
		}
		c.logged(s, "reason=idle", 2)
		for time.Since(start) < 10*time.Hour-time.Minute {
			time.Sleep(10 * time.Minute)
			if time.Since(start) < 10*time.Hour {
				steady.wantGreeting(helloAda)
			}
		}
		last := steady.cookieLine()
		time.Sleep(time.Until(start.Add(10 * time.Hour)))
		if last == "" {
			last = headerOf(stolen)
		}
		if got := ask(c.T, s, last).body; got != helloNobody {
			c.Errorf("after ten hours of use: page %q", got)
		}
		c.logged(s, `reason="too old"`, 1)
		c.signedOut(steady)
	})
}

func TestCase086_SlidingDoesNotWriteEveryTime(t *testing.T) {
	c := newCase(t)
	c.bubble(func(c *testCase) {
		s := newSiteInProcess(c.T, func(cfg *msauth.Config) { cfg.IdleTimeout = 24 * time.Minute }) // a step of a minute
		b, _ := adaSession(c.T, s)
		b.get("/") // the marker goes
		s.ms.ResetCalls()
		set := 0
		for range 100 {
			time.Sleep(600 * time.Millisecond)
			set += len(b.get("/").Header["Set-Cookie"])
		}
		if set > 1 {
			c.Errorf("%d Set-Cookie lines in a minute, want at most one", set)
		}
		c.silent(s)
	})
}

func TestCase087_NoSessionWithoutThePerson(t *testing.T) {
	c := newCase(t)
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	for _, header := range [][]string{
		script, {"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Accept", "text/html"},
		{"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image", "Accept", "image/*"},
		slices.Concat(navigation, []string{"Sec-Purpose", "prefetch"}),
	} {
		b := s.browser(t)
		for _, target := range []string{"/", "/auth/login", "/public/"} {
			if res := b.get(target, header...); len(b.cookies()) > 0 || res.Request.URL.Host != "app.test" {
				c.Errorf("%v at %s: cookies %v, ended at %s", header, target, b.cookies(), res.Request.URL)
			}
		}
	}
	c.silent(s)
	b := s.browser(t)
	c.page(s, b.get("/auth/login?prompt=none"), http.StatusBadRequest, "bad-request", "prompt is neither")
	if got := b.authorizeQuery("/")["prompt"]; len(got) != 0 {
		c.Errorf("prompt %q on a plain visit", got)
	}
	if res := b.get("/public/"); res.body != helloNobody {
		c.Errorf("a public page starts %q", res.body)
	}
	c.calls(s, msauthtest.Authorize, 0)
}

func TestCase088_ErrorMeansNotSignedIn(t *testing.T) {
	c := newCase(t)
	c.run("configuration", func(c *testCase) {
		cfg := leastCaseConfig()
		cfg.Keys = nil
		m, err := msauth.New(cfg)
		c.fails(err, "Config.Keys")
		if m != nil {
			c.Error("a Middleware beside an error")
		}
	})
	c.run("a hook that panics", func(c *testCase) {
		s := newSiteInProcess(c.T, func(cfg *msauth.Config) {
			cfg.OnSignIn = func(http.ResponseWriter, *http.Request, *msauth.SignIn) error {
				var nobody *msauth.SignIn
				nobody.AppState = "x"
				return nil
			}
		})
		s.as(msauthtest.Ada)
		b := s.browser(c.T)
		c.refused(b, b.get("/"), http.StatusInternalServerError, "app-error", "OnSignIn panicked")
		c.signedOut(b)
	})
	c.run("a hook that makes AppData too long", func(c *testCase) {
		s := newSiteInProcess(c.T, func(cfg *msauth.Config) {
			cfg.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
				in.AppData = strings.Repeat("x", 513)
				return nil
			}
		})
		s.as(msauthtest.Ada)
		b := s.browser(c.T)
		c.refused(b, b.get("/"), http.StatusInternalServerError, "app-error", "AppData has 513 bytes")
	})
	c.run("a broken store", func(c *testCase) {
		store := &brokenStore{Store: fileStore(c.T)}
		s := newSiteInProcess(c.T, func(cfg *msauth.Config) { cfg.Store = store })
		b := s.browser(c.T)
		b.signIn(msauthtest.Ada)
		store.broken = true
		s.ms.ResetCalls()
		c.page(s, b.get("/a"), http.StatusServiceUnavailable, "unavailable", "the disk is gone")
		if res := b.get("/a", script...); res.StatusCode != http.StatusServiceUnavailable {
			c.Errorf("a script gets status %d", res.StatusCode)
		}
		b.wantGreeting(helloNobody)
		c.silent(s)
		store.broken = false
		b.wantGreeting(helloAda)
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
		s := newSiteInProcess(c.T)
		forged := msauth.NewSession(msauth.User{Name: "Eve"}, nil)
		for _, session := range []*msauth.Session{forged, nil} {
			for _, header := range [][]string{script, navigation} {
				req, _ := http.NewRequest("GET", "/", nil)
				for i := 0; i < len(header); i += 2 {
					req.Header.Set(header[i], header[i+1])
				}
				rec := newRecorder()
				s.auth.Require(http.HandlerFunc(hello)).ServeHTTP(rec, req.WithContext(msauth.NewContext(req.Context(), session)))
				if rec.Code != 401 && rec.Code != 303 {
					c.Errorf("status %d: %s", rec.Code, rec.Body)
				}
			}
		}
		other := newSiteInProcess(c.T) // another Middleware's session is none of ours
		b := other.browser(c.T)
		other.mux.Handle("/nested", other.auth.Require(s.auth.Require(http.HandlerFunc(hello))))
		b.signIn(msauthtest.Ada)
		if res := b.get("/nested", script...); res.StatusCode != 401 {
			c.Errorf("the session of another app opens the page: %d %q", res.StatusCode, res.body)
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
	s := newSiteInProcess(t)
	s.as(msauthtest.Ada)
	spoofed := []string{
		"X-User", "eve", "X_User", "eve", "X-Ms-Client-Principal", "eyJ1c2VySWQiOiJldmUifQ==", "X-Ms-Client-Principal-Name", "eve", "X-Ms-Client-Principal-Id", "eve",
		"X-Ms-Token-Aad-Id-Token", "x", "X-Forwarded-User", "eve", "X-Forwarded-Email", "eve@evil.example", "X-Auth-Request-User", "eve", "Remote-User", "eve",
		"Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJldmUifQ.",
	}
	for _, header := range [][]string{spoofed, append(slices.Clone(spoofed), script...)} {
		res := s.browser(t).still().get("/a", append(slices.Clone(header), "Accept", "text/html")...)
		if res.StatusCode != 303 && res.StatusCode != 401 {
			c.Errorf("status %d, page %q", res.StatusCode, res.body)
		}
		if got := s.browser(t).get("/public/", header...).body; got != helloNobody {
			c.Errorf("page %q", got)
		}
	}
	// The handler gets the request's headers as they came, and none of ours.
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	s.ms.ResetCalls()
	seen := make(chan http.Header, 1)
	s.mux.Handle("/headers", s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })))
	b.get("/headers", script...)
	for name, values := range <-seen {
		if name != "Cookie" && !regexp.MustCompile(`^(Sec-Fetch-(Mode|Dest)|Accept)$`).MatchString(name) {
			c.Errorf("the handler sees %s: %q", name, values)
		}
	}
	c.silent(s)
}
