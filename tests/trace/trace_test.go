package trace_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

const signIn = "msauth.sign_in of /auth/callback: POST token"

// traced makes a site in a bubble whose operations are recorded. Access tokens last
// an hour.
func traced(t *testing.T, do func(t *testing.T, s *testsite.Site, rec *record), changes ...func(*msauth.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rec := &record{}
		s := testsite.NewInProcess(t, append(changes, rec.use)...)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.AutoSignIn, b.AccessTokenLifetime = msauthtest.Ada, time.Hour
			b.Delay = map[msauthtest.Kind]time.Duration{msauthtest.TokenRefresh: 50 * time.Millisecond}
		})
		s.Mux.Handle("/graph", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			call, err := http.NewRequest("GET", testsite.GraphMe, nil)
			if err != nil {
				t.Error(err)
				return
			}
			w.WriteHeader(status(t, session.Client(r.Context()), call))
		})))
		pages(s)
		if err := s.Auth.Ready(context.Background()); err != nil { // so that it is known where to sign in
			t.Fatal(err)
		}
		rec.want(t, "before", "alone: GET openid-configuration", "alone: GET keys")
		do(t, s, rec)
		time.Sleep(time.Minute) // for what still waits
	})
}

func TestASignInIsTraced(t *testing.T) {
	t.Parallel()
	traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
		s.Browser(t).SignIn(msauthtest.Ada)
		for _, o := range rec.want(t, "a sign-in", signIn) {
			if o.err != nil {
				t.Errorf("error %v", o.err)
			}
		}
	})
}

// What the provider is asked in a sign-in is part of it, even if others may wait for
// the answer too.
func TestDocumentsBelongToTheSignInThatTheyAreReadFor(t *testing.T) {
	t.Parallel()
	rec := &record{}
	s := testsite.NewInProcess(t, rec.use)
	s.As(msauthtest.Ada)
	pages(s)
	callback := s.Browser(t)
	back := callback.Attempt("/")
	rec.want(t, "the way to the provider", "alone: GET openid-configuration")
	callback.Get(back)
	rec.want(t, "the way back", "msauth.sign_in of /auth/callback: POST token, GET keys")
}

func TestAnOrdinaryPageCallsNothing(t *testing.T) {
	t.Parallel()
	traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		rec.take(t)
		for _, page := range []string{"/", "/public/", "/?token", "/auth/session", "/auth/login", "/auth/callback", "/auth/callback?code=x&state=y"} {
			b.Still().Get(page)
		}
		s.Browser(t).Still().Get("/")
		rec.want(t, "pages, and answers to no sign-in of this browser")
	})
}

func TestARenewalIsTraced(t *testing.T) {
	t.Parallel()
	traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		rec.take(t)
		time.Sleep(testsite.AfterExpiry)
		b.WantGreeting(testsite.HelloAda)
		all := rec.want(t, "a renewal", "msauth.renewal of /public/: POST token")
		if len(all) == 1 && all[0].err != nil {
			t.Errorf("error %v", all[0].err)
		}
		if stats := s.Auth.Stats(); stats.Renewals != 1 {
			t.Errorf("%d renewals", stats.Renewals)
		}
	})
}

// A renewal goes on without the request that began it, and is part of it all the same.
func TestARenewalOutlastsItsRequest(t *testing.T) {
	t.Parallel()
	traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		rec.take(t)
		time.Sleep(testsite.BeforeExpiry)
		s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 10 * time.Second })
		b.Get("/")
		time.Sleep(time.Minute)
		if all := rec.want(t, "a slow renewal", "msauth.renewal of /: POST token"); len(all) == 1 && all[0].err != nil {
			t.Errorf("error %v", all[0].err)
		}
		b.Get("/")
		rec.want(t, "the page after it")
	})
}

