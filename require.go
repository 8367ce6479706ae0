package msauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// RequireScopes is [Middleware.Require] for handlers that need scopes beyond
// [Config.Scopes]: at most 20, of one or several APIs, or one API/.default:
//
//	mux.Handle("/calendar", auth.RequireScopes("Calendars.Read")(calendar))
//
// People who have not granted them are sent to Microsoft for consent, once, and
// back to the page; if they grant fewer, they get a page with status 403.
// Scripts are answered 401 with a login_url that asks for exactly these scopes,
// then 403. For scopes of an API other than that of Config.Scopes, a token that
// is not in memory costs a request to Microsoft; if no token is available for
// the time being, the answer is 503.
func (m *Middleware) RequireScopes(scopes ...string) func(http.Handler) http.Handler {
	wanted, err := m.scopes.Check(scopes)
	if err != nil {
		return m.misused(fmt.Errorf("RequireScopes: %w", err))
	}
	own, others := m.scopes.ByAPI(wanted)
	d, first := provider.Requirement{Scopes: wanted}, provider.Requirement{Scopes: wanted}
	if slices.ContainsFunc(wanted, m.scopes.All) {
		first = provider.Requirement{} // .default excludes other scopes, and often needs no consent
	}
	return func(next http.Handler) http.Handler {
		return m.requireMore(next, first, func(r *http.Request, v *visit) *shortfall {
			if len(m.scopes.Missing(v.held.tokens.record().Scopes, own)) > 0 {
				return &shortfall{requirement: d}
			}
			if len(others) > 0 && web.IsPrefetch(r) {
				return &shortfall{asks: true}
			}
			for _, scopes := range others {
				_, err := v.held.tokens.token(r.Context(), scopes)
				if short := shortOf(err, wanted); short != nil {
					return short
				}
			}
			return nil
		})
	}
}

// shortestMaxAge leaves people enough time to come back from Microsoft.
const shortestMaxAge = 1 * time.Minute

// RequireFreshSignIn is [Middleware.Require] for sensitive handlers: people
// must have entered their credentials at most maxAge ago, or they are sent to
// Microsoft to enter them again. maxAge is at least one minute. The proof is
// the claim "auth_time", which the app registration must ask for: Token
// configuration, Add optional claim, ID, auth_time. Without the claim, the
// sign-in ends with a page that says so. See OpenID Connect Core section
// 3.1.2.1 (prompt, max_age).
func (m *Middleware) RequireFreshSignIn(maxAge time.Duration) func(http.Handler) http.Handler {
	if maxAge < shortestMaxAge || maxAge > session.LongestMaxAge {
		return m.misused(fmt.Errorf("RequireFreshSignIn: maxAge %w", checkDuration(maxAge, shortestMaxAge, session.LongestMaxAge)))
	}
	if err := m.unprovable("RequireFreshSignIn"); err != nil {
		return m.misused(err)
	}
	d := provider.Requirement{MaxAge: maxAge}
	return func(next http.Handler) http.Handler {
		return m.requireMore(next, d, func(r *http.Request, v *visit) *shortfall {
			if v.rec.AuthTime != 0 && time.Now().Unix()-v.rec.AuthTime <= int64(maxAge/time.Second) {
				return nil
			}
			return &shortfall{requirement: d}
		})
	}
}

// RequireAuthContext is [Middleware.Require] for handlers protected by a
// Conditional Access policy: the sign-in must satisfy the authentication
// context id ("c1" to "c99"), or the person is sent to Microsoft to do what
// the policy asks for. The proof is the claim "acrs" in the ID token; it is
// valid for the whole session. See "Developer guide to Conditional Access
// authentication context".
func (m *Middleware) RequireAuthContext(id string) func(http.Handler) http.Handler {
	if !provider.ValidContext(id) {
		return m.misused(fmt.Errorf("RequireAuthContext: %q is not c1 to c99", id))
	}
	if err := m.unprovable("RequireAuthContext"); err != nil {
		return m.misused(err)
	}
	return func(next http.Handler) http.Handler {
		return m.requireMore(next, provider.Requirement{Claims: provider.ContextClaims([]string{id})}, func(r *http.Request, v *visit) *shortfall {
			contexts := []string{id} // and those that the session already has
			for _, other := range v.rec.Contexts {
				if other == id {
					return nil
				}
				contexts = append(contexts, other)
			}
			return &shortfall{requirement: provider.Requirement{Claims: provider.ContextClaims(contexts)}}
		})
	}
}

