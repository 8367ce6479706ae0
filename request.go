package msauth

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// isNavigation reports whether a person waits for a page in the top window:
// only then may the answer be a way to Microsoft. A frame could not show it, a
// script could not follow it, and nobody asked for a prefetch. It says nothing
// about who wanted the page: see provesWhoAsked.
func isNavigation(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && !isPrefetch(r) && isPageLoad(r)
}

// isPageLoad is isNavigation whatever the method is.
func isPageLoad(r *http.Request) bool {
	// Fetch Metadata: frames say "navigate" too, Dest tells them apart.
	mode, dest := first(r.Header["Sec-Fetch-Mode"]), first(r.Header["Sec-Fetch-Dest"])
	switch {
	case mode == "navigate" && dest == "document":
		return true
	case mode == "navigate" && dest == "empty":
		// Passed on by a service worker, fetch(event.request), or a download,
		// which does not ask for a page.
	case (mode == "same-origin" || mode == "cors") && dest == "empty":
		// A service worker has made a new request of it; only a page load is
		// marked like that. A script's own requests are not.
		if first(r.Header["Upgrade-Insecure-Requests"]) != "1" {
			return false
		}
	case mode != "":
		return false
	}
	return acceptQuality(r, "text/html") > 0 && !isXHR(r) && r.Header.Get("HX-Request") == "" && r.Header.Get("Upgrade") == ""
}

// isXHR reports whether a script's library says what it is. The WebViews of
// Android send the app's name in the same header, with page loads.
func isXHR(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest")
}

// provesWhoAsked reports whether Fetch Metadata, Origin, Referer and
// SameSite tell who wanted a request. A service worker passes a link or a form
// of another site on as a request of its own site: with Dest "empty", which it
// cannot change, or, if browsers should ever keep Dest, with a mark of page
// loads in another mode. Browsers too old for Fetch Metadata do not tell.
func provesWhoAsked(h http.Header) bool {
	if first(h["Sec-Fetch-Dest"]) == "empty" {
		return false
	}
	mode := first(h["Sec-Fetch-Mode"])
	return mode == "" || mode == "navigate" || first(h["Upgrade-Insecure-Requests"]) == ""
}

// first is what http.Header.Get returns for a canonical name, which it would
// make canonical once more.
func first(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[0]
}

// isPrefetch reports whether a browser fetches ahead of any wish to see.
func isPrefetch(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	for _, name := range [...]string{"Sec-Purpose", "Purpose", "X-Sec-Purpose", "X-Moz"} {
		for _, value := range r.Header[name] {
			value = strings.ToLower(value)
			if strings.Contains(value, "prefetch") || strings.Contains(value, "prerender") || strings.Contains(value, "preview") {
				return true
			}
		}
	}
	return false
}

// isUpgrade reports whether the answer may be the last of HTTP on this
// connection (RFC 9110 section 7.8), as with a WebSocket's handshake.
func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Upgrade") != "" && hasToken(strings.Join(r.Header["Connection"], ","), "upgrade")
}

// acceptQuality is how much the Accept header wants a media type that it
// names; wildcards do not count.
func acceptQuality(r *http.Request, mediaType string) float64 {
	best := 0.0
	for _, line := range r.Header["Accept"] {
		for part := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(part, ";")
			if !strings.EqualFold(strings.TrimSpace(name), mediaType) {
				continue
			}
			q := 1.0
			for p := range strings.SplitSeq(params, ";") {
				if value, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
					if f, err := strconv.ParseFloat(value, 64); err == nil {
						q = f
					}
				}
			}
			best = max(best, q)
		}
	}
	return best
}

func prefersHTML(r *http.Request) bool {
	html := acceptQuality(r, "text/html")
	return html > 0 && html >= acceptQuality(r, "application/json") && html >= acceptQuality(r, "application/problem+json")
}

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
	case first(h["Hx-Request"]) == "true":
		return htmx
	case first(h["X-Inertia"]) != "":
		return inertia
	case first(h["Turbo-Frame"]) != "":
		return turboFrame
	case first(h["X-Turbo-Request-Id"]) != "":
		return turboDrive
	case h["X-Livewire-Navigate"] != nil: // they are empty
		return livewireNavigate
	case h["X-Livewire"] != nil:
		return livewire
	case first(h["X-Up-Version"]) != "" && first(h["X-Up-Mode"]) == "root":
		return unpoly
	case first(h["X-Up-Version"]) != "":
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
			if page := m.returnPath(requestPath(r)); page != m.cfg.Home {
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
	mode := first(r.Header["Sec-Fetch-Mode"])
	return strings.HasSuffix(path, ".js") || strings.HasSuffix(path, ".mjs") ||
		mode != "" && mode != "navigate" && first(r.Header["Upgrade-Insecure-Requests"]) == "1"
}

// unauthorized answers a request that is no page load: 401, for scripts with a
// problem document (RFC 9457) whose login_url a page can open. more says that
// somebody is signed in, and that another sign-in is to bring more.
func (m *Middleware) unauthorized(w http.ResponseWriter, r *http.Request, more bool, login string) {
	h := w.Header()
	h.Set("WWW-Authenticate", `Cookie realm="msauth"`)
	h.Set("Cache-Control", "no-store")
	vary(h, "Cookie", "Accept", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
	status, html := http.StatusUnauthorized, prefersHTML(r)
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

// vary adds names to the Vary header, once each, in one line.
func vary(h http.Header, names ...string) {
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

func hasToken(line, name string) bool {
	for part := range strings.SplitSeq(line, ",") {
		if part = strings.TrimSpace(part); part == "*" || strings.EqualFold(part, name) {
			return true
		}
	}
	return false
}

// redirect sends the browser on with GET whatever the method was (RFC 9110
// section 15.4.4). http.Redirect would clean the path.
func redirect(w http.ResponseWriter, target string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}

// meant reports whether the person wants what a request does, as far as a
// request can tell: by a form of this site, or a link that was followed there.
func (m *Middleware) meant(r *http.Request) bool {
	return m.seemsMeant(r) && provesWhoAsked(r.Header)
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
	return isNavigation(r) && r.Header.Get("Sec-Fetch-Site") == "same-origin"
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
