package compact_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"example.com/msauth/internal/compact"
)

func TestPackASCII(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"one character", "/", "5e"},
		{"a path", "/a?b=c", "5f85fe27b8c0"},
		{"eight characters in seven bytes", "/a?b=c&d", "5f85fe27b8d364"},
		{"the first and the last that are printable", "!~", "43f8"},
	}
	for _, test := range tests {
		packed := compact.PackASCII([]byte{7}, test.text)
		if got := hex.EncodeToString(packed); got != "07"+test.want {
			t.Errorf("%s: packed as %s, want 07%s", test.name, got, test.want)
		}
		if got, ok := compact.UnpackASCII(packed[1:]); got != test.text || !ok {
			t.Errorf("%s: %q comes back as %q, %t", test.name, test.text, got, ok)
		}
	}
}

func TestUnpackASCIIRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a b", "\tab", "a\x00b", "a\x7fb", "line\n"} {
		if got, ok := compact.UnpackASCII(compact.PackASCII(nil, text)); ok || got != "" {
			t.Errorf("%q comes back as %q, %t", text, got, ok)
		}
	}
}

// Packed texts come back, and any other bytes give printable text or nothing.
func FuzzPackASCII(f *testing.F) {
	for n := range 17 {
		f.Add([]byte(strings.Repeat("a~!", 6)[:n]))
	}
	f.Add([]byte{0, 0x80, 0xFF, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		text, ok := compact.UnpackASCII(b)
		if ok && strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Fatalf("%x gives %q", b, text)
		}
		for i := range b {
			b[i] = '!' + b[i]%('~'-'!'+1)
		}
		packed := compact.PackASCII([]byte("x"), string(b))
		if len(packed) != 1+(len(b)*7+7)/8 {
			t.Errorf("%d characters take %d bytes", len(b), len(packed)-1)
		}
		if text, ok := compact.UnpackASCII(packed[1:]); !ok || text != string(b) {
			t.Errorf("%q comes back as %q, %t", b, text, ok)
		}
	})
}
