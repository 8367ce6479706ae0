package apis_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// pass gives an API's answer to the browser, or has the person asked.
func pass(s *testsite.Site, w http.ResponseWriter, r *http.Request, res *http.Response, err error) {
	if s.Auth.Challenge(w, r, err) {
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer res.Body.Close()
	w.WriteHeader(res.StatusCode)
	io.Copy(w, res.Body)
}

func TestClientSendsEachAPIItsOwnToken(t *testing.T) {
	t.Parallel()
	var s *testsite.Site
	s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
		target := api + "/orders"
		if r.URL.Query().Has("me") {
			target = s.MS.URL + "/v1.0/me"
		}
		res, err := session.Client(r.Context()).Get(target)
		pass(s, w, r, res, err)
	})
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.MS.ResetCalls()
	for range 3 {
		if res := b.Get("/do"); res.Text != "orders of Ada Lindqvist " {
			t.Fatalf("the app's API: %q; log:\n%s", res.Text, s.Log)
		}
		if res := b.Get("/do?me"); !strings.Contains(res.Text, msauthtest.Ada) {
			t.Fatalf("Graph: %q; log:\n%s", res.Text, s.Log)
		}
	}
	s.WantCalls(t, msauthtest.TokenRefresh, 1)
	form := s.MS.Calls(msauthtest.TokenRefresh)[0].Form
	if got := form.Get("scope"); got != "openid profile offline_access "+testsite.OrdersRead {
		t.Errorf("asked for %q", got)
	}
	if lines := b.Session(); len(lines) != 1 {
		t.Errorf("%d session cookies: tokens for other APIs are not kept there", len(lines))
	}
}

func TestAnAppWithItsOwnAPICanCallGraphToo(t *testing.T) {
	t.Parallel()
	var s *testsite.Site
	s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
		for _, target := range []string{api + "/orders", s.MS.URL + "/v1.0/me"} {
			res, err := session.Client(r.Context()).Get(target)
			pass(s, w, r, res, err)
		}
	}, func(c *msauth.Config) { c.Scopes = []string{testsite.OrdersRead} })
	s.MS.Consent(msauthtest.Ada, "User.Read")
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	if res := b.Get("/do"); !strings.Contains(res.Text, "orders of Ada") || !strings.Contains(res.Text, msauthtest.Ada) {
		t.Fatalf("page %q; log:\n%s", res.Text, s.Log)
	}
	calls := s.MS.Calls(msauthtest.TokenRefresh)
	if len(calls) != 1 || !strings.HasSuffix(calls[0].Form.Get("scope"), " https://graph.microsoft.com/.default") {
		t.Errorf("%d token requests, want one for Graph", len(calls))
	}
}

// Each of them uses up the refresh token that all of them began with.
func TestManyAPIsAtOnceWaitForEachOther(t *testing.T) {
	t.Parallel()
	var scopes []string
	for i := range 40 {
		scopes = append(scopes, fmt.Sprint("api://number", i, "/All"))
	}
	s := testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
		var wg sync.WaitGroup
		for _, scope := range scopes {
			wg.Go(func() {
				if _, err := session.Token(r.Context(), scope); err != nil {
					t.Errorf("%s: %v", scope, err)
				}
			})
		}
		wg.Wait()
	})
	testsite.Strict(s)
	for _, scope := range scopes {
		s.MS.AddAPI(msauthtest.API{ID: strings.TrimSuffix(scope, "/All")})
		s.MS.Consent(msauthtest.Ada, scope)
	}
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.MS.ResetCalls()
	b.Get("/do")
	s.WantCalls(t, msauthtest.TokenRefresh, len(scopes))
	s.WantNoReuse(t)
}

