package sessions_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// However oddly a provider tells the life of its tokens, there is a sane
// reading, and never a renewal at every request.
func TestOddLifetimesAreReadSanely(t *testing.T) {
	t.Parallel()
	const hour, day = time.Hour, 24 * time.Hour
	for _, c := range []struct {
		name        string
		expiresIn   any
		least, most time.Duration // until a renewal is due
	}{
		{"a number", 3600, 50 * time.Minute, hour},
		{"a text", "3599", 50 * time.Minute, hour},
		{"a text with spaces", " 3599 ", 50 * time.Minute, hour},
		{"a float", 3599.5, 50 * time.Minute, hour},
		{"a text with a float", "3599.5", 50 * time.Minute, hour},
		{"28 hours", 28 * 3600, 27 * hour, 28 * hour},
		{"absent", msauthtest.Omit, 50 * time.Minute, hour},
		{"no number", "abc", 50 * time.Minute, hour},
		{"empty", "", 50 * time.Minute, hour},
		{"null", json.RawMessage("null"), 50 * time.Minute, hour},
		{"true", true, 50 * time.Minute, hour},
		{"a list", []int{3600}, 50 * time.Minute, hour},
		{"an object", map[string]int{"seconds": 3600}, 50 * time.Minute, hour},
		{"zero", 0, 50 * time.Minute, hour},
		{"a text with zero", "0", 50 * time.Minute, hour},
		{"negative", -1, 50 * time.Minute, hour},
		{"very negative", json.RawMessage("-1e300"), 50 * time.Minute, hour},
		{"not a number", "NaN", 50 * time.Minute, hour},
		{"endless", "Infinity", 47 * hour, 2 * day},
		{"huge", json.RawMessage("1e300"), 47 * hour, 2 * day},
		{"more than any float", json.RawMessage("1e999"), 50 * time.Minute, 2 * day},
		{"more than any integer", json.RawMessage("99999999999999999999"), 47 * hour, 2 * day},
		{"a year", 365 * 24 * 3600, 47 * hour, 2 * day},
		{"a date", "2030-01-01T00:00:00Z", 50 * time.Minute, hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := testsite.NewOffice(t, func(c *msauth.Config) { c.MaxAge, c.IdleTimeout = 30*day, 30*day })
				o.MS.Set(func(b *msauthtest.Behavior) { b.ExpiresIn = c.expiresIn })
				v := o.SignIn()
				for range 50 {
					if got := v.Get("/?token"); got.Status != http.StatusOK {
						t.Fatalf("status %d: %s", got.Status, got.Body)
					}
				}
				o.WantCalls(msauthtest.TokenRefresh, 0)
				time.Sleep(c.least)
				for range 50 {
					v.WantHello("in the token's life")
				}
				o.WantCalls(msauthtest.TokenRefresh, 0)
				time.Sleep(c.most - c.least)
				for range 50 {
					v.WantHello("after the token's life")
				}
				o.WantCalls(msauthtest.TokenRefresh, 1)
			})
		})
	}
}

func TestTokensOfSecondsAreNotRenewedAtEveryRequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		expiresIn any
		most      int // renewals in 10 seconds
	}{{0.001, 11}, {0.5, 11}, {1, 11}, {2, 11}, {5, 3}, {10, 2}} {
		t.Run(fmt.Sprint(c.expiresIn), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := testsite.NewOffice(t)
				o.MS.Set(func(b *msauthtest.Behavior) {
					b.ExpiresIn = c.expiresIn
					b.OmitIDTokenOnRefresh = true
				})
				v := o.SignIn()
				time.Sleep(137 * time.Millisecond) // seconds do not begin with the clock's
				for range 500 {
					v.WantHello("with a short token")
					time.Sleep(20 * time.Millisecond)
				}
				if calls := o.MS.Count(msauthtest.TokenRefresh); calls == 0 || calls > c.most {
					t.Errorf("%d renewals in 10s and 500 requests, want at most %d", calls, c.most)
				}
			})
		})
	}
}

