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
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// refuse ends a sign-in with a page.
func (m *Middleware) refuse(w http.ResponseWriter, r *http.Request, level slog.Level, p Page, attrs ...any) {
	m.events.count(func(s *Stats) { s.SignInsRefused++ })
	m.fail(w, r, level, p, append(attrs, "event", "sign_in_refused")...)
}

// againLink returns the link to start an attempt again. Connecting an account
// starts on a page of the app.
func (m *Middleware) againLink(a *session.Attempt) Link {
	if a.User != "" {
		return Link{URL: a.ReturnTo, Label: "Back"}
	}
	if a.Unseen {
		return Link{URL: m.retryURL(a.ReturnTo), Label: "Start again"}
	}
	return Link{URL: m.LoginURL(LoginOptions{ReturnTo: a.ReturnTo}), Label: "Start again"}
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
		Title: "This sign-in could not be completed",
		Text:  "It may have been completed before, started in another browser, or come from an old or damaged link. Nothing has changed; you can start again.",
		Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
		Err:   err,
	}, attrs...)
}

// foreignState answers a state that looks like one of ours but cannot be
// decrypted.
func (m *Middleware) foreignState(w http.ResponseWriter, r *http.Request, a *session.Attempt) {
	m.refuse(w, r, slog.LevelInfo, Page{
		Kind: "start-again", Status: http.StatusBadRequest,
		Title: "This sign-in could not be completed",
		Text:  "The link is old or damaged, or the servers of this site do not share their keys. Nothing has changed; you can start again. If it happens again, tell the people who run this site.",
		Links: []Link{m.againLink(a)},
		Err:   errForeignState,
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
	links := []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}}
	switch {
	case !wrong && a.Host != "" && !strings.EqualFold(began, host):
		from := "another address"
		if web.IsLoopback(m.base.Hostname()) { // elsewhere anybody may have chosen the Host header
			from = began
		}
		text := fmt.Sprintf("You started at %s, but this site signs people in at %s. Your browser treats the two as different sites. Start again from here and stay at this address.",
			from, m.base.Scheme+"://"+m.base.Host)
		m.refuse(w, r, slog.LevelWarn, Page{
			Kind: "wrong-host", Status: http.StatusBadRequest,
			Title: "This site uses another address for signing in",
			Text:  text,
			Links: links,
			Err:   fmt.Errorf("msauth: sign-in began on %s://%s but BaseURL is %s", m.base.Scheme, began, m.cfg.BaseURL),
		})
	case !wrong && a.Retried && !m.sentOwn(r) && !m.attempts.Over(a.ID):
		text := "Your browser came back without this site's cookie for the second time. Without it, the site cannot be sure that this sign-in is yours. Allow cookies for this site and start again."
		m.refuse(w, r, slog.LevelInfo, Page{
			Kind: "cookies-blocked", Status: http.StatusBadRequest,
			Title: "Your browser does not keep cookies for this site",
			Text:  text, Links: links,
			Err: errors.New("msauth: no cookie of this attempt, nor any other, for the second time"),
		})
	case !wrong && len(r.Header["Cookie"]) == 0 && !m.attempts.Over(a.ID):
		m.refuse(w, r, slog.LevelInfo, Page{
			Kind: "start-again", Status: http.StatusBadRequest,
			Title: "Start signing in again from here",
			Text:  "Your browser came back without the cookie for this sign-in. You may have started somewhere else, such as in Office, a mail program or another browser profile, or your browser may be blocking cookies for this site. Start again from here.",
			Links: links[:1],
			Err:   errors.New("msauth: no cookie of this attempt, nor any other: it was begun elsewhere, or cookies are blocked"),
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
	p := Page{Status: http.StatusBadRequest, Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}}, Err: failure}
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
		p.Title = "You cancelled signing in"
		p.Text = "You are not signed in, and Microsoft has told this site nothing about you."
		p.Links[0].Label = "Sign in"
		if current != nil {
			p.Text = "You are still signed in as before."
		}
		if a.User != "" {
			p.Title = "The account was not connected"
			p.Text = "You cancelled at Microsoft. Nothing has changed."
			p.Links[0] = m.againLink(a)
		}
	case provider.Retry:
		p.Kind = "unavailable"
		p.Title = "Microsoft cannot sign you in right now"
		p.Text = "Microsoft is probably having a temporary problem. Try again in a moment."
		level = slog.LevelWarn
	case provider.Replay:
		p.Kind = "start-again"
		p.Title = "Signing in was not finished"
		p.Text = "Microsoft still needs something from you. Start again and follow the steps there."
	default:
		p.Kind = "app-error"
		p.Title = notSetUp
		p.Text = "Microsoft rejected this site's request. " + notYou
		level = slog.LevelWarn // not Error: the browser may have made it up
	}
	m.refuse(w, r, level, p, "aadsts", failure.Numbers)
}

