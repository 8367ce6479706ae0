package msauth

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/shared"
	"example.com/msauth/internal/web"
)

// Stats are the counts of a Middleware since it was made, for metrics.
type Stats struct {
	// SignIns counts the sessions made. SignOuts counts sign-outs: by users, here or
	// at Microsoft, and by the app, with [Middleware.SignOutUser] and
	// [Middleware.SignOutSession]. One that ends all sessions of an account counts
	// once, and only in the process that it came to.
	SignIns, SignOuts uint64
	// SignInsRefused counts the sign-ins that could not begin, or ended on an
	// error page.
	SignInsRefused uint64
	// Refused counts refusals by kind: of sign-ins, of requests by handlers
	// under [Middleware.RequireRole] and the like, and of
	// [Middleware.Connect]. The kinds are
	//
	//	on_sign_in     Config.OnSignIn returned an error
	//	tenant         AllowedTenants or RequireTenant does not allow the account
	//	role, group    RequireRole, RequireGroup
	//	scope          RequireScopes, Challenge: not granted by another sign-in
	//	fresh_sign_in  RequireFreshSignIn: credentials were entered too long ago
	//	auth_context   RequireAuthContext: not satisfied by another sign-in
	//	claims         a claims challenge, or Challenge without one: the same
	//	provider       Microsoft does not allow this account to use the app
	//	device         DeviceBindingRequired: the session is not bound
	//	connect        Connect: the form came from another site, or nobody or a
	//	               different user is signed in to the app
	//	account_taken  Connect: the account or the user is already connected
	//	junk           request for BaseURL + "/callback" without a state, or with
	//	               a malformed query: not a redirect from Microsoft
	//	foreign_state  the same, with a state that looks like one of this package
	//	               but does not open: made by another app, altered, over a
	//	               day old, or sealed with a key that this server lacks
	Refused map[string]uint64
	// Devices counts what became of [Config.DeviceBinding].
	Devices DeviceStats
	// SessionsEnded counts the sessions that Microsoft permanently refused to
	// renew: revoked, disabled, password changed.
	SessionsEnded uint64
	// Renewals counts the token requests that renewed a session's tokens, and
	// RenewalTime is their total duration.
	Renewals    uint64
	RenewalTime time.Duration
	// RenewalsFailed counts the token requests that failed to, by class.
	RenewalsFailed map[Class]uint64
	// Credentials describes [Config.Credentials], in their order, and the
	// credential that ClientSecret is.
	Credentials []CredentialStatus
	// Paused is set while renewals are paused because Microsoft fails.
	Paused bool
	// Degraded lists, sorted, what does not work although users can sign in:
	//
	//	renewals paused           Microsoft fails
	//	credential unusable       one of Config.Credentials is refused or over, or
	//	                          its file cannot be used: see Credentials
	//	last credential: NAME     of several credentials, only this one works
	//	client secret suspected   a code was refused with invalid_client, and it
	//	                          is not yet known whether a visitor caused that
	//	tokens of an API refused  Microsoft refuses the app, not the user, a token
	//	                          for an API other than that of Scopes
	//	token store fails         Config.Tokens
	//	session store fails       Config.Store
	//	key files fail            Config.KeyFiles; the last good keys stay in use
	//	shared state fails        Config.Shared; each process knows only its own
	//	app misconfigured         Microsoft refuses the app: Ready fails too
	//
	// An entry is removed ten minutes after the problem was last seen, or one
	// minute after for Config.Store; for Config.KeyFiles and Config.Shared it
	// stays until they work again.
	Degraded []string
	// KeyIDs are the IDs of the keys in use, as in the log at start-up, the one
	// that seals first. With [Config.KeyFiles] they show whether a change has
	// reached this process.
	KeyIDs []string
	// SharedQueue is how many sign-outs and the like wait until [Config.Shared] works
	// again, and SharedDropped how many were not passed on, because 100,000 were
	// waiting already.
	SharedQueue   int
	SharedDropped uint64
	// EndingsForgotten counts the sessions that had ended and that this process has
	// forgotten too early, because it remembers 1,048,576 of them: here a copy of such
	// a cookie is valid again until it ends by its age.
	EndingsForgotten uint64
}

// Stats returns the current counts.
func (m *Middleware) Stats() Stats {
	credentials, weak := credentialStats(m.credentials)
	m.events.mu.Lock()
	defer m.events.mu.Unlock()
	s := m.events.stats
	s.RenewalsFailed = maps.Clone(s.RenewalsFailed)
	s.Refused, s.Devices = maps.Clone(s.Refused), s.Devices.clone()
	s.Degraded = append(m.events.degraded(), weak...)
	slices.Sort(s.Degraded)
	if m.shared != nil {
		s.SharedQueue = m.shared.Queued()
	}
	s.EndingsForgotten = m.ended.Forgotten()
	s.Credentials, s.KeyIDs = credentials, slices.Clone(s.KeyIDs)
	return s
}

