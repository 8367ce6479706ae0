package compact

import (
	"encoding/binary"
	"sync"

	"example.com/msauth/internal/seal"
)

// A Decoder reads what an Encoder wrote. After the first thing that no Encoder
// would have written, everything it reads is empty or zero and Bad is true.
//
// It keeps positions instead of slices, and is passed the buffers it appends
// to: storing pointers is expensive while the garbage collector runs.
type Decoder struct {
	// B is what is read. It is never changed.
	B []byte
	// At is the index in B of what is read next.
	At int
	// Known is what texts may refer to.
	Known Dictionary
	// Bad reports that something could not be read.
	Bad bool

	inBits   bool // what is read is in bits
	used     uint // how many bits of B[At] have been read then
	from, to int  // the previous text value, in the JSON that is being appended
}

// fail makes the decoder bad and leaves nothing to read.
func (d *Decoder) fail() { d.Bad, d.At, d.used = true, len(d.B), 0 }

// Done reports whether B was read to its end without a failure.
func (d *Decoder) Done() bool { return !d.Bad && d.At == len(d.B) }

// Bytes reads n bytes, and returns them where they are, in B. It returns nil if
// there are fewer.
func (d *Decoder) Bytes(n int) []byte {
	if n < 0 || n > len(d.B)-d.At {
		d.fail()
		return nil
	}
	d.At += n
	return d.B[d.At-n : d.At]
}

// Flags reads one byte.
func (d *Decoder) Flags() byte {
	if b := d.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Varint reads what [binary.AppendVarint] wrote.
func (d *Decoder) Varint() int64 {
	v, width := binary.Varint(d.B[d.At:])
	if width <= 0 {
		d.fail()
		return 0
	}
	d.At += width
	return v
}

// Uvarint reads what [binary.AppendUvarint] wrote.
func (d *Decoder) Uvarint() uint64 {
	if d.At < len(d.B) && d.B[d.At] < 0x80 { // most of them
		d.At++
		return uint64(d.B[d.At-1])
	}
	v, width := binary.Uvarint(d.B[d.At:])
	if width <= 0 {
		d.fail()
		return 0
	}
	d.At += width
	return v
}

// count returns n, if the rest of B has room for n things of at least each bytes.
func (d *Decoder) count(n uint64, each int) int {
	if n > uint64((len(d.B)-d.At)/each) {
		d.fail()
		return 0
	}
	return int(n)
}

// Text reads a text or a token. The result shares no memory with B.
func (d *Decoder) Text() string {
	buffer := Buffer()
	*buffer = d.AppendText((*buffer)[:0], d.Uvarint(), 0)
	text := string(*buffer)
	clear(*buffer) // it may have been a token
	Release(buffer)
	return text
}

// AppendList reads what [Encoder.List] wrote. It appends the texts to out and the
// length of out after each of them to ends, and returns how many there are.
func (d *Decoder) AppendList(out []byte, ends []int) ([]byte, []int, int) {
	return d.appendTexts(out, ends, d.Uvarint())
}

// appendTexts appends n texts.
func (d *Decoder) appendTexts(out []byte, ends []int, n uint64) ([]byte, []int, int) {
	count := d.count(n, 1)
	for range count {
		out = d.AppendText(out, d.Uvarint(), 0)
		ends = append(ends, len(out))
	}
	return out, ends, count
}

// AppendGUIDs reads what [Encoder.Guids] wrote, as AppendList does.
func (d *Decoder) AppendGUIDs(out []byte, ends []int) ([]byte, []int, int) {
	n := d.Uvarint()
	if n&1 == 0 {
		return d.appendTexts(out, ends, n>>1)
	}
	count := d.count(n>>1, 16)
	for range count {
		guid := unpackGUID([16]byte(d.Bytes(16)))
		out = append(out, guid[:]...)
		ends = append(ends, len(out))
	}
	return out, ends, count
}

// AppendText appends a text to out. number is what it begins with, which
// [Decoder.Uvarint] has just read; depth is 0.
func (d *Decoder) AppendText(out []byte, number uint64, depth int) []byte {
	kind, n := byte(number&7), number>>3
	switch {
	case len(out) > maxTexts || depth > 2*maxDepth:
		d.fail()
	case kind == kindPlain:
		return append(out, d.Bytes(d.count(n, 1))...)
	case kind == kindURL, kind == kindStd, kind == kindLegacy:
		return encodings[kind].AppendEncode(out, d.Bytes(d.count(n, 1)))
	case kind == kindKnown && n-1 < uint64(len(d.Known.Texts)):
		return append(out, d.Known.Texts[n-1]...)
	case kind == kindKnown && n-1-uint64(len(d.Known.Texts)) < uint64(len(words)):
		return append(out, words[n-1-uint64(len(d.Known.Texts))]...)
	case kind == kindGUID && n == 0 && len(d.B)-d.At >= 16:
		guid := unpackGUID([16]byte(d.Bytes(16)))
		return append(out, guid[:]...)
	case kind == kindGUID && n > 0 && depth >= inJSON:
		return d.appendPacked(out, n)
	case kind == kindSpecial && (n == specialDots || n == specialSpaces || n == specialSlashes && depth >= inJSON):
		for i := range d.count(d.Uvarint(), 1) {
			if i > 0 {
				out = append(out, separators[n]...)
			}
			out = d.AppendText(out, d.Uvarint(), depth+1)
		}
		return out
	case kind == kindSpecial && n == specialPair:
		out = d.AppendText(out, d.Uvarint(), depth+1)
		return d.AppendText(out, d.Uvarint(), depth+1)
	case kind == kindSpecial && n == specialJSON && depth < inJSON:
		buffer := Buffer()
		defer Release(buffer)
		*buffer = d.appendJSON((*buffer)[:0])
		return seal.Base64url.AppendEncode(out, *buffer)
	default:
		d.fail()
	}
	return out
}

var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

// largestKept is the capacity up to which a buffer is used again.
const largestKept = 64 << 10

// Buffer returns a buffer for what is copied as soon as it is complete, to be
// given back with [Release].
func Buffer() *[]byte { return buffers.Get().(*[]byte) }

// Release gives a buffer back. What is in it stays there: who put a secret into it
// clears it before.
func Release(b *[]byte) {
	if cap(*b) <= largestKept {
		buffers.Put(b)
	}
}
