package msauth

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Only somebody with the keys can make such a session, and even then it costs
// little to refuse, or no more than the largest honest one.
func TestTokenPartsThatLie(t *testing.T) {
	many := func(n int, b ...byte) []byte { return bytes.Repeat(b, n) }
	special := func(n byte) byte { return n<<3 | kindSpecial }
	json := append([]byte{special(specialDots), 1, special(specialJSON)}, special(specialArray))
	for name, part := range map[string][]byte{
		"nothing":                    {},
		"one token of two":           {kindPlain},
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
		"a long text, often":         append(json, many(60_000, 1<<3|kindKnown)...),
	} {
		r := someRecord()
		r.layout.clientID = strings.Repeat("x", 1000)
		r.user.Groups = slices.Repeat(r.user.Groups, 200)
		r.access, r.refresh, r.packed = "", "", part
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := r.unpack()
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: %d bytes become tokens of %d and %d", name, len(part), len(r.access), len(r.refresh))
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 16*maxTexts {
			t.Errorf("%s: %d bytes of memory to refuse it", name, allocated)
		}
	}
}

func TestListsThatLieAboutTheirLength(t *testing.T) {
	for _, n := range []uint64{1 << 62, 1 << 40, 70_000} {
		d := decoder{b: append(binary.AppendUvarint(nil, n), make([]byte, 60_000)...)}
		if _, ends, got := d.appendList(nil, nil); got != 0 || len(ends) != 0 || !d.bad {
			t.Errorf("a list of %d texts in 60000 bytes gives %d", n, got)
		}
		d = decoder{b: append(binary.AppendUvarint(nil, n|1), make([]byte, 60_000)...)}
		if _, ends, got := d.appendGUIDs(nil, nil); got != 0 || len(ends) != 0 || !d.bad {
			t.Errorf("a list of %d GUIDs in 60000 bytes gives %d", n>>1, got)
		}
	}
	d := decoder{b: binary.AppendUvarint(nil, 1<<63)}
	if s := d.text(); s != "" || !d.bad {
		t.Errorf("a text of 2^60 bytes gives %q", s)
	}
}

// Scanning costs no memory of its own, whatever is in the header.
func TestScanningAllocatesNothing(t *testing.T) {
	m := fuzzed(t)
	for name, line := range map[string]string{
		"foreign": "a=b; c=d", "ours": m.cookies.name + "=1AAAA", "pieces": m.cookies.name + "=9; " + m.cookies.name + "-1=x",
		"many": string(bytes.Repeat([]byte(m.cookies.name+"=x; "), 3000)),
	} {
		h := http.Header{"Cookie": {line}}
		if n := testing.AllocsPerRun(20, func() { m.cookies.scan(h) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		if n := testing.AllocsPerRun(20, func() { m.cookies.read(h) }); n > 12 {
			t.Errorf("%s: %v allocations to find nothing", name, n)
		}
	}
}