// declinedMore is the page for people who are signed in and declined, or
// failed, an additional requirement.
func (m *Middleware) declinedMore(p *Page, a *session.Attempt, failure *provider.Failure) {
	p.Title = "You did not grant access to this part of the site"
	p.Text = "You declined what Microsoft asked you to approve. You are still signed in, and everything else works as before."
	p.Links = []Link{{URL: a.ReturnTo, Label: "Ask me again"}, {URL: m.cfg.Home, Label: "Home page"}}
	switch { // only for the text: Microsoft advises against relying on error numbers
	case slices.Contains(failure.Numbers, 90094):
		p.Text = "Only an administrator of your organization can approve this at Microsoft. You are still signed in, and everything else works as before."
		slices.Reverse(p.Links)
	case slices.Contains(failure.Numbers, 500121):
		p.Text = "The extra verification at Microsoft did not succeed. You are still signed in, and everything else works as before."
	}
}

// asBefore says whether the person is signed in after a sign-in that failed.
func (m *Middleware) asBefore(r *http.Request) string {
	if m.current(r) == nil {
		return "You are not signed in. "
	}
	return "You are still signed in as before. "
}

// notRedeemed answers a code that gave no tokens.
func (m *Middleware) notRedeemed(w http.ResponseWriter, r *http.Request, a *session.Attempt, failure *provider.Failure) {
	switch failure.Class {
	case provider.Retry:
		m.unavailable(w, r, a, failure)
	case provider.StepUp:
		if failure.Claims != "" && !a.Challenged {
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
			Title: "Microsoft did not give this site access",
			Text:  "Your organization requires something else first, such as extra verification, a managed device or an administrator's approval. " + m.asBefore(r) + "Try again, or ask your administrator.",
			Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
			Err:   failure,
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
		Title: "Signing in did not work",
		Text:  "Microsoft's answer was incomplete. Try again; if it happens again, tell the people who run this site.",
		Links: []Link{m.againLink(in.attempt), {URL: m.cfg.Home, Label: "Home page"}},
		Err:   fmt.Errorf("msauth: the token response holds no %s, although the scope %s was requested", m.identityToken(), m.scopes.SignIn[0]),
	})
}

// untrueIDToken ends a sign-in whose ID token is not valid.
func (m *Middleware) untrueIDToken(in *arrival, err error) {
	m.refuse(in.w, in.r, slog.LevelError, Page{
		Kind: "start-again", Status: http.StatusBadRequest,
		Title: "Signing in did not work",
		Text:  "Microsoft's answer could not be verified. Try again; if that does not help, tell the people who run this site.",
		Links: []Link{m.againLink(in.attempt), {URL: m.cfg.Home, Label: "Home page"}},
		Err:   err,
	})
}

func (m *Middleware) notAllowed(w http.ResponseWriter, r *http.Request, a *session.Attempt, err error, kind string, u *provider.Account) {
	p := Page{
		Kind: "not-allowed", Status: http.StatusForbidden,
		Title: "This account may not use this site",
		Text:  "You signed in at Microsoft, but this account is not allowed to use this site. Use another account, or ask the people who run this site for access.",
		Links: []Link{
			{URL: m.LoginURL(LoginOptions{ReturnTo: a.ReturnTo, Prompt: "select_account"}), Label: "Use another account"},
			{URL: m.LogoutURL(), Label: "Sign out"},
		},
		Err: err,
	}
	if a.User != "" {
		p.Title = "The account was not connected"
		p.Text = "You signed in at Microsoft, but that account is not allowed to use this site. Nothing has changed; go back to choose another account."
		p.Links = []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}}
	}
	m.refuse(w, r, slog.LevelInfo, p, m.events.refused(kind, u, a.ReturnTo)...)
}

// noAuthTime ends a sign-in that must prove when credentials were entered and
// cannot.
func (m *Middleware) noAuthTime(w http.ResponseWriter, r *http.Request, a *session.Attempt, id *provider.Identity, title string) {
	m.refuse(w, r, slog.LevelError, Page{
		Kind: "no-auth-time", Status: http.StatusForbidden,
		Title: title,
		Text:  "Microsoft did not say when you last entered your password. " + m.asBefore(r) + "Tell the people who run this site that its app registration has to ask for this: Token configuration, Add optional claim, ID, auth_time.",
		Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
		Err:   errors.New("msauth: ID token: auth_time is missing: add it as an optional claim to the app registration"),
	}, m.events.refused("fresh_sign_in", &id.User, a.ReturnTo)...)
}