func TestRefreshInBringsTheRenewalForward(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		refreshIn   any
		least, most time.Duration
	}{
		{"half of the life", 12 * 3600, 12 * time.Hour, 12 * time.Hour},
		{"a text", "43200", 12 * time.Hour, 12 * time.Hour},
		{"more than the life", 25 * 3600, 23 * time.Hour, 24 * time.Hour},
		{"zero", 0, 23 * time.Hour, 24 * time.Hour},
		{"negative", -5, 23 * time.Hour, 24 * time.Hour},
		{"no number", "soon", 23 * time.Hour, 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := testsite.NewOffice(t, func(c *msauth.Config) { c.IdleTimeout = c.MaxAge + 1<<60 })
				o.MS.Set(func(b *msauthtest.Behavior) {
					b.AccessTokenLifetime = 24 * time.Hour
					b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["refresh_in"] = c.refreshIn }
				})
				v := o.SignIn()
				time.Sleep(c.least - time.Second)
				v.WantHello("before")
				o.WantCalls(msauthtest.TokenRefresh, 0)
				time.Sleep(c.most - c.least + time.Second)
				// Early: a failure is silent, and the token is good.
				o.MS.Set(func(b *msauthtest.Behavior) {
					b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Status: 503}}
				})
				v.WantHello("due, and failing")
				o.WantCalls(msauthtest.TokenRefresh, 1)
				time.Sleep(10 * time.Second)
				v.WantHello("due")
				o.WantCalls(msauthtest.TokenRefresh, 2)
			})
		})
	}
}

// People who signed in together do not come back together.
func TestRenewalsHaveJitter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t)
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		people := make([]*testsite.Visitor, 30)
		for i := range people {
			people[i] = o.SignIn()
		}
		time.Sleep(52 * time.Minute)
		most := 0
		for range 32 {
			before := o.MS.Count(msauthtest.TokenRefresh)
			for _, v := range people {
				v.Get("/")
			}
			most = max(most, o.MS.Count(msauthtest.TokenRefresh)-before)
			time.Sleep(10 * time.Second)
		}
		if most > 15 || o.MS.Count(msauthtest.TokenRefresh) != 30 {
			t.Errorf("%d of 30 renewals fell into the same 10 seconds, %d in all", most, o.MS.Count(msauthtest.TokenRefresh))
		}
	})
}

// A prefetch is nobody's use: it keeps no session alive and renews nothing.
func TestPrefetchRenewsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t)
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		v := o.SignIn()
		time.Sleep(59 * time.Minute) // due, and good for another minute
		if got := v.Get("/", "Sec-Purpose", "prefetch;prerender"); got.Status != http.StatusOK || len(got.Header["Set-Cookie"]) > 0 {
			t.Errorf("token due: status %d, cookies %q", got.Status, got.Header["Set-Cookie"])
		}
		time.Sleep(3 * time.Hour)
		// What was expired for so long has to be asked about: later, then.
		got := v.Get("/", "Sec-Purpose", "prefetch;prerender")
		if got.Status != http.StatusServiceUnavailable || got.Header.Get("Cache-Control") != "no-store" || len(got.Header["Set-Cookie"]) > 0 {
			t.Errorf("token expired: status %d, cookies %q", got.Status, got.Header["Set-Cookie"])
		}
		if got := v.Get("/public/", "Sec-Purpose", "prefetch"); got.Body != "hello nobody" || len(got.Header["Set-Cookie"]) > 0 {
			t.Errorf("token expired, page under Load: %q", got.Body)
		}
		o.WantCalls(msauthtest.TokenRefresh, 0)
		// What changes something is no prefetch, whatever it says.
		if got := v.Copy().Do(http.MethodPost, "/", "Purpose", "prefetch"); got.Status != http.StatusOK {
			t.Errorf("a POST that calls itself a prefetch: status %d", got.Status)
		}
		o.WantCalls(msauthtest.TokenRefresh, 1)
		v.WantHello("a page")
		o.WantCalls(msauthtest.TokenRefresh, 1)
	})
}
