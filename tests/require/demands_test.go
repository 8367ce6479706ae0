package require_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// Pages that redirect to the login link whatever happens.
func TestLoginLinksEndOnAPage(t *testing.T) {
	t.Parallel()
	for name, scopes := range map[string][]string{"claims": nil, "scopes": {"Mail.Read"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s *testsite.Site
			s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
				if scopes == nil {
					session.Client(r.Context()).Get(s.MS.URL + "/v1.0/me")
				}
				http.Redirect(w, r, s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/do", Scopes: scopes}), http.StatusSeeOther)
			})
			s.MS.Set(func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Mail.Read"} })
			if scopes == nil {
				s.MS.Challenge(msauthtest.Challenge{Forever: true})
			}
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			hops := 0
			b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
				if hops++; hops > 100 {
					return http.ErrUseLastResponse
				}
				s.Watch(testsite.Seen{Response: r.Response})
				return nil
			}
			res := b.Get("/do")
			s.WantPage(t, res, http.StatusBadRequest, "loop", "sent to sign in once more")
		})
	}
}

// Whoever clicks through an app that asks for things one by one.
func TestManyDifferentDemandsInARowAreMet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		for i, scope := range []string{"Calendars.Read", "Mail.Read", "Tasks.Read", "Notes.Read", "Files.Read", "Contacts.Read"} {
			path := fmt.Sprint("/", i)
			s.Guard(path, s.Auth.RequireScopes(scope))
			time.Sleep(3 * time.Second)
			if res := b.Get(path); res.Text != testsite.HelloAda {
				t.Fatalf("page %d: %q; log:\n%s", i, res.Kind(), s.Log)
			}
		}
	})
}

func TestAMemberWhoWasRevokedIsSentToSignIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		groups := make([]string, 300)
		for i := range groups {
			groups[i] = fmt.Sprintf("0b1f4ae6-0000-4000-8000-%012d", i)
		}
		s.MS.SetUser(msauthtest.User{SignInName: "many@contoso.example", Name: "Many", Groups: groups})
		s.Guard("/in", s.Auth.RequireGroup(groups[250]))
		b := s.Browser(t)
		b.SignIn("many@contoso.example")
		time.Sleep(2 * time.Minute)
		s.MS.Revoke("many@contoso.example")
		s.MS.Challenge(msauthtest.Challenge{})
		if res := b.Get("/in"); res.Text != "hello Many" {
			t.Errorf("page %q; log:\n%s", res.Kind(), s.Log)
		}
	})
}

func TestChallengeWhileTheStoreIsDownSendsNobodyAway(t *testing.T) {
	testsite.Storing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
		s.Mux.Handle("/public/api", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			_, err := session.Token(r.Context())
			s.Auth.Challenge(w, r, err)
		})))
		store.Breaks("New", 0, testsite.ErrStoreDown)
		s.WantPage(t, b.Still().Get("/public/api"), http.StatusServiceUnavailable, "unavailable", testsite.ErrStoreDown.Error())
	})
}

// At other providers a sign-in grants what it names and no more.
func TestOtherDemandsKeepTheScopesToo(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, func(c *msauth.Config) {
		c.Issuer, c.Authority = c.Authority+"/generic", ""
		c.Scopes = []string{"read"}
	})
	s.Guard("/write", s.Auth.RequireScopes("write"))
	s.Guard("/pay", s.Auth.RequireAuthContext("c1"))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	b.Get("/write")
	b.Get("/pay")
	if got := s.Asked(t).Get("scope"); !strings.Contains(got, "write") {
		t.Errorf("asked for %q", got)
	}
}

// What one person failed is not asked of the next.
func TestAnotherAccountIsNotAskedForTheClaimsOfTheFirst(t *testing.T) {
	t.Parallel()
	var s *testsite.Site
	s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
		_, err := session.Client(r.Context()).Get(s.MS.URL + "/v1.0/me")
		if err == nil {
			t.Error("not challenged")
		}
	})
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.MS.Challenge(msauthtest.Challenge{ACRS: "c1", SignInName: msauthtest.Ada})
	b.Get("/do")
	s.As(msauthtest.Bruno)
	b.Get("/auth/login?prompt=select_account")
	if got := s.Asked(t).Get("claims"); got != "" {
		t.Errorf("claims %s", got)
	}
	b.WantGreeting(testsite.HelloBruno)
}

