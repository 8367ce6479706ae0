package compact

import (
	"encoding/binary"
	"math/bits"
)

// A bitWriter appends to b in bits, the highest of a byte first. Bits that it has
// not written are 0.
type bitWriter struct {
	b    []byte
	free uint // how many bits of the last byte are still free
}

// put writes the lowest n bits of v.
func (w *bitWriter) put(v uint64, n uint) {
	for n > 0 {
		if w.free == 0 {
			w.b, w.free = append(w.b, 0), 8
		}
		now := min(n, w.free)
		n, w.free = n-now, w.free-now
		w.b[len(w.b)-1] |= byte(v>>n&(1<<now-1)) << w.free
	}
}

// smallBits are the bits of the smallest numbers, after a 1.
const smallBits = 3

// number writes a number below 1<<28 that is small more often than not: in four
// bits below 8, six below 24, eight below 56 (an Exp-Golomb code).
func (w *bitWriter) number(n uint64) {
	n += 1 << smallBits
	width := uint(bits.Len64(n))
	w.put(0, width-smallBits-1)
	w.put(n, width)
}

// codes writes the codes of a text whose characters all are in alphabet i.
func (w *bitWriter) codes(i int, s string) {
	width := alphabets[i].width
	for _, c := range []byte(s) {
		code := codes[i][c]
		if code&shiftCode != 0 {
			w.put(1<<width-1, width)
		}
		w.put(uint64(code), width)
	}
}

// peek returns what is read next, from the highest bit on: 56 bits at least, with
// zeros after the end.
func (d *Decoder) peek() uint64 {
	if d.At+8 <= len(d.B) { // almost always
		return binary.BigEndian.Uint64(d.B[d.At:]) << d.used
	}
	var rest [8]byte
	copy(rest[:], d.B[d.At:])
	return binary.BigEndian.Uint64(rest[:]) << d.used
}

// skip goes on by n bits.
func (d *Decoder) skip(n uint) {
	d.used += n
	d.At += int(d.used / 8)
	d.used %= 8
	if d.At >= len(d.B) && (d.At > len(d.B) || d.used > 0) {
		d.fail()
	}
}

// bits reads n bits, at most 56.
func (d *Decoder) bits(n uint) uint64 {
	v := d.peek() >> (64 - n)
	if d.skip(n); d.Bad {
		return 0
	}
	return v
}

// bitNumber reads a number.
func (d *Decoder) bitNumber() uint64 {
	v := d.peek()
	width := 2*uint(bits.LeadingZeros64(v)) + 1 + smallBits
	if width > 56 {
		d.fail()
		return 0
	}
	if d.skip(width); d.Bad {
		return 0
	}
	return v>>(64-width) - 1<<smallBits
}

// endBits skips what is left of a byte of which bits have been read, and must
// be 0.
func (d *Decoder) endBits() {
	if d.used > 0 && d.bits(8-d.used) != 0 {
		d.fail()
	}
}

// appendCodes appends the characters of so many codes of alphabet i.
func (d *Decoder) appendCodes(out []byte, i int, count uint64) []byte {
	a := &alphabets[i]
	if left := uint64(len(d.B)-d.At)*8 - uint64(d.used); count > left/uint64(a.width) {
		d.fail()
		return out
	}
	end := d.At*8 + int(d.used) + int(count)*int(a.width)
	// The lowest have bits of word are read and not yet used.
	word, have, at := uint64(0), uint(0), d.At
	if d.used > 0 {
		word, have, at = uint64(d.B[at]), 8-d.used, at+1
	}
	table, shift := &characters[i], uint64(0)
	for range count {
		switch {
		case have >= a.width:
		case at+4 <= len(d.B):
			word, have, at = word<<32|uint64(binary.BigEndian.Uint32(d.B[at:])), have+32, at+4
		default:
			word, have, at = word<<8|uint64(d.B[at]), have+8, at+1
		}
		have -= a.width
		c := table[(shift|word>>have&(1<<a.width-1))%uint64(len(table))]
		switch {
		case c != 0:
			out = append(out, c)
			shift = 0
		case shift != 0:
			d.fail() // a shift after a shift
			return out
		default:
			shift = shifted
		}
	}
	if shift != 0 {
		d.fail() // a shift is followed by something
		return out
	}
	d.At, d.used = end/8, uint(end%8)
	return out
}
