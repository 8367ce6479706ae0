package provider

import (
	"slices"
	"strings"
)

// PersonalTenant is the tenant of all personal Microsoft accounts.
const PersonalTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// An Account is who an ID token says that somebody is. The fields are explained
// at User of the root package, which is this one in public.
type Account struct {
	Issuer, Subject    string
	TenantID, ObjectID string

	Name          string
	Username      string
	Email         string
	EmailVerified bool

	Roles         []string
	Groups        []string
	GroupsOverage bool

	Claims map[string]any
}

// Key identifies the account; apps keep it. It is "tid.oid" in lower case for
// Microsoft accounts, issuer + "#" + subject otherwise, and empty for nobody.
func (a *Account) Key() string {
	switch {
	case a.TenantID != "" && a.ObjectID != "":
		return strings.ToLower(a.TenantID + "." + a.ObjectID)
	case a.Issuer != "" && a.Subject != "":
		return a.Issuer + "#" + a.Subject
	}
	return ""
}

// Same compares all that identifies. The key alone would do for one provider with
// one configuration; what was kept may be of another.
func (a *Account) Same(b *Account) bool {
	return a.Issuer == b.Issuer && a.Subject == b.Subject && a.TenantID == b.TenantID && a.ObjectID == b.ObjectID
}

// Personal reports whether this is a personal Microsoft account.
func (a *Account) Personal() bool { return a.TenantID == PersonalTenant }

// Admits checks an identity against today's configuration.
func Admits(u *Account, tenant string, allowed []string) bool {
	switch {
	case tenant == "": // another OpenID provider
		return true
	case tenant == "organizations" && u.Personal(), tenant == "consumers" && !u.Personal():
		return false
	case u.TenantID != tenant && GUIDForm.MatchString(tenant):
		return false
	}
	return len(allowed) == 0 || slices.Contains(allowed, u.TenantID)
}
