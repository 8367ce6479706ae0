package provider

import (
	"net/url"
	"testing"
)

func TestTenantIn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ path, want string }{
		{"/common/v2.0", "common"},
		{"/consumers", "consumers"},
		{"/organizations/", "organizations"},
		{"/" + testTenant + "/v2.0", testTenant},
		{"/contoso.onmicrosoft.com/oauth2", "contoso.onmicrosoft.com"},
		{"/", "the id of your tenant"},
		{"", "the id of your tenant"},
		{"/v2.0", "the id of your tenant"},
		{"/x", "the id of your tenant"},
	} {
		if got := TenantIn(&url.URL{Path: test.path}); got != test.want {
			t.Errorf("%s: %q, want %q", test.path, got, test.want)
		}
	}
}
