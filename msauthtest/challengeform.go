package msauthtest

import (
	"encoding/base64"
	"net/http"
)

// A ChallengeForm is a way to write a claims challenge in a WWW-Authenticate
// header. Graph has been seen to use several, Azure Resource Manager another.
type ChallengeForm string

const (
	// ChallengeBearer has realm, authorization_uri, client_id,
	// error="insufficient_claims" and claims.
	ChallengeBearer ChallengeForm = ""

	// ChallengePoP has a challenge of the scheme PoP before the Bearer one, in
	// the same line, and error_description before error.
	ChallengePoP ChallengeForm = "PoP"

	// ChallengeUnquoted has no quotes around authorization_uri, and
	// errorDescription after claims.
	ChallengeUnquoted ChallengeForm = "unquoted"

	// ChallengeCAEError has no client_id, and its claims name an error of
	// continuous access evaluation besides the demand: xms_caeerror.
	ChallengeCAEError ChallengeForm = "xms_caeerror"

	// ChallengeARM is the form of Azure Resource Manager: error="invalid_token"
	// with claims, and no realm.
	ChallengeARM ChallengeForm = "ARM"
)

// revokedText is Graph's message when it challenges a token.
const revokedText = "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp"

// authorizationURI returns the parameter authorization_uri.
func (e *exchange) authorizationURI() string { return e.URL + "/common/oauth2/v2.0/authorize" }

// clientPart returns the parameter client_id, with a comma before it: Graph's
// own ID, or "" for an API of the app's own.
func (e *exchange) clientPart() string {
	if e.kind == OwnAPI {
		return ""
	}
	return `, client_id="` + graphClientID + `"`
}

// header returns the value of WWW-Authenticate. client is the parameter
// client_id, with a comma before it.
func (f ChallengeForm) header(uri, client, claims string) string {
	text := `claims="` + base64.StdEncoding.EncodeToString([]byte(claims)) + `"`
	where := `realm="", authorization_uri="` + uri + `"`
	switch f {
	case ChallengePoP:
		return `PoP ` + where + client + `, nonce="` + b64(randomBytes(24)) + `", Bearer ` + where + client +
			`, error_description="` + revokedText + `", error="insufficient_claims", ` + text
	case ChallengeUnquoted:
		return `Bearer realm="", authorization_uri=` + uri + client + `, error="insufficient_claims", ` + text + `, errorDescription="` + revokedText + `"`
	case ChallengeCAEError:
		return `Bearer ` + where + `, error="insufficient_claims", ` + text
	case ChallengeARM:
		return `Bearer authorization_uri="https://login.windows.net/", error="invalid_token", error_description="User session has been revoked", ` + text
	}
	return `Bearer ` + where + client + `, error="insufficient_claims", ` + text
}

// challengeWith answers 401 with a claims challenge.
func (e *exchange) challengeWith(w http.ResponseWriter, r *http.Request, form ChallengeForm, claims, message string) {
	w.Header().Set("WWW-Authenticate", form.header(e.authorizationURI(), e.clientPart(), claims))
	code, oauthError := graphCode(http.StatusUnauthorized), "insufficient_claims"
	if form == ChallengeARM {
		code, oauthError, message = "AuthenticationFailed", "invalid_token", "Authentication failed."
	}
	e.unauthorized(w, r, code, oauthError, message)
}

// deny answers 401 in the form of Graph or of an API of the app's own.
func (e *exchange) deny(w http.ResponseWriter, r *http.Request, message string) {
	header := `Bearer realm="", authorization_uri="` + e.authorizationURI() + `"` + e.clientPart()
	oauthError := ""
	if r.Header.Get("Authorization") != "" {
		oauthError = "invalid_token"
		header += `, error="invalid_token"`
	}
	w.Header().Set("WWW-Authenticate", header)
	e.unauthorized(w, r, graphCode(http.StatusUnauthorized), oauthError, message)
}

func (e *exchange) unauthorized(w http.ResponseWriter, r *http.Request, code, oauthError, message string) {
	if e.kind != OwnAPI {
		graphError(w, r, http.StatusUnauthorized, code, message)
		return
	}
	writeJSON(w, http.StatusUnauthorized, map[string]any{"error": oauthError, "error_description": message})
}
