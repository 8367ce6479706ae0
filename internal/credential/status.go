package credential

import (
	"fmt"
	"time"
)

// Status is what is known of one source.
type Status struct {
	// Name describes the credential.
	Name string
	// Until is when it ends; zero if that is not known, or if it renews itself.
	Until time.Time
	// InUse means that token requests carry this credential.
	InUse bool
	// Works means that nothing is known against it, or against the one that was in
	// the same file before.
	Works bool
	// Problem is why it is not used, or why the file that it comes from is not: nil
	// if there is nothing to do.
	Problem error
}

// Status describes the credentials, the most preferred first.
func (r *Ring) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	used := best(r.candidates(), nil, now)
	var all []Status
	for _, e := range r.entries {
		c := e.current
		if e.previous == used && used != nil {
			c = used
		}
		all = append(all, Status{Name: c.name(), Until: ends(c), InUse: c == used, Works: e.works(now), Problem: e.problem(now)})
	}
	return all
}

// problem is what is wrong with the newest credential of a source. It needs the
// lock of the Ring.
func (e *entry) problem(now time.Time) error {
	switch {
	case e.fault != nil:
		return e.fault
	case e.current.refused != nil:
		return e.current.refused
	case e.current.failed != nil:
		return e.current.failed
	case !e.current.inTime(now):
		return ErrOutOfTime
	}
	return nil
}

func (e *entry) works(now time.Time) bool {
	return e.current.rank(now) <= suspect || e.previous != nil && e.previous.rank(now) <= suspect
}

// Ready returns why no token request can carry a proof; nil if one can.
func (r *Ring) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	switch c := best(r.candidates(), nil, now); {
	case c.failed != nil:
		return c.failed
	case !c.inTime(now):
		return fmt.Errorf("%w: %s", ErrOutOfTime, c.name())
	}
	return nil
}
