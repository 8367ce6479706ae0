package msauth

import (
	"log/slog"
	"maps"
	"sync"
	"time"
)

// events is where everything worth knowing is reported: one log line with a
// stable "event" attribute, and a counter.
type events struct {
	log *slog.Logger

	mu    sync.Mutex
	stats Stats
}

// Stats counts what a Middleware has done since it was made, for metrics.
type Stats struct {
	// SignIns counts sessions made, SignOuts those that people ended.
	SignIns, SignOuts uint64
	// SignInsRefused counts sign-ins that ended on a page instead, or could
	// not begin.
	SignInsRefused uint64
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
}

// Stats returns the counts as they are now.
func (m *Middleware) Stats() Stats {
	m.events.mu.Lock()
	defer m.events.mu.Unlock()
	s := m.events.stats
	s.RenewalsFailed = maps.Clone(s.RenewalsFailed)
	return s
}

func (e *events) count(f func(*Stats)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(&e.stats)
}

func (e *events) signedIn(rec *record) {
	e.count(func(s *Stats) { s.SignIns++ })
	e.log.Info("msauth: signed in", "event", "sign_in", "user", rec.user.Key())
}

func (e *events) connected(rec *record) {
	e.log.Info("msauth: account connected", "event", "connected", "user", rec.user.Key())
}

func (e *events) signedOut(rec *record) {
	e.count(func(s *Stats) { s.SignOuts++ })
	e.log.Info("msauth: signed out", "event", "sign_out", "user", rec.user.Key())
}

func (e *events) sessionEnded(rec *record, err *AuthError) {
	defer survive()
	e.count(func(s *Stats) { s.SessionsEnded++ })
	e.log.Info("msauth: session ended by the provider", "event", "session_ended", "user", rec.user.Key(), "err", err)
}

// survive is deferred where a Logger that panics must not be the loss of tokens.
func survive() { _ = recover() }

// renewed and renewalFailed report one token request each. Those for other APIs
// do not count: a handler can ask for what does not exist. The reason is "due",
// "expired", "asked" (by a handler that outlasted its token), "other scopes" or
// "rejected" (by an API).
func (e *events) renewed(rec *record, want renewal, took time.Duration) {
	defer survive()
	if want.wish.scopes == "" {
		e.count(func(s *Stats) { s.Renewals++; s.RenewalTime += took })
	}
	e.log.Debug("msauth: tokens renewed", "event", "renewal", "user", rec.user.Key(),
		"reason", want.reason, "duration", took, "outcome", "renewed")
}

func (e *events) renewalFailed(rec *record, want renewal, took time.Duration, err *AuthError) {
	defer survive()
	if want.wish.scopes == "" {
		e.count(func(s *Stats) {
			if s.RenewalsFailed == nil {
				s.RenewalsFailed = map[Class]uint64{}
			}
			s.RenewalsFailed[err.Class]++
		})
	}
	e.log.Info("msauth: tokens not renewed", "event", "renewal", "user", rec.user.Key(),
		"reason", want.reason, "duration", took, "outcome", string(err.Class), "err", err)
}

func (e *events) paused(err *AuthError) {
	defer survive()
	e.count(func(s *Stats) { s.Paused = true })
	e.log.Warn("msauth: renewals pause: the provider fails", "event", "renewal_pause", "err", err)
}

func (e *events) resumed() {
	defer survive()
	e.count(func(s *Stats) { s.Paused = false })
	e.log.Info("msauth: renewals go on: the provider answers", "event", "renewal_resume")
}

// troubled reports what an operator must mend.
func (e *events) troubled(err *AuthError) {
	defer survive()
	e.log.Error("msauth: the provider refuses this app; people stay signed in, but no tokens can be had",
		"event", "app_misconfigured", "err", err, "aadsts", err.Numbers, "trace_id", err.TraceID, "correlation_id", err.CorrelationID)
}
