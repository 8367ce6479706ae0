package msauth

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"example.com/msauth/internal/device"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// A visit is what is known about a request.
type visit struct {
	session      *Session
	rec          *session.Record
	justSignedIn bool  // a sign-in of this browser has just succeeded
	declined     bool  // a sign-in of this browser was declined a moment ago
	expired      bool  // the session is over, and the person has not signed out
	prefetch     bool  // the session must be renewed first, and this is a prefetch
	err          error // the session store failed

	bound   device.Bound    // the proof of the device that the session is bound to
	unbound *session.Record // a valid session that would have to be bound
	refused *session.Record // a session that ends here: its renewal was refused
	binding bool            // it has only just begun

	// What the rest points into: one allocation for all that a request needs.
	context attached
	held    heldSession
	loaded  session.Record
	headers web.Lines
}

// passes reports whether Require lets the request through.
func (v *visit) passes() bool { return v.session != nil && !v.rec.StepUp }

// attach finds the request's session and adds it to the context, once, however
// many of our handlers the request passes through.
func (m *Middleware) attach(w http.ResponseWriter, r *http.Request) (*http.Request, *visit) {
	outer := attachedTo(r.Context())
	if a := attachedBy(r.Context(), m); a != nil {
		return r, a.visit
	}
	if strings.HasSuffix(r.URL.Path, "/callback") {
		m.noteMisplaced(r)
	}
	v := &visit{headers: web.NewLines()}
	v.headers.VaryCookie(w.Header())
	m.receive(v, w, r)
	c := &v.context
	c.Context, c.session, c.by, c.visit, c.outer = r.Context(), v.session, m, v, outer
	return r.WithContext(c), v
}

// admitted returns the request for the handler inside Require. If another
// Middleware has added its session too, the innermost Require decides which one
// the handler sees.
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

// receive reads the request's session, checks it, renews its tokens if they are
// due and, if anything changed, writes it back. All of this happens before the
// handler runs; nothing is left for afterwards.
func (m *Middleware) receive(v *visit, w http.ResponseWriter, r *http.Request) {
	s := reception{now: time.Now()}
	m.keyFiles.tick(s.now)
	if m.read(&s, v, w, r) && m.freshen(&s, v, w, r) && m.writeBack(&s, w, r) {
		if v.justSignedIn {
			m.clearMarker(w)
		}
		v.rec, v.session = s.fresh, v.held.of(m, s.fresh, m.sessions.Reload(r))
	}
}

// A reception is what receive knows about a session.
type reception struct {
	now     time.Time
	rec     *session.Record // as it was loaded
	fresh   *session.Record // as it is now
	leaving bool            // replaced a moment ago: still accepted, never written again
	how     howToRenew
	update  renew.PendingUpdate // zero if none is pending
	pending bool
}

// read loads the session and reports whether it is valid.
func (m *Middleware) read(s *reception, v *visit, w http.ResponseWriter, r *http.Request) bool {
	sent, err := m.load(r, &v.loaded)
	if sent.Marker {
		v.declined = m.sentDeclined(r)
		v.justSignedIn = !v.declined
	}
	if err != nil {
		m.log.ErrorContext(r.Context(), "msauth: session store fails", "err", err)
		m.events.Weaken(r.Context(), weakSessions, "", storeWeakFor, err)
		v.err = err
		return false
	}
	rec := sent.Rec
	if rec == nil {
		if sent.unproved != "" {
			m.unproved(r, sent)
		} else if sent.Sent {
			m.reject(w, r, "unreadable", nil)
		}
		return false
	}
	if m.shared != nil {
		m.shared.Started(r.Context())
	}
	var ended bool
	ended, s.leaving = m.ended.State(rec, s.now)
	if reason := m.judge(rec, ended, s.now); reason != "" {
		v.expired = reason == "too old" || reason == "idle"
		m.reject(w, r, reason, rec)
		return false
	}
	if v.bound = sent.bound; m.mustBind(rec) {
		v.unbound, v.binding = rec, s.now.Unix()-rec.SignedIn < int64(bindingPatience/time.Second)
		return false
	}
	if sent.before != nil && !web.IsPrefetch(r) && !web.IsUpgrade(r) {
		bound, err := m.bind(w, r, sent.before, rec.Device)
		if err != nil {
			m.log.ErrorContext(r.Context(), "msauth: session write failed", "user", rec.User.Key(), "err", err)
		} else {
			rec = bound
		}
		s.leaving = true
	}
	s.rec, s.fresh = rec, rec
	return true
}

