package msauthtest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// Standard names, in process.
const (
	b2cStock      = "https://fabrikam.b2clogin.com"
	externalStock = "https://fabrikam.ciamlogin.com"
)

const b2cTenant = "fabrikam.onmicrosoft.com/b2c_1_susi"

func newB2C(t *testing.T) *app {
	t.Helper()
	a := newApp(t, newServer(t))
	a.tenant, a.scope = b2cTenant, "openid offline_access"
	return a
}

// payload reads the claims of a token without verifying it.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %q", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// tokenDoc returns all fields of a reply of the token endpoint.
func (a *app) tokenDoc(form url.Values) (int, map[string]any) {
	a.t.Helper()
	res, err := a.browser.PostForm(a.endpoint("oauth2/v2.0/token"), form)
	if err != nil {
		a.t.Fatal(err)
	}
	doc := map[string]any{}
	if err := json.Unmarshal([]byte(body(a.t, res)), &doc); err != nil {
		a.t.Fatal(err)
	}
	return res.StatusCode, doc
}

func TestB2CDiscovery(t *testing.T) {
	t.Parallel()
	a := newB2C(t)
	provider := a.ms.B2C()
	if provider.Issuer != a.ms.URL+"/"+b2cTenant+"/v2.0" || provider.Published != a.ms.URL+"/"+msauthtest.TenantExternal+"/v2.0/" {
		t.Errorf("B2C() = %+v", provider)
	}
	for _, tt := range []struct {
		name    string
		inQuery bool
		want    string // token_endpoint
	}{
		{"policy in the path", false, a.ms.URL + "/" + b2cTenant + "/oauth2/v2.0/token"},
		{"policy in the query", true, a.ms.URL + "/fabrikam.onmicrosoft.com/oauth2/v2.0/token?p=b2c_1_susi"},
	} {
		a.ms.Set(func(b *msauthtest.Behavior) { b.B2CPolicyInQuery = tt.inQuery })
		var doc map[string]any
		a.json(provider.Issuer+"/.well-known/openid-configuration", &doc)
		if doc["issuer"] != provider.Published || doc["token_endpoint"] != tt.want || doc["userinfo_endpoint"] != nil {
			t.Errorf("%s: %v", tt.name, doc)
		}
		if list, _ := doc["scopes_supported"].([]any); len(list) != 1 || list[0] != "openid" {
			t.Errorf("%s: scopes_supported %v", tt.name, doc["scopes_supported"])
		}
		var set struct{ Keys []map[string]any }
		a.json(doc["jwks_uri"].(string), &set)
		if len(set.Keys) != 1 || len(set.Keys[0]) != 5 || len(set.Keys[0]["kid"].(string)) != 43 {
			t.Errorf("%s: keys %v", tt.name, set.Keys)
		}
		authorize := doc["authorization_endpoint"].(string)
		separator := "?"
		if strings.Contains(authorize, "?") {
			separator = "&"
		}
		if res, page := a.get(authorize + separator + a.authorizeQuery().Encode()); res.StatusCode != 200 || !strings.Contains(page, `action="/`+b2cTenant+`/signin"`) {
			t.Errorf("%s: authorize: %d", tt.name, res.StatusCode)
		}
		form := url.Values{"grant_type": {"x"}, "client_id": {a.ms.ClientID}, "client_secret": {a.ms.ClientSecret}}
		if res, err := a.browser.PostForm(tt.want, form); err != nil {
			t.Error(err)
		} else if text := body(t, res); res.StatusCode != 400 || !strings.Contains(text, "AADB2C90086") {
			t.Errorf("%s: token: %d %s", tt.name, res.StatusCode, text)
		}
	}
	for _, path := range []string{"/fabrikam.onmicrosoft.com/b2c_1_other/v2.0", "/fabrikam.onmicrosoft.com/v2.0"} {
		if res, _ := a.get(a.ms.URL + path + "/.well-known/openid-configuration"); res.StatusCode == 200 {
			t.Errorf("%s: 200", path)
		}
	}
}

