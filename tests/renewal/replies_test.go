package renewal_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestEndlessReplyIsReadToALimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		gzip bool
	}{{"50 MB", false}, {"50 MB in 50 KB", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const size = 50 << 20
			var wrote atomic.Int64
			ended := make(chan struct{})
			end := sync.OnceFunc(func() { close(ended) })
			s := testsite.New(t)
			b := testsite.ExpiredBrowser(t, s)
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
					defer end()
					w.Header().Set("Content-Type", "application/json")
					out := io.Writer(w)
					if c.gzip {
						if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
							t.Error("gzip is not accepted, so a bomb proves nothing")
						}
						w.Header().Set("Content-Encoding", "gzip")
						z := gzip.NewWriter(w)
						defer z.Close()
						out = z
					}
					io.WriteString(out, `{"token_type":"Bearer","expires_in":3600,"access_token":"`)
					chunk := []byte(strings.Repeat("A", 1<<16))
					for wrote.Load() < size {
						n, err := out.Write(chunk)
						wrote.Add(int64(n))
						if err != nil {
							return
						}
					}
					io.WriteString(out, `"}`)
				}}
			})
			began := time.Now()
			wantRetry(t, b)
			<-ended
			if !c.gzip && wrote.Load() > 16<<20 {
				t.Errorf("%d bytes of the reply were taken, want about 1 MB and what buffers hold", wrote.Load())
			}
			if time.Since(began) < 800*time.Millisecond { // the shortest back-off: later it may be asked again
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
			}
			if lines := s.Log.String(); !strings.Contains(lines, "reply too large") {
				t.Errorf("the log does not say why:\n%.1000s", lines)
			}
		})
	}
}

func TestReplyThatDripsIsGivenUp(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, func(c *msauth.Config) { c.HTTPClient = &http.Client{Timeout: 2 * time.Second} })
	b := testsite.ExpiredBrowser(t, s)
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "{")
			for r.Context().Err() == nil {
				io.WriteString(w, " ")
				http.NewResponseController(w).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		}}
	})
	began := time.Now()
	wantRetry(t, b)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("gave up after %v, want the client's 2s", took)
	}
}

// Even a client without a timeout of its own gives up.
func TestSilentProviderIsGivenUpAfterFifteenSeconds(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.RenewingOffice(t, at.Change)
		v := o.SignIn()
		time.Sleep(testsite.AfterExpiry)
		o.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Hang: true} })
		began := time.Now()
		got := v.Get("/?token")
		if took := time.Since(began); got.Status != http.StatusBadGateway || took > 15*time.Second {
			t.Errorf("status %d after %v, want 502 after 15s at most", got.Status, took)
		}
		began = time.Now()
		v.WantHello("at once, now that it is known")
		if took := time.Since(began); took != 0 {
			t.Errorf("the next request waited %v", took)
		}
	})
}

// The form of a token request holds the client secret and the refresh token:
// it goes where it was sent or nowhere.
func TestRedirectOfTheTokenEndpointIsNotFollowed(t *testing.T) {
	t.Parallel()
	for i, status := range []int{301, 302, 303, 307, 308} {
		at := testsite.Services[i%len(testsite.Services)] // in turn: each takes a while
		t.Run(fmt.Sprint(status, " at ", at.Name), func(t *testing.T) {
			t.Parallel()
			var hits atomic.Int64
			elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				hits.Add(1)
				json.NewEncoder(w).Encode(map[string]any{"token_type": "Bearer", "access_token": "x", "expires_in": 3600})
			}))
			defer elsewhere.Close()
			s := testsite.New(t, at.Change)
			b := testsite.ExpiredBrowser(t, s)
			began := time.Now()
			for _, to := range []string{elsewhere.URL + "/token", s.MS.URL + "/common/oauth2/v2.0/token", s.MS.LiveAuthority() + "/oauth20_token.srf"} {
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Status: status, Header: http.Header{"Location": {to}}}}
				})
				wantRetry(t, b)
			}
			if hits.Load() != 0 {
				t.Errorf("%d requests at the target of the redirect, want none", hits.Load())
			}
			if time.Since(began) < 800*time.Millisecond { // the shortest back-off: later it may be asked again
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
			}
			s.WantCalls(t, msauthtest.TokenOther, 0)
		})
	}
}