// unproved notes that a session came without the proof of its device. It is not deleted:
// the browser may prove it a moment later, and a copy is worthless.
func (m *Middleware) unproved(r *http.Request, sent loaded) {
	attrs := []any{"event", "device_unproved", "user", sent.raw.User.Key(), "bound_cookie", sent.unproved}
	m.events.count(func(s *Stats) { countBy(&s.Devices.Unproved, sent.unproved) })
	if header := web.First(r.Header["Secure-Session-Skipped"]); header != "" {
		skipped, _, _ := strings.Cut(header, ";")
		if skipped != "unreachable" && skipped != "server_error" && skipped != "quota_exceeded" {
			skipped = "other"
		}
		m.events.count(func(s *Stats) { countBy(&s.Devices.Skipped, skipped) })
		attrs = append(attrs, "skipped", skipped)
	}
	m.log.InfoContext(r.Context(), "msauth: session without the proof of its device", attrs...)
}

// judge returns why a session that can be read is no longer valid, or "".
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

// admits checks an account against the current configuration.
func (m *Middleware) admits(u *provider.Account) bool {
	// CheckPerson is for sessions from earlier versions, which accepted a
	// subject that everybody shares.
	return m.authority.CheckPerson(u) == nil && provider.Admits(u, m.cfg.Tenant, m.cfg.AllowedTenants)
}

// reject logs why a session is not accepted. It deletes the session on
// navigations only: in the response to a slow script, the deletion could
// arrive after a new sign-in and undo it.
func (m *Middleware) reject(w http.ResponseWriter, r *http.Request, reason string, rec *session.Record) {
	attrs := []any{"reason", reason}
	if rec != nil {
		attrs = append(attrs, "user", rec.User.Key())
	}
	if rec != nil && reason == "refused" && m.sessions.Changed(r, rec) {
		m.log.Info("msauth: session not accepted, but renewed by another process", attrs...)
		return // the renewed session is valid
	}
	if web.IsNavigation(r) {
		m.log.InfoContext(r.Context(), "msauth: session cleared", attrs...)
		if err := m.sessions.Remove(w, r); err != nil {
			m.log.ErrorContext(r.Context(), "msauth: session deletion failed", "err", err)
		}
		return
	}
	m.log.DebugContext(r.Context(), "msauth: session not accepted", attrs...)
}

// freshen renews tokens that are due and applies a pending update. It reports
// whether the session is still valid and the request can be served.
func (m *Middleware) freshen(s *reception, v *visit, w http.ResponseWriter, r *http.Request) bool {
	s.how = m.renewalFor(r, s.rec, s.now)
	if s.update, s.pending = m.renewals.Pending(s.rec); !s.pending {
		s.update = renew.PendingUpdate{}
	} else if s.how == notDue && !s.rec.StepUp {
		s.how = attentionFor(r, s.update)
	}
	if !s.leaving && s.how != notDue {
		if s.how == notHere {
			v.prefetch = true
			w.Header()["cache-control"] = []string{"no-store"} // the click that may follow must not get this answer
			return false
		}
		var alive, ended bool
		if s.fresh, alive = m.renew(r, s.rec, s.how, s.update); !alive {
			v.expired, v.refused = true, s.rec
			m.reject(w, r, "refused", s.rec)
			return false
		}
		s.now = time.Now()
		if ended, s.leaving = m.ended.State(s.rec, s.now); ended { // signed out during the renewal
			return false
		}
		if s.how == onlyDeliver && s.fresh == s.rec {
			m.renewals.Settle(s.rec.ID, s.update) // another response has delivered it
		}
	}
	if s.fresh != s.rec {
		s.fresh.Used = s.now.Unix()
	}
	if s.pending && s.update.StepUp && s.fresh.Renewed <= s.update.Of && !s.fresh.StepUp {
		s.fresh = s.fresh.Clone()
		s.fresh.StepUp, s.fresh.Claims = true, s.update.Claims
	}
	return true
}

// A howToRenew is how a request deals with tokens that are due.
type howToRenew int

const (
	notDue      howToRenew = iota // nothing to do
	renewNow                      // renew them before the handler runs
	onlyDeliver                   // send no token request, but write tokens that are known
	onlyKnown                     // send no token request and write nothing, but heed what is known
	notHere                       // they must be renewed, but not by this request: refuse it
)

// renewalFor decides how a request deals with tokens that are due. A prefetch
// may be for a page that nobody opens, and the response to a protocol upgrade
// may lose its cookie: both put a renewal off, but not past the token's expiry
// or [Config.RecheckAfter], since anybody can send their headers.
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

