package credentials_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// device is a key that never leaves its device, which counts signatures.
type device struct {
	crypto.Signer
	signed *atomic.Int32
}

func (d device) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	d.signed.Add(1)
	return d.Signer.Sign(random, digest, opts)
}

// Each way of proving the app works for a sign-in and a renewal at Microsoft, and
// nothing else is sent besides.
func TestEachCredentialSignsIn(t *testing.T) {
	t.Parallel()
	const subject = "system:serviceaccount:shop:web"
	for _, test := range []struct {
		name string
		// register registers a credential, and returns what the app has.
		register func(t *testing.T, ms *msauthtest.Server) (msauth.Credential, *msauthtest.Credential)
		secret   bool
	}{
		{"a secret", func(t *testing.T, ms *msauthtest.Server) (msauth.Credential, *msauthtest.Credential) {
			return msauth.Secret("another~secret/of+it"), ms.AddSecret("another~secret/of+it")
		}, true},
		{"a secret in a file", func(t *testing.T, ms *msauthtest.Server) (msauth.Credential, *msauthtest.Credential) {
			return msauth.SecretFile(inFile(t, "another~secret/of+it\n")), ms.AddSecret("another~secret/of+it")
		}, true},
		{"a certificate", func(t *testing.T, ms *msauthtest.Server) (msauth.Credential, *msauthtest.Credential) {
			cert, public := certificate(t, keyA(), time.Hour)
			return msauth.Certificate(cert), ms.AddCertificate(public)
		}, false},
		{"a key in a device", func(t *testing.T, ms *msauthtest.Server) (msauth.Credential, *msauthtest.Credential) {
			cert, public := certificate(t, keyA(), time.Hour)
			cert.PrivateKey = device{keyA(), new(atomic.Int32)}
			return msauth.Certificate(cert), ms.AddCertificate(public)
		}, false},
		{"a certificate in a file, with its chain", func(t *testing.T, ms *msauthtest.Server) (msauth.Credential, *msauthtest.Credential) {
			cert, public := certificate(t, keyA(), time.Hour)
			path := inFile(t, "")
			writePEM(t, path, cert)
			return msauth.CertificateFiles(path, path).WithChain(), ms.AddCertificate(public)
		}, false},
		{"a federated token in a file", func(t *testing.T, ms *msauthtest.Server) (msauth.Credential, *msauthtest.Credential) {
			cluster := msauthtest.NewIssuer()
			t.Cleanup(cluster.Close)
			return msauth.FederatedTokenFile(inFile(t, cluster.Token(subject, "", time.Hour)+"\n")), ms.AddFederated(cluster.URL, subject, "")
		}, false},
		{"a function", func(t *testing.T, ms *msauthtest.Server) (msauth.Credential, *msauthtest.Credential) {
			cluster := msauthtest.NewIssuer()
			t.Cleanup(cluster.Close)
			return msauth.Assertion(func(_ context.Context, audience string) (string, error) {
				return cluster.Token(subject, audience, time.Minute), nil
			}), ms.AddFederated(cluster.URL, subject, "api://AzureADTokenExchange")
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t)
			app, registered := test.register(t, s.MS)
			s.Restart(t, by(app))
			b := testsite.ExpiredBrowser(t, s)
			b.WantGreeting(testsite.HelloAda)
			s.WantCalls(t, msauthtest.TokenRefresh, 1)
			if registered.Accepted() != 2 || registered.Refused() != 0 {
				t.Errorf("accepted %d times, refused %d, want 2 and 0", registered.Accepted(), registered.Refused())
			}
			for _, call := range slices.Concat(s.MS.Calls(msauthtest.TokenCode), s.MS.Calls(msauthtest.TokenRefresh)) {
				if call.Form.Has("client_secret") != test.secret || call.Form.Has("client_assertion") == test.secret || call.Header.Get("Authorization") != "" {
					t.Errorf("the request carries %q", fmt.Sprint(call.Form))
				}
			}
			if got := s.Auth.Stats().Credentials; len(got) != 1 || !got[0].InUse || got[0].Problem != "" || got[0].Name == "" {
				t.Errorf("stats: %+v", got)
			}
		})
	}
}

