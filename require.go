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

// forbid answers people who are signed in and may not.
func (m *Middleware) forbid(w http.ResponseWriter, r *http.Request, rec *session.Record, short *shortfall) {
	m.deny(w, r, slog.LevelInfo, Page{
		Kind: "not-allowed", Status: http.StatusForbidden,
		Title: "This account may not use this page",
		Text:  "You are signed in, but this page is not for your account. Use another one, or ask the people who run the site to let you in.",
		Links: []Link{
			{URL: m.LoginURL(LoginOptions{ReturnTo: m.askedPage(r), Prompt: "select_account"}), Label: "Use another account"},
			{URL: m.LogoutURL(), Label: "Sign out"},
			{URL: m.cfg.Home, Label: "Home page"},
		},
		Err: short.err,
	}, m.accessRefused(r, short.forbidden, rec)...)
}

// accessRefused counts a handler's refusal, for its log line.
func (m *Middleware) accessRefused(r *http.Request, kind string, rec *session.Record) []any {
	return append(m.events.refused(kind, &rec.User, web.RequestPath(r)), "event", "access_refused")
}

// undecided answers where it cannot be known for now whether somebody may.
func (m *Middleware) undecided(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Retry-After", "10")
	m.deny(w, r, slog.LevelWarn, Page{
		Kind: "unavailable", Status: http.StatusServiceUnavailable,
		Title: "This page is not available right now",
		Text:  "Microsoft cannot be asked at this moment whether you may see it. You are still signed in; try again in a minute.",
		Links: []Link{{URL: m.askedPage(r), Label: "Try again"}},
		Err:   err,
	})
}

// deny shows a page, or tells a script the same.
func (m *Middleware) deny(w http.ResponseWriter, r *http.Request, level slog.Level, p Page, attrs ...any) {
	web.Vary(w.Header(), "Cookie", "Accept", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
	if web.IsNavigation(r) || web.PrefersHTML(r) {
		m.fail(w, r, level, p, attrs...)
		return
	}
	p.ID = m.report(r, level, p, attrs...)
	m.problem(w, r, p.Status, map[string]any{"title": p.Title, "detail": p.Text, "id": p.ID})
}

// missing names what a demand that was not met is about: its kind, as
// [Stats.Refused] counts it, and what a log line says.
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

// shortestMaxAge leaves people the time to come back.
const shortestMaxAge = 1 * time.Minute

// A shortfall is why a session does not do for a handler.
type shortfall struct {
	forbidden   string               // the kind of a refusal that another sign-in would not change
	asks        bool                 // Microsoft has to be asked, and should not for a prefetch
	requirement provider.Requirement // what else another sign-in is to bring
	err         error                // why it is forbidden, or could not be found out
}

// shortOf makes of the error of a token request what the person can do about
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
	}
	return short
}

// forbidden is what those come short of who have none of what one may have.
func forbidden(kind string, oneOf []string) *shortfall {
	return &shortfall{forbidden: kind, err: errors.New("missing " + kind + ": " + web.OneLine(strings.Join(oneOf, " or "), 500))}
}

// requireMore is Require with something more to judge. People who are not
// signed in are asked at once for what is certain to be demanded of them.
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

// deliver gives the browser, or the store, the refresh token that is left after
// a judge has asked for a token: the next request may come to another process.
func (m *Middleware) deliver(w http.ResponseWriter, r *http.Request, v *visit) {
	n, ok := m.renewals.PendingUpdate(v.rec)
	if _, leaving := m.ended.State(v.rec.ID, time.Now()); !ok || !n.Deliver || leaving || web.IsUpgrade(r) {
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
		m.log.ErrorContext(r.Context(), "msauth: writing the session", "user", fresh.User.Key(), "err", err)
	} else if !gone {
		v.rec = fresh
		m.renewals.Settle(fresh.ID, n)
		m.renewals.Remind(n, fresh, m.comesUntil(fresh))
	}
}

// maxMisused is how many mistakes Ready returns.
const maxMisused = 20

// misused is what becomes of a handler that was given a requirement that makes
// no sense: nobody reaches it, and Ready says so.
func (m *Middleware) misused(err error) func(http.Handler) http.Handler {
	return m.closed("msauth: a handler is closed to everybody", err)
}

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

