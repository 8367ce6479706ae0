package credential

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
)

// encrypted is a private key as openssl wrote it before PKCS #8.
func encrypted(kind string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: make([]byte, 160), Headers: map[string]string{
		"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,94AD4E5D3F1B2C6A7E8F90A1B2C3D4E5",
	}}))
}

func TestCertificateFiles(t *testing.T) {
	t.Parallel()
	keys := testKeys()
	chain := chainOf(keys.rsa.Public())
	certs, key := certBlocks(chain...), keyBlock(keys.rsa)
	pkcs1 := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(keys.rsa))
	sec1 := block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(keys.ec)))
	ecCerts := certBlocks(chainOf(keys.ec.Public())...)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	agreement := must(ecdh.X25519().GenerateKey(rand.Reader))
	const (
		one       = "\x00" // in place of the key's file: there is one file for both
		notPEM    = "is not in PEM form: convert it (openssl pkcs12 -in app.pfx -out app.pem -noenc)"
		damaged   = "has a PEM block that is cut off or damaged"
		encrypt   = "has an encrypted private key: decrypt it (openssl pkey -in encrypted.pem -out key.pem) and protect the file by its permissions"
		unread    = "has a private key that cannot be read: want PKCS #8"
		noKeyHere = "has no private key in PEM form (PRIVATE KEY)"
		noCert    = "has no certificate in PEM form (CERTIFICATE)"
	)
	bags := "Bag Attributes\n    localKeyID: 01 02\nKey Attributes: <No Attributes>\n"
	// As PKCS #12 files begin, by tools that know the length and by those that do not.
	pfx, pfxBER := "\x30\x82\x0a\x0b\x02\x01\x03\x30\x82", "\x30\x80\x02\x01\x03\x30\x80"
	crlf := func(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }
	for _, test := range []struct {
		name, cert, key string
		elsewhere       bool   // not at Microsoft
		want            string // in the error
	}{
		{"one file", certs + key, one, false, ""},
		{"the key first", key + certs, one, false, ""},
		{"two files", certs, key, false, ""},
		{"PKCS #1", certs, pkcs1, false, ""},
		{"PKCS #1 in the block of another form", certs, block("PRIVATE KEY", x509.MarshalPKCS1PrivateKey(keys.rsa)), false, ""},
		{"SEC 1", ecCerts, sec1, true, ""},
		{"SEC 1 after its parameters", ecCerts, block("EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}) + sec1, true, ""},
		{"PKCS #8 of an EC key", ecCerts, keyBlock(keys.ec), true, ""},
		{"text around", bags + certs + bags + key + "\nend\n", one, false, ""},
		{"CRLF", crlf(certs + key), one, false, ""},
		{"a byte order mark", "\ufeff" + crlf(certs), "\ufeff" + crlf(key), false, ""},
		{"no line break at the end", certs, strings.TrimSpace(key), false, ""},
		{"the key in both files", certs + key, key, false, ""},
		{"an encrypted key beside the one that is used", certs + block("ENCRYPTED PRIVATE KEY", []byte("x")), key, false, ""},
		{"certificates beside the key that are not used", certs, key + ecCerts, false, ""},
		{"a key alone", key, one, true, ""},

		{"a key alone at Microsoft", key, one, false, noCert},
		{"no certificate in its own file", "nothing\n", key, true, noCert},
		{"no certificate in its own file at Microsoft", "", key, false, noCert},
		{"the files the wrong way round", key, certs, false, noKeyHere},
		{"no key", certs, one, false, noKeyHere},
		{"no key in its own file", certs + key, bags, false, noKeyHere},
		{"empty", "", one, false, noKeyHere},
		{"both empty", "", "", true, noKeyHere},
		{"two keys", certs + key + keyBlock(keys.another), one, false, "has 2 private keys: leave the one that belongs to the certificate"},
		{"encrypted PKCS #8", certs, block("ENCRYPTED PRIVATE KEY", []byte("x")), false, encrypt},
		{"encrypted PKCS #1", certs + encrypted("RSA PRIVATE KEY"), one, false, encrypt},
		{"encrypted SEC 1", ecCerts, crlf(encrypted("EC PRIVATE KEY")), true, encrypt},
		{"OpenSSH", certs, block("OPENSSH PRIVATE KEY", []byte("openssh-key-v1\x00")), false, unread},
		{"no key in the block", certs, block("PRIVATE KEY", nil), false, unread},
		{"a certificate in the block of a key", certs, block("PRIVATE KEY", chain[0]), false, unread},
		{"a key in the block of a certificate", block("CERTIFICATE", keyDER(keys.rsa)), key, false, "certificate 1 of the chain: x509"},
		{"a key that cannot sign", certs, keyBlock(agreement), false, "has no private key that can sign"},
		{"Ed25519", certBlocks(chainOf(edwards.Public())...), keyBlock(edwards), true, "has a key of type ed25519.PublicKey"},
		{"P-384", certs, keyBlock(ecKey(elliptic.P384())), true, "is an EC key of another curve than P-256"},
		{"EC at Microsoft", ecCerts, sec1, false, "is an EC key: Microsoft accepts only RSA keys"},
		{"the key of another certificate", certs, keyBlock(keys.another), false, "has a private key that does not belong to the certificate"},
		{"the certificate of the key last", certBlocks(chain[2], chain[1], chain[0]), key, false, "has its certificates in the wrong order: the certificate of the key must come first"},
		{"root before the authority", certBlocks(chain[0], chain[2], chain[1]), key, false, "has its certificates in the wrong order: certificate 2"},
		{"PKCS #12", pfx, one, false, notPEM},
		{"PKCS #12 of unknown length", pfxBER, one, false, notPEM},
		{"PKCS #12 for the key", certs, pfx, false, notPEM},
		{"a certificate in DER", string(chain[0]), key, true, notPEM},
		{"a key in DER", certs, string(keyDER(keys.rsa)), false, notPEM},
		{"a short key in DER", ecCerts, string(must(x509.MarshalECPrivateKey(keys.ec))), true, notPEM},
		{"NUL", certs, strings.Repeat("\x00", 100), false, noKeyHere},
		{"1 MB and more", certs, key + strings.Repeat("x", 1<<20), false, "has more than 1048576 bytes"},

		{"cut off in the certificate", certs[:500], key, false, damaged},
		{"cut off in the key", certs + key[:500], one, false, damaged},
		{"cut off in the last line", certs, key[:len(key)-4], false, damaged},
		{"cut off before the next block", certBlocks(chain[0]) + certBlocks(chain[1])[:300] + "\n" + key, one, false, damaged},
		{"the certificate of the key damaged", strings.Replace(certs, "MII", "MI!", 1), key, true, damaged},
		{"an authority damaged", certBlocks(chain[0]) + strings.Replace(certBlocks(chain[1]), "A", "?", 1) + key, one, false, damaged},
		{"no line break between two blocks", strings.TrimSpace(certs) + key, one, false, damaged},
		{"indented", certs, strings.ReplaceAll("\n"+key, "\n", "\n    "), false, damaged},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			certFile := filepath.Join(t.TempDir(), "cert.pem")
			keyFile := certFile
			writeFile(t, certFile, test.cert)
			if test.key != one {
				keyFile = filepath.Join(t.TempDir(), "key.pem")
				writeFile(t, keyFile, test.key)
			}
			to, alg := atMicrosoft, "PS256"
			if test.elsewhere {
				to, alg = elsewhere, "RS256"
			}
			source, err := CertificateFiles(certFile, keyFile, Options{Microsoft: !test.elsewhere})
			if wantError(t, err, test.want); err != nil {
				if !strings.Contains(err.Error(), keyFile) {
					t.Errorf("%v does not name the file", err)
				}
				return
			}
			var public crypto.PublicKey = keys.rsa.Public()
			if strings.HasPrefix(test.cert, ecCerts) {
				public, alg = keys.ec.Public(), "ES256"
			}
			c, _, _ := source.Look()
			proof, err := c.Prove(t.Context(), to)
			if err != nil {
				t.Fatal(err)
			}
			verified(t, string(proof.Assertion), public, alg)
		})
	}
	_, err = CertificateFiles(filepath.Join(t.TempDir(), "missing"), filepath.Join(t.TempDir(), "too"), Options{})
	wantError(t, err, "missing: no such file or directory")
}

