package requests_test

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A frame or a script that follows a login link cannot go to Microsoft: what it
// is given in its place leads to the same sign-in.
func TestLoginLinksKeepTheirMeaningInFramesAndScripts(t *testing.T) {
	t.Parallel()
	const seen = "https://app.test/seen?x=1"
	frame := []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "same-origin", "Accept", "text/html", "Referer", seen}
	script := []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin", "Accept", "application/json", "Referer", seen}
	tests := []struct {
		name   string
		header []string
		link   msauth.LoginOptions
		fresh  bool // it is the link of a page that wants a fresh sign-in
		want   map[string]string
		comes  string // back to
	}{
		{"frame", frame, msauth.LoginOptions{
			ReturnTo: "/c?y=2", Prompt: "select_account", LoginHint: msauthtest.Ada, DomainHint: "contoso.example", UILocales: "fr-CA fr",
			AppState: "state", Scopes: []string{"Mail.Read"},
		}, false, map[string]string{
			"scope": "openid profile email offline_access User.Read Mail.Read", "prompt": "select_account", "login_hint": msauthtest.Ada,
			"domain_hint": "contoso.example", "ui_locales": "fr-CA fr",
		}, "/c?y=2"},
		{"script", script, msauth.LoginOptions{
			ReturnTo: "/c?y=2", Prompt: "login", LoginHint: msauthtest.Ada, AppState: "state", Scopes: []string{"Mail.Read"},
		}, false, map[string]string{
			"scope": "openid profile email offline_access User.Read Mail.Read", "prompt": "login", "login_hint": msauthtest.Ada,
		}, "/c?y=2"},
		{"frame, to nowhere", frame, msauth.LoginOptions{AppState: "state"}, false, nil, "/seen?x=1"},
		{"script, to nowhere", script, msauth.LoginOptions{AppState: "state"}, false, nil, "/seen?x=1"},
		{"frame of a page that wants a fresh sign-in", frame, msauth.LoginOptions{}, true, map[string]string{"prompt": "login", "max_age": "300"}, "/seen?x=1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var appState string
			s := testsite.NewInProcess(t, func(c *msauth.Config) {
				c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
					appState = in.AppState
					return nil
				}
			})
			s.Guard("/codes", s.Auth.RequireFreshSignIn(5*time.Minute))
			s.As(msauthtest.Ada)
			b := s.Browser(t)
			link := s.Auth.LoginURL(test.link)
			if test.fresh {
				link = b.WantProblem(b.Get("/codes", script...), http.StatusUnauthorized).LoginURL
			}
			res := b.Still().Get(link, test.header...)
			given := ""
			if slices.Contains(test.header, "iframe") {
				s.WantPage(t, res, http.StatusUnauthorized, "sign-in-required", "")
				if m := signInLink.FindStringSubmatch(res.Text); m != nil {
					given = html.UnescapeString(m[1])
				}
			} else {
				given = b.WantProblem(res, http.StatusUnauthorized).LoginURL
			}
			if len(res.Cookies()) > 0 {
				t.Errorf("cookies %v", res.Cookies())
			}
			s.WantNoCalls(t)
			back := b.Attempt(given)
			asked := s.Asked(t)
			for name, want := range test.want {
				if got := asked.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if got := b.Still().Get(back).Header.Get("Location"); got != test.comes || appState != test.link.AppState {
				t.Errorf("leads to %s with AppState %q, want %s with %q", got, appState, test.comes, test.link.AppState)
			}
		})
	}
}

func TestFramesOfTheSiteMayShowThePage(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	for dest, want := range map[string]string{"iframe": "'self'", "frame": "'self'", "object": "'none'", "empty": "'none'"} {
		res := s.Browser(t).Get("/", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", dest, "Accept", "text/html")
		csp := res.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "frame-ancestors "+want) || (res.Header.Get("X-Frame-Options") == "DENY") != (want == "'none'") {
			t.Errorf("%s: policy %q, X-Frame-Options %q, want frame-ancestors %s", dest, csp, res.Header.Get("X-Frame-Options"), want)
		}
	}
}

