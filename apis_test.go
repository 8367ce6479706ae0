package msauth_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

const ordersRead = "api://orders/Orders.Read"

// orders makes a site with an API of its own beside Graph, on a server of its
// own that answers whom a request's token is for. do is what its page /do does.
func orders(t *testing.T, do func(w http.ResponseWriter, r *http.Request, s *msauth.Session, api string), changes ...func(*msauth.Config)) *site {
	t.Helper()
	var s *site
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ms.Protect("api://orders", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			claims, err := s.ms.VerifyAccessToken(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "api://orders")
			if err != nil {
				http.Error(w, err.Error(), http.StatusTeapot)
				return
			}
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "orders of %s %s", claims["name"], body)
		}), "Orders.Read").ServeHTTP(w, r)
	}))
	t.Cleanup(api.Close)
	s = newSite(t, append([]func(*msauth.Config){func(c *msauth.Config) {
		c.TokenHosts = map[string][]string{strings.TrimPrefix(api.URL, "http://"): {ordersRead}}
	}}, changes...)...)
	for _, name := range []string{"orders", "stock", "bills"} {
		s.ms.AddAPI(msauthtest.API{ID: "api://" + name})
	}
	for _, person := range []string{msauthtest.Ada, msauthtest.Bruno} {
		s.ms.Consent(person, ordersRead, "api://stock/All", "api://bills/All")
	}
	s.mux.Handle("/do", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		do(w, r, session, api.URL)
	})))
	return s
}

// pass gives an API's answer to the browser, or has the person asked.
func (s *site) pass(w http.ResponseWriter, r *http.Request, res *http.Response, err error) {
	if s.auth.Challenge(w, r, err) {
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
	var s *site
	s = orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
		target := api + "/orders"
		if r.URL.Query().Has("me") {
			target = s.ms.URL + "/v1.0/me"
		}
		res, err := session.Client(r.Context()).Get(target)
		s.pass(w, r, res, err)
	})
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	s.ms.ResetCalls()
	for range 3 {
		if res := b.get("/do"); res.body != "orders of Ada Lindqvist " {
			t.Fatalf("the app's API: %q; log:\n%s", res.body, s.log)
		}
		if res := b.get("/do?me"); !strings.Contains(res.body, msauthtest.Ada) {
			t.Fatalf("Graph: %q; log:\n%s", res.body, s.log)
		}
	}
	s.wantCalls(t, msauthtest.TokenRefresh, 1)
	form := s.ms.Calls(msauthtest.TokenRefresh)[0].Form
	if got := form.Get("scope"); got != "openid profile offline_access "+ordersRead {
		t.Errorf("asked for %q", got)
	}
	if lines := b.session(); len(lines) != 1 {
		t.Errorf("%d session cookies: tokens for other APIs are not kept there", len(lines))
	}
}

func TestAnAppWithItsOwnAPICanCallGraphToo(t *testing.T) {
	t.Parallel()
	var s *site
	s = orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
		for _, target := range []string{api + "/orders", s.ms.URL + "/v1.0/me"} {
			res, err := session.Client(r.Context()).Get(target)
			s.pass(w, r, res, err)
		}
	}, func(c *msauth.Config) { c.Scopes = []string{ordersRead} })
	s.ms.Consent(msauthtest.Ada, "User.Read")
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	if res := b.get("/do"); !strings.Contains(res.body, "orders of Ada") || !strings.Contains(res.body, msauthtest.Ada) {
		t.Fatalf("page %q; log:\n%s", res.body, s.log)
	}
	calls := s.ms.Calls(msauthtest.TokenRefresh)
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
	s := orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
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
	strict(s)
	for _, scope := range scopes {
		s.ms.AddAPI(msauthtest.API{ID: strings.TrimSuffix(scope, "/All")})
		s.ms.Consent(msauthtest.Ada, scope)
	}
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	s.ms.ResetCalls()
	b.get("/do")
	s.wantCalls(t, msauthtest.TokenRefresh, len(scopes))
	s.wantNoReuse(t)
}

// However a provider rotates refresh tokens, and however many ask at once.
func TestManyCallsForANewAPIAreOneTokenRequest(t *testing.T) {
	t.Parallel()
	for _, rotation := range []msauthtest.Rotation{msauthtest.RotateKeepOld, msauthtest.RotateStrict, msauthtest.RotateSame} {
		t.Run("rotation "+string(rotation), func(t *testing.T) {
			t.Parallel()
			scopes := []string{ordersRead, "api://stock/All", "api://bills/All"}
			s := orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
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
			s.ms.Set(func(b *msauthtest.Behavior) {
				b.Rotation = rotation
				b.Delay[msauthtest.TokenRefresh] = 30 * time.Millisecond
			})
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			s.ms.ResetCalls()
			for range 2 {
				if res := b.get("/do"); res.body != "3" {
					t.Fatalf("%s different tokens, want 3; log:\n%s", res.body, s.log)
				}
			}
			s.wantCalls(t, msauthtest.TokenRefresh, 3)

			// The refresh token that is left must be in the cookie: the memory
			// of this process may end any time.
			b.get("/")
			s.restart(t)
			s.mux.Handle("/token", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				if _, err := session.Token(r.Context(), ordersRead); err != nil {
					fmt.Fprint(w, err)
				}
			})))
			if res := b.get("/token"); res.body != "" {
				t.Errorf("in a new process: %q", res.body)
			}
		})
	}
}