// OpenID Connect Core section 12.2. For Live Connect see
// TestRenewedAuthenticationTokenIsVerifiedLikeTheFirst.
func TestRenewedIDTokenIsVerifiedLikeTheFirst(t *testing.T) {
	t.Parallel()
	claim := func(name string, value any) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			b.IDToken = func(grant msauthtest.Kind, claims map[string]any) {
				authTime(grant, claims)
				if grant != msauthtest.TokenRefresh {
					return
				}
				if value == nil {
					delete(claims, name)
					return
				}
				claims[name] = value
			}
		}
	}
	signed := func(how msauthtest.Signing) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) { b.Signing = how }
	}
	const renewed, ended, refused = "renewed", "ended", "refused"
	for _, c := range []struct {
		name string
		set  func(*msauthtest.Behavior)
		want string
	}{
		{"as it should be", func(b *msauthtest.Behavior) {}, renewed},
		{"none at all", func(b *msauthtest.Behavior) { b.OmitIDTokenOnRefresh = true }, renewed},
		{"without a nonce", claim("nonce", nil), renewed},
		{"without auth_time", claim("auth_time", nil), renewed},
		{"without a name", claim("name", nil), renewed},

		{"another person", func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Grace }, ended},
		{"a person of another tenant", func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Bruno }, ended},
		{"other sub", claim("sub", "somebody-else"), ended},
		{"other oid", claim("oid", "00000000-0000-4000-8000-000000000001"), ended},
		{"other tid", claim("tid", msauthtest.TenantFabrikam), ended},
		{"other iss", claim("iss", "http://localhost:9/"+msauthtest.TenantFabrikam+"/v2.0"), ended},
		{"other aud", claim("aud", "11111111-2222-4333-8444-555555555555"), ended},
		{"without sub", claim("sub", nil), ended},
		{"another person, badly signed", func(b *msauthtest.Behavior) { b.RefreshAs, b.Signing = msauthtest.Grace, msauthtest.SignFlippedBit }, ended},

		{"nonce of another sign-in", claim("nonce", "AAAAAAAAAAAAAAAAAAAAAA"), ended},
		{"nonce is empty", claim("nonce", ""), ended},
		{"nonce is a number", claim("nonce", 7), refused},
		{"other azp", claim("azp", "11111111-2222-4333-8444-555555555555"), refused},
		{"expired", claim("exp", 946684800), refused},
		{"issued in the future", claim("iat", int64(4102444800)), refused},
		{"auth_time is later", claim("auth_time", 946684801), renewed},
		{"auth_time is earlier", claim("auth_time", 946683999), refused},
		{"auth_time is gone", claim("auth_time", nil), renewed},
		{"not signed", signed(msauthtest.SignNone), refused},
		{"signed with the client secret", signed(msauthtest.SignHS256Secret), refused},
		{"signed with the public key as a secret", signed(msauthtest.SignHS256Public), refused},
		{"one bit changed", signed(msauthtest.SignFlippedBit), refused},
		{"unknown key", signed(msauthtest.SignUnknownKey), refused},
		{"unpublished key", signed(msauthtest.SignUnpublished), refused},
		{"key of personal accounts", signed(msauthtest.SignOtherClass), refused},
		{"another algorithm", signed(msauthtest.SignPS256), refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := testsite.RenewingOffice(t)
				o.MS.Set(func(b *msauthtest.Behavior) { b.IDToken = authTime })
				v := o.SignIn()
				token := v.Get("/?token").Body
				o.MS.Set(c.set)
				o.MS.ResetCalls()
				time.Sleep(testsite.AfterExpiry)
				got := v.Get("/?token")
				switch c.want {
				case renewed:
					if got.Status != http.StatusOK || got.Body == token {
						t.Errorf("status %d, a new token %t; log:\n%s", got.Status, got.Body != token, o.Log)
					}
				case ended:
					if !testsite.ToProvider(got) || !got.ClearsSession() {
						t.Errorf("status %d, want the session ended and a new sign-in; log:\n%s", got.Status, o.Log)
					}
				case refused:
					if !strings.HasPrefix(got.Body, "msauth: retry") {
						t.Errorf("status %d, %.100q, want no token and the session as it was; log:\n%s", got.Status, got.Body, o.Log)
					}
					if page := v.Get("/"); page.Body != testsite.HelloAda {
						t.Errorf("page %q, want the person of before", page.Body)
					}
				}
				o.WantCalls(msauthtest.TokenRefresh, 1)
			})
		})
	}
}

// authTime adds the claim, always the same one.
func authTime(_ msauthtest.Kind, claims map[string]any) { claims["auth_time"] = 946684000 }

