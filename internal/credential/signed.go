package credential

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"

	"example.com/msauth/internal/seal"
)

// assertionLife is how long an assertion is valid: 5 to 10 minutes, says Microsoft
// ("Microsoft identity platform application authentication certificate
// credentials"). The clock of the server may be behind by the rest.
const assertionLife = 10 * time.Minute

// leastRSA is the length of the shortest RSA key that is accepted, in bits.
const leastRSA = 2048

// Options are what an app may say about a key.
type Options struct {
	// Microsoft means that assertions are for Microsoft: the key must be an RSA key
	// and have a certificate.
	Microsoft bool
	// Chain sends the chain of the certificate (header x5c), for trust by subject
	// name and issuer.
	Chain bool
	// KeyID is the name of the key at a provider other than Microsoft (header kid);
	// "" for the thumbprint of RFC 7638.
	KeyID string
}

// signed is a key that signs assertions. The key itself stays in what signer
// returns, which may be a device.
type signed struct {
	signer func() crypto.Signer // package fmt would show the fields of a device
	leaf   *x509.Certificate    // nil if the key has no certificate
	chain  []string             // the certificates in standard base64, if they are sent
	keyID  string
	name   string
}

// NewSigned returns a credential for a key and its certificate chain, the
// certificate of the key first. Outside Microsoft the chain may be empty.
func NewSigned(cert tls.Certificate, o Options) (c Credential, err error) {
	defer func() { // so it is with (*rsa.PrivateKey)(nil)
		if p := recover(); p != nil {
			c, err = nil, fmt.Errorf("has a private key that cannot be used: panic: %v", p)
		}
	}()
	signer, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("has no private key that can sign: PrivateKey must implement crypto.Signer")
	}
	public, err := publicKey(signer, o.Microsoft)
	if err != nil {
		return nil, err
	}
	s := signed{signer: func() crypto.Signer { return signer }, keyID: o.KeyID}
	if s.keyID == "" {
		print, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, err
		}
		s.keyID = base64.RawURLEncoding.EncodeToString(print)
	}
	if len(cert.Certificate) == 0 {
		if o.Microsoft {
			return nil, errors.New("has no certificate: Microsoft identifies the key by it")
		}
		s.name = "key " + s.keyID
		return s, nil
	}
	certs := make([]*x509.Certificate, len(cert.Certificate))
	for i, der := range cert.Certificate {
		if certs[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("certificate %d of the chain: %w", i+1, err)
		}
	}
	if err := checkChain(certs, public); err != nil {
		return nil, err
	}
	if s.leaf = certs[0]; o.Chain {
		for _, c := range certs {
			s.chain = append(s.chain, base64.StdEncoding.EncodeToString(c.Raw))
		}
	}
	print := sha256.Sum256(s.leaf.Raw)
	s.name = fmt.Sprintf("certificate with SHA-256 thumbprint %X", print)
	return s, nil
}

// publicKey returns the public key, if the kind and length of the key are accepted.
func publicKey(signer crypto.Signer, microsoft bool) (crypto.PublicKey, error) {
	switch key := signer.Public().(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < leastRSA {
			return nil, fmt.Errorf("is an RSA key of %d bits: want at least %d", key.N.BitLen(), leastRSA)
		}
		return key, nil
	case *ecdsa.PublicKey:
		switch {
		case microsoft:
			return nil, errors.New("is an EC key: Microsoft accepts only RSA keys")
		case key.Curve != elliptic.P256():
			return nil, errors.New("is an EC key of another curve than P-256")
		}
		return key, nil
	default:
		return nil, fmt.Errorf("has a key of type %T: want an RSA key, or for other providers than Microsoft an EC key of curve P-256", key)
	}
}

