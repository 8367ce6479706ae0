package msauth

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
	"golang.org/x/oauth2"
)

// Login starts a sign-in and redirects the browser to Microsoft. From the query
// it reads return_to, prompt, login_hint, domain_hint, ui_locales,
// return_declined and what [Middleware.LoginURL] has sealed, each at most once, and nothing else: any
// site can make a browser open this address, so a link must not be able to ask
// for more than the app does.
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
			Text:  "The link is damaged or has expired. Start again from here.",
			Links: []Link{{URL: m.LoginURL(LoginOptions{}), Label: "Sign in"}, {URL: m.cfg.Home, Label: "Home page"}},
			Err:   err,
		})
		return
	}
	if web.First(r.Header["Sec-Fetch-Mode"]) != "" && !web.IsPageLoad(r) {
		// Microsoft's pages open neither in a script nor in a frame: answer
		// with the same link, to click. What is sealed in it expires when it
		// did.
		q := r.URL.Query()
		if q.Del("return_to"); opts.returnTo == m.cfg.Home {
			opts.returnTo = m.seenPage(r)
		}
		if opts.returnTo != m.cfg.Home {
			q.Set("return_to", opts.returnTo)
		}
		rec := m.current(r)
		m.unauthorized(w, r, rec, !opts.requirement.Empty() && rec != nil, m.loginLink(q))
		return
	}
	if m.sentDeclined(r) { // a second time ends on a page: the app may send everybody here who is not signed in
		opts.returnDeclined = false
	}
	rec := m.current(r)
	if rec == nil && opts.prompt == "" && !opts.retried && m.sentMarker(r) {
		// The app sent the person here without a session although they signed
		// in seconds ago: another redirect would be the start of a loop.
		again := m.retryURL(opts.returnTo)
		if q := r.URL.Query(); len(q) > 1 || len(q) == 1 && !q.Has("return_to") {
			again = m.loginLink(q) // which asks for more than to come back
		}
		m.loopPage(w, r, again)
		return
	}
	if rec != nil {
		opts.rounds = m.roundsAfter(rec)
		same := opts.loginHint == "" || opts.loginHint == rec.LoginHint || strings.EqualFold(opts.loginHint, rec.User.Username)
		claims := rec.Claims
		if n, ok := m.renewals.Pending(rec); ok && claims == "" {
			claims = n.Claims
		}
		if opts.goesOn = same && opts.prompt == ""; !opts.goesOn {
			claims = "" // they concern the current account
		}
		switch {
		case opts.rounds >= mostRounds && opts.goesOn:
			m.againPage(w, r, opts.returnTo)
			return
		case rec.StepUp || claims != "" || !opts.requirement.Empty():
			opts.granted = rec.Scopes
			if opts.requirement.Claims == "" {
				opts.requirement.Claims = claims
			}
			if opts.loginHint == "" && opts.prompt == "" {
				opts.loginHint = rec.Hint()
			}
		case opts.goesOn && opts.appState == "" && m.awaitsBinding(rec):
			// A script may have led here that got 401 meanwhile: another session would
			// have to be bound anew.
			m.bindingPage(w, r, opts.returnTo)
			return
		case opts.rounds >= 2 && opts.goesOn && opts.appState == "":
			opts.wait = true
		}
	}
	m.begin(w, r, opts)
}

// authorizeOptions are the parameters of a sign-in.
type authorizeOptions struct {
	returnTo, prompt, loginHint, domainHint, uiLocales string
	appState                                           string
	user                                               string // of the app, if this connects an account
	requirement                                        provider.Requirement
	goesOn                                             bool   // there is a valid session, and this is for its account
	granted                                            string // scopes of the session that this replaces
	rounds                                             uint8  // sign-ins in a row right before this one

	// challenged is set if the code of the previous attempt was refused with a
	// claims challenge, now part of requirement; asked is what that attempt was
	// for, and first is when it began.
	challenged bool
	first      int64
	asked      provider.RequirementDigest

	retried bool // the previous attempt came back without its cookie
	// returnDeclined leads back to the page also if the person declines.
	returnDeclined bool
	wait           bool // pause before redirecting
}

