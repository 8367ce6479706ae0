package outage_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
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

// A visitor can have the provider say invalid_client, with a code that was made
// for another redirect URI of the same app. What it says of a refresh token that
// the visitor has not chosen decides.
func TestReadyDoesNotBelieveARefusedCode(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		s := testsite.NewInProcess(t, at.Change)
		s.As(msauthtest.Ada)
		foreign := msauthtest.Failure{Error: "invalid_client", Codes: []int{500112}}
		foreignURI, expired, number := "AADSTS500112", "create a new client secret", "aadsts=[7000222]"
		if at.Live() { // it has no numbers
			foreignURI, expired, number = "'redirect_uri' is not valid", "'client_secret' is not valid", "aadsts=[]"
		}
		s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenCode] = foreign })
		b := s.Browser(t)
		for range 3 {
			b.WantRefused(b.Get("/auth/login"), 500, "app-error", foreignURI)
		}
		if err := s.Auth.Ready(t.Context()); err != nil {
			t.Errorf("not ready: %v", err)
		}
		if got := s.Auth.Stats().Degraded; len(got) != 0 {
			t.Errorf("degraded: %q", got)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		if form := s.MS.Calls(msauthtest.TokenRefresh)[0].Form; form.Has("redirect_uri") != at.Live() { // as in every renewal there
			t.Errorf("the question about the secret has redirect_uri: %t", form.Has("redirect_uri"))
		}
		for event, want := range map[string]int{"degraded": 1, "degraded_end": 1, "app_misconfigured": 0} {
			if lines := s.Log.With("event=" + event + " "); len(lines) != want {
				t.Errorf("lines of event %s: %q, want %d", event, lines, want)
			}
		}

		// The provider does not say: the suspicion stays.
		time.Sleep(time.Minute)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503}
		})
		for range 3 {
			b.Get("/auth/login")
		}
		if got := s.Auth.Stats().Degraded; !slices.Equal(got, []string{"client secret suspected"}) || s.Auth.Ready(t.Context()) != nil {
			t.Errorf("degraded %q, Ready %v", got, s.Auth.Ready(t.Context()))
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 2)

		// It is the secret.
		time.Sleep(time.Minute)
		s.MS.Set(func(b *msauthtest.Behavior) { b.SecretExpired = true; clear(b.FailAlways) })
		b.Get("/auth/login")
		s.WantCalls(t, msauthtest.TokenRefresh, 3)
		if err := s.Auth.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), expired) {
			t.Errorf("Ready returns %v", err)
		}
		if got := s.Auth.Stats().Degraded; !slices.Equal(got, []string{"app misconfigured"}) {
			t.Errorf("degraded: %q", got)
		}
		if lines := s.Log.With("event=app_misconfigured "); len(lines) != 1 || !strings.Contains(lines[0], number) {
			t.Errorf("lines %q, want one of event app_misconfigured", lines)
		}

		// It was not, or is mended at the provider.
		time.Sleep(2 * time.Minute)
		s.MS.Set(func(b *msauthtest.Behavior) { b.SecretExpired = false; b.FailAlways[msauthtest.TokenCode] = foreign })
		b.Get("/auth/login")
		if err := s.Auth.Ready(t.Context()); err != nil || len(s.Auth.Stats().Degraded) > 0 {
			t.Errorf("Ready returns %v, degraded %q", err, s.Auth.Stats().Degraded)
		}
	})
}

// A probe that hangs keeps nobody for longer than a second.
func TestSuspicionKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		s := testsite.NewInProcess(t, at.Change)
		s.As(msauthtest.Ada)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenCode] = msauthtest.Failure{Error: "invalid_client"}
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Hang: true}
		})
		for i, most := range []time.Duration{time.Second, 0} {
			began := time.Now()
			s.Browser(t).Get("/auth/login")
			if took := time.Since(began); took > most {
				t.Errorf("sign-in %d took %v, want %v at most", i, took, most)
			}
		}
		if got := s.Auth.Stats().Degraded; !slices.Equal(got, []string{"client secret suspected"}) {
			t.Errorf("degraded: %q", got)
		}
		time.Sleep(11 * time.Minute) // nothing more is heard
		if got := s.Auth.Stats().Degraded; len(got) != 0 {
			t.Errorf("degraded: %q", got)
		}
	})
}

