package msauthtest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

const orders = "api://orders"

// withOrders is a server with two APIs.
func withOrders(t *testing.T) (*msauthtest.Server, *app) {
	t.Helper()
	ms := newServer(t)
	ms.AddAPI(msauthtest.API{ID: orders, Scopes: []string{"Orders.Read", "Orders.Write"}})
	ms.AddAPI(msauthtest.API{ID: "api://stock", ClientID: "5d2a9c6e-3a3f-4a57-9d2b-0f3f2f1c9a11"})
	a := newApp(t, ms)
	a.scope = "openid profile offline_access User.Read"
	return ms, a
}

func TestOwnAPIs(t *testing.T) {
	t.Parallel()
	ms, a := withOrders(t)
	ms.SetUser(msauthtest.User{SignInName: "ida@contoso.example", Roles: []string{"Admin"},
		APIRoles: map[string][]string{orders: {"Approver"}}})
	for _, user := range []string{"ida@contoso.example", msauthtest.Mia} {
		a.newBrowser(&http.Transport{})
		// One sign-in for consent to three resources; the token is for the first.
		rep := a.signIn(user, "scope", a.scope+" api://orders/Orders.Read 5d2a9c6e-3a3f-4a57-9d2b-0f3f2f1c9a11/Stock.Read")
		if rep.Scope != "openid profile User.Read" {
			t.Errorf("%s: scope %q", user, rep.Scope)
		}
		if got := ms.Consented(user); !slices.Equal(got, []string{"openid", "profile", "offline_access", "https://graph.microsoft.com/User.Read", "api://orders/Orders.Read", "api://stock/Stock.Read"}) {
			t.Errorf("consented: %q", got)
		}
		for _, tt := range []struct{ scope, audience, granted, scp string }{
			{"api://orders/Orders.Read", orders, "api://orders/Orders.Read", "Orders.Read"},
			{"api://orders/orders.read openid", orders, "api://orders/orders.read openid", "orders.read"},
			{"api://orders/.default", orders, "api://orders/Orders.Read api://orders/.default", "Orders.Read"},
			{"api://stock/Stock.Read", "5d2a9c6e-3a3f-4a57-9d2b-0f3f2f1c9a11", "api://stock/Stock.Read", "Stock.Read"},
		} {
			got := a.renew(rep, "scope", tt.scope)
			if got.Status != 200 {
				t.Fatalf("%s: %s", tt.scope, got.Description)
			}
			claims := a.claims(got.AccessToken)
			if got.Scope != tt.granted || claims["aud"] != tt.audience || claims["scp"] != tt.scp || claims["ver"] != "2.0" ||
				claims["azp"] != ms.ClientID || claims["iss"] != ms.URL+"/"+claims["tid"].(string)+"/v2.0" {
				t.Errorf("%s: scope %q, claims %v", tt.scope, got.Scope, claims)
			}
			if roles := claims["roles"]; (roles != nil) != (user != msauthtest.Mia && tt.audience == orders) {
				t.Errorf("%s: roles %v", tt.scope, roles)
			}
			if res, text := a.graph(ms.URL+"/v1.0/me", got.AccessToken); res.StatusCode != 401 || !strings.Contains(text, "audience") {
				t.Errorf("Graph takes a token for %s: %d", tt.audience, res.StatusCode)
			}
		}
		if graph := a.renew(rep, "scope", "User.Read"); graph.Status != 200 {
			t.Errorf("back to Graph: %s", graph.Description)
		} else if _, err := ms.VerifyAccessToken(graph.AccessToken, orders); err == nil || !strings.Contains(err.Error(), "audience") || strings.Contains(err.Error(), graph.AccessToken) {
			t.Errorf("a token for Graph at an API: %v", err)
		}
	}
	if roles := a.claims(a.signIn("ida@contoso.example").IDToken)["roles"]; len(roles.([]any)) != 1 || roles.([]any)[0] != "Admin" {
		t.Errorf("roles of the ID token: %v", roles)
	}
}

