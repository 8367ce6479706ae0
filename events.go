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

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// calm is the app's log handler where its panics are the loss of a line, and of
// nothing that was to be done after it.
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

// publicRecord is a record whose errors are those that an app sees elsewhere.
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

// publicAttr is an attribute as an app sees it, and whether it is the one given.
func publicAttr(a slog.Attr) (seen slog.Attr, same bool) {
	if err, ok := a.Value.Any().(error); ok {
		if seen, another := publicly(err); another {
			return slog.Any(a.Key, seen), false
		}
	}
	return a, true
}

var _ renew.Observer = (*events)(nil)

// events is where everything worth knowing is reported: one log line with a
// stable "event" attribute, and a counter.
type events struct {
	log *slog.Logger

	mu    sync.Mutex
	stats Stats
	weak  map[string]*weakness

	misused []error // handlers that are closed to everybody
}

// Stats counts what a Middleware has done since it was made, for metrics.
type Stats struct {
	// SignIns counts sessions made, SignOuts those that people ended.
	SignIns, SignOuts uint64
	// SignInsRefused counts sign-ins that ended on a page instead, or could
	// not begin.
	SignInsRefused uint64
	// Refused counts refusals by their kind: of sign-ins, by handlers under
	// [Middleware.RequireRole] and its kin, and by [Middleware.Connect]. The
	// kinds are
	//
	//	on_sign_in     Config.OnSignIn returned an error
	//	tenant         AllowedTenants or RequireTenant does not admit the account
	//	role, group    RequireRole, RequireGroup
	//	scope          RequireScopes, Challenge: Microsoft was asked in vain
	//	fresh_sign_in  RequireFreshSignIn: credentials were entered too long ago
	//	auth_context   RequireAuthContext: Microsoft was asked in vain
	//	claims         a claims challenge, or Challenge without one, likewise
	//	provider       Microsoft does not give this account to the app
	//	connect        Connect: a form of another site, or nobody, or somebody
	//	               else, is signed in to the app
	//	account_taken  Connect: the account, or the user, is connected already
	//	junk           calls of BaseURL + "/callback" without a state, or with a
	//	               malformed query: by nobody who has come from Microsoft
	//	foreign_state  such calls with a state that looks like one of ours and
	//	               does not open: of another app, altered, over a day old, or
	//	               sealed with a key that this server lacks
	Refused map[string]uint64
	// SessionsEnded counts the times that Microsoft refused to renew a
	// session for good: revoked, disabled, password changed.
	SessionsEnded uint64
	// Renewals counts token requests that renewed a session's tokens, and
	// RenewalTime adds up how long these took.
	Renewals    uint64
	RenewalTime time.Duration
	// RenewalsFailed counts those that did not, by class.
	RenewalsFailed map[Class]uint64
	// Paused is whether renewals are paused because Microsoft fails.
	Paused bool
	// Degraded lists what does not work while people can sign in, in order:
	//
	//	renewals paused           because Microsoft fails
	//	client secret suspected   a code was refused with invalid_client, and it
	//	                          is not known yet whether by the visitor's doing
	//	tokens of an API refused  Microsoft refuses the app, not the person, a
	//	                          token for another API than that of Scopes
	//	token store fails         Config.Tokens
	//	session store fails       Config.Store
	//	app misconfigured         Microsoft refuses the app: Ready fails too
	//
	// What is not seen again goes after ten minutes, a failing Config.Store
	// after one.
	Degraded []string
}

// Stats returns the counts as they are now.
func (m *Middleware) Stats() Stats {
	m.events.mu.Lock()
	defer m.events.mu.Unlock()
	s := m.events.stats
	s.RenewalsFailed = maps.Clone(s.RenewalsFailed)
	s.Refused = maps.Clone(s.Refused)
	s.Degraded = m.events.degraded()
	return s
}

func (e *events) count(f func(*Stats)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(&e.stats)
}

