package outside

import (
	"net/url"
	"testing"
)

// An answer has come to the redirect URI if scheme, host, port and path are the same.
func TestLeadsTo(t *testing.T) {
	t.Parallel()
	const redirectURI = "https://app.example.com/auth/callback"
	for _, tt := range []struct {
		address string
		want    bool
	}{
		{"https://app.example.com/auth/callback?error=login_required", true},
		{"https://APP.example.com:443/auth/callback#error=login_required", true},
		{"https://app.example.com/auth/callback/?error=login_required", false},
		{"https://app.example.com/auth?error=login_required", false},
		{"https://app.example.com:8443/auth/callback?error=login_required", false},
		{"http://app.example.com/auth/callback?error=login_required", false},
		{"https://example.com/auth/callback?error=login_required", false},
	} {
		u, err := url.Parse(tt.address)
		if err != nil {
			t.Fatal(err)
		}
		if got := leadsTo(u, redirectURI); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.address, got, tt.want)
		}
	}
}
