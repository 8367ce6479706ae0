package device

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"math/big"
	"strings"
	"sync"
	"testing"

	"example.com/msauth/internal/seal"
	"github.com/go-jose/go-jose/v4"
)

// A signer is a browser's private key.
type signer struct {
	private crypto.Signer
	alg     jose.SignatureAlgorithm
}

func newP256(t testing.TB) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, jose.ES256}
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newRSA(t testing.TB) signer {
	t.Helper()
	key, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, jose.RS256}
}

// shortRSA is a public key of as many bits. Keys that short cannot be made everywhere, so
// nobody has the private one: what refuses it looks at its length first.
func shortRSA(bits int) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
}

// sign signs any header and payload.
func (s signer) sign(t testing.TB, header map[string]any, payload string) string {
	t.Helper()
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	return s.signText(t, string(h), payload)
}

func (s signer) signText(t testing.TB, header, payload string) string {
	t.Helper()
	input := seal.Base64url.EncodeToString([]byte(header)) + "." + seal.Base64url.EncodeToString([]byte(payload))
	sum := crypto.SHA256.New()
	sum.Write([]byte(input))
	digest := sum.Sum(nil)
	var signature []byte
	switch key := s.private.(type) {
	case *ecdsa.PrivateKey:
		r, v, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			t.Fatal(err)
		}
		signature = append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
	case *rsa.PrivateKey:
		var err error
		if signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest); err != nil {
			t.Fatal(err)
		}
	}
	return input + "." + seal.Base64url.EncodeToString(signature)
}

// jwk is the public key as browsers send it.
func (s signer) jwk(t testing.TB) map[string]any { return asMap(t, s.private.Public()) }

