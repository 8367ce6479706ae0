package msauth_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// guard serves a page that a requirement guards.
func (s *site) guard(path string, require func(http.Handler) http.Handler) {
	s.mux.Handle(path, require(http.HandlerFunc(hello)))
}

// fetch asks as a script on the page /seen would.
func (b *browser) fetch(target string) seen {
	b.t.Helper()
	return b.get(target, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin",
		"Accept", "application/json", "Referer", b.site.URL+"/seen?x=1")
}

// A problem is what a script is told (RFC 9457).
type problem struct {
	Type, Title, Detail, ID string
	Status                  int
	LoginURL                string `json:"login_url"`
}

func (b *browser) wantProblem(res seen, status int) (p problem) {
	b.t.Helper()
	if res.StatusCode != status || res.Header.Get("Content-Type") != "application/problem+json" || res.Header.Get("Cache-Control") != "no-store" {
		b.t.Fatalf("status %d of type %q, want a problem document of status %d; body %.300q; log:\n%s",
			res.StatusCode, res.Header.Get("Content-Type"), status, res.body, b.site.log)
	}
	if err := json.Unmarshal([]byte(res.body), &p); err != nil || p.Status != status || p.Title == "" || p.Detail == "" || p.Type != "about:blank" {
		b.t.Fatalf("problem document %q: %v", res.body, err)
	}
	return p
}

// asked is the newest authorize request.
func (s *site) asked(t *testing.T) url.Values {
	t.Helper()
	calls := s.ms.Calls(msauthtest.Authorize)
	if len(calls) == 0 {
		t.Fatal("nobody was sent to sign in")
	}
	return calls[len(calls)-1].Query
}

func TestRequireScopesAsksForConsentOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.guard("/calendar", s.auth.RequireScopes("Calendars.Read"))
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	s.ms.ResetCalls()

	res := b.get("/calendar?week=2")
	if res.body != helloAda || res.Request.URL.RequestURI() != "/calendar?week=2" {
		t.Fatalf("page %q at %s; log:\n%s", res.body, res.Request.URL, s.log)
	}
	asked := s.asked(t)
	if got := strings.Fields(asked.Get("scope")); !slices.Contains(got, "Calendars.Read") || !slices.Contains(got, "User.Read") || !slices.Contains(got, "offline_access") {
		t.Errorf("asked for scopes %q", got)
	}
	if asked.Get("login_hint") == "" || asked.Get("prompt") != "" {
		t.Errorf("login_hint %q, prompt %q: want the person, and no question about who it is", asked.Get("login_hint"), asked.Get("prompt"))
	}
	s.wantCalls(t, msauthtest.Authorize, 1)
	s.wantCalls(t, msauthtest.TokenCode, 1)
	for range 3 {
		if res := b.get("/calendar"); res.body != helloAda {
			t.Errorf("page %q", res.body)
		}
	}
	s.wantCalls(t, msauthtest.Authorize, 1)
	s.wantCalls(t, msauthtest.TokenRefresh, 0)
}

func TestRequireScopesSignsStrangersInFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.guard("/calendar", s.auth.RequireScopes("Calendars.Read"))
	s.as(msauthtest.Ada)
	b := s.browser(t)
	if res := b.get("/calendar"); res.body != helloAda {
		t.Fatalf("page %q; log:\n%s", res.body, s.log)
	}
	s.wantCalls(t, msauthtest.Authorize, 1) // asked for everything at once
	b = s.browser(t)
	p := b.wantProblem(b.fetch("/calendar"), http.StatusUnauthorized)
	if b.get(p.LoginURL); !strings.Contains(p.Detail, "Nobody is signed in") {
		t.Errorf("problem %+v", p)
	}
	if res := b.fetch("/calendar"); res.body != helloAda {
		t.Errorf("after signing in by login_url: %d %q", res.StatusCode, res.body)
	}
	s.wantCalls(t, msauthtest.Authorize, 2)
}

func TestRequireScopesTakesAScopeInEitherForm(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *msauth.Config) { c.Scopes = []string{"https://graph.microsoft.com/Files.Read", "User.Read"} })
	s.guard("/files", s.auth.RequireScopes("files.read", "00000003-0000-0000-c000-000000000000/User.Read", "openid"))
	s.guard("/all", s.auth.RequireScopes("https://graph.microsoft.com/.default"))
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	for _, path := range []string{"/files", "/all"} {
		if res := b.get(path); res.body != helloAda {
			t.Fatalf("%s: page %q; log:\n%s", path, res.body, s.log)
		}
	}
	s.wantCalls(t, msauthtest.Authorize, 1)
}