func TestScopesRefused(t *testing.T) {
	t.Parallel()
	ms, a := withOrders(t)
	rep := a.signIn(msauthtest.Ada)
	ms.Consent(msauthtest.Ada, "api://orders/Orders.Read")
	for _, tt := range []struct {
		name, scope string
		err         string
		code        int
		suberror    string
	}{
		{"two resources", "User.Read api://orders/Orders.Read", "invalid_request", 28000, ""},
		{"not consented to", "api://orders/Orders.Write", "invalid_grant", 65001, "consent_required"},
		{"one of two not consented to", "api://orders/Orders.Read api://orders/Orders.Write", "invalid_grant", 65001, "consent_required"},
		{"not consented to, at Graph", "Mail.Read", "invalid_grant", 65001, "consent_required"},
		{"default without any consent", "api://stock/.default", "invalid_grant", 65001, "consent_required"},
		{"no such resource", "api://nowhere/Read", "invalid_resource", 500011, ""},
		{"no such scope", "api://orders/Orders.Delete", "invalid_client", 650053, ""},
		{"default with others", "api://orders/.default api://orders/Orders.Read", "invalid_scope", 70011, ""},
		{"default with others of another API", "User.Read api://orders/.default", "invalid_scope", 70011, ""},
		{"two defaults", "https://graph.microsoft.com/.default api://orders/.default", "invalid_scope", 70011, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := a.renew(rep, "scope", tt.scope)
			if got.Error != tt.err || !slices.Equal(got.Codes, []int{tt.code}) || got.Suberror != tt.suberror {
				t.Errorf("%s %v %s, want %s %d %s", got.Error, got.Codes, got.Suberror, tt.err, tt.code, tt.suberror)
			}
			if tt.code == 28000 || tt.code == 65001 {
				return
			}
			res, _ := a.authorize("scope", "openid "+tt.scope)
			if answer := a.answer(res); answer.Get("error") != tt.err || !strings.HasPrefix(answer.Get("error_description"), "AADSTS"+itoa(tt.code)+": ") {
				t.Errorf("authorize: %v", answer)
			}
		})
	}

	// A refused renewal does not spend the refresh token.
	ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
	wantCode(t, a.renew(rep, "scope", "Mail.Read"), 400, "invalid_grant", 65001)
	if got := a.renew(rep); got.Status != 200 {
		t.Errorf("after a refused renewal: %s", got.Description)
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestConsentIsRemembered(t *testing.T) {
	t.Parallel()
	ms, a := withOrders(t)
	ask := func(pairs ...string) url.Values {
		t.Helper()
		res, _ := a.authorize(pairs...)
		return a.answer(res)
	}
	more := a.scope + " api://orders/Orders.Read Files.Read"
	rep := a.signIn(msauthtest.Ada)
	if got := ask("scope", more, "prompt", "none"); got.Get("error") != "consent_required" || !strings.HasPrefix(got.Get("error_description"), "AADSTS65001") {
		t.Errorf("prompt=none: %v", got)
	}

	// The consent page lists what is new.
	res, page := a.authorize("scope", more)
	list := regexp.MustCompile(`(?s)<ul id="scopes">.*?</ul>`).FindString(page)
	if res.StatusCode != 200 || !strings.Contains(list, "<li>api://orders/Orders.Read</li>") || !strings.Contains(list, "<li>https://graph.microsoft.com/Files.Read</li>") || strings.Contains(list, "User.Read") {
		t.Fatalf("consent page: %d %s", res.StatusCode, page)
	}
	for _, want := range []string{`id="accept" name="user" value="` + msauthtest.Ada + `"`, `id="refuse"`, `id="cancel"`, "Signed in"} {
		if !strings.Contains(page, want) {
			t.Errorf("consent page without %s", want)
		}
	}
	if got := a.answer(a.post(url.Values{"answer": {"refuse"}}, "scope", more)); got.Get("error") != "access_denied" || !strings.HasPrefix(got.Get("error_description"), "AADSTS65004") {
		t.Errorf("refused: %v", got)
	}
	wantCode(t, a.renew(rep, "scope", "api://orders/Orders.Read"), 400, "invalid_grant", 65001)

	granted := a.mustToken(a.codeForm(a.answer(a.post(url.Values{"user": {msauthtest.Ada}, "confirmed": {"yes"}}, "scope", more)).Get("code")))
	if granted.Scope != "openid profile User.Read Files.Read" {
		t.Errorf("scope %q", granted.Scope)
	}
	if got := ask("scope", more, "prompt", "none"); got.Get("code") == "" {
		t.Errorf("asked again: %v", got)
	}
	// The old refresh token includes what was granted since, and its scope says so.
	if got := a.renew(rep); got.Scope != "openid profile User.Read Files.Read" {
		t.Errorf("granted before: %q", got.Scope)
	}
	if got := a.renew(rep, "scope", "api://orders/Orders.Read"); got.Status != 200 {
		t.Error(got.Description)
	}

	// prompt=consent asks again, and also after a person is picked.
	if _, page := a.authorize("prompt", "consent"); !strings.Contains(page, `id="accept"`) || !strings.Contains(page, "<li>User.Read</li>") {
		t.Error("prompt=consent shows no consent page")
	}
	if res := a.post(url.Values{"user": {msauthtest.Bruno}}, "prompt", "consent"); res.StatusCode != 200 {
		t.Errorf("prompt=consent after the account: %d", res.StatusCode)
	}
	if res := a.post(url.Values{"user": {msauthtest.Bruno}, "confirmed": {"yes"}}, "prompt", "consent"); a.answer(res).Get("code") == "" {
		t.Error("prompt=consent, accepted: no code")
	}

	// Another person has granted none of it.
	other := a.signIn(msauthtest.Bruno)
	wantCode(t, a.renew(other, "scope", "Files.Read"), 400, "invalid_grant", 65001)

	ms.Withdraw(strings.ToUpper(msauthtest.Ada), "api://orders/orders.read")
	wantCode(t, a.renew(rep, "scope", "api://orders/Orders.Read"), 400, "invalid_grant", 65001)
	if got := a.renew(rep); got.Status != 200 {
		t.Error(got.Description)
	}
	ms.Withdraw(msauthtest.Ada)
	wantCode(t, a.renew(rep), 400, "invalid_grant", 65001)
	if got := ms.Consented(msauthtest.Ada); got != nil {
		t.Errorf("consented: %q", got)
	}
}

func TestConsentKnobs(t *testing.T) {
	t.Parallel()
	ms, a := withOrders(t)
	const read = "api://orders/Orders.Read"
	more := a.scope + " Files.Read " + read
	set := func(f func(*msauthtest.Behavior)) {
		ms.Withdraw(msauthtest.Ada)
		a.newBrowser(&http.Transport{})
		ms.Set(func(b *msauthtest.Behavior) { *b = msauthtest.Behavior{AutoSignIn: msauthtest.Ada}; f(b) })
	}
	ask := func() url.Values {
		t.Helper()
		res, _ := a.authorize("scope", more)
		return a.answer(res)
	}
	wantAnswer := func(code, subcode string) {
		t.Helper()
		got := ask()
		if got.Get("error") != "access_denied" || got.Get("error_subcode") != subcode || !strings.HasPrefix(got.Get("error_description"), code+": ") || got.Get("state") != "the state" {
			t.Errorf("answer: %v", got)
		}
	}

	set(func(b *msauthtest.Behavior) { b.RefuseScopes = []string{read} })
	wantAnswer("AADSTS65004", "cancel")
	set(func(b *msauthtest.Behavior) { b.AdminScopes = []string{"https://graph.microsoft.com/files.read"} })
	wantAnswer("AADSTS90094", "")
	ms.Consent(msauthtest.Ada, "Files.Read") // the administrator
	if got := ask(); got.Get("code") == "" {
		t.Errorf("after the administrator's consent: %v", got)
	}

	// On the page.
	set(func(b *msauthtest.Behavior) { b.AutoSignIn, b.AdminScopes = "", []string{read} })
	form := url.Values{"user": {msauthtest.Ada}, "request": {a.authorizeQuery("scope", more).Encode()}}
	res, err := a.browser.PostForm(a.endpoint("signin"), form)
	if err != nil {
		t.Fatal(err)
	}
	if page := body(t, res); res.StatusCode != 403 || !strings.Contains(page, "Need admin approval") || !strings.Contains(page, "AADSTS90094") || !strings.Contains(page, "<li>"+read+"</li>") {
		t.Errorf("approval page: %d %s", res.StatusCode, page)
	}
	got := a.answer(a.post(url.Values{"answer": {"no-approval"}}, "scope", more))
	if got.Get("error") != "access_denied" || !strings.HasPrefix(got.Get("error_description"), "AADSTS90094: ") {
		t.Errorf("back to the app: %v", got)
	}

	set(func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Files.Read", read} })
	rep := a.mustToken(a.codeForm(ask().Get("code")))
	if rep.Scope != "openid profile User.Read" || a.claims(rep.AccessToken)["scp"] != "User.Read openid profile" {
		t.Errorf("withheld: %q", rep.Scope)
	}
	if got := a.renew(rep); got.Scope != "openid profile User.Read" {
		t.Errorf("renewal: %q %s", got.Scope, got.Description)
	}
	if got := a.renew(rep, "scope", "User.Read Files.Read"); got.Scope != "User.Read openid profile" {
		t.Errorf("renewal that asks for it: %q %s", got.Scope, got.Description)
	}
	wantCode(t, a.renew(rep, "scope", read), 400, "invalid_grant", 65001)
	if res, _ := a.graph(ms.URL+"/v1.0/me/drive", rep.AccessToken); res.StatusCode != 403 {
		t.Errorf("without Files.Read: %d", res.StatusCode)
	}
}

// protected is an API of the test's own.
func protected(t *testing.T, ms *msauthtest.Server, scopes ...string) *httptest.Server {
	t.Helper()
	api := httptest.NewServer(ms.Protect(orders, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := ms.VerifyAccessToken(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), orders)
		if err != nil {
			t.Errorf("behind Protect: %v", err)
		}
		json.NewEncoder(w).Encode(claims)
	}), scopes...))
	t.Cleanup(api.Close)
	return api
}

