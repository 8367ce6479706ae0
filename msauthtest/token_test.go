package msauthtest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

func number(t *testing.T, raw json.RawMessage) float64 {
	t.Helper()
	var n float64
	if err := json.Unmarshal(raw, &n); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return n
}

func header(t *testing.T, token string) map[string]any {
	t.Helper()
	text, _, _ := strings.Cut(token, ".")
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	var h map[string]any
	if err := json.Unmarshal(b, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestCodeRefuses(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	tests := []struct {
		name   string
		pairs  []string
		status int
		err    string
		code   int
	}{
		{"no grant type", []string{"grant_type", "-"}, 400, "invalid_request", 900144},
		{"another grant", []string{"grant_type", "password"}, 400, "unsupported_grant_type", 70003},
		{"no client", []string{"client_id", "-"}, 400, "invalid_request", 900144},
		{"unknown client", []string{"client_id", "nobody"}, 400, "unauthorized_client", 700016},
		{"no secret", []string{"client_secret", "-"}, 401, "invalid_client", 7000218},
		{"wrong secret", []string{"client_secret", "wrong"}, 401, "invalid_client", 7000215},
		{"no code", []string{"code", "-"}, 400, "invalid_request", 900144},
		{"made-up code", []string{"code", "1.AXoA"}, 400, "invalid_grant", 70000},
		{"no verifier", []string{"code_verifier", "-"}, 400, "invalid_request", 900144},
		{"wrong verifier", []string{"code_verifier", verifier + "x"}, 400, "invalid_grant", 501481},
		{"wrong redirect", []string{"redirect_uri", redirectURI + "/"}, 401, "invalid_client", 500112},
		{"two APIs", []string{"scope", "User.Read api://other/read"}, 400, "invalid_request", 28000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rep := a.mustToken(a.codeForm(a.pick(msauthtest.Ada).Get("code"), tt.pairs...))
			wantCode(t, rep, tt.status, tt.err, tt.code)
			if !regexp.MustCompile(`^AADSTS\d+: .+\r\nTrace ID: [0-9a-f-]{36}\r\nCorrelation ID: [0-9a-f-]{36}\r\nTimestamp: \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$`).MatchString(rep.Description) {
				t.Errorf("error_description: %s", rep.Description)
			}
			if len(rep.TraceID) != 36 || len(rep.CorrelationID) != 36 || rep.Timestamp == "" || !strings.Contains(rep.ErrorURI, "/error?code=") {
				t.Errorf("error document: %+v", rep)
			}
			if rep.Header.Get("Cache-Control") != "no-store" {
				t.Error("the answer may be cached")
			}
		})
	}
	t.Run("code twice", func(t *testing.T) {
		form := a.codeForm(a.pick(msauthtest.Ada).Get("code"))
		if rep := a.mustToken(form); rep.Status != 200 {
			t.Fatal(rep.Description)
		}
		wantCode(t, a.mustToken(form), 400, "invalid_grant", 54005)
	})
}

// Token requests that are refused before their code is looked at.
func TestTokenRefuses(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	t.Run("expired secret", func(t *testing.T) {
		ms := newServer(t)
		ms.Set(func(b *msauthtest.Behavior) { b.SecretExpired = true })
		a := newApp(t, ms)
		wantCode(t, a.mustToken(a.codeForm("x")), 401, "invalid_client", 7000222)
	})
	t.Run("GET", func(t *testing.T) {
		res, text := a.get(a.endpoint("oauth2/v2.0/token"))
		if res.StatusCode != 405 || !strings.Contains(text, "AADSTS900561") {
			t.Errorf("%d %s", res.StatusCode, text)
		}
	})
	t.Run("Basic authentication", func(t *testing.T) {
		form := a.codeForm(a.pick(msauthtest.Ada).Get("code"), "client_secret", "-")
		req, err := http.NewRequest("POST", a.endpoint("oauth2/v2.0/token"), strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(a.ms.ClientID, a.ms.ClientSecret)
		res, err := a.browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if text := body(t, res); res.StatusCode != 401 || !strings.Contains(text, "AADSTS7000218") {
			t.Errorf("%d %s", res.StatusCode, text)
		}
	})
	t.Run("JSON body", func(t *testing.T) {
		res, err := a.browser.Post(a.endpoint("oauth2/v2.0/token"), "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if text := body(t, res); res.StatusCode != 400 || !strings.Contains(text, "AADSTS9002313") {
			t.Errorf("%d %s", res.StatusCode, text)
		}
	})
	t.Run("body too big", func(t *testing.T) {
		res, err := a.browser.PostForm(a.endpoint("oauth2/v2.0/token"), url.Values{"x": {strings.Repeat("x", 2<<20)}})
		if err == nil {
			body(t, res)
			if res.StatusCode != 400 {
				t.Errorf("status %d", res.StatusCode)
			}
		}
	})
}

// Sizes are those of Microsoft's tokens, give or take 3 percent.
func TestSizes(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	a.scope = "openid profile email offline_access User.Read"
	ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	tests := []struct {
		user                string
		id, access, refresh int
	}{
		{msauthtest.Ada, 1390, 2391, 1300},
		{msauthtest.Mia, 1072, 1604, 453},
		{msauthtest.Grace, 11804, 12804, 1300},
	}
	near := func(got, want int) bool { return got > want*97/100 && got < want*103/100 }
	for _, tt := range tests {
		rep := a.signIn(tt.user)
		t.Logf("%-22s ID token %5d, access token %5d, refresh token %4d, scope %q", tt.user, len(rep.IDToken), len(rep.AccessToken), len(rep.RefreshToken), rep.Scope)
		if !near(len(rep.IDToken), tt.id) || !near(len(rep.AccessToken), tt.access) || !near(len(rep.RefreshToken), tt.refresh) {
			t.Errorf("%s: want about %d, %d and %d", tt.user, tt.id, tt.access, tt.refresh)
		}
		if tt.user == msauthtest.Mia {
			if !strings.HasPrefix(rep.AccessToken, "EwB") || strings.Contains(rep.AccessToken, ".") {
				t.Errorf("access token: %.20s", rep.AccessToken)
			}
			if !regexp.MustCompile(`^M\.C5\d\d_BAY\.0\.U\.-C[A-Za-z0-9*!]+\$?$`).MatchString(rep.RefreshToken) {
				t.Errorf("refresh token: %.40s", rep.RefreshToken)
			}
			continue
		}
		parts := strings.Split(rep.RefreshToken, ".")
		if len(parts) != 3 || parts[0] != "1" || !strings.HasPrefix(parts[1], "AXoA") {
			t.Errorf("refresh token: %.40s", rep.RefreshToken)
		}
		for _, part := range parts[1:] {
			if b, err := base64.RawURLEncoding.DecodeString(part); err != nil || base64.RawURLEncoding.EncodeToString(b) != part {
				t.Errorf("a part is no canonical base64url: %v", err)
			}
		}
		claims := a.claims(rep.AccessToken)
		for _, name := range []string{"aud", "iss", "acct", "acr", "aio", "amr", "app_displayname", "appid", "appidacr", "family_name", "given_name", "idtyp", "ipaddr", "name", "oid", "platf", "puid", "rh", "scp", "sid", "signin_state", "sub", "tenant_region_scope", "tid", "unique_name", "upn", "uti", "ver", "wids"} {
			if claims[name] == nil {
				t.Errorf("access token without %s", name)
			}
		}
	}
	if got := len(a.claims(a.signIn(msauthtest.Grace).IDToken)["groups"].([]any)); got != 200 {
		t.Errorf("%d groups", got)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = false })
	claims := a.claims(a.signIn(msauthtest.Grace).IDToken)
	if claims["groups"] != nil || claims["_claim_names"] == nil || claims["_claim_sources"] == nil {
		t.Errorf("no overage marks: %v", claims)
	}
	ms.SetUser(msauthtest.User{SignInName: "eve@contoso.example", Groups: []string{"11111111-2222-4333-8444-555555555555"}, Roles: []string{"Admin"}})
	claims = a.claims(a.signIn("Eve@Contoso.example").IDToken)
	if len(claims["groups"].([]any)) != 1 || claims["roles"].([]any)[0] != "Admin" || claims["email"] != nil {
		t.Errorf("claims: %v", claims)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	set := func(r msauthtest.Rotation) { ms.Set(func(b *msauthtest.Behavior) { b.Rotation = r }) }
	ok := func(rep *reply) *reply {
		t.Helper()
		if rep.Status != 200 {
			t.Fatalf("%d %s", rep.Status, rep.Description)
		}
		return rep
	}

	first := a.signIn(msauthtest.Ada)
	second := ok(a.renew(first))
	third := ok(a.renew(first)) // as with Microsoft, the old one stays valid
	if second.RefreshToken == first.RefreshToken || second.RefreshToken == third.RefreshToken {
		t.Error("no new refresh token")
	}
	ok(a.renew(second))

	set(msauthtest.RotateSame)
	if same := ok(a.renew(third)); same.RefreshToken != third.RefreshToken {
		t.Error("RotateSame: another refresh token")
	}

	set(msauthtest.RotateStrict)
	first = a.signIn(msauthtest.Ada)
	second = ok(a.renew(first))
	third = ok(a.renew(second))
	wantCode(t, a.renew(first), 400, "invalid_grant", 50173) // reuse ends the family
	wantCode(t, a.renew(third), 400, "invalid_grant", 50173)

	// Another sign-in of the same person is another family.
	first = a.signIn(msauthtest.Ada)
	ms.Set(func(b *msauthtest.Behavior) { b.OmitRefreshToken, b.OmitIDTokenOnRefresh = true, true })
	for range 3 {
		if rep := ok(a.renew(first)); rep.RefreshToken != "" || rep.IDToken != "" {
			t.Error("a refresh token or an ID token")
		}
	}
	a.scope = "openid User.Read"
	if rep := a.signIn(msauthtest.Ada); rep.RefreshToken != "" {
		t.Error("a refresh token without offline_access")
	}
	wantCode(t, a.mustToken(a.refreshForm("1.AXoA.made-up")), 400, "invalid_grant", 70000)
	wantCode(t, a.mustToken(a.refreshForm("x", "refresh_token", "-")), 400, "invalid_request", 900144)
}

// Of two requests with one strictly rotated token, at most one succeeds.
func TestStrictHerd(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	ms.Set(func(b *msauthtest.Behavior) {
		b.Rotation = msauthtest.RotateStrict
		b.Delay[msauthtest.TokenRefresh] = 20 * time.Millisecond
	})
	rep := a.signIn(msauthtest.Ada)
	results := make(chan int)
	for range 8 {
		go func() {
			rep, err := a.token(a.refreshForm(rep.RefreshToken))
			if err != nil {
				results <- 0
				return
			}
			results <- rep.Status
		}()
	}
	good := 0
	for range 8 {
		if <-results == 200 {
			good++
		}
	}
	if good != 1 {
		t.Errorf("%d answers, want 1", good)
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	rep := a.signIn(msauthtest.Ada)
	other := a.signIn(msauthtest.Bruno)
	code := a.pick(msauthtest.Ada).Get("code")
	ms.Revoke(strings.ToUpper(msauthtest.Ada))
	got := a.renew(rep)
	wantCode(t, got, 400, "invalid_grant", 50173)
	if got.Suberror != "bad_token" {
		t.Errorf("suberror %s", got.Suberror)
	}
	wantCode(t, a.mustToken(a.codeForm(code)), 400, "invalid_grant", 50173)
	if a.renew(other).Status != 200 {
		t.Error("another person's renewal failed")
	}
	res, _ := a.authorize("login_hint", msauthtest.Ada, "prompt", "none")
	if got := a.answer(res).Get("error"); got != "login_required" {
		t.Errorf("the browser is still signed in: %s", got)
	}
	ms.Set(func(b *msauthtest.Behavior) {
		b.Revoked = msauthtest.Failure{Error: "invalid_grant", Suberror: "bad_token", Codes: []int{50133}}
	})
	got = a.renew(rep)
	wantCode(t, got, 400, "invalid_grant", 50133)
	if got.Suberror != "bad_token" {
		t.Errorf("suberror %s", got.Suberror)
	}
	if a.renew(a.signIn(msauthtest.Ada)).Status != 200 {
		t.Error("a new sign-in does not renew")
	}
}

func TestDemands(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	rep := a.signIn(msauthtest.Ada)
	ms.Set(func(b *msauthtest.Behavior) { b.RequireMFA = true })
	got := a.renew(rep)
	wantCode(t, got, 400, "invalid_grant", 50076)
	if got.Suberror != "basic_action" || !json.Valid([]byte(got.Claims)) {
		t.Errorf("suberror %s, claims %s", got.Suberror, got.Claims)
	}
	if a.renew(a.signIn(msauthtest.Ada)).Status != 200 {
		t.Error("MFA is demanded again after the sign-in")
	}
	ms.Set(func(b *msauthtest.Behavior) { b.RequireMFA, b.RequireConsent = false, true })
	got = a.renew(rep)
	wantCode(t, got, 400, "invalid_grant", 65001)
	if got.Suberror != "consent_required" {
		t.Errorf("suberror %s", got.Suberror)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.RequireConsent = false })

	ada := ms.Users()[0]
	ada.Disabled = true
	ms.SetUser(ada)
	wantCode(t, a.renew(rep), 400, "invalid_grant", 50057)
	if res := a.post(url.Values{"user": {msauthtest.Ada}}); res.StatusCode != 403 {
		t.Errorf("disabled: %d", res.StatusCode)
	}
	ada.Disabled, ada.Roles = false, []string{"Reader"}
	ms.SetUser(ada)
	if got := a.claims(a.renew(rep).IDToken)["roles"]; got == nil {
		t.Error("a renewal does not see the new role")
	}

	ms.Set(func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Bruno })
	if got := a.claims(a.renew(rep).IDToken)["preferred_username"]; got != msauthtest.Bruno {
		t.Errorf("RefreshAs: %v", got)
	}
}

func TestReplyKnobs(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	rep := a.signIn(msauthtest.Ada)
	for _, tt := range []struct {
		value any
		want  string
	}{
		{nil, "300"},
		{msauthtest.Omit, ""},
		{"3599", `"3599"`},
		{-5, "-5"},
		{3599.5, "3599.5"},
		{json.RawMessage("99999999999999999999"), "99999999999999999999"},
		{json.RawMessage("null"), "null"},
	} {
		ms.Set(func(b *msauthtest.Behavior) {
			b.AccessTokenLifetime, b.RefreshIn, b.ExpiresIn = 5*time.Minute, 100*time.Second, tt.value
		})
		got := a.renew(rep)
		if string(got.ExpiresIn) != tt.want || string(got.RefreshIn) != "100" || string(got.ExtExpiresIn) != "300" {
			t.Errorf("%v: expires_in %s, refresh_in %s", tt.value, got.ExpiresIn, got.RefreshIn)
		}
	}
	ms.Set(func(b *msauthtest.Behavior) {
		*b = msauthtest.Behavior{
			IDToken: func(grant msauthtest.Kind, claims map[string]any) {
				claims["grant"] = grant
				delete(claims, "tid")
			},
			TokenReply: func(grant msauthtest.Kind, reply map[string]any) { reply["scope"] = "User.Read" },
		}
	})
	got := a.renew(rep)
	claims := a.claims(got.IDToken)
	if claims["grant"] != string(msauthtest.TokenRefresh) || claims["tid"] != nil || got.Scope != "User.Read" {
		t.Errorf("claims %v, scope %s", claims, got.Scope)
	}
	ms.Set(func(b *msauthtest.Behavior) {
		b.TokenReply = func(_ msauthtest.Kind, r map[string]any) { r["x"] = func() {} }
	})
	res, err := a.browser.PostForm(a.endpoint("oauth2/v2.0/token"), a.refreshForm(rep.RefreshToken))
	if err != nil || res.StatusCode != 500 {
		t.Errorf("a hook's nonsense: %v %v", res.StatusCode, err)
	}
	body(t, res)
}

// One refresh token gets access tokens for several APIs.
func TestResources(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	rep := a.signIn(msauthtest.Ada)
	a.ms.Consent(msauthtest.Ada, "Mail.Read", "api://orders/Orders.Read", "https://vault.example/user_impersonation")
	for _, tt := range []struct{ scope, audience, granted, scp string }{
		{"Files.Read", "https://graph.microsoft.com", "Files.Read openid profile email User.Read Mail.Read", "Files.Read User.Read Mail.Read openid profile email"},
		{"https://graph.microsoft.com/Mail.Read offline_access", "https://graph.microsoft.com",
			"https://graph.microsoft.com/Mail.Read openid profile email https://graph.microsoft.com/User.Read https://graph.microsoft.com/Files.Read",
			"Mail.Read User.Read Files.Read openid profile email"},
		{"api://orders/Orders.Read openid", "api://orders", "api://orders/Orders.Read openid", "Orders.Read openid"},
		{"https://vault.example/user_impersonation", "https://vault.example", "https://vault.example/user_impersonation", "user_impersonation"},
	} {
		got := a.renew(rep, "scope", tt.scope)
		claims := a.claims(got.AccessToken)
		if got.Scope != tt.granted || claims["aud"] != tt.audience || claims["scp"] != tt.scp {
			t.Errorf("%s: scope %q, aud %v, scp %v", tt.scope, got.Scope, claims["aud"], claims["scp"])
		}
		if (got.IDToken != "") != strings.Contains(tt.scope, "openid") { // openid was granted before but not requested
			t.Errorf("%s: ID token %t", tt.scope, got.IDToken != "")
		}
	}
	wantCode(t, a.renew(rep, "scope", "User.Read api://orders/Orders.Read"), 400, "invalid_request", 28000)
	a.scope = "openid offline_access User.Read api://orders/Orders.Read"
	if got := a.signIn(msauthtest.Bruno); got.Scope != "openid User.Read" {
		t.Errorf("two APIs at sign-in: %q", got.Scope)
	}
}
