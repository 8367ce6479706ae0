package msauth

import (
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"strings"
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
	// "bad-request", "not-found", "done", "other-account" or "form-expired".
	Kind string
	// Status is the HTTP status to send.
	Status int
	// Language is the language of the texts, a tag such as "de" or "zh-Hant" (BCP
	// 47), and Dir its direction, "ltr" or "rtl", for the attributes lang and dir of
	// HTML. The header Content-Language says the same.
	Language, Dir string
	// Title and Text are plain text. TextID names them and stays the same between
	// versions, for languages that this package does not have: "took-too-long". Its
	// texts are in internal/catalog/en.json. Args are the values of placeholders in
	// them, such as {minutes}, by name.
	Title, Text string
	TextID      string
	Args        map[string]string
	// Notes are further sentences, below Text.
	Notes []Note
	// Links are what the person can do next, the best choice first.
	Links []Link
	// Fields are those of a form that was posted and not sent on, in their order;
	// see [Config.KeepForm]. Every form of Links must have them as hidden fields,
	// on a page in UTF-8. If no link is a form, it cannot be sent again: show
	// them, for the person to copy, below FieldsLabel, "What you wrote" in English.
	Fields      []Field
	FieldsLabel string
	// Refresh is the time after which the page follows its first link by
	// itself; less than a second means at once, and 0 means that it does not.
	// Only the kind "wait" sets it. The page's Content-Security-Policy allows
	// <meta http-equiv="refresh">.
	Refresh time.Duration
	// Script, unless it is empty, is the src of a <script type="module">. On the pages
	// "signed-out" and "done" it tells other tabs that somebody has signed in or out, and
	// closes the window of a sign-in; on a page that keeps a form it shows the hidden
	// one of Notes. The page's Content-Security-Policy allows it, and everything works
	// without it.
	Script string
	// ID is also in the log line about this page. It is empty for pages that
	// report no failure. IDLabel is the text before it, "Reference:" in English.
	ID, IDLabel string
	// Err is the reason, or nil if nothing is wrong. It may contain text from
	// outside: do not display it.
	Err error
}

// A Note is a sentence on a [Page].
type Note struct {
	// Text is plain text, and TextID its name, as that of a Page's.
	Text, TextID string
	// Hidden means that it is not true yet: [Page].Script shows the element with the
	// id "msauth-" + TextID, which has the attribute hidden, as soon as somebody has
	// signed in.
	Hidden bool
}

