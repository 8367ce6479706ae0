package seal

import (
	"crypto/cipher"
	"errors"
	"sync/atomic"
)

// ErrNotSealed is the error for everything that does not open: sealed with
// other keys, for another purpose or place, altered, or never sealed.
var ErrNotSealed = errors.New("msauth: sealed with another key, or altered")

// SealOverhead is how many bytes sealing adds: a nonce of 12 and a tag of 16.
const SealOverhead = 12 + 16

// Keys are the derived keys of one purpose: the first seals, all open. They are
// always those of their [Keyring], and safe for concurrent use. Nonces are random
// and have 96 bits, which limits each key to 2^32 values (NIST SP 800-38D section
// 8.3).
type Keys struct {
	ring    *Keyring
	derived atomic.Pointer[aeads]
}

// Seal returns nonce, ciphertext and tag in a new slice. The result opens only
// with the same additional data, which it does not contain.
func (k *Keys) Seal(plain, additional []byte) []byte {
	return k.derived.Load().seal(plain, additional)
}

// Open returns what Seal was given, or [ErrNotSealed]. It decrypts in place:
// plain may share the memory of box, which is of no use afterwards. old reports
// that box was sealed with a key that no longer seals, and should be sealed
// again.
func (k *Keys) Open(box, additional []byte) (plain []byte, old bool, err error) {
	return k.derived.Load().open(box, additional)
}

// Again reports whether to try once more what did not open. If so, it has brought
// the keys up to date ([Keyring.Look]): another server may have sealed it with a
// key that this one did not have yet.
func (k *Keys) Again() bool { return k.ring.again() }

// aeads are keys as they were at some time.
type aeads []cipher.AEAD

func (a aeads) seal(plain, additional []byte) []byte {
	return a[0].Seal(make([]byte, 0, len(plain)+SealOverhead), nil, plain, additional) // #nosec G407 -- these AEADs draw the nonce themselves
}

func (a aeads) open(box, additional []byte) (plain []byte, old bool, err error) {
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
