package session

import (
	"cmp"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
)

// AttemptLifetime is how long a sign-in may take.
const AttemptLifetime = 30 * time.Minute

// An Attempt is one sign-in under way. The server keeps nothing of it: all that
// must come back travels through Microsoft in the sealed state parameter, and a
// cookie of the attempt's own binds it to this browser. Attempts in other tabs
// have their own.
type Attempt struct {
	// ID names the attempt.
	ID   AttemptID
	seed [32]byte // for Verifier and Nonce
	// Binding is the digest of the attempt's cookie: see Bind.
	Binding [sha256.Size]byte

	// ReturnTo is the address to return to afterwards.
	ReturnTo string
	// Cut says that state had no room for all of ReturnTo.
	Cut bool
	// Kept says that the browser has sent all of ReturnTo in its cookie: see
	// Attempts.KeepAddress. It is not part of state.
	Kept bool
	// Host is the host at which the sign-in began, "" for that of Config.BaseURL
	// of package msauth.
	Host string
	// AppState is the app's own text.
	AppState string
	// Rounds counts the sign-ins right before, each after the other; 15 at most.
	Rounds uint8
	// Challenged says that the code of the previous attempt was refused with a
	// claims challenge, which this one is to meet. A second challenge ends the
	// sign-in.
	Challenged bool
	// First is when the challenged attempt began, in Unix seconds: credentials
	// entered since then count. It is 0 if there was none.
	First int64
	// Retried says that the previous attempt came back without its cookie. This
	// one began in the browser in which that one ended.
	Retried bool
	// ReturnDeclined says that the browser is led back to ReturnTo also if the person
	// declines.
	ReturnDeclined bool
	// Unseen says that this attempt has come back without its cookie. It is not
	// part of state.
	Unseen bool

	// Scopes are those that were asked for beyond Config.Scopes of package msauth,
	// separated by spaces.
	Scopes string
	// Asked is the digest of the requirement that the sign-in is to meet.
	Asked provider.RequirementDigest
	// User is the app's user who connects an account, "" for a sign-in.
	User string
	// Contexts are the authentication contexts that were asked for.
	Contexts []string
	// MaxAge is how long ago the person may have entered credentials, in whole
	// seconds; 0 for any time.
	MaxAge time.Duration
}

// An AttemptID names an attempt. It begins with the time, so that ids sort by
// age; the rest is random.
type AttemptID [8]byte

// String returns the id in hexadecimal.
func (id AttemptID) String() string { return hex.EncodeToString(id[:]) }

func (id AttemptID) started() time.Time { return time.Unix(int64(binary.BigEndian.Uint32(id[:4])), 0) }

// Began returns when the attempt began, in Unix seconds, or the one before if
// that was challenged: see First.
func (a *Attempt) Began() int64 { return cmp.Or(a.First, a.ID.started().Unix()) }

// NewAttempt makes an attempt that begins now, and the value of its cookie.
func NewAttempt() (a *Attempt, cookie string) {
	a = &Attempt{}
	binary.BigEndian.PutUint32(a.ID[:4], uint32(time.Now().Unix()))
	seal.RandomBytes(a.ID[4:])
	seal.RandomBytes(a.seed[:])
	var value [16]byte
	seal.RandomBytes(value[:])
	cookie = seal.Base64url.EncodeToString(value[:])
	a.Binding = a.Bind(cookie)
	return a, cookie
}

// Bind returns what Binding is if cookie is the attempt's own.
func (a *Attempt) Bind(cookie string) [sha256.Size]byte {
	return sha256.Sum256([]byte("msauth attempt v1\x00" + string(a.ID[:]) + cookie))
}

// Verifier returns the PKCE code verifier (RFC 7636). Like Nonce it takes the
// seed from state and the salt from the cookie: neither value follows from a
// leaked URL, even for somebody who has the keys.
func (a *Attempt) Verifier(cookie string) seal.Secret {
	return seal.Secret(a.stretch(cookie, "msauth pkce v1", 32))
}

// Nonce returns the nonce that the ID token must repeat.
func (a *Attempt) Nonce(cookie string) string { return a.stretch(cookie, "msauth nonce v1", 16) }

func (a *Attempt) stretch(cookie, purpose string, n int) string {
	// Fails only for lengths beyond 255 hashes.
	b, _ := hkdf.Key(sha256.New, a.seed[:], []byte(cookie), purpose, n)
	return seal.Base64url.EncodeToString(b)
}

// NonceDigest returns what a session keeps of its nonce.
func NonceDigest(nonce string) (digest [8]byte) {
	sum := sha256.Sum256([]byte(nonce))
	copy(digest[:], sum[:])
	return digest
}
