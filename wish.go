package msauth

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// A wish is for a token that a renewal would not bring: one for another API,
// or one that meets a claims challenge. The zero wish is for a renewal. Grants
// for other APIs are kept in memory, by session and scopes.
type wish struct {
	scopes string // of one API, in the order of scopeRules.check; "" for the session's own token
	claims string // the challenge, as checkChallenge returns it
}

// wishKey stands for a session's wish.
func (r *renewals) wishKey(id sessionID, w wish) tokenKey {
	h := sha256.New()
	h.Write(r.registration[:])
	h.Write(id[:])
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(w.scopes))) // #nosec G115 -- at most maxScopeBytes
	h.Write(n[:])
	h.Write([]byte(w.scopes))
	claims := demand{claims: w.claims}.digest()
	h.Write(claims[:])
	return tokenKey(h.Sum(nil))
}

// granting returns what is known of a wish: the grant there is, and why no
// other can be had. own and failed are what is known of the session's own.
func (r *renewals) granting(rec *record, w wish, own *grant, failed *Failure) (*grant, *Failure) {
	if w == (wish{}) {
		return own, failed
	}
	g := own
	if w.scopes != "" {
		g = r.other(rec.id, w)
	}
	if failed == nil {
		failed = r.refusal(r.wishKey(rec.id, w))
	}
	return g, failed
}

// other returns the grant that is kept for another API, nil if there is none.
func (r *renewals) other(id sessionID, w wish) *grant {
	g, _ := r.others.get(r.wishKey(id, wish{scopes: w.scopes}))
	return g
}

// latest returns the newest grant that there is for a wish.
func (r *renewals) latest(rec *record, w wish) *grant {
	own, _, _ := r.ownOf(rec)
	g, _ := r.granting(rec, w, own, nil)
	return g
}

// challenged reports whether the newest grant was got for a claims challenge
// just now.
func (r *renewals) challenged(rec *record, w wish) bool {
	_, ok := r.challenges.get(r.wishKey(rec.id, wish{scopes: w.scopes}))
	return ok
}

// grantOther notes what a wish for another API has brought. Where that used the
// refresh token up, the session's own chain goes on with the new one.
func (r *renewals) grantOther(want renewal, rec *record, refresh secret, g *grant) {
	r.others.put(r.wishKey(rec.id, wish{scopes: want.wish.scopes}), g, time.Unix(g.expiry, 0))
	if g.refresh == refresh || rec.userKey != "" {
		return
	}
	r.moveOn(want, rec, refresh, g.refresh)
}

// moveOn notes which refresh token has followed the one of a session.
func (r *renewals) moveOn(want renewal, rec *record, used, next secret) {
	own, _, _ := r.ownOf(rec)
	r.moved.put(r.key(used), next, want.keepUntil)
	r.note(rec.id, notice{of: max(rec.renewed, own.issued), deliver: true}, want.keepUntil)
}

// A notice says what has become known of a session's tokens and is not in its
// cookie: the next request that can looks after it.
type notice struct {
	of       int64    // when the tokens that it is about were issued
	deliver  bool     // there is a newer refresh token
	rejected tokenKey // the access token, where an API did not take it
	stepUp   bool     // nothing but another sign-in helps
	claims   string   // that such a sign-in must bring, even if it begins for another reason
}

// note adds to what is known of a session.
func (r *renewals) note(id sessionID, n notice, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, ok := r.notices.get(id)
	if ok && before.of > n.of {
		return // it is about older tokens
	}
	if ok {
		n.deliver = n.deliver || before.deliver
		if n.rejected == (tokenKey{}) {
			n.rejected = before.rejected
		}
		if n.claims == "" && !n.stepUp {
			n.stepUp, n.claims = before.stepUp, before.claims
		}
	}
	r.notices.put(id, n, until)
}

// settle forgets what a session's new cookie says, unless more has become known
// meanwhile.
func (r *renewals) settle(id sessionID, n notice) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now, ok := r.notices.get(id); !ok || now != n {
		return
	}
	r.notices.drop(id)
	if n.claims != "" && !n.stepUp {
		r.notices.put(id, notice{of: n.of, claims: n.claims}, time.Now().Add(demandRest))
	}
}

// remind has the cookie of before a delivery mended where it comes once more, from
// an answer that took longer.
func (r *renewals) remind(n notice, fresh *record, until time.Time) {
	if n.deliver && n.claims == "" && fresh.renewed > n.of && !fresh.stored {
		r.note(fresh.id, notice{of: n.of, deliver: true}, until)
	}
}

// noticeOf returns the notice about the tokens that a record holds.
func (r *renewals) noticeOf(rec *record) (notice, bool) {
	n, ok := r.notices.get(rec.id)
	return n, ok && rec.renewed <= n.of
}
