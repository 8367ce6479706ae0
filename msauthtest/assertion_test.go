package msauthtest_test

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func newRSAKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

var (
	rsaKey   = sync.OnceValue(newRSAKey)
	otherKey = sync.OnceValue(newRSAKey)
	testCert = sync.OnceValue(func() *x509.Certificate { return makeCert(rsaKey(), certOptions{}) })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return key
	})
)

type certOptions struct {
	name, dns   string
	from, until time.Time // default: an hour ago, and in an hour
	isCA        bool
	parent      *x509.Certificate // default: itself
	parentKey   crypto.Signer
}

func makeCert(key crypto.Signer, o certOptions) *x509.Certificate {
	if o.from.IsZero() {
		o.from = time.Now().Add(-time.Hour)
	}
	if o.until.IsZero() {
		o.until = time.Now().Add(time.Hour)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: cmp.Or(o.name, "app.example.com")},
		NotBefore: o.from, NotAfter: o.until, IsCA: o.isCA, BasicConstraintsValid: true,
	}
	if o.dns != "" {
		template.DNSNames = []string{o.dns}
	}
	if o.isCA {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	if o.parent == nil {
		o.parent, o.parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, o.parent, key.Public(), o.parentKey)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func thumbprint256(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return b64(sum[:])
}

func thumbprint1(cert *x509.Certificate) string {
	var sum [sha1.Size]byte
	fips140.WithoutEnforcement(func() { sum = sha1.Sum(cert.Raw) })
	return b64(sum[:])
}

// sign makes a compact JWS with the algorithm of its header. An HMAC has the
// key's public PEM text as its secret.
func sign(key crypto.Signer, header, claims map[string]any) string {
	h, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	input := b64(h) + "." + b64(c)
	sum := sha256.Sum256([]byte(input))
	var signature []byte
	switch header["alg"] {
	case "PS256":
		signature, err = rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "RS256":
		signature, err = rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, sum[:])
	case "ES256":
		r, s, failed := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), sum[:])
		signature, err = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), failed
	case "HS256":
		der, failed := x509.MarshalPKIXPublicKey(key.Public())
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		mac.Write([]byte(input))
		signature, err = mac.Sum(nil), failed
	}
	if err != nil {
		panic(err)
	}
	return input + "." + b64(signature)
}

func newID() string { return rand.Text() }

// assertion returns what an app signs for a certificate of rsaKey, as "Microsoft
// identity platform application authentication certificate credentials" has it.
func (a *app) assertion(cert *x509.Certificate, edit func(header, claims map[string]any)) string {
	return a.assertionBy(rsaKey(), cert, edit)
}

func (a *app) assertionBy(key crypto.Signer, cert *x509.Certificate, edit func(header, claims map[string]any)) string {
	now := time.Now().Unix()
	header := map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint256(cert)}
	claims := map[string]any{
		"aud": a.endpoint("oauth2/v2.0/token"), "iss": a.ms.ClientID, "sub": a.ms.ClientID,
		"jti": newID(), "nbf": now, "iat": now, "exp": now + 300,
	}
	if edit != nil {
		edit(header, claims)
	}
	return sign(key, header, claims)
}

// assert authenticates with an assertion: see prove.
func (a *app) assert(assertion string) *reply {
	a.t.Helper()
	return a.prove("client_secret", "-", "client_assertion_type", jwtBearer, "client_assertion", assertion)
}

func TestSignInWithACertificate(t *testing.T) {
	t.Parallel()
	for _, tenant := range []string{"common", "organizations", "consumers", msauthtest.TenantContoso, "contoso.example", msauthtest.TenantExternal} {
		t.Run(tenant, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, newServer(t))
			a.tenant = tenant
			c := a.ms.AddCertificate(testCert())
			user := msauthtest.Ada
			if tenant == "consumers" {
				user = msauthtest.Mia
			}
			with := func() []string {
				return []string{"client_secret", "-", "client_assertion_type", jwtBearer, "client_assertion", a.assertion(testCert(), nil)}
			}
			rep := a.mustToken(a.codeForm(a.pick(user).Get("code"), with()...))
			if rep.Status != 200 || a.renew(rep, with()...).Status != 200 {
				t.Fatalf("%d %s", rep.Status, rep.Description)
			}
			wantCounts(t, c, 2, 0)
			wantCounts(t, a.ms.Secret(), 0, 0)
		})
	}
}

