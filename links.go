package msauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// LoginOptions shape the link that [Middleware.LoginURL] makes.
type LoginOptions struct {
	// ReturnTo is the local path, with or without a query, to come back to.
	// Default [Config.Home].
	ReturnTo string
	// Prompt is "select_account" to choose among accounts or "login" to enter
	// credentials again; Microsoft decides if it is empty.
	Prompt string
	// LoginHint is the sign-in name to fill in.
	LoginHint string
	// DomainHint leads straight to the sign-in page of a domain.
	DomainHint string
	// UILocales are the person's languages, such as "fr-CA fr".
	UILocales string
	// AppState is a text of the app's own, at most 256 bytes, which
	// OnSignIn receives. It is sealed into the link; the link is then good
	// until the end of the next day (UTC), for anybody who has it: AppState
	// does not tell who opened it. To link accounts, compare it with the app's
	// own session in OnSignIn.
	AppState string
	// Scopes are asked for beyond [Config.Scopes], of any API, at most 20 and
	// 400 bytes of them; they are sealed into the link like AppState.
	Scopes []string
}

// LoginURL returns the link that starts a sign-in, as a path on this site, for
// templates.
func (m *Middleware) LoginURL(o LoginOptions) string {
	scopes, err := m.scopes.Check(o.Scopes)
	if err != nil {
		m.log.Error("msauth: LoginOptions.Scopes", "err", err)
	}
	return m.loginURL(o, provider.Requirement{Scopes: scopes})
}

// loginURL makes a link to a sign-in that meets a demand.
func (m *Middleware) loginURL(o LoginOptions, d provider.Requirement) string {
	q := url.Values{}
	if p := m.returnPath(o.ReturnTo); p != m.cfg.Home {
		q.Set("return_to", p)
	}
	for name, value := range map[string]string{
		"prompt": o.Prompt, "login_hint": o.LoginHint, "domain_hint": o.DomainHint, "ui_locales": o.UILocales,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if o.AppState != "" || !d.Empty() {
		e := compact.Encoder{}
		e.Text(o.AppState)
		session.AppendRequirement(&e, d)
		q.Set("sealed", m.linkKeys.Seal(e.B, m.linkData()))
	}
	return m.loginLink(q)
}

// retryURL begins again what came back without a cookie, and notes it: one
// answer cannot tell a sign-in that began in another browser from cookies that
// are blocked.
func (m *Middleware) retryURL(returnTo string) string {
	e := compact.Encoder{}
	e.Text("")
	session.AppendRequirement(&e, provider.Requirement{})
	e.B = append(e.B, linkRetried)
	q := url.Values{"sealed": {m.linkKeys.Seal(e.B, m.linkData())}}
	if p := m.returnPath(returnTo); p != m.cfg.Home {
		q.Set("return_to", p)
	}
	return m.loginLink(q)
}

// linkRetried may follow what a link has sealed.
const linkRetried = 1

func (m *Middleware) loginLink(q url.Values) string {
	link := m.base.Path + "/login"
	if len(q) > 0 {
		link += "?" + q.Encode()
	}
	return link
}

// shorterLink is a login link for a header line: without the query that it
// returns to, or without any address, where that has no room.
func (m *Middleware) shorterLink(h http.Header, link string) string {
	_, query, _ := strings.Cut(link, "?")
	for _, without := range []string{"?", "/"} {
		if headerBytes(h)+pageBytes+len(link) <= maxHeaders {
			break
		}
		q, err := url.ParseQuery(query)
		if err != nil {
			return m.loginLink(nil)
		}
		returnTo, _, _ := strings.Cut(q.Get("return_to"), without)
		if q.Set("return_to", returnTo); returnTo == "" {
			q.Del("return_to")
		}
		link = m.loginLink(q)
	}
	return link
}

func (m *Middleware) linkData() []byte {
	return append([]byte("msauth login link v3\x00"), m.registration[:]...)
}

// loginOptions reads the query of the login link.
func (m *Middleware) loginOptions(query string) (o authorizeOptions, err error) {
	o.returnTo = m.cfg.Home
	sealed := ""
	q, err := url.ParseQuery(query)
	if err != nil {
		return o, errors.New("msauth: malformed query")
	}
	for _, p := range []struct {
		name  string
		value *string
		limit int
	}{
		{"return_to", &o.returnTo, 16 << 10},
		{"prompt", &o.prompt, 20},
		{"login_hint", &o.loginHint, 200},
		{"domain_hint", &o.domainHint, 200},
		{"ui_locales", &o.uiLocales, 100},
		{"sealed", &sealed, 3000},
	} {
		values := q[p.name]
		if len(values) > 1 {
			return o, fmt.Errorf("msauth: %s is repeated", p.name)
		}
		if len(values) == 0 {
			continue
		}
		if len(values[0]) > p.limit || strings.ContainsFunc(values[0], func(c rune) bool { return c < ' ' || c == 0x7F }) && p.name != "return_to" {
			return o, fmt.Errorf("msauth: %s cannot be used", p.name)
		}
		*p.value = values[0]
	}
	switch o.prompt {
	case "", "select_account", "login":
	default:
		return o, errors.New("msauth: prompt is neither select_account nor login")
	}
	o.returnTo = m.returnPath(o.returnTo)
	if sealed != "" {
		plain, err := m.linkKeys.Open(sealed, m.linkData())
		d := compact.Decoder{B: plain}
		if o.appState, o.requirement = d.Text(), session.ReadRequirement(&d); d.At < len(d.B) {
			o.retried = d.Flags() == linkRetried
		}
		if err != nil || !d.Done() {
			return o, errors.New("msauth: sealed is damaged or too old, or sealed with a key that this server lacks")
		}
	}
	return o, nil
}

// leave sends the browser to Microsoft. Where the cookie of a long address and a
// long way there have no room in the headers of one answer, a page leads there.
func (m *Middleware) leave(w http.ResponseWriter, r *http.Request, target string, wait bool) {
	h := w.Header()
	if !wait && headerBytes(h)+redirectBytes+len(target) <= maxHeaders {
		web.Redirect(w, target)
		return
	}
	if kept := len(h["Set-Cookie"]); headerBytes(h)+pageBytes > maxHeaders {
		if session.DropCookie(h, m.attempts.AddressName()); len(h["Set-Cookie"]) < kept {
			m.log.InfoContext(r.Context(), "msauth: an address to return to has no room in the answer: its query is dropped")
		}
	}
	if wait {
		m.waitPage(w, r, target)
		return
	}
	m.onwardsPage(w, r, Page{
		Title: "Signing in", Text: "You are being taken to Microsoft to sign in.",
		Links: []Link{{URL: target, Label: "Continue"}, {URL: m.cfg.Home, Label: "Home page"}},
	})
}

// onwardsPage is a redirect whose target stands in the body.
func (m *Middleware) onwardsPage(w http.ResponseWriter, r *http.Request, p Page) {
	p.Kind, p.Status, p.Refresh = "wait", http.StatusOK, time.Millisecond
	m.showPage(w, r, p)
}

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
