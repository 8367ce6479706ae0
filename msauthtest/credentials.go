package msauthtest

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"
)

// defaultFederatedAudience is the recommended audience of federated credentials
// in Microsoft's global cloud ("Workload identity federation").
const defaultFederatedAudience = "api://AzureADTokenExchange"

// A Credential is one of the ways in which the app can authenticate at the token
// endpoint: a client secret, a certificate, certificates of a trusted issuer, a
// federated credential, or a public key. Its methods may be called while
// requests are being served, and take effect for those that arrive later.
type Credential struct {
	server *Server
	kind   credentialKind

	secret   string // empty: Server.ClientSecret
	version  int    // of a client secret: how many there were before it
	cert     *x509.Certificate
	sha1     string // x5t of cert
	sha256   string // x5t#S256 of cert
	issuer   string
	subject  string // of a federated credential or of a trusted certificate
	audience string
	kid      string
	key      crypto.PublicKey

	// Guarded by Server.mu.
	from, until      time.Time // zero: no limit
	expired          bool
	revoked, removed bool
	accepted         int
	refused          int
}

type credentialKind int

const (
	secretCredential credentialKind = iota
	certificateCredential
	trustedIssuer // cert is the authority's
	federatedCredential
	keyCredential
)

// Secret returns the first client secret, [Server.ClientSecret].
func (s *Server) Secret() *Credential { return s.secret }

// AddSecret registers another client secret, next to [Server.ClientSecret]. All
// providers accept it. It panics if value is empty.
func (s *Server) AddSecret(value string) *Credential {
	if value == "" {
		panic("msauthtest: AddSecret: the secret is empty")
	}
	return s.addCredential(&Credential{kind: secretCredential, secret: value})
}

// AddCertificate registers a certificate, whose key signs client assertions
// ("Microsoft identity platform application authentication certificate
// credentials"). It applies to Entra and External ID, and panics if the
// certificate's key is not an RSA key.
func (s *Server) AddCertificate(cert *x509.Certificate) *Credential {
	if _, ok := cert.PublicKey.(*rsa.PublicKey); !ok {
		panic(fmt.Sprintf("msauthtest: AddCertificate: the key is a %T, not an RSA key", cert.PublicKey))
	}
	sum := sha256.Sum256(cert.Raw)
	return s.addCredential(&Credential{kind: certificateCredential, cert: cert, sha1: thumbprint(cert.Raw), sha256: b64(sum[:])})
}

// AddTrustedIssuer accepts client assertions that are signed with any
// certificate of a certificate authority for a subject: its common name or one
// of its DNS names. The assertion must carry the certificate in the header x5c.
// It applies to Entra and External ID (trustedCertificateSubjects of an app
// registration).
func (s *Server) AddTrustedIssuer(ca *x509.Certificate, subject string) *Credential {
	return s.addCredential(&Credential{kind: trustedIssuer, cert: ca, subject: subject})
}

// AddFederated registers a federated credential: the app authenticates with a
// token of another issuer for a subject ("Workload identity federation"). An
// empty audience means api://AzureADTokenExchange. For each token, the server
// fetches the issuer's keys, from the discovery document below its address. It
// applies to Entra and External ID. [NewIssuer] returns such an issuer.
//
// Such a credential cannot expire at Microsoft: whatever makes it invalid, the
// server answers as if it were not registered.
func (s *Server) AddFederated(issuer, subject, audience string) *Credential {
	return s.addCredential(&Credential{
		kind: federatedCredential, issuer: issuer, subject: subject, audience: cmp.Or(audience, defaultFederatedAudience),
	})
}

// AddKey registers a public key for private_key_jwt at the plain provider
// (OpenID Connect Core section 9), if [Behavior.PlainAuthMethods] lists it. The
// header kid of an assertion must name the key. It panics if the key is neither
// an *rsa.PublicKey nor an *ecdsa.PublicKey of the curve P-256.
func (s *Server) AddKey(kid string, key crypto.PublicKey) *Credential {
	switch k := key.(type) {
	case *rsa.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			panic("msauthtest: AddKey: the curve is not P-256")
		}
	default:
		panic(fmt.Sprintf("msauthtest: AddKey: the key is a %T", key))
	}
	return s.addCredential(&Credential{kind: keyCredential, kid: kid, key: key})
}

