package provider

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// Each way in which discovery or keys cannot be read has its class and its text.
func TestFaultsOfDiscoveryAndKeysHaveAClass(t *testing.T) {
	t.Parallel()
	const unknownTenant = `{"error":"invalid_tenant","error_description":"AADSTS90002: Tenant 'no-such.example' not found. Check to make sure you have the correct tenant ID.\r\nTrace ID: 11111111-1111-4111-8111-111111111111\r\nCorrelation ID: 22222222-2222-4222-8222-222222222222\r\nTimestamp: 2023-08-03 00:46:25Z","error_codes":[90002],"timestamp":"2023-08-03 00:46:25Z","trace_id":"11111111-1111-4111-8111-111111111111","correlation_id":"22222222-2222-4222-8222-222222222222","error_uri":"https://login.microsoftonline.com/error?code=90002"}`
	page := func(status int, kind, body string) any {
		return func(r *http.Request) (*http.Response, error) { return reply(r, status, kind, body), nil }
	}
	for _, test := range []struct {
		name   string
		page   any
		class  Class
		status int
		want   string // in the error
	}{
		{"no connection", func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }, Retry, 0, "connection refused"},
		{"timeout", func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, Retry, 0, "deadline exceeded"},
		{"unknown tenant", page(400, "application/json", unknownTenant), Misconfigured, 400, "HTTP status 400: invalid_tenant: AADSTS90002: Tenant 'no-such.example' not found."},
		{"not found", page(404, "text/html", "<h1>Not Found</h1>"), Misconfigured, 404, "HTTP status 404"},
		{"forbidden", page(403, "text/plain", "blocked"), Misconfigured, 403, "HTTP status 403"},
		{"redirect", page(302, "text/html", ""), Misconfigured, 302, "HTTP status 302: redirects, which is not followed"},
		{"throttled", page(429, "application/json", "{}"), Retry, 429, "HTTP status 429"},
		{"too slow", page(408, "", ""), Retry, 408, "HTTP status 408"},
		{"down", page(503, "text/html", "<html>"), Retry, 503, "HTTP status 503"},
		{"down, with an OAuth error", page(500, "application/json", `{"error":"server_error","error_description":"AADSTS90033: A transient error"}`), Retry, 500, "server_error: AADSTS90033"},
		{"HTML", page(200, "text/html; charset=utf-8", "<html>Welcome to our guest network</html>"), Retry, 200, "text/html; charset=utf-8, not JSON"},
		{"nothing", page(200, "", ""), Retry, 200, "nothing, not JSON"},
		{"half", page(200, "application/json", `{"issuer":`), Retry, 200, "application/json, not JSON"},
		{"a list", page(200, "application/json", `[]`), Retry, 200, "application/json, not JSON"},
		{"null", page(200, "application/json", `null`), Retry, 200, "application/json, not JSON"},
		{"an empty object", page(200, "application/json", `{}`), Misconfigured, 200, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, document := range []string{"/.well-known/openid-configuration", "/keys"} {
				synctest.Test(t, func(t *testing.T) {
					a, web := plainProvider(t)
					web.set(otherBase+document, test.page)
					err := a.Ready(t.Context())
					wantFault(t, err, test.want)
					what := map[string]string{"/keys": "msauth: signing keys"}[document]
					if what == "" {
						what = "msauth: discovery"
					}
					if !strings.HasPrefix(err.Error(), what) || !strings.Contains(err.Error(), otherBase+document) {
						t.Errorf("error %v, want the document's name and address", err)
					}
					fault, ok := errors.AsType[*Failure](err)
					if !ok || fault.Class != test.class || fault.StatusCode != test.status {
						t.Fatalf("%#v of %v, want class %q and status %d", fault, err, test.class, test.status)
					}
					if test.name == "unknown tenant" && (fault.Code != "invalid_tenant" || !slices.Equal(fault.Numbers, []int{90002}) ||
						fault.TraceID != "11111111-1111-4111-8111-111111111111" || fault.CorrelationID != "22222222-2222-4222-8222-222222222222" || strings.ContainsAny(fault.Description, "\r\n")) {
						t.Errorf("%+v", fault)
					}
				})
			}
		})
	}
}