// RequireRole is [Middleware.Require] for people who have been assigned one of
// the app roles. Others get a page, or scripts a problem document, with status
// 403, and are never sent to sign in again, which would not change the roles.
//
// If the arguments of a Require method make no sense (none, a name instead of a
// GUID, "c100"), or Live Connect is asked for what its tokens do not say, nobody
// could ever pass. An Error line then says so when the
// handler is made, [Middleware.Ready] returns the error from then on, and every
// request is answered 500.
func (m *Middleware) RequireRole(roles ...string) func(http.Handler) http.Handler {
	if len(roles) == 0 {
		return m.closed("msauth: a requirement names nothing", errors.New("RequireRole names no role"))
	}
	if err := m.unprovable("RequireRole"); err != nil {
		return m.misused(err)
	}
	short := forbidden("role", roles)
	return func(next http.Handler) http.Handler {
		return m.requireMore(next, provider.Requirement{}, func(r *http.Request, v *visit) *shortfall {
			for _, role := range roles {
				if v.session.User.HasRole(role) {
					return nil
				}
			}
			return short
		})
	}
}

// RequireTenant is [Middleware.Require] for people of the tenants with these
// ids; others are answered as by [Middleware.RequireRole]. Personal accounts
// belong to tenant 9188040d-6c67-4c5b-b112-36a304b66dad. Who may sign in at all
// is up to [Config.AllowedTenants].
func (m *Middleware) RequireTenant(ids ...string) func(http.Handler) http.Handler {
	for _, id := range ids {
		if !provider.GUIDForm.MatchString(id) {
			return m.misused(fmt.Errorf("RequireTenant: %q is not a tenant id (a GUID)", id))
		}
	}
	if len(ids) == 0 {
		return m.closed("msauth: a requirement names nothing", errors.New("RequireTenant names no tenant"))
	}
	if err := m.unprovable("RequireTenant"); err != nil {
		return m.misused(err)
	}
	short := forbidden("tenant", ids)
	return func(next http.Handler) http.Handler {
		return m.requireMore(next, provider.Requirement{}, func(r *http.Request, v *visit) *shortfall {
			for _, id := range ids {
				if strings.EqualFold(id, v.session.User.TenantID) {
					return nil
				}
			}
			return short
		})
	}
}

// RequireGroup is [Middleware.Require] for members of one of the groups
// (object ids, at most 20), as reported by [Session.MemberOf]; others are
// answered as by [Middleware.RequireRole]. If Graph has to be asked and gives
// no answer, the response has status 503.
func (m *Middleware) RequireGroup(ids ...string) func(http.Handler) http.Handler {
	if _, err := NewSession(User{}, nil).MemberOf(context.Background(), ids...); err != nil {
		return m.misused(fmt.Errorf("RequireGroup: %w", err))
	}
	if len(ids) == 0 {
		return m.closed("msauth: a requirement names nothing", errors.New("RequireGroup names no group"))
	}
	if err := m.unprovable("RequireGroup"); err != nil {
		return m.misused(err)
	}
	short := forbidden("group", ids)
	return func(next http.Handler) http.Handler {
		return m.requireMore(next, provider.Requirement{}, func(r *http.Request, v *visit) *shortfall {
			if v.session.User.GroupsOverage && web.IsPrefetch(r) {
				return &shortfall{asks: true}
			}
			in, err := v.session.MemberOf(r.Context(), ids...)
			if err == nil && len(in) == 0 {
				return short
			}
			return shortOf(err, nil)
		})
	}
}

// misused closes a handler whose requirement makes no sense: nobody reaches it,
// and Ready returns err.
func (m *Middleware) misused(err error) func(http.Handler) http.Handler {
	return m.closed("msauth: a handler is closed to everybody", err)
}

// maxMisused limits how many mistakes Ready returns.
const maxMisused = 20

func (m *Middleware) closed(what string, err error) func(http.Handler) http.Handler {
	m.log.Error(what, "event", "handler_misconfigured", "err", err)
	m.events.mu.Lock()
	if len(m.events.misused) < maxMisused {
		m.events.misused = append(m.events.misused, fmt.Errorf("msauth: a handler is closed to everybody: %w", err))
	}
	m.events.mu.Unlock()
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.appError(w, r, err) })
	}
}

