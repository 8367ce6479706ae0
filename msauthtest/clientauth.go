package msauthtest

import (
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// authMethods returns the ways in which clients may authenticate at the token
// endpoint (OpenID Connect Core section 9). If listed is false, discovery does
// not list them, which means client_secret_basic.
func (e *exchange) authMethods() (methods []string, listed bool) {
	switch {
	case e.tenant.family == b2c:
		return []string{"client_secret_post", "client_secret_basic"}, true
	case e.tenant.family == live:
		return []string{"client_secret_post"}, true
	case e.tenant.family != plain: // stricter than Microsoft, which accepts Basic too
		return []string{"client_secret_post", "private_key_jwt"}, true
	case e.behavior.PlainNoAuthMethods:
		return []string{"client_secret_basic"}, false
	case e.behavior.PlainAuthMethods != nil:
		return e.behavior.PlainAuthMethods, true
	}
	return []string{"client_secret_post"}, true
}

// authenticate checks the client's credentials. If they are wrong, it refuses
// the request and returns false.
func (e *exchange) authenticate(w http.ResponseWriter, r *http.Request) bool {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	method := "client_secret_post"
	asserted := r.PostForm.Has("client_assertion") || r.PostForm.Has("client_assertion_type")
	if asserted {
		method = "private_key_jwt"
	}
	if r.Header.Get("Authorization") != "" && (e.tenant.family == plain || e.tenant.family == b2c) {
		// RFC 6749 section 2.3.1: both are form-urlencoded.
		name, password, ok := r.BasicAuth()
		name, err := url.QueryUnescape(name)
		password, err2 := url.QueryUnescape(password)
		switch {
		case !ok || err != nil || err2 != nil:
			e.refuse(w, r, 9002313, "the Authorization header is not valid Basic authentication")
			return false
		case secret != "" || asserted || id != "" && id != name: // RFC 6749 section 2.3
			e.refuse(w, r, 9002313, "the client authenticates in two ways")
			return false
		}
		id, secret, method = name, password, "client_secret_basic"
	}
	methods, _ := e.authMethods()
	var c *Credential
	var f Failure
	switch {
	case id == "":
		f = refusal(900144, "'client_id'")
	case !strings.EqualFold(id, e.ClientID):
		f = refusal(700016, "'"+id+"'")
	case asserted && secret != "": // RFC 6749 section 2.3
		f = refusal(9002313, "the client authenticates in two ways")
	case secret == "" && r.PostForm.Get("client_assertion") == "", asserted && (e.tenant.family == b2c || e.tenant.family == live):
		f = refusal(7000218, "")
	case !slices.Contains(methods, method):
		f = unauthenticated("The client authenticates with " + method + ", which this provider does not support.")
	case asserted:
		c, f = e.checkAssertion(r)
	default:
		c, f = e.checkSecret(secret)
	}
	c.count(f.isZero())
	if f.isZero() {
		return true
	}
	if method == "client_secret_basic" && len(f.Codes) > 0 { // RFC 6749 section 5.2
		w.Header().Set("WWW-Authenticate", `Basic realm="msauthtest"`)
	}
	e.failJSON(w, r, f)
	return false
}

// unauthenticated returns a refusal of the plain provider.
func unauthenticated(text string) Failure {
	return Failure{Error: "invalid_client", Description: text}
}

// checkSecret returns the credential that a client secret belongs to, if any,
// and why it is refused, if it is.
func (e *exchange) checkSecret(secret string) (*Credential, Failure) {
	c, standing := e.find(secretCredential, func(c *Credential) bool {
		return subtle.ConstantTimeCompare([]byte(secret), []byte(c.value())) == 1
	})
	switch {
	case standing == outdated, standing == valid && c == e.secret && e.behavior.SecretExpired:
		return c, refusal(7000222, "'"+e.ClientID+"'")
	case standing != valid, e.tenant.family == live && c.version < e.activeVersion():
		return c, refusal(7000215, "'"+e.ClientID+"'")
	}
	return c, Failure{}
}