func TestScopesThatAreNotGrantedEndOnAPageAfterOneRoundTrip(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		behave    func(*msauthtest.Behavior)
		api       string
		wantKind  string
		wantTitle string
		wantLog   string
	}{
		{"the person refuses", func(b *msauthtest.Behavior) { b.RefuseScopes = []string{"Calendars.Read"} }, "", "declined", "stays closed", "AADSTS65004"},
		{"an administrator is needed", func(b *msauthtest.Behavior) { b.AdminScopes = []string{"Calendars.Read"} }, "", "declined", "Only an administrator", "AADSTS90094"},
		{"the scope is never granted", func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Calendars.Read"} }, "", "not-granted", "needs more permissions", "Calendars.Read"},
		{"a scope of another API is never granted", func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"api://orders/Orders.Read"} }, "api://orders/", "not-granted", "needs more permissions", "api://orders/Orders.Read"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			scope := "Calendars.Read"
			if test.api != "" {
				scope = test.api + "Orders.Read"
			}
			s.guard("/more", s.auth.RequireScopes(scope))
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			s.ms.Set(test.behave)
			s.ms.ResetCalls()
			res := b.get("/more")
			s.wantPage(t, res, http.StatusForbidden, test.wantKind, test.wantLog)
			if !strings.Contains(res.body, test.wantTitle) || !strings.Contains(res.body, "still signed in") {
				t.Errorf("page %q, want it to say %q", res.body, test.wantTitle)
			}
			s.wantCalls(t, msauthtest.Authorize, 1)
			b.wantGreeting(helloAda)

			// Once it is granted, the link on the page is the way.
			s.ms.Set(func(b *msauthtest.Behavior) { b.RefuseScopes, b.AdminScopes, b.WithholdScopes = nil, nil, nil })
			again := regexp.MustCompile(`<a href="([^"]*)" target="_top">Ask me again<`).FindStringSubmatch(res.body)[1]
			if res := b.get(strings.ReplaceAll(again, "&amp;", "&")); res.body != helloAda || res.Request.URL.Path != "/more" {
				t.Errorf("asked again by %s: page %.300q at %s; log:\n%s", again, res.body, res.Request.URL, s.log)
			}
		})
	}
}

func TestScriptsAreToldWhereToConsent(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.guard("/api/calendar", s.auth.RequireScopes("Calendars.Read", "Mail.Read"))
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	s.ms.ResetCalls()
	p := b.wantProblem(b.fetch("/api/calendar"), http.StatusUnauthorized)
	if strings.Contains(p.LoginURL, "Calendars") {
		t.Errorf("login_url %q: want the scopes sealed, or anybody could make people consent to others", p.LoginURL)
	}
	s.wantNoCalls(t)
	if res := b.get(p.LoginURL); res.Request.URL.RequestURI() != "/seen?x=1" {
		t.Fatalf("came back to %s, want the page that was seen; log:\n%s", res.Request.URL, s.log)
	}
	if got := s.asked(t); got.Get("scope") != "openid profile email offline_access User.Read Calendars.Read Mail.Read" || got.Get("login_hint") == "" {
		t.Errorf("asked for %q of %q", got.Get("scope"), got.Get("login_hint"))
	}
	if res := b.fetch("/api/calendar"); res.body != helloAda {
		t.Errorf("after consent: %d %q", res.StatusCode, res.body)
	}

	// A script that is asked in vain must not send people round in circles.
	s.ms.Set(func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Tasks.Read"} })
	s.guard("/api/tasks", s.auth.RequireScopes("Tasks.Read"))
	b.get(b.wantProblem(b.fetch("/api/tasks"), http.StatusUnauthorized).LoginURL)
	if p := b.wantProblem(b.fetch("/api/tasks"), http.StatusForbidden); p.LoginURL != "" || p.ID == "" {
		t.Errorf("problem document %+v, want no login_url, and an id", p)
	}
}

func TestLoginTakesScopesSealedOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, query := range []string{"scope=Mail.Read", "scopes=Mail.Read", "claims=%7B%22id_token%22%3A%7B%7D%7D", "max_age=1"} {
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		s.ms.ResetCalls()
		b.get("/auth/login?" + query)
		if got := s.asked(t); strings.Contains(got.Get("scope"), "Mail.Read") || got.Get("claims") != "" || got.Get("max_age") != "" {
			t.Errorf("%s reached Microsoft: %v", query, got)
		}
	}
	link := s.auth.LoginURL(msauth.LoginOptions{ReturnTo: "/mail", Scopes: []string{"Mail.Read"}})
	b := s.browser(t)
	b.get(link)
	if got := s.asked(t).Get("scope"); !strings.HasSuffix(got, " Mail.Read") {
		t.Errorf("a link of ours asked for %q", got)
	}
	sealed := strings.Index(link, "sealed=") + len("sealed=")
	damaged := link[:sealed] + "A" + link[sealed+1:]
	if link[sealed] == 'A' {
		damaged = link[:sealed] + "B" + link[sealed+1:]
	}
	s.wantPage(t, b.get(damaged), http.StatusBadRequest, "bad-request", "sealed is damaged")
}

