package msauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
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

// In these tests an access token is due after half an hour and good for one.
const (
	due     = 31 * time.Minute
	expired = 61 * time.Minute
)

// renewing runs a test in a bubble where Ada is signed in. What a handler gets
// from Session.Token is at /token: the token, or the name of the error.
func renewing(t *testing.T, f func(t *testing.T, s *site, b *browser), changes ...func(*msauth.Config)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t, changes...)
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.AccessTokenLifetime, b.RefreshIn = time.Hour, 30*time.Minute
		})
		s.routeTokens()
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		s.ms.ResetCalls()
		f(t, s, b)
		time.Sleep(time.Minute) // for what still waits
	})
}

func (s *site) routeTokens() {
	s.mux.Handle("/public/token", s.auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		token, err := session.Token(r.Context())
		switch {
		case err == nil:
			fmt.Fprint(w, token.AccessToken)
		case errors.Is(err, msauth.ErrNoSession):
			fmt.Fprint(w, "ErrNoSession")
		case errors.Is(err, msauth.ErrSignInRequired):
			fmt.Fprint(w, "ErrSignInRequired")
		case errors.Is(err, msauth.ErrTokenUnavailable):
			fmt.Fprint(w, "ErrTokenUnavailable")
		default:
			fmt.Fprint(w, err)
		}
	})))
}

func (b *browser) token() string { b.t.Helper(); return b.get("/public/token").body }

func TestRenewalIsOneRequestThatNobodyNotices(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		first, cookie := b.token(), b.session()[0].Value
		s.wantNoCalls(t)
		time.Sleep(due)
		res := b.get("/")
		if res.body != helloAda || len(res.Cookies()) != 1 || b.session()[0].Value == cookie {
			t.Errorf("page %q, cookies %v, want the session rewritten", res.body, res.Cookies())
		}
		second := b.token()
		if second == first || len(second) < 1000 {
			t.Errorf("token %.20q, want a new one", second)
		}
		if want := map[msauthtest.Kind]int{msauthtest.TokenRefresh: 1}; !maps.Equal(s.calls(), want) {
			t.Errorf("requests at the provider %v, want %v", s.calls(), want)
		}
		form := s.ms.Calls(msauthtest.TokenRefresh)[0].Form
		got := slices.Sorted(maps.Keys(form))
		if want := []string{"client_id", "client_secret", "grant_type", "refresh_token", "scope"}; !slices.Equal(got, want) {
			t.Errorf("the request has %v, want %v", got, want)
		}
		if got := form.Get("scope"); got != "openid profile email offline_access User.Read" {
			t.Errorf("the request names %q", got)
		}
		for range 100 { // nothing more to do
			if res := b.get("/"); len(res.Cookies()) > 0 {
				t.Fatalf("a cookie is written again: %v", res.Cookies())
			}
			time.Sleep(time.Second / 2)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

func TestRenewalIsOneRequestHoweverManyWait(t *testing.T) {
	for _, after := range []time.Duration{due, expired} {
		t.Run(after.String(), func(t *testing.T) {
			renewing(t, func(t *testing.T, s *site, b *browser) {
				s.ms.Set(func(b *msauthtest.Behavior) {
					b.Rotation = msauthtest.RotateStrict
					b.Delay[msauthtest.TokenRefresh] = 900 * time.Millisecond
				})
				time.Sleep(after)
				var all sync.WaitGroup
				for range 50 {
					all.Go(func() {
						// A browser of its own with the same cookie: nothing is shared but the server.
						tab := s.browser(t)
						for _, c := range b.session() {
							tab.keep(c.Name, c.Value)
						}
						if got := tab.get("/").body; got != helloAda {
							t.Errorf("page %q, want %q", got, helloAda)
						}
					})
				}
				all.Wait()
				s.wantCalls(t, msauthtest.TokenRefresh, 1)
				// A request that left the browser before the new cookie came.
				time.Sleep(time.Minute)
				b.wantGreeting(helloAda)
				s.wantCalls(t, msauthtest.TokenRefresh, 1)
				// The chain goes on with what the late request was given.
				time.Sleep(due)
				b.wantGreeting(helloAda)
				s.wantCalls(t, msauthtest.TokenRefresh, 2)
			})
		})
	}
}

func TestRenewalsOfOnePersonRunOverTLSOnlyOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.AccessTokenLifetime = time.Second
		b.Rotation = msauthtest.RotateStrict
	})
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.AccessTokenLifetime = time.Hour
		b.Delay[msauthtest.TokenRefresh] = 200 * time.Millisecond
	})
	time.Sleep(1100 * time.Millisecond)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if got := b.get("/").body; got != helloAda {
				t.Errorf("page %q, want %q", got, helloAda)
			}
		})
	}
	all.Wait()
	s.wantCalls(t, msauthtest.TokenRefresh, 1)
}

