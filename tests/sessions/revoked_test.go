package sessions_test

import (
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

// Revoked by an administrator, disabled, deleted, moved out of the app: out at
// the next renewal, everywhere.
func TestPersonWhoMayNotComeInIsOutAtTheNextRenewal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(*msauthtest.Server)
	}{
		{"revoked", func(s *msauthtest.Server) { s.Revoke(msauthtest.Ada) }},
		{"disabled", func(s *msauthtest.Server) {
			s.SetUser(msauthtest.User{SignInName: msauthtest.Ada, Disabled: true})
		}},
	} {
		for _, recheck := range []time.Duration{0, 10 * time.Minute} {
			t.Run(fmt.Sprint(c.name, " recheck ", recheck), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					o := testsite.NewOffice(t, func(c *msauth.Config) { c.RecheckAfter = recheck })
					o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
					laptop, phone := o.SignIn(), o.SignIn()
					end := time.Hour
					if recheck > 0 {
						end = recheck
						for i := range 3 { // it is asked, and asked no more often than that
							time.Sleep(recheck - time.Second)
							laptop.WantHello("before the recheck")
							time.Sleep(time.Second)
							laptop.WantHello("at the recheck")
							laptop.WantHello("after the recheck")
							phone.WantHello("the other device")
							o.WantCalls(msauthtest.TokenRefresh, 2*(i+1))
						}
					}
					c.end(o.MS)
					laptop.WantHello("the token is good for a while")
					time.Sleep(end)
					if got := laptop.Fetch("/"); got.Status != http.StatusUnauthorized || got.ClearsSession() {
						t.Errorf("script: status %d, want 401", got.Status)
					}
					if got := laptop.Get("/"); !testsite.ToProvider(got) || !got.ClearsSession() {
						t.Errorf("navigation: status %d, want the sign-in page", got.Status)
					}
					if got := phone.Get("/"); !testsite.ToProvider(got) {
						t.Errorf("the other device: status %d", got.Status)
					}
					if got := phone.Get("/public/"); got.Body != "hello nobody" {
						t.Errorf("page under Load: %q", got.Body)
					}
					if got := o.Auth.Stats().SessionsEnded; got != 2 {
						t.Errorf("%d sessions ended in Stats, want 2", got)
					}
				})
			})
		}
	}
}

// An outage does not end sessions that are to be rechecked: nobody said no.
func TestRecheckThatGetsNoAnswerEndsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t, func(c *msauth.Config) { c.RecheckAfter = 5 * time.Minute })
		v := o.SignIn()
		o.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 500} })
		for range 10 {
			time.Sleep(5 * time.Minute)
			if got := v.Get("/?token"); got.Status != http.StatusOK {
				t.Errorf("status %d, %s", got.Status, got.Body)
			}
		}
		o.MS.Revoke(msauthtest.Ada)
		o.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		time.Sleep(10 * time.Second)
		if got := v.Get("/"); !testsite.ToProvider(got) {
			t.Errorf("status %d, want the sign-in page as soon as there is an answer", got.Status)
		}
	})
}

// Headers that put a renewal off are sent by anybody. They let in nobody whom
// Microsoft refuses, whatever the method.
func TestNoHeaderKeepsARevokedPersonIn(t *testing.T) {
	t.Parallel()
	prefetch, upgrade := []string{"Purpose", "prefetch"}, []string{"Upgrade", "websocket", "Connection", "Upgrade"}
	for _, c := range []struct {
		name    string
		recheck time.Duration
		wait    time.Duration
	}{
		{"token expired", 0, 2 * time.Hour},
		{"recheck due", 10 * time.Minute, 11 * time.Minute},
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
			for what, header := range map[string][]string{
				"prefetch": prefetch, "sec": {"Sec-Purpose", "prefetch;prerender"}, "moz": {"X-Moz", "prefetch"},
				"upgrade": upgrade, "upgrade alone": {"Upgrade", "x"}, "both": append(append([]string{}, prefetch...), upgrade...),
			} {
				t.Run(c.name+" "+method+" "+what, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						o := testsite.NewOffice(t, func(cfg *msauth.Config) { cfg.RecheckAfter = c.recheck })
						o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
						v := o.SignIn()
						o.MS.Revoke(msauthtest.Ada)
						time.Sleep(c.wait)
						for range 2 {
							got := v.Copy().Do(method, "/", header...)
							if got.Status == http.StatusOK || strings.Contains(got.Body, "hello") {
								t.Errorf("status %d, page %q", got.Status, got.Body)
							}
							if got := v.Copy().Do(method, "/public/", header...); strings.Contains(got.Body, "Ada") {
								t.Errorf("page under Load: %q", got.Body)
							}
							v.Copy().Fetch("/") // now it is known
						}
						o.WantCalls(msauthtest.TokenRefresh, 1)
					})
				})
			}
		}
	}
}

// A refusal that is known counts, even where nobody would have asked yet.
func TestKnownRefusalCountsForPrefetchAndUpgrade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t)
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		v := o.SignIn()
		o.MS.Revoke(msauthtest.Ada)
		time.Sleep(59 * time.Minute)
		upgrade := []string{"Upgrade", "websocket", "Connection", "keep-alive, Upgrade"}
		if got := v.Copy().Get("/", upgrade...); got.Status != http.StatusOK {
			t.Errorf("a handshake with a good token: status %d", got.Status)
		}
		o.WantCalls(msauthtest.TokenRefresh, 0)
		if got := v.Copy().Fetch("/"); got.Status != http.StatusUnauthorized {
			t.Errorf("a script: status %d, want 401", got.Status)
		}
		for _, header := range [][]string{upgrade, {"Purpose", "prefetch"}} {
			if got := v.Copy().Do("GET", "/", header...); got.Status != http.StatusUnauthorized {
				t.Errorf("%s once it is known: status %d, want 401", header[0], got.Status)
			}
		}
		o.WantCalls(msauthtest.TokenRefresh, 1)
	})
}
