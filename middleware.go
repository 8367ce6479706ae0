package msauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
)

// Middleware signs people in with Microsoft and keeps their sessions. Make one
// with [New]; it is safe for concurrent use.
type Middleware struct {
	cfg          Config
	base         *url.URL // of BaseURL
	registration registration
	layout       layout
	log          *slog.Logger
	events       *events

	authority *authority
	renewals  *renewals
	cookies   *cookieFormat
	sessions  sessionStore
	ended     endedSet
	attempts  *attempts
	linkKeys  *dailyKeys
	formKeys  *dailyKeys
	oauth     oauth2.Config
	// wantsOffline is set where Config.Scopes names offline_access itself.
	wantsOffline bool

	vault       *vault // nil without Config.Tokens
	scopes      scopeRules
	tokenHosts  map[string][]string // scopes by host
	tokenBase   http.RoundTripper
	graph       string // where Microsoft Graph is, "" if there is none
	memberships memberships

	redeemed  atomic.Bool // a code, since the process has started
	misplaced atomic.Bool // an answer at an unexpected path has been logged
}

// Format implements [fmt.Formatter]: whatever the verb, no secret is shown.
func (m *Middleware) Format(f fmt.State, verb rune) {
	if m == nil {
		fmt.Fprint(f, "msauth.Middleware(nil)")
		return
	}
	fmt.Fprintf(f, "msauth.Middleware(%s)", m.cfg.BaseURL)
}

// route finds what ServeHTTP serves below BaseURL.
func route(name string) func(*Middleware, http.ResponseWriter, *http.Request) {
	switch name {
	case "login":
		return (*Middleware).Login
	case "callback":
		return (*Middleware).Callback
	case "logout":
		return (*Middleware).Logout
	case "signed-out":
		return (*Middleware).signedOut
	case "continue":
		return (*Middleware).goOn
	}
	return nil
}

// ServeHTTP serves the pages below BaseURL: login, callback, logout, signed-out
// and continue, by which the callback leads to long addresses. Mount it there, with or without [http.StripPrefix]:
//
//	mux.Handle("/auth/", auth)
//
// Everything else below is answered 404.
func (m *Middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve := m.routeFor(r)
	if serve == nil {
		serve = route(strings.TrimPrefix(r.URL.Path, "/"))
	}
	if serve == nil {
		if m.noteMisplaced(r); m.misdirected(r) {
			m.misdirectedPage(w, r)
			return
		}
		serve = (*Middleware).notFound
	}
	serve(m, w, r)
}

// routeFor finds our own page that a request is for, as the app routes it or,
// where http.StripPrefix has shortened that, as the browser asked for it.
func (m *Middleware) routeFor(r *http.Request) func(*Middleware, http.ResponseWriter, *http.Request) {
	asked, _, _ := strings.Cut(requestPath(r), "?")
	for _, path := range [...]string{r.URL.Path, asked} {
		if name, below := strings.CutPrefix(path, m.base.Path+"/"); below {
			if serve := route(name); serve != nil {
				return serve
			}
		}
	}
	return nil
}

// Load attaches the session of the person who is signed in, if anybody is, to
// the request's context, for [FromContext]; its tokens are renewed first if
// they are due. It never redirects and never refuses: pages that anybody may
// see use it to greet those they know. Load inside Load does nothing more; a
// session that [NewContext] put there is replaced by the request's own.
func (m *Middleware) Load(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, _ = m.attach(w, r)
		next.ServeHTTP(w, r)
	})
}

// Require is Load for handlers that only people who are signed in may reach.
// Others are sent to Microsoft if they navigate, and back to where they wanted
// to go; scripts, frames, form posts and the like are answered 401. Wrapped
// around a whole site it serves the pages below BaseURL itself: nobody could
// sign in if signing in were needed for them.
func (m *Middleware) Require(next http.Handler) http.Handler {
	return m.require(next, demand{})
}

