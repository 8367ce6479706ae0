package msauthtest

import (
	"net/http"
	"net/url"
	"strings"
)

// logout serves the end-session endpoint (OpenID Connect RP-Initiated Logout
// 1.0). With logout_hint it signs out that person, otherwise everybody in this
// browser.
func (e *exchange) logout(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.Method == http.MethodPost {
		q = r.PostForm
	}
	if e.tenant.family == plain && e.behavior.RequireIDTokenHint && !e.hinted(q.Get("id_token_hint")) {
		e.failPage(w, r, Failure{Error: "invalid_request", Description: "The parameter id_token_hint is missing or not an ID token of this provider for this client."})
		return
	}
	hinted, known := e.user(q.Get("logout_hint"))
	if c, err := r.Cookie(e.cookie); err == nil {
		e.mu.Lock()
		if session := e.sessions[c.Value]; session != nil {
			if known {
				delete(session.accounts, strings.ToLower(hinted.SignInName))
			} else {
				clear(session.accounts)
			}
		}
		e.mu.Unlock()
	}
	target := q.Get("post_logout_redirect_uri")
	if target == "" || !registered(e.behavior.RedirectURIs, target) {
		render(w, http.StatusOK, "signedout", page{Title: "Signed out", Data: map[string]any{"Refused": target}})
		return
	}
	if state := q.Get("state"); state != "" {
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		target += sep + "state=" + url.QueryEscape(state)
	}
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusFound)
}
