package graph

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"example.com/msauth/internal/web"
)

// Path joins segments to a path, and escapes each: a slash, a question mark or
// dots within one cannot lead to another resource. An ID that came from outside
// belongs into a segment of its own:
//
//	graph.Path("users", id, "messages")
//
// A segment that is empty, "." or ".." makes a path that every call refuses.
func Path(segments ...string) string {
	escaped := make([]string, len(segments))
	for i, s := range segments {
		escaped[i] = escape(s)
	}
	return strings.Join(escaped, "/")
}

// escape is url.PathEscape, of colons too: in the path of a drive they part what
// is an ID from what is a name.
func escape(segment string) string {
	return strings.ReplaceAll(url.PathEscape(segment), ":", "%3A")
}

// share is a sharing link in a path ("shares/u!..."). It can be all that somebody
// needs to open a file.
var share = regexp.MustCompile(`(?i)^(/?shares/)[^/?]+`)

// hideShare makes a path fit for errors.
func hideShare(path string) string { return share.ReplaceAllString(path, "${1}"+hidden) }

// maxPath is the length of a path or link in bytes. Delta links are long.
const maxPath = 16 << 10

// isLink tells an absolute URL from a path: that of an item begins with
// something like "me/drive/root:/".
func isLink(path string) bool {
	scheme, rest, ok := strings.Cut(path, ":")
	return ok && strings.HasPrefix(rest, "//") && !strings.Contains(scheme, "/")
}

// below returns the URL of a path relative to the base.
func (c *Client) below(text string) (*url.URL, error) {
	escaped, query, _ := strings.Cut(strings.TrimPrefix(text, "/"), "?")
	escaped, query = asciiPath(escaped), web.ASCIIURL(query)
	bad := func(reason string) (*url.URL, error) {
		return nil, &InvalidError{Field: "path", Value: web.OneLine(hideShare(text), 200), Reason: reason}
	}
	if len(text) > maxPath {
		return bad("is too long")
	}
	if hasControl(text) || strings.ContainsAny(text, `\#`) {
		return bad(`contains a control character, "\" or "#"`)
	}
	decoded, err := url.PathUnescape(escaped)
	if err != nil {
		return bad("has a % that is not followed by two hexadecimal digits")
	}
	if hasControl(decoded) {
		return bad("contains a control character")
	}
	for segment := range strings.SplitSeq(escaped, "/") {
		name, _ := url.PathUnescape(segment)
		switch strings.Trim(name, ":") {
		case "", ".", "..":
			return bad(`has a segment that is empty, "." or ".."`)
		}
		if strings.ContainsAny(name, `/\`) {
			return bad("has a segment with a slash in it")
		}
	}
	u := *c.base
	u.Path, u.RawQuery = c.base.Path+"/"+decoded, query
	u.RawPath = c.base.EscapedPath() + "/" + escaped
	return &u, nil
}

// checkLink checks a link that came from Graph, or that an app has kept: it must
// lead below the base, because the token is sent there.
func (c *Client) checkLink(text string) (*url.URL, error) {
	bad := func(reason string) (*url.URL, error) {
		return nil, &InvalidError{Field: "link", Value: linkHost(text), Reason: reason}
	}
	if len(text) > maxPath || hasControl(text) {
		return bad("is too long or contains a control character")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return bad("is not a URL")
	// Other letters than ASCII's have lower-case forms that are ASCII, such as
	// U+0130: they make another name of a host.
	case u.Scheme != c.base.Scheme || !web.IsASCII(u.Host) || web.HostPort(u) != web.HostPort(c.base) || u.User != nil:
		return bad("leads to another host than " + c.base.Host)
	case hasControl(u.Path) || strings.Contains(u.Path, `\`):
		return bad(`has a control character or "\" in its path`)
	case !strings.HasPrefix(u.Path, c.base.Path+"/") || path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/"):
		return bad("does not lead below " + c.base.Path + "/")
	}
	u.Host, u.Fragment, u.RawFragment = c.base.Host, "", ""
	u.RawQuery = web.ASCIIURL(u.RawQuery)
	return u, nil
}

// asciiPath percent-encodes what net/url does not accept in a path. It would
// encode such a path anew otherwise, and make a colon of a %3A.
func asciiPath(escaped string) string {
	var b strings.Builder
	for i := range len(escaped) {
		c := escaped[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~!$&'()*+,;=:@[]%/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// linkHost returns the host of a link, for errors: what follows it may be secret.
func linkHost(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return web.OneLine(u.Host, 100)
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}
