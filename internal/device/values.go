package device

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"example.com/msauth/internal/seal"
)

// How long values last.
const (
	// ChallengeLife is how long a challenge can be answered.
	ChallengeLife = 1 * time.Minute
	// Life is how long a proof counts: until then a page needs no other.
	Life = 10 * time.Minute
)

// An ID is that of a session.
type ID = [8]byte

// Next returns the ID of the session that takes the place of another one when a key is
// registered. It is known before, so that whoever ends one of them can end both.
func Next(id ID) ID {
	sum := sha256.Sum256(append([]byte("msauth bound session v1\x00"), id[:]...))
	return ID(sum[:])
}

// A Bound is what the bound cookie says. The zero value says nothing.
type Bound struct {
	// ID is the session that is bound, Before the one that it has taken the place of
	// when the key was registered.
	ID, Before ID
	// Key names the key that has signed.
	Key Digest
	// Proved is when the challenge was made, in Unix seconds.
	Proved int64
}

// Ends returns when the proof no longer counts.
func (b Bound) Ends() time.Time { return time.Unix(b.Proved, 0).Add(Life) }

// Once returns an ID for the fact that a key has been registered for a session.
func Once(id ID) ID {
	sum := sha256.Sum256(append([]byte("msauth registered session v1\x00"), id[:]...))
	return ID(sum[:])
}

// An Identifier is what the browser is told to call the binding.
type Identifier struct {
	ID, Before ID
	Key        *Key
	// Begun is when the key was registered, in Unix seconds.
	Begun int64
}

// A Purpose is what a challenge is for.
type Purpose byte

const (
	// Register is for the registration of a key.
	Register Purpose = 'r'
	// Refresh is for a key that is registered.
	Refresh Purpose = 'f'
)

// Values seals and opens what travels through the browser.
type Values struct {
	cookies, identifiers *seal.Keys
	challenges           *seal.DailyKeys
	cookieData, data     []byte
}

// NewValues returns the values of an app's registration.
func NewValues(ring *seal.Keyring, registration []byte) *Values {
	return &Values{
		cookies: ring.Derive("msauth bound cookie v1"), identifiers: ring.Derive("msauth device identifier v1"),
		challenges: ring.Daily("msauth device challenge v1"),
		cookieData: fmt.Appendf(nil, "msauth bound cookie v1\x00%x", registration),
		data:       fmt.Appendf(nil, "msauth device v1\x00%x", registration),
	}
}

// Seal returns the value of the bound cookie, of 75 characters.
func (v *Values) Seal(b Bound) string {
	plain := make([]byte, 0, 28)
	plain = append(append(append(plain, b.ID[:]...), b.Before[:]...), b.Key[:]...)
	plain = binary.BigEndian.AppendUint32(plain, uint32(b.Proved))
	return seal.Base64url.EncodeToString(v.cookies.Seal(plain, v.cookieData))
}

// Open undoes Seal; ok is false for any other text, "" included.
func (v *Values) Open(text string) (b Bound, ok bool) {
	if len(text) != 75 {
		return b, false
	}
	box, err := seal.DecodeText(text)
	if err != nil {
		return b, false
	}
	plain, _, err := v.cookies.Open(box, v.cookieData)
	if err != nil || len(plain) != 28 {
		return b, false
	}
	copy(b.ID[:], plain)
	copy(b.Before[:], plain[8:])
	copy(b.Key[:], plain[16:])
	b.Proved = int64(binary.BigEndian.Uint32(plain[24:]))
	return b, true
}

// Challenge returns a challenge for a session.
func (v *Values) Challenge(p Purpose, id ID) string {
	plain := append([]byte{byte(p)}, id[:]...)
	return v.challenges.Seal(binary.BigEndian.AppendUint64(plain, uint64(time.Now().Unix())), v.data)
}

var (
	// ErrStale means that a challenge was made too long ago.
	ErrStale = errors.New("msauth: device: the challenge is too old")
	errOther = errors.New("msauth: device: the challenge is none, or another session's")
)

// Answered returns the session that a challenge is for, and when it was made, in Unix
// seconds.
func (v *Values) Answered(challenge string, p Purpose) (id ID, made int64, err error) {
	plain, err := v.challenges.Open(challenge, v.data)
	if err != nil || len(plain) != 17 || Purpose(plain[0]) != p {
		return id, 0, errOther
	}
	made = int64(binary.BigEndian.Uint64(plain[9:]))
	if age := time.Since(time.Unix(made, 0)); age > ChallengeLife || age < -ChallengeLife {
		return id, 0, ErrStale
	}
	return ID(plain[1:9]), made, nil
}

// AnsweredFor is Answered for a challenge that must be for a certain session.
func (v *Values) AnsweredFor(challenge string, p Purpose, id ID) (made int64, err error) {
	of, made, err := v.Answered(challenge, p)
	if err == nil && of != id {
		return 0, errOther
	}
	return made, err
}

// Identify returns the text of an identifier.
func (v *Values) Identify(i Identifier) string {
	plain := append(append(make([]byte, 0, 20+len(i.Key.der)), i.ID[:]...), i.Before[:]...)
	plain = binary.BigEndian.AppendUint32(plain, uint32(i.Begun))
	return seal.Base64url.EncodeToString(v.identifiers.Seal(append(plain, i.Key.der...), v.data))
}

// maxIdentifier limits the text of an identifier: an RSA key of 4096 bits has 550 bytes.
const maxIdentifier = 900

// Identified undoes Identify.
func (v *Values) Identified(text string) (i Identifier, err error) {
	none := errors.New("msauth: device: the identifier is none of this app's")
	if len(text) > maxIdentifier {
		return i, none
	}
	box, err := seal.DecodeText(text)
	if err != nil {
		return i, none
	}
	plain, _, err := v.identifiers.Open(box, v.data)
	if err != nil || len(plain) < 20 {
		return i, none
	}
	copy(i.ID[:], plain)
	copy(i.Before[:], plain[8:])
	i.Begun = int64(binary.BigEndian.Uint32(plain[16:]))
	i.Key, err = ParseKey(plain[20:])
	return i, err
}
