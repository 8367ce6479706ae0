package msauth

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/device"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/shared"
	"example.com/msauth/internal/ttl"
	"example.com/msauth/internal/web"
	"golang.org/x/oauth2"
)

// Middleware signs people in with Microsoft and keeps their sessions. Make one
// with [New]; it is safe for concurrent use.
type Middleware struct {
	cfg    Config   // with its defaults, without its secrets
	base   *url.URL // Config.BaseURL
	log    *slog.Logger
	events *events
	trace  tracer

	registration session.Registration
	authority    *provider.Authority
	scopes       provider.Scopes
	renewals     *renew.Renewals
	credentials  *credential.Ring
	vault        *renew.Vault // nil without Config.Tokens
	keyFiles     *keyFiles    // nil without Config.KeyFiles
	storeCodec   seal.Codec   // of CookieStore

	keeping
	signIns
	apis
}

// keeping is how sessions are kept between requests.
type keeping struct {
	layout   session.Layout
	cookies  *session.Cookies
	sessions session.Store
	ended    *session.Revoked
	devices  *device.Values
	binding  *ttl.Map[session.ID, struct{}] // sessions that are being bound
	shared   *shared.Hub                    // nil without Config.Shared

	directory session.Directory

	logoutJTIs *ttl.Map[[sha256.Size]byte, struct{}] // digests of ids of logout tokens
}

// signIns holds what sign-ins need, on the way to Microsoft and back.
type signIns struct {
	oauth        oauth2.Config
	wantsOffline bool // Config.Scopes includes offline_access
	attempts     *session.Attempts
	linkKeys     *seal.DailyKeys
	formKeys     *seal.DailyKeys
	againKeys    *seal.DailyKeys
	redeemed     atomic.Bool // a code has been redeemed since the process started
	misplaced    atomic.Bool // an answer at an unexpected path has been logged
}

// apis holds what requests to APIs need.
type apis struct {
	tokenHosts  map[string][]string // scopes by host
	tokenBase   http.RoundTripper
	graph       string // Microsoft Graph's URL, "" if there is none
	memberships memberships
}

// Format implements [fmt.Formatter]. No verb prints a secret.
func (m *Middleware) Format(f fmt.State, verb rune) {
	if m == nil {
		fmt.Fprint(f, "msauth.Middleware(nil)")
		return
	}
	fmt.Fprintf(f, "msauth.Middleware(%s)", m.cfg.BaseURL)
}

// ServeHTTP serves the pages below BaseURL: login, callback, logout, signed-out,
// session, which tells scripts of the site who is signed in, msauth.js, a module for
// them (see [Middleware.ScriptURL]), done, where its windows end, front-channel-logout and
// back-channel-logout, by which Microsoft and other providers tell that somebody has
// signed out there, continue, through which the callback redirects to long addresses, and
// again, to which a form is posted that a page has kept ([Config.KeepForm]). Mount it
// there, with or without [http.StripPrefix]:
//
//	mux.Handle("/auth/", auth)
//
// Any other path is answered 404.
func (m *Middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.keyFiles.tick(time.Now())
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

// routeFor returns the handler if a request is for a page below BaseURL, or
// nil. It looks at the path in r.URL and, in case http.StripPrefix has
// shortened that, at the path that the browser sent.
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

// route returns the handler of a page below BaseURL, or nil.
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
	case "again":
		return (*Middleware).sendAgain
	case "session":
		return (*Middleware).sessionJSON
	case "msauth.js":
		return (*Middleware).scriptFile
	case "done":
		return (*Middleware).done
	case "front-channel-logout":
		return (*Middleware).frontChannelLogout
	case "back-channel-logout":
		return (*Middleware).backChannelLogout
	case "device/register":
		return (*Middleware).registerDevice
	case "device/refresh":
		return (*Middleware).refreshDevice
	}
	return nil
}

