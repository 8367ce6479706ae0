package msauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
)

// live reports whether the provider is Live Connect.
func (m *Middleware) live() bool { return m.authority.Kind == provider.LiveConnect }

// identityToken is what the token is called that says who signs in.
func (m *Middleware) identityToken() string {
	if m.live() {
		return "authentication token"
	}
	return "ID token"
}

// completeLive checks what is different at Live Connect: it has personal accounts
// only, its tokens do not say when or how somebody signed in, and secrets are all that
// it accepts of an app.
func (c *Config) completeLive(authority *url.URL) error {
	c.Authority = authority.Scheme + "://" + strings.ToLower(authority.Host+strings.TrimRight(authority.Path, "/"))
	const has = "cannot be used with Live Connect (Authority %q): "
	for _, f := range []struct {
		field  string
		set    bool
		reason string
	}{
		{"Tenant", c.Tenant != "", "it has personal accounts only, and no tenants"},
		{"AllowedTenants", len(c.AllowedTenants) > 0, "it has personal accounts only, and no tenants"},
		{"Reauthenticate", c.Reauthenticate, "its tokens do not say when credentials were entered"},
		{"ContinuousAccess", c.ContinuousAccess, "it has no claims challenges"},
	} {
		if f.set {
			return fieldError(f.field, has+f.reason, c.Authority)
		}
	}
	for i, one := range c.Credentials {
		if !one.secret {
			return fieldError("Credentials", has+"Credentials[%d] is no client secret, and Live Connect knows nothing else", c.Authority, i)
		}
	}
	return nil
}

// checkVersions checks the versions of secrets: the newest comes first, as the first
// is the one that calls.
func (c *Config) checkVersions() error {
	last := -1
	for i, one := range c.Credentials {
		switch {
		case !one.numbered:
		case c.kind() != provider.LiveConnect:
			return fieldError("Credentials", "have versions, which are for Live Connect (Authority %q)", provider.LiveIssuer)
		case last >= 0 && one.version >= c.Credentials[last].version:
			return fieldError("Credentials", "have version %d before version %d: the newest comes first, each version once",
				c.Credentials[last].version, one.version)
		default:
			last = i
		}
	}
	return nil
}

// firstLocale returns the first of several languages: parameter locale takes one.
func firstLocale(locales string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(locales), " ")
	return first
}

// liveLogout returns the parameters of oauth20_logout.srf ("Signing users in with REST",
// Live SDK).
func (m *Middleware) liveLogout() url.Values {
	return url.Values{"client_id": {m.cfg.ClientID}, "redirect_uri": {m.cfg.PostLogoutURL}}
}

// unprovable returns an error at Live Connect, for a requirement that no token of it
// could meet.
func (m *Middleware) unprovable(name string) error {
	if !m.live() {
		return nil
	}
	return fmt.Errorf("%s: the tokens of Live Connect say who somebody is, and nothing else", name)
}

// VerifyAuthenticationToken checks an authentication token of Live Connect
// ([Config.Authority] "https://login.live.com") and returns the user whom it names. It
// is for other parts of the site that are brought such a token, by an app or by a page
// that got it from [Session.AuthenticationToken]: the bearer has signed in to this app
// as that user, at Microsoft. It asks nobody.
//
// The token must be signed with one of the app's client secrets, the one whose version
// it names if that is known ([Credential.WithVersion]), for this ClientID and the host
// of BaseURL, and must not have expired for more than a minute. Its nonce or time of
// issue cannot be checked, because it has neither: whoever has a copy can use it until
// it expires, usually for a day. The error says why a token is refused, and shows
// nothing of it that could be used; the user is then the zero User.
//
// See "Single sign-on for apps and websites" (Live SDK).
func (m *Middleware) VerifyAuthenticationToken(ctx context.Context, token string) (User, error) {
	if !m.live() {
		return User{}, errors.New("msauth: authentication tokens are those of Live Connect: Config.Authority is for another provider")
	}
	id, err := m.authority.VerifyAuthenticationToken(ctx, token)
	if err != nil {
		return User{}, err
	}
	return User(id.User), nil
}

// AuthenticationToken returns the session's authentication token of Live Connect, for
// [Middleware.VerifyAuthenticationToken] in other parts of the site. It is as good as
// the session itself until the token expires, even after signing out, so give it to
// nobody else. It is renewed with the session's tokens. The error matches
// [ErrTokenUnavailable] if there is none that is valid: the provider is another one, the
// session is one of [Middleware.Offline], with [Config.Tokens] others have renewed the
// tokens for a day, or the token was left out for want of room (see
// [Config.CookieBudget]).
func (s *Session) AuthenticationToken() (string, error) {
	if s == nil || s.tokens == nil {
		return "", ErrNoSession
	}
	token, err := s.tokens.authenticationToken()
	return token, public(err)
}

func (h *heldTokens) authenticationToken() (string, error) {
	if !h.m.live() {
		return "", ErrTokenUnavailable
	}
	rec := h.record().Clone()
	if err := rec.Unpack(); err != nil {
		return "", errors.Join(ErrTokenUnavailable, err)
	}
	if h.over(rec) {
		return "", ErrNoSession
	}
	token := string(rec.IDToken)
	if ends, err := provider.AuthenticationTokenEnds(token); err != nil || !time.Now().Before(ends) {
		return "", ErrTokenUnavailable
	}
	return token, nil
}

func (givenTokens) authenticationToken() (string, error) { return "", ErrTokenUnavailable }
