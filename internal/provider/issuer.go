package provider

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"example.com/msauth/internal/web"
)

// A Kind says whose habits the provider has.
type Kind uint8

const (
	OtherProvider Kind = iota
	Entra              // Microsoft Entra ID with personal accounts: Config.Authority
	ExternalID         // Microsoft Entra External ID, which is Entra's own service
	b2c                // Azure AD B2C
)

// KindOf follows from the configuration alone, so that nothing that a provider
// publishes can make it Microsoft's.
func KindOf(issuer, microsoftIssuer string) Kind {
	switch {
	case issuer == "":
		return Entra
	case OnHost(issuer, ".ciamlogin.com"), OnHost(microsoftIssuer, ".ciamlogin.com"):
		return ExternalID
	case OnHost(issuer, ".b2clogin.com"), microsoftIssuer != "":
		return b2c
	}
	return OtherProvider
}

func OnHost(address, suffix string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.ToLower(u.Host), suffix)
}

// MicrosoftIssuer says whether tid and oid mean what they mean at Microsoft.
func (a *Authority) MicrosoftIssuer() bool { return a.Kind != OtherProvider }

// TenantIssuer is the issuer of a Microsoft tenant's tokens.
func TenantIssuer(origin, tenantID string) string {
	if origin == "" || tenantID == "" {
		return ""
	}
	return string(AppendTenantIssuer(nil, origin, []byte(tenantID)))
}

func AppendTenantIssuer(out []byte, origin string, tenantID []byte) []byte {
	return append(append(append(append(out, origin...), '/'), tenantID...), "/v2.0"...)
}

// issuerTenant is the tenant in such an issuer, or "".
func (a *Authority) issuerTenant(issuer string) string {
	rest, ok := strings.CutPrefix(issuer, a.Origin+"/")
	if !ok {
		return ""
	}
	tenant, ok := strings.CutSuffix(rest, "/v2.0")
	if !ok || tenant != TenantPattern && !GUIDForm.MatchString(tenant) {
		return ""
	}
	return tenant
}

var directoryPath = regexp.MustCompile(`^/([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})/v2\.0/?$`)

// DirectoryOf is the directory in the path of an issuer of the form that Azure
// AD B2C and Entra External ID have, https://host/<guid>/v2.0 with or without a
// slash at the end, in lower case; "" if it has another one.
func DirectoryOf(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(issuer, "#") ||
		u.Scheme != "https" && !(u.Scheme == "http" && web.IsLoopback(u.Hostname())) {
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
	directory := DirectoryOf(published)
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

// TFPIssuer reports whether an issuer of Azure AD B2C has the form with the
// user flow in it.
func TFPIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && strings.HasPrefix(strings.ToLower(u.Path), "/tfp/")
}

// TenantIn is the tenant that a URL at Microsoft names, or what to put there.
func TenantIn(u *url.URL) string {
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if GUIDForm.MatchString(tenant) || DomainForm.MatchString(tenant) || tenant == "common" || tenant == "organizations" || tenant == "consumers" {
		return tenant
	}
	return "the id of your tenant"
}

// basicAuth says whether the token endpoint wants the client secret by HTTP
// Basic (RFC 6749 section 2.3.1). Of a provider that says nothing that is
// assumed (OpenID Connect Discovery section 3); every endpoint of Microsoft
// takes it in the body.
func (a *Authority) basicAuth(m *Metadata) bool {
	return a.Kind == OtherProvider && !slices.Contains(m.AuthMethods, "client_secret_post")
}

// OffersOffline says whether offline_access can be asked for: providers may
// refuse a scope that they do not know. Azure AD B2C lists openid alone, and
// gives refresh tokens for it all the same.
func (a *Authority) OffersOffline(m *Metadata) bool {
	return a.Kind != OtherProvider || m.Scopes == nil || slices.Contains(m.Scopes, "offline_access")
}