func TestStrictRotationIsFollowed(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		s.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		used := map[string]bool{}
		for i := range 10 {
			time.Sleep(due)
			if got := b.get("/").body; got != helloAda {
				t.Fatalf("renewal %d: page %q; log:\n%s", i, got, s.log)
			}
		}
		for _, call := range s.ms.Calls(msauthtest.TokenRefresh) {
			used[call.Form.Get("refresh_token")] = true
		}
		if len(used) != 10 {
			t.Errorf("%d different refresh tokens were used in 10 renewals", len(used))
		}
	})
}

func TestRefusedRenewals(t *testing.T) {
	t.Parallel()
	const challenge = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	grant := func(suberror string) msauthtest.Failure {
		return msauthtest.Failure{Error: "invalid_grant", Suberror: suberror}
	}
	rows := []struct {
		class msauth.Class
		what  []msauthtest.Failure
	}{
		{msauth.ClassSignIn, []msauthtest.Failure{
			grant(""), grant("bad_token"), grant("token_expired"), grant("never_seen_before"),
			{Error: "invalid_grant", Codes: []int{50076}}, // numbers and texts do not decide
			{Error: "invalid_grant", Description: "AADSTS65001: interaction_required consent_required"},
		}},
		{msauth.ClassStepUp, []msauthtest.Failure{
			{Error: "interaction_required"}, {Error: "consent_required"}, {Error: "login_required"}, {Error: "interaction_required", Claims: challenge},
			grant("basic_action"), grant("additional_action"), grant("message_only"), grant("consent_required"), grant("user_password_expired"),
			grant("protection_policy_required"), grant("device_authentication_failed"), {Error: "invalid_grant", Claims: challenge},
		}},
		{msauth.ClassRetry, []msauthtest.Failure{
			{Status: 500}, {Status: 502, Body: "<html>bad gateway"}, {Status: 503}, {Status: 408}, {Status: 429}, {Close: true}, {LoseReply: true}, {Hang: true},
			{Error: "temporarily_unavailable"}, {Error: "server_error"}, {Error: "temporarily_unavailable", Status: 400},
			{Error: "invalid_grant", Status: 503}, {Body: "<html>proxy"}, {Body: "{"}, {Body: "null"}, {Status: 400, Body: "nonsense"},
			{Status: 302, Header: http.Header{"Location": {"http://localhost:9/"}}},
		}},
		{msauth.ClassMisconfigured, []msauthtest.Failure{
			{Error: "invalid_client"}, {Error: "unauthorized_client"}, grant("client_mismatch"), {Error: "invalid_request"},
			{Error: "invalid_scope"}, {Error: "unsupported_grant_type"}, {Error: "never_seen_before"},
		}},
	}
	script := []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "application/json"}
	for _, row := range rows {
		for i, f := range row.what {
			for _, after := range []time.Duration{due, expired} {
				t.Run(fmt.Sprintf("%s %d %s %s %v", row.class, i, f.Error, f.Suberror, after), func(t *testing.T) {
					renewing(t, func(t *testing.T, s *site, b *browser) {
						first := b.token()
						time.Sleep(after)
						s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = f })
						kept := b.session()

						began := time.Now()
						status := b.get("/api", script...).StatusCode
						if took := time.Since(began); took > 5*time.Second || after == due && took > time.Second {
							t.Errorf("a script waited %v", took)
						}
						time.Sleep(20 * time.Second) // for what hangs; and no call before its time
						calls := s.ms.Count(msauthtest.TokenRefresh)
						token := b.token()
						nav := b.still().get("/page")

						switch row.class {
						case msauth.ClassSignIn, msauth.ClassStepUp:
							if status != 401 || nav.StatusCode != 303 || calls != 1 || s.ms.Count(msauthtest.TokenRefresh) != 1 {
								t.Errorf("script %d, navigation %d, %d requests, want 401, 303, 1; log:\n%s", status, nav.StatusCode, s.ms.Count(msauthtest.TokenRefresh), s.log)
							}
							ended := row.class == msauth.ClassSignIn
							if got := len(b.session()) == 0; got != ended {
								t.Errorf("the session's cookie is gone: %v, want %v", got, ended)
							}
							want := "ErrSignInRequired"
							if ended {
								want = "ErrNoSession"
							}
							if token != want {
								t.Errorf("Token: %.40q, want %s", token, want)
							}
							to, _ := nav.Location()
							if got := to.Query().Get("claims"); got != f.Claims {
								t.Errorf("claims %q, want %q", got, f.Claims)
							}
							if got := to.Query().Get("login_hint") != ""; got == ended {
								t.Errorf("login_hint there: %v, want %v", got, !ended)
							}
							// Back from Microsoft everything is as before.
							s.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
							if got := b.get("/page").body; got != helloAda {
								t.Errorf("page %q after signing in again, want %q; log:\n%s", got, helloAda, s.log)
							}
							if got := b.token(); got == first || len(got) < 1000 {
								t.Errorf("Token: %.40q after signing in again", got)
							}
						default:
							if status != 200 || nav.StatusCode != 200 || len(b.session()) != len(kept) {
								t.Errorf("script %d, navigation %d, want 200 and the session kept; log:\n%s", status, nav.StatusCode, s.log)
							}
							want := first
							if after == expired {
								want = "ErrTokenUnavailable"
							}
							if token != want {
								t.Errorf("Token: %.40q, want %.40q", token, want)
							}
							if misconfigured := row.class == msauth.ClassMisconfigured; misconfigured != (s.auth.Ready(t.Context()) != nil) ||
								misconfigured != (len(s.log.with("level=ERROR")) > 0) {
								t.Errorf("Ready: %v; log:\n%s", s.auth.Ready(t.Context()), s.log)
							}
							s.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
							time.Sleep(30 * time.Second)
							if got := b.get("/").body; got != helloAda {
								t.Errorf("page %q after the outage", got)
							}
							if got := b.token(); got == first || len(got) < 1000 {
								t.Errorf("Token: %.40q after the outage", got)
							}
							s.wantCalls(t, msauthtest.Authorize, 0)
						}
					}, tenant(msauthtest.TenantContoso)) // see TestOneTenantDoesNotSpeakForTheApp
				})
			}
		}
	}
}