func TestSessionCheckTakesNoNoteOfIdentityHeaders(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	spoofed := []string{"X-User", "ada", "X_User", "ada", "X-Ms-Client-Principal", "eyJ9", "X-Forwarded-User", "ada", "Authorization", "Bearer x", "Remote-User", "ada", "X-Remote-User", "ada"}
	b := s.Browser(t)
	if got := b.Get("/public/", spoofed...).Text; got != testsite.HelloNobody {
		t.Errorf("page %q, want %q", got, testsite.HelloNobody)
	}
	b.SignIn(msauthtest.Ada)
	s.Mux.Handle("/echo", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(spoofed); i += 2 {
			if got := r.Header.Get(spoofed[i]); got != spoofed[i+1] {
				t.Errorf("%s reaches the app as %q", spoofed[i], got)
			}
		}
		if len(r.Header) != len(spoofed)/2+4 { // three of a navigation, and Cookie
			t.Errorf("headers %v, want no others", r.Header)
		}
	})))
	b.Get("/echo", append(spoofed, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html")...)
}

func TestLoadInsideLoadDoesNothingMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		var sessions []*msauth.Session
		note := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				sessions = append(sessions, session)
				next.ServeHTTP(w, r)
			})
		}
		s.Mux.Handle("/nested", s.Auth.Load(note(s.Auth.Require(note(s.Auth.Load(note(http.HandlerFunc(testsite.Hello))))))))
		time.Sleep(2 * time.Hour) // due
		s.MS.ResetCalls()
		res := b.Get("/nested")
		if res.Text != testsite.HelloAda || len(sessions) != 3 || sessions[0] == nil || sessions[0] != sessions[1] || sessions[1] != sessions[2] {
			t.Errorf("page %q, sessions %v", res.Text, sessions)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		if n := len(res.Header["Set-Cookie"]); n != 1 || res.Header.Get("Vary") != "Cookie" {
			t.Errorf("%d Set-Cookie lines, Vary %q", n, res.Header.Get("Vary"))
		}
	})
}

func TestRequireTrustsOnlyWhatItReadItself(t *testing.T) {
	t.Parallel()
	s, other := testsite.NewInProcess(t), testsite.NewInProcess(t)
	injected := msauth.NewSession(msauth.User{Name: "Mallory", TenantID: msauthtest.TenantContoso, ObjectID: "1"}, nil)
	ask := func(h http.Handler, change func(*http.Request) *http.Request) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "https://app.test/", nil)
		r.Header.Set("Accept", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, change(r))
		return w
	}
	inject := func(r *http.Request) *http.Request { return r.WithContext(msauth.NewContext(r.Context(), injected)) }
	if got := ask(s.Auth.Require(http.HandlerFunc(testsite.Hello)), inject).Code; got != http.StatusUnauthorized {
		t.Errorf("status %d for an injected session, want 401", got)
	}
	if got := ask(s.Auth.Load(http.HandlerFunc(testsite.Hello)), inject).Body.String(); got != testsite.HelloNobody {
		t.Errorf("Load shows %q for an injected session, want %q", got, testsite.HelloNobody)
	}
	if got := ask(http.HandlerFunc(testsite.Hello), inject).Body.String(); got != "hello Mallory" {
		t.Errorf("a handler under test sees %q", got)
	}
	// A session of another Middleware is no session of this one.
	b := other.Browser(t)
	b.SignIn(msauthtest.Ada)
	carry := func(r *http.Request) *http.Request {
		for _, c := range b.Cookies() {
			r.AddCookie(c)
		}
		return r
	}
	nested := other.Auth.Load(s.Auth.Require(http.HandlerFunc(testsite.Hello)))
	if got := ask(nested, carry).Code; got != http.StatusUnauthorized {
		t.Errorf("status %d for a session of another Middleware, want 401", got)
	}
}

