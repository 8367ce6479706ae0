package compact_test

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/internal/compact"
)

// A dictionary as a session has one.
var dictionary = compact.Dictionary{
	Texts:  []string{"client-id", "Ada Lovelace"},
	Groups: []string{"g1", "g2"},
	Time:   1_700_000_000,
}

// texts are texts of every kind, and the bytes by which they have been written
// since the first version.
var texts = []struct{ name, text, want string }{
	{"nothing", "", "00"},
	{"text of the dictionary", "Ada Lovelace", "14"},
	{"word", "openid", "1c"},
	{"last word", "2.0", "8403"},
	{"GUID", "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e", "050a0a0a0a1b1b2c2c3d3d4e4e4e4e4e4e"},
	{"GUID in capitals", "0A0A0A0A-1b1b-2c2c-3d3d-4e4e4e4e4e4e", "d901d00d00d00d00fb56f56fed9cd9cfb777777ee1ee1ee1ee1ee1ee1e"},
	{"user name", "ada@contoso.example", "980161646140636f6e746f736f2e6578616d706c65"},
	{"base64url", "AAECAwQFBgcICQoLDA0ODw", "8101000102030405060708090a0b0c0d0e0f"},
	{"standard base64, padded", "AAECAwQFBgcICQoLDA0ODxAREhM=", "a201000102030405060708090a0b0c0d0e0f10111213"},
	{"standard base64, not padded", "+/8A/v8A", "32fbff00feff00"},
	{"personal refresh token, padded", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGA$$", "cb01000102030405060708090a0b0c0d0e0f101112131415161718"},
	{"personal refresh token, not padded", "!*8A*v8A", "33ffef00faff00"},
	{"base64 with a dash before it", "-AAECAwQFBgcICQoLDA0ODw__", "16082d9101000102030405060708090a0b0c0d0e0f0fff"},
	{"base64url of another length", "AAECAwQFBgcICQoLDA0ODwA", "8901000102030405060708090a0b0c0d0e0f00"},
	{"scopes", "openid profile User.Read", "0e031c2434"},
	{"refresh token with dots", "1.AXoAAAECAwQFBgcICQ.AgABAAEAAAD", "0603083169017a0000010203040506070809584167414241414541414144"},
	{"letters beyond ASCII", "Zürich", "385ac3bc72696368"},
	{"not UTF-8", "\xff\xfe\x00", "18fffe00"},
	{"one dot", ".", "082e"},
	{"line break in base64", "AAEC\nAwQF", "48414145430a41775146"},
}

func TestTexts(t *testing.T) {
	t.Parallel()
	for _, test := range texts {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := compact.Encoder{Known: dictionary}
			e.Text(test.text)
			if got := hex.EncodeToString(e.B); got != test.want {
				t.Errorf("%q is written as %s, want %s", test.text, got, test.want)
			}
			d := compact.Decoder{B: e.B, Known: dictionary}
			if got := d.Text(); got != test.text || !d.Done() {
				t.Errorf("%q comes back as %q, done: %t", test.text, got, d.Done())
			}
		})
	}
}

// Texts stand one after the other, after what their owner has written.
func TestTextsInARow(t *testing.T) {
	t.Parallel()
	e := compact.Encoder{B: binary.AppendVarint([]byte{7}, -300), Known: dictionary}
	for _, test := range texts {
		e.Text(test.text)
	}
	d := compact.Decoder{B: e.B, Known: dictionary}
	if flags, n := d.Flags(), d.Varint(); flags != 7 || n != -300 {
		t.Errorf("flags %d, number %d", flags, n)
	}
	for _, test := range texts {
		if got := d.Text(); got != test.text {
			t.Errorf("%q comes back as %q", test.text, got)
		}
	}
	if !d.Done() {
		t.Error("not read to the end")
	}
	if d.Text() != "" || d.Flags() != 0 || d.Varint() != 0 || d.Uvarint() != 0 || d.Bytes(1) != nil || !d.Bad || d.Done() {
		t.Errorf("after the end: %+v", d)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	const guid, another = "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e", "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4f"
	tests := []struct {
		name  string
		guids bool
		list  []string
		want  string
	}{
		{"texts", false, []string{"openid", "", "x"}, "030c000878"},
		{"no texts", false, nil, "00"},
		{"GUIDs", true, []string{guid, another}, "050a0a0a0a1b1b2c2c3d3d4e4e4e4e4e4e0a0a0a0a1b1b2c2c3d3d4e4e4e4e4e4f"},
		{"GUIDs and a text", true, []string{guid, "x"}, "04050a0a0a0a1b1b2c2c3d3d4e4e4e4e4e4e0878"},
		{"no GUIDs", true, nil, "01"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := compact.Encoder{}
			d := compact.Decoder{}
			write, read := e.List, d.AppendList
			if test.guids {
				write, read = e.Guids, d.AppendGUIDs
			}
			write(test.list)
			if got := hex.EncodeToString(e.B); got != test.want {
				t.Errorf("written as %s, want %s", got, test.want)
			}
			d.B = e.B
			out, ends, n := read([]byte("before"), []int{3})
			if string(out[:6]) != "before" || ends[0] != 3 {
				t.Errorf("what was there became %q and %d", out[:6], ends[0])
			}
			var got []string
			from := len("before")
			for _, end := range ends[1:] {
				got = append(got, string(out[from:end]))
				from = end
			}
			if n != len(test.list) || !slices.Equal(got, test.list) || !d.Done() {
				t.Errorf("%d texts come back as %d: %q, done: %t", len(test.list), n, got, d.Done())
			}
		})
	}
}

// Every text comes back, and none takes more than it does as plain text.
func FuzzText(f *testing.F) {
	for _, test := range texts {
		f.Add(test.text)
	}
	f.Add(strings.Repeat("a.b ", 30))
	f.Add(strings.Repeat("-AAAA", 30))
	f.Fuzz(func(t *testing.T, text string) {
		e := compact.Encoder{Known: dictionary}
		e.Text(text)
		if limit := len(binary.AppendUvarint(nil, uint64(len(text))<<3)) + len(text); len(e.B) > limit {
			t.Errorf("%q takes %d bytes, want at most %d", text, len(e.B), limit)
		}
		d := compact.Decoder{B: e.B, Known: dictionary}
		if got := d.Text(); got != text || !d.Done() {
			t.Errorf("%q comes back as %q, done: %t", text, got, d.Done())
		}
	})
}
