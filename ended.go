package msauth

import "time"

const (
	// maxEnded bounds the memory of ended sessions, to about 10 MB.
	maxEnded = 100_000
	// replacedGrace is how long a session lives on that the same person has
	// replaced by signing in again: requests that left another tab before the
	// new cookie arrived are not at fault. Longer than the marker's life, or
	// they would be taken for a loop.
	replacedGrace = markerLifetime + 10*time.Second
)

// endedSet remembers the sessions that were signed out of or replaced, until
// they would have ended anyway, so that a cookie which a slow answer brings
// back afterwards opens nothing. It is this process's own memory: other
// processes learn of a sign-out by the deleted cookie only.
type endedSet struct {
	since *expiring[sessionID, time.Time]
}

func newEndedSet() endedSet {
	return endedSet{newExpiring[sessionID, time.Time](maxEnded)}
}

// add ends a session after a grace, 0 for at once.
func (s endedSet) add(rec *record, maxAge, grace time.Duration) {
	since := time.Now().Add(grace)
	if earlier, ok := s.since.get(rec.id); ok && earlier.Before(since) {
		return
	}
	s.since.put(rec.id, since, rec.ends(maxAge))
}

// state reports whether a session has ended, or is leaving: replaced and in its
// grace. It is then read and never written again, or it would take its
// successor's place.
func (s endedSet) state(id sessionID, now time.Time) (ended, leaving bool) {
	since, ok := s.since.get(id)
	ended = ok && !now.Before(since)
	return ended, ok && !ended
}

// has reports whether a session has ended.
func (s endedSet) has(id sessionID) bool {
	ended, _ := s.state(id, time.Now())
	return ended
}