// Ready returns nil if users can sign in: discovery and signing keys are
// readable, and Microsoft has not recently refused the app itself, for example
// because all its credentials have expired. It is meant for alerts and for a check at
// start-up. After the first call, it usually makes no network request. See
// [Stats.Degraded] for lesser problems, with which users can still sign in.
//
// Ready also fails if a handler has a requirement that nobody can ever meet,
// such as [Middleware.RequireGroup] with a name instead of a GUID. Call it after
// all handlers are made, so that such a mistake stops the deployment.
//
// Do not use Ready to take a server out of a load balancer: during an outage of
// Microsoft, or with an expired secret, no other server could sign users in
// either, and users who are signed in are still served.
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
	if err := m.credentials.Ready(); err != nil {
		return public(err)
	}
	return public(m.renewals.Ready())
}

var (
	_ renew.Observer      = (*events)(nil)
	_ credential.Observer = (*events)(nil)
	_ shared.Observer     = (*events)(nil)
)

// events reports what happens: each event is a log line with a stable "event"
// attribute, and usually a count in Stats.
type events struct {
	log *slog.Logger

	mu    sync.Mutex
	stats Stats
	weak  map[string]*weakness

	misused []error // of handlers that nobody can reach

	logoutLine     time.Time // of the last line of backChannelRefused
	logoutsSkipped int       // refusals since then
}

func (e *events) count(f func(*Stats)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(&e.stats)
}

// refused counts a refusal. It returns the attributes for its log line: the
// kind, the path of the requested page, and the user, if known.
func (e *events) refused(kind string, u *provider.Account, page string) []any {
	e.count(func(s *Stats) {
		countBy(&s.Refused, kind)
	})
	path, _, _ := strings.Cut(page, "?")
	attrs := []any{"refused", kind, "path", web.OneLine(path, 200)}
	if u != nil {
		attrs = append(attrs, "user", u.Key(), "username", web.OneLine(u.Username, 100))
	}
	return attrs
}

func (e *events) signedIn(ctx context.Context, rec *session.Record) {
	e.count(func(s *Stats) { s.SignIns++ })
	e.log.InfoContext(ctx, "msauth: signed in", "event", "sign_in", "user", rec.User.Key())
}

func (e *events) connected(ctx context.Context, rec *session.Record) {
	e.log.InfoContext(ctx, "msauth: account connected", "event", "connected", "user", rec.User.Key())
}

func (e *events) signedOut(ctx context.Context, rec *session.Record) {
	e.count(func(s *Stats) { s.SignOuts++ })
	e.log.InfoContext(ctx, "msauth: signed out", "event", "sign_out", "user", rec.User.Key())
}

func (e *events) userSignedOut(ctx context.Context, user string, everywhere bool) {
	e.count(func(s *Stats) { s.SignOuts++ })
	e.log.InfoContext(ctx, "msauth: all sessions of an account ended", "event", "user_signed_out", "user", web.OneLine(user, 200), "all_processes", everywhere)
}

func (e *events) sessionSignedOut(ctx context.Context, user string) {
	e.count(func(s *Stats) { s.SignOuts++ })
	e.log.InfoContext(ctx, "msauth: a session of an account ended", "event", "session_signed_out", "user", web.OneLine(user, 200))
}

func (e *events) frontChannel(ctx context.Context) {
	e.count(func(s *Stats) { s.SignOuts++ })
	e.log.InfoContext(ctx, "msauth: signed out at the provider", "event", "front_channel_logout")
}

// backChannel reports a logout token that ended a session of the account at the
// provider, or all.
func (e *events) backChannel(ctx context.Context, u *provider.Account, all bool) {
	e.count(func(s *Stats) { s.SignOuts++ })
	attrs := []any{"event", "back_channel_logout", "all", all}
	if user := u.Key(); user != "" {
		attrs = append(attrs, "user", web.OneLine(user, 200))
	}
	e.log.InfoContext(ctx, "msauth: signed out by the provider", attrs...)
}

// backChannelRefused reports a logout request that ended nothing. Strangers can send
// them: there is one line a minute, which says how many others came since the last.
func (e *events) backChannelRefused(ctx context.Context, err error) {
	e.mu.Lock()
	if now := time.Now(); e.logoutLine.IsZero() || now.Sub(e.logoutLine) >= time.Minute {
		defer e.log.WarnContext(ctx, "msauth: logout request refused", "event", "back_channel_refused", "err", err, "skipped", e.logoutsSkipped)
		e.logoutLine, e.logoutsSkipped = now, 0
	} else {
		e.logoutsSkipped++
	}
	e.mu.Unlock()
}

