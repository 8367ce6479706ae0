package credential

import (
	"context"
	"errors"
	"time"

	"example.com/msauth/internal/seal"
)

// AssertionType is the value of client_assertion_type (RFC 7523 section 2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// A Proof is what a token request carries: either a secret or an assertion.
type Proof struct {
	// Secret is the client secret (RFC 6749 section 2.3.1).
	Secret seal.Secret
	// Assertion is a JWT (RFC 7523 section 2.2).
	Assertion seal.Secret
}

// A Recipient is who checks the proof.
type Recipient struct {
	// ClientID is the id of the app registration.
	ClientID string
	// Endpoint is the URL of the token endpoint that the request is sent to.
	Endpoint string
	// Issuer is the issuer of a provider that is not Microsoft's; "" at Microsoft.
	Issuer string
	// Exchange is the audience of assertions that somebody else signs.
	Exchange string
	// Algorithms are those that a provider other than Microsoft announces for
	// assertions; nil if it does not.
	Algorithms []string
}

// microsoft reports whether Microsoft checks the proof.
func (r Recipient) microsoft() bool { return r.Issuer == "" }

// A Credential is one secret, one key, or one token. It may be used by many
// goroutines at once.
type Credential interface {
	// Prove makes a proof. An error is the operator's or a device's fault, not the
	// provider's refusal.
	Prove(ctx context.Context, to Recipient) (Proof, error)
	// Valid returns from when and until when the credential can be used, as far as
	// that is known; zero times otherwise.
	Valid() (from, until time.Time)
	// Expires reports whether an operator must replace the credential before it
	// ends. What renews itself does not expire.
	Expires() bool
	// Name describes the credential without giving it away, such as "certificate
	// with SHA-256 thumbprint 3A...".
	Name() string
}

// A Source gives the credential of the moment.
type Source interface {
	// Look returns the last good credential and the number of its version, from 1.
	// fault is why there is no newer one where there should be.
	Look() (c Credential, version int, fault error)
}

// fixed is the source of a credential that does not change.
type fixed struct{ Credential }

func (f fixed) Look() (Credential, int, error) { return f.Credential, 1, nil }

// Fixed returns a source that always gives c.
func Fixed(c Credential) Source { return fixed{c} }

// ErrOutOfTime means that a credential is not used because its time is over, or has
// not come.
var ErrOutOfTime = errors.New("msauth: the credential is not valid now")