// However a provider rotates refresh tokens, and however many ask at once.
func TestManyCallsForANewAPIAreOneTokenRequest(t *testing.T) {
	t.Parallel()
	for _, rotation := range []msauthtest.Rotation{msauthtest.RotateKeepOld, msauthtest.RotateStrict, msauthtest.RotateSame} {
		t.Run("rotation "+string(rotation), func(t *testing.T) {
			t.Parallel()
			scopes := []string{testsite.OrdersRead, "api://stock/All", "api://bills/All"}
			s := testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
				var wg sync.WaitGroup
				tokens := make([]string, 50*len(scopes))
				for i := range tokens {
					wg.Go(func() {
						token, err := session.Token(r.Context(), scopes[i%len(scopes)])
						if err != nil {
							t.Error(err)
							return
						}
						tokens[i] = token.AccessToken
					})
				}
				wg.Wait()
				slices.Sort(tokens)
				fmt.Fprint(w, len(slices.Compact(tokens)))
			})
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.Rotation = rotation
				b.Delay[msauthtest.TokenRefresh] = 30 * time.Millisecond
			})
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			s.MS.ResetCalls()
			for range 2 {
				if res := b.Get("/do"); res.Text != "3" {
					t.Fatalf("%s different tokens, want 3; log:\n%s", res.Text, s.Log)
				}
			}
			s.WantCalls(t, msauthtest.TokenRefresh, 3)

			// The refresh token that is left must be in the cookie: the memory
			// of this process may end any time.
			b.Get("/")
			s.Restart(t)
			s.Mux.Handle("/token", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				if _, err := session.Token(r.Context(), testsite.OrdersRead); err != nil {
					fmt.Fprint(w, err)
				}
			})))
			if res := b.Get("/token"); res.Text != "" {
				t.Errorf("in a new process: %q", res.Text)
			}
		})
	}
}

func TestTokensForOtherAPIsAreTheirOwners(t *testing.T) {
	t.Parallel()
	var s *testsite.Site
	s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
		res, err := session.Client(r.Context()).Get(api + "/orders")
		pass(s, w, r, res, err)
	})
	ada, bruno := s.Browser(t), s.Browser(t)
	ada.SignIn(msauthtest.Ada)
	bruno.SignIn(msauthtest.Bruno)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if res := ada.Get("/do"); res.Text != "orders of Ada Lindqvist " {
				t.Errorf("Ada got %q", res.Text)
			}
		})
		wg.Go(func() {
			if res := bruno.Get("/do"); res.Text != "orders of Bruno Okafor " {
				t.Errorf("Bruno got %q", res.Text)
			}
		})
	}
	wg.Wait()
	s.WantCalls(t, msauthtest.TokenRefresh, 2)
}

func TestAnAPIThatIsNotConsentedToLeadsThroughConsent(t *testing.T) {
	t.Parallel()
	var s *testsite.Site
	s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
		res, err := session.Client(r.Context()).Get(api + "/orders")
		if r.URL.Query().Has("plain") {
			failure, _ := errors.AsType[*msauth.AuthError](err)
			fmt.Fprintln(w, errors.Is(err, msauth.ErrSignInRequired), failure.Class, failure.Scopes)
			return
		}
		pass(s, w, r, res, err)
	})
	s.MS.Withdraw(msauthtest.Ada)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	if res := b.Get("/do?plain"); res.Text != "true step up ["+testsite.OrdersRead+"]\n" {
		t.Errorf("the error is %q", res.Text)
	}
	s.MS.ResetCalls()
	if p := b.WantProblem(b.Fetch("/do"), http.StatusUnauthorized); !strings.Contains(p.LoginURL, "sealed=") {
		t.Errorf("login_url %q", p.LoginURL)
	}
	s.WantNoCalls(t) // the refusal is remembered
	b.WantGreeting(testsite.HelloAda)
	if res := b.Get("/do"); res.Text != "orders of Ada Lindqvist " {
		t.Fatalf("after consent: %q; log:\n%s", res.Text, s.Log)
	}
	s.WantCalls(t, msauthtest.Authorize, 1)
	// Consent to both, a token for the session's own API first.
	if got := s.Asked(t).Get("scope"); !strings.Contains(got, "User.Read "+testsite.OrdersRead) {
		t.Errorf("asked for %q", got)
	}
	if got := s.MS.Calls(msauthtest.TokenCode)[0].Form.Get("scope"); strings.Contains(got, "orders") || !strings.Contains(got, "User.Read") {
		t.Errorf("redeemed for %q", got)
	}
}