func TestOutageBeforeExpiryIsInvisible(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		first := b.token()
		s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		time.Sleep(due)
		for range 25 {
			if got := b.get("/").body; got != helloAda || b.token() != first {
				t.Fatalf("page %q, or another token", got)
			}
			time.Sleep(time.Minute)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 25) // each minute one try, and not one per request
		s.wantCalls(t, msauthtest.Authorize, 0)
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	tests := []struct {
		header string
		want   time.Duration // no request before
	}{
		{"120", 120 * time.Second},
		{"315360000", time.Hour},
		{"Sat, 01 Jan 2000 01:00:00 GMT", 29 * time.Minute},
		{"-5", time.Second},
		{"soon", time.Second},
	}
	for _, test := range tests {
		t.Run(test.header, func(t *testing.T) {
			renewing(t, func(t *testing.T, s *site, b *browser) {
				time.Sleep(due)
				s.ms.Set(func(b *msauthtest.Behavior) {
					b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 429, Header: http.Header{"Retry-After": {test.header}}}
				})
				b.get("/")
				time.Sleep(test.want - time.Second)
				b.get("/")
				b.token()
				s.wantCalls(t, msauthtest.TokenRefresh, 1)
				time.Sleep(15 * time.Second)
				b.get("/")
				if got := s.ms.Count(msauthtest.TokenRefresh); got < 2 {
					t.Errorf("no request after that time")
				}
			})
		})
	}
}

func TestRevokedPersonIsOutAtTheNextRenewal(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		other := s.browser(t)
		other.signIn(msauthtest.Bruno)
		s.ms.Revoke(msauthtest.Ada)
		b.wantGreeting(helloAda) // until then
		time.Sleep(due)
		b.wantGreeting(helloNobody)
		other.wantGreeting(helloBruno)
		if n := len(s.log.with("event=session_ended")); n != 1 {
			t.Errorf("%d lines about it, want 1:\n%s", n, s.log)
		}
	})
}

