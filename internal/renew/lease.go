package renew

import (
	"context"
	"math/rand/v2"
	"time"

	"example.com/msauth/internal/provider"
)

const (
	// leaseTime is how long one process has to renew a user's tokens before
	// others try. leaseLeft of it must be left before a token request, which then
	// has the time to be answered (provider.TokenTimeout) and saved (saveAttempts,
	// each with a look at what is there).
	leaseTime = 2 * time.Minute
	leaseLeft = leaseTime * 3 / 4
	// leasePoll is when those who wait for a lease look first; then it takes twice
	// as long each time, up to longestPoll.
	leasePoll   = 10 * time.Millisecond
	longestPoll = 500 * time.Millisecond
)

// A leaseWait is the wait for another process that renews a user's tokens: only
// that one may save the entry.
type leaseWait struct {
	version int64     // of the entry that was seen
	since   time.Time // when it was first seen
	looked  int
}

// wait waits a moment if another process holds a lease, and reports whether it
// did. It trusts its own clock more than theirs: a lease is over when it has been
// seen for as long as one lasts, and one that is too far from now, for all that
// clocks may differ, is none.
func (l *leaseWait) wait(ctx context.Context, e StoredTokens) (waited bool, err error) {
	left := time.Until(e.Lease)
	if e.Lease.IsZero() || left < -provider.FutureLeeway || left > leaseTime+provider.FutureLeeway {
		return false, nil
	}
	if l.version != e.Version {
		l.version, l.since = e.Version, time.Now()
	} else if time.Since(l.since) >= leaseTime {
		return false, nil
	}
	return true, l.pause(ctx)
}

// pause waits longer each time.
func (l *leaseWait) pause(ctx context.Context) error {
	poll := min(leasePoll<<min(l.looked, 10), longestPoll)
	l.looked++
	timer := time.NewTimer(poll/2 + rand.N(poll)) // #nosec G404 -- jitter, no secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lease takes an entry for this process.
func (v *Vault) lease(ctx context.Context, user string, e *Entry) error {
	e.Lease = time.Now().Add(leaseTime).Round(0) // by the wall clock: the machine may sleep meanwhile
	return v.save(ctx, user, e)
}

// takeSlot waits for a slot, which the caller gives back. A lease that has grown
// old meanwhile is taken once more.
func (r *Renewals) takeSlot(ctx context.Context, user string, e *Entry) error {
	for {
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if time.Until(e.Lease) >= leaseLeft {
			return nil
		}
		<-r.slots
		if err := r.Vault.lease(ctx, user, e); err != nil {
			return err
		}
	}
}
