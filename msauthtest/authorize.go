package msauthtest

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxQuery is the longest query that the authorize endpoint accepts, in bytes.
// Microsoft does not publish its limit.
const maxQuery = 2048

// codeLife is the lifetime of an authorization code.
const codeLife = 10 * time.Minute

// A code is an authorization code that was issued.
type code struct {
	grant     *grant
	redirect  string
	challenge string
	issued    time.Time
	used      bool
}

// An authRequest is a request to the authorize endpoint (OpenID Connect Core
// section 3.1.2.1, RFC 7636).
type authRequest struct {
	query     string // unparsed
	redirect  string
	state     string
	nonce     string
	challenge string
	scopes    []string
	prompt    []string
	hint      string // login_hint
	domain    string // domain_hint
	maxAge    time.Duration
	hasMaxAge bool
	demand    demand
}

var challengeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// readAuthorize parses and checks a request. If req.redirect is empty, the
// failure must not be sent to a redirect URI (RFC 6749 section 4.1.2.1).
func (e *exchange) readAuthorize(query string) (req authRequest, f Failure) {
	if len(query) > maxQuery {
		return req, refusal(90015, "")
	}
	if e.tenant.family == live {
		return e.readLive(query)
	}
	return e.readOpenID(query)
}

// readOpenID parses and checks a request to an OpenID provider. See
// readAuthorize.
func (e *exchange) readOpenID(query string) (req authRequest, f Failure) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return req, refusal(9002313, "the query is malformed")
	}
	for _, name := range []string{"client_id", "redirect_uri"} {
		switch len(q[name]) {
		case 0:
			return req, refusal(900144, "'"+name+"'")
		case 1:
		default:
			return req, refusal(9002313, name+" is given twice")
		}
	}
	if !strings.EqualFold(q.Get("client_id"), e.ClientID) {
		return req, refusal(700016, "'"+q.Get("client_id")+"'")
	}
	spa := slices.Contains(e.behavior.SPARedirectURIs, q.Get("redirect_uri"))
	if !spa && !registered(e.behavior.RedirectURIs, q.Get("redirect_uri")) {
		return req, refusal(50011, "'"+q.Get("redirect_uri")+"'")
	}
	req = authRequest{
		query:     query,
		redirect:  q.Get("redirect_uri"),
		state:     q.Get("state"),
		nonce:     q.Get("nonce"),
		challenge: q.Get("code_challenge"),
		scopes:    strings.Fields(q.Get("scope")),
		prompt:    strings.Fields(q.Get("prompt")),
		hint:      q.Get("login_hint"),
		domain:    q.Get("domain_hint"),
	}
	for name, values := range q {
		if len(values) > 1 { // RFC 6749 section 3.1
			return req, refusal(9002313, name+" is given twice")
		}
	}
	switch {
	case q.Get("response_type") == "":
		return req, refusal(900144, "'response_type'")
	case q.Get("response_type") != "code":
		return req, refusal(700054, "'"+q.Get("response_type")+"'")
	case q.Has("response_mode") && q.Get("response_mode") != "query":
		return req, refusal(70007, "'"+q.Get("response_mode")+"'")
	case len(req.scopes) == 0:
		return req, refusal(900144, "'scope'")
	case !has(req.scopes, "openid"):
		return req, refusal(70011, "It does not contain openid.")
	case req.state == "":
		return req, refusal(900144, "'state'")
	case req.nonce == "":
		return req, refusal(900144, "'nonce'")
	case spa && req.challenge == "":
		return req, refusal(9002325, "")
	case q.Get("code_challenge_method") != "S256":
		return req, refusal(90100, "'code_challenge_method' must be S256; this")
	case !challengeForm.MatchString(req.challenge):
		return req, refusal(90100, "'code_challenge'")
	}
	if !validPrompt(req.prompt) {
		return req, refusal(90023, "'prompt'")
	}
	if text := q.Get("max_age"); text != "" {
		seconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return req, refusal(90023, "'max_age'")
		}
		req.maxAge, req.hasMaxAge = time.Duration(seconds)*time.Second, true
	}
	var ok bool
	if req.demand, ok = parseDemand(q.Get("claims")); !ok {
		return req, refusal(9002313, "'claims' is not a claims request")
	}
	if e.behavior.IgnoreClaims || e.tenant.family == b2c {
		req.demand = demand{}
	}
	return req, e.check(req.scopes)
}

