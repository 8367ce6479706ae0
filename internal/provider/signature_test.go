package provider

import "testing"

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
