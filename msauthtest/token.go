package msauthtest

import (
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

// refreshLife is the lifetime of a refresh token of a web app.
const refreshLife = 90 * 24 * time.Hour

// maxRefreshTokens is the number of refresh tokens of one sign-in that stay
// valid, the newest ones. It limits the memory of a long test.
const maxRefreshTokens = 50

// A grant is what a person granted at one sign-in.
type grant struct {
	user     string // sign-in name
	tenant   tenant
	redirect string   // redirect URI of the sign-in
	scopes   []string // requested, without those that were withheld
	nonce    string
	sid      string
	authTime time.Time
	demand   demand   // of the authorize request
	mfa      bool     // signed in with more than a password
	acrs     []string // authentication contexts that were satisfied
	consent  bool     // signed in while RequireConsent was set

	// Guarded by Server.mu.
	revoked bool
	family  [][32]byte // keys of its refresh tokens, oldest first
}

type refreshToken struct {
	grant  *grant
	issued time.Time
	used   bool
}

type accessToken struct {
	user         string
	family       family
	subject      string // sub of the ID token that came with it
	resource     string // as in scopes: API.ID, or the same as audience
	audience     string // the claim aud
	scopes       []string
	acrs         []string
	capabilities []string
	serial       uint64
	issued       time.Time
	expires      time.Time
}

func grantKind(r *http.Request) Kind {
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		return TokenCode
	case "refresh_token":
		return TokenRefresh
	}
	return TokenOther
}

// token serves the token endpoint (RFC 6749 sections 4.1.3 and 6).
func (e *exchange) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Pragma", "no-cache")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		f := refusal(900561, r.Method)
		f.Status = http.StatusMethodNotAllowed
		e.failJSON(w, r, f)
		return
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		e.refuse(w, r, 9002313, "the content type must be application/x-www-form-urlencoded")
		return
	}
	for name, values := range r.PostForm {
		if len(values) > 1 { // RFC 6749 section 3.2
			e.refuse(w, r, 9002313, name+" is given twice")
			return
		}
	}
	form := r.PostForm
	if form.Get("grant_type") == "" {
		e.refuse(w, r, 900144, "'grant_type'")
		return
	}
	if !e.authenticate(w, r) {
		return
	}
	switch e.kind {
	case TokenCode:
		e.redeemCode(w, r)
	case TokenRefresh:
		e.redeemRefresh(w, r)
	default:
		e.refuse(w, r, 70003, "'"+form.Get("grant_type")+"'")
	}
}

// redeemCode exchanges an authorization code.
func (e *exchange) redeemCode(w http.ResponseWriter, r *http.Request) {
	form := r.PostForm
	pkce := e.tenant.family != live || e.behavior.LivePKCE
	for _, name := range []string{"code", "redirect_uri", "code_verifier"} {
		if form.Get(name) == "" && (name != "code_verifier" || e.tenant.family != live) {
			e.refuse(w, r, 900144, "'"+name+"'")
			return
		}
	}
	e.mu.Lock()
	c, ok := e.codes[form.Get("code")]
	var refused int
	switch {
	case !ok:
		refused = 70000
	case time.Since(c.issued) > codeLife:
		refused = 70008
	case c.used:
		refused = 54005
	case c.grant.revoked:
		refused = 50173
	case slices.Contains(e.behavior.SPARedirectURIs, c.redirect) && r.Header.Get("Origin") == "":
		refused = 9002327
	case form.Get("redirect_uri") != c.redirect:
		refused = 500112
	case pkce && (c.challenge != "" || form.Has("code_verifier")) && challengeOf(form.Get("code_verifier")) != c.challenge:
		refused = 501481
	}
	if ok {
		c.used = true // a code is valid for one attempt
	}
	e.mu.Unlock()
	switch refused {
	case 0:
	case 70000:
		e.refuse(w, r, refused, "'code'")
		return
	case 500112:
		e.refuse(w, r, refused, "'"+form.Get("redirect_uri")+"'")
		return
	default:
		e.refuse(w, r, refused, "")
		return
	}
	u, ok := e.holder(w, r, c.grant)
	if !ok {
		return
	}
	if e.behavior.RequireMFAForCode && !c.grant.mfa && e.tenant.family != b2c {
		e.refuseMFA(w, r)
		return
	}
	p, f := e.plan(c.grant, u, form.Get)
	if !f.isZero() {
		e.failJSON(w, r, f)
		return
	}
	p.demand.capabilities = union(c.grant.demand.capabilities, p.demand.capabilities)
	e.issue(w, r, c.grant, u, p, nil)
}

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return b64(sum[:])
}

