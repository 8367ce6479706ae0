package compact

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

// What earlier versions have written refers to words, claim names and characters
// by number. New ones go to the end; then the count and the digest here change too.
func TestNumbersStay(t *testing.T) {
	t.Parallel()
	var characters []string
	for _, a := range alphabets {
		characters = append(characters, a.chars+a.shifted)
	}
	tests := []struct {
		name  string
		list  []string
		count int
		want  string // SHA-256 of the first count, one a line; its first 8 bytes
	}{
		{"words", words[:], 46, "d5c627793174d359"},
		{"claim names", claimNames[:], 119, "6f6412c9bade66e5"},
		{"characters", characters, 4, "8d576956f3385f1c"},
	}
	for _, test := range tests {
		first := test.list[:min(test.count, len(test.list))]
		digest := sha256.Sum256([]byte(strings.Join(first, "\n")))
		if got := hex.EncodeToString(digest[:8]); got != test.want {
			t.Errorf("the first %d of %d %s have changed: %s, want %s", test.count, len(test.list), test.name, got, test.want)
		}
		if len(test.list) != test.count {
			t.Errorf("%d %s, of which this test knows %d", len(test.list), test.name, test.count)
		}
		if numbers := numbersOf(test.list); len(numbers) != len(test.list) {
			t.Errorf("%d %s, but %d different ones", len(test.list), test.name, len(numbers))
		}
	}
}