// requireMore is Require with a further check. first is what a first sign-in
// asks for already, so that people need not sign in twice.
func (m *Middleware) requireMore(next http.Handler, first provider.Requirement, judge func(r *http.Request, v *visit) *shortfall) http.Handler {
	return m.require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, v := m.attach(w, r)
		short := judge(r, v)
		m.deliver(w, r, v)
		switch {
		case short == nil:
			next.ServeHTTP(w, r)
		case short.asks:
			refusePrefetch(w)
		case short.forbidden != "":
			m.forbid(w, r, v.rec, short)
		case short.err != nil:
			m.undecided(w, r, short.err)
		default:
			m.ask(w, r, v.rec, short.requirement)
		}
	}), first)
}

// A shortfall is why a session does not satisfy a handler.
type shortfall struct {
	forbidden   string               // the kind of a refusal that another sign-in would not change
	asks        bool                 // needs a request to Microsoft, and this is a prefetch
	requirement provider.Requirement // what another sign-in must meet
	err         error                // why it is forbidden, or could not be determined
}

// shortOf turns the error of a token request into what the person can do about
// it.
func shortOf(err error, scopes []string) *shortfall {
	if err == nil {
		return nil
	}
	if !forPerson(err) {
		return &shortfall{err: err}
	}
	short := &shortfall{requirement: provider.Requirement{Scopes: scopes}}
	if failure, ok := errors.AsType[*AuthError](err); ok {
		short.requirement.Claims = failure.Claims
		if scopes == nil {
			short.requirement.Scopes = failure.Scopes
		}
	} else {
		short.requirement.Claims = challengeOf(err)
	}
	return short
}

// challengeOf returns the claims challenge of an API's answer in the chain of err,
// or "" if it has none.
func challengeOf(err error) string {
	return provider.ChallengeIn(http.Header{"Www-Authenticate": rejection(err)})
}

// forbidden is the shortfall of people who have none of the accepted values.
func forbidden(kind string, oneOf []string) *shortfall {
	return &shortfall{forbidden: kind, err: errors.New("missing " + kind + ": " + web.OneLine(strings.Join(oneOf, " or "), 500))}
}

// deliver writes the session if a check has requested a token and received a
// new refresh token: the next request may reach another process.
func (m *Middleware) deliver(w http.ResponseWriter, r *http.Request, v *visit) {
	n, ok := m.renewals.Pending(v.rec)
	if _, leaving := m.ended.State(v.rec, time.Now()); !ok || !n.Deliver || leaving || web.IsUpgrade(r) {
		return
	}
	fresh := v.rec.Clone()
	if fresh.Unpack() != nil {
		return
	}
	own, _, newest := m.renewals.Own(fresh)
	if newest == fresh.Refresh {
		return
	}
	fresh = fresh.RenewedBy(own)
	if gone, err := m.sessions.Update(w, r, fresh); err != nil {
		m.log.ErrorContext(r.Context(), "msauth: session write failed", "user", fresh.User.Key(), "err", err)
	} else if !gone {
		v.rec = fresh
		m.renewals.Settle(fresh.ID, n)
		m.renewals.Remind(n, fresh, m.comesUntil(fresh))
	}
}

// Challenge answers a request that failed with err, an error of
// [Session.Client] or [Session.Token], if only the person can resolve it. It
// redirects them to Microsoft, asking for what is missing, and back to this
// page; a script gets status 401 and a login_url. People who have just been
// there for the same reason get a page with status 403.
//
//	res, err := s.Client(r.Context()).Get(...)
//	if auth.Challenge(w, r, err) {
//		return
//	}
//
// err may also be, or wrap, an API's answer with status 401: an error with a
// method WWWAuthenticate() []string that returns its WWW-Authenticate fields, and
// nil for answers with any other status, as that of graph.Error does. If there is a
// claims challenge in them, the sign-in carries it.
//
// Challenge reports whether it answered the request. For any other error, nil
// included, it does nothing and returns false, and the handler must answer.
// Call it before writing anything to w.
func (m *Middleware) Challenge(w http.ResponseWriter, r *http.Request, err error) bool {
	if !forPerson(err) {
		return false
	}
	r, v := m.attach(w, r)
	if v.err != nil {
		m.brokenPage(w, r, v.err, m.keepForm(w, r))
		return true
	}
	var d provider.Requirement
	if failure, ok := errors.AsType[*AuthError](err); ok {
		d.Claims = provider.CheckChallenge(failure.Claims)
		if d.Scopes, err = m.scopes.Check(failure.Scopes); err != nil {
			m.appError(w, r, err)
			return true
		}
	} else {
		d.Claims = challengeOf(err)
	}
	m.ask(w, r, v.rec, d)
	return true
}

