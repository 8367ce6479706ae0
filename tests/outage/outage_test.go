package outage_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
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
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		var line downtime
		o := testsite.NewOffice(t, at.Change, func(c *msauth.Config) {
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
		outages := []struct {
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
		}
		if at.Live() {
			outages = outages[2:] // the hardest: each takes seconds
		}
		for _, outage := range outages {
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
			if got := strings.Count(o.Log.String(), event); got != len(outages) {
				t.Errorf("%d log lines with %s, want %d", got, event, len(outages))
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
			testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
				o := testsite.NewOffice(t, at.Change)
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

// The provider is spared though few people have many sessions.
func TestOutageWithManySessionsOfFewPeople(t *testing.T) {
	t.Parallel()
	testsite.AtEach(t, func(t *testing.T, at testsite.Service) {
		o := testsite.NewOffice(t, at.Change)
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
