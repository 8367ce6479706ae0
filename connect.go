package msauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// Connect returns a handler that connects a Microsoft account to a user whom
// the app has signed in by its own means ([Config.User]). A form of the app
// posts to it. The person chooses an account at Microsoft and comes back to
// returnTo; [Config.OnSignIn] receives the user and the account, and
// [Config.Tokens] keeps the tokens. The app's own session does not change.
//
//	mux.Handle("POST /connect", auth.Connect("/settings", "Files.Read"))
//
// The scopes are requested in addition to [Config.Scopes], as by
// [Middleware.RequireScopes]. Because the form's response redirects to
// Microsoft, a Content-Security-Policy of the app must name Microsoft's origin
// in form-action.
//
// The handler acts only on a form of a page of this site. If a service worker
// passes requests on, which hides where they come from, the person is asked
// first. The account is connected only if the same user is still signed in to
// the same browser when the person comes back: nobody can be tricked into
// connecting somebody else's account, or into connecting theirs to another
// user.
func (m *Middleware) Connect(returnTo string, scopes ...string) http.Handler {
	if m.vault == nil || m.cfg.User == nil {
		return m.misused(errors.New("Connect needs Config.Tokens and Config.User"))(nil)
	}
	wanted, err := m.scopes.Check(scopes)
	if err != nil {
		return m.misused(fmt.Errorf("Connect: %w", err))(nil)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		web.Vary(w.Header(), "Cookie", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-Site", "Origin")
		if r.Method != http.MethodPost {
			m.wrongMethod(w, r, "POST")
			return
		}
		user := m.appUser(r)
		if err := renew.CheckUserKey(user); err != nil {
			m.appError(w, r, err)
			return
		}
		signedIn := user != ""
		action := strings.Join(append([]string{"connect", returnTo}, wanted...), " ")
		seemsMeant := signedIn && m.seemsMeant(r) && m.fromHere(r)
		switch {
		case seemsMeant && web.ProvesWhoAsked(r.Header):
		case signedIn && m.agreed(w, r, action, user):
		case !seemsMeant:
			m.fail(w, r, slog.LevelWarn, Page{
				Kind: "not-allowed", Status: http.StatusForbidden,
				TextID: "connect-elsewhere",
				Links:  []Link{m.home()},
				Err:    errors.New("the form is not of this site, or nobody is signed in to the app"),
			}, append(m.events.refused("connect", m.currentUser(r), web.RequestPath(r)), "event", "access_refused")...)
			return
		default:
			m.confirmConnect(w, r, action, user, returnTo)
			return
		}
		d := provider.Requirement{Scopes: wanted, Claims: m.claimsFor(r, user)}
		m.begin(w, r, authorizeOptions{returnTo: m.returnPath(returnTo), user: user, prompt: "select_account", requirement: d, goesOn: m.current(r) != nil})
	})
}

// confirmConnect asks first, because a service worker may have passed on
// another site's form.
func (m *Middleware) confirmConnect(w http.ResponseWriter, r *http.Request, action, user, returnTo string) {
	returnTo = m.returnPath(returnTo)
	if _, err := m.authority.Discover(r.Context()); err != nil { // the policy names Microsoft's origin
		m.unavailable(w, r, &session.Attempt{ReturnTo: returnTo, User: user}, err)
		return
	}
	form, _ := web.ReturnPath(web.RequestPath(r), nil, m.cfg.Home)
	m.showPage(w, r, Page{
		Kind: "confirm-connect", Status: askingStatus(r),
		TextID: "confirm-connect",
		Links: []Link{
			{URL: form, TextID: "connect", Post: true, Token: m.formToken(action, user)},
			{URL: returnTo, TextID: "back"},
		},
	})
}

// claimsFor returns the claims challenge that a worker has received on a user's
// behalf, if this process or the user's stored entry knows of one.
func (m *Middleware) claimsFor(r *http.Request, user string) string {
	e, err := m.vault.Load(r.Context(), user)
	if err != nil {
		return ""
	}
	if n, ok := m.renewals.Pending(e.Rec); ok && n.Claims != "" {
		return n.Claims
	}
	return e.Rec.Claims
}

// appUser calls [Config.User]. If that panics, nobody is signed in.
func (m *Middleware) appUser(r *http.Request) (user string) {
	if m.cfg.User == nil {
		return ""
	}
	defer func() {
		if p := recover(); p != nil {
			m.log.ErrorContext(r.Context(), "msauth: Config.User panicked", "panic", p)
			user = ""
		}
	}()
	return m.cfg.User(r)
}

// stillThere reports whether the user who started to connect an account is
// still signed in to the app, and shows a page if not.
func (m *Middleware) stillThere(w http.ResponseWriter, r *http.Request, a *session.Attempt, u *provider.Account) bool {
	if m.vault != nil && m.appUser(r) == a.User {
		return true
	}
	m.refuse(w, r, slog.LevelWarn, Page{
		Kind: "not-allowed", Status: http.StatusForbidden,
		TextID: "connect-other-user",
		Links:  []Link{{URL: a.ReturnTo, TextID: "back"}, m.home()},
		Err:    errors.New("nobody, or another user than when this began, is signed in to the app"),
	}, m.events.refused("connect", u, a.ReturnTo)...)
	return false
}
