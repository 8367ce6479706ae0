package msauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
	"golang.org/x/oauth2"
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

// authorizeOptions are what a sign-in asks of Microsoft.
type authorizeOptions struct {
	returnTo, prompt, loginHint, domainHint, uiLocales string
	appState                                           string
	user                                               string // of the app, who connects an account
	demand                                             provider.Requirement
	granted                                            string // scopes of the session that it replaces
	rounds                                             uint8  // sign-ins right before, each after the other

	// challenged is set where the code of a sign-in was refused with the claims
	// that are now demanded; asked is what that was to bring.
	challenged bool
	asked      provider.RequirementDigest

	retried bool // the sign-in before came back without a cookie
	wait    bool // not at once
}

// Login starts a sign-in and sends the browser to Microsoft. It reads
// return_to, prompt, login_hint, domain_hint, ui_locales and what
// [Middleware.LoginURL] has sealed from the query, each at most once, and
// nothing else: any site can make a person open this address, so it can ask
// for nothing that the app itself does not.
func (m *Middleware) Login(w http.ResponseWriter, r *http.Request) {
	web.Vary(w.Header(), "Cookie", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		m.wrongMethod(w, r, "GET, HEAD, POST")
		return
	}
	if web.IsPrefetch(r) {
		refusePrefetch(w)
		return
	}
	opts, err := m.loginOptions(r.URL.RawQuery)
	if err != nil {
		m.fail(w, r, slog.LevelWarn, Page{
			Kind: "bad-request", Status: http.StatusBadRequest,
			Title: "This sign-in link does not work",
			Text:  "The link is damaged or too old. Start again from here.",
			Links: []Link{{URL: m.LoginURL(LoginOptions{}), Label: "Sign in"}, {URL: m.cfg.Home, Label: "Home page"}},
			Err:   err,
		})
		return
	}
	if web.First(r.Header["Sec-Fetch-Mode"]) != "" && !web.IsPageLoad(r) {
		// A script or a frame cannot go there: the same link, to click. What is
		// sealed is good for as long as it was.
		q := r.URL.Query()
		if q.Del("return_to"); opts.returnTo == m.cfg.Home {
			opts.returnTo = m.seenPage(r)
		}
		if opts.returnTo != m.cfg.Home {
			q.Set("return_to", opts.returnTo)
		}
		m.unauthorized(w, r, !opts.demand.Empty() && m.current(r) != nil, m.loginLink(q))
		return
	}
	rec := m.current(r)
	if rec == nil && opts.prompt == "" && !opts.retried && m.sentMarker(r) {
		// A page of the app sends here whoever is not signed in, and the
		// session of the sign-in seconds ago did not come back.
		m.loopPage(w, r, m.retryURL(opts.returnTo))
		return
	}
	if rec != nil {
		opts.rounds = m.roundsAfter(rec)
		same := opts.loginHint == "" || opts.loginHint == rec.LoginHint || strings.EqualFold(opts.loginHint, rec.User.Username)
		claims := rec.Claims
		if n, ok := m.renewals.PendingUpdate(rec); ok && claims == "" {
			claims = n.Claims
		}
		if !same || opts.prompt != "" {
			claims = "" // they are about this person
		}
		switch {
		case opts.rounds >= mostRounds && same && opts.prompt == "":
			m.againPage(w, r, opts.returnTo)
			return
		case rec.StepUp || claims != "" || !opts.demand.Empty():
			opts.granted = rec.Scopes
			if opts.demand.Claims == "" {
				opts.demand.Claims = claims
			}
			if opts.loginHint == "" && opts.prompt == "" {
				opts.loginHint = rec.Hint()
			}
		case opts.rounds >= 2 && same && opts.prompt == "" && opts.appState == "":
			opts.wait = true
		}
	}
	m.begin(w, r, opts)
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
		if o.appState, o.demand = d.Text(), session.ReadRequirement(&d); d.At < len(d.B) {
			o.retried = d.Flags() == linkRetried
		}
		if err != nil || !d.Done() {
			return o, errors.New("msauth: sealed is damaged or too old, or sealed with a key that this server lacks")
		}
	}
	return o, nil
}

