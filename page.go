package msauth

import (
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"example.com/msauth/internal/page"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/web"
)

// A Page is what this package wants to tell a person; see [Config.Page].
type Page struct {
	// Kind is stable and says which page it is: "signed-out",
	// "confirm-sign-out", "confirm-connect", "sign-in-required", "declined", "not-allowed",
	// "not-granted", "not-enough", "no-auth-time", "account-taken",
	// "start-again", "expired", "cookies-blocked", "wrong-host", "wait", "loop",
	// "unavailable", "app-error", "too-large", "bad-request" or "not-found".
	Kind string
	// Status is the HTTP status to send.
	Status int
	// Title and Text are plain text in English.
	Title, Text string
	// Links are what the person can do next, the best first.
	Links []Link
	// Refresh is after how long the page goes on to its first link by itself, 0
	// for pages that do not; less than a second means at once. The strict headers
	// allow <meta http-equiv="refresh">. Only "wait" has it.
	Refresh time.Duration
	// ID is also in the log line about this page; empty for pages that report
	// no failure.
	ID string
	// Err is the reason, nil when there is nothing wrong. It may hold texts
	// that others chose: not for display.
	Err error
}

// A Link is something to do on a [Page].
type Link struct {
	// URL is where it leads.
	URL string
	// Label is what it is called.
	Label string
	// Post means that URL wants a form POST, with Token.
	Post bool
	// Token is the value of the form's hidden field "msauth_token": where a
	// service worker passes requests on, the form leads to the same page again
	// without it. It is good for this person, for half an hour.
	Token string
}

// showPage writes a page under headers that let it do nothing but be read.
func (m *Middleware) showPage(w http.ResponseWriter, r *http.Request, p Page) {
	p.Err = public(p.Err)
	forms, frames := "'none'", "'none'"
	for _, link := range p.Links {
		if link.Post {
			forms = "'self'" + m.formOrigins() // browsers apply form-action to the redirect too
		}
	}
	h := w.Header()
	if p.Kind == "sign-in-required" && (r.Header.Get("Sec-Fetch-Dest") == "iframe" || r.Header.Get("Sec-Fetch-Dest") == "frame") {
		frames = "'self'" // or the frame of a page of the app could not show it
	} else {
		h.Set("X-Frame-Options", "DENY")
	}
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+page.StyleSource+"; img-src data:; base-uri 'none'; form-action "+forms+"; frame-ancestors "+frames)
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
	// Turbo then leaves the page, or the frame, for this one. After a form that is
	// in no frame it would go back to the page of the form, and say nothing.
	reload := r.Method == http.MethodGet || libraryOf(r.Header) == turboFrame
	if err := page.Write(w, p, p.Refresh, reload); err != nil {
		m.log.DebugContext(r.Context(), "msauth: writing a page", "err", err)
	}
}

// fail logs why and shows a page with the same id.
func (m *Middleware) fail(w http.ResponseWriter, r *http.Request, level slog.Level, p Page, attrs ...any) {
	p.ID = m.report(r, level, p, attrs...)
	m.showPage(w, r, p)
}

// report logs why a page is shown, under the id that it returns.
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

// notFound and wrongMethod answer what is no route of ours.
func (m *Middleware) notFound(w http.ResponseWriter, r *http.Request) {
	m.showPage(w, r, Page{
		Kind: "not-found", Status: http.StatusNotFound,
		Title: "Page not found", Text: "There is nothing at this address.",
		Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
	})
}

func (m *Middleware) wrongMethod(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	m.showPage(w, r, Page{
		Kind: "bad-request", Status: http.StatusMethodNotAllowed,
		Title: "This address cannot be used like that", Text: "Begin again from the home page.",
		Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
	})
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
			Text:  "This part of the site needs you to sign in. If you were filling in a form, go back first and keep a copy of what you wrote: your form was not submitted.",
			Links: []Link{{URL: login, Label: "Sign in"}},
		}
		if more {
			p.Title = "Sign in once more for this"
			p.Text = "This part of the site needs you to agree to something at Microsoft, or to sign in again. If you were filling in a form, go back first and keep a copy of what you wrote: your form was not submitted."
		}
		m.showPage(w, r, p)
		return
	}
	title, detail := "Sign-in required", "Nobody is signed in, or the session has ended."
	if more {
		title, detail = "Additional sign-in required", "This request needs more permissions or a stronger sign-in."
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
