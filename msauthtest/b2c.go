package msauthtest

import (
	"cmp"
	"net/http"
	"strings"
	"time"
)

// Azure AD B2C, a user flow: what differs from Entra. See "Set up the OpenID
// Connect authentication in Azure AD B2C", "Request an access token" and
// "Overview of tokens".
const (
	b2cDomain  = "fabrikam.onmicrosoft.com"
	b2cPolicy  = "b2c_1_susi"
	b2cPath    = b2cDomain + "/" + b2cPolicy
	b2cFlow    = "B2C_1_susi" // the claim tfp
	b2cRefresh = 14 * 24 * time.Hour
)

// sharedSubject is the claim sub if a user flow sets it to "Not supported".
const sharedSubject = "Not supported currently. Use oid claim."

// b2cDiscovery returns the discovery document of a user flow.
func (e *exchange) b2cDiscovery() map[string]any {
	doc := e.endpoints()
	doc["response_modes_supported"] = []string{"query", "fragment", "form_post"}
	doc["response_types_supported"] = []string{"code", "code id_token", "code token", "code id_token token", "id_token", "id_token token", "token", "token id_token"}
	doc["scopes_supported"] = []string{"openid"}
	doc["subject_types_supported"] = []string{"pairwise"}
	doc["claims_supported"] = []string{"name", "emails", "idp", "tfp", "sub", "iss", "iat", "exp", "aud", "acr", "nonce", "auth_time"}
	return doc
}

// b2cClaims returns the claims of a user flow's ID token. They do not depend on
// the scopes: there is no tid and no preferred_username, and emails is a list.
func (e *exchange) b2cClaims(g *grant, u User, accessToken string) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"exp":  now.Add(time.Hour).Unix(),
		"nbf":  now.Unix(),
		"ver":  "1.0",
		"iss":  e.tenant.issuer(e.origin),
		"sub":  e.subjectAt(e.tenant, u),
		"aud":  e.ClientID,
		"iat":  now.Unix(),
		"oid":  u.ObjectID,
		"name": u.Name,
		"idp":  "google.com",
		"tfp":  b2cFlow,
	}
	if e.behavior.B2CSharedSubject {
		claims["sub"] = sharedSubject
	}
	setText(claims, "given_name", u.GivenName)
	setText(claims, "family_name", u.FamilyName)
	if u.Email != "" {
		claims["emails"] = []string{u.Email}
	}
	if accessToken != "" {
		claims["at_hash"] = halfHash(accessToken)
	}
	return claims
}

// b2cAccessToken returns an access token for the app itself or for an API.
func (e *exchange) b2cAccessToken(u User, p plan, life time.Duration) (string, error) {
	now := time.Now()
	key := e.signingKey(b2cKey)
	claims := map[string]any{
		"iss":  e.tenant.issuer(e.origin),
		"exp":  now.Add(life).Unix(),
		"nbf":  now.Unix(),
		"iat":  now.Unix(),
		"aud":  p.aud,
		"sub":  e.subjectAt(e.tenant, u),
		"oid":  u.ObjectID,
		"name": u.Name,
		"tfp":  b2cFlow,
		"azp":  e.ClientID,
		"ver":  "1.0",
	}
	if len(p.scp) > 0 {
		claims["scp"] = strings.Join(p.scp, " ")
	}
	payload, err := marshalClaims(claims)
	if err != nil {
		return "", err
	}
	return key.signRS256([]byte(`{"alg":"RS256","kid":"`+key.kid+`","typ":"JWT"}`), payload), nil
}

// b2cEnvelope returns a random text in the form of B2C's codes and refresh
// tokens, a JWE.
func b2cEnvelope() string {
	return strings.Join([]string{
		b64([]byte(`{"kid":"cpimcore_09252015","ver":"1.0","zip":"Deflate","ser":"1.0"}`)),
		b64(randomBytes(256)), b64(randomBytes(12)), b64(randomBytes(560)), b64(randomBytes(16)),
	}, ".")
}

