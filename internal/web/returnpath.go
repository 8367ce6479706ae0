package web

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

const MaxReturnPath = 2000 // bytes

// ReturnPath returns s if it is the path of a page on this site, with or
// without a query, such that every browser stays on the site when it follows
// it; else home. own are paths that nobody may be returned to. cut reports that
// it was too long: then its query is dropped, or all of it.
func ReturnPath(s string, own func(path string) bool, home string) (path string, cut bool) {
	if p, ok := checkLocalPath(s); ok && (own == nil || !own(p)) {
		s = ASCIIURL(s)
		if cut = len(s) > MaxReturnPath; cut {
			s, _, _ = strings.Cut(s, "#")
			s, _, _ = strings.Cut(s, "?")
		}
		if len(s) <= MaxReturnPath {
			return s, cut
		}
	}
	return home, cut
}

// checkLocalPath decides and returns the decoded, cleaned path.
func checkLocalPath(s string) (clean string, ok bool) {
	if len(s) > 16<<10 || !strings.HasPrefix(s, "/") {
		return "", false
	}
	// Browsers drop tabs and line breaks anywhere in a URL, take a backslash
	// for a slash, and trim other control characters (WHATWG URL).
	for i := range len(s) {
		if s[i] <= ' ' && s[i] != ' ' || s[i] == '\\' || s[i] == 0x7F {
			return "", false
		}
	}
	if strings.HasPrefix(s, "//") || strings.HasSuffix(s, " ") {
		return "", false
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return "", false
	}
	// What a proxy or a handler may make of the path by decoding it once more
	// must be a path too.
	decoded := u.Path
	if strings.ContainsFunc(decoded, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7F }) {
		return "", false
	}
	if strings.HasPrefix(decoded, "//") || strings.HasPrefix(removeDots(decoded), "//") {
		return "", false
	}
	return path.Clean(decoded), true
}

// removeDots resolves "." and ".." as browsers do: other than path.Clean it
// keeps empty segments, so that "/.//evil" is seen to become "//evil".
func removeDots(p string) string {
	var out []string
	for segment := range strings.SplitSeq(strings.TrimPrefix(p, "/"), "/") {
		switch segment {
		case ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, segment)
		}
	}
	return "/" + strings.Join(out, "/")
}

// ASCIIURL percent-encodes what a header line cannot carry.
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

// RequestPath is the path and query that the browser asked for. http.StripPrefix
// shortens r.URL and leaves r.RequestURI alone. It is "" where no path was asked
// for.
func RequestPath(r *http.Request) string {
	s := r.RequestURI
	if s == "" {
		return r.URL.RequestURI()
	}
	if strings.HasPrefix(s, "/") {
		return s
	}
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		return u.RequestURI() // absolute form, RFC 9112 section 3.2.2
	}
	return ""
}