// Live Connect has no keys to be read.
func TestRenewalWithoutKeysKeepsTheTokensAndTheOldClaims(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		as   string
		want string
	}{
		{"of the same person", "", testsite.HelloAda},
		{"of another person", msauthtest.Grace, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := testsite.RenewingOffice(t)
				o.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
				v := o.SignIn()
				o.MS.RollKeys()
				o.MS.SetUser(msauthtest.User{SignInName: msauthtest.Ada, Name: "Ada of the new token"})
				o.MS.Set(func(b *msauthtest.Behavior) {
					b.RefreshAs = c.as
					b.FailAlways[msauthtest.Keys] = msauthtest.Failure{Status: 500}
				})
				time.Sleep(testsite.AfterExpiry)
				got := v.Get("/")
				if got.Body != c.want && c.want != "" || c.want == "" && !testsite.ToProvider(got) {
					t.Fatalf("status %d, page %q; log:\n%s", got.Status, got.Body, o.Log)
				}
				if c.want == "" {
					return
				}
				if got := v.Get("/?token"); got.Status != http.StatusOK {
					t.Errorf("Token: status %d, %s", got.Status, got.Body)
				}
				o.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
				time.Sleep(testsite.AfterExpiry)
				if got := v.Get("/"); got.Body != "hello Ada of the new token" {
					t.Errorf("with keys again: %q", got.Body)
				}
				o.WantCalls(msauthtest.TokenRefresh, 2)
			})
		})
	}
}

// A role that was taken away is gone at the next renewal. Live Connect has no roles.
func TestClaimsFollowTheRenewedIDToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.RenewingOffice(t)
		o.MS.SetUser(msauthtest.User{SignInName: msauthtest.Ada, Name: "Ada", Roles: []string{"Admin"}})
		o.Handler = o.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, _ := msauth.FromContext(r.Context())
			fmt.Fprint(w, s.User.Name, s.User.Roles)
		}))
		app := o.Handler
		o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/auth/") {
				o.Auth.ServeHTTP(w, r)
				return
			}
			app.ServeHTTP(w, r)
		})
		v := o.SignIn()
		if got := v.Get("/").Body; got != "Ada[Admin]" {
			t.Fatalf("signed in as %q", got)
		}
		o.MS.SetUser(msauthtest.User{SignInName: msauthtest.Ada, Name: "Ada L."})
		time.Sleep(testsite.AfterExpiry)
		for range 2 {
			if got := v.Get("/").Body; got != "Ada L.[]" {
				t.Errorf("after the renewal %q, want the new claims", got)
			}
		}
	})
}

// What a handler gets can be told apart with errors.Is and errors.AsType.
func TestErrorOfTokenIsUsable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		failure msauthtest.Failure
		is, not error
	}{
		{msauthtest.Failure{Status: 503, Header: http.Header{"Retry-After": {"77"}}}, msauth.ErrTokenUnavailable, msauth.ErrSignInRequired},
		{msauthtest.Failure{Error: "invalid_client"}, msauth.ErrTokenUnavailable, msauth.ErrSignInRequired},
		{msauthtest.Failure{Error: "interaction_required"}, msauth.ErrSignInRequired, msauth.ErrTokenUnavailable},
		{msauthtest.Failure{Error: "invalid_grant"}, msauth.ErrSignInRequired, msauth.ErrTokenUnavailable},
	} {
		testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
			o := testsite.RenewingOffice(t, at.Change)
			var err, again error
			o.Cfg.OnSignIn = func(w http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
				// The session outlives its token in here.
				o.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = c.failure })
				time.Sleep(2 * time.Hour)
				_, err = in.Session.Token(r.Context())
				_, again = in.Session.TokenSource(r.Context()).Token()
				return nil
			}
			o.Auth, o.Handler = o.Open()
			o.SignIn()
			for _, err := range []error{err, again} {
				if !errors.Is(err, c.is) || errors.Is(err, c.not) {
					t.Errorf("%v: Is(%v) %t, Is(%v) %t", err, c.is, errors.Is(err, c.is), c.not, errors.Is(err, c.not))
				}
				if failure, ok := errors.AsType[*msauth.AuthError](err); !ok || failure.RetryAfter != 77*time.Second && c.failure.Header != nil {
					t.Errorf("%v: AuthError %t, %+v", err, ok, failure)
				}
			}
			o.WantCalls(msauthtest.TokenRefresh, 1)
		})
	}
}
