package msauthtest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

func newPrivateKeyApp(t *testing.T, algorithms ...string) *app {
	t.Helper()
	a := newPlain(t, func(b *msauthtest.Behavior) {
		b.PlainAuthMethods, b.PlainAuthAlgorithms = []string{"private_key_jwt"}, algorithms
	})
	return a
}

// keyAssertion is what OpenID Connect Core section 9 describes, for the issuer.
func (a *app) keyAssertion(key crypto.Signer, alg, kid string, edit func(header, claims map[string]any)) string {
	now := time.Now().Unix()
	header := map[string]any{"alg": alg, "kid": kid}
	claims := map[string]any{"iss": a.ms.ClientID, "sub": a.ms.ClientID, "aud": a.ms.Plain().Issuer, "jti": newID(), "exp": now + 60}
	if edit != nil {
		edit(header, claims)
	}
	return sign(key, header, claims)
}

func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	a := newPrivateKeyApp(t)
	rsaCred, ecCred := a.ms.AddKey("rsa", &rsaKey().PublicKey), a.ms.AddKey("ec", &ecKey().PublicKey)
	with := []string{"client_secret", "-", "client_assertion_type", jwtBearer, "client_assertion", a.keyAssertion(rsaKey(), "PS256", "rsa", nil)}
	rep := a.mustToken(a.codeForm(a.pick(msauthtest.Ada).Get("code"), with...))
	if rep.Status != 200 {
		t.Fatalf("%d %s", rep.Status, rep.Description)
	}
	for _, assertion := range []string{
		a.keyAssertion(rsaKey(), "RS256", "rsa", nil),
		a.keyAssertion(ecKey(), "ES256", "ec", nil),
		a.keyAssertion(ecKey(), "ES256", "ec", func(h, c map[string]any) {
			h["typ"], c["iat"], c["nbf"] = "client-authentication+jwt", time.Now().Unix(), time.Now().Unix()
		}),
		a.keyAssertion(ecKey(), "ES256", "ec", func(h, _ map[string]any) { h["typ"] = "JWT" }),
	} {
		if rep := a.renew(rep, "client_secret", "-", "client_assertion_type", jwtBearer, "client_assertion", assertion); rep.Status != 200 {
			t.Errorf("%d %s", rep.Status, rep.Description)
		}
	}
	wantCounts(t, rsaCred, 2, 0)
	wantCounts(t, ecCred, 3, 0)
	if rep := a.prove(); rep.Status != 401 || rep.Error != "invalid_client" {
		t.Errorf("a secret: %d %s", rep.Status, rep.Error)
	}
}

