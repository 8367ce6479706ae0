package msauth

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// A SessionStatus says how a browser stands towards this site. The values are the
// texts that the Live SDK's library for scripts used.
type SessionStatus string

const (
	// StatusUnknown: nobody is signed in, and more is not known.
	StatusUnknown SessionStatus = "unknown"
	// StatusConnected: somebody is signed in, and has granted the scopes that were
	// asked about.
	StatusConnected SessionStatus = "connected"
	// StatusNotConnected: the person has just come back from Microsoft without
	// granting what was asked for, or the session lacks scopes that were asked about.
	StatusNotConnected SessionStatus = "notConnected"
	// StatusExpired: the browser has brought a session that is over, or that
	// Microsoft wants another sign-in for. The next request may say StatusUnknown.
	StatusExpired SessionStatus = "expired"
)

// Status returns the status of a request, for pages that branch on it as those of the
// Live SDK did (LiveConnectSessionStatus). If scopes are given, a session that lacks one
// of them is StatusNotConnected. The handler must be inside [Middleware.Load] or
// [Middleware.Require]: elsewhere the status is StatusUnknown.
//
// It is StatusNotConnected for 20 seconds after somebody has declined at Microsoft a
// sign-in with [LoginOptions.ReturnDeclined], or until Require has said so.
func (m *Middleware) Status(r *http.Request, scopes ...string) SessionStatus {
	a := attachedBy(r.Context(), m)
	if a == nil {
		return StatusUnknown
	}
	switch v := a.visit; {
	case v.session != nil && v.rec.StepUp:
		return StatusExpired
	case v.session != nil && slices.ContainsFunc(scopes, func(scope string) bool { return !v.session.HasScope(scope) }):
		return StatusNotConnected
	case v.session != nil:
		return StatusConnected
	case v.expired:
		return StatusExpired
	case v.declined:
		return StatusNotConnected
	}
	return StatusUnknown
}

// Values of the cookie markerName.
const (
	markSignedIn = "1"
	markDeclined = "0"
)

// sentDeclined reports whether the person has declined a sign-in a moment ago.
func (m *Middleware) sentDeclined(r *http.Request) bool {
	return slices.Equal(session.CookieValues(r.Header, m.markerName()), []string{markDeclined})
}

// backDeclined leads somebody who has declined at Microsoft back to the page that asked
// for it.
func (m *Middleware) backDeclined(w http.ResponseWriter, r *http.Request, a *session.Attempt, failure *provider.Failure) {
	m.events.count(func(s *Stats) { s.SignInsRefused++ })
	noteEnding(r.Context(), failure)
	m.report(r, slog.LevelInfo, Page{Kind: "declined", Err: failure}, "event", "sign_in_refused")
	m.setMarker(w, markDeclined)
	a.Kept = false // continue is for those who have a session of this attempt
	m.leadOn(w, r, a, m.returnPath(a.ReturnTo))
}

var errDeclined = errors.New("the sign-in was declined at Microsoft a moment ago")

// declinedPage is what Require shows to somebody who has just declined to sign in,
// because Microsoft would ask the same again. d is what a sign-in must meet.
func (m *Middleware) declinedPage(w http.ResponseWriter, r *http.Request, d provider.Requirement) {
	m.clearMarker(w) // who comes once more means it
	m.fail(w, r, slog.LevelInfo, Page{
		Kind: "declined", Status: http.StatusForbidden,
		TextID: "cancelled-before",
		Links:  []Link{{URL: m.loginURL(LoginOptions{ReturnTo: web.RequestPath(r)}, d), TextID: "sign-in"}, m.home()},
		Err:    errDeclined,
	})
}

// declinedMorePage is the same for somebody who is signed in, on a page that needs more.
func (m *Middleware) declinedMorePage(w http.ResponseWriter, r *http.Request, rec *session.Record, d provider.Requirement) {
	p := Page{Kind: "declined", Status: http.StatusForbidden, Err: errDeclined}
	m.declinedMore(&p, &session.Attempt{}, &provider.Failure{})
	p.Links[0].URL = m.loginURL(LoginOptions{ReturnTo: web.RequestPath(r)}, d)
	kind, _ := missing(d)
	m.fail(w, r, slog.LevelInfo, p, m.accessRefused(r, kind, rec)...)
}
