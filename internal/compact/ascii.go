package compact

// PackASCII appends text to b in seven bits a character: sealed and in base64,
// which adds a third, it then takes little more room than it had. text must be
// printable ASCII without spaces.
func PackASCII(b []byte, text string) []byte {
	bits, n := uint(0), 0
	for _, c := range []byte(text) {
		bits, n = bits<<7|uint(c&0x7F), n+7
		if n >= 8 {
			n -= 8
			b = append(b, byte(bits>>n))
		}
	}
	if n > 0 {
		b = append(b, byte(bits<<(8-n)))
	}
	return b
}

// UnpackASCII returns what PackASCII was given. ok is false for bytes that are
// not printable ASCII without spaces.
func UnpackASCII(b []byte) (text string, ok bool) {
	out := make([]byte, 0, len(b)*8/7)
	bits, n := uint(0), 0
	for i, c := range b {
		bits, n = bits<<8|uint(c), n+8
		for ; n >= 7; n -= 7 {
			c := byte(bits >> (n - 7) & 0x7F)
			if c == 0 && i == len(b)-1 {
				continue // what fills up the last byte
			}
			if c <= ' ' || c == 0x7F {
				return "", false
			}
			out = append(out, c)
		}
	}
	return string(out), true
}
