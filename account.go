package msauth

import "strings"

// personalTenant is the tenant of all personal Microsoft accounts.
const personalTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// An account is who an ID token says that somebody is. The fields are explained
// at User of the root package, which is this one in public.
type account struct {
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

// key identifies the account; apps keep it. It is "tid.oid" in lower case for
// Microsoft accounts, issuer + "#" + subject otherwise, and empty for nobody.
func (a *account) key() string {
	switch {
	case a.TenantID != "" && a.ObjectID != "":
		return strings.ToLower(a.TenantID + "." + a.ObjectID)
	case a.Issuer != "" && a.Subject != "":
		return a.Issuer + "#" + a.Subject
	}
	return ""
}

// same compares all that identifies. The key alone would do for one provider with
// one configuration; what was kept may be of another.
func (a *account) same(b *account) bool {
	return a.Issuer == b.Issuer && a.Subject == b.Subject && a.TenantID == b.TenantID && a.ObjectID == b.ObjectID
}

// personal reports whether this is a personal Microsoft account.
func (a *account) personal() bool { return a.TenantID == personalTenant }
