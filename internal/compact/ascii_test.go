package compact

import (
	"strings"
	"testing"
)

// Packed texts are read as they were, and bytes that nobody packed give
// printable text or nothing.
func FuzzPackASCII(f *testing.F) {
	for n := range 17 {
		f.Add([]byte(strings.Repeat("a~!", 6)[:n]))
	}
	f.Add([]byte{0, 0x80, 0xFF, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		text, ok := UnpackASCII(b)
		if ok && strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Fatalf("%x gives %q", b, text)
		}
		for i := range b {
			b[i] = '!' + b[i]%('~'-'!'+1)
		}
		packed := PackASCII([]byte("x"), string(b))
		if len(packed) != 1+(len(b)*7+7)/8 {
			t.Errorf("%d characters take %d bytes", len(b), len(packed)-1)
		}
		if text, ok := UnpackASCII(packed[1:]); !ok || text != string(b) {
			t.Errorf("%q comes back as %q, %t", b, text, ok)
		}
	})
}
