package msauth

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"net/http"
	"runtime"
	"testing"
)

// bomb is a token part that says it holds segments of JSON of these sizes and
// holds inflated bytes of zeros, deflated.
func bomb(inflated int, sizes ...int) []byte {
	part := []byte{dictionaryVersion, byte(len(sizes))}
	for _, size := range sizes {
		part = append(part, segmentJSON)
		part = binary.AppendUvarint(part, uint64(size))
	}
	part = append(part, 0)
	var block bytes.Buffer
	w, _ := flate.NewWriterDict(&block, flate.BestCompression, []byte(dictionary))
	w.Write(make([]byte, inflated))
	w.Close()
	return append(part, block.Bytes()...)
}

// Only somebody with the keys can make such a session, and even then it costs
// no more than the largest honest one.
func TestDeflateBombs(t *testing.T) {
	many := make([]int, maxSegments)
	for i := range many {
		many[i] = maxInflated
	}
	for name, part := range map[string][]byte{
		"more than it says":         bomb(2<<20, maxInflated),
		"one byte more":             bomb(maxInflated+1, maxInflated),
		"one byte less":             bomb(maxInflated-1, maxInflated),
		"too much, honestly":        bomb(maxInflated+1, maxInflated+1),
		"too much in pieces":        bomb(maxInflated, many...),
		"a length beyond all":       append([]byte{dictionaryVersion, 1, segmentURL}, binary.AppendUvarint(nil, 1<<63)...),
		"a length beyond the rest":  {0, 1, segmentText, 0xff, 0xff, 3},
		"segments without end":      {0, 255, segmentText, 0},
		"no end of the length":      {0, 1, segmentText, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80},
		"nothing deflated":          bomb(0, 10)[:6],
		"deflated without a header": {dictionaryVersion, 1, segmentJSON, 10, 0, 0xff, 0xff, 0xff},
	} {
		var access, refresh secret
		if err := unpackTokens(nil, part, &access, &refresh); err == nil {
			t.Errorf("%s: %d bytes become tokens of %d and %d", name, len(part), len(access), len(refresh))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			unpackTokens(nil, part, &access, &refresh)
		}
		runtime.ReadMemStats(&after)
		allocated := (after.TotalAlloc - before.TotalAlloc) / 10
		if allocated > 3*maxInflated {
			t.Errorf("%s: %d bytes of memory to refuse it", name, allocated)
		}
		r := someRecord()
		m := fuzzed(t)
		r.packed = part
		payload := r.encode(m.registration, m.cfg.Authority)
		if got, err := decodeRecord(payload, m.registration, m.cfg.Authority); err == nil && got.unpack() == nil {
			t.Errorf("%s: a session with it opens", name)
		}
	}
}

// A session whose token part is spoilt is signed out where tokens are needed,
// not an error without end.
func TestListsThatLieAboutTheirLength(t *testing.T) {
	for _, n := range []uint64{1 << 62, 1 << 40, 70_000} {
		d := decoder{b: append(binary.AppendUvarint(nil, n), make([]byte, 60_000)...)}
		d.s = string(d.b)
		if l := d.list(); l != nil || !d.bad {
			t.Errorf("a list of %d texts in 60000 bytes gives %d", n, len(l))
		}
	}
	d := decoder{b: binary.AppendUvarint(nil, 1<<63)}
	d.s = string(d.b)
	if s := d.text(); s != "" || !d.bad {
		t.Errorf("a text of 2^62 bytes gives %q", s)
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
