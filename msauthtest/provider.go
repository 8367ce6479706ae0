package msauthtest

import (
	"net/http"
	"strings"
)

// A Provider is an OpenID provider of a [Server] that is not reached by
// msauth's Config.Authority.
type Provider struct {
	// Issuer is for Config.Issuer: discovery is read below it.
	Issuer string

	// Published is the issuer that its discovery names: for
	// Config.MicrosoftIssuer where it is another than Issuer.
	Published string
}

// B2C is Azure AD B2C on a custom domain, with the user flow B2C_1_susi. The
// people are the same, each with an account in the directory [TenantExternal].
// In process, [Server.Transport] reaches it under its stock name too:
// https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0,
// which publishes https://fabrikam.b2clogin.com/{TenantExternal}/v2.0/.
func (s *Server) B2C() Provider {
	return Provider{
		Issuer:    s.URL + "/" + b2cPath + "/v2.0",
		Published: tenant{family: b2c}.issuer(s.URL),
	}
}

// ExternalID is Microsoft Entra External ID behind a custom domain. The people
// are the same, each with an account in the directory [TenantExternal]. In
// process, [Server.Transport] reaches it under its stock name too:
// https://fabrikam.ciamlogin.com/{TenantExternal}/v2.0.
func (s *Server) ExternalID() Provider {
	return Provider{
		Issuer:    s.URL + "/" + TenantExternal + "/v2.0",
		Published: tenant{family: external}.issuer(s.URL),
	}
}

// Plain is the OpenID provider at {URL}/generic that is not Microsoft's: no
// tid, no oid, the same people.
func (s *Server) Plain() Provider {
	issuer := tenant{family: plain}.issuer(s.URL)
	return Provider{Issuer: issuer, Published: issuer}
}

// The stock names of B2C and External ID, which lead here in process.
const (
	b2cOrigin        = "https://fabrikam.b2clogin.com"
	externalOrigin   = "https://fabrikam.ciamlogin.com"
	externalIDOrigin = "https://" + TenantExternal + ".ciamlogin.com"
)

// A family is a kind of provider, with habits of its own.
type family int

const (
	entra    family = iota
	external        // External ID: Entra's own service, another issuer
	b2c
	plain // not Microsoft
)

// A tenant is what the first elements of a path name: a provider, and whom its
// endpoints admit.
type tenant struct {
	name   string // as in the path
	id     string // GUID; empty for common, organizations, B2C and the plain provider
	family family
}

// tenant resolves the beginning of a path.
func (s *Server) tenant(name string) (tenant, bool) {
	switch lower := strings.ToLower(name); lower {
	case "common", "organizations":
		return tenant{name: lower}, true
	case "consumers":
		return tenant{name: lower, id: TenantPersonal}, true
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

// tenantPath splits a path into what names the tenant and the rest. B2C names
// its policy after the domain, or in the query.
func tenantPath(r *http.Request) (name, rest string) {
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

// served tells whether a host serves a tenant: the stock names are those of
// one provider each.
func (t tenant) served(origin string) bool {
	switch origin {
	case b2cOrigin:
		return t.family == b2c
	case externalOrigin, externalIDOrigin:
		return t.family == external
	}
	return true
}

// admits answers 0, or the AADSTS number that says why u cannot sign in here.
func (t tenant) admits(u User) int {
	switch {
	case u.Disabled:
		return 50057
	case t.family != entra:
	case t.name == "organizations" && u.personal():
		return 500200
	case t.id != "" && t.id != u.TenantID:
		return 50020
	}
	return 0
}

// local is a person as the provider's directory knows them.
func (t tenant) local(u User) User {
	if t.family == b2c || t.family == external {
		u.TenantID = TenantExternal
	}
	return u
}

// issuer is what discovery of this tenant publishes: for common and
// organizations a template, taken literally.
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

// issuerFor is the issuer of a token for u.
func (t tenant) issuerFor(origin string, u User) string {
	if t.family != entra {
		return t.issuer(origin)
	}
	return origin + "/" + u.TenantID + "/v2.0"
}