func TestB2CTokens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		scope     string
		api       bool
		access    bool
		refresh   bool
		wantScope any
		wantAud   string // "client" for the client id
		wantScp   any
	}{
		{"openid", "openid", false, false, false, "openid", "", nil},
		{"offline_access", "openid offline_access", false, false, true, "", "", nil},
		{"profile and email", "openid profile email", false, false, false, "openid", "", nil},
		{"an API", "openid offline_access https://fabrikam.onmicrosoft.com/tasks/read", false, true, true, "openid offline_access https://fabrikam.onmicrosoft.com/tasks/read", "https://fabrikam.onmicrosoft.com/tasks", "read"},
		{"an API that was added", "openid api://orders/Orders.Read", true, true, false, "openid api://orders/Orders.Read", "api://orders", "Orders.Read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newB2C(t)
			a.scope = tt.scope
			if tt.api {
				a.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
			}
			code := a.pick(msauthtest.Ada).Get("code")
			if strings.Count(code, ".") != 4 {
				t.Errorf("code is no JWE: %.40s", code)
			}
			status, doc := a.tokenDoc(a.codeForm(code))
			if status != 200 || doc["id_token_expires_in"] != 3600.0 || doc["not_before"] == nil || doc["scope"] != tt.wantScope || doc["id_token"] == nil {
				t.Fatalf("%d %v", status, doc)
			}
			if (doc["access_token"] != nil) != tt.access || (doc["expires_in"] != nil) != tt.access {
				t.Errorf("access_token: %v", doc)
			}
			if (doc["refresh_token"] != nil) != tt.refresh || tt.refresh && doc["refresh_token_expires_in"] != 1209600.0 {
				t.Errorf("refresh_token: %v", doc)
			}
			if tt.access {
				claims := a.claims(doc["access_token"].(string))
				if claims["aud"] != tt.wantAud || claims["scp"] != tt.wantScp || claims["ver"] != "1.0" {
					t.Errorf("access token: %v", claims)
				}
			}
			if tt.refresh {
				status, again := a.tokenDoc(a.refreshForm(doc["refresh_token"].(string)))
				if status != 200 || (again["access_token"] != nil) != tt.access || again["refresh_token"] == nil || again["id_token"] == nil {
					t.Errorf("renewal: %d %v", status, again)
				}
			}
		})
	}
}

// With its own client id as scope an app gets an access token for itself.
func TestB2COwnScope(t *testing.T) {
	t.Parallel()
	a := newB2C(t)
	a.scope = "openid offline_access " + a.ms.ClientID
	rep := a.signIn(msauthtest.Mia)
	if claims := a.claims(rep.AccessToken); claims["aud"] != a.ms.ClientID {
		t.Errorf("access token: %v", claims)
	}
	if again := a.renew(rep, "scope", "openid offline_access"); again.Status != 200 || again.AccessToken != "" {
		t.Errorf("renewal without the client id: %+v", again)
	}
}

func TestB2CClaims(t *testing.T) {
	t.Parallel()
	a := newB2C(t)
	ada := a.ms.Users()[0]
	claims := a.claims(a.signIn(msauthtest.Ada).IDToken)
	for name, want := range map[string]any{
		"iss": a.ms.B2C().Published, "aud": a.ms.ClientID, "ver": "1.0", "oid": ada.ObjectID, "sub": ada.ObjectID, "tfp": "B2C_1_susi",
		"nonce": "the nonce", "name": ada.Name, "given_name": "Ada", "tid": nil, "preferred_username": nil, "email": nil, "sid": nil, "login_hint": nil,
	} {
		if claims[name] != want {
			t.Errorf("claim %s = %v, want %v", name, claims[name], want)
		}
	}
	if emails, _ := claims["emails"].([]any); len(emails) != 1 || emails[0] != msauthtest.Ada {
		t.Errorf("emails: %v", claims["emails"])
	}
	for _, name := range []string{"auth_time", "idp", "nbf", "iat", "exp"} {
		if claims[name] == nil {
			t.Errorf("no claim %s", name)
		}
	}
	a.ms.Set(func(b *msauthtest.Behavior) { b.B2CSharedSubject = true })
	if sub := a.claims(a.signIn(msauthtest.Bruno).IDToken)["sub"]; sub != "Not supported currently. Use oid claim." {
		t.Errorf("sub: %v", sub)
	}
}