// Microsoft still accepts the form that was documented before.
func TestOlderFormOfACertificateAssertion(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	a.ms.AddCertificate(testCert())
	older := func(h, _ map[string]any) {
		h["alg"], h["x5t"] = "RS256", thumbprint1(testCert())
		delete(h, "x5t#S256")
	}
	wantProven(t, a.assert(a.assertion(testCert(), older)))
	for name, edit := range map[string]func(h map[string]any){
		"PS256 with x5t":     func(h map[string]any) { h["alg"] = "PS256" },
		"RS256 with SHA-256": func(h map[string]any) { h["x5t#S256"] = thumbprint256(testCert()); delete(h, "x5t") },
	} {
		rep := a.assert(a.assertion(testCert(), func(h, c map[string]any) { older(h, c); edit(h) }))
		if rep.Status != 401 || rep.Codes[0] != 700027 {
			t.Errorf("%s: %d %s", name, rep.Status, rep.Description)
		}
	}
}

func TestCertificateAssertionIsRefused(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	c := a.ms.AddCertificate(testCert())
	now := time.Now().Unix()
	type object = map[string]any
	head := func(name string, value any) func(h, c object) { return func(h, _ object) { h[name] = value } }
	claim := func(name string, value any) func(h, c object) { return func(_, c object) { c[name] = value } }
	no := func(name string) func(h, c object) { return func(h, c object) { delete(h, name); delete(c, name) } }
	for _, tt := range []struct {
		name   string
		edit   func(header, claims object)
		status int
		error  string
		code   int
		counts bool // for the certificate
	}{
		{"alg none", head("alg", "none"), 401, "invalid_client", 5002738, false},
		{"HS256 with the public key", head("alg", "HS256"), 401, "invalid_client", 5002738, false},
		{"ES256", head("alg", 7), 401, "invalid_client", 5002738, false},
		{"no alg", no("alg"), 401, "invalid_client", 5002738, false},
		{"wrong typ", head("typ", "at+jwt"), 400, "invalid_request", 5002727, false},
		{"no typ", no("typ"), 400, "invalid_request", 5002727, false},
		{"critical header", head("crit", []string{"exp"}), 400, "invalid_request", 50027, false},
		{"no thumbprint", no("x5t#S256"), 401, "invalid_client", 5002723, false},
		{"another certificate's thumbprint", head("x5t#S256", b64(make([]byte, 32))), 401, "invalid_client", 700027, false},
		{"thumbprint in base64 with padding", head("x5t#S256", thumbprint256(testCert())+"="), 401, "invalid_client", 700027, false},
		{"thumbprint in hexadecimal", head("x5t#S256", strings.Repeat("ab", 32)), 401, "invalid_client", 700027, false},
		{"iss != sub", claim("sub", "00000000-0000-0000-0000-000000000000"), 401, "invalid_client", 50048, false},
		{"assertion of another client", func(_, c object) {
			c["iss"], c["sub"] = "00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000000"
		}, 401, "invalid_client", 700021, false},
		{"no iss", no("iss"), 400, "invalid_request", 90014, false},
		{"no sub", no("sub"), 400, "invalid_request", 90014, false},
		{"iss of another type", claim("iss", []string{a.ms.ClientID}), 400, "invalid_request", 50027, false},
		{"no aud", no("aud"), 400, "invalid_request", 90014, true},
		{"aud of another tenant", claim("aud", a.ms.URL+"/organizations/oauth2/v2.0/token"), 401, "invalid_client", 700023, true},
		{"aud is the issuer", claim("aud", a.ms.URL+"/common/v2.0"), 401, "invalid_client", 700023, true},
		{"aud with another slash", claim("aud", a.endpoint("oauth2/v2.0/token/")), 401, "invalid_client", 700023, true},
		{"aud is a list", claim("aud", []string{a.endpoint("oauth2/v2.0/token")}), 400, "invalid_request", 50027, true},
		{"expired", func(_, c object) { c["nbf"], c["exp"] = now-600, now-1 }, 401, "invalid_client", 700024, true},
		{"nbf in six minutes", func(_, c object) { c["nbf"], c["exp"] = now+360, now+600 }, 401, "invalid_client", 700024, true},
		{"no exp", no("exp"), 400, "invalid_request", 90014, true},
		{"no nbf", no("nbf"), 400, "invalid_request", 90014, true},
		{"no iat", no("iat"), 400, "invalid_request", 90014, true},
		{"exp is a text", claim("exp", "2000000000"), 400, "invalid_request", 50027, true},
		{"nbf is null", claim("nbf", nil), 400, "invalid_request", 50027, true},
		{"iat is a text", claim("iat", "now"), 400, "invalid_request", 50027, true},
		{"exp is enormous", claim("exp", json.RawMessage("1e400")), 400, "invalid_request", 50027, true},
		{"no jti", no("jti"), 400, "invalid_request", 90014, true},
		{"jti is a number", claim("jti", 7), 400, "invalid_request", 50027, true},
	} {
		before := c.Refused()
		rep := a.assert(a.assertion(testCert(), tt.edit))
		if rep.Status != tt.status || rep.Error != tt.error || len(rep.Codes) != 1 || rep.Codes[0] != tt.code {
			t.Errorf("%s: %d %s %s, want %d %s %d", tt.name, rep.Status, rep.Error, rep.Description, tt.status, tt.error, tt.code)
		}
		if strings.Contains(rep.Description, "%!") || strings.Contains(rep.Description, "%s") {
			t.Errorf("%s: %s", tt.name, rep.Description)
		}
		if counted := c.Refused() - before; counted != 0 != tt.counts {
			t.Errorf("%s: counted %d times", tt.name, counted)
		}
	}
	for name, edit := range map[string]func(h, c object){
		"nbf in four minutes": func(_, c object) { c["nbf"] = now + 240 },
		"exp in a day":        func(_, c object) { c["exp"] = now + 86400 },
		"parts of seconds":    func(_, c object) { c["nbf"] = float64(now) + 0.5 },
		"unknown claims":      func(h, c object) { h["kid"], c["x"] = "x", 1 },
		"client ID in capitals": func(_, c object) {
			c["iss"], c["sub"] = strings.ToUpper(a.ms.ClientID), strings.ToUpper(a.ms.ClientID)
		},
	} {
		if rep := a.assert(a.assertion(testCert(), edit)); rep.Codes[0] != 70000 {
			t.Errorf("%s: %s", name, rep.Description)
		}
	}
}

