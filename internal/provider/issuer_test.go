package provider

import (
	"errors"
	"strings"
	"testing"
)

// Custom domains, and the documents of B2C and External ID as they were seen.
func TestIssuersOfMicrosoftThatAreOtherURLs(t *testing.T) {
	t.Parallel()
	const custom = "https://login.fabrikam.example"
	customB2C, customBase := custom+"/"+testDirectory+"/v2.0/", custom+"/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0"
	for _, test := range []struct {
		name, issuer, microsoft, published string
		want                               string // "" if it is accepted
	}{
		{"B2C", b2cBase, "", b2cIssuer, ""},
		{"B2C of another name", b2cBase, "", "https://evil.b2clogin.com/" + testDirectory + "/v2.0/", "names the issuer"},
		{"External ID", ciamBase, "", ciamIssuer, ""},
		{"External ID by its GUID", ciamIssuer, "", ciamIssuer, ""},
		{"External ID of another tenant", ciamBase, "", strings.Replace(ciamIssuer, testDirectory, testTenant, 1), "names the issuer"},
		{"B2C's own issuer of another form", b2cBase, "", b2cBase, "not of the form"},
		{"B2C with /tfp/", b2cBase, "", "https://fabrikam.b2clogin.com/tfp/" + testDirectory + "/b2c_1_susi/v2.0/", `"Issuer (iss) claim"`},
		{"B2C with /tfp/ in both", "https://fabrikam.b2clogin.com/tfp/" + testDirectory + "/b2c_1_susi/v2.0/", "",
			"https://fabrikam.b2clogin.com/tfp/" + testDirectory + "/b2c_1_susi/v2.0/", "not supported"},
		{"custom domain of B2C with /tfp/", customBase, customB2C, custom + "/tfp/" + testDirectory + "/b2c_1_susi/v2.0/", "not supported"},
		{"custom domain of B2C", customBase, customB2C, customB2C, ""},
		{"the same without the setting", customBase, "", customB2C, `a custom domain of Entra External ID or Azure AD B2C, and that is your tenant's id, set Config.MicrosoftIssuer to "` + customB2C + `"`},
		{"the slash counts", customBase, strings.TrimSuffix(customB2C, "/"), customB2C, "and not Config.MicrosoftIssuer"},
		{"another tenant", customBase, customB2C, strings.Replace(customB2C, testDirectory, testTenant, 1), "and not Config.MicrosoftIssuer"},
		{"custom domain of External ID", custom + "/" + testDirectory + "/v2.0", ciamIssuer, ciamIssuer, ""},
		{"the same without the setting", custom + "/" + testDirectory + "/v2.0", "", ciamIssuer, `set Config.MicrosoftIssuer to "` + ciamIssuer + `"`},
		{"Entra behind a proxy", custom + "/entra", "", entraBase, `set Config.Authority to "https://login.microsoftonline.com" and Config.Tenant to "` + testDirectory + `"`},
		{"another provider", otherBase, "", "https://evil.example.com", `names the issuer "https://evil.example.com" and not "https://id.example.com"`},
		{"stock B2C, pinned", b2cBase, b2cIssuer, b2cIssuer, ""},
	} {
		a, _ := testProvider(t, strings.TrimSuffix(test.issuer, "/"), test.published, issuerIs(test.issuer, test.microsoft))
		err := a.Ready(t.Context())
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			} else if !a.MicrosoftIssuer() {
				t.Errorf("%s: not taken for Microsoft's", test.name)
			}
			continue
		}
		wantFault(t, err, test.want)
		if fault, ok := errors.AsType[*Failure](err); !ok || fault.Class != Misconfigured {
			t.Errorf("%s: %v is of no class", test.name, err)
		}
	}
}
