package seal_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/internal/seal"
)

// Two master keys as an app could have them.
var (
	keyA = bytes.Repeat([]byte{1, 2, 3, 4}, 8)
	keyB = bytes.Repeat([]byte{5, 6, 7, 8}, 8)
)

func keyring(tb testing.TB, keys ...[]byte) *seal.Keyring {
	tb.Helper()
	ring, err := seal.NewKeyring(keys)
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

func TestNewKeyring(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		keys [][]byte
		want string // the error's text
	}{
		{"one key", [][]byte{keyA}, ""},
		{"several keys", [][]byte{keyA, keyB, keyA}, ""},
		{"no list", nil, "is empty: want at least one key of 32 random bytes"},
		{"empty list", [][]byte{}, "is empty: want at least one key of 32 random bytes"},
		{"empty key", [][]byte{{}}, "cannot be used: Keys[0] is empty, want 32 random bytes"},
		{"key of AES-128", [][]byte{keyA[:16]}, "cannot be used: Keys[0] has 16 bytes, want 32 random bytes (is it still encoded?)"},
		{"key in hexadecimal", [][]byte{fmt.Appendf(nil, "%x", keyA)}, "cannot be used: Keys[0] has 64 bytes, want 32 random bytes (is it still encoded?)"},
		{"second key too short", [][]byte{keyA, keyB[:31]}, "cannot be used: Keys[1] has 31 bytes, want 32 random bytes (is it still encoded?)"},
		{"zeros", [][]byte{make([]byte, 32)}, "cannot be used: Keys[0] is the same byte 32 times, want 32 random bytes"},
		{"one byte repeated", [][]byte{keyA, bytes.Repeat([]byte("x"), 32)}, "cannot be used: Keys[1] is the same byte 32 times, want 32 random bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ring, err := seal.NewKeyring(test.keys)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want || (err == nil) != (ring != nil) {
				t.Errorf("%v and %q, want %q", ring, got, test.want)
			}
		})
	}
}

// What the app does with its slices afterwards changes nothing.
func TestKeyringCopiesKeys(t *testing.T) {
	t.Parallel()
	key := bytes.Clone(keyA)
	ring := keyring(t, key)
	clear(key)
	if _, _, err := ring.Derive("test v1").Open(keyring(t, keyA).Derive("test v1").Seal([]byte("plain"), nil), nil); err != nil {
		t.Errorf("after the app's key was cleared: %v", err)
	}
}

// Operators compare the IDs of servers and versions.
func TestKeyIDs(t *testing.T) {
	t.Parallel()
	ids := keyring(t, keyA, keyB).IDs()
	if want := []string{"1303bfc2", "3cef702c"}; !slices.Equal(ids, want) {
		t.Errorf("IDs %q, want %q as in earlier versions", ids, want)
	}
	if other := keyring(t, keyB, keyA).IDs(); other[0] != ids[1] || other[1] != ids[0] {
		t.Errorf("IDs %q and, in the other order, %q", ids, other)
	}
	if hex := fmt.Sprintf("%x", keyA); strings.Contains(hex, ids[0]) {
		t.Errorf("ID %s is part of the key", ids[0])
	}
}
