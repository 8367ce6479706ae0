package msauthtest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// An Issuer stands in for a Kubernetes cluster, GitHub Actions or another issuer
// of tokens that an app authenticates with in place of a secret: see
// [Server.AddFederated]. It serves a discovery document and its public keys, and
// signs tokens with RS256. Its methods may be called concurrently.
//
//	cluster := msauthtest.NewIssuer()
//	defer cluster.Close()
//	const subject = "system:serviceaccount:shop:web"
//	ms.AddFederated(cluster.URL, subject, "")
//	token := cluster.Token(subject, "", time.Hour)
type Issuer struct {
	URL string // the claim iss, without a trailing slash

	listener *httptest.Server

	mu         sync.Mutex
	generation int
	fetches    int
}

// issuers are those that have not been closed, by URL.
var issuers sync.Map

// issuerAt returns the issuer that serves a URL, or nil.
func issuerAt(url string) *Issuer {
	for _, path := range []string{discoveryPath, issuerKeysPath} {
		if origin, ok := strings.CutSuffix(url, path); ok {
			if i, ok := issuers.Load(origin); ok {
				return i.(*Issuer)
			}
		}
	}
	return nil
}

const (
	discoveryPath  = "/.well-known/openid-configuration"
	issuerKeysPath = "/openid/v1/jwks" // as in Kubernetes
)

// NewIssuer starts an issuer on a free port of 127.0.0.1, over plain http, which
// Microsoft does not accept. The caller should call [Issuer.Close] when finished.
//
// In a testing/synctest bubble, use an issuer from outside of it. A server that
// is called through [Server.Transport] calls it without a network.
func NewIssuer() *Issuer {
	i := &Issuer{}
	i.listener = httptest.NewServer(i)
	i.URL = i.listener.URL
	issuers.Store(i.URL, i)
	return i
}

// Close stops the issuer. Its keys can no longer be fetched.
func (i *Issuer) Close() {
	issuers.Delete(i.URL)
	i.listener.Close()
}

// Token returns a new token for a subject. An empty audience means
// api://AzureADTokenExchange. The audience is a list of one, as in Kubernetes.
// The token is valid from now on, and has expired if lifetime is negative.
func (i *Issuer) Token(subject, audience string, lifetime time.Duration) string {
	if audience == "" {
		audience = defaultFederatedAudience
	}
	now := time.Now()
	return i.Sign(map[string]any{
		"aud": []string{audience},
		"exp": now.Add(lifetime).Unix(),
		"iat": now.Unix(),
		"iss": i.URL,
		"jti": newGUID(),
		"nbf": now.Unix(),
		"sub": subject,
	})
}

// Sign returns a token with any claims. It panics if they cannot be encoded.
func (i *Issuer) Sign(claims map[string]any) string {
	payload, err := marshalClaims(claims)
	if err != nil {
		panic("msauthtest: " + err.Error())
	}
	key := i.key()
	return key.signRS256([]byte(`{"alg":"RS256","kid":"`+key.kid+`"}`), payload)
}

// RollKeys replaces the signing key. The previous one is no longer published.
func (i *Issuer) RollKeys() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.generation++
}

// Fetches returns how many times the keys were fetched.
func (i *Issuer) Fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

func (i *Issuer) key() *signingKey {
	i.mu.Lock()
	n := i.generation
	i.mu.Unlock()
	return pooledKey(issuerKey, n)
}

// ServeHTTP implements [http.Handler].
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case discoveryPath:
		writeJSON(w, http.StatusOK, map[string]any{
			"issuer":                                i.URL,
			"jwks_uri":                              i.URL + issuerKeysPath,
			"response_types_supported":              []string{"id_token"},
			"subject_types_supported":               []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	case issuerKeysPath:
		i.mu.Lock()
		i.fetches++
		i.mu.Unlock()
		jwk := i.key().bare()
		jwk["alg"] = "RS256"
		writeJSON(w, http.StatusOK, map[string]any{"keys": []map[string]any{jwk}})
	default:
		http.NotFound(w, r)
	}
}