func TestProtect(t *testing.T) {
	t.Parallel()
	ms, a := withOrders(t)
	api := protected(t, ms, "Orders.Write")
	all := a.scope + " api://orders/Orders.Read"
	rep := a.signIn(msauthtest.Ada, "scope", all)
	read := a.renew(rep, "scope", "api://orders/Orders.Read").AccessToken
	ms.Consent(msauthtest.Ada, "api://orders/Orders.Write")
	write := a.renew(rep, "scope", "api://orders/Orders.Write").AccessToken
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Nanosecond })
	expired := a.renew(rep, "scope", "api://orders/Orders.Write").AccessToken
	for _, tt := range []struct {
		name, token string
		status      int
		want        string
	}{
		{"no token", "", 401, ""},
		{"unknown token", "abc", 401, `error="invalid_token"`},
		{"expired", expired, 401, `error="invalid_token"`},
		{"for Graph", rep.AccessToken, 401, `error="invalid_token"`},
		{"too few scopes", read, 403, `error="insufficient_scope", scope="Orders.Write"`},
		{"good", write, 200, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, text := a.graph(api.URL, tt.token)
			header := res.Header.Get("WWW-Authenticate")
			if res.StatusCode != tt.status || !strings.Contains(header, tt.want) || (tt.status == 200) != (header == "") {
				t.Errorf("%d %s %s", res.StatusCode, header, text)
			}
		})
	}
	if n := ms.Count(msauthtest.OwnAPI); n != 6 {
		t.Errorf("Count(OwnAPI) = %d", n)
	}
	ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.OwnAPI] = []msauthtest.Failure{{Status: 503, Header: http.Header{"Retry-After": {"7"}}}, {Status: 401}, {Close: true}}
	})
	if res, _ := a.graph(api.URL, write); res.StatusCode != 503 || res.Header.Get("Retry-After") != "7" {
		t.Errorf("503: %d", res.StatusCode)
	}
	if res, _ := a.graph(api.URL, write); res.StatusCode != 401 || !strings.Contains(res.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("401: %d %v", res.StatusCode, res.Header)
	}

	// Opaque tokens have claims too.
	opaque := a.signIn(msauthtest.Mia).AccessToken
	if claims, err := ms.VerifyAccessToken(opaque, "https://graph.microsoft.com"); err == nil {
		t.Errorf("an expired token: %v", claims)
	}
	ms.Set(func(b *msauthtest.Behavior) { *b = msauthtest.Behavior{} })
	opaque = a.signIn(msauthtest.Mia).AccessToken
	if claims, err := ms.VerifyAccessToken(opaque, "https://graph.microsoft.com"); err != nil || claims["tid"] != msauthtest.TenantPersonal || !strings.Contains(claims["scp"].(string), "User.Read") {
		t.Errorf("opaque: %v %v", claims, err)
	}
}
