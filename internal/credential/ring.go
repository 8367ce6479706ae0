package credential

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// retryAfter is how long a refused credential is left alone.
const retryAfter = 1 * time.Minute

// A Verdict is what the answer to a token request says of the credential.
type Verdict int

const (
	// Unknown: the answer says nothing, or there was none.
	Unknown Verdict = iota
	// Accepted: the provider has accepted the credential.
	Accepted
	// Refused: the provider has refused it.
	Refused
)

// An Observer hears what an operator should know. It must not block, and must not
// call the Ring.
type Observer interface {
	// CredentialRefused: the provider has refused a credential, or none could be
	// made; why says so. now names the one that is used instead, "" if none is left.
	CredentialRefused(ctx context.Context, name string, until time.Time, now string, why error)
	// CredentialFault: a file has changed and cannot be used. What it held before
	// stays in use.
	CredentialFault(ctx context.Context, err error)
	// CredentialChanged: a file has changed and holds a new credential.
	CredentialChanged(ctx context.Context, name string, until time.Time)
	// CredentialEnds: a credential ends soon.
	CredentialEnds(ctx context.Context, name string, until time.Time)
}

// A Ring holds the app's credentials. It may be used by many goroutines at once.
type Ring struct {
	observer Observer
	warn     time.Duration // before the end of a certificate

	mu      sync.Mutex
	entries []*entry
}

// NewRing returns a Ring of these sources, the most preferred first. warn is how
// long before its end a certificate is reported.
func NewRing(sources []Source, warn time.Duration, observer Observer) *Ring {
	r := &Ring{observer: observer, warn: warn}
	for _, source := range sources {
		c, version, _ := source.Look()
		r.entries = append(r.entries, &entry{source: source, looking: make(chan struct{}, 1), version: version, current: newCandidate(c)})
	}
	return r
}

// Use makes a proof and calls send with it, and once more with that of another
// credential if the provider refuses the first, until one is not refused or none is
// left. Each credential is used once at most. send returns what the answer says of
// the credential, and an error if that is Refused. byVisitor says that a visitor may
// have caused a refusal.
//
// Use returns nil if the last call of send did not return Refused. Otherwise it
// returns the first error of send or, if there was no call, of a credential that
// could make no proof.
func (r *Ring) Use(ctx context.Context, to Recipient, byVisitor bool, send func(Proof) (Verdict, error)) error {
	r.look(ctx)
	var unproved error // the first
	var refused []*refusal
	var tried []*candidate
	if byVisitor { // who may have gone away, or brought what nobody accepts
		defer func() { r.acquit(refused) }()
	}
	for {
		c := r.pick(tried)
		if c == nil {
			break
		}
		tried = append(tried, c)
		asked := time.Now()
		proof, err := c.prove(ctx, to)
		if errors.Is(err, errCrowd) || errors.Is(err, context.DeadlineExceeded) && r.provedSince(c, asked) {
			unproved = cmp.Or(unproved, fmt.Errorf("msauth: %s: %w", c.Name(), err))
			continue // which says nothing of the credential
		}
		if err != nil {
			err = fmt.Errorf("msauth: %s: %w", c.Name(), err)
			if unproved == nil {
				unproved = err
			}
			if ctx.Err() != nil {
				return reason(refused, unproved) // no time is left, which says nothing of the credential
			}
			r.fail(ctx, c, err)
			continue
		}
		r.proved(c)
		began := time.Now()
		verdict, err := send(proof)
		switch verdict {
		case Refused:
			r.suspect(c)
			refused = append(refused, &refusal{c, err, began})
			r.look(ctx) // what is refused may have been replaced meanwhile
			continue
		case Accepted:
			r.accept(ctx, c, began, refused)
		}
		return nil
	}
	if !byVisitor {
		r.condemn(ctx, refused, nil)
	}
	return reason(refused, unproved)
}

// reason is why a request was not made, or failed: that of the most preferred
// credential that the provider has seen.
func reason(refused []*refusal, unproved error) error {
	if len(refused) > 0 {
		return refused[0].why
	}
	return unproved
}

// A refusal is a credential that the provider has refused in one request.
type refusal struct {
	of    *candidate
	why   error
	began time.Time // the request
}

