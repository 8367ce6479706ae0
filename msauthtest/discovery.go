package msauthtest

import (
	"maps"
	"net/http"
	"net/url"
)

// discover serves the discovery document (OpenID Connect Discovery 1.0 section
// 4) of the provider.
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

// endpoints returns what the discovery documents of all providers have in
// common.
func (e *exchange) endpoints() map[string]any {
	base, query := e.origin+"/"+e.tenant.name, ""
	if e.tenant.family == b2c && e.behavior.B2CPolicyInQuery {
		base, query = e.origin+"/"+b2cDomain, "?p="+b2cPolicy
	}
	doc := map[string]any{
		"issuer":                                e.tenant.issuer(e.origin),
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize" + query,
		"token_endpoint":                        base + "/oauth2/v2.0/token" + query,
		"end_session_endpoint":                  base + "/oauth2/v2.0/logout" + query,
		"jwks_uri":                              base + "/discovery/v2.0/keys" + query,
		"id_token_signing_alg_values_supported": []string{"RS256"},
	}
	if methods, listed := e.authMethods(); listed {
		doc["token_endpoint_auth_methods_supported"] = methods
	}
	if e.tenant.family != b2c {
		doc["userinfo_endpoint"] = e.URL + "/oidc/userinfo"
		doc["response_types_supported"] = []string{"code"}
		doc["response_modes_supported"] = []string{"query"}
		doc["request_uri_parameter_supported"] = false
	}
	return doc
}

// entraDiscovery returns the document of Entra and of External ID. Like
// Microsoft's, it has no code_challenge_methods_supported.
func (e *exchange) entraDiscovery(r *http.Request) map[string]any {
	graph, _ := url.Parse(e.URL)
	doc := e.endpoints()
	maps.Copy(doc, map[string]any{
		"scopes_supported":              []string{"openid", "profile", "email", "offline_access"},
		"subject_types_supported":       []string{"pairwise"},
		"http_logout_supported":         true,
		"frontchannel_logout_supported": true,
		"tenant_region_scope":           nil,
		"cloud_instance_name":           "microsoftonline.com",
		"cloud_graph_host_name":         "graph.windows.net",
		"msgraph_host":                  graph.Host,
		"rbac_url":                      "https://pas.windows.net",
	})
	if e.tenant.id != "" && e.tenant.id != TenantPersonal {
		doc["tenant_region_scope"] = "EU"
	}
	if e.forApp(r) {
		doc["jwks_uri"] = doc["jwks_uri"].(string) + "?appid=" + url.QueryEscape(e.ClientID)
	}
	if e.tenant.family == entra {
		doc["claims_supported"] = []string{"sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email"}
	}
	return doc
}