func (e *events) SessionEnded(ctx context.Context, user string, err *provider.Failure) {
	e.count(func(s *Stats) { s.SessionsEnded++ })
	e.log.InfoContext(ctx, "msauth: session ended by the provider", "event", "session_ended", "user", user, "err", err)
}

// Renewed reports a token request that succeeded, and RenewalFailed one that
// failed. Requests for other APIs are not counted, because a handler can ask
// for scopes that do not exist. The reason is "due", "expired", "asked" (by a
// handler that outlasted its token), "other scopes" or "rejected" (by an API).
func (e *events) Renewed(ctx context.Context, user, reason string, other bool, took time.Duration) {
	if !other {
		e.count(func(s *Stats) { s.Renewals++; s.RenewalTime += took })
	}
	e.log.DebugContext(ctx, "msauth: tokens renewed", "event", "renewal", "user", user,
		"reason", reason, "duration", took, "outcome", "renewed")
}

func (e *events) RenewalFailed(ctx context.Context, user, reason string, other bool, took time.Duration, err *provider.Failure) {
	if !other {
		e.count(func(s *Stats) {
			if s.RenewalsFailed == nil {
				s.RenewalsFailed = map[Class]uint64{}
			}
			s.RenewalsFailed[Class(err.Class)]++
		})
	}
	e.log.InfoContext(ctx, "msauth: tokens not renewed", "event", "renewal", "user", user,
		"reason", reason, "duration", took, "outcome", string(err.Class), "err", err)
}

// StoreFailed reports an error of one of the app's stores.
func (e *events) StoreFailed(ctx context.Context, what string, err error) {
	attrs := []any{"err", err}
	if what == "token store" {
		attrs = append([]any{"event", "token_store_failed"}, attrs...)
	}
	e.log.ErrorContext(ctx, "msauth: "+what+" fails", attrs...)
}

func (e *events) Paused(ctx context.Context, err *provider.Failure) {
	e.count(func(s *Stats) { s.Paused = true })
	e.log.WarnContext(ctx, "msauth: renewals paused", "event", "renewal_pause", "err", err)
}

func (e *events) Resumed(ctx context.Context) {
	e.count(func(s *Stats) { s.Paused = false })
	e.log.InfoContext(ctx, "msauth: renewals resumed", "event", "renewal_resume")
}

// Troubled reports a problem that an operator must fix.
func (e *events) Troubled(ctx context.Context, err *provider.Failure) {
	e.log.ErrorContext(ctx, "msauth: the provider refuses this app; sessions continue without new tokens",
		"event", "app_misconfigured", "err", err, "aadsts", err.Numbers, "trace_id", err.TraceID, "correlation_id", err.CorrelationID)
}

// CredentialRefused reports a credential that is no longer used.
func (e *events) CredentialRefused(ctx context.Context, name string, until time.Time, now string, why error) {
	attrs := []any{"event", "credential_refused", "credential", name, "now", now, "err", why}
	if !until.IsZero() {
		attrs = append(attrs, "ends", until.UTC())
	}
	if now == "" {
		e.log.ErrorContext(ctx, "msauth: the credential cannot be used, and there is no other", attrs...)
		return
	}
	e.log.WarnContext(ctx, "msauth: the credential cannot be used; another one is", attrs...)
}

// CredentialFault reports a file that has changed and cannot be used.
func (e *events) CredentialFault(ctx context.Context, err error) {
	e.log.ErrorContext(ctx, "msauth: the file of a credential cannot be used; what it held before stays in use", "event", "credential_fault", "err", err)
}

// CredentialChanged reports a file that has changed and holds a new credential.
func (e *events) CredentialChanged(ctx context.Context, name string, until time.Time) {
	attrs := []any{"event", "credential_changed", "credential", name}
	if !until.IsZero() {
		attrs = append(attrs, "ends", until.UTC())
	}
	e.log.InfoContext(ctx, "msauth: new credential", attrs...)
}

// CredentialEnds reports a certificate that ends soon.
func (e *events) CredentialEnds(ctx context.Context, name string, until time.Time) {
	e.log.WarnContext(ctx, "msauth: a credential ends soon; register another one", "event", "credential_ends", "credential", name, "ends", until.UTC())
}

// SharedFails reports that Config.Shared fails: until it works again, this process
// is alone.
func (e *events) SharedFails(err error) {
	e.Weaken(context.Background(), weakShared, "", untilMended, err)
}

func (e *events) SharedWorks() { e.Mend(context.Background(), weakShared, "") }

// SharedUnread reports that requests are served although it is not known yet which
// sessions have ended.
func (e *events) SharedUnread() {
	e.log.Warn("msauth: requests are served before the log of ended sessions is read", "event", "shared_unread")
}

