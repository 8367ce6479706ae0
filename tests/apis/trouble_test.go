package apis_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// However another API's token is asked for, the refresh token that is left
// reaches the browser or the store.
func TestStrictRotationSurvivesOtherAPIs(t *testing.T) {
	t.Parallel()
	const stock = "api://stock/All"
	tests := []struct {
		name    string
		change  func(t *testing.T, c *msauth.Config)
		prepare func(*testsite.Site)
		do      func(t *testing.T, s *testsite.Site, b *testsite.Browser)
	}{
		{"in OnSignIn, over budget", func(_ *testing.T, c *msauth.Config) {
			c.CookieBudget = 2600
			c.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
				_, err := in.Session.Token(r.Context(), testsite.OrdersRead)
				return err
			}
		}, nil, func(t *testing.T, s *testsite.Site, b *testsite.Browser) { b.Get("/stock") }},
		{"in OnSignIn, and a new process", func(_ *testing.T, c *msauth.Config) {
			c.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
				_, err := in.Session.Token(r.Context(), testsite.OrdersRead)
				return err
			}
		}, nil, func(t *testing.T, s *testsite.Site, b *testsite.Browser) { s.Restart(t) }},
		{"by a handler that began before a renewal", nil, nil, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			time.Sleep(50 * time.Minute)
			var held *msauth.Session
			s.Mux.Handle("/hold", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				held, _ = msauth.FromContext(r.Context())
			})))
			b.Get("/hold")
			time.Sleep(9*time.Minute + 30*time.Second)
			b.Get("/")
			if _, err := held.Token(context.Background(), testsite.OrdersRead); err != nil {
				t.Fatal(err)
			}
			b.Get("/")
			s.Restart(t)
		}},
		{"before a claims challenge", nil, nil, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			s.Mux.Handle("/both", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				session.Token(r.Context(), testsite.OrdersRead)
				testsite.Call(session.Client(r.Context()), "GET", testsite.GraphMe, nil)
			})))
			s.MS.Challenge(msauthtest.Challenge{ACRS: "c1", Audience: "https://graph.microsoft.com"})
			b.Get("/both")
			b.Get("/")
			s.Restart(t)
		}},
		{"by RequireScopes, in two processes with one store", func(t *testing.T, c *msauth.Config) { c.Store = testsite.FileStore(t) }, nil,
			func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
				for range 3 {
					s.Restart(t)
					s.Guard("/orders", s.Auth.RequireScopes(testsite.OrdersRead))
					if res := b.Fetch("/orders"); res.Text != testsite.HelloAda {
						t.Fatalf("status %d %s; log:\n%s", res.StatusCode, res.Text, s.Log)
					}
				}
			}},
		{"by RequireScopes, in two processes with cookies", nil, nil, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			for range 3 {
				s.Restart(t)
				s.Guard("/orders", s.Auth.RequireScopes(testsite.OrdersRead))
				if res := b.Fetch("/orders"); res.Text != testsite.HelloAda {
					t.Fatalf("status %d %s; log:\n%s", res.StatusCode, res.Text, s.Log)
				}
			}
		}},
		{"by a stream, a thousand times", nil, nil, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 10 * time.Minute })
			s.Mux.Handle("/stream", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				for range 1100 {
					if _, err := session.Token(r.Context(), testsite.OrdersRead); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Minute)
				}
			})))
			b.Timeout = 0
			b.Get("/stream")
			b.Get("/")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, func(c *msauth.Config) {
					if test.change != nil {
						test.change(t, c)
					}
				})
				s.MS.Consent(msauthtest.Ada, testsite.OrdersRead, stock)
				s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation, b.AccessTokenLifetime = msauthtest.RotateStrict, time.Hour })
				var failed error
				s.Mux.Handle("/stock", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					session, _ := msauth.FromContext(r.Context())
					_, failed = session.Token(r.Context(), stock)
				})))
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				test.do(t, s, b)
				time.Sleep(time.Hour)
				if res := b.Get("/"); res.Text != testsite.HelloAda || failed != nil {
					t.Errorf("page %q, %v; log:\n%s", res.Kind(), failed, s.Log)
				}
				s.WantNoReuse(t)
			})
		})
	}
}

