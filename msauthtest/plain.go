package msauthtest

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// plainDiscovery returns the discovery document of the plain provider.
func (e *exchange) plainDiscovery() map[string]any {
	doc := e.endpoints()
	doc["subject_types_supported"] = []string{"public"}
	doc["code_challenge_methods_supported"] = []string{"S256"}
	doc["claims_supported"] = []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "sid", "name", "given_name", "family_name", "preferred_username", "email", "email_verified"}
	if methods, listed := e.authMethods(); listed && has(methods, "private_key_jwt") {
		if algorithms, listed := e.plainAlgorithms(); listed {
			doc["token_endpoint_auth_signing_alg_values_supported"] = algorithms
		}
	}
	if scopes := e.plainScopes(); scopes != nil {
		doc["scopes_supported"] = scopes
	}
	return doc
}

// plainClaims returns the claims of an ID token of the plain provider.
func (e *exchange) plainClaims(g *grant, u User, scopes []string, accessToken string) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"iss":     e.tenant.issuer(e.origin),
		"aud":     e.ClientID,
		"sub":     e.subjectAt(e.tenant, u),
		"iat":     now.Unix(),
		"exp":     now.Add(time.Hour).Unix(),
		"sid":     g.sid,
		"at_hash": halfHash(accessToken),
	}
	if has(scopes, "profile") && !e.behavior.PlainBareIDToken {
		claims["name"] = u.Name
		claims["preferred_username"] = u.SignInName
		setText(claims, "given_name", u.GivenName)
		setText(claims, "family_name", u.FamilyName)
	}
	if has(scopes, "email") && u.Email != "" && !e.behavior.PlainBareIDToken {
		claims["email"] = u.Email
		claims["email_verified"] = true
	}
	if len(u.Roles) > 0 {
		claims["roles"] = u.Roles
	}
	return claims
}

// plainScopes returns scopes_supported, or nil if discovery does not list it.
func (e *exchange) plainScopes() []string {
	switch {
	case e.behavior.PlainNoScopes:
		return nil
	case e.behavior.PlainScopes != nil:
		return e.behavior.PlainScopes
	}
	return []string{"openid", "profile", "email", "offline_access"}
}

// plainAlgorithms returns the algorithms of client assertions that are accepted,
// and whether discovery lists them.
func (e *exchange) plainAlgorithms() (algorithms []string, listed bool) {
	all := []string{"PS256", "RS256", "ES256"}
	switch list := e.behavior.PlainAuthAlgorithms; {
	case list == nil:
		return all, true
	case len(list) == 0:
		return all, false
	default:
		return list, true
	}
}

// checkPlain refuses offline_access if it is not supported.
func (e *exchange) checkPlain(scopes []string) Failure {
	if supported := e.plainScopes(); supported != nil && has(scopes, "offline_access") && !has(supported, "offline_access") {
		return Failure{Error: "invalid_scope", Description: "The scope offline_access is not supported."}
	}
	return Failure{}
}

// checkGranted refuses scopes of a renewal that the sign-in did not grant (RFC
// 6749 section 6).
func checkGranted(asked, granted []string) Failure {
	for _, scope := range asked {
		if !has(granted, scope) {
			return Failure{Error: "invalid_scope", Description: "The scope " + scope + " was not granted."}
		}
	}
	return Failure{}
}

// plainError returns the error document of RFC 6749 section 5.2.
func (f Failure) plainError() map[string]any {
	doc := map[string]any{"error": f.Error, "error_description": f.Description}
	setText(doc, "suberror", f.Suberror)
	setText(doc, "claims", f.Claims)
	return doc
}

// plainAnswer returns the error parameters of the authorize endpoint.
func (f Failure) plainAnswer() url.Values {
	return url.Values{"error": {f.Error}, "error_description": {f.Description}}
}

// hinted reports whether an id_token_hint is an ID token of the plain provider
// for this client (OpenID Connect RP-Initiated Logout section 2). It may have
// expired.
func (e *exchange) hinted(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	e.mu.Lock()
	generation := e.generation
	e.mu.Unlock()
	signed := false
	for g := range generation + 1 {
		signed = signed || pooledKey(workKey, g).verifies(parts)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || !signed {
		return false
	}
	var claims struct{ Iss, Aud string }
	return json.Unmarshal(payload, &claims) == nil && claims.Iss == e.tenant.issuer(e.origin) && claims.Aud == e.ClientID
}
