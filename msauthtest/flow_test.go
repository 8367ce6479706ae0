package msauthtest_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

func checkSignInPage(t *testing.T, ms *msauthtest.Server, res *http.Response, page string) {
	t.Helper()
	for _, want := range []string{"Not Microsoft.", "<strong id=\"app\">localhost:8080</strong>", `id="cancel"`, `id="refuse"`, "Files.Read"} {
		if !strings.Contains(page, want) {
			t.Errorf("sign-in page without %s", want)
		}
	}
	for _, u := range ms.Users() {
		if !strings.Contains(page, `name="user" value="`+u.SignInName+`" data-user="`+u.SignInName+`"`) || !strings.Contains(page, u.Name) {
			t.Errorf("sign-in page without %s", u.SignInName)
		}
	}
	if csp := res.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") || strings.Contains(csp, "form-action") {
		t.Errorf("Content-Security-Policy: %s", csp)
	}
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: %s", got)
	}
	if got := res.Header.Get("Cross-Origin-Opener-Policy"); got != "same-origin" {
		t.Errorf("Cross-Origin-Opener-Policy: %q", got)
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	res, page := a.authorize()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("authorize: %d", res.StatusCode)
	}
	checkSignInPage(t, a.ms, res, page)

	answer := a.pick(msauthtest.Ada)
	if answer.Get("state") != "the state" || answer.Get("code") == "" || answer.Has("iss") {
		t.Fatalf("answer: %v", answer)
	}
	rep := a.mustToken(a.codeForm(answer.Get("code")))
	if rep.Status != http.StatusOK || rep.TokenType != "Bearer" || rep.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("reply: %+v", rep)
	}
	if rep.Scope != "openid profile email User.Read Files.Read" {
		t.Errorf("scope: %q", rep.Scope)
	}
	if n := number(t, rep.ExpiresIn); n < 3600 || n >= 5400 {
		t.Errorf("expires_in %v, want 60 to 90 minutes", n)
	}
	if rep.RefreshIn != nil {
		t.Errorf("refresh_in: %s", rep.RefreshIn)
	}

	claims := a.claims(rep.IDToken)
	ada := a.ms.Users()[0]
	for name, want := range map[string]any{
		"aud": a.ms.ClientID, "iss": a.ms.URL + "/" + msauthtest.TenantContoso + "/v2.0", "tid": msauthtest.TenantContoso,
		"oid": ada.ObjectID, "name": ada.Name, "preferred_username": msauthtest.Ada, "email": msauthtest.Ada,
		"nonce": "the nonce", "ver": "2.0", "xms_edov": true, "sid": answer.Get("session_state"),
	} {
		if claims[name] != want {
			t.Errorf("claim %s = %v, want %v", name, claims[name], want)
		}
	}
	for _, name := range []string{"aio", "rh", "uti", "sub", "login_hint", "iat", "nbf", "exp", "auth_time"} {
		if claims[name] == nil {
			t.Errorf("no claim %s", name)
		}
	}
	if iat, now := claims["iat"].(float64), float64(time.Now().Unix()); iat > now-290 || iat < now-320 {
		t.Errorf("iat is %v seconds ago, want 5 minutes", now-iat)
	}

	renewed := a.renew(rep)
	if renewed.Status != http.StatusOK || renewed.RefreshToken == rep.RefreshToken || renewed.AccessToken == rep.AccessToken || renewed.Scope != rep.Scope {
		t.Fatalf("renewal: %+v", renewed)
	}
	again := a.claims(renewed.IDToken)
	if again["sub"] != claims["sub"] || again["oid"] != claims["oid"] || again["auth_time"] != claims["auth_time"] || again["nonce"] != nil {
		t.Errorf("renewed claims: %v", again)
	}

	for kind, want := range map[msauthtest.Kind]int{
		msauthtest.Authorize: 1, msauthtest.Picked: 1, msauthtest.TokenCode: 1, msauthtest.TokenRefresh: 1,
		msauthtest.Keys: 2, msauthtest.Discovery: 0, msauthtest.Graph: 0,
	} {
		if got := a.ms.Count(kind); got != want {
			t.Errorf("Count(%s) = %d, want %d", kind, got, want)
		}
	}
	calls := a.ms.Calls(msauthtest.TokenCode)
	if len(calls) != 1 || calls[0].Status != 200 || calls[0].Form.Get("code_verifier") != verifier || calls[0].Method != "POST" {
		t.Errorf("Calls: %+v", calls)
	}
	secrets := a.ms.Secrets()
	for _, s := range []string{a.ms.ClientSecret, answer.Get("code"), rep.AccessToken, rep.RefreshToken, rep.IDToken, renewed.AccessToken, renewed.RefreshToken, renewed.IDToken} {
		if !slices.Contains(secrets, s) {
			t.Errorf("Secrets lacks %.10s...", s)
		}
	}
	a.ms.ResetCalls()
	if a.ms.Count(msauthtest.TokenCode) != 0 || a.ms.Calls(msauthtest.TokenCode) != nil {
		t.Error("ResetCalls left something")
	}
}

