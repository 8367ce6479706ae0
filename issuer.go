package msauth

import (
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

// kindOf follows from the configuration alone, so that nothing that a provider
// publishes can make it Microsoft's.
func kindOf(issuer, microsoftIssuer string) providerKind {
	switch {
	case issuer == "":
		return entra
	case onHost(issuer, ".ciamlogin.com"), onHost(microsoftIssuer, ".ciamlogin.com"):
		return externalID
	case onHost(issuer, ".b2clogin.com"), microsoftIssuer != "":
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

var directoryPath = regexp.MustCompile(`^/([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})/v2\.0/?$`)

// directoryOf is the directory in the path of an issuer of the form that Azure
// AD B2C and Entra External ID have, https://host/<guid>/v2.0 with or without a
// slash at the end, in lower case; "" if it has another one.
func directoryOf(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(issuer, "#") ||
		u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return ""
	}
	m := directoryPath.FindStringSubmatch(u.EscapedPath())
	if m == nil {
		return ""
	}
	return strings.ToLower(m[1])
}

// directoryIssuer accepts the issuers that Azure AD B2C and Entra External ID
// publish: by design not the URL that their discovery is read from.
func directoryIssuer(configured, published string) bool {
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
