package renew

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
)

// of is a session of somebody in a tenant; the number tells people apart.
func of(n int, tenant string) *session.Record {
	return &session.Record{
		ID:   session.ID{byte(n), byte(n >> 8)},
		User: provider.Account{Issuer: issuer, Subject: fmt.Sprint(n), TenantID: tenant},
	}
}

var (
	down    = &provider.Failure{Class: provider.Retry, Err: errors.New("connection refused")}
	busy    = &provider.Failure{Class: provider.Retry, StatusCode: 429}
	failing = &provider.Failure{Class: provider.Retry, StatusCode: 503, Code: "temporarily_unavailable"}
	noAPI   = &provider.Failure{Class: provider.Misconfigured, StatusCode: 400, Code: "invalid_resource"}
	secret  = &provider.Failure{Class: provider.Misconfigured, StatusCode: 401, Code: "invalid_client"}
	removed = &provider.Failure{Class: provider.Misconfigured, StatusCode: 400, Code: "unauthorized_client"}
)

const many = 1 << 30 // as many tenants as there are

// No one person, and no one tenant, can stop everyone.
func TestWhoseFailuresPauseRenewals(t *testing.T) {
	t.Parallel()
	one := func(int) string { return "t" }
	each := func(n int) string { return fmt.Sprint("t", n) }
	personal := func(int) string { return provider.PersonalTenant }
	tests := []struct {
		name      string
		tenants   int
		oneTenant bool
		people    int // 1 fails many times
		tenant    func(n int) string
		err       *provider.Failure
		want      int // failures before the pause, 0 for no pause
	}{
		{"no connection, one person", many, false, 1, one, down, 0},
		{"no connection, people of one tenant", many, false, 50, one, down, 5},
		{"no connection, personal accounts", many, false, 50, personal, down, 5},
		{"status 429, one tenant", many, false, 50, one, busy, 5},
		{"status 429, personal accounts", many, false, 50, personal, busy, 0},
		{"OAuth error, one tenant of many", many, false, 50, one, failing, 0},
		{"OAuth error, personal accounts", many, false, 50, personal, failing, 0},
		{"OAuth error, many tenants", many, false, 50, each, failing, 5},
		{"OAuth error, both tenants of two", 2, false, 50, func(n int) string { return fmt.Sprint("t", n%2) }, failing, 2},
		{"OAuth error, one tenant of two", 2, false, 50, one, failing, 0},
		{"OAuth error, the app's own tenant", 0, true, 50, one, failing, 5},
		{"OAuth error, one person of the app's own tenant", 0, true, 1, one, failing, 0},
		{"the app's secret", many, false, 50, one, secret, 5},
		{"an API, one tenant of many", many, false, 50, one, noAPI, 0},
		{"the app was removed from a tenant", many, false, 50, each, removed, 0},
		{"the app was removed from its own tenant", 0, true, 50, one, removed, 5},
		{"refusals of people", many, false, 50, each, &provider.Failure{Class: provider.SignIn, Code: "invalid_grant"}, 0},
		{"replies that are of no use", many, false, 50, each, &provider.Failure{Class: provider.Retry, Err: unusableReply{errors.New("")}}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b, got := newBreaker(test.tenants, test.oneTenant), 0
			for n := range 50 {
				person := min(n, test.people-1)
				if b.failure(of(person, test.tenant(person)), test.err).paused {
					if got > 0 {
						t.Error("one pause begins twice")
					}
					got = n + 1
				}
			}
			if got != test.want {
				t.Errorf("a pause begins with failure %d, want %d", got, test.want)
			}
			if refused := b.admit("somebody else"); (refused != nil) != (test.want > 0) {
				t.Errorf("somebody else is told %v", refused)
			}
		})
	}
}

// paused is a breaker that five people have paused.
func paused(err *provider.Failure) *breaker {
	b := newBreaker(0, true)
	for n := range pauseAfter {
		b.failure(of(n, "t"), err)
	}
	return b
}

// While paused, one request in 5 to 10 seconds is made, of whoever comes.
func TestAPauseAdmitsOneProbeAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := paused(down)
		asked := 0
		for range 600 { // in a minute
			time.Sleep(100 * time.Millisecond)
			for n := range 3 {
				if b.wouldRefuse(fmt.Sprint("new", n)) == nil && b.admit(fmt.Sprint("new", n)) == nil {
					asked++
				}
			}
		}
		if asked < 5 || asked > 12 {
			t.Errorf("%d requests in a minute, want 5 to 12", asked)
		}
	})
}

// Whoever only looks does not use the probe up.
func TestWouldRefuseLeavesTheProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := paused(down)
		time.Sleep(10 * time.Second)
		for range 2 {
			if b.wouldRefuse("ada") != nil {
				t.Error("the probe is gone")
			}
		}
		if b.admit("ada") != nil {
			t.Error("the probe is gone")
		}
		if b.wouldRefuse("ada") == nil || b.admit("ada") == nil {
			t.Error("there are two probes")
		}
	})
}

