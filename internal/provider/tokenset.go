package provider

import (
	"math/rand/v2"
	"strings"
	"time"

	"example.com/msauth/internal/seal"
)

const (
	assumedLifetime = 1 * time.Hour  // of an access token whose reply does not say
	maxLifetime     = 48 * time.Hour // longer than any that Microsoft issues (28 h)
)

// A TokenSet is what the token endpoint sent in answer to one request. It is not
// changed once it is shared.
type TokenSet struct {
	// Access is the access token. It is "" where the provider sends an ID token
	// alone.
	Access seal.Secret
	// Refresh is the refresh token. If the reply has none, it is the one that
	// Refresh of TokenEndpoint used; "" after Redeem.
	Refresh seal.Secret
	// Issued is when the reply arrived, in Unix seconds.
	Issued int64
	// Expiry is when Access expires, in Unix seconds.
	Expiry int64
	// RefreshAt is when to renew, in Unix seconds, not after Expiry.
	RefreshAt int64
	// Scopes are those that were granted, separated by spaces; "" if the reply
	// does not say: those that were asked for (RFC 6749 section 5.1).
	Scopes string
	// IDToken is the ID token as it was sent; "" if there is none.
	IDToken string
	// Identity is what IDToken says. Callers set it once they have verified it.
	Identity *Identity
}

// Due reports whether it is time to renew the tokens.
func (s *TokenSet) Due(now time.Time) bool { return now.Unix() >= s.RefreshAt }

// Usable reports whether there is an access token that has not expired.
func (s *TokenSet) Usable(now time.Time) bool { return s.Access != "" && now.Unix() < s.Expiry }

// MovedTo returns a copy with another refresh token.
func (s *TokenSet) MovedTo(refresh seal.Secret) *TokenSet {
	c := *s
	c.Refresh = refresh
	return &c
}

// tokenSetFrom reads a good reply. Lifetimes that are missing or make no sense are
// replaced.
func (t *TokenEndpoint) tokenSetFrom(reply claims, now time.Time) *TokenSet {
	lifetime := reply.duration("expires_in")
	if reply.text("access_token") == "" { // the account is still checked regularly
		lifetime = reply.duration("id_token_expires_in")
	}
	if lifetime <= 0 {
		lifetime = assumedLifetime
	}
	lifetime = min(max(lifetime, time.Second), maxLifetime)
	early := reply.duration("refresh_in")
	if early <= 0 || early >= lifetime {
		// A margin of a tenth, five minutes at most. Jitter keeps sessions that
		// began together from being renewed together.
		margin := min(lifetime/10, 5*time.Minute)
		early = lifetime - margin - rand.N(margin/2+1) // #nosec G404 -- jitter is no secret
	}
	if t.RecheckAfter > 0 {
		early = min(early, t.RecheckAfter)
	}
	return &TokenSet{
		Access:    seal.Secret(reply.text("access_token")),
		Refresh:   seal.Secret(reply.text("refresh_token")),
		Issued:    now.Unix(),
		Expiry:    now.Add(lifetime).Unix(),
		RefreshAt: now.Add(max(early, time.Second)).Unix(),
		Scopes:    strings.Join(strings.Fields(reply.text("scope")), " "),
		IDToken:   reply.text("id_token"),
	}
}