func TestConsentKeepsWhatTheSessionHadAtOtherProviders(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *msauth.Config) {
		c.Issuer, c.Authority = c.Authority+"/generic", ""
		c.Scopes = []string{"read"}
	})
	s.guard("/write", s.auth.RequireScopes("write"))
	s.guard("/delete", s.auth.RequireScopes("delete"))
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	for _, path := range []string{"/write", "/delete", "/write"} {
		if res := b.get(path); res.body != helloAda {
			t.Fatalf("%s: page %q; log:\n%s", path, res.body, s.log)
		}
	}
	if got := s.asked(t).Get("scope"); !strings.Contains(got, "write") || !strings.Contains(got, "delete") {
		t.Errorf("asked for %q, want what the session had too", got)
	}
	s.wantCalls(t, msauthtest.Authorize, 3)
}

func TestRequireFreshSignIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		s.guard("/codes", s.auth.RequireFreshSignIn(5*time.Minute))
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		if res := b.get("/codes"); res.body != helloAda {
			t.Fatalf("right after signing in: page %q; log:\n%s", res.body, s.log)
		}
		s.wantCalls(t, msauthtest.Authorize, 1)
		time.Sleep(5*time.Minute + time.Second)
		if p := b.wantProblem(b.fetch("/codes"), http.StatusUnauthorized); !strings.Contains(p.LoginURL, "sealed=") {
			t.Errorf("login_url %q", p.LoginURL)
		}
		if res := b.get("/codes?a=b"); res.body != helloAda || res.Request.URL.RequestURI() != "/codes?a=b" {
			t.Fatalf("page %q at %s; log:\n%s", res.body, res.Request.URL, s.log)
		}
		if got := s.asked(t); got.Get("prompt") != "login" || got.Get("max_age") != "300" || got.Get("login_hint") == "" {
			t.Errorf("asked with %v", got)
		}
		s.wantCalls(t, msauthtest.Authorize, 2)
		b.get("/codes")
		s.wantCalls(t, msauthtest.Authorize, 2)
	})
}

// The person spent minutes at Microsoft after the password: what they brought
// is old soon, which is no reason to turn them away.
func TestAFreshSignInThatGrowsOldIsAskedForAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		s.guard("/codes", s.auth.RequireFreshSignIn(5*time.Minute))
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		time.Sleep(time.Hour)
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				claims["auth_time"] = time.Now().Add(-296 * time.Second).Unix()
			}
		})
		for visit := range 3 {
			if res := b.get("/codes"); res.body != helloAda {
				t.Fatalf("visit %d: page %q; log:\n%s", visit, res.kind(), s.log)
			}
			s.wantCalls(t, msauthtest.Authorize, 2+visit)
			time.Sleep(6 * time.Second)
			if p := b.wantProblem(b.fetch("/codes"), http.StatusUnauthorized); p.LoginURL == "" {
				t.Error("a script is not told the way")
			}
		}
	})
}

func TestFreshSignInMustBeProved(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name             string
		behave           func(*msauthtest.Behavior)
		strip            []string // parameters that the person takes out of the address
		wantKind, reason string
		text             string
	}{
		{"no auth_time", func(b *msauthtest.Behavior) { b.OmitAuthTime = true }, nil, "no-auth-time", "auth_time is missing", "Add optional claim, ID, auth_time"},
		{"the parameters are taken out", nil, []string{"prompt", "max_age"}, "not-enough", "auth_time is 1h0m", "Sign in again"},
		{"an old auth_time", func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				claims["auth_time"] = time.Now().Add(-7 * time.Minute).Unix()
			}
		}, nil, "not-enough", "auth_time is 7m0s ago, where 5m0s are allowed", "Sign in again"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSiteInProcess(t)
				s.guard("/codes", s.auth.RequireFreshSignIn(5*time.Minute))
				b := s.browser(t)
				b.signIn(msauthtest.Ada)
				time.Sleep(time.Hour)
				if test.behave != nil {
					s.ms.Set(test.behave)
				}
				still := b.still()
				to, _ := url.Parse(still.get("/codes").Header.Get("Location"))
				q := to.Query()
				for _, name := range test.strip {
					q.Del(name)
				}
				to.RawQuery = q.Encode()
				res := still.get(still.get(to.String()).Header.Get("Location"))
				b.wantRefused(res, http.StatusForbidden, test.wantKind, test.reason)
				if !strings.Contains(res.body, test.text) {
					t.Errorf("page %q, want it to say %q", res.body, test.text)
				}
				b.wantGreeting(helloAda)
			})
		})
	}
}

