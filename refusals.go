package msauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// refuse ends a sign-in with a page.
func (m *Middleware) refuse(w http.ResponseWriter, r *http.Request, level slog.Level, p Page, attrs ...any) {
	m.events.count(func(s *Stats) { s.SignInsRefused++ })
	noteEnding(r.Context(), p.Err) // which every page of a refusal has
	m.fail(w, r, level, p, append(attrs, "event", "sign_in_refused")...)
}

// againLink returns the link to start an attempt again. Connecting an account
// starts on a page of the app.
func (m *Middleware) againLink(a *session.Attempt) Link {
	if a.User != "" {
		return Link{URL: a.ReturnTo, TextID: "back"}
	}
	if a.Unseen {
		return Link{URL: m.retryURL(a.ReturnTo), TextID: "start-again"}
	}
	return Link{URL: m.LoginURL(LoginOptions{ReturnTo: a.ReturnTo}), TextID: "start-again"}
}

func (m *Middleware) startAgain(w http.ResponseWriter, r *http.Request, a *session.Attempt, err error) {
	level, attrs := slog.LevelWarn, []any(nil)
	if a.ID == (session.AttemptID{}) { // no state of ours: anybody can send that, as often as they like
		if ans, bad := readAnswer(r); bad == nil && seal.LooksSealed(ans.state) {
			m.foreignState(w, r, a)
			return
		}
		level, attrs = slog.LevelInfo, m.events.refused("junk", nil, web.RequestPath(r))
	}
	m.refuse(w, r, level, Page{
		Kind: "start-again", Status: http.StatusBadRequest,
		TextID: "start-again",
		Links:  []Link{m.againLink(a), m.home()},
		Err:    err,
	}, attrs...)
}

// foreignState answers a state that looks like one of ours but cannot be
// decrypted.
func (m *Middleware) foreignState(w http.ResponseWriter, r *http.Request, a *session.Attempt) {
	m.refuse(w, r, slog.LevelInfo, Page{
		Kind: "start-again", Status: http.StatusBadRequest,
		TextID: "other-keys",
		Links:  []Link{m.againLink(a)},
		Err:    errForeignState,
	}, m.events.refused("foreign_state", nil, web.RequestPath(r))...)
}

var errForeignState = fmt.Errorf("%w: altered, over a day old, or sealed with a key that this server lacks (do all servers have the same Keys? compare key_ids of the event start)", session.ErrState)

// unbound answers a callback whose attempt this browser does not have, or no
// longer has.
func (m *Middleware) unbound(w http.ResponseWriter, r *http.Request, a *session.Attempt, wrong bool) {
	if rec := m.current(r); rec != nil && rec.Attempt == a.ID {
		web.Redirect(w, a.ReturnTo) // the back button, or a double click
		return
	}
	if !wrong && a.User != "" && m.attempts.Over(a.ID) {
		web.Redirect(w, m.returnPath(a.ReturnTo)) // a double click: the app's page says how it ended
		return
	}
	host := web.OneLine(r.Host, 100)
	began := a.Host
	if began == "" {
		began = m.base.Host
	}
	a.Unseen = !wrong
	links := []Link{m.againLink(a), m.home()}
	switch {
	case !wrong && a.Host != "" && !strings.EqualFold(began, host):
		text, args := "wrong-host", map[string]string{"address": m.base.Scheme + "://" + m.base.Host}
		if web.IsLoopback(m.base.Hostname()) { // elsewhere anybody may have chosen the Host header
			text, args["from"] = "wrong-host-from", began
		}
		m.refuse(w, r, slog.LevelWarn, Page{
			Kind: "wrong-host", Status: http.StatusBadRequest,
			TextID: text, Args: args,
			Links: links,
			Err:   fmt.Errorf("msauth: sign-in began on %s://%s but BaseURL is %s", m.base.Scheme, began, m.cfg.BaseURL),
		})
	case !wrong && a.Retried && !m.sentOwn(r) && !m.attempts.Over(a.ID):
		m.refuse(w, r, slog.LevelInfo, Page{
			Kind: "cookies-blocked", Status: http.StatusBadRequest,
			TextID: "cookies-blocked",
			Links:  links,
			Err:    errors.New("msauth: no cookie of this attempt, nor any other, for the second time"),
		})
	case !wrong && len(r.Header["Cookie"]) == 0 && !m.attempts.Over(a.ID):
		m.refuse(w, r, slog.LevelInfo, Page{
			Kind: "start-again", Status: http.StatusBadRequest,
			TextID: "start-here",
			Links:  links[:1],
			Err:    errors.New("msauth: no cookie of this attempt, nor any other: it was begun elsewhere, or cookies are blocked"),
		})
	default:
		m.startAgain(w, r, a, errors.New("msauth: no cookie of this attempt: it was begun in another browser, finished before, or too many were begun since"))
	}
}