// require is Require where a first sign-in is to meet a demand.
func (m *Middleware) require(next http.Handler, first demand) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.routeFor(r) != nil {
			m.ServeHTTP(w, r)
			return
		}
		r, v := m.attach(w, r)
		navigation := !v.passes() && isNavigation(r) // nobody asks of those who pass
		switch decide(v, navigation) {
		case pass:
			if w.Header().Get("Cache-Control") == "" {
				w.Header().Set("Cache-Control", "no-store")
			}
			next.ServeHTTP(w, m.admitted(r, v))
		case tooEarly:
			refusePrefetch(w)
		case signIn:
			if m.misdirected(r) {
				m.misdirectedPage(w, r)
				return
			}
			if v.rec != nil { // kept for a step-up
				m.ask(w, r, v.rec, demand{claims: v.rec.claims})
				return
			}
			m.begin(w, r, authorizeOptions{returnTo: m.returnPath(requestPath(r)), demand: first})
		case brake:
			m.loopPage(w, r, m.LoginURL(LoginOptions{ReturnTo: requestPath(r)}))
		case broken:
			m.brokenPage(w, r, v.err)
		default:
			d := first
			if v.rec != nil {
				d = demand{} // what the renewal needs comes first
			}
			m.unauthorized(w, r, false, m.loginURL(LoginOptions{ReturnTo: m.seenPage(r)}, d))
		}
	})
}

// brokenPage answers while the session store fails.
func (m *Middleware) brokenPage(w http.ResponseWriter, r *http.Request, err error) {
	m.fail(w, r, slog.LevelError, Page{
		Kind: "unavailable", Status: http.StatusServiceUnavailable,
		Title: "This page is not available right now",
		Text:  "The site could not look up your session. You are still signed in; try again in a moment.",
		Links: []Link{{URL: m.returnPath(requestPath(r)), Label: "Try again"}},
		Err:   err,
	})
}

// verdict is what Require does with a request.
type verdict int

const (
	refuse   verdict = iota // 401
	pass                    // on to the handler
	signIn                  // to Microsoft
	brake                   // a page in place of a loop
	broken                  // 503
	tooEarly                // 503 to a prefetch
)

// decide is the whole policy of Require.
func decide(v *visit, navigation bool) verdict {
	switch {
	case v.passes():
		return pass
	case v.err != nil:
		return broken
	case v.prefetch:
		return tooEarly
	case !navigation:
		return refuse
	case v.session == nil && v.justSignedIn:
		return brake
	}
	return signIn
}

// A visit is what a request was found to be.
type visit struct {
	session      *Session
	rec          *record
	justSignedIn bool  // a sign-in of this browser has just succeeded
	prefetch     bool  // a session that must be renewed, which a prefetch cannot
	err          error // the store is broken

	// What session and the request's context point to: one allocation for all.
	context attached
	held    heldSession
}

// passes reports whether Require lets the request through.
func (v *visit) passes() bool { return v.session != nil && !v.rec.stepUp }

// attach finds the request's session once, however many of our handlers it
// passes.
func (m *Middleware) attach(w http.ResponseWriter, r *http.Request) (*http.Request, *visit) {
	outer := attachedTo(r.Context())
	if a := attachedBy(r.Context(), m); a != nil {
		return r, a.visit
	}
	vary(w.Header(), "Cookie")
	if strings.HasSuffix(r.URL.Path, "/callback") {
		m.noteMisplaced(r)
	}
	v := &visit{}
	m.receive(v, w, r)
	c := &v.context
	c.Context, c.session, c.by, c.visit, c.outer = r.Context(), v.session, m, v, outer
	return r.WithContext(c), v
}

// admitted is a request that Require lets through. Where another Middleware has
// put its session into the context, the innermost Require decides which one a
// handler sees.
func (m *Middleware) admitted(r *http.Request, v *visit) *http.Request {
	a := attachedTo(r.Context())
	if a == &v.context && (a.outer == nil || a.admitted.Load()) {
		a.admitted.Store(true)
		return r
	}
	if a.by == m && a.admitted.Load() {
		return r
	}
	c := &attached{Context: r.Context(), session: v.session, by: m, visit: v, outer: a}
	c.admitted.Store(true)
	return r.WithContext(c)
}