func TestRequireAuthContext(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.guard("/pay", s.auth.RequireAuthContext("c1"))
	s.guard("/close", s.auth.RequireAuthContext("c2"))
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	for range 2 {
		for _, path := range []string{"/pay", "/close"} {
			if res := b.get(path); res.body != helloAda {
				t.Fatalf("%s: page %q; log:\n%s", path, res.body, s.log)
			}
		}
	}
	s.wantCalls(t, msauthtest.Authorize, 3)
	if got, want := s.asked(t).Get("claims"), `{"id_token":{"acrs":{"essential":true,"values":["c2","c1"]}}}`; got != want {
		t.Errorf("claims %s, want %s", got, want)
	}

	// A provider that takes no notice of the claims.
	s.guard("/more", s.auth.RequireAuthContext("c3"))
	s.ms.Set(func(b *msauthtest.Behavior) { b.IgnoreClaims = true })
	s.ms.ResetCalls()
	s.wantPage(t, b.get("/more"), http.StatusForbidden, "not-enough", `acrs`)
	s.wantCalls(t, msauthtest.Authorize, 1)
	b.wantGreeting(helloAda)
	s.ms.Set(func(b *msauthtest.Behavior) { b.IgnoreClaims, b.RefuseMFA = false, true })
	b = s.browser(t)
	b.signIn(msauthtest.Ada)
	s.wantPage(t, b.get("/more"), http.StatusForbidden, "declined", "AADSTS500121")
	b.wantGreeting(helloAda)
}

func TestPeopleWhoMayNotAreNeverSentToSignIn(t *testing.T) {
	t.Parallel()
	const group = "0b1f4ae6-0000-4000-8000-000000000001"
	tests := []struct {
		name    string
		require func(*msauth.Middleware) func(http.Handler) http.Handler
		may     msauthtest.User
	}{
		{"role", func(m *msauth.Middleware) func(http.Handler) http.Handler { return m.RequireRole("Auditor", "Admin") },
			msauthtest.User{SignInName: "may@contoso.example", Roles: []string{"Admin"}}},
		{"tenant", func(m *msauth.Middleware) func(http.Handler) http.Handler {
			return m.RequireTenant(strings.ToUpper(msauthtest.TenantFabrikam))
		}, msauthtest.User{SignInName: "may@fabrikam.example", TenantID: msauthtest.TenantFabrikam}},
		{"group", func(m *msauth.Middleware) func(http.Handler) http.Handler {
			return m.RequireGroup(strings.ToUpper(group))
		},
			msauthtest.User{SignInName: "may@contoso.example", Groups: []string{group}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.guard("/admin", test.require(s.auth))
			test.may.Name = "May"
			s.ms.SetUser(test.may)
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			s.ms.ResetCalls()
			res := b.get("/admin")
			s.wantPage(t, res, http.StatusForbidden, "not-allowed", "missing "+test.name+": ")
			for _, link := range []string{"/auth/login?prompt=select_account&amp;return_to=%2Fadmin", "/auth/logout"} {
				if !strings.Contains(res.body, `href="`+link+`"`) {
					t.Errorf("the page has no link to %s: %s", link, res.body)
				}
			}
			if p := b.wantProblem(b.fetch("/admin"), http.StatusForbidden); p.LoginURL != "" {
				t.Errorf("login_url %q", p.LoginURL)
			}
			s.wantNoCalls(t)
			b.wantGreeting(helloAda)

			s.as(test.may.SignInName)
			if res := b.get("/auth/login?prompt=select_account&return_to=%2Fadmin"); res.body != "hello May" {
				t.Errorf("as somebody who may: page %.300q; log:\n%s", res.body, s.log)
			}
		})
	}
}

