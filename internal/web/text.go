package web

import (
	"strings"
	"unicode"
)

// OneLine makes a text from outside fit for a line of a log: printable, without
// line breaks and direction marks. A text of more than limit bytes is cut between
// two characters and ends in "..."; of one more than four times as long only the
// beginning is looked at.
func OneLine(s string, limit int) string {
	if len(s) > 4*limit {
		s = s[:4*limit]
	}
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "..."
}