// A script of somebody whose session needs a stronger sign-in first changes
// nothing for anybody else.
func TestAStepUpOfOneDoesNotChangeWhatOthersAreAskedFor(t *testing.T) {
	testsite.Renewing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		s.Guard("/calendar", s.Auth.RequireScopes("Calendars.Read"))
		s.MS.Set(func(b *msauthtest.Behavior) { b.RequireMFA = true })
		time.Sleep(testsite.Expired)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if res := b.Fetch("/calendar"); res.StatusCode != http.StatusUnauthorized {
					t.Errorf("a script: status %d %s", res.StatusCode, res.Text)
				}
			})
		}
		wg.Wait()
		asked := func(target string) string {
			t.Helper()
			to, err := s.Browser(t).Still().Get(target).Location()
			if err != nil {
				t.Fatalf("%s does not lead to Microsoft: %v", target, err)
			}
			return to.Query().Get("scope")
		}
		if got := asked("/calendar"); !strings.HasSuffix(got, " Calendars.Read") {
			t.Errorf("a stranger is asked for %q", got)
		}
		stranger := s.Browser(t)
		if got := asked(stranger.WantProblem(stranger.Fetch("/calendar"), http.StatusUnauthorized).LoginURL); !strings.HasSuffix(got, " Calendars.Read") {
			t.Errorf("by a script's login_url a stranger is asked for %q", got)
		}
	})
}

// Where tokens are not each for one API, a renewal cannot bring a scope that
// nobody has granted.
func TestAScopeThatWasNotGrantedIsNotAskedOfOtherProviders(t *testing.T) {
	t.Parallel()
	var s *testsite.Site
	s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
		_, err := session.Token(r.Context(), "read", "write")
		if r.URL.Query().Has("plain") {
			if failure, ok := errors.AsType[*msauth.AuthError](err); ok {
				fmt.Fprintln(w, errors.Is(err, msauth.ErrSignInRequired), failure.Class, failure.Scopes)
			}
			return
		}
		if !s.Auth.Challenge(w, r, err) {
			fmt.Fprint(w, "token: ", err)
		}
	}, func(c *msauth.Config) {
		c.Issuer, c.Authority = c.Authority+"/generic", ""
		c.Scopes, c.TokenHosts = []string{"read"}, nil
	})
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.MS.ResetCalls()
	if res := b.Get("/do?plain"); res.Text != "true step up [write]\n" {
		t.Errorf("the error is %q; log:\n%s", res.Text, s.Log)
	}
	s.WantNoCalls(t)
	if res := b.Get("/do"); res.Text != "token: <nil>" {
		t.Fatalf("page %.300q; log:\n%s", res.Text, s.Log)
	}
	if got := s.Asked(t).Get("scope"); got != "openid profile email offline_access read write" {
		t.Errorf("asked for %q", got)
	}
	s.WantCalls(t, msauthtest.Authorize, 1)
	s.WantCalls(t, msauthtest.TokenRefresh, 0)
}

// RFC 6749 section 5.1: a reply need not name the scopes when they are those
// that were asked for.
func TestProvidersThatDoNotNameTheScopesAreAskedOnceForEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, func(c *msauth.Config) {
			c.Issuer, c.Authority = c.Authority+"/generic", ""
			c.Scopes = []string{"read"}
		})
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "scope") }
		})
		s.Guard("/a", s.Auth.RequireScopes("a"))
		s.Guard("/b", s.Auth.RequireScopes("b"))
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		visit := func(path string, sent int) {
			t.Helper()
			if res := b.Get(path); res.Text != testsite.HelloAda {
				t.Fatalf("%s: page %q; log:\n%s", path, res.Kind(), s.Log)
			}
			s.WantCalls(t, msauthtest.Authorize, sent)
		}
		visit("/a", 2)
		visit("/b", 3)
		for range 3 {
			visit("/a", 3)
			visit("/b", 3)
			time.Sleep(2 * time.Hour) // and renewals change nothing
		}
		if got := s.Asked(t).Get("scope"); got != "openid profile email offline_access read a b" {
			t.Errorf("asked for %q", got)
		}
	})
}

