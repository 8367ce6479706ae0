package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/securecookie"
)

// RandomBytes fills b. crypto/rand never fails: it ends the program instead.
func RandomBytes(b []byte) { rand.Read(b) }

// KeyLength is that of AES-256.
const KeyLength = 32

// Base64url is the one encoding of everything sealed.
var Base64url = base64.RawURLEncoding.Strict()

// DecodeText accepts one text only of the several that would decode to the
// same bytes.
func DecodeText(text string) ([]byte, error) { return DecodeBase64(Base64url, text) }

// DecodeBase64 is exact: what it accepts is what encoding, which must be a
// strict one, makes of the bytes. encoding/base64 skips line breaks.
func DecodeBase64(encoding *base64.Encoding, text string) ([]byte, error) {
	if strings.IndexByte(text, '\r') >= 0 || strings.IndexByte(text, '\n') >= 0 {
		return nil, ErrNotSealed
	}
	return encoding.DecodeString(text)
}

// A Keyring holds the app's master keys. They seal nothing themselves: each
// purpose has keys derived from them, so that a box made for one is noise to
// another.
type Keyring [][]byte

func NewKeyring(keys [][]byte) (Keyring, error) {
	if len(keys) == 0 {
		return nil, errors.New("is empty: want at least one key of 32 random bytes")
	}
	ring := make(Keyring, len(keys))
	for i, key := range keys {
		if len(key) != KeyLength {
			return nil, fmt.Errorf("cannot be used: Keys[%d] has %d bytes, want 32 random bytes (is it still encoded?)", i, len(key))
		}
		same := true
		for _, b := range key {
			same = same && b == key[0]
		}
		if same {
			return nil, fmt.Errorf("cannot be used: Keys[%d] is the same byte 32 times, want 32 random bytes", i)
		}
		ring[i] = append([]byte(nil), key...)
	}
	if _, err := ring.tryDerive("msauth self-test"); err != nil {
		return nil, fmt.Errorf("cannot be used with this build's cryptography: %w", err)
	}
	return ring, nil
}

// IDs are names for the keys, by which servers can be compared: of a digest of
// what is derived for this purpose only, so that they say nothing of the keys.
func (k Keyring) IDs() []string {
	ids := make([]string, len(k))
	for i, master := range k {
		derived, _ := hkdf.Key(sha256.New, master, nil, "msauth key id v1", KeyLength) // was tried by newKeyring
		digest := sha256.Sum256(derived)
		ids[i] = hex.EncodeToString(digest[:4])
	}
	return ids
}

// Derive makes the keys of one purpose. Whether that works depends on nothing
// but lengths, which are constants, and was tried by newKeyring.
func (k Keyring) Derive(purpose string) Keys {
	derived, _ := k.tryDerive(purpose)
	return derived
}

func (k Keyring) tryDerive(purpose string) (Keys, error) {
	derived := make(Keys, len(k))
	for i, master := range k {
		key, err := hkdf.Key(sha256.New, master, nil, purpose, KeyLength)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		if derived[i], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, err
		}
	}
	return derived, nil
}

// Keys are the derived keys of one purpose: the first seals, all open. The
// random 96-bit nonces bound each to 2^32 seals (NIST SP 800-38D section 8.3).
type Keys []cipher.AEAD

var ErrNotSealed = errors.New("msauth: sealed with another key, or altered")

// leastSealed is fewer characters than any state of ours has.
const leastSealed = 100

// LooksSealed reports whether a text could be one that this package has sealed,
// with whichever key.
func LooksSealed(text string) bool {
	if len(text) < leastSealed {
		return false
	}
	_, err := DecodeText(text)
	return err == nil
}

// SealOverhead is what sealing adds: nonce and tag.
const SealOverhead = 12 + 16

// Seal returns nonce, ciphertext and tag in a slice of its own.
func (a Keys) Seal(plain, additional []byte) []byte {
	return a[0].Seal(make([]byte, 0, len(plain)+SealOverhead), nil, plain, additional) // #nosec G407 -- these AEADs draw the nonce themselves
}

// Open decrypts box in place; with a single key box is spoilt when it fails.
// old reports that a key opened it that no longer seals.
func (a Keys) Open(box, additional []byte) (plain []byte, old bool, err error) {
	for i, key := range a {
		attempt := box
		if i < len(a)-1 {
			attempt = append([]byte(nil), box...) // a failed Open leaves zeros behind
		}
		if plain, err = key.Open(attempt[:0], nil, attempt, additional); err == nil {
			return plain, i > 0, nil
		}
	}
	return nil, false, ErrNotSealed
}

// DailyKeys derive a key per UTC day, for boxes that strangers can have made
// at will: the bound on random nonces then counts anew every day. The keys of
// today and yesterday open.
type DailyKeys struct {
	ring    Keyring
	purpose string

	mu   sync.Mutex
	days map[int64]Keys
}

func (k Keyring) Daily(purpose string) *DailyKeys {
	return &DailyKeys{ring: k, purpose: purpose, days: map[int64]Keys{}}
}

func (d *DailyKeys) of(day int64) Keys {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys, ok := d.days[day]
	if !ok {
		for other := range d.days {
			if other < day-1 || other > day+1 {
				delete(d.days, other)
			}
		}
		keys = d.ring.Derive(fmt.Sprintf("%s %d", d.purpose, day))
		d.days[day] = keys
	}
	return keys
}

func today() int64 { return time.Now().Unix() / 86400 }

func (d *DailyKeys) Seal(plain, additional []byte) string {
	return Base64url.EncodeToString(d.of(today()).Seal(plain, additional))
}

func (d *DailyKeys) Open(text string, additional []byte) ([]byte, error) {
	box, err := DecodeText(text)
	if err != nil {
		return nil, ErrNotSealed
	}
	day := today()
	if plain, _, err := d.of(day).Open(append([]byte(nil), box...), additional); err == nil {
		return plain, nil
	}
	plain, _, err := d.of(day-1).Open(box, additional)
	return plain, err
}

// A Codec encrypts values under a name. It is the [securecookie.Codec] of
// this package: one base64url, no limit of its own on the length, and no age,
// which belongs into the value. It takes []byte as it is and anything else
// through encoding/gob.
type Codec struct{ Keys Keys }

var _ securecookie.Codec = Codec{}

// Encode implements [securecookie.Codec].
func (s Codec) Encode(name string, value any) (string, error) {
	plain, ok := value.([]byte)
	if !ok {
		var err error
		if plain, err = (securecookie.GobEncoder{}).Serialize(value); err != nil {
			return "", err
		}
	}
	return Base64url.EncodeToString(s.Keys.Seal(plain, []byte(name))), nil
}

// Decode implements [securecookie.Codec].
func (s Codec) Decode(name, text string, dst any) error {
	box, err := DecodeText(text)
	if err != nil {
		return ErrNotSealed
	}
	plain, _, err := s.Keys.Open(box, []byte(name))
	if err != nil {
		return err
	}
	if raw, ok := dst.(*[]byte); ok {
		*raw = plain
		return nil
	}
	return (securecookie.GobEncoder{}).Deserialize(plain, dst)
}

// SameText compares without telling by the time taken where texts differ.
func SameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
