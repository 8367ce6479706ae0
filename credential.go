package msauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/provider"
)

// A Credential is one way in which the app proves to Microsoft that a token
// request is its own, for [Config.Credentials]. The functions that return one do
// not fail: [New] reports what is wrong with it.
type Credential struct {
	open    func(place string, o credential.Options) (credential.Source, error)
	key     bool // it signs by itself
	chain   bool
	keyID   string
	keyless bool // WithChain or WithKeyID was called for one that does not sign

	secret   bool // it is a client secret
	numbered bool // WithVersion was called
	version  int
}

// Secret is a client secret: the value (not the ID) of one that is listed under
// "Certificates & secrets" of the app registration.
func Secret(value string) Credential {
	return Credential{secret: true, open: func(place string, _ credential.Options) (credential.Source, error) {
		c, err := credential.NewSecret(value, "client secret in "+place)
		return credential.Fixed(c), err
	}}
}

// SecretFile is a client secret in a file, which is read again when it changes:
// a mounted Kubernetes secret, or one that the Key Vault CSI driver writes. White
// space around the secret does not count.
func SecretFile(path string) Credential {
	return Credential{secret: true, open: func(string, credential.Options) (credential.Source, error) { return credential.SecretFile(path) }}
}

// Certificate is a certificate with its private key, which may be any
// [crypto.Signer]: with one that uses an HSM or a key management service, the key
// never leaves the device. The certificate of the key comes first, then those that
// certify it, if any. Upload the first to the app registration. Each token request
// is signed once.
//
// Microsoft accepts RSA keys, of at least 2048 bits here. Other providers may
// accept EC keys of curve P-256 as well, and need no certificate (authentication
// method private_key_jwt).
func Certificate(cert tls.Certificate) Credential {
	return Credential{key: true, open: func(_ string, o credential.Options) (credential.Source, error) {
		c, err := credential.NewSigned(cert, o)
		return credential.Fixed(c), err
	}}
}

// CertificateFiles is a [Certificate] in PEM files, which are read again when they
// change. Both may be the same file. The private key must not be encrypted. For a
// PKCS #12 file, run
//
//	openssl pkcs12 -in app.pfx -out app.pem -noenc
func CertificateFiles(certFile, keyFile string) Credential {
	return Credential{key: true, open: func(_ string, o credential.Options) (credential.Source, error) {
		return credential.CertificateFiles(certFile, keyFile, o)
	}}
}

// FederatedTokenFile is a file with a token of another issuer, for which the app
// registration has a federated credential: AZURE_FEDERATED_TOKEN_FILE of AKS and
// Azure workload identity. It is read again when it changes.
func FederatedTokenFile(path string) Credential {
	return Credential{open: func(string, credential.Options) (credential.Source, error) { return credential.TokenFile(path) }}
}

// Assertion is a function that returns a token of another issuer, for which the
// app registration has a federated credential: the token of a managed identity, of
// GitHub, Google or SPIFFE. It is called for every token request, has 5 seconds,
// and should keep a token until that ends. audience is what the token must be made
// for: "api://AzureADTokenExchange" at Microsoft and its equivalent in other
// clouds, elsewhere the issuer of the provider.
func Assertion(get func(ctx context.Context, audience string) (string, error)) Credential {
	return Credential{open: func(place string, _ credential.Options) (credential.Source, error) {
		c, err := credential.NewAsked(get, "assertion of the function in "+place)
		return credential.Fixed(c), err
	}}
}

// WithChain returns c such that assertions carry the certificate's whole chain
// (header x5c), for app registrations that trust a certificate by its subject name
// and issuer. It is for [Certificate] and [CertificateFiles].
func (c Credential) WithChain() Credential {
	c.chain, c.keyless = true, c.keyless || !c.key
	return c
}

// WithKeyID returns c such that assertions name their key by id (header kid), for
// providers other than Microsoft. It is for [Certificate] and [CertificateFiles].
// Default: the SHA-256 thumbprint of the key (RFC 7638).
func (c Credential) WithKeyID(id string) Credential {
	c.keyID, c.keyless = id, c.keyless || !c.key
	return c
}

