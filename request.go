package msauth

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"example.com/msauth/internal/web"
)

// A library makes requests for pages by script. Each follows something else
// when nobody is signed in.
type library int

const (
	noLibrary library = iota
	htmx
	turboDrive // a visit: the page changes, and the address
	turboFrame
	inertia
	livewire // an update of a component
	livewireNavigate
	unpoly
	unpolyLayer // above the page
)

// libraryOf tells libraries by the headers that they send.
func libraryOf(h http.Header) library {
	switch {
	case web.First(h["Hx-Request"]) == "true":
		return htmx
	case web.First(h["X-Inertia"]) != "":
		return inertia
	case web.First(h["Turbo-Frame"]) != "":
		return turboFrame
	case web.First(h["X-Turbo-Request-Id"]) != "":
		return turboDrive
	case h["X-Livewire-Navigate"] != nil: // they are empty
		return livewireNavigate
	case h["X-Livewire"] != nil:
		return livewire
	case web.First(h["X-Up-Version"]) != "" && web.First(h["X-Up-Mode"]) == "root":
		return unpoly
	case web.First(h["X-Up-Version"]) != "":
		return unpolyLayer
	}
	return noLibrary
}

// seenPage is the page that the person looks at while a script or a frame
// makes the request: what to come back to after signing in. Where a library
// was about to show another page, it is that one.
func (m *Middleware) seenPage(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		switch libraryOf(r.Header) {
		case turboDrive, inertia, livewireNavigate, unpoly:
			if page := m.returnPath(web.RequestPath(r)); page != m.cfg.Home {
				return page
			}
		}
	}
	for _, name := range [...]string{"HX-Current-Url", "Referer"} {
		u, err := url.Parse(r.Header.Get(name))
		if err == nil && u.Host != "" && (strings.EqualFold(u.Host, r.Host) || strings.EqualFold(u.Host, m.base.Host)) {
			if name == "Referer" && byWorker(r, u.Path) {
				continue
			}
			return m.returnPath(u.RequestURI())
		}
	}
	return m.cfg.Home
}

// byWorker reports whether Referer is the address of a service worker's script,
// which nobody looks at: it is in the requests that a worker makes, or makes
// anew of a page's.
func byWorker(r *http.Request, path string) bool {
	mode := web.First(r.Header["Sec-Fetch-Mode"])
	return strings.HasSuffix(path, ".js") || strings.HasSuffix(path, ".mjs") ||
		mode != "" && mode != "navigate" && web.First(r.Header["Upgrade-Insecure-Requests"]) == "1"
}

// unauthorized answers a request that is no page load: 401, for scripts with a
// problem document (RFC 9457) whose login_url a page can open. more says that
// somebody is signed in, and that another sign-in is to bring more.
func (m *Middleware) unauthorized(w http.ResponseWriter, r *http.Request, more bool, login string) {
	h := w.Header()
	h.Set("WWW-Authenticate", `Cookie realm="msauth"`)
	h.Set("Cache-Control", "no-store")
	web.Vary(h, "Cookie", "Accept", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
	status, html := http.StatusUnauthorized, web.PrefersHTML(r)
	switch libraryOf(r.Header) {
	case htmx:
		h.Set("HX-Redirect", m.shorterLink(h, login)) // it leaves the page only for this
	case inertia:
		h.Set("X-Inertia-Location", m.shorterLink(h, login))
		status, html = http.StatusConflict, false
	case turboDrive:
		// What is no HTML makes it load the address again, as a page.
		html = html && r.Method != http.MethodGet
	case livewire:
		status, html = statusPageExpired, true // it offers to load the page again
	case livewireNavigate, unpoly, unpolyLayer:
		html = true // it shows what comes, whatever it says in Accept
	}
	if html {
		p := Page{
			Kind: "sign-in-required", Status: status,
			Title: "You are not signed in",
			Text:  "This part of the site needs you to sign in. If you were filling in a form, go back first and keep a copy of what you wrote: nothing of it was sent on.",
			Links: []Link{{URL: login, Label: "Sign in"}},
		}
		if more {
			p.Title = "Sign in once more for this"
			p.Text = "This part of the site needs you to agree to something at Microsoft, or to sign in again. If you were filling in a form, go back first and keep a copy of what you wrote: nothing of it was sent on."
		}
		m.showPage(w, r, p)
		return
	}
	title, detail := "Sign-in required", "Nobody is signed in, or the session has ended."
	if more {
		title, detail = "Another sign-in required", "Somebody is signed in, but this needs another sign-in, with more permissions or a stronger proof."
	}
	m.problem(w, r, status, map[string]any{"title": title, "detail": detail, "login_url": login})
}

// statusPageExpired is what Laravel answers when a session is over.
const statusPageExpired = 419

// problem writes a problem document (RFC 9457).
func (m *Middleware) problem(w http.ResponseWriter, r *http.Request, status int, members map[string]any) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	members["type"], members["status"] = "about:blank", status
	json.NewEncoder(w).Encode(members)
}

// meant reports whether the person wants what a request does, as far as a
// request can tell: by a form of this site, or a link that was followed there.
func (m *Middleware) meant(r *http.Request) bool {
	return m.seemsMeant(r) && web.ProvesWhoAsked(r.Header)
}

// seemsMeant is meant for requests that no service worker has passed on.
func (m *Middleware) seemsMeant(r *http.Request) bool {
	if r.Method == http.MethodPost {
		if origin := r.Header.Get("Origin"); r.Header.Get("Sec-Fetch-Site") == "" && origin != "" && !strings.HasPrefix(origin, m.base.Scheme+"://") {
			return false // CrossOriginProtection compares hosts only
		}
		var protection http.CrossOriginProtection
		// Where a proxy changes the Host header, and the browser is too old
		// for Sec-Fetch-Site, Origin is still that of BaseURL.
		if protection.AddTrustedOrigin(m.base.Scheme+"://"+m.base.Host) != nil {
			return false
		}
		return protection.Check(r) == nil
	}
	return web.IsNavigation(r) && r.Header.Get("Sec-Fetch-Site") == "same-origin"
}

// fromHere makes sure of browsers that are too old to say where a form is from:
// for them there is the Referer.
func (m *Middleware) fromHere(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "" {
		return true
	}
	u, err := url.Parse(r.Header.Get("Referer"))
	return err == nil && u.Scheme == m.base.Scheme && strings.EqualFold(u.Host, m.base.Host)
}