func TestTokensForOtherAPIsAreTheirOwners(t *testing.T) {
	t.Parallel()
	var s *site
	s = orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
		res, err := session.Client(r.Context()).Get(api + "/orders")
		s.pass(w, r, res, err)
	})
	ada, bruno := s.browser(t), s.browser(t)
	ada.signIn(msauthtest.Ada)
	bruno.signIn(msauthtest.Bruno)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if res := ada.get("/do"); res.body != "orders of Ada Lindqvist " {
				t.Errorf("Ada got %q", res.body)
			}
		})
		wg.Go(func() {
			if res := bruno.get("/do"); res.body != "orders of Bruno Okafor " {
				t.Errorf("Bruno got %q", res.body)
			}
		})
	}
	wg.Wait()
	s.wantCalls(t, msauthtest.TokenRefresh, 2)
}

func TestAnAPIThatIsNotConsentedToLeadsThroughConsent(t *testing.T) {
	t.Parallel()
	var s *site
	s = orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
		res, err := session.Client(r.Context()).Get(api + "/orders")
		if r.URL.Query().Has("plain") {
			failure, _ := errors.AsType[*msauth.AuthError](err)
			fmt.Fprintln(w, errors.Is(err, msauth.ErrSignInRequired), failure.Class, failure.Scopes)
			return
		}
		s.pass(w, r, res, err)
	})
	s.ms.Withdraw(msauthtest.Ada)
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	if res := b.get("/do?plain"); res.body != "true step up ["+ordersRead+"]\n" {
		t.Errorf("the error is %q", res.body)
	}
	s.ms.ResetCalls()
	if p := b.wantProblem(b.fetch("/do"), http.StatusUnauthorized); !strings.Contains(p.LoginURL, "sealed=") {
		t.Errorf("login_url %q", p.LoginURL)
	}
	s.wantNoCalls(t) // the refusal is remembered
	b.wantGreeting(helloAda)
	if res := b.get("/do"); res.body != "orders of Ada Lindqvist " {
		t.Fatalf("after consent: %q; log:\n%s", res.body, s.log)
	}
	s.wantCalls(t, msauthtest.Authorize, 1)
	// Consent to both, a token for the session's own API first.
	if got := s.asked(t).Get("scope"); !strings.Contains(got, "User.Read "+ordersRead) {
		t.Errorf("asked for %q", got)
	}
	if got := s.ms.Calls(msauthtest.TokenCode)[0].Form.Get("scope"); strings.Contains(got, "orders") || !strings.Contains(got, "User.Read") {
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
			var s *site
			s = orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
				token, err := session.Token(r.Context())
				if err != nil {
					t.Error(err)
					return
				}
				audience := "https://graph.microsoft.com"
				if own != nil {
					audience = "api://stock"
				}
				if _, err := s.ms.VerifyAccessToken(token.AccessToken, audience); err != nil {
					t.Errorf("the session's own token: %v", err)
				}
				res, err := session.Client(r.Context()).Get(api)
				s.pass(w, r, res, err)
			}, func(c *msauth.Config) {
				c.Scopes = own
				for host := range c.TokenHosts {
					c.TokenHosts[host] = []string{"api://orders/.default"}
				}
			})
			s.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read", "Orders.Write"}})
			s.ms.Withdraw(msauthtest.Ada)
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			s.ms.ResetCalls()
			if res := b.get("/do"); res.body != "orders of Ada Lindqvist " {
				t.Fatalf("page %.300q; log:\n%s", res.body, s.log)
			}
			if got := s.asked(t).Get("scope"); got != "openid profile email offline_access api://orders/.default" {
				t.Errorf("asked for %q", got)
			}
			s.wantCalls(t, msauthtest.Authorize, 1)
			b.wantGreeting(helloAda)
		})
	}
}

// Whatever consent was asked for last, the session's own token stays that.
func TestRenewalAfterConsentToAnotherAPIIsForTheSessionsOwn(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"api://orders/.default", ordersRead} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSiteInProcess(t, func(c *msauth.Config) { c.Scopes = []string{"User.Read", "Mail.Read"} })
				s.ms.AddAPI(msauthtest.API{ID: "api://orders"})
				s.ms.Set(func(b *msauthtest.Behavior) {
					b.AccessTokenLifetime = time.Hour
					b.WithholdScopes = []string{"Mail.Read"} // must not be asked for again
				})
				s.guard("/orders", s.auth.RequireScopes(scope))
				b := s.browser(t)
				b.signIn(msauthtest.Ada)
				if res := b.get("/orders"); res.body != helloAda {
					t.Fatalf("page %.300q; log:\n%s", res.body, s.log)
				}
				for range 3 {
					time.Sleep(61 * time.Minute)
					res := b.get("/?token")
					if _, err := s.ms.VerifyAccessToken(res.body, "https://graph.microsoft.com"); err != nil {
						t.Fatalf("status %d, %v; log:\n%s", res.StatusCode, err, s.log)
					}
				}
			})
		})
	}
}

