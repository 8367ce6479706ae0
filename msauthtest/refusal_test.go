package msauthtest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// A Failure with only a number gets the error and the suberror of that number.
func TestRefusalsByNumber(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	for _, tt := range []struct {
		code            int
		status          int
		error, suberror string
		v1, v1Suberror  string // empty when the same
	}{
		{50020, 400, "invalid_grant", "", "", ""},
		{50027, 400, "invalid_request", "", "", ""},
		{50034, 400, "invalid_grant", "bad_token", "", ""},
		{50055, 400, "invalid_grant", "user_password_expired", "", ""},
		{50057, 400, "invalid_grant", "", "", ""},
		{50076, 400, "invalid_grant", "basic_action", "interaction_required", "basic_action"},
		{50079, 400, "invalid_grant", "basic_action", "interaction_required", ""},
		{50097, 400, "invalid_grant", "additional_action", "interaction_required", ""},
		{50105, 400, "interaction_required", "", "", ""},
		{50131, 400, "invalid_grant", "message_only", "", ""},
		{50173, 400, "invalid_grant", "bad_token", "", ""},
		{50196, 400, "invalid_grant", "", "", ""},
		{53000, 400, "invalid_grant", "additional_action", "interaction_required", ""},
		{53003, 400, "invalid_grant", "message_only", "interaction_required", "message_only"},
		{53005, 400, "unauthorized_client", "protection_policy_required", "", ""},
		{65001, 400, "invalid_grant", "consent_required", "invalid_grant", ""},
		{65004, 400, "invalid_grant", "consent_required", "", ""},
		{70000, 400, "invalid_grant", "", "", ""},
		{70008, 400, "invalid_grant", "", "", ""},
		{70011, 400, "invalid_scope", "", "", ""},
		{70043, 400, "invalid_grant", "token_expired", "", ""},
		{90009, 400, "invalid_request", "", "", ""},
		{90033, 503, "temporarily_unavailable", "", "", ""},
		{90094, 400, "invalid_grant", "message_only", "", ""},
		{500011, 400, "invalid_resource", "", "", ""},
		{530003, 400, "invalid_grant", "additional_action", "", ""},
		{700003, 400, "invalid_grant", "device_authentication_failed", "", ""},
		{700016, 400, "unauthorized_client", "", "", ""},
		{700023, 401, "invalid_client", "", "", ""},
		{700024, 401, "invalid_client", "", "", ""},
		{700025, 401, "invalid_client", "", "", ""},
		{700027, 401, "invalid_client", "", "", ""},
		{700081, 400, "invalid_grant", "bad_token", "", ""},
		{700082, 400, "invalid_grant", "", "", ""},
		{700084, 400, "invalid_grant", "", "", ""},
		{700213, 401, "invalid_client", "", "", ""},
		{1000502, 401, "invalid_client", "", "", ""},
		{7000112, 400, "unauthorized_client", "", "", ""},
		{7000214, 401, "invalid_client", "", "", ""},
		{7000215, 401, "invalid_client", "", "", ""},
		{7000222, 401, "invalid_client", "", "", ""},
		{9002327, 400, "invalid_request", "", "", ""},
	} {
		for _, older := range []bool{false, true} {
			wantError, wantSuberror := tt.error, tt.suberror
			if older && tt.v1 != "" {
				wantError, wantSuberror = tt.v1, tt.v1Suberror
			}
			a.ms.Set(func(b *msauthtest.Behavior) {
				b.V1Errors = older
				b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{Codes: []int{tt.code}}}
			})
			got := a.mustToken(a.refreshForm("x"))
			if got.Status != tt.status || got.Error != wantError || got.Suberror != wantSuberror || strings.Contains(got.Description, "%s") {
				t.Errorf("%d, v1 %v: got %d %s %q (%s)", tt.code, older, got.Status, got.Error, got.Suberror, got.Description)
			}
		}
	}
}

