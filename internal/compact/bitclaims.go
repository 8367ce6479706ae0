package compact

import (
	"encoding/binary"
	"math/bits"
)

// bitClaims write JSON in bits, for names and values that no list has: many of
// them are short, and filled up to whole bytes would lose much of what they save.
//
// A value begins with its kind, in three bits; a text consists of runs. A name
// begins with a bit: after a 0 come one less than the number of its codes of
// lower, and those; after a 1 comes a number as in specialObject.
type bitClaims struct {
	bitWriter
	known *Dictionary
}

func (w *bitClaims) value(special uint64) {
	w.put(bitSpecial, 3)
	w.put(special, 4)
}

func (w *bitClaims) name(name string) {
	i, known := claimNumbers[name]
	switch n := codesOf(lower, name); {
	case known:
		w.put(1, 1)
		w.number(2 + uint64(i))
	case n > 0:
		w.put(0, 1)
		w.number(uint64(n) - 1)
		w.codes(lower, name)
	default:
		w.put(1, 1)
		w.number(1)
		w.text(name)
	}
}

func (w *bitClaims) endNames() {
	w.put(1, 1)
	w.number(0)
}

func (w *bitClaims) previous() { w.value(bitPrevious) }

// integer writes the number of bits that the difference takes, and those without
// the first one, which is 1.
func (w *bitClaims) integer(difference int64) {
	w.value(specialInt)
	n := uint64(difference<<1) ^ uint64(difference>>63)
	width := bits.Len64(n)
	w.number(uint64(width))
	w.put(n, uint(max(width-1, 0)))
}

func (w *bitClaims) literal(text string) {
	w.value(specialLiteral)
	w.text(text)
}

func (w *bitClaims) text(s string) {
	runs := w.known.runs(s)
	if len(runs) == 0 {
		runs = []run{{kind: plainRun}}
	}
	for i, r := range runs {
		if i < len(runs)-1 {
			w.put(bitJoin, 3)
		}
		w.run(r)
	}
}

func (w *bitClaims) run(r run) {
	switch r.kind {
	case plainRun:
		w.value(bitPlain)
		w.number(uint64(len(r.text)))
		for _, c := range []byte(r.text) {
			w.put(uint64(c), 8)
		}
	case guidRun:
		w.put(bitGUID, 3)
		guid, _ := packGUID(r.text)
		for _, b := range guid {
			w.put(uint64(b), 8)
		}
	case knownRun:
		w.put(bitKnown, 3)
		w.number(uint64(r.number))
	default:
		w.put(uint64(r.kind), 3)
		w.number(uint64(codesOf(r.kind, r.text)) - 1)
		w.codes(r.kind, r.text)
	}
}

// bitValue reads the kind of a value. It returns what the value would begin with in
// bytes or, for a text, its kind as the number of plain text (kindPlain is 0).
func (d *Decoder) bitValue() uint64 {
	kind := d.bits(3)
	if kind != bitSpecial {
		return kind << 3
	}
	switch n := d.bits(4); {
	case n == bitPlain:
		return bitSpecial << 3
	case n == bitPrevious && d.from < d.to:
		return kindKnown
	case n >= specialNull && n <= specialGroups:
		return n<<3 | kindSpecial
	}
	d.fail()
	return 0
}

// bitName reads what a name begins with. It returns a number as in specialObject,
// or lowerName.
func (d *Decoder) bitName() uint64 {
	if d.bits(1) == 0 {
		return lowerName
	}
	return d.bitNumber()
}

// bitInteger reads the difference of an integer from the one before.
func (d *Decoder) bitInteger() int64 {
	width := d.bitNumber()
	switch {
	case width == 0:
		return 0
	case width > 64:
		d.fail()
		return 0
	}
	n := uint64(1)
	for rest := uint(width) - 1; rest > 0; {
		now := min(rest, 32)
		n, rest = n<<now|d.bits(now), rest-now
	}
	return int64(n>>1) ^ -int64(n&1)
}

// appendRuns appends a text. number is from bitValue.
func (d *Decoder) appendRuns(out []byte, number uint64) []byte {
	for number == bitJoin<<3 && !d.Bad {
		out = d.appendRun(out, d.bitValue())
		number = d.bitValue()
	}
	return d.appendRun(out, number)
}

// appendRun appends one run of a text.
func (d *Decoder) appendRun(out []byte, number uint64) []byte {
	if number&7 != kindPlain || len(out) > maxTexts {
		d.fail()
		return out
	}
	switch kind := number >> 3; kind {
	case bitSpecial:
		n := d.bitNumber()
		if n > uint64(len(d.B)-d.At) {
			d.fail()
			return out
		}
		for range n {
			out = append(out, byte(d.bits(8)))
		}
	case bitGUID:
		var guid [16]byte
		for i := 0; i < len(guid); i += 4 {
			binary.BigEndian.PutUint32(guid[i:], uint32(d.bits(32)))
		}
		text := unpackGUID(guid)
		return append(out, text[:]...)
	case bitKnown:
		if n := d.bitNumber(); n < uint64(d.Known.size()) {
			return append(out, d.Known.text(int(n))...)
		}
		d.fail()
	case bitJoin:
		d.fail()
	default:
		return d.appendCodes(out, int(kind), d.bitNumber()+1)
	}
	return out
}