func TestGroupsBeyondATokenAreAskedOfGraphOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		groups := make([]string, 300)
		for i := range groups {
			groups[i] = fmt.Sprintf("0b1f4ae6-0000-4000-8000-%012d", i)
		}
		const none = "ffffffff-0000-4000-8000-000000000000"
		s.ms.SetUser(msauthtest.User{SignInName: "many@contoso.example", Name: "Many", Groups: groups})
		s.guard("/in", s.auth.RequireGroup(none, groups[250]))
		s.guard("/out", s.auth.RequireGroup(none))
		b := s.browser(t)
		b.signIn("many@contoso.example")
		s.ms.ResetCalls()
		for range 3 {
			if res := b.get("/in"); res.body != "hello Many" {
				t.Fatalf("page %q; log:\n%s", res.body, s.log)
			}
			if res := b.get("/out"); res.kind() != "not-allowed" {
				t.Fatalf("page %q; log:\n%s", res.body, s.log)
			}
		}
		s.wantCalls(t, msauthtest.Graph, 2)

		// It is as old as the other claims, and no older.
		s.ms.SetUser(msauthtest.User{SignInName: "many@contoso.example", Name: "Many", Groups: groups[:250]})
		for range 20 {
			time.Sleep(5 * time.Minute)
			b.get("/")
		}
		if res := b.get("/in"); res.kind() != "not-allowed" {
			t.Errorf("after a renewal: page %q", res.body)
		}

		// Graph is down: nobody knows, and nobody is let in or signed out.
		s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Status: 500} })
		s.guard("/else", s.auth.RequireGroup(groups[3]))
		s.wantPage(t, b.get("/else"), http.StatusServiceUnavailable, "unavailable", "does not tell")
		b.wantProblem(b.fetch("/else"), http.StatusServiceUnavailable)
		b.wantGreeting("hello Many")
	})
}

func TestRequirementsThatMakeNoSenseAdmitNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprintf("Scope%d", i)
	}
	for name, require := range map[string]func(http.Handler) http.Handler{
		"scope":    s.auth.RequireScopes("two scopes"),
		"scopes":   s.auth.RequireScopes(many...),
		"age":      s.auth.RequireFreshSignIn(time.Second),
		"context":  s.auth.RequireAuthContext("c100"),
		"tenant":   s.auth.RequireTenant("contoso"),
		"group":    s.auth.RequireGroup("Admins"),
		"no role":  s.auth.RequireRole(),
		"no group": s.auth.RequireGroup(),
	} {
		path := "/" + strings.ReplaceAll(name, " ", "-")
		s.guard(path, require)
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		if res := b.get(path); res.StatusCode != http.StatusInternalServerError && res.kind() != "not-allowed" {
			t.Errorf("%s: status %d, page %q", name, res.StatusCode, res.body)
		}
	}
	if got := len(s.log.with("a handler is closed to everybody")); got != 6 {
		t.Errorf("%d log lines at start-up, want 6", got)
	}
}

func TestSessionTellsFewerScopesThanWereAsked(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *msauth.Config) { c.Scopes = []string{"User.Read", "Mail.Read"} })
	s.ms.Set(func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Mail.Read"} })
	s.mux.Handle("/scopes", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		fmt.Fprint(w, session.HasScope("user.read"), session.HasScope("https://graph.microsoft.com/Mail.Read"), slices.Contains(session.Scopes(), "Mail.Read"))
	})))
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	if res := b.get("/scopes"); res.body != "true false false" {
		t.Errorf("scopes %q", res.body)
	}
	if lines := s.log.with("fewer scopes granted than asked for"); len(lines) != 1 || !strings.Contains(lines[0], "missing=Mail.Read") {
		t.Errorf("log lines %q", lines)
	}
	if (&msauth.Session{}).HasScope("User.Read") {
		t.Error("a session of nobody has a scope")
	}
}

// Pages that redirect to the login link whatever happens.
func TestLoginLinksEndOnAPage(t *testing.T) {
	t.Parallel()
	for name, scopes := range map[string][]string{"claims": nil, "scopes": {"Mail.Read"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s *site
			s = orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
				if scopes == nil {
					session.Client(r.Context()).Get(s.ms.URL + "/v1.0/me")
				}
				http.Redirect(w, r, s.auth.LoginURL(msauth.LoginOptions{ReturnTo: "/do", Scopes: scopes}), http.StatusSeeOther)
			})
			s.ms.Set(func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Mail.Read"} })
			if scopes == nil {
				s.ms.Challenge(msauthtest.Challenge{Forever: true})
			}
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			hops := 0
			b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
				if hops++; hops > 100 {
					return http.ErrUseLastResponse
				}
				s.watch(seen{Response: r.Response})
				return nil
			}
			res := b.get("/do")
			s.wantPage(t, res, http.StatusBadRequest, "loop", "sent to sign in once more")
		})
	}
}