// The chain is sent in the order of the file.
func TestChainOfAFile(t *testing.T) {
	t.Parallel()
	chain := chainOf(testKeys().rsa.Public())
	cert, err := parsePEM([]byte(certBlocks(chain...)), []byte(keyBlock(testKeys().rsa)), true)
	if err != nil || len(cert.Certificate) != 3 {
		t.Fatalf("%d certificates, %v", len(cert.Certificate), err)
	}
	for i, der := range chain {
		if !bytes.Equal(cert.Certificate[i], der) {
			t.Errorf("certificate %d is another one", i+1)
		}
	}
}

// Whoever renews a certificate writes two files, one after the other: the last good
// pair stays until both fit.
func TestCertificateAndKeyAreReplaced(t *testing.T) {
	t.Parallel()
	keys := testKeys()
	for name, keyFirst := range map[string]bool{"the certificate first": false, "the key first": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certFile, keyFile := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
			writeFile(t, certFile, certBlocks(chainOf(keys.rsa.Public())...))
			writeFile(t, keyFile, keyBlock(keys.rsa))
			source, err := CertificateFiles(certFile, keyFile, Options{Microsoft: true})
			if err != nil {
				t.Fatal(err)
			}
			look := func(when string, key *rsa.PrivateKey, version int, fault string) {
				t.Helper()
				c, n, err := source.Look()
				if wantError(t, err, fault); n != version {
					t.Errorf("%s: version %d, want %d", when, n, version)
				}
				proof, err := c.Prove(t.Context(), atMicrosoft)
				if err != nil {
					t.Fatal(err)
				}
				verified(t, string(proof.Assertion), key.Public(), "PS256")
			}
			cert, key := certBlocks(chainOf(keys.another.Public())...), keyBlock(keys.another)
			steps := []struct{ path, content string }{{certFile, cert}, {keyFile, key}}
			if keyFirst {
				steps[0], steps[1] = steps[1], steps[0]
			}
			look("at first", keys.rsa, 1, "")
			writeFile(t, steps[0].path, steps[0].content[:700])
			look("half of the first", keys.rsa, 1, certFile+", "+keyFile+": has a PEM block that is cut off or damaged")
			writeFile(t, steps[0].path, steps[0].content)
			look("the first", keys.rsa, 1, certFile+", "+keyFile+": has a private key that does not belong to the certificate")
			look("still", keys.rsa, 1, "has a private key that does not belong to the certificate")
			writeFile(t, steps[1].path, "")
			look("the second, emptied", keys.rsa, 1, "in PEM form")
			writeFile(t, steps[1].path, steps[1].content)
			look("both", keys.another, 2, "")
		})
	}
}