func TestRecheckAfterBoundsHowLongARevokedPersonStays(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		s.ms.Revoke(msauthtest.Ada)
		time.Sleep(4 * time.Minute)
		b.wantGreeting(helloAda)
		time.Sleep(time.Minute + time.Second)
		b.wantGreeting(helloNobody)
	}, func(c *msauth.Config) { c.RecheckAfter = 5 * time.Minute })
}

func TestRenewedIDToken(t *testing.T) {
	t.Parallel()
	refresh := func(change func(c map[string]any)) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			b.IDToken = func(kind msauthtest.Kind, c map[string]any) {
				if kind == msauthtest.TokenRefresh {
					change(c)
				}
			}
		}
	}
	set := func(pairs ...any) func(*msauthtest.Behavior) {
		return refresh(func(c map[string]any) {
			for i := 0; i < len(pairs); i += 2 {
				c[pairs[i].(string)] = pairs[i+1]
			}
		})
	}
	const kept, ended, replaced, later = "kept", "ended", "replaced", "later" // later: not accepted, the session lives
	tests := []struct {
		name   string
		behave func(*msauthtest.Behavior)
		want   string
		reason string
	}{
		{"none", func(b *msauthtest.Behavior) { b.OmitIDTokenOnRefresh = true }, kept, ""},
		{"the same person", func(*msauthtest.Behavior) {}, kept, ""},
		{"new name", set("name", "Ada Byron"), replaced, ""},
		{"no refresh token beside it", func(b *msauthtest.Behavior) { b.OmitRefreshToken = true }, kept, ""},
		{"the same refresh token beside it", func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateSame }, kept, ""},
		{"everything of another person", func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Bruno }, ended, "another person"},
		{"of a colleague", func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Grace }, ended, "another person"},
		{"other sub", set("sub", "x"), ended, "another person"},
		{"other oid", set("oid", "00000000-0000-4000-8000-000000000000"), ended, "another person"},
		{"other tenant", set("tid", msauthtest.TenantFabrikam, "iss", "http://localhost:9/"+msauthtest.TenantFabrikam+"/v2.0"), ended, "another person"},
		{"other iss", set("iss", "https://evil.example/"), ended, "another person"},
		{"other aud", set("aud", "somebody"), ended, "another person"},
		{"other nonce", set("nonce", "AAAAAAAAAAAAAAAAAAAAAA"), ended, "nonce"},
		{"empty nonce", set("nonce", ""), ended, "nonce"},
		{"expired", set("exp", 1), later, "expired"},
		{"wrong at_hash", set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), later, "at_hash"},
		{"other auth_time", set("auth_time", 1), later, "auth_time"},
		{"unsigned", func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignNone }, later, "signature algorithm"},
		{"signed by nobody", func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignUnpublished }, later, "signed by no key"},
		{"signed by nobody, of another person", func(b *msauthtest.Behavior) {
			b.Signing, b.RefreshAs = msauthtest.SignUnpublished, msauthtest.Bruno
		}, ended, "another person"},
		{"not a token", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["id_token"] = "x" }
		}, later, "not a JWT"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			renewing(t, func(t *testing.T, s *site, b *browser) {
				first := b.token()
				time.Sleep(due)
				s.ms.Set(test.behave)
				res := b.still().get("/")
				s.wantCalls(t, msauthtest.TokenRefresh, 1)
				want := map[string]string{kept: helloAda, replaced: "hello Ada Byron", later: helloAda, ended: ""}[test.want]
				if res.body != want || (res.StatusCode == 303) != (test.want == ended) {
					t.Fatalf("status %d, page %q, want %q; log:\n%s", res.StatusCode, res.body, want, s.log)
				}
				if test.reason != "" && len(s.log.with(test.reason)) == 0 {
					t.Errorf("log %s, want %q", s.log, test.reason)
				}
				switch test.want {
				case ended:
					b.wantGreeting(helloNobody)
				case later:
					if b.token() != first {
						t.Error("a token is in use that came with an ID token that is not accepted")
					}
				default:
					if b.token() == first {
						t.Error("the token is the old one")
					}
				}
			})
		})
	}
}

