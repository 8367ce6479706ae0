package msauthtest

import (
	"net/http"
	"net/url"
)

// discover answers with the discovery document (OpenID Connect Discovery 1.0
// section 4) of the provider.
func (e *exchange) discover(w http.ResponseWriter, r *http.Request) {
	var doc map[string]any
	switch e.tenant.family {
	case plain:
		doc = e.plainDiscovery()
	case b2c:
		doc = e.b2cDiscovery()
	default:
		doc = e.entraDiscovery(r)
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

// entraDiscovery is the document of Entra and of External ID. As Microsoft's
// it has no code_challenge_methods_supported.
func (e *exchange) entraDiscovery(r *http.Request) map[string]any {
	base := e.origin + "/" + e.tenant.name
	graph, _ := url.Parse(e.URL)
	doc := map[string]any{
		"issuer":                                e.tenant.issuer(e.origin),
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"end_session_endpoint":                  base + "/oauth2/v2.0/logout",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"userinfo_endpoint":                     e.URL + "/oidc/userinfo",
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              []string{"query"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"subject_types_supported":               []string{"pairwise"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"request_uri_parameter_supported":       false,
		"http_logout_supported":                 true,
		"frontchannel_logout_supported":         true,
		"tenant_region_scope":                   nil,
		"cloud_instance_name":                   "microsoftonline.com",
		"cloud_graph_host_name":                 "graph.windows.net",
		"msgraph_host":                          graph.Host,
		"rbac_url":                              "https://pas.windows.net",
	}
	if e.tenant.id != "" && e.tenant.id != TenantPersonal {
		doc["tenant_region_scope"] = "EU"
	}
	if e.forApp(r) {
		doc["jwks_uri"] = base + "/discovery/v2.0/keys?appid=" + url.QueryEscape(e.ClientID)
	}
	if e.tenant.family == entra {
		doc["claims_supported"] = []string{"sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email"}
	}
	return doc
}
