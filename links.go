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

// LoginOptions are the parameters of a link made by [Middleware.LoginURL].
type LoginOptions struct {
	// ReturnTo is the local path, with or without a query, to return to after
	// the sign-in. The default is [Config.Home].
	ReturnTo string
	// Prompt is "select_account" to show an account picker or "login" to have
	// credentials entered again. If it is empty, Microsoft decides. With
	// [Config.Reauthenticate], both are "login", and so is the empty text unless
	// the browser has a valid session.
	Prompt string
	// LoginHint is the sign-in name to fill in.
	LoginHint string
	// DomainHint is a domain whose sign-in page to go to directly.
	DomainHint string
	// UILocales are the person's languages, such as "fr-CA fr".
	UILocales string
	// AppState is a text of the app's own, at most 256 bytes, that is passed to
	// OnSignIn. It is sealed into the link, which then works until the end of
	// the next day (UTC), for anybody who has it: AppState does not prove who
	// opened the link. To link accounts, compare it with the app's own session
	// in OnSignIn.
	AppState string
	// ReturnDeclined leads back to ReturnTo also if the person cancels or declines
	// at Microsoft; [Middleware.Status] is then StatusNotConnected. It is for links on
	// pages that everybody may see. A page under [Middleware.Require], or one that
	// needs scopes that were declined, is answered with the page "declined", not with
	// another redirect. So is who declines twice within 20 seconds. Default: the page
	// "declined".
	ReturnDeclined bool
	// Scopes are requested in addition to [Config.Scopes]: scopes of any API,
	// at most 20 and 400 bytes in total. They are sealed into the link like
	// AppState.
	Scopes []string
}

// LoginURL returns a link that starts a sign-in, as a path on this site, for
// use in templates.
func (m *Middleware) LoginURL(o LoginOptions) string {
	scopes, err := m.scopes.Check(o.Scopes)
	if err != nil {
		m.log.Error("msauth: invalid LoginOptions.Scopes", "err", err)
	}
	return m.loginURL(o, provider.Requirement{Scopes: scopes})
}

// loginURL returns a link to a sign-in that meets a requirement.
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
	if o.ReturnDeclined {
		q.Set("return_declined", "1")
	}
	if o.AppState != "" || !d.Empty() {
		e := compact.Encoder{}
		e.Text(o.AppState)
		session.AppendRequirement(&e, d)
		q.Set("sealed", m.linkKeys.Seal(e.B, m.linkData()))
	}
	return m.loginLink(q)
}

// retryURL returns a link to start again after an attempt came back without its
// cookie. The link says so: once may mean that the sign-in began in another
// browser, twice that cookies are blocked.
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

// linkRetried may follow the requirement that is sealed into a link.
const linkRetried = 1

func (m *Middleware) loginLink(q url.Values) string {
	link := m.base.Path + "/login"
	if len(q) > 0 {
		link += "?" + q.Encode()
	}
	return link
}

func (m *Middleware) linkData() []byte {
	return append([]byte("msauth login link v3\x00"), m.registration[:]...)
}

