package msauth

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// A providerKind says whose habits the provider has.
type providerKind uint8

const (
	otherProvider providerKind = iota
	entra                      // Microsoft Entra ID with personal accounts: Config.Authority
	externalID                 // Microsoft Entra External ID, which is Entra's own service
	b2c                        // Azure AD B2C
)

// kind follows from the configuration alone, so that nothing that a provider
// publishes can make it Microsoft's.
func (c *Config) kind() providerKind {
	switch {
	case c.Issuer == "":
		return entra
	case onHost(c.Issuer, ".ciamlogin.com"), onHost(c.MicrosoftIssuer, ".ciamlogin.com"):
		return externalID
	case onHost(c.Issuer, ".b2clogin.com"), c.MicrosoftIssuer != "":
		return b2c
	}
	return otherProvider
}

func onHost(address, suffix string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.ToLower(u.Host), suffix)
}

// microsoftIssuer says whether tid and oid mean what they mean at Microsoft.
func (a *authority) microsoftIssuer() bool { return a.kind != otherProvider }

// tenantIssuer is the issuer of a Microsoft tenant's tokens.
func tenantIssuer(origin, tenantID string) string {
	if origin == "" || tenantID == "" {
		return ""
	}
	return string(appendTenantIssuer(nil, origin, []byte(tenantID)))
}

func appendTenantIssuer(out []byte, origin string, tenantID []byte) []byte {
	return append(append(append(append(out, origin...), '/'), tenantID...), "/v2.0"...)
}

// issuerTenant is the tenant in such an issuer, or "".
func (a *authority) issuerTenant(issuer string) string {
	rest, ok := strings.CutPrefix(issuer, a.origin+"/")
	if !ok {
		return ""
	}
	tenant, ok := strings.CutSuffix(rest, "/v2.0")
	if !ok || tenant != tenantPattern && !guidForm.MatchString(tenant) {
		return ""
	}
	return tenant
}

var externalIDPath = regexp.MustCompile(`^/([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})/v2\.0/?$`)

// directoryOf is the directory in the path of an issuer of the form that Azure
// AD B2C and Entra External ID have, https://host/<guid>/v2.0 with or without a
// slash at the end, in lower case; "" if it has another one.
func directoryOf(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(issuer, "#") ||
		u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return ""
	}
	m := externalIDPath.FindStringSubmatch(u.EscapedPath())
	if m == nil {
		return ""
	}
	return strings.ToLower(m[1])
}

// externalIDIssuer accepts the issuers that Azure AD B2C and Entra External ID
// publish: by design not the URL that their discovery is read from.
func externalIDIssuer(configured, published string) bool {
	c, err := url.Parse(configured)
	if err != nil {
		return false
	}
	p, err := url.Parse(published)
	directory := directoryOf(published)
	if err != nil || p.Scheme != "https" || directory == "" {
		return false
	}
	host := strings.ToLower(c.Host)
	switch {
	case strings.HasSuffix(host, ".b2clogin.com"):
		return p.Host == host
	case strings.HasSuffix(host, ".ciamlogin.com"):
		return p.Host == host || p.Host == directory+".ciamlogin.com"
	}
	return false
}

// tfpIssuer reports whether an issuer of Azure AD B2C has the form with the
// user flow in it.
func tfpIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && strings.HasPrefix(strings.ToLower(u.Path), "/tfp/")
}

// cloudHosts are the names of Microsoft's own sign-in service, and under which
// of them its tokens name their issuer. They are the aliases that MSAL's
// instance discovery lists.
var cloudHosts = map[string]string{
	"login.microsoftonline.com": "login.microsoftonline.com",
	"login.windows.net":         "login.microsoftonline.com",
	"login.microsoft.com":       "login.microsoftonline.com",
	"sts.windows.net":           "login.microsoftonline.com",

	"login.microsoftonline.us":     "login.microsoftonline.us",
	"login.usgovcloudapi.net":      "login.microsoftonline.us",
	"login-us.microsoftonline.com": "login.microsoftonline.us",
	"login.cloudgovapi.us":         "login.microsoftonline.us",

	"login.partner.microsoftonline.cn": "login.partner.microsoftonline.cn",
	"login.chinacloudapi.cn":           "login.partner.microsoftonline.cn",
	"sts.chinacloudapi.cn":             "login.partner.microsoftonline.cn",

	"login.microsoftonline.de": "login.microsoftonline.de",

	"login.sovcloud-identity.fr": "login.sovcloud-identity.fr",
	"login.sovcloud-identity.de": "login.sovcloud-identity.de",
	"login.sovcloud-identity.sg": "login.sovcloud-identity.sg",
}

// cloudOf is the Authority of the Microsoft cloud that a host belongs to, ""
// if it is of none. Regions have names below the first ones.
func cloudOf(u *url.URL) string {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	for host != "" {
		if canonical := cloudHosts[host]; canonical != "" {
			return "https://" + canonical
		}
		_, host, _ = strings.Cut(host, ".")
	}
	return ""
}

// tenantIn is the tenant that a URL at Microsoft names, or what to put there.
func tenantIn(u *url.URL) string {
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if guidForm.MatchString(tenant) || domainForm.MatchString(tenant) || tenant == "common" || tenant == "organizations" || tenant == "consumers" {
		return tenant
	}
	return "the id of your tenant"
}