func TestAWishForWhatDoesNotExistHarmsNobody(t *testing.T) {
	t.Parallel()
	scopes := []string{"api://none/All"}
	s := orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
		_, err := session.Token(r.Context(), scopes...)
		fmt.Fprint(w, errors.Is(err, msauth.ErrTokenUnavailable), " ", err)
	})
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	for range 6 {
		if res := b.get("/do"); !strings.HasPrefix(res.body, "true ") || !strings.Contains(res.body, "AADSTS500011") {
			t.Errorf("the error is %q", res.body)
		}
	}
	s.wantCalls(t, msauthtest.TokenRefresh, 1)
	if err := s.auth.Ready(context.Background()); err != nil {
		t.Errorf("not ready: %v", err)
	}
	for _, c := range []struct {
		scopes []string
		want   string
	}{
		{[]string{ordersRead, "api://stock/All"}, "of several APIs"},
		{[]string{ordersRead, "User.Read"}, "of several APIs"},
		{[]string{"two scopes"}, "is not a scope"},
		{[]string{"api://stock/.default", "api://stock/All"}, "cannot be combined"},
		{[]string{strings.Repeat("x", 401)}, "400 bytes"},
	} {
		scopes = c.scopes
		if res := b.get("/do"); !strings.HasPrefix(res.body, "true ") || !strings.Contains(res.body, c.want) {
			t.Errorf("%.30q: the error is %q, want %q", c.scopes, res.body, c.want)
		}
	}
	s.wantCalls(t, msauthtest.TokenRefresh, 1)
	b.wantGreeting(helloAda)
}

func TestTokensForOtherAPIsEndWithTheSession(t *testing.T) {
	t.Parallel()
	var held *msauth.Session
	s := orders(t, func(_ http.ResponseWriter, _ *http.Request, session *msauth.Session, _ string) { held = session })
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	b.get("/do")
	if _, err := held.Token(context.Background(), ordersRead); err != nil {
		t.Fatal(err)
	}
	b.do(http.MethodPost, "/auth/logout", "Sec-Fetch-Site", "same-origin")
	if _, err := held.Token(context.Background(), ordersRead); !errors.Is(err, msauth.ErrNoSession) {
		t.Errorf("after signing out: %v, want ErrNoSession", err)
	}
}

func TestATokenForAnotherAPIIsRenewedBeforeItExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		s.ms.Consent(msauthtest.Ada, ordersRead)
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		var held *msauth.Session
		s.mux.Handle("/hold", s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			held, _ = msauth.FromContext(r.Context())
		})))
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		b.get("/hold")
		token := func() string {
			t.Helper()
			token, err := held.Token(t.Context(), ordersRead)
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
		s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 500} })
		time.Sleep(9*time.Minute + 30*time.Second)
		if token() != first {
			t.Error("another token, from nowhere")
		}
		time.Sleep(time.Minute)
		if _, err := held.Token(t.Context(), ordersRead); !errors.Is(err, msauth.ErrTokenUnavailable) {
			t.Errorf("the error is %v, want ErrTokenUnavailable", err)
		}
		s.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
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
				s := newSiteInProcess(t, func(c *msauth.Config) { c.Store = fileStore(t) })
				s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.Rotation = time.Hour, rotation })
				s.mux.Handle("/long", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					session, _ := msauth.FromContext(r.Context())
					time.Sleep(70 * time.Minute)
					if _, err := session.Token(r.Context()); err != nil {
						t.Error(err)
					}
				})))
				b := s.browser(t)
				b.Timeout = 0
				b.signIn(msauthtest.Ada)
				b.get("/long")
				time.Sleep(2 * time.Hour)
				s.ms.ResetCalls()
				start := time.Now()
				if res := b.get("/?token"); res.StatusCode != http.StatusOK {
					t.Errorf("status %d: %s; log:\n%s", res.StatusCode, res.body, s.log)
				}
				if waited := time.Since(start); waited > 0 {
					t.Errorf("the request waited %v", waited)
				}
				s.wantCalls(t, msauthtest.TokenRefresh, 1)
			})
		})
	}
}

// use lets a test call an API through a session's client, in a synctest bubble.
func use(t *testing.T, do func(s *site, b *browser, client *http.Client), changes ...func(*msauth.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t, changes...)
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		var client *http.Client
		s.mux.Handle("/hold", s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			client = session.Client(context.WithoutCancel(r.Context()))
		})))
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		b.get("/hold")
		s.ms.ResetCalls()
		do(s, b, client)
	})
}

const graphMe = "http://localhost:9/v1.0/me"

// call makes a request and returns its status; 0 and the error if there is none.
func call(client *http.Client, method, target string, body io.Reader) (int, error) {
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		return 0, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return res.StatusCode, nil
}

func TestClientReplacesATokenThatIsRefused(t *testing.T) {
	t.Parallel()
	use(t, func(s *site, b *browser, client *http.Client) {
		refused := msauthtest.Failure{Status: http.StatusUnauthorized}
		fail := func(answers ...msauthtest.Failure) {
			s.ms.ResetCalls()
			s.ms.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Graph] = answers })
		}
		want := func(what string, status, graph, refreshes int) func(int, error) {
			return func(got int, err error) {
				t.Helper()
				if err != nil || got != status {
					t.Errorf("%s: status %d, %v, want %d", what, got, err, status)
				}
				s.wantCalls(t, msauthtest.Graph, graph)
				s.wantCalls(t, msauthtest.TokenRefresh, refreshes)
			}
		}
		fail(refused)
		want("a token as good as new", 401, 1, 0)(call(client, "GET", graphMe, nil))

		time.Sleep(2 * time.Minute)
		fail(refused)
		want("an older token", 200, 2, 1)(call(client, "GET", graphMe, nil))

		// The browser is given the new one at once: this memory may end.
		old := b.session()[0].Value
		if b.get("/"); b.session()[0].Value == old {
			t.Error("the cookie has the token that was refused")
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)

		time.Sleep(2 * time.Minute)
		fail(refused, refused)
		want("refused again", 401, 2, 1)(call(client, "GET", graphMe, nil))
		fail(refused, refused)
		want("and again", 401, 1, 0)(call(client, "GET", graphMe, nil))

		time.Sleep(2 * time.Minute)
		fail(refused)
		want("with a body", 405, 2, 1)(call(client, "POST", "http://localhost:9/v1.0/nothing", strings.NewReader("content")))

		time.Sleep(2 * time.Minute)
		fail(refused)
		body := struct{ io.Reader }{strings.NewReader("content")}
		want("with a body that can be read once", 401, 1, 1)(call(client, "POST", "http://localhost:9/v1.0/nothing", body))
		want("the next call", 200, 2, 1)(call(client, "GET", graphMe, nil))

		time.Sleep(2 * time.Minute)
		fail(refused)
		s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		want("while Microsoft is down", 401, 1, 1)(call(client, "GET", graphMe, nil))
		b.wantGreeting(helloAda)
	})
}