// receive reads, judges, renews and, where something changed, writes back the
// session of a request. It is the only place that does so before a handler
// runs; nothing is left for afterwards.
func (m *Middleware) receive(v *visit, w http.ResponseWriter, r *http.Request) {
	v.justSignedIn = m.sentMarker(r)
	rec, sent, err := m.sessions.load(r)
	if err != nil {
		m.log.ErrorContext(r.Context(), "msauth: the session store fails", "err", err)
		m.events.weaken(r.Context(), weakSessions, "", storeWeakFor, err)
		v.err = err
		return
	}
	if rec == nil {
		if sent {
			m.reject(w, r, "unreadable", nil)
		}
		return
	}
	now := time.Now()
	ended, leaving := m.ended.state(rec.id, now)
	if reason := m.judge(rec, ended, now); reason != "" {
		m.reject(w, r, reason, rec)
		return
	}
	fresh, how := rec, m.renewalFor(r, rec, now)
	n, noticed := m.renewals.noticeOf(rec)
	switch {
	case !noticed:
		n = notice{}
	case how == notDue && !rec.stepUp:
		how = attentionFor(r, n)
	}
	if !leaving && how != notDue {
		if how == notHere {
			v.prefetch = true
			w.Header()["cache-control"] = []string{"no-store"} // not for the click that may follow
			return
		}
		var alive bool
		if fresh, alive = m.renew(r, rec, how, n); !alive {
			m.reject(w, r, "refused", rec)
			return
		}
		now = time.Now()
		if ended, leaving = m.ended.state(rec.id, now); ended { // signed out while the renewal was under way
			return
		}
		if how == onlyDeliver && fresh == rec {
			m.renewals.settle(rec.id, n) // somebody else was given it
		}
	}
	if fresh != rec {
		fresh.used = now.Unix()
	}
	if noticed && n.stepUp && fresh.renewed <= n.of && !fresh.stepUp {
		fresh = fresh.clone()
		fresh.stepUp, fresh.claims = true, n.claims
	}
	renewed := fresh
	fresh = m.touch(r, fresh, now)
	if fresh != rec && !leaving && how != onlyKnown {
		switch gone, err := m.sessions.update(w, r, fresh); {
		case gone:
			return
		case err != nil:
			m.log.ErrorContext(r.Context(), "msauth: writing the session", "user", rec.user.key(), "err", err)
			if fresh.refresh != rec.refresh && rec.unpacked() {
				m.keepUndelivered(rec, fresh.grant())
			}
		default:
			if noticed {
				m.renewals.settle(rec.id, n)
				m.renewals.remind(n, fresh, m.comesUntil(fresh))
			}
			switch {
			case renewed == rec:
				m.renewals.touches(r.Context(), rec, m.comesUntil(fresh))
			case rec.unpacked() && fresh.refresh != rec.refresh && !isUpgrade(r) && r.Context().Err() == nil:
				m.renewals.taken(rec, fresh)
			}
		}
	}
	if v.justSignedIn {
		m.clearMarker(w)
	}
	v.rec, v.session = fresh, v.held.of(m, fresh, m.sessions.reload(r))
}

// current is the session that a request comes with, nil if it has none that is
// good.
func (m *Middleware) current(r *http.Request) *record {
	rec, _, _ := m.sessions.load(r)
	if rec == nil || m.judge(rec, m.ended.has(rec.id), time.Now()) != "" {
		return nil
	}
	return rec
}

// currentUser is whom that session is of.
func (m *Middleware) currentUser(r *http.Request) *account {
	if rec := m.current(r); rec != nil {
		return &rec.user
	}
	return nil
}

// judge says why a session that opens is over, or "".
func (m *Middleware) judge(rec *record, ended bool, now time.Time) string {
	switch {
	case ended:
		return "ended"
	case !now.Before(rec.ends(m.cfg.MaxAge)):
		return "too old"
	case m.cfg.IdleTimeout < m.cfg.MaxAge && now.Unix()-rec.used >= int64(m.cfg.IdleTimeout/time.Second):
		return "idle"
	case rec.userKey != "" && m.vault == nil:
		return "without tokens"
	case !m.admits(&rec.user):
		return "no longer admitted"
	}
	return ""
}

// admits checks an identity against today's configuration.
func (m *Middleware) admits(u *account) bool {
	// Sessions of before people were told apart whose subject is a sentence.
	return m.authority.checkPerson(u) == nil && admits(u, m.cfg.Tenant, m.cfg.AllowedTenants)
}

// reject notes that what a request carries is no session, and clears it on
// navigations: the deletion in a slow script's answer could otherwise arrive
// after, and undo, a new sign-in.
func (m *Middleware) reject(w http.ResponseWriter, r *http.Request, reason string, rec *record) {
	attrs := []any{"reason", reason}
	if rec != nil {
		attrs = append(attrs, "user", rec.user.key())
	}
	if rec != nil && reason == "refused" && m.sessions.changed(r, rec) {
		m.log.Info("msauth: session not accepted, though another process has renewed it", attrs...)
		return // what that got is good
	}
	if isNavigation(r) {
		m.log.InfoContext(r.Context(), "msauth: session cleared", attrs...)
		if err := m.sessions.remove(w, r); err != nil {
			m.log.ErrorContext(r.Context(), "msauth: clearing a session", "err", err)
		}
		return
	}
	m.log.DebugContext(r.Context(), "msauth: session not accepted", attrs...)
}