func TestRenewalKeepsTheNonceOfTheFirstIDToken(t *testing.T) {
	var nonce any
	renewing(t, func(t *testing.T, s *site, b *browser) {
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.IDToken = func(kind msauthtest.Kind, c map[string]any) {
				if kind == msauthtest.TokenCode {
					nonce = c["nonce"]
				} else {
					c["nonce"] = nonce
				}
			}
		})
		b.get("/auth/login")
		first := b.token()
		time.Sleep(due)
		if got := b.token(); got == first || len(got) < 1000 {
			t.Errorf("Token: %.40q; log:\n%s", got, s.log)
		}
	})
}

func TestRenewalUpdatesTheClaims(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		var seen []string
		s.mux.Handle("/roles", s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			seen = append(seen, fmt.Sprintf("%s %v %v %v", session.User.Name, session.User.Roles, session.User.Claims, session.User.HasRole("Admin")))
		})))
		change := func(u msauthtest.User) {
			u.SignInName, u.ObjectID, u.Email = msauthtest.Ada, "8342b3fe-9359-4c66-8314-5ba888da8409", msauthtest.Ada
			s.ms.SetUser(u)
		}
		change(msauthtest.User{Name: "Ada Lindqvist", Roles: []string{"Admin", "Reader"}})
		s.ms.Set(claim("ctry", "SE"))
		time.Sleep(due)
		b.get("/roles")
		change(msauthtest.User{Name: "Ada Byron", Roles: []string{"Reader"}})
		s.ms.Set(claim("ctry", "UK"))
		b.get("/roles") // not before the renewal
		time.Sleep(due)
		b.get("/roles")
		change(msauthtest.User{Name: "Ada Byron"})
		s.ms.Set(drop("ctry"))
		time.Sleep(due)
		b.get("/roles")
		want := []string{
			"Ada Lindqvist [Admin Reader] map[ctry:SE] true", "Ada Lindqvist [Admin Reader] map[ctry:SE] true",
			"Ada Byron [Reader] map[ctry:UK] false", "Ada Byron [] map[] false",
		}
		if !slices.Equal(seen, want) {
			t.Errorf("seen %q, want %q", seen, want)
		}
	}, func(c *msauth.Config) { c.Claims = []string{"ctry"} })
}

func TestRenewalWaitsForThoseWhoWantAPage(t *testing.T) {
	tests := []struct {
		name   string
		after  time.Duration
		header []string
		want   int // token requests
	}{
		{"navigation", due, nil, 1},
		{"script", due, []string{"Sec-Fetch-Mode", "cors", "Accept", "*/*"}, 1},
		{"prefetch", due, []string{"Sec-Purpose", "prefetch"}, 0},
		{"WebSocket", due, []string{"Upgrade", "websocket", "Connection", "Upgrade"}, 0},
		{"WebSocket, expired", expired, []string{"Upgrade", "websocket", "Connection", "Upgrade"}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			renewing(t, func(t *testing.T, s *site, b *browser) {
				time.Sleep(test.after)
				res := b.get("/", test.header...)
				if res.body != helloAda {
					t.Errorf("page %q, want %q", res.body, helloAda)
				}
				s.wantCalls(t, msauthtest.TokenRefresh, test.want)
				if test.want == 0 && len(res.Cookies()) > 0 {
					t.Errorf("cookies %v, want none", res.Cookies())
				}
				// However it began, what follows needs one request in all.
				b.wantGreeting(helloAda)
				b.token()
				s.wantCalls(t, msauthtest.TokenRefresh, 1)
			})
		})
	}
}