func TestATokenForOtherScopesIsTraced(t *testing.T) {
	t.Parallel()
	traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
		s.MS.AddAPI(msauthtest.API{ID: "api://orders"})
		s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
		var failed error
		s.Mux.Handle("/orders", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			_, failed = session.Token(r.Context(), testsite.OrdersRead)
		})))
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		rec.take(t)
		for range 2 { // the second one is known
			if b.Get("/orders"); failed != nil {
				t.Fatal(failed)
			}
		}
		rec.want(t, "a token", "msauth.token of /orders: POST token")
	})
}

func TestWhatStoredTokensAreUsedForIsTraced(t *testing.T) {
	t.Parallel()
	traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
		s.Browser(t).SignIn(msauthtest.Ada)
		rec.take(t)
		time.Sleep(testsite.AfterExpiry)
		ctx := context.WithValue(context.Background(), pageKey{}, "the worker")
		session, err := s.Auth.Offline(ctx, "7")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := session.Token(ctx); err != nil {
			t.Fatal(err)
		}
		rec.want(t, "a worker", "msauth.renewal of the worker: POST token")
	}, func(c *msauth.Config) {
		c.Tokens = testsite.NewTokens()
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.UserKey = "7"
			return nil
		}
	})
}

// A request of Session.Client is part of the page even if it has no context of its
// own, and what it waits for is part of it.
func TestARequestToAnAPIIsTraced(t *testing.T) {
	t.Parallel()
	traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		rec.take(t)
		b.Get("/graph")
		rec.want(t, "a request", "msauth.api_request of /graph: GET me")

		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Fail = map[msauthtest.Kind][]msauthtest.Failure{msauthtest.Graph: {{Status: 401}}}
		})
		time.Sleep(2 * time.Minute)
		b.Get("/graph")
		rec.want(t, "a token that is rejected", "msauth.api_request of /graph: GET me, GET me",
			"msauth.renewal in msauth.api_request of /graph: POST token")

		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Fail = map[msauthtest.Kind][]msauthtest.Failure{msauthtest.Graph: {{Status: 404, Error: "itemNotFound"}}}
		})
		b.Get("/graph")
		if all := rec.want(t, "a response that is an error", "msauth.api_request of /graph: GET me"); len(all) == 1 && all[0].err != nil {
			t.Errorf("error %v", all[0].err)
		}
	})
}

func TestARequestToAnAPIHasTheValuesOfItsContextFirst(t *testing.T) {
	t.Parallel()
	traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
		s.Mux.Handle("/values", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			ctx := context.WithValue(r.Context(), otherKey{}, "the page's")
			client := session.Client(ctx)
			own, cancel := context.WithCancel(context.WithValue(context.Background(), otherKey{}, "its own"))
			defer cancel()
			for _, ctx := range []context.Context{context.Background(), own} {
				call, _ := http.NewRequestWithContext(ctx, "GET", testsite.GraphMe, nil)
				status(t, client, call)
			}
			cancel()
			call, _ := http.NewRequestWithContext(own, "GET", testsite.GraphMe, nil)
			if _, err := client.Do(call); !errors.Is(err, context.Canceled) {
				t.Errorf("a canceled request: error %v", err)
			}
		})))
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		rec.take(t)
		b.Get("/values")
		all, _ := rec.take(t)
		if len(all) != 3 || all[0].other != "the page's" || all[1].other != "its own" || !errors.Is(all[2].err, context.Canceled) {
			t.Errorf("operations %+v", all)
		}
		for _, o := range all {
			if o.page != "/values" {
				t.Errorf("%s is of page %q", o, o.page)
			}
		}
	})
}

// Requests that carry no token are none of this package's business.
func TestRequestsWithoutATokenAreNotTraced(t *testing.T) {
	t.Parallel()
	traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
		s.Mux.Handle("/elsewhere", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			_, _ = session.Client(r.Context()).Get("http://localhost:9999/me")
		})))
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		rec.take(t)
		b.Get("/elsewhere")
		rec.want(t, "another host", "alone: GET me")
	})
}