func TestPrivateKeyJWTIsRefused(t *testing.T) {
	t.Parallel()
	a := newPrivateKeyApp(t)
	c := a.ms.AddKey("1", &rsaKey().PublicKey)
	a.ms.AddKey("2", &otherKey().PublicKey)
	a.ms.AddCertificate(testCert())
	used := a.keyAssertion(rsaKey(), "PS256", "1", nil)
	if rep := a.assert(used); rep.Error != "invalid_grant" {
		t.Fatalf("%s %s", rep.Error, rep.Description)
	}
	now := time.Now().Unix()
	type object = map[string]any
	edited := func(edit func(h, c object)) string { return a.keyAssertion(rsaKey(), "PS256", "1", edit) }
	head := func(name string, value any) string { return edited(func(h, _ object) { h[name] = value }) }
	claim := func(name string, value any) string { return edited(func(_, c object) { c[name] = value }) }
	no := func(name string) string { return edited(func(h, c object) { delete(h, name); delete(c, name) }) }
	for _, tt := range []struct {
		name, assertion, text string
		counts                bool
	}{
		{"no JWT", "nonsense", "not a signed JWT", false},
		{"three empty parts", "..", "not a signed JWT", false},
		{"alg none", head("alg", "none"), "algorithm", false},
		{"HS256 with the public key", head("alg", "HS256"), "algorithm", false},
		{"ES256 with an RSA key", a.keyAssertion(ecKey(), "ES256", "1", nil), "signature", true},
		{"wrong typ", head("typ", "at+jwt"), "typ", false},
		{"wrong kid", head("kid", "3"), "kid", false},
		{"another key's kid", head("kid", "2"), "signature", false},
		{"no kid", no("kid"), "kid", false},
		{"a certificate's thumbprint", a.assertion(testCert(), nil), "kid", false},
		{"another key", a.keyAssertion(otherKey(), "PS256", "1", nil), "signature", true},
		{"iss != sub", claim("sub", "x"), "iss and sub", true},
		{"assertion of another client", edited(func(_, c object) { c["iss"], c["sub"] = "x", "x" }), "iss and sub", true},
		{"aud is the token endpoint", claim("aud", a.endpoint("oauth2/v2.0/token")), "aud", true},
		{"aud is a list of the issuer", claim("aud", []string{a.ms.Plain().Issuer}), "aud", true},
		{"no aud", no("aud"), "aud", true},
		{"expired", claim("exp", now-1), "not valid now", true},
		{"nbf in six minutes", claim("nbf", now+360), "not valid now", true},
		{"no exp", no("exp"), "exp", true},
		{"exp is a text", claim("exp", "2000000000"), "number", true},
		{"iat is a text", claim("iat", "now"), "number", true},
		{"no jti", no("jti"), "jti", true},
		{"used before", used, "used before", true},
	} {
		before := c.Refused()
		rep := a.assert(tt.assertion)
		if rep.Status != 401 || rep.Error != "invalid_client" || rep.Codes != nil || !strings.Contains(rep.Description, tt.text) {
			t.Errorf("%s: %d %s %s", tt.name, rep.Status, rep.Error, rep.Description)
		}
		if counted := c.Refused() - before; counted != 0 != tt.counts {
			t.Errorf("%s: counted %d times", tt.name, counted)
		}
	}
	for _, change := range []func(){c.Expire, c.Revoke, c.Remove} {
		change()
		if rep := a.assert(a.keyAssertion(rsaKey(), "PS256", "1", nil)); rep.Status != 401 || rep.Error != "invalid_client" {
			t.Errorf("%d %s", rep.Status, rep.Error)
		}
		c.Restore()
		if rep := a.assert(a.keyAssertion(rsaKey(), "PS256", "1", nil)); rep.Error != "invalid_grant" {
			t.Errorf("%d %s", rep.Status, rep.Error)
		}
	}
	if rep := a.prove("client_assertion_type", jwtBearer, "client_assertion", used); rep.Status != 400 || rep.Error != "invalid_request" {
		t.Errorf("a secret too: %d %s", rep.Status, rep.Error)
	}
}

func TestPrivateKeyJWTAsAnnounced(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		methods, algorithms []string
		announced           string
		accepted            []string
	}{
		{nil, nil, "[]", nil},
		{[]string{"client_secret_basic"}, []string{"PS256"}, "[]", nil},
		{[]string{"private_key_jwt"}, nil, "[PS256 RS256 ES256]", []string{"PS256", "RS256", "ES256"}},
		{[]string{"client_secret_post", "private_key_jwt"}, []string{"ES256"}, "[ES256]", []string{"ES256"}},
		{[]string{"private_key_jwt"}, []string{"RS256", "HS256", "none"}, "[RS256 HS256 none]", []string{"RS256"}},
		{[]string{"private_key_jwt"}, []string{}, "[]", []string{"PS256", "RS256", "ES256"}},
	} {
		a := newPlain(t, func(b *msauthtest.Behavior) { b.PlainAuthMethods, b.PlainAuthAlgorithms = tt.methods, tt.algorithms })
		a.ms.AddKey("rsa", &rsaKey().PublicKey)
		a.ms.AddKey("ec", &ecKey().PublicKey)
		var doc struct {
			Algorithms []string `json:"token_endpoint_auth_signing_alg_values_supported"`
		}
		a.json(a.ms.Plain().Issuer+"/.well-known/openid-configuration", &doc)
		if fmt.Sprint(doc.Algorithms) != tt.announced {
			t.Errorf("%v: announced %v", tt.algorithms, doc.Algorithms)
		}
		for alg, key := range map[string]crypto.Signer{"PS256": rsaKey(), "RS256": rsaKey(), "ES256": ecKey(), "HS256": rsaKey(), "none": rsaKey()} {
			kid := "rsa"
			if alg == "ES256" {
				kid = "ec"
			}
			rep := a.assert(a.keyAssertion(key, alg, kid, nil))
			if got := rep.Error == "invalid_grant"; got != slices.Contains(tt.accepted, alg) {
				t.Errorf("%v %v: %s: %s %s", tt.methods, tt.algorithms, alg, rep.Error, rep.Description)
			}
		}
	}
}

func TestAddKeyPanics(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.PublicKey{nil, rsaKey(), p384.Public()} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, "msauthtest: AddKey: ") {
					t.Errorf("%T: panic %q", key, text)
				}
			}()
			ms.AddKey("x", key)
		}()
	}
}