func TestRenewalTimesThatTheProviderNames(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   any // expires_in
		want time.Duration
	}{
		{"a number", 600, 10 * time.Minute},
		{"a text", "600", 10 * time.Minute},
		{"a fraction", 600.9, 10 * time.Minute},
		{"absent", msauthtest.Omit, time.Hour},
		{"negative", -1, time.Hour},
		{"zero", 0, time.Hour},
		{"nonsense", "soon", time.Hour},
		{"endless", 1e300, 48 * time.Hour},
		{"more digits than an integer has", json.RawMessage("99999999999999999999"), 48 * time.Hour},
		{"NaN", "NaN", time.Hour},
		{"a list", []int{600}, time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSiteInProcess(t)
				s.ms.Set(func(b *msauthtest.Behavior) { b.ExpiresIn = test.in })
				var got time.Duration
				s.mux.Handle("/expiry", s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					session, _ := msauth.FromContext(r.Context())
					got = time.Until(session.Expiry())
				})))
				b := s.browser(t)
				b.signIn(msauthtest.Ada)
				if b.get("/expiry"); got != test.want {
					t.Errorf("the token expires in %v, want %v", got, test.want)
				}
				// Whatever it is, the margin is at most five minutes and jitter.
				time.Sleep(got - 8*time.Minute)
				if got > 20*time.Minute {
					b.get("/")
					s.wantCalls(t, msauthtest.TokenRefresh, 0)
				}
				time.Sleep(8*time.Minute - time.Second)
				b.get("/")
				if n := s.ms.Count(msauthtest.TokenRefresh); n != 1 && got < 24*time.Hour {
					t.Errorf("%d renewals a second before the end, want 1", n)
				}
			})
		})
	}
}

func TestSessionEndsWhateverTheCookieSays(t *testing.T) {
	tests := []struct {
		name string
		age  time.Duration
		use  time.Duration // steady, every so long
	}{
		{"seldom used", 7 * 24 * time.Hour, 23 * time.Hour},
		{"steadily used", 7 * 24 * time.Hour, time.Hour},
		{"longer", 30 * 24 * time.Hour, 20 * time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			renewing(t, func(t *testing.T, s *site, b *browser) {
				end := time.Now().Add(test.age)
				for time.Until(end) > test.use {
					time.Sleep(test.use)
					if got := b.get("/public/").body; got != helloAda {
						t.Fatalf("%v before the end: page %q; log:\n%s", time.Until(end), got, s.log)
					}
				}
				kept := b.session()
				time.Sleep(time.Until(end))
				if len(b.session()) != 0 {
					t.Error("the browser still has the cookie")
				}
				for _, c := range kept { // and if it had
					b.keep(c.Name, c.Value)
				}
				b.wantGreeting(helloNobody)
				if len(s.log.with(`reason="too old"`)) != 1 {
					t.Errorf("log %s, want the reason", s.log)
				}
			}, func(c *msauth.Config) { c.MaxAge = test.age })
		})
	}
}

func TestIdleSessionEnds(t *testing.T) {
	tests := []struct {
		name   string
		change func(*msauth.Config)
		wait   time.Duration
		want   string
	}{
		{"before", nil, 23*time.Hour - time.Second, helloAda}, // one step early at most
		{"after", nil, 24 * time.Hour, helloNobody},
		{"shorter, before", func(c *msauth.Config) { c.IdleTimeout = 10 * time.Minute }, 9*time.Minute + 30*time.Second, helloAda},
		{"shorter, after", func(c *msauth.Config) { c.IdleTimeout = 10 * time.Minute }, 10 * time.Minute, helloNobody},
		{"off", func(c *msauth.Config) { c.IdleTimeout = 7 * 24 * time.Hour }, 6 * 24 * time.Hour, helloAda},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var changes []func(*msauth.Config)
			if test.change != nil {
				changes = append(changes, test.change)
			}
			renewing(t, func(t *testing.T, s *site, b *browser) {
				for range 3 {
					time.Sleep(test.wait)
					b.wantGreeting(test.want)
					if test.want == helloNobody {
						if len(s.log.with("reason=idle")) != 1 {
							t.Errorf("log %s, want the reason", s.log)
						}
						return
					}
					if test.name == "off" {
						return
					}
				}
			}, changes...)
		})
	}
}

func TestUseIsNotedInSteps(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		writes := 0
		for range 24 * 12 { // every five minutes of a day
			time.Sleep(5 * time.Minute)
			if res := b.get("/public/"); len(res.Cookies()) > 0 {
				writes++
			}
		}
		// Twenty-four steps, and 48 renewals that write anyway.
		if writes > 24+48 || writes < 24 {
			t.Errorf("%d Set-Cookie lines in a day of steady use", writes)
		}
		if n := s.ms.Count(msauthtest.TokenRefresh); n < 40 || n > 48 {
			t.Errorf("%d renewals in a day", n)
		}
	})
}