func TestPersonalAccount(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	rep := a.signIn(msauthtest.Mia)
	claims := a.claims(rep.IDToken)
	if claims["tid"] != msauthtest.TenantPersonal || claims["iss"] != a.ms.URL+"/"+msauthtest.TenantPersonal+"/v2.0" {
		t.Errorf("claims: %v", claims)
	}
	for _, name := range []string{"rh", "uti"} {
		if claims[name] != nil {
			t.Errorf("claim %s in a personal account's token", name)
		}
	}
	// It is signed with a key that is for personal accounts.
	var set struct{ Keys []map[string]any }
	a.json(a.endpoint("discovery/v2.0/keys"), &set)
	kid := header(t, rep.IDToken)["kid"]
	for _, k := range set.Keys {
		if k["kid"] == kid && k["issuer"] != claims["iss"] {
			t.Errorf("the key is for %v", k["issuer"])
		}
	}
}

func TestPageAnswers(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	tests := []struct {
		name, answer      string
		wantDesc, wantSub string
	}{
		{"cancel", "cancel", "cancelled", "cancel"},
		{"refuse", "refuse", "AADSTS65004", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := a.answer(a.post(url.Values{"answer": {tt.answer}}))
			if got.Get("error") != "access_denied" || got.Get("error_subcode") != tt.wantSub ||
				!strings.Contains(got.Get("error_description"), tt.wantDesc) || got.Get("state") != "the state" {
				t.Errorf("answer: %v", got)
			}
		})
	}
	if res := a.post(url.Values{"user": {"nobody@contoso.example"}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("unknown person: %d", res.StatusCode)
	}
}

