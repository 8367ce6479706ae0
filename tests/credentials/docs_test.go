package credentials_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// The configurations that docs/credentials.md shows: they are complete, but for the
// files.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	for i, change := range []func(cfg *msauth.Config){func(cfg *msauth.Config) {
		cfg.Credentials = []msauth.Credential{
			msauth.CertificateFiles("/etc/app/cert.pem", "/etc/app/key.pem"),
			msauth.Secret(os.Getenv("AZURE_CLIENT_SECRET")), // if the certificate is refused
		}
	}, func(cfg *msauth.Config) {
		cfg.Credentials = []msauth.Credential{msauth.FederatedTokenFile(os.Getenv("AZURE_FEDERATED_TOKEN_FILE"))}
	}} {
		cfg := testsite.LeastConfig()
		cfg.ClientSecret = ""
		change(&cfg)
		want := []string{"/etc/app/cert.pem: no such file", "the path is empty"}[i] // no variable is set
		if _, err := msauth.New(cfg); err == nil || !strings.Contains(err.Error(), "Config.Credentials[0]") || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// wantSignIns signs two users in, and checks which credential was used.
func wantSignIns(t *testing.T, s *testsite.Site, using *msauthtest.Credential) {
	t.Helper()
	for range 2 {
		s.Browser(t).SignIn(msauthtest.Ada)
	}
	if got := using.Accepted(); got != 2 {
		t.Errorf("%d token requests with the credential, want 2; log:\n%s", got, s.Log)
	}
}

// commands returns the lines of the documentation's shell code that begin with one
// of the programs.
func commands(t *testing.T, programs string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(text), -1) {
		for line := range strings.SplitSeq(strings.ReplaceAll(block[1], "\\\n", ""), "\n") {
			if regexp.MustCompile(`^(` + programs + `) `).MatchString(line) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// The commands of docs/credentials.md make files that the app can be started and
// users can be signed in with.
func TestCommandsOfTheDocumentation(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is missing: scripts/setup installs it")
	}
	lines := commands(t, "umask|openssl|cat|mv")
	if len(lines) < 6 {
		t.Fatalf("commands %q", lines)
	}
	dir := t.TempDir()
	made := exec.Command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-keyout", "w.key", "-out", "w.pem", "-subj", "/CN=from Windows", "-days", "9")
	export := exec.Command("openssl", "pkcs12", "-export", "-in", "w.pem", "-inkey", "w.key", "-out", "windows.pfx", "-passout", "pass:a password")
	script := "set -eu\n"
	for _, line := range lines {
		if strings.Contains(line, "windows.pfx") { // else it asks for the password
			line += " -passin 'pass:a password'"
		}
		script += line + "\n"
	}
	var printed string
	for _, command := range []*exec.Cmd{made, export, exec.Command("bash", "-c", script)} {
		command.Dir = dir
		out, err := command.CombinedOutput()
		if printed = string(out); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	leaf := func(cert, key string) *x509.Certificate {
		pair, err := tls.LoadX509KeyPair(file(cert), file(key))
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf
	}
	for _, name := range []string{"key.pem", "app.pem", "windows.pem"} {
		if info, err := os.Stat(file(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	for _, tt := range []struct{ cert, key string }{
		{"cert.pem", "key.pem"}, {"app.pem", "app.pem"}, {"windows.pem", "windows.pem"},
	} {
		s := testsite.New(t, by(msauth.CertificateFiles(file(tt.cert), file(tt.key))))
		wantSignIns(t, s, s.MS.AddCertificate(leaf(tt.cert, tt.key)))
		// The thumbprint is the one that the log has.
		if tt.cert == "cert.pem" {
			_, thumbprint, _ := strings.Cut(printed, "sha256 Fingerprint=")
			thumbprint, _, _ = strings.Cut(thumbprint, "\n")
			if name := s.Auth.Stats().Credentials[0].Name; thumbprint == "" || name != "certificate with SHA-256 thumbprint "+strings.ReplaceAll(thumbprint, ":", "") {
				t.Errorf("%s, and openssl prints %s", name, thumbprint)
			}
		}
	}
	if cert := leaf("cert.pem", "key.pem"); cert.PublicKey.(*rsa.PublicKey).N.BitLen() != 3072 || cert.Subject.CommonName != "app.example.com" {
		t.Errorf("a key of %d bits for %s", cert.PublicKey.(*rsa.PublicKey).N.BitLen(), cert.Subject)
	}
}

// pssDevice is a key in a device, which signs in one way only.
type pssDevice struct{ crypto.Signer }

func (d pssDevice) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if pss, ok := opts.(*rsa.PSSOptions); !ok || pss.SaltLength != rsa.PSSSaltLengthEqualsHash || pss.HashFunc() != crypto.SHA256 {
		return nil, fmt.Errorf("asked to sign with %+v", opts)
	}
	return d.Signer.Sign(rand.Reader, digest, opts)
}

func TestKeyInADevice(t *testing.T) {
	t.Parallel()
	_, leaf := certificate(t, keyA(), year)
	signer := pssDevice{keyA()}
	s := testsite.New(t, by(
		msauth.Certificate(tls.Certificate{
			Certificate: [][]byte{leaf.Raw}, // then those that certify it, if any
			PrivateKey:  signer,             // a crypto.Signer
		}),
	))
	wantSignIns(t, s, s.MS.AddCertificate(leaf))
}

func TestKeyAtAnotherProvider(t *testing.T) {
	t.Parallel()
	key := keyE()
	for _, algorithms := range [][]string{{"ES256", "RS256"}, {}} { // the latter: not announced
		s := testsite.New(t)
		registered := s.MS.AddKey("app-2026", key.Public())
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.PlainAuthMethods, b.PlainAuthAlgorithms = []string{"private_key_jwt"}, algorithms
		})
		s.Restart(t, testsite.Generic(s), by(
			msauth.Certificate(tls.Certificate{PrivateKey: key}).WithKeyID("app-2026"),
		))
		wantSignIns(t, s, registered)
	}
}

// ciToken returns the text of a token that a CI service makes on request.
func ciToken(ctx context.Context, audience string) (string, error) {
	return "", errors.New("this is no CI job")
}

// A token that cannot be had: nobody is signed in, and the log says why.
func TestAssertionOfAFunction(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, by(msauth.Assertion(ciToken)))
	res := s.Browser(t).Get("/")
	if res.Kind() != "" { // the stand-in's page
		t.Fatalf("page %s", res.Kind())
	}
	s.As(msauthtest.Ada)
	if res := s.Browser(t).Get("/"); res.Kind() != "unavailable" {
		t.Errorf("page %q; log:\n%s", res.Kind(), s.Log)
	}
	if lines := s.Log.With("this is no CI job"); len(lines) == 0 {
		t.Errorf("log:\n%s", s.Log)
	}
	issuer := msauthtest.NewIssuer()
	t.Cleanup(issuer.Close)
	federated := s.MS.AddFederated(issuer.URL, "repo:octo-org/octo-repo:environment:Production", "")
	s.Restart(t, by(msauth.Assertion(func(_ context.Context, audience string) (string, error) {
		return issuer.Token("repo:octo-org/octo-repo:environment:Production", audience, 5*time.Minute), nil
	})))
	wantSignIns(t, s, federated)
}