// loginOptions parses the query of a login link.
func (m *Middleware) loginOptions(query string) (o authorizeOptions, err error) {
	o.returnTo = m.cfg.Home
	sealed, returnDeclined := "", ""
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
		{"return_declined", &returnDeclined, 1},
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
	if o.returnDeclined = returnDeclined == "1"; !o.returnDeclined && returnDeclined != "" {
		return o, errors.New("msauth: return_declined is not 1")
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

func (m *Middleware) returnPath(s string) string {
	p, cut := web.ReturnPath(s, m.noReturn, m.cfg.Home)
	if cut {
		m.log.Info("msauth: return address is too long: its query is dropped", "bytes", len(s), "limit", web.MaxReturnPath, "path", web.OneLine(p, 200))
	}
	return p
}

// ownRoute reports whether a cleaned path is one of our pages: returning to one
// after the sign-in would sign out or start over. base is the path of BaseURL.
func ownRoute(base, p string) bool {
	name, below := strings.CutPrefix(p, base+"/")
	return below && route(name) != nil
}

// noReturn reports whether a cleaned path is a page of ours that no sign-in may lead to:
// any but the one that is made for it.
func (m *Middleware) noReturn(p string) bool { return m.ownRoute(p) && p != m.base.Path+donePage }

func (m *Middleware) ownRoute(p string) bool { return ownRoute(m.base.Path, p) }

const (
	// maxHeaders limits the bytes of a response's headers: nginx accepts 4096
	// by default. The callback's limit is maxCallback, because apps set
	// cookies of their own there.
	maxHeaders  = 4000
	maxCallback = 3900
	// redirectBytes is what a redirect adds to the header lines that are
	// already set: the status line, Date, Content-Length, Connection,
	// Cache-Control, Referrer-Policy, and Location without its value.
	redirectBytes = 170
	// pageBytes is the same for a page.
	pageBytes = 540
)

// headerBytes returns the size of header lines.
func headerBytes(h http.Header) (n int) {
	for name, lines := range h {
		for _, line := range lines {
			n += len(name) + len(": ") + len(line) + len("\r\n")
		}
	}
	return n
}

// shorterLink returns a login link that fits into a header line. If need be, it
// drops the query of the return address, or all of the address.
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

// leave sends the browser to Microsoft. If the URL there and the cookie with a
// long return address do not both fit into the response's headers, a page takes
// the place of the redirect.
func (m *Middleware) leave(w http.ResponseWriter, r *http.Request, target string, wait bool) {
	h := w.Header()
	if !wait && headerBytes(h)+redirectBytes+len(target) <= maxHeaders {
		web.Redirect(w, target)
		return
	}
	if kept := len(h["Set-Cookie"]); headerBytes(h)+pageBytes > maxHeaders {
		if session.DropCookie(h, m.attempts.AddressName()); len(h["Set-Cookie"]) < kept {
			m.log.InfoContext(r.Context(), "msauth: return address does not fit into the response: its query is dropped")
		}
	}
	if wait {
		m.waitPage(w, r, target)
		return
	}
	m.onwardsPage(w, r, Page{
		TextID: "signing-in",
		Links:  []Link{{URL: target, TextID: "continue"}, m.home()},
	})
}

// onwardsPage shows a page that redirects, with the target in its body.
func (m *Middleware) onwardsPage(w http.ResponseWriter, r *http.Request, p Page) {
	p.Kind, p.Status, p.Refresh = "wait", http.StatusOK, time.Millisecond
	m.showPage(w, r, p)
}

// leadOn redirects from the callback to target. If the response's headers
// would be too large for a proxy, there are three ways out: an address that
// the browser has in a cookie is reached by way of the short path /continue,
// one that the app has chosen is put into a page, if that fits, and any other
// loses its query.
func (m *Middleware) leadOn(w http.ResponseWriter, r *http.Request, a *session.Attempt, target string) {
	limit := maxCallback + max(0, m.cookies.Budget-defaultCookieBudget) // a larger budget means that larger headers pass
	set := headerBytes(w.Header())
	fits := func(target string) bool { return set+redirectBytes+len(target) <= limit }
	switch {
	case fits(target):
	case a.Kept && target == a.ReturnTo:
		session.DropCookie(w.Header(), m.attempts.AddressName()) // /continue deletes it, not this response
		target = m.base.Path + "/continue"
	case target != a.ReturnTo && set+pageBytes <= limit:
		// Only for a target of the app's choice: to the browser, this site
		// itself navigates there.
		m.onwardsPage(w, r, Page{
			TextID: "signed-in",
			Links:  []Link{{URL: target, TextID: "continue"}},
		})
		return
	default:
		long := len(target)
		target, _, _ = strings.Cut(target, "#")
		if target, _, _ = strings.Cut(target, "?"); !fits(target) {
			target = m.cfg.Home
		}
		m.log.InfoContext(r.Context(), "msauth: return address does not fit beside the session: its query is dropped", "bytes", long, "path", web.OneLine(target, 200))
	}
	web.Redirect(w, target)
}

// goOn redirects to the long return address in a cookie, if it was put there by
// the sign-in that made the request's session.
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

// recall restores an attempt's return address from the cookie that has it in
// full.
func (m *Middleware) recall(r *http.Request, a *session.Attempt) {
	if id, address, ok := m.attempts.Address(r.Header); ok && id == a.ID {
		a.ReturnTo, a.Kept = m.returnPath(address), true
	}
}
