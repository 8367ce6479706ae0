package credential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// signedBy makes an assertion and returns its header and claims, after verifying
// its signature with the algorithm that is wanted.
func signedBy(t *testing.T, cert tls.Certificate, o Options, to Recipient, alg string) (header, claims map[string]any) {
	t.Helper()
	c, err := NewSigned(cert, o)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := c.Prove(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	if proof.Secret != "" {
		t.Error("there is a secret too")
	}
	return verified(t, string(proof.Assertion), cert.PrivateKey.(crypto.Signer).Public(), alg)
}

// verified returns header and claims of a JWT with a valid signature.
func verified(t *testing.T, token string, public crypto.PublicKey, alg string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(json.Unmarshal(decoded[0], &header), json.Unmarshal(decoded[1], &claims)); err != nil {
		t.Fatal(err)
	}
	if header["alg"] != alg {
		t.Fatalf("signed with %v, want %s", header["alg"], alg)
	}
	digest, signature := sha256.Sum256([]byte(parts[0]+"."+parts[1])), decoded[2]
	var err error
	switch alg {
	case "PS256":
		err = rsa.VerifyPSS(public.(*rsa.PublicKey), crypto.SHA256, digest[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "RS256":
		err = rsa.VerifyPKCS1v15(public.(*rsa.PublicKey), crypto.SHA256, digest[:], signature)
	case "ES256": // RFC 7518 section 3.4
		if len(signature) != 64 || !ecdsa.Verify(public.(*ecdsa.PublicKey), digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
			err = errors.New("ECDSA verification error")
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", alg, err)
	}
	return header, claims
}

// thumbprint is that of a key, as RFC 7638 section 3 spells it out.
func thumbprint(public crypto.PublicKey) string {
	encode := base64.RawURLEncoding.EncodeToString
	text := ""
	switch key := public.(type) {
	case *rsa.PublicKey:
		text = fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, encode(big.NewInt(int64(key.E)).Bytes()), encode(key.N.Bytes()))
	case *ecdsa.PublicKey:
		point := must(key.Bytes())
		text = fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, encode(point[1:33]), encode(point[33:]))
	}
	sum := sha256.Sum256([]byte(text))
	return encode(sum[:])
}

func sum256(data []byte) []byte { sum := sha256.Sum256(data); return sum[:] }

// Microsoft identifies the key by the thumbprint of its certificate, and wants
// nothing else in the header.
func TestAssertionAtMicrosoft(t *testing.T) {
	t.Parallel()
	cert := certified(testKeys().rsa)
	for _, test := range []struct {
		name    string
		options Options
		x5c     []any
	}{
		{"the certificate alone", Options{Microsoft: true}, nil},
		{"a key id is for others", Options{Microsoft: true, KeyID: "mine"}, nil},
		{"with its chain", Options{Microsoft: true, Chain: true}, []any{
			base64.StdEncoding.EncodeToString(cert.Certificate[0]), base64.StdEncoding.EncodeToString(cert.Certificate[1]), base64.StdEncoding.EncodeToString(cert.Certificate[2]),
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			before := time.Now().Unix()
			header, claims := signedBy(t, cert, test.options, atMicrosoft, "PS256")
			want := map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum256(cert.Certificate[0]))}
			if test.x5c != nil {
				want["x5c"] = test.x5c
			}
			if !reflect.DeepEqual(header, want) {
				t.Errorf("header %v, want %v", header, want)
			}
			if got := slices.Sorted(maps.Keys(claims)); !slices.Equal(got, []string{"aud", "exp", "iat", "iss", "jti", "nbf", "sub"}) {
				t.Errorf("claims %v", got)
			}
			if claims["aud"] != atMicrosoft.Endpoint || claims["iss"] != testClient || claims["sub"] != testClient {
				t.Errorf("claims %v", claims)
			}
			issued, _ := claims["iat"].(float64)
			if now := time.Now().Unix(); int64(issued) < before || int64(issued) > now || claims["nbf"] != issued || claims["exp"] != issued+600 {
				t.Errorf("issued at %v, between %d and %d; valid from %v to %v", issued, before, now, claims["nbf"], claims["exp"])
			}
		})
	}
}

