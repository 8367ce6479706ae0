package msauthtest

import (
	"net/http"
	"regexp"
	"strings"
)

// presignedPath matches the paths of URLs that browsers use from pages of other
// origins.
var presignedPath = regexp.MustCompile(`^/(upload|download|thumbnail)/.`)

// route returns the kind and the handler of a request.
func (s *Server) route(r *http.Request) (Kind, handler) {
	path := r.URL.Path
	switch {
	case s.origin(r) != s.URL: // a standard name serves its provider only
	case path == "/":
		return Other, (*exchange).welcome
	case path == "/error":
		return Other, (*exchange).explain
	case path == "/oidc/userinfo":
		return Graph, (*exchange).userinfo
	case path == "/v1.0/$batch":
		return Batch, (*exchange).batch
	case strings.HasPrefix(path, "/v1.0/"):
		return Graph, (*exchange).graph
	case r.Method == http.MethodOptions && presignedPath.MatchString(path):
		return Preflight, (*exchange).preflight
	case strings.HasPrefix(path, "/thumbnail/"):
		return Thumbnail, (*exchange).thumbnail
	case strings.HasPrefix(path, "/download/"):
		return Download, (*exchange).download
	case strings.HasPrefix(path, "/upload/"):
		return Upload, (*exchange).upload
	case strings.HasPrefix(path, "/monitor/"):
		return Monitor, (*exchange).monitor
	}
	name, rest := tenantPath(r)
	var kind Kind
	var handle handler
	if strings.EqualFold(name, liveHost) {
		kind, handle = liveRoute(rest)
	} else {
		kind, handle = openIDRoute(name, rest)
	}
	if handle == nil {
		return Other, func(_ *exchange, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }
	}
	return kind, func(e *exchange, w http.ResponseWriter, r *http.Request) {
		if e.tenant.name == "" || !e.tenant.served(e.origin) {
			e.refuse(w, r, 90002, "'"+name+"'")
			return
		}
		handle(e, w, r)
	}
}

// openIDRoute returns the kind and the handler of a path at an OpenID provider,
// or nil.
func openIDRoute(name, rest string) (Kind, handler) {
	// The plain provider has the same endpoints except discovery, which OpenID
	// Connect Discovery section 4 puts directly below the issuer.
	discovery := "v2.0/.well-known/openid-configuration"
	if name == "generic" {
		discovery = ".well-known/openid-configuration"
	}
	switch rest {
	case discovery:
		return Discovery, (*exchange).discover
	case "discovery/v2.0/keys":
		return Keys, (*exchange).keys
	case "oauth2/v2.0/authorize":
		return Authorize, (*exchange).authorize
	case "signin":
		return Picked, (*exchange).picked
	case "oauth2/v2.0/token":
		return TokenOther, (*exchange).token
	case "oauth2/v2.0/logout":
		return Logout, (*exchange).logout
	}
	return "", nil
}
