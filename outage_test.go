package msauth_test

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
		o := newOffice(t, func(c *msauth.Config) {
			line.base = c.HTTPClient.Transport
			c.HTTPClient = &http.Client{Transport: &line}
		})
		o.ms.Set(func(b *msauthtest.Behavior) {
			b.AccessTokenLifetime = 5 * time.Minute
			b.Rotation = msauthtest.RotateStrict
			// Opaque access tokens and no ID token at renewals spare the test
			// some ten thousand signatures.
			b.OmitIDTokenOnRefresh = true
		})
		// So many that by the end most have not failed with a probe: whoever has
		// leaves the next one to others for a while.
		visitors := max(crowd, 300)
		people := make([]*visitor, visitors)
		for i := range people {
			name := fmt.Sprintf("mia%d@outlook.example", i)
			o.ms.SetUser(msauthtest.User{SignInName: name, Name: "Mia Müller", TenantID: msauthtest.TenantPersonal})
			o.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = name })
			people[i] = o.signIn()
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
				o.ms.Set(func(b *msauthtest.Behavior) {
					b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 500, Body: "<h1>Our services aren't available right now</h1>"}
				})
			}},
			{"accepts and stays silent", func() {
				o.ms.Set(func(b *msauthtest.Behavior) {
					b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Hang: true}
				})
			}},
		} {
			// Everybody has a token with most of its life before it.
			o.ms.ResetCalls()
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
						got := v.fetch("/")
						if got.status != http.StatusOK || got.body != "hello Mia Müller" || got.clearsSession() {
							t.Errorf("%s, after %v: person %d got status %d, page %.60q", outage.name, time.Since(began), i, got.status, got.body)
							return
						}
						if !asked.Before(end) && got.setsSession() {
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
					now := o.ms.Count(msauthtest.TokenRefresh) + int(line.refused.Load())
					perMinute[minute], last = now-last, now
				}
				line.failure.Store(nil)
				o.ms.Set(func(b *msauthtest.Behavior) { delete(b.FailAlways, msauthtest.TokenRefresh) })
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
			for _, call := range o.ms.Calls(msauthtest.TokenRefresh) {
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
			if calls := o.ms.Count(msauthtest.Authorize); calls != 0 {
				t.Errorf("%s: %d people were sent to sign in", outage.name, calls)
			}
		}
		stats := o.auth.Stats()
		if stats.SessionsEnded != 0 || stats.Paused || stats.RenewalsFailed[msauth.ClassRetry] == 0 {
			t.Errorf("stats %+v", stats)
		}
		for _, event := range []string{"event=renewal_pause", "event=renewal_resume"} {
			if got := strings.Count(o.log.String(), event); got != 3 {
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
				o := newOffice(t)
				o.ms.Set(func(b *msauthtest.Behavior) {
					b.AccessTokenLifetime = time.Hour
					b.FailAlways[msauthtest.TokenRefresh] = c.failure
				})
				v := o.signIn()
				token := v.get("/?token").body
				time.Sleep(58 * time.Minute)
				if got := v.get("/?token"); got.status != http.StatusOK || got.body != token || len(got.header["Set-Cookie"]) > 0 {
					t.Errorf("before expiry: status %d, the same token: %t, cookies %q", got.status, got.body == token, got.header["Set-Cookie"])
				}
				time.Sleep(10 * time.Minute)
				v.wantHello("after expiry")
				if got := v.fetch("/"); got.status != http.StatusOK {
					t.Errorf("a script after expiry: status %d", got.status)
				}
				if got := v.get("/?token"); got.status != http.StatusBadGateway || !strings.Contains(got.body, "retry") {
					t.Errorf("Token after expiry: status %d, %q, want an error of class retry", got.status, got.body)
				}
				o.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
				time.Sleep(26 * time.Second)
				if got := v.get("/?token"); got.status != http.StatusOK || got.body == token {
					t.Errorf("after the outage: status %d, the same token: %t", got.status, got.body == token)
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
					o := newOffice(t)
					o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
					v, other := o.signIn(), o.signIn()
					time.Sleep(time.Hour)
					header := http.Header{}
					if value := c.value(); value != "" {
						header.Set("Retry-After", value)
					}
					o.ms.Set(func(b *msauthtest.Behavior) {
						b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Status: status, Header: header}}
					})
					asked := time.Now()
					v.wantHello("throttled")
					o.wantCalls(msauthtest.TokenRefresh, 1)
					for time.Since(asked) < c.quiet-c.quiet/10 {
						v.wantHello("meanwhile")
						if got := v.get("/?token"); got.status != http.StatusBadGateway {
							t.Fatalf("Token while throttled: status %d", got.status)
						}
						time.Sleep(c.quiet / 20)
					}
					if calls := o.ms.Count(msauthtest.TokenRefresh); calls > 1 && time.Since(asked) < c.quiet {
						t.Fatalf("%d calls in the first %v, want 1", calls, time.Since(asked))
					}
					other.wantHello("the other person") // is not bound
					if calls := o.ms.Count(msauthtest.TokenRefresh); calls != 2 {
						t.Errorf("%d calls, want that of the other person too", calls)
					}
					time.Sleep(c.within - time.Since(asked) + time.Second)
					v.wantHello("when it is over")
					o.wantCalls(msauthtest.TokenRefresh, 3)
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
		o := newOffice(t)
		o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		v := o.signIn()
		time.Sleep(time.Hour)
		o.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		for range 2000 {
			v.fetch("/")
			time.Sleep(100 * time.Millisecond)
		}
		gaps := map[time.Duration]int{}
		calls := o.ms.Calls(msauthtest.TokenRefresh)
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
		o := newOffice(t)
		o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		people := make([]*visitor, 12)
		for i := range people {
			people[i] = o.signInNew()
		}
		time.Sleep(time.Hour)
		o.ms.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 429, Header: http.Header{"Retry-After": {"1800"}}}
		})
		for _, v := range people[:5] {
			v.wantHello("throttled")
		}
		o.wantCalls(msauthtest.TokenRefresh, 5)
		if !o.auth.Stats().Paused {
			t.Error("not paused after five failures of five people")
		}
		for range 59 {
			time.Sleep(time.Second)
			people[5+rand.N(7)].wantHello("during the pause")
		}
		o.wantCalls(msauthtest.TokenRefresh, 5)
		o.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		time.Sleep(2 * time.Second)
		for _, v := range people[5:] {
			v.wantHello("after a minute")
		}
		o.wantCalls(msauthtest.TokenRefresh, 12)
		for _, v := range people[:5] {
			v.wantHello("still bound by their own half hour")
		}
		o.wantCalls(msauthtest.TokenRefresh, 12)
		time.Sleep(30 * time.Minute)
		for _, v := range people[:5] {
			v.wantHello("after half an hour")
		}
		o.wantCalls(msauthtest.TokenRefresh, 17)
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
				o := newOffice(t)
				o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				other := o.signInNew()
				strangers := make([]*visitor, 20)
				for i := range strangers {
					strangers[i] = o.signIn()
				}
				time.Sleep(time.Hour)
				o.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = failure })
				for _, v := range strangers {
					v.wantHello("with a token that cannot be renewed")
				}
				o.wantCalls(msauthtest.TokenRefresh, 3) // however many sessions the stranger has
				if o.auth.Stats().Paused {
					t.Error("paused because of one person")
				}
				if err := o.auth.Ready(t.Context()); err != nil {
					t.Errorf("not ready because of one person: %v", err)
				}
				o.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
				other.wantHello("the other")
				if got := other.get("/?token"); got.status != http.StatusOK {
					t.Errorf("somebody else's token: status %d, %s", got.status, got.body)
				}
				o.wantCalls(msauthtest.TokenRefresh, 4)
				time.Sleep(11 * time.Second)
				if failure.Header == nil {
					strangers[19].get("/")
					if got := strangers[19].get("/?token"); got.status != http.StatusOK {
						t.Errorf("the stranger's own token, later: status %d, %s", got.status, got.body)
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
				o := newOffice(t, func(c *msauth.Config) { c.Tenant, c.AllowedTenants = "common", allowed })
				o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				var people []*visitor
				for range 20 {
					people = append(people, o.signInNew())
				}
				if len(allowed) > 1 {
					o.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Mia })
					people = append(people, o.signIn())
				}
				time.Sleep(time.Hour)
				o.ms.Set(func(b *msauthtest.Behavior) {
					b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Error: "invalid_resource", Codes: []int{500011}}
				})
				o.ms.ResetCalls()
				for range 60 {
					for _, v := range people {
						v.get("/")
					}
					time.Sleep(time.Second)
				}
				if n := o.ms.Count(msauthtest.TokenRefresh); n > 12+len(people) {
					t.Errorf("%d calls in a minute", n)
				}
				if err := o.auth.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "invalid_resource") {
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
		o := newOffice(t)
		o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		people := make([]*visitor, 5)
		for i := range people {
			people[i] = o.signInNew()
		}
		time.Sleep(time.Hour)
		o.ms.Set(func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.TokenRefresh] = append(slices.Repeat([]msauthtest.Failure{{Status: 500}}, 4), msauthtest.Failure{Error: "invalid_resource"})
		})
		for _, v := range people {
			v.wantHello("failing")
		}
		if err := o.auth.Ready(t.Context()); err != nil || !o.auth.Stats().Paused {
			t.Errorf("paused %v, Ready returns %v", o.auth.Stats().Paused, err)
		}
	})
}

