package msauthtest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/msauthtest"
)

const stepUp = `{"access_token":{"acrs":{"essential":true,"value":"c1"},"nbf":{"essential":true,"value":"1604106651"}},"id_token":{"acrs":null}}`

func TestStepUp(t *testing.T) {
	t.Parallel()
	ms, a := withOrders(t)
	rep := a.signIn(msauthtest.Ada, "scope", a.scope+" api://orders/Orders.Read")
	if claims := a.claims(rep.IDToken); claims["acrs"] != nil {
		t.Errorf("acrs without being asked: %v", claims["acrs"])
	}

	// Neither the token endpoint nor prompt=none can satisfy it.
	got := a.renew(rep, "claims", stepUp)
	wantCode(t, got, 400, "invalid_grant", 50076)
	if got.Suberror != "basic_action" || got.Claims != stepUp {
		t.Errorf("suberror %s, claims %s", got.Suberror, got.Claims)
	}
	res, _ := a.authorize("claims", stepUp, "prompt", "none")
	if got := a.answer(res); got.Get("error") != "interaction_required" || got.Get("error_subcode") != "basic_action" {
		t.Errorf("prompt=none: %v", got)
	}
	res, page := a.authorize("claims", stepUp)
	if res.StatusCode != 200 || !strings.Contains(page, `id="verify"`) || !strings.Contains(page, "<code>c1</code>") || strings.Contains(page, `id="refuse"`) {
		t.Fatalf("page: %d %s", res.StatusCode, page)
	}
	if got := a.answer(a.post(url.Values{"answer": {"refuse-mfa"}}, "claims", stepUp)); got.Get("error") != "access_denied" || got.Get("error_subcode") != "cancel" || !strings.HasPrefix(got.Get("error_description"), "AADSTS500121: ") {
		t.Errorf("denied: %v", got)
	}
	strong := a.signIn(msauthtest.Ada, "claims", stepUp)
	for _, token := range []string{strong.IDToken, strong.AccessToken, a.renew(strong, "claims", stepUp).AccessToken, a.renew(strong).IDToken, a.renew(strong, "scope", "api://orders/Orders.Read").AccessToken} {
		if acrs := a.claims(token)["acrs"]; !reflect.DeepEqual(acrs, []any{"c1"}) {
			t.Errorf("acrs = %v", acrs)
		}
	}
	if amr := a.claims(strong.AccessToken)["amr"]; !reflect.DeepEqual(amr, []any{"pwd", "mfa"}) {
		t.Errorf("amr = %v", amr)
	}
	// The browser has it now. Another context requires another step.
	res, _ = a.authorize("claims", stepUp, "prompt", "none")
	if got := a.answer(res); got.Get("code") == "" {
		t.Errorf("again: %v", got)
	}
	wantCode(t, a.renew(strong, "claims", strings.Replace(stepUp, "c1", "c2", 1)), 400, "invalid_grant", 50076)
	wantCode(t, a.renew(rep, "claims", stepUp), 400, "invalid_grant", 50076)

	// What the token endpoint asks for with RequireMFA can be taken to the
	// authorize endpoint.
	ms.Set(func(b *msauthtest.Behavior) { b.RequireMFA = true })
	demanded := a.renew(rep).Claims
	ms.Set(func(b *msauthtest.Behavior) { b.RequireMFA = false })
	a.newBrowser(&http.Transport{})
	a.pick(msauthtest.Ada)
	if res, page := a.authorize("claims", demanded); res.StatusCode != 200 || !strings.Contains(page, `id="verify"`) {
		t.Errorf("demand of the token endpoint: %d", res.StatusCode)
	}
	verified := a.signIn(msauthtest.Ada, "claims", demanded)
	ms.Set(func(b *msauthtest.Behavior) { b.RequireMFA = true })
	if got := a.renew(verified); got.Status != 200 {
		t.Errorf("after MFA: %s", got.Description)
	}
}

