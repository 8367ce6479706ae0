package msauthtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
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

// keyPool holds the keys of all servers in the process. Making a key takes up
// to a second under the race detector, and tests start hundreds of servers.
// Each server uses one key of each class and generation.
var keyPool struct {
	mu   sync.Mutex
	keys map[poolKey]*signingKey
}

type poolKey struct {
	class      keyClass
	tenant     string // of an appKey
	generation int
}

// A keyClass is what a signing key is for.
type keyClass int

const (
	workKey     keyClass = iota // work accounts, and the plain provider
	personalKey                 // personal accounts
	externalKey                 // External ID
	b2cKey                      // B2C
	foreignKey                  // another cloud, which common publishes too
	appKey                      // an app with claims mapping, in one tenant
	issuerKey                   // another issuer, for federated credentials
)

func pooledKey(class keyClass, generation int) *signingKey {
	return poolKey{class: class, generation: generation}.key()
}

func (k poolKey) key() *signingKey {
	keyPool.mu.Lock()
	defer keyPool.mu.Unlock()
	if keyPool.keys == nil {
		keyPool.keys = map[poolKey]*signingKey{}
	}
	if keyPool.keys[k] == nil {
		key := newSigningKey()
		if k.class == b2cKey { // its kid has 43 characters
			sum := sha256.Sum256(key.cert)
			key.kid = b64(sum[:])
		}
		keyPool.keys[k] = key
	}
	return keyPool.keys[k]
}

// strangerKey is a key that is never published.
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
	return &signingKey{private, thumbprint(cert), cert} // as with Microsoft
}

// ecKeyID is the kid of the elliptic curve key.
const ecKeyID = "msauthtest-ec"

// class returns the class of the key that signs for an account.
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

// signingKey returns the current key of a class.
func (s *Server) signingKey(class keyClass) *signingKey {
	s.mu.Lock()
	n := s.generation
	s.mu.Unlock()
	return pooledKey(class, n)
}

// idTokenKey returns the key that signs a person's ID token.
func (e *exchange) idTokenKey(u User) *signingKey {
	class := e.tenant.class(u.personal())
	if e.behavior.AppKey && (class == workKey && e.tenant.family == entra || class == externalKey) {
		e.mu.Lock()
		k := poolKey{appKey, u.TenantID, e.generation}
		e.mu.Unlock()
		return k.key()
	}
	return e.signingKey(class)
}

// forApp reports whether a request asks for the document of one tenant for this
// app, which has its own key there.
func (e *exchange) forApp(r *http.Request) bool {
	return e.behavior.AppKey && e.tenant.id != "" && e.tenant.id != TenantPersonal && strings.EqualFold(r.URL.Query().Get("appid"), e.ClientID)
}

// keys serves the signing keys (RFC 7517). Each of Entra's keys names its
// issuer: a template for work accounts, the personal tenant for personal
// accounts.
func (e *exchange) keys(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	newest := e.generation
	if e.behavior.AlternateKeys {
		if e.keyAnswers++; e.keyAnswers%2 == 0 {
			newest--
		}
	}
	e.mu.Unlock()
	keys := []map[string]any{}
	for g := range newest + 1 {
		keys = append(keys, e.published(g)...)
		if e.forApp(r) {
			keys = append(keys, poolKey{appKey, e.tenant.id, g}.key().public(e.tenant.issuer(e.origin)))
		}
	}
	if e.tenant.id == "" && e.tenant.family == entra {
		foreign := pooledKey(foreignKey, 0).public(e.tenant.issuer(e.origin))
		foreign["cloud_instance_name"] = "microsoftonline.us"
		keys = append(keys, foreign)
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

// published returns the keys of a generation that a tenant lists.
func (e *exchange) published(generation int) (keys []map[string]any) {
	issuer := e.tenant.issuer(e.origin)
	switch e.tenant.family {
	case plain:
		return append(keys, pooledKey(workKey, generation).plain())
	case b2c:
		return append(keys, pooledKey(b2cKey, generation).bare())
	case external:
		return append(keys, pooledKey(externalKey, generation).public(issuer))
	}
	// A personal key first: clients that use any key use the wrong one.
	if e.tenant.id == "" || e.tenant.id == TenantPersonal {
		keys = append(keys, pooledKey(personalKey, generation).public(tenant{id: TenantPersonal}.issuer(e.origin)))
	}
	if e.tenant.id != TenantPersonal {
		keys = append(keys, pooledKey(workKey, generation).public(issuer))
	}
	return keys
}

// bare returns the key as B2C publishes it.
func (k *signingKey) bare() map[string]any {
	return map[string]any{
		"kty": "RSA", "use": "sig", "kid": k.kid,
		"n": b64(k.private.N.Bytes()),
		"e": b64(big.NewInt(int64(k.private.E)).Bytes()),
	}
}

// plain returns the key as the plain provider publishes it.
func (k *signingKey) plain() map[string]any {
	jwk := k.bare()
	jwk["x5c"] = []string{base64.StdEncoding.EncodeToString(k.cert)}
	jwk["alg"] = "RS256"
	return jwk
}

// public returns the key as Entra publishes it.
func (k *signingKey) public(issuer string) map[string]any {
	jwk := k.bare()
	jwk["x5t"] = k.kid
	jwk["x5c"] = []string{base64.StdEncoding.EncodeToString(k.cert)}
	jwk["cloud_instance_name"] = "microsoftonline.com"
	jwk["issuer"] = issuer
	return jwk
}
