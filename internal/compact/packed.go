package compact

// Texts in the JSON of a token that no list has are mostly made of few
// characters: digits, lower-case letters, base64url. Packed, a character takes
// four to six bits.
//
// A packed text begins with n<<3|kindGUID. n from 1 to 15 means n+1 codes of
// lower; from 16 on, n-16 is the number of codes times four plus the alphabet.

// An alphabet is a set of characters that take fewer than eight bits each.
type alphabet struct {
	width uint   // bits of a code
	chars string // by code
	// shifted are, by code, the characters that the last code of all makes of the
	// one after it; "" if that code is a character.
	shifted string
}

// alphabets are part of the format.
var alphabets = [...]alphabet{
	{4, "0123456789.-: /,", ""},
	lower: {5, "abcdefghijklmnopqrstuvwxyz._ -@", "ABCDEFGHIJKLMNOPQRSTUVWXYZ:/,+#"},
	{6, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", ""},
}

const (
	lower     = 1
	shortMost = 15      // the largest n that stands for codes of lower alone
	noCode    = -1      // in codes
	shiftCode = 1 << 16 // in codes: after a shift
)

// codes has the code of each character, by alphabet.
var codes = func() (codes [len(alphabets)][256]int) {
	for i, a := range alphabets {
		for c := range codes[i] {
			codes[i][c] = noCode
		}
		for code, c := range []byte(a.chars) {
			codes[i][c] = code
		}
		for code, c := range []byte(a.shifted) {
			codes[i][c] = code | shiftCode
		}
	}
	return codes
}()

// packed writes a text in the first alphabet that has all its characters, and
// reports whether there is one. Another form may still be shorter.
func (e *Encoder) packed(s string) bool {
	for i := range alphabets {
		if e.packedIn(i, s) {
			return true
		}
	}
	return false
}

func (e *Encoder) packedIn(i int, s string) bool {
	count := 0
	for _, c := range []byte(s) {
		switch code := codes[i][c]; {
		case code == noCode:
			return false
		case code&shiftCode != 0:
			count++
		}
		count++
	}
	if n := count - 1; i == lower && n >= 1 && n <= shortMost {
		e.number(uint64(n), kindGUID)
	} else {
		e.number(shortMost+1+uint64(count<<2|i), kindGUID)
	}
	width := alphabets[i].width
	bits, n := uint(0), uint(0)
	put := func(code int) {
		if bits, n = bits<<width|uint(code), n+width; n >= 8 {
			n -= 8
			e.B = append(e.B, byte(bits>>n))
		}
	}
	for _, c := range []byte(s) {
		code := codes[i][c]
		if code&shiftCode != 0 {
			put(1<<width - 1)
		}
		put(code &^ shiftCode)
	}
	if n > 0 {
		e.B = append(e.B, byte(bits<<(8-n)))
	}
	return true
}

// appendPacked appends a text that packed has written. n is from its number.
func (d *Decoder) appendPacked(out []byte, n uint64) []byte {
	i, count := uint64(lower), n+1
	if n > shortMost {
		i, count = (n-shortMost-1)&3, (n-shortMost-1)>>2
	}
	if i >= uint64(len(alphabets)) || count > uint64(len(d.B)-d.At)*2 {
		d.fail()
		return out
	}
	a := &alphabets[i]
	chars := a.chars
	shift := false
	bits, have := uint(0), uint(0)
	for _, b := range d.Bytes(int((count*uint64(a.width) + 7) / 8)) {
		bits, have = bits<<8|uint(b), have+8
		for ; have >= a.width && count > 0; count-- {
			have -= a.width
			switch code := bits >> have & (1<<a.width - 1); {
			case code < uint(len(chars)):
				out = append(out, chars[code])
			case shift:
				d.fail() // a shift after a shift
				return out
			default:
				chars, shift = a.shifted, true
				continue
			}
			chars, shift = a.chars, false
		}
	}
	if bits&(1<<have-1) != 0 || shift {
		d.fail() // what fills up the last byte is zero, and a shift is followed by something
	}
	return out
}