// Refusals have AADB2C numbers, and neither Entra's numbers nor its fields.
func TestB2CRefusals(t *testing.T) {
	t.Parallel()
	a := newB2C(t)
	rep := a.signIn(msauthtest.Ada)
	for _, tt := range []struct {
		name   string
		set    func(*msauthtest.Behavior)
		form   url.Values
		status int
		error  string
		number string
	}{
		{"Graph's scope", nil, a.refreshForm(rep.RefreshToken, "scope", "openid User.Read"), 400, "invalid_request", "AADB2C90117: The scope 'User.Read'"},
		{"unknown refresh token", nil, a.refreshForm("x"), 400, "invalid_grant", "AADB2C90088"},
		{"wrong secret", nil, a.refreshForm(rep.RefreshToken, "client_secret", "x"), 401, "invalid_client", "AADB2C90081"},
		{"expired by script", func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Codes: []int{700082}}}
		}, a.refreshForm(rep.RefreshToken), 400, "invalid_grant", "AADB2C90080"},
		{"own text by script", func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Error: "server_error", Description: "AADB2C90289: We encountered an error connecting to the identity provider."}}
		}, a.refreshForm(rep.RefreshToken), 500, "server_error", "AADB2C90289"},
		{"revoked", func(*msauthtest.Behavior) {}, a.refreshForm(rep.RefreshToken), 400, "invalid_grant", "AADB2C90129"},
	} {
		if tt.set != nil {
			a.ms.Set(tt.set)
		}
		if tt.name == "revoked" {
			a.ms.Revoke(msauthtest.Ada)
		}
		status, doc := a.tokenDoc(tt.form)
		text, _ := doc["error_description"].(string)
		if status != tt.status || doc["error"] != tt.error || !strings.HasPrefix(text, tt.number) || strings.Contains(text, "AADSTS") || len(doc) != 2 || !strings.Contains(text, "\r\nCorrelation ID: ") {
			t.Errorf("%s: %d %v", tt.name, status, doc)
		}
	}
	answer := a.answer(a.post(url.Values{"answer": {"cancel"}}))
	if answer.Get("error") != "access_denied" || !strings.HasPrefix(answer.Get("error_description"), "AADB2C90091: ") || answer.Has("error_subcode") || answer.Has("error_uri") {
		t.Errorf("cancelled: %v", answer)
	}
	if res, _ := a.authorize("scope", "openid User.Read"); !strings.HasPrefix(a.answer(res).Get("error_description"), "AADB2C90117") {
		t.Errorf("Graph's scope: %s", res.Header.Get("Location"))
	}
}

func TestExternalID(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	a.tenant = msauthtest.TenantExternal
	published := "https://" + msauthtest.TenantExternal + ".ciamlogin.com/" + msauthtest.TenantExternal + "/v2.0"
	provider := a.ms.ExternalID()
	if provider.Issuer != a.ms.URL+"/"+msauthtest.TenantExternal+"/v2.0" || provider.Published != published {
		t.Errorf("ExternalID() = %+v", provider)
	}
	var doc map[string]any
	a.json(provider.Issuer+"/.well-known/openid-configuration", &doc)
	if doc["issuer"] != published || doc["token_endpoint"] != a.endpoint("oauth2/v2.0/token") {
		t.Errorf("discovery: %v", doc)
	}
	var set struct{ Keys []map[string]any }
	a.json(a.endpoint("discovery/v2.0/keys"), &set)
	if len(set.Keys) != 1 || set.Keys[0]["issuer"] != published {
		t.Errorf("keys: %v", set.Keys)
	}
	for _, name := range []string{msauthtest.Ada, msauthtest.Mia} { // personal accounts are no exception
		rep := a.signIn(name)
		claims := a.claims(rep.IDToken)
		if claims["iss"] != published || claims["tid"] != msauthtest.TenantExternal || claims["oid"] == nil || claims["sid"] == nil || claims["rh"] == nil {
			t.Errorf("%s: %v", name, claims)
		}
		again := a.renew(rep)
		if again.Status != 200 || a.claims(again.IDToken)["iss"] != published {
			t.Errorf("%s: renewal: %+v", name, again)
		}
		a.tenant = "common" // another service
		wantCode(t, a.renew(rep), 400, "invalid_grant", 70000)
		a.tenant = msauthtest.TenantExternal
		a.newBrowser(&http.Transport{})
	}
}

