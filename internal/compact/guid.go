package compact

import "encoding/hex"

const guidLength = 36

// packGUID returns the bytes of a GUID in lower case, which is the form that
// unpackGUID returns.
func packGUID(s string) (guid [16]byte, ok bool) {
	if len(s) != guidLength || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return guid, false
	}
	var digits [32]byte
	n := 0
	for i := range len(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			continue
		}
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return guid, false
		}
		digits[n] = s[i]
		n++
	}
	_, err := hex.Decode(guid[:], digits[:])
	return guid, err == nil
}

func unpackGUID(b [16]byte) (out [guidLength]byte) {
	hex.Encode(out[0:8], b[0:4])
	hex.Encode(out[9:13], b[4:6])
	hex.Encode(out[14:18], b[6:8])
	hex.Encode(out[19:23], b[8:10])
	hex.Encode(out[24:36], b[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return out
}
