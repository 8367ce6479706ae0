package provider

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"example.com/msauth/internal/web"
)

// checkIssuer refuses a discovery document of another issuer than the configured
// one.
func (a *Authority) checkIssuer(m *Metadata) error {
	if a.Issuer == "" {
		return a.checkEntraIssuer(m.Issuer)
	}
	return a.checkConfiguredIssuer(m.Issuer)
}

// IsIssuer reports whether tokens of this issuer are accepted, as far as is known
// without asking the provider.
func (a *Authority) IsIssuer(issuer string) bool {
	if a.Issuer == "" {
		return a.issuerTenant(issuer) != TenantPattern && a.checkEntraIssuer(issuer) == nil
	}
	m, err := a.Known()
	return err == nil && issuer == m.Issuer || err != nil && issuer == a.Issuer
}

// checkEntraIssuer accepts the issuer of the configured tenant. For "common" and
// "organizations" that may be a template.
func (a *Authority) checkEntraIssuer(issuer string) error {
	tenant := a.issuerTenant(issuer)
	var fits bool
	switch {
	case a.Tenant == "common", a.Tenant == "organizations":
		fits = tenant != ""
	case a.Tenant == "consumers":
		fits = tenant == PersonalTenant
	case GUIDForm.MatchString(a.Tenant):
		fits = strings.EqualFold(tenant, a.Tenant)
	default: // a domain: it may belong to any tenant, but always to the same
		fits = GUIDForm.MatchString(tenant)
		if known, err := a.Known(); err == nil && known.Issuer != issuer {
			fits = false
		}
	}
	if !fits {
		return fmt.Errorf("names the issuer %q, which is not that of tenant %q", web.OneLine(issuer, 200), a.Tenant)
	}
	return nil
}

// checkConfiguredIssuer accepts the configured issuer, and the one that belongs
// to it at Azure AD B2C and Entra External ID. Its errors say which settings
// would fit the document.
func (a *Authority) checkConfiguredIssuer(issuer string) error {
	named := web.OneLine(issuer, 200)
	directory := DirectoryOf(issuer)
	switch {
	case TFPIssuer(issuer) && (a.Kind == b2c || issuer != a.Issuer):
		return fmt.Errorf("names the issuer %q: this form of Azure AD B2C, with /tfp/, is not supported. "+
			"In the properties of the user flow, under \"Token compatibility settings\", set \"Issuer (iss) claim\" to the form that has the tenant's id alone "+
			"(in a custom policy, IssuanceClaimPattern to AuthorityAndTenantGuid)", named)
	case a.Published != "":
		if issuer != a.Published {
			return fmt.Errorf("names the issuer %q and not Config.MicrosoftIssuer, %q", named, a.Published)
		}
		return nil
	case issuer == a.Issuer && (a.Kind == OtherProvider || directory != ""), a.Kind != OtherProvider && directoryIssuer(a.Issuer, issuer):
		return nil
	case directory != "" && named == issuer:
		if u, err := url.Parse(issuer); err == nil && CloudOf(u) != "" {
			return fmt.Errorf("names the issuer %q and not %q: set Config.Authority to %q and Config.Tenant to %q, and leave Config.Issuer empty",
				named, a.Issuer, CloudOf(u), directory)
		}
		return fmt.Errorf("names the issuer %q and not %q: if this is a custom domain of Entra External ID or Azure AD B2C, and that is your tenant's id, set Config.MicrosoftIssuer to %q",
			named, a.Issuer, issuer)
	}
	if a.Kind != OtherProvider && issuer == a.Issuer {
		return fmt.Errorf("names the issuer %q, which is not of the form https://host/<tenant id>/v2.0 that Entra External ID and Azure AD B2C have", named)
	}
	return fmt.Errorf("names the issuer %q and not %q", named, a.Issuer)
}

// TenantIssuer returns the issuer of a tenant's tokens at Entra, for example
// "https://login.microsoftonline.com/<tenant id>/v2.0". It is empty if either
// argument is.
func TenantIssuer(origin, tenantID string) string {
	if origin == "" || tenantID == "" {
		return ""
	}
	return string(AppendTenantIssuer(nil, origin, []byte(tenantID)))
}

// AppendTenantIssuer appends to out what TenantIssuer returns for arguments that are
// not empty. It allocates nothing if out has room.
func AppendTenantIssuer(out []byte, origin string, tenantID []byte) []byte {
	return append(append(append(append(out, origin...), '/'), tenantID...), "/v2.0"...)
}

// issuerTenant returns the tenant in an issuer of Entra: a GUID, TenantPattern, or
// "" if the issuer has another form.
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

// directoryPath is the path of an issuer that DirectoryOf accepts.
var directoryPath = regexp.MustCompile(`^/([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})/v2\.0/?$`)

// DirectoryOf returns the directory (tenant) in the path of an issuer, in lower case.
// The issuer has the form that Azure AD B2C and Entra External ID publish,
// https://host/<tenant id>/v2.0 with or without a slash at the end; for others the
// result is "".
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

// directoryIssuer reports whether Azure AD B2C or Entra External ID, configured by
// the first URL, may publish the second as its issuer: theirs is by design not the
// URL that discovery is read from.
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

// TFPIssuer reports whether an issuer of Azure AD B2C names the user flow in its
// path, which is not supported.
func TFPIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && strings.HasPrefix(strings.ToLower(u.Path), "/tfp/")
}
