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

// key stands for a session's wish.
func (r *renewals) wishKey(id sessionID, w wish) tokenKey {
	h := sha256.New()
	h.Write(r.registration[:])
	h.Write(id[:])
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(w.scopes))) // #nosec G115 -- at most maxScopeBytes
	h.Write(n[:])
	h.Write([]byte(w.scopes))
	h.Write([]byte(w.claims))
	return tokenKey(h.Sum(nil))
}

// granting returns what is known of a wish: the grant there is, and why no
// other can be had. own and failed are what is known of the session's own.
func (r *renewals) granting(rec *record, w wish, own *grant, failed *AuthError) (*grant, *AuthError) {
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

// grantOther notes what a wish for another API has brought. Where that used the
// refresh token up, the session's own chain goes on with the new one.
func (r *renewals) grantOther(want renewal, rec *record, refresh secret, g *grant) {
	r.others.put(r.wishKey(rec.id, wish{scopes: want.wish.scopes}), g, time.Unix(g.expiry, 0))
	if g.refresh == refresh {
		return
	}
	own, _, _ := r.known(rec.refresh)
	if own == nil {
		own = rec.grant()
	}
	moved := *own
	moved.refresh = g.refresh
	r.keep(refresh, &moved, want.keepUntil)
	r.notices.put(rec.id, notice{of: rec.renewed}, want.keepUntil)
}

// A notice says what has become known of a session's tokens and is not in its
// cookie: the next request that can looks after it.
type notice struct {
	of       int64    // when the tokens that it is about were issued
	rejected tokenKey // the access token, where an API did not take it
	stepUp   bool     // nothing but another sign-in helps
	claims   string   // that such a sign-in must bring, even if it begins for another reason
}

// noticeOf returns the notice about the tokens that a record holds.
func (r *renewals) noticeOf(rec *record) (notice, bool) {
	n, ok := r.notices.get(rec.id)
	return n, ok && rec.renewed <= n.of
}

// isNew reports whether an access token is the newest there is for a wish, and
// as good as new.
func (r *renewals) isNew(rec *record, w wish, access string) bool {
	own, _, _ := r.known(rec.refresh)
	if own == nil {
		own = rec.grant()
	}
	g, _ := r.granting(rec, w, own, nil)
	return g != nil && string(g.access) == access && time.Now().Unix()-g.issued < int64(replaceAfter/time.Second)
}

// refuse remembers for a while that a wish cannot come true.
func (r *renewals) refuse(rec *record, w wish, why *AuthError, how time.Duration) {
	r.refused.put(r.wishKey(rec.id, w), refusal{err: why}, time.Now().Add(how))
}
