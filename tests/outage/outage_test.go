package outage_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
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

// downtime stands between an app and its provider: while failure is set, no
// token request gets through.
type downtime struct {
	base    http.RoundTripper
	failure atomic.Pointer[error]
	refused atomic.Int64
}

func (d *downtime) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := d.failure.Load(); err != nil && r.Method == http.MethodPost {
		d.refused.Add(1)
		return nil, *err
	}
	return d.base.RoundTrip(r)
}

// Ten minutes without Microsoft, three times over, with everybody's tokens
// running out meanwhile. What the documentation promises: at most 12 calls a
// minute while renewals are paused, and before that what was under way when
// the outage began, at most 32.
func TestOutageOfTenMinutesSignsNobodyOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var line downtime
		o := testsite.NewOffice(t, func(c *msauth.Config) {
			line.base = c.HTTPClient.Transport
			c.HTTPClient = &http.Client{Transport: &line}
		})
		o.MS.Set(func(b *msauthtest.Behavior) {
			b.AccessTokenLifetime = 5 * time.Minute
			b.Rotation = msauthtest.RotateStrict
			// Opaque access tokens and no ID token at renewals spare the test
			// some ten thousand signatures.
			b.OmitIDTokenOnRefresh = true
		})
		// So many that by the end most have not failed with a probe: whoever has
		// leaves the next one to others for a while.
		visitors := max(testsite.Crowd, 300)
		people := make([]*testsite.Visitor, visitors)
		for i := range people {
			name := fmt.Sprintf("mia%d@outlook.example", i)
			o.MS.SetUser(msauthtest.User{SignInName: name, Name: "Mia Müller", TenantID: msauthtest.TenantPersonal})
			o.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = name })
			people[i] = o.SignIn()
		}
		for _, outage := range []struct {
			name  string
			begin func()
		}{
			{"connection refused", func() {
				refused := errors.New("dial tcp 192.0.2.1:443: connect: connection refused")
				line.failure.Store(&refused)
			}},
			{"status 500 at once", func() {
				o.MS.Set(func(b *msauthtest.Behavior) {
					b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 500, Body: "<h1>Our services aren't available right now</h1>"}
				})
			}},
			{"accepts and stays silent", func() {
				o.MS.Set(func(b *msauthtest.Behavior) {
					b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Hang: true}
				})
			}},
		} {
			// Everybody has a token with most of its life before it.
			o.MS.ResetCalls()
			line.refused.Store(0)
			outage.begin()
			began := time.Now()
			end := began.Add(10 * time.Minute)

			var waits []time.Duration // of requests
			var perMinute [10]int
			var mu sync.Mutex
			var wg sync.WaitGroup
			renewedAt := make([]time.Time, visitors)
			for i, v := range people {
				wg.Go(func() {
					time.Sleep(time.Duration(i) * 10 * time.Second / time.Duration(visitors))
					for time.Since(began) < 10*time.Minute+30*time.Second {
						asked := time.Now()
						got := v.Fetch("/")
						if got.Status != http.StatusOK || got.Body != "hello Mia Müller" || got.ClearsSession() {
							t.Errorf("%s, after %v: person %d got status %d, page %.60q", outage.name, time.Since(began), i, got.Status, got.Body)
							return
						}
						if !asked.Before(end) && got.SetsSession() {
							renewedAt[i] = time.Now()
						}
						mu.Lock()
						waits = append(waits, time.Since(asked))
						mu.Unlock()
						time.Sleep(10*time.Second - time.Since(asked))
					}
				})
			}
			wg.Go(func() {
				last := 0
				for minute := range 10 {
					time.Sleep(time.Minute)
					now := o.MS.Count(msauthtest.TokenRefresh) + int(line.refused.Load())
					perMinute[minute], last = now-last, now
				}
				line.failure.Store(nil)
				o.MS.Set(func(b *msauthtest.Behavior) { delete(b.FailAlways, msauthtest.TokenRefresh) })
			})
			wg.Wait()

			over := 0 // what is under way when the outage is noticed may begin in two of the minutes
			for _, n := range perMinute {
				over += max(0, n-12)
			}
			if over > 32 {
				t.Errorf("%s: calls per minute %v, want at most 12, and 32 more when it is noticed", outage.name, perMinute)
			}
			var firstAnswer time.Time
			for _, call := range o.MS.Calls(msauthtest.TokenRefresh) {
				if call.Status == http.StatusOK && call.Time.After(end.Add(-time.Nanosecond)) {
					firstAnswer = call.Time
					break
				}
			}
			if firstAnswer.IsZero() || firstAnswer.Sub(end) > 10*time.Second {
				t.Errorf("%s: first answered call %v after the outage, want at most 10s", outage.name, firstAnswer.Sub(end))
			}
			late := 0
			for i, at := range renewedAt {
				if at.IsZero() {
					t.Errorf("%s: person %d was not renewed within half a minute of the end", outage.name, i)
				} else if at.Sub(firstAnswer) > 10*time.Second {
					late++
				}
			}
			// A call that a silent provider took shortly before its recovery
			// lasts until its own timeout; there are at most three.
			if late > 3 {
				t.Errorf("%s: %d of %d people renewed later than 10s after the first answer", outage.name, late, visitors)
			}
			slices.Sort(waits)
			t.Logf("%s: calls per minute %v; recovery %v after the outage, %d late; half of %d requests waited %v, 99 %% %v, longest %v",
				outage.name, perMinute, firstAnswer.Sub(end), late, len(waits), waits[len(waits)/2], waits[len(waits)*99/100], waits[len(waits)-1])
			if median := waits[len(waits)/2]; median > 10*time.Millisecond {
				t.Errorf("%s: half of the requests waited %v", outage.name, median)
			}
			if calls := o.MS.Count(msauthtest.Authorize); calls != 0 {
				t.Errorf("%s: %d people were sent to sign in", outage.name, calls)
			}
		}
		stats := o.Auth.Stats()
		if stats.SessionsEnded != 0 || stats.Paused || stats.RenewalsFailed[msauth.ClassRetry] == 0 {
			t.Errorf("stats %+v", stats)
		}
		for _, event := range []string{"event=renewal_pause", "event=renewal_resume"} {
			if got := strings.Count(o.Log.String(), event); got != 3 {
				t.Errorf("%d log lines with %s, want 3", got, event)
			}
		}
	})
}

