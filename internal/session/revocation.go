package session

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
)

// clockLeeway is how much the clocks of two servers may differ, in seconds.
const clockLeeway = 10 * 60

// A Place is where something stands among what has happened to an account, in a log
// that all processes agree on (Config.Shared of package msauth). Places of two eras
// cannot be compared: in between the log was lost, and began anew.
type Place struct {
	Era      uint16
	Position uint64 // 0 if it is not known
}

func decodePlace(d *compact.Decoder) (p Place) {
	if era := d.Bytes(2); len(era) == 2 {
		p.Era = binary.BigEndian.Uint16(era)
	}
	p.Position = d.Uvarint()
	return p
}

// A revocation says which sessions of an account, or of a session at the provider,
// have ended. What began before or after is told by positions in the account's log,
// which all processes agree on. Where there are none, clocks count, and of what
// happened in the same second the session ends.
type revocation struct {
	before Place  // sessions that stand before it have ended; zero if it is not known
	at     int64  // when that was, in Unix seconds
	clock  int64  // sessions that began until then, in Unix seconds, have ended
	epoch  uint64 // when it was noted: see Restart
}

// ends reports whether a session has ended. By the clock alone it decides where
// that leaves no doubt: a log that was lost may have begun again with lesser
// positions, and an ending that somebody has written to the log once more is not
// of now.
func (v revocation) ends(rec *Record) bool {
	began := rec.SignedIn
	switch {
	case began <= v.clock, began < v.at-clockLeeway:
		return true
	case rec.Place.Position == 0 || v.before.Position == 0 || rec.Place.Era != v.before.Era:
		return began <= v.at
	}
	return rec.Place.Position < v.before.Position && began <= v.at+clockLeeway
}

// and returns what two revocations say. Of places of two eras the later one counts:
// all that the other one ends began before it.
func (v revocation) and(w revocation) revocation {
	both := revocation{w.before, max(v.at, w.at), max(v.clock, w.clock), w.epoch}
	switch {
	case v.before.Era == w.before.Era && v.before.Position > w.before.Position, w.before.Position == 0, v.before.Era != w.before.Era && v.at > w.at:
		both.before = v.before
	}
	return both
}

// A revokedName is what a revocation is of: one of both.
type revokedName struct {
	account accountName
	sid     string
}

// revoke notes a revocation of now.
func (s *Revoked) revoke(name revokedName, before Place) (ending []byte) {
	v := revocation{before: before, at: time.Now().Unix()}
	if before.Position == 0 {
		v = revocation{clock: v.at}
	}
	s.note(name, v)
	return name.encode(v)
}

// note adds a revocation to what is known. It cannot be of a later time than now, but
// for clocks that differ: one that counts by a clock ends what began by that clock.
func (s *Revoked) note(name revokedName, v revocation) {
	now := time.Now()
	v.at, v.clock, v.epoch = min(v.at, now.Unix()), min(v.clock, now.Unix()+clockLeeway), s.sessions.epoch.Load()
	if !now.Before(v.until(s.maxAge)) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if name.sid != "" {
		sid := strings.Clone(name.sid)
		before, _ := s.sids.Get(sid)
		v = before.and(v)
		s.sids.Put(sid, v, v.until(s.maxAge))
		return
	}
	before, _ := s.accounts.Get(name.account)
	v = before.and(v)
	s.accounts.Put(name.account, v, v.until(s.maxAge))
}

// until returns when all sessions have ended by their age that v ends.
func (v revocation) until(maxAge time.Duration) time.Time {
	return time.Unix(max(v.at, v.clock), 0).Add(maxAge)
}

// The kinds of endings.
const (
	endingSession = 1
	endingAccount = 2
	endingSID     = 3
)

