package credential

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	provePatience = 5 * time.Second // for a device or a function to make a proof
	maxProving    = 32              // calls of them at one time, should they hang
	crowdPatience = 2 * time.Second // to wait while there are so many
)

// A candidate is a credential, and what the provider said of it.
type candidate struct {
	Credential
	before    bool          // it is what a file held before it changed
	proving   chan struct{} // limits calls of Prove
	suspected time.Time     // until when others are preferred; zero if nothing is suspected
	refused   error         // why the provider refused it, nil if it did not
	refusedAt time.Time     // when that was last known
	failed    error         // why no proof could be made, nil if one was
	retryAt   time.Time     // when refused or failed is tried again
	provedAt  time.Time     // when a proof was last made
	workedAt  time.Time     // when the last request that the provider accepted began
	warned    time.Time     // when it was last reported that it ends
	over      bool          // it was reported that it has ended
}

// name tells the versions of a file from each other. It needs the lock of the Ring.
func (c *candidate) name() string {
	if c.before {
		return c.Name() + ", as it was before it changed"
	}
	return c.Name()
}

func newCandidate(c Credential) *candidate {
	return &candidate{Credential: c, proving: make(chan struct{}, maxProving)}
}

// inTime reports whether the time of a credential has come and is not over.
func (c *candidate) inTime(now time.Time) bool {
	from, until := c.Valid()
	return !now.Before(from) && (until.IsZero() || now.Before(until))
}

// rank says how good a choice a candidate is; the lowest number is the best.
func (c *candidate) rank(now time.Time) int {
	switch {
	case !c.inTime(now):
		return outOfTime
	case c.failed != nil && now.Before(c.retryAt), c.refused != nil && now.Before(c.retryAt):
		return tooSoon
	case c.refused != nil:
		return retry
	case now.Before(c.suspected):
		return suspect
	}
	return good
}

const (
	good      = iota
	suspect   // refused in a request that may have been at fault itself
	retry     // refused, a while ago
	tooSoon   // refused, just now
	outOfTime // it has ended, or its time has not come
)

// errCrowd means that too many proofs were asked for at one time. Visitors can do that.
var errCrowd = errors.New("too many requests wait for a proof")

// prove calls Prove. Devices and functions of the app may panic, or hang: neither
// may stop a token request that has other credentials.
func (c *candidate) prove(ctx context.Context, to Recipient) (Proof, error) {
	full := time.NewTimer(crowdPatience)
	defer full.Stop()
	select {
	case c.proving <- struct{}{}:
	case <-full.C:
		return Proof{}, errCrowd
	case <-ctx.Done():
		return Proof{}, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, provePatience)
	defer cancel()
	type result struct {
		proof Proof
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- result{err: tokenless{fmt.Errorf("panic: %v", p)}}
			}
			<-c.proving
		}()
		proof, err := c.Prove(ctx, to)
		done <- result{proof, err}
	}()
	select {
	case r := <-done:
		return r.proof, r.err
	case <-ctx.Done():
		return Proof{}, fmt.Errorf("does not answer: %w", ctx.Err())
	}
}
