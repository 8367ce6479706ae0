package msauth

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
	"golang.org/x/oauth2"
)

// misdirected reports whether a request is the answer to a sign-in of ours
// that went past Callback: a proxy has changed its path, so that signing in
// would never end.
func (m *Middleware) misdirected(r *http.Request) bool {
	answer, err := readAnswer(r)
	if err != nil {
		return false
	}
	a, err := m.attempts.Open(answer.state)
	if err != nil {
		return false
	}
	_, cookie := m.attempts.Sent(r.Header, a.ID.String())
	binding := a.Bind(cookie)
	return cookie != "" && seal.SameText(string(binding[:]), string(a.Binding[:]))
}

// noteMisplaced logs, once, that the answer to a sign-in came to another path
// than Microsoft was told. Where it finds Callback all the same people can sign
// in, but what they wanted to see is found below a wrong path.
func (m *Middleware) noteMisplaced(r *http.Request) {
	if m.misplaced.Load() {
		return
	}
	want := m.base.Path + "/callback"
	asked, _, _ := strings.Cut(web.RequestPath(r), "?")
	if path, err := url.PathUnescape(asked); err == nil {
		asked = path
	}
	if asked == want || r.URL.Path == want {
		return
	}
	ans, err := readAnswer(r)
	if err != nil {
		return
	}
	if a, _ := m.attempts.Open(ans.state); a != nil && m.misplaced.CompareAndSwap(false, true) {
		m.log.WarnContext(r.Context(), "msauth: the answer to a sign-in arrived at an unexpected path: does something in front strip or add a prefix?",
			"base_url", m.cfg.BaseURL, "path", web.OneLine(asked, 200), "expected", want)
	}
}

// Middleware signs people in with Microsoft and keeps their sessions. Make one
// with [New]; it is safe for concurrent use.
type Middleware struct {
	cfg    Config   // complete, without its secrets
	base   *url.URL // of BaseURL
	log    *slog.Logger
	events *events

	registration session.Registration
	authority    *provider.Authority
	scopes       provider.Scopes
	renewals     *renew.Renewals
	vault        *renew.Vault // nil without Config.Tokens

	keeping
	signIns
	apis
}

// keeping is where sessions live between requests.
type keeping struct {
	layout   session.Layout
	cookies  *session.Cookies
	sessions session.Store
	ended    session.Revoked
}

// signIns is what the ways to Microsoft and back need.
type signIns struct {
	oauth        oauth2.Config
	wantsOffline bool // Config.Scopes names offline_access itself
	attempts     *session.Attempts
	linkKeys     *seal.DailyKeys
	formKeys     *seal.DailyKeys
	redeemed     atomic.Bool // a code, since the process has started
	misplaced    atomic.Bool // an answer at an unexpected path has been logged
}

// apis is what requests to APIs need.
type apis struct {
	tokenHosts  map[string][]string // scopes by host
	tokenBase   http.RoundTripper
	graph       string // where Microsoft Graph is, "" if there is none
	memberships memberships
}

// Format implements [fmt.Formatter]: whatever the verb, no secret is shown.
func (m *Middleware) Format(f fmt.State, verb rune) {
	if m == nil {
		fmt.Fprint(f, "msauth.Middleware(nil)")
		return
	}
	fmt.Fprintf(f, "msauth.Middleware(%s)", m.cfg.BaseURL)
}

// route finds what ServeHTTP serves below BaseURL.
func route(name string) func(*Middleware, http.ResponseWriter, *http.Request) {
	switch name {
	case "login":
		return (*Middleware).Login
	case "callback":
		return (*Middleware).Callback
	case "logout":
		return (*Middleware).Logout
	case "signed-out":
		return (*Middleware).signedOut
	case "continue":
		return (*Middleware).goOn
	}
	return nil
}

