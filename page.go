package msauth

import (
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"example.com/msauth/internal/page"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// A Page is a page that this package shows to a person; see [Config.Page].
type Page struct {
	// Kind says which page it is and stays the same between versions:
	// "signed-out", "confirm-sign-out", "confirm-connect", "sign-in-required",
	// "declined", "not-allowed", "not-granted", "not-enough", "no-auth-time",
	// "account-taken", "start-again", "expired", "cookies-blocked",
	// "wrong-host", "wait", "loop", "unavailable", "app-error", "too-large",
	// "bad-request", "done" or "not-found".
	Kind string
	// Status is the HTTP status to send.
	Status int
	// Title and Text are plain text in English.
	Title, Text string
	// Links are what the person can do next, the best choice first.
	Links []Link
	// Refresh is the time after which the page follows its first link by
	// itself; less than a second means at once, and 0 means that it does not.
	// Only the kind "wait" sets it. The page's Content-Security-Policy allows
	// <meta http-equiv="refresh">.
	Refresh time.Duration
	// Script, unless it is empty, is the src of a <script type="module"> that tells
	// other tabs that somebody has signed in or out, and closes the window of a sign-in.
	// The kinds "signed-out" and "done" set it. The page's Content-Security-Policy allows
	// it, and everything works without it, if more slowly.
	Script string
	// ID is also in the log line about this page. It is empty for pages that
	// report no failure.
	ID string
	// Err is the reason, or nil if nothing is wrong. It may contain text from
	// outside: do not display it.
	Err error
}

// A Link is a link or a button on a [Page].
type Link struct {
	// URL is the target.
	URL string
	// Label is the text to show.
	Label string
	// Post means that URL takes a form POST with Token.
	Post bool
	// Token is the value for the form's hidden field "msauth_token". It is
	// valid for this person and for half an hour. Without it, if a service
	// worker passes requests on, the form leads to the same page again.
	Token string
}

// fail logs a failure and shows a page with the same id.
func (m *Middleware) fail(w http.ResponseWriter, r *http.Request, level slog.Level, p Page, attrs ...any) {
	p.ID = m.report(r, level, p, attrs...)
	m.showPage(w, r, p)
}

// report logs why a page is shown and returns the id of the log line.
func (m *Middleware) report(r *http.Request, level slog.Level, p Page, attrs ...any) string {
	var random [6]byte
	seal.RandomBytes(random[:])
	id := hex.EncodeToString(random[:])
	attrs = append([]any{"page", p.Kind, "id", id}, attrs...)
	if p.Err != nil {
		attrs = append(attrs, "err", p.Err)
	}
	event := "msauth: request not served"
	for i := 0; i+1 < len(attrs); i += 2 {
		switch {
		case attrs[i] != "event":
		case attrs[i+1] == "sign_in_refused":
			event = "msauth: sign-in refused"
		case attrs[i+1] == "access_refused":
			event = "msauth: access refused"
		}
	}
	m.log.Log(r.Context(), level, event, attrs...)
	return id
}

// showPage writes a page, with headers that allow it nothing but to be read.
func (m *Middleware) showPage(w http.ResponseWriter, r *http.Request, p Page) {
	p.Err = public(p.Err)
	forms, frames := "'none'", "'none'"
	for _, link := range p.Links {
		if link.Post {
			forms = "'self'" + m.providerOrigins() // browsers apply form-action to the redirect too
		}
	}
	scripts := ""
	if p.Script != "" {
		scripts = " script-src 'self'; require-trusted-types-for 'script';"
	}
	h := w.Header()
	if p.Kind == "sign-in-required" && (r.Header.Get("Sec-Fetch-Dest") == "iframe" || r.Header.Get("Sec-Fetch-Dest") == "frame") {
		frames = "'self'" // a frame on one of the app's pages must be able to show it
	} else {
		h.Set("X-Frame-Options", "DENY")
	}
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+page.StyleSource+"; img-src data:;"+scripts+" base-uri 'none'; form-action "+forms+"; frame-ancestors "+frames)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if forms != "'none'" && m.base.Scheme == "http" {
		h.Set("Referrer-Policy", "same-origin") // else Origin is "null", and plain http may have no Sec-Fetch-Site
	}
	h.Set("Cache-Control", "no-store")
	if m.cfg.Page != nil {
		m.cfg.Page(w, r, p)
		return
	}
	w.WriteHeader(p.Status)
	if r.Method == http.MethodHead {
		return
	}
	// With reload, Turbo leaves its page or frame for this page. After a form
	// outside a frame, it would silently go back to the form's page instead.
	reload := r.Method == http.MethodGet || libraryOf(r.Header) == turboFrame
	if err := page.Write(w, p, p.Refresh, reload); err != nil {
		m.log.DebugContext(r.Context(), "msauth: page write failed", "err", err)
	}
}

