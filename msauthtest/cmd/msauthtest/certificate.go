package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// certificateLife is how long a certificate of [makeCertificate] is valid: longer than
// Config.ExpiryWarning, lest the first sign-in logs a warning.
const certificateLife = 90 * 24 * time.Hour

// certificate reads the certificate in a PEM file, with its private key. If there
// is no such file, it makes one. It returns the absolute path too.
func certificate(name string) (*x509.Certificate, string, error) {
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, "", err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := makeCertificate(path); err != nil {
			return nil, "", err
		}
	}
	pair, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		return nil, "", err
	}
	if _, ok := pair.PrivateKey.(*rsa.PrivateKey); !ok {
		return nil, "", errors.New("the key is not an RSA key")
	}
	return pair.Leaf, path, nil
}

// makeCertificate writes a new key and its certificate to a file that only its
// owner can read.
func makeCertificate(path string) error {
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "msauthtest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificateLife),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(
		pem.Encode(f, &pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		f.Close())
}