// redeemRefresh exchanges a refresh token.
func (e *exchange) redeemRefresh(w http.ResponseWriter, r *http.Request) {
	t, ok := e.presented(w, r)
	if !ok {
		return
	}
	g, strict := t.grant, e.behavior.Rotation == RotateStrict
	u, ok := e.holder(w, r, g)
	if !ok {
		return
	}
	switch {
	case e.behavior.RequireMFA && !g.mfa && e.tenant.family != b2c:
		e.refuseMFA(w, r)
		return
	case e.behavior.RequireConsent && !g.consent && e.tenant.family != b2c:
		e.refuse(w, r, 65001, "'"+e.ClientID+"'")
		return
	}
	if e.behavior.RefusePersonalAtCommon && e.tenant.name == "common" && u.personal() {
		f := refusal(70000, "'refresh_token'")
		f.Suberror = "bad_token"
		e.failJSON(w, r, f)
		return
	}
	p, f := e.plan(g, u, r.PostForm.Get)
	if !f.isZero() {
		e.failJSON(w, r, f)
		return
	}
	e.mu.Lock()
	if strict && t.used { // another request has used it meanwhile
		g.revoked = true
		e.mu.Unlock()
		e.refuseRevoked(w, r)
		return
	}
	t.used = true
	e.mu.Unlock()
	if name := e.behavior.RefreshAs; name != "" {
		other, ok := e.user(name)
		if !ok {
			e.refuse(w, r, 50034, "'"+name+"'")
			return
		}
		u = e.tenant.local(other)
	}
	e.issue(w, r, g, u, p, t)
}

// presented returns the refresh token of a request if it is valid. Otherwise it
// refuses the request and returns false.
func (e *exchange) presented(w http.ResponseWriter, r *http.Request) (*refreshToken, bool) {
	text := r.PostForm.Get("refresh_token")
	if text == "" {
		e.refuse(w, r, 900144, "'refresh_token'")
		return nil, false
	}
	redirect := r.PostForm.Get("redirect_uri")
	if redirect == "" && e.tenant.family == live {
		e.refuse(w, r, 900144, "'redirect_uri'")
		return nil, false
	}
	strict := e.behavior.Rotation == RotateStrict
	e.mu.Lock()
	t, ok := e.refresh[sha256.Sum256([]byte(text))]
	var g *grant
	expired, revoked := false, false
	if ok {
		g = t.grant
		life := refreshLife
		if g.tenant.family == b2c {
			life = b2cRefresh
		}
		expired = time.Since(t.issued) > life
		if strict && t.used {
			g.revoked = true
		}
		revoked = g.revoked
	}
	e.mu.Unlock()
	switch {
	case !ok:
		e.refuse(w, r, 70000, "'refresh_token'")
		return nil, false
	case revoked:
		e.refuseRevoked(w, r)
		return nil, false
	case expired:
		e.refuse(w, r, 700082, "")
		return nil, false
	case e.tenant.family == live && redirect != g.redirect:
		e.refuse(w, r, 500112, "'"+redirect+"'")
		return nil, false
	}
	return t, true
}

// refuseMFA demands multi-factor authentication by a claims challenge.
func (e *exchange) refuseMFA(w http.ResponseWriter, r *http.Request) {
	f := refusal(50076, "'"+graphAudience+"'")
	if e.tenant.family != live {
		f.Claims = mfaChallenge()
	}
	e.failJSON(w, r, f)
}

func (e *exchange) refuseRevoked(w http.ResponseWriter, r *http.Request) {
	f := e.behavior.Revoked
	if f.isZero() {
		f = refusal(50173, "")
	}
	e.fail(w, r, f)
}

// holder returns the person of a grant if they may still sign in at this
// endpoint. Otherwise it refuses the request and returns false.
func (e *exchange) holder(w http.ResponseWriter, r *http.Request, g *grant) (User, bool) {
	u, ok := e.user(g.user)
	if !ok {
		e.refuse(w, r, 50034, "'"+g.user+"'")
		return u, false
	}
	if e.tenant.family != g.tenant.family {
		e.refuse(w, r, 70000, "'code' or 'refresh_token'")
		return u, false
	}
	if code := e.tenant.admits(u); code != 0 {
		e.refuse(w, r, code, "'"+u.SignInName+"'")
		return u, false
	}
	return e.tenant.local(u), true
}

