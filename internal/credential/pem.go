package credential

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"example.com/msauth/internal/reload"
)

// CertificateFiles returns a source that reads a certificate chain and its private
// key from PEM files, which may be the same file. Outside Microsoft one file for both
// may hold the key alone.
func CertificateFiles(certFile, keyFile string, o Options) (Source, error) {
	paths := []string{certFile}
	if keyFile != certFile {
		paths = append(paths, keyFile)
	}
	return reload.Open(func(contents [][]byte) (Credential, error) {
		cert, err := parsePEM(contents[0], contents[len(contents)-1], o.Microsoft || len(paths) > 1)
		if err != nil {
			return nil, err
		}
		return NewSigned(cert, o)
	}, paths...)
}

// parsePEM reads certificates from one text and a private key from another. It says
// what is missing, which crypto/tls does not say of all faults.
func parsePEM(certs, key []byte, certified bool) (tls.Certificate, error) {
	chain, _, err := blocks(certs)
	if err != nil {
		return tls.Certificate{}, err
	}
	_, private, err := blocks(key)
	switch {
	case err != nil:
		return tls.Certificate{}, err
	case len(private) == 0:
		return tls.Certificate{}, errors.New("has no private key in PEM form (PRIVATE KEY)")
	case len(private) > 1:
		return tls.Certificate{}, fmt.Errorf("has %d private keys: leave the one that belongs to the certificate", len(private))
	case chain == nil && certified:
		return tls.Certificate{}, errors.New("has no certificate in PEM form (CERTIFICATE)")
	}
	parsed, err := parseKey(private[0])
	return tls.Certificate{Certificate: chain, PrivateKey: parsed}, err
}

// parseKey reads a private key in any of the forms that openssl writes.
func parseKey(block *pem.Block) (crypto.PrivateKey, error) {
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, errors.New("has an encrypted private key: decrypt it (openssl pkey -in encrypted.pem -out key.pem) and protect the file by its permissions")
	}
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

// blocks returns the certificates and the private keys in a PEM text.
func blocks(text []byte) (certs [][]byte, keys []*pem.Block, err error) {
	if isDER(text) {
		return nil, nil, errors.New("is not in PEM form: convert it (openssl pkcs12 -in app.pfx -out app.pem -noenc)")
	}
	text = bytes.TrimPrefix(text, byteOrderMark)
	begun := bytes.Count(text, []byte("-----BEGIN "))
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		begun--
		switch {
		case block.Type == "CERTIFICATE":
			certs = append(certs, block.Bytes)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			keys = append(keys, block)
		}
	}
	if begun != 0 { // encoding/pem skips what it cannot read
		return nil, nil, errors.New("has a PEM block that is cut off or damaged")
	}
	return certs, keys, nil
}

// isDER reports whether data is in the binary form that PEM encodes (ASN.1): a
// certificate, which has more than 127 bytes, or a key or PKCS #12 file, which begin
// with a version.
func isDER(data []byte) bool {
	return len(data) > 2 && data[0] == 0x30 && (data[1] >= 0x80 || data[2] == 0x02)
}