// A howToRenew is what a request does about tokens that are due.
type howToRenew int

const (
	notDue      howToRenew = iota // nothing
	renewNow                      // ask, before it is served
	onlyDeliver                   // ask nobody, but take what is known
	onlyKnown                     // ask nobody, and take nothing, but heed what is known
	notHere                       // not without asking, and not here: it is not served
)

// renewalFor decides what a request does about tokens that are due. Browsers
// fetch ahead of any wish to see, and a handshake's answer has no room for a
// cookie: both may put a renewal off, but not past the time at which the
// person has to be checked again. Anybody can send their headers.
func (m *Middleware) renewalFor(r *http.Request, rec *record, now time.Time) howToRenew {
	if rec.stepUp || now.Unix() < rec.refreshAt && !m.scopes.foreign(rec.scopes) {
		return notDue
	}
	overdue := now.Unix() >= rec.expiry ||
		m.cfg.RecheckAfter > 0 && now.Unix() >= rec.renewed+int64(m.cfg.RecheckAfter/time.Second)
	switch {
	case isPrefetch(r) && overdue:
		return notHere
	case isPrefetch(r), isUpgrade(r) && !overdue:
		return onlyKnown
	}
	return renewNow
}

// attentionFor decides what a request does about a notice.
func attentionFor(r *http.Request, n notice) howToRenew {
	switch {
	case isPrefetch(r), isUpgrade(r):
		return onlyKnown
	case n.rejected != tokenKey{}:
		return renewNow
	case n.deliver:
		return onlyDeliver
	}
	return notDue
}

// renew returns the record with newer tokens where there are any, and whether
// the session lives on.
func (m *Middleware) renew(r *http.Request, rec *record, how howToRenew, n notice) (fresh *record, alive bool) {
	if err := rec.unpack(); err != nil {
		return rec, false
	}
	patience, reason := validPatience, "due"
	if time.Now().Unix() >= rec.expiry {
		patience, reason = expiredPatience, "expired"
	}
	g, err := m.renewals.renew(r.Context(), renewal{
		rec: rec, reason: reason, patience: patience, reload: m.sessions.reload(r), keepUntil: m.comesUntil(rec),
		due: func(g *grant) bool {
			return g.due(time.Now()) || m.scopes.foreign(g.scopes) || n.rejected != tokenKey{} && n.rejected == m.renewals.key(g.access)
		},
		onlyKnown: how == onlyKnown || how == onlyDeliver,
	})
	fresh = rec
	if how != onlyKnown && g != nil && g.refresh != "" && (g.refresh != rec.refresh || g.issued > rec.renewed) {
		fresh = rec.renewedBy(g)
		if isUpgrade(r) {
			m.keepUndelivered(rec, g)
		}
	}
	if err == nil || errors.Is(err, errPending) {
		return fresh, true
	}
	failure, ok := errors.AsType[*Failure](err)
	if !ok {
		m.log.ErrorContext(r.Context(), "msauth: renewal", "user", rec.user.key(), "err", err)
		return fresh, true
	}
	if errors.Is(err, errNoRefreshToken) && m.outlivesTokens(rec) {
		return fresh, true
	}
	switch failure.Class {
	case kindSignIn:
		// The id is not added to the ended ones: where a provider rotates
		// strictly, another process may have renewed with this very token,
		// and the cookie that it gave is good.
		return rec, false
	case kindStepUp:
		fresh = fresh.clone()
		fresh.stepUp, fresh.claims = true, failure.Claims
	}
	return fresh, true
}

// outlivesTokens reports whether a session without a refresh token goes on when
// its tokens are over. So it does at other providers, many of which give none,
// until the app wants the person checked again. What an app keeps of its users'
// accounts is worth nothing without.
func (m *Middleware) outlivesTokens(rec *record) bool {
	return m.cfg.Issuer != "" && rec.userKey == "" &&
		(m.cfg.RecheckAfter == 0 || time.Now().Unix() < rec.renewed+int64(m.cfg.RecheckAfter/time.Second))
}

