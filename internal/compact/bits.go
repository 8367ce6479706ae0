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

// number writes a number below 1<<62 that is small more often than not: in four
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

// bits reads n bits, at most 56.
func (d *Decoder) bits(n uint) uint64 {
	var v uint64
	if d.At+8 <= len(d.B) { // almost always
		v = binary.BigEndian.Uint64(d.B[d.At:])
	} else {
		var rest [8]byte
		if uint(copy(rest[:], d.B[d.At:]))*8 < d.used+n {
			d.fail()
			return 0
		}
		v = binary.BigEndian.Uint64(rest[:])
	}
	v = v << d.used >> (64 - n)
	d.used += n
	d.At += int(d.used / 8)
	d.used %= 8
	return v
}

// bitNumber reads a number.
func (d *Decoder) bitNumber() uint64 {
	width := uint(smallBits)
	for d.bits(1) == 0 {
		if width++; width > 56 || d.Bad {
			d.fail()
			return 0
		}
	}
	n := d.bits(width)
	if d.Bad {
		return 0
	}
	return 1<<width + n - 1<<smallBits
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
	word, have := uint(0), uint(0)
	if d.used > 0 {
		word, have = uint(d.B[d.At]), 8-d.used
		d.At++
	}
	chars, shift := a.chars, false
	for range count {
		for have < a.width {
			word, have = word<<8|uint(d.B[d.At]), have+8
			d.At++
		}
		have -= a.width
		switch code := word >> have & (1<<a.width - 1); {
		case code < uint(len(chars)):
			out = append(out, chars[code])
			chars, shift = a.chars, false
		case shift:
			d.fail() // a shift after a shift
			return out
		default:
			chars, shift = a.shifted, true
		}
	}
	if shift {
		d.fail() // a shift is followed by something
		return out
	}
	d.At, d.used = end/8, uint(end%8)
	return out
}
