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

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
	"golang.org/x/oauth2"
)

// Middleware signs people in with Microsoft and keeps their sessions. Make one
// with [New]; it is safe for concurrent use.
type Middleware struct {
	cfg          Config
	base         *url.URL // of BaseURL
	registration session.Registration
	layout       session.Layout
	log          *slog.Logger
	events       *events

	authority *provider.Authority
	renewals  *renew.Renewals
	cookies   *session.Cookies
	sessions  session.Store
	ended     session.Revoked
	attempts  *session.Attempts
	linkKeys  *seal.DailyKeys
	formKeys  *seal.DailyKeys
	oauth     oauth2.Config
	// wantsOffline is set where Config.Scopes names offline_access itself.
	wantsOffline bool

	vault       *renew.Vault // nil without Config.Tokens
	scopes      provider.Scopes
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
	asked, _, _ := strings.Cut(web.RequestPath(r), "?")
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
	return m.require(next, provider.Requirement{})
}

// require is Require where a first sign-in is to meet a demand.
func (m *Middleware) require(next http.Handler, first provider.Requirement) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.routeFor(r) != nil {
			m.ServeHTTP(w, r)
			return
		}
		r, v := m.attach(w, r)
		navigation := !v.passes() && web.IsNavigation(r) // nobody asks of those who pass
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
				m.ask(w, r, v.rec, provider.Requirement{Claims: v.rec.Claims})
				return
			}
			m.begin(w, r, authorizeOptions{returnTo: m.returnPath(web.RequestPath(r)), demand: first})
		case brake:
			m.loopPage(w, r, m.LoginURL(LoginOptions{ReturnTo: web.RequestPath(r)}))
		case broken:
			m.brokenPage(w, r, v.err)
		default:
			d := first
			if v.rec != nil {
				d = provider.Requirement{} // what the renewal needs comes first
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
		Links: []Link{{URL: m.returnPath(web.RequestPath(r)), Label: "Try again"}},
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
	rec          *session.Record
	justSignedIn bool  // a sign-in of this browser has just succeeded
	prefetch     bool  // a session that must be renewed, which a prefetch cannot
	err          error // the store is broken

	// What session and the request's context point to: one allocation for all.
	context attached
	held    heldSession
}

// passes reports whether Require lets the request through.
func (v *visit) passes() bool { return v.session != nil && !v.rec.StepUp }

