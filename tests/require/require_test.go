package require_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestRequireScopesAsksForConsentOnce(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Guard("/calendar", s.Auth.RequireScopes("Calendars.Read"))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.MS.ResetCalls()

	res := b.Get("/calendar?week=2")
	if res.Text != testsite.HelloAda || res.Request.URL.RequestURI() != "/calendar?week=2" {
		t.Fatalf("page %q at %s; log:\n%s", res.Text, res.Request.URL, s.Log)
	}
	asked := s.Asked(t)
	if got := strings.Fields(asked.Get("scope")); !slices.Contains(got, "Calendars.Read") || !slices.Contains(got, "User.Read") || !slices.Contains(got, "offline_access") {
		t.Errorf("asked for scopes %q", got)
	}
	if asked.Get("login_hint") == "" || asked.Get("prompt") != "" {
		t.Errorf("login_hint %q, prompt %q: want the person, and no question about who it is", asked.Get("login_hint"), asked.Get("prompt"))
	}
	s.WantCalls(t, msauthtest.Authorize, 1)
	s.WantCalls(t, msauthtest.TokenCode, 1)
	for range 3 {
		if res := b.Get("/calendar"); res.Text != testsite.HelloAda {
			t.Errorf("page %q", res.Text)
		}
	}
	s.WantCalls(t, msauthtest.Authorize, 1)
	s.WantCalls(t, msauthtest.TokenRefresh, 0)
}

func TestRequireScopesSignsStrangersInFirst(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Guard("/calendar", s.Auth.RequireScopes("Calendars.Read"))
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	if res := b.Get("/calendar"); res.Text != testsite.HelloAda {
		t.Fatalf("page %q; log:\n%s", res.Text, s.Log)
	}
	s.WantCalls(t, msauthtest.Authorize, 1) // asked for everything at once
	b = s.Browser(t)
	p := b.WantProblem(b.Fetch("/calendar"), http.StatusUnauthorized)
	if b.Get(p.LoginURL); !strings.Contains(p.Title, "You are not signed in") {
		t.Errorf("problem %+v", p)
	}
	if res := b.Fetch("/calendar"); res.Text != testsite.HelloAda {
		t.Errorf("after signing in by login_url: %d %q", res.StatusCode, res.Text)
	}
	s.WantCalls(t, msauthtest.Authorize, 2)
}

func TestRequireScopesTakesAScopeInEitherForm(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, func(c *msauth.Config) { c.Scopes = []string{"https://graph.microsoft.com/Files.Read", "User.Read"} })
	s.Guard("/files", s.Auth.RequireScopes("files.read", "00000003-0000-0000-c000-000000000000/User.Read", "openid"))
	s.Guard("/all", s.Auth.RequireScopes("https://graph.microsoft.com/.default"))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	for _, path := range []string{"/files", "/all"} {
		if res := b.Get(path); res.Text != testsite.HelloAda {
			t.Fatalf("%s: page %q; log:\n%s", path, res.Text, s.Log)
		}
	}
	s.WantCalls(t, msauthtest.Authorize, 1)
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
		{"the person refuses", func(b *msauthtest.Behavior) { b.RefuseScopes = []string{"Calendars.Read"} }, "", "declined", "You did not approve this", "AADSTS65004"},
		{"an administrator is needed", func(b *msauthtest.Behavior) { b.AdminScopes = []string{"Calendars.Read"} }, "", "declined", "Only an administrator", "AADSTS90094"},
		{"the scope is never granted", func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Calendars.Read"} }, "", "not-granted", "needs more permissions", "Calendars.Read"},
		{"a scope of another API is never granted", func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"api://orders/Orders.Read"} }, "api://orders/", "not-granted", "needs more permissions", "api://orders/Orders.Read"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t)
			scope := "Calendars.Read"
			if test.api != "" {
				scope = test.api + "Orders.Read"
			}
			s.Guard("/more", s.Auth.RequireScopes(scope))
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			s.MS.Set(test.behave)
			s.MS.ResetCalls()
			res := b.Get("/more")
			s.WantPage(t, res, http.StatusForbidden, test.wantKind, test.wantLog)
			if !strings.Contains(res.Text, test.wantTitle) || !strings.Contains(res.Text, "still signed in") {
				t.Errorf("page %q, want it to say %q", res.Text, test.wantTitle)
			}
			s.WantCalls(t, msauthtest.Authorize, 1)
			b.WantGreeting(testsite.HelloAda)

			// Once it is granted, the link on the page is the way.
			s.MS.Set(func(b *msauthtest.Behavior) { b.RefuseScopes, b.AdminScopes, b.WithholdScopes = nil, nil, nil })
			again := regexp.MustCompile(`<a href="([^"]*)" target="_top">Ask me again<`).FindStringSubmatch(res.Text)[1]
			if res := b.Get(strings.ReplaceAll(again, "&amp;", "&")); res.Text != testsite.HelloAda || res.Request.URL.Path != "/more" {
				t.Errorf("asked again by %s: page %.300q at %s; log:\n%s", again, res.Text, res.Request.URL, s.Log)
			}
		})
	}
}