// sentOwn reports whether a request carries any cookie of this Middleware.
func (m *Middleware) sentOwn(r *http.Request) bool {
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			if rest, ok := strings.CutPrefix(strings.Trim(part, " \t"), m.cookies.Name); ok && (strings.HasPrefix(rest, "=") || strings.HasPrefix(rest, "-")) {
				return true
			}
		}
	}
	return false
}

// answeredWithError turns an error response (OpenID Connect Core section
// 3.1.2.6) into a page, never into a redirect, which would get the same error.
func (m *Middleware) answeredWithError(w http.ResponseWriter, r *http.Request, a *session.Attempt, ans answer) {
	failure := &provider.Failure{
		Code:        web.OneLine(ans.err, 100),
		Description: web.OneLine(ans.description, 500),
		Class:       provider.ClassifyAnswer(ans.err, ans.subcode),
	}
	failure.Numbers = provider.AADSTSNumbers(failure.Description)
	if slices.Contains(failure.Numbers, 50105) || slices.Contains(failure.Numbers, 90072) {
		m.notAllowed(w, r, a, failure, "provider", m.currentUser(r)) // the same refusal, with a better text
		return
	}
	p := Page{Status: http.StatusBadRequest, Links: []Link{m.againLink(a), m.home()}, Err: failure}
	level := slog.LevelInfo
	switch failure.Class {
	case provider.Declined:
		// An administrator who has to approve, or a verification that failed, needs
		// the page below.
		if a.ReturnDeclined && !slices.Contains(failure.Numbers, 90094) && !slices.Contains(failure.Numbers, 500121) {
			m.backDeclined(w, r, a, failure)
			return
		}
		p.Kind, p.Status = "declined", http.StatusForbidden
		current := m.current(r)
		if a.Asked != (provider.RequirementDigest{}) && current != nil {
			m.declinedMore(&p, a, failure)
			break
		}
		p.TextID = "cancelled"
		p.Links[0].TextID = "sign-in"
		if current != nil {
			p.TextID = "cancelled-signed-in"
		}
		if a.User != "" {
			p.TextID = "connect-cancelled"
			p.Links[0] = m.againLink(a)
		}
	case provider.Retry:
		p.Kind = "unavailable"
		p.TextID = "microsoft-trouble"
		level = slog.LevelWarn
	case provider.Replay:
		p.Kind = "start-again"
		p.TextID = "not-finished"
	default:
		p.Kind = "app-error"
		p.TextID = "rejected"
		level = slog.LevelWarn // not Error: the browser may have made it up
	}
	m.refuse(w, r, level, p, "aadsts", failure.Numbers)
}

// declinedMore is the page for people who are signed in and declined, or
// failed, an additional requirement.
func (m *Middleware) declinedMore(p *Page, a *session.Attempt, failure *provider.Failure) {
	p.TextID = "not-approved"
	p.Links = []Link{{URL: a.ReturnTo, TextID: "ask-again"}, m.home()}
	switch { // only for the text: Microsoft advises against relying on error numbers
	case slices.Contains(failure.Numbers, 90094):
		p.TextID = "needs-administrator"
		slices.Reverse(p.Links)
	case slices.Contains(failure.Numbers, 500121):
		p.TextID = "verification-failed"
	}
}

// asBefore returns the text that says, after a sign-in that failed, whether the person is
// signed in.
func (m *Middleware) asBefore(r *http.Request, text string) string {
	if m.current(r) == nil {
		return text
	}
	return text + "-signed-in"
}

