package msauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

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

// loopPage stands in for the second round of a loop. again is the link that signs
// in all the same.
func (m *Middleware) loopPage(w http.ResponseWriter, r *http.Request, again string) {
	m.clearMarker(w) // it may have been planted, for longer than ours last
	m.fail(w, r, slog.LevelError, Page{
		Kind: "loop", Status: http.StatusBadRequest,
		Title: "Signing in worked, but did not last",
		Text:  "Microsoft signed you in, but your browser came back without the session. Cookies may be blocked or too large for something on the way, or the servers of this site may not agree on their keys. Trying again may help; if it does not, tell the people who run this site.",
		Links: []Link{{URL: again, Label: "Try again"}, {URL: m.cfg.Home, Label: "Home page"}},
		Err:   errors.New("signed in seconds ago, yet no session came back: was the cookie dropped or cut by a proxy or the browser, do all instances have the same Keys, is the site open under the host of BaseURL?"),
	}, "host", web.OneLine(r.Host, 200), "base_url", m.cfg.BaseURL, "cookie_bytes", len(strings.Join(r.Header["Cookie"], "")))
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

// inVain tells a person that Microsoft was asked and the handler is still not
// content.
func (m *Middleware) inVain(w http.ResponseWriter, r *http.Request, rec *session.Record, d provider.Requirement) {
	kind, what := missing(d)
	attrs := m.accessRefused(r, kind, rec)
	again := m.loginURL(LoginOptions{ReturnTo: m.askedPage(r)}, d)
	if len(d.Scopes) > 0 {
		m.deny(w, r, slog.LevelInfo, Page{
			Kind: "not-granted", Status: http.StatusForbidden,
			Title: "This page needs more permissions",
			Text:  "Microsoft was asked for them and has not given all. You are still signed in, and everything else works as before. You can be asked once more, or an administrator of your organization may have to agree.",
			Links: []Link{{URL: again, Label: "Ask me again"}, {URL: m.cfg.Home, Label: "Home page"}},
			Err:   errors.New(what),
		}, attrs...)
		return
	}
	m.deny(w, r, slog.LevelWarn, Page{
		Kind: "not-enough", Status: http.StatusForbidden,
		Title: "You are signed in, but that was not enough",
		Text:  "This page needs a stronger sign-in than Microsoft gave, though it was asked for one just now. You are still signed in, and everything else works as before. If it stays like that, tell the people who run this site.",
		Links: []Link{
			{URL: again, Label: "Sign in again"},
			{URL: m.LoginURL(LoginOptions{ReturnTo: m.askedPage(r), Prompt: "select_account"}), Label: "Use another account"},
			{URL: m.cfg.Home, Label: "Home page"},
		},
		Err: errors.New(what + ", right after a sign-in that was to bring it"),
	}, attrs...)
}

// waitPage leads to the third sign-in within seconds, and to those after it,
// at a slower pace: a fast person is not stopped, and a loop is.
func (m *Middleware) waitPage(w http.ResponseWriter, r *http.Request, target string) {
	m.log.InfoContext(r.Context(), "msauth: signed in twice within seconds, and sent to sign in once more", "wait", waitBefore)
	m.showPage(w, r, Page{
		Kind: "wait", Status: http.StatusOK,
		Title:   "Signing in again",
		Text:    fmt.Sprintf("You have signed in several times within a few seconds. Signing in continues by itself in %d seconds.", waitBefore/time.Second),
		Links:   []Link{{URL: target, Label: "Continue now"}, {URL: m.cfg.Home, Label: "Home page"}},
		Refresh: waitBefore,
	})
}

// againPage stands in for one more sign-in after many within seconds: a page of
// the app asks for one, whoever is signed in.
func (m *Middleware) againPage(w http.ResponseWriter, r *http.Request, returnTo string) {
	m.deny(w, r, slog.LevelWarn, Page{
		Kind: "loop", Status: http.StatusBadRequest,
		Title: "You are signed in, but that was not enough",
		Text:  "A page of this site sent you to sign in again right after you had. Another account may help; if it does not, tell the people who run this site.",
		Links: []Link{{URL: m.LoginURL(LoginOptions{ReturnTo: returnTo, Prompt: "select_account"}), Label: "Use another account"}, {URL: m.cfg.Home, Label: "Home page"}},
		Err:   errors.New("signed in many times, each within seconds of the one before, and sent to sign in once more: does a handler ask for that whenever it gets no token?"),
	})
}
