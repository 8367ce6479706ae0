package provider

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What cannot be read is named for what it is.
func TestFaultsOfDiscoveryAndKeysHaveAClass(t *testing.T) {
	const unknownTenant = `{"error":"invalid_tenant","error_description":"AADSTS90002: Tenant 'no-such.example' not found. Check to make sure you have the correct tenant ID.\r\nTrace ID: 11111111-1111-4111-8111-111111111111\r\nCorrelation ID: 22222222-2222-4222-8222-222222222222\r\nTimestamp: 2023-08-03 00:46:25Z","error_codes":[90002],"timestamp":"2023-08-03 00:46:25Z","trace_id":"11111111-1111-4111-8111-111111111111","correlation_id":"22222222-2222-4222-8222-222222222222","error_uri":"https://login.microsoftonline.com/error?code=90002"}`
	page := func(status int, kind, body string) any {
		return func(r *http.Request) (*http.Response, error) { return reply(r, status, kind, body), nil }
	}
	for _, test := range []struct {
		name   string
		page   any
		class  Class
		status int
		want   string // in the error
	}{
		{"no connection", func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }, Retry, 0, "connection refused"},
		{"timeout", func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, Retry, 0, "deadline exceeded"},
		{"unknown tenant", page(400, "application/json", unknownTenant), Misconfigured, 400, "HTTP status 400: invalid_tenant: AADSTS90002: Tenant 'no-such.example' not found."},
		{"not found", page(404, "text/html", "<h1>Not Found</h1>"), Misconfigured, 404, "HTTP status 404"},
		{"forbidden", page(403, "text/plain", "blocked"), Misconfigured, 403, "HTTP status 403"},
		{"redirect", page(302, "text/html", ""), Misconfigured, 302, "HTTP status 302: redirects, which is not followed"},
		{"throttled", page(429, "application/json", "{}"), Retry, 429, "HTTP status 429"},
		{"too slow", page(408, "", ""), Retry, 408, "HTTP status 408"},
		{"down", page(503, "text/html", "<html>"), Retry, 503, "HTTP status 503"},
		{"down, with an OAuth error", page(500, "application/json", `{"error":"server_error","error_description":"AADSTS90033: A transient error"}`), Retry, 500, "server_error: AADSTS90033"},
		{"HTML", page(200, "text/html; charset=utf-8", "<html>Welcome to our guest network</html>"), Retry, 200, "text/html; charset=utf-8, not JSON"},
		{"nothing", page(200, "", ""), Retry, 200, "nothing, not JSON"},
		{"half", page(200, "application/json", `{"issuer":`), Retry, 200, "application/json, not JSON"},
		{"a list", page(200, "application/json", `[]`), Retry, 200, "application/json, not JSON"},
		{"null", page(200, "application/json", `null`), Retry, 200, "application/json, not JSON"},
		{"an empty object", page(200, "application/json", `{}`), Misconfigured, 200, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, document := range []string{"/.well-known/openid-configuration", "/keys"} {
				synctest.Test(t, func(t *testing.T) {
					a, web := plainProvider(t)
					web.set(otherBase+document, test.page)
					err := a.Ready(t.Context())
					wantFault(t, err, test.want)
					what := map[string]string{"/keys": "msauth: signing keys"}[document]
					if what == "" {
						what = "msauth: discovery"
					}
					if !strings.HasPrefix(err.Error(), what) || !strings.Contains(err.Error(), otherBase+document) {
						t.Errorf("error %v, want the document's name and address", err)
					}
					fault, ok := errors.AsType[*Failure](err)
					if !ok || fault.Class != test.class || fault.StatusCode != test.status {
						t.Fatalf("%#v of %v, want class %q and status %d", fault, err, test.class, test.status)
					}
					if test.name == "unknown tenant" && (fault.Code != "invalid_tenant" || !slices.Equal(fault.Numbers, []int{90002}) ||
						fault.TraceID != "11111111-1111-4111-8111-111111111111" || fault.CorrelationID != "22222222-2222-4222-8222-222222222222" || strings.ContainsAny(fault.Description, "\r\n")) {
						t.Errorf("%+v", fault)
					}
					if fault.needsPerson() {
						t.Errorf("%v: the person cannot help", err)
					}
				})
			}
		})
	}
}

