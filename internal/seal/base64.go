package seal

import (
	"encoding/base64"
	"slices"
	"strings"
)

// Base64url is the encoding of everything sealed: base64url without padding.
var Base64url = base64.RawURLEncoding.Strict()

// DecodeText decodes base64url without padding. Of the texts that other
// decoders take for the same bytes it accepts one, which Base64url encodes.
func DecodeText(text string) ([]byte, error) { return DecodeBase64(Base64url, text) }

// DecodeBase64 decodes text, and accepts only what encoding would make of the
// result. encoding must be a strict one. It returns [ErrNotSealed] for line
// breaks, which encoding/base64 would skip, and the error of encoding/base64
// otherwise.
func DecodeBase64(encoding *base64.Encoding, text string) ([]byte, error) {
	if strings.IndexByte(text, '\r') >= 0 || strings.IndexByte(text, '\n') >= 0 {
		return nil, ErrNotSealed
	}
	return encoding.DecodeString(text)
}

// leastSealed is fewer characters than the shortest text that LooksSealed is
// asked about, a state parameter, has.
const leastSealed = 100

// AppendText is DecodeText that appends the bytes to dst.
func AppendText(dst []byte, text string) ([]byte, error) {
	if strings.IndexByte(text, '\r') >= 0 || strings.IndexByte(text, '\n') >= 0 {
		return dst, ErrNotSealed
	}
	dst = slices.Grow(dst, Base64url.DecodedLen(len(text)))
	n, err := Base64url.Decode(dst[len(dst):cap(dst)], []byte(text))
	return dst[:len(dst)+n], err
}

// LooksSealed reports whether text could have been sealed by this package with
// some key: whether it is long enough and base64url. Anybody can make such a
// text; it helps to tell a foreign value from one whose key is gone.
func LooksSealed(text string) bool {
	if len(text) < leastSealed {
		return false
	}
	_, err := DecodeText(text)
	return err == nil
}
