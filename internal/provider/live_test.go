package provider

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

// roundTripper answers requests by a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// liveEndpoint is the token endpoint of Live Connect, which answers as told. It returns
// the forms that it received.
func liveEndpoint(status int, contentType, body string) (*TokenEndpoint, *[]url.Values) {
	received := new([]url.Values)
	client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		text, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(text))
		form.Set("URL", r.URL.String())
		form.Set("Authorization", r.Header.Get("Authorization"))
		*received = append(*received, form)
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body))}, nil
	})}
	return &TokenEndpoint{
		Authority: liveProvider(), ClientID: liveClient, Credentials: secretRing("the secret"),
		RedirectURI: "https://sitename.azurewebsites.net/auth/callback", Client: client,
	}, received
}

func TestRepliesOfLiveConnect(t *testing.T) {
	t.Parallel()
	const json = "application/json"
	for _, test := range []struct {
		name, contentType, body string
	}{
		{"as documented", json, `{"token_type":"bearer","expires_in":3600,"scope":"wl.signin wl.basic","access_token":"A","refresh_token":"R","authentication_token":"T"}`},
		{"JSON that is called text", "text/plain; charset=utf-8", `{"token_type":"bearer","expires_in":3600,"scope":"wl.signin wl.basic","access_token":"A","refresh_token":"R","authentication_token":"T"}`},
		{"expires_in as text, scopes parted by commas", json, `{"token_type":"bearer","expires_in":"3600","scope":"wl.signin,wl.basic","access_token":"A","refresh_token":"R","authentication_token":"T"}`},
		{"commas and spaces, no type", json, `{"expires_in":3600.0,"scope":" wl.signin, ,wl.basic,","access_token":"A","refresh_token":"R","authentication_token":"T","user_id":"x"}`},
		{"a form", "text/plain", "access_token=A&refresh_token=R&authentication_token=T&expires_in=3600&scope=wl.signin+wl.basic\r\n"},
		{"with something that is called an ID token", json, `{"id_token":"forged","expires_in":3600,"scope":"wl.signin,wl.basic","access_token":"A","refresh_token":"R","authentication_token":"T"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e, _ := liveEndpoint(200, test.contentType, test.body)
			tokens, failure := e.Redeem(t.Context(), "code", "verifier", "")
			if failure != nil {
				t.Fatal(failure)
			}
			if tokens.Access != "A" || tokens.Refresh != "R" || tokens.IDToken != "T" || tokens.Scopes != "wl.signin wl.basic" || tokens.Expiry-tokens.Issued != 3600 {
				t.Errorf("tokens %q %q %q, scopes %q, for %d seconds", string(tokens.Access), string(tokens.Refresh), tokens.IDToken, tokens.Scopes, tokens.Expiry-tokens.Issued)
			}
		})
	}
}

func TestFailuresOfLiveConnect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		status      int
		contentType string
		body        string
		renewal     Class
		redeem      Class
		code        string
	}{
		{"the refresh token has expired", 400, "application/json", `{"error":"invalid_grant","error_description":"The provided value for the input parameter 'refresh_token' is not valid."}`, SignIn, Replay, "invalid_grant"},
		{"an error with status 200", 200, "application/json", `{"error":"invalid_grant","error_description":"The user has denied access."}`, SignIn, Replay, "invalid_grant"},
		{"an error as a form", 400, "text/plain", "error=invalid_grant&error_description=expired", SignIn, Replay, "invalid_grant"},
		{"an error as a form with status 200", 200, "text/html", "error=invalid_grant", SignIn, Replay, "invalid_grant"},
		{"another secret", 401, "application/json", `{"error":"invalid_client","error_description":"The provided client secret is not valid."}`, Misconfigured, Misconfigured, "invalid_client"},
		{"an outage that says invalid_grant", 503, "application/json", `{"error":"invalid_grant"}`, Retry, Retry, "invalid_grant"},
		{"an outage", 200, "application/json", `{"error":"server_error"}`, Retry, Retry, "server_error"},
		{"an error beside tokens", 200, "application/json", `{"access_token":"A","authentication_token":"T","error":"invalid_grant"}`, SignIn, Replay, "invalid_grant"},
		{"an error of another type beside tokens", 200, "application/json", `{"access_token":"A","authentication_token":"T","error":{"code":"x"}}`, Retry, Retry, "server_error"},
		{"an empty error as a form", 200, "text/plain", "access_token=A&error=", Retry, Retry, "server_error"},
		{"HTML", 200, "text/html", "<!DOCTYPE html><title>Sign in</title><a href='/?a=b&amp;error=x'>", Retry, Retry, ""},
		{"HTML with a link that has a token", 200, "text/html", "<!DOCTYPE html><a href='/?a=b&access_token=x&token_type=bearer'>", Retry, Retry, ""},
		{"HTML with a link that has an error", 400, "text/html", "<html>&error=invalid_grant&", Retry, Retry, ""},
		{"nothing", 200, "application/json", "", Retry, Retry, ""},
		{"HTML with a token in a link", 200, "text/html", "<a href='/?a=b&access_token=A&token_type=bearer&c=d'>", Retry, Retry, ""},
		{"HTML with an error in a link", 400, "text/html", "<a\thref=/?a=b&error=invalid_grant&c=d>", Retry, Retry, ""},
		{"text with an error in it", 400, "text/plain", "see /?a=b&error=invalid_grant&c=d", Retry, Retry, ""},
		{"a list", 200, "application/json", `["access_token"]`, Retry, Retry, ""},
		{"null", 200, "application/json", "null", Retry, Retry, ""},
		{"a malformed form", 200, "text/plain", "access_token=A&x=%zz", Retry, Retry, ""},
		{"a form with a token twice", 200, "text/plain", "access_token=A&access_token=B", Retry, Retry, ""},
		{"no access token", 200, "application/json", `{"authentication_token":"T","access_token":7}`, Retry, Retry, ""},
		{"another kind of token", 200, "application/json", `{"token_type":"mac","access_token":"A"}`, Retry, Retry, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e, _ := liveEndpoint(test.status, test.contentType, test.body)
			if _, failure := e.Redeem(t.Context(), "code", "verifier", ""); failure == nil || failure.Class != test.redeem || failure.Code != test.code {
				t.Errorf("code: %v, want class %q", failure, test.redeem)
			}
			if _, failure := e.Refresh(t.Context(), "R", RefreshRequest{Purpose: PurposeRenewal, Personal: true}); failure == nil || failure.Class != test.renewal {
				t.Errorf("renewal: %v, want class %q", failure, test.renewal)
			}
		})
	}
}

// The parameters are those of the Live SDK's requests.
func TestRequestsToLiveConnect(t *testing.T) {
	t.Parallel()
	e, received := liveEndpoint(200, "application/json", `{"access_token":"A"}`)
	if _, failure := e.Redeem(t.Context(), "the code", "the verifier", ""); failure != nil {
		t.Fatal(failure)
	}
	tokens, failure := e.Refresh(t.Context(), "the refresh token", RefreshRequest{Purpose: PurposeRenewal, Personal: true})
	if failure != nil || tokens.Refresh != "the refresh token" {
		t.Fatal(failure)
	}
	want := []url.Values{{
		"URL": {"https://login.live.com/oauth20_token.srf"}, "Authorization": {""}, "client_id": {liveClient}, "client_secret": {"the secret"},
		"redirect_uri": {"https://sitename.azurewebsites.net/auth/callback"}, "grant_type": {"authorization_code"}, "code": {"the code"}, "code_verifier": {"the verifier"},
	}, {
		"URL": {"https://login.live.com/oauth20_token.srf"}, "Authorization": {""}, "client_id": {liveClient}, "client_secret": {"the secret"},
		"redirect_uri": {"https://sitename.azurewebsites.net/auth/callback"}, "grant_type": {"refresh_token"}, "refresh_token": {"the refresh token"},
	}}
	if !reflect.DeepEqual(*received, want) {
		t.Errorf("requests %v, want %v", *received, want)
	}
}

func TestScopesOfLiveConnect(t *testing.T) {
	t.Parallel()
	rules := NewScopes(LiveConnect, LiveIssuer, []string{"wl.signin", "wl.offline_access", "wl.basic"})
	if missing := rules.Missing("wl.basic wl.signin", []string{"WL.Basic", "wl.skydrive"}); !reflect.DeepEqual(missing, []string{"wl.skydrive"}) {
		t.Errorf("missing %v", missing)
	}
	own, others := rules.ByAPI(rules.Order([]string{"wl.skydrive", "wl.signin", "wl.basic", "WL.BASIC", "https://example.org/api/read"}))
	if len(others) != 0 || strings.Join(own, " ") != "https://example.org/api/read wl.basic wl.skydrive" {
		t.Errorf("own %v, others %v", own, others)
	}
	if rules.Foreign("wl.basic") || rules.All(".default") {
		t.Error("there is one token for all scopes")
	}
}

// Signing in does not say when credentials were entered, so that nothing but the end is
// read of the token later.
func TestAuthenticationTokenEnds(t *testing.T) {
	t.Parallel()
	claims := liveClaims()
	claims["exp"] = 1470793861
	if ends, err := AuthenticationTokenEnds(liveToken(liveHeaders(), claims, "s")); err != nil || !ends.Equal(time.Unix(1470793861, 0)) {
		t.Errorf("ends %v, %v", ends, err)
	}
	delete(claims, "exp")
	for _, token := range []string{"", "x", liveToken(liveHeaders(), claims, "s")} {
		if _, err := AuthenticationTokenEnds(token); err == nil {
			t.Errorf("%q has an end", token)
		}
	}
}

func FuzzLiveReply(f *testing.F) {
	f.Add(`{"access_token":"A","authentication_token":"T","scope":"a,b"}`)
	f.Add("access_token=A&scope=a%2Cb&error=")
	f.Add("<html>")
	f.Fuzz(func(t *testing.T, body string) {
		var reply claims
		if json.Unmarshal([]byte(body), &reply) != nil {
			reply = nil
		}
		got := liveReply(reply, []byte(body))
		if got == nil {
			return
		}
		if text, err := json.Marshal(got); err != nil || !json.Valid(text) {
			t.Errorf("%q gives no JSON: %v", body, err)
		}
		if strings.Contains(got.text("scope"), ",") {
			t.Errorf("scope %q", got.text("scope"))
		}
	})
}
