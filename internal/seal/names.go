package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"sync/atomic"
)

// Names are names for values that are kept where others can read them: they tell
// nothing of the text that they stand for to whoever lacks the keys, who cannot try
// texts either. They are HMAC-SHA256 of the text with a key derived for them.
type Names struct {
	keys atomic.Pointer[[][]byte]
}

// Names returns the names of one purpose. The ring keeps them: call it once for
// each purpose.
func (k *Keyring) Names(purpose string) *Names {
	n := &Names{}
	k.follow(func(masters [][]byte) {
		keys := make([][]byte, len(masters))
		for i, master := range masters {
			keys[i], _ = hkdf.Key(sha256.New, master, nil, purpose, KeyLength) // Replace has tried it
		}
		n.keys.Store(&keys)
	})
	return n
}

// Of returns the name of a text under each key: the first is for new values, the
// others are of values from before the keys were changed.
func (n *Names) Of(text string) []string {
	keys := *n.keys.Load()
	names := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		names[i] = Base64url.EncodeToString(mac.Sum(nil)[:16])
	}
	return names
}