// A Link is a link or a button on a [Page].
type Link struct {
	// URL is the target.
	URL string
	// Label is the text to show, and TextID its name, as that of a Page's.
	Label, TextID string
	// Post means that URL takes a form POST with Token and [Page].Fields.
	Post bool
	// NewTab means that the link opens in another tab, because this one keeps a form.
	NewTab bool
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

// home is the link to the home page.
func (m *Middleware) home() Link { return Link{URL: m.cfg.Home, TextID: "home"} }

// showPage writes a page, with headers that allow it nothing but to be read.
func (m *Middleware) showPage(w http.ResponseWriter, r *http.Request, p Page) {
	p.Err = public(p.Err)
	p.write(m.textsFor(w, r))
	forms, frames := "'none'", "'none'"
	referrer := "no-referrer"
	for _, link := range p.Links {
		switch {
		case !link.Post:
		case strings.HasPrefix(link.URL, m.againPath()+"?"):
			forms, referrer = "'self'", "same-origin" // else the handler that gets the form sees Origin: null
		default:
			forms = "'self'" + m.providerOrigins() // browsers apply form-action to the redirect too
		}
	}
	scripts := ""
	if p.Script != "" {
		scripts = " script-src 'self'; require-trusted-types-for 'script';"
		if p.Kind == "sign-in-required" { // that of a kept form, which asks /session
			scripts += " connect-src 'self';"
		}
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
	h.Set("Referrer-Policy", referrer)
	if forms != "'none'" && m.base.Scheme == "http" {
		h.Set("Referrer-Policy", "same-origin") // else Origin is "null", and plain http may have no Sec-Fetch-Site
	}
	h.Set("Cache-Control", "no-store")
	if m.cfg.Page != nil {
		m.cfg.Page(w, r, p)
		return
	}
	p.ServeHTTP(w, r)
}

// ServeHTTP writes the page as it is without [Config.Page], which can change some pages, or
// the texts of all, and leave the rest to it:
//
//	Page: func(w http.ResponseWriter, r *http.Request, p msauth.Page) {
//		if p.Kind == "signed-out" {
//			p.Text = "See you soon."
//		}
//		p.ServeHTTP(w, r)
//	},
//
// It loads nothing but Script, and its style is the one that the Content-Security-Policy allows.
func (p Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.Language != "" {
		w.Header().Set("Content-Language", p.Language)
	}
	w.WriteHeader(p.Status)
	if r.Method == http.MethodHead {
		return
	}
	// With reload, Turbo leaves its page or frame for this page. After a form
	// outside a frame, it would silently go back to the form's page instead.
	reload := r.Method == http.MethodGet || libraryOf(r.Header) == turboFrame
	_ = page.Write(w, p, p.Refresh, reload) // the browser may be gone
}

// brokenPage answers if the session store fails.
func (m *Middleware) brokenPage(w http.ResponseWriter, r *http.Request, err error, k *keptForm) {
	p := Page{
		Kind: "unavailable", Status: http.StatusServiceUnavailable,
		TextID: "session-not-read",
		Links:  []Link{{URL: m.returnPath(web.RequestPath(r)), TextID: "try-again"}},
		Err:    err,
	}
	if k != nil {
		p.Links = nil
		p = m.withForm(k, noted(p))
	}
	m.fail(w, r, slog.LevelError, p)
}

// unauthorized answers a request that is not a page load with status 401 and a
// link to sign in: on a page or, for scripts, as login_url in a problem
// document (RFC 9457), which has the texts of a dialog that offers it, and the
// number of the sign-in that does not suffice. rec is the session, or nil. more
// means that somebody is signed in but needs another sign-in.
func (m *Middleware) unauthorized(w http.ResponseWriter, r *http.Request, rec *session.Record, more bool, login string) {
	h := w.Header()
	h.Set("WWW-Authenticate", authenticate)
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
		var k *keptForm
		if status == http.StatusUnauthorized {
			k = m.keepForm(w, r)
		}
		m.signInPage(w, r, status, more, login, k)
		return
	}
	text := "sign-in-script"
	if more {
		text = "sign-in-again-script"
	}
	if a := attachedBy(r.Context(), m); rec == nil && a != nil {
		rec = a.visit.refused // the cookie is still there: another sign-in is one with another number
	}
	texts := m.textsFor(w, r)
	m.problem(w, r, Page{Status: status, TextID: text}, map[string]any{
		"login_url": login, "sign_in": m.signInNumber(rec),
		// For the dialog of ScriptURL.
		"language": texts.Language, "login_label": texts.Label("sign-in", nil), "cancel_label": texts.Label("cancel", nil),
	})
}

// signInPage says that a sign-in is needed, and keeps the form k if there is one.
func (m *Middleware) signInPage(w http.ResponseWriter, r *http.Request, status int, more bool, login string, k *keptForm) {
	p := Page{Kind: "sign-in-required", Status: status, Links: []Link{{URL: login, TextID: "sign-in"}}}
	text, textMore := "sign-in", "sign-in-again"
	switch mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); {
	case k != nil:
		text, textMore = "sign-in-form", "sign-in-again-form"
		p.Notes, p.Script = []Note{{TextID: "signed-in-again", Hidden: true}}, m.ScriptURL()
	case r.Method == http.MethodPost && strings.EqualFold(strings.TrimSpace(mediaType), "multipart/form-data"):
		text, textMore = "sign-in-files", "sign-in-again-files"
	}
	if p.TextID = text; more {
		p.TextID = textMore
	}
	m.showPage(w, r, m.withForm(k, p))
}

// authenticate is the WWW-Authenticate line of status 401.
const authenticate = `Cookie realm="msauth"`

// statusPageExpired is Laravel's status for an expired session.
const statusPageExpired = 419

// problem writes a problem document (RFC 9457) in place of a page. members are those beside
// the ones that the page gives, and may be nil.
func (m *Middleware) problem(w http.ResponseWriter, r *http.Request, p Page, members map[string]any) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	p.write(m.textsFor(w, r))
	w.WriteHeader(p.Status)
	if r.Method == http.MethodHead {
		return
	}
	document := map[string]any{"type": "about:blank", "status": p.Status, "title": p.Title, "detail": p.Text}
	if p.ID != "" {
		document["id"] = p.ID
	}
	maps.Copy(document, members)
	json.NewEncoder(w).Encode(document)
}

// notFound answers paths below BaseURL that are not ours.
func (m *Middleware) notFound(w http.ResponseWriter, r *http.Request) {
	m.showPage(w, r, Page{
		Kind: "not-found", Status: http.StatusNotFound,
		TextID: "not-found",
		Links:  []Link{m.home()},
	})
}

// wrongMethod answers methods that a page does not accept.
func (m *Middleware) wrongMethod(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	m.showPage(w, r, Page{
		Kind: "bad-request", Status: http.StatusMethodNotAllowed,
		TextID: "wrong-method",
		Links:  []Link{m.home()},
	})
}
