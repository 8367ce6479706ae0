package msauth_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// signInWith signs in at a site that has the credentials, in place of
// Config.ClientSecret.
func signInWith(register func(*msauthtest.Server) []msauth.Credential, changes ...func(*msauth.Config)) {
	var microsoft *msauthtest.Server
	site := newExampleSite(append([]func(*msauth.Config){func(cfg *msauth.Config) {
		microsoft = msauthtest.NewServer()
		cfg.Authority, cfg.ClientID, cfg.ClientSecret = microsoft.URL, microsoft.ClientID, ""
		cfg.Credentials = register(microsoft)
	}}, changes...)...)
	defer site.Close()
	defer microsoft.Close()
	site.mux.Handle("/", site.auth.Require(text(func(s *msauth.Session) string { return "Hello, " + s.User.Name })))
	fmt.Println(site.open(site.signIn(msauthtest.Ada, "/"), "/"))
	for _, credential := range site.auth.Stats().Credentials {
		fmt.Println("in use:", credential.InUse)
	}
}

// exampleCertificate makes what openssl req -x509 makes.
func exampleCertificate(parent *tls.Certificate) tls.Certificate {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "orders.example.com"}, IsCA: parent == nil, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
	issuer, signer, rest := template, crypto.Signer(key), [][]byte(nil)
	if parent != nil {
		issuer, signer, rest = parent.Leaf, parent.PrivateKey.(crypto.Signer), parent.Certificate
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		log.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	return tls.Certificate{Certificate: append([][]byte{der}, rest...), PrivateKey: key, Leaf: leaf}
}

// A new secret next to the one that ends soon: the first that Microsoft accepts is
// used, and nobody notices the change.
func ExampleSecret() {
	signInWith(func(microsoft *msauthtest.Server) []msauth.Credential {
		microsoft.AddSecret("secret-of-2027")
		microsoft.Secret().Expire()
		return []msauth.Credential{
			msauth.Secret(microsoft.ClientSecret), // of 2026
			msauth.Secret("secret-of-2027"),
		}
	})
	// Output:
	// 200 Hello, Ada Lindqvist
	// in use: false
	// in use: true
}

// A secret that Kubernetes, or the Key Vault CSI driver, mounts as a file. When the
// file changes, the new one is used.
func ExampleSecretFile() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "client-secret") // /var/run/secrets/app/client-secret

	signInWith(func(microsoft *msauthtest.Server) []msauth.Credential {
		if err := os.WriteFile(file, []byte(microsoft.ClientSecret+"\n"), 0o600); err != nil {
			log.Fatal(err)
		}
		return []msauth.Credential{msauth.SecretFile(file)}
	})
	// Output:
	// 200 Hello, Ada Lindqvist
	// in use: true
}

// A certificate and its key in PEM files. One that replaces it is written to the same
// files, after it has been uploaded to the app registration.
func ExampleCertificateFiles() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "app.pem") // both are in it

	signInWith(func(microsoft *msauthtest.Server) []msauth.Credential {
		certificate := exampleCertificate(nil)
		key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
		if err != nil {
			log.Fatal(err)
		}
		pems := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})...)
		if err := os.WriteFile(file, pems, 0o600); err != nil {
			log.Fatal(err)
		}
		microsoft.AddCertificate(certificate.Leaf) // Certificates & secrets, Upload certificate
		return []msauth.Credential{msauth.CertificateFiles(file, file)}
	})
	// Output:
	// 200 Hello, Ada Lindqvist
	// in use: true
}

// A key that never leaves its device: any crypto.Signer, such as those of the client
// libraries of key management services.
func ExampleCertificate() {
	type signer struct{ crypto.Signer } // from an HSM, for example

	signInWith(func(microsoft *msauthtest.Server) []msauth.Credential {
		certificate := exampleCertificate(nil)
		microsoft.AddCertificate(certificate.Leaf)
		return []msauth.Credential{msauth.Certificate(tls.Certificate{
			Certificate: certificate.Certificate,
			PrivateKey:  signer{certificate.PrivateKey.(crypto.Signer)},
		})}
	})
	// Output:
	// 200 Hello, Ada Lindqvist
	// in use: true
}

