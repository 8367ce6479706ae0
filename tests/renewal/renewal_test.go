package renewal_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestRenewalIsOneRequestHoweverManyWait(t *testing.T) {
	for _, after := range []time.Duration{testsite.Due, testsite.Expired} {
		t.Run(after.String(), func(t *testing.T) {
			testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.Rotation = msauthtest.RotateStrict
					b.Delay[msauthtest.TokenRefresh] = 900 * time.Millisecond
				})
				time.Sleep(after)
				var all sync.WaitGroup
				for range 50 {
					all.Go(func() {
						// A browser of its own with the same cookie: nothing is shared but the server.
						tab := s.Browser(t)
						for _, c := range b.Session() {
							tab.Keep(c.Name, c.Value)
						}
						if got := tab.Get("/").Text; got != testsite.HelloAda {
							t.Errorf("page %q, want %q", got, testsite.HelloAda)
						}
					})
				}
				all.Wait()
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
				// A request that left the browser before the new cookie came.
				time.Sleep(time.Minute)
				b.WantGreeting(testsite.HelloAda)
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
				// The chain goes on with what the late request was given.
				time.Sleep(testsite.Due)
				b.WantGreeting(testsite.HelloAda)
				s.WantCalls(t, msauthtest.TokenRefresh, 2)
			})
		})
	}
}

func TestRenewalsOfOnePersonRunOverTLSOnlyOnce(t *testing.T) {
	for _, at := range testsite.Services {
		t.Run(at.Name, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t, at.Change)
			s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
			b := s.Browser(t)
			b.SignInExpired(msauthtest.Ada)
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.AccessTokenLifetime = time.Hour
				b.Delay[msauthtest.TokenRefresh] = 200 * time.Millisecond
			})
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					if got := b.Get("/").Text; got != testsite.HelloAda {
						t.Errorf("page %q, want %q", got, testsite.HelloAda)
					}
				})
			}
			all.Wait()
			s.WantCalls(t, msauthtest.TokenRefresh, 1)
		})
	}
}

func TestStrictRotationIsFollowed(t *testing.T) {
	testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		used := map[string]bool{}
		for i := range 10 {
			time.Sleep(testsite.Due)
			if got := b.Get("/").Text; got != testsite.HelloAda {
				t.Fatalf("renewal %d: page %q; log:\n%s", i, got, s.Log)
			}
		}
		for _, call := range s.MS.Calls(msauthtest.TokenRefresh) {
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
			for _, after := range []time.Duration{testsite.Due, testsite.Expired} {
				t.Run(fmt.Sprintf("%s %d %s %s %v", row.class, i, f.Error, f.Suberror, after), func(t *testing.T) {
					testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
						first := b.Token()
						time.Sleep(after)
						s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = f })
						kept := b.Session()

						began := time.Now()
						status := b.Get("/api", script...).StatusCode
						if took := time.Since(began); took > 5*time.Second || after == testsite.Due && took > time.Second {
							t.Errorf("a script waited %v", took)
						}
						time.Sleep(20 * time.Second) // for what hangs; and no call before its time
						calls := s.MS.Count(msauthtest.TokenRefresh)
						token := b.Token()
						nav := b.Still().Get("/page")

						switch row.class {
						case msauth.ClassSignIn, msauth.ClassStepUp:
							if status != 401 || nav.StatusCode != 303 || calls != 1 || s.MS.Count(msauthtest.TokenRefresh) != 1 {
								t.Errorf("script %d, navigation %d, %d requests, want 401, 303, 1; log:\n%s", status, nav.StatusCode, s.MS.Count(msauthtest.TokenRefresh), s.Log)
							}
							ended := row.class == msauth.ClassSignIn
							if got := len(b.Session()) == 0; got != ended {
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
							if got := to.Query().Get("login_hint") != ""; got != (!ended && !s.Live()) { // its tokens have none
								t.Errorf("login_hint there: %v, want %v", got, !ended && !s.Live())
							}
							// Back from Microsoft everything is as before.
							s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
							if got := b.Get("/page").Text; got != testsite.HelloAda {
								t.Errorf("page %q after signing in again, want %q; log:\n%s", got, testsite.HelloAda, s.Log)
							}
							if got := b.Token(); got == first || len(got) < shortestToken {
								t.Errorf("Token: %.40q after signing in again", got)
							}
						default:
							if status != 200 || nav.StatusCode != 200 || len(b.Session()) != len(kept) {
								t.Errorf("script %d, navigation %d, want 200 and the session kept; log:\n%s", status, nav.StatusCode, s.Log)
							}
							want := first
							if after == testsite.Expired {
								want = "ErrTokenUnavailable"
							}
							if token != want {
								t.Errorf("Token: %.40q, want %.40q", token, want)
							}
							if misconfigured := row.class == msauth.ClassMisconfigured; misconfigured != (s.Auth.Ready(t.Context()) != nil) ||
								misconfigured != (len(s.Log.With("level=ERROR")) > 0) {
								t.Errorf("Ready: %v; log:\n%s", s.Auth.Ready(t.Context()), s.Log)
							}
							s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
							time.Sleep(30 * time.Second)
							if got := b.Get("/").Text; got != testsite.HelloAda {
								t.Errorf("page %q after the outage", got)
							}
							if got := b.Token(); got == first || len(got) < shortestToken {
								t.Errorf("Token: %.40q after the outage", got)
							}
							s.WantCalls(t, msauthtest.Authorize, 0)
						}
					}, testsite.OneTenant) // see TestOneTenantDoesNotSpeakForTheApp
				})
			}
		}
	}
}

func TestOutageBeforeExpiryIsInvisible(t *testing.T) {
	testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		first := b.Token()
		s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		time.Sleep(testsite.Due)
		for range 25 {
			if got := b.Get("/").Text; got != testsite.HelloAda || b.Token() != first {
				t.Fatalf("page %q, or another token", got)
			}
			time.Sleep(time.Minute)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 25) // each minute one try, and not one per request
		s.WantCalls(t, msauthtest.Authorize, 0)
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
			testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
				time.Sleep(testsite.Due)
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 429, Header: http.Header{"Retry-After": {test.header}}}
				})
				b.Get("/")
				time.Sleep(test.want - time.Second)
				b.Get("/")
				b.Token()
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
				time.Sleep(15 * time.Second)
				b.Get("/")
				if got := s.MS.Count(msauthtest.TokenRefresh); got < 2 {
					t.Errorf("no request after that time")
				}
			})
		})
	}
}

func TestRevokedPersonIsOutAtTheNextRenewal(t *testing.T) {
	testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		other := s.Browser(t)
		other.SignIn(msauthtest.Bruno)
		s.MS.Revoke(msauthtest.Ada)
		b.WantGreeting(testsite.HelloAda) // until then
		time.Sleep(testsite.Due)
		b.WantGreeting(testsite.HelloNobody)
		other.WantGreeting(testsite.HelloBruno)
		if n := len(s.Log.With("event=session_ended")); n != 1 {
			t.Errorf("%d lines about it, want 1:\n%s", n, s.Log)
		}
	})
}

func TestRecheckAfterBoundsHowLongARevokedPersonStays(t *testing.T) {
	testsite.RenewingAtEach(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		s.MS.Revoke(msauthtest.Ada)
		time.Sleep(4 * time.Minute)
		b.WantGreeting(testsite.HelloAda)
		time.Sleep(time.Minute + time.Second)
		b.WantGreeting(testsite.HelloNobody)
	}, func(c *msauth.Config) { c.RecheckAfter = 5 * time.Minute })
}