func TestStepUpKnobs(t *testing.T) {
	t.Parallel()
	ms, a := withOrders(t)
	ask := func() url.Values {
		t.Helper()
		res, _ := a.authorize("claims", stepUp)
		return a.answer(res)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn, b.RefuseMFA = msauthtest.Ada, true })
	if got := ask(); got.Get("error") != "access_denied" || got.Get("error_subcode") != "cancel" || !strings.HasPrefix(got.Get("error_description"), "AADSTS500121: ") {
		t.Errorf("RefuseMFA: %v", got)
	}
	if res, _ := a.authorize(); a.answer(res).Get("code") == "" {
		t.Error("RefuseMFA: a plain sign-in is refused")
	}
	ms.Set(func(b *msauthtest.Behavior) { b.RefuseMFA, b.IgnoreClaims = false, true })
	rep := a.mustToken(a.codeForm(ask().Get("code"), "claims", stepUp))
	if rep.Status != 200 || a.claims(rep.AccessToken)["acrs"] != nil {
		t.Errorf("IgnoreClaims: %d %s", rep.Status, rep.Description)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.IgnoreClaims = false })
	rep = a.mustToken(a.codeForm(ask().Get("code")))
	if acrs := a.claims(rep.AccessToken)["acrs"]; !reflect.DeepEqual(acrs, []any{"c1"}) {
		t.Errorf("acrs = %v", acrs)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.OmitAuthTime = true })
	if got := a.claims(a.renew(rep).IDToken)["auth_time"]; got != nil {
		t.Errorf("auth_time = %v", got)
	}
}

// A fresh sign-in has a fresh auth_time.
func TestFreshSignIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ms := msauthtest.New("http://localhost:9000")
		defer ms.Close()
		a := newApp(t, ms)
		a.newBrowser(ms.Transport())
		age := func(rep *reply) time.Duration {
			return time.Since(time.Unix(int64(a.claims(rep.IDToken)["auth_time"].(float64)), 0)).Truncate(time.Minute)
		}
		a.signIn(msauthtest.Ada)
		for _, tt := range []struct {
			name, parameter, value string
			want                   time.Duration
		}{
			{"a plain one", "prompt", "select_account", 10 * time.Minute},
			{"young enough", "max_age", "3600", 20 * time.Minute},
			{"too old", "max_age", "60", 0},
			{"prompt=login", "prompt", "login", 0},
			{"a stronger one", "claims", stepUp, 0},
			{"the stronger one again", "claims", stepUp, 10 * time.Minute},
		} {
			time.Sleep(10 * time.Minute)
			if got := age(a.signIn(msauthtest.Ada, tt.parameter, tt.value)); got != tt.want {
				t.Errorf("%s: auth_time is %v ago, want %v", tt.name, got, tt.want)
			}
		}
	})
}

