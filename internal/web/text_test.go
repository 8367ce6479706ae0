package web_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"example.com/msauth/internal/web"
)

func TestOneLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		limit      int
		want       string
	}{
		{"nothing", "", 10, ""},
		{"fits", "invalid", 7, "invalid"},
		{"longer", "invalid", 6, "invali..."},
		{"much longer", strings.Repeat("a", 1000), 6, "aaaaaa..."},
		{"line breaks", "a\r\nb\nc\rd\te", 20, "a b c d e"},
		{"control characters", "a\x00\x1b[31mb\x7f", 20, "a[31mb"},
		{"direction marks", "a\u202eb\u2066c", 20, "abc"},
		{"line separators", "a\u2028b\u2029c\u0085d", 20, "abcd"},
		{"letters beyond ASCII", "Zürich", 20, "Zürich"},
		{"not UTF-8", "a\xffb\ufffdc", 20, "abc"},
		{"cut between characters", "aüb", 2, "a..."},
		{"cut after a character", "aüb", 3, "aü..."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := web.OneLine(test.text, test.limit); got != test.want {
				t.Errorf("%q gives %q, want %q", test.text, got, test.want)
			}
		})
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("a\r\nb", uint8(3))
	f.Add("ü\u202e\xff", uint8(1))
	f.Add(strings.Repeat("\U0001f600", 30), uint8(9))
	f.Fuzz(func(t *testing.T, text string, limit uint8) {
		got := web.OneLine(text, int(limit))
		if len(strings.TrimSuffix(got, "...")) > int(limit) || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q gives %q for a limit of %d", text, got, limit)
		}
	})
}
