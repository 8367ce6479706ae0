package session

import (
	"time"

	"example.com/msauth/internal/ttl"
)

const (
	// maxEnded bounds the memory of ended sessions, to about 10 MB.
	maxEnded = 100_000
)

// Revoked remembers the sessions that were signed out of or replaced, until
// they would have ended anyway, so that a cookie which a slow answer brings
// back afterwards opens nothing. It is this process's own memory: other
// processes learn of a sign-out by the deleted cookie only.
type Revoked struct {
	since *ttl.Map[ID, time.Time]
}

func NewRevoked() Revoked {
	return Revoked{ttl.New[ID, time.Time](maxEnded)}
}

// Add ends a session after a grace, 0 for at once.
func (s Revoked) Add(rec *Record, maxAge, grace time.Duration) {
	since := time.Now().Add(grace)
	if earlier, ok := s.since.Get(rec.ID); ok && earlier.Before(since) {
		return
	}
	s.since.Put(rec.ID, since, rec.Ends(maxAge))
}

// State reports whether a session has ended, or is leaving: replaced and in its
// grace. It is then read and never written again, or it would take its
// successor's place.
func (s Revoked) State(id ID, now time.Time) (ended, leaving bool) {
	since, ok := s.since.Get(id)
	ended = ok && !now.Before(since)
	return ended, ok && !ended
}

// Has reports whether a session has ended.
func (s Revoked) Has(id ID) bool {
	ended, _ := s.State(id, time.Now())
	return ended
}