func TestClaimsParameter(t *testing.T) {
	t.Parallel()
	_, a := withOrders(t)
	rep := a.signIn(msauthtest.Ada)
	for _, tt := range []struct {
		name, claims string
		good         bool
	}{
		{"empty object", `{}`, true},
		{"unknown members", `{"userinfo":{"name":null},"access_token":{"polids":{"essential":true,"values":[1,null,"x"]}},"a":"&prompt=none#"}`, true},
		{"no JSON", `{`, false},
		{"a list", `[]`, false},
		{"null", `null`, false},
		{"a text in place of claims", `{"access_token":"acrs"}`, false},
		{"a number in place of a claim", `{"access_token":{"acrs":1}}`, false},
		{"values that are none", `{"access_token":{"acrs":{"values":"c1"}}}`, false},
		{"too long", `{"access_token":{"x":{"value":"` + strings.Repeat("x", 4096) + `"}}}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := a.renew(rep, "claims", tt.claims)
			if tt.good && got.Status != 200 {
				t.Errorf("renewal: %s", got.Description)
			}
			if !tt.good {
				wantCode(t, got, 400, "invalid_request", 9002313)
			}
			if len(tt.claims) > 2000 {
				return
			}
			res, _ := a.authorize("claims", tt.claims)
			if answer := a.answer(res); (answer.Get("code") != "") != tt.good || !tt.good && !strings.HasPrefix(answer.Get("error_description"), "AADSTS9002313: ") {
				t.Errorf("authorize: %v", answer)
			}
		})
	}
}

func TestClientCapabilities(t *testing.T) {
	t.Parallel()
	ms, a := withOrders(t)
	const capable = `{"access_token":{"xms_cc":{"values":["cp1"]}}}`
	all := a.scope + " api://orders/Orders.Read"
	rep := a.signIn(msauthtest.Ada, "claims", capable, "scope", all)
	if n := number(t, rep.ExpiresIn); n < 20*3600 || n > 28*3600 {
		t.Errorf("expires_in %v, want 20 to 28 hours", n)
	}
	if got := a.claims(rep.AccessToken)["xms_cc"]; !reflect.DeepEqual(got, []any{"cp1"}) {
		t.Errorf("xms_cc = %v", got)
	}
	// Every request declares it anew.
	plain := a.renew(rep)
	if n := number(t, plain.ExpiresIn); n >= 5400 || a.claims(plain.AccessToken)["xms_cc"] != nil {
		t.Errorf("a renewal without it: expires_in %v", n)
	}
	own := a.renew(rep, "claims", capable, "scope", "api://orders/Orders.Read")
	if n := number(t, own.ExpiresIn); n >= 5400 || a.claims(own.AccessToken)["xms_cc"] == nil {
		t.Errorf("own API: expires_in %v", n)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 5 * time.Minute })
	if n := number(t, a.renew(rep, "claims", capable).ExpiresIn); n != 300 {
		t.Errorf("AccessTokenLifetime: expires_in %v", n)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 0 })
	if n := number(t, a.signIn(msauthtest.Mia, "claims", capable).ExpiresIn); n >= 5400 {
		t.Errorf("personal account: expires_in %v", n)
	}
}

var challengeHeader = regexp.MustCompile(`^Bearer realm="", authorization_uri="http[^"]+/common/oauth2/v2.0/authorize", client_id="00000003-0000-0000-c000-000000000000", error="insufficient_claims", claims="([A-Za-z0-9+/=]+)"$`)

// challengedFor returns the claims of a challenge, or "".
func challengedFor(t *testing.T, res *http.Response) string {
	t.Helper()
	if res.StatusCode != 401 {
		return ""
	}
	match := regexp.MustCompile(`error="insufficient_claims", claims="([^"]+)"$`).FindStringSubmatch(res.Header.Get("WWW-Authenticate"))
	if match == nil {
		t.Fatalf("no claims: %s", res.Header.Get("WWW-Authenticate"))
	}
	text, err := base64.StdEncoding.DecodeString(match[1])
	if err != nil || !json.Valid(text) {
		t.Fatalf("claims %s: %v", match[1], err)
	}
	return string(text)
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	ms, a := withOrders(t)
	me := ms.URL + "/v1.0/me"
	ada, bruno := a.signIn(msauthtest.Ada), a.signIn(msauthtest.Bruno)
	withdraw := ms.Challenge(msauthtest.Challenge{SignInName: strings.ToUpper(msauthtest.Ada)})
	res, text := a.graph(me, ada.AccessToken)
	if !challengeHeader.MatchString(res.Header.Get("WWW-Authenticate")) || !strings.Contains(text, `"code":"InvalidAuthenticationToken"`) || !strings.Contains(text, "TokenIssuedBeforeRevocationTimestamp") {
		t.Fatalf("%d %v %s", res.StatusCode, res.Header, text)
	}
	claims := challengedFor(t, res)
	if !regexp.MustCompile(`^\{"access_token":\{"nbf":\{"essential":true,"value":"\d+"\}\}\}$`).MatchString(claims) {
		t.Errorf("claims: %s", claims)
	}
	if res, _ := a.graph(me, bruno.AccessToken); res.StatusCode != 200 {
		t.Errorf("another person: %d", res.StatusCode)
	}
	for range 2 { // a newer token is good, however often
		if res, _ := a.graph(me, a.renew(ada, "claims", claims).AccessToken); res.StatusCode != 200 {
			t.Errorf("a newer token: %d", res.StatusCode)
		}
	}
	if res, _ := a.graph(me, ada.AccessToken); res.StatusCode != 401 {
		t.Errorf("the old token, after a newer one: %d", res.StatusCode)
	}
	withdraw()
	withdraw()
	if res, _ := a.graph(me, ada.AccessToken); res.StatusCode != 200 {
		t.Errorf("taken back: %d", res.StatusCode)
	}

	// The next two requests, whoever sends them and with whatever token.
	ms.Challenge(msauthtest.Challenge{Requests: 2, Forever: true})
	var statuses []int
	for _, token := range []string{bruno.AccessToken, a.renew(ada).AccessToken, ada.AccessToken} {
		res, _ := a.graph(me, token)
		statuses = append(statuses, res.StatusCode)
	}
	if !reflect.DeepEqual(statuses, []int{401, 401, 200}) {
		t.Errorf("the next two: %v", statuses)
	}

	// Only clients that can handle challenges.
	ms.Challenge(msauthtest.Challenge{Audience: "https://graph.microsoft.com", CapableOnly: true})
	if res, _ := a.graph(me, ada.AccessToken); res.StatusCode != 200 {
		t.Errorf("a token without cp1: %d", res.StatusCode)
	}
	capable := a.renew(ada, "claims", `{"access_token":{"xms_cc":{"values":["cp1"]}}}`).AccessToken
	ms.Challenge(msauthtest.Challenge{Audience: "https://graph.microsoft.com", CapableOnly: true})
	if res, _ := a.graph(me, capable); res.StatusCode != 401 {
		t.Errorf("a token with cp1: %d", res.StatusCode)
	}
}

// A challenge for an authentication context, at one API only.
func TestChallengeOfAnAPI(t *testing.T) {
	t.Parallel()
	ms, a := withOrders(t)
	ada := a.signIn(msauthtest.Ada)
	api := protected(t, ms)
	ms.Consent(msauthtest.Ada, "api://orders/Orders.Read")
	ms.Challenge(msauthtest.Challenge{Audience: orders, ACRS: "c1"})
	own := func(rep *reply) *http.Response {
		t.Helper()
		got := a.renew(rep, "scope", "api://orders/Orders.Read")
		if got.Status != 200 {
			t.Fatal(got.Description)
		}
		res, _ := a.graph(api.URL, got.AccessToken)
		return res
	}
	claims := challengedFor(t, own(ada))
	if claims != `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}` {
		t.Errorf("claims: %s", claims)
	}
	if res, _ := a.graph(ms.URL+"/v1.0/me", ada.AccessToken); res.StatusCode != 200 {
		t.Errorf("another resource: %d", res.StatusCode)
	}
	ms.Set(func(b *msauthtest.Behavior) { b.IgnoreClaims = true })
	if challengedFor(t, own(a.signIn(msauthtest.Ada, "claims", claims))) == "" {
		t.Error("IgnoreClaims: not challenged again")
	}
	ms.Set(func(b *msauthtest.Behavior) { b.IgnoreClaims = false })
	strong := a.signIn(msauthtest.Ada, "claims", claims)
	if res := own(strong); res.StatusCode != 200 {
		t.Errorf("after the step: %d", res.StatusCode)
	}
	ms.Challenge(msauthtest.Challenge{Forever: true, Audience: orders})
	if challengedFor(t, own(strong)) == "" {
		t.Error("Forever: let in")
	}
}

// Failures of Graph that no sign-in can fix.
func TestGraphFailures(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	a := newApp(t, ms)
	token := a.signIn(msauthtest.Ada).AccessToken
	ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.Graph] = []msauthtest.Failure{
			{Status: 401},
			{Claims: `{"access_token":{"acrs":{"essential":true,"value":"c9"}}}`},
			{Status: 429, Header: http.Header{"Retry-After": {"3"}}},
			{Status: 503, Header: http.Header{"Retry-After": {"4"}}},
		}
	})
	for _, tt := range []struct {
		status       int
		code, header string
		retryAfter   string
	}{
		{401, "InvalidAuthenticationToken", `error="invalid_token"`, ""},
		{401, "InvalidAuthenticationToken", `error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzkifX19"`, ""},
		{429, "TooManyRequests", "", "3"},
		{503, "serviceNotAvailable", "", "4"},
	} {
		res, text := a.graph(ms.URL+"/v1.0/me", token)
		header := res.Header.Get("WWW-Authenticate")
		if res.StatusCode != tt.status || !strings.Contains(text, `"code":"`+tt.code+`"`) || res.Header.Get("Retry-After") != tt.retryAfter ||
			!strings.Contains(header, tt.header) || (tt.header == "") != (header == "") {
			t.Errorf("%d %s %s", res.StatusCode, header, text)
		}
	}
	if res, _ := a.graph(ms.URL+"/v1.0/me", token); res.StatusCode != 200 {
		t.Errorf("afterwards: %d", res.StatusCode)
	}
}
