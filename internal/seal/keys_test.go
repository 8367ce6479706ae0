package seal_test

import (
	"bytes"
	"errors"
	"testing"

	"example.com/msauth/internal/seal"
)

// A sealed value opens only with the key, for the purpose and with the
// additional data that it was sealed with. One thing is changed in each row.
func TestWhatOpens(t *testing.T) {
	t.Parallel()
	type bound struct {
		keys             [][]byte
		purpose, forWhom string
	}
	sealed := bound{[][]byte{keyA}, "test v1", "whose"}
	tests := []struct {
		name   string
		opener bound
		old    bool
		want   error
	}{
		{"the same", sealed, false, nil},
		{"key and a new one after it", bound{[][]byte{keyA, keyB}, "test v1", "whose"}, false, nil},
		{"a new key before it", bound{[][]byte{keyB, keyA}, "test v1", "whose"}, true, nil},
		{"the same key twice", bound{[][]byte{keyA, keyA}, "test v1", "whose"}, false, nil},
		{"another key", bound{[][]byte{keyB}, "test v1", "whose"}, false, seal.ErrNotSealed},
		{"other keys", bound{[][]byte{keyB, keyB}, "test v1", "whose"}, false, seal.ErrNotSealed},
		{"another purpose", bound{[][]byte{keyA}, "test v2", "whose"}, false, seal.ErrNotSealed},
		{"no purpose", bound{[][]byte{keyA}, "", "whose"}, false, seal.ErrNotSealed},
		{"for somebody else", bound{[][]byte{keyA}, "test v1", "else"}, false, seal.ErrNotSealed},
		{"for nobody", bound{[][]byte{keyA}, "test v1", ""}, false, seal.ErrNotSealed},
		{"purpose and owner swapped", bound{[][]byte{keyA}, "whose", "test v1"}, false, seal.ErrNotSealed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, plain := range []string{"", "plain", string(make([]byte, 5000))} {
				box := keyring(t, sealed.keys...).Derive(sealed.purpose).Seal([]byte(plain), []byte(sealed.forWhom))
				if len(box) != len(plain)+seal.SealOverhead {
					t.Errorf("%d bytes take %d", len(plain), len(box))
				}
				got, old, err := keyring(t, test.opener.keys...).Derive(test.opener.purpose).Open(box, []byte(test.opener.forWhom))
				if !errors.Is(err, test.want) || old != test.old {
					t.Errorf("old %t, error %v; want %t, %v", old, err, test.old, test.want)
				}
				if test.want == nil && string(got) != plain || test.want != nil && got != nil {
					t.Errorf("%q opens as %q", plain, got)
				}
			}
		})
	}
}

// No bit of a sealed value can be changed, and no byte left out or added.
func TestAlteredValuesDoNotOpen(t *testing.T) {
	t.Parallel()
	for _, ring := range []*seal.Keyring{keyring(t, keyA), keyring(t, keyB, keyA)} {
		keys := ring.Derive("test v1")
		box := keys.Seal([]byte("plain"), []byte("whose"))
		refuse := func(what string, at int, altered []byte) {
			if plain, _, err := keys.Open(altered, []byte("whose")); err != seal.ErrNotSealed || plain != nil {
				t.Errorf("%s, byte %d: %q, %v", what, at, plain, err)
			}
		}
		for i := range box {
			altered := bytes.Clone(box)
			altered[i] ^= 1 << (i % 8)
			refuse("a changed bit", i, altered)
			refuse("cut off", i, bytes.Clone(box[:i]))
			refuse("left out", i, append(bytes.Clone(box[:i]), box[i+1:]...))
		}
		refuse("added", len(box), append(bytes.Clone(box), 0))
		refuse("nothing", 0, nil)
	}
}

// The first key of a ring seals: a server that has the new key only opens it.
func TestFirstKeySeals(t *testing.T) {
	t.Parallel()
	box := keyring(t, keyB, keyA).Derive("test v1").Seal([]byte("plain"), nil)
	if _, _, err := keyring(t, keyA).Derive("test v1").Open(bytes.Clone(box), nil); err != seal.ErrNotSealed {
		t.Errorf("with the second key: %v", err)
	}
	if _, _, err := keyring(t, keyB).Derive("test v1").Open(box, nil); err != nil {
		t.Errorf("with the first key: %v", err)
	}
}

// The nonce is random: equal values cannot be told from different ones.
func TestEqualValuesLookDifferent(t *testing.T) {
	t.Parallel()
	keys := keyring(t, keyA).Derive("test v1")
	plain := []byte("plain")
	one, other := keys.Seal(plain, nil), keys.Seal(plain, nil)
	if bytes.Equal(one, other) || bytes.Equal(one[:12], other[:12]) {
		t.Errorf("sealed twice: %x and %x", one, other)
	}
	if string(plain) != "plain" {
		t.Errorf("the caller's bytes became %q", plain)
	}
}