// validPrompt reports whether every value of prompt is known, and none is not
// combined with another.
func validPrompt(prompt []string) bool {
	return !slices.ContainsFunc(prompt, func(p string) bool {
		return !slices.Contains([]string{"login", "none", "consent", "select_account", "create"}, p) || p == "none" && len(prompt) > 1
	})
}

// registered reports whether a redirect URI may be used. With an empty list,
// any https URI may, and any http URI of a loopback host.
func registered(list []string, uri string) bool {
	u, err := url.Parse(uri)
	if len(list) > 0 {
		return slices.Contains(list, uri) || err == nil && slices.ContainsFunc(list, func(one string) bool { return sameOnLocalhost(one, u) })
	}
	if err != nil || u.Host == "" || u.User != nil || strings.Contains(uri, "#") {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopback(u.Host)
}

// sameOnLocalhost reports whether two redirect URIs on localhost differ by their ports
// alone, which Microsoft ignores ("Redirect URI (reply URL) outline and restrictions",
// Localhost exceptions).
func sameOnLocalhost(one string, other *url.URL) bool {
	u, err := url.Parse(one)
	return err == nil && u.Scheme == "http" && u.Hostname() == "localhost" && other.Scheme == u.Scheme && other.Hostname() == u.Hostname() &&
		u.RequestURI() == other.RequestURI() && u.Fragment == other.Fragment && u.User == nil && other.User == nil
}

// authorize serves the authorize endpoint.
func (e *exchange) authorize(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "msauthtest: the authorize endpoint accepts GET only", http.StatusMethodNotAllowed)
		return
	}
	req, f := e.readAuthorize(r.URL.RawQuery)
	if !f.isZero() {
		e.answerFailure(w, r, req, f)
		return
	}
	session := e.session(r)

	if r.Header.Get(alwaysPage) != "" {
		e.behavior.AutoSignIn = ""
	}
	if name := e.behavior.AutoSignIn; name != "" && !slices.Contains(req.prompt, "none") {
		if u, ok := e.admitted(w, req, session, name); ok {
			e.signIn(w, r, req, session, u)
		}
		return
	}

	u, refused := e.silently(req, session)
	switch {
	case refused == 0:
		e.signIn(w, r, req, session, u)
	case slices.Contains(req.prompt, "none"):
		f := refusal(refused, "'"+e.ClientID+"'")
		if refused == 50076 {
			f.Suberror = "basic_action"
		}
		e.answerFailure(w, r, req, f)
	case e.asksOnly(req, session, u, refused):
		e.confirm(w, req, session, u)
	default:
		e.pick(w, req, session, "")
	}
}

// admitted returns the person to sign in. If they may not sign in, it shows the
// sign-in page with the reason.
func (e *exchange) admitted(w http.ResponseWriter, req authRequest, session map[string]ssoAccount, name string) (User, bool) {
	u, ok := e.user(name)
	f := refusal(50034, "'"+name+"'")
	if ok {
		code := e.tenant.admits(u)
		if code == 0 {
			return u, true
		}
		f = refusal(code, "'"+u.SignInName+"'")
	}
	if e.tenant.family == live {
		f = e.asLive(f)
	}
	e.pick(w, req, session, f.Description)
	return u, false
}

// asksOnly reports whether the person is known and has only to consent or to
// sign in more strongly.
func (e *exchange) asksOnly(req authRequest, session map[string]ssoAccount, u User, refused int) bool {
	account, ok := session[strings.ToLower(u.SignInName)]
	switch {
	case !ok:
		return false
	case refused == 65001:
		return has(req.prompt, "consent") || len(needsConsent(e.lacking(u, req.scopes))) > 0
	case refused == 50076:
		return !req.demand.met(account.mfa, account.acrs)
	}
	return false
}

