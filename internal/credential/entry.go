package credential

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"example.com/msauth/internal/reload"
)

const (
	lookPatience = 2 * time.Second // for a file system to answer
	warnEvery    = 24 * time.Hour  // between two warnings that a certificate ends
)

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
