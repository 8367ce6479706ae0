package web

import (
	"net/url"
	"path"
	"strings"
)

// MaxReturnPath is how long a path from [ReturnPath] can be, in bytes.
const MaxReturnPath = 2000

// ReturnPath returns s if it is a path on this site, with or without query and
// fragment, such that every browser stays on the site when it follows it. What a
// header line cannot carry is percent-encoded. For any other s, and for paths
// that own reports as not to be returned to, it returns home. own is given the
// decoded, cleaned path, and may be nil.
//
// cut reports that s was such a path but longer than [MaxReturnPath]: then query
// and fragment are left out, and if the rest is still too long, it is home.
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

// checkLocalPath decides whether s is a path that stays on the site, and returns
// it decoded and cleaned.
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
	// A proxy or a handler may decode the path once more. The result must be a
	// path on this site too.
	decoded := u.Path
	if strings.ContainsFunc(decoded, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7F }) {
		return "", false
	}
	if strings.HasPrefix(decoded, "//") || strings.HasPrefix(removeDots(decoded), "//") {
		return "", false
	}
	return path.Clean(decoded), true
}

// removeDots resolves "." and ".." as browsers do. Unlike path.Clean it keeps
// empty segments: "/.//evil" becomes "//evil", which is another site.
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
