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

func newPlain(t *testing.T, set func(*msauthtest.Behavior)) *app {
	t.Helper()
	a := newApp(t, newServer(t))
	a.tenant, a.scope = "generic", "openid profile email offline_access"
	if set != nil {
		a.ms.Set(set)
	}
	return a
}

func TestPlainDiscovery(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		set             func(*msauthtest.Behavior)
		methods, scopes string // as JSON; null when absent
	}{
		{"as it is", nil, `["client_secret_post"]`, `["openid","profile","email","offline_access"]`},
		{"methods", func(b *msauthtest.Behavior) { b.PlainAuthMethods = []string{"client_secret_basic"} }, `["client_secret_basic"]`, `["openid","profile","email","offline_access"]`},
		{"no methods", func(b *msauthtest.Behavior) { b.PlainNoAuthMethods = true }, `null`, `["openid","profile","email","offline_access"]`},
		{"scopes", func(b *msauthtest.Behavior) { b.PlainScopes = []string{"openid"} }, `["client_secret_post"]`, `["openid"]`},
		{"no scopes", func(b *msauthtest.Behavior) { b.PlainNoScopes = true }, `["client_secret_post"]`, `null`},
	} {
		a := newPlain(t, tt.set)
		var doc map[string]any
		a.json(a.ms.Plain().Issuer+"/.well-known/openid-configuration", &doc)
		methods, _ := json.Marshal(doc["token_endpoint_auth_methods_supported"])
		scopes, _ := json.Marshal(doc["scopes_supported"])
		if string(methods) != tt.methods || string(scopes) != tt.scopes {
			t.Errorf("%s: methods %s, scopes %s", tt.name, methods, scopes)
		}
	}
}

func TestPlainClientAuthentication(t *testing.T) {
	t.Parallel()
	const post, basic = "client_secret_post", "client_secret_basic"
	for _, tt := range []struct {
		name    string
		methods []string
		none    bool // no list in discovery
		use     string
		secret  string // empty for the right one
		status  int
		error   string
	}{
		{"post", nil, false, post, "", 200, ""},
		{"Basic, not announced", nil, false, basic, "", 401, "invalid_client"},
		{"Basic", []string{basic}, false, basic, "", 200, ""},
		{"post, not announced", []string{basic}, false, post, "", 401, "invalid_client"},
		{"Basic without a list", nil, true, basic, "", 200, ""},
		{"post without a list", nil, true, post, "", 401, "invalid_client"},
		{"both announced, post", []string{post, basic}, false, post, "", 200, ""},
		{"both announced, Basic", []string{post, basic}, false, basic, "", 200, ""},
		{"in two ways", []string{post, basic}, false, post + basic, "", 400, "invalid_request"},
		{"wrong secret", []string{basic}, false, basic, "x", 401, "invalid_client"},
		{"not urlencoded", []string{basic}, false, "raw", "%zz", 400, "invalid_request"},
		{"none at all", []string{post, basic}, false, "", "", 401, "invalid_client"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newPlain(t, func(b *msauthtest.Behavior) { b.PlainAuthMethods, b.PlainNoAuthMethods = tt.methods, tt.none })
			a.ms.ClientSecret = "a secret: with +, % and ~"
			secret := tt.secret
			if secret == "" {
				secret = a.ms.ClientSecret
			}
			form := a.codeForm(a.pick(msauthtest.Ada).Get("code"), "client_id", "-", "client_secret", "-")
			if tt.use == "" {
				form.Set("client_id", a.ms.ClientID)
			}
			if strings.Contains(tt.use, post) {
				form.Set("client_id", a.ms.ClientID)
				form.Set("client_secret", secret)
			}
			req, err := http.NewRequest("POST", a.endpoint("oauth2/v2.0/token"), strings.NewReader(form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if strings.Contains(tt.use, basic) {
				req.SetBasicAuth(url.QueryEscape(a.ms.ClientID), url.QueryEscape(secret))
			}
			if tt.use == "raw" {
				req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.ms.ClientID+":"+secret)))
			}
			res, err := a.browser.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var rep map[string]any
			if err := json.Unmarshal([]byte(body(t, res)), &rep); err != nil {
				t.Fatal(err)
			}
			got, _ := rep["error"].(string)
			if res.StatusCode != tt.status || got != tt.error || rep["error_codes"] != nil || strings.Contains(rep2text(rep), "AADSTS") {
				t.Errorf("%d %v", res.StatusCode, rep)
			}
			if challenge := res.Header.Get("WWW-Authenticate"); (challenge != "") != (tt.name == "wrong secret") {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
		})
	}
}

func rep2text(doc map[string]any) string {
	text, _ := json.Marshal(doc)
	return string(text)
}

