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