func asMap(t testing.TB, key any) (m map[string]any) {
	t.Helper()
	text, err := (&jose.JSONWebKey{Key: key}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// registration and refresh are the proofs as Chromium sends them.
func (s signer) registration(t testing.TB, challenge string) string {
	return s.sign(t, map[string]any{"alg": s.alg, "typ": "dbsc+jwt", "jwk": s.jwk(t)}, `{"jti":"`+challenge+`"}`)
}

func (s signer) refresh(t testing.TB, challenge string) string {
	return s.sign(t, map[string]any{"alg": s.alg, "typ": "dbsc+jwt"}, `{"jti":"`+challenge+`"}`)
}

func TestProofsOfBrowsers(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]signer{"ES256": newP256(t), "RS256": newRSA(t)} {
		key, challenge, err := ReadRegistration(s.registration(t, "c1"))
		if err != nil || challenge != "c1" {
			t.Fatalf("%s: challenge %q, %v", name, challenge, err)
		}
		again, err := ParseKey(key.Bytes())
		if err != nil || again.Digest() != key.Digest() || !bytes.Equal(again.Bytes(), key.Bytes()) {
			t.Fatalf("%s: the key does not come back: %v", name, err)
		}
		if challenge, err := again.Check(s.refresh(t, "c2")); err != nil || challenge != "c2" {
			t.Errorf("%s: challenge %q, %v", name, challenge, err)
		}
	}
}

func TestProofsThatAreNone(t *testing.T) {
	t.Parallel()
	s, other := newP256(t), newP256(t)
	key, _, err := ReadRegistration(s.registration(t, "c1"))
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(h map[string]any)) string {
		h := map[string]any{"alg": "ES256", "typ": "dbsc+jwt", "jwk": s.jwk(t)}
		change(h)
		return s.sign(t, h, `{"jti":"c1"}`)
	}
	good := s.registration(t, "c1")
	for _, test := range []struct{ name, proof, want string }{
		{"of another type", with(func(h map[string]any) { h["typ"] = "JWT" }), "typ is not dbsc+jwt"},
		{"without a type", with(func(h map[string]any) { delete(h, "typ") }), "typ is not dbsc+jwt"},
		{"alg none", with(func(h map[string]any) { h["alg"] = "none" }), "ES256 or RS256"},
		{"alg HS256", with(func(h map[string]any) { h["alg"] = "HS256" }), "ES256 or RS256"},
		{"alg of another key", with(func(h map[string]any) { h["alg"] = "RS256" }), "alg does not fit the key"},
		{"critical extensions", with(func(h map[string]any) { h["crit"] = []string{"x"}; h["x"] = 1 }), "another key"},
		{"without a key", s.refresh(t, "c1"), "brings no key"},
		{"a key that is null", with(func(h map[string]any) { h["jwk"] = nil }), "jwk is no key"},
		{"another's key", with(func(h map[string]any) { h["jwk"] = other.jwk(t) }), "signed with another key"},
		{"a private key", with(func(h map[string]any) { h["jwk"] = asMap(t, s.private) }), "private members"},
		{"a symmetric key", with(func(h map[string]any) { h["jwk"] = map[string]any{"kty": "oct", "k": "AAAA"} }), "jwk is no key"},
		{"another curve", with(func(h map[string]any) { h["jwk"] = asMap(t, p384.Public()) }), "neither P-256 nor RSA"},
		{"a point that is not on the curve", with(func(h map[string]any) {
			jwk := s.jwk(t)
			jwk["x"] = jwk["y"]
			h["jwk"] = jwk
		}), "jwk is no key"},
		{"an RSA key of 1024 bits", with(func(h map[string]any) { h["alg"], h["jwk"] = "RS256", asMap(t, shortRSA(1024)) }), "neither P-256 nor RSA"},
		{"an RSA key of 2047 bits", with(func(h map[string]any) { h["alg"], h["jwk"] = "RS256", asMap(t, shortRSA(2047)) }), "neither P-256 nor RSA"},
		{"no challenge", s.sign(t, map[string]any{"alg": "ES256", "typ": "dbsc+jwt", "jwk": s.jwk(t)}, `{"sub":"c1"}`), "jti is missing"},
		{"a challenge that is no text", s.sign(t, map[string]any{"alg": "ES256", "typ": "dbsc+jwt", "jwk": s.jwk(t)}, `{"jti":7}`), "jti is missing"},
		{"an empty challenge", s.sign(t, map[string]any{"alg": "ES256", "typ": "dbsc+jwt", "jwk": s.jwk(t)}, `{"jti":""}`), "jti is missing"},
		{"two challenges", s.sign(t, map[string]any{"alg": "ES256", "typ": "dbsc+jwt", "jwk": s.jwk(t)}, `{"jti":"c1","JTI":"c2"}`), "there twice"},
		{"two types", s.signText(t, `{"typ":"dbsc+jwt","TYP":"JWT","alg":"ES256"}`, `{"jti":"c1"}`), "there twice"},
		{"more after it", s.signText(t, `{"typ":"dbsc+jwt","alg":"ES256"}{}`, `{"jti":"c1"}`), "no JWT"},
		{"changed", good[:len(good)-4] + "AAAA", "signed with another key"},
		{"no JSON", s.signText(t, `[]`, `{"jti":"c1"}`), "no JWT"},
		{"empty", "", "no JWT"},
		{"two parts", good[:strings.LastIndexByte(good, '.')], "ES256 or RS256"},
		{"huge", good + strings.Repeat("A", 5000), "more than 4096 bytes"},
	} {
		if _, _, err := ReadRegistration(test.proof); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	for _, test := range []struct{ name, proof, want string }{
		{"another key", other.refresh(t, "c1"), "signed with another key"},
		{"a key of its own", other.registration(t, "c1"), "brings a key"},
		{"another algorithm", newRSA(t).refresh(t, "c1"), "alg does not fit"},
	} {
		if _, err := key.Check(test.proof); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	for _, der := range [][]byte{nil, {1}, append(bytes.Clone(key.Bytes()), 0)} {
		if _, err := ParseKey(der); err == nil {
			t.Errorf("%x is a key", der)
		}
	}
}

// What the JWK of a key may have beside the key changes nothing, and causes no requests.
func TestKeysOfStrangeForms(t *testing.T) {
	t.Parallel()
	p, r := newP256(t), newRSA(t)
	public := r.private.Public().(*rsa.PublicKey)
	number := func(n *big.Int) string { return seal.Base64url.EncodeToString(n.Bytes()) }
	long := new(big.Int).Lsh(big.NewInt(1), 4096)
	ec := func(changes map[string]any) string {
		jwk := p.jwk(t)
		maps.Copy(jwk, changes)
		return p.sign(t, map[string]any{"alg": "ES256", "typ": "dbsc+jwt", "jwk": jwk}, `{"jti":"c1"}`)
	}
	rs := func(changes map[string]any) string {
		jwk := r.jwk(t)
		maps.Copy(jwk, changes)
		return r.sign(t, map[string]any{"alg": "RS256", "typ": "dbsc+jwt", "jwk": jwk}, `{"jti":"c1"}`)
	}
	for _, test := range []struct{ name, proof, want string }{
		{"kid and use", ec(map[string]any{"kid": "k", "use": "enc", "key_ops": []string{"sign"}}), ""},
		{"an address of a certificate", ec(map[string]any{"x5u": "https://localhost:1/"}), ""},
		{"an empty chain", ec(map[string]any{"x5c": []string{}}), ""},
		{"a chain of nothing", ec(map[string]any{"x5c": []string{"AAAA"}}), "no key"},
		{"the point at infinity", ec(map[string]any{"x": strings.Repeat("A", 43), "y": strings.Repeat("A", 43)}), "no key"},
		{"a short coordinate", ec(map[string]any{"x": "AQ"}), "no key"},
		{"a coordinate with padding", ec(map[string]any{"x": p.jwk(t)["x"].(string) + "="}), "no key"},
		{"another curve's name", ec(map[string]any{"crv": "P-384"}), "no key"},
		{"a curve that is no text", ec(map[string]any{"crv": 1}), "no key"},
		{"Ed25519", ec(map[string]any{"kty": "OKP", "crv": "Ed25519"}), "neither P-256 nor RSA"},
		{"exponent 1", rs(map[string]any{"e": "AQ"}), "no key"},
		{"an even exponent", rs(map[string]any{"e": "BA"}), "neither P-256 nor RSA"},
		{"a huge exponent", rs(map[string]any{"e": number(public.N)}), "device"},
		{"exponent 2^31+1", rs(map[string]any{"e": number(big.NewInt(1<<31 + 1))}), "device"},
		{"no modulus", rs(map[string]any{"n": ""}), "neither P-256 nor RSA"},
		{"an even modulus", rs(map[string]any{"n": number(new(big.Int).Lsh(public.N, 1))}), "another key"},
		{"4097 bits", rs(map[string]any{"n": number(long.SetBit(long, 0, 1))}), "no key"},
		{"a private exponent", rs(map[string]any{"d": "AQ"}), "device"},
	} {
		switch _, challenge, err := ReadRegistration(test.proof); {
		case test.want == "" && (err != nil || challenge != "c1"):
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestField(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values []string
		want   string
	}{
		{[]string{"abc.DEF-_~"}, "abc.DEF-_~"}, {[]string{`"abc"`}, "abc"}, {[]string{` "abc" `}, "abc"},
		{nil, ""}, {[]string{"a", "b"}, ""}, {[]string{`"abc`}, ""}, {[]string{`abc"`}, ""}, {[]string{`"a";b=1`}, ""}, {[]string{"a, b"}, ""}, {[]string{"a;b=1"}, ""}, {[]string{`"a\"b"`}, ""}, {[]string{"é"}, ""},
	} {
		if got := Field(test.values); got != test.want {
			t.Errorf("%q: %q, want %q", test.values, got, test.want)
		}
	}
}

// What Field returns is a part of the one value that was sent, and can stand in a header
// and in JSON as it is.
func FuzzField(f *testing.F) {
	for _, seed := range []string{"abc", `"abc"`, ` "abc" `, `"a"b"`, `"`, "", "a;b=1", "é", "a\r\nb"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := Field([]string{value})
		if !strings.Contains(value, got) || strings.ContainsAny(got, "\"\\,; \t\r\n") || strings.ContainsFunc(got, func(r rune) bool { return r < '!' || r > '~' }) {
			t.Errorf("%q: %q", value, got)
		}
		if again := Field([]string{`"` + got + `"`}); again != got {
			t.Errorf("%q, and then %q", got, again)
		}
		if two := Field([]string{value, value}); two != "" {
			t.Errorf("twice: %q", two)
		}
	})
}

func FuzzProof(f *testing.F) {
	s := newP256(f)
	key, _, err := ReadRegistration(s.registration(f, "c1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.registration(f, "c1"))
	f.Add(s.refresh(f, "c1"))
	f.Add("..")
	f.Fuzz(func(t *testing.T, proof string) {
		if k, challenge, err := ReadRegistration(proof); err == nil && (k == nil || challenge == "") {
			t.Error("a registration of nothing")
		}
		if challenge, err := key.Check(proof); err == nil && challenge == "" {
			t.Error("a proof of nothing")
		}
	})
}
