package provider

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A key that names an issuer signs tokens of this issuer only.
func TestIssuersOfKeysAreFilled(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		make   func(*testing.T) (*Authority, *published)
		where  string
		issuer string // of the token
		tid    any
		key    string
		ok     bool
	}{
		{"External ID, by tid", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0", true},
		{"External ID, by the issuer", ciamProvider, ciamBase, ciamIssuer, nil, "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0", true},
		{"External ID, on another host", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://login.microsoftonline.com/{tenantid}/v2.0", true},
		{"External ID, with a slash", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://fabrikam.ciamlogin.com/{tenantid}/v2.0/", true},
		{"External ID, spelled out", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://login.microsoftonline.com/" + testDirectory + "/v2.0", true},
		{"External ID, another tenant", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://login.microsoftonline.com/" + testTenant + "/v2.0", false},
		{"External ID, personal accounts", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://login.microsoftonline.com/" + PersonalTenant + "/v2.0", false},
		{"External ID, another path", ciamProvider, ciamBase, ciamIssuer, testDirectory, "https://login.microsoftonline.com/{tenantid}/v1.0", false},
		{"External ID, on http", ciamProvider, ciamBase, ciamIssuer, testDirectory, "http://login.microsoftonline.com/{tenantid}/v2.0", false},
		{"B2C, by the issuer", b2cProvider, b2cBase, b2cIssuer, nil, "https://fabrikam.b2clogin.com/{tenantid}/v2.0/", true},
		{"B2C, on another host", b2cProvider, b2cBase, b2cIssuer, nil, "https://login.microsoftonline.com/{tenantid}/v2.0/", false},
		{"another provider, by tid", func(t *testing.T) (*Authority, *published) {
			return testProvider(t, otherBase+"/"+testTenant, otherBase+"/"+testTenant, issuerIs(otherBase+"/"+testTenant))
		}, otherBase + "/" + testTenant, otherBase + "/" + testTenant, testTenant, otherBase + "/{tenantid}", true},
		{"another provider, tid of another", func(t *testing.T) (*Authority, *published) {
			return testProvider(t, otherBase+"/"+testTenant, otherBase+"/"+testTenant, issuerIs(otherBase+"/"+testTenant))
		}, otherBase + "/" + testTenant, otherBase + "/" + testTenant, testDirectory, otherBase + "/{tenantid}", false},
		{"another provider, nothing to fill in", plainProvider, otherBase, otherBase, nil, "https://id.example.com{tenantid}", false},
		{"Entra, another cloud", entraProvider, entraBase, entraBase, testDirectory, "https://login.microsoftonline.us/{tenantid}/v2.0", false},
		{"Entra", entraProvider, entraBase, entraBase, testDirectory, "https://login.microsoftonline.com/{tenantid}/v2.0", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, web := test.make(t)
			web.set(test.where+"/keys", map[string]any{"keys": []any{jwk(0, "one", test.key)}})
			_, err := a.verified(signJWT(0, headerOf("one"), with(someClaims(test.issuer), "tid", test.tid, "oid", testPerson)))
			if !test.ok {
				wantFault(t, err, noKey)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// A token without a key id is tried with all keys, and a new key is found.
func TestTokensWithoutAKeyID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, web := plainProvider(t)
		token := func(n int) string { return signJWT(n, with(headerOf(""), "kid", nil), someClaims(otherBase)) }
		if _, err := a.verified(token(0)); err != nil {
			t.Error(err)
		}
		web.set(otherBase+"/keys", map[string]any{"keys": []any{jwk(0, "one", ""), jwk(1, "two", "")}})
		if _, err := a.verified(token(1)); err != nil {
			t.Error(err)
		}
		for range 10 {
			_, err := a.verified(token(2))
			wantFault(t, err, noKey)
		}
		if n := web.count("/keys"); n != 2 {
			t.Errorf("%d requests for keys, want 2", n)
		}
		web.set(otherBase+"/keys", unavailable)
		time.Sleep(keysRefetch)
		_, err := a.verified(token(2))
		if _, ok := errors.AsType[KeysUnavailableError](err); !ok {
			t.Errorf("%v is no KeysUnavailableError", err)
		}
	})
}

// Keys that are not for signatures, or that nobody should publish, verify nothing.
func TestKeysThatAreNotUsed(t *testing.T) {
	t.Parallel()
	private := with(jwk(0, "one", ""), "d", "AQAB", "p", "AQAB", "q", "AQAB")
	for _, test := range []struct {
		name string
		key  map[string]any
		want string // "" if the token is accepted
	}{
		{"as usual", jwk(0, "one", ""), ""},
		{"no use", with(jwk(0, "one", ""), "use", nil), ""},
		{"for its algorithm", with(jwk(0, "one", ""), "alg", "RS256"), ""},
		{"for another algorithm", with(jwk(0, "one", ""), "alg", "RS512"), noKey},
		{"for encryption", with(jwk(0, "one", ""), "use", "enc"), "signing keys at " + otherBase + "/keys: none that can be used"},
		{"a private one", private, "none that can be used"},
		{"a symmetric one", map[string]any{"kty": "oct", "kid": "one", "k": "AAAA"}, "none that can be used"},
		{"an unknown kind", map[string]any{"kty": "future", "kid": "one"}, "none that can be used"},
		{"a broken certificate is ignored", with(jwk(0, "one", ""), "x5c", []string{"not base64"}, "x5t", "!"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, web := plainProvider(t)
			web.set(otherBase+"/keys", map[string]any{"keys": []any{test.key}})
			if _, err := a.verified(signJWT(0, headerOf("one"), someClaims(otherBase))); test.want != "" {
				wantFault(t, err, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
