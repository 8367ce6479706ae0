package session

import (
	"net/http"
	"strings"
	"time"
)

// LongestMaxAge is the longest Max-Age that browsers honour (RFC 6265bis section
// 5.5), and so the longest life of a session.
const LongestMaxAge = 400 * 24 * time.Hour

// maxDuplicates is how many cookies of one name are tried.
const maxDuplicates = 4

// CookieValues returns the values of the cookies of a name, a few at most.
func CookieValues(h http.Header, name string) (values []string) {
	for _, line := range h["Cookie"] {
		for len(line) > 0 {
			var part string
			part, line, _ = strings.Cut(line, ";")
			rest, ours := strings.CutPrefix(strings.Trim(part, " \t"), name)
			if value, ok := strings.CutPrefix(rest, "="); ours && ok && len(values) < maxDuplicates {
				values = append(values, value)
			}
		}
	}
	return values
}

// Seconds rounds up, so that a positive age never becomes 0, which means no
// Max-Age.
func Seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// SetCookie adds a Set-Cookie line, in place of an earlier one of that name, and
// keeps the response out of every cache. The lower-case key makes a line of its
// own beside whatever Cache-Control the handler sets, changes or deletes;
// recipients join repeated lines (RFC 9110 section 5.3).
func SetCookie(h http.Header, cookie *http.Cookie) {
	DropCookie(h, cookie.Name)
	h["Set-Cookie"] = append(h["Set-Cookie"], cookie.String())
	h["cache-control"] = []string{"no-store"}
}

// DropCookie takes back what SetCookie has added for a name.
func DropCookie(h http.Header, name string) {
	lines := h["Set-Cookie"]
	kept := make([]string, 0, len(lines)+1)
	for _, line := range lines {
		if len(line) <= len(name) || line[:len(name)] != name || line[len(name)] != '=' {
			kept = append(kept, line)
		}
	}
	h["Set-Cookie"] = kept
}