// A visitor can bring a code of another redirect URI, which is on the SPA
// platform. Where codes have been redeemed, BaseURL's own is not.
// Live Connect has no such platforms.
func TestCodeOfAnotherPlatformIsAVisitorsOwn(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Browser(t).SignIn(msauthtest.Bruno)
	s.As(msauthtest.Ada)
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.FailAlways[msauthtest.TokenCode] = msauthtest.Failure{Error: "invalid_request", Codes: []int{9002327}}
	})
	b := s.Browser(t)
	b.WantRefused(b.Get("/"), http.StatusBadRequest, "start-again", "AADSTS9002327")
	if err := s.Auth.Ready(t.Context()); err != nil {
		t.Errorf("Ready returns %v", err)
	}
}

// A real fault of the app is noticed, though all its people are of few tenants.
// Live Connect has no tenants.
func TestFaultThatAllListedTenantsSee(t *testing.T) {
	t.Parallel()
	for _, allowed := range [][]string{{msauthtest.TenantContoso}, {msauthtest.TenantContoso, msauthtest.TenantPersonal}} {
		t.Run(fmt.Sprint(len(allowed)), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := testsite.NewOffice(t, func(c *msauth.Config) { c.Tenant, c.AllowedTenants = "common", allowed })
				o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				var people []*testsite.Visitor
				for range 20 {
					people = append(people, o.SignInNew())
				}
				if len(allowed) > 1 {
					o.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Mia })
					people = append(people, o.SignIn())
				}
				time.Sleep(time.Hour)
				o.MS.Set(func(b *msauthtest.Behavior) {
					b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Error: "invalid_resource", Codes: []int{500011}}
				})
				o.MS.ResetCalls()
				for range 60 {
					for _, v := range people {
						v.Get("/")
					}
					time.Sleep(time.Second)
				}
				if n := o.MS.Count(msauthtest.TokenRefresh); n > 12+len(people) {
					t.Errorf("%d calls in a minute", n)
				}
				if err := o.Auth.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "invalid_resource") {
					t.Errorf("Ready returns %v", err)
				}
			})
		})
	}
}

// What one tenant says of the app is not believed because others meet an outage.
// Live Connect has no tenants.
func TestOneTenantsWordDuringAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t)
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		people := make([]*testsite.Visitor, 5)
		for i := range people {
			people[i] = o.SignInNew()
		}
		time.Sleep(time.Hour)
		o.MS.Set(func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.TokenRefresh] = append(slices.Repeat([]msauthtest.Failure{{Status: 500}}, 4), msauthtest.Failure{Error: "invalid_resource"})
		})
		for _, v := range people {
			v.WantHello("failing")
		}
		if err := o.Auth.Ready(t.Context()); err != nil || !o.Auth.Stats().Paused {
			t.Errorf("paused %v, Ready returns %v", o.Auth.Stats().Paused, err)
		}
	})
}

// A log may ask about what it is told of.
func TestLogThatAsksReady(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.NewOffice(t, at.Change)
		asked := 0
		o.Cfg.Logger = slog.New(curious{slog.DiscardHandler, func() {
			asked++
			o.Auth.Ready(context.Background())
			o.Auth.Stats()
		}})
		o.Auth, o.Handler = o.Open()
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		people := make([]*testsite.Visitor, 6)
		for i := range people {
			people[i] = o.SignInNew()
		}
		time.Sleep(time.Hour)
		o.MS.Set(func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.TokenRefresh] = slices.Repeat([]msauthtest.Failure{{Error: "invalid_client"}}, 5)
		})
		for _, v := range people[:5] {
			v.WantHello("failing")
		}
		time.Sleep(11 * time.Second)
		people[5].WantHello("after it")
		if asked < 8 || o.Auth.Stats().Paused {
			t.Errorf("asked %d times, paused %v", asked, o.Auth.Stats().Paused)
		}
	})
}

type curious struct {
	slog.Handler
	ask func()
}

func (c curious) Enabled(context.Context, slog.Level) bool { return true }

func (c curious) Handle(context.Context, slog.Record) error {
	c.ask()
	return nil
}