// b2cScope parses a scope. It is one of OpenID Connect, of the app itself,
// named by its client ID, or of an API.
func (e *exchange) b2cScope(scope string) (p permission, ok bool) {
	if strings.EqualFold(scope, e.ClientID) {
		return permission{e.ClientID, ""}, true
	}
	p = e.apis.permission(scope)
	switch {
	case p.resource == "":
		return p, true
	case p.resource == graphAudience:
		return p, false
	}
	api, added := e.apis.find(p.resource)
	if !added {
		return p, len(e.apis) == 0
	}
	return p, p.name == defaultScope || len(api.Scopes) == 0 || hasFold(api.Scopes, p.name)
}

// checkB2C refuses scopes that the app has no permission for.
func (e *exchange) checkB2C(scopes []string) Failure {
	for _, scope := range scopes {
		if _, ok := e.b2cScope(scope); !ok {
			return Failure{Error: "invalid_request", Description: "AADB2C90117: The scope '" + scope + "' provided in the request is not supported."}
		}
	}
	return Failure{}
}

// planB2C decides how to answer a token request. If p.aud is empty, no scope is
// of a resource, and there is no access token.
func (e *exchange) planB2C(g *grant, form func(string) string) (plan, Failure) {
	p := plan{scopes: g.scopes, scp: []string{}}
	if asked := strings.Fields(form("scope")); len(asked) > 0 {
		p.scopes = asked
	}
	if f := e.checkB2C(p.scopes); !f.isZero() {
		return p, f
	}
	for _, scope := range p.scopes {
		q, _ := e.b2cScope(scope)
		switch {
		case q.resource == "":
		case p.aud == "":
			p.aud = q.resource
			if api, ok := e.apis.find(q.resource); ok {
				p.api, p.aud = &api, api.audience()
			}
			fallthrough
		default:
			if q.name != "" {
				p.scp = append(p.scp, q.name)
			}
		}
	}
	switch {
	case p.aud != "":
		p.reply = p.scopes
	case !has(p.scopes, "offline_access"):
		p.reply = []string{"openid"}
	}
	return p, Failure{}
}

// issueB2C answers with tokens.
func (e *exchange) issueB2C(w http.ResponseWriter, r *http.Request, g *grant, u User, p plan, used *refreshToken) {
	b := &e.behavior
	now := time.Now()
	reply := map[string]any{
		"token_type":   "Bearer",
		"not_before":   now.Unix(),
		"scope":        strings.Join(p.reply, " "),
		"profile_info": b64([]byte(`{"ver":"1.0","tid":"` + TenantExternal + `","sub":null,"name":null,"preferred_username":null,"idp":null}`)),
	}
	access, life := "", cmp.Or(b.AccessTokenLifetime, time.Hour)
	if p.aud != "" {
		var err error
		if access, err = e.accessTokenFor(g, u, p, life); err != nil {
			http.Error(w, "msauthtest: "+err.Error(), http.StatusInternalServerError)
			return
		}
		reply["access_token"] = access
		reply["expires_in"] = int64(life / time.Second)
		reply["expires_on"] = now.Add(life).Unix()
		reply["resource"] = p.aud
	}
	if !(used != nil && b.OmitIDTokenOnRefresh) {
		idToken, err := e.idToken(g, u, p.scopes, access)
		if err != nil {
			http.Error(w, "msauthtest: "+err.Error(), http.StatusInternalServerError)
			return
		}
		reply["id_token"] = idToken
		reply["id_token_expires_in"] = 3600
		e.addSecrets(idToken)
	}
	e.addRefreshToken(r, reply, g, u, used)
	if reply["refresh_token"] != nil {
		reply["refresh_token_expires_in"] = int64(b2cRefresh / time.Second)
	}
	e.keepTokens(r, reply, g, used)
	if access != "" {
		e.keepAccess(access, g, u, p, life)
	}
	e.reply(w, reply)
}
