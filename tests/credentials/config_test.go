package credentials_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A start with a credential that cannot be used fails, and says which and why.
func TestCredentialsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	good, _ := certificate(t, keyA(), time.Hour)
	over, _ := certificate(t, keyA(), -time.Minute)
	early, _ := certificateFrom(t, keyA(), time.Now().Add(time.Hour), 2*time.Hour)
	other := good
	other.PrivateKey = keyB()
	ec, _ := certificate(t, keyE(), time.Hour)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cluster := msauthtest.NewIssuer()
	defer cluster.Close()
	missing := filepath.Join(t.TempDir(), "missing.pem")
	empty := inFile(t, "")
	for _, test := range []struct {
		name  string
		setup func(*msauth.Config)
		want  string
	}{
		{"nothing", by(), "Config.ClientSecret is empty"},
		{"both", func(c *msauth.Config) { c.Credentials = []msauth.Credential{msauth.Secret("s")} }, "Config.ClientSecret is set, and Credentials too"},
		{"zero value", by(msauth.Secret("s"), msauth.Credential{}), "Config.Credentials[1] is the zero value"},
		{"empty secret", by(msauth.Secret("")), "Config.Credentials[0] is empty"},
		{"no file", by(msauth.SecretFile(missing)), "Config.Credentials[0] " + missing + ": no such file"},
		{"empty file", by(msauth.SecretFile(empty)), "Config.Credentials[0] " + empty + ": is empty"},
		{"no certificate file", by(msauth.CertificateFiles(missing, missing)), "Config.Credentials[0] " + missing + ": no such file"},
		{"empty certificate file", by(msauth.CertificateFiles(empty, empty)), empty + ": has no private key"},
		{"certificate that is over", by(msauth.Certificate(over)), " ended at "},
		{"certificate whose time has not come", by(msauth.Certificate(early)), " is not valid before "},
		{"key of another certificate", by(msauth.Certificate(other)), "does not belong to the certificate"},
		{"EC at Microsoft", by(msauth.Certificate(ec)), "Microsoft accepts only RSA keys"},
		{"no private key", by(msauth.Certificate(tls.Certificate{Certificate: good.Certificate})), "must implement crypto.Signer"},
		{"no certificate", by(msauth.Certificate(tls.Certificate{PrivateKey: keyA()})), "has no certificate"},
		{"another curve elsewhere", func(c *msauth.Config) {
			by(msauth.Certificate(tls.Certificate{PrivateKey: p384}))(c)
			c.Issuer = "https://id.example.com"
		}, "another curve than P-256"},
		{"Ed25519 elsewhere", func(c *msauth.Config) {
			by(msauth.Certificate(tls.Certificate{PrivateKey: ed}))(c)
			c.Issuer = "https://id.example.com"
		}, "ed25519.PublicKey"},
		{"token that is none", by(msauth.FederatedTokenFile(inFile(t, "token"))), "is not a JWT"},
		{"token that is over", by(msauth.FederatedTokenFile(inFile(t, cluster.Token("s", "", -time.Hour)))), "ended at"},
		{"no function", by(msauth.Assertion(nil)), "has no function"},
		{"chain of a secret", by(msauth.Secret("s").WithChain()), "does not sign"},
		{"key id of a file", by(msauth.SecretFile(empty).WithKeyID("k")), "does not sign"},
		{"negative warning", func(c *msauth.Config) { c.ExpiryWarning = -1 }, "Config.ExpiryWarning is negative"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := testsite.LeastConfig()
			test.setup(&cfg)
			_, err := msauth.New(cfg)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "msauth: Config.") {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// Whoever prints a configuration prints no secret.
func TestCredentialsArePrintedWithoutSecrets(t *testing.T) {
	t.Parallel()
	const secret = "a~secret~that~nobody~may~see"
	cert, _ := certificate(t, keyA(), time.Hour)
	cfg := testsite.LeastConfig()
	by(msauth.Secret(secret), msauth.Certificate(cert), msauth.SecretFile(inFile(t, secret)))(&cfg)
	auth, err := msauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{cfg, cfg.Credentials, cfg.Credentials[0], auth, auth.Stats()} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, secret) || strings.Contains(text, "PRIVATE") {
				t.Errorf("%s of %T shows a secret", verb, v)
			}
		}
	}
}
