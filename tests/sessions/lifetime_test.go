package sessions_test

import (
	"encoding/json"
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

// The server ends sessions; what the browser thinks of its cookie is its own
// business.
func TestSessionsEndByAgeAndByIdleness(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		name         string
		maxAge, idle time.Duration
		use          time.Duration // every so often
		lives        time.Duration // still there after this, used all the time
		dies         time.Duration // and gone after this
	}{
		{"absolute age, in use", 7 * day, day, time.Hour, 7*day - time.Minute, 7 * day},
		{"absolute age without idleness", 10 * time.Minute, 10 * time.Minute, time.Minute, 9 * time.Minute, 10 * time.Minute},
		{"short absolute age", 2 * time.Minute, time.Minute, 20 * time.Second, 119 * time.Second, 2 * time.Minute},
		{"defaults", 0, 0, 6 * time.Hour, 7*day - time.Minute, 7 * day},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := testsite.NewOffice(t, func(cfg *msauth.Config) { cfg.MaxAge, cfg.IdleTimeout = c.maxAge, c.idle })
				v := o.SignIn()
				first := v.Copy()
				began := time.Now()
				for time.Since(began)+c.use < c.lives {
					time.Sleep(c.use)
					v.WantHello(fmt.Sprint("after ", time.Since(began)))
				}
				time.Sleep(c.lives - time.Since(began))
				v.WantHello("at the last moment")
				time.Sleep(c.dies - time.Since(began))
				for name, v := range map[string]*testsite.Visitor{"newest cookie": v, "first cookie": first} {
					if got := v.Copy().Fetch("/"); got.Status != http.StatusUnauthorized {
						t.Errorf("%s: script: status %d, want 401", name, got.Status)
					}
					if got := v.Get("/"); !testsite.ToProvider(got) || !got.ClearsSession() {
						t.Errorf("%s: status %d, want the sign-in page", name, got.Status)
					}
				}
			})
		})
	}
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			o := testsite.NewOffice(t, func(c *msauth.Config) { c.MaxAge, c.IdleTimeout = 7*day, 2*time.Hour })
			o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = day })
			v := o.SignIn()
			for range 20 {
				time.Sleep(2*time.Hour - 5*time.Minute - time.Second) // one step before
				v.WantHello("in use")
			}
			kept := v.Copy()
			time.Sleep(2 * time.Hour)
			if got := v.Fetch("/"); got.Status != http.StatusUnauthorized {
				t.Errorf("script after two idle hours: status %d, want 401", got.Status)
			}
			if got := v.Get("/"); !testsite.ToProvider(got) {
				t.Errorf("after two idle hours: status %d, want the sign-in page", got.Status)
			}
			if got := kept.Get("/public/"); got.Body != "hello nobody" {
				t.Errorf("page under Load: %q", got.Body)
			}
		})
	})
}

// Use is noted in steps of a twenty-fourth of the idle timeout.
func TestUseIsNotedOncePerStep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		idle  time.Duration
		every time.Duration
		times int
		least int // Set-Cookie in all
		most  int
	}{
		{"100 requests in a minute", 24 * time.Hour, 600 * time.Millisecond, 100, 0, 0},
		{"100 requests in 100 minutes", 24 * time.Hour, time.Minute, 100, 1, 1},
		{"100 requests in 10 hours", 24 * time.Hour, 6 * time.Minute, 100, 9, 10},
		{"short timeout", time.Hour, 10 * time.Second, 100, 6, 6},
		{"no timeout", 400 * 24 * time.Hour, time.Hour, 100, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := testsite.NewOffice(t, func(cfg *msauth.Config) { cfg.IdleTimeout = c.idle })
				o.MS.Set(func(b *msauthtest.Behavior) { b.ExpiresIn = 48 * 3600 })
				v := o.SignIn()
				written := 0
				for range c.times {
					time.Sleep(c.every)
					if got := v.Get("/"); len(got.Header["Set-Cookie"]) > 0 {
						written++
					}
				}
				written -= o.MS.Count(msauthtest.TokenRefresh)
				if written < c.least || written > c.most {
					t.Errorf("%d answers of %d set a cookie, want %d to %d", written, c.times, c.least, c.most)
				}
			})
		})
	}
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

func TestSessionCookieGoesWithTheBrowserThroughRenewals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, sessionCookie := range []bool{true, false} {
			o := testsite.NewOffice(t, func(c *msauth.Config) { c.SessionCookie = sessionCookie })
			v := o.SignIn()
			for range 3 {
				time.Sleep(2 * time.Hour)
				got := v.Get("/")
				if !got.SetsSession() {
					t.Fatal("no cookie after a renewal")
				}
				for _, line := range got.Header["Set-Cookie"] {
					if has := strings.Contains(line, "Max-Age="); has == sessionCookie || strings.Contains(line, "Expires=") {
						t.Errorf("SessionCookie %t: a cookie with the attributes %s", sessionCookie, line[strings.Index(line, ";"):])
					}
				}
			}
		}
	})
}

// The browser is told to forget the cookie when the session ends, not later.
func TestMaxAgeOfTheCookieShrinksTowardsTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t, func(c *msauth.Config) { c.MaxAge = 10 * time.Hour })
		v := o.SignIn()
		for range 4 {
			time.Sleep(2 * time.Hour)
			got := v.Get("/")
			c, err := http.ParseSetCookie(got.Header["Set-Cookie"][0])
			if err != nil {
				t.Fatal(err)
			}
			s := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
			if want := int((10*time.Hour - s) / time.Second); c.MaxAge < want || c.MaxAge > want+1 {
				t.Errorf("Max-Age %d, want %d", c.MaxAge, want)
			}
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
