package msauth

import (
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

// authorizeOptions are what a sign-in asks of Microsoft.
type authorizeOptions struct {
	returnTo, prompt, loginHint, domainHint, uiLocales string
	appState                                           string
	user                                               string // of the app, who connects an account
	requirement                                        provider.Requirement
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
		m.unauthorized(w, r, !opts.requirement.Empty() && m.current(r) != nil, m.loginLink(q))
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
		case rec.StepUp || claims != "" || !opts.requirement.Empty():
			opts.granted = rec.Scopes
			if opts.requirement.Claims == "" {
				opts.requirement.Claims = claims
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

// begin sends the browser to Microsoft with a new attempt.
func (m *Middleware) begin(w http.ResponseWriter, r *http.Request, o authorizeOptions) {
	meta, err := m.authority.Metadata.Get(r.Context())
	if err != nil {
		m.unavailable(w, r, &session.Attempt{ReturnTo: o.returnTo, User: o.user}, err)
		return
	}
	scopes := o.requirement.Scopes
	if !m.scopes.Apart {
		// Microsoft remembers what people have granted; with most others a
		// sign-in that does not name what the session had would lose it.
		scopes = append(m.scopes.Missing(strings.Join(m.cfg.Scopes, " "), strings.Fields(o.granted)), scopes...)
	}
	a, cookie := session.NewAttempt()
	a.ReturnTo, a.AppState, a.Rounds = o.returnTo, o.appState, o.rounds
	a.User, a.Retried = o.user, o.retried
	a.Asked, a.MaxAge, a.Scopes = o.requirement.Digest(), o.requirement.MaxAge, strings.Join(scopes, " ")
	a.Contexts = provider.ContextsIn(o.requirement.Claims)
	if a.Challenged = o.challenged; a.Challenged {
		a.Asked = o.asked
	}
	if !strings.EqualFold(r.Host, m.base.Host) {
		a.Host = web.OneLine(r.Host, 100)
	}
	state, err := m.attempts.Seal(a)
	if err != nil && len(scopes) > len(o.requirement.Scopes) { // they are asked for all the same
		a.Scopes = strings.Join(o.requirement.Scopes, " ")
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
	if o.requirement.MaxAge > 0 {
		if !o.challenged { // else credentials have just been entered
			o.prompt = "login"
		}
		params = append(params, oauth2.SetAuthURLParam("max_age", strconv.Itoa(session.Seconds(o.requirement.MaxAge))))
	}
	for name, value := range map[string]string{
		"prompt": o.prompt, "login_hint": o.loginHint, "domain_hint": o.domainHint,
		"ui_locales": o.uiLocales, "claims": provider.MergeClaims(o.requirement.Claims, m.cfg.capability()),
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

// replacedGrace is how long a session lives on that the same person has
// replaced by signing in again: requests that left another tab before the
// new cookie arrived are not at fault. Longer than the marker's life, or
// they would be taken for a loop.
const replacedGrace = markerLifetime + 10*time.Second

const (
	// markerLifetime is how long ago a sign-in may have ended that the next one
	// comes right after.
	markerLifetime = 20 * time.Second
	// mostRounds is how many sign-ins, each right after another, a person is
	// led through without a click.
	mostRounds = 8
	// waitBefore is how long the third one in a row, and each after it, waits.
	waitBefore = 5 * time.Second
)

// markerName names the cookie that says that a sign-in has just succeeded here.
// Whoever carries it and no session would be sent round in circles.
func (m *Middleware) markerName() string { return m.cookies.Name + "-ok" }

func (m *Middleware) setMarker(w http.ResponseWriter) {
	session.SetCookie(w.Header(), m.cookies.Cookie(m.markerName(), "1", session.Seconds(markerLifetime)))
}

func (m *Middleware) clearMarker(w http.ResponseWriter) {
	session.SetCookie(w.Header(), m.cookies.Cookie(m.markerName(), "", -1))
}

func (m *Middleware) sentMarker(r *http.Request) bool {
	return len(session.CookieValues(r.Header, m.markerName())) > 0
}

// roundsAfter is how many sign-ins, each right after another, a next one would
// follow.
func (m *Middleware) roundsAfter(rec *session.Record) uint8 {
	if time.Now().Unix()-rec.SignedIn >= int64(markerLifetime/time.Second) {
		return 0
	}
	return min(rec.Rounds+1, mostRounds)
}

// askedInVain reports whether the person has been at Microsoft for the same a
// while ago.
func (m *Middleware) askedInVain(rec *session.Record, d provider.Requirement) bool {
	if rec.Asked != d.Digest() || time.Now().Unix()-rec.SignedIn >= int64(renew.DemandRest/time.Second) {
		return false
	}
	// A fresh sign-in is no failure because it has grown old since.
	return d.MaxAge == 0 || rec.SignedIn-rec.AuthTime > int64(d.MaxAge/time.Second)
}