// The error is the one that apps see.
func TestWhatFailsIsTracedWithItsError(t *testing.T) {
	t.Parallel()
	class := func(t *testing.T, err error, want msauth.Class) {
		t.Helper()
		if e, ok := errors.AsType[*msauth.AuthError](err); !ok || e.Class != want {
			t.Errorf("error %v (%T), want one of class %q", err, err, want)
		}
	}
	for _, tt := range []struct {
		name string
		fail msauthtest.Failure
		want msauth.Class
	}{
		{"revoked", msauthtest.Failure{Codes: []int{50173}}, msauth.ClassSignIn},
		{"another factor", msauthtest.Failure{Codes: []int{50076}}, msauth.ClassStepUp},
		{"out of order", msauthtest.Failure{Status: 503}, msauth.ClassRetry},
		{"the secret has expired", msauthtest.Failure{Codes: []int{7000222}}, msauth.ClassMisconfigured},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				rec.take(t)
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.FailAlways = map[msauthtest.Kind]msauthtest.Failure{msauthtest.TokenRefresh: tt.fail}
				})
				time.Sleep(testsite.AfterExpiry)
				b.Still().Get("/")
				all, _ := rec.take(t)
				if len(all) == 0 {
					t.Fatal("nothing is traced")
				}
				for _, o := range all {
					if o.name != "msauth.renewal" {
						t.Errorf("traced %s", o)
					}
					class(t, o.err, tt.want)
				}
				noSecrets(t, s, all)
			})
		})
	}
	t.Run("a request to an API whose token only the person can get", func(t *testing.T) {
		t.Parallel()
		traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
			s.Mux.Handle("/graph/late", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				time.Sleep(testsite.AfterExpiry)
				if _, err := session.Client(r.Context()).Get(testsite.GraphMe); !errors.Is(err, msauth.ErrSignInRequired) {
					t.Errorf("error %v", err)
				}
			})))
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			rec.take(t)
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.FailAlways = map[msauthtest.Kind]msauthtest.Failure{msauthtest.TokenRefresh: {Codes: []int{50173}}}
			})
			b.Client.Timeout = 0
			b.Still().Get("/graph/late")
			all := rec.want(t, "a request", "msauth.api_request of /graph/late: ", "msauth.renewal in msauth.api_request of /graph/late: POST token")
			for _, o := range all {
				class(t, o.err, msauth.ClassSignIn)
			}
			noSecrets(t, s, all)
		})
	})
}