// encode returns the ending of a revocation.
func (n revokedName) encode(v revocation) []byte {
	e := compact.Encoder{B: []byte{endingSID}}
	if n.sid == "" {
		e.B[0] = endingAccount
	}
	e.B = binary.BigEndian.AppendUint16(e.B, v.before.Era)
	for _, number := range [...]uint64{v.before.Position, uint64(v.at), uint64(v.clock)} { // #nosec G115 -- Unix times
		e.B = binary.AppendUvarint(e.B, number)
	}
	if n.sid != "" {
		e.Text(n.sid)
		return e.B
	}
	e.Text(n.account.first)
	e.Text(n.account.second)
	return e.B
}

// encode returns the ending of a session.
func (e *endedSession) encode() []byte {
	b := append([]byte{endingSession}, e.id[:]...)
	b = binary.BigEndian.AppendUint64(b, e.account)
	b = binary.AppendUvarint(b, uint64(e.from))     // #nosec G115 -- Unix times
	return binary.AppendUvarint(b, uint64(e.until)) // #nosec G115
}

// Apply notes what another process has returned as endings, one after the other.
// It returns [compact.ErrMalformed] for what it does not understand.
func (s *Revoked) Apply(endings []byte) error {
	d := compact.Decoder{B: endings}
	for !d.Done() && !d.Bad {
		switch kind := d.Flags(); kind {
		case endingSession:
			var e endedSession
			copy(e.id[:], d.Bytes(len(e.id)))
			if account := d.Bytes(8); len(account) == 8 {
				e.account = binary.BigEndian.Uint64(account)
			}
			e.from, e.until = int64(d.Uvarint()), int64(d.Uvarint()) // #nosec G115 -- anything is a time
			if !d.Bad {
				s.sessions.add(e)
			}
		case endingAccount, endingSID:
			v := revocation{before: decodePlace(&d), at: int64(d.Uvarint()), clock: int64(d.Uvarint())} // #nosec G115
			var name revokedName
			if kind == endingSID {
				name.sid = d.Text()
				d.Bad = d.Bad || name.sid == ""
			} else {
				name.account = accountName{strings.Clone(d.Text()), strings.Clone(d.Text())}
			}
			if !d.Bad {
				s.note(name, v)
			}
		default:
			d.Bad = true
		}
	}
	if d.Bad {
		return compact.ErrMalformed
	}
	return nil
}

// Endings calls yield with what has become known before the last [Revoked.Restart],
// and not again since, as endings of 32 KB together, until yield returns false.
func (s *Revoked) Endings(yield func(endings []byte) bool) {
	const enough = 32 << 10
	var b []byte
	more := true
	add := func(ending []byte) bool {
		if b = append(b, ending...); len(b) >= enough {
			more, b = yield(b), nil
		}
		return more
	}
	epoch := s.sessions.epoch.Load()
	s.accounts.Range(func(name accountName, v revocation) bool {
		return v.epoch == epoch || add(revokedName{account: name}.encode(v))
	})
	if more {
		s.sids.Range(func(sid string, v revocation) bool { return v.epoch == epoch || add(revokedName{sid: sid}.encode(v)) })
	}
	if more {
		s.sessions.missing(func(e endedSession) bool { return add(e.encode()) })
	}
	if more && len(b) > 0 {
		yield(b)
	}
}

// Restart begins to count anew what has become known: the log has lost its entries.
func (s *Revoked) Restart() { s.sessions.restart() }

// tagOf returns a number for an account, the same in all processes.
func tagOf(name accountName) uint64 {
	sum := sha256.Sum256([]byte(name.first + "\x00" + name.second))
	return binary.BigEndian.Uint64(sum[:])
}

// covered returns, by the tags of accounts, until when sessions of theirs have
// ended whatever their ids.
func (s *Revoked) covered() map[uint64]int64 {
	tags := map[uint64]int64{}
	s.accounts.Range(func(name accountName, v revocation) bool {
		tags[tagOf(name)&^seenBit] = max(v.at-clockLeeway-1, v.clock)
		return true
	})
	return tags
}