// ServeHTTP serves the pages below BaseURL: login, callback, logout, signed-out
// and continue, by which the callback leads to long addresses. Mount it there, with or without [http.StripPrefix]:
//
//	mux.Handle("/auth/", auth)
//
// Everything else below is answered 404.
func (m *Middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve := m.routeFor(r)
	if serve == nil {
		serve = route(strings.TrimPrefix(r.URL.Path, "/"))
	}
	if serve == nil {
		if m.noteMisplaced(r); m.misdirected(r) {
			m.misdirectedPage(w, r)
			return
		}
		serve = (*Middleware).notFound
	}
	serve(m, w, r)
}

// routeFor finds our own page that a request is for, as the app routes it or,
// where http.StripPrefix has shortened that, as the browser asked for it.
func (m *Middleware) routeFor(r *http.Request) func(*Middleware, http.ResponseWriter, *http.Request) {
	asked, _, _ := strings.Cut(web.RequestPath(r), "?")
	for _, path := range [...]string{r.URL.Path, asked} {
		if name, below := strings.CutPrefix(path, m.base.Path+"/"); below {
			if serve := route(name); serve != nil {
				return serve
			}
		}
	}
	return nil
}

// Load attaches the session of the person who is signed in, if anybody is, to
// the request's context, for [FromContext]; its tokens are renewed first if
// they are due. It never redirects and never refuses: pages that anybody may
// see use it to greet those they know. Load inside Load does nothing more; a
// session that [NewContext] put there is replaced by the request's own.
func (m *Middleware) Load(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, _ = m.attach(w, r)
		next.ServeHTTP(w, r)
	})
}

// Require is Load for handlers that only people who are signed in may reach.
// Others are sent to Microsoft if they navigate, and back to where they wanted
// to go; scripts, frames, form posts and the like are answered 401. Wrapped
// around a whole site it serves the pages below BaseURL itself: nobody could
// sign in if signing in were needed for them.
func (m *Middleware) Require(next http.Handler) http.Handler {
	return m.require(next, provider.Requirement{})
}

// require is Require where a first sign-in is to meet a demand.
func (m *Middleware) require(next http.Handler, first provider.Requirement) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.routeFor(r) != nil {
			m.ServeHTTP(w, r)
			return
		}
		r, v := m.attach(w, r)
		navigation := !v.passes() && web.IsNavigation(r) // nobody asks of those who pass
		switch decide(v, navigation) {
		case pass:
			if w.Header().Get("Cache-Control") == "" {
				w.Header().Set("Cache-Control", "no-store")
			}
			next.ServeHTTP(w, m.admitted(r, v))
		case tooEarly:
			refusePrefetch(w)
		case signIn:
			if m.misdirected(r) {
				m.misdirectedPage(w, r)
				return
			}
			if v.rec != nil { // kept for a step-up
				m.ask(w, r, v.rec, provider.Requirement{Claims: v.rec.Claims})
				return
			}
			m.begin(w, r, authorizeOptions{returnTo: m.returnPath(web.RequestPath(r)), requirement: first})
		case brake:
			m.loopPage(w, r, m.LoginURL(LoginOptions{ReturnTo: web.RequestPath(r)}))
		case broken:
			m.brokenPage(w, r, v.err)
		default:
			d := first
			if v.rec != nil {
				d = provider.Requirement{} // what the renewal needs comes first
			}
			m.unauthorized(w, r, false, m.loginURL(LoginOptions{ReturnTo: m.seenPage(r)}, d))
		}
	})
}

// verdict is what Require does with a request.
type verdict int

const (
	refuse   verdict = iota // 401
	pass                    // on to the handler
	signIn                  // to Microsoft
	brake                   // a page in place of a loop
	broken                  // 503
	tooEarly                // 503 to a prefetch
)

// decide is the whole policy of Require.
func decide(v *visit, navigation bool) verdict {
	switch {
	case v.passes():
		return pass
	case v.err != nil:
		return broken
	case v.prefetch:
		return tooEarly
	case !navigation:
		return refuse
	case v.session == nil && v.justSignedIn:
		return brake
	}
	return signIn
}
