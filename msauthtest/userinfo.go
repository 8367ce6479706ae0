package msauthtest

import "net/http"

// userinfo serves the userinfo endpoint (OpenID Connect Core section 5.3) of
// all providers but B2C.
func (e *exchange) userinfo(w http.ResponseWriter, r *http.Request) {
	u, ok := e.bearer(w, r, need{[]string{"openid"}, denied, insufficient})
	if !ok {
		return
	}
	t, _, _ := e.accessToken(bearerOf(r), graphAudience, e.URL)
	doc := map[string]any{"sub": t.subject}
	if t.family != plain || has(t.scopes, "profile") {
		doc["name"] = u.Name
		setText(doc, "given_name", u.GivenName)
		setText(doc, "family_name", u.FamilyName)
	}
	if t.family != plain || has(t.scopes, "email") {
		setText(doc, "email", u.Email)
	}
	switch {
	case t.family != plain:
		doc["picture"] = e.URL + "/v1.0/me/photo/$value"
	case has(t.scopes, "profile"):
		doc["preferred_username"] = u.SignInName
	}
	if e.behavior.UserInfo != nil {
		e.behavior.UserInfo(doc)
	}
	writeJSON(w, http.StatusOK, doc)
}