func TestWhatIsNoAssertion(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	a.ms.AddCertificate(testCert())
	good := func() string { return a.assertion(testCert(), nil) }
	parts := strings.Split(good(), ".")
	for _, tt := range []struct{ name, assertion string }{
		{"no JWT", "not a token"},
		{"three empty parts", ".."},
		{"two parts", parts[0] + "." + parts[1]},
		{"four parts", good() + ".x"},
		{"header is no JSON", b64([]byte("x")) + "." + parts[1] + "." + parts[2]},
		{"header is a list", b64([]byte("[]")) + "." + parts[1] + "." + parts[2]},
		{"header is null", b64([]byte("null")) + "." + parts[1] + "." + parts[2]},
		{"claims are two objects", parts[0] + "." + b64([]byte("{}{}")) + "." + parts[2]},
		{"base64 with padding", parts[0] + "=." + parts[1] + "." + parts[2]},
		{"a line break", parts[0] + "\n." + parts[1] + "." + parts[2]},
		{"encrypted", "e30.e30.e30.e30.e30"},
		{"huge", a.assertion(testCert(), func(_, c map[string]any) { c["x"] = strings.Repeat("x", 100_000) })},
	} {
		rep := a.assert(tt.assertion)
		if rep.Status != 400 || rep.Error != "invalid_request" || rep.Codes[0] != 50027 {
			t.Errorf("%s: %d %s %s", tt.name, rep.Status, rep.Error, rep.Description)
		}
	}
	wantProven(t, a.assert(good()))
}