// No assertion is like another: a provider may accept each once (RFC 7523 section 3).
func TestAssertionIsFresh(t *testing.T) {
	t.Parallel()
	c, err := NewSigned(certified(testKeys().rsa), Options{Microsoft: true})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ids := map[any]bool{}
		for range 3 {
			proof, err := c.Prove(t.Context(), atMicrosoft)
			if err != nil {
				t.Fatal(err)
			}
			_, claims := verified(t, string(proof.Assertion), testKeys().rsa.Public(), "PS256")
			if id, ok := claims["jti"].(string); !ok || len(id) < 22 || ids[id] {
				t.Errorf("jti %v after %v", claims["jti"], ids)
			}
			ids[claims["jti"]] = true
			now := float64(time.Now().Unix())
			if claims["iat"] != now || claims["nbf"] != now || claims["exp"] != now+600 {
				t.Errorf("at %v: %v", now, claims)
			}
			time.Sleep(5 * time.Minute)
		}
	})
}

// Other providers know the key by its id, and take their issuer for the audience.
func TestAssertionElsewhere(t *testing.T) {
	t.Parallel()
	keys := testKeys()
	announced := func(algorithms ...string) Recipient {
		to := elsewhere
		to.Algorithms = algorithms
		return to
	}
	alone := func(key crypto.Signer) tls.Certificate { return tls.Certificate{PrivateKey: key} }
	chain := certified(keys.rsa)
	for _, test := range []struct {
		name    string
		cert    tls.Certificate
		options Options
		to      Recipient
		alg     string
		header  map[string]any // besides alg and typ
	}{
		{"an RSA key", alone(keys.rsa), Options{}, elsewhere, "RS256", map[string]any{"kid": thumbprint(keys.rsa.Public())}},
		{"an EC key", alone(keys.ec), Options{}, elsewhere, "ES256", map[string]any{"kid": thumbprint(keys.ec.Public())}},
		{"a key id", alone(keys.ec), Options{KeyID: "mine"}, elsewhere, "ES256", map[string]any{"kid": "mine"}},
		{"a certificate", chain, Options{}, elsewhere, "RS256", map[string]any{"kid": thumbprint(keys.rsa.Public())}},
		{"with its chain", tls.Certificate{PrivateKey: keys.rsa, Certificate: chain.Certificate[:1]}, Options{Chain: true, KeyID: "mine"}, elsewhere, "RS256",
			map[string]any{"kid": "mine", "x5c": []any{base64.StdEncoding.EncodeToString(chain.Certificate[0])}}},
		{"a certificate for an EC key", certified(keys.ec), Options{KeyID: "mine"}, elsewhere, "ES256", map[string]any{"kid": "mine"}},
		{"PS256 is preferred", alone(keys.rsa), Options{KeyID: "mine"}, announced("RS256", "PS256", "ES256"), "PS256", map[string]any{"kid": "mine"}},
		{"RS256 alone", alone(keys.rsa), Options{KeyID: "mine"}, announced("ES256", "RS256"), "RS256", map[string]any{"kid": "mine"}},
		{"ES256 among others", alone(keys.ec), Options{KeyID: "mine"}, announced("RS256", "PS256", "ES256"), "ES256", map[string]any{"kid": "mine"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			header, claims := signedBy(t, test.cert, test.options, test.to, test.alg)
			test.header["alg"], test.header["typ"] = test.alg, "JWT"
			if !reflect.DeepEqual(header, test.header) {
				t.Errorf("header %v, want %v", header, test.header)
			}
			if claims["aud"] != elsewhere.Issuer || claims["iss"] != testClient || claims["sub"] != testClient || len(claims) != 7 {
				t.Errorf("claims %v", claims)
			}
		})
	}
	for _, test := range []struct {
		name string
		cert tls.Certificate
		to   Recipient
		want string
	}{
		{"none for an RSA key", alone(keys.rsa), announced("ES256", "RS512"), "cannot sign with any algorithm that the provider announces: ES256, RS512"},
		{"none for an EC key", alone(keys.ec), announced("RS256"), "cannot sign with any algorithm that the provider announces: RS256"},
		{"Microsoft, which needs a certificate", alone(keys.rsa), atMicrosoft, "has no certificate: Microsoft identifies the key by it"},
	} {
		c, err := NewSigned(test.cert, Options{})
		if err != nil {
			t.Fatal(err)
		}
		proof, err := c.Prove(t.Context(), test.to)
		if wantError(t, err, test.want); proof != (Proof{}) {
			t.Errorf("%s: a proof all the same", test.name)
		}
	}
}

