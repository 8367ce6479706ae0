package session

import (
	"strings"
	"sync"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/ttl"
)

// maxRevoked bounds the memory of accounts and of the provider's sessions, each of
// the kinds below, to 10 to 15 MB.
const maxRevoked = 100_000

// MaxSID limits the ids of the provider's sessions that are remembered, in bytes.
// Microsoft's are GUIDs.
const MaxSID = 200

// Revoked remembers what has ended before its time, until it would have ended
// anyway: sessions that somebody signed out of or that a new sign-in replaced, all
// sessions of an account, and those of a session at the provider. A cookie that a
// slow answer brings back afterwards, or a copy of one, then opens nothing.
//
// It is the memory of this process. What it is told it returns as an ending, in
// bytes, for other processes to [Revoked.Apply]; endings can be applied in any
// order, and more than once. It is safe for concurrent use. A session is looked up
// without a lock that others wait for.
type Revoked struct {
	maxAge time.Duration // how long a session lasts: see Record.Ends

	sessions endedSessions
	accounts *ttl.Map[accountName, revocation] // what began before has ended
	sids     *ttl.Map[string, revocation]
	known    *ttl.Map[string, struct{}] // sids of sessions

	mu sync.Mutex // held from reading a revocation to writing it
}

// An accountName names an account as its key does, in parts that a record has.
type accountName struct{ first, second string }

// NewRevoked returns an empty memory. maxAge is how long sessions last.
func NewRevoked(maxAge time.Duration) *Revoked {
	s := &Revoked{
		maxAge: maxAge, accounts: ttl.New[accountName, revocation](maxRevoked),
		sids: ttl.New[string, revocation](maxRevoked), known: ttl.New[string, struct{}](maxRevoked),
	}
	s.sessions.limit, s.sessions.covered = maxEnded, s.covered
	return s
}

// End ends a session after a grace period, 0 for at once. A session never ends
// later than an earlier End has said.
func (s *Revoked) End(rec *Record, grace time.Duration) (ending []byte) {
	e := endedSession{
		id: rec.ID, account: tagOf(nameOf(&rec.User)),
		from: time.Now().Add(grace).Unix(), until: rec.Ends(s.maxAge).Unix(),
	}
	s.sessions.add(e)
	return e.encode()
}

// EndID ends a session of which only the id and the account's key are known.
func (s *Revoked) EndID(id ID, key string) (ending []byte) {
	name, _ := accountNamed(key)
	now := time.Now()
	e := endedSession{id: id, account: tagOf(name), from: now.Unix(), until: now.Add(s.maxAge).Unix()}
	s.sessions.add(e)
	return e.encode()
}

// EndAccount ends all sessions of an account that stand before a place among its
// sign-ins, or, if that is zero, that began until now. key is that of the account. It reports whether key has the form of one.
func (s *Revoked) EndAccount(key string, before Place) (ending []byte, ok bool) {
	name, ok := accountNamed(key)
	if !ok {
		return nil, false
	}
	return s.revoke(revokedName{account: name}, before), true
}

// Knows reports whether this process knows a session with this id of the
// provider's (claim sid), and forgets it.
func (s *Revoked) Knows(sid string) bool {
	_, known := s.known.Get(sid)
	if known {
		s.known.Drop(sid)
	}
	return known
}

// EndSID ends all sessions with this id of the provider's as EndAccount does those
// of an account. The id has at most 200 bytes.
func (s *Revoked) EndSID(sid string, before Place) (ending []byte) {
	if sid == "" || len(sid) > MaxSID {
		return nil
	}
	return s.revoke(revokedName{sid: sid}, before)
}

// Note remembers the provider's id of a session for Knows.
func (s *Revoked) Note(rec *Record) {
	if sid := rec.SID(); sid != "" {
		s.known.Put(strings.Clone(sid), struct{}{}, rec.Ends(s.maxAge))
	}
}

// State reports whether a session has ended, or is leaving: replaced, and in its
// grace period. A session that is leaving is read and never written again, or it
// would take the place of its successor.
func (s *Revoked) State(rec *Record, now time.Time) (ended, leaving bool) {
	if from, ok := s.sessions.find(rec.ID, now); ok {
		ended = now.Unix() >= from
		leaving = !ended
	}
	if v, ok := s.sids.Get(rec.sid); ok && rec.sid != "" && v.ends(rec) {
		ended = true
	}
	if v, ok := s.accounts.Get(nameOf(&rec.User)); ok && v.ends(rec) {
		ended = true
	}
	return ended, leaving && !ended
}

// Forgotten returns how many sessions that have ended were forgotten before they
// would have ended anyway, for want of room.
func (s *Revoked) Forgotten() uint64 { return s.sessions.lost.Load() }

// Has reports whether a session has ended.
func (s *Revoked) Has(rec *Record) bool {
	ended, _ := s.State(rec, time.Now())
	return ended
}

// HasListed reports whether a session of an account that a Directory lists has
// ended, as far as that does not take the provider's id.
func (s *Revoked) HasListed(key string, l Listed) bool {
	name, _ := accountNamed(key)
	rec := Record{ID: l.ID, SignedIn: l.Begun.Unix(), Place: l.Place}
	rec.User.Issuer, rec.User.Subject = name.first, name.second
	return s.Has(&rec)
}

// SID returns the provider's id of the session (claim sid), "" if there is none or
// it is longer than any that is remembered.
func (r *Record) SID() string {
	if len(r.sid) > MaxSID {
		return ""
	}
	return r.sid
}

// AccountKey returns the key of an account as its record has it. It reports whether
// key has the form of one.
func AccountKey(key string) (canonical string, ok bool) {
	if strings.Contains(key, "#") {
		_, ok = accountNamed(key)
		return key, ok
	}
	_, ok = accountNamed(key)
	return strings.ToLower(key), ok
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
	key = strings.Clone(key) // it may be part of something large
	if issuer, subject, ok := strings.Cut(key, "#"); ok {
		return accountName{issuer, subject}, issuer != "" && subject != ""
	}
	tenant, object, ok := strings.Cut(key, ".")
	return accountName{strings.ToLower(tenant), strings.ToLower(object)}, ok && provider.GUIDForm.MatchString(tenant) && provider.GUIDForm.MatchString(object)
}