// The provider is spared though few people have many sessions.
func TestOutageWithManySessionsOfFewPeople(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		var all []*visitor
		for _, person := range []string{msauthtest.Ada, msauthtest.Bruno, msauthtest.Mia} {
			o.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = person })
			for range 40 {
				all = append(all, o.signIn())
			}
		}
		time.Sleep(time.Hour)
		o.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		o.ms.ResetCalls()
		for range 60 {
			for _, v := range all {
				v.get("/")
			}
			time.Sleep(time.Second)
		}
		if n := o.ms.Count(msauthtest.TokenRefresh); n > 3*(12+3) {
			t.Errorf("%d calls in a minute for three people", n)
		}
		o.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		time.Sleep(10 * time.Second)
		for i, v := range all {
			if got := v.get("/?token"); got.status != http.StatusOK {
				t.Fatalf("session %d: status %d, %s", i, got.status, got.body)
			}
		}
	})
}

// A log may ask about what it is told of.
func TestLogThatAsksReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		asked := 0
		o.cfg.Logger = slog.New(curious{slog.DiscardHandler, func() {
			asked++
			o.auth.Ready(context.Background())
			o.auth.Stats()
		}})
		o.auth, o.handler = o.open()
		o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		people := make([]*visitor, 6)
		for i := range people {
			people[i] = o.signInNew()
		}
		time.Sleep(time.Hour)
		o.ms.Set(func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.TokenRefresh] = slices.Repeat([]msauthtest.Failure{{Error: "invalid_client"}}, 5)
		})
		for _, v := range people[:5] {
			v.wantHello("failing")
		}
		time.Sleep(11 * time.Second)
		people[5].wantHello("after it")
		if asked < 8 || o.auth.Stats().Paused {
			t.Errorf("asked %d times, paused %v", asked, o.auth.Stats().Paused)
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
		o := newOffice(t)
		o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		strangers := make([]*visitor, 8)
		for i := range strangers {
			strangers[i] = o.signInNew()
		}
		victim := o.signInNew()
		time.Sleep(time.Hour)
		fail := func(on bool) {
			o.ms.Set(func(b *msauthtest.Behavior) {
				clear(b.FailAlways)
				if on {
					b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 500, Body: "<p>of a stranger</p>"}
				}
			})
		}
		fail(true)
		for _, v := range strangers[:5] {
			v.wantHello("failing")
		}
		if !o.auth.Stats().Paused {
			t.Fatal("not paused after five people's failures")
		}
		if got := victim.get("/?token").body; !strings.Contains(got, "paused") || strings.Contains(got, "stranger") {
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
				v.get("/")
			}
			fail(false)
			if time.Since(began).Milliseconds()%1000 == 0 {
				got = victim.get("/?token").status
			}
			time.Sleep(100 * time.Millisecond)
		}
		if o.auth.Stats().Paused {
			t.Error("still paused")
		}
	})
}