// What is accepted can be written and read again, and crypto/tls accepts it too. The
// keys are EC keys: those of RSA are checked too slowly to try many.
func FuzzPEM(f *testing.F) {
	key := ecKey(elliptic.P256())
	der := certify("an app", false, key.Public(), nil, key).Raw
	certs, sec1, pkcs8 := certBlocks(der), block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(key))), keyBlock(key)
	for _, seed := range []struct{ cert, key string }{
		{certs, sec1}, {certs, pkcs8}, {"", pkcs8}, {sec1 + certs, sec1 + certs}, {certs + certs, sec1}, {certs, sec1 + pkcs8}, {"", ""},
		{"\ufeff" + certs, "\ufeff" + sec1}, {"text\n" + certs + "text", sec1[:100]}, {certs[:100] + "\n" + certs, pkcs8}, {certs, encrypted("EC PRIVATE KEY")},
		{strings.TrimSpace(certs) + sec1, sec1}, {"\x30\x82\x00", "\x30\x77\x02"}, {certs, "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"},
	} {
		f.Add([]byte(seed.cert), []byte(seed.key), true)
		f.Add([]byte(seed.cert), []byte(seed.key), false)
	}
	f.Fuzz(func(t *testing.T, certs, key []byte, certified bool) {
		cert, err := parsePEM(certs, key, certified)
		if err != nil {
			if len(err.Error()) > 300 {
				t.Errorf("%v", err)
			}
			return
		}
		if certified && len(cert.Certificate) == 0 {
			t.Error("no certificate")
		}
		again, err := parsePEM([]byte(certBlocks(cert.Certificate...)), []byte(keyBlock(cert.PrivateKey)), certified)
		if err != nil || len(again.Certificate) != len(cert.Certificate) || !again.PrivateKey.(interface{ Equal(crypto.PrivateKey) bool }).Equal(cert.PrivateKey) {
			t.Errorf("read again: %v", err)
		}
		if c, err := NewSigned(cert, Options{}); err == nil && len(cert.Certificate) > 0 {
			if _, err := tls.X509KeyPair(bytes.TrimPrefix(certs, byteOrderMark), bytes.TrimPrefix(key, byteOrderMark)); err != nil {
				t.Errorf("%s: %v", c.Name(), err)
			}
		}
	})
}