// notAskedAgain ends a sign-in for which credentials had to be entered, and
// were not. p has the text, the links before that to the home page, and the
// reason.
func (m *Middleware) notAskedAgain(w http.ResponseWriter, r *http.Request, a *session.Attempt, id *provider.Identity, p Page) {
	p.Kind, p.Status, p.Title = "not-enough", http.StatusForbidden, "You were not asked to sign in again"
	p.Text += m.asBefore(r) + "Try again."
	p.Links = append(p.Links, Link{URL: m.cfg.Home, Label: "Home page"})
	m.refuse(w, r, slog.LevelWarn, p, m.events.refused("fresh_sign_in", &id.User, a.ReturnTo)...)
}

// notKept ends a sign-in whose tokens could not be stored in Config.Tokens.
func (m *Middleware) notKept(w http.ResponseWriter, r *http.Request, a *session.Attempt, u *provider.Account, err error) {
	p := Page{
		Kind: "account-taken", Status: http.StatusForbidden,
		Links: []Link{{URL: a.ReturnTo, Label: "Back"}, {URL: m.cfg.Home, Label: "Home page"}}, Err: err,
	}
	switch {
	case errors.Is(err, renew.ErrAccountTaken):
		p.Title = "This Microsoft account is already connected"
		p.Text = "Somebody else has connected it here. Use another account, or disconnect it there first. Nothing has changed."
	case errors.Is(err, renew.ErrOtherAccount):
		p.Title = "Another Microsoft account is connected"
		p.Text = "Disconnect that one first, then connect this one. Nothing has changed."
	case errors.Is(err, renew.ErrUserKey):
		m.appError(w, r, err)
		return
	case errors.Is(err, session.ErrTooLarge):
		m.tooLarge(w, r, err)
		return
	default:
		p.Kind, p.Status = "unavailable", http.StatusServiceUnavailable
		p.Title = "Signing in is not possible right now"
		p.Text = "The site could not save your sign-in. Nothing has changed; try again in a moment."
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
		Title: "Signing in is not possible right now",
		Text:  "The site could not store your session. Try again in a moment.",
		Links: []Link{m.againLink(in.attempt), {URL: m.cfg.Home, Label: "Home page"}},
		Err:   err,
	})
}

func (m *Middleware) tooLarge(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, session.ErrStoreLimit) {
		m.appError(w, r, err)
		return
	}
	m.refuse(w, r, slog.LevelError, Page{
		Kind: "too-large", Status: http.StatusForbidden,
		Title: "The site could not store your session",
		Text:  "Microsoft signed you in, but your session is too large for this site to store. Trying again will not help. Tell the people who run this site: the log says what to change.",
		Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
		Err:   err,
	})
}

func (m *Middleware) unavailable(w http.ResponseWriter, r *http.Request, a *session.Attempt, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // the browser is gone
	}
	p := Page{
		Kind: "unavailable", Status: http.StatusServiceUnavailable,
		Title: "Microsoft cannot be reached right now",
		Text:  "You cannot sign in at the moment. Try again in a minute. People who are already signed in are not affected.",
		Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
		Err:   err,
	}
	switch failure, ok := errors.AsType[*provider.Failure](err); {
	case ok && failure.Class == provider.Misconfigured:
		p.Title, p.Text = notSetUp, notYou
	case ok && failure.StatusCode != 0 && failure.StatusCode < http.StatusInternalServerError: // it answered, or a proxy did
		p.Title = "Signing in is not possible right now"
		p.Text = "This site could not complete your sign-in. Try again in a minute. People who are already signed in are not affected."
	}
	w.Header().Set("Retry-After", "10")
	m.refuse(w, r, slog.LevelError, p)
}

const notSetUp = "This site is not set up correctly for signing in"

const notYou = "You did nothing wrong. Tell the people who run this site."

func (m *Middleware) appError(w http.ResponseWriter, r *http.Request, err error) {
	attrs := []any{}
	if failure, ok := errors.AsType[*provider.Failure](err); ok {
		attrs = append(attrs, "aadsts", failure.Numbers, "trace_id", failure.TraceID, "correlation_id", failure.CorrelationID)
	}
	m.refuse(w, r, slog.LevelError, Page{
		Kind: "app-error", Status: http.StatusInternalServerError,
		Title: notSetUp, Text: notYou,
		Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
		Err:   err,
	}, attrs...)
}

