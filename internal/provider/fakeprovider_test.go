package provider

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/web"
)

const (
	testClient    = "11111111-2222-4333-8444-555555555555"
	testDirectory = "f3a1c0de-5b7a-4c1e-9d5a-0c2b6a7e4d11"
	testPerson    = "7d2b9a41-3c5f-4b8e-a6d0-1e9f8c7b6a55"
	sharedText    = "Not supported currently. Use oid claim."
	testTenant    = "40a0cffe-4fc9-448b-9790-232954984f24"
)

const (
	testOrigin = "https://login.microsoftonline.com"
	b2cBase    = "https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0"
	b2cIssuer  = "https://fabrikam.b2clogin.com/" + testDirectory + "/v2.0/"
	ciamBase   = "https://fabrikam.ciamlogin.com/" + testDirectory + "/v2.0"
	ciamIssuer = "https://" + testDirectory + ".ciamlogin.com/" + testDirectory + "/v2.0"
	entraBase  = testOrigin + "/" + testDirectory + "/v2.0"
	otherBase  = "https://id.example.com"
)

// testKeys are made once: each takes a tenth of a second.
var testKeys = sync.OnceValue(func() (keys [3]*rsa.PrivateKey) {
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return keys
})

// jwk is the public half of a key as it is published.
func jwk(n int, kid, issuer string) map[string]any {
	public := testKeys()[n].PublicKey
	key := map[string]any{
		"kty": "RSA", "use": "sig", "kid": kid,
		"n": seal.Base64url.EncodeToString(public.N.Bytes()), "e": seal.Base64url.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
	}
	if issuer != "" {
		key["issuer"] = issuer
	}
	return key
}

// keySet is a published key set in which each id names the first of testKeys.
func keySet(ids ...string) map[string]any {
	var keys []any
	for _, id := range ids {
		keys = append(keys, jwk(0, id, ""))
	}
	return map[string]any{"keys": keys}
}

// mustJSON is a value as JSON.
func mustJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// headerOf is the header of a token that names a key.
func headerOf(kid string) map[string]any {
	return map[string]any{"alg": "RS256", "typ": "JWT", "kid": kid}
}

// signJWT signs header and claims, each a text or a value to be made JSON, with one
// of testKeys.
func signJWT(n int, header, payload any) string {
	part := func(v any) string {
		text, ok := v.(string)
		if !ok {
			text = mustJSON(v)
		}
		return seal.Base64url.EncodeToString([]byte(text))
	}
	signed := part(header) + "." + part(payload)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, testKeys()[n], crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	return signed + "." + seal.Base64url.EncodeToString(signature)
}

// someClaims are the claims of a valid ID token.
func someClaims(issuer string) map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": issuer, "aud": testClient, "sub": "AAAA", "iat": now, "nbf": now, "exp": now + 3600, "nonce": "n"}
}

// with returns a copy of claims with changes, pairs of name and value; nil removes a
// claim.
func with(claims map[string]any, changes ...any) map[string]any {
	claims = maps.Clone(claims)
	for i := 0; i < len(changes); i += 2 {
		if claims[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
			delete(claims, changes[i].(string))
		}
	}
	return claims
}

// tokenOf is an ID token of a Microsoft tenant, signed with one of testKeys.
func tokenOf(tenant, kid string, n int) string {
	return signJWT(n, headerOf(kid), with(someClaims(testOrigin+"/"+tenant+"/v2.0"), "tid", tenant, "oid", testPerson))
}

// published is an http.RoundTripper that answers requests by their whole URL.
type published struct {
	mu     sync.Mutex
	pages  map[string]any // JSON, or a func(*http.Request) (*http.Response, error)
	asked  []string
	header http.Header // of the latest request
}

func (p *published) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r.URL.String())
	p.header = r.Header.Clone()
	page, there := p.pages[r.URL.String()]
	if !there {
		return answer404(r), nil
	}
	if f, ok := page.(func(*http.Request) (*http.Response, error)); ok {
		return f(r)
	}
	return reply(r, 200, "application/json", mustJSON(page)), nil
}