// The example of RFC 7638 section 3.1.
func TestKeyIDIsTheThumbprint(t *testing.T) {
	t.Parallel()
	modulus := must(base64.RawURLEncoding.DecodeString("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"))
	c, err := NewSigned(tls.Certificate{PrivateKey: device{public: &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537}}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Name() != "key NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("%s", c.Name())
	}
	if from, until := c.Valid(); !from.IsZero() || !until.IsZero() || c.Expires() {
		t.Errorf("a key alone is valid from %v until %v", from, until)
	}
}

// The key may be in a device that only signs.
func TestAssertionOfADevice(t *testing.T) {
	t.Parallel()
	keys := testKeys()
	for _, test := range []struct {
		name string
		key  crypto.Signer
		o    Options
		to   Recipient
		alg  string
	}{
		{"at Microsoft", keys.rsa, Options{Microsoft: true}, atMicrosoft, "PS256"},
		{"RSA", keys.rsa, Options{}, elsewhere, "RS256"},
		{"EC", keys.ec, Options{}, elsewhere, "ES256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			signedBy(t, certified(device{key: test.key}), test.o, test.to, test.alg)
		})
	}
	broken := errors.New("token removed")
	c, err := NewSigned(certified(device{key: keys.rsa, fail: broken}), Options{Microsoft: true})
	if err != nil {
		t.Fatal(err)
	}
	proof, err := c.Prove(t.Context(), atMicrosoft)
	if wantError(t, err, "signing: token removed"); !errors.Is(err, broken) || proof != (Proof{}) {
		t.Errorf("%v", err)
	}
}

