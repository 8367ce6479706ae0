package require_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// What Graph refuses is not asked again without rest, whatever groups, pages and
// sessions of the person want to know.
func TestGraphIsAskedForGroupsWithRest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		failure msauthtest.Failure
		rest    time.Duration // no further call for so long
		then    time.Duration // and one in this time
	}{
		{"429 with Retry-After", msauthtest.Failure{Status: 429, Header: http.Header{"Retry-After": {"120"}}}, 119 * time.Second, 2 * time.Second},
		{"503 with Retry-After", msauthtest.Failure{Status: 503, Header: http.Header{"Retry-After": {"7200"}}}, time.Hour - time.Second, 2 * time.Second},
		{"500", msauthtest.Failure{Status: 500}, 700 * time.Millisecond, 10 * time.Second},
		{"cut", msauthtest.Failure{Close: true}, 700 * time.Millisecond, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				groups := make([]string, 300)
				for i := range groups {
					groups[i] = fmt.Sprintf("0b1f4ae6-0000-4000-8000-%012d", i)
				}
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 10 * time.Hour })
				for _, name := range []string{"many@contoso.example", "other@contoso.example"} {
					s.MS.SetUser(msauthtest.User{SignInName: name, Name: name, Groups: groups})
				}
				s.Guard("/in", s.Auth.RequireGroup(groups[250]))
				s.Guard("/else", s.Auth.RequireGroup(groups[251]))
				b, second, other := s.Browser(t), s.Browser(t), s.Browser(t)
				b.SignIn("many@contoso.example")
				second.SignIn("many@contoso.example")
				other.SignIn("other@contoso.example")
				s.MS.ResetCalls()
				s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Graph] = c.failure })
				all := func() {
					for range 5 {
						for _, path := range []string{"/in", "/else"} {
							if res := b.Get(path); res.Kind() != "unavailable" {
								t.Fatalf("page %q", res.Kind())
							}
							second.Get(path)
						}
					}
				}
				all()
				s.WantCalls(t, msauthtest.Graph, 1)
				other.Get("/in") // somebody else is asked about all the same
				s.WantCalls(t, msauthtest.Graph, 2)
				time.Sleep(c.rest)
				all()
				s.WantCalls(t, msauthtest.Graph, 2)
				time.Sleep(c.then)
				all()
				s.WantCalls(t, msauthtest.Graph, 3)
				s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
				time.Sleep(time.Hour)
				for _, path := range []string{"/in", "/else"} {
					if res := b.Get(path); res.Text != "hello many@contoso.example" {
						t.Errorf("page %.100q", res.Text)
					}
				}
			})
		})
	}
}

// Without anybody who waits: one request after the other, for a minute.
func TestGraphIsAskedLessAndLessOften(t *testing.T) {
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
		s.MS.ResetCalls()
		s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Status: 500} })
		for range 600 {
			b.Get("/in")
			time.Sleep(100 * time.Millisecond)
		}
		if n := s.MS.Count(msauthtest.Graph); n < 6 || n > 11 {
			t.Errorf("%d calls in a minute, want about 9", n)
		}
	})
}

// Anybody can have several accounts, and have them throttled.
func TestOneStrangersAccountsPauseNobody(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]msauthtest.Failure{
		"429 without an OAuth error": {Status: 429},
		"403 of a firewall":          {Status: 403},
		"an OAuth error":             {Error: "temporarily_unavailable", Status: 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := testsite.RenewingOffice(t)
				honest := o.SignIn()
				var strange []*testsite.Visitor
				for i := range 12 {
					name := fmt.Sprintf("stranger%d@outlook.example", i)
					o.MS.SetUser(msauthtest.User{SignInName: name, Name: "Ada Lindqvist", TenantID: "9188040d-6c67-4c5b-b112-36a304b66dad"})
					o.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = name })
					strange = append(strange, o.SignIn())
				}
				time.Sleep(testsite.AfterExpiry)
				o.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = failure })
				for _, v := range strange {
					v.Get("/")
				}
				if o.Auth.Stats().Paused || len(o.Log.With("renewal_pause")) > 0 {
					t.Error("strangers have brought about a pause")
				}
				o.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
				if got := honest.Get("/?token"); got.Status != http.StatusOK {
					t.Errorf("somebody else: status %d", got.Status)
				}
			})
		})
	}
}