// A Failure may have another error or suberror than that of its number.
func TestRefusalsOfTheirOwn(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{
			{Error: "invalid_grant", Codes: []int{65001}},
			{Codes: []int{50076}, Suberror: "Basic_Action"},
		}
	})
	if got := a.mustToken(a.refreshForm("x")); got.Error != "invalid_grant" || got.Suberror != "" {
		t.Errorf("an error of its own: %s %q", got.Error, got.Suberror)
	}
	if got := a.mustToken(a.refreshForm("x")); got.Error != "invalid_grant" || got.Suberror != "Basic_Action" {
		t.Errorf("a suberror of its own: %s %q", got.Error, got.Suberror)
	}
	// At the authorize endpoint, the error of a number differs.
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.Authorize] = []msauthtest.Failure{{Codes: []int{53003}}}
	})
	res, _ := a.authorize()
	if !strings.Contains(res.Header.Get("Location"), "%0D%0ATrace+ID%3A+") {
		t.Errorf("redirect: %s", res.Header.Get("Location"))
	}
	if got := a.answer(res); got.Get("error") != "interaction_required" || got.Has("error_subcode") || !strings.Contains(got.Get("error_description"), "\r\nTimestamp: ") {
		t.Errorf("authorize: %v", got)
	}
}

// Answers of front ends, which have no error document.
func TestFailuresWithStatus200(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	for _, tt := range []struct {
		name           string
		failure        msauthtest.Failure
		mediaType, was string
	}{
		{"HTML", msauthtest.Failure{Status: 200, Body: "<html>busy</html>", Header: http.Header{"Content-Type": {"text/html"}}}, "text/html", "<html>busy</html>"},
		{"nothing", msauthtest.Failure{Status: 200}, "", ""},
	} {
		for kind, form := range map[msauthtest.Kind]string{msauthtest.TokenCode: "authorization_code", msauthtest.TokenRefresh: "refresh_token"} {
			a.ms.Set(func(b *msauthtest.Behavior) { b.Fail[kind] = []msauthtest.Failure{tt.failure} })
			res, err := a.browser.PostForm(a.endpoint("oauth2/v2.0/token"), url.Values{"grant_type": {form}})
			if err != nil {
				t.Fatal(err)
			}
			if text := body(t, res); res.StatusCode != 200 || text != tt.was || res.Header.Get("Content-Type") != tt.mediaType {
				t.Errorf("%s at %s: %d %q %q", tt.name, kind, res.StatusCode, res.Header.Get("Content-Type"), text)
			}
		}
	}
}

// A renewal must say which scopes of the app's own API it is for.
func TestOwnRegistration(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		api  func(id string) msauthtest.API
		uri  func(id string) string
	}{
		{"by client id", func(id string) msauthtest.API {
			return msauthtest.API{ID: "https://orders.example", ClientID: id, Scopes: []string{"read"}}
		}, func(id string) string { return "https://orders.example/read" }},
		{"by URI", func(id string) msauthtest.API { return msauthtest.API{ID: "api://" + id, Scopes: []string{"read"}} }, func(id string) string { return "api://" + id + "/read" }},
		{"by both", func(id string) msauthtest.API {
			return msauthtest.API{ID: "api://" + id, ClientID: id, Scopes: []string{"read"}}
		}, func(id string) string { return "api://" + id + "/read" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, newServer(t))
			id := a.ms.ClientID
			a.ms.AddAPI(tt.api(id))
			a.scope = "openid offline_access " + tt.uri(id)
			rep := a.signIn(msauthtest.Ada)
			wantCode(t, a.renew(rep), 400, "invalid_request", 90009)
			for _, scope := range []string{tt.uri(id), id + "/read", strings.TrimSuffix(tt.uri(id), "read") + ".default"} {
				if got := a.renew(rep, "scope", "openid offline_access "+scope); got.Status != 200 {
					t.Errorf("%s: %d %s", scope, got.Status, got.Description)
				}
			}
			a.ms.Set(func(b *msauthtest.Behavior) { b.RefuseOwnURI = true })
			wantCode(t, a.renew(rep, "scope", "api://"+id+"/read"), 400, "invalid_request", 90009)
			if got := a.renew(rep, "scope", id+"/read"); got.Status != 200 || got.Scope != id+"/read" {
				t.Errorf("GUID form: %d %q %s", got.Status, got.Scope, got.Description)
			}
		})
	}
	a := newApp(t, newServer(t))
	a.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"read"}})
	a.scope = "openid offline_access api://orders/read"
	rep := a.signIn(msauthtest.Ada)
	if got := a.renew(rep); got.Status != 200 {
		t.Errorf("another API, without scope: %s", got.Description)
	}
	wantCode(t, a.renew(rep, "scope", "api://orders/read api://orders/.default"), 400, "invalid_scope", 70011)
}