// An administrator has revoked the grant, and Graph knows before the session's
// token is due.
func TestARefusedTokenOfARevokedGrantEndsTheSession(t *testing.T) {
	t.Parallel()
	use(t, func(s *site, b *browser, client *http.Client) {
		time.Sleep(2 * time.Minute)
		s.ms.Revoke(msauthtest.Ada)
		s.ms.Challenge(msauthtest.Challenge{})
		if _, err := call(client, "GET", graphMe, nil); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Fatalf("the error is %v, want ErrSignInRequired", err)
		}
		still := b.still()
		if p := b.wantProblem(b.fetch("/api"), http.StatusUnauthorized); p.LoginURL == "" {
			t.Error("no login_url")
		}
		if res := still.get("/page"); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), s.ms.URL) {
			t.Errorf("the next page: status %d to %s", res.StatusCode, res.Header.Get("Location"))
		}
		if len(b.session()) != 0 {
			t.Error("the session is still there")
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

func TestClientWaitsAsLongAsAnAPIAsks(t *testing.T) {
	t.Parallel()
	busy := func(status int, after string) msauthtest.Failure {
		return msauthtest.Failure{Status: status, Header: http.Header{"Retry-After": {after}}}
	}
	type script []msauthtest.Failure
	tests := []struct {
		name     string
		method   string
		body     io.Reader
		script   script
		deadline time.Duration
		want     int
		calls    int
		took     time.Duration
	}{
		{"once", "GET", nil, script{busy(429, "3")}, 0, 200, 2, 3 * time.Second},
		{"503", "GET", nil, script{busy(503, "2")}, 0, 200, 2, 2 * time.Second},
		{"twice", "GET", nil, script{busy(429, "3"), busy(429, "4")}, 0, 200, 3, 7 * time.Second},
		{"three times", "GET", nil, script{busy(429, "1"), busy(429, "1"), busy(429, "1")}, 0, 429, 3, 2 * time.Second},
		{"too long", "GET", nil, script{busy(429, "11")}, 0, 429, 1, 0},
		{"too long together", "GET", nil, script{busy(429, "6"), busy(429, "6")}, 0, 429, 2, 6 * time.Second},
		{"longer than the caller waits", "GET", nil, script{busy(429, "5")}, 4 * time.Second, 429, 1, 0},
		{"no time named", "GET", nil, script{{Status: 503}}, 0, 503, 1, 0},
		{"another failure", "GET", nil, script{busy(500, "1")}, 0, 500, 1, 0},
		{"a request that must not be repeated", "POST", strings.NewReader("{}"), script{busy(429, "1")}, 0, 429, 1, 0},
		{"a body that can be read again", "PUT", bytes.NewReader([]byte("x")), script{busy(429, "1")}, 0, 405, 2, time.Second},
		{"a body that cannot", "PUT", struct{ io.Reader }{strings.NewReader("x")}, script{busy(429, "1")}, 0, 429, 1, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			use(t, func(s *site, _ *browser, client *http.Client) {
				s.ms.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Graph] = test.script })
				ctx := context.Background()
				if test.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				req, _ := http.NewRequestWithContext(ctx, test.method, graphMe, test.body)
				start := time.Now()
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if res.StatusCode != test.want || time.Since(start) != test.took {
					t.Errorf("status %d after %v, want %d after %v", res.StatusCode, time.Since(start), test.want, test.took)
				}
				s.wantCalls(t, msauthtest.Graph, test.calls)
			})
		})
	}
}

func TestClientMeetsAClaimsChallengeSilently(t *testing.T) {
	t.Parallel()
	use(t, func(s *site, b *browser, client *http.Client) {
		s.ms.Challenge(msauthtest.Challenge{CapableOnly: true})
		if status, err := call(client, "GET", graphMe, nil); status != 200 {
			t.Fatalf("status %d, %v", status, err)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
		form := s.ms.Calls(msauthtest.TokenRefresh)[0].Form
		if got := form.Get("claims"); !strings.Contains(got, `"nbf"`) || !strings.Contains(got, `"xms_cc":{"values":["cp1"]}`) || form.Get("scope") != "openid profile email offline_access User.Read" {
			t.Errorf("claims %s, scope %q", got, form.Get("scope"))
		}
		old := b.session()[0].Value
		b.get("/")
		if fresh := b.session()[0].Value; fresh == old {
			t.Error("the cookie has the token that was refused")
		} else if b.get("/"); b.session()[0].Value != fresh {
			t.Error("the cookie is written once more")
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
	}, func(c *msauth.Config) { c.ContinuousAccess = true })
}

func TestABodyIsSentAgainWithTheNewToken(t *testing.T) {
	t.Parallel()
	var s *site
	s = orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
		res, err := session.Client(r.Context()).Post(api, "text/plain", strings.NewReader("two teapots"))
		s.pass(w, r, res, err)
	})
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	b.get("/do")
	s.ms.Challenge(msauthtest.Challenge{Audience: "api://orders"})
	s.ms.ResetCalls()
	if res := b.get("/do"); res.body != "orders of Ada Lindqvist two teapots" {
		t.Errorf("the API answers %q; log:\n%s", res.body, s.log)
	}
	s.wantCalls(t, msauthtest.OwnAPI, 2)
	s.wantCalls(t, msauthtest.TokenRefresh, 1)
}