func TestSignatureOfACertificateAssertion(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	c := a.ms.AddCertificate(testCert())
	good := a.assertion(testCert(), nil)
	input, signature, _ := cutLast(good)
	flipped := []byte(decode(t, signature))
	flipped[10] ^= 1
	longSalt := func() string {
		sum := sha256.Sum256([]byte(input))
		s, err := rsa.SignPSS(rand.Reader, rsaKey(), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 16})
		if err != nil {
			t.Fatal(err)
		}
		return input + "." + b64(s)
	}
	rs256 := sign(rsaKey(), map[string]any{"alg": "RS256"}, nil)
	_, foreign, _ := cutLast(rs256)
	for name, assertion := range map[string]string{
		"another key":            a.assertionBy(otherKey(), testCert(), nil),
		"a flipped bit":          input + "." + b64(flipped),
		"no signature":           input + ".",
		"of another text":        input + "." + foreign,
		"a salt of other length": longSalt(),
	} {
		rep := a.assert(assertion)
		wantCode(t, rep, 401, "invalid_client", 700027)
		for _, want := range []string{"Client assertion contains an invalid signature. [Reason - The provided signature value did not match", ", Found key 'Start=", "Thumbprint of key used by client: '" + fingerprint(testCert()) + "'"} {
			if !strings.Contains(rep.Description, want) {
				t.Errorf("%s: %s", name, rep.Description)
			}
		}
	}
	wantProven(t, a.assert(good))
	wantCounts(t, c, 1, 5)
}

func cutLast(token string) (before, after string, ok bool) {
	i := strings.LastIndexByte(token, '.')
	return token[:i], token[i+1:], true
}

func decode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func TestAssertionIsUsedOnce(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	c := a.ms.AddCertificate(testCert())
	used := a.assertion(testCert(), nil)
	wantProven(t, a.assert(used))
	wantCode(t, a.assert(used), 401, "invalid_client", 7009999)
	same := func(_, c map[string]any) { c["jti"] = "again" }
	wantProven(t, a.assert(a.assertion(testCert(), same)))
	wantCode(t, a.assert(a.assertion(testCert(), same)), 401, "invalid_client", 7009999)
	a.tenant = "organizations" // another audience
	wantProven(t, a.assert(a.assertion(testCert(), same)))
	// What was refused for another reason, or was not looked at, is not used.
	late := a.assertion(testCert(), nil)
	c.Expire()
	wantCode(t, a.assert(late), 401, "invalid_client", 700027)
	c.Restore()
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Codes: []int{90033}}}
	})
	wantCode(t, a.assert(late), 503, "temporarily_unavailable", 90033)
	wantProven(t, a.assert(late))
	wantCounts(t, c, 4, 3)

	// One of many at the same time is accepted.
	race := a.assertion(testCert(), nil)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { a.assert(race) })
	}
	group.Wait()
	wantCounts(t, c, 5, 10)
}

