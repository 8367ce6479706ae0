package provider

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
)

// LiveIssuer is the issuer of accounts of Live Connect: User.Issuer of package
// msauth. The tokens themselves name another, liveTokenIssuer.
const LiveIssuer = "https://login.live.com"

// liveSignInScopes are asked for at every sign-in at Live Connect: wl.signin for the
// authentication token, which says who signs in, and wl.offline_access for a refresh
// token.
var liveSignInScopes = []string{"wl.signin", "wl.offline_access"}

// liveMetadata is what Live Connect would publish if it had a discovery document
// ("OAuth 2.0", Live SDK).
func (a *Authority) liveMetadata() *Metadata {
	return &Metadata{
		Issuer:        LiveIssuer,
		Authorization: a.Origin + "/oauth20_authorize.srf",
		Token:         a.Origin + "/oauth20_token.srf",
		EndSession:    a.Origin + "/oauth20_logout.srf",
	}
}

// liveReply returns a token reply of Live Connect in the form of the others, nil if it
// is none. reply is what body says as JSON; the body may also be a form, and the
// content type says nothing. Scopes may be parted by commas, and the type of the token
// may be missing; a member error makes it an error, whatever its value: the Live SDK
// read all that.
func liveReply(reply claims, body []byte) claims {
	if reply == nil {
		if reply = formReply(string(body)); reply == nil {
			return nil
		}
	}
	delete(reply, "id_token")
	if token, there := reply["authentication_token"]; there {
		reply["id_token"] = token
		delete(reply, "authentication_token")
	}
	set := func(name, value string) { reply[name], _ = json.Marshal(value) }
	if scope := reply.text("scope"); scope != "" {
		set("scope", strings.ReplaceAll(scope, ",", " "))
	}
	if _, there := reply["error"]; there && reply.text("error") == "" {
		set("error", "server_error")
	}
	if _, there := reply["token_type"]; !there {
		set("token_type", "bearer")
	}
	return reply
}

// formOfReply matches a form. Pages have other characters, whatever their links hold.
var formOfReply = regexp.MustCompile(`^[a-z_]+=[A-Za-z0-9%&=+*._~!,:;@/?$'()-]*$`)

// formReply reads a reply that is a form (application/x-www-form-urlencoded); nil if it
// is none that a token endpoint sends. No parameter may be there twice. A page whose
// links have such parameters is no form.
func formReply(body string) claims {
	body = strings.TrimSpace(body)
	form, err := url.ParseQuery(body)
	if err != nil || !formOfReply.MatchString(body) || !form.Has("access_token") && !form.Has("error") {
		return nil
	}
	reply := claims{}
	for name, values := range form {
		if len(values) != 1 {
			return nil
		}
		reply[name], _ = json.Marshal(values[0])
	}
	return reply
}
