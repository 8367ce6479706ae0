package shared_test

import (
	"testing"
	"time"

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