// Microsoft does not combine .default with anything: consent to it is asked for
// alone, and the session goes on with a token for its own API.
func TestConsentToAllOfAnAPIIsAskedForAlone(t *testing.T) {
	t.Parallel()
	for _, own := range [][]string{nil, {"api://stock/All"}, {"api://stock/.default"}} {
		t.Run(fmt.Sprint(own), func(t *testing.T) {
			t.Parallel()
			var s *testsite.Site
			s = testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
				token, err := session.Token(r.Context())
				if err != nil {
					t.Error(err)
					return
				}
				audience := "https://graph.microsoft.com"
				if own != nil {
					audience = "api://stock"
				}
				if _, err := s.MS.VerifyAccessToken(token.AccessToken, audience); err != nil {
					t.Errorf("the session's own token: %v", err)
				}
				res, err := session.Client(r.Context()).Get(api)
				pass(s, w, r, res, err)
			}, func(c *msauth.Config) {
				c.Scopes = own
				for host := range c.TokenHosts {
					c.TokenHosts[host] = []string{"api://orders/.default"}
				}
			})
			s.MS.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read", "Orders.Write"}})
			s.MS.Withdraw(msauthtest.Ada)
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			s.MS.ResetCalls()
			if res := b.Get("/do"); res.Text != "orders of Ada Lindqvist " {
				t.Fatalf("page %.300q; log:\n%s", res.Text, s.Log)
			}
			if got := s.Asked(t).Get("scope"); got != "openid profile email offline_access api://orders/.default" {
				t.Errorf("asked for %q", got)
			}
			s.WantCalls(t, msauthtest.Authorize, 1)
			b.WantGreeting(testsite.HelloAda)
		})
	}
}

// Whatever consent was asked for last, the session's own token stays that.
func TestRenewalAfterConsentToAnotherAPIIsForTheSessionsOwn(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"api://orders/.default", testsite.OrdersRead} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Scopes = []string{"User.Read", "Mail.Read"} })
				s.MS.AddAPI(msauthtest.API{ID: "api://orders"})
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.AccessTokenLifetime = time.Hour
					b.WithholdScopes = []string{"Mail.Read"} // must not be asked for again
				})
				s.Guard("/orders", s.Auth.RequireScopes(scope))
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				if res := b.Get("/orders"); res.Text != testsite.HelloAda {
					t.Fatalf("page %.300q; log:\n%s", res.Text, s.Log)
				}
				for range 3 {
					time.Sleep(61 * time.Minute)
					res := b.Get("/?token")
					if _, err := s.MS.VerifyAccessToken(res.Text, "https://graph.microsoft.com"); err != nil {
						t.Fatalf("status %d, %v; log:\n%s", res.StatusCode, err, s.Log)
					}
				}
			})
		})
	}
}

func TestAWishForWhatDoesNotExistHarmsNobody(t *testing.T) {
	t.Parallel()
	scopes := []string{"api://none/All"}
	s := testsite.Orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
		_, err := session.Token(r.Context(), scopes...)
		fmt.Fprint(w, errors.Is(err, msauth.ErrTokenUnavailable), " ", err)
	})
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	for range 6 {
		if res := b.Get("/do"); !strings.HasPrefix(res.Text, "true ") || !strings.Contains(res.Text, "AADSTS500011") {
			t.Errorf("the error is %q", res.Text)
		}
	}
	s.WantCalls(t, msauthtest.TokenRefresh, 1)
	if err := s.Auth.Ready(context.Background()); err != nil {
		t.Errorf("not ready: %v", err)
	}
	for _, c := range []struct {
		scopes []string
		want   string
	}{
		{[]string{testsite.OrdersRead, "api://stock/All"}, "of several APIs"},
		{[]string{testsite.OrdersRead, "User.Read"}, "of several APIs"},
		{[]string{"two scopes"}, "is not a scope"},
		{[]string{"api://stock/.default", "api://stock/All"}, "cannot be combined"},
		{[]string{strings.Repeat("x", 401)}, "400 bytes"},
	} {
		scopes = c.scopes
		if res := b.Get("/do"); !strings.HasPrefix(res.Text, "true ") || !strings.Contains(res.Text, c.want) {
			t.Errorf("%.30q: the error is %q, want %q", c.scopes, res.Text, c.want)
		}
	}
	s.WantCalls(t, msauthtest.TokenRefresh, 1)
	b.WantGreeting(testsite.HelloAda)
}