func TestScriptsAreToldWhereToConsent(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Guard("/api/calendar", s.Auth.RequireScopes("Calendars.Read", "Mail.Read"))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.MS.ResetCalls()
	p := b.WantProblem(b.Fetch("/api/calendar"), http.StatusUnauthorized)
	if strings.Contains(p.LoginURL, "Calendars") {
		t.Errorf("login_url %q: want the scopes sealed, or anybody could make people consent to others", p.LoginURL)
	}
	s.WantNoCalls(t)
	if res := b.Get(p.LoginURL); res.Request.URL.RequestURI() != "/seen?x=1" {
		t.Fatalf("came back to %s, want the page that was seen; log:\n%s", res.Request.URL, s.Log)
	}
	if got := s.Asked(t); got.Get("scope") != "openid profile email offline_access User.Read Calendars.Read Mail.Read" || got.Get("login_hint") == "" {
		t.Errorf("asked for %q of %q", got.Get("scope"), got.Get("login_hint"))
	}
	if res := b.Fetch("/api/calendar"); res.Text != testsite.HelloAda {
		t.Errorf("after consent: %d %q", res.StatusCode, res.Text)
	}

	// A script that is asked in vain must not send people round in circles.
	s.MS.Set(func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Tasks.Read"} })
	s.Guard("/api/tasks", s.Auth.RequireScopes("Tasks.Read"))
	b.Get(b.WantProblem(b.Fetch("/api/tasks"), http.StatusUnauthorized).LoginURL)
	if p := b.WantProblem(b.Fetch("/api/tasks"), http.StatusForbidden); p.LoginURL != "" || p.ID == "" {
		t.Errorf("problem document %+v, want no login_url, and an id", p)
	}
}

func TestLoginTakesScopesSealedOnly(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	for _, query := range []string{"scope=Mail.Read", "scopes=Mail.Read", "claims=%7B%22id_token%22%3A%7B%7D%7D", "max_age=1"} {
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		s.MS.ResetCalls()
		b.Get("/auth/login?" + query)
		if got := s.Asked(t); strings.Contains(got.Get("scope"), "Mail.Read") || got.Get("claims") != "" || got.Get("max_age") != "" {
			t.Errorf("%s reached Microsoft: %v", query, got)
		}
	}
	link := s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/mail", Scopes: []string{"Mail.Read"}})
	b := s.Browser(t)
	b.Get(link)
	if got := s.Asked(t).Get("scope"); !strings.HasSuffix(got, " Mail.Read") {
		t.Errorf("a link of ours asked for %q", got)
	}
	sealed := strings.Index(link, "sealed=") + len("sealed=")
	damaged := link[:sealed] + "A" + link[sealed+1:]
	if link[sealed] == 'A' {
		damaged = link[:sealed] + "B" + link[sealed+1:]
	}
	s.WantPage(t, b.Get(damaged), http.StatusBadRequest, "bad-request", "sealed is damaged")
}

func TestConsentKeepsWhatTheSessionHadAtOtherProviders(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, func(c *msauth.Config) {
		c.Issuer, c.Authority = c.Authority+"/generic", ""
		c.Scopes = []string{"read"}
	})
	s.Guard("/write", s.Auth.RequireScopes("write"))
	s.Guard("/delete", s.Auth.RequireScopes("delete"))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	for _, path := range []string{"/write", "/delete", "/write"} {
		if res := b.Get(path); res.Text != testsite.HelloAda {
			t.Fatalf("%s: page %q; log:\n%s", path, res.Text, s.Log)
		}
	}
	if got := s.Asked(t).Get("scope"); !strings.Contains(got, "write") || !strings.Contains(got, "delete") {
		t.Errorf("asked for %q, want what the session had too", got)
	}
	s.WantCalls(t, msauthtest.Authorize, 3)
}

func TestRequireFreshSignIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.Guard("/codes", s.Auth.RequireFreshSignIn(5*time.Minute))
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		if res := b.Get("/codes"); res.Text != testsite.HelloAda {
			t.Fatalf("right after signing in: page %q; log:\n%s", res.Text, s.Log)
		}
		s.WantCalls(t, msauthtest.Authorize, 1)
		time.Sleep(5*time.Minute + time.Second)
		if p := b.WantProblem(b.Fetch("/codes"), http.StatusUnauthorized); !strings.Contains(p.LoginURL, "sealed=") {
			t.Errorf("login_url %q", p.LoginURL)
		}
		if res := b.Get("/codes?a=b"); res.Text != testsite.HelloAda || res.Request.URL.RequestURI() != "/codes?a=b" {
			t.Fatalf("page %q at %s; log:\n%s", res.Text, res.Request.URL, s.Log)
		}
		if got := s.Asked(t); got.Get("prompt") != "login" || got.Get("max_age") != "300" || got.Get("login_hint") == "" {
			t.Errorf("asked with %v", got)
		}
		s.WantCalls(t, msauthtest.Authorize, 2)
		b.Get("/codes")
		s.WantCalls(t, msauthtest.Authorize, 2)
	})
}

// The person spent minutes at Microsoft after the password: what they brought
// is old soon, which is no reason to turn them away.
func TestAFreshSignInThatGrowsOldIsAskedForAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.Guard("/codes", s.Auth.RequireFreshSignIn(5*time.Minute))
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		time.Sleep(time.Hour)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				claims["auth_time"] = time.Now().Add(-296 * time.Second).Unix()
			}
		})
		for visit := range 3 {
			if res := b.Get("/codes"); res.Text != testsite.HelloAda {
				t.Fatalf("visit %d: page %q; log:\n%s", visit, res.Kind(), s.Log)
			}
			s.WantCalls(t, msauthtest.Authorize, 2+visit)
			time.Sleep(6 * time.Second)
			if p := b.WantProblem(b.Fetch("/codes"), http.StatusUnauthorized); p.LoginURL == "" {
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
				s := testsite.NewInProcess(t)
				s.Guard("/codes", s.Auth.RequireFreshSignIn(5*time.Minute))
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				time.Sleep(time.Hour)
				if test.behave != nil {
					s.MS.Set(test.behave)
				}
				still := b.Still()
				to, _ := url.Parse(still.Get("/codes").Header.Get("Location"))
				q := to.Query()
				for _, name := range test.strip {
					q.Del(name)
				}
				to.RawQuery = q.Encode()
				res := still.Get(still.Get(to.String()).Header.Get("Location"))
				b.WantRefused(res, http.StatusForbidden, test.wantKind, test.reason)
				if !strings.Contains(res.Text, test.text) {
					t.Errorf("page %q, want it to say %q", res.Text, test.text)
				}
				b.WantGreeting(testsite.HelloAda)
			})
		})
	}
}

func TestRequireAuthContext(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Guard("/pay", s.Auth.RequireAuthContext("c1"))
	s.Guard("/close", s.Auth.RequireAuthContext("c2"))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	for range 2 {
		for _, path := range []string{"/pay", "/close"} {
			if res := b.Get(path); res.Text != testsite.HelloAda {
				t.Fatalf("%s: page %q; log:\n%s", path, res.Text, s.Log)
			}
		}
	}
	s.WantCalls(t, msauthtest.Authorize, 3)
	if got, want := s.Asked(t).Get("claims"), `{"id_token":{"acrs":{"essential":true,"values":["c2","c1"]}}}`; got != want {
		t.Errorf("claims %s, want %s", got, want)
	}

	// A provider that takes no notice of the claims.
	s.Guard("/more", s.Auth.RequireAuthContext("c3"))
	s.MS.Set(func(b *msauthtest.Behavior) { b.IgnoreClaims = true })
	s.MS.ResetCalls()
	s.WantPage(t, b.Get("/more"), http.StatusForbidden, "not-enough", `acrs`)
	s.WantCalls(t, msauthtest.Authorize, 1)
	b.WantGreeting(testsite.HelloAda)
	s.MS.Set(func(b *msauthtest.Behavior) { b.IgnoreClaims, b.RefuseMFA = false, true })
	b = s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.WantPage(t, b.Get("/more"), http.StatusForbidden, "declined", "AADSTS500121")
	b.WantGreeting(testsite.HelloAda)
}
