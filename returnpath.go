package msauth

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// localPath returns s if it is the path of a page on this site, with or
// without a query, such that every browser stays on the site when it follows
// it; else home. own are paths that nobody may be returned to. cut reports that
// it was too long: then its query is dropped, or all of it.
func localPath(s string, own func(path string) bool, home string) (path string, cut bool) {
	if p, ok := checkLocalPath(s); ok && (own == nil || !own(p)) {
		s = asciiURL(s)
		if cut = len(s) > maxReturnTo; cut {
			s, _, _ = strings.Cut(s, "#")
			s, _, _ = strings.Cut(s, "?")
		}
		if len(s) <= maxReturnTo {
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

// asciiURL percent-encodes what a header line cannot carry.
func asciiURL(s string) string {
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

// requestPath is the path and query that the browser asked for. http.StripPrefix
// shortens r.URL and leaves r.RequestURI alone. It is "" where no path was asked
// for.
func requestPath(r *http.Request) string {
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

// ownRoute reports whether a cleaned path is one of ours: returning there
// after signing in would sign out, or start over. base is BaseURL's path.
func ownRoute(base, p string) bool {
	name, below := strings.CutPrefix(p, base+"/")
	return below && route(name) != nil
}

func (m *Middleware) ownRoute(p string) bool { return ownRoute(m.base.Path, p) }

func (m *Middleware) returnPath(s string) string {
	p, cut := localPath(s, m.ownRoute, m.cfg.Home)
	if cut {
		m.log.Info("msauth: an address to return to is too long: its query is dropped", "bytes", len(s), "limit", maxReturnTo, "path", oneLine(p, 200))
	}
	return p
}

// leadOn sends the browser on from the callback. An answer that would be too
// large for what stands in front leads to a short route of our own first, if
// the browser has the address in a cookie; one that the app has chosen stands in a
// page, if there is room for that; any other loses its query.
func (m *Middleware) leadOn(w http.ResponseWriter, r *http.Request, a *attempt, target string) {
	limit := maxCallback + max(0, m.cookies.budget-defaultCookieBudget) // who raises one raises the other
	set := headerBytes(w.Header())
	fits := func(target string) bool { return set+redirectBytes+len(target) <= limit }
	switch {
	case fits(target):
	case a.kept && target == a.returnTo:
		dropCookie(w.Header(), m.attempts.addressName()) // it is not deleted yet
		target = m.base.Path + "/continue"
	case target != a.returnTo && set+pageBytes <= limit:
		// Only what the app has chosen: a browser takes what such a page leads to
		// for a wish of this site.
		m.onwardsPage(w, r, Page{
			Title: "You are signed in", Text: "You are being taken to the page that you wanted.",
			Links: []Link{{URL: target, Label: "Continue"}},
		})
		return
	default:
		long := len(target)
		target, _, _ = strings.Cut(target, "#")
		if target, _, _ = strings.Cut(target, "?"); !fits(target) {
			target = m.cfg.Home
		}
		m.log.InfoContext(r.Context(), "msauth: an address to return to has no room beside the session: its query is dropped", "bytes", long, "path", oneLine(target, 200))
	}
	redirect(w, target)
}

// goOn leads from the callback to a long address. Only the sign-in that has made
// the request's session can have put it there.
func (m *Middleware) goOn(w http.ResponseWriter, r *http.Request) {
	vary(w.Header(), "Cookie")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		m.wrongMethod(w, r, "GET, HEAD")
		return
	}
	if isPrefetch(r) {
		refusePrefetch(w)
		return
	}
	target := m.cfg.Home
	if id, address, ok := m.attempts.address(r.Header); ok {
		if rec := m.current(r); rec != nil && rec.attempt == id {
			target = m.returnPath(address)
			m.attempts.clearAddress(w.Header())
		}
	}
	redirect(w, target)
}

// recall completes an address that is kept in the browser.
func (m *Middleware) recall(r *http.Request, a *attempt) {
	if id, address, ok := m.attempts.address(r.Header); ok && id == a.id {
		a.returnTo, a.kept = m.returnPath(address), true
	}
}

const (
	// maxHeaders are the bytes of an answer's headers: nginx refuses more than
	// 4096 by default. The callback's have maxCallback, because apps set cookies
	// of their own there.
	maxHeaders  = 4000
	maxCallback = 3900
	// redirectBytes is what an answer of ours has beside the lines that are set
	// before redirect: the status line, Date, Content-Length, Connection,
	// Cache-Control, Referrer-Policy, and Location without its value.
	redirectBytes = 170
	// pageBytes is the same for a page.
	pageBytes = 540
)

// headerBytes is the size of header lines.
func headerBytes(h http.Header) (n int) {
	for name, lines := range h {
		for _, line := range lines {
			n += len(name) + len(": ") + len(line) + len("\r\n")
		}
	}
	return n
}