// Whoever clicks through an app that asks for things one by one.
func TestManyDifferentDemandsInARowAreMet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		for i, scope := range []string{"Calendars.Read", "Mail.Read", "Tasks.Read", "Notes.Read", "Files.Read", "Contacts.Read"} {
			path := fmt.Sprint("/", i)
			s.guard(path, s.auth.RequireScopes(scope))
			time.Sleep(3 * time.Second)
			if res := b.get(path); res.body != helloAda {
				t.Fatalf("page %d: %q; log:\n%s", i, res.kind(), s.log)
			}
		}
	})
}

func TestAMemberWhoWasRevokedIsSentToSignIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		groups := make([]string, 300)
		for i := range groups {
			groups[i] = fmt.Sprintf("0b1f4ae6-0000-4000-8000-%012d", i)
		}
		s.ms.SetUser(msauthtest.User{SignInName: "many@contoso.example", Name: "Many", Groups: groups})
		s.guard("/in", s.auth.RequireGroup(groups[250]))
		b := s.browser(t)
		b.signIn("many@contoso.example")
		time.Sleep(2 * time.Minute)
		s.ms.Revoke("many@contoso.example")
		s.ms.Challenge(msauthtest.Challenge{})
		if res := b.get("/in"); res.body != "hello Many" {
			t.Errorf("page %q; log:\n%s", res.kind(), s.log)
		}
	})
}

func TestChallengeWhileTheStoreIsDownSendsNobodyAway(t *testing.T) {
	storing(t, func(t *testing.T, s *site, b *browser, store *files) {
		s.mux.Handle("/public/api", s.auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			_, err := session.Token(r.Context())
			s.auth.Challenge(w, r, err)
		})))
		store.breaks("New", 0, errStoreDown)
		s.wantPage(t, b.still().get("/public/api"), http.StatusServiceUnavailable, "unavailable", errStoreDown.Error())
	})
}

// At other providers a sign-in grants what it names and no more.
func TestOtherDemandsKeepTheScopesToo(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *msauth.Config) {
		c.Issuer, c.Authority = c.Authority+"/generic", ""
		c.Scopes = []string{"read"}
	})
	s.guard("/write", s.auth.RequireScopes("write"))
	s.guard("/pay", s.auth.RequireAuthContext("c1"))
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	b.get("/write")
	b.get("/pay")
	if got := s.asked(t).Get("scope"); !strings.Contains(got, "write") {
		t.Errorf("asked for %q", got)
	}
}

// What one person failed is not asked of the next.
func TestAnotherAccountIsNotAskedForTheClaimsOfTheFirst(t *testing.T) {
	t.Parallel()
	var s *site
	s = orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
		_, err := session.Client(r.Context()).Get(s.ms.URL + "/v1.0/me")
		if err == nil {
			t.Error("not challenged")
		}
	})
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	s.ms.Challenge(msauthtest.Challenge{ACRS: "c1", SignInName: msauthtest.Ada})
	b.get("/do")
	s.as(msauthtest.Bruno)
	b.get("/auth/login?prompt=select_account")
	if got := s.asked(t).Get("claims"); got != "" {
		t.Errorf("claims %s", got)
	}
	b.wantGreeting(helloBruno)
}

// A script of somebody whose session needs a stronger sign-in first changes
// nothing for anybody else.
func TestAStepUpOfOneDoesNotChangeWhatOthersAreAskedFor(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		s.guard("/calendar", s.auth.RequireScopes("Calendars.Read"))
		s.ms.Set(func(b *msauthtest.Behavior) { b.RequireMFA = true })
		time.Sleep(expired)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if res := b.fetch("/calendar"); res.StatusCode != http.StatusUnauthorized {
					t.Errorf("a script: status %d %s", res.StatusCode, res.body)
				}
			})
		}
		wg.Wait()
		asked := func(target string) string {
			t.Helper()
			to, err := s.browser(t).still().get(target).Location()
			if err != nil {
				t.Fatalf("%s does not lead to Microsoft: %v", target, err)
			}
			return to.Query().Get("scope")
		}
		if got := asked("/calendar"); !strings.HasSuffix(got, " Calendars.Read") {
			t.Errorf("a stranger is asked for %q", got)
		}
		stranger := s.browser(t)
		if got := asked(stranger.wantProblem(stranger.fetch("/calendar"), http.StatusUnauthorized).LoginURL); !strings.HasSuffix(got, " Calendars.Read") {
			t.Errorf("by a script's login_url a stranger is asked for %q", got)
		}
	})
}

