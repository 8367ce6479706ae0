package web

import (
	"net/http"
	"strconv"
	"strings"
)

// IsNavigation reports whether a person waits for a page in the top window:
// only then may the answer be a way to Microsoft. A frame could not show it, a
// script could not follow it, and nobody asked for a prefetch. It says nothing
// about who wanted the page: see provesWhoAsked.
func IsNavigation(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && !IsPrefetch(r) && IsPageLoad(r)
}

// IsPageLoad is isNavigation whatever the method is.
func IsPageLoad(r *http.Request) bool {
	// Fetch Metadata: frames say "navigate" too, Dest tells them apart.
	mode, dest := First(r.Header["Sec-Fetch-Mode"]), First(r.Header["Sec-Fetch-Dest"])
	switch {
	case mode == "navigate" && dest == "document":
		return true
	case mode == "navigate" && dest == "empty":
		// Passed on by a service worker, fetch(event.request), or a download,
		// which does not ask for a page.
	case (mode == "same-origin" || mode == "cors") && dest == "empty":
		// A service worker has made a new request of it; only a page load is
		// marked like that. A script's own requests are not.
		if First(r.Header["Upgrade-Insecure-Requests"]) != "1" {
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

// ProvesWhoAsked reports whether Fetch Metadata, Origin, Referer and
// SameSite tell who wanted a request. A service worker passes a link or a form
// of another site on as a request of its own site: with Dest "empty", which it
// cannot change, or, if browsers should ever keep Dest, with a mark of page
// loads in another mode. Browsers too old for Fetch Metadata do not tell.
func ProvesWhoAsked(h http.Header) bool {
	if First(h["Sec-Fetch-Dest"]) == "empty" {
		return false
	}
	mode := First(h["Sec-Fetch-Mode"])
	return mode == "" || mode == "navigate" || First(h["Upgrade-Insecure-Requests"]) == ""
}

// First is what http.Header.Get returns for a canonical name, which it would
// make canonical once more.
func First(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[0]
}

// IsPrefetch reports whether a browser fetches ahead of any wish to see.
func IsPrefetch(r *http.Request) bool {
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

// IsUpgrade reports whether the answer may be the last of HTTP on this
// connection (RFC 9110 section 7.8), as with a WebSocket's handshake.
func IsUpgrade(r *http.Request) bool {
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

func PrefersHTML(r *http.Request) bool {
	html := acceptQuality(r, "text/html")
	return html > 0 && html >= acceptQuality(r, "application/json") && html >= acceptQuality(r, "application/problem+json")
}

// Vary adds names to the Vary header, once each, in one line.
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

func hasToken(line, name string) bool {
	for part := range strings.SplitSeq(line, ",") {
		if part = strings.TrimSpace(part); part == "*" || strings.EqualFold(part, name) {
			return true
		}
	}
	return false
}

// Redirect sends the browser on with GET whatever the method was (RFC 9110
// section 15.4.4). http.Redirect would clean the path.
func Redirect(w http.ResponseWriter, target string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}