func TestFromContextOfNothing(t *testing.T) {
	t.Parallel()
	if session, ok := msauth.FromContext(t.Context()); ok || session != nil {
		t.Errorf("a session %v in an empty context", session)
	}
	if session, ok := msauth.FromContext(msauth.NewContext(t.Context(), nil)); ok || session != nil {
		t.Errorf("a nil session counts as one: %v", session)
	}
	r := httptest.NewRequest("GET", "/", nil)
	testsite.NewInProcess(t).Auth.Load(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		session, ok := msauth.FromContext(r.Context())
		if ok || session != nil {
			t.Errorf("a session %v of nobody", session)
		}
		if _, err := session.Token(r.Context()); err != msauth.ErrNoSession {
			t.Errorf("Token of nobody returns %v", err)
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
}

// The ResponseWriter that a handler gets is the server's own, so that flushing,
// hijacking, deadlines and the like work.
func TestResponseWriterIsNotWrapped(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	r := httptest.NewRequest("GET", "https://app.test/", nil)
	for _, c := range b.Cookies() {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	reached := false
	s.Auth.Require(s.Auth.Load(http.HandlerFunc(func(got http.ResponseWriter, _ *http.Request) {
		if reached = true; got != http.ResponseWriter(w) {
			t.Errorf("the handler gets a %T", got)
		}
	}))).ServeHTTP(w, r)
	if !reached {
		t.Error("the handler was not reached")
	}
}

func TestCachesKeepNothing(t *testing.T) {
	t.Parallel()
	cacheable := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("do") {
		case "set":
			w.Header().Set("Cache-Control", "public, max-age=3600")
			w.Header().Set("Vary", "Accept-Encoding")
		case "delete":
			w.Header().Del("Cache-Control")
		}
		io.WriteString(w, "page")
	})
	tests := []struct {
		name string
		path string
		due  bool   // a cookie is written
		want string // Cache-Control
	}{
		{"protected", "/private", false, "no-store"},
		{"protected, said otherwise", "/private?do=set", false, "public, max-age=3600"},
		{"protected, with a cookie", "/private", true, "no-store, no-store"},
		{"protected, said otherwise with a cookie", "/private?do=set", true, "no-store, public, max-age=3600"},
		{"protected, deleted with a cookie", "/private?do=delete", true, "no-store"},
		{"public", "/open", false, ""},
		{"public, with a cookie", "/open", true, "no-store"},
		{"public, said otherwise with a cookie", "/open?do=set", true, "no-store, public, max-age=3600"},
		{"public, deleted with a cookie", "/open?do=delete", true, "no-store"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t) // the wire decides
			s.Mux.Handle("/private", s.Auth.Require(cacheable))
			s.Mux.Handle("/open", s.Auth.Load(cacheable))
			b := s.Browser(t)
			if test.due {
				b.SignInExpired(msauthtest.Ada)
			} else {
				b.SignIn(msauthtest.Ada)
			}
			res := b.Get(test.path)
			lines := slices.Sorted(slices.Values(res.Header["Cache-Control"]))
			if got := strings.Join(lines, ", "); res.Text != "page" || got != test.want {
				t.Errorf("page %q, Cache-Control %q, want %q", res.Text, got, test.want)
			}
			if got := len(res.Cookies()) > 0; got != test.due {
				t.Errorf("cookies %v", res.Cookies())
			}
			if !strings.Contains(test.path, "do=set") && !strings.Contains(res.Header.Get("Vary"), "Cookie") {
				t.Errorf("Vary %q", res.Header.Get("Vary"))
			}
		})
	}
}