// refused counts a refusal. It returns what the log line says of it: its kind,
// the page that was wanted, without its query, and whom it is about, if known.
func (e *events) refused(kind string, u *provider.Account, page string) []any {
	e.count(func(s *Stats) {
		if s.Refused == nil {
			s.Refused = map[string]uint64{}
		}
		s.Refused[kind]++
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

func (e *events) SessionEnded(ctx context.Context, user string, err *provider.Failure) {
	e.count(func(s *Stats) { s.SessionsEnded++ })
	e.log.InfoContext(ctx, "msauth: session ended by the provider", "event", "session_ended", "user", user, "err", err)
}

// Renewed and renewalFailed report one token request each. Those for other APIs
// do not count: a handler can ask for what does not exist. The reason is "due",
// "expired", "asked" (by a handler that outlasted its token), "other scopes" or
// "rejected" (by an API).
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

// StoreFailed reports that a store of the app's fails.
func (e *events) StoreFailed(ctx context.Context, what string, err error) {
	attrs := []any{"err", err}
	if what == "token store" {
		attrs = append([]any{"event", "token_store_failed"}, attrs...)
	}
	e.log.ErrorContext(ctx, "msauth: the "+what+" fails", attrs...)
}

func (e *events) Paused(ctx context.Context, err *provider.Failure) {
	e.count(func(s *Stats) { s.Paused = true })
	e.log.WarnContext(ctx, "msauth: renewals pause: the provider fails", "event", "renewal_pause", "err", err)
}

func (e *events) Resumed(ctx context.Context) {
	e.count(func(s *Stats) { s.Paused = false })
	e.log.InfoContext(ctx, "msauth: renewals go on: the provider answers", "event", "renewal_resume")
}

// Troubled reports what an operator must mend.
func (e *events) Troubled(ctx context.Context, err *provider.Failure) {
	e.log.ErrorContext(ctx, "msauth: the provider refuses this app; people stay signed in, but no tokens can be had",
		"event", "app_misconfigured", "err", err, "aadsts", err.Numbers, "trace_id", err.TraceID, "correlation_id", err.CorrelationID)
}

// What [Stats.Degraded] can hold beside what renewals tell.
const (
	weakPaused   = "renewals paused"
	weakSessions = "session store fails"
)

const (
	// storeWeakFor is how long a weakness of Config.Store lasts of which nothing
	// more is heard: every request asks it.
	storeWeakFor = 1 * time.Minute
)

// A weakness is what does not work while people can sign in.
type weakness struct {
	about string // the one thing of several, where only its success mends it
	since time.Time
	timer *time.Timer
}

// Weaken notes a weakness for a while, and logs that it begins. err is nil where
// another line has said so.
func (e *events) Weaken(ctx context.Context, what, about string, lasts time.Duration, err error) {
	e.mu.Lock()
	w := e.weak[what]
	if w != nil {
		w.about = about
		w.timer.Reset(lasts)
	} else {
		if e.weak == nil {
			e.weak = map[string]*weakness{}
		}
		w = &weakness{about: about, since: time.Now()}
		ctx := context.WithoutCancel(ctx)
		w.timer = time.AfterFunc(lasts, func() { e.Mend(ctx, what, "") })
		e.weak[what] = w
		if err != nil {
			defer e.log.WarnContext(ctx, "msauth: degraded", "event", "degraded", "what", what, "err", err)
		}
	}
	e.mu.Unlock()
}

// Mend ends a weakness, if there is one, about whatever it is or about the same.
func (e *events) Mend(ctx context.Context, what, about string) {
	e.mu.Lock()
	w := e.weak[what]
	if w == nil || about != "" && w.about != about {
		e.mu.Unlock()
		return
	}
	delete(e.weak, what)
	w.timer.Stop()
	e.mu.Unlock()
	e.log.InfoContext(ctx, "msauth: no longer degraded", "event", "degraded_end", "what", what, "duration", time.Since(w.since))
}

// degraded lists what is weak now. Its caller holds the lock.
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