func TestTokensForOtherAPIsEndWithTheSession(t *testing.T) {
	t.Parallel()
	var held *msauth.Session
	s := testsite.Orders(t, func(_ http.ResponseWriter, _ *http.Request, session *msauth.Session, _ string) { held = session })
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	b.Get("/do")
	if _, err := held.Token(context.Background(), testsite.OrdersRead); err != nil {
		t.Fatal(err)
	}
	b.Request(http.MethodPost, "/auth/logout", "Sec-Fetch-Site", "same-origin")
	if _, err := held.Token(context.Background(), testsite.OrdersRead); !errors.Is(err, msauth.ErrNoSession) {
		t.Errorf("after signing out: %v, want ErrNoSession", err)
	}
}

func TestATokenForAnotherAPIIsRenewedBeforeItExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		var held *msauth.Session
		s.Mux.Handle("/hold", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			held, _ = msauth.FromContext(r.Context())
		})))
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		b.Get("/hold")
		token := func() string {
			t.Helper()
			token, err := held.Token(t.Context(), testsite.OrdersRead)
			if err != nil {
				t.Fatal(err)
			}
			if !token.Expiry.After(time.Now()) {
				t.Error("the token has expired")
			}
			return token.AccessToken
		}
		first := token()
		time.Sleep(50 * time.Minute)
		if token() != first {
			t.Error("renewed too early")
		}
		// Where it cannot be renewed, it is good as long as it is valid.
		s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 500} })
		time.Sleep(9*time.Minute + 30*time.Second)
		if token() != first {
			t.Error("another token, from nowhere")
		}
		time.Sleep(time.Minute)
		if _, err := held.Token(t.Context(), testsite.OrdersRead); !errors.Is(err, msauth.ErrTokenUnavailable) {
			t.Errorf("the error is %v, want ErrTokenUnavailable", err)
		}
		s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		time.Sleep(11 * time.Second)
		if token() == first {
			t.Error("the token is that which has expired")
		}
	})
}

// What a handler's own renewal has brought must reach the store, even if the
// next request comes only when that is due again.
func TestStoredSessionOutlivesARenewalThatItMissed(t *testing.T) {
	t.Parallel()
	for _, rotation := range []msauthtest.Rotation{msauthtest.RotateKeepOld, msauthtest.RotateStrict} {
		t.Run("rotation "+string(rotation), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Store = testsite.FileStore(t) })
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.Rotation = time.Hour, rotation })
				s.Mux.Handle("/long", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					session, _ := msauth.FromContext(r.Context())
					time.Sleep(70 * time.Minute)
					if _, err := session.Token(r.Context()); err != nil {
						t.Error(err)
					}
				})))
				b := s.Browser(t)
				b.Timeout = 0
				b.SignIn(msauthtest.Ada)
				b.Get("/long")
				time.Sleep(2 * time.Hour)
				s.MS.ResetCalls()
				start := time.Now()
				if res := b.Get("/?token"); res.StatusCode != http.StatusOK {
					t.Errorf("status %d: %s; log:\n%s", res.StatusCode, res.Text, s.Log)
				}
				if waited := time.Since(start); waited > 0 {
					t.Errorf("the request waited %v", waited)
				}
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
			})
		})
	}
}

// use lets a test call an API through a session's client, in a synctest bubble.
func use(t *testing.T, do func(s *testsite.Site, b *testsite.Browser, client *http.Client), changes ...func(*msauth.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, changes...)
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		var client *http.Client
		s.Mux.Handle("/hold", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			client = session.Client(context.WithoutCancel(r.Context()))
		})))
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		b.Get("/hold")
		s.MS.ResetCalls()
		do(s, b, client)
	})
}
