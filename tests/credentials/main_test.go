package credentials_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/tests/testsite"
)

func TestMain(m *testing.M) { testsite.Main(m) }

// Keys are made once: an RSA key takes a while.
var (
	keyA = sync.OnceValue(newRSA)
	keyB = sync.OnceValue(newRSA)
	keyE = sync.OnceValue(func() crypto.Signer {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return key
	})
)

func newRSA() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// certificate makes a certificate of a key that certifies itself, valid for an hour
// and until life is over.
func certificate(t *testing.T, key crypto.Signer, life time.Duration) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	return certificateFrom(t, key, time.Now().Add(-time.Hour), life)
}

func certificateFrom(t *testing.T, key crypto.Signer, from time.Time, life time.Duration) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "app.example.com"},
		NotBefore: from, NotAfter: time.Now().Add(life),
		IsCA: true, BasicConstraintsValid: true,
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "app.example.com"}}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, parsed
}

// writePEM writes a certificate and its key to one file, in place of what is there.
func writePEM(t *testing.T, path string, cert tls.Certificate) {
	t.Helper()
	var text []byte
	for _, der := range cert.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, path, append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...))
}

// replace puts another file in the place of one, as Kubernetes does.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// inFile is the path of a new file with this content.
func inFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	replace(t, path, []byte(content))
	return path
}

// by makes the app prove itself by these credentials alone.
func by(list ...msauth.Credential) func(*msauth.Config) {
	return func(c *msauth.Config) { c.ClientSecret, c.Credentials = "", list }
}
