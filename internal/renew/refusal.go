package renew

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/ttl"
)

const (
	// refusalGrace is how long a refused refresh token is not tried again.
	refusalGrace = 10 * time.Minute
	// longestBackOff is how long one that failed rests at most, where the provider
	// does not say.
	longestBackOff = 10 * time.Second
)

// Refusals remember why asking for something is of no use for now, by Key,
// MaxOutcomes of them at most. They are safe for concurrent use.
type Refusals struct {
	byKey      *ttl.Map[Key, refusal]
	recoveries *atomic.Uint64 // of the breaker
}

// A refusal is why asking once more is of no use for now.
type refusal struct {
	err   *provider.Failure
	until time.Time // when to ask again
	// failures is how often in a row asking failed without the provider naming a
	// time to wait; 0 where it named one. Such a refusal no longer holds once
	// renewals have resumed after a pause, which recoveries tells.
	failures   int
	recoveries uint64
}

// NewRefusals returns refusals for what a caller asks an API, apart from those of
// token requests. The end of a pause of renewals ends their back-offs too.
func (r *Renewals) NewRefusals() *Refusals { return newRefusals(r.breaker) }

func newRefusals(b *breaker) *Refusals {
	return &Refusals{byKey: ttl.New[Key, refusal](MaxOutcomes), recoveries: &b.recoveries}
}

// Find returns why asking for what key stands for is of no use for now, nil if
// that is not known.
func (r *Refusals) Find(key Key) *provider.Failure {
	last, ok := r.byKey.Get(key)
	if !ok || !time.Now().Before(last.until) || last.failures > 0 && last.recoveries != r.recoveries.Load() {
		return nil
	}
	return last.err
}

// Remember notes why asking for what key stands for is of no use for now: for as
// long as grace, a second at least, or, where grace is 0, for longer after each
// failure in a row (1 s, 2 s, up to 10 s).
func (r *Refusals) Remember(key Key, err *provider.Failure, grace time.Duration) {
	now := time.Now()
	next := refusal{err: err, until: now.Add(max(grace, time.Second))}
	keep := next.until
	if grace == 0 {
		next.failures, next.recoveries = 1, r.recoveries.Load()
		if last, ok := r.byKey.Get(key); ok && last.failures > 0 && last.recoveries == next.recoveries {
			next.failures += last.failures
		}
		next.until = now.Add(backOff(next.failures))
		keep = next.until.Add(outcomeGrace) // or the next failure would be the first again
	}
	r.byKey.Put(key, next, keep)
}

// Forget notes that asking was of use: the next failure is the first in a row.
func (r *Refusals) Forget(key Key) { r.byKey.Drop(key) }

// backOff returns how long to wait after so many failures in a row: a second
// after the first, which may have been one lost packet, then twice as long each
// time, up to 10 seconds; and up to a fifth less, so that people do not come back
// all at once.
func backOff(failures int) time.Duration {
	step := min(time.Second<<min(failures-1, 10), longestBackOff)
	return step - rand.N(step/5) // #nosec G404 -- jitter, no secret
}