// Where tokens are not each for one API, a renewal cannot bring a scope that
// nobody has granted.
func TestAScopeThatWasNotGrantedIsNotAskedOfOtherProviders(t *testing.T) {
	t.Parallel()
	var s *site
	s = orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
		_, err := session.Token(r.Context(), "read", "write")
		if r.URL.Query().Has("plain") {
			if failure, ok := errors.AsType[*msauth.AuthError](err); ok {
				fmt.Fprintln(w, errors.Is(err, msauth.ErrSignInRequired), failure.Class, failure.Scopes)
			}
			return
		}
		if !s.auth.Challenge(w, r, err) {
			fmt.Fprint(w, "token: ", err)
		}
	}, func(c *msauth.Config) {
		c.Issuer, c.Authority = c.Authority+"/generic", ""
		c.Scopes, c.TokenHosts = []string{"read"}, nil
	})
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	s.ms.ResetCalls()
	if res := b.get("/do?plain"); res.body != "true step up [write]\n" {
		t.Errorf("the error is %q; log:\n%s", res.body, s.log)
	}
	s.wantNoCalls(t)
	if res := b.get("/do"); res.body != "token: <nil>" {
		t.Fatalf("page %.300q; log:\n%s", res.body, s.log)
	}
	if got := s.asked(t).Get("scope"); got != "openid profile email offline_access read write" {
		t.Errorf("asked for %q", got)
	}
	s.wantCalls(t, msauthtest.Authorize, 1)
	s.wantCalls(t, msauthtest.TokenRefresh, 0)
}

// RFC 6749 section 5.1: a reply need not name the scopes when they are those
// that were asked for.
func TestProvidersThatDoNotNameTheScopesAreAskedOnceForEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t, func(c *msauth.Config) {
			c.Issuer, c.Authority = c.Authority+"/generic", ""
			c.Scopes = []string{"read"}
		})
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "scope") }
		})
		s.guard("/a", s.auth.RequireScopes("a"))
		s.guard("/b", s.auth.RequireScopes("b"))
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		visit := func(path string, sent int) {
			t.Helper()
			if res := b.get(path); res.body != helloAda {
				t.Fatalf("%s: page %q; log:\n%s", path, res.kind(), s.log)
			}
			s.wantCalls(t, msauthtest.Authorize, sent)
		}
		visit("/a", 2)
		visit("/b", 3)
		for range 3 {
			visit("/a", 3)
			visit("/b", 3)
			time.Sleep(2 * time.Hour) // and renewals change nothing
		}
		if got := s.asked(t).Get("scope"); got != "openid profile email offline_access read a b" {
			t.Errorf("asked for %q", got)
		}
	})
}

// A person who fetches ahead has not asked for anything.
func TestPrefetchesOfGuardedPagesAskNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	groups := make([]string, 300)
	for i := range groups {
		groups[i] = fmt.Sprintf("0b1f4ae6-0000-4000-8000-%012d", i)
	}
	s.ms.SetUser(msauthtest.User{SignInName: "many@contoso.example", Name: "Many", Groups: groups})
	s.ms.Consent("many@contoso.example", ordersRead)
	s.guard("/orders", s.auth.RequireScopes(ordersRead))
	s.guard("/in", s.auth.RequireGroup(groups[250]))
	s.guard("/mine", s.auth.RequireScopes("User.Read"))
	s.guard("/tenant", s.auth.RequireTenant(msauthtest.TenantContoso))
	b := s.browser(t)
	b.signIn("many@contoso.example")
	s.ms.ResetCalls()
	prefetch := []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html", "Sec-Purpose", "prefetch"}
	for path, kind := range map[string]msauthtest.Kind{"/orders": msauthtest.TokenRefresh, "/in": msauthtest.Graph} {
		s.ms.ResetCalls()
		res := b.still().get(path, prefetch...)
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Cache-Control") != "no-store" || len(res.Header["Set-Cookie"]) > 0 || res.body != "" {
			t.Errorf("%s: status %d, headers %v, body %.100q", path, res.StatusCode, res.Header, res.body)
		}
		s.wantNoCalls(t)
		if res := b.get(path); res.body != "hello Many" {
			t.Errorf("%s: page %q; log:\n%s", path, res.body, s.log)
		}
		s.wantCalls(t, kind, 1)
	}
	for _, path := range []string{"/mine", "/tenant"} { // nobody needs to be asked
		if res := b.still().get(path, prefetch...); res.body != "hello Many" {
			t.Errorf("%s: status %d %q", path, res.StatusCode, res.body)
		}
	}
}

