package msauthtest

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
)

// liveAccess is the usual lifetime of Live Connect's access tokens (OAUTH).
const liveAccess = time.Hour

// planLive decides how to answer a token request. The parameter scope of a
// renewal is optional (SDK, BuildRefreshTokenPostContent). Withdrawn scopes
// refuse it altogether (Bing Ads API, "Handle Service Errors and Exceptions").
func (e *exchange) planLive(g *grant, u User, form func(string) string) (plan, Failure) {
	p := plan{scopes: g.scopes}
	if asked := splitLive(form("scope")); len(asked) > 0 {
		p.scopes = asked
	}
	if f := checkLive(p.scopes); !f.isZero() {
		return p, f
	}
	granted := e.consented(g.user)
	for _, q := range e.apis.permissions(p.scopes) {
		if !slices.ContainsFunc(granted, q.same) {
			return p, e.missingConsent(u)
		}
	}
	p.reply = p.scopes
	return p, Failure{}
}

// issueLive answers with tokens. The members of the reply are those of OAUTH and
// of SDK (ReadResponse). user_id has the form that users report (issue 127 of
// onedrive-sdk-ios); that it equals the claim sub of ID tokens of version 2.0 is
// guessed. No API accepts the access token: apis.live.net was shut down on 1
// November 2018.
func (e *exchange) issueLive(w http.ResponseWriter, r *http.Request, g *grant, u User, p plan, used *refreshToken) {
	b := &e.behavior
	life := cmp.Or(b.AccessTokenLifetime, liveAccess)
	access := base64.StdEncoding.EncodeToString(append([]byte{0x13, 0x00, 0x68}, randomBytes(600)...))
	reply := map[string]any{
		"token_type":   "bearer",
		"expires_in":   int64(life / time.Second),
		"scope":        strings.Join(p.reply, " "),
		"access_token": access,
		"user_id":      e.subjectFor(e.ClientID, u),
	}
	e.addSecrets(access)
	if has(p.scopes, liveSignIn) && !(used != nil && b.OmitIDTokenOnRefresh) {
		token, err := e.issuedAuthenticationToken(u, g.redirect)
		if err != nil {
			http.Error(w, "msauthtest: "+err.Error(), http.StatusInternalServerError)
			return
		}
		reply["authentication_token"] = token
	}
	e.addRefreshToken(r, reply, g, u, used)
	e.addTimes(reply)
	e.keepTokens(r, reply, g, used)
	e.reply(w, reply)
}

// writeLive sends a document of the token endpoint.
func (e *exchange) writeLive(w http.ResponseWriter, status int, doc map[string]any) {
	if e.behavior.LiveReply != nil {
		e.behavior.LiveReply(w, e.kind, status, doc)
		return
	}
	writeJSON(w, status, doc)
}

// newLiveRefreshToken returns a random text in the form of Live Connect's
// refresh tokens, as in issue 129 of onedrive-sdk-csharp.
func newLiveRefreshToken() string {
	swap := strings.NewReplacer("+", "*", "/", "!", "=", "$")
	return "MC" + swap.Replace(base64.StdEncoding.EncodeToString(randomBytes(256)))
}