func TestAuthorizeRefuses(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	tests := []struct {
		name  string
		pairs []string
		code  string
		page  bool   // shown, not sent to the app
		err   string // the error sent to the app
	}{
		{"unknown client", []string{"client_id", "00000000-0000-4000-8000-000000000000"}, "AADSTS700016", true, ""},
		{"no client", []string{"client_id", "-"}, "AADSTS900144", true, ""},
		{"no redirect", []string{"redirect_uri", "-"}, "AADSTS900144", true, ""},
		{"foreign http redirect", []string{"redirect_uri", "http://app.example.com/cb"}, "AADSTS50011", true, ""},
		{"relative redirect", []string{"redirect_uri", "/cb"}, "AADSTS50011", true, ""},
		{"redirect with fragment", []string{"redirect_uri", "https://app.example.com/cb#x"}, "AADSTS50011", true, ""},
		{"long query", []string{"login_hint", strings.Repeat("x", 2048)}, "AADSTS90015", true, ""},
		{"no response type", []string{"response_type", "-"}, "AADSTS900144", false, "invalid_request"},
		{"implicit", []string{"response_type", "id_token"}, "AADSTS700054", false, "unsupported_response_type"},
		{"form_post", []string{"response_mode", "form_post"}, "AADSTS70007", false, "invalid_request"},
		{"no scope", []string{"scope", "-"}, "AADSTS900144", false, "invalid_request"},
		{"no openid", []string{"scope", "profile"}, "AADSTS70011", false, "invalid_scope"},
		{"no nonce", []string{"nonce", "-"}, "AADSTS900144", false, "invalid_request"},
		{"no state", []string{"state", "-"}, "AADSTS900144", false, "invalid_request"},
		{"no challenge", []string{"code_challenge", "-"}, "AADSTS90100", false, "invalid_request"},
		{"short challenge", []string{"code_challenge", "abc"}, "AADSTS90100", false, "invalid_request"},
		{"plain challenge", []string{"code_challenge_method", "plain"}, "AADSTS90100", false, "invalid_request"},
		{"unknown prompt", []string{"prompt", "always"}, "AADSTS90023", false, "invalid_request"},
		{"prompt none with login", []string{"prompt", "none login"}, "AADSTS90023", false, "invalid_request"},
		{"bad max_age", []string{"max_age", "-1"}, "AADSTS90023", false, "invalid_request"},
		{"nobody signed in", []string{"prompt", "none"}, "AADSTS50058", false, "login_required"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, text := a.authorize(tt.pairs...)
			if tt.page {
				if res.StatusCode < 400 || !strings.Contains(text, tt.code) {
					t.Fatalf("%d %s", res.StatusCode, text)
				}
				return
			}
			got := a.answer(res)
			if got.Get("error") != tt.err || !strings.HasPrefix(got.Get("error_description"), tt.code+": ") || got.Get("error_uri") == "" {
				t.Fatalf("answer: %v", got)
			}
		})
	}
	t.Run("a parameter twice", func(t *testing.T) {
		res, _ := a.get(a.endpoint("oauth2/v2.0/authorize") + "?" + a.authorizeQuery().Encode() + "&state=other")
		if got := a.answer(res); got.Get("error") != "invalid_request" {
			t.Fatalf("answer: %v", got)
		}
	})
}

func TestTenants(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	const template = "/{tenantid}/v2.0"
	contoso, personal := "/"+msauthtest.TenantContoso+"/v2.0", "/"+msauthtest.TenantPersonal+"/v2.0"
	tests := []struct {
		tenant, issuer string
		admits         []string
	}{
		{"common", template, []string{msauthtest.Ada, msauthtest.Bruno, msauthtest.Mia, msauthtest.Grace}},
		{"organizations", template, []string{msauthtest.Ada, msauthtest.Bruno, msauthtest.Grace}},
		{"consumers", personal, []string{msauthtest.Mia}},
		{msauthtest.TenantPersonal, personal, []string{msauthtest.Mia}},
		{msauthtest.TenantContoso, contoso, []string{msauthtest.Ada, msauthtest.Grace}},
		{strings.ToUpper(msauthtest.TenantContoso), contoso, []string{msauthtest.Ada, msauthtest.Grace}},
		{"contoso.example", contoso, []string{msauthtest.Ada, msauthtest.Grace}},
	}
	for _, tt := range tests {
		t.Run(tt.tenant, func(t *testing.T) {
			a := *a
			a.t, a.tenant = t, tt.tenant
			var doc map[string]any
			a.json(a.endpoint("v2.0/.well-known/openid-configuration"), &doc)
			if doc["issuer"] != a.ms.URL+tt.issuer {
				t.Errorf("issuer %v", doc["issuer"])
			}
			if doc["code_challenge_methods_supported"] != nil || doc["authorization_response_iss_parameter_supported"] != nil {
				t.Error("discovery announces what Microsoft does not")
			}
			for _, name := range []string{"authorization_endpoint", "token_endpoint", "end_session_endpoint", "jwks_uri"} {
				if !strings.HasPrefix(doc[name].(string), a.ms.URL+"/"+strings.ToLower(tt.tenant)+"/") {
					t.Errorf("%s: %v", name, doc[name])
				}
			}
			for _, u := range a.ms.Users() {
				a.newBrowser(&http.Transport{})
				res := a.post(url.Values{"user": {u.SignInName}})
				if got, want := res.StatusCode == http.StatusSeeOther, slices.Contains(tt.admits, u.SignInName); got != want {
					t.Errorf("%s: %d", u.SignInName, res.StatusCode)
				}
			}
		})
	}
	res, text := a.get(a.ms.URL + "/nowhere.example/v2.0/.well-known/openid-configuration")
	if res.StatusCode != http.StatusBadRequest || !strings.Contains(text, "AADSTS90002") {
		t.Errorf("unknown tenant: %d %s", res.StatusCode, text)
	}
}