func TestGarbageIsClearedOnNavigationsOnly(t *testing.T) {
	t.Parallel()
	const name = "__Host-msauth-fixed1"
	script := []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "*/*"}
	tests := []struct {
		name   string
		path   string
		header []string
		status int
		want   int // lines at level Info
	}{
		{"navigation", "/", nil, 303, 1},
		{"navigation to a public page", "/public/", nil, 200, 1},
		{"script", "/", script, 401, 0},
		{"script on a public page", "/public/", script, 200, 0},
		{"prefetch", "/", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Purpose", "prefetch"}, 401, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t, func(c *msauth.Config) { c.CookieName = "msauth-fixed1" })
			b := s.Browser(t)
			b.Keep(name, "1"+strings.Repeat("garbage", 20))
			b.Keep(name+"-3", "stale")
			b.Keep("theirs", "x")
			res := b.Still().Get(test.path, test.header...)
			if res.StatusCode != test.status {
				t.Errorf("status %d, want %d", res.StatusCode, test.status)
			}
			if got := len(s.Log.With("level=INFO msg=\"msauth: session")); got != test.want {
				t.Errorf("%d lines at level Info, want %d:\n%s", got, test.want, s.Log)
			}
			if got := len(b.Session()) == 0; got != (test.want == 1) {
				t.Errorf("cookies left: %v", b.Session())
			}
			if test.want == 1 && len(s.Log.With("reason=unreadable")) != 1 {
				t.Errorf("log %s, want the reason", s.Log)
			}
		})
	}
}

func TestProviderThatSignsInWithoutAPageDoesNotLoop(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	hops := 0
	b.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if hops++; hops > 20 {
			return fmt.Errorf("loop at %s", r.URL)
		}
		// Something on the way drops every session.
		for _, c := range b.Session() {
			b.Keep(c.Name, "")
		}
		for _, c := range b.Session() {
			r.Header.Del("Cookie")
			t.Errorf("%s was not dropped", c.Name)
		}
		return nil
	}
	res := b.Get("/page")
	s.WantPage(t, res, 400, "loop", "no session came back")
	s.WantCalls(t, msauthtest.Authorize, 1)
}

// Nor is their time up any later.
func TestLoginLinksDoNotLiveLongerByWayOfScripts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := ""
		s := testsite.NewInProcess(t, func(c *msauth.Config) {
			c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
				state = in.AppState
				return nil
			}
		})
		link := s.Auth.LoginURL(msauth.LoginOptions{AppState: "an invitation"})
		b := s.Browser(t)
		for range 3 {
			time.Sleep(24 * time.Hour)
			res := b.Fetch(link)
			if res.StatusCode == http.StatusBadRequest {
				break
			}
			link = b.WantProblem(res, http.StatusUnauthorized).LoginURL
		}
		s.As(msauthtest.Ada)
		if res := b.Get(link); res.StatusCode != http.StatusBadRequest || state != "" {
			t.Errorf("after three days: status %d, and the sign-in has the state %q", res.StatusCode, state)
		}
	})
}

// A page that is open to everybody may send people to sign in by itself.
func TestPageThatSendsEverybodyToSignInEndsInAPage(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	s.Mux.Handle("/own", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := msauth.FromContext(r.Context()); !ok {
			http.Redirect(w, r, s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/own"}), http.StatusSeeOther)
			return
		}
		testsite.Hello(w, r)
	})))
	b := s.Browser(t)
	b.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > 20 {
			return fmt.Errorf("loop at %s", r.URL)
		}
		for _, c := range b.Session() { // something drops every session
			b.Keep(c.Name, "")
		}
		return nil
	}
	res := b.Get("/own")
	s.WantPage(t, res, 400, "loop", "no session came back")
	s.WantCalls(t, msauthtest.Authorize, 1)

	// Trying again is a click, also where the marker cannot be deleted.
	_, session := testsite.AdaSession(t, s)
	b.Keep(session.Name+"-ok", "1")
	b.CheckRedirect = nil
	if got := b.Get(testsite.LinksOf(res)[0]); got.Text != testsite.HelloAda || got.Request.URL.Path != "/own" {
		t.Errorf("trying again leads to %q at %s", got.Text, got.Request.URL)
	}
	b.Request("POST", "/auth/logout", testsite.OwnPage...)
	if got := b.Get("/own"); got.Text != testsite.HelloAda {
		t.Errorf("after a sign-out: %q", got.Text)
	}
}