// notRedeemed answers a code that gave no tokens.
func (m *Middleware) notRedeemed(w http.ResponseWriter, r *http.Request, a *session.Attempt, failure *provider.Failure) {
	switch failure.Class {
	case provider.Retry:
		m.unavailable(w, r, a, failure)
	case provider.StepUp:
		if failure.Claims != "" && !a.Challenged {
			noteEnding(r.Context(), failure)
			m.log.InfoContext(r.Context(), "msauth: code refused with a claims challenge: signing in again with these claims", "err", failure)
			m.begin(w, r, authorizeOptions{
				returnTo: a.ReturnTo, appState: a.AppState, user: a.User, rounds: a.Rounds, returnDeclined: a.ReturnDeclined,
				requirement: provider.Requirement{Scopes: strings.Fields(a.Scopes), Claims: provider.MergeClaims(provider.ContextClaims(a.Contexts), failure.Claims), MaxAge: a.MaxAge},
				challenged:  true, asked: a.Asked, first: a.Began(), goesOn: m.current(r) != nil,
			})
			return
		}
		m.refuse(w, r, slog.LevelInfo, Page{
			Kind: "not-enough", Status: http.StatusForbidden,
			TextID: m.asBefore(r, "requires-more"),
			Links:  []Link{m.againLink(a), m.home()},
			Err:    failure,
		}, append(m.events.refused("provider", m.currentUser(r), a.ReturnTo), "aadsts", failure.Numbers)...)
	case provider.Misconfigured:
		// A visitor can cause other errors with a made-up code. If the
		// redirect URI is registered for the wrong platform, no code has ever
		// been redeemed.
		wrongPlatform := slices.Contains(failure.Numbers, provider.SpaPlatform) && !m.redeemed.Load()
		if failure.Code != "" && failure.Code != "invalid_client" && failure.Code != "unauthorized_client" && !wrongPlatform {
			m.startAgain(w, r, a, failure)
			return
		}
		if m.renewals.Bound(failure) {
			m.notAllowed(w, r, a, failure, "provider", m.currentUser(r))
			return
		}
		if failure.Code == "invalid_client" && !wrongPlatform {
			m.renewals.Suspect(r.Context(), failure)
		} else {
			m.renewals.ReportTrouble(r.Context(), failure)
		}
		m.appError(w, r, failure)
	default:
		m.startAgain(w, r, a, failure)
	}
}

// withoutIDToken ends a sign-in whose token response has no ID token.
func (m *Middleware) withoutIDToken(in *arrival) {
	m.refuse(in.w, in.r, slog.LevelError, Page{
		Kind: "unavailable", Status: http.StatusBadGateway,
		TextID: "incomplete-answer",
		Links:  []Link{m.againLink(in.attempt), m.home()},
		Err:    fmt.Errorf("msauth: the token response holds no %s, although the scope %s was requested", m.identityToken(), m.scopes.SignIn[0]),
	})
}

// untrueIDToken ends a sign-in whose ID token is not valid.
func (m *Middleware) untrueIDToken(in *arrival, err error) {
	m.refuse(in.w, in.r, slog.LevelError, Page{
		Kind: "start-again", Status: http.StatusBadRequest,
		TextID: "unverified-answer",
		Links:  []Link{m.againLink(in.attempt), m.home()},
		Err:    err,
	})
}

func (m *Middleware) notAllowed(w http.ResponseWriter, r *http.Request, a *session.Attempt, err error, kind string, u *provider.Account) {
	p := Page{
		Kind: "not-allowed", Status: http.StatusForbidden,
		TextID: "not-allowed",
		Links: []Link{
			{URL: m.LoginURL(LoginOptions{ReturnTo: a.ReturnTo, Prompt: "select_account"}), TextID: "other-account"},
			{URL: m.LogoutURL(), TextID: "sign-out"},
		},
		Err: err,
	}
	if a.User != "" {
		p.TextID = "connect-not-allowed"
		p.Links = []Link{m.againLink(a), m.home()}
	}
	m.refuse(w, r, slog.LevelInfo, p, m.events.refused(kind, u, a.ReturnTo)...)
}

