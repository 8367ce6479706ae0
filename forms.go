package msauth

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/form"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// A Field is a field of a form on a [Page]: what a person has written.
type Field struct{ Name, Value string }

// Format implements [fmt.Formatter]. No verb prints the value.
func (f Field) Format(s fmt.State, verb rune) { fmt.Fprintf(s, "msauth.Field(%q)", f.Name) }

const (
	// maxKeptForm limits the body of a form that is kept, in bytes.
	maxKeptForm = 64 << 10
	// maxKeptPath limits the address that it was posted to: the redirect there must
	// fit beside a session into the headers of one answer.
	maxKeptPath = 500
	// maxAgain limits what is sealed in the address of a kept form's page.
	maxAgain = 6000
	// formPatience is how long its body may take to arrive.
	formPatience = 10 * time.Second
)

// A keptForm is a form that was not submitted, in its page.
type keptForm struct {
	fields []Field
	resend resend
}

// A resend is what the page of a kept form has sealed in its address.
type resend struct {
	path   string // where the form was posted to, with its query
	key    string // of the account that filled it in, "" if that is not known
	name   string // of that account, "" if it may not be shown
	as     string // key of another account that it is to be sent as, or ""
	length int    // of its body, in bytes
}

// keepForm reads the form that a request posts, if a page can keep it. On such a page a
// person signs in, in another tab, and sends the form again. Nothing of it is stored.
// keepForm returns nil if there is no form, or none that can be kept.
func (m *Middleware) keepForm(w http.ResponseWriter, r *http.Request) *keptForm {
	if r.Method != http.MethodPost {
		return nil
	}
	k := &keptForm{}
	path, cut := web.ReturnPath(web.RequestPath(r), m.ownRoute, "")
	reason := unkeepable(r)
	switch {
	case reason != "":
	case path == "" || cut:
		reason = "address cannot be returned to"
	case len(path) > maxKeptPath:
		reason = "address too long"
	case !m.wantsKept(r):
		reason = "Config.KeepForm"
	default:
		k.fields, reason = readForm(w, r)
	}
	if reason != "" {
		m.log.DebugContext(r.Context(), "msauth: form not kept", "reason", reason)
		return nil
	}
	k.resend = resend{path: path, length: int(r.ContentLength)}
	// The session may be over: its cookie still says whose form it is.
	sent, _ := m.load(r, new(session.Record))
	if sent.raw != nil {
		k.resend.key = sent.raw.User.Key()
		if sent.unproved == "" && !m.mustBind(sent.raw) { // whoever sent a copy learns no name
			k.resend.name = nameOf(&sent.raw.User)
		}
	}
	return k
}

// fromOwnPage reports whether a browser says that a page of this site loads the page
// that this request is for, in the top window, with no service worker in between.
func fromOwnPage(h http.Header) bool {
	is := func(lines []string, want string) bool { return len(lines) == 1 && lines[0] == want }
	return is(h["Sec-Fetch-Site"], "same-origin") && is(h["Sec-Fetch-Mode"], "navigate") && is(h["Sec-Fetch-Dest"], "document")
}

// unkeepable returns why the headers of a POST do not let its form be kept, or "".
func unkeepable(r *http.Request) (reason string) {
	h := r.Header
	switch contentType := h["Content-Type"]; {
	case !fromOwnPage(h):
		return "not sent by a page of this site"
	case libraryOf(h) != noLibrary || strings.EqualFold(h.Get("X-Requested-With"), "XMLHttpRequest"): // WebViews send their app's name
		return "sent by a script"
	case len(contentType) != 1 || !strings.EqualFold(contentType[0], "application/x-www-form-urlencoded"):
		return "content type"
	case r.ContentLength < 0 || h["Expect"] != nil || h["Content-Encoding"] != nil:
		return "not as browsers send forms"
	case r.ContentLength > maxKeptForm:
		return "too long"
	case !web.PrefersHTML(r):
		return "no page is wanted"
	}
	return ""
}