func TestPlainScopes(t *testing.T) {
	t.Parallel()
	a := newPlain(t, func(b *msauthtest.Behavior) { b.PlainScopes = []string{"openid", "profile", "email"} })
	res, _ := a.authorize()
	if got := a.answer(res); got.Get("error") != "invalid_scope" || got.Has("error_uri") {
		t.Errorf("offline_access, not supported: %v", got)
	}
	a.scope = "openid profile"
	if rep := a.signIn(msauthtest.Ada); rep.RefreshToken != "" {
		t.Error("a refresh token without offline_access")
	}
	a.ms.Set(func(b *msauthtest.Behavior) { b.PlainNoScopes = true })
	a.scope = "openid profile offline_access"
	rep := a.signIn(msauthtest.Ada)
	for scope, want := range map[string]string{"": "", "openid offline_access": "", "openid email": "invalid_scope", "Calendars.Read": "invalid_scope"} {
		pairs := []string{}
		if scope != "" {
			pairs = []string{"scope", scope}
		}
		if got := a.renew(rep, pairs...); got.Error != want || len(got.Codes) > 0 {
			t.Errorf("renewal with scope %q: %d %s %v, want %q", scope, got.Status, got.Error, got.Codes, want)
		}
	}
	a.ms.Set(func(b *msauthtest.Behavior) { b.OmitRefreshTokenAtCode = true })
	if rep := a.signIn(msauthtest.Ada); rep.RefreshToken != "" || rep.AccessToken == "" {
		t.Errorf("OmitRefreshTokenAtCode: %+v", rep)
	}
	a.tenant = "common" // which is not affected
	if rep := a.signIn(msauthtest.Ada); rep.RefreshToken == "" {
		t.Error("OmitRefreshTokenAtCode at common")
	}
}

func TestPlainUserInfo(t *testing.T) {
	t.Parallel()
	a := newPlain(t, func(b *msauthtest.Behavior) { b.PlainBareIDToken = true })
	rep := a.signIn(msauthtest.Ada)
	claims := a.claims(rep.IDToken)
	for _, name := range []string{"name", "preferred_username", "email", "given_name"} {
		if claims[name] != nil {
			t.Errorf("PlainBareIDToken: %s = %v", name, claims[name])
		}
	}
	var doc map[string]any
	a.json2(a.ms.URL+"/oidc/userinfo", rep.AccessToken, &doc)
	for name, want := range map[string]any{"sub": claims["sub"], "name": "Ada Lindqvist", "preferred_username": msauthtest.Ada, "email": msauthtest.Ada} {
		if doc[name] != want {
			t.Errorf("userinfo: %s = %v, want %v", name, doc[name], want)
		}
	}
	a.ms.Set(func(b *msauthtest.Behavior) { b.UserInfo = func(doc map[string]any) { doc["sub"] = "somebody else" } })
	a.json2(a.ms.URL+"/oidc/userinfo", rep.AccessToken, &doc)
	if doc["sub"] != "somebody else" {
		t.Errorf("UserInfo: %v", doc)
	}
}

func TestIDTokenHint(t *testing.T) {
	t.Parallel()
	a := newPlain(t, func(b *msauthtest.Behavior) { b.RequireIDTokenHint = true })
	good := a.signIn(msauthtest.Ada).IDToken
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["exp"], claims["iat"] = 2, 1 }
	})
	expired := a.signIn(msauthtest.Ada).IDToken
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["aud"] = "another client" }
	})
	foreign := a.signIn(msauthtest.Ada).IDToken
	a.ms.Set(func(b *msauthtest.Behavior) { b.IDToken = nil })
	a.ms.RollKeys()
	other := newPlain(t, nil).signIn(msauthtest.Ada).IDToken // of another server, the same key
	parts := strings.Split(good, ".")
	a.tenant = "common"
	entra := a.signIn(msauthtest.Ada).IDToken
	a.tenant = "generic"
	for _, tt := range []struct {
		name, hint string
		status     int
	}{
		{"good", good, 302}, {"expired", expired, 302}, {"missing", "", 400}, {"not a token", "x.y", 400},
		{"of another client", foreign, 400}, {"of another server", other, 400}, {"of Entra", entra, 400},
		{"changed", parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), 400},
	} {
		query := url.Values{"post_logout_redirect_uri": {redirectURI}}
		if tt.hint != "" {
			query.Set("id_token_hint", tt.hint)
		}
		if res, _ := a.get(a.endpoint("oauth2/v2.0/logout") + "?" + query.Encode()); res.StatusCode != tt.status {
			t.Errorf("%s: %d, want %d", tt.name, res.StatusCode, tt.status)
		}
	}
}