// SharedLost reports that Config.Shared has lost what it had.
func (e *events) SharedLost() {
	e.log.Warn("msauth: Config.Shared has lost its memory; what the processes know is published again", "event", "shared_lost")
}

// SharedUnreadable reports entries of the log that are ignored.
func (e *events) SharedUnreadable(entries int) {
	e.log.Warn("msauth: entries of the log of ended sessions cannot be read: sealed with a key that this process lacks, or altered", "event", "shared_unreadable", "entries", entries)
}

// SharedDropped reports that other processes will not hear of something.
func (e *events) SharedDropped() {
	e.count(func(s *Stats) { s.SharedDropped++ })
}

// Entries of Stats.Degraded; package renew has the others.
const (
	weakCredential = "credential unusable" // #nosec G101 -- a text for operators
	weakLast       = "last credential: "

	weakPaused   = "renewals paused"
	weakSessions = "session store fails"
	weakKeys     = "key files fail"
	weakShared   = "shared state fails"
)

// storeWeakFor is how long a failure of Config.Store counts as a weakness: short,
// because every request tries the store again.
const storeWeakFor = 1 * time.Minute

// untilMended makes a weakness last until somebody mends it.
const untilMended = time.Duration(0)

// A weakness is an entry of Stats.Degraded.
type weakness struct {
	about string // if set, only a success of the same thing ends it
	since time.Time
	timer *time.Timer // nil if it lasts until it is mended
}

// Weaken records a weakness for the given time, and logs its beginning unless
// err is nil because another line has reported it.
func (e *events) Weaken(ctx context.Context, what, about string, lasts time.Duration, err error) {
	e.mu.Lock()
	w := e.weak[what]
	if w != nil {
		if w.about = about; w.timer != nil {
			w.timer.Reset(lasts)
		}
	} else {
		if e.weak == nil {
			e.weak = map[string]*weakness{}
		}
		w = &weakness{about: about, since: time.Now()}
		if ctx := context.WithoutCancel(ctx); lasts != untilMended {
			w.timer = time.AfterFunc(lasts, func() { e.Mend(ctx, what, "") })
		}
		e.weak[what] = w
		if err != nil {
			defer e.log.WarnContext(ctx, "msauth: degraded", "event", "degraded", "what", what, "err", err)
		}
	}
	e.mu.Unlock()
}

// Mend ends a weakness, if there is one. If about is set, it must be the same.
func (e *events) Mend(ctx context.Context, what, about string) {
	e.mu.Lock()
	w := e.weak[what]
	if w == nil || about != "" && w.about != about {
		e.mu.Unlock()
		return
	}
	delete(e.weak, what)
	if w.timer != nil {
		w.timer.Stop()
	}
	e.mu.Unlock()
	e.log.InfoContext(ctx, "msauth: no longer degraded", "event", "degraded_end", "what", what, "duration", time.Since(w.since))
}

// degraded returns Stats.Degraded. The caller holds e.mu.
func (e *events) degraded() (list []string) {
	if e.stats.Paused {
		list = append(list, weakPaused)
	}
	for what := range e.weak {
		list = append(list, what)
	}
	slices.Sort(list)
	return list
}

// calm is the app's log handler, made safe to call: if it panics, only the log
// line is lost.
type calm struct{ handler slog.Handler }

// Enabled implements [slog.Handler].
func (c calm) Enabled(ctx context.Context, level slog.Level) bool {
	defer survive()
	return c.handler.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (c calm) Handle(ctx context.Context, r slog.Record) error {
	defer survive()
	return c.handler.Handle(ctx, publicRecord(r))
}

// WithAttrs implements [slog.Handler].
func (c calm) WithAttrs(attrs []slog.Attr) (next slog.Handler) {
	defer survive()
	next = c
	return calm{c.handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (c calm) WithGroup(name string) (next slog.Handler) {
	defer survive()
	next = c
	return calm{c.handler.WithGroup(name)}
}

func survive() { _ = recover() }

// publicRecord returns r with its errors as made by public.
func publicRecord(r slog.Record) slog.Record {
	own := true
	r.Attrs(func(a slog.Attr) bool {
		_, own = publicAttr(a)
		return own
	})
	if own {
		return r
	}
	made := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		seen, _ := publicAttr(a)
		made.AddAttrs(seen)
		return true
	})
	return made
}

// publicAttr returns a with its error as made by public, and whether it is
// unchanged.
func publicAttr(a slog.Attr) (seen slog.Attr, same bool) {
	if err, ok := a.Value.Any().(error); ok {
		if seen, another := publicly(err); another {
			return slog.Any(a.Key, seen), false
		}
	}
	return a, true
}