func (c *Config) completeProvider() error {
	if guidForm.MatchString(c.ClientID) && c.kind() != otherProvider {
		c.ClientID = strings.ToLower(c.ClientID) // as ID tokens have it
	}
	if c.Issuer != "" {
		return c.completeIssuer()
	}
	if c.MicrosoftIssuer != "" {
		return fieldError("MicrosoftIssuer", "needs Issuer, the URL below which discovery is found")
	}
	if c.Authority == "" {
		c.Authority = defaultAuthority
	}
	u, err := checkURL("Authority", c.Authority, false)
	if err != nil {
		return err
	}
	if onHost(c.Authority, ".b2clogin.com") || onHost(c.Authority, ".ciamlogin.com") {
		return fieldError("Authority", "%q is of Azure AD B2C or Entra External ID: leave Authority and Tenant empty, and set Issuer to the URL "+
			"that comes before /.well-known/openid-configuration, such as https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/B2C_1_susi/v2.0 "+
			"or https://fabrikam.ciamlogin.com/<tenant id>/v2.0", c.Authority)
	}
	if strings.Trim(u.Path, "/") != "" {
		return fieldError("Authority", "%q must have no path: the tenant goes to Config.Tenant", c.Authority)
	}
	c.Authority = u.Scheme + "://" + strings.ToLower(u.Host)
	if cloud := cloudOf(u); cloud != "" && c.Authority != cloud {
		return fieldError("Authority", "%q is another name for %s, and tokens name the latter: set Authority to %q", c.Authority, cloud, cloud)
	}

	switch {
	case c.Tenant == "":
		c.Tenant = "common"
	case guidForm.MatchString(c.Tenant), domainForm.MatchString(c.Tenant):
		c.Tenant = strings.ToLower(c.Tenant)
	case c.Tenant == "common", c.Tenant == "organizations", c.Tenant == "consumers":
	default:
		return fieldError("Tenant", "%q must be common, organizations, consumers, a tenant id or a domain name", c.Tenant)
	}
	c.AllowedTenants = slices.Clone(c.AllowedTenants)
	for i, id := range c.AllowedTenants {
		if !guidForm.MatchString(id) {
			return fieldError("AllowedTenants", "has %q, which is no tenant id (a GUID)", id)
		}
		c.AllowedTenants[i] = strings.ToLower(id)
	}
	if len(c.AllowedTenants) > 0 && c.Tenant != "common" && c.Tenant != "organizations" {
		return fieldError("AllowedTenants", "needs Tenant common or organizations")
	}
	if c.Tenant == "organizations" && slices.Contains(c.AllowedTenants, personalTenant) {
		return fieldError("AllowedTenants", "names the tenant of personal accounts, which Tenant organizations excludes")
	}
	return nil
}

func (c *Config) completeIssuer() error {
	if c.Authority != "" || c.Tenant != "" {
		return fieldError("Issuer", "cannot be combined with Authority or Tenant")
	}
	if len(c.AllowedTenants) > 0 {
		return fieldError("AllowedTenants", "cannot be combined with Issuer")
	}
	for _, f := range []struct{ field, value string }{{"Issuer", c.Issuer}, {"MicrosoftIssuer", c.MicrosoftIssuer}} {
		if f.value == "" {
			continue
		}
		if before, _, found := strings.Cut(f.value, "/.well-known/"); found {
			return fieldError(f.field, "%q must end before /.well-known/: set it to %q", f.value, before)
		}
		u, err := checkURL(f.field, f.value, false)
		if err != nil {
			if u, bad := url.Parse(f.value); bad == nil && f.field == "Issuer" && u.Query().Has("p") {
				return fmt.Errorf("%w: a user flow of Azure AD B2C goes into the path, as in https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/B2C_1_susi/v2.0", err)
			}
			return err
		}
		if cloud := cloudOf(u); cloud != "" {
			return fieldError(f.field, "%q is Microsoft's own sign-in service: leave Issuer and MicrosoftIssuer empty, and set Authority to %q and Tenant to %q",
				f.value, cloud, tenantIn(u))
		}
	}
	if c.MicrosoftIssuer == "" || directoryOf(c.MicrosoftIssuer) != "" {
		return nil
	}
	if tfpIssuer(c.MicrosoftIssuer) {
		return fieldError("MicrosoftIssuer", "%q: the form of Azure AD B2C with /tfp/ is not supported: in the properties of the user flow, under "+
			"\"Token compatibility settings\", set \"Issuer (iss) claim\" to the form that has the tenant's id alone", c.MicrosoftIssuer)
	}
	return fieldError("MicrosoftIssuer", "%q must have the form https://host/<tenant id>/v2.0, with or without a slash at the end, exactly as discovery below Issuer publishes it", c.MicrosoftIssuer)
}

// basicAuth says whether the token endpoint wants the client secret by HTTP
// Basic (RFC 6749 section 2.3.1). Of a provider that says nothing that is
// assumed (OpenID Connect Discovery section 3); every endpoint of Microsoft
// takes it in the body.
func (a *authority) basicAuth(m *metadata) bool {
	return a.kind == otherProvider && !slices.Contains(m.AuthMethods, "client_secret_post")
}

// offersOffline says whether offline_access can be asked for: providers may
// refuse a scope that they do not know. Azure AD B2C lists openid alone, and
// gives refresh tokens for it all the same.
func (a *authority) offersOffline(m *metadata) bool {
	return a.kind != otherProvider || m.Scopes == nil || slices.Contains(m.Scopes, "offline_access")
}
