package provider

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"example.com/msauth/internal/seal"
	"github.com/go-jose/go-jose/v4"
)

const (
	maxLogoutToken = 16 << 10 // bytes
	maxLogoutID    = 200      // bytes of sid and of jti
	maxSubject     = 255      // bytes of sub (OpenID Connect Core section 2)

	// maxLogoutAge is how old a logout token may be that has no exp. Section 2.4 of
	// the specification requires exp since December 2023; without it were seen
	// Keycloak 23.0.3 (keycloak/keycloak issue 25753), Ory Hydra 2.2.0 (ory/hydra
	// issue 4035) and authentik 2025.8.1 (goauthentik/authentik issue 16490).
	maxLogoutAge = 10 * time.Minute
)

// logoutEvent is the member of the claim events that makes a JWT a logout token.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// A Logout is what a verified logout token says (OpenID Connect Back-Channel Logout
// 1.0 section 2.4).
type Logout struct {
	// SID is the provider's id of the session that has ended. If it is "", all
	// sessions of Subject have.
	SID string
	// Subject is the person at Issuer; "" if the token names the session alone.
	Subject string
	// Issuer is that of the token, and of ID tokens.
	Issuer string
	// JTI is the id of the token.
	JTI string
	// IssuedAt is when the token was made.
	IssuedAt time.Time
	// Expires is from when on the token is refused, leeways included.
	Expires time.Time
}

// VerifyLogout checks a logout token, as section 2.6 of OpenID Connect Back-Channel
// Logout 1.0 says, but for its step 8: whether the token is used again is for the
// caller to find out, by JTI. Microsoft sends no logout tokens: there, all are
// refused.
//
// The error is a KeysUnavailableError if the token could not be judged. Any other
// means that it is not valid, and contains no text of the token.
//
// Anybody can send a logout token. VerifyLogout asks the provider for something only
// if everything but the signature is right, and for new keys at most once in five
// minutes, besides what ID tokens cause.
func (a *Authority) VerifyLogout(ctx context.Context, raw string) (*Logout, error) {
	if a.MicrosoftIssuer() {
		return nil, logoutTokens.errorf("this provider sends none")
	}
	if len(raw) > maxLogoutToken {
		return nil, logoutTokens.errorf("more than %d bytes", maxLogoutToken)
	}
	unverified, err := logoutTokens.unverified(raw)
	if err != nil {
		return nil, err
	}
	if err := logoutTokens.checkForm(raw); err != nil {
		return nil, err
	}
	if _, err := a.logout(unverified, time.Now()); err != nil {
		return nil, err
	}
	payload, err := a.verifyLogoutSignature(ctx, raw)
	if err != nil {
		return nil, err
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, logoutTokens.errorf("not a JWT")
	}
	return a.logout(c, time.Now())
}

// verifyLogoutSignature returns the claims, as JSON, if the provider has signed them
// with an algorithm that it signs ID tokens with.
func (a *Authority) verifyLogoutSignature(ctx context.Context, raw string) ([]byte, error) {
	m, err := a.Discover(ctx)
	if err != nil {
		return nil, KeysUnavailableError{err}
	}
	algs := a.algorithms(m)
	header := logoutHeader(raw)
	if !slices.Contains(algs, header.text("alg")) {
		return nil, logoutTokens.errorf("its alg is not one that the provider signs ID tokens with")
	}
	if _, there := header["crit"]; there { // RFC 7515 section 4.1.11
		return nil, logoutTokens.errorf("its header has crit, and no extension is supported")
	}
	keys := &signingKeys{authority: a, issuer: m.Issuer, tenant: DirectoryOf(m.Issuer), refetch: a.refetchKeysSeldom}
	for _, alg := range algs {
		keys.algs = append(keys.algs, jose.SignatureAlgorithm(alg))
	}
	payload, err := keys.VerifySignature(ctx, raw)
	if keys.err != nil {
		return nil, KeysUnavailableError{keys.err}
	}
	if err != nil {
		return nil, logoutTokens.errorf("signed by no key that the provider publishes")
	}
	return payload, nil
}

// logoutHeader returns the header of a token that checkForm has accepted.
func logoutHeader(raw string) (header claims) {
	for i := range len(raw) {
		if raw[i] == '.' {
			if data, err := seal.Base64url.DecodeString(raw[:i]); err == nil {
				_ = json.Unmarshal(data, &header) // no members, if it is not an object
			}
			break
		}
	}
	return header
}

