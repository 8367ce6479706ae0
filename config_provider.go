package msauth

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"example.com/msauth/internal/provider"
)

// kind is what provider the configuration is for.
func (c *Config) kind() provider.Kind { return provider.KindOf(c.Issuer, c.MicrosoftIssuer) }

func (c *Config) completeProvider() error {
	if provider.GUIDForm.MatchString(c.ClientID) && c.kind() != provider.OtherProvider {
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
	if provider.OnHost(c.Authority, ".b2clogin.com") || provider.OnHost(c.Authority, ".ciamlogin.com") {
		return fieldError("Authority", "%q is of Azure AD B2C or Entra External ID: leave Authority and Tenant empty, and set Issuer to the URL "+
			"that comes before /.well-known/openid-configuration, such as https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/B2C_1_susi/v2.0 "+
			"or https://fabrikam.ciamlogin.com/<tenant id>/v2.0", c.Authority)
	}
	if strings.Trim(u.Path, "/") != "" {
		return fieldError("Authority", "%q must have no path: the tenant goes to Config.Tenant", c.Authority)
	}
	c.Authority = u.Scheme + "://" + strings.ToLower(u.Host)
	if cloud := provider.CloudOf(u); cloud != "" && c.Authority != cloud {
		return fieldError("Authority", "%q is another name for %s, and tokens name the latter: set Authority to %q", c.Authority, cloud, cloud)
	}

	switch {
	case c.Tenant == "":
		c.Tenant = "common"
	case provider.GUIDForm.MatchString(c.Tenant), provider.DomainForm.MatchString(c.Tenant):
		c.Tenant = strings.ToLower(c.Tenant)
	case c.Tenant == "common", c.Tenant == "organizations", c.Tenant == "consumers":
	default:
		return fieldError("Tenant", "%q must be common, organizations, consumers, a tenant id or a domain name", c.Tenant)
	}
	c.AllowedTenants = slices.Clone(c.AllowedTenants)
	for i, id := range c.AllowedTenants {
		if !provider.GUIDForm.MatchString(id) {
			return fieldError("AllowedTenants", "has %q, which is no tenant id (a GUID)", id)
		}
		c.AllowedTenants[i] = strings.ToLower(id)
	}
	if len(c.AllowedTenants) > 0 && c.Tenant != "common" && c.Tenant != "organizations" {
		return fieldError("AllowedTenants", "needs Tenant common or organizations")
	}
	if c.Tenant == "organizations" && slices.Contains(c.AllowedTenants, provider.PersonalTenant) {
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
		if cloud := provider.CloudOf(u); cloud != "" {
			return fieldError(f.field, "%q is Microsoft's own sign-in service: leave Issuer and MicrosoftIssuer empty, and set Authority to %q and Tenant to %q",
				f.value, cloud, provider.TenantIn(u))
		}
	}
	if c.MicrosoftIssuer == "" || provider.DirectoryOf(c.MicrosoftIssuer) != "" {
		return nil
	}
	if provider.TFPIssuer(c.MicrosoftIssuer) {
		return fieldError("MicrosoftIssuer", "%q: the form of Azure AD B2C with /tfp/ is not supported: in the properties of the user flow, under "+
			"\"Token compatibility settings\", set \"Issuer (iss) claim\" to the form that has the tenant's id alone", c.MicrosoftIssuer)
	}
	return fieldError("MicrosoftIssuer", "%q must have the form https://host/<tenant id>/v2.0, with or without a slash at the end, exactly as discovery below Issuer publishes it", c.MicrosoftIssuer)
}