func (s *Server) addCredential(c *Credential) *Credential {
	c.server = s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.credentials {
		if c.kind == secretCredential && other.kind == secretCredential {
			c.version++
		}
	}
	s.credentials = append(s.credentials, c)
	return c
}

// Expire ends the credential's validity now.
func (c *Credential) Expire() {
	c.change(func() { c.expired, c.until = true, time.Now() })
}

// SetValidity sets when the credential is valid: from notBefore until notAfter.
// A zero time is no limit. The dates in a certificate apply as well.
func (c *Credential) SetValidity(notBefore, notAfter time.Time) {
	c.change(func() { c.expired, c.from, c.until = false, notBefore, notAfter })
}

// Revoke makes a certificate, or all certificates of a trusted issuer, revoked
// (AADSTS7000214). Other credentials cannot be revoked at Microsoft: for them it
// is the same as Remove.
func (c *Credential) Revoke() { c.change(func() { c.revoked = true }) }

// Remove removes the credential from the app's registration.
func (c *Credential) Remove() { c.change(func() { c.removed = true }) }

// Restore undoes Expire, SetValidity, Revoke and Remove.
func (c *Credential) Restore() {
	c.change(func() {
		c.expired, c.revoked, c.removed = false, false, false
		c.from, c.until = time.Time{}, time.Time{}
	})
}

// Accepted returns how many token requests authenticated with the credential,
// whatever their answer was. Requests that [Behavior] fails do not count.
func (c *Credential) Accepted() int {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.accepted
}

// Refused returns how many token requests tried to authenticate with the
// credential and were refused for that: requests with its secret, its
// certificate, its kid, or its issuer and subject. It may have been removed.
func (c *Credential) Refused() int {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.refused
}

func (c *Credential) change(f func()) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	f()
}

// count counts a request. c may be nil.
func (c *Credential) count(accepted bool) {
	switch {
	case c == nil:
	case accepted:
		c.change(func() { c.accepted++ })
	default:
		c.change(func() { c.refused++ })
	}
}

// A standing is whether a credential is accepted now.
type standing int

const (
	valid standing = iota
	outdated
	revoked
	removed
)

// standing requires Server.mu.
func (c *Credential) standing() standing {
	now := time.Now()
	switch {
	case c.removed:
		return removed
	case c.revoked:
		return revoked
	case c.expired || now.Before(c.from) || !c.until.IsZero() && !now.Before(c.until):
		return outdated
	}
	return valid
}

// find returns the first valid credential of a kind that matches, or else the
// first that matches, or nil.
func (s *Server) find(kind credentialKind, matches func(*Credential) bool) (*Credential, standing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *Credential
	for _, c := range s.credentials {
		if c.kind != kind || !matches(c) {
			continue
		}
		if c.standing() == valid {
			return c, valid
		}
		if found == nil || found.removed && !c.removed {
			found = c
		}
	}
	if found == nil {
		return nil, removed
	}
	return found, found.standing()
}

// value returns the secret. It requires Server.mu.
func (c *Credential) value() string { return cmp.Or(c.secret, c.server.ClientSecret) }

// dates returns when a registered certificate is valid.
func (c *Credential) dates() (from, until time.Time) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	from, until = c.from, c.until
	if from.IsZero() {
		from = c.cert.NotBefore
	}
	if until.IsZero() {
		until = c.cert.NotAfter
	}
	return from, until
}

// thumbprint returns x5t of a certificate, which RFC 7515 section 4.1.7 makes a
// SHA-1.
func thumbprint(der []byte) string {
	var sum [sha1.Size]byte
	fips140.WithoutEnforcement(func() { sum = sha1.Sum(der) })
	return b64(sum[:])
}