func TestLifeOfACertificate(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	c := a.ms.AddCertificate(testCert())
	for _, tt := range []struct {
		name   string
		change func()
		code   int
		text   string
	}{
		{"expired", c.Expire, 700027, "Client assertion contains an invalid signature. [Reason - The key used is expired., Thumbprint of key used by client: '" + fingerprint(testCert()) + "', Found key 'Start="},
		{"not yet valid", func() { c.SetValidity(time.Now().Add(time.Minute), time.Time{}) }, 700027, "The key used is expired."},
		{"revoked", c.Revoke, 7000214, "AADSTS7000214: Certificate has been revoked."},
		{"removed", c.Remove, 700027, "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: '" + fingerprint(testCert()) + "', Please visit"},
	} {
		before := c.Refused()
		tt.change()
		rep := a.assert(a.assertion(testCert(), nil))
		wantCode(t, rep, 401, "invalid_client", tt.code)
		if !strings.Contains(rep.Description, tt.text) || c.Refused() != before+1 {
			t.Errorf("%s: %s", tt.name, rep.Description)
		}
		c.Restore()
		wantProven(t, a.assert(a.assertion(testCert(), nil)))
	}
	old := makeCert(rsaKey(), certOptions{until: time.Now().Add(-time.Minute)})
	coming := makeCert(rsaKey(), certOptions{from: time.Now().Add(time.Minute)})
	for _, cert := range []*x509.Certificate{old, coming} {
		a.ms.AddCertificate(cert)
		rep := a.assert(a.assertion(cert, nil))
		wantCode(t, rep, 401, "invalid_client", 1000502)
	}
	rep := a.assert(a.assertion(testCert(), func(_, c map[string]any) { c["exp"] = 1700000000 }))
	if !regexp.MustCompile(`Current time: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z, assertion valid from \d{4}-\S+Z, expiry time of assertion 2023-11-14T22:13:20\.0000000Z\. Review`).MatchString(rep.Description) {
		t.Errorf("out of time: %s", rep.Description)
	}
}

func TestCertificateOfATrustedIssuer(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	ca := makeCert(otherKey(), certOptions{name: "The authority", isCA: true})
	between := makeCert(otherKey(), certOptions{name: "Between", isCA: true, parent: ca, parentKey: otherKey()})
	imposter := makeCert(rsaKey(), certOptions{name: "The authority", isCA: true})
	c := a.ms.AddTrustedIssuer(ca, "app.example.com")
	leaf := func(o certOptions) *x509.Certificate {
		if o.parent == nil {
			o.parent = ca
		}
		if o.parentKey == nil {
			o.parentKey = otherKey()
		}
		return makeCert(rsaKey(), o)
	}
	by := func(certs ...*x509.Certificate) string {
		return a.assertion(certs[0], func(h, _ map[string]any) {
			var list []string
			for _, cert := range certs {
				list = append(list, base64.StdEncoding.EncodeToString(cert.Raw))
			}
			h["x5c"] = list
		})
	}
	cert := leaf(certOptions{})
	wantProven(t, a.assert(by(cert)))
	wantProven(t, a.assert(by(leaf(certOptions{})))) // the next one needs no registration
	wantProven(t, a.assert(by(cert, ca)))
	wantProven(t, a.assert(by(leaf(certOptions{name: "x", dns: "app.example.com"}))))
	wantProven(t, a.assert(by(leaf(certOptions{parent: between}), between)))
	wantProven(t, a.assert(a.assertion(cert, func(h, _ map[string]any) { // the older form
		h["alg"], h["x5t"], h["x5c"] = "RS256", thumbprint1(cert), []string{base64.StdEncoding.EncodeToString(cert.Raw)}
		delete(h, "x5t#S256")
	})))

	for _, tt := range []struct {
		name, assertion string
		code            int
	}{
		{"without x5c", a.assertion(cert, nil), 700027},
		{"an empty x5c", a.assertion(cert, func(h, _ map[string]any) { h["x5c"] = []string{} }), 700027},
		{"x5c that is no certificate", a.assertion(cert, func(h, _ map[string]any) { h["x5c"] = []string{"AAAA"} }), 700027},
		{"x5c of another certificate", a.assertion(cert, func(h, _ map[string]any) {
			h["x5c"] = []string{base64.StdEncoding.EncodeToString(leaf(certOptions{}).Raw)}
		}), 700027},
		{"another subject", by(leaf(certOptions{name: "other.example.com"})), 700027},
		{"self-signed", by(makeCert(rsaKey(), certOptions{})), 700027},
		{"an issuer of the same name", by(leaf(certOptions{parent: imposter, parentKey: rsaKey()}), imposter), 700027},
		{"an intermediate that is missing", by(leaf(certOptions{parent: between})), 700027},
		{"expired", by(leaf(certOptions{until: time.Now().Add(-time.Minute)})), 1000502},
		{"not yet valid", by(leaf(certOptions{from: time.Now().Add(time.Minute)})), 1000502},
	} {
		rep := a.assert(tt.assertion)
		if rep.Status != 401 || rep.Error != "invalid_client" || rep.Codes[0] != tt.code {
			t.Errorf("%s: %d %s", tt.name, rep.Status, rep.Description)
		}
	}
	wantCode(t, a.assert(a.assertionBy(otherKey(), cert, func(h, _ map[string]any) {
		h["x5c"] = []string{base64.StdEncoding.EncodeToString(cert.Raw)}
	})), 401, "invalid_client", 700027)
	wantCounts(t, c, 6, 3)

	c.Expire()
	wantCode(t, a.assert(by(cert)), 401, "invalid_client", 1000502)
	c.Revoke()
	wantCode(t, a.assert(by(cert)), 401, "invalid_client", 7000214)
	c.Remove()
	wantCode(t, a.assert(by(cert)), 401, "invalid_client", 700027)
	c.Restore()
	wantProven(t, a.assert(by(cert)))
}

