package renew

import (
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
)

// A lease holds for as long as one lasts, by the clock of who sees it: neither a
// process that died nor a clock that is wrong holds anybody up for longer.
func TestLeases(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		left time.Duration // until the lease ends, by its own clock
		want time.Duration // how long one waits at most
	}{
		{"fresh", leaseTime, leaseTime},
		{"of a clock that is behind", -time.Minute, leaseTime},
		{"of a clock that is ahead", leaseTime + time.Minute, leaseTime},
		{"long ago", -provider.FutureLeeway - time.Second, 0},
		{"too far ahead", leaseTime + provider.FutureLeeway + time.Second, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := StoredTokens{Version: 1, Lease: time.Now().Add(test.left)}
				began := time.Now()
				var wait leaseWait
				for {
					waited, err := wait.wait(t.Context(), e)
					if err != nil {
						t.Fatal(err)
					}
					if !waited {
						break
					}
				}
				if took := time.Since(began); took < test.want || took > test.want+longestPoll*3/2 {
					t.Errorf("waited %v, want %v", took, test.want)
				}
			})
		})
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		if waited, err := new(leaseWait).wait(t.Context(), StoredTokens{Version: 1}); waited || err != nil {
			t.Error(waited, err)
		}
	})
}

// Whoever waits long for a slot takes the lease once more: when the request is made
// there is time for the answer and for saving it.
func TestALeaseIsFreshWhenTheRequestIsMade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, store := &fakeProvider{}, &memoryStore{}
		r, _, want := stored(t, p, store)
		p.answer(func(n int, _ url.Values) (int, string) {
			e, err := store.Load(t.Context(), r.Vault.Prefix+"7")
			if left := time.Until(e.Lease); err != nil || left < leaseLeft {
				t.Errorf("%v is left of the lease, want %v (%v)", left, leaseLeft, err)
			}
			return 200, tokens(n)
		})
		for range maxFlights {
			r.slots <- struct{}{}
		}
		time.AfterFunc(leaseTime-leaseLeft+time.Second, func() { <-r.slots })
		if g, err := r.Renew(t.Context(), want); err != nil || g.Access != "A1" {
			t.Errorf("%v, %v", g, err)
		}
	})
}