// What a handler wishes for, and what becomes of it, is nobody else's affair.
func TestTroubleWithAnotherAPIStaysThere(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		behave func(*msauthtest.Behavior)
	}{
		{"a scope that does not exist", nil},
		{"a resource that fails", func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.TokenRefresh] = slices.Repeat([]msauthtest.Failure{{Status: 503}}, 6)
		}},
		{"a person who is not assigned to it", func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.TokenRefresh] = slices.Repeat([]msauthtest.Failure{{Error: "invalid_grant", Codes: []int{50105}}}, 6)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				s.MS.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				s.Mux.Handle("/do", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					session, _ := msauth.FromContext(r.Context())
					if _, err := session.Token(r.Context(), "api://orders/Nonsense"); err == nil {
						t.Error("a token for nonsense")
					}
				})))
				victim := s.Browser(t)
				victim.SignIn(msauthtest.Bruno)
				var browsers []*testsite.Browser
				for i := range 6 {
					name := fmt.Sprintf("ada%d@contoso.example", i)
					s.MS.SetUser(msauthtest.User{SignInName: name, Name: "Ada Lindqvist"})
					b := s.Browser(t)
					b.SignIn(name)
					browsers = append(browsers, b)
				}
				if test.behave != nil {
					s.MS.Set(test.behave)
				}
				for _, b := range browsers {
					b.Get("/do")
				}
				if err := s.Auth.Ready(context.Background()); err != nil || s.Auth.Stats().Paused {
					t.Errorf("paused: %v, ready: %v", s.Auth.Stats().Paused, err)
				}
				time.Sleep(time.Hour + time.Second)
				for _, b := range append(browsers, victim) {
					if res := b.Get("/?token"); res.StatusCode != http.StatusOK {
						t.Errorf("status %d %s; log:\n%s", res.StatusCode, res.Text, s.Log)
					}
				}
			})
		})
	}
}

// An API that names another time in each challenge.
func TestAStormOfChallengesIsOneTokenRequestAMinute(t *testing.T) {
	t.Parallel()
	use(t, func(s *testsite.Site, b *testsite.Browser, client *http.Client) {
		n := 0
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
				n++
				claims := base64Std(fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, n))
				w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_claims", claims="`+claims+`"`)
				w.WriteHeader(http.StatusUnauthorized)
			}}
		})
		for range 30 {
			if _, err := testsite.Call(client, "GET", testsite.GraphMe, nil); !errors.Is(err, msauth.ErrSignInRequired) {
				t.Errorf("the error is %v", err)
			}
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		time.Sleep(2 * time.Minute)
		s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		if status, err := testsite.Call(client, "GET", testsite.GraphMe, nil); status != 200 {
			t.Errorf("once it is over: status %d, %v", status, err)
		}
	})
}

func TestAnAnswerWhoseBodyNeverComesHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	calls := 0
	use(t, func(_ *testsite.Site, _ *testsite.Browser, client *http.Client) {
		start := time.Now()
		if status, err := testsite.Call(client, "GET", "https://api.example.com/", nil); status != 200 || time.Since(start) != time.Second {
			t.Errorf("status %d, %v after %v", status, err, time.Since(start))
		}
	}, func(c *msauth.Config) {
		c.TokenHosts = map[string][]string{"api.example.com": nil}
		microsoft := c.HTTPClient.Transport
		c.HTTPClient = &http.Client{Transport: testsite.RoundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != "api.example.com" {
				return microsoft.RoundTrip(r)
			}
			res := &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}, Request: r}
			if calls++; calls == 1 {
				body, _ := io.Pipe()
				res.StatusCode, res.Body, res.Header["Retry-After"] = 429, body, []string{"1"}
			}
			return res, nil
		})}
	})
}

func TestARequestWaitsForATokenAsLongAsItMay(t *testing.T) {
	t.Parallel()
	use(t, func(s *testsite.Site, _ *testsite.Browser, client *http.Client) {
		time.Sleep(2 * time.Hour)
		s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 10 * time.Second })
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", testsite.GraphMe, nil)
		start := time.Now()
		if _, err := client.Do(req); err == nil || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		time.Sleep(time.Minute) // the token request goes on for others
	})
}
