package renew

import (
	"crypto/sha256"
	"encoding/binary"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

// A Key stands for a refresh token, or for something else that a token request
// is made for, in place of the text itself: memory holds no more tokens than it
// must. Two registrations never have the same key for the same text.
type Key [sha256.Size]byte

// Key returns the key of a refresh token. Texts that are none begin with a zero
// byte, so that they are not taken for one.
func (r *Renewals) Key(refresh seal.Secret) Key {
	h := sha256.New()
	h.Write(r.Registration[:])
	h.Write([]byte(refresh))
	return Key(h.Sum(nil))
}

// RequestKey returns the key of a session's token request. Two challenges that
// differ only in the time they name are the same.
func (r *Renewals) RequestKey(id session.ID, w TokenRequest) Key {
	h := sha256.New()
	h.Write(r.Registration[:])
	h.Write(id[:])
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(w.Scopes))) // #nosec G115 -- at most 400 bytes, by provider.Scopes.Check
	h.Write(n[:])
	h.Write([]byte(w.Scopes))
	claims := provider.Requirement{Claims: w.Claims}.Digest()
	h.Write(claims[:])
	return Key(h.Sum(nil))
}

// ownKey returns the key under which renewals of a session's own tokens are
// known: the session's newest refresh token, or the user whose tokens are stored.
func (r *Renewals) ownKey(rec *session.Record, refresh seal.Secret) Key {
	if rec.UserKey != "" {
		return r.ownerKey(rec)
	}
	return r.Key(refresh)
}

// ownerKey returns the key of the app's user and the account that a session is
// of. ForgetStored changes it.
func (r *Renewals) ownerKey(rec *session.Record) Key {
	user := r.userKey(rec.UserKey)
	h := sha256.New()
	h.Write(user[:])
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], r.stored.generation(user))
	h.Write(n[:])
	h.Write([]byte(rec.User.Key()))
	return Key(h.Sum(nil))
}

// userKey returns the key of one of the app's users.
func (r *Renewals) userKey(user string) Key { return r.Key(seal.Secret("\x00user " + user)) }

// sessionKey returns the key of a session that has no refresh token.
func (r *Renewals) sessionKey(id session.ID) Key {
	return r.Key(seal.Secret("\x00session " + string(id[:])))
}

// unsavedKey returns the key of the sign-in whose tokens an entry has.
func (r *Renewals) unsavedKey(rec *session.Record) Key {
	return r.Key(seal.Secret("\x00late " + string(rec.ID[:]) + rec.UserKey))
}
