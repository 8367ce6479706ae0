package msauthtest

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// An endedSession is a person's session at the provider.
type endedSession struct {
	user string // sign-in name
	sid  string
}

// LogoutToken returns a new logout token of the plain provider (OpenID Connect
// Back-Channel Logout 1.0 section 2.4), with the claims iss, aud, iat, exp (in two
// minutes), jti, sub, events and, if sid is not empty, sid. changes replaces claims,
// or adds some; nil removes one. It is signed as [Behavior.Signing] says. LogoutToken
// panics if the person does not exist, or the claims cannot be encoded.
//
// An app gets it in a POST, as logout_token in a form.
func (s *Server) LogoutToken(signInName, sid string, changes map[string]any) string {
	s.mu.Lock()
	behavior := s.behavior
	s.mu.Unlock()
	generic, _ := s.tenant("generic")
	e := &exchange{Server: s, origin: s.URL, behavior: behavior, tenant: generic}
	return e.logoutToken(endedSession{signInName, sid}, changes)
}

func (e *exchange) logoutToken(ended endedSession, changes map[string]any) string {
	u, ok := e.user(ended.user)
	if !ok {
		panic("msauthtest: LogoutToken: there is nobody with the sign-in name " + ended.user)
	}
	now := time.Now()
	claims := map[string]any{
		"iss": e.tenant.issuer(e.origin), "aud": e.ClientID, "sub": e.subjectAt(e.tenant, u),
		"iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": newGUID(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	setText(claims, "sid", ended.sid)
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	token, err := e.sign("logout+jwt", u, claims)
	if err != nil {
		panic("msauthtest: " + err.Error())
	}
	e.addSecrets(token)
	return token
}

// backChannel tells apps that sessions have ended. Microsoft does not. What they
// answer, or that they do not, changes nothing, as with other providers.
func (e *exchange) backChannel(ctx context.Context, ended []endedSession) {
	if e.tenant.family != plain {
		return
	}
	client := e.behavior.BackChannelClient
	if client == nil {
		client = issuerClient
	}
	for _, address := range e.behavior.BackChannelLogout {
		for _, session := range ended {
			if _, ok := e.user(session.user); !ok {
				continue // removed since the sign-in
			}
			form := url.Values{"logout_token": {e.logoutToken(session, nil)}}
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
			if err != nil {
				continue
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if res, err := client.Do(r); err == nil {
				res.Body.Close()
			}
		}
	}
}