// While the token is good nobody notices; afterwards pages that need no token
// go on, and the others learn that it is not the person's fault.
func TestOutageBeforeAndAfterExpiry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		failure msauthtest.Failure
	}{
		{"500", msauthtest.Failure{Status: 500}},
		{"429", msauthtest.Failure{Status: 429}},
		{"temporarily_unavailable", msauthtest.Failure{Error: "temporarily_unavailable"}},
		{"cut", msauthtest.Failure{Close: true}},
		{"silence", msauthtest.Failure{Hang: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := testsite.NewOffice(t)
				o.MS.Set(func(b *msauthtest.Behavior) {
					b.AccessTokenLifetime = time.Hour
					b.FailAlways[msauthtest.TokenRefresh] = c.failure
				})
				v := o.SignIn()
				token := v.Get("/?token").Body
				time.Sleep(58 * time.Minute)
				if got := v.Get("/?token"); got.Status != http.StatusOK || got.Body != token || len(got.Header["Set-Cookie"]) > 0 {
					t.Errorf("before expiry: status %d, the same token: %t, cookies %q", got.Status, got.Body == token, got.Header["Set-Cookie"])
				}
				time.Sleep(10 * time.Minute)
				v.WantHello("after expiry")
				if got := v.Fetch("/"); got.Status != http.StatusOK {
					t.Errorf("a script after expiry: status %d", got.Status)
				}
				if got := v.Get("/?token"); got.Status != http.StatusBadGateway || !strings.Contains(got.Body, "retry") {
					t.Errorf("Token after expiry: status %d, %q, want an error of class retry", got.Status, got.Body)
				}
				o.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
				time.Sleep(26 * time.Second)
				if got := v.Get("/?token"); got.Status != http.StatusOK || got.Body == token {
					t.Errorf("after the outage: status %d, the same token: %t", got.Status, got.Body == token)
				}
			})
		})
	}
}

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
				synctest.Test(t, func(t *testing.T) {
					o := testsite.NewOffice(t)
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
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t)
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
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t)
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		people := make([]*testsite.Visitor, 12)
		for i := range people {
			people[i] = o.SignInNew()
		}
		time.Sleep(time.Hour)
		o.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 429, Header: http.Header{"Retry-After": {"1800"}}}
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
			synctest.Test(t, func(t *testing.T) {
				o := testsite.NewOffice(t)
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

// A real fault of the app is noticed, though all its people are of few tenants.
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

// The provider is spared though few people have many sessions.
func TestOutageWithManySessionsOfFewPeople(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t)
		o.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		var all []*testsite.Visitor
		for _, person := range []string{msauthtest.Ada, msauthtest.Bruno, msauthtest.Mia} {
			o.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = person })
			for range 40 {
				all = append(all, o.SignIn())
			}
		}
		time.Sleep(time.Hour)
		o.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		o.MS.ResetCalls()
		for range 60 {
			for _, v := range all {
				v.Get("/")
			}
			time.Sleep(time.Second)
		}
		if n := o.MS.Count(msauthtest.TokenRefresh); n > 3*(12+3) {
			t.Errorf("%d calls in a minute for three people", n)
		}
		o.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		time.Sleep(10 * time.Second)
		for i, v := range all {
			if got := v.Get("/?token"); got.Status != http.StatusOK {
				t.Fatalf("session %d: status %d, %s", i, got.Status, got.Body)
			}
		}
	})
}

// A log may ask about what it is told of.
func TestLogThatAsksReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t)
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

// Whoever's probe has failed leaves the next to others, and tells them nothing.
func TestStrangerCannotTakeEveryProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t)
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