// loopPage replaces the second redirect of a loop. again is a link to sign in
// anyway.
func (m *Middleware) loopPage(w http.ResponseWriter, r *http.Request, again string) {
	m.clearMarker(w) // somebody else may have set it, to last longer than ours
	m.fail(w, r, slog.LevelError, Page{
		Kind: "loop", Status: http.StatusBadRequest,
		Title: "Signing in worked, but did not last",
		Text:  "Microsoft signed you in, but your browser came back without the session cookie. It may be blocking cookies, the cookie may have been lost on the way, or this site may not be set up correctly. Try again; if that does not help, tell the people who run this site.",
		Links: []Link{{URL: again, Label: "Try again"}, {URL: m.cfg.Home, Label: "Home page"}},
		Err:   errors.New("signed in seconds ago, but no session came back: was the cookie dropped or cut by a proxy or the browser, do all instances have the same Keys, is the site open under the host of BaseURL?"),
	}, "host", web.OneLine(r.Host, 200), "base_url", m.cfg.BaseURL, "cookie_bytes", len(strings.Join(r.Header["Cookie"], "")))
}

// waitPage delays the third sign-in within seconds and every later one, which
// slows down a loop without stopping a fast person.
func (m *Middleware) waitPage(w http.ResponseWriter, r *http.Request, target string) {
	m.log.InfoContext(r.Context(), "msauth: signed in twice within seconds, and sent to sign in once more", "wait", waitBefore)
	m.showPage(w, r, Page{
		Kind: "wait", Status: http.StatusOK,
		Title:   "Signing in again",
		Text:    fmt.Sprintf("You have signed in several times within a few seconds. You will continue automatically in %d seconds.", waitBefore/time.Second),
		Links:   []Link{{URL: target, Label: "Continue now"}, {URL: m.cfg.Home, Label: "Home page"}},
		Refresh: waitBefore,
	})
}

// againPage replaces one more sign-in after many within seconds: a page of the
// app asks for a sign-in even from people who are signed in.
func (m *Middleware) againPage(w http.ResponseWriter, r *http.Request, returnTo string) {
	m.deny(w, r, slog.LevelWarn, m.keepOn(w, r, Page{
		Kind: "loop", Status: http.StatusBadRequest,
		Title: "This site keeps asking you to sign in",
		Text:  "You are signed in, but a page of this site sent you to sign in again. Another account may help; if it does not, tell the people who run this site.",
		Links: []Link{{URL: m.LoginURL(LoginOptions{ReturnTo: returnTo, Prompt: "select_account"}), Label: "Use another account"}, {URL: m.cfg.Home, Label: "Home page"}},
		Err:   errors.New("signed in many times, each time within seconds of the last, and sent to sign in once more: does a handler ask for a sign-in whenever it gets no token?"),
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
			Title: "This page needs more permissions",
			Text:  "Not all of them were granted at Microsoft. You are still signed in, and everything else works as before. You can be asked again, or an administrator of your organization may have to approve them.",
			Links: []Link{{URL: again, Label: "Ask me again"}, {URL: m.cfg.Home, Label: "Home page"}},
			Err:   errors.New(what),
		}), attrs...)
		return
	}
	m.deny(w, r, slog.LevelWarn, m.keepOn(w, r, Page{
		Kind: "not-enough", Status: http.StatusForbidden,
		Title: "You are signed in, but this page needs more",
		Text:  "You have just signed in for this page, but it needs a stronger sign-in than that. You are still signed in, and everything else works as before. Sign in again; if that does not help, tell the people who run this site.",
		Links: []Link{
			{URL: again, Label: "Sign in again"},
			{URL: m.LoginURL(LoginOptions{ReturnTo: m.askedPage(r), Prompt: "select_account"}), Label: "Use another account"},
			{URL: m.cfg.Home, Label: "Home page"},
		},
		Err: errors.New(what + ", right after a sign-in for it"),
	}), attrs...)
}

func (m *Middleware) misdirectedPage(w http.ResponseWriter, r *http.Request) {
	m.fail(w, r, slog.LevelError, Page{
		Kind: "app-error", Status: http.StatusBadRequest,
		Title: notSetUp,
		Text:  "Microsoft signed you in, but its answer went to the wrong part of this site. " + notYou,
		Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
		Err:   errors.New("the answer to a sign-in did not reach Callback: does a proxy change the path of BaseURL?"),
	}, "path", web.OneLine(r.URL.Path, 200), "base_url", m.cfg.BaseURL)
}