// logout reads the claims of a logout token, and refuses those that are not valid.
func (a *Authority) logout(c claims, now time.Time) (*Logout, error) {
	l := &Logout{Issuer: a.Issuer}
	if c.text("iss") != a.Issuer {
		return nil, logoutTokens.errorf("iss is not the provider's issuer")
	}
	if !isAudience(c["aud"], a.ClientID) {
		return nil, logoutTokens.errorf("aud is not this app")
	}
	var events map[string]json.RawMessage
	if json.Unmarshal(c["events"], &events) != nil || !isObject(events[logoutEvent]) {
		return nil, logoutTokens.errorf("events has no back-channel logout: it is a token of another kind")
	}
	if _, there := c["nonce"]; there {
		return nil, logoutTokens.errorf("nonce is there: it is a token of another kind")
	}
	for _, claim := range []struct {
		name  string
		limit int
		value *string
	}{{"jti", maxLogoutID, &l.JTI}, {"sid", maxLogoutID, &l.SID}, {"sub", maxSubject, &l.Subject}} {
		if _, there := c[claim.name]; !there {
			continue
		}
		if *claim.value = c.text(claim.name); *claim.value == "" || len(*claim.value) > claim.limit {
			return nil, logoutTokens.errorf("%s is not a text of 1 to %d bytes", claim.name, claim.limit)
		}
	}
	switch {
	case l.JTI == "":
		return nil, logoutTokens.errorf("jti is missing")
	case l.SID == "" && l.Subject == "":
		return nil, logoutTokens.errorf("sid and sub are missing")
	}
	return l, l.readTimes(c, now)
}

// readTimes reads iat and exp, and checks them and nbf.
func (l *Logout) readTimes(c claims, now time.Time) error {
	var ok bool
	if l.IssuedAt, ok = c.time("iat"); !ok {
		return logoutTokens.errorf("iat is missing")
	}
	if _, there := c["exp"]; there {
		exp, ok := c.time("exp")
		if !ok {
			return logoutTokens.errorf("exp is not a time")
		}
		if l.Expires = l.IssuedAt.Add(maxTokenAge); exp.Add(ExpLeeway).Before(l.Expires) {
			l.Expires = exp.Add(ExpLeeway)
		}
	} else {
		l.Expires = l.IssuedAt.Add(maxLogoutAge)
	}
	const compare = " by the clock of this server: compare it with the provider's"
	if d := l.IssuedAt.Sub(now); d > FutureLeeway {
		return logoutTokens.errorf("issued %v in the future"+compare, d.Round(time.Second))
	}
	if d := now.Sub(l.Expires); d >= 0 {
		return logoutTokens.errorf("expired %v ago, leeways included,"+compare, d.Round(time.Second))
	}
	if _, there := c["nbf"]; there {
		if nbf, ok := c.time("nbf"); !ok || nbf.Sub(now) > FutureLeeway {
			return logoutTokens.errorf("nbf is in the future, or not a time")
		}
	}
	return nil
}

// isAudience reports whether the claim aud, a text or a list of texts, names an app.
func isAudience(aud json.RawMessage, clientID string) bool {
	var one string
	var list []string
	if json.Unmarshal(aud, &one) == nil {
		return one == clientID
	}
	return json.Unmarshal(aud, &list) == nil && slices.Contains(list, clientID)
}

// isObject reports whether a JSON value is an object.
func isObject(value json.RawMessage) bool {
	var members map[string]json.RawMessage
	return json.Unmarshal(value, &members) == nil && members != nil
}

// refetchKeysSeldom returns the keys, read again if no logout token has caused that
// in the last minutes, whether or not it worked. It leaves alone what refetchKeys
// counts: a stranger who sends logout tokens with made-up key ids would otherwise
// keep the sign-ins of others from finding a new key.
func (a *Authority) refetchKeysSeldom(ctx context.Context) ([]publishedKey, error) {
	if !a.logouts.due(keysRefetch) {
		return a.keys.last(), nil
	}
	return a.keys.await(ctx)
}

// seldom is for what must not happen more often than once in a time.
type seldom struct {
	mu   sync.Mutex
	last time.Time
}

// due reports whether it may happen, and takes it for done if so.
func (s *seldom) due(interval time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.last.IsZero() || now.Sub(s.last) >= interval {
		s.last = now
		return true
	}
	return false
}