// Everything that asks for tokens asks in the same way.
func TestEveryTokenRequestIsProvedAlike(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	cert, public := certificate(t, keyA(), time.Hour)
	registered := s.MS.AddCertificate(public)
	key := device{keyA(), new(atomic.Int32)}
	cert.PrivateKey = key
	s.Restart(t, by(msauth.Certificate(cert)), func(c *msauth.Config) { c.Tokens = testsite.NewTokens() })
	s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
	s.MS.Set(func(b *msauthtest.Behavior) { b.ExpiresIn = 1 }) // tokens last a second
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	b.WantGreeting(testsite.HelloAda)
	user := b.User()
	time.Sleep(1100 * time.Millisecond)
	session, err := s.Auth.Offline(t.Context(), user.Key())
	if err != nil {
		t.Fatal(err)
	}
	for _, scopes := range [][]string{nil, {testsite.OrdersRead}} {
		if _, err := session.Token(t.Context(), scopes...); err != nil {
			t.Error(err)
		}
	}
	calls := slices.Concat(s.MS.Calls(msauthtest.TokenCode), s.MS.Calls(msauthtest.TokenRefresh))
	if len(s.MS.Calls(msauthtest.TokenCode)) != 1 || len(calls) < 3 || registered.Refused() != 0 {
		t.Errorf("%d token requests, %d refused", len(calls), registered.Refused())
	}
	for range 10 {
		b.WantGreeting(testsite.HelloAda)
	}
	if n := int(key.signed.Load()); n != len(s.MS.Calls(msauthtest.TokenCode))+len(s.MS.Calls(msauthtest.TokenRefresh)) {
		t.Errorf("%d signatures, want one for each token request", n)
	}
	seen := map[string]bool{}
	for _, call := range calls {
		assertion := call.Form.Get("client_assertion")
		if call.Form.Has("client_secret") || assertion == "" || seen[assertion] {
			t.Errorf("a request of kind %s carries no assertion of its own", call.Kind)
		}
		seen[assertion] = true
	}
}

// An app registration can trust a certificate by its name and issuer: then the chain
// is sent, and the next certificate of the same name needs no registration.
func TestTrustBySubjectNameAndIssuer(t *testing.T) {
	t.Parallel()
	root, authority := certificate(t, keyB(), 24*time.Hour)
	issued := func() msauth.Credential {
		t.Helper()
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "orders.example.com"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}, authority, keyA().Public(), keyB())
		if err != nil {
			t.Fatal(err)
		}
		return msauth.Certificate(tls.Certificate{Certificate: [][]byte{der, root.Certificate[0]}, PrivateKey: keyA()})
	}
	s := testsite.New(t)
	registered := s.MS.AddTrustedIssuer(authority, "orders.example.com")
	for range 2 {
		s.Restart(t, by(issued().WithChain()))
		s.Browser(t).SignIn(msauthtest.Ada)
	}
	if registered.Accepted() != 2 {
		t.Errorf("accepted %d times, want 2", registered.Accepted())
	}
	s.Restart(t, by(issued()))
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.WantRefused(b.Get("/"), 500, "app-error", "AADSTS700027")
}

// Other providers know a key by its id.
func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		key  crypto.Signer
	}{{"RSA", keyA()}, {"EC", keyE()}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t)
			registered := s.MS.AddKey("2026-11", test.key.Public())
			s.MS.Set(func(b *msauthtest.Behavior) { b.PlainAuthMethods = []string{"private_key_jwt"} })
			cert, _ := certificate(t, test.key, time.Hour)
			s.Restart(t, testsite.Generic(s), by(msauth.Certificate(cert).WithKeyID("2026-11")))
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			b.WantGreeting(testsite.HelloAda)
			if registered.Accepted() != 1 || registered.Refused() != 0 {
				t.Errorf("accepted %d times, refused %d, want 1 and 0", registered.Accepted(), registered.Refused())
			}
		})
	}
}

// The text of a device's or function's error reaches the operator, and nobody else.
func TestFunctionThatFails(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, by(msauth.Assertion(func(context.Context, string) (string, error) {
		return "", errors.New("no managed identity here")
	})))
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	res := b.Get("/")
	if res.StatusCode < 500 || strings.Contains(res.Text, "managed identity") {
		t.Errorf("status %d, page %q", res.StatusCode, res.Text)
	}
	if err := s.Auth.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "no managed identity here") {
		t.Errorf("Ready returns %v", err)
	}
	if lines := s.Log.With("event=credential_refused "); len(lines) != 1 || !strings.Contains(lines[0], "no managed identity here") {
		t.Errorf("log lines: %q", lines)
	}
}
