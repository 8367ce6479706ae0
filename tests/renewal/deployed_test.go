package renewal_test

import (
	"context"
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

// audiences keeps what the tokens that a host was sent are for.
type audiences struct {
	http.RoundTripper
	ms   *msauthtest.Server
	seen map[string]int
}

func (a *audiences) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "orders.example" {
		return a.RoundTripper.RoundTrip(r)
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	for _, audience := range []string{"api://orders", "https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000"} {
		if _, err := a.ms.VerifyAccessToken(token, audience); err == nil {
			a.seen[audience]++
			return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
		}
	}
	a.seen["something else"]++
	return &http.Response{StatusCode: 401, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
}

// A session begun before the app was made to use another API gets a token for
// that, and never sends it one for the API of before.
func TestScopesOfAnotherAPIAfterADeployment(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*msauth.Config){
		"cookies":      func(*msauth.Config) {},
		"small cookie": func(c *msauth.Config) { c.CookieBudget = 2400 }, // the access token is left out
		"Store":        func(c *msauth.Config) { c.Store = testsite.FileStore(t) },
		"Tokens":       func(c *msauth.Config) { c.Tokens = testsite.NewTokens() },
	} {
		for _, consent := range []bool{true, false} {
			for _, first := range []string{"a page", "a prefetch", "a worker"} {
				if first == "a worker" && name != "Tokens" {
					continue
				}
				t.Run(fmt.Sprintf("%s, consent %t, %s first", name, consent, first), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						s := testsite.NewInProcess(t, change)
						s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 10 * time.Hour })
						s.MS.AddAPI(msauthtest.API{ID: "api://orders"})
						b := s.Browser(t)
						b.SignIn(msauthtest.Ada)
						user := userKey(s, t, b)
						time.Sleep(time.Minute)
						hosts := &audiences{s.Cfg.HTTPClient.Transport, s.MS, map[string]int{}}
						if consent {
							s.MS.Consent(msauthtest.Ada, "api://orders/Orders.Read")
						} else {
							s.MS.Set(func(b *msauthtest.Behavior) { b.RequireConsent = true })
						}
						s.Restart(t, func(c *msauth.Config) {
							c.Scopes = []string{"api://orders/Orders.Read"}
							c.TokenHosts = map[string][]string{"orders.example": nil}
							c.HTTPClient = &http.Client{Transport: hosts}
						})
						get := func(ctx context.Context, session *msauth.Session) int {
							res, err := session.Client(ctx).Get("https://orders.example/")
							if err != nil {
								return 0
							}
							return res.StatusCode
						}
						s.Mux.Handle("/orders", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							session, _ := msauth.FromContext(r.Context())
							fmt.Fprint(w, get(r.Context(), session))
						})))
						switch first {
						case "a prefetch":
							b.Still().Get("/orders", "Sec-Purpose", "prefetch")
						case "a worker":
							session, err := s.Auth.Offline(context.Background(), user)
							if err != nil {
								t.Fatal(err)
							}
							get(context.Background(), session)
						}
						for range 3 {
							res := b.Still().Get("/orders")
							if consent && res.Text != "200" {
								t.Errorf("status %d, page %.100q; log:\n%s", res.StatusCode, res.Text, s.Log)
							}
							if !consent && !strings.HasPrefix(res.Header.Get("Location"), s.MS.URL) {
								t.Errorf("status %d to %.50q, want the way to Microsoft", res.StatusCode, res.Header.Get("Location"))
							}
							b.WantGreeting(testsite.HelloAda)
						}
						for audience, n := range hosts.seen {
							if audience != "api://orders" {
								t.Errorf("%d requests with a token for %s", n, audience)
							}
						}
						if consent {
							s.WantCalls(t, msauthtest.TokenRefresh, 1)
						}
					})
				})
			}
		}
	}
}

// userKey is the key of the user who is signed in.
func userKey(s *testsite.Site, t *testing.T, b *testsite.Browser) (key string) {
	t.Helper()
	s.Mux.Handle("/public/key", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		key = session.User.Key()
	})))
	b.Get("/public/key")
	return key
}

// Where the provider's reply names the scopes in a form of its own, that is no
// reason to renew again and again.
func TestRepliesInAnotherFormAreNoOtherAPI(t *testing.T) {
	t.Parallel()
	for name, scope := range map[string]string{
		"the GUID of the API": "ab1f4ae6-0000-4000-8000-000000000001/Orders.Read openid", "another name": "https://orders.example/Orders.Read", "none": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				s.MS.AddAPI(msauthtest.API{ID: "api://orders"})
				s.MS.Consent(msauthtest.Ada, "api://orders/Orders.Read")
				old := s.Browser(t)
				old.SignIn(msauthtest.Ada)
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.AccessTokenLifetime = 10 * time.Hour
					b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["scope"] = scope }
				})
				s.Restart(t, testsite.Scopes("api://orders/Orders.Read"))
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				s.MS.ResetCalls()
				for range 5 {
					b.Get("/?token")
				}
				s.WantNoCalls(t)
				for range 5 {
					old.Get("/?token")
				}
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
			})
		})
	}
}
