package provider

import "testing"

// Members that signing in does not depend on may be of any type. Absent differs from
// empty.
func TestOptionalMetadata(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		change         []any
		basic, offline bool
	}{
		{"absent", nil, true, true},
		{"null", []any{"scopes_supported", nil, "token_endpoint_auth_methods_supported", nil}, true, true},
		{"empty", []any{"scopes_supported", []string{}, "token_endpoint_auth_methods_supported", []string{}}, true, false},
		{"other types", []any{"scopes_supported", 7, "token_endpoint_auth_methods_supported", map[string]any{}, "userinfo_endpoint", []int{1}}, true, false},
		{"both", []any{"scopes_supported", []string{"openid", "offline_access"}, "token_endpoint_auth_methods_supported", []string{"client_secret_basic", "client_secret_post"}}, false, true},
		{"Basic alone", []any{"scopes_supported", []string{"openid"}, "token_endpoint_auth_methods_supported", []string{"client_secret_basic"}}, true, false},
		{"neither", []any{"token_endpoint_auth_methods_supported", []string{"private_key_jwt"}}, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, web := plainProvider(t)
			where := otherBase + "/.well-known/openid-configuration"
			web.set(where, with(web.pages[where].(map[string]any), test.change...))
			m, err := a.Discover(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if got := a.basicAuth(m); got != test.basic {
				t.Errorf("basicAuth %t, want %t", got, test.basic)
			}
			if got := a.OffersOffline(m); got != test.offline {
				t.Errorf("offersOffline %t, want %t", got, test.offline)
			}
			for _, kind := range []Kind{Entra, ExternalID, b2c} {
				if a := (&Authority{Settings: Settings{Kind: kind}}); a.basicAuth(m) || !a.OffersOffline(m) {
					t.Errorf("at Microsoft's kind %d the secret goes to the body, and offline_access is asked for", kind)
				}
			}
		})
	}
}