// begin starts an attempt and sends the browser to Microsoft.
func (m *Middleware) begin(w http.ResponseWriter, r *http.Request, o authorizeOptions) {
	meta, err := m.authority.Discover(r.Context())
	if err != nil {
		m.unavailable(w, r, &session.Attempt{ReturnTo: o.returnTo, User: o.user}, err)
		return
	}
	scopes := o.requirement.Scopes
	if !m.scopes.Apart {
		// Microsoft remembers granted scopes. With most other providers, a
		// sign-in that does not name the session's scopes would lose them.
		scopes = append(m.scopes.Missing(strings.Join(m.cfg.Scopes, " "), strings.Fields(o.granted)), scopes...)
	}
	a, cookie := session.NewAttempt()
	a.ReturnTo, a.AppState, a.Rounds = o.returnTo, o.appState, o.rounds
	a.User, a.Retried, a.ReturnDeclined = o.user, o.retried, o.returnDeclined
	a.Asked, a.MaxAge, a.Scopes = o.requirement.Digest(), o.requirement.MaxAge, strings.Join(scopes, " ")
	a.Contexts = provider.ContextsIn(o.requirement.Claims)
	if a.Challenged = o.challenged; a.Challenged {
		a.Asked = o.asked
		if m.cfg.Reauthenticate { // earlier versions cannot read it
			a.First = o.first
		}
	}
	if !strings.EqualFold(r.Host, m.base.Host) {
		a.Host = web.OneLine(r.Host, 100)
	}
	state, err := m.attempts.Seal(a)
	if err != nil && len(scopes) > len(o.requirement.Scopes) { // too long: the state need not name them
		a.Scopes = strings.Join(o.requirement.Scopes, " ")
		state, err = m.attempts.Seal(a)
	}
	if err != nil {
		m.appError(w, r, err)
		return
	}
	params := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(string(a.Verifier(cookie)))}
	locales := "ui_locales"
	if m.live() {
		locales, o.uiLocales = "locale", firstLocale(o.uiLocales)
	} else {
		params = append(params, oauth2.SetAuthURLParam("nonce", a.Nonce(cookie)))
	}
	if m.authority.Kind == provider.Entra {
		// form_post is a cross-site POST, which carries no SameSite=Lax
		// cookies.
		params = append(params, oauth2.SetAuthURLParam("response_mode", "query"))
	}
	if maxAge := m.maxAge(o); maxAge > 0 {
		if !o.challenged { // credentials were entered a moment ago
			o.prompt = "login"
		}
		params = append(params, oauth2.SetAuthURLParam("max_age", strconv.Itoa(session.Seconds(maxAge))))
	}
	for name, value := range map[string]string{
		"prompt": o.prompt, "login_hint": o.loginHint, "domain_hint": o.domainHint,
		locales: o.uiLocales, "claims": provider.MergeClaims(o.requirement.Claims, m.cfg.capability()),
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

// maxAge returns how long ago credentials may have been entered when the person
// comes back, or 0 if that does not matter. For [Config.Reauthenticate] it is as
// long as an attempt may take, and not 0: Microsoft shortens the ID token to it,
// and other providers send auth_time for any value (OpenID Connect Core section
// 3.1.2.1). The callback is stricter.
func (m *Middleware) maxAge(o authorizeOptions) time.Duration {
	if demanded := o.requirement.MaxAge; !m.cfg.Reauthenticate || o.goesOn || demanded > 0 && demanded < session.AttemptLifetime {
		return demanded
	}
	return session.AttemptLifetime
}

// scopesToAsk returns the scopes that a sign-in requests: the app's own, and
// more.
func (m *Middleware) scopesToAsk(meta *provider.Metadata, more []string) []string {
	scopes := slices.Clone(m.cfg.Scopes)
	if len(more) > 0 && slices.ContainsFunc(slices.Concat(more, scopes), m.scopes.All) {
		return slices.Concat(m.scopes.SignIn, more)
	}
	for _, scope := range more {
		scopes = append(scopes, m.scopes.Missing(strings.Join(scopes, " "), []string{scope})...)
	}
	if !m.wantsOffline && !m.authority.OffersOffline(meta) {
		scopes = slices.DeleteFunc(scopes, func(scope string) bool { return scope == "offline_access" })
	}
	return scopes
}

// refusePrefetch answers a prefetch with status 503.
func refusePrefetch(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusServiceUnavailable)
}

