package require_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

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
			s := testsite.New(t)
			s.Guard("/admin", test.require(s.Auth))
			test.may.Name = "May"
			s.MS.SetUser(test.may)
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			s.MS.ResetCalls()
			res := b.Get("/admin")
			s.WantPage(t, res, http.StatusForbidden, "not-allowed", "missing "+test.name+": ")
			for _, link := range []string{"/auth/login?prompt=select_account&amp;return_to=%2Fadmin", "/auth/logout"} {
				if !strings.Contains(res.Text, `href="`+link+`"`) {
					t.Errorf("the page has no link to %s: %s", link, res.Text)
				}
			}
			if p := b.WantProblem(b.Fetch("/admin"), http.StatusForbidden); p.LoginURL != "" {
				t.Errorf("login_url %q", p.LoginURL)
			}
			s.WantNoCalls(t)
			b.WantGreeting(testsite.HelloAda)

			s.As(test.may.SignInName)
			if res := b.Get("/auth/login?prompt=select_account&return_to=%2Fadmin"); res.Text != "hello May" {
				t.Errorf("as somebody who may: page %.300q; log:\n%s", res.Text, s.Log)
			}
		})
	}
}

func TestGroupsBeyondATokenAreAskedOfGraphOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		groups := make([]string, 300)
		for i := range groups {
			groups[i] = fmt.Sprintf("0b1f4ae6-0000-4000-8000-%012d", i)
		}
		const none = "ffffffff-0000-4000-8000-000000000000"
		s.MS.SetUser(msauthtest.User{SignInName: "many@contoso.example", Name: "Many", Groups: groups})
		s.Guard("/in", s.Auth.RequireGroup(none, groups[250]))
		s.Guard("/out", s.Auth.RequireGroup(none))
		b := s.Browser(t)
		b.SignIn("many@contoso.example")
		s.MS.ResetCalls()
		for range 3 {
			if res := b.Get("/in"); res.Text != "hello Many" {
				t.Fatalf("page %q; log:\n%s", res.Text, s.Log)
			}
			if res := b.Get("/out"); res.Kind() != "not-allowed" {
				t.Fatalf("page %q; log:\n%s", res.Text, s.Log)
			}
		}
		s.WantCalls(t, msauthtest.Graph, 2)

		// It is as old as the other claims, and no older.
		s.MS.SetUser(msauthtest.User{SignInName: "many@contoso.example", Name: "Many", Groups: groups[:250]})
		for range 20 {
			time.Sleep(5 * time.Minute)
			b.Get("/")
		}
		if res := b.Get("/in"); res.Kind() != "not-allowed" {
			t.Errorf("after a renewal: page %q", res.Text)
		}

		// Graph is down: nobody knows, and nobody is let in or signed out.
		s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Status: 500} })
		s.Guard("/else", s.Auth.RequireGroup(groups[3]))
		s.WantPage(t, b.Get("/else"), http.StatusServiceUnavailable, "unavailable", "does not hold the user's groups")
		b.WantProblem(b.Fetch("/else"), http.StatusServiceUnavailable)
		b.WantGreeting("hello Many")
	})
}

func TestRequirementsThatMakeNoSenseAdmitNobody(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprintf("Scope%d", i)
	}
	for name, require := range map[string]func(http.Handler) http.Handler{
		"scope":    s.Auth.RequireScopes("two scopes"),
		"scopes":   s.Auth.RequireScopes(many...),
		"age":      s.Auth.RequireFreshSignIn(time.Second),
		"context":  s.Auth.RequireAuthContext("c100"),
		"tenant":   s.Auth.RequireTenant("contoso"),
		"group":    s.Auth.RequireGroup("Admins"),
		"no role":  s.Auth.RequireRole(),
		"no group": s.Auth.RequireGroup(),
	} {
		path := "/" + strings.ReplaceAll(name, " ", "-")
		s.Guard(path, require)
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		if res := b.Get(path); res.StatusCode != http.StatusInternalServerError && res.Kind() != "not-allowed" {
			t.Errorf("%s: status %d, page %q", name, res.StatusCode, res.Text)
		}
	}
	if got := len(s.Log.With("a handler is closed to everybody")); got != 6 {
		t.Errorf("%d log lines at start-up, want 6", got)
	}
}

func TestSessionTellsFewerScopesThanWereAsked(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, func(c *msauth.Config) { c.Scopes = []string{"User.Read", "Mail.Read"} })
	s.MS.Set(func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Mail.Read"} })
	s.Mux.Handle("/scopes", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		fmt.Fprint(w, session.HasScope("user.read"), session.HasScope("https://graph.microsoft.com/Mail.Read"), slices.Contains(session.Scopes(), "Mail.Read"))
	})))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	if res := b.Get("/scopes"); res.Text != "true false false" {
		t.Errorf("scopes %q", res.Text)
	}
	if lines := s.Log.With("fewer scopes granted than asked for"); len(lines) != 1 || !strings.Contains(lines[0], "missing=Mail.Read") {
		t.Errorf("log lines %q", lines)
	}
	if (&msauth.Session{}).HasScope("User.Read") {
		t.Error("a session of nobody has a scope")
	}
}