func (p *published) set(address string, page any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pages[address] = page
}

// count returns how many requests had a text in their URL.
func (p *published) count(text string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, address := range p.asked {
		if strings.Contains(address, text) {
			n++
		}
	}
	return n
}

func reply(r *http.Request, status int, kind, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {kind}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}
}

func answer404(r *http.Request) *http.Response {
	return reply(r, 404, "text/html", "<h1>Not Found</h1>")
}

// testProvider returns an Authority and what its provider publishes: discovery below
// base, and keys at base/keys.
func testProvider(t testing.TB, base, issuer string, change func(*Settings)) (*Authority, *published) {
	t.Helper()
	pages := &published{pages: map[string]any{
		base + "/.well-known/openid-configuration": map[string]any{
			"issuer": issuer, "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token", "jwks_uri": base + "/keys",
			"userinfo_endpoint": base + "/userinfo",
		},
		base + "/keys": map[string]any{"keys": []any{jwk(0, "one", "")}},
	}}
	settings := Settings{Tenant: "common", ClientID: testClient, Client: &http.Client{Transport: pages, CheckRedirect: web.FollowNothing}}
	change(&settings)
	if settings.Kind = KindOf(settings.Origin, settings.Issuer, settings.Published); settings.Kind == Entra {
		settings.Origin = testOrigin
	} else {
		settings.Tenant = ""
	}
	return NewAuthority(settings), pages
}

func issuerIs(issuer string, microsoft ...string) func(*Settings) {
	return func(s *Settings) {
		s.Issuer = issuer
		if len(microsoft) > 0 {
			s.Published = microsoft[0]
		}
	}
}

func b2cProvider(t *testing.T) (*Authority, *published) {
	return testProvider(t, b2cBase, b2cIssuer, issuerIs(b2cBase))
}

func ciamProvider(t *testing.T) (*Authority, *published) {
	return testProvider(t, ciamBase, ciamIssuer, issuerIs(ciamBase))
}

func entraProvider(t *testing.T) (*Authority, *published) {
	return testProvider(t, entraBase, entraBase, func(s *Settings) { s.Tenant = testDirectory })
}

func commonProvider(t *testing.T) (*Authority, *published) {
	return testProvider(t, testOrigin+"/common/v2.0", testOrigin+"/{tenantid}/v2.0", func(*Settings) {})
}

func plainProvider(t *testing.T) (*Authority, *published) {
	return testProvider(t, otherBase, otherBase, issuerIs(otherBase))
}

// secretRing is the ring of an app that has one client secret.
func secretRing(value string) *credential.Ring {
	secret, err := credential.NewSecret(value, "client secret")
	if err != nil {
		panic(err)
	}
	return credential.NewRing([]credential.Source{credential.Fixed(secret)}, 0, nil)
}

// appKeyed makes a tenant of Microsoft publish a key for this app alone.
func appKeyed(web *published, tenant, id string, n int) (where, keys string) {
	base := testOrigin + "/" + tenant
	where, keys = base+"/v2.0/.well-known/openid-configuration?appid="+testClient, base+"/discovery/v2.0/keys?appid="+testClient
	web.set(where, map[string]any{
		"issuer": base + "/v2.0", "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token", "jwks_uri": keys,
	})
	web.set(keys, map[string]any{"keys": []any{jwk(n, id, "")}})
	return where, keys
}

// atSignIn is a NonceFits for tokens of someClaims.
func atSignIn(nonce string, present bool) bool { return present && nonce == "n" }

// verified verifies an ID token as at a sign-in.
func (a *Authority) verified(token string) (*Identity, error) {
	return a.Verify(context.Background(), token, IDTokenCheck{NonceFits: atSignIn})
}

// noKey is why a token is refused whose signature no key of the provider fits.
const noKey = "signed by no key"

// wantFault fails the test unless the text of err contains want.
func wantFault(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "msauth:") {
		t.Errorf("error %v, want %q", err, want)
	}
}
