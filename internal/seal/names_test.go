package seal

import (
	"regexp"
	"slices"
	"testing"
)

// A text has one name under each key, the same in each process with that key, and
// another for another purpose; the name of the first key comes first.
func TestNames(t *testing.T) {
	t.Parallel()
	old, new := make([]byte, KeyLength), make([]byte, KeyLength)
	RandomBytes(old)
	RandomBytes(new)
	ring := func(keys ...[]byte) *Keyring {
		k, err := NewKeyring(keys)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	before := ring(old)
	names := before.Names("purpose")
	a := names.Of("a")
	if len(a) != 1 || !regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`).MatchString(a[0]) {
		t.Fatalf("%q", a)
	}
	if slices.Equal(a, names.Of("b")) || slices.Equal(a, before.Names("another").Of("a")) || slices.Equal(a, ring(new).Names("purpose").Of("a")) {
		t.Error("another text, purpose or key has the same name")
	}
	if got := ring(new, old).Names("purpose").Of("a"); len(got) != 2 || got[1] != a[0] || got[0] == a[0] {
		t.Errorf("with a new key before the old one: %q, and before %q", got, a)
	}
	if err := before.Replace([][]byte{new, old}); err != nil {
		t.Fatal(err)
	}
	if got := names.Of("a"); len(got) != 2 || got[1] != a[0] {
		t.Errorf("after the keys have changed: %q, and before %q", got, a)
	}
}