func TestHandlerThatOutlastsItsToken(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		s.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		var tokens []string
		s.mux.Handle("/long", s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			for range 5 {
				token, err := session.Token(r.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if token.RefreshToken != "" || !token.Valid() {
					t.Error("a token with a refresh token, or one that has expired")
				}
				tokens = append(tokens, token.AccessToken)
				time.Sleep(31 * time.Minute)
			}
		})))
		b.Timeout = 0
		b.get("/long")
		slices.Sort(tokens)
		if n := len(slices.Compact(tokens)); n != 3 {
			t.Errorf("%d tokens in 124 minutes, want 3", n)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 2)
		// The next request comes with the old cookie and goes on from there.
		b.wantGreeting(helloAda)
		if got := b.token(); len(got) < 1000 {
			t.Errorf("Token: %.40q; log:\n%s", got, s.log)
		}
	})
}

func TestRenewalOutlivesTheBrowserThatBeganIt(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		time.Sleep(expired)
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.Rotation = msauthtest.RotateStrict
			b.Delay[msauthtest.TokenRefresh] = 2 * time.Second
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/", nil)
		res, err := b.Do(req)
		if err == nil {
			res.Body.Close()
		}
		time.Sleep(5 * time.Second)
		b.wantGreeting(helloAda)
		if got := b.token(); len(got) < 1000 {
			t.Errorf("Token: %.40q; log:\n%s", got, s.log)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
	})
}

func TestSignOutWinsOverARenewalUnderWay(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		time.Sleep(expired)
		s.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 2 * time.Second })
		slow := s.browser(t)
		for _, c := range b.session() {
			slow.keep(c.Name, c.Value)
		}
		var got seen
		var done sync.WaitGroup
		done.Go(func() { got = slow.still().get("/", "Sec-Fetch-Mode", "cors", "Accept", "*/*") })
		time.Sleep(time.Second)
		b.still().do("POST", "/auth/logout", ownPage...)
		done.Wait()
		if got.StatusCode != http.StatusUnauthorized || len(got.Cookies()) > 0 {
			t.Errorf("status %d, cookies %v, want 401 and none", got.StatusCode, got.Cookies())
		}
		slow.wantGreeting(helloNobody)
	})
}

func TestOlderCookieOfALivingSessionStaysGood(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		old := b.session()
		time.Sleep(due)
		b.get("/")
		time.Sleep(10 * time.Minute) // beyond the grace
		late := s.browser(t)
		for _, c := range old {
			late.keep(c.Name, c.Value)
		}
		late.wantGreeting(helloAda) // Microsoft's old refresh tokens stay valid
		s.wantCalls(t, msauthtest.TokenRefresh, 2)
		b.wantGreeting(helloAda)
	})
}

// Nobody's access token may be found by the lack of a refresh token.
func TestPeopleWithoutRefreshTokensDoNotShareAccessTokens(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t, func(c *msauth.Config) { c.CookieBudget = 1024 }) // the access token is left out
	s.routeTokens()
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "refresh_token") }
	})
	ada, bruno := s.browser(t), s.browser(t)
	ada.signIn(msauthtest.Ada)
	bruno.signIn(msauthtest.Bruno)
	if a, b := ada.token(), bruno.token(); a == b && a != "ErrSignInRequired" {
		t.Errorf("two people have the token %.20q", a)
	}
}

func TestSessionWithoutARefreshTokenLastsAsLongAsItsAccessToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		s.routeTokens()
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "refresh_token") }
		})
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		if got := b.token(); len(got) < 1000 {
			t.Errorf("Token: %.40q", got)
		}
		time.Sleep(91 * time.Minute)
		s.wantCalls(t, msauthtest.TokenRefresh, 0)
		if res := b.still().get("/"); res.StatusCode != http.StatusSeeOther {
			t.Errorf("status %d, want 303", res.StatusCode)
		}
	})
}

