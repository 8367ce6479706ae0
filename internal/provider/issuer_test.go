package provider

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Custom domains, and discovery of B2C and External ID as it was seen.
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
		t.Run(test.name, func(t *testing.T) {
			a, _ := testProvider(t, strings.TrimSuffix(test.issuer, "/"), test.published, issuerIs(test.issuer, test.microsoft))
			err := a.Ready(t.Context())
			if test.want == "" {
				if err != nil {
					t.Error(err)
				} else if !a.MicrosoftIssuer() {
					t.Error("not taken for Microsoft's")
				}
				return
			}
			wantFault(t, err, test.want)
			if fault, ok := errors.AsType[*Failure](err); !ok || fault.Class != Misconfigured {
				t.Errorf("%v is of no class", err)
			}
		})
	}
}

func TestDirectoryOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ issuer, want string }{
		{ciamIssuer, testDirectory},
		{b2cIssuer, testDirectory},
		{"https://id.example.com/" + strings.ToUpper(testDirectory) + "/v2.0", testDirectory},
		{"http://localhost:8080/" + testDirectory + "/v2.0", testDirectory},
		{"http://id.example.com/" + testDirectory + "/v2.0", ""},
		{"https://id.example.com/" + testDirectory + "/v1.0", ""},
		{"https://id.example.com/" + testDirectory + "/v2.0//", ""},
		{"https://id.example.com/" + testDirectory + "/v2.0?", ""},
		{"https://id.example.com/" + testDirectory + "/v2.0?x=1", ""},
		{"https://id.example.com/" + testDirectory + "/v2.0#", ""},
		{"https://user@id.example.com/" + testDirectory + "/v2.0", ""},
		{"https://id.example.com/x/" + testDirectory + "/v2.0", ""},
		{"https://id.example.com/" + TenantPattern + "/v2.0", ""},
		{"https:///" + testDirectory + "/v2.0", ""},
		{"", ""},
	} {
		if got := DirectoryOf(test.issuer); got != test.want {
			t.Errorf("%s: %q, want %q", test.issuer, got, test.want)
		}
	}
}

func TestTenantIssuer(t *testing.T) {
	t.Parallel()
	const origin = "https://login.microsoftonline.com"
	for _, test := range []struct{ origin, tenant, want string }{
		{origin, testTenant, origin + "/" + testTenant + "/v2.0"},
		{"", testTenant, ""},
		{origin, "", ""},
	} {
		got := TenantIssuer(test.origin, test.tenant)
		if got != test.want {
			t.Errorf("%q, %q: %q, want %q", test.origin, test.tenant, got, test.want)
		}
		if appended := string(AppendTenantIssuer([]byte("x"), test.origin, []byte(test.tenant))); got != "" && appended != "x"+got {
			t.Errorf("%q, %q: appended %q", test.origin, test.tenant, appended)
		}
	}
}

// The issuer of Entra must be that of the configured tenant.
func TestIssuersOfEntra(t *testing.T) {
	t.Parallel()
	of := func(tenant string) string { return testOrigin + "/" + tenant + "/v2.0" }
	for _, test := range []struct {
		name, tenant, issuer string
		want                 string // "" if it is accepted
	}{
		{"common, the template", "common", of(TenantPattern), ""},
		{"common, one tenant", "common", of(testTenant), ""},
		{"organizations, the template", "organizations", of(TenantPattern), ""},
		{"consumers", "consumers", of(PersonalTenant), ""},
		{"consumers, another tenant", "consumers", of(testTenant), `which is not that of tenant "consumers"`},
		{"consumers, the template", "consumers", of(TenantPattern), `which is not that of tenant "consumers"`},
		{"a tenant", testTenant, of(testTenant), ""},
		{"another tenant", testTenant, of(testDirectory), `which is not that of tenant "` + testTenant + `"`},
		{"a tenant, the template", testTenant, of(TenantPattern), "which is not that of tenant"},
		{"a domain", "contoso.example", of(testTenant), ""},
		{"a domain, the template", "contoso.example", of(TenantPattern), "which is not that of tenant"},
		{"another host", "common", "https://evil.example/" + testTenant + "/v2.0", "which is not that of tenant"},
		{"another version", "common", testOrigin + "/" + testTenant + "/v1.0", "which is not that of tenant"},
		{"none", "common", "", "which is not that of tenant"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, _ := testProvider(t, of(test.tenant), test.issuer, func(s *Settings) { s.Tenant = test.tenant })
			if err := a.Ready(t.Context()); test.want != "" {
				wantFault(t, err, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// A domain may belong to any tenant, but it stays the same.
func TestDomainThatMovesToAnotherTenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		base := testOrigin + "/contoso.example/v2.0"
		a, web := testProvider(t, base, testOrigin+"/"+testTenant+"/v2.0", func(s *Settings) { s.Tenant = "contoso.example" })
		if err := a.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		where := base + "/.well-known/openid-configuration"
		web.set(where, with(web.pages[where].(map[string]any), "issuer", testOrigin+"/"+testDirectory+"/v2.0"))
		time.Sleep(2 * documentOld)
		if m, err := a.Discover(t.Context()); err != nil || m.Issuer != testOrigin+"/"+testTenant+"/v2.0" || web.count(where) != 2 {
			t.Errorf("%+v, %v", m, err)
		}
	})
}

// Which issuers a front-channel logout may name.
func TestIsIssuer(t *testing.T) {
	t.Parallel()
	of := func(a *Authority, _ *published) *Authority {
		if _, err := a.Discover(t.Context()); err != nil {
			t.Fatal(err)
		}
		return a
	}
	common, one, other := of(commonProvider(t)), of(entraProvider(t)), of(plainProvider(t))
	external, _ := ciamProvider(t)
	for _, test := range []struct {
		name   string
		a      *Authority
		issuer string
		want   bool
	}{
		{"any tenant", common, entraBase, true},
		{"the template", common, testOrigin + "/{tenantid}/v2.0", false},
		{"another host", common, "https://evil.example/" + testDirectory + "/v2.0", false},
		{"the tenant", one, entraBase, true},
		{"another tenant", one, testOrigin + "/" + PersonalTenant + "/v2.0", false},
		{"another provider", other, otherBase, true},
		{"with a slash", other, otherBase + "/", false},
		{"nothing", other, "", false},
		{"before discovery: as configured", external, ciamBase, true},
		{"before discovery: nothing else", external, otherBase, false},
	} {
		if got := test.a.IsIssuer(test.issuer); got != test.want {
			t.Errorf("%s: %q: %t, want %t", test.name, test.issuer, got, test.want)
		}
	}
}
