package renew

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

// DemandRest is how long nobody is sent to Microsoft again for what a
// sign-in was to bring and has not brought.
const DemandRest = 5 * time.Minute

// RequestKey stands for a session's wish.
func (r *Renewals) RequestKey(id session.ID, w TokenRequest) Key {
	h := sha256.New()
	h.Write(r.Registration[:])
	h.Write(id[:])
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(w.Scopes))) // #nosec G115 -- at most maxScopeBytes
	h.Write(n[:])
	h.Write([]byte(w.Scopes))
	claims := provider.Requirement{Claims: w.Claims}.Digest()
	h.Write(claims[:])
	return Key(h.Sum(nil))
}

// granting returns what is known of a wish: the grant there is, and why no
// other can be had. own and failed are what is known of the session's own.
func (r *Renewals) granting(rec *session.Record, w TokenRequest, own *provider.TokenSet, failed *provider.Failure) (*provider.TokenSet, *provider.Failure) {
	if w == (TokenRequest{}) {
		return own, failed
	}
	g := own
	if w.Scopes != "" {
		g = r.Other(rec.ID, w)
	}
	if failed == nil {
		failed = r.refusal(r.RequestKey(rec.ID, w))
	}
	return g, failed
}

// Other returns the grant that is kept for another API, nil if there is none.
func (r *Renewals) Other(id session.ID, w TokenRequest) *provider.TokenSet {
	g, _ := r.others.Get(r.RequestKey(id, TokenRequest{Scopes: w.Scopes}))
	return g
}

// Latest returns the newest grant that there is for a wish.
func (r *Renewals) Latest(rec *session.Record, w TokenRequest) *provider.TokenSet {
	own, _, _ := r.Own(rec)
	g, _ := r.granting(rec, w, own, nil)
	return g
}

// Challenged reports whether the newest grant was got for a claims challenge
// just now.
func (r *Renewals) Challenged(rec *session.Record, w TokenRequest) bool {
	_, ok := r.Challenges.Get(r.RequestKey(rec.ID, TokenRequest{Scopes: w.Scopes}))
	return ok
}

// grantOther notes what a wish for another API has brought. Where that used the
// refresh token up, the session's own chain goes on with the new one.
func (r *Renewals) grantOther(want Request, rec *session.Record, refresh seal.Secret, g *provider.TokenSet) {
	r.others.Put(r.RequestKey(rec.ID, TokenRequest{Scopes: want.Wanted.Scopes}), g, time.Unix(g.Expiry, 0))
	if g.Refresh == refresh || rec.UserKey != "" {
		return
	}
	r.moveOn(want, rec, refresh, g.Refresh)
}

// moveOn notes which refresh token has followed the one of a session.
func (r *Renewals) moveOn(want Request, rec *session.Record, used, next seal.Secret) {
	own, _, _ := r.Own(rec)
	r.moved.Put(r.Key(used), next, want.KeepUntil)
	r.Note(rec.ID, PendingUpdate{Of: max(rec.Renewed, own.Issued), Deliver: true}, want.KeepUntil)
}

// A PendingUpdate says what has become known of a session's tokens and is not in its
// cookie: the next request that can looks after it.
type PendingUpdate struct {
	Of       int64  // when the tokens that it is about were issued
	Deliver  bool   // there is a newer refresh token
	Rejected Key    // the access token, where an API did not take it
	StepUp   bool   // nothing but another sign-in helps
	Claims   string // that such a sign-in must bring, even if it begins for another reason
}

// Note adds to what is known of a session.
func (r *Renewals) Note(id session.ID, n PendingUpdate, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, ok := r.notices.Get(id)
	if ok && before.Of > n.Of {
		return // it is about older tokens
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
	r.notices.Put(id, n, until)
}

// Settle forgets what a session's new cookie says, unless more has become known
// meanwhile.
func (r *Renewals) Settle(id session.ID, n PendingUpdate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now, ok := r.notices.Get(id); !ok || now != n {
		return
	}
	r.notices.Drop(id)
	if n.Claims != "" && !n.StepUp {
		r.notices.Put(id, PendingUpdate{Of: n.Of, Claims: n.Claims}, time.Now().Add(DemandRest))
	}
}

// Remind has the cookie of before a delivery mended where it comes once more, from
// an answer that took longer.
func (r *Renewals) Remind(n PendingUpdate, fresh *session.Record, until time.Time) {
	if n.Deliver && n.Claims == "" && fresh.Renewed > n.Of && !fresh.Stored {
		r.Note(fresh.ID, PendingUpdate{Of: n.Of, Deliver: true}, until)
	}
}

// PendingUpdate returns the notice about the tokens that a record holds.
func (r *Renewals) PendingUpdate(rec *session.Record) (PendingUpdate, bool) {
	n, ok := r.notices.Get(rec.ID)
	return n, ok && rec.Renewed <= n.Of
}
