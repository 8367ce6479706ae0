package compact

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"
)

// Bits fill bytes from the highest on, wherever one begins.
func TestBits(t *testing.T) {
	t.Parallel()
	w := bitWriter{b: []byte{7}}
	w.put(1, 1)
	w.put(0, 6)
	w.put(0xFFF0FFFF0FFFF5, 56) // and what is above n bits is left out
	w.put(0xABC, 4)
	w.put(3, 2)
	if got, want := hex.EncodeToString(w.b), "0781ffe1fffe1fffeb98"; got != want {
		t.Errorf("written as %s, want %s", got, want)
	}
	d := Decoder{B: w.b[1:]}
	for _, test := range []struct {
		n    uint
		want uint64
	}{{1, 1}, {6, 0}, {56, 0xFFF0FFFF0FFFF5}, {0, 0}, {4, 0xC}, {2, 3}} {
		if got := d.bits(test.n); got != test.want || d.Bad {
			t.Errorf("%d bits are %x, want %x", test.n, got, test.want)
		}
	}
	if d.endBits(); !d.Done() {
		t.Error("not read to the end")
	}
	if d.bits(0) != 0 || d.Bad || d.bits(1) != 0 || !d.Bad {
		t.Error("there is more after the end")
	}
	d = Decoder{B: []byte{0b1000_0100}}
	if d.bits(3); d.Bad {
		t.Error("three bits of eight are not there")
	}
	if again := d; again.bits(6) != 0 || !again.Bad {
		t.Error("nine bits of eight are there")
	}
	if d.endBits(); !d.Bad {
		t.Error("what fills up a byte is not 0")
	}
}

// A number takes few bits if it is small.
func TestBitNumbers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		n    uint64
		bits uint
	}{
		{0, 4}, {7, 4}, {8, 6}, {23, 6}, {24, 8}, {55, 8}, {56, 10}, {1000, 16}, {1<<28 - 8, 54}, {1<<29 - 9, 54},
	} {
		w := bitWriter{}
		w.number(test.n)
		if got := uint(len(w.b))*8 - w.free; got != test.bits {
			t.Errorf("%d takes %d bits, want %d", test.n, got, test.bits)
		}
		d := Decoder{B: w.b}
		if got := d.bitNumber(); got != test.n || d.Bad {
			t.Errorf("%d comes back as %d", test.n, got)
		}
		if d.endBits(); !d.Done() {
			t.Errorf("%d is not read to the end", test.n)
		}
	}
	tooLarge := slices.Concat(make([]byte, 8), bytes.Repeat([]byte{0xFF}, 20))
	for _, b := range [][]byte{nil, {0}, {0x01}, make([]byte, 100), tooLarge} {
		d := Decoder{B: b}
		if got := d.bitNumber(); got != 0 || !d.Bad {
			t.Errorf("%x is the number %d", b, got)
		}
	}
}
