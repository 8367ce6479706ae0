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
	case e.tenant.family != plain: // stricter than Microsoft, which accepts Basic too
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
	if r.Header.Get("Authorization") != "" && (e.tenant.family == plain || e.tenant.family == b2c) {
		// RFC 6749 section 2.3.1: both are form-urlencoded.
		name, password, ok := r.BasicAuth()
		name, err := url.QueryUnescape(name)
		password, err2 := url.QueryUnescape(password)
		switch {
		case !ok || err != nil || err2 != nil:
			e.refuse(w, r, 9002313, "the Authorization header is not valid Basic authentication")
			return false
		case secret != "" || id != "" && id != name: // RFC 6749 section 2.3
			e.refuse(w, r, 9002313, "the client authenticates in two ways")
			return false
		}
		id, secret, method = name, password, "client_secret_basic"
	}
	methods, _ := e.authMethods()
	refused, about := 0, ""
	switch {
	case id == "":
		refused, about = 900144, "'client_id'"
	case !strings.EqualFold(id, e.ClientID):
		refused, about = 700016, "'"+id+"'"
	case secret == "":
		refused = 7000218
	case !slices.Contains(methods, method):
		e.failJSON(w, r, Failure{Error: "invalid_client", Description: "The client authenticates with " + method + ", which this provider does not support."})
		return false
	case subtle.ConstantTimeCompare([]byte(secret), []byte(e.ClientSecret)) != 1:
		refused, about = 7000215, "'"+e.ClientID+"'"
	case e.behavior.SecretExpired:
		refused, about = 7000222, "'"+e.ClientID+"'"
	default:
		return true
	}
	if method == "client_secret_basic" { // RFC 6749 section 5.2
		w.Header().Set("WWW-Authenticate", `Basic realm="msauthtest"`)
	}
	e.refuse(w, r, refused, about)
	return false
}