// attentionFor decides how a request deals with a pending update.
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

// renew returns the record, with newer tokens if there are any, and whether the
// session is still valid.
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
		m.log.ErrorContext(r.Context(), "msauth: renewal failed", "user", rec.User.Key(), "err", err)
		return fresh, true
	}
	if errors.Is(err, renew.ErrNoRefreshToken) && m.outlivesTokens(rec) {
		return fresh, true
	}
	switch failure.Class {
	case provider.SignIn:
		// The session is not marked as ended: if the provider accepts each
		// refresh token once, another process may have renewed with this one,
		// and the cookie that it wrote is valid.
		return rec, false
	case provider.StepUp:
		fresh = fresh.Clone()
		fresh.StepUp, fresh.Claims = true, failure.Claims
	}
	return fresh, true
}

// outlivesTokens reports whether a session without a refresh token outlives its
// tokens. With other providers, many of which give none, and Live Connect, where
// people may refuse it, it does until [Config.RecheckAfter]. With [Config.Tokens] it does not: such a session is of
// no use without tokens.
func (m *Middleware) outlivesTokens(rec *session.Record) bool {
	return m.authority.Kind != provider.Entra && rec.UserKey == "" &&
		(m.cfg.RecheckAfter == 0 || time.Now().Unix() < rec.Renewed+int64(m.cfg.RecheckAfter/time.Second))
}

// writeBack writes the session if it has changed. It reports whether the
// session still exists.
func (m *Middleware) writeBack(s *reception, w http.ResponseWriter, r *http.Request) bool {
	rec, renewed := s.rec, s.fresh
	s.fresh = m.touch(r, s.fresh, s.now)
	if s.fresh == rec || s.leaving || s.how == onlyKnown {
		return true
	}
	gone, err := m.sessions.Update(w, r, s.fresh)
	if gone {
		return false
	}
	if err != nil {
		m.log.ErrorContext(r.Context(), "msauth: session write failed", "user", rec.User.Key(), "err", err)
		if s.fresh.Refresh != rec.Refresh && rec.Unpacked() {
			m.keepUndelivered(rec, s.fresh.TokenSet())
		}
		return true
	}
	m.ended.Note(s.fresh) // a process that has started since the sign-in does not know it
	m.noteUse(s.fresh)
	if s.pending {
		m.renewals.Settle(rec.ID, s.update)
		m.renewals.Remind(s.update, s.fresh, m.comesUntil(s.fresh))
	}
	switch {
	case renewed == rec:
		m.renewals.Touches(r.Context(), rec, m.comesUntil(s.fresh))
	case rec.Unpacked() && s.fresh.Refresh != rec.Refresh && !web.IsUpgrade(r) && r.Context().Err() == nil:
		m.renewals.Taken(rec, s.fresh)
	}
	return true
}

// touch records that the session was used, at most once per 1/24 of
// IdleTimeout, and drops cookies that it no longer needs. It returns rec
// itself if there is nothing to write.
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

// current returns the request's session as it was sent, without renewing it, or
// nil if there is no valid one.
func (m *Middleware) current(r *http.Request) *session.Record {
	sent, _ := m.load(r, new(session.Record))
	rec := sent.Rec
	if rec == nil || m.judge(rec, m.ended.Has(rec), time.Now()) != "" {
		return nil
	}
	return rec
}

// currentUser returns the account of the current session, or nil.
func (m *Middleware) currentUser(r *http.Request) *provider.Account {
	if rec := m.current(r); rec != nil {
		return &rec.User
	}
	return nil
}

// withoutRefreshToken puts off the renewal of a new session that has no refresh
// token: for good or, with [Config.RecheckAfter], until then, when it ends.
func (m *Middleware) withoutRefreshToken(rec *session.Record) {
	if rec.Refresh != "" || !m.outlivesTokens(rec) {
		return
	}
	rec.RefreshAt = rec.SignedIn + int64(session.LongestMaxAge/time.Second)
	ends := "at Config.MaxAge or IdleTimeout, even if the account is disabled before: set Config.RecheckAfter to end it sooner"
	if m.cfg.RecheckAfter > 0 {
		rec.RefreshAt = rec.Renewed + int64(m.cfg.RecheckAfter/time.Second)
		ends = "at Config.RecheckAfter, " + m.cfg.RecheckAfter.String() + " after signing in"
	}
	m.log.Warn("msauth: the provider gave no refresh token", "event", "no_refresh_token", "user", rec.User.Key(), "session_ends", ends)
}
