package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// KeyLength is the length of a master key in bytes, and of the AES-256 keys
// derived from it.
const KeyLength = 32

// A Keyring holds an app's master keys, the current one first. It seals nothing
// itself: see [Keyring.Derive] and [Keyring.Daily].
type Keyring [][]byte

// NewKeyring copies keys and checks them: at least one, each of [KeyLength]
// bytes that are not all the same. The text of an error completes a sentence
// that begins with the name of the setting.
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

// IDs returns a short name for each key, by which an operator can see whether
// two servers have the same keys. A name is the digest of a key derived for
// nothing else, so it tells nothing about the master key.
func (k Keyring) IDs() []string {
	ids := make([]string, len(k))
	for i, master := range k {
		derived, _ := hkdf.Key(sha256.New, master, nil, "msauth key id v1", KeyLength) // NewKeyring has tried it
		digest := sha256.Sum256(derived)
		ids[i] = hex.EncodeToString(digest[:4])
	}
	return ids
}

// Derive returns the keys of one purpose. It cannot fail: whether derivation
// works depends only on constant lengths, and [NewKeyring] has tried it.
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
