package signin_test

import (
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestTenants(t *testing.T) {
	t.Parallel()
	const origin = "http://localhost:9"
	tenant := func(tenant string, allowed ...string) func(*msauth.Config) {
		return func(c *msauth.Config) { c.Tenant, c.AllowedTenants = tenant, allowed }
	}
	// from makes the tokens of Ada say that she is of another tenant, signed
	// with the keys of the tenant that is asked.
	from := func(id string) func(*msauthtest.Behavior) {
		return testsite.Claims(map[string]any{"tid": id, "iss": origin + "/" + id + "/v2.0"})
	}
	nothing := func(*msauthtest.Behavior) {}
	tests := []struct {
		name   string
		change func(*msauth.Config)
		person string
		behave func(*msauthtest.Behavior)
		kind   string
		want   string // reason to refuse
	}{
		{"everybody: work", tenant("common"), msauthtest.Bruno, nothing, "", ""},
		{"everybody: personal", tenant(""), msauthtest.Mia, nothing, "", ""},
		{"organizations: work", tenant("organizations"), msauthtest.Bruno, nothing, "", ""},
		{"organizations: personal", tenant("organizations"), msauthtest.Ada, from(msauthtest.TenantPersonal), "not-allowed", "account not admitted: tenant " + msauthtest.TenantPersonal},
		{"consumers: personal", tenant("consumers"), msauthtest.Mia, nothing, "", ""},
		{"consumers: work", tenant("consumers"), msauthtest.Mia, from(msauthtest.TenantContoso), "start-again", "and not by"},
		{"one tenant: its people", tenant(msauthtest.TenantContoso), msauthtest.Ada, nothing, "", ""},
		{"one tenant, in upper case", tenant(strings.ToUpper(msauthtest.TenantContoso)), msauthtest.Ada, nothing, "", ""},
		{"one tenant: others", tenant(msauthtest.TenantContoso), msauthtest.Ada, from(msauthtest.TenantFabrikam), "start-again", "issued in tenant " + msauthtest.TenantFabrikam + " and not by"},
		{"one domain: its people", tenant("contoso.example"), msauthtest.Ada, nothing, "", ""},
		{"one domain: others", tenant("contoso.example"), msauthtest.Ada, from(msauthtest.TenantFabrikam), "start-again", "issued in tenant " + msauthtest.TenantFabrikam + " and not by"},
		{"allowed: on the list", tenant("common", msauthtest.TenantContoso, strings.ToUpper(msauthtest.TenantFabrikam)), msauthtest.Bruno, nothing, "", ""},
		{"allowed: personal on the list", tenant("common", msauthtest.TenantPersonal), msauthtest.Mia, nothing, "", ""},
		{"allowed: not on the list", tenant("common", msauthtest.TenantContoso), msauthtest.Bruno, nothing, "not-allowed", "account not admitted: tenant " + msauthtest.TenantFabrikam},
		{"allowed: personal, work only", tenant("common", msauthtest.TenantContoso), msauthtest.Mia, nothing, "not-allowed", "account not admitted: tenant " + msauthtest.TenantPersonal},
		{"allowed: not on the list of organizations", tenant("organizations", msauthtest.TenantContoso), msauthtest.Bruno, nothing, "not-allowed", "account not admitted"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t, test.change)
			s.As(test.person)
			s.MS.Set(test.behave)
			b := s.Browser(t)
			res := b.Get("/page")
			switch test.kind {
			case "":
				if res.StatusCode != 200 || !strings.HasPrefix(res.Text, "hello ") || res.Request.URL.Path != "/page" {
					t.Errorf("status %d, page %q; log:\n%s", res.StatusCode, res.Text, s.Log)
				}
				return
			case "not-allowed":
				b.WantRefused(res, 403, test.kind, test.want)
				if !strings.Contains(res.Text, `href="/auth/login?prompt=select_account&amp;return_to=%2Fpage"`) || !strings.Contains(res.Text, `href="/auth/logout"`) {
					t.Errorf("page %s, want links to another account and to sign out", res.Text)
				}
			default:
				b.WantRefused(res, 400, test.kind, test.want)
			}
			s.WantCalls(t, msauthtest.TokenCode, 1)
			s.WantCalls(t, msauthtest.Authorize, 1)
			b.WantGreeting(testsite.HelloNobody)
		})
	}
}

