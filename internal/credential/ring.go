package credential

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/msauth/internal/reload"
)

const (
	retryAfter    = 1 * time.Minute // how long a refused credential is left alone
	provePatience = 5 * time.Second // for a device or a function to make a proof
	maxProving    = 32              // calls of them at one time, should they hang
	crowdPatience = 2 * time.Second // to wait while there are so many
	lookPatience  = 2 * time.Second // for a file system to answer
	warnEvery     = 24 * time.Hour  // between two warnings that a certificate ends
)

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

// An entry is one source, and what is known of its credentials.
type entry struct {
	source  Source
	looking chan struct{} // held by the one who looks at source
	since   atomic.Int64  // when that began, since the Unix epoch; 0 if nobody does
	version int
	// current is what the source gives now. previous is what it gave before, until
	// current has worked.
	current, previous *candidate
	fault             error
}

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

// look takes over what the sources give now.
func (r *Ring) look(ctx context.Context) {
	var report []func()
	for _, e := range r.entries {
		c, version, fault := e.look(ctx)
		r.mu.Lock()
		if version > e.version { // else another goroutine was faster
			e.version = version
			if e.previous == nil { // else current has never worked, and previous is the last good one
				e.previous = e.current
				e.previous.before = true
			}
			e.current = newCandidate(c)
			report = append(report, func() { r.observer.CredentialChanged(ctx, c.Name(), ends(c)) })
		}
		if errors.Is(fault, reload.ErrBusy) || errors.Is(fault, errHurry) {
			fault = e.fault
		}
		if errors.Is(fault, errHangs) {
			fault = fmt.Errorf("%s: %w", e.current.name(), fault)
		}
		if fault != nil && (e.fault == nil || e.fault.Error() != fault.Error()) {
			report = append(report, func() { r.observer.CredentialFault(ctx, fault) })
		}
		e.fault = fault
		report = append(report, r.watch(ctx, e.current)...)
		r.mu.Unlock()
	}
	for _, f := range report {
		f()
	}
}

var (
	errHangs = errors.New("the file system does not answer")
	errHurry = errors.New("no time is left to look")
)

// look asks the source. A file system may hang, which must stop nobody for long; the
// version is then 0.
func (e *entry) look(ctx context.Context) (c Credential, version int, fault error) {
	if f, ok := e.source.(fixed); ok {
		return f.Look()
	}
	if since := e.since.Load(); since != 0 && time.Since(time.Unix(0, since)) > lookPatience {
		return nil, 0, errHangs
	}
	late := time.NewTimer(lookPatience)
	defer late.Stop()
	select {
	case e.looking <- struct{}{}:
	case <-late.C:
		return nil, 0, errHangs
	case <-ctx.Done():
		return nil, 0, errHurry
	}
	e.since.Store(time.Now().UnixNano())
	done := make(chan struct{})
	var got struct {
		c       Credential
		version int
		fault   error
	}
	go func() {
		defer close(done) // nothing is left to do then
		defer func() { <-e.looking }()
		defer e.since.Store(0)
		got.c, got.version, got.fault = e.source.Look()
	}()
	select {
	case <-done:
		return got.c, got.version, got.fault
	case <-late.C:
		return nil, 0, errHangs
	case <-ctx.Done():
		return nil, 0, errHurry
	}
}

// watch returns what there is to report of the end of a credential. It needs the
// lock.
func (r *Ring) watch(ctx context.Context, c *candidate) (report []func()) {
	now := time.Now()
	_, until := c.Valid()
	switch {
	case until.IsZero():
	case !now.Before(until):
		if !c.over {
			c.over = true
			instead := ""
			if next := r.working(now); next != nil {
				instead = next.name()
			}
			name := c.name()
			report = append(report, func() { r.observer.CredentialRefused(ctx, name, until, instead, ErrOutOfTime) })
		}
	case c.Expires() && until.Sub(now) <= r.warn && now.Sub(c.warned) >= warnEvery:
		c.warned = now
		report = append(report, func() { r.observer.CredentialEnds(ctx, c.Name(), until) })
	}
	return report
}

// ends returns when an operator must have replaced a credential; zero if that is
// not known.
func ends(c Credential) (until time.Time) {
	if c.Expires() {
		_, until = c.Valid()
	}
	return until
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
