package session

import (
	"strings"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/ttl"
)

// maxRevoked bounds the memory of each of the kinds below, to 10 to 15 MB.
const maxRevoked = 100_000

// maxSID limits the ids of the provider's sessions that are remembered, in bytes.
// Microsoft's are GUIDs.
const maxSID = 200

// Revoked remembers what has ended before its time, until it would have ended
// anyway: sessions that somebody signed out of or that a new sign-in replaced, all
// sessions of an account, and those of a session at the provider. A cookie that a
// slow answer brings back afterwards, or a copy of one, then opens nothing. It is
// the memory of this process: other processes know of a sign-out only by the
// deleted cookie.
type Revoked struct {
	from     *ttl.Map[ID, time.Time]           // when the session ends
	accounts *ttl.Map[accountName, revocation] // what was begun until then has ended
	sids     *ttl.Map[string, revocation]
	known    *ttl.Map[string, struct{}] // sids of sessions
}

// An accountName names an account as its key does, in parts that a record has.
type accountName struct{ first, second string }

// A revocation is the second, in Unix time, up to which sessions have ended. Of a
// session that began in that second it is not known what came first: it ends too.
type revocation int64

// NewRevoked returns an empty memory.
func NewRevoked() Revoked {
	return Revoked{
		ttl.New[ID, time.Time](maxRevoked), ttl.New[accountName, revocation](maxRevoked),
		ttl.New[string, revocation](maxRevoked), ttl.New[string, struct{}](maxRevoked),
	}
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

// AddAccount ends all sessions of an account that have begun. key is that of the
// account. It reports whether key has the form of one.
func (s Revoked) AddAccount(key string, maxAge time.Duration) bool {
	name, ok := accountNamed(strings.Clone(key))
	if ok {
		now := time.Now()
		s.accounts.Put(name, revocation(now.Unix()), now.Add(maxAge))
	}
	return ok
}

// AddSID ends all sessions that have begun with this id of the provider's (claim
// sid). It reports whether there were any, as far as this process knows.
func (s Revoked) AddSID(sid string, maxAge time.Duration) bool {
	if _, known := s.known.Get(sid); !known {
		return false
	}
	sid = strings.Clone(sid)
	now := time.Now()
	s.known.Drop(sid)
	s.sids.Put(sid, revocation(now.Unix()), now.Add(maxAge))
	return true
}

// Note remembers the provider's id of a session for AddSID.
func (s Revoked) Note(rec *Record, maxAge time.Duration) {
	if rec.sid != "" && len(rec.sid) <= maxSID {
		s.known.Put(strings.Clone(rec.sid), struct{}{}, rec.Ends(maxAge))
	}
}

// State reports whether a session has ended, or is leaving: replaced, and in its
// grace period. A session that is leaving is read and never written again, or it
// would take the place of its successor.
func (s Revoked) State(rec *Record, now time.Time) (ended, leaving bool) {
	if from, ok := s.from.Get(rec.ID); ok {
		ended = !now.Before(from)
		leaving = !ended
	}
	if until, ok := s.sids.Get(rec.sid); ok && rec.sid != "" && rec.SignedIn <= int64(until) {
		ended = true
	}
	if until, ok := s.accounts.Get(nameOf(&rec.User)); ok && rec.SignedIn <= int64(until) {
		ended = true
	}
	return ended, leaving && !ended
}

// Has reports whether a session has ended.
func (s Revoked) Has(rec *Record) bool {
	ended, _ := s.State(rec, time.Now())
	return ended
}

// nameOf returns the parts of an account's key.
func nameOf(u *provider.Account) accountName {
	if u.TenantID != "" && u.ObjectID != "" {
		return accountName{u.TenantID, u.ObjectID}
	}
	return accountName{u.Issuer, u.Subject}
}

// accountNamed returns the parts of a key.
func accountNamed(key string) (name accountName, ok bool) {
	if issuer, subject, ok := strings.Cut(key, "#"); ok {
		return accountName{issuer, subject}, issuer != "" && subject != ""
	}
	tenant, object, ok := strings.Cut(key, ".")
	return accountName{strings.ToLower(tenant), strings.ToLower(object)}, ok && provider.GUIDForm.MatchString(tenant) && provider.GUIDForm.MatchString(object)
}