// A person who fetches ahead has not asked for anything.
func TestPrefetchesOfGuardedPagesAskNobody(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	groups := make([]string, 300)
	for i := range groups {
		groups[i] = fmt.Sprintf("0b1f4ae6-0000-4000-8000-%012d", i)
	}
	s.MS.SetUser(msauthtest.User{SignInName: "many@contoso.example", Name: "Many", Groups: groups})
	s.MS.Consent("many@contoso.example", testsite.OrdersRead)
	s.Guard("/orders", s.Auth.RequireScopes(testsite.OrdersRead))
	s.Guard("/in", s.Auth.RequireGroup(groups[250]))
	s.Guard("/mine", s.Auth.RequireScopes("User.Read"))
	s.Guard("/tenant", s.Auth.RequireTenant(msauthtest.TenantContoso))
	b := s.Browser(t)
	b.SignIn("many@contoso.example")
	s.MS.ResetCalls()
	prefetch := []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html", "Sec-Purpose", "prefetch"}
	for path, kind := range map[string]msauthtest.Kind{"/orders": msauthtest.TokenRefresh, "/in": msauthtest.Graph} {
		s.MS.ResetCalls()
		res := b.Still().Get(path, prefetch...)
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Cache-Control") != "no-store" || len(res.Header["Set-Cookie"]) > 0 || res.Text != "" {
			t.Errorf("%s: status %d, headers %v, body %.100q", path, res.StatusCode, res.Header, res.Text)
		}
		s.WantNoCalls(t)
		if res := b.Get(path); res.Text != "hello Many" {
			t.Errorf("%s: page %q; log:\n%s", path, res.Text, s.Log)
		}
		s.WantCalls(t, kind, 1)
	}
	for _, path := range []string{"/mine", "/tenant"} { // nobody needs to be asked
		if res := b.Still().Get(path, prefetch...); res.Text != "hello Many" {
			t.Errorf("%s: status %d %q", path, res.StatusCode, res.Text)
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
				s := testsite.NewInProcess(t)
				s.Guard("/codes", s.Auth.RequireFreshSignIn(5*time.Minute))
				ada, stranger := s.Browser(t), s.Browser(t)
				ada.SignIn(msauthtest.Ada)
				time.Sleep(time.Hour)
				s.MS.Set(test.behave)
				for b, want := range map[*testsite.Browser]string{ada: test.mine, stranger: test.stranger} {
					res := b.Get(test.target)
					b.WantRefused(res, http.StatusForbidden, test.kind, test.reason)
					if strings.Contains(res.Text, not) != (want == not) || strings.Contains(res.Text, still) != (want == still) {
						t.Errorf("page %q, want it to say %q", res.Text, want)
					}
				}
				ada.WantGreeting(testsite.HelloAda)
				stranger.WantGreeting(testsite.HelloNobody)
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
			s := testsite.New(t)
			s.MS.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
			if consented {
				s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
			}
			s.Guard("/orders", s.Auth.RequireScopes("api://orders/.default"))
			s.As(msauthtest.Ada)
			b := s.Browser(t)
			if p := b.WantProblem(b.Fetch("/orders"), http.StatusUnauthorized); p.LoginURL != "/auth/login?return_to=%2Fseen%3Fx%3D1" {
				t.Errorf("login_url %q", p.LoginURL)
			}
			if res := b.Get("/orders"); res.Text != testsite.HelloAda {
				t.Fatalf("page %.300q; log:\n%s", res.Text, s.Log)
			}
			want := []string{"openid profile email offline_access User.Read"}
			if !consented {
				want = append(want, "openid profile email offline_access api://orders/.default")
			}
			var got []string
			for _, call := range s.MS.Calls(msauthtest.Authorize) {
				got = append(got, call.Query.Get("scope"))
			}
			if !slices.Equal(got, want) {
				t.Errorf("asked for %q, want %q", got, want)
			}
			if n := s.MS.Count(msauthtest.TokenRefresh); consented && n != 1 {
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
		s := testsite.NewInProcess(t)
		s.Restart(t, testsite.Generic(s))
		s.Guard("/fresh", s.Auth.RequireFreshSignIn(time.Minute))
		many := strings.Fields("openid profile email offline_access")
		for i := range 45 {
			many = append(many, fmt.Sprintf("%016x.read", i*i*i*7_919))
		}
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["scope"] = strings.Join(many, " ") }
		})
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		time.Sleep(2 * time.Minute)
		s.MS.ResetCalls()
		if res := b.Get("/fresh"); res.Text != testsite.HelloAda {
			t.Fatalf("status %d, page %s", res.StatusCode, res.Kind())
		}
		asked := strings.Fields(s.MS.Calls(msauthtest.Authorize)[0].Query.Get("scope"))
		for _, scope := range many {
			if !slices.Contains(asked, scope) {
				t.Errorf("%s is not asked for", scope)
			}
		}
	})
}