// noAuthTime ends a sign-in that must prove when credentials were entered and
// cannot.
func (m *Middleware) noAuthTime(w http.ResponseWriter, r *http.Request, a *session.Attempt, id *provider.Identity) {
	m.refuse(w, r, slog.LevelError, Page{
		Kind: "no-auth-time", Status: http.StatusForbidden,
		TextID: m.asBefore(r, "no-auth-time"),
		Links:  []Link{m.home()},
		Err:    errors.New("msauth: ID token: auth_time is missing: add it as an optional claim to the app registration"),
	}, m.events.refused("fresh_sign_in", &id.User, a.ReturnTo)...)
}

// notAskedAgain ends a sign-in for which credentials had to be entered, and
// were not. p has the links before that to the home page, and the reason.
func (m *Middleware) notAskedAgain(w http.ResponseWriter, r *http.Request, a *session.Attempt, id *provider.Identity, p Page) {
	p.Kind, p.Status, p.TextID = "not-enough", http.StatusForbidden, m.asBefore(r, "not-asked-again")
	p.Links = append(p.Links, m.home())
	m.refuse(w, r, slog.LevelWarn, p, m.events.refused("fresh_sign_in", &id.User, a.ReturnTo)...)
}

// notKept ends a sign-in whose tokens could not be stored in Config.Tokens.
func (m *Middleware) notKept(w http.ResponseWriter, r *http.Request, a *session.Attempt, u *provider.Account, err error) {
	p := Page{
		Kind: "account-taken", Status: http.StatusForbidden,
		Links: []Link{{URL: a.ReturnTo, TextID: "back"}, m.home()}, Err: err,
	}
	switch {
	case errors.Is(err, renew.ErrAccountTaken):
		p.TextID = "already-connected"
	case errors.Is(err, renew.ErrOtherAccount):
		p.TextID = "other-connected"
	case errors.Is(err, renew.ErrUserKey):
		m.appError(w, r, err)
		return
	case errors.Is(err, session.ErrTooLarge):
		m.tooLarge(w, r, err)
		return
	default:
		p.Kind, p.Status = "unavailable", http.StatusServiceUnavailable
		p.TextID = "not-saved"
		m.refuse(w, r, slog.LevelError, p)
		return
	}
	m.refuse(w, r, slog.LevelInfo, p, m.events.refused("account_taken", u, a.ReturnTo)...)
}

// notMade ends a sign-in whose session could not be written.
func (m *Middleware) notMade(in *arrival, err error) {
	if errors.Is(err, session.ErrTooLarge) {
		m.tooLarge(in.w, in.r, err)
		return
	}
	m.refuse(in.w, in.r, slog.LevelError, Page{
		Kind: "unavailable", Status: http.StatusServiceUnavailable,
		TextID: "not-stored",
		Links:  []Link{m.againLink(in.attempt), m.home()},
		Err:    err,
	})
}

func (m *Middleware) tooLarge(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, session.ErrStoreLimit) {
		m.appError(w, r, err)
		return
	}
	m.refuse(w, r, slog.LevelError, Page{
		Kind: "too-large", Status: http.StatusForbidden,
		TextID: "too-large",
		Links:  []Link{m.home()},
		Err:    err,
	})
}

func (m *Middleware) unavailable(w http.ResponseWriter, r *http.Request, a *session.Attempt, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		noteEnding(r.Context(), err)
		return // the browser is gone
	}
	p := Page{
		Kind: "unavailable", Status: http.StatusServiceUnavailable,
		TextID: "unreachable",
		Links:  []Link{m.againLink(a), m.home()},
		Err:    err,
	}
	switch failure, ok := errors.AsType[*provider.Failure](err); {
	case ok && failure.Class == provider.Misconfigured:
		p.TextID = "not-set-up"
	case ok && failure.StatusCode != 0 && failure.StatusCode < http.StatusInternalServerError: // it answered, or a proxy did
		p.TextID = "not-completed"
	}
	w.Header().Set("Retry-After", "10")
	m.refuse(w, r, slog.LevelError, p)
}

func (m *Middleware) appError(w http.ResponseWriter, r *http.Request, err error) {
	attrs := []any{}
	if failure, ok := errors.AsType[*provider.Failure](err); ok {
		attrs = append(attrs, "aadsts", failure.Numbers, "trace_id", failure.TraceID, "correlation_id", failure.CorrelationID)
	}
	m.refuse(w, r, slog.LevelError, Page{
		Kind: "app-error", Status: http.StatusInternalServerError,
		TextID: "not-set-up",
		Links:  []Link{m.home()},
		Err:    err,
	}, attrs...)
}