// For personal accounts, scopes that were not granted are refused without a
// suberror. The refresh token stays valid.
func TestPersonalRefusals(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	rep := a.signIn(msauthtest.Mia)
	got := a.renew(rep, "scope", "Calendars.Read")
	wantCode(t, got, 400, "invalid_grant", 70000)
	if got.Suberror != "" || !strings.Contains(got.Description, "one or more scopes requested are unauthorized") {
		t.Errorf("%q %s", got.Suberror, got.Description)
	}
	if got := a.renew(rep, "scope", "User.Read"); got.Status != 200 {
		t.Errorf("another scope: %s", got.Description)
	}
	a.ms.Set(func(b *msauthtest.Behavior) { b.RefusePersonalAtCommon = true })
	got = a.renew(rep)
	wantCode(t, got, 400, "invalid_grant", 70000)
	if got.Suberror != "bad_token" {
		t.Errorf("at common: %q", got.Suberror)
	}
	a.tenant = "consumers"
	if got := a.renew(rep); got.Status != 200 {
		t.Errorf("at consumers: %s", got.Description)
	}
	a.tenant = "common"
	a.newBrowser(&http.Transport{})
	if got := a.renew(a.signIn(msauthtest.Ada)); got.Status != 200 {
		t.Errorf("a work account: %s", got.Description)
	}
}

func TestPersonalClaims(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	optional := []string{"sid", "login_hint", "auth_time", "xms_edov", "acrs", "groups", "roles"}
	mia := a.ms.Users()[2]
	mia.Roles, mia.Groups = []string{"Admin"}, []string{"5f1c6c0e-0000-4000-8000-000000000001"}
	a.ms.SetUser(mia)
	for _, with := range []bool{false, true} {
		a.ms.Set(func(b *msauthtest.Behavior) { b.PersonalClaims = with })
		claims := a.claims(a.signIn(msauthtest.Mia, "claims", stepUp).IDToken)
		for _, name := range optional {
			if (claims[name] != nil) != with {
				t.Errorf("PersonalClaims %v: %s = %v", with, name, claims[name])
			}
		}
		for _, name := range []string{"ver", "iss", "sub", "aud", "exp", "iat", "nbf", "name", "preferred_username", "oid", "email", "tid", "nonce", "aio"} {
			if claims[name] == nil {
				t.Errorf("PersonalClaims %v: no %s", with, name)
			}
		}
	}
}

// The code of a sign-in without MFA is refused with a claims challenge.
func TestMFAForCode(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	a.ms.Set(func(b *msauthtest.Behavior) { b.RequireMFAForCode = true })
	got := a.mustToken(a.codeForm(a.pick(msauthtest.Ada).Get("code")))
	wantCode(t, got, 400, "invalid_grant", 50076)
	if got.Suberror != "basic_action" || !strings.Contains(got.Claims, "capolids") {
		t.Fatalf("%q %s", got.Suberror, got.Claims)
	}
	if rep := a.signIn(msauthtest.Ada, "claims", got.Claims); a.renew(rep).Status != 200 {
		t.Error("no renewal after the challenge was met")
	}
}