// silent returns the answer to a request that shows no page.
func (a *app) silent(pairs ...string) url.Values {
	a.t.Helper()
	res, _ := a.authorize(pairs...)
	return a.answer(res)
}

// The browser stays signed in at the server.
func TestSingleSignOn(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	first := a.claims(a.signIn(msauthtest.Ada).IDToken)

	silent := a.silent
	shown := func(pairs ...string) string {
		t.Helper()
		res, text := a.authorize(pairs...)
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%v: %d, want the page", pairs, res.StatusCode)
		}
		return text
	}
	second := a.claims(a.mustToken(a.codeForm(silent().Get("code"))).IDToken)
	if second["auth_time"] != first["auth_time"] || second["sid"] != first["sid"] {
		t.Error("a sign-in without a page has another auth_time or sid")
	}
	for _, hint := range []string{msauthtest.Ada, first["login_hint"].(string)} {
		if got := silent("login_hint", hint, "prompt", "none"); got.Get("code") == "" {
			t.Errorf("login_hint %.10s: %v", hint, got)
		}
	}
	if got := silent("max_age", "3600"); got.Get("code") == "" {
		t.Errorf("max_age: %v", got)
	}
	for _, prompt := range []string{"login", "select_account", "consent"} {
		if !strings.Contains(shown("prompt", prompt), "Signed in") {
			t.Errorf("prompt=%s: the page does not say who is signed in", prompt)
		}
	}
	// The hinted person comes first.
	page := shown("login_hint", msauthtest.Mia)
	if !regexp.MustCompile(`(?s)^.*?<button[^>]*value="mia@outlook.example"[^>]*data-hinted="true"`).MatchString(page) ||
		strings.Index(page, msauthtest.Mia) > strings.Index(page, msauthtest.Bruno) {
		t.Error("the hinted person is not the first")
	}
	if page := shown("prompt", "select_account", "domain_hint", "consumers"); strings.Index(page, `value="`+msauthtest.Mia) > strings.Index(page, `value="`+msauthtest.Ada) {
		t.Error("domain_hint=consumers does not put the personal account first")
	}
	if got := silent("login_hint", msauthtest.Bruno, "prompt", "none"); got.Get("error") != "login_required" {
		t.Errorf("hint of a person who is not signed in: %v", got)
	}
	// organizations does not admit a personal account that is signed in.
	a.pick(msauthtest.Mia)
	if got := silent("prompt", "none"); got.Get("error") != "interaction_required" {
		t.Errorf("two people signed in: %v", got)
	}
	shown()
	a.tenant = "organizations"
	if got := silent(); got.Get("code") == "" {
		t.Errorf("organizations: %v", got)
	}
	a.tenant = "common"

	ms.Set(func(b *msauthtest.Behavior) { b.RequireMFA = true })
	if got := silent("login_hint", msauthtest.Ada, "prompt", "none"); got.Get("error") != "interaction_required" {
		t.Errorf("MFA: %v", got)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.RequireMFA, b.RequireConsent = false, true })
	if got := silent("login_hint", msauthtest.Ada, "prompt", "none"); got.Get("error") != "consent_required" {
		t.Errorf("consent: %v", got)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.RequireConsent = false })
}

