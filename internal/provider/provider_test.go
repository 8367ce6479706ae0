package provider

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth/internal/seal"
)

const (
	testClient    = "11111111-2222-4333-8444-555555555555"
	testDirectory = "f3a1c0de-5b7a-4c1e-9d5a-0c2b6a7e4d11"
	testPerson    = "7d2b9a41-3c5f-4b8e-a6d0-1e9f8c7b6a55"
	sharedText    = "Not supported currently. Use oid claim."
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

// signJWT signs whatever header and claims there are, as texts or as what they
// are made from.
func signJWT(n int, header, payload any) string {
	part := func(v any) string {
		text, ok := v.(string)
		if !ok {
			data, err := json.Marshal(v)
			if err != nil {
				panic(err)
			}
			text = string(data)
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

func headerOf(kid string) map[string]any {
	return map[string]any{"alg": "RS256", "typ": "JWT", "kid": kid}
}

// with is a copy of claims with changes; nil takes a claim away.
func with(claims map[string]any, changes ...any) map[string]any {
	claims = maps.Clone(claims)
	for i := 0; i < len(changes); i += 2 {
		if claims[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
			delete(claims, changes[i].(string))
		}
	}
	return claims
}

// A published web answers requests by their whole URL.
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
	data, err := json.Marshal(page)
	if err != nil {
		return nil, err
	}
	return reply(r, 200, "application/json", string(data)), nil
}

func (p *published) set(address string, page any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pages[address] = page
}

// count is how often addresses with a text in them were asked for.
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

// testProvider is a provider that publishes discovery below a base, and the
// authority that an app has of it. Its keys are at base/keys.
func testProvider(t *testing.T, base, issuer string, change func(*Settings)) (*Authority, *published) {
	t.Helper()
	web := &published{pages: map[string]any{
		base + "/.well-known/openid-configuration": map[string]any{
			"issuer": issuer, "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token", "jwks_uri": base + "/keys",
			"userinfo_endpoint": base + "/userinfo",
		},
		base + "/keys": map[string]any{"keys": []any{jwk(0, "one", "")}},
	}}
	settings := Settings{Tenant: "common", ClientID: testClient, Client: &http.Client{Transport: web, CheckRedirect: FollowNothing}}
	change(&settings)
	if settings.Kind = KindOf(settings.Issuer, settings.Published); settings.Kind == Entra {
		settings.Origin = "https://login.microsoftonline.com"
	} else {
		settings.Tenant = ""
	}
	return NewAuthority(settings), web
}

func issuerIs(issuer string, microsoft ...string) func(*Settings) {
	return func(s *Settings) {
		s.Issuer = issuer
		if len(microsoft) > 0 {
			s.Published = microsoft[0]
		}
	}
}

const (
	b2cBase    = "https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0"
	b2cIssuer  = "https://fabrikam.b2clogin.com/" + testDirectory + "/v2.0/"
	ciamBase   = "https://fabrikam.ciamlogin.com/" + testDirectory + "/v2.0"
	ciamIssuer = "https://" + testDirectory + ".ciamlogin.com/" + testDirectory + "/v2.0"
	entraBase  = "https://login.microsoftonline.com/" + testDirectory + "/v2.0"
	otherBase  = "https://id.example.com"
)

func b2cProvider(t *testing.T) (*Authority, *published) {
	return testProvider(t, b2cBase, b2cIssuer, issuerIs(b2cBase))
}

func ciamProvider(t *testing.T) (*Authority, *published) {
	return testProvider(t, ciamBase, ciamIssuer, issuerIs(ciamBase))
}

func entraProvider(t *testing.T) (*Authority, *published) {
	return testProvider(t, entraBase, entraBase, func(s *Settings) { s.Tenant = testDirectory })
}

func plainProvider(t *testing.T) (*Authority, *published) {
	return testProvider(t, otherBase, otherBase, issuerIs(otherBase))
}

// someClaims are those of a good ID token.
func someClaims(issuer string) map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": issuer, "aud": testClient, "sub": "AAAA", "iat": now, "nbf": now, "exp": now + 3600, "nonce": "n"}
}

func atSignIn(nonce string, present bool) bool { return present && nonce == "n" }

func (a *Authority) verified(token string) (*Identity, error) {
	return a.Verify(context.Background(), token, IDTokenCheck{NonceFits: atSignIn})
}

// wantFault fails the test unless err has the text.
func wantFault(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "msauth:") {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestKindsOfProviders(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		issuer, microsoft string
		want              Kind
	}{
		{"", "", Entra},
		{b2cBase, "", b2c},
		{strings.Replace(b2cBase, "fabrikam.b2clogin.com", "Fabrikam.B2CLogin.com", 1), "", b2c},
		{ciamBase, "", ExternalID},
		{"https://login.fabrikam.example/x/v2.0", ciamIssuer, ExternalID},
		{"https://login.fabrikam.example/x/v2.0", "https://login.fabrikam.example/" + testDirectory + "/v2.0/", b2c},
		{otherBase, "", OtherProvider},
		{"https://b2clogin.com.example/x", "", OtherProvider},
		{"https://evilb2clogin.com/x", "", OtherProvider},
		{"https://id.example.com/fabrikam.ciamlogin.com", "", OtherProvider},
	} {
		if got := KindOf(test.issuer, test.microsoft); got != test.want {
			t.Errorf("%s and %s: kind %d, want %d", test.issuer, test.microsoft, got, test.want)
		}
	}
}

// Nobody shares a key, and keys that apps have stored keep their form.
func TestPersonAtB2CAndExternalID(t *testing.T) {
	t.Parallel()
	const otherDirectory = "40a0cffe-4fc9-448b-9790-232954984f24"
	providers := map[string]struct {
		make   func(*testing.T) (*Authority, *published)
		issuer string
	}{
		"B2C": {b2cProvider, b2cIssuer}, "External ID": {ciamProvider, ciamIssuer},
		"Entra": {entraProvider, entraBase}, "another": {plainProvider, otherBase},
	}
	for _, test := range []struct {
		name, provider string
		claims         []any
		want           string // the key, or the beginning of an error
		tenant         string
	}{
		{"as user flows send it", "B2C", []any{"sub", testPerson, "oid", testPerson}, b2cIssuer + "#" + testPerson, ""},
		{"without oid", "B2C", []any{"sub", testPerson}, b2cIssuer + "#" + testPerson, ""},
		{"sub is a sentence", "B2C", []any{"sub", sharedText, "oid", strings.ToUpper(testPerson)}, testDirectory + "." + testPerson, testDirectory},
		{"sub is another sentence", "B2C", []any{"sub", "see oid", "oid", testPerson}, testDirectory + "." + testPerson, testDirectory},
		{"sub is a sentence, no oid", "B2C", []any{"sub", sharedText}, `msauth: ID token: sub is a text that everybody has`, ""},
		{"sub is a sentence, oid is none", "B2C", []any{"sub", sharedText, "oid", "Not supported currently."}, `add the application claim "User's Object ID"`, ""},
		{"sub is a sentence, oid is a list", "B2C", []any{"sub", sharedText, "oid", []string{testPerson}}, `add the application claim "User's Object ID"`, ""},
		{"sub with another space", "B2C", []any{"sub", "see\u00a0oid"}, `add the application claim "User's Object ID"`, ""},
		{"sub is a sentence, with tid", "B2C", []any{"sub", sharedText, "tid", otherDirectory}, `add the application claim "User's Object ID"`, ""},
		{"with tid", "B2C", []any{"sub", testPerson, "oid", testPerson, "tid", otherDirectory}, otherDirectory + "." + testPerson, otherDirectory},

		{"as it is sent", "External ID", []any{"oid", testPerson, "tid", testDirectory}, testDirectory + "." + testPerson, testDirectory},
		{"tid in capitals", "External ID", []any{"oid", testPerson, "tid", strings.ToUpper(testDirectory)}, testDirectory + "." + testPerson, testDirectory},
		{"without tid", "External ID", []any{"oid", testPerson}, testDirectory + "." + testPerson, testDirectory},
		{"without tid and oid", "External ID", nil, ciamIssuer + "#AAAA", ""},
		{"tid of another tenant", "External ID", []any{"oid", testPerson, "tid", otherDirectory}, "and not by " + ciamIssuer, ""},
		{"tid is empty", "External ID", []any{"oid", testPerson, "tid", ""}, "and not by " + ciamIssuer, ""},
		{"tid is a number", "External ID", []any{"oid", testPerson, "tid", 7}, "and not by " + ciamIssuer, ""},
		{"sub is a sentence, no oid", "External ID", []any{"sub", sharedText}, `add the application claim "User's Object ID"`, ""},

		{"as it is sent", "Entra", []any{"oid", testPerson, "tid", testDirectory}, testDirectory + "." + testPerson, testDirectory},
		{"oid is no GUID", "Entra", []any{"oid", "x", "tid", testDirectory}, "oid is missing", ""},

		{"as it is sent", "another", nil, otherBase + "#AAAA", ""},
		{"tid and oid mean nothing", "another", []any{"oid", testPerson, "tid", testDirectory}, otherBase + "#AAAA", ""},
		{"a sub with a space", "another", []any{"sub", "cn=Ada Lindqvist,dc=example"}, otherBase + "#cn=Ada Lindqvist,dc=example", ""},
		{"B2C's sentence behind a proxy", "another", []any{"sub", sharedText, "oid", testPerson}, "sub is a text that everybody has", ""},
	} {
		t.Run(test.provider+" "+test.name, func(t *testing.T) {
			t.Parallel()
			p := providers[test.provider]
			a, _ := p.make(t)
			id, err := a.verified(signJWT(0, headerOf("one"), with(someClaims(p.issuer), test.claims...)))
			if err != nil {
				wantFault(t, err, test.want)
				return
			}
			if got := id.User.Key(); got != test.want || id.User.TenantID != test.tenant {
				t.Errorf("key %q in tenant %q, want %q in %q", got, id.User.TenantID, test.want, test.tenant)
			}
		})
	}
}

func TestSamePerson(t *testing.T) {
	t.Parallel()
	ada := Account{Issuer: "i", Subject: "s", TenantID: "t", ObjectID: "o", Name: "Ada"}
	again := ada
	again.Name = "Ada Renamed"
	if !ada.Same(&again) {
		t.Error("another name is another person")
	}
	for name, change := range map[string]func(*Account){
		"issuer": func(u *Account) { u.Issuer = "x" }, "subject": func(u *Account) { u.Subject = "x" },
		"tenant": func(u *Account) { u.TenantID = "x" }, "object": func(u *Account) { u.ObjectID = "x" },
	} {
		other := ada
		if change(&other); ada.Same(&other) {
			t.Errorf("another %s is the same person", name)
		}
	}
}

// ID tokens of renewals.
func TestRenewedTokenWithLaterAuthTimeOrOtherNonce(t *testing.T) {
	t.Parallel()
	a, _ := plainProvider(t)
	claims := with(someClaims(otherBase), "auth_time", 1_000_000)
	first, err := a.verified(signJWT(0, headerOf("one"), claims))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		key     int
		changes []any
		want    string
	}{
		{"the same", 0, nil, ""},
		{"without a nonce", 0, []any{"nonce", nil}, ""},
		{"without auth_time", 0, []any{"auth_time", nil}, ""},
		{"a later auth_time", 0, []any{"auth_time", 1_000_001}, ""},
		{"an earlier auth_time", 0, []any{"auth_time", 999_999}, "auth_time is earlier"},
		{"another nonce", 0, []any{"nonce", "m"}, ErrOtherNonce.Error()},
		{"another nonce, under another key", 1, []any{"nonce", "m"}, "failed to verify signature"},
		{"another person", 0, []any{"sub", "BBBB"}, ErrAnotherPerson.Error()},
	} {
		id, err := a.Verify(t.Context(), signJWT(test.key, headerOf("one"), with(claims, test.changes...)), IDTokenCheck{
			NonceFits: func(nonce string, present bool) bool { return !present || nonce == "n" }, Person: &first.User, AuthTime: first.AuthTime,
		})
		switch {
		case test.want != "":
			wantFault(t, err, test.want)
			if errors.Is(err, ErrOtherNonce) != (test.want == ErrOtherNonce.Error()) {
				t.Errorf("%s: %v", test.name, err)
			}
		case err != nil || id.User.Subject != "AAAA":
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := a.verified(signJWT(0, headerOf("one"), with(claims, "nonce", "m"))); err == nil || errors.Is(err, ErrOtherNonce) {
		t.Errorf("at sign-in: %v", err)
	}
}

// Types of tokens, and members that are there twice.
func TestTypeOfIDToken(t *testing.T) {
	t.Parallel()
	a, _ := plainProvider(t)
	for _, test := range []struct {
		typ any
		ok  bool
	}{
		{"JWT", true}, {"jwt", true}, {"Jwt", true}, {"application/jwt", true}, {"Application/JWT", true}, {nil, true},
		{"at+jwt", false}, {"application/at+jwt", false}, {"logout+jwt", false}, {"secevent+jwt", false}, {"dpop+jwt", false}, {"JOSE", false}, {"", false}, {" JWT", false},
		{7, false}, {true, false}, {[]string{"JWT"}, false}, {map[string]any{}, false}, {json.RawMessage("null"), false},
	} {
		_, err := a.verified(signJWT(0, with(headerOf("one"), "typ", test.typ), someClaims(otherBase)))
		if test.ok && err != nil {
			t.Errorf("%v: %v", test.typ, err)
		} else if !test.ok {
			wantFault(t, err, "its typ is")
		}
	}
}

func TestMembersThatAreThereTwice(t *testing.T) {
	t.Parallel()
	a, _ := plainProvider(t)
	header, _ := json.Marshal(headerOf("one"))
	claims, _ := json.Marshal(someClaims(otherBase))
	add := func(object []byte, more string) string { return string(object[:len(object)-1]) + "," + more + "}" }
	for _, test := range []struct {
		name, header, claims string
		want                 string // "" if it is accepted
	}{
		{"none", string(header), string(claims), ""},
		{"alg", add(header, `"alg":"RS256"`), string(claims), `"alg" is twice in its header`},
		{"nested in the header", add(header, `"x":[{"a":1,"a":1}]`), string(claims), `"a" is twice in its header`},
		{"sub", string(header), add(claims, `"sub":"BBBB"`), `"sub" is twice in its claims`},
		{"sub, escaped", string(header), add(claims, `"s\u0075b":"BBBB"`), `"sub" is twice in its claims`},
		{"aud in capitals", string(header), add(claims, `"AUD":"x"`), `"AUD" is twice in its claims`},
		{"iss with a long s", string(header), add(claims, `"i\u017fs":"x"`), `"iſs" is twice in its claims`},
		{"roles", string(header), add(claims, `"roles":[],"roles":["Admin"]`), `"roles" is twice`},
		{"nested", string(header), add(claims, `"a":{"b":{"c":1,"c":2}}`), `"c" is twice`},
		{"in a list", string(header), add(claims, `"a":[1,[{"b":null,"b":null}]]`), `"b" is twice`},
		{"in two objects", string(header), add(claims, `"a":{"b":1},"c":{"b":1},"b":[{"b":{"b":1}},{"b":2}]`), ""},
		{"as value and name", string(header), add(claims, `"a":"a","b":["a","a","b"],"c":{"a":"a"}`), ""},
		{"other claims in other case", string(header), add(claims, `"Role":1,"role":2`), ""},
	} {
		_, err := a.verified(signJWT(0, test.header, test.claims))
		if test.want != "" {
			wantFault(t, err, test.want)
		} else if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestAudiencesAreNamedInTheError(t *testing.T) {
	t.Parallel()
	a, _ := plainProvider(t)
	many := []string{testClient}
	for i := range 20 {
		many = append(many, fmt.Sprintf("app-%d", i))
	}
	for _, test := range []struct {
		name    string
		changes []any
		want    string
	}{
		{"one in a list", []any{"aud", []string{testClient}}, ""},
		{"two, and azp", []any{"aud", []string{"other", testClient}, "azp", testClient}, ""},
		{"azp is null", []any{"azp", json.RawMessage("null")}, ""},
		{"two without azp", []any{"aud", []string{"other\n\u202eapp", testClient}}, `aud names several: "other app", "` + testClient + `"`},
		{"many", []any{"aud", many}, `"app-3", 16 more`},
		{"another azp", []any{"azp", "other"}, `azp is not this app but "other"`},
		{"azp is a number", []any{"azp", 7}, `azp is not this app but 7`},
		{"a long one", []any{"aud", []string{strings.Repeat("x", 9999), testClient}}, `xxx..."`},
	} {
		_, err := a.verified(signJWT(0, headerOf("one"), with(someClaims(otherBase), test.changes...)))
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if wantFault(t, err, test.want); err != nil && len(err.Error()) > 700 {
			t.Errorf("%s: an error of %d bytes", test.name, len(err.Error()))
		}
	}
}

// Names by other claims.
func TestNamesByOtherClaims(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, claims          string
		username, email       string
		verified, atMicrosoft bool
	}{
		{"Microsoft's", `{"preferred_username":"p","upn":"u","unique_name":"n","email":"e","emails":["x"]}`, "p", "e", false, true},
		{"AD FS", `{"upn":"u","unique_name":"n"}`, "u", "", false, false},
		{"older AD FS", `{"unique_name":"n"}`, "n", "", false, false},
		{"other types", `{"preferred_username":["p"],"upn":7,"unique_name":"n","email":{},"emails":[7,null,"x","y"]}`, "n", "x", false, true},
		{"B2C's", `{"emails":["x","y"]}`, "", "x", false, true},
		{"B2C's with marks", `{"emails":["x"],"xms_edov":true,"email_verified":true}`, "", "x", false, true},
		{"elsewhere with marks", `{"emails":["x"],"email_verified":true}`, "", "x", false, false},
		{"with a mark", `{"email":"e","emails":["x"],"xms_edov":true}`, "", "e", true, true},
		{"with a mark elsewhere", `{"email":"e","email_verified":true}`, "", "e", true, false},
		{"one in place of a list", `{"emails":"x"}`, "", "x", false, true},
	} {
		var c claims
		if err := json.Unmarshal([]byte(test.claims), &c); err != nil {
			t.Fatal(err)
		}
		a := &Authority{}
		if test.atMicrosoft {
			a.Kind = b2c
		}
		u := a.identity(c, "https://issuer.example.com").User
		if u.Username != test.username || u.Email != test.email || u.EmailVerified != test.verified {
			t.Errorf("%s: %q, %q, verified %t", test.name, u.Username, u.Email, u.EmailVerified)
		}
	}
}
