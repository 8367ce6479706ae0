package device

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// The sizes of RSA keys, in bits. A larger one would cost the server too much.
const (
	leastRSA = 2048
	mostRSA  = 4096
)

// A Digest names a key.
type Digest [8]byte

// A Key is the public key of a browser: P-256 or RSA.
type Key struct {
	public    crypto.PublicKey
	algorithm jose.SignatureAlgorithm
	der       []byte
}

// errKey means that a key is none that browsers make.
var errKey = errors.New("msauth: device: the key is neither P-256 nor RSA with 2048 to 4096 bits")

// newKey checks a public key.
func newKey(public crypto.PublicKey) (*Key, error) {
	k := &Key{public: public}
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() {
			return nil, errKey
		}
		k.algorithm = jose.ES256
	case *rsa.PublicKey:
		if n := public.N.BitLen(); n < leastRSA || n > mostRSA || public.E < 3 || public.E%2 == 0 {
			return nil, errKey
		}
		k.algorithm = jose.RS256
	default:
		return nil, errKey
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("msauth: device: %w", err)
	}
	k.der = der
	return k, nil
}

// ParseKey reads what Bytes has returned.
func ParseKey(der []byte) (*Key, error) {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("msauth: device: %w", err)
	}
	k, err := newKey(public)
	if err == nil && !bytes.Equal(k.der, der) {
		return nil, errKey
	}
	return k, err
}

// Bytes returns the key in the form SubjectPublicKeyInfo (RFC 5280), 91 bytes for P-256.
func (k *Key) Bytes() []byte { return k.der }

// Digest returns the name of the key.
func (k *Key) Digest() (d Digest) {
	sum := sha256.Sum256(k.der)
	copy(d[:], sum[:])
	return d
}
