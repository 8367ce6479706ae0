package credential

import (
	"crypto"
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

// link makes a certificate, in whatever state authorities leave theirs.
func link(t *testing.T, name string, change func(*x509.Certificate), public crypto.PublicKey, parent *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(11), Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	change(template)
	if parent == nil {
		parent = template
	}
	var der []byte
	var err error
	fips140.WithoutEnforcement(func() { // of SHA-1
		der, err = x509.CreateCertificate(rand.Reader, template, parent, public, key)
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Chains that are in order, though crypto/x509 would not trust them.
func TestChainsOfOldAuthorities(t *testing.T) {
	t.Parallel()
	keys := testKeys()
	asIs := func(*x509.Certificate) {}
	never := func(c *x509.Certificate) { c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	for name, ca := range map[string]struct {
		key    crypto.Signer
		change func(*x509.Certificate)
		leaf   func(*x509.Certificate)
	}{
		"ends in 9999":      {keys.ec, asIs, never},
		"Ed25519":           {edKey, asIs, asIs},
		"signed with SHA-1": {keys.another, asIs, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }},
	} {
		t.Run(name, func(t *testing.T) {
			authority := link(t, "an old authority", ca.change, ca.key.Public(), nil, ca.key)
			leaf := link(t, "an app", ca.leaf, keys.rsa.Public(), authority, ca.key)
			c, err := NewSigned(tls.Certificate{PrivateKey: keys.rsa, Certificate: [][]byte{leaf.Raw, authority.Raw}}, Options{Microsoft: true, Chain: true})
			if err != nil {
				t.Fatalf("in order: %v", err)
			}
			if _, err := c.Prove(t.Context(), atMicrosoft); err != nil {
				t.Error(err)
			}
			_, err = NewSigned(tls.Certificate{PrivateKey: keys.rsa, Certificate: [][]byte{authority.Raw, leaf.Raw}}, Options{Microsoft: true})
			wantError(t, err, "wrong order")
		})
	}
	leaf := chainOf(keys.rsa.Public())[0]
	_, err := NewSigned(tls.Certificate{PrivateKey: keys.rsa, Certificate: [][]byte{leaf, leaf}}, Options{Microsoft: true})
	wantError(t, err, "certificate 2 of the chain does not certify the one before")
}
