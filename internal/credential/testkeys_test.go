package credential

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

const testClient = "11111111-2222-4333-8444-555555555555"

// atMicrosoft and elsewhere are who checks proofs.
var (
	atMicrosoft = Recipient{
		ClientID: testClient, Endpoint: "https://login.microsoftonline.com/common/oauth2/v2.0/token", Exchange: "api://AzureADTokenExchange",
	}
	elsewhere = Recipient{
		ClientID: testClient, Endpoint: "https://id.example.com/token", Issuer: "https://id.example.com", Exchange: "https://id.example.com",
	}
)

// testKeys are made once: an RSA key takes a tenth of a second.
var testKeys = sync.OnceValue(func() (keys struct {
	rsa, another *rsa.PrivateKey
	ec           *ecdsa.PrivateKey
}) {
	keys.rsa, keys.another, keys.ec = rsaKey(2048), rsaKey(2048), ecKey(elliptic.P256())
	return keys
})

func rsaKey(bits int) *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, bits)) }

func ecKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// testCA certifies what chainOf is asked for: a root, and an authority below it.
var testCA = sync.OnceValue(func() (ca struct {
	root, middle       *x509.Certificate
	rootKey, middleKey *ecdsa.PrivateKey
}) {
	ca.rootKey, ca.middleKey = ecKey(elliptic.P256()), ecKey(elliptic.P256())
	ca.root = certify("a root", true, ca.rootKey.Public(), nil, ca.rootKey)
	ca.middle = certify("an authority", true, ca.middleKey.Public(), ca.root, ca.rootKey)
	return ca
})

// certify makes a certificate; it is self-signed if there is no parent.
func certify(name string, authority bool, public crypto.PublicKey, parent *x509.Certificate, key crypto.Signer) *x509.Certificate {
	usage := x509.KeyUsageDigitalSignature
	if authority {
		usage = x509.KeyUsageCertSign
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, KeyUsage: usage, IsCA: authority, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour).Truncate(time.Second), NotAfter: time.Now().Add(365 * 24 * time.Hour).Truncate(time.Second),
	}
	if parent == nil {
		parent = template
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, parent, public, key))))
}

// chainOf is the chain of a key: its certificate, that of the authority, and the root.
func chainOf(public crypto.PublicKey) [][]byte {
	ca := testCA()
	return [][]byte{certify("an app", false, public, ca.middle, ca.middleKey).Raw, ca.middle.Raw, ca.root.Raw}
}

// certified is a key with its chain.
func certified(key crypto.Signer) tls.Certificate {
	return tls.Certificate{PrivateKey: key, Certificate: chainOf(key.Public())}
}

// A device is a key that never leaves it, such as an HSM.
type device struct {
	PIN    string
	key    crypto.Signer
	public crypto.PublicKey // in place of the key's, if set
	fail   error
}

func (d device) Public() crypto.PublicKey {
	if d.public != nil {
		return d.public
	}
	return d.key.Public()
}

func (d device) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if d.fail != nil {
		return nil, d.fail
	}
	return d.key.Sign(random, digest, opts)
}

// block is a PEM block.
func block(kind string, data []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}))
}

// certBlocks are certificates in PEM form.
func certBlocks(chain ...[]byte) string {
	var all strings.Builder
	for _, der := range chain {
		all.WriteString(block("CERTIFICATE", der))
	}
	return all.String()
}

// keyDER is a private key in the form of PKCS #8.
func keyDER(key crypto.PrivateKey) []byte { return must(x509.MarshalPKCS8PrivateKey(key)) }

// keyBlock is a private key in PEM form, as openssl pkey writes it.
func keyBlock(key crypto.PrivateKey) string { return block("PRIVATE KEY", keyDER(key)) }

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantError fails the test unless the text of err contains want; err must be nil if
// want is "".
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// deaf is an Observer.
type deaf struct{}

func (deaf) CredentialRefused(context.Context, string, time.Time, string, error) {}
func (deaf) CredentialFault(context.Context, error)                              {}
func (deaf) CredentialChanged(context.Context, string, time.Time)                {}
func (deaf) CredentialEnds(context.Context, string, time.Time)                   {}