// Whatever page a sign-in ends on, it is an error, and the one that Config.Page gets.
func TestARefusedSignInIsTracedWithItsError(t *testing.T) {
	t.Parallel()
	unhappy := errors.New("not on Sundays")
	for _, tt := range []struct {
		name   string
		change func(c *msauth.Config)
		behave func(b *msauthtest.Behavior)
		want   string // in the text of the error
		is     error
	}{
		{name: "by the app", is: unhappy, change: func(c *msauth.Config) {
			c.OnSignIn = func(http.ResponseWriter, *http.Request, *msauth.SignIn) error { return unhappy }
		}},
		{name: "by a panic of the app", want: "OnSignIn panicked: a zebra", change: func(c *msauth.Config) {
			c.OnSignIn = func(http.ResponseWriter, *http.Request, *msauth.SignIn) error { panic("a zebra") }
		}},
		{name: "by its tenant", want: "tenant", change: func(c *msauth.Config) {
			c.AllowedTenants = []string{"00000000-0000-4000-8000-000000000001"}
		}},
		{name: "by the person", want: "access_denied", behave: func(b *msauthtest.Behavior) {
			b.FailAlways = map[msauthtest.Kind]msauthtest.Failure{msauthtest.Authorize: {Error: "access_denied"}}
		}},
		{name: "by Microsoft", want: "AADSTS50105", behave: func(b *msauthtest.Behavior) {
			b.FailAlways = map[msauthtest.Kind]msauthtest.Failure{msauthtest.Authorize: {Error: "access_denied", Codes: []int{50105}}}
		}},
		{name: "because Microsoft is out of order", want: "503", is: msauth.ErrTokenUnavailable, behave: func(b *msauthtest.Behavior) {
			b.FailAlways = map[msauthtest.Kind]msauthtest.Failure{msauthtest.TokenCode: {Status: 503}}
		}},
		{name: "for the app's secret", want: "AADSTS7000222", behave: func(b *msauthtest.Behavior) { b.SecretExpired = true }},
		{name: "for another factor, which is asked for", want: "AADSTS50076", is: msauth.ErrSignInRequired, behave: func(b *msauthtest.Behavior) {
			b.Fail = map[msauthtest.Kind][]msauthtest.Failure{msauthtest.TokenCode: {{Codes: []int{50076}, Claims: `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`}}}
		}},
		{name: "for its ID token", want: "ID token", behave: func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignFlippedBit }},
		{name: "for want of an ID token", want: "no ID token", behave: func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "id_token") }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var shown []error
			traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
				if tt.behave != nil {
					s.MS.Set(tt.behave)
				}
				b := s.Browser(t)
				b.Still().Get(b.Attempt("/"))
				all, _ := rec.take(t)
				if len(all) != 1 || all[0].name != "msauth.sign_in" {
					t.Fatalf("operations %v", all)
				}
				err := all[0].err
				if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("error %v, want %q in it (%v)", err, tt.want, tt.is)
				}
				if len(shown) > 0 && shown[0].Error() != err.Error() {
					t.Errorf("error %v, and the page has %v", err, shown[0])
				}
				noSecrets(t, s, all)
			}, func(c *msauth.Config) {
				if tt.change != nil {
					tt.change(c)
				}
				c.Page = func(w http.ResponseWriter, r *http.Request, p msauth.Page) {
					shown = append(shown, p.Err)
					p.ServeHTTP(w, r)
				}
			})
		})
	}
}

// A sign-in that ends in the air has not succeeded.
func TestASignInThatPanicsIsTraced(t *testing.T) {
	t.Parallel()
	rec := &record{}
	s := testsite.NewInProcess(t, rec.use, func(c *msauth.Config) {
		c.Page = func(http.ResponseWriter, *http.Request, msauth.Page) { panic(http.ErrAbortHandler) }
	})
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	back := b.Attempt("/")
	s.MS.Set(func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignFlippedBit })
	rec.take(t)
	func() {
		defer func() { _ = recover() }()
		b.Get(back)
		t.Error("the panic of Config.Page is not seen")
	}()
	if all, _ := rec.take(t); len(all) != 1 || all[0].err == nil {
		t.Errorf("operations %+v", all)
	}
}

// The transport panics, or the person goes away, in the middle of a sign-in.
func TestASignInThatIsBrokenOffIsTraced(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		call func(r *http.Request, leave func()) (*http.Response, error)
		want string
		is   error
	}{
		{"by a panic", func(*http.Request, func()) (*http.Response, error) { panic(http.ErrAbortHandler) }, "was not completed", nil},
		{"by the person", func(r *http.Request, leave func()) (*http.Response, error) {
			leave()
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, "canceled", context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := &record{}
			var leave func()
			s := testsite.NewInProcess(t, func(c *msauth.Config) {
				base := http.DefaultTransport
				if c.HTTPClient != nil {
					base = c.HTTPClient.Transport
				}
				c.HTTPClient = &http.Client{Transport: testsite.RoundTripper(func(r *http.Request) (*http.Response, error) {
					if r.Method == http.MethodPost {
						return tt.call(r, leave)
					}
					return base.RoundTrip(r)
				})}
			}, rec.use)
			s.As(msauthtest.Ada)
			mux := http.NewServeMux()
			mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithCancel(r.Context())
				defer cancel()
				leave = cancel
				defer func() { _ = recover() }()
				s.Mux.ServeHTTP(w, r.WithContext(ctx))
			})
			s.Current.Store(mux)
			b := s.Browser(t)
			b.Still().Get(b.Attempt("/"))
			all, _ := rec.take(t)
			if len(all) != 1 || all[0].err == nil || !strings.Contains(all[0].err.Error(), tt.want) || tt.is != nil && !errors.Is(all[0].err, tt.is) {
				t.Errorf("operations %+v, want one that ended with %q", all, tt.want)
			}
		})
	}
}

