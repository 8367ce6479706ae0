package provider

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/internal/seal"
)

// Whatever a reply says, times are within bounds and errors are one line.
func FuzzTokenReply(f *testing.F) {
	endpoint := &TokenEndpoint{Authority: &Authority{Settings: Settings{Origin: "https://login.microsoftonline.com"}}}
	f.Add(`{"token_type":"Bearer","expires_in":3599,"access_token":"x"}`, 200, "")
	f.Add(`{"error":"invalid_grant","suberror":"bad_token","error_codes":[50173],"claims":"{}"}`, 400, "5")
	f.Add(`{"expires_in":"1e400","refresh_in":-1}`, 200, "Fri, 01 Jan 2100 00:00:00 GMT")
	f.Fuzz(func(t *testing.T, body string, status int, retry string) {
		var reply claims
		if json.Unmarshal([]byte(body), &reply) != nil {
			reply = nil
		}
		now := time.Now()
		g := endpoint.tokenSetFrom(reply, now)
		if g.Expiry <= now.Unix() || g.Expiry > now.Add(maxLifetime).Unix() || g.RefreshAt > g.Expiry || g.RefreshAt < now.Unix() {
			t.Errorf("%q: expires in %d s, renewed after %d s", body, g.Expiry-now.Unix(), g.RefreshAt-now.Unix())
		}
		e := endpoint.failure(&http.Response{StatusCode: status, Header: http.Header{"Retry-After": {retry}}}, reply, PurposeRenewal)
		if e.Class == "" || e.RetryAfter < 0 || e.RetryAfter > MaxRetryAfter || strings.ContainsAny(e.Error(), "\r\n\x00") {
			t.Errorf("%q: %+v", body, e)
		}
	})
}

// An error reply may repeat the request: nothing secret of it is in the failure.
func TestErrorsContainNothingThatWasSent(t *testing.T) {
	t.Parallel()
	const otherToken = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJBQUFBIn0.c2lnbmF0dXJl"
	for name, methods := range map[string][]string{"Basic": nil, "in the body": {"client_secret_post"}} {
		endpoint, web := plainEndpoint(t)
		web.set(otherDiscovery, with(web.pages[otherDiscovery].(map[string]any), "token_endpoint_auth_methods_supported", methods))
		var sent []string
		web.set(otherBase+"/token", func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			_, password, _ := r.BasicAuth()
			sent = append(sent, string(body), r.Header.Get("Authorization"))
			return reply(r, 400, "application/json", mustJSON(map[string]any{
				"error": "blocked " + string(body), "suberror": password, "trace_id": r.Header.Get("Authorization"),
				"error_description": "AADSTS7000215: " + string(body) + " " + testCode + " " + testSecret + " " + otherToken,
			})), nil
		})
		_, failure := endpoint.Redeem(t.Context(), testCode, "the-verifier-of-this-attempt", "")
		if failure == nil || !slices.Equal(failure.Numbers, []int{7000215}) {
			t.Fatalf("%s: %+v", name, failure)
		}
		if !strings.Contains(failure.Description, seal.Hidden) {
			t.Errorf("%s: %q does not show that something was hidden", name, failure.Description)
		}
		text := fmt.Sprintf("%+v %v", *failure, failure)
		basic := strings.TrimPrefix(sent[1], "Basic ")
		for _, secret := range []string{testCode, testSecret, "the-verifier-of-this-attempt", otherToken, basic} {
			if secret != "" && (strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret))) {
				t.Errorf("%s: %q is in %s", name, secret, text)
			}
		}
	}
}