// What nothing depends on may be of any type, and absent is told from empty.
func TestOptionalMetadata(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		change         []any
		basic, offline bool
	}{
		{"absent", nil, true, true},
		{"null", []any{"scopes_supported", nil, "token_endpoint_auth_methods_supported", nil}, true, true},
		{"empty", []any{"scopes_supported", []string{}, "token_endpoint_auth_methods_supported", []string{}}, true, false},
		{"other types", []any{"scopes_supported", 7, "token_endpoint_auth_methods_supported", map[string]any{}, "userinfo_endpoint", []int{1}}, true, false},
		{"both", []any{"scopes_supported", []string{"openid", "offline_access"}, "token_endpoint_auth_methods_supported", []string{"client_secret_basic", "client_secret_post"}}, false, true},
		{"Basic alone", []any{"scopes_supported", []string{"openid"}, "token_endpoint_auth_methods_supported", []string{"client_secret_basic"}}, true, false},
		{"neither", []any{"token_endpoint_auth_methods_supported", []string{"private_key_jwt"}}, true, true},
	} {
		a, web := plainProvider(t)
		where := otherBase + "/.well-known/openid-configuration"
		web.set(where, with(web.pages[where].(map[string]any), test.change...))
		m, err := a.Metadata.Get(t.Context())
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := a.basicAuth(m); got != test.basic {
			t.Errorf("%s: basicAuth %t, want %t", test.name, got, test.basic)
		}
		if got := a.OffersOffline(m); got != test.offline {
			t.Errorf("%s: offersOffline %t, want %t", test.name, got, test.offline)
		}
		for _, kind := range []Kind{Entra, ExternalID, b2c} {
			if a := (&Authority{Settings: Settings{Kind: kind}}); a.basicAuth(m) || !a.OffersOffline(m) {
				t.Errorf("%s: at Microsoft's kind %d the secret goes to the body, and offline_access is asked for", test.name, kind)
			}
		}
	}
}

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

// The person behind a custom domain is the same as behind the stock name.
func TestPersonBehindACustomDomain(t *testing.T) {
	t.Parallel()
	const custom = "https://login.fabrikam.example"
	issuer := custom + "/" + testDirectory + "/v2.0/"
	a, _ := testProvider(t, custom+"/b2c/v2.0", issuer, issuerIs(custom+"/b2c/v2.0", issuer))
	id, err := a.verified(signJWT(0, headerOf("one"), with(someClaims(issuer), "sub", sharedText, "oid", testPerson)))
	if err != nil || id.User.Key() != testDirectory+"."+testPerson {
		t.Errorf("B2C: %v, %v", id, err)
	}
	a, _ = testProvider(t, custom+"/ciam/v2.0", ciamIssuer, issuerIs(custom+"/ciam/v2.0", ciamIssuer))
	id, err = a.verified(signJWT(0, headerOf("one"), with(someClaims(ciamIssuer), "tid", testDirectory, "oid", testPerson)))
	if err != nil || id.User.Key() != testDirectory+"."+testPerson {
		t.Errorf("External ID: %v, %v", id, err)
	}
}

// What userinfo may say, and from where.
func TestUserinfo(t *testing.T) {
	const token = "an-access-token-of-some-length"
	const good = `{"sub":"AAAA","name":"Ada Lindqvist","preferred_username":"ada","email":"ada@example.com","roles":["Admin"]}`
	page := func(status int, kind, body string) any {
		return func(r *http.Request) (*http.Response, error) { return reply(r, status, kind, body), nil }
	}
	for _, test := range []struct {
		name     string
		endpoint any
		page     any
		want     string // "" if it is accepted
	}{
		{"good", otherBase + "/userinfo", page(200, "application/json; charset=utf-8", good), ""},
		{"on another host", "https://elsewhere.example/me", page(200, "application/json", good), ""},
		{"of another person", otherBase + "/userinfo", page(200, "application/json", `{"sub":"BBBB","name":"Eve"}`), "its sub is not that of the ID token"},
		{"without sub", otherBase + "/userinfo", page(200, "application/json", `{"name":"Eve"}`), "its sub is not that of the ID token"},
		{"sub in other case", otherBase + "/userinfo", page(200, "application/json", `{"sub":"aaaa","name":"Eve"}`), "its sub is not that of the ID token"},
		{"Sub", otherBase + "/userinfo", page(200, "application/json", `{"Sub":"AAAA","name":"Eve"}`), "its sub is not that of the ID token"},
		{"sub twice", otherBase + "/userinfo", page(200, "application/json", `{"sub":"BBBB","sub":"AAAA","name":"Eve"}`), "a member is there twice"},
		{"refused", otherBase + "/userinfo", page(401, "application/json", `{"error":"invalid_token","error_description":"`+token+`"}`), "HTTP status 401"},
		{"a redirect", otherBase + "/userinfo", func(r *http.Request) (*http.Response, error) {
			res := reply(r, 302, "text/html", "")
			res.Header.Set("Location", "https://evil.example/")
			return res, nil
		}, "redirects, which is not followed"},
		{"HTML", otherBase + "/userinfo", page(200, "text/html", "<html>"+token), "text/html, not JSON"},
		{"signed", otherBase + "/userinfo", page(200, "application/jwt", "a.b.c"), "application/jwt, not JSON"},
		{"too large", otherBase + "/userinfo", page(200, "application/json", `{"sub":"AAAA","x":"`+strings.Repeat("x", maxUserinfo)+`"}`), "reply too large"},
		{"hangs", otherBase + "/userinfo", func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, "deadline exceeded"},
		{"on http", "http://id.example.com/userinfo", page(200, "application/json", good), "userinfo_endpoint is not on https"},
		{"loopback", "http://localhost:9/userinfo", page(200, "application/json", good), ""},
		{"relative", "/userinfo", nil, "userinfo_endpoint is not an absolute URL"},
		{"none", nil, nil, "discovery names no userinfo_endpoint"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, web := plainProvider(t)
				where := otherBase + "/.well-known/openid-configuration"
				web.set(where, with(web.pages[where].(map[string]any), "userinfo_endpoint", test.endpoint))
				if address, ok := test.endpoint.(string); ok {
					web.set(address, test.page)
				}
				begun := time.Now()
				got, err := a.userinfo(t.Context(), token, "AAAA")
				if took := time.Since(begun); took > userinfoTimeout {
					t.Errorf("it took %v", took)
				}
				if n := web.count("evil"); n > 0 {
					t.Error("a redirect was followed")
				}
				if test.want == "" {
					if want := (profile{"Ada Lindqvist", "ada", "ada@example.com"}); err != nil || got != want {
						t.Errorf("%+v, %v", got, err)
					}
					if web.header.Get("Authorization") != "Bearer "+token {
						t.Error("no bearer token was sent")
					}
					return
				}
				if got != (profile{}) {
					t.Errorf("%+v beside an error", got)
				}
				if wantFault(t, err, test.want); err != nil && strings.Contains(err.Error(), token) {
					t.Errorf("the token is in %v", err)
				}
			})
		})
	}
}