// WithVersion returns c with the version of the secret, from 0, as the developer
// portal of Live Connect showed it: authentication tokens name the version that
// they are signed with. A secret without a version is tried for all of them. It is
// for [Secret] and [SecretFile], with [Config.Authority] "https://login.live.com".
func (c Credential) WithVersion(version int) Credential {
	c.version, c.numbered = version, true
	return c
}

// defaultExpiryWarning is the default of Config.ExpiryWarning.
const defaultExpiryWarning = 30 * 24 * time.Hour

// credentialSources opens the credentials.
func (c *Config) credentialSources() ([]credential.Source, error) {
	microsoft := c.kind() != provider.OtherProvider
	if len(c.Credentials) == 0 {
		source, err := Secret(c.ClientSecret).source("ClientSecret", microsoft)
		return []credential.Source{source}, err
	}
	var sources []credential.Source
	for i, one := range c.Credentials {
		place := fmt.Sprintf("Credentials[%d]", i)
		source, err := one.source(place, microsoft)
		if err != nil {
			return nil, fieldError(place, "%v", err)
		}
		sources = append(sources, source)
	}
	return sources, c.checkVersions()
}

// source opens one credential, and checks that it can be used now.
func (c Credential) source(place string, microsoft bool) (credential.Source, error) {
	switch {
	case c.open == nil:
		return nil, errors.New("is the zero value: use Secret, CertificateFiles or the like")
	case c.keyless:
		return nil, errors.New("does not sign: WithChain and WithKeyID are for Certificate and CertificateFiles")
	case c.numbered && !c.secret:
		return nil, errors.New("is no secret: WithVersion is for Secret and SecretFile")
	case c.version < 0:
		return nil, fmt.Errorf("has version %d: the first version of a secret is 0", c.version)
	}
	source, err := c.open(place, credential.Options{Microsoft: microsoft, Chain: c.chain, KeyID: c.keyID})
	if err != nil {
		return nil, err
	}
	if c.numbered {
		source = credential.Numbered(source, c.version)
	}
	current, _, _ := source.Look()
	switch from, until := current.Valid(); {
	case !until.IsZero() && !time.Now().Before(until):
		return nil, fmt.Errorf("%s ended at %s", current.Name(), until.UTC().Format(time.RFC3339))
	case time.Now().Before(from):
		return nil, fmt.Errorf("%s is not valid before %s", current.Name(), from.UTC().Format(time.RFC3339))
	}
	return source, nil
}

// CredentialStatus describes one of [Config.Credentials].
type CredentialStatus struct {
	// Name describes the credential without giving it away.
	Name string
	// Ends is when it ends; the zero time if that is not known, or if it is
	// renewed by others.
	Ends time.Time
	// InUse means that token requests carry it.
	InUse bool
	// Problem says why it is not used, or why the file that it comes from cannot
	// be; "" if there is nothing to do.
	Problem string
}

// credentialStats returns [Stats.Credentials], and the entries of
// [Stats.Degraded] that follow from them.
func credentialStats(ring *credential.Ring) (all []CredentialStatus, weak []string) {
	var works []string
	statuses := ring.Status()
	for _, s := range statuses {
		status := CredentialStatus{Name: s.Name, Ends: s.Until, InUse: s.InUse}
		if s.Works {
			works = append(works, s.Name)
		}
		if s.Problem != nil {
			status.Problem = public(s.Problem).Error()
			// That Microsoft refuses the only one is trouble of the app itself.
			if _, refused := errors.AsType[*provider.Failure](s.Problem); !refused || s.Works || len(statuses) > 1 {
				weak = []string{weakCredential}
			}
		}
		all = append(all, status)
	}
	if len(all) > 1 && len(works) == 1 {
		weak = append(weak, weakLast+works[0])
	}
	return all, weak
}