func TestTightenedConfigurationEndsSessions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*msauth.Config)
		want   string // reason
	}{
		{"allowed tenants", func(c *msauth.Config) { c.AllowedTenants = []string{msauthtest.TenantContoso} }, `reason="no longer admitted"`},
		{"tenant", func(c *msauth.Config) { c.Tenant = msauthtest.TenantContoso }, "reason=unreadable"},
		{"client id", func(c *msauth.Config) { c.ClientID = "another" }, "reason=unreadable"},
		{"shorter age", func(c *msauth.Config) { c.MaxAge = time.Minute }, `reason="too old"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, func(c *msauth.Config) { c.CookieName = "msauth-fixed1" })
				b := s.Browser(t)
				b.SignIn(msauthtest.Bruno)
				time.Sleep(time.Minute)
				s.Restart(t, test.change)
				if res := b.Still().Get("/"); res.StatusCode != 303 {
					t.Errorf("status %d, want 303", res.StatusCode)
				}
				if len(s.Log.With(test.want)) != 1 || len(b.Session()) != 0 {
					t.Errorf("%d cookies; log %s, want one line with %s", len(b.Session()), s.Log, test.want)
				}
				b.WantGreeting(testsite.HelloNobody)
			})
		})
	}
}

func TestOtherProvider(t *testing.T) {
	t.Parallel()
	const issuer = "http://localhost:9/generic"
	newSite := func(t *testing.T, behave ...func(*msauthtest.Behavior)) (*testsite.Site, *testsite.Browser) {
		s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Authority, c.Issuer = "", issuer })
		s.As(msauthtest.Ada)
		for _, f := range behave {
			s.MS.Set(f)
		}
		return s, s.Browser(t)
	}
	announce := func(algs ...string) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			b.Discovery = func(doc map[string]any) { doc["id_token_signing_alg_values_supported"] = algs }
		}
	}
	sign := func(how msauthtest.Signing) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) { b.Signing = how }
	}
	t.Run("signs in, renews and signs out", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s, b := newSite(t)
			u := b.User()
			if u.Key() != issuer+"#"+u.Subject || u.Subject == "" || u.TenantID != "" || u.ObjectID != "" || !u.EmailVerified {
				t.Errorf("user %+v, key %s", u, u.Key())
			}
			time.Sleep(2 * time.Hour)
			b.WantGreeting(testsite.HelloAda)
			s.WantCalls(t, msauthtest.TokenRefresh, 1)
			to, _ := b.Still().Request("POST", "/auth/logout", "Sec-Fetch-Site", "same-origin").Location()
			if got := to.Query(); got.Get("client_id") != s.MS.ClientID || got.Get("post_logout_redirect_uri") != s.URL+"/auth/signed-out" {
				t.Errorf("sign-out at %v", to)
			}
		})
	})
	tests := []struct {
		name   string
		behave []func(*msauthtest.Behavior)
		want   string
	}{
		{"tid and oid mean nothing here", []func(*msauthtest.Behavior){testsite.Claims(map[string]any{"tid": msauthtest.TenantContoso, "oid": "8342b3fe-9359-4c66-8314-5ba888da8409"})}, ""},
		{"iss with a slash", []func(*msauthtest.Behavior){testsite.Claim("iss", issuer+"/")}, "issued by a different provider"},
		{"iss of the Microsoft side", []func(*msauthtest.Behavior){testsite.Claim("iss", "http://localhost:9/"+msauthtest.TenantContoso+"/v2.0")}, "issued by a different provider"},
		{"at_hash missing", []func(*msauthtest.Behavior){testsite.Drop("at_hash")}, ""},
		{"at_hash wrong", []func(*msauthtest.Behavior){testsite.Claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")}, "at_hash does not fit"},
		{"ES256, announced", []func(*msauthtest.Behavior){announce("RS256", "ES256"), sign(msauthtest.SignES256)}, ""},
		{"ES256, not announced", []func(*msauthtest.Behavior){sign(msauthtest.SignES256)}, "signature algorithm"},
		{"HS256, announced", []func(*msauthtest.Behavior){announce("HS256", "none"), sign(msauthtest.SignHS256Secret)}, "signature algorithm"},
		{"none, announced", []func(*msauthtest.Behavior){announce("none"), sign(msauthtest.SignNone)}, "signature algorithm"},
		{"RS256, nothing announced", []func(*msauthtest.Behavior){announce()}, ""},
		{"no key id, one key", []func(*msauthtest.Behavior){sign(msauthtest.SignWithoutKeyID)}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, b := newSite(t, test.behave...)
			if test.want != "" {
				b.WantRefused(b.Get("/"), 400, "start-again", test.want)
				return
			}
			if u := b.User(); u.Key() != issuer+"#"+u.Subject || u.TenantID != "" {
				t.Errorf("user %+v; log:\n%s", u, s.Log)
			}
		})
	}
}

func TestDiscoveryOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	const origin = "http://localhost:9"
	tests := []struct {
		name   string
		tenant string // "generic" for another provider
		change map[string]any
		want   string // reason; "" for accepted
	}{
		{"as it should be", "common", nil, ""},
		{"issuer of another host", "common", map[string]any{"issuer": "https://evil.example/{tenantid}/v2.0"}, "names the issuer"},
		{"issuer of the old version", "common", map[string]any{"issuer": "https://sts.windows.net/{tenantid}/"}, "names the issuer"},
		{"issuer missing", "common", map[string]any{"issuer": nil}, "names the issuer"},
		{"issuer with another placeholder", "common", map[string]any{"issuer": origin + "/{tenant}/v2.0"}, "names the issuer"},
		{"issuer without a version", "common", map[string]any{"issuer": origin + "/{tenantid}"}, "names the issuer"},
		{"template for one tenant", msauthtest.TenantContoso, map[string]any{"issuer": origin + "/{tenantid}/v2.0"}, "names the issuer"},
		{"other tenant for one tenant", msauthtest.TenantContoso, map[string]any{"issuer": origin + "/" + msauthtest.TenantFabrikam + "/v2.0"}, "names the issuer"},
		{"template for a domain", "contoso.example", map[string]any{"issuer": origin + "/{tenantid}/v2.0"}, "names the issuer"},
		{"work tenant for consumers", "consumers", map[string]any{"issuer": origin + "/" + msauthtest.TenantContoso + "/v2.0"}, "names the issuer"},
		{"template for consumers", "consumers", map[string]any{"issuer": origin + "/{tenantid}/v2.0"}, "names the issuer"},
		{"another provider with a slash", "generic", map[string]any{"issuer": origin + "/generic/"}, "names the issuer"},
		{"another provider's issuer in other case", "generic", map[string]any{"issuer": origin + "/Generic"}, "names the issuer"},
		{"authorize endpoint elsewhere", "common", map[string]any{"authorization_endpoint": "https://evil.example/authorize"}, "authorization_endpoint is on the host"},
		{"token endpoint elsewhere", "common", map[string]any{"token_endpoint": "https://evil.example/token"}, "token_endpoint is on the host"},
		{"token endpoint on another port", "common", map[string]any{"token_endpoint": "http://localhost:99/token"}, "token_endpoint is on the host"},
		{"token endpoint with a user", "common", map[string]any{"token_endpoint": "http://evil@localhost:9/token"}, "token_endpoint is not an absolute URL"},
		{"keys elsewhere", "common", map[string]any{"jwks_uri": "https://evil.example/keys"}, "jwks_uri is on the host"},
		{"sign-out elsewhere", "common", map[string]any{"end_session_endpoint": "https://evil.example/"}, "end_session_endpoint is on the host"},
		{"no token endpoint", "common", map[string]any{"token_endpoint": nil}, "token_endpoint is not an absolute URL"},
		{"relative keys", "common", map[string]any{"jwks_uri": "/keys"}, "jwks_uri is not an absolute URL"},
		{"plain http elsewhere", "generic", map[string]any{"token_endpoint": "http://id.example.com/token"}, "token_endpoint is not on https"},
		{"script in place of a URL", "generic", map[string]any{"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint is not an absolute URL"},
		{"no sign-out", "common", map[string]any{"end_session_endpoint": nil}, ""},
		{"wrong kinds", "common", map[string]any{"issuer": 7}, "cannot unmarshal"},
		{"endpoints elsewhere, of another provider", "generic", map[string]any{"userinfo_endpoint": "https://elsewhere.example/"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t, func(c *msauth.Config) {
				if c.Tenant = test.tenant; test.tenant == "generic" {
					c.Authority, c.Tenant, c.Issuer = "", "", origin+"/generic"
				}
			})
			s.As(msauthtest.Ada)
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.Discovery = func(doc map[string]any) {
					for name, value := range test.change {
						if doc[name] = value; value == nil {
							delete(doc, name)
						}
					}
				}
			})
			res := s.Browser(t).Get("/page")
			if test.want == "" {
				if res.Text != testsite.HelloAda {
					t.Errorf("page %q, want %q; log:\n%s", res.Text, testsite.HelloAda, s.Log)
				}
				return
			}
			s.WantPage(t, res, 503, "unavailable", test.want)
			if want := map[msauthtest.Kind]int{msauthtest.Discovery: 1}; !maps.Equal(s.Calls(), want) {
				t.Errorf("requests at the provider %v, want %v", s.Calls(), want)
			}
			if err := s.Auth.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Ready returns %v, want %q", err, test.want)
			}
		})
	}
}

func TestDomainKeepsItsTenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Tenant = "contoso.example" })
		s.Browser(t).SignIn(msauthtest.Ada)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Discovery = func(doc map[string]any) { doc["issuer"] = "http://localhost:9/" + msauthtest.TenantFabrikam + "/v2.0" }
		})
		time.Sleep(25 * time.Hour)
		s.Browser(t).SignIn(msauthtest.Ada) // the last good document is kept
	})
}