// What people read after a further sign-in that came to nothing.
func TestPeopleAreToldWhetherTheyAreSignedIn(t *testing.T) {
	t.Parallel()
	const not, still = "You are not signed in", "You are still signed in as before."
	old := func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["auth_time"] = time.Now().Add(-7 * time.Minute).Unix()
		}
	}
	tests := []struct {
		name           string
		behave         func(*msauthtest.Behavior)
		target         string
		kind, reason   string
		stranger, mine string
	}{
		{"no auth_time", func(b *msauthtest.Behavior) { b.OmitAuthTime = true }, "/codes", "no-auth-time", "auth_time is missing", not, still},
		{"an old auth_time", old, "/codes", "not-enough", "auth_time is 7m0s ago", not, still},
		{"cancelled", func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.Authorize] = msauthtest.Failure{Error: "access_denied", Suberror: "cancel"}
		}, "/auth/login?prompt=select_account", "declined", "access_denied", not, still},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSiteInProcess(t)
				s.guard("/codes", s.auth.RequireFreshSignIn(5*time.Minute))
				ada, stranger := s.browser(t), s.browser(t)
				ada.signIn(msauthtest.Ada)
				time.Sleep(time.Hour)
				s.ms.Set(test.behave)
				for b, want := range map[*browser]string{ada: test.mine, stranger: test.stranger} {
					res := b.get(test.target)
					b.wantRefused(res, http.StatusForbidden, test.kind, test.reason)
					if strings.Contains(res.body, not) != (want == not) || strings.Contains(res.body, still) != (want == still) {
						t.Errorf("page %q, want it to say %q", res.body, want)
					}
				}
				ada.wantGreeting(helloAda)
				stranger.wantGreeting(helloNobody)
			})
		})
	}
}

// .default goes with no other scope: who is not signed in signs in first, and is
// asked for it only if the token cannot be had without.
func TestStrangersAreNotAskedForAllOfAnAPIAtOnce(t *testing.T) {
	t.Parallel()
	for _, consented := range []bool{true, false} {
		t.Run(fmt.Sprintf("consented %v", consented), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
			if consented {
				s.ms.Consent(msauthtest.Ada, ordersRead)
			}
			s.guard("/orders", s.auth.RequireScopes("api://orders/.default"))
			s.as(msauthtest.Ada)
			b := s.browser(t)
			if p := b.wantProblem(b.fetch("/orders"), http.StatusUnauthorized); p.LoginURL != "/auth/login?return_to=%2Fseen%3Fx%3D1" {
				t.Errorf("login_url %q", p.LoginURL)
			}
			if res := b.get("/orders"); res.body != helloAda {
				t.Fatalf("page %.300q; log:\n%s", res.body, s.log)
			}
			want := []string{"openid profile email offline_access User.Read"}
			if !consented {
				want = append(want, "openid profile email offline_access api://orders/.default")
			}
			var got []string
			for _, call := range s.ms.Calls(msauthtest.Authorize) {
				got = append(got, call.Query.Get("scope"))
			}
			if !slices.Equal(got, want) {
				t.Errorf("asked for %q, want %q", got, want)
			}
			if n := s.ms.Count(msauthtest.TokenRefresh); consented && n != 1 {
				t.Errorf("%d token requests, want 1", n)
			}
		})
	}
}

// At other providers a sign-in asks again for all that the session had. What is
// too much for its state is asked for all the same.
func TestSessionsOfManyScopesCanBeAskedForMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		s.restart(t, generic(s))
		s.guard("/fresh", s.auth.RequireFreshSignIn(time.Minute))
		many := strings.Fields("openid profile email offline_access")
		for i := range 45 {
			many = append(many, fmt.Sprintf("%016x.read", i*i*i*7_919))
		}
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["scope"] = strings.Join(many, " ") }
		})
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		time.Sleep(2 * time.Minute)
		s.ms.ResetCalls()
		if res := b.get("/fresh"); res.body != helloAda {
			t.Fatalf("status %d, page %s", res.StatusCode, res.kind())
		}
		asked := strings.Fields(s.ms.Calls(msauthtest.Authorize)[0].Query.Get("scope"))
		for _, scope := range many {
			if !slices.Contains(asked, scope) {
				t.Errorf("%s is not asked for", scope)
			}
		}
	})
}
