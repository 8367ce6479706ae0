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