// attach finds the request's session once, however many of our handlers it
// passes.
func (m *Middleware) attach(w http.ResponseWriter, r *http.Request) (*http.Request, *visit) {
	outer := attachedTo(r.Context())
	if a := attachedBy(r.Context(), m); a != nil {
		return r, a.visit
	}
	web.Vary(w.Header(), "Cookie")
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
	rec, sent, err := m.sessions.Load(r)
	if err != nil {
		m.log.ErrorContext(r.Context(), "msauth: the session store fails", "err", err)
		m.events.Weaken(r.Context(), weakSessions, "", storeWeakFor, err)
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
	ended, leaving := m.ended.State(rec.ID, now)
	if reason := m.judge(rec, ended, now); reason != "" {
		m.reject(w, r, reason, rec)
		return
	}
	fresh, how := rec, m.renewalFor(r, rec, now)
	n, noticed := m.renewals.PendingUpdate(rec)
	switch {
	case !noticed:
		n = renew.PendingUpdate{}
	case how == notDue && !rec.StepUp:
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
		if ended, leaving = m.ended.State(rec.ID, now); ended { // signed out while the renewal was under way
			return
		}
		if how == onlyDeliver && fresh == rec {
			m.renewals.Settle(rec.ID, n) // somebody else was given it
		}
	}
	if fresh != rec {
		fresh.Used = now.Unix()
	}
	if noticed && n.StepUp && fresh.Renewed <= n.Of && !fresh.StepUp {
		fresh = fresh.Clone()
		fresh.StepUp, fresh.Claims = true, n.Claims
	}
	renewed := fresh
	fresh = m.touch(r, fresh, now)
	if fresh != rec && !leaving && how != onlyKnown {
		switch gone, err := m.sessions.Update(w, r, fresh); {
		case gone:
			return
		case err != nil:
			m.log.ErrorContext(r.Context(), "msauth: writing the session", "user", rec.User.Key(), "err", err)
			if fresh.Refresh != rec.Refresh && rec.Unpacked() {
				m.keepUndelivered(rec, fresh.TokenSet())
			}
		default:
			if noticed {
				m.renewals.Settle(rec.ID, n)
				m.renewals.Remind(n, fresh, m.comesUntil(fresh))
			}
			switch {
			case renewed == rec:
				m.renewals.Touches(r.Context(), rec, m.comesUntil(fresh))
			case rec.Unpacked() && fresh.Refresh != rec.Refresh && !web.IsUpgrade(r) && r.Context().Err() == nil:
				m.renewals.Taken(rec, fresh)
			}
		}
	}
	if v.justSignedIn {
		m.clearMarker(w)
	}
	v.rec, v.session = fresh, v.held.of(m, fresh, m.sessions.Reload(r))
}

// current is the session that a request comes with, nil if it has none that is
// good.
func (m *Middleware) current(r *http.Request) *session.Record {
	rec, _, _ := m.sessions.Load(r)
	if rec == nil || m.judge(rec, m.ended.Has(rec.ID), time.Now()) != "" {
		return nil
	}
	return rec
}

// currentUser is whom that session is of.
func (m *Middleware) currentUser(r *http.Request) *provider.Account {
	if rec := m.current(r); rec != nil {
		return &rec.User
	}
	return nil
}

// judge says why a session that opens is over, or "".
func (m *Middleware) judge(rec *session.Record, ended bool, now time.Time) string {
	switch {
	case ended:
		return "ended"
	case !now.Before(rec.Ends(m.cfg.MaxAge)):
		return "too old"
	case m.cfg.IdleTimeout < m.cfg.MaxAge && now.Unix()-rec.Used >= int64(m.cfg.IdleTimeout/time.Second):
		return "idle"
	case rec.UserKey != "" && m.vault == nil:
		return "without tokens"
	case !m.admits(&rec.User):
		return "no longer admitted"
	}
	return ""
}

// admits checks an identity against today's configuration.
func (m *Middleware) admits(u *provider.Account) bool {
	// Sessions of before people were told apart whose subject is a sentence.
	return m.authority.CheckPerson(u) == nil && provider.Admits(u, m.cfg.Tenant, m.cfg.AllowedTenants)
}

// reject notes that what a request carries is no session, and clears it on
// navigations: the deletion in a slow script's answer could otherwise arrive
// after, and undo, a new sign-in.
func (m *Middleware) reject(w http.ResponseWriter, r *http.Request, reason string, rec *session.Record) {
	attrs := []any{"reason", reason}
	if rec != nil {
		attrs = append(attrs, "user", rec.User.Key())
	}
	if rec != nil && reason == "refused" && m.sessions.Changed(r, rec) {
		m.log.Info("msauth: session not accepted, though another process has renewed it", attrs...)
		return // what that got is good
	}
	if web.IsNavigation(r) {
		m.log.InfoContext(r.Context(), "msauth: session cleared", attrs...)
		if err := m.sessions.Remove(w, r); err != nil {
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
func (m *Middleware) renewalFor(r *http.Request, rec *session.Record, now time.Time) howToRenew {
	if rec.StepUp || now.Unix() < rec.RefreshAt && !m.scopes.Foreign(rec.Scopes) {
		return notDue
	}
	overdue := now.Unix() >= rec.Expiry ||
		m.cfg.RecheckAfter > 0 && now.Unix() >= rec.Renewed+int64(m.cfg.RecheckAfter/time.Second)
	switch {
	case web.IsPrefetch(r) && overdue:
		return notHere
	case web.IsPrefetch(r), web.IsUpgrade(r) && !overdue:
		return onlyKnown
	}
	return renewNow
}

// attentionFor decides what a request does about a notice.
func attentionFor(r *http.Request, n renew.PendingUpdate) howToRenew {
	switch {
	case web.IsPrefetch(r), web.IsUpgrade(r):
		return onlyKnown
	case n.Rejected != renew.Key{}:
		return renewNow
	case n.Deliver:
		return onlyDeliver
	}
	return notDue
}

// renew returns the record with newer tokens where there are any, and whether
// the session lives on.
func (m *Middleware) renew(r *http.Request, rec *session.Record, how howToRenew, n renew.PendingUpdate) (fresh *session.Record, alive bool) {
	if err := rec.Unpack(); err != nil {
		return rec, false
	}
	patience, reason := renew.ValidPatience, "due"
	if time.Now().Unix() >= rec.Expiry {
		patience, reason = renew.ExpiredPatience, "expired"
	}
	g, err := m.renewals.Renew(r.Context(), renew.Request{
		Rec: rec, Reason: reason, Patience: patience, Reload: m.sessions.Reload(r), KeepUntil: m.comesUntil(rec),
		Due: func(g *provider.TokenSet) bool {
			return g.Due(time.Now()) || m.scopes.Foreign(g.Scopes) || n.Rejected != renew.Key{} && n.Rejected == m.renewals.Key(g.Access)
		},
		OnlyKnown: how == onlyKnown || how == onlyDeliver,
	})
	fresh = rec
	if how != onlyKnown && g != nil && g.Refresh != "" && (g.Refresh != rec.Refresh || g.Issued > rec.Renewed) {
		fresh = rec.RenewedBy(g)
		if web.IsUpgrade(r) {
			m.keepUndelivered(rec, g)
		}
	}
	if err == nil || errors.Is(err, renew.ErrPending) {
		return fresh, true
	}
	failure, ok := errors.AsType[*provider.Failure](err)
	if !ok {
		m.log.ErrorContext(r.Context(), "msauth: renewal", "user", rec.User.Key(), "err", err)
		return fresh, true
	}
	if errors.Is(err, renew.ErrNoRefreshToken) && m.outlivesTokens(rec) {
		return fresh, true
	}
	switch failure.Class {
	case provider.SignIn:
		// The id is not added to the ended ones: where a provider rotates
		// strictly, another process may have renewed with this very token,
		// and the cookie that it gave is good.
		return rec, false
	case provider.StepUp:
		fresh = fresh.Clone()
		fresh.StepUp, fresh.Claims = true, failure.Claims
	}
	return fresh, true
}

// outlivesTokens reports whether a session without a refresh token goes on when
// its tokens are over. So it does at other providers, many of which give none,
// until the app wants the person checked again. What an app keeps of its users'
// accounts is worth nothing without.
func (m *Middleware) outlivesTokens(rec *session.Record) bool {
	return m.cfg.Issuer != "" && rec.UserKey == "" &&
		(m.cfg.RecheckAfter == 0 || time.Now().Unix() < rec.Renewed+int64(m.cfg.RecheckAfter/time.Second))
}

// withoutRefreshToken puts the renewal of a new session off that has no refresh
// token: for good, or until the app wants the person checked again, which ends
// it.
func (m *Middleware) withoutRefreshToken(rec *session.Record) {
	if rec.Refresh != "" || !m.outlivesTokens(rec) {
		return
	}
	rec.RefreshAt = rec.SignedIn + int64(session.LongestMaxAge/time.Second)
	ends := "at Config.MaxAge or IdleTimeout, whatever has become of the account: set Config.RecheckAfter to end it sooner"
	if m.cfg.RecheckAfter > 0 {
		rec.RefreshAt = rec.Renewed + int64(m.cfg.RecheckAfter/time.Second)
		ends = "when Config.RecheckAfter is over, " + m.cfg.RecheckAfter.String() + " after signing in"
	}
	m.log.Warn("msauth: the provider gave no refresh token", "event", "no_refresh_token", "user", rec.User.Key(), "session_ends", ends)
}

// touch notes the use of a session, in steps, and gets rid of cookies that it
// no longer needs. It returns rec itself when there is nothing to write.
func (m *Middleware) touch(r *http.Request, rec *session.Record, now time.Time) *session.Record {
	step := int64(m.cfg.IdleTimeout / time.Second / 24)
	idle := m.cfg.IdleTimeout < m.cfg.MaxAge && now.Unix()-rec.Used >= max(step, 1)
	if !idle && !rec.Surplus || web.IsPrefetch(r) {
		return rec
	}
	rec = rec.Clone()
	rec.Used, rec.Surplus = now.Unix(), false
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
	a, err := m.attempts.Open(answer.state)
	if err != nil {
		return false
	}
	_, cookie := m.attempts.Sent(r.Header, a.ID.String())
	binding := a.Bind(cookie)
	return cookie != "" && seal.SameText(string(binding[:]), string(a.Binding[:]))
}

// noteMisplaced logs, once, that the answer to a sign-in came to another path
// than Microsoft was told. Where it finds Callback all the same people can sign
// in, but what they wanted to see is found below a wrong path.
func (m *Middleware) noteMisplaced(r *http.Request) {
	if m.misplaced.Load() {
		return
	}
	want := m.base.Path + "/callback"
	asked, _, _ := strings.Cut(web.RequestPath(r), "?")
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
	if a, _ := m.attempts.Open(ans.state); a != nil && m.misplaced.CompareAndSwap(false, true) {
		m.log.WarnContext(r.Context(), "msauth: the answer to a sign-in arrived at an unexpected path: does something in front strip or add a prefix?",
			"base_url", m.cfg.BaseURL, "path", web.OneLine(asked, 200), "expected", want)
	}
}

func (m *Middleware) misdirectedPage(w http.ResponseWriter, r *http.Request) {
	m.fail(w, r, slog.LevelError, Page{
		Kind: "app-error", Status: http.StatusBadRequest,
		Title: "This site is not set up correctly for signing in",
		Text:  "Microsoft signed you in, but its answer went to the wrong part of this site. You did nothing wrong. Tell the people who run it.",
		Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
		Err:   errors.New("the answer to a sign-in did not reach Callback: does something in front change the path of BaseURL?"),
	}, "path", web.OneLine(r.URL.Path, 200), "base_url", m.cfg.BaseURL)
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
	if err := m.authority.Ready(ctx); err != nil {
		return public(err)
	}
	return public(m.renewals.Ready())
}