func TestSessionTellsItsTimes(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		began := time.Now()
		check := func(renewed time.Duration) {
			t.Helper()
			var session *msauth.Session
			s.mux.Handle(fmt.Sprintf("/times/%v", renewed), s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				session, _ = msauth.FromContext(r.Context())
			})))
			b.get(fmt.Sprintf("/times/%v", renewed))
			got := []time.Duration{session.SignedIn().Sub(began), session.Renewed().Sub(began), session.Expiry().Sub(began), session.Ends().Sub(began)}
			if want := []time.Duration{0, renewed, renewed + time.Hour, 7 * 24 * time.Hour}; !slices.Equal(got, want) {
				t.Errorf("times %v, want %v", got, want)
			}
			// As with Microsoft, offline_access is not named.
			if want := []string{"openid", "profile", "email", "User.Read"}; !slices.Equal(session.Scopes(), want) {
				t.Errorf("scopes %q, want %q", session.Scopes(), want)
			}
			session.Scopes()[0] = "changed"
			if session.Scopes()[0] != "openid" {
				t.Error("Scopes hands out its own memory")
			}
		}
		check(0)
		time.Sleep(due)
		check(due)
	})
}

func TestStepUpCarriesWhatTheProviderAskedFor(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		time.Sleep(due)
		s.ms.Set(func(b *msauthtest.Behavior) { b.RequireMFA = true })
		b.wantGreeting(helloAda) // public pages still know her
		if got := b.token(); got != "ErrSignInRequired" {
			t.Errorf("Token: %.40q", got)
		}
		for name, target := range map[string]string{"navigation": "/page", "login link": "/auth/login?return_to=/page"} {
			q := b.authorizeQuery(target)
			if !json.Valid([]byte(q.Get("claims"))) || !strings.Contains(q.Get("claims"), "capolids") || q.Get("login_hint") == "" || q.Get("prompt") != "" {
				t.Errorf("%s asks with %v", name, url.Values{"claims": q["claims"], "login_hint": q["login_hint"]})
			}
		}
		if q := b.authorizeQuery("/auth/login?prompt=select_account"); q.Get("login_hint") != "" {
			t.Error("another account is asked for with the hint of this one")
		}
		// She comes back with a second factor, and that is that.
		if got := b.get("/page").body; got != helloAda {
			t.Errorf("page %q", got)
		}
		time.Sleep(due)
		if got := b.token(); len(got) < 1000 {
			t.Errorf("Token: %.40q; log:\n%s", got, s.log)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 2)
	})
}

func TestStats(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		time.Sleep(due)
		b.get("/")
		b.still().do("POST", "/auth/logout", ownPage...)
		b.signIn(msauthtest.Ada)
		s.browser(t).get("/auth/callback")
		s.ms.Revoke(msauthtest.Ada)
		time.Sleep(due)
		for range 5 {
			b.get("/api", "Sec-Fetch-Mode", "cors", "Accept", "*/*")
		}
		got := s.auth.Stats()
		if got.SignIns != 2 || got.SignOuts != 1 || got.SignInsRefused != 1 || got.SessionsEnded != 1 || got.Renewals != 1 ||
			!maps.Equal(got.RenewalsFailed, map[msauth.Class]uint64{msauth.ClassSignIn: 1}) || got.Paused {
			t.Errorf("%+v", got)
		}
	})
}

// Requests for other APIs say nothing about renewals: a handler can ask for what
// does not exist.
func TestTokensForOtherAPIsAreNoRenewalsInStats(t *testing.T) {
	renewing(t, func(t *testing.T, s *site, b *browser) {
		s.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
		s.ms.Consent(msauthtest.Ada, ordersRead)
		s.mux.Handle("/orders", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			for _, scope := range []string{ordersRead, "api://orders/Nonsense", "api://none/All"} {
				_, err := session.Token(r.Context(), scope)
				fmt.Fprintln(w, err == nil)
			}
		})))
		s.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = time.Second })
		if res := b.get("/orders"); res.body != "true\nfalse\nfalse\n" {
			t.Fatalf("page %q; log:\n%s", res.body, s.log)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 3)
		if got := s.auth.Stats(); got.Renewals != 0 || got.RenewalTime != 0 || len(got.RenewalsFailed) != 0 {
			t.Errorf("%+v", got)
		}
		if lines := s.log.with(`reason="other scopes"`); len(lines) != 3 {
			t.Errorf("log lines %q, want one for each request", lines)
		}
		time.Sleep(expired)
		b.get("/")
		if got := s.auth.Stats(); got.Renewals != 1 || got.RenewalTime != time.Second || len(got.RenewalsFailed) != 0 {
			t.Errorf("after a renewal: %+v", got)
		}
	})
}