// A certificate tells when it ends, and is named by its thumbprint.
func TestCertificateIsNamed(t *testing.T) {
	t.Parallel()
	cert := certified(testKeys().rsa)
	c, err := NewSigned(cert, Options{Microsoft: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("certificate with SHA-256 thumbprint %X", sum256(cert.Certificate[0])); c.Name() != want {
		t.Errorf("%s, want %s", c.Name(), want)
	}
	from, until := c.Valid()
	if now := time.Now(); !c.Expires() || from.After(now) || now.Sub(from) > 2*time.Hour || until.Sub(now).Round(24*time.Hour) != 365*24*time.Hour {
		t.Errorf("it is valid from %v until %v", from, until)
	}
}

// New refuses what could not work, and says what to do.
func TestKeysAndCertificatesThatAreRefused(t *testing.T) {
	t.Parallel()
	keys, ca := testKeys(), testCA()
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := chainOf(keys.rsa.Public())
	leaf, middle, root := good[0], good[1], good[2]
	microsoft := Options{Microsoft: true}
	unrelated := certify("another authority", true, keys.ec.Public(), nil, keys.ec).Raw
	noCA := certify("no authority", false, keys.another.Public(), nil, keys.another)
	underNoCA := certify("an app", false, keys.rsa.Public(), noCA, keys.another).Raw
	for _, test := range []struct {
		name  string
		key   crypto.PrivateKey
		chain [][]byte
		o     Options
		want  string
	}{
		{"no key", nil, good, microsoft, "has no private key that can sign: PrivateKey must implement crypto.Signer"},
		{"a text for a key", "key", good, microsoft, "has no private key that can sign"},
		{"a public key", keys.rsa.Public(), good, microsoft, "has no private key that can sign"},
		{"a nil key", (*rsa.PrivateKey)(nil), good, microsoft, "has a private key that cannot be used"},
		{"an empty key", &rsa.PrivateKey{}, good, microsoft, "has a private key that cannot be used"},
		{"an empty EC key", &ecdsa.PrivateKey{}, nil, Options{}, "is an EC key of another curve than P-256"},
		{"an EC key without a point", &ecdsa.PrivateKey{PublicKey: ecdsa.PublicKey{Curve: elliptic.P256()}}, nil, Options{}, "has a private key that cannot be used"},
		{"RSA 1024", rsaKey(1024), nil, Options{}, "is an RSA key of 1024 bits: want at least 2048"},
		{"RSA 2047", rsaKey(2047), nil, Options{}, "is an RSA key of 2047 bits: want at least 2048"},
		{"RSA 1024 at Microsoft", device{public: rsaKey(1024).Public()}, good, microsoft, "is an RSA key of 1024 bits: want at least 2048"},
		{"EC at Microsoft", keys.ec, chainOf(keys.ec.Public()), microsoft, "is an EC key: Microsoft accepts only RSA keys"},
		{"P-384", ecKey(elliptic.P384()), nil, Options{}, "is an EC key of another curve than P-256"},
		{"P-521", ecKey(elliptic.P521()), nil, Options{}, "is an EC key of another curve than P-256"},
		{"Ed25519", edwards, nil, Options{}, "has a key of type ed25519.PublicKey: want an RSA key, or for other providers than Microsoft an EC key of curve P-256"},
		{"Ed25519 at Microsoft", edwards, chainOf(edwards.Public()), microsoft, "has a key of type ed25519.PublicKey"},
		{"a device without a public key", device{key: noKey{}}, good, microsoft, "has a key of type <nil>"},
		{"no certificate at Microsoft", keys.rsa, nil, microsoft, "has no certificate: Microsoft identifies the key by it"},
		{"the key of another certificate", keys.another, good, microsoft, "has a private key that does not belong to the certificate"},
		{"the key of another kind of certificate", keys.ec, good, Options{}, "has a private key that does not belong to the certificate"},
		{"the certificate of the key last", keys.rsa, [][]byte{root, middle, leaf}, microsoft, "has its certificates in the wrong order: the certificate of the key must come first, then those that certify it"},
		{"root before the authority", keys.rsa, [][]byte{leaf, root, middle}, microsoft, "has its certificates in the wrong order: certificate 2 of the chain does not certify the one before"},
		{"the authority left out", keys.rsa, [][]byte{leaf, root}, microsoft, "certificate 2 of the chain does not certify"},
		{"an authority of others at the end", keys.rsa, [][]byte{leaf, middle, unrelated}, microsoft, "certificate 3 of the chain does not certify"},
		{"a certificate twice", keys.rsa, [][]byte{leaf, leaf}, microsoft, "certificate 2 of the chain does not certify"},
		{"an issuer that is no authority", keys.rsa, [][]byte{underNoCA, noCA.Raw}, microsoft, "certificate 2 of the chain does not certify the one before: x509: invalid signature: parent certificate cannot sign this kind of certificate"},
		{"no DER", keys.rsa, [][]byte{[]byte("garbage")}, microsoft, "certificate 1 of the chain: x509: malformed certificate"},
		{"an empty one", keys.rsa, [][]byte{leaf, {}}, microsoft, "certificate 2 of the chain: x509: malformed certificate"},
		{"more than a certificate", keys.rsa, [][]byte{append(slices.Clip(slices.Clone(leaf)), 0)}, microsoft, "certificate 1 of the chain: x509: trailing data"},
		{"in PEM form", keys.rsa, [][]byte{[]byte(certBlocks(leaf))}, microsoft, "certificate 1 of the chain: x509"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := NewSigned(tls.Certificate{PrivateKey: test.key, Certificate: test.chain}, test.o)
			if wantError(t, err, test.want); c != nil {
				t.Errorf("%v all the same", c.Name())
			}
		})
	}
	// A chain may end before the root, and may begin with a self-signed certificate.
	for name, chain := range map[string][][]byte{
		"the certificate": {leaf}, "with its authority": {leaf, middle}, "with the root": {leaf, middle, root},
		"self-signed": {certify("an app", false, keys.rsa.Public(), nil, keys.rsa).Raw}, "below the root": {certify("an app", false, keys.rsa.Public(), ca.root, ca.rootKey).Raw, root},
	} {
		if _, err := NewSigned(tls.Certificate{PrivateKey: keys.rsa, Certificate: chain}, microsoft); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// noKey is a device that does not tell its public key.
type noKey struct{ crypto.Signer }

func (noKey) Public() crypto.PublicKey { return nil }
