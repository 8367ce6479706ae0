package renew

import (
	"encoding/json"
	"sync"
	"time"

	"example.com/msauth/internal/session"
	"example.com/msauth/internal/ttl"
)

// RequirementRest is how long after a sign-in nobody is sent to the provider again
// for the same requirement, though the sign-in did not meet it.
const RequirementRest = 5 * time.Minute

// A PendingUpdate is what has become known of a session's tokens and is not in
// its cookie: the next request that can write a cookie sees to it.
type PendingUpdate struct {
	Of       int64  // when the tokens that it is about were issued, Unix seconds
	Deliver  bool   // there is a newer refresh token
	Rejected Key    // of the access token, where an API did not accept it; else zero
	StepUp   bool   // only another sign-in helps
	Claims   string // that such a sign-in must bring, even if it begins for another reason
}

// pendingUpdates has one update for each session at most.
type pendingUpdates struct {
	mu        sync.Mutex // held from reading an update to writing it
	bySession *ttl.Map[session.ID, PendingUpdate]
}

func newPendingUpdates() pendingUpdates {
	return pendingUpdates{bySession: ttl.New[session.ID, PendingUpdate](MaxOutcomes)}
}

// Note adds an update to what is known of a session. One about older tokens
// changes nothing.
func (r *Renewals) Note(id session.ID, n PendingUpdate, until time.Time) {
	r.pending.mu.Lock()
	defer r.pending.mu.Unlock()
	before, ok := r.pending.bySession.Get(id)
	if ok && before.Of > n.Of {
		return
	}
	if ok {
		n.Deliver = n.Deliver || before.Deliver
		if n.Rejected == (Key{}) {
			n.Rejected = before.Rejected
		}
		if n.Claims == "" && !n.StepUp {
			n.StepUp, n.Claims = before.StepUp, before.Claims
		}
	}
	r.pending.bySession.Put(id, n, until)
}

// Settle forgets an update because a new cookie says it, unless more has become
// known meanwhile. Claims that single pages require are remembered for
// RequirementRest more.
func (r *Renewals) Settle(id session.ID, n PendingUpdate) {
	r.pending.mu.Lock()
	defer r.pending.mu.Unlock()
	if now, ok := r.pending.bySession.Get(id); !ok || now != n {
		return
	}
	r.pending.bySession.Drop(id)
	if n.Claims != "" && !n.StepUp {
		r.pending.bySession.Put(id, PendingUpdate{Of: n.Of, Claims: n.Claims}, time.Now().Add(RequirementRest))
	}
}

// Remind notes that the cookie from before a delivery may come once more, from an
// answer that took longer: then the newer tokens are delivered again.
func (r *Renewals) Remind(n PendingUpdate, fresh *session.Record, until time.Time) {
	if n.Deliver && n.Claims == "" && fresh.Renewed > n.Of && !fresh.Stored {
		r.Note(fresh.ID, PendingUpdate{Of: n.Of, Deliver: true}, until)
	}
}

// Pending returns the update about the tokens that a record has, if there is one.
func (r *Renewals) Pending(rec *session.Record) (PendingUpdate, bool) {
	n, ok := r.pending.bySession.Get(rec.ID)
	return n, ok && rec.Renewed <= n.Of
}

// updateKind begins a PendingUpdate in bytes, unlike what package session makes.
const updateKind = 'n'

// IsUpdate reports whether data is what EncodeUpdate has made, of whichever version.
func IsUpdate(data []byte) bool { return len(data) > 0 && data[0] == updateKind }

// A sharedUpdate is a PendingUpdate as other processes get it.
type sharedUpdate struct {
	Session session.ID
	Update  PendingUpdate
	Until   int64 // Unix seconds
}

// EncodeUpdate returns an update for other processes. worth is false if they have
// nothing to know: what is only to be delivered is in this process alone.
func EncodeUpdate(id session.ID, n PendingUpdate, until time.Time) (data []byte, worth bool) {
	if n.Deliver = false; n.Rejected == (Key{}) && n.Claims == "" && !n.StepUp {
		return nil, false
	}
	b, err := json.Marshal(sharedUpdate{id, n, until.Unix()})
	return append([]byte{updateKind}, b...), err == nil
}

// ApplyUpdate notes an update from another process.
func (r *Renewals) ApplyUpdate(data []byte) error {
	var n sharedUpdate
	if err := json.Unmarshal(data[1:], &n); err != nil {
		return err
	}
	if until := time.Unix(n.Until, 0); time.Now().Before(until) {
		r.Note(n.Session, n.Update, until)
	}
	return nil
}
