package msauthtest

import (
	"net/http"
	"net/url"
)

// discover answers with the discovery document (OpenID Connect Discovery 1.0
// section 4): Microsoft's, or the plain provider's.
func (e *exchange) discover(w http.ResponseWriter, r *http.Request) {
	base := e.URL + "/" + e.tenant.name
	doc := map[string]any{
		"issuer":                                e.tenant.issuer(e.URL),
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"end_session_endpoint":                  base + "/oauth2/v2.0/logout",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"userinfo_endpoint":                     e.URL + "/oidc/userinfo",
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              []string{"query"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"request_uri_parameter_supported":       false,
	}
	if e.tenant.generic {
		doc["subject_types_supported"] = []string{"public"}
		doc["code_challenge_methods_supported"] = []string{"S256"}
		doc["claims_supported"] = []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "sid", "name", "given_name", "family_name", "preferred_username", "email", "email_verified"}
	} else {
		// As Microsoft's: no code_challenge_methods_supported.
		origin, _ := url.Parse(e.URL)
		doc["subject_types_supported"] = []string{"pairwise"}
		doc["claims_supported"] = []string{"sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email"}
		doc["http_logout_supported"] = true
		doc["frontchannel_logout_supported"] = true
		doc["tenant_region_scope"] = nil
		if e.tenant.id != "" && e.tenant.id != TenantPersonal {
			doc["tenant_region_scope"] = "EU"
		}
		doc["cloud_instance_name"] = "microsoftonline.com"
		doc["cloud_graph_host_name"] = "graph.windows.net"
		doc["msgraph_host"] = origin.Host
		doc["rbac_url"] = "https://pas.windows.net"
	}
	if e.behavior.AnswerIssuer {
		doc["authorization_response_iss_parameter_supported"] = true
	}
	if e.behavior.Discovery != nil {
		e.behavior.Discovery(doc)
	}
	w.Header().Set("Cache-Control", "max-age=86400, private")
	writeJSON(w, http.StatusOK, doc)
}