const (
	// markerLifetime is how soon after a sign-in the next one counts as right
	// after it.
	markerLifetime = 20 * time.Second
	// mostRounds limits how many sign-ins, each right after the last, a person
	// is sent through without a click.
	mostRounds = 8
	// waitBefore is the pause before the third sign-in in a row and every later
	// one.
	waitBefore = 5 * time.Second
)

// replacedGrace is how long a session is still accepted after the same person
// has replaced it by signing in again: another tab may have sent requests
// before the new cookie arrived. It is longer than markerLifetime, or those
// requests would look like a redirect loop.
const replacedGrace = markerLifetime + 10*time.Second

// markerName is the name of the cookie that says that a sign-in has just
// succeeded, or was declined. A browser that sends it after a success without a
// session is about to be redirected in a loop.
func (m *Middleware) markerName() string { return m.cookies.MarkerName() }

func (m *Middleware) setMarker(w http.ResponseWriter, value string) {
	session.SetCookie(w.Header(), m.cookies.Cookie(m.markerName(), value, session.Seconds(markerLifetime)))
}

func (m *Middleware) clearMarker(w http.ResponseWriter) {
	session.SetCookie(w.Header(), m.cookies.Cookie(m.markerName(), "", -1))
}

func (m *Middleware) sentMarker(r *http.Request) bool {
	return len(session.CookieValues(r.Header, m.markerName())) > 0 && !m.sentDeclined(r)
}

// roundsAfter returns how many sign-ins in a row, each right after the last,
// another one would follow.
func (m *Middleware) roundsAfter(rec *session.Record) uint8 {
	if time.Now().Unix()-rec.SignedIn >= int64(markerLifetime/time.Second) {
		return 0
	}
	return min(rec.Rounds+1, mostRounds)
}

// askedInVain reports whether the person was sent to Microsoft for the same
// requirement a short while ago.
func (m *Middleware) askedInVain(rec *session.Record, d provider.Requirement) bool {
	if rec.Asked != d.Digest() || time.Now().Unix()-rec.SignedIn >= int64(renew.RequirementRest/time.Second) {
		return false
	}
	// A fresh sign-in that has since become too old was not in vain.
	return d.MaxAge == 0 || rec.SignedIn-rec.AuthTime > int64(d.MaxAge/time.Second)
}

// mayBegin reports whether credentials were entered since the attempt began, if
// it begins a session and [Config.Reauthenticate] requires that, and shows a
// page if not. Nothing here depends on what the attempt has asked for.
func (m *Middleware) mayBegin(w http.ResponseWriter, r *http.Request, a *session.Attempt, id *provider.Identity) bool {
	if !m.cfg.Reauthenticate {
		return true
	}
	rec := m.current(r)
	early := time.Duration(a.Began()-id.AuthTime) * time.Second
	switch {
	case rec != nil && rec.User.Same(&id.User): // the sign-in goes on from this session
		return true
	case id.AuthTime == 0 && id.User.Personal(): // none is known to be sent for them
		return true
	case id.AuthTime == 0:
		m.noAuthTime(w, r, a, id, notSetUp)
	case early > provider.ExpLeeway:
		links := []Link{{URL: m.loginURL(LoginOptions{ReturnTo: a.ReturnTo, Prompt: "login"}, provider.Requirement{MaxAge: a.MaxAge}), Label: "Sign in again"}}
		if a.User != "" {
			links[0] = m.againLink(a)
		}
		if a.User != "" && rec != nil { // as long as it lasts, Connect asks for no credentials
			links = append(links, Link{URL: m.LogoutURL(), Label: "Sign out"})
		}
		m.notAskedAgain(w, r, a, id, Page{
			Text:  "To sign in to this site you have to enter your password, or use another sign-in method, and Microsoft did not ask you to. ",
			Links: links,
			Err:   fmt.Errorf("msauth: ID token: auth_time is %v before the sign-in began, which Reauthenticate does not allow", early),
		})
	default:
		return true
	}
	return false
}