// A sign-in has a person waiting: it is tried whatever happened to renewals,
// and its success ends the pause.
func TestSignInIsNotPaused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		people := make([]*visitor, 6)
		for i := range people {
			people[i] = o.signInNew()
		}
		time.Sleep(time.Hour)
		o.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 500} })
		for _, v := range people[:5] {
			v.wantHello("during the outage")
		}
		if !o.auth.Stats().Paused {
			t.Fatal("not paused")
		}
		o.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		o.signIn().wantHello("signed in meanwhile")
		if o.auth.Stats().Paused {
			t.Error("still paused after a sign-in that worked")
		}
		for _, v := range people {
			v.wantHello("afterwards")
		}
		o.wantCalls(msauthtest.TokenRefresh, 5+6)
	})
}

// The app's secret expires: an operator must act, nobody else is to notice
// more than must be.
func TestExpiredClientSecretSignsNobodyOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const minutes = 30
		o := newOffice(t)
		o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 10 * time.Minute })
		people := make([]*visitor, 50)
		for i := range people {
			people[i] = o.signIn()
		}
		if err := o.auth.Ready(context.Background()); err != nil {
			t.Fatal(err)
		}
		o.ms.ResetCalls()
		o.ms.Set(func(b *msauthtest.Behavior) { b.SecretExpired = true })
		began := time.Now()
		var wg sync.WaitGroup
		for i, v := range people {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 200 * time.Millisecond)
				for time.Since(began) < minutes*time.Minute {
					if got := v.get("/"); got.status != http.StatusOK || got.clearsSession() {
						t.Errorf("after %v: status %d", time.Since(began), got.status)
						return
					}
					time.Sleep(10 * time.Second)
				}
			})
		}
		wg.Wait()
		calls := o.ms.Count(msauthtest.TokenRefresh)
		if most := minutes*12 + 32; calls == 0 || calls > most {
			t.Errorf("%d calls in %d minutes, want at most %d", calls, minutes, most)
		}
		errorsLogged := strings.Count(o.log.String(), "level=ERROR")
		if errorsLogged == 0 || errorsLogged > minutes {
			t.Errorf("%d error-level lines in %d minutes, want one a minute at most", errorsLogged, minutes)
		}
		if !strings.Contains(o.log.String(), "event=app_misconfigured") || !strings.Contains(o.log.String(), "7000222") {
			t.Errorf("no event names AADSTS7000222; log:\n%.2000s", o.log)
		}
		err := o.auth.Ready(context.Background())
		if failure, ok := errors.AsType[*msauth.AuthError](err); !ok || failure.Class != msauth.ClassMisconfigured {
			t.Errorf("Ready returns %v, want class %q", err, msauth.ClassMisconfigured)
		}
		if got := people[0].get("/?token"); got.status != http.StatusBadGateway || !strings.Contains(got.body, "invalid_client") {
			t.Errorf("Token: status %d, %q, want the cause", got.status, got.body)
		}

		o.ms.Set(func(b *msauthtest.Behavior) { b.SecretExpired = false })
		time.Sleep(10 * time.Second)
		for _, v := range people {
			v.wantHello("with a new secret")
		}
		for i, v := range people {
			if got := v.get("/?token"); got.status != http.StatusOK {
				t.Errorf("person %d: status %d after the secret was replaced", i, got.status)
			}
		}
		if err := o.auth.Ready(context.Background()); err != nil {
			t.Errorf("Ready returns %v with a new secret", err)
		}
		if stats := o.auth.Stats(); stats.RenewalsFailed[msauth.ClassMisconfigured] == 0 || stats.SessionsEnded != 0 {
			t.Errorf("stats %+v", stats)
		}
	})
}