// silently returns the person whom a request can sign in without a page, or the
// AADSTS number of the reason why a page is needed.
func (e *exchange) silently(req authRequest, session map[string]ssoAccount) (User, int) {
	var found []User
	for _, u := range e.Users() {
		if _, ok := session[strings.ToLower(u.SignInName)]; ok && e.tenant.admits(u) == 0 {
			found = append(found, u)
		}
	}
	if req.hint != "" {
		hinted, ok := e.user(req.hint)
		found = slices.DeleteFunc(found, func(u User) bool { return !ok || u.SignInName != hinted.SignInName })
	}
	switch len(found) {
	case 0:
		return User{}, 50058
	case 1:
	default:
		return User{}, 16000
	}
	u := found[0]
	account := session[strings.ToLower(u.SignInName)]
	if e.tenant.family == live && !has(req.scopes, liveSignIn) {
		return u, 50058
	}
	for _, p := range req.prompt {
		if p != "none" && p != "consent" {
			return u, 50058
		}
	}
	switch {
	case req.hasMaxAge && time.Since(account.authTime) > req.maxAge:
		return u, 50058
	case e.behavior.RequireMFA, !req.demand.met(account.mfa, account.acrs):
		return u, 50076
	case e.behavior.RequireConsent, has(req.prompt, "consent"), len(needsConsent(e.lacking(u, req.scopes))) > 0:
		return u, 65001
	}
	return u, 0
}

// signIn signs u in to this browser, grants the requested scopes, and answers
// with a code.
func (e *exchange) signIn(w http.ResponseWriter, r *http.Request, req authRequest, session map[string]ssoAccount, u User) {
	u = e.tenant.local(u)
	now := time.Now()
	account, ok := session[strings.ToLower(u.SignInName)]
	stronger := !req.demand.met(account.mfa, account.acrs)
	if e.behavior.RefuseMFA && (stronger || e.behavior.RequireMFA) {
		e.answerFailure(w, r, req, cancelled(500121))
		return
	}
	lacks := e.lacking(u, req.scopes)
	listed := func(scopes []string) bool {
		return slices.ContainsFunc(needsConsent(lacks), func(p permission) bool { return e.apis.listed(scopes, p) })
	}
	switch {
	case listed(e.behavior.AdminScopes) && e.behavior.AutoSignIn == "":
		e.needApproval(w, req, u, lacks)
		return
	case listed(e.behavior.AdminScopes):
		e.answerFailure(w, r, req, refusal(90094, appName))
		return
	case listed(e.behavior.RefuseScopes):
		e.answerFailure(w, r, req, cancelled(65004))
		return
	}
	if ok && stronger {
		account.authTime = now
	}
	if stronger || e.behavior.RequireMFA {
		account.mfa = true
		account.acrs = union(account.acrs, req.demand.acrs)
	}
	if !ok || has(req.prompt, "login") || req.hasMaxAge && now.Sub(account.authTime) > req.maxAge {
		account.authTime = now
		if account.sid == "" {
			account.sid = newGUID()
		}
	}
	g := &grant{
		user:     u.SignInName,
		tenant:   e.tenant,
		redirect: req.redirect,
		scopes:   e.notWithheld(u, req.scopes),
		nonce:    req.nonce,
		sid:      account.sid,
		authTime: account.authTime,
		demand:   req.demand,
		mfa:      account.mfa,
		acrs:     account.acrs,
		consent:  e.behavior.RequireConsent,
	}
	text := newCode(u, e.tenant)
	e.addSecrets(text)
	e.mu.Lock()
	e.remember(w, r, u, account)
	e.grantConsent(u.SignInName, lacks)
	if len(e.codes) >= keep {
		for old, c := range e.codes {
			if now.Sub(c.issued) > codeLife {
				delete(e.codes, old)
			}
		}
	}
	e.codes[text] = &code{grant: g, redirect: req.redirect, challenge: req.challenge, issued: now}
	e.mu.Unlock()
	answer := url.Values{"code": {text}}
	if e.tenant.family != live {
		answer.Set("session_state", account.sid)
	}
	if e.behavior.AnswerIssuer && e.tenant.family != live {
		answer.Set("iss", e.tenant.issuerFor(e.origin, u))
	}
	e.answer(w, r, req, answer)
}