// loopPage replaces the second redirect of a loop. again is a link to sign in
// anyway.
func (m *Middleware) loopPage(w http.ResponseWriter, r *http.Request, again string) {
	m.clearMarker(w) // somebody else may have set it, to last longer than ours
	m.fail(w, r, slog.LevelError, Page{
		Kind: "loop", Status: http.StatusBadRequest,
		TextID: "did-not-last",
		Links:  []Link{{URL: again, TextID: "try-again"}, m.home()},
		Err:    errors.New("signed in seconds ago, but no session came back: was the cookie dropped or cut by a proxy or the browser, do all instances have the same Keys, is the site open under the host of BaseURL?"),
	}, "host", web.OneLine(r.Host, 200), "base_url", m.cfg.BaseURL, "cookie_bytes", len(strings.Join(r.Header["Cookie"], "")))
}

// waitPage delays the third sign-in within seconds and every later one, which
// slows down a loop without stopping a fast person.
func (m *Middleware) waitPage(w http.ResponseWriter, r *http.Request, target string) {
	m.log.InfoContext(r.Context(), "msauth: signed in twice within seconds, and sent to sign in once more", "wait", waitBefore)
	m.showPage(w, r, Page{
		Kind: "wait", Status: http.StatusOK,
		TextID: "signing-in-again", Args: map[string]string{"seconds": strconv.Itoa(int(waitBefore / time.Second))},
		Links:   []Link{{URL: target, TextID: "continue"}, m.home()},
		Refresh: waitBefore,
	})
}

// againPage replaces one more sign-in after many within seconds: a page of the
// app asks for a sign-in even from people who are signed in.
func (m *Middleware) againPage(w http.ResponseWriter, r *http.Request, returnTo string) {
	m.deny(w, r, slog.LevelWarn, m.keepOn(w, r, Page{
		Kind: "loop", Status: http.StatusBadRequest,
		TextID: "keeps-asking",
		Links:  []Link{{URL: m.LoginURL(LoginOptions{ReturnTo: returnTo, Prompt: "select_account"}), TextID: "other-account"}, m.home()},
		Err:    errors.New("signed in many times, each time within seconds of the last, and sent to sign in once more: does a handler ask for a sign-in whenever it gets no token?"),
	}))
}

// inVain says that a sign-in at Microsoft has just been completed and the
// handler's requirement is still not met.
func (m *Middleware) inVain(w http.ResponseWriter, r *http.Request, rec *session.Record, d provider.Requirement) {
	kind, what := missing(d)
	attrs := m.accessRefused(r, kind, rec)
	again := m.loginURL(LoginOptions{ReturnTo: m.askedPage(r)}, d)
	if len(d.Scopes) > 0 {
		m.deny(w, r, slog.LevelInfo, m.keepOn(w, r, Page{
			Kind: "not-granted", Status: http.StatusForbidden,
			TextID: "more-permissions",
			Links:  []Link{{URL: again, TextID: "ask-again"}, m.home()},
			Err:    errors.New(what),
		}), attrs...)
		return
	}
	m.deny(w, r, slog.LevelWarn, m.keepOn(w, r, Page{
		Kind: "not-enough", Status: http.StatusForbidden,
		TextID: "stronger-sign-in",
		Links: []Link{
			{URL: again, TextID: "sign-in-again"},
			{URL: m.LoginURL(LoginOptions{ReturnTo: m.askedPage(r), Prompt: "select_account"}), TextID: "other-account"},
			m.home(),
		},
		Err: errors.New(what + ", right after a sign-in for it"),
	}), attrs...)
}

func (m *Middleware) misdirectedPage(w http.ResponseWriter, r *http.Request) {
	m.fail(w, r, slog.LevelError, Page{
		Kind: "app-error", Status: http.StatusBadRequest,
		TextID: "wrong-path",
		Links:  []Link{m.home()},
		Err:    errors.New("the answer to a sign-in did not reach Callback: does a proxy change the path of BaseURL?"),
	}, "path", web.OneLine(r.URL.Path, 200), "base_url", m.cfg.BaseURL)
}
