package credential

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"example.com/msauth/internal/reload"
)

// CertificateFiles returns a source that reads a certificate chain and its private
// key from PEM files, which may be the same file. Outside Microsoft the file of the
// certificates may hold none, if both are the same.
func CertificateFiles(certFile, keyFile string, o Options) (Source, error) {
	paths := []string{certFile}
	if keyFile != certFile {
		paths = append(paths, keyFile)
	}
	return reload.Open(func(contents [][]byte) (Credential, error) {
		cert, err := parsePEM(contents[0], contents[len(contents)-1], o.Microsoft)
		if err != nil {
			return nil, err
		}
		return NewSigned(cert, o)
	}, paths...)
}

// parsePEM reads certificates from one text and a private key from another. It says
// what is missing, which crypto/tls does not say of all faults.
func parsePEM(certs, key []byte, microsoft bool) (tls.Certificate, error) {
	if bytes.HasPrefix(certs, []byte{0x30, 0x82}) { // ASN.1
		return tls.Certificate{}, errors.New("is not in PEM form: convert it (openssl pkcs12 -in app.pfx -out app.pem -noenc)")
	}
	chain, _, err := blocks(certs)
	if err != nil {
		return tls.Certificate{}, err
	}
	_, private, err := blocks(key)
	switch {
	case err != nil:
		return tls.Certificate{}, err
	case private == nil:
		return tls.Certificate{}, errors.New("has no private key in PEM form (PRIVATE KEY)")
	case chain == nil && microsoft:
		return tls.Certificate{}, errors.New("has no certificate in PEM form (CERTIFICATE)")
	}
	parsed, err := parseKey(private)
	return tls.Certificate{Certificate: chain, PrivateKey: parsed}, err
}

// parseKey reads a private key in any of the forms that openssl writes.
func parseKey(block *pem.Block) (crypto.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err == nil {
		return parsed, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return nil, errors.New("has a private key that cannot be read: want PKCS #8, as openssl pkey writes it")
}

// blocks returns the certificates in a PEM text and its first private key.
func blocks(text []byte) (certs [][]byte, key *pem.Block, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		switch {
		case block.Type == "CERTIFICATE":
			certs = append(certs, block.Bytes)
		case block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, nil, errors.New("has an encrypted private key: decrypt it (openssl pkey -in encrypted.pem -out key.pem) and protect the file by its permissions")
		case key == nil && strings.HasSuffix(block.Type, "PRIVATE KEY"):
			key = block
		}
	}
	if bytes.Contains(text, []byte("-----BEGIN")) {
		return nil, nil, errors.New("ends within a PEM block: it is cut off or damaged")
	}
	return certs, key, nil
}