func TestContinuousAccessIsDeclaredWhereItIsSet(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		s := newSite(t, func(c *msauth.Config) { c.ContinuousAccess = on })
		s.guard("/pay", s.auth.RequireAuthContext("c1"))
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		b.get("/pay")
		const cp1 = `"xms_cc":{"values":["cp1"]}`
		for _, call := range append(s.ms.Calls(msauthtest.Authorize), s.ms.Calls(msauthtest.TokenCode)...) {
			claims := call.Query.Get("claims") + call.Form.Get("claims")
			if strings.Contains(claims, cp1) != on {
				t.Errorf("declared %v: %s %s", on, call.Kind, claims)
			}
		}
		if got := s.asked(t).Get("claims"); !strings.Contains(got, `"acrs":{"essential":true,"value":"c1"}`) {
			t.Errorf("the demand is lost: %s", got)
		}
	}
}

// The way to a stronger sign-in and back, for a page and for a script.
func TestChallengeLeadsToAStrongerSignIn(t *testing.T) {
	t.Parallel()
	for _, audience := range []string{"https://graph.microsoft.com", "api://orders"} {
		for _, script := range []bool{false, true} {
			t.Run(fmt.Sprint(audience, " script ", script), func(t *testing.T) {
				t.Parallel()
				var s *site
				s = orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, api string) {
					target := s.ms.URL + "/v1.0/me"
					if audience == "api://orders" {
						target = api
					}
					res, err := session.Client(r.Context()).Get(target)
					s.pass(w, r, res, err)
				})
				b := s.browser(t)
				b.signIn(msauthtest.Ada)
				b.get("/do")
				s.ms.Challenge(msauthtest.Challenge{ACRS: "c1", Audience: audience})
				s.ms.ResetCalls()
				if script {
					res := b.get(b.wantProblem(b.fetch("/do"), http.StatusUnauthorized).LoginURL)
					if res.Request.URL.Path != "/seen" {
						t.Errorf("came back to %s", res.Request.URL)
					}
				}
				res := b.get("/do?again=%2F")
				if res.StatusCode != http.StatusOK || !strings.Contains(res.body, "Ada") || res.Request.URL.RequestURI() != "/do?again=%2F" {
					t.Fatalf("status %d at %s: %q; log:\n%s", res.StatusCode, res.Request.URL, res.body, s.log)
				}
				s.wantCalls(t, msauthtest.Authorize, 1)
				if got := s.asked(t); !strings.Contains(got.Get("claims"), `"acrs"`) || got.Get("login_hint") == "" {
					t.Errorf("asked with claims %s of %q", got.Get("claims"), got.Get("login_hint"))
				}
			})
		}
	}
}

func TestAChallengeThatIsNeverMetEndsOnAPageAfterOneRoundTrip(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		challenge msauthtest.Challenge
		behave    func(*msauthtest.Behavior)
		kind      string
	}{
		{"issued later, for ever", msauthtest.Challenge{Forever: true}, nil, "not-enough"},
		{"a context, for ever", msauthtest.Challenge{Forever: true, ACRS: "c1"}, nil, "not-enough"},
		{"a provider that ignores it", msauthtest.Challenge{ACRS: "c1"}, func(b *msauthtest.Behavior) { b.IgnoreClaims = true }, "not-enough"},
		{"a person who fails it", msauthtest.Challenge{ACRS: "c1"}, func(b *msauthtest.Behavior) { b.RefuseMFA = true }, "declined"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var s *site
			s = orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
				res, err := session.Client(r.Context()).Get(s.ms.URL + "/v1.0/me")
				s.pass(w, r, res, err)
			})
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			withdraw := s.ms.Challenge(test.challenge)
			if test.behave != nil {
				s.ms.Set(test.behave)
			}
			s.ms.ResetCalls()
			res := b.get("/do")
			if res.StatusCode != http.StatusForbidden || res.kind() != test.kind {
				t.Fatalf("status %d, page %q; log:\n%s", res.StatusCode, res.kind(), s.log)
			}
			s.wantCalls(t, msauthtest.Authorize, 1)
			if test.kind == "not-enough" {
				if p := b.wantProblem(b.fetch("/do"), http.StatusForbidden); p.LoginURL != "" {
					t.Errorf("a script is sent to %s", p.LoginURL)
				}
			}
			// Pages that do not need it work on, and cost nothing.
			s.ms.ResetCalls()
			if res := b.get("/"); res.body != helloAda {
				t.Errorf("another page: %q; log:\n%s", res.body, s.log)
			}
			s.wantNoCalls(t)

			withdraw()
			s.ms.Set(func(b *msauthtest.Behavior) { b.IgnoreClaims, b.RefuseMFA = false, false })
			if res := b.get("/do"); !strings.Contains(res.body, msauthtest.Ada) {
				t.Errorf("once it is over: page %q %s; log:\n%s", res.kind(), res.body, s.log)
			}
		})
	}
}

