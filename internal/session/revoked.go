package session

import (
	"time"

	"example.com/msauth/internal/ttl"
)

// maxRevoked bounds the memory of revoked sessions, to about 10 MB.
const maxRevoked = 100_000

// Revoked remembers the sessions that somebody signed out of, or that a new
// sign-in replaced, until they would have ended anyway. A cookie that a slow
// answer brings back afterwards then opens nothing. It is the memory of this
// process: other processes know of a sign-out only by the deleted cookie.
type Revoked struct {
	from *ttl.Map[ID, time.Time] // when the session ends
}

// NewRevoked returns an empty memory.
func NewRevoked() Revoked {
	return Revoked{ttl.New[ID, time.Time](maxRevoked)}
}

// Add ends a session after a grace period, 0 for at once. A session never ends
// later than an earlier Add has said.
func (s Revoked) Add(rec *Record, maxAge, grace time.Duration) {
	from := time.Now().Add(grace)
	if earlier, ok := s.from.Get(rec.ID); ok && earlier.Before(from) {
		return
	}
	s.from.Put(rec.ID, from, rec.Ends(maxAge))
}

// State reports whether a session has ended, or is leaving: replaced, and in its
// grace period. A session that is leaving is read and never written again, or it
// would take the place of its successor.
func (s Revoked) State(id ID, now time.Time) (ended, leaving bool) {
	from, ok := s.from.Get(id)
	ended = ok && !now.Before(from)
	return ended, ok && !ended
}

// Has reports whether a session has ended.
func (s Revoked) Has(id ID) bool {
	ended, _ := s.State(id, time.Now())
	return ended
}