// checkChain refuses a chain whose first certificate is not the key's, or whose
// others do not each certify the one before.
func checkChain(certs []*x509.Certificate, public crypto.PublicKey) error {
	of := func(c *x509.Certificate) bool {
		key, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		return ok && key.Equal(public)
	}
	if !of(certs[0]) {
		if slices.ContainsFunc(certs[1:], of) {
			return errors.New("has its certificates in the wrong order: the certificate of the key must come first, then those that certify it")
		}
		return errors.New("has a private key that does not belong to the certificate")
	}
	for i, c := range certs[1:] {
		err := certs[i].CheckSignatureFrom(c)
		if err == nil {
			continue
		}
		if !bytes.Equal(certs[i].RawIssuer, c.RawSubject) {
			return fmt.Errorf("has its certificates in the wrong order: certificate %d of the chain does not certify the one before: %w", i+2, err)
		}
		if _, insecure := errors.AsType[x509.InsecureAlgorithmError](err); !insecure { // old authorities have signed with SHA-1
			return fmt.Errorf("certificate %d of the chain does not certify the one before: %w", i+2, err)
		}
	}
	return nil
}

func (s signed) Valid() (from, until time.Time) {
	if s.leaf == nil {
		return from, until
	}
	return s.leaf.NotBefore, s.leaf.NotAfter
}

func (s signed) Expires() bool { return s.leaf != nil }
func (s signed) Name() string  { return s.name }

// Prove signs an assertion (RFC 7523 section 3).
func (s signed) Prove(_ context.Context, to Recipient) (Proof, error) {
	alg, err := s.algorithm(to)
	if err != nil {
		return Proof{}, err
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	audience := to.Issuer // alone, says draft-ietf-oauth-rfc7523bis
	if to.microsoft() {
		if s.leaf == nil {
			return Proof{}, errors.New("has no certificate: Microsoft identifies the key by it")
		}
		print := sha256.Sum256(s.leaf.Raw)
		options.WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(print[:]))
		audience = to.Endpoint
	} else {
		options.WithHeader("kid", s.keyID)
	}
	if s.chain != nil {
		options.WithHeader("x5c", s.chain)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: cryptosigner.Opaque(saltOfHash{s.signer()})}, options)
	if err != nil {
		return Proof{}, err
	}
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"aud": audience, "iss": to.ClientID, "sub": to.ClientID, "jti": rand.Text(),
		"nbf": now.Unix(), "iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return Proof{}, err
	}
	jws, err := signer.Sign(claims)
	if err != nil {
		return Proof{}, fmt.Errorf("signing: %w", err)
	}
	text, err := jws.CompactSerialize()
	return Proof{Assertion: seal.Secret(text)}, err
}

// algorithm chooses the algorithm: PS256 at Microsoft, elsewhere what the provider
// announces. RS256 is what providers must support that announce nothing (OpenID
// Connect Discovery section 3).
func (s signed) algorithm(to Recipient) (jose.SignatureAlgorithm, error) {
	if to.microsoft() {
		return jose.PS256, nil
	}
	can := []jose.SignatureAlgorithm{jose.PS256, jose.RS256}
	if _, ec := s.signer().Public().(*ecdsa.PublicKey); ec {
		can = []jose.SignatureAlgorithm{jose.ES256}
	}
	if to.Algorithms == nil {
		return can[len(can)-1], nil
	}
	for _, alg := range can {
		if slices.Contains(to.Algorithms, string(alg)) {
			return alg, nil
		}
	}
	return "", fmt.Errorf("cannot sign with any algorithm that the provider announces: %s", strings.Join(to.Algorithms, ", "))
}

// saltOfHash makes the salt of a PSS signature as long as the hash, which RFC 7518
// section 3.5 and FIPS 186-5 demand. cryptosigner asks for the longest salt.
type saltOfHash struct{ crypto.Signer }

func (s saltOfHash) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if pss, ok := opts.(*rsa.PSSOptions); ok {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: pss.Hash}
	}
	return s.Signer.Sign(random, digest, opts)
}
