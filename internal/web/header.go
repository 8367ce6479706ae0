package web

import (
	"net/http"
	"strings"
)

// First returns the first of a header's values, or "". Of h["Name"] it returns
// what h.Get("Name") does, without the work of making the name canonical.
func First(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[0]
}

// Vary adds names to the Vary header, which then is one line. It leaves out names
// that are there in any case of letters, and all of them where there is a "*".
func Vary(h http.Header, names ...string) {
	if h["Vary"] == nil && len(names) == 1 {
		h["Vary"] = []string{names[0]}
		return
	}
	line := strings.Join(h["Vary"], ", ")
	for _, name := range names {
		if !hasToken(line, name) {
			if line != "" {
				line += ", "
			}
			line += name
		}
	}
	h["Vary"] = []string{line}
}

// hasToken reports whether a comma-separated line has the name or a "*".
func hasToken(line, name string) bool {
	for part := range strings.SplitSeq(line, ",") {
		if part = strings.TrimSpace(part); part == "*" || strings.EqualFold(part, name) {
			return true
		}
	}
	return false
}
