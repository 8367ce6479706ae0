package msauth

import (
	"net/http"
	"strings"

	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// ownRoute reports whether a cleaned path is one of ours: returning there
// after signing in would sign out, or start over. base is BaseURL's path.
func ownRoute(base, p string) bool {
	name, below := strings.CutPrefix(p, base+"/")
	return below && route(name) != nil
}

func (m *Middleware) ownRoute(p string) bool { return ownRoute(m.base.Path, p) }

func (m *Middleware) returnPath(s string) string {
	p, cut := web.ReturnPath(s, m.ownRoute, m.cfg.Home)
	if cut {
		m.log.Info("msauth: an address to return to is too long: its query is dropped", "bytes", len(s), "limit", web.MaxReturnPath, "path", web.OneLine(p, 200))
	}
	return p
}

// leadOn sends the browser on from the callback. An answer that would be too
// large for what stands in front leads to a short route of our own first, if
// the browser has the address in a cookie; one that the app has chosen stands in a
// page, if there is room for that; any other loses its query.
func (m *Middleware) leadOn(w http.ResponseWriter, r *http.Request, a *session.Attempt, target string) {
	limit := maxCallback + max(0, m.cookies.Budget-defaultCookieBudget) // who raises one raises the other
	set := headerBytes(w.Header())
	fits := func(target string) bool { return set+redirectBytes+len(target) <= limit }
	switch {
	case fits(target):
	case a.Kept && target == a.ReturnTo:
		session.DropCookie(w.Header(), m.attempts.AddressName()) // it is not deleted yet
		target = m.base.Path + "/continue"
	case target != a.ReturnTo && set+pageBytes <= limit:
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
		m.log.InfoContext(r.Context(), "msauth: an address to return to has no room beside the session: its query is dropped", "bytes", long, "path", web.OneLine(target, 200))
	}
	web.Redirect(w, target)
}

// goOn leads from the callback to a long address. Only the sign-in that has made
// the request's session can have put it there.
func (m *Middleware) goOn(w http.ResponseWriter, r *http.Request) {
	web.Vary(w.Header(), "Cookie")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		m.wrongMethod(w, r, "GET, HEAD")
		return
	}
	if web.IsPrefetch(r) {
		refusePrefetch(w)
		return
	}
	target := m.cfg.Home
	if id, address, ok := m.attempts.Address(r.Header); ok {
		if rec := m.current(r); rec != nil && rec.Attempt == id {
			target = m.returnPath(address)
			m.attempts.ClearAddress(w.Header())
		}
	}
	web.Redirect(w, target)
}

// recall completes an address that is kept in the browser.
func (m *Middleware) recall(r *http.Request, a *session.Attempt) {
	if id, address, ok := m.attempts.Address(r.Header); ok && id == a.ID {
		a.ReturnTo, a.Kept = m.returnPath(address), true
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
