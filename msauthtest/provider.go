package msauthtest

import (
	"net/http"
	"strings"
)

// A Provider is an OpenID provider of a [Server] for msauth's Config.Issuer,
// not for Config.Authority.
type Provider struct {
	// Issuer is the value for Config.Issuer. The discovery document is below
	// it.
	Issuer string

	// Published is the issuer in the discovery document. If it differs from
	// Issuer, it is the value for Config.MicrosoftIssuer.
	Published string
}

// B2C returns the provider that stands in for Azure AD B2C on a custom domain,
// with the user flow B2C_1_susi. The same people can sign in, each with an
// account in the directory [TenantExternal]. [Server.Transport] also serves it
// under its standard name,
// https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0, which
// publishes https://fabrikam.b2clogin.com/{TenantExternal}/v2.0/.
func (s *Server) B2C() Provider {
	return Provider{
		Issuer:    s.URL + "/" + b2cPath + "/v2.0",
		Published: tenant{family: b2c}.issuer(s.URL),
	}
}

// ExternalID returns the provider that stands in for Microsoft Entra External
// ID on a custom domain. The same people can sign in, each with an account in
// the directory [TenantExternal]. [Server.Transport] also serves it under its
// standard name, https://fabrikam.ciamlogin.com/{TenantExternal}/v2.0.
func (s *Server) ExternalID() Provider {
	return Provider{
		Issuer:    s.URL + "/" + TenantExternal + "/v2.0",
		Published: tenant{family: external}.issuer(s.URL),
	}
}

// Plain returns the OpenID provider at {URL}/generic that is not Microsoft's.
// The same people can sign in. Their tokens have no tid and no oid.
func (s *Server) Plain() Provider {
	issuer := tenant{family: plain}.issuer(s.URL)
	return Provider{Issuer: issuer, Published: issuer}
}

// The standard names of B2C and External ID, served in process.
const (
	b2cOrigin        = "https://fabrikam.b2clogin.com"
	externalOrigin   = "https://fabrikam.ciamlogin.com"
	externalIDOrigin = "https://" + TenantExternal + ".ciamlogin.com"
)

// A family is a kind of provider.
type family int

const (
	entra    family = iota
	external        // External ID: Entra's service with another issuer
	b2c
	plain // not Microsoft
	live  // Live Connect: not an OpenID provider
)

// A tenant is what the first elements of a path refer to: a provider, and whose
// accounts it accepts.
type tenant struct {
	name   string // as in the path
	id     string // GUID; empty for common, organizations, B2C and the plain provider
	family family
}

// tenant returns the tenant for the beginning of a path.
func (s *Server) tenant(name string) (tenant, bool) {
	switch lower := strings.ToLower(name); lower {
	case "common", "organizations":
		return tenant{name: lower}, true
	case "consumers":
		return tenant{name: lower, id: TenantPersonal}, true
	case liveHost:
		return tenant{name: lower, family: live}, true
	case "generic":
		return tenant{name: lower, family: plain}, true
	case b2cPath:
		return tenant{name: lower, family: b2c}, true
	case TenantExternal:
		return tenant{name: lower, id: lower, family: external}, true
	case TenantContoso, TenantFabrikam, TenantPersonal:
		return tenant{name: lower, id: lower}, true
	case "contoso.example":
		return tenant{name: lower, id: TenantContoso}, true
	case "fabrikam.example":
		return tenant{name: lower, id: TenantFabrikam}, true
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, u := range s.users {
			if lower == u.TenantID || !u.personal() && lower == u.domain() {
				return tenant{name: lower, id: u.TenantID}, true
			}
		}
		return tenant{}, false
	}
}

// tenantPath splits a path into the tenant's name and the rest. The name of
// B2C's policy follows the domain or is in the query. The host login.live.com is
// that of one provider, whatever the path.
func tenantPath(r *http.Request) (name, rest string) {
	if atLive(r) {
		return liveHost, strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"), liveHost+"/")
	}
	name, rest, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !strings.EqualFold(name, b2cDomain) {
		return name, rest
	}
	if policy, after, _ := strings.Cut(rest, "/"); strings.EqualFold(policy, b2cPolicy) {
		return b2cPath, after
	}
	if strings.EqualFold(r.URL.Query().Get("p"), b2cPolicy) {
		return b2cPath, rest
	}
	return name, rest
}

// served reports whether a host serves a tenant. Each standard name serves one
// provider only.
func (t tenant) served(origin string) bool {
	switch origin {
	case b2cOrigin:
		return t.family == b2c
	case externalOrigin, externalIDOrigin:
		return t.family == external
	case liveOrigin:
		return t.family == live
	}
	return true
}

// admits returns 0, or the AADSTS number of the reason why u cannot sign in
// here.
func (t tenant) admits(u User) int {
	switch {
	case u.Disabled:
		return 50057
	case t.family == live && !u.personal():
		return 50020
	case t.family != entra:
	case t.name == "organizations" && u.personal():
		return 500200
	case t.id != "" && t.id != u.TenantID:
		return 50020
	}
	return 0
}

// local returns u as an account in the provider's directory.
func (t tenant) local(u User) User {
	if t.family == b2c || t.family == external {
		u.TenantID = TenantExternal
	}
	return u
}

// issuer returns the issuer in the discovery document. For common and
// organizations it is a template.
func (t tenant) issuer(origin string) string {
	switch {
	case t.family == plain:
		return origin + "/generic"
	case t.family == b2c:
		return origin + "/" + TenantExternal + "/v2.0/"
	case t.family == external: // whatever the host
		return externalIDOrigin + "/" + TenantExternal + "/v2.0"
	case t.id == "":
		return origin + "/{tenantid}/v2.0"
	}
	return origin + "/" + t.id + "/v2.0"
}

// issuerFor returns the issuer of a token for u.
func (t tenant) issuerFor(origin string, u User) string {
	if t.family != entra {
		return t.issuer(origin)
	}
	return origin + "/" + u.TenantID + "/v2.0"
}