// notWithheld returns the scopes that a sign-in grants.
func (e *exchange) notWithheld(u User, scopes []string) []string {
	granted := e.consented(u.SignInName)
	return without(scopes, func(s string) bool {
		p := e.apis.permission(s)
		return e.apis.listed(e.behavior.WithholdScopes, p) && !slices.ContainsFunc(granted, p.same)
	})
}

// cancelled returns the failure of a request that the person refused.
func cancelled(code int) Failure {
	f := refusal(code, "")
	f.Suberror = "cancel"
	return f
}

// answerFailure sends a failure to the redirect URI, or shows it if there is no
// valid one.
func (e *exchange) answerFailure(w http.ResponseWriter, r *http.Request, req authRequest, f Failure) {
	if req.redirect == "" {
		e.failPage(w, r, f)
		return
	}
	answer := e.answerError(f)
	if e.behavior.AnswerIssuer && e.tenant.family != live {
		answer.Set("iss", e.tenant.issuer(e.origin))
	}
	e.answer(w, r, req, answer)
}

// failAuthorize sends a failure from [Behavior.Fail] in place of the answer.
func (e *exchange) failAuthorize(w http.ResponseWriter, r *http.Request, f Failure) {
	query := r.URL.RawQuery
	if e.kind == Picked {
		query = r.PostForm.Get("request")
	}
	req, bad := e.readAuthorize(query)
	if req.redirect == "" {
		f = bad
	}
	e.answerFailure(w, r, req, f)
}

// answer redirects to the app with the parameters in the query.
func (e *exchange) answer(w http.ResponseWriter, r *http.Request, req authRequest, answer url.Values) {
	if req.state != "" {
		answer.Set("state", req.state)
	}
	if e.behavior.AuthorizeAnswer != nil {
		e.behavior.AuthorizeAnswer(answer)
	}
	sep := "?"
	if strings.Contains(req.redirect, "?") {
		sep = "&"
	}
	status := http.StatusFound
	if r.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	w.Header().Set("Location", req.redirect+sep+answer.Encode())
	w.WriteHeader(status)
}

// picked handles the form of the sign-in page. The form contains the request,
// so the page works after a restart and after going back.
func (e *exchange) picked(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		http.Error(w, "msauthtest: this endpoint accepts the sign-in page's form only", http.StatusMethodNotAllowed)
		return
	}
	req, f := e.readAuthorize(r.PostForm.Get("request"))
	if !f.isZero() {
		e.answerFailure(w, r, req, f)
		return
	}
	session := e.session(r)
	switch r.PostForm.Get("answer") {
	case "":
	case "refuse":
		e.answerFailure(w, r, req, refusal(65004, ""))
		return
	case "refuse-mfa":
		e.answerFailure(w, r, req, cancelled(500121))
		return
	case "no-approval":
		e.answerFailure(w, r, req, refusal(90094, appName))
		return
	default:
		e.answerFailure(w, r, req, Failure{Error: "access_denied", Description: "The user has cancelled the sign-in.", Suberror: "cancel"})
		return
	}
	u, ok := e.admitted(w, req, session, r.PostForm.Get("user"))
	if !ok {
		return
	}
	if has(req.prompt, "consent") && r.PostForm.Get("confirmed") == "" {
		e.confirm(w, req, session, u)
		return
	}
	e.signIn(w, r, req, session, u)
}

func has(list []string, s string) bool { return slices.Contains(list, s) }

// hasFold is like has but ignores case.
func hasFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(other string) bool { return strings.EqualFold(other, s) })
}