func base64Std(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// Whatever an API sends as a challenge, the session is unharmed.
func TestBadChallengesAreNoChallenges(t *testing.T) {
	t.Parallel()
	encode := func(s string) string { return `Bearer error="insufficient_claims", claims="` + base64Std(s) + `"` }
	tests := []struct{ name, header string }{
		{"no base64", `Bearer error="insufficient_claims", claims="{}***"`},
		{"no JSON", encode(`{"access_token":`)},
		{"a list", encode(`[1]`)},
		{"null", encode(`null`)},
		{"1 MB", encode(`{"access_token":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`)},
		{"over 512 bytes", encode(`{"access_token":{"x":"` + strings.Repeat("x", 512) + `"}}`)},
		{"claims twice", encode(`{"id_token":{}}`) + `, claims="e30="`},
		{"another scheme", strings.Replace(encode(`{"id_token":{}}`), "Bearer", "Basic", 1)},
		{"another error", strings.Replace(encode(`{"id_token":{}}`), "insufficient_claims", "insufficient_scope", 1)},
		{"an open quote", `Bearer error="insufficient_claims`},
		{"nothing", ""},
		{"commas", ",,,,,Bearer,,,=,"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			use(t, func(s *site, b *browser, client *http.Client) {
				time.Sleep(2 * time.Minute)
				s.ms.Set(func(b *msauthtest.Behavior) {
					b.Fail[msauthtest.Graph] = []msauthtest.Failure{{Status: 401, Header: http.Header{"Www-Authenticate": {test.header}}}}
				})
				if status, err := call(client, "GET", graphMe, nil); status != 200 {
					t.Errorf("status %d, %v", status, err)
				}
				for _, call := range s.ms.Calls(msauthtest.TokenRefresh) {
					if got := call.Form.Get("claims"); got != "" {
						t.Errorf("carried to Microsoft: %.100q", got)
					}
				}
				if res := b.get("/"); res.body != helloAda {
					t.Errorf("the session is harmed: %q", res.body)
				}
			})
		})
	}
}

func TestChallengesAreReadInEveryForm(t *testing.T) {
	t.Parallel()
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"},"?>":null}}` // with "+" and "/" in base64
	std := base64Std(claims)
	forms := map[string]string{
		"as Graph":                     `Bearer realm="", authorization_uri="https://x/y", client_id="z", error="insufficient_claims", claims="` + std + `"`,
		"without padding":              `Bearer error="insufficient_claims", claims="` + strings.TrimRight(std, "=") + `"`,
		"URL alphabet":                 `Bearer error="insufficient_claims", claims="` + strings.NewReplacer("+", "-", "/", "_").Replace(std) + `"`,
		"not quoted":                   `Bearer error=insufficient_claims, claims=` + strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(std, "=")),
		"in lower case":                `bearer Error = "insufficient_claims" , CLAIMS = "` + std + `"`,
		"after another challenge":      `Basic realm="a, b", Bearer error="insufficient_claims", claims="` + std + `"`,
		"before another challenge":     `Bearer error="insufficient_claims", claims="` + std + `", Negotiate YII=, Basic realm="x"`,
		"after a token68":              `Negotiate YIIabc==, Bearer error="insufficient_claims", claims="` + std + `"`,
		"with escapes":                 `Bearer realm="\"", error="insufficient\_claims", claims="` + std + `"`,
		"with parameters nobody knows": `Bearer x="1", y=2, error="insufficient_claims", claims="` + std + `", z="é"`,
	}
	for name, header := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			use(t, func(s *site, _ *browser, client *http.Client) {
				s.ms.Set(func(b *msauthtest.Behavior) {
					b.Fail[msauthtest.Graph] = []msauthtest.Failure{{Status: 401, Header: http.Header{"Www-Authenticate": {header}}}}
				})
				_, err := call(client, "GET", graphMe, nil)
				failure, ok := errors.AsType[*msauth.AuthError](err)
				if !ok || failure.Class != msauth.ClassStepUp || failure.Claims != claims {
					t.Errorf("the error is %v with claims %q", err, failure.Claims)
				}
				if got := s.ms.Calls(msauthtest.TokenRefresh)[0].Form.Get("claims"); got != claims {
					t.Errorf("carried to Microsoft: %q", got)
				}
			})
		})
	}
}

func TestChallengeLeavesOtherErrorsToTheHandler(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, err := range []error{nil, errors.New("x"), msauth.ErrTokenUnavailable, msauth.ErrCookieTooLarge, &url.Error{Err: context.Canceled}} {
		w := httptest.NewRecorder()
		if s.auth.Challenge(w, httptest.NewRequest("GET", "/", nil), err) || len(w.Header()) > 0 || w.Body.Len() > 0 {
			t.Errorf("%v was answered", err)
		}
	}
	s.mux.Handle("/gone", s.auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.auth.Challenge(w, r, fmt.Errorf("wrapped: %w", msauth.ErrNoSession)) {
			t.Error("not answered")
		}
	})))
	b := s.browser(t)
	if res := b.still().get("/gone"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("nobody is signed in: status %d", res.StatusCode)
	}
	b.wantProblem(b.fetch("/gone"), http.StatusUnauthorized)
}

