package outage_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestRetryAfterBindsTheSessionThatGotIt(t *testing.T) {
	t.Parallel()
	date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for _, c := range []struct {
		name   string
		value  func() string
		quiet  time.Duration // no call for this long
		within time.Duration // and one in this time
	}{
		{"seconds", func() string { return "120" }, 120 * time.Second, 120 * time.Second},
		{"a date", func() string { return date(5 * time.Minute) }, 299 * time.Second, 300 * time.Second},
		{"absent", func() string { return "" }, 800 * time.Millisecond, time.Second},
		{"negative", func() string { return "-30" }, 800 * time.Millisecond, time.Second},
		{"zero", func() string { return "0" }, 800 * time.Millisecond, time.Second},
		{"a date in the past", func() string { return date(-time.Hour) }, 800 * time.Millisecond, time.Second},
		{"no number", func() string { return "soon" }, 800 * time.Millisecond, time.Second},
		{"ten years", func() string { return "315360000" }, time.Hour, time.Hour},
		{"ten years as a date", func() string { return date(87600 * time.Hour) }, time.Hour, time.Hour},
		{"more than any integer holds", func() string { return "99999999999999999999999" }, time.Hour, time.Hour},
	} {
		for _, status := range []int{429, 503} {
			t.Run(c.name+" "+http.StatusText(status), func(t *testing.T) {
				t.Parallel()
				testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
					o := testsite.NewOffice(t, at.Change)
					o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
					v, other := o.SignIn(), o.SignIn()
					time.Sleep(time.Hour)
					header := http.Header{}
					if value := c.value(); value != "" {
						header.Set("Retry-After", value)
					}
					o.MS.Set(func(b *msauthtest.Behavior) {
						b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Status: status, Header: header}}
					})
					asked := time.Now()
					v.WantHello("throttled")
					o.WantCalls(msauthtest.TokenRefresh, 1)
					for time.Since(asked) < c.quiet-c.quiet/10 {
						v.WantHello("meanwhile")
						if got := v.Get("/?token"); got.Status != http.StatusBadGateway {
							t.Fatalf("Token while throttled: status %d", got.Status)
						}
						time.Sleep(c.quiet / 20)
					}
					if calls := o.MS.Count(msauthtest.TokenRefresh); calls > 1 && time.Since(asked) < c.quiet {
						t.Fatalf("%d calls in the first %v, want 1", calls, time.Since(asked))
					}
					other.WantHello("the other person") // is not bound
					if calls := o.MS.Count(msauthtest.TokenRefresh); calls != 2 {
						t.Errorf("%d calls, want that of the other person too", calls)
					}
					time.Sleep(c.within - time.Since(asked) + time.Second)
					v.WantHello("when it is over")
					o.WantCalls(msauthtest.TokenRefresh, 3)
				})
			})
		}
	}
}

// Without Retry-After people are tried again after a second, then after twice as
// long each time up to ten seconds, and do not come back all at once.
func TestBackOffHasJitter(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.NewOffice(t, at.Change)
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		v := o.SignIn()
		time.Sleep(time.Hour)
		o.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		for range 2000 {
			v.Fetch("/")
			time.Sleep(100 * time.Millisecond)
		}
		gaps := map[time.Duration]int{}
		calls := o.MS.Calls(msauthtest.TokenRefresh)
		for i := range calls[1:] {
			gap := calls[i+1].Time.Sub(calls[i].Time)
			want := min(time.Second<<min(i, 10), 10*time.Second)
			if gap < want*4/5 || gap > want+100*time.Millisecond {
				t.Errorf("%v after failure %d, want %v or a little less", gap, i+1, want)
			}
			if want == 10*time.Second {
				gaps[gap.Round(500*time.Millisecond)]++
			}
		}
		if len(gaps) < 3 {
			t.Errorf("the times between calls are all alike: %v", gaps)
		}
	})
}