// withoutRefreshToken puts the renewal of a new session off that has no refresh
// token: for good, or until the app wants the person checked again, which ends
// it.
func (m *Middleware) withoutRefreshToken(rec *record) {
	if rec.refresh != "" || !m.outlivesTokens(rec) {
		return
	}
	rec.refreshAt = rec.signedIn + int64(longestMaxAge/time.Second)
	ends := "at Config.MaxAge or IdleTimeout, whatever has become of the account: set Config.RecheckAfter to end it sooner"
	if m.cfg.RecheckAfter > 0 {
		rec.refreshAt = rec.renewed + int64(m.cfg.RecheckAfter/time.Second)
		ends = "when Config.RecheckAfter is over, " + m.cfg.RecheckAfter.String() + " after signing in"
	}
	m.log.Warn("msauth: the provider gave no refresh token", "event", "no_refresh_token", "user", rec.user.key(), "session_ends", ends)
}

// touch notes the use of a session, in steps, and gets rid of cookies that it
// no longer needs. It returns rec itself when there is nothing to write.
func (m *Middleware) touch(r *http.Request, rec *record, now time.Time) *record {
	step := int64(m.cfg.IdleTimeout / time.Second / 24)
	idle := m.cfg.IdleTimeout < m.cfg.MaxAge && now.Unix()-rec.used >= max(step, 1)
	if !idle && !rec.surplus || isPrefetch(r) {
		return rec
	}
	rec = rec.clone()
	rec.used, rec.surplus = now.Unix(), false
	return rec
}

// misdirected reports whether a request is the answer to a sign-in of ours
// that went past Callback: a proxy has changed its path, so that signing in
// would never end.
func (m *Middleware) misdirected(r *http.Request) bool {
	answer, err := readAnswer(r)
	if err != nil {
		return false
	}
	a, err := m.attempts.open(answer.state)
	if err != nil {
		return false
	}
	_, cookie := m.attempts.sent(r.Header, a.id.String())
	binding := a.bind(cookie)
	return cookie != "" && sameText(string(binding[:]), string(a.binding[:]))
}

// noteMisplaced logs, once, that the answer to a sign-in came to another path
// than Microsoft was told. Where it finds Callback all the same people can sign
// in, but what they wanted to see is found below a wrong path.
func (m *Middleware) noteMisplaced(r *http.Request) {
	if m.misplaced.Load() {
		return
	}
	want := m.base.Path + "/callback"
	asked, _, _ := strings.Cut(requestPath(r), "?")
	if path, err := url.PathUnescape(asked); err == nil {
		asked = path
	}
	if asked == want || r.URL.Path == want {
		return
	}
	ans, err := readAnswer(r)
	if err != nil {
		return
	}
	if a, _ := m.attempts.open(ans.state); a != nil && m.misplaced.CompareAndSwap(false, true) {
		m.log.WarnContext(r.Context(), "msauth: the answer to a sign-in arrived at an unexpected path: does something in front strip or add a prefix?",
			"base_url", m.cfg.BaseURL, "path", oneLine(asked, 200), "expected", want)
	}
}

func (m *Middleware) misdirectedPage(w http.ResponseWriter, r *http.Request) {
	m.fail(w, r, slog.LevelError, Page{
		Kind: "app-error", Status: http.StatusBadRequest,
		Title: "This site is not set up correctly for signing in",
		Text:  "Microsoft signed you in, but its answer went to the wrong part of this site. You did nothing wrong. Tell the people who run it.",
		Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
		Err:   errors.New("the answer to a sign-in did not reach Callback: does something in front change the path of BaseURL?"),
	}, "path", oneLine(r.URL.Path, 200), "base_url", m.cfg.BaseURL)
}

// Ready reports whether people can sign in: discovery and signing keys can be
// read, and Microsoft has not lately refused the app itself, for example for
// an expired secret. It is for alerts and for a look at start-up; after the
// first call it usually costs no network. Take no server out of a load balancer
// by it: during an outage of Microsoft, or with an expired secret, no other
// server could sign people in either, and those who are signed in are served as
// before. What is weaker while people can sign in stands in [Stats.Degraded].
//
// A handler that nobody could ever pass, such as one under [Middleware.RequireGroup]
// by a name that is no GUID, makes Ready fail too: look at it once all handlers
// are made, and the mistake ends a deployment before it has begun.
func (m *Middleware) Ready(ctx context.Context) error {
	m.events.mu.Lock()
	misused := errors.Join(m.events.misused...)
	m.events.mu.Unlock()
	if misused != nil {
		return misused
	}
	if err := m.authority.ready(ctx); err != nil {
		return public(err)
	}
	return public(m.renewals.ready())
}
