package renew

import (
	"math/rand/v2"
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

// A Refusal is why asking once more is of no use for now.
type Refusal struct {
	err   *provider.Failure
	until time.Time // when to ask again
	// failures is how often in a row asking failed without the provider naming a
	// time to wait; 0 where it named one. Such a refusal no longer holds once
	// renewals have resumed after a pause, which recoveries tells.
	failures   int
	recoveries uint64
}

// RefusalIn returns why asking for what key stands for is of no use for now, nil
// if that is not known. refused is where the caller keeps its refusals.
func (r *Renewals) RefusalIn(refused *ttl.Map[Key, Refusal], key Key) *provider.Failure {
	last, ok := refused.Get(key)
	if !ok || !time.Now().Before(last.until) || last.failures > 0 && last.recoveries != r.breaker.recoveries.Load() {
		return nil
	}
	return last.err
}

// RefuseIn remembers why asking for what key stands for is of no use for now:
// for as long as grace, a second at least, or, where grace is 0, for longer after
// each failure in a row (1 s, 2 s, up to 10 s).
func (r *Renewals) RefuseIn(refused *ttl.Map[Key, Refusal], key Key, err *provider.Failure, grace time.Duration) {
	now := time.Now()
	next := Refusal{err: err, until: now.Add(max(grace, time.Second))}
	keep := next.until
	if grace == 0 {
		next.failures, next.recoveries = 1, r.breaker.recoveries.Load()
		if last, ok := refused.Get(key); ok && last.failures > 0 && last.recoveries == next.recoveries {
			next.failures += last.failures
		}
		next.until = now.Add(backOff(next.failures))
		keep = next.until.Add(outcomeGrace) // or the next failure would be the first again
	}
	refused.Put(key, next, keep)
}

// refusal is RefusalIn for a refresh token or a token request.
func (r *Renewals) refusal(key Key) *provider.Failure { return r.RefusalIn(r.outcomes.refused, key) }

// refuse is RefuseIn for a refresh token or a token request.
func (r *Renewals) refuse(key Key, err *provider.Failure, grace time.Duration) {
	r.RefuseIn(r.outcomes.refused, key, err, grace)
}

// backOff returns how long to wait after so many failures in a row: a second
// after the first, which may have been one lost packet, then twice as long each
// time, up to 10 seconds; and up to a fifth less, so that people do not come back
// all at once.
func backOff(failures int) time.Duration {
	step := min(time.Second<<min(failures-1, 10), longestBackOff)
	return step - rand.N(step/5) // #nosec G404 -- jitter, no secret
}
