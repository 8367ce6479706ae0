package msauthtest

import (
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
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A signingKey signs tokens. As with Microsoft, its kid is derived from the
// certificate that is published with it.
type signingKey struct {
	private *rsa.PrivateKey
	kid     string
	cert    []byte // DER
}

// keyPool holds the keys of all servers of the process: making one takes up to
// a second under the race detector, and tests have hundreds of servers. Each
// server uses one of each class and generation.
var keyPool struct {
	mu   sync.Mutex
	keys map[poolKey]*signingKey
}

type poolKey struct {
	class      keyClass
	generation int
}

// A keyClass is what a signing key is for.
type keyClass int

const (
	workKey     keyClass = iota // work accounts, and the plain provider
	personalKey                 // personal accounts
	externalKey                 // External ID
	b2cKey                      // B2C
)

func pooledKey(class keyClass, generation int) *signingKey {
	keyPool.mu.Lock()
	defer keyPool.mu.Unlock()
	k := poolKey{class, generation}
	if keyPool.keys == nil {
		keyPool.keys = map[poolKey]*signingKey{}
	}
	if keyPool.keys[k] == nil {
		key := newSigningKey()
		if class == b2cKey { // of 43 characters
			sum := sha256.Sum256(key.cert)
			key.kid = b64(sum[:])
		}
		keyPool.keys[k] = key
	}
	return keyPool.keys[k]
}

// strangerKey is published nowhere.
var strangerKey = sync.OnceValue(newSigningKey)

var ecKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("msauthtest: " + err.Error())
	}
	return key
})

func newSigningKey() *signingKey {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic("msauthtest: " + err.Error())
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(randomBytes(16)),
		Subject:      pkix.Name{CommonName: "msauthtest"},
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		panic("msauthtest: " + err.Error())
	}
	// As Microsoft's, the kid is the certificate's thumbprint, x5t, which RFC
	// 7517 section 4.8 wants of SHA-1.
	var sum [sha1.Size]byte
	fips140.WithoutEnforcement(func() { sum = sha1.Sum(cert) })
	return &signingKey{private, b64(sum[:]), cert}
}

// ecKeyID is the kid of the elliptic curve key.
const ecKeyID = "msauthtest-ec"

// class is whose key signs for an account.
func (t tenant) class(personal bool) keyClass {
	switch {
	case t.family == external:
		return externalKey
	case t.family == b2c:
		return b2cKey
	case personal && t.family == entra:
		return personalKey
	}
	return workKey
}

// signingKey is the current key of a class.
func (s *Server) signingKey(class keyClass) *signingKey {
	s.mu.Lock()
	n := s.generation
	s.mu.Unlock()
	return pooledKey(class, n)
}

// keys publishes the signing keys (RFC 7517). Each of Entra's says which issuer
// it is for: a template for work accounts, the personal tenant for personal
// ones.
func (e *exchange) keys(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	generation := e.generation
	e.mu.Unlock()
	work := tenant{}.issuer(e.origin)
	if e.tenant.id != "" {
		work = e.tenant.issuer(e.origin)
	}
	keys := []map[string]any{}
	for g := range generation + 1 {
		switch {
		case e.tenant.family == plain:
			keys = append(keys, pooledKey(workKey, g).plain())
			continue
		case e.tenant.family == b2c:
			keys = append(keys, pooledKey(b2cKey, g).bare())
			continue
		case e.tenant.family == external:
			keys = append(keys, pooledKey(externalKey, g).public(work))
			continue
		}
		// A personal key first: who takes just any key takes the wrong one.
		if e.tenant.id == "" || e.tenant.id == TenantPersonal {
			keys = append(keys, pooledKey(personalKey, g).public(tenant{id: TenantPersonal}.issuer(e.origin)))
		}
		if e.tenant.id != TenantPersonal {
			keys = append(keys, pooledKey(workKey, g).public(work))
		}
	}
	if e.behavior.Signing == SignES256 {
		point, err := ecKey().PublicKey.Bytes() // 0x04, X, Y
		if err != nil {
			panic("msauthtest: " + err.Error())
		}
		keys = append(keys, map[string]any{
			"kty": "EC", "use": "sig", "alg": "ES256", "kid": ecKeyID, "crv": "P-256",
			"x": b64(point[1:33]), "y": b64(point[33:]),
		})
	}
	if e.behavior.KeySet != nil {
		keys = slices.Clone(e.behavior.KeySet(keys))
		if keys == nil {
			keys = []map[string]any{}
		}
	}
	w.Header().Set("Cache-Control", "max-age=86400, private")
	writeJSON(w, http.StatusOK, map[string]any{"keys": keys})
}