// An app registration that trusts each certificate of a certificate authority for a
// name: a new certificate need not be uploaded.
func ExampleCredential_WithChain() {
	signInWith(func(microsoft *msauthtest.Server) []msauth.Credential {
		authority := exampleCertificate(nil)
		microsoft.AddTrustedIssuer(authority.Leaf, "orders.example.com")
		return []msauth.Credential{msauth.Certificate(exampleCertificate(&authority)).WithChain()}
	})
	// Output:
	// 200 Hello, Ada Lindqvist
	// in use: true
}

// At a provider other than Microsoft, which knows the key by an ID (private_key_jwt).
func ExampleCredential_WithKeyID() {
	signInWith(func(microsoft *msauthtest.Server) []msauth.Credential {
		microsoft.Set(func(b *msauthtest.Behavior) { b.PlainAuthMethods = []string{"private_key_jwt"} })
		certificate := exampleCertificate(nil)
		microsoft.AddKey("app-2026", certificate.Leaf.PublicKey)
		return []msauth.Credential{msauth.Certificate(tls.Certificate{PrivateKey: certificate.PrivateKey}).WithKeyID("app-2026")}
	}, func(cfg *msauth.Config) {
		cfg.Issuer = cfg.Authority + "/generic" // https://id.example.com
		cfg.Authority, cfg.Scopes = "", []string{"profile"}
	})
	// Output:
	// 200 Hello, Ada Lindqvist
	// in use: true
}

// At Live Connect, where secrets have versions: tokens that it signs name theirs.
func ExampleCredential_WithVersion() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	site := newExampleSite(func(cfg *msauth.Config) {
		cfg.ClientID, cfg.ClientSecret = microsoft.ClientID, ""
		cfg.Credentials = []msauth.Credential{msauth.Secret(microsoft.ClientSecret).WithVersion(0)}
		cfg.Authority = microsoft.LiveAuthority() // "https://login.live.com" for the real one
		cfg.Scopes = []string{"wl.signin", "wl.basic"}
	})
	defer site.Close()
	site.mux.Handle("/", site.auth.Require(text(func(s *msauth.Session) string { return "Hello, " + s.User.Issuer })))
	fmt.Println(site.open(site.signIn(msauthtest.Mia, "/"), "/"))
	// Output: 200 Hello, https://login.live.com
}

// Kubernetes with workload identity: the cluster writes the token to a file, and
// renews it.
func ExampleFederatedTokenFile() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "token") // os.Getenv("AZURE_FEDERATED_TOKEN_FILE")
	cluster := msauthtest.NewIssuer()
	defer cluster.Close()

	signInWith(func(microsoft *msauthtest.Server) []msauth.Credential {
		const subject = "system:serviceaccount:shop:web" // of the federated credential
		microsoft.AddFederated(cluster.URL, subject, "")
		if err := os.WriteFile(file, []byte(cluster.Token(subject, "", time.Hour)), 0o600); err != nil {
			log.Fatal(err)
		}
		return []msauth.Credential{msauth.FederatedTokenFile(file)}
	})
	// Output:
	// 200 Hello, Ada Lindqvist
	// in use: true
}

// Any other way to a token for which there is a federated credential: a managed
// identity, a CI job, SPIFFE.
func ExampleAssertion() {
	platform := msauthtest.NewIssuer()
	defer platform.Close()

	signInWith(func(microsoft *msauthtest.Server) []msauth.Credential {
		const subject = "repo:octo-org/octo-repo:environment:Production"
		microsoft.AddFederated(platform.URL, subject, "")
		return []msauth.Credential{msauth.Assertion(func(ctx context.Context, audience string) (string, error) {
			return platform.Token(subject, audience, time.Hour), nil // usually a request, within ctx
		})}
	})
	// Output:
	// 200 Hello, Ada Lindqvist
	// in use: true
}