// Sign-out with a hint is for that person only.
func TestSignOut(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	silent := a.silent
	first := a.claims(a.signIn(msauthtest.Ada).IDToken)
	a.pick(msauthtest.Mia)
	if got := silent("prompt", "none"); got.Get("error") != "interaction_required" {
		t.Errorf("two people signed in: %v", got)
	}
	logout := func(pairs ...string) *http.Response {
		t.Helper()
		res, _ := a.get(a.endpoint("oauth2/v2.0/logout") + "?" + with(url.Values{}, pairs...).Encode())
		return res
	}
	res := logout("logout_hint", first["login_hint"].(string), "post_logout_redirect_uri", "https://app.example.com/bye?x=1", "state", "s")
	if res.StatusCode != http.StatusFound || res.Header.Get("Location") != "https://app.example.com/bye?x=1&state=s" {
		t.Errorf("logout: %d %s", res.StatusCode, res.Header.Get("Location"))
	}
	if got := silent("login_hint", msauthtest.Ada, "prompt", "none"); got.Get("error") != "login_required" {
		t.Errorf("after sign-out: %v", got)
	}
	if got := silent("login_hint", msauthtest.Mia, "prompt", "none"); got.Get("code") == "" {
		t.Errorf("the other person: %v", got)
	}
	if res := logout("post_logout_redirect_uri", "http://evil.example/"); res.StatusCode != http.StatusOK || res.Header.Get("Location") != "" {
		t.Errorf("logout to a URI that is not registered: %d %s", res.StatusCode, res.Header.Get("Location"))
	}
	if got := silent("prompt", "none"); got.Get("error") != "login_required" {
		t.Errorf("after everybody's sign-out: %v", got)
	}
	if got := ms.Count(msauthtest.Logout); got != 2 {
		t.Errorf("Count(Logout) = %d", got)
	}
}

func TestAutoSignIn(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Bruno })
	res, _ := a.authorize("prompt", "none")
	if got := a.answer(res); got.Get("error") != "login_required" {
		t.Errorf("prompt=none: %v", got)
	}
	res, _ = a.authorize("prompt", "select_account")
	rep := a.mustToken(a.codeForm(a.answer(res).Get("code")))
	if got := a.claims(rep.IDToken)["preferred_username"]; got != msauthtest.Bruno {
		t.Errorf("signed in as %v", got)
	}
	a.tenant = "consumers"
	if res, text := a.authorize(); res.StatusCode != http.StatusForbidden || !strings.Contains(text, "Bruno") {
		t.Errorf("a work account at consumers: %d", res.StatusCode)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = "nobody" })
	if res, text := a.authorize(); res.StatusCode != http.StatusForbidden || !strings.Contains(text, "does not exist") {
		t.Errorf("nobody: %d", res.StatusCode)
	}
}

// Of redirect URIs on localhost the port does not matter.
func TestRedirectURIOnLocalhost(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	ms.Set(func(b *msauthtest.Behavior) {
		b.RedirectURIs = []string{"http://localhost/auth/callback", "http://127.0.0.1:1/x", "https://localhost/s"}
	})
	for uri, want := range map[string]bool{
		"http://localhost/auth/callback": true, "http://localhost:8080/auth/callback": true, "http://localhost:8080/auth/callback/": false,
		"http://localhost:8080/auth/callback?x=1": false, "https://localhost:8080/auth/callback": false, "http://localhost.example:8080/auth/callback": false,
		"http://127.0.0.1:1/x": true, "http://127.0.0.1:2/x": false, "https://localhost:8080/s": false, "http://me@localhost:8080/auth/callback": false,
	} {
		if res, _ := a.authorize("redirect_uri", uri, "prompt", "none"); (res.StatusCode == 302) != want {
			t.Errorf("%s: status %d", uri, res.StatusCode)
		}
	}
}

// A redirect URI for a single-page application needs PKCE, and its codes are for browsers.
func TestRedirectURIOfASinglePageApplication(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	ms.Set(func(b *msauthtest.Behavior) {
		b.RedirectURIs, b.SPARedirectURIs = []string{"https://app.example.com/other"}, []string{redirectURI}
	})
	res, _ := a.authorize("code_challenge", "", "code_challenge_method", "", "prompt", "none")
	if got := a.answer(res); got.Get("error") != "invalid_request" || !strings.HasPrefix(got.Get("error_description"), "AADSTS9002325: ") {
		t.Errorf("without PKCE: %v", got)
	}
	rep := a.mustToken(a.codeForm(a.pick(msauthtest.Ada).Get("code")))
	if rep.Status != 400 || !strings.HasPrefix(rep.Description, "AADSTS9002327: ") {
		t.Errorf("a code: %d %s", rep.Status, rep.Description)
	}
}

