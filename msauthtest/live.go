package msauthtest

import (
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Live Connect, the OAuth service of the retired Live SDK for ASP.NET
// (login.live.com). What is known of it was seen in
//
//	SDK    the source of the Live SDK for Windows, src/Web and src/Common
//	REST   "Signing users in with REST" of the OneDrive and Live SDK documentation
//	OAUTH  "OAuth 2.0", of the same documentation
//	SSO    "Single sign-on for apps and websites", of the same documentation
//
// The endpoints and their parameters are those of SDK (AuthEndpointsInfo,
// BuildAuthorizeUrl) and REST. Guessed are: that a person who is signed in is
// shown a page unless wl.signin is requested (SSO says only that wl.signin signs
// them in without one); which names of scopes are accepted; that a redirect URI
// must have the scheme of a registered one; and what display=none does.
const (
	liveHost      = "login.live.com"
	liveOrigin    = "https://" + liveHost
	liveAuthorize = "oauth20_authorize.srf"

	liveSignIn  = "wl.signin"
	liveOffline = "wl.offline_access"
)

// LiveAuthority returns the address of Live Connect, the value for msauth's
// Config.Authority in place of https://login.live.com. Below it are
// oauth20_authorize.srf, oauth20_token.srf and oauth20_logout.srf. They are also
// at the root of the host login.live.com, which [Server.Transport] serves, and
// [Server.ServeHTTP] if a request names it as its Host.
func (s *Server) LiveAuthority() string { return s.URL + "/" + liveHost }

// atLive reports whether a request was sent to the host login.live.com. Nobody
// but its owner can have that name lead to this computer.
func atLive(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.EqualFold(host, liveHost)
}

// liveRoute returns the kind and the handler of a path at Live Connect, or nil.
func liveRoute(rest string) (Kind, handler) {
	switch rest {
	case liveAuthorize:
		return Authorize, (*exchange).authorize
	case "signin":
		return Picked, (*exchange).picked
	case "oauth20_token.srf":
		return TokenOther, (*exchange).token
	case "oauth20_logout.srf":
		return Logout, (*exchange).liveLogout
	}
	return "", nil
}

// liveScope is the form of the scopes that are accepted: wl.basic,
// onedrive.readwrite, office.onenote. Those of OpenID Connect and of Graph are
// not.
var liveScope = regexp.MustCompile(`^(wl|onedrive|office)\.[a-z0-9_.]+$`)

// splitLive splits a list of scopes, which are parted by spaces or commas (SDK,
// ScopeSeparators).
func splitLive(scopes string) []string {
	return strings.FieldsFunc(scopes, func(c rune) bool { return c == ' ' || c == ',' })
}

// checkLive refuses scopes that do not exist.
func checkLive(scopes []string) Failure {
	for _, scope := range scopes {
		if !liveScope.MatchString(scope) {
			return refusal(70011, "The scope '"+scope+"' does not exist.")
		}
	}
	return Failure{}
}

// readLive parses and checks a request to Live Connect's authorize endpoint.
// Unknown parameters are ignored, and so are locale and, but for "none",
// display. See readAuthorize.
func (e *exchange) readLive(query string) (req authRequest, f Failure) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return req, refusal(9002313, "the query is malformed")
	}
	for _, name := range []string{"client_id", "redirect_uri"} {
		if q.Get(name) == "" {
			return req, refusal(900144, "'"+name+"'")
		}
	}
	if !strings.EqualFold(q.Get("client_id"), e.ClientID) {
		return req, refusal(700016, "'"+q.Get("client_id")+"'")
	}
	if len(q["redirect_uri"]) > 1 || !liveRegistered(e.behavior.RedirectURIs, q.Get("redirect_uri")) {
		return req, refusal(50011, "'"+q.Get("redirect_uri")+"'")
	}
	req = authRequest{
		query:     query,
		redirect:  q.Get("redirect_uri"),
		state:     q.Get("state"),
		challenge: q.Get("code_challenge"),
		scopes:    splitLive(q.Get("scope")),
	}
	if q.Get("display") == "none" {
		req.prompt = []string{"none"}
	}
	for _, name := range []string{"client_id", "scope", "response_type", "state"} {
		if len(q[name]) > 1 {
			return req, refusal(9002313, name+" is given twice")
		}
	}
	switch {
	case q.Get("response_type") == "":
		return req, refusal(900144, "'response_type'")
	case q.Get("response_type") != "code":
		return req, refusal(700054, "'"+q.Get("response_type")+"'")
	case len(req.scopes) == 0:
		return req, refusal(900144, "'scope'")
	}
	return req, checkLive(req.scopes)
}

// liveRegistered reports whether a redirect URI may be used. Apps register
// domains there (REST): a URI may be used if one of the list has its scheme and
// its host, whatever the port, the path and the query. With an empty list, any
// may that registered accepts.
func liveRegistered(list []string, uri string) bool {
	u, err := url.Parse(uri)
	if err != nil || !registered(nil, uri) {
		return false
	}
	return len(list) == 0 || slices.ContainsFunc(list, func(other string) bool {
		v, err := url.Parse(other)
		return err == nil && v.Scheme == u.Scheme && strings.EqualFold(v.Hostname(), u.Hostname())
	})
}

// offlineScope returns the scope for which a sign-in returns a refresh token.
func (t tenant) offlineScope() string {
	if t.family == live {
		return liveOffline
	}
	return "offline_access"
}

// liveLogout serves Live Connect's sign-out endpoint: it signs everybody in this
// browser out, and goes on to redirect_uri if that belongs to the client.
func (e *exchange) liveLogout(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.Method == http.MethodPost {
		q = r.PostForm
	}
	e.endSessions(r, "")
	target := q.Get("redirect_uri")
	if target != "" && strings.EqualFold(q.Get("client_id"), e.ClientID) && liveRegistered(e.behavior.RedirectURIs, target) {
		w.Header().Set("Location", target)
		w.WriteHeader(http.StatusFound)
		return
	}
	render(w, http.StatusOK, "signedout", page{Title: "Signed out", Data: map[string]any{"Refused": target, "Frames": nil, "Next": ""}})
}