// begin sends the browser to Microsoft with a new attempt.
func (m *Middleware) begin(w http.ResponseWriter, r *http.Request, o authorizeOptions) {
	meta, err := m.authority.Metadata.Get(r.Context())
	if err != nil {
		m.unavailable(w, r, &session.Attempt{ReturnTo: o.returnTo, User: o.user}, err)
		return
	}
	scopes := o.demand.Scopes
	if !m.scopes.Apart {
		// Microsoft remembers what people have granted; with most others a
		// sign-in that does not name what the session had would lose it.
		scopes = append(m.scopes.Missing(strings.Join(m.cfg.Scopes, " "), strings.Fields(o.granted)), scopes...)
	}
	a, cookie := session.NewAttempt()
	a.ReturnTo, a.AppState, a.Rounds = o.returnTo, o.appState, o.rounds
	a.User, a.Retried = o.user, o.retried
	a.Asked, a.MaxAge, a.Scopes = o.demand.Digest(), o.demand.MaxAge, strings.Join(scopes, " ")
	a.Contexts = provider.ContextsIn(o.demand.Claims)
	if a.Challenged = o.challenged; a.Challenged {
		a.Asked = o.asked
	}
	if !strings.EqualFold(r.Host, m.base.Host) {
		a.Host = web.OneLine(r.Host, 100)
	}
	state, err := m.attempts.Seal(a)
	if err != nil && len(scopes) > len(o.demand.Scopes) { // they are asked for all the same
		a.Scopes = strings.Join(o.demand.Scopes, " ")
		state, err = m.attempts.Seal(a)
	}
	if err != nil {
		m.appError(w, r, err)
		return
	}
	params := []oauth2.AuthCodeOption{
		oauth2.SetAuthURLParam("nonce", a.Nonce(cookie)),
		oauth2.S256ChallengeOption(string(a.Verifier(cookie))),
	}
	if m.cfg.Issuer == "" {
		// form_post would come cross-site, where Lax cookies stay at home.
		params = append(params, oauth2.SetAuthURLParam("response_mode", "query"))
	}
	if o.demand.MaxAge > 0 {
		if !o.challenged { // else credentials have just been entered
			o.prompt = "login"
		}
		params = append(params, oauth2.SetAuthURLParam("max_age", strconv.Itoa(session.Seconds(o.demand.MaxAge))))
	}
	for name, value := range map[string]string{
		"prompt": o.prompt, "login_hint": o.loginHint, "domain_hint": o.domainHint,
		"ui_locales": o.uiLocales, "claims": provider.MergeClaims(o.demand.Claims, m.cfg.capability()),
	} {
		if value != "" {
			params = append(params, oauth2.SetAuthURLParam(name, value))
		}
	}
	provider := m.oauth
	provider.Scopes = m.scopesToAsk(meta, scopes)
	provider.Endpoint.AuthURL = meta.Authorization
	m.attempts.Set(w, r, a.ID, cookie)
	if a.Cut || len(a.ReturnTo) > session.ShortReturnTo {
		m.attempts.KeepAddress(w.Header(), a)
	}
	web.Vary(w.Header(), "Cookie", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
	m.leave(w, r, provider.AuthCodeURL(state, params...), o.wait)
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

// scopesToAsk are the app's own, and more.
func (m *Middleware) scopesToAsk(meta *provider.Metadata, more []string) []string {
	scopes := slices.Clone(m.cfg.Scopes)
	if len(more) > 0 && slices.ContainsFunc(slices.Concat(more, scopes), m.scopes.All) {
		return slices.Concat(provider.SignInScopes, more)
	}
	for _, scope := range more {
		scopes = append(scopes, m.scopes.Missing(strings.Join(scopes, " "), []string{scope})...)
	}
	if !m.wantsOffline && !m.authority.OffersOffline(meta) {
		scopes = slices.DeleteFunc(scopes, func(scope string) bool { return scope == "offline_access" })
	}
	return scopes
}

// refusePrefetch answers a browser that fetches ahead.
func refusePrefetch(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusServiceUnavailable)
}