// A person with whom a probe failed, and who may be the only one it fails with,
// leaves the next to others.
func TestWhoFailedLeavesTheProbeToOthers(t *testing.T) {
	t.Parallel()
	for _, others := range []bool{true, false} {
		t.Run(fmt.Sprint("others come: ", others), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := paused(down)
				failed := of(0, "t").User.Key()
				if others && b.admit("somebody else") == nil {
					t.Fatal("admitted at once")
				}
				time.Sleep(10*time.Second + time.Nanosecond) // the longest step
				wait := b.wouldRefuse(failed) != nil
				b.mu.Lock()
				early := time.Now().Before(b.pause.probeAt.Add(leaveToOthers))
				b.mu.Unlock()
				if want := others && early; wait != want {
					t.Errorf("has to wait: %t, want %t", wait, want)
				}
				if b.admit("somebody else") != nil {
					t.Error("others have to wait too")
				}
			})
		})
	}
}

// What the provider asks for prolongs a pause, by a minute at most.
func TestRetryAfterProlongsAPause(t *testing.T) {
	t.Parallel()
	for asked, want := range map[time.Duration]time.Duration{30 * time.Second: 30 * time.Second, time.Hour: longestPause} {
		t.Run(asked.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := paused(&provider.Failure{Class: provider.Retry, StatusCode: 503, RetryAfter: asked})
				time.Sleep(want - time.Second)
				if b.admit("ada") == nil {
					t.Errorf("admitted after %v", want-time.Second)
				}
				time.Sleep(2 * time.Second)
				if b.admit("ada") != nil {
					t.Errorf("not admitted after %v", want+time.Second)
				}
			})
		})
	}
}

// Any answer ends a pause, and refusals from before it are void.
func TestAnAnswerEndsAPause(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(*breaker) change
	}{
		{"a success", (*breaker).success},
		{"a refusal of one person", func(b *breaker) change {
			return b.failure(of(9, "t"), &provider.Failure{Class: provider.SignIn, Code: "invalid_grant"})
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := paused(down)
			if c := test.do(b); c != (change{resumed: true}) || b.recoveries.Load() != 1 {
				t.Errorf("%+v, %d recoveries", c, b.recoveries.Load())
			}
			for range 2 {
				if b.admit("ada") != nil {
					t.Error("renewals still pause")
				}
			}
			if c := test.do(b); c != (change{}) {
				t.Errorf("resumed twice: %+v", c)
			}
			if b.failure(of(9, "t"), down).paused {
				t.Error("failures from before still count")
			}
		})
	}
}

// What was said to one person is not for others to read: the class, the code and
// the numbers are all that they are told.
func TestAPauseTellsNobodyElsesTexts(t *testing.T) {
	t.Parallel()
	b := paused(&provider.Failure{Class: provider.Retry, Code: "temporarily_unavailable", Numbers: []int{90033}, Description: "ada@example.com", TraceID: "trace"})
	got := b.admit("bob")
	if got == nil || got.Class != provider.Retry || got.Code != "temporarily_unavailable" || len(got.Numbers) != 1 {
		t.Fatalf("%+v", got)
	}
	if got.Description != "" || got.TraceID != "" || !errors.Is(got, errPaused) {
		t.Errorf("%+v", got)
	}
}

// After three failures in a row a person's sessions wait, all of them, and nobody
// else's.
func TestAPersonsSessionsWaitTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(many, false)
		ada, bob := of(1, "t"), of(2, "t")
		for n := range longestStruggle {
			if b.admit(ada.User.Key()) != nil {
				t.Errorf("waits after %d failures", n)
			}
			b.failure(ada, down)
		}
		if b.admit(ada.User.Key()) == nil || b.wouldRefuse(ada.User.Key()) == nil {
			t.Errorf("asks after %d failures", longestStruggle)
		}
		if b.admit(bob.User.Key()) != nil {
			t.Error("somebody else waits too")
		}
		time.Sleep(4 * time.Second) // backOff(3) at most
		if b.admit(ada.User.Key()) != nil {
			t.Error("waits longer than backOff says")
		}
		b.failure(ada, down)
		b.forgive(ada.User.Key())
		if b.admit(ada.User.Key()) != nil {
			t.Error("waits after a success")
		}
	})
}

// The app's secret concerns no person.
func TestTheAppsSecretIsNobodysStruggle(t *testing.T) {
	t.Parallel()
	b := newBreaker(many, false)
	ada := of(1, "t")
	for range longestStruggle + 1 {
		b.failure(ada, secret)
	}
	if got := b.admit(ada.User.Key()); got != nil {
		t.Error(got)
	}
}

// Somebody else's success ends a pause, and not the wait of a person who still
// fails: their refusal has a class all the same.
func TestAPersonWhoWaitsAloneGetsARefusalOfAClass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(0, true)
		for range longestStruggle {
			b.failure(of(1, "t"), down)
		}
		b.answered()
		refused := b.admit(of(1, "t").User.Key())
		if refused == nil || refused.Class != provider.Retry {
			t.Errorf("refused with %+v, want class %q", refused, provider.Retry)
		}
	})
}