// ask sends a person to Microsoft for what a handler requires, or explains why
// that would not help. rec is nil if nobody is signed in.
func (m *Middleware) ask(w http.ResponseWriter, r *http.Request, rec *session.Record, d provider.Requirement) {
	d.Again = rec != nil && d.Empty()
	declined := m.sentDeclined(r) && web.IsNavigation(r)
	switch {
	case rec == nil && m.sentMarker(r) && web.IsNavigation(r):
		m.loopPage(w, r, m.LoginURL(LoginOptions{ReturnTo: web.RequestPath(r)}))
	case rec == nil && declined:
		m.declinedPage(w, r, d)
	case rec != nil && m.askedInVain(rec, d):
		m.inVain(w, r, rec, d)
	case declined:
		m.declinedMorePage(w, r, rec, d)
	case rec != nil && m.roundsAfter(rec) >= mostRounds:
		m.againPage(w, r, m.askedPage(r))
	case !web.IsNavigation(r):
		m.unauthorized(w, r, rec, rec != nil, m.loginURL(LoginOptions{ReturnTo: m.seenPage(r)}, d))
	case m.keepsFragment(w, r, d):
	default:
		o := authorizeOptions{returnTo: m.returnPath(web.RequestPath(r)), requirement: d}
		if rec != nil {
			o.loginHint, o.rounds, o.granted, o.goesOn = rec.Hint(), m.roundsAfter(rec), rec.Scopes, true
		}
		m.begin(w, r, o)
	}
}

// askedPage returns the page that a request is for or, if it is not a page
// load, the page that the person is looking at.
func (m *Middleware) askedPage(r *http.Request) string {
	if web.IsNavigation(r) {
		return m.returnPath(web.RequestPath(r))
	}
	return m.seenPage(r)
}

// forbid answers people who are signed in but not allowed.
func (m *Middleware) forbid(w http.ResponseWriter, r *http.Request, rec *session.Record, short *shortfall) {
	m.deny(w, r, slog.LevelInfo, Page{
		Kind: "not-allowed", Status: http.StatusForbidden,
		TextID: "page-not-allowed",
		Links: []Link{
			{URL: m.LoginURL(LoginOptions{ReturnTo: m.askedPage(r), Prompt: "select_account"}), TextID: "other-account"},
			{URL: m.LogoutURL(), TextID: "sign-out"},
			m.home(),
		},
		Err: short.err,
	}, m.accessRefused(r, short.forbidden, rec)...)
}

// undecided answers when it cannot be determined whether somebody is allowed.
func (m *Middleware) undecided(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Retry-After", "10")
	p := Page{
		Kind: "unavailable", Status: http.StatusServiceUnavailable,
		TextID: "not-checked",
		Links:  []Link{{URL: m.askedPage(r), TextID: "try-again"}},
		Err:    err,
	}
	if k := m.keepForm(w, r); k != nil {
		p.Links = nil
		p = m.withForm(k, noted(p))
	}
	m.deny(w, r, slog.LevelWarn, p)
}

// deny shows a page or sends a script the same as a problem document.
func (m *Middleware) deny(w http.ResponseWriter, r *http.Request, level slog.Level, p Page, attrs ...any) {
	web.Vary(w.Header(), "Cookie", "Accept", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
	if web.IsNavigation(r) || web.PrefersHTML(r) {
		m.fail(w, r, level, p, attrs...)
		return
	}
	p.ID = m.report(r, level, p, attrs...)
	m.problem(w, r, p, nil)
}

// accessRefused counts a handler's refusal and returns its log attributes.
func (m *Middleware) accessRefused(r *http.Request, kind string, rec *session.Record) []any {
	return append(m.events.refused(kind, &rec.User, web.RequestPath(r)), "event", "access_refused")
}

// missing describes a requirement that was not met: its kind, as counted in
// [Stats.Refused], and a text for the log.
func missing(d provider.Requirement) (kind, what string) {
	switch {
	case len(d.Scopes) > 0:
		return "scope", "scopes not granted: " + strings.Join(d.Scopes, " ")
	case d.MaxAge > 0:
		return "fresh_sign_in", "missing fresh sign-in: credentials entered at most " + inWords(d.MaxAge) + " ago"
	case provider.AsksFor(d.Claims, "acrs"):
		return "auth_context", "missing authentication context: " + web.OneLine(d.Claims, provider.MaxChallenge)
	case d.Claims != "":
		return "claims", "missing claims: " + web.OneLine(d.Claims, provider.MaxChallenge)
	}
	return "claims", "missing sign-in that a handler asked for"
}
