package shared_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A backend that is emptied again before it has been filled is filled all the same.
func TestABackendThatIsEmptiedTwice(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{1200 * time.Millisecond, 4 * time.Second} {
		with(t, 2, func(t *testing.T, r *replicas) {
			out := r.SignIn()
			signOut(t, out.Copy())
			time.Sleep(time.Second)
			r.shared.lose()
			time.Sleep(pause)
			r.shared.lose()
			time.Sleep(20 * time.Second)
			r.restart()
			r.wantOn("signed out", out, testsite.HelloNobody)
		})
	}
}

// Whoever signs out again and again with one cookie writes one entry, and with a
// cookie whose time is over none.
func TestSigningOutAgainWritesNothing(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		v := r.SignIn()
		for i := range 10 {
			signOut(t, v.Copy().At(r.pages[i%2]))
			time.Sleep(time.Second)
		}
		r.shared.mu.Lock()
		defer r.shared.mu.Unlock()
		if n := len(r.shared.appends); n != 1 {
			t.Errorf("%d entries", n)
		}
	})
}

// Anybody who knows a sid writes nothing by sending it again.
func TestASIDThatIsSentAgainWritesNothing(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		r.MS.Set(testsite.Claim("sid", "f00d"))
		r.SignIn()
		n := func() int64 {
			return r.shared.counted(func() {
				for range 10 {
					r.Visitor().At(r.pages[1]).Get("/auth/front-channel-logout?sid=f00d", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "cross-site")
				}
			})
		}
		n()
		before := len(r.shared.appends)
		n()
		if after := len(r.shared.appends); after != before || after > 2 {
			t.Errorf("%d entries, then %d", before, after)
		}
	})
}

// During a long outage a person whom the provider has revoked gets no second time of
// doubt.
func TestDoubtDoesNotBeginAgain(t *testing.T) {
	t.Parallel()
	with(t, 1, func(t *testing.T, r *replicas) {
		v := r.SignIn()
		time.Sleep(testsite.AfterExpiry)
		r.MS.Revoke(msauthtest.Ada)
		r.shared.down.Store(true)
		time.Sleep(2 * time.Second)
		began := time.Now()
		for time.Since(began) < 2*time.Hour {
			if got := v.Copy().Get("/"); got.Body == testsite.HelloAda && time.Since(began) > 6*time.Minute {
				t.Fatalf("still in after %v", time.Since(began))
			}
			time.Sleep(20 * time.Second)
		}
	})
}

// An answer of the backend that is lost does not end a session at a provider that
// takes each refresh token once.
func TestALostAnswerEndsNoSession(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		strict(r)
		v := r.SignIn()
		old := v.Copy()
		time.Sleep(testsite.AfterExpiry)
		r.shared.lost.Store(1)
		if got := v.Get("/"); got.Body != testsite.HelloAda || !got.SetsSession() {
			t.Fatalf("status %d, %.80q, new cookie %t", got.Status, got.Body, got.SetsSession())
		}
		old.At(r.pages[1]).Get("/") // at the same time, another page
		time.Sleep(time.Minute)
		r.wantOn("the session", v, testsite.HelloAda)
	})
}