// wantsKept calls [Config.KeepForm]. If that panics, the form is not kept.
func (m *Middleware) wantsKept(r *http.Request) (keep bool) {
	if m.cfg.KeepForm == nil {
		return true
	}
	defer func() {
		if p := recover(); p != nil {
			m.log.ErrorContext(r.Context(), "msauth: Config.KeepForm panicked", "panic", p)
			keep = false
		}
	}()
	asked := r.WithContext(r.Context())
	asked.Body = http.NoBody
	return m.cfg.KeepForm(asked)
}

// readForm reads the body of a request that is not unkeepable.
func readForm(w http.ResponseWriter, r *http.Request) (fields []Field, reason string) {
	if r.ContentLength == 0 {
		return nil, ""
	}
	// Without a limit of the server's own, nobody keeps a request waiting.
	patience := http.NewResponseController(w)
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	limited := server != nil && server.ReadTimeout <= 0 && patience.SetReadDeadline(time.Now().Add(formPatience)) == nil
	body := make([]byte, r.ContentLength+1)
	n, err := io.ReadFull(r.Body, body)
	if int64(n) != r.ContentLength || !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, "body is not there: it broke off, or was read before"
	}
	if limited {
		_ = patience.SetReadDeadline(time.Time{})
	}
	kept, reason := form.Parse(string(body[:n]))
	for _, f := range kept {
		fields = append(fields, Field(f))
	}
	return fields, reason
}

// nameOf is what a person knows an account by.
func nameOf(u *provider.Account) string {
	return web.OneLine(cmp.Or(u.Username, u.Email, u.Name), 100)
}

func (m *Middleware) againData() []byte {
	return append([]byte("msauth form again v1\x00"), m.registration[:]...)
}

// againURL is where the page of a kept form posts it to. It opens until the end of the
// next day (UTC).
func (m *Middleware) againURL(s resend) string {
	e := compact.Encoder{}
	for _, text := range [...]string{s.path, s.key, s.name, s.as} {
		e.Text(text)
	}
	e.B = binary.AppendUvarint(e.B, uint64(s.length))
	return m.againPath() + "?form=" + m.againKeys.Seal(e.B, m.againData())
}

func (m *Middleware) againPath() string { return m.base.Path + "/again" }

// openAgain reads the query of an againURL.
func (m *Middleware) openAgain(query string) (s resend, ok bool) {
	sealed, named := strings.CutPrefix(query, "form=")
	if !named || len(sealed) > maxAgain {
		return s, false
	}
	plain, err := m.againKeys.Open(sealed, m.againData())
	if err != nil {
		return s, false
	}
	d := compact.Decoder{B: plain}
	s = resend{path: d.Text(), key: d.Text(), name: d.Text(), as: d.Text()}
	s.length = int(min(d.Uvarint(), maxKeptForm))
	// The rules for paths may be stricter by now.
	path, cut := web.ReturnPath(s.path, m.ownRoute, "")
	return s, d.Done() && !cut && path != "" && path == s.path
}

// lost reports whether a body of n bytes lacks fields of the form: a Config.Page may not
// show them, or nothing but an empty field for a Link.Token.
func (s resend) lost(n int64) bool {
	const none = len(formField + "=")
	return n >= 0 && n < int64(s.length) || n == int64(none) && s.length != none && s.length > 0
}