// Section G: the forms in which Microsoft Graph and Azure Resource Manager were
// seen to challenge.
func TestFormsOfClaimsChallenges(t *testing.T) {
	t.Parallel()
	const claims = `{"access_token":{"nbf":{"essential":true,"value":"1702882382"}}}`
	const encoded = "eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNzAyODgyMzgyIn19fQ=="
	const graph = `authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`
	for _, test := range []struct {
		name, line string
		want       bool
	}{
		{"Graph", `Bearer realm="", ` + graph + `, error="insufficient_claims", claims="` + encoded + `"`, true},
		{"Graph, PoP first", `PoP realm="", ` + graph + `, nonce="AAAA", Bearer realm="", ` + graph +
			`, error_description="Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp", error="insufficient_claims", claims="` + encoded + `"`, true},
		{"Graph, authorization_uri without quotes", `Bearer realm="", authorization_uri=https://login.microsoftonline.com/common/oauth2/authorize, client_id="00000003-0000-0000-c000-000000000000", error="insufficient_claims", claims="` + encoded + `", errorDescription="x"`, true},
		{"without quotes and with a query", `Bearer realm="", authorization_uri=https://login.microsoftonline.com/common/oauth2/authorize?a=b&c=(d), error="insufficient_claims", claims="` + encoded + `"`, true},
		{"without quotes, parted by white space", `Bearer authorization_uri=https://login.windows.net/?x=1 error="insufficient_claims" claims=` + encoded, true},
		{"Graph, without a client", `Bearer realm="", authorization_uri="https://x.example", error="insufficient_claims", claims="` + encoded + `"`, true},
		{"Resource Manager", `Bearer authorization_uri="https://login.windows.net/", error="invalid_token", error_description="User session has been revoked", claims="` + encoded + `"`, true},
		{"Negotiate first", `Negotiate YII=, Bearer error="invalid_token", claims="` + encoded + `"`, true},

		{"invalid_token alone", `Bearer authorization_uri="https://login.windows.net/", error="invalid_token", error_description="The access token is invalid."`, false},
		{"another error", `Bearer error="insufficient_scope", claims="` + encoded + `"`, false},
		{"claims without an error", `Bearer claims="` + encoded + `"`, false},
		{"PoP alone", `PoP error="insufficient_claims", claims="` + encoded + `"`, false},
		{"claims of no JSON", `Bearer error="invalid_token", claims="e30x"`, false},
	} {
		want := ""
		if test.want {
			want = claims
		}
		if got := ChallengeIn(http.Header{"Www-Authenticate": {test.line}}); got != want {
			t.Errorf("%s: %q, want %q", test.name, got, want)
		}
		if got := ChallengeIn(http.Header{"Www-Authenticate": {`Basic realm="x"`, test.line}}); got != want {
			t.Errorf("%s, in a second line: %q, want %q", test.name, got, want)
		}
	}
}