// A handler that asks for the same whatever happens.
func TestChallengeIsNoWayRoundInCircles(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"sign in": msauth.ErrSignInRequired,
		"scopes":  &msauth.AuthError{Class: msauth.ClassStepUp, Scopes: []string{"Mail.Read"}},
		"claims":  &msauth.AuthError{Class: msauth.ClassStepUp, Claims: `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.mux.Handle("/loop", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.auth.Challenge(w, r, err)
			})))
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			s.ms.ResetCalls()
			if res := b.get("/loop"); res.StatusCode != http.StatusForbidden {
				t.Errorf("status %d, page %q; log:\n%s", res.StatusCode, res.kind(), s.log)
			}
			s.wantCalls(t, msauthtest.Authorize, 1)
		})
	}
}

// A token for another API that is refused without a word about what would help:
// consent is asked for, once.
func TestAScriptsWayRoundEndsToo(t *testing.T) {
	t.Parallel()
	var s *site
	s = orders(t, func(w http.ResponseWriter, r *http.Request, session *msauth.Session, _ string) {
		_, err := session.Token(r.Context(), ordersRead)
		if err == nil {
			t.Error("a token, though it was refused")
		}
		s.auth.Challenge(w, r, err)
	})
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Error: "invalid_grant", Codes: []int{50105}}
	})
	s.ms.ResetCalls()
	p := b.wantProblem(b.fetch("/do"), http.StatusUnauthorized)
	if res := b.get(p.LoginURL); res.Request.URL.RequestURI() != "/seen?x=1" {
		t.Fatalf("came back to %s; log:\n%s", res.Request.URL, s.log)
	}
	for range 3 {
		if p := b.wantProblem(b.fetch("/do"), http.StatusForbidden); p.LoginURL != "" || p.ID == "" {
			t.Errorf("problem document %+v, want no login_url, and an id", p)
		}
		s.wantPage(t, b.get("/do"), http.StatusForbidden, "not-granted", "scopes not granted: "+ordersRead)
	}
	s.wantCalls(t, msauthtest.Authorize, 1)
	b.wantGreeting(helloAda)
}

// An app that asks for nothing of Graph but who somebody is.
func TestTheSessionsOwnTokenStaysThatWithoutScopesOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"api://orders/.default", ordersRead} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSiteInProcess(t, func(c *msauth.Config) { c.Scopes = []string{} })
				s.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
				s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				s.guard("/orders", s.auth.RequireScopes(scope))
				b := s.browser(t)
				b.signIn(msauthtest.Ada)
				if got := s.asked(t).Get("scope"); got != "openid profile email offline_access" {
					t.Errorf("the first sign-in asked for %q", got)
				}
				if res := b.get("/orders"); res.body != helloAda {
					t.Fatalf("page %.300q; log:\n%s", res.body, s.log)
				}
				// The code gave a token for the other API; one for the
				// session's own had to be asked for by name.
				if got := s.ms.Calls(msauthtest.TokenRefresh)[1].Form.Get("scope"); got != "openid profile email offline_access" {
					t.Errorf("the second token request named %q", got)
				}
				for range 3 {
					res := b.get("/?token")
					if _, err := s.ms.VerifyAccessToken(res.body, "https://graph.microsoft.com"); err != nil {
						t.Fatalf("status %d, %v; log:\n%s", res.StatusCode, err, s.log)
					}
					time.Sleep(61 * time.Minute)
				}
			})
		})
	}
}

// wantNoReuse checks that no refresh token was used twice, which a provider
// that rotates strictly takes for theft.
func (s *site) wantNoReuse(t *testing.T) {
	t.Helper()
	used := map[string]bool{}
	for _, call := range s.ms.Calls(msauthtest.TokenRefresh) {
		token := call.Form.Get("refresh_token")
		if used[token] {
			t.Errorf("a refresh token was used twice; log:\n%s", s.log)
			return
		}
		used[token] = call.Status == http.StatusOK // a refusal uses nothing up
	}
}

// However another API's token is asked for, the refresh token that is left
// reaches the browser or the store.
func TestStrictRotationSurvivesOtherAPIs(t *testing.T) {
	t.Parallel()
	const stock = "api://stock/All"
	tests := []struct {
		name    string
		change  func(t *testing.T, c *msauth.Config)
		prepare func(*site)
		do      func(t *testing.T, s *site, b *browser)
	}{
		{"in OnSignIn, over budget", func(_ *testing.T, c *msauth.Config) {
			c.CookieBudget = 2600
			c.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
				_, err := in.Session.Token(r.Context(), ordersRead)
				return err
			}
		}, nil, func(t *testing.T, s *site, b *browser) { b.get("/stock") }},
		{"in OnSignIn, and a new process", func(_ *testing.T, c *msauth.Config) {
			c.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
				_, err := in.Session.Token(r.Context(), ordersRead)
				return err
			}
		}, nil, func(t *testing.T, s *site, b *browser) { s.restart(t) }},
		{"by a handler that began before a renewal", nil, nil, func(t *testing.T, s *site, b *browser) {
			time.Sleep(50 * time.Minute)
			var held *msauth.Session
			s.mux.Handle("/hold", s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				held, _ = msauth.FromContext(r.Context())
			})))
			b.get("/hold")
			time.Sleep(9*time.Minute + 30*time.Second)
			b.get("/")
			if _, err := held.Token(context.Background(), ordersRead); err != nil {
				t.Fatal(err)
			}
			b.get("/")
			s.restart(t)
		}},
		{"before a claims challenge", nil, nil, func(t *testing.T, s *site, b *browser) {
			s.mux.Handle("/both", s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				session.Token(r.Context(), ordersRead)
				call(session.Client(r.Context()), "GET", graphMe, nil)
			})))
			s.ms.Challenge(msauthtest.Challenge{ACRS: "c1", Audience: "https://graph.microsoft.com"})
			b.get("/both")
			b.get("/")
			s.restart(t)
		}},
		{"by RequireScopes, in two processes with one store", func(t *testing.T, c *msauth.Config) { c.Store = fileStore(t) }, nil,
			func(t *testing.T, s *site, b *browser) {
				for range 3 {
					s.restart(t)
					s.guard("/orders", s.auth.RequireScopes(ordersRead))
					if res := b.fetch("/orders"); res.body != helloAda {
						t.Fatalf("status %d %s; log:\n%s", res.StatusCode, res.body, s.log)
					}
				}
			}},
		{"by RequireScopes, in two processes with cookies", nil, nil, func(t *testing.T, s *site, b *browser) {
			for range 3 {
				s.restart(t)
				s.guard("/orders", s.auth.RequireScopes(ordersRead))
				if res := b.fetch("/orders"); res.body != helloAda {
					t.Fatalf("status %d %s; log:\n%s", res.StatusCode, res.body, s.log)
				}
			}
		}},
		{"by a stream, a thousand times", nil, nil, func(t *testing.T, s *site, b *browser) {
			s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 10 * time.Minute })
			s.mux.Handle("/stream", s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				for range 1100 {
					if _, err := session.Token(r.Context(), ordersRead); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Minute)
				}
			})))
			b.Timeout = 0
			b.get("/stream")
			b.get("/")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSiteInProcess(t, func(c *msauth.Config) {
					if test.change != nil {
						test.change(t, c)
					}
				})
				s.ms.Consent(msauthtest.Ada, ordersRead, stock)
				s.ms.Set(func(b *msauthtest.Behavior) { b.Rotation, b.AccessTokenLifetime = msauthtest.RotateStrict, time.Hour })
				var failed error
				s.mux.Handle("/stock", s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					session, _ := msauth.FromContext(r.Context())
					_, failed = session.Token(r.Context(), stock)
				})))
				b := s.browser(t)
				b.signIn(msauthtest.Ada)
				test.do(t, s, b)
				time.Sleep(time.Hour)
				if res := b.get("/"); res.body != helloAda || failed != nil {
					t.Errorf("page %q, %v; log:\n%s", res.kind(), failed, s.log)
				}
				s.wantNoReuse(t)
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
				s := newSiteInProcess(t)
				s.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
				s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				s.mux.Handle("/do", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					session, _ := msauth.FromContext(r.Context())
					if _, err := session.Token(r.Context(), "api://orders/Nonsense"); err == nil {
						t.Error("a token for nonsense")
					}
				})))
				victim := s.browser(t)
				victim.signIn(msauthtest.Bruno)
				var browsers []*browser
				for i := range 6 {
					name := fmt.Sprintf("ada%d@contoso.example", i)
					s.ms.SetUser(msauthtest.User{SignInName: name, Name: "Ada Lindqvist"})
					b := s.browser(t)
					b.signIn(name)
					browsers = append(browsers, b)
				}
				if test.behave != nil {
					s.ms.Set(test.behave)
				}
				for _, b := range browsers {
					b.get("/do")
				}
				if err := s.auth.Ready(context.Background()); err != nil || s.auth.Stats().Paused {
					t.Errorf("paused: %v, ready: %v", s.auth.Stats().Paused, err)
				}
				time.Sleep(time.Hour + time.Second)
				for _, b := range append(browsers, victim) {
					if res := b.get("/?token"); res.StatusCode != http.StatusOK {
						t.Errorf("status %d %s; log:\n%s", res.StatusCode, res.body, s.log)
					}
				}
			})
		})
	}
}

// An API that names another time in each challenge.
func TestAStormOfChallengesIsOneTokenRequestAMinute(t *testing.T) {
	t.Parallel()
	use(t, func(s *site, b *browser, client *http.Client) {
		n := 0
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
				n++
				claims := base64Std(fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, n))
				w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_claims", claims="`+claims+`"`)
				w.WriteHeader(http.StatusUnauthorized)
			}}
		})
		for range 30 {
			if _, err := call(client, "GET", graphMe, nil); !errors.Is(err, msauth.ErrSignInRequired) {
				t.Errorf("the error is %v", err)
			}
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
		time.Sleep(2 * time.Minute)
		s.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		if status, err := call(client, "GET", graphMe, nil); status != 200 {
			t.Errorf("once it is over: status %d, %v", status, err)
		}
	})
}

// A roundTrip is a transport made of a func.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAnAnswerWhoseBodyNeverComesHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	calls := 0
	use(t, func(_ *site, _ *browser, client *http.Client) {
		start := time.Now()
		if status, err := call(client, "GET", "https://api.example.com/", nil); status != 200 || time.Since(start) != time.Second {
			t.Errorf("status %d, %v after %v", status, err, time.Since(start))
		}
	}, func(c *msauth.Config) {
		c.TokenHosts = map[string][]string{"api.example.com": nil}
		microsoft := c.HTTPClient.Transport
		c.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
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
	use(t, func(s *site, _ *browser, client *http.Client) {
		time.Sleep(2 * time.Hour)
		s.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 10 * time.Second })
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", graphMe, nil)
		start := time.Now()
		if _, err := client.Do(req); err == nil || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		time.Sleep(time.Minute) // the token request goes on for others
	})
}