func TestReadyNamesHandlersThatNobodyCanReach(t *testing.T) {
	t.Parallel()
	for want, require := range map[string]func(*msauth.Middleware) func(http.Handler) http.Handler{
		`RequireGroup: msauth: "Admins" is not the object id`: func(m *msauth.Middleware) func(http.Handler) http.Handler { return m.RequireGroup("Admins") },
		"RequireGroup names no group":                         func(m *msauth.Middleware) func(http.Handler) http.Handler { return m.RequireGroup() },
		"RequireRole names no role":                           func(m *msauth.Middleware) func(http.Handler) http.Handler { return m.RequireRole() },
		"RequireTenant names no tenant":                       func(m *msauth.Middleware) func(http.Handler) http.Handler { return m.RequireTenant() },
		"maxAge is 30 seconds: must be at least 1 minute": func(m *msauth.Middleware) func(http.Handler) http.Handler {
			return m.RequireFreshSignIn(30 * time.Second)
		},
		"maxAge is 401 days: must be at most 400 days": func(m *msauth.Middleware) func(http.Handler) http.Handler {
			return m.RequireFreshSignIn(401 * 24 * time.Hour)
		},
		"Connect needs Config.Tokens": func(m *msauth.Middleware) func(http.Handler) http.Handler {
			return func(http.Handler) http.Handler { return m.Connect("/") }
		},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t)
			if err := s.Auth.Ready(t.Context()); err != nil {
				t.Errorf("not ready: %v", err)
			}
			for range 100 {
				require(s.Auth)(http.HandlerFunc(testsite.Hello))
			}
			err := s.Auth.Ready(t.Context())
			if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") > 20 {
				t.Errorf("Ready returns %v, want %q", err, want)
			}
			if lines := s.Log.With("event=handler_misconfigured "); len(lines) != 100 || !strings.Contains(lines[0], "level=ERROR") {
				t.Errorf("%d lines of event handler_misconfigured, want one for each handler", len(lines))
			}
		})
	}
}

func TestStatsSayWhatIsWeaker(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want   string
		weaken func(*testing.T, *testsite.Site, *testsite.Browser, *testsite.Tokens)
		mend   func(*testing.T, *testsite.Site, *testsite.Browser, *testsite.Tokens)
	}{
		{"tokens of an API refused", func(t *testing.T, s *testsite.Site, b *testsite.Browser, _ *testsite.Tokens) {
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Error: "invalid_resource", Codes: []int{500011}}
			})
			s.Guard("/orders", s.Auth.RequireScopes(testsite.OrdersRead))
			b.Get("/orders")
		}, func(t *testing.T, s *testsite.Site, b *testsite.Browser, _ *testsite.Tokens) {
			s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
			time.Sleep(20 * time.Second)
			b.Get("/orders")
		}},
		{"session store fails", func(t *testing.T, s *testsite.Site, b *testsite.Browser, _ *testsite.Tokens) {
			store := testsite.NewFiles(t)
			store.Breaks("New", 0, io.ErrUnexpectedEOF)
			s.Restart(t, func(c *msauth.Config) { c.Store = store })
			b.Get("/public/")
		}, func(*testing.T, *testsite.Site, *testsite.Browser, *testsite.Tokens) {
			time.Sleep(time.Minute + time.Second)
		}},
		{"token store fails", func(t *testing.T, s *testsite.Site, b *testsite.Browser, kept *testsite.Tokens) {
			time.Sleep(2 * time.Hour)
			kept.Set(func(string) error { return io.ErrUnexpectedEOF })
			b.Get("/")
		}, func(t *testing.T, s *testsite.Site, b *testsite.Browser, kept *testsite.Tokens) {
			kept.Set(nil)
			time.Sleep(20 * time.Second)
			b.Get("/")
		}},
	} {
		t.Run(test.want, func(t *testing.T) {
			t.Parallel()
			testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
				if at.Live() && test.want == "tokens of an API refused" {
					return // its access token serves all
				}
				kept := testsite.NewTokens()
				s := testsite.NewInProcess(t, at.Change, func(c *msauth.Config) {
					switch test.want {
					case "token store fails":
						c.Tokens = kept
					case "tokens of an API refused": // where one tenant is not believed alone
						c.Tenant = msauthtest.TenantContoso
					}
				})
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				test.weaken(t, s, b, kept)
				if got := s.Auth.Stats().Degraded; !slices.Equal(got, []string{test.want}) {
					t.Errorf("degraded: %q, want %q; log:\n%s", got, test.want, s.Log)
				}
				if err := s.Auth.Ready(t.Context()); err != nil {
					t.Errorf("not ready: %v", err)
				}
				test.mend(t, s, b, kept)
				if got := s.Auth.Stats().Degraded; len(got) != 0 {
					t.Errorf("degraded: %q, want nothing; log:\n%s", got, s.Log)
				}
				if begins, ends := s.Log.With("event=degraded "), s.Log.With("event=degraded_end "); len(begins) != 1 || len(ends) != 1 {
					t.Errorf("lines %q, %q, want one of each", begins, ends)
				}
			})
		})
	}
}
