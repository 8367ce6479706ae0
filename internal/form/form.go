package form

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// MaxFields limits the fields of a form.
const MaxFields = 1000

// A Field is what a person has written, under a name.
type Field struct{ Name, Value string }

// Parse returns the fields of a form as a browser sends it, in their order (WHATWG
// URL, application/x-www-form-urlencoded). A form with hidden fields of these names and
// values must send the same again; of what it could not, Parse returns the reason.
func Parse(body string) (fields []Field, reason string) {
	if body == "" {
		return nil, ""
	}
	n := strings.Count(body, "&") + 1
	if n > MaxFields {
		return nil, "too many fields"
	}
	fields = make([]Field, 0, n)
	for pair := range strings.SplitSeq(body, "&") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || strings.Contains(pair, ";") {
			return nil, "not as browsers send forms"
		}
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, "broken encoding"
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, "broken encoding"
		}
		switch {
		case name == "":
			return nil, "field without a name" // browsers leave it out
		case !plainText(name) || !plainText(value):
			return nil, "not text that a page can hold"
		case strings.EqualFold(name, "_charset_") && value != "UTF-8":
			return nil, "another encoding" // browsers put the page's own in place of the value
		}
		fields = append(fields, Field{name, value})
	}
	return fields, ""
}

// plainText reports whether a hidden field sends a text as it is: HTML cannot hold a NUL,
// and browsers make CR LF of every other end of a line (HTML, "constructing the entry
// list", and the encoding of forms).
func plainText(s string) bool {
	lines := strings.Count(s, "\r\n")
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 &&
		strings.Count(s, "\r") == lines && strings.Count(s, "\n") == lines
}
