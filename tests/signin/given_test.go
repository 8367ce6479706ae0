package signin_test

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// greedy is a person with roles and groups, the latter in no order.
func greedy(ms *msauthtest.Server) {
	ms.SetUser(msauthtest.User{
		SignInName: "greedy@contoso.example", Name: "Greedy", TenantID: msauthtest.TenantContoso,
		Roles: []string{"Writer", "Admin", "Reader"},
		Groups: []string{
			"ffffffff-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002", "88888888-0000-4000-8000-000000000003",
		},
	})
	ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = "greedy@contoso.example" })
}

// spoil does with a user all that a handler may do.
func spoil(u *msauth.User) {
	slices.Sort(u.Roles)
	slices.Sort(u.Groups)
	u.Roles = append(u.Roles[:1], "Owner", "Owner", "Owner", "Owner")
	u.Groups = append(u.Groups[:1], "Owner", "Owner", "Owner", "Owner")
	for name, claim := range u.Claims {
		if list, ok := claim.([]any); ok {
			for i := range list {
				list[i] = "Owner"
			}
		}
		u.Claims[name+"!"] = "Owner"
	}
}

// What a handler does with the lists of its session is seen by nobody else: not
// by who waited for the same renewal, not in the cookie, not in the tokens that
// are read with their help.
func TestWhatAHandlerIsGivenIsItsOwn(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*msauth.Config){
		"cookies": func(*msauth.Config) {},
		"Store":   func(c *msauth.Config) { c.Store = testsite.FileStore(t) },
		"Tokens":  func(c *msauth.Config) { c.Tokens = testsite.NewTokens() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var want *msauth.User
				o := testsite.RenewingOffice(t, change, func(c *msauth.Config) {
					c.Claims = []string{"roles"}
					c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
						spoil(&in.Session.User)
						return nil
					}
				})
				greedy(o.MS)
				o.Handler = http.NewServeMux()
				mux := o.Handler.(*http.ServeMux)
				mux.Handle("/auth/", o.Auth)
				mux.Handle("/", o.Auth.Load(o.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					s, _ := msauth.FromContext(r.Context())
					mu.Lock()
					if want == nil {
						u := s.User
						u.Roles, u.Groups = slices.Clone(u.Roles), slices.Clone(u.Groups)
						u.Claims = map[string]any{"roles": slices.Clone(u.Claims["roles"].([]any))}
						want = &u
					} else if !reflect.DeepEqual(s.User, *want) {
						t.Errorf("user %#v, want %#v", s.User, *want)
					}
					mu.Unlock()
					spoil(&s.User)
					first, err := s.Token(r.Context())
					if err != nil {
						t.Errorf("Token: %v", err)
						return
					}
					first.AccessToken = "spoilt"
					if again, err := s.Token(r.Context()); err != nil || len(again.AccessToken) < 1000 {
						t.Errorf("Token: %v, %v", again, err)
					}
					fmt.Fprint(w, "hello")
				}))))
				v := o.SignIn()
				for range 3 {
					var wg sync.WaitGroup
					for range 20 {
						one := v.Copy()
						wg.Go(func() {
							if got := one.Fetch("/"); got.Status != http.StatusOK {
								t.Errorf("status %d, %s", got.Status, got.Body)
							}
						})
					}
					wg.Wait()
					v.Get("/")
					time.Sleep(testsite.AfterExpiry)
				}
				if !slices.Equal(want.Roles, []string{"Writer", "Admin", "Reader"}) || len(want.Groups) != 3 {
					t.Errorf("roles %q, groups %q", want.Roles, want.Groups)
				}
			})
		})
	}
}

// A failure that is remembered answers many: each gets one of its own.
func TestAnErrorOfTokenIsItsReceiversOwn(t *testing.T) {
	testsite.Renewing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		s.Failing(msauthtest.Failure{Error: "temporarily_unavailable", Codes: []int{90033}, Status: 503})
		s.Mux.Handle("/public/spoil", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			_, err := session.Token(r.Context())
			failure, ok := errors.AsType[*msauth.AuthError](err)
			if !ok || failure.Class != msauth.ClassRetry || !slices.Equal(failure.Numbers, []int{90033}) {
				t.Errorf("%v, numbers %v", err, failure)
				return
			}
			failure.Class, failure.Numbers[0] = msauth.ClassSignIn, 7
		})))
		time.Sleep(testsite.Expired)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { b.Get("/public/spoil") })
		}
		wg.Wait()
		b.Get("/public/spoil")
		b.WantGreeting(testsite.HelloAda)
	})
}
