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

// Lines are the values of response headers that every answer gets, in memory of
// the request's: one value of its own for each header would be one allocation
// more. Its methods only read it, so that handlers may answer one request at a
// time from several goroutines, as http.TimeoutHandler does.
type Lines struct{ vary, cacheControl [1]string }

// NewLines returns the lines of a request.
func NewLines() Lines { return Lines{[1]string{"Cookie"}, [1]string{"no-store"}} }

// VaryCookie does what [Vary] does with the name Cookie.
func (l *Lines) VaryCookie(h http.Header) {
	if h["Vary"] != nil {
		Vary(h, l.vary[0])
		return
	}
	h["Vary"] = l.vary[:]
}

// NoStore keeps the answer out of caches, unless its Cache-Control says something
// already.
func (l *Lines) NoStore(h http.Header) {
	if line := h["Cache-Control"]; len(line) > 0 && line[0] != "" {
		return
	}
	h["Cache-Control"] = l.cacheControl[:]
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