func TestFormOfAnAssertionRequest(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	c := a.ms.AddCertificate(testCert())
	assertion := func() string { return a.assertion(testCert(), nil) }
	for _, tt := range []struct {
		name   string
		pairs  []string
		status int
		error  string
		code   int
	}{
		{"a secret too", []string{"client_assertion_type", jwtBearer, "client_assertion", assertion()}, 400, "invalid_request", 9002313},
		{"a secret and the type alone", []string{"client_assertion_type", jwtBearer}, 400, "invalid_request", 9002313},
		{"no type", []string{"client_secret", "-", "client_assertion", assertion()}, 400, "invalid_request", 900144},
		{"wrong type", []string{"client_secret", "-", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", "client_assertion", assertion()}, 400, "invalid_request", 90011},
		{"the grant's type", []string{"client_secret", "-", "client_assertion_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_assertion", assertion()}, 400, "invalid_request", 90011},
		{"no assertion", []string{"client_secret", "-", "client_assertion_type", jwtBearer}, 401, "invalid_client", 7000218},
		{"an empty assertion", []string{"client_secret", "-", "client_assertion_type", jwtBearer, "client_assertion", ""}, 401, "invalid_client", 7000218},
		{"no client_id", []string{"client_id", "-", "client_secret", "-", "client_assertion_type", jwtBearer, "client_assertion", assertion()}, 400, "invalid_request", 900144},
		{"another client_id", []string{"client_id", "nobody", "client_secret", "-", "client_assertion_type", jwtBearer, "client_assertion", assertion()}, 400, "unauthorized_client", 700016},
	} {
		rep := a.prove(tt.pairs...)
		if rep.Status != tt.status || rep.Error != tt.error || rep.Codes[0] != tt.code {
			t.Errorf("%s: %d %s %s", tt.name, rep.Status, rep.Error, rep.Description)
		}
	}
	form := a.refreshForm("x", "client_secret", "-", "client_assertion_type", jwtBearer)
	form["client_assertion"] = []string{assertion(), assertion()}
	wantCode(t, a.mustToken(form), 400, "invalid_request", 9002313)
	wantCounts(t, c, 0, 0)
	wantCounts(t, a.ms.Secret(), 0, 0)

	// A form that is larger than any is refused before anybody looks at it.
	res, err := a.browser.PostForm(a.endpoint("oauth2/v2.0/token"), url.Values{"client_assertion": {strings.Repeat("x", 2<<20)}})
	if err != nil {
		t.Fatal(err)
	}
	if body(t, res); res.StatusCode != 400 {
		t.Errorf("a form of 2 MB: %d", res.StatusCode)
	}
}

func TestAddCertificatePanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "*ecdsa.PublicKey") {
			t.Errorf("panic: %q", text)
		}
	}()
	newServer(t).AddCertificate(makeCert(ecKey(), certOptions{}))
}
