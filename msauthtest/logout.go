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
	ended := e.endSessions(r, q.Get("logout_hint"))
	target, refused := q.Get("post_logout_redirect_uri"), ""
	if target != "" && !registered(e.behavior.RedirectURIs, target) {
		target, refused = "", target
	}
	if state := q.Get("state"); state != "" && target != "" {
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		target += sep + "state=" + url.QueryEscape(state)
	}
	e.backChannel(r.Context(), ended)
	frames := e.frontChannel(ended)
	if target != "" && frames == nil {
		w.Header().Set("Location", target)
		w.WriteHeader(http.StatusFound)
		return
	}
	if target != "" {
		w.Header().Set("Refresh", "2; url="+target)
	}
	render(w, http.StatusOK, "signedout", page{Title: "Signed out", Data: map[string]any{"Refused": refused, "Frames": frames, "Next": target}})
}

// frontChannel returns the addresses by which apps hear that sessions have ended.
func (e *exchange) frontChannel(ended []endedSession) (frames []string) {
	for _, address := range e.behavior.FrontChannelLogout {
		for _, session := range ended {
			q := url.Values{"sid": {session.sid}}
			if e.tenant.family == plain {
				q.Set("iss", e.tenant.issuer(e.origin))
			}
			frames = append(frames, address+"?"+q.Encode())
		}
	}
	return frames
}