// bare is a key as B2C publishes it.
func (k *signingKey) bare() map[string]any {
	return map[string]any{
		"kty": "RSA", "use": "sig", "kid": k.kid,
		"n": b64(k.private.N.Bytes()),
		"e": b64(big.NewInt(int64(k.private.E)).Bytes()),
	}
}

// plain is a key as the plain provider publishes it.
func (k *signingKey) plain() map[string]any {
	jwk := k.bare()
	jwk["x5c"] = []string{base64.StdEncoding.EncodeToString(k.cert)}
	jwk["alg"] = "RS256"
	return jwk
}

// public is a key as Entra publishes it.
func (k *signingKey) public(issuer string) map[string]any {
	jwk := k.bare()
	jwk["x5t"] = k.kid
	jwk["x5c"] = []string{base64.StdEncoding.EncodeToString(k.cert)}
	jwk["cloud_instance_name"] = "microsoftonline.com"
	jwk["issuer"] = issuer
	return jwk
}

// signRS256 makes a compact JWS (RFC 7515) as Microsoft signs its tokens.
func (k *signingKey) signRS256(header, payload []byte) string {
	input := b64(header) + "." + b64(payload)
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, k.private, crypto.SHA256, sum[:])
	if err != nil {
		panic("msauthtest: " + err.Error())
	}
	return input + "." + b64(signature)
}

// signIDToken signs as the behavior says.
func (e *exchange) signIDToken(personal bool, claims map[string]any) (string, error) {
	payload, err := marshalClaims(claims)
	if err != nil {
		return "", err
	}
	key := e.signingKey(e.tenant.class(personal))
	header := func(alg, kid string) []byte {
		text := `{"typ":"JWT","alg":"` + alg + `"`
		if kid != "" {
			text += `,"kid":"` + kid + `"`
		}
		return []byte(text + "}")
	}
	good := func() (input string, signature []byte) {
		token := key.signRS256(header("RS256", key.kid), payload)
		i := strings.LastIndexByte(token, '.')
		signature, _ = base64.RawURLEncoding.DecodeString(token[i+1:])
		return token[:i+1], signature
	}
	mac := func(secret []byte) string {
		input := b64(header("HS256", key.kid)) + "." + b64(payload)
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(input))
		return input + "." + b64(h.Sum(nil))
	}
	switch e.behavior.Signing {
	case SignPS256:
		input := b64(header("PS256", key.kid)) + "." + b64(payload)
		sum := sha256.Sum256([]byte(input))
		signature, err := rsa.SignPSS(rand.Reader, key.private, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		return input + "." + b64(signature), err
	case SignES256:
		input := b64(header("ES256", ecKeyID)) + "." + b64(payload)
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, ecKey(), sum[:])
		if err != nil {
			return "", err
		}
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return input + "." + b64(signature), nil
	case SignNone:
		return b64(header("none", "")) + "." + b64(payload) + ".", nil
	case SignHS256Secret:
		return mac([]byte(e.ClientSecret)), nil
	case SignHS256Public:
		der, err := x509.MarshalPKIXPublicKey(key.private.Public())
		if err != nil {
			return "", err
		}
		return mac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
	case SignUnknownKey:
		return strangerKey().signRS256(header("RS256", key.kid), payload), nil
	case SignUnpublished:
		return strangerKey().signRS256(header("RS256", strangerKey().kid), payload), nil
	case SignWithoutKeyID:
		return key.signRS256(header("RS256", ""), payload), nil
	case SignWrongKeyID:
		return key.signRS256(header("RS256", randomText(27)), payload), nil
	case SignFlippedBit:
		input, signature := good()
		signature[len(signature)/2] ^= 1
		return input + b64(signature), nil
	case SignTruncated:
		input, signature := good()
		return input + b64(signature[:len(signature)-1]), nil
	case SignOtherClass:
		class := personalKey
		if e.tenant.class(personal) == personalKey {
			class = workKey
		}
		other := e.signingKey(class)
		return other.signRS256(header("RS256", other.kid), payload), nil
	default:
		return key.signRS256(header("RS256", key.kid), payload), nil
	}
}

// marshalClaims writes claims in Microsoft's order: these first, the others by
// name.
func marshalClaims(claims map[string]any) ([]byte, error) {
	first := []string{"aud", "iss", "iat", "nbf", "exp"}
	var names []string
	for name := range claims {
		if !slices.Contains(first, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	sep := "{"
	for _, name := range append(first, names...) {
		value, ok := claims[name]
		if !ok {
			continue
		}
		b.WriteString(sep)
		sep = ","
		for i, v := range []any{name, value} {
			var text strings.Builder
			enc := json.NewEncoder(&text)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(v); err != nil {
				return nil, err
			}
			b.WriteString(strings.TrimSuffix(text.String(), "\n"))
			if i == 0 {
				b.WriteByte(':')
			}
		}
	}
	if sep == "{" {
		return []byte("{}"), nil
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
