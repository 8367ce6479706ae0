package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// IsNavigation reports whether a person waits for a page in the top window: only
// then may the answer be a redirect to a sign-in page. A frame could not show
// that page, a script could not follow the redirect, and nobody asked for a
// prefetch. Which site started the request is another question: see
// [ProvesWhoAsked].
func IsNavigation(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && !IsPrefetch(r) && IsPageLoad(r)
}

// IsPageLoad reports whether a page is loaded in the top window, with any method
// and even if it is a prefetch.
func IsPageLoad(r *http.Request) bool {
	// Frames have the mode "navigate" too, but another destination.
	mode, dest := First(r.Header["Sec-Fetch-Mode"]), First(r.Header["Sec-Fetch-Dest"])
	switch {
	case mode == "navigate" && dest == "document":
		return true
	case mode == "navigate" && dest == "empty":
		// A service worker's fetch(event.request), or a download. The Accept
		// header below tells: a download does not ask for a page.
	case (mode == "same-origin" || mode == "cors") && dest == "empty":
		// A service worker has made a new request of a page load, which keeps
		// its mark, or it is a script's own request, which has none.
		if First(r.Header["Upgrade-Insecure-Requests"]) != "1" {
			return false
		}
	case mode != "":
		return false
	}
	return acceptQuality(r, "text/html") > 0 && !isXHR(r) && r.Header.Get("HX-Request") == "" && r.Header.Get("Upgrade") == ""
}

// isXHR reports whether a script's library says that it made the request.
// Android WebViews send the app's name in the same header, with page loads.
func isXHR(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest")
}

// ProvesWhoAsked reports whether Sec-Fetch-Site, Origin, Referer and SameSite
// cookies tell which site started a request. They do not behind a service
// worker, which passes a link or a form of another site on as a request of its
// own site. Such a request has the destination "empty", which the worker cannot
// change; or, should browsers ever keep the destination, the mark of a page load
// in a mode other than "navigate". In browsers too old for Fetch Metadata a
// service worker cannot be seen, and the result is true.
func ProvesWhoAsked(h http.Header) bool {
	if First(h["Sec-Fetch-Dest"]) == "empty" {
		return false
	}
	mode := First(h["Sec-Fetch-Mode"])
	return mode == "" || mode == "navigate" || First(h["Upgrade-Insecure-Requests"]) == ""
}

// IsPrefetch reports whether a browser fetches or renders a page that nobody has
// asked for yet.
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

// IsUpgrade reports whether a request asks to leave HTTP on this connection (RFC
// 9110 section 7.8), as a WebSocket handshake does.
func IsUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Upgrade") != "" && hasToken(strings.Join(r.Header["Connection"], ","), "upgrade")
}

// PrefersHTML reports whether the Accept header names text/html and prefers it
// to JSON, or does not mind.
func PrefersHTML(r *http.Request) bool {
	html := acceptQuality(r, "text/html")
	return html > 0 && html >= acceptQuality(r, "application/json") && html >= acceptQuality(r, "application/problem+json")
}

// acceptQuality returns the highest quality that the Accept header gives a media
// type by name, or 0. Wildcards do not count.
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

// RequestPath returns the path and query that the browser asked for, from
// r.RequestURI, which http.StripPrefix leaves alone. It is "" where no path was
// asked for, as in "OPTIONS *".
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
