package web

import (
	"net/http"
	"strings"
)

// Redirect answers with 303 See Other, which a browser follows with GET whatever
// the method was (RFC 9110 section 15.4.4). The response is not cached, and the
// next request has no Referer. target is sent as it is, whereas http.Redirect
// would clean its path: it must be fit for a header line, see [ASCIIURL].
func Redirect(w http.ResponseWriter, target string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}

// ASCIIURL percent-encodes the bytes of a URL that a header line cannot carry or
// that HTML gives a meaning: spaces, control characters, quotes, angle brackets
// and all that is not ASCII. What is encoded already stays so.
func ASCIIURL(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7F || c == '"' || c == '<' || c == '>' {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