// What an operator's dashboards are built on.
func TestEventsHaveStableNamesAndAttributes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		seen := &eventLog{attrs: map[string]map[string]bool{}}
		o.cfg.Logger = slog.New(seen)
		o.auth, o.handler = o.open()
		o.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })

		people := make([]*visitor, 6)
		for i := range people {
			people[i] = o.signInNew()
		}
		o.visitor().get("/auth/callback?code=x&state=y")
		time.Sleep(time.Hour)
		people[0].wantHello("renewed")
		o.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503} })
		for _, v := range people[1:] {
			v.wantHello("in an outage")
		}
		time.Sleep(11 * time.Second)
		o.ms.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		people[1].wantHello("after it")
		o.ms.Set(func(b *msauthtest.Behavior) { b.SecretExpired = true })
		people[2].wantHello("with an expired secret")
		o.ms.Set(func(b *msauthtest.Behavior) { b.SecretExpired = false })
		o.ms.Revoke("ada4@contoso.example") // people[3]
		for range 5 {                       // one event, however often the cookie comes back
			people[3].fetch("/")
		}
		people[0].do(http.MethodPost, "/auth/logout", "Origin", officeURL, "Sec-Fetch-Site", "same-origin")

		for event, attrs := range map[string][]string{
			"sign_in":           {"user"},
			"sign_in_refused":   {"page", "id", "err"},
			"sign_out":          {"user"},
			"session_ended":     {"user", "err"},
			"renewal":           {"user", "reason", "duration", "outcome", "err"},
			"renewal_pause":     {"err"},
			"renewal_resume":    {},
			"app_misconfigured": {"err", "aadsts", "trace_id", "correlation_id"},
		} {
			for _, attr := range attrs {
				if !seen.attrs[event][attr] {
					t.Errorf("event %s has no attribute %s; it has %v", event, attr, seen.attrs[event])
				}
			}
			if seen.attrs[event] == nil {
				t.Errorf("no event %s", event)
			}
		}
		stats := o.auth.Stats()
		want := msauth.Stats{SignIns: 6, SignOuts: 1, SignInsRefused: 1, SessionsEnded: 1, Renewals: 2}
		if stats.SignIns != want.SignIns || stats.SignOuts != want.SignOuts || stats.SignInsRefused != want.SignInsRefused ||
			stats.SessionsEnded != want.SessionsEnded || stats.Renewals != want.Renewals ||
			stats.RenewalsFailed[msauth.ClassRetry] != 5 || stats.RenewalsFailed[msauth.ClassMisconfigured] != 1 || stats.RenewalsFailed[msauth.ClassSignIn] != 1 {
			t.Errorf("stats %+v", stats)
		}
		stats.RenewalsFailed[msauth.ClassRetry] = 99
		if o.auth.Stats().RenewalsFailed[msauth.ClassRetry] == 99 {
			t.Error("a change to what Stats returned changes the counts")
		}
	})
}

// eventLog notes which attributes came with each event.
type eventLog struct {
	mu    sync.Mutex
	attrs map[string]map[string]bool
}

func (l *eventLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *eventLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *eventLog) WithGroup(string) slog.Handler            { return l }
func (l *eventLog) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	names, event := map[string]bool{}, ""
	r.Attrs(func(a slog.Attr) bool {
		names[a.Key] = true
		if a.Key == "event" {
			event = a.Value.String()
		}
		return true
	})
	if event != "" {
		if l.attrs[event] == nil {
			l.attrs[event] = map[string]bool{}
		}
		for name := range names {
			l.attrs[event][name] = true
		}
	}
	return nil
}
