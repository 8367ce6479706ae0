package provider

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
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
		e := endpoint.failure(&http.Response{StatusCode: status, Header: http.Header{"Retry-After": {retry}}}, reply, GrantRenewal)
		if e.Class == "" || e.RetryAfter < 0 || e.RetryAfter > MaxRetryAfter || strings.ContainsAny(e.Error(), "\r\n\x00") {
			t.Errorf("%q: %+v", body, e)
		}
	})
}