// issue answers with tokens. used is the refresh token of a renewal, or nil.
func (e *exchange) issue(w http.ResponseWriter, r *http.Request, g *grant, u User, p plan, used *refreshToken) {
	if e.tenant.family == b2c {
		e.issueB2C(w, r, g, u, p, used)
		return
	}
	if e.tenant.family == live {
		e.issueLive(w, r, g, u, p, used)
		return
	}
	b := &e.behavior
	// Personal accounts have no continuous access evaluation.
	capable := !u.personal() && e.tenant.family != plain && has(p.demand.capabilities, "cp1")
	if !capable {
		p.demand.capabilities = nil
	}
	life := b.AccessTokenLifetime
	if life == 0 {
		life = time.Duration(3600+randomInt(1800)) * time.Second
		if capable && p.aud == graphAudience {
			life = 20*time.Hour + time.Duration(randomInt(8*3600))*time.Second
		}
	}
	access, err := e.accessTokenFor(g, u, p, life)
	if err != nil {
		http.Error(w, "msauthtest: "+err.Error(), http.StatusInternalServerError)
		return
	}
	reply := map[string]any{
		"token_type":     "Bearer",
		"scope":          strings.Join(p.reply, " "),
		"expires_in":     int64(life / time.Second),
		"ext_expires_in": int64(life / time.Second),
		"access_token":   access,
	}
	if has(p.scopes, "openid") && !(used != nil && b.OmitIDTokenOnRefresh) {
		idToken, err := e.idToken(g, u, p.scopes, access)
		if err != nil {
			http.Error(w, "msauthtest: "+err.Error(), http.StatusInternalServerError)
			return
		}
		reply["id_token"] = idToken
		e.addSecrets(idToken)
	}
	e.addRefreshToken(r, reply, g, u, used)
	e.addTimes(reply)
	e.keepTokens(r, reply, g, used)
	e.keepAccess(access, g, u, p, life)
	e.reply(w, reply)
}

// addTimes adds refresh_in and changes expires_in as the behavior requires.
func (e *exchange) addTimes(reply map[string]any) {
	b := &e.behavior
	if b.RefreshIn > 0 {
		reply["refresh_in"] = int64(b.RefreshIn / time.Second)
	}
	switch b.ExpiresIn {
	case nil:
	case Omit:
		delete(reply, "expires_in")
	default:
		reply["expires_in"] = b.ExpiresIn
	}
}

// addRefreshToken adds a refresh token to a reply that should have one.
func (e *exchange) addRefreshToken(r *http.Request, reply map[string]any, g *grant, u User, used *refreshToken) {
	b := &e.behavior
	switch {
	case used == nil && !has(g.scopes, g.tenant.offlineScope()):
	case e.tenant.family == plain && b.OmitRefreshTokenAtCode:
	case used != nil && b.OmitRefreshToken:
	case used != nil && b.Rotation == RotateSame:
		reply["refresh_token"] = r.PostForm.Get("refresh_token")
	default:
		text := newRefreshToken(u, g.tenant)
		reply["refresh_token"] = text
		e.addSecrets(text)
	}
}

// keepTokens records the refresh token of a reply. used is that of a renewal,
// or nil.
func (e *exchange) keepTokens(r *http.Request, reply map[string]any, g *grant, used *refreshToken) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if text, ok := reply["refresh_token"].(string); ok && (used == nil || text != r.PostForm.Get("refresh_token")) {
		key := sha256.Sum256([]byte(text))
		e.refresh[key] = &refreshToken{grant: g, issued: time.Now()}
		g.family = append(g.family, key)
		if len(g.family) > maxRefreshTokens {
			delete(e.refresh, g.family[0])
			g.family = slices.Delete(g.family, 0, 1)
		}
	} else if used != nil {
		used.used = false // it stays valid
	}
}

// keepAccess records an access token.
func (e *exchange) keepAccess(text string, g *grant, u User, p plan, life time.Duration) {
	now := time.Now()
	e.addSecrets(text)
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.access) >= keep {
		for key, old := range e.access {
			if now.After(old.expires) {
				delete(e.access, key)
			}
		}
	}
	e.serial++
	t := accessToken{
		user: u.SignInName, family: g.tenant.family, subject: e.subjectAt(g.tenant, u), resource: p.aud, audience: p.aud, scopes: p.scp,
		acrs: g.acrs, capabilities: p.demand.capabilities, serial: e.serial, issued: now, expires: now.Add(life),
	}
	if p.api != nil {
		t.resource = p.api.ID
	}
	e.access[sha256.Sum256([]byte(text))] = t
}

// reply sends a successful reply.
func (e *exchange) reply(w http.ResponseWriter, reply map[string]any) {
	if e.behavior.TokenReply != nil {
		e.behavior.TokenReply(e.kind, reply)
	}
	if e.tenant.family == live {
		e.writeLive(w, http.StatusOK, reply)
		return
	}
	writeJSON(w, http.StatusOK, reply)
}

func randomInt(n int64) int64 {
	i, err := rand.Int(rand.Reader, big.NewInt(n))
	if err != nil {
		return 0
	}
	return i.Int64()
}

func without[T any](list []T, f func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), f)
}