// sendAgain is the page to which a kept form is posted. Whoever filled it in is led on to
// where it was for, with method and body: the browser repeats them (RFC 9110 section
// 15.4.8), and the handler decides as on any form of this site. All others get the form
// again, on a page.
func (m *Middleware) sendAgain(w http.ResponseWriter, r *http.Request) {
	web.Vary(w.Header(), "Cookie", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
	if r.Method != http.MethodPost {
		m.wrongMethod(w, r, "POST")
		return
	}
	if !fromOwnPage(r.Header) {
		m.fail(w, r, slog.LevelInfo, Page{
			Kind: "bad-request", Status: http.StatusForbidden,
			TextID: "form-elsewhere",
			Links:  []Link{m.home()},
			Err:    errors.New("the form is not sent by a page of this site"),
		})
		return
	}
	to, ok := m.openAgain(r.URL.RawQuery)
	if !ok || to.lost(r.ContentLength) {
		p := Page{
			Kind: "form-expired", Status: http.StatusBadRequest,
			TextID: "form-expired",
			Links:  []Link{m.home()},
			Err:    errors.New("the address of the form is damaged or too old, or sealed with a key that this server lacks"),
		}
		if ok {
			p.Err = errors.New("the form came back without its fields: does Config.Page show Page.Fields?")
		}
		if unkeepable(r) == "" {
			p.Fields, _ = readForm(w, r)
		}
		m.fail(w, r, slog.LevelInfo, p)
		return
	}
	r, v := m.attach(w, r)
	if v.session != nil {
		if key := v.rec.User.Key(); key != "" && (key == to.key || key == to.as) {
			h := w.Header()
			h.Set("Cache-Control", "no-store")
			h.Set("Referrer-Policy", "same-origin") // else the handler sees Origin: null
			h.Set("Location", to.path)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
	}
	k := &keptForm{resend: to}
	reason := unkeepable(r)
	if reason == "" {
		k.fields, reason = readForm(w, r)
	}
	switch {
	case reason != "":
		m.log.DebugContext(r.Context(), "msauth: form not kept", "reason", reason)
		w.Header().Set("WWW-Authenticate", authenticate)
		m.signInPage(w, r, http.StatusUnauthorized, false, m.LoginURL(LoginOptions{}), nil)
	case v.err != nil:
		m.brokenPage(w, r, v.err, k)
	case v.unbound != nil && !v.binding:
		m.unboundPage(w, r, v.unbound, k)
	case v.session == nil:
		w.Header().Set("WWW-Authenticate", authenticate)
		m.signInPage(w, r, http.StatusUnauthorized, false, m.LoginURL(LoginOptions{}), k)
	default:
		m.otherAccountPage(w, r, &v.rec.User, k)
	}
}

// otherAccountPage asks somebody who is signed in whether a form that they have not
// filled in, as far as is known, is to be sent in their name.
func (m *Middleware) otherAccountPage(w http.ResponseWriter, r *http.Request, u *provider.Account, k *keptForm) {
	text, args := "other-account-unknown", map[string]string{"now": cmp.Or(nameOf(u), u.Key())}
	switch {
	case k.resend.name != "":
		text, args["before"] = "other-account", k.resend.name
	case k.resend.key != "":
		text = "other-account-unnamed"
	}
	k.resend.as = u.Key()
	m.showPage(w, r, m.withForm(k, Page{
		Kind: "other-account", Status: http.StatusConflict,
		TextID: text, Args: args,
		Links: []Link{
			{URL: m.againPath(), TextID: "send-as", Post: true},
			{URL: m.LoginURL(LoginOptions{Prompt: "select_account"}), TextID: "other-account"},
			m.home(),
		},
	}))
}

// withForm puts a kept form, if there is one, on a page. Links to the sign-in then open in
// another tab: this one keeps the form.
func (m *Middleware) withForm(k *keptForm, p Page) Page {
	if k == nil {
		return p
	}
	p.Fields = k.fields
	again := Link{URL: m.againURL(k.resend), TextID: "send-again", Post: true}
	placed := false
	for i := range p.Links {
		link := &p.Links[i]
		path, query, _ := strings.Cut(link.URL, "?")
		switch {
		case path == m.loginLink(nil):
			q, _ := url.ParseQuery(query)
			q.Set("return_to", m.base.Path+donePage)
			link.URL, link.NewTab = m.loginLink(q), true
		case link.URL == m.againPath():
			link.URL, placed = again.URL, true
		}
	}
	if !placed {
		p.Links = slices.Insert(p.Links, min(1, len(p.Links)), again)
	}
	return p
}

// keepOn puts the form of a request, if it can be kept, on a page that says why it is
// not served.
func (m *Middleware) keepOn(w http.ResponseWriter, r *http.Request, p Page) Page {
	k := m.keepForm(w, r)
	if k != nil {
		p = noted(p)
	}
	return m.withForm(k, p)
}

// noted says on a page that a form is in it.
func noted(p Page) Page {
	p.Notes = append(p.Notes, Note{TextID: "form-kept"})
	return p
}