// One Retry-After cannot stop everybody for longer than a minute.
func TestPauseObeysRetryAfterUpToAMinute(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.NewOffice(t, at.Change)
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		people := make([]*testsite.Visitor, 12)
		for i := range people {
			people[i] = o.SignInNew()
		}
		time.Sleep(time.Hour)
		status := http.StatusTooManyRequests
		if at.Live() { // with personal accounts one stranger could cause five of those
			status = http.StatusServiceUnavailable
		}
		o.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: status, Header: http.Header{"Retry-After": {"1800"}}}
		})
		for _, v := range people[:5] {
			v.WantHello("throttled")
		}
		o.WantCalls(msauthtest.TokenRefresh, 5)
		if !o.Auth.Stats().Paused {
			t.Error("not paused after five failures of five people")
		}
		for range 59 {
			time.Sleep(time.Second)
			people[5+rand.N(7)].WantHello("during the pause")
		}
		o.WantCalls(msauthtest.TokenRefresh, 5)
		o.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		time.Sleep(2 * time.Second)
		for _, v := range people[5:] {
			v.WantHello("after a minute")
		}
		o.WantCalls(msauthtest.TokenRefresh, 12)
		for _, v := range people[:5] {
			v.WantHello("still bound by their own half hour")
		}
		o.WantCalls(msauthtest.TokenRefresh, 12)
		time.Sleep(30 * time.Minute)
		for _, v := range people[:5] {
			v.WantHello("after half an hour")
		}
		o.WantCalls(msauthtest.TokenRefresh, 17)
	})
}

// One person's failures are no reason to stop the others, however many
// sessions that person has.
func TestFailuresOfOnePersonDoNotPauseTheClient(t *testing.T) {
	t.Parallel()
	for _, failure := range []msauthtest.Failure{
		{Status: 500},
		{Status: 429, Header: http.Header{"Retry-After": {"3600"}}},
		{Error: "invalid_resource", Codes: []int{500011}},
	} {
		t.Run(fmt.Sprint(failure.Status, failure.Error), func(t *testing.T) {
			t.Parallel()
			testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
				if at.Live() && failure.Error == "invalid_resource" {
					return // there are no tenants of which one might say so alone
				}
				o := testsite.NewOffice(t, at.Change)
				o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				other := o.SignInNew()
				strangers := make([]*testsite.Visitor, 20)
				for i := range strangers {
					strangers[i] = o.SignIn()
				}
				time.Sleep(time.Hour)
				o.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = failure })
				for _, v := range strangers {
					v.WantHello("with a token that cannot be renewed")
				}
				o.WantCalls(msauthtest.TokenRefresh, 3) // however many sessions the stranger has
				if o.Auth.Stats().Paused {
					t.Error("paused because of one person")
				}
				if err := o.Auth.Ready(t.Context()); err != nil {
					t.Errorf("not ready because of one person: %v", err)
				}
				o.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
				other.WantHello("the other")
				if got := other.Get("/?token"); got.Status != http.StatusOK {
					t.Errorf("somebody else's token: status %d, %s", got.Status, got.Body)
				}
				o.WantCalls(msauthtest.TokenRefresh, 4)
				time.Sleep(11 * time.Second)
				if failure.Header == nil {
					strangers[19].Get("/")
					if got := strangers[19].Get("/?token"); got.Status != http.StatusOK {
						t.Errorf("the stranger's own token, later: status %d, %s", got.Status, got.Body)
					}
				}
			})
		})
	}
}

// Whoever's probe has failed leaves the next to others, and tells them nothing.
func TestStrangerCannotTakeEveryProbe(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.NewOffice(t, at.Change)
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		strangers := make([]*testsite.Visitor, 8)
		for i := range strangers {
			strangers[i] = o.SignInNew()
		}
		victim := o.SignInNew()
		time.Sleep(time.Hour)
		fail := func(on bool) {
			o.MS.Set(func(b *msauthtest.Behavior) {
				clear(b.FailAlways)
				if on {
					b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 500, Body: "<p>of a stranger</p>"}
				}
			})
		}
		fail(true)
		for _, v := range strangers[:5] {
			v.WantHello("failing")
		}
		if !o.Auth.Stats().Paused {
			t.Fatal("not paused after five people's failures")
		}
		if got := victim.Get("/?token").Body; !strings.Contains(got, "paused") || strings.Contains(got, "stranger") {
			t.Errorf("Token of somebody who has asked for nothing yet: %q", got)
		}
		// The provider serves everybody but the strangers, who ask all the time.
		began := time.Now()
		for got := 0; got != http.StatusOK; {
			if time.Since(began) > 20*time.Second {
				t.Fatal("20 seconds, and no probe for the one who would be served")
			}
			fail(true)
			for _, v := range strangers[:5] {
				v.Get("/")
			}
			fail(false)
			if time.Since(began).Milliseconds()%1000 == 0 {
				got = victim.Get("/?token").Status
			}
			time.Sleep(100 * time.Millisecond)
		}
		if o.Auth.Stats().Paused {
			t.Error("still paused")
		}
	})
}