func TestAnswerKnobs(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	ms.Set(func(b *msauthtest.Behavior) {
		b.AnswerIssuer = true
		b.RedirectURIs = []string{redirectURI}
		b.Discovery = func(doc map[string]any) {
			doc["issuer"] = "https://elsewhere.example/"
			delete(doc, "end_session_endpoint")
		}
	})
	if got := a.pick(msauthtest.Ada).Get("iss"); got != ms.URL+"/"+msauthtest.TenantContoso+"/v2.0" {
		t.Errorf("iss = %s", got)
	}
	var doc map[string]any
	a.json(a.endpoint("v2.0/.well-known/openid-configuration"), &doc)
	if doc["authorization_response_iss_parameter_supported"] != true || doc["issuer"] != "https://elsewhere.example/" || doc["end_session_endpoint"] != nil {
		t.Errorf("discovery: %v", doc)
	}
	if res, text := a.authorize("redirect_uri", "https://app.example.com/"); res.StatusCode != 400 || !strings.Contains(text, "AADSTS50011") {
		t.Errorf("redirect URI off the list: %d", res.StatusCode)
	}
	ms.Set(func(b *msauthtest.Behavior) {
		b.AuthorizeAnswer = func(v url.Values) { v.Set("iss", "https://evil.example"); v.Add("code", "second") }
	})
	if got := a.pick(msauthtest.Ada); got.Get("iss") != "https://evil.example" || len(got["code"]) != 2 {
		t.Errorf("answer: %v", got)
	}
	// First an error in place of a code, then a page with a status.
	ms.Set(func(b *msauthtest.Behavior) {
		b.AuthorizeAnswer = nil
		b.Fail[msauthtest.Authorize] = []msauthtest.Failure{
			{Error: "server_error", Codes: []int{90033}, Suberror: "some_code"},
			{Error: "access_denied", Codes: []int{50105}, Status: 403},
		}
	})
	res, _ := a.authorize()
	if got := a.answer(res); got.Get("error") != "server_error" || got.Get("error_subcode") != "some_code" || got.Get("state") != "the state" {
		t.Errorf("answer: %v", got)
	}
	if res, text := a.authorize(); res.StatusCode != 403 || !strings.Contains(text, "AADSTS50105") {
		t.Errorf("page: %d %s", res.StatusCode, text)
	}
	if got := a.pick(msauthtest.Ada); got.Get("code") == "" {
		t.Errorf("after the failures: %v", got)
	}
}

// The plain OpenID provider, which has no tenants.
func TestGeneric(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	a.tenant = "generic"
	var doc map[string]any
	a.json(a.ms.URL+"/generic/.well-known/openid-configuration", &doc)
	if doc["issuer"] != a.ms.URL+"/generic" || doc["jwks_uri"] != a.endpoint("discovery/v2.0/keys") {
		t.Fatalf("discovery: %v", doc)
	}
	rep := a.signIn(msauthtest.Mia)
	claims := a.claims(rep.IDToken)
	if claims["iss"] != doc["issuer"] || claims["tid"] != nil || claims["oid"] != nil || claims["sub"] == "" || claims["nonce"] != "the nonce" {
		t.Errorf("claims: %v", claims)
	}
	if a.renew(rep).Status != 200 {
		t.Error("renewal failed")
	}
	a.tenant = "common"
	wantCode(t, a.renew(rep), 400, "invalid_grant", 70000)
	a.tenant = "generic"
	if got := a.answer(a.post(url.Values{"answer": {"refuse"}})).Get("error"); got != "access_denied" {
		t.Errorf("refused: %s", got)
	}
	var info map[string]any
	a.json2(a.ms.URL+"/oidc/userinfo", rep.AccessToken, &info)
	if info["sub"] != claims["sub"] {
		t.Errorf("userinfo: %v", info)
	}
}
