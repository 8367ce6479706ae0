package seal_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"example.com/msauth/internal/seal"
)

// Two texts for the same bytes would be two cookies for the same session.
func TestOneTextPerValue(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       string
		ok         bool
	}{
		{"nothing", "", "", true},
		{"whole groups", "YWJj", "abc", true},
		{"one byte more", "YWJjZA", "abcd", true},
		{"letters of base64url", "-_-_", "\xfb\xff\xbf", true},
		{"letters of standard base64", "+/+/", "", false},
		{"padded", "YWJjZA==", "", false},
		{"bits after the last byte", "YWJjZB", "", false},
		{"one letter too many", "YWJjZ", "", false},
		{"line feed", "YW\nJj", "", false},
		{"carriage return", "YWJj\r", "", false},
		{"space", "YWJj ", "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := seal.DecodeText(test.text)
			if (err == nil) != test.ok || test.ok && string(got) != test.want {
				t.Errorf("%q gives %q, error %v", test.text, got, err)
			}
		})
	}
}

func FuzzDecodeText(f *testing.F) {
	for _, text := range []string{"", "YWJj", "YWJjZA", "YWJjZB", "YW\nJj", "-_-_", "====", "\r"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, encoding := range []*base64.Encoding{seal.Base64url, base64.StdEncoding.Strict(), base64.RawStdEncoding.Strict()} {
			data, err := seal.DecodeBase64(encoding, text)
			if again := encoding.EncodeToString(data); err == nil && again != text {
				t.Errorf("%q is accepted as another text for %q", text, again)
			}
		}
	})
}

func TestLooksSealed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       bool
	}{
		{"sealed", seal.Base64url.EncodeToString(keyring(t, keyA).Derive("test v1").Seal(make([]byte, 80), nil)), true},
		{"base64url of that length", strings.Repeat("A", 100), true},
		{"too short", strings.Repeat("A", 99), false},
		{"nothing", "", false},
		{"other characters", strings.Repeat("A", 99) + ".", false},
		{"with a line break", strings.Repeat("A", 100) + "\n", false},
	}
	for _, test := range tests {
		if got := seal.LooksSealed(test.text); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}