// Entries that cannot be read do not hold up those that can.
func TestUnreadableEntriesDelayNothing(t *testing.T) {
	t.Parallel()
	with(t, 1, func(t *testing.T, r *replicas) {
		v, w := r.SignIn(), r.SignIn()
		signOut(t, v.Copy())
		time.Sleep(time.Second)
		genuine := r.shared.appends[0]
		for range 100 {
			bad := append([]byte(nil), genuine.entry...)
			bad[3] ^= 1
			if _, err := r.shared.shared().Append(t.Context(), genuine.log, bad, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		i := r.open()
		time.Sleep(2 * time.Second)
		signOut(t, w.Copy().At(r.pages[0]))
		time.Sleep(5 * time.Second)
		if got := w.Copy().At(r.pages[i]).Get("/public/"); got.Body != testsite.HelloNobody {
			t.Errorf("%q", got.Body)
		}
	}, func(c *msauth.Config) {
		f := testsite.NewKeyFile(t, testsite.NewKey())
		f.Use(c)
	})
}

// Sessions ends also where the backend repeats itself.
func TestAListThatRepeatsItself(t *testing.T) {
	t.Parallel()
	with(t, 1, func(t *testing.T, r *replicas) {
		key := r.key(r.SignIn())
		r.shared.repeats.Store(true)
		list, err := r.auths[0].Sessions(t.Context(), key)
		if err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
	})
}

// Close can be called once more, after requests too.
func TestCloseTwice(t *testing.T) {
	t.Parallel()
	with(t, 1, func(t *testing.T, r *replicas) {
		v := r.SignIn()
		time.Sleep(testsite.AfterExpiry)
		if err := r.auths[0].Close(t.Context()); err != nil {
			t.Error(err)
		}
		v.WantHello("after Close")
		began := time.Now()
		if err := r.auths[0].Close(t.Context()); err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		r.shared.down.Store(true)
		signOut(t, v)
		if err := r.auths[0].Close(t.Context()); err == nil || time.Since(began) > 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// After the log of an account has begun anew, at lesser positions, SignOutUser ends
// what began before, and not what began after it.
func TestSignOutUserAfterALoss(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		for range 5 {
			r.SignIn()
		}
		before := r.SignIn()
		key := r.key(before)
		time.Sleep(time.Minute)
		r.shared.lose()
		time.Sleep(10 * time.Second)
		if err := r.auths[0].SignOutUser(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.wantOn("before", before, testsite.HelloNobody)
	})
}

// Whoever signs in after SignOutUser is in, also if the log has begun anew in between.
func TestSignOutUserBeforeAndAfterALoss(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		for range 5 {
			r.SignIn()
		}
		key := r.key(r.SignIn())
		if err := r.auths[0].SignOutUser(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		r.shared.lose()
		time.Sleep(time.Minute)
		r.wantOn("a minute after the loss", r.SignIn(), testsite.HelloAda)
		time.Sleep(30 * time.Minute)
		before := r.SignIn()
		time.Sleep(30 * time.Minute)
		if err := r.auths[0].SignOutUser(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		v := r.SignIn()
		time.Sleep(2 * time.Second)
		r.wantOn("after", v, testsite.HelloAda)
		r.wantOn("before", before, testsite.HelloNobody)
	})
}

// Writes that fail while reads work are reported as one outage.
func TestAFullBackendIsOneOutage(t *testing.T) {
	t.Parallel()
	with(t, 1, func(t *testing.T, r *replicas) {
		r.shared.full.Store(true)
		for range 100 {
			r.SignIn()
			time.Sleep(6 * time.Second)
		}
		if lines := r.Log.With("event=degraded"); len(lines) != 1 {
			t.Errorf("%d log lines in 10 minutes", len(lines))
		}
		r.shared.full.Store(false)
		time.Sleep(5 * time.Second)
		if lines := r.Log.With("event=degraded"); len(lines) != 2 {
			t.Errorf("%d log lines in the end", len(lines))
		}
	})
}

// Tokens that are too large for the backend are no outage of it, and no loss: the others
// go on with the refresh token that followed.
func TestTokensThatAreTooLargeToShare(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		strict(r)
		v := r.SignIn()
		r.MS.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["access_token"] = strings.Repeat("Abc1.", 14000) }
		})
		time.Sleep(testsite.AfterExpiry)
		old := v.Copy()
		v.WantHello("renewed")
		time.Sleep(3 * time.Second)
		if lines := r.Log.With("event=degraded"); len(lines) > 0 {
			t.Errorf("%d lines: %.400q", len(lines), lines)
		}
		old.At(r.pages[1]).WantHello("elsewhere")
		time.Sleep(time.Minute)
		r.wantOn("at last", v, testsite.HelloAda)
	})
}

// Refusals of many do not keep those waiting who are not refused.
func TestManyRefusalsDelayNobody(t *testing.T) {
	t.Parallel()
	with(t, 1, func(t *testing.T, r *replicas) {
		other := r.SignInNew()
		var all []*testsite.Visitor
		for range 300 {
			all = append(all, r.SignIn())
		}
		time.Sleep(testsite.AfterExpiry)
		r.MS.Revoke(msauthtest.Ada)
		var wait sync.WaitGroup
		for _, v := range all {
			wait.Go(func() { v.Get("/") })
		}
		time.Sleep(time.Millisecond)
		began := time.Now()
		other.WantHello("somebody else")
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		wait.Wait()
		time.Sleep(time.Minute)
	})
}

// Sessions that began with Config.Shared work without it, and the other way round.
func TestSharedRemovedAndAdded(t *testing.T) {
	t.Parallel()
	with(t, 1, func(t *testing.T, r *replicas) {
		v := r.SignIn()
		key := r.key(v)
		r.Cfg.Shared = nil
		i := r.open()
		v.Copy().At(r.pages[i]).WantHello("without Shared")
		w := signInAt(t, r, i)
		r.wantOn("began without", w, testsite.HelloAda)
		time.Sleep(time.Minute)
		if err := r.auths[0].SignOutUser(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		for _, x := range []*testsite.Visitor{v, w} {
			if got := x.Copy().At(r.pages[0]).Get("/public/"); got.Body != testsite.HelloNobody {
				t.Errorf("%q", got.Body)
			}
		}
		if err := r.auths[i].SignOutUser(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		r.wantOn("out", v, testsite.HelloNobody)
	})
}

// Two processes with nothing but keys of their own do not fill the log by turns.
func TestProcessesWithOtherKeys(t *testing.T) {
	t.Parallel()
	with(t, 1, func(t *testing.T, r *replicas) {
		signOut(t, r.SignIn())
		keys := r.Cfg.Keys
		r.Cfg.Keys = [][]byte{testsite.NewKey()}
		i := r.open()
		r.Cfg.Keys = keys
		time.Sleep(time.Minute)
		signOut(t, signInAt(t, r, i))
		time.Sleep(10 * time.Minute)
		if n := len(r.Log.With("event=shared_lost")); n > 25 {
			t.Errorf("%d lines", n)
		}
	})
}
