package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
)

// KeyLength is the length of a master key in bytes, and of the AES-256 keys
// derived from it.
const KeyLength = 32

// A Keyring holds an app's master keys, the current one first. It seals nothing
// itself: see [Keyring.Derive] and [Keyring.Daily]. Its keys can be replaced
// while it is used; what was derived from it follows.
type Keyring struct {
	// Look, if it is set, finds out whether there are other keys, and replaces
	// those of the ring if there are: see [Keys.Again]. It must be set before
	// the ring is used.
	Look func()

	mu        sync.Mutex
	masters   [][]byte
	followers []func(masters [][]byte) // what was derived, to be told of other keys
}

// NewKeyring copies keys and checks them: at least one, each of [KeyLength]
// bytes that are not all the same. The text of an error completes a sentence
// that begins with the name of the setting.
func NewKeyring(keys [][]byte) (*Keyring, error) {
	k := &Keyring{}
	if err := k.Replace(keys); err != nil {
		return nil, err
	}
	return k, nil
}

// Replace gives the ring other keys, which it copies and checks as [NewKeyring]
// does. If it returns an error, nothing has changed. Once it has returned, nothing
// is sealed with a key that is not the first, or opened with one that is gone.
func (k *Keyring) Replace(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("is empty: want at least one key of 32 random bytes")
	}
	masters := make([][]byte, len(keys))
	for i, key := range keys {
		if len(key) == 0 {
			return fmt.Errorf("cannot be used: Keys[%d] is empty, want 32 random bytes", i)
		}
		if len(key) != KeyLength {
			return fmt.Errorf("cannot be used: Keys[%d] has %d bytes, want 32 random bytes (is it still encoded?)", i, len(key))
		}
		if oneByte(key) {
			return fmt.Errorf("cannot be used: Keys[%d] is the same byte 32 times, want 32 random bytes", i)
		}
		masters[i] = bytes.Clone(key)
	}
	if _, err := derive(masters, "msauth self-test"); err != nil {
		return fmt.Errorf("cannot be used with this build's cryptography: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.masters = masters
	for _, tell := range k.followers {
		tell(masters)
	}
	return nil
}

// oneByte reports whether key is one byte, repeated.
func oneByte(key []byte) bool { return bytes.Count(key, key[:1]) == len(key) }

// follow calls tell with the ring's keys, now and whenever they are replaced, as
// long as the ring exists.
func (k *Keyring) follow(tell func(masters [][]byte)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.followers = append(k.followers, tell)
	tell(k.masters)
}

// again calls Look. It reports whether there is a Look.
func (k *Keyring) again() bool {
	if k.Look == nil {
		return false
	}
	k.Look()
	return true
}

// IDs returns a short name for each key, by which an operator can see whether
// two servers have the same keys. A name is the digest of a key derived for
// nothing else, so it tells nothing about the master key.
func (k *Keyring) IDs() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	ids := make([]string, len(k.masters))
	for i, master := range k.masters {
		derived, _ := hkdf.Key(sha256.New, master, nil, "msauth key id v1", KeyLength) // Replace has tried it
		digest := sha256.Sum256(derived)
		ids[i] = hex.EncodeToString(digest[:4])
	}
	return ids
}

// Format implements [fmt.Formatter]. It prints no key, whatever the verb.
func (k *Keyring) Format(f fmt.State, _ rune) { fmt.Fprint(f, "seal.Keyring") }

// Derive returns the keys of one purpose. It cannot fail: whether derivation
// works depends only on constant lengths, and [NewKeyring] has tried it. The ring
// keeps what it has derived: call it once for each purpose.
func (k *Keyring) Derive(purpose string) *Keys {
	keys := &Keys{ring: k}
	k.follow(func(masters [][]byte) {
		derived, _ := derive(masters, purpose)
		keys.derived.Store(&derived)
	})
	return keys
}

// derive returns the keys of one purpose.
func derive(masters [][]byte, purpose string) (aeads, error) {
	derived := make(aeads, len(masters))
	for i, master := range masters {
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
