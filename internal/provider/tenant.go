package provider

import (
	"net/url"
	"regexp"
	"strings"
)

// PersonalTenant is the tenant id of all personal Microsoft accounts.
const PersonalTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// TenantPattern stands for the tenant id in issuers that Entra publishes for many
// tenants.
const TenantPattern = "{tenantid}"

// GUIDForm matches a GUID, such as a tenant id or a client ID.
var GUIDForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// DomainForm matches a domain name of at least two labels.
var DomainForm = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z][a-zA-Z0-9-]{0,61}[a-zA-Z0-9]$`)

// TenantIn returns the tenant that the path of a URL at Microsoft begins with. If
// there is none, it returns a phrase to show in its place.
func TenantIn(u *url.URL) string {
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if GUIDForm.MatchString(tenant) || DomainForm.MatchString(tenant) || tenant == "common" || tenant == "organizations" || tenant == "consumers" {
		return tenant
	}
	return "the id of your tenant"
}