// candidates are all of them, the most preferred first. It needs the lock.
func (r *Ring) candidates() []*candidate {
	var all []*candidate
	for _, e := range r.entries {
		if all = append(all, e.current); e.previous != nil {
			all = append(all, e.previous)
		}
	}
	return all
}

// pick returns the credential to use next, nil if none is left. Where all were
// refused, a request still uses one: the provider may think better of it.
func (r *Ring) pick(tried []*candidate) *candidate {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	c := best(r.candidates(), tried, now)
	if c == nil || len(tried) > 0 && c.rank(now) >= tooSoon {
		return nil
	}
	if c.refused != nil || c.failed != nil {
		c.retryAt = now.Add(retryAfter) // nobody else tries it meanwhile
	}
	return c
}

// best returns the best of all that were not tried; of equally good ones the most
// preferred.
func best(all, tried []*candidate, now time.Time) (c *candidate) {
	for _, other := range all {
		if !slices.Contains(tried, other) && (c == nil || other.rank(now) < c.rank(now)) {
			c = other
		}
	}
	return c
}

// working returns the best of those that nothing is known against; nil if there is
// none. It needs the lock.
func (r *Ring) working(now time.Time) *candidate {
	if c := best(r.candidates(), nil, now); c.rank(now) <= suspect {
		return c
	}
	return nil
}

// proved notes that a proof could be made.
func (r *Ring) proved(c *candidate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.failed, c.provedAt = nil, time.Now()
}

// provedSince reports whether a proof could be made since a time: what has not
// answered is busy then, and does not hang.
func (r *Ring) provedSince(c *candidate, since time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.provedAt.After(since)
}

// suspect notes a refusal that may have another reason than the credential.
func (r *Ring) suspect(c *candidate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.suspected = time.Now().Add(retryAfter)
}

// acquit takes back suspicions, because the request itself may be at fault.
func (r *Ring) acquit(refused []*refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range refused {
		one.of.suspected = time.Time{}
	}
}

// accept notes that c works, where those that were tried before it in the same
// request do not. A request that began before c was refused, or suspected, proves
// nothing: its answer was late.
func (r *Ring) accept(ctx context.Context, c *candidate, began time.Time, refused []*refusal) {
	r.mu.Lock()
	if c.refused == nil || began.After(c.refusedAt) {
		c.refused, c.failed = nil, nil
	}
	if began.After(c.suspected.Add(-retryAfter)) {
		c.suspected = time.Time{}
	}
	if began.After(c.workedAt) {
		c.workedAt = began
	}
	for _, e := range r.entries {
		if e.current == c {
			e.previous = nil
		}
	}
	r.mu.Unlock()
	if len(refused) > 0 {
		r.condemn(ctx, refused, c)
	}
}

// condemn notes that the provider has refused credentials for what they are, and
// reports those of which that is new. now is the one that works; nil if there is
// none.
func (r *Ring) condemn(ctx context.Context, refused []*refusal, now *candidate) {
	var report []*refusal
	r.mu.Lock()
	for _, one := range refused {
		if one.of.workedAt.After(one.began) {
			continue // it has come to work since
		}
		if one.of.refused == nil {
			report = append(report, one)
		}
		one.of.refused, one.of.suspected, one.of.refusedAt = one.why, time.Time{}, time.Now()
		one.of.retryAt = one.of.refusedAt.Add(retryAfter)
	}
	alone := len(r.candidates()) == 1
	r.mu.Unlock()
	if !alone { // the failure of the request says it all
		r.report(ctx, report, now)
	}
}

// fail notes that no proof could be made.
func (r *Ring) fail(ctx context.Context, c *candidate, why error) {
	r.mu.Lock()
	known := c.failed != nil
	c.failed, c.retryAt = why, time.Now().Add(retryAfter)
	next := r.working(time.Now())
	r.mu.Unlock()
	if !known {
		r.report(ctx, []*refusal{{of: c, why: why}}, next)
	}
}

// report tells of credentials that are no longer used, and which one is; nil if
// there is none.
func (r *Ring) report(ctx context.Context, refused []*refusal, now *candidate) {
	var tell []func()
	r.mu.Lock()
	instead := ""
	if now != nil {
		instead = now.name()
	}
	for _, one := range refused {
		name := one.of.name()
		tell = append(tell, func() { r.observer.CredentialRefused(ctx, name, ends(one.of), instead, one.why) })
	}
	r.mu.Unlock()
	for _, f := range tell {
		f()
	}
}
