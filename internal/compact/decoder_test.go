package compact

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// twoTexts reads two texts, or tokens, and nothing more.
func twoTexts(part []byte, of Dictionary) (one, other string, ok bool) {
	d := Decoder{B: part, Known: of}
	one, other = d.Text(), d.Text()
	return one, other, d.Done()
}

// Bytes that no Encoder has written are refused, at no more cost than the
// largest honest ones. Not parallel, because it measures what is allocated.
func TestMalformedTexts(t *testing.T) {
	many := func(n int, b ...byte) []byte { return bytes.Repeat(b, n) }
	special := func(n byte) byte { return n<<3 | kindSpecial }
	json := append([]byte{special(specialDots), 1, special(specialJSON)}, special(specialArray))
	for name, part := range map[string][]byte{
		"nothing":                    {},
		"one text of two":            {kindPlain},
		"more than two":              {kindPlain, kindPlain, kindPlain},
		"a length beyond all":        binary.AppendUvarint(nil, 1<<63|kindURL),
		"a length beyond the rest":   binary.AppendUvarint(nil, 60_000<<3),
		"a number without end":       many(30, 0x80),
		"an unknown kind":            {7},
		"an unknown word":            binary.AppendUvarint(nil, 1<<60|kindKnown),
		"an unknown special":         {special(30)},
		"a value where text belongs": {special(specialInt), 2},
		"segments without end":       {special(specialDots), 255},
		"parts in parts":             many(60_000, special(specialDots), 1),
		"pairs of pairs":             many(60_000, special(specialPair)),
		"arrays in arrays":           append(json, many(60_000, special(specialArray))...),
		"objects in objects":         append(json[:3:3], many(60_000, special(specialObject), 2)...),
		"JSON in JSON":               append(json, many(60_000, special(specialDots), 1, special(specialJSON), special(specialArray))...),
		"an array without end":       append(json, many(60_000, special(specialNull))...),
		"all groups, often":          append(json, many(60_000, special(specialGroups))...),
		"packed, but not in a token": {5<<3 | kindGUID, 0, 0, 0, 0},
		"a shift after a shift":      append(json[:3:3], 1<<3|kindGUID, 0xFF, 0xC0, 0),
		"a shift of nothing":         append(json[:3:3], 1<<3|kindGUID, 0x07, 0xC0, 0),
		"filled up with ones":        append(json[:3:3], 1<<3|kindGUID, 0, 1, 0),
		"packed without end":         append(json[:3:3], binary.AppendUvarint(nil, (16+60_000<<2)<<3|kindGUID)...),
		"an unknown alphabet":        append(json[:3:3], append(binary.AppendUvarint(nil, (16+1<<2+3)<<3|kindGUID), 0, kindPlain)...),
		"named objects in objects":   append(json[:3:3], many(60_000, special(specialNamed), kindPlain)...),
		"packed, often":              append(json, many(60_000, 15<<3|kindGUID, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)...),
		"the same text, often":       append(append(json, 1<<3|kindKnown), many(60_000, kindKnown)...),
		"a long text, often":         append(json, many(60_000, 1<<3|kindKnown)...),
	} {
		of := Dictionary{
			Texts:  []string{strings.Repeat("x", 1000)},
			Groups: slices.Repeat([]string{"0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4f"}, 200),
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		one, other, ok := twoTexts(part, of)
		runtime.ReadMemStats(&after)
		if ok {
			t.Errorf("%s: %d bytes become texts of %d and %d", name, len(part), len(one), len(other))
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 16*maxTexts {
			t.Errorf("%s: %d bytes of memory to refuse it", name, allocated)
		}
	}
}

// What the packed texts among the malformed ones are like when they are whole.
func TestPackedTextInAToken(t *testing.T) {
	t.Parallel()
	part := []byte{specialDots<<3 | kindSpecial, 1, specialJSON<<3 | kindSpecial, 1<<3 | kindGUID, 0, 0, kindPlain}
	if one, other, ok := twoTexts(part, Dictionary{}); one != "ImFhIg" || other != "" || !ok { // "aa"
		t.Errorf("%q and %q, %t", one, other, ok)
	}
}

// Large buffers are not used again, and no buffer has a token that was read.
// Not parallel, because others would put buffers between these.
func TestBuffersForgetTokens(t *testing.T) {
	token := strings.Repeat("secret!", 20_000)
	for _, text := range []string{token, token[:700]} {
		e := Encoder{}
		e.Token(text)
		d := Decoder{B: e.B}
		if d.Text() != text {
			t.Fatal("does not come back")
		}
		for range 8 {
			b := Buffer()
			if cap(*b) > largestKept {
				t.Errorf("a buffer of %d bytes is kept", cap(*b))
			}
			if bytes.Contains((*b)[:cap(*b)], []byte("secret!")) {
				t.Errorf("after %d characters of a token, a buffer still has some", len(text))
			}
		}
	}
}

// A length beyond what is there is refused before anything is allocated for it.
func TestListsTooLong(t *testing.T) {
	t.Parallel()
	for _, n := range []uint64{1 << 62, 1 << 40, 70_000} {
		d := Decoder{B: append(binary.AppendUvarint(nil, n), make([]byte, 60_000)...)}
		if _, ends, got := d.AppendList(nil, nil); got != 0 || len(ends) != 0 || !d.Bad {
			t.Errorf("a list of %d texts in 60000 bytes gives %d", n, got)
		}
		d = Decoder{B: append(binary.AppendUvarint(nil, n|1), make([]byte, 60_000)...)}
		if _, ends, got := d.AppendGUIDs(nil, nil); got != 0 || len(ends) != 0 || !d.Bad {
			t.Errorf("a list of %d GUIDs in 60000 bytes gives %d", n>>1, got)
		}
	}
	d := Decoder{B: binary.AppendUvarint(nil, 1<<63)}
	if s := d.Text(); s != "" || !d.Bad {
		t.Errorf("a text of 2^60 bytes gives %q", s)
	}
}

// Any bytes are refused or give some texts, of limited length.
func FuzzDecoder(f *testing.F) {
	e := Encoder{}
	e.Token("1.AXoA.AgABAAEAAAD")
	e.Token("")
	f.Add(e.B)
	f.Add([]byte{kindSpecial, 2, specialJSON<<3 | kindSpecial, specialGroups<<3 | kindSpecial, 0})
	e = Encoder{}
	e.Token("eyJzN3YiOiJhIiwicWtheXciOlsiMi4wIiwiLy8rIiwyLDEuNSxudWxsLHRydWVdLCJhdWQiOiIwYTBhMGEwYS0xYjFiLTJjMmMtM2QzZC00ZTRlNGU0ZTRlNGUifQ.e30.AA")
	e.Token("")
	f.Add(e.B)
	of := Dictionary{Texts: []string{"id", "Ada"}, Groups: []string{"0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4f"}}
	f.Fuzz(func(t *testing.T, part []byte) {
		if one, other, ok := twoTexts(part, of); ok && len(one)+len(other) > 3*maxTexts {
			t.Errorf("%d bytes became %d", len(part), len(one)+len(other))
		}
	})
}