// RequireScopes is [Middleware.Require] for handlers that need more scopes than
// [Config.Scopes], of one API or several, at most 20, or for one API/.default:
//
//	mux.Handle("/calendar", auth.RequireScopes("Calendars.Read")(calendar))
//
// People who have not granted them are sent to Microsoft to do so, and back to
// the page, once; whoever grants fewer ends on a page with status 403. Scripts
// are answered 401 with a login_url that asks for exactly these scopes, then
// 403. Scopes of another API than that of Config.Scopes cost a request to
// Microsoft where the token for them is not in memory; if that cannot be had
// for now, the answer is 503.
func (m *Middleware) RequireScopes(scopes ...string) func(http.Handler) http.Handler {
	wanted, err := m.scopes.Check(scopes)
	if err != nil {
		return m.misused(fmt.Errorf("RequireScopes: %w", err))
	}
	own, others := m.scopes.ByAPI(wanted)
	d, first := provider.Requirement{Scopes: wanted}, provider.Requirement{Scopes: wanted}
	if slices.ContainsFunc(wanted, m.scopes.All) {
		first = provider.Requirement{} // it goes with no other, and often needs nobody's consent
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

// RequireFreshSignIn is [Middleware.Require] for sensitive handlers: the person
// must have entered their credentials at most maxAge ago (at least a minute),
// else is sent to Microsoft to enter them. That is proved by the claim
// "auth_time", which the app registration must ask for: Token configuration,
// Add optional claim, ID, auth_time. Without it the sign-in ends on a page that
// says so. See OpenID Connect Core section 3.1.2.1 (prompt, max_age).
func (m *Middleware) RequireFreshSignIn(maxAge time.Duration) func(http.Handler) http.Handler {
	if maxAge < shortestMaxAge || maxAge > session.LongestMaxAge {
		return m.misused(fmt.Errorf("RequireFreshSignIn: maxAge %w", checkDuration(maxAge, shortestMaxAge, session.LongestMaxAge)))
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

// RequireAuthContext is [Middleware.Require] for handlers that a Conditional
// Access policy protects: the sign-in must satisfy the authentication context
// ("c1" to "c99"), else the person is sent to Microsoft to do what the policy
// asks for. It is proved by the claim "acrs" of the ID token and holds for the
// session. See "Developer guide to Conditional Access authentication context".
func (m *Middleware) RequireAuthContext(id string) func(http.Handler) http.Handler {
	if !provider.ValidContext(id) {
		return m.misused(fmt.Errorf("RequireAuthContext: %q is not c1 to c99", id))
	}
	return func(next http.Handler) http.Handler {
		return m.requireMore(next, provider.Requirement{Claims: provider.ContextClaims([]string{id})}, func(r *http.Request, v *visit) *shortfall {
			contexts := []string{id} // and those that other handlers have asked for
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
// the app roles. Others get a page with status 403, or a problem document if
// they are scripts, and are never sent to sign in: that would not change it.
//
// Where roles, or the arguments of its kin, make no sense (none, a name in place
// of a GUID, "c100"), nobody could ever pass: an Error line says so when the
// handler is made, [Middleware.Ready] returns it from then on, and every request
// is answered 500.
func (m *Middleware) RequireRole(roles ...string) func(http.Handler) http.Handler {
	if len(roles) == 0 {
		return m.closed("msauth: a requirement names nothing", errors.New("RequireRole names no role"))
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
// are tenant 9188040d-6c67-4c5b-b112-36a304b66dad. [Config.AllowedTenants] says
// who may sign in at all.
func (m *Middleware) RequireTenant(ids ...string) func(http.Handler) http.Handler {
	for _, id := range ids {
		if !provider.GUIDForm.MatchString(id) {
			return m.misused(fmt.Errorf("RequireTenant: %q is not a tenant id (a GUID)", id))
		}
	}
	if len(ids) == 0 {
		return m.closed("msauth: a requirement names nothing", errors.New("RequireTenant names no tenant"))
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

// RequireGroup is [Middleware.Require] for members of one of the groups (object
// ids, at most 20), as [Session.MemberOf] knows them; others are answered as by
// [Middleware.RequireRole]. Where Graph has to be asked and cannot be, the
// answer is 503.
func (m *Middleware) RequireGroup(ids ...string) func(http.Handler) http.Handler {
	if _, err := NewSession(User{}, nil).MemberOf(context.Background(), ids...); err != nil {
		return m.misused(fmt.Errorf("RequireGroup: %w", err))
	}
	if len(ids) == 0 {
		return m.closed("msauth: a requirement names nothing", errors.New("RequireGroup names no group"))
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

// Challenge answers a request that could not be served because of err, as it
// came from [Session.Client] or [Session.Token], where only the person can
// help: with the way to Microsoft, asking for what is missing, and back to this
// page; or, to a script, with status 401 and a login_url. Whoever has just been
// there for the same gets a page with status 403.
//
//	res, err := s.Client(r.Context()).Get(...)
//	if auth.Challenge(w, r, err) {
//		return
//	}
//
// It reports whether it did so. For other errors, nil among them, it does
// nothing and returns false: they are the handler's to answer. Nothing may have
// been written to w before.
func (m *Middleware) Challenge(w http.ResponseWriter, r *http.Request, err error) bool {
	if !forPerson(err) {
		return false
	}
	r, v := m.attach(w, r)
	if v.err != nil {
		m.brokenPage(w, r, v.err)
		return true
	}
	var d provider.Requirement
	if failure, ok := errors.AsType[*AuthError](err); ok {
		d.Claims = provider.CheckChallenge(failure.Claims)
		if d.Scopes, err = m.scopes.Check(failure.Scopes); err != nil {
			m.appError(w, r, err)
			return true
		}
	}
	m.ask(w, r, v.rec, d)
	return true
}

// ask sends a person to Microsoft for what a handler demands, or says why not.
// rec is nil where nobody is signed in.
func (m *Middleware) ask(w http.ResponseWriter, r *http.Request, rec *session.Record, d provider.Requirement) {
	d.Again = rec != nil && d.Empty()
	switch {
	case rec == nil && m.sentMarker(r) && web.IsNavigation(r):
		m.loopPage(w, r, m.LoginURL(LoginOptions{ReturnTo: web.RequestPath(r)}))
	case rec != nil && m.askedInVain(rec, d):
		m.inVain(w, r, rec, d)
	case rec != nil && m.roundsAfter(rec) >= mostRounds:
		m.againPage(w, r, m.askedPage(r))
	case !web.IsNavigation(r):
		m.unauthorized(w, r, rec != nil, m.loginURL(LoginOptions{ReturnTo: m.seenPage(r)}, d))
	default:
		o := authorizeOptions{returnTo: m.returnPath(web.RequestPath(r)), requirement: d}
		if rec != nil {
			o.loginHint, o.rounds, o.granted = rec.Hint(), m.roundsAfter(rec), rec.Scopes
		}
		m.begin(w, r, o)
	}
}

// askedPage is the page that a request is for, or, if it is no page load, the
// one that the person sees.
func (m *Middleware) askedPage(r *http.Request) string {
	if web.IsNavigation(r) {
		return m.returnPath(web.RequestPath(r))
	}
	return m.seenPage(r)
}