// Who declines is led back to the page, without an error page. The sign-in has failed
// all the same.
func TestASignInThatIsDeclinedIsTraced(t *testing.T) {
	t.Parallel()
	traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways = map[msauthtest.Kind]msauthtest.Failure{msauthtest.Authorize: {Error: "access_denied"}}
		})
		b := s.Browser(t)
		if res := b.Still().Get(b.Attempt(s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/public/", ReturnDeclined: true}))); res.StatusCode != http.StatusSeeOther {
			t.Errorf("status %d", res.StatusCode)
		}
		all, _ := rec.take(t)
		if len(all) != 1 {
			t.Fatalf("operations %v", all)
		}
		if e, ok := errors.AsType[*msauth.AuthError](all[0].err); !ok || e.Class != msauth.ClassDeclined {
			t.Errorf("error %v", all[0].err)
		}
	})
}

// Connecting an account is a sign-in that makes no session.
func TestConnectingAnAccountIsTraced(t *testing.T) {
	t.Parallel()
	traced(t, func(t *testing.T, s *testsite.Site, rec *record) {
		s.Mux.Handle("/connect", s.Auth.Connect("/public/"))
		b := s.Browser(t)
		b.Connect()
		all := rec.want(t, "connecting", signIn)
		if len(all) == 1 && all[0].err != nil {
			t.Errorf("error %v", all[0].err)
		}
	}, func(c *msauth.Config) {
		c.Tokens = testsite.NewTokens()
		c.User = func(*http.Request) string { return "7" }
	})
}

// A hook that is broken costs nobody a session, and no renewal is lost.
func TestABrokenHookChangesNothing(t *testing.T) {
	t.Parallel()
	for name, hook := range map[string]func(context.Context, string) (context.Context, func(error)){
		"panics":      func(context.Context, string) (context.Context, func(error)) { panic("a zebra") },
		"returns nil": func(context.Context, string) (context.Context, func(error)) { return nil, nil },
		"ends in panic": func(ctx context.Context, _ string) (context.Context, func(error)) {
			return ctx, func(error) { panic("a zebra") }
		},
		"is canceled in renewals": func(ctx context.Context, name string) (context.Context, func(error)) {
			if name == "msauth.renewal" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithCancel(ctx)
				cancel()
			}
			return ctx, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			traced(t, func(t *testing.T, s *testsite.Site, _ *record) {
				s.Restart(t, func(c *msauth.Config) { c.Trace = hook })
				s.Mux.Handle("/graph", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					session, _ := msauth.FromContext(r.Context())
					call, _ := http.NewRequest("GET", testsite.GraphMe, nil)
					w.WriteHeader(status(t, session.Client(r.Context()), call))
				})))
				testsite.Strict(s)
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				for range 3 {
					time.Sleep(testsite.AfterExpiry)
					b.WantGreeting(testsite.HelloAda)
					if res := b.Get("/graph"); res.StatusCode != http.StatusOK {
						t.Errorf("Graph: status %d", res.StatusCode)
					}
				}
				s.WantNoReuse(t)
				if stats := s.Auth.Stats(); stats.Renewals != 3 || stats.SignIns != 1 {
					t.Errorf("%d renewals, %d sign-ins; log:\n%s", stats.Renewals, stats.SignIns, s.Log)
				}
				if logged := len(s.Log.With("Config.Trace panicked")); (logged > 0) != strings.Contains(name, "panic") {
					t.Errorf("%d lines of a panic", logged)
				}
			})
		})
	}
}
