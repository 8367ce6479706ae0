package compact

// A packed text is one whose characters all are in one alphabet. It begins with
// n<<3|kindGUID. n from 1 to 15 means n+1 codes of lower; from 16 on, n-16 is the
// number of codes times four plus the alphabet.
const (
	shortMost       = 15 // the largest n that stands for codes of lower alone
	packedAlphabets = 3  // how many of the alphabets there are for packed texts
)

// packed writes a text in the first alphabet that has all its characters, and
// reports whether there is one. Another form may still be shorter.
func (e *Encoder) packed(s string) bool {
	for i := range packedAlphabets {
		if count := codesOf(i, s); count >= 0 {
			if n := count - 1; i == lower && n >= 1 && n <= shortMost {
				e.number(uint64(n), kindGUID)
			} else {
				e.number(shortMost+1+uint64(count<<2|i), kindGUID)
			}
			w := bitWriter{b: e.B}
			w.codes(i, s)
			e.B = w.b
			return true
		}
	}
	return false
}

// appendPacked appends a text that packed has written. n is from its number.
func (d *Decoder) appendPacked(out []byte, n uint64) []byte {
	i, count := uint64(lower), n+1
	if n > shortMost {
		i, count = (n-shortMost-1)&3, (n-shortMost-1)>>2
	}
	if i >= packedAlphabets {
		d.fail()
		return out
	}
	out = d.appendCodes(out, int(i), count)
	d.endBits()
	return out
}