// The standard names reach the server in process, and only there.
func TestStockNames(t *testing.T) {
	t.Parallel()
	ms := msauthtest.New("http://localhost:9000")
	a := newApp(t, ms)
	a.newBrowser(ms.Transport())
	for _, tt := range []struct {
		name, issuer, endpoints, published string
	}{
		{"B2C", b2cStock + "/" + b2cTenant + "/v2.0", b2cStock + "/" + b2cTenant, b2cStock + "/" + msauthtest.TenantExternal + "/v2.0/"},
		{"External ID", externalStock + "/" + msauthtest.TenantExternal + "/v2.0", externalStock + "/" + msauthtest.TenantExternal, ms.ExternalID().Published},
		{"External ID by GUID", ms.ExternalID().Published, strings.TrimSuffix(ms.ExternalID().Published, "/v2.0"), ms.ExternalID().Published},
	} {
		var doc map[string]any
		a.json(tt.issuer+"/.well-known/openid-configuration", &doc)
		if doc["issuer"] != tt.published {
			t.Errorf("%s: issuer %v, want %s", tt.name, doc["issuer"], tt.published)
		}
		for field, path := range map[string]string{"authorization_endpoint": "authorize", "token_endpoint": "token", "end_session_endpoint": "logout"} {
			if doc[field] != tt.endpoints+"/oauth2/v2.0/"+path {
				t.Errorf("%s: %s %v", tt.name, field, doc[field])
			}
		}
		query := a.authorizeQuery("scope", "openid offline_access")
		ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
		res, _ := a.get(doc["authorization_endpoint"].(string) + "?" + query.Encode())
		res, err := a.browser.PostForm(doc["token_endpoint"].(string), a.codeForm(a.answer(res).Get("code")))
		if err != nil {
			t.Fatal(err)
		}
		var rep reply
		if err := json.Unmarshal([]byte(body(t, res)), &rep); err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %d %v", tt.name, res.StatusCode, err)
		}
		if iss := payload(t, rep.IDToken)["iss"]; iss != tt.published {
			t.Errorf("%s: iss %v", tt.name, iss)
		}
	}
	for _, address := range []string{b2cStock + "/common/v2.0/.well-known/openid-configuration", b2cStock + "/", externalStock + "/v1.0/me", externalStock + "/" + b2cTenant + "/v2.0/.well-known/openid-configuration"} {
		if res, _ := a.get(address); res.StatusCode < 400 {
			t.Errorf("%s: %d", address, res.StatusCode)
		}
	}
	if _, err := a.browser.Get("https://contoso.b2clogin.com/"); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("another host: %v", err)
	}
	// Over a network, the Host header alone has no effect.
	over := newServer(t)
	req, err := http.NewRequest("GET", over.URL+"/"+b2cTenant+"/v2.0/.well-known/openid-configuration", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "fabrikam.b2clogin.com"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if body(t, res); res.StatusCode != http.StatusForbidden {
		t.Errorf("Host of B2C over a network: %d", res.StatusCode)
	}
	if p := over.Plain(); p.Issuer != over.URL+"/generic" || p.Published != p.Issuer {
		t.Errorf("Plain() = %+v", p)
	}
}