// Load adds the session, if there is one, to the request's context, where
// [FromContext] finds it. If the session's tokens are due, they are renewed
// first. Load never redirects and never refuses a request: it is for pages that
// everybody may see and that greet people who are signed in. Load inside Load
// does nothing more. A session that [NewContext] put into the context is
// replaced by the request's own.
func (m *Middleware) Load(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, _ = m.attach(w, r)
		next.ServeHTTP(w, r)
	})
}

// Require is Load for handlers that only signed-in people may reach. A page
// load without a session is redirected to Microsoft and, after the sign-in,
// back to the page. Scripts, frames, form posts and the like are answered 401.
// Wrapped around a whole site, Require serves the pages below BaseURL itself:
// if they required a sign-in, nobody could sign in.
func (m *Middleware) Require(next http.Handler) http.Handler {
	return m.require(next, provider.Requirement{})
}

// require is Require with a requirement that a first sign-in must meet.
func (m *Middleware) require(next http.Handler, first provider.Requirement) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.routeFor(r) != nil {
			m.ServeHTTP(w, r)
			return
		}
		r, v := m.attach(w, r)
		navigation := !v.passes() && web.IsNavigation(r) // of no interest if it passes
		switch decide(v, navigation) {
		case pass:
			v.headers.NoStore(w.Header())
			next.ServeHTTP(w, m.admitted(r, v))
		case tooEarly:
			refusePrefetch(w)
		case signIn:
			if m.misdirected(r) {
				m.misdirectedPage(w, r)
				return
			}
			if v.rec != nil { // the session is kept, but needs a step-up
				m.ask(w, r, v.rec, provider.Requirement{Claims: v.rec.Claims})
				return
			}
			if !m.keepsFragment(w, r, first) {
				m.begin(w, r, authorizeOptions{returnTo: m.returnPath(web.RequestPath(r)), requirement: first})
			}
		case binding:
			m.bindingPage(w, r, m.returnPath(web.RequestPath(r)))
		case unbound:
			m.unboundPage(w, r, v.unbound, m.keepForm(w, r))
		case declined:
			m.declinedPage(w, r, first)
		case brake:
			m.loopPage(w, r, m.LoginURL(LoginOptions{ReturnTo: web.RequestPath(r)}))
		case broken:
			m.brokenPage(w, r, v.err, m.keepForm(w, r))
		default:
			d := first
			if v.rec != nil {
				d = provider.Requirement{} // what the renewal needs comes first
			}
			m.unauthorized(w, r, v.rec, false, m.loginURL(LoginOptions{ReturnTo: m.seenPage(r)}, d))
		}
	})
}

// A verdict is what Require does with a request.
type verdict int

const (
	refuse   verdict = iota // 401
	pass                    // call the handler
	signIn                  // redirect to Microsoft
	brake                   // an error page instead of a redirect loop
	binding                 // a page that waits until the session is bound to the device
	unbound                 // 403: the session is not bound to a device
	declined                // a page instead of a redirect that was just declined
	broken                  // 503: the session store failed
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
	case v.unbound != nil && !v.binding:
		return unbound
	case v.binding && navigation:
		return binding
	case !navigation:
		return refuse
	case v.session == nil && v.justSignedIn:
		return brake
	case v.session == nil && v.declined:
		return declined
	}
	return signIn
}

// misdirected reports whether a request answers a sign-in of this browser but
// did not reach Callback, because a proxy has changed its path. Another sign-in
// would end the same way, in a loop.
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

// noteMisplaced logs, once per process, that the answer to a sign-in arrived at
// a path other than the one Microsoft was given. If it reaches Callback anyway,
// people can sign in, but the links back into the site have a wrong path.
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
		m.log.WarnContext(r.Context(), "msauth: sign-in response arrived at an unexpected path: does a proxy add or strip a prefix?",
			"base_url", m.cfg.BaseURL, "path", web.OneLine(asked, 200), "expected", want)
	}
}
