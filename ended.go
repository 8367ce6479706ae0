package msauth

import "time"

// maxEnded bounds the memory of ended sessions, to about 10 MB.
const maxEnded = 100_000

// endedSet remembers the sessions that were signed out of or replaced, until
// they would have ended anyway, so that a cookie which a slow answer brings
// back afterwards opens nothing. It is this process's own memory: other
// processes learn of a sign-out by the deleted cookie only.
type endedSet struct{ ids *expiring[[16]byte, struct{}] }

func newEndedSet() endedSet {
	return endedSet{newExpiring[[16]byte, struct{}](maxEnded)}
}

func (s endedSet) add(rec *record, maxAge time.Duration) {
	s.ids.put(rec.id, struct{}{}, rec.ends(maxAge))
}

func (s endedSet) has(id [16]byte) bool {
	_, ended := s.ids.get(id)
	return ended
}