// brokenPage answers if the session store fails.
func (m *Middleware) brokenPage(w http.ResponseWriter, r *http.Request, err error) {
	m.fail(w, r, slog.LevelError, Page{
		Kind: "unavailable", Status: http.StatusServiceUnavailable,
		Title: "This page is not available right now",
		Text:  "The site could not look up your session. You are still signed in; try again in a moment.",
		Links: []Link{{URL: m.returnPath(web.RequestPath(r)), Label: "Try again"}},
		Err:   err,
	})
}

// unauthorized answers a request that is not a page load with status 401 and a
// link to sign in: on a page or, for scripts, as login_url in a problem
// document (RFC 9457). That has the texts of a dialog too, and the number of the
// sign-in that does not suffice. rec is nil if nobody is signed in; more means
// that somebody is, but needs another sign-in.
func (m *Middleware) unauthorized(w http.ResponseWriter, r *http.Request, rec *session.Record, more bool, login string) {
	h := w.Header()
	h.Set("WWW-Authenticate", `Cookie realm="msauth"`)
	h.Set("Cache-Control", "no-store")
	web.Vary(h, "Cookie", "Accept", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
	status, html := http.StatusUnauthorized, web.PrefersHTML(r)
	switch libraryOf(r.Header) {
	case htmx:
		h.Set("HX-Redirect", m.shorterLink(h, login)) // htmx leaves the page only for this header
	case inertia:
		h.Set("X-Inertia-Location", m.shorterLink(h, login))
		status, html = http.StatusConflict, false
	case turboDrive:
		// If the response is not HTML, Turbo loads the address again, as a
		// page.
		html = html && r.Method != http.MethodGet
	case livewire:
		status, html = statusPageExpired, true // Livewire offers to reload the page
	case livewireNavigate, unpoly, unpolyLayer:
		html = true // these show any response, whatever their Accept says
	}
	if html {
		p := Page{
			Kind: "sign-in-required", Status: status,
			Title: "You are not signed in",
			Text:  "Sign in to see this part of the site. If you were filling in a form, go back first and copy what you wrote: your form was not submitted.",
			Links: []Link{{URL: login, Label: "Sign in"}},
		}
		if more {
			p.Title = "You need to sign in again for this"
			p.Text = "This part of the site needs your approval at Microsoft or a stronger sign-in. If you were filling in a form, go back first and copy what you wrote: your form was not submitted."
		}
		m.showPage(w, r, p)
		return
	}
	title, detail := "Sign-in required", "Nobody is signed in, or the session has ended."
	if more {
		title, detail = "Additional sign-in required", "This request needs more permissions or a stronger sign-in."
	}
	m.problem(w, r, status, map[string]any{
		"title": title, "detail": detail, "login_url": login,
		"login_label": "Sign in", "cancel_label": "Cancel", // for the dialog of ScriptURL
		"sign_in": m.signInNumber(rec),
	})
}

// statusPageExpired is Laravel's status for an expired session.
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

// notFound answers paths below BaseURL that are not ours.
func (m *Middleware) notFound(w http.ResponseWriter, r *http.Request) {
	m.showPage(w, r, Page{
		Kind: "not-found", Status: http.StatusNotFound,
		Title: "Page not found", Text: "There is nothing at this address.",
		Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
	})
}

// wrongMethod answers methods that a page does not accept.
func (m *Middleware) wrongMethod(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	m.showPage(w, r, Page{
		Kind: "bad-request", Status: http.StatusMethodNotAllowed,
		Title: "This address cannot be used this way", Text: "Start again from the home page.",
		Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
	})
}
