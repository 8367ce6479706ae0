package provider

import (
	"errors"
	"slices"
	"strings"
)

// An Account is the person that an ID token is about. Its fields are those of User
// in package msauth, in the same order, so that one converts to the other.
type Account struct {
	// Issuer and Subject identify the person towards this app only (OpenID
	// Connect Core section 2).
	Issuer, Subject string
	// TenantID is the directory (tid) and ObjectID the person in it (oid), GUIDs
	// in lower case; both empty at providers that are not Microsoft's and at Live
	// Connect, and either where the token does not tell it.
	TenantID, ObjectID string

	// Name is the person's name, for display.
	Name string
	// Username is what the person types to sign in, for display: it may be given
	// to another person later.
	Username string
	// Email is an e-mail address, for display unless EmailVerified is set.
	Email string
	// EmailVerified means that the provider vouches for Email.
	EmailVerified bool

	// Roles are the app roles of the person.
	Roles []string
	// Groups are the ids of the person's groups.
	Groups []string
	// GroupsOverage means that there are more groups than the token could list.
	GroupsOverage bool

	// Claims are the further claims that Settings.Claims names, as encoding/json
	// decodes them; nil if there are none.
	Claims map[string]any
}

// Key identifies the account; apps store it, so its form never changes. It is
// "tid.oid" in lower case for Microsoft accounts, and otherwise issuer + "#" +
// subject. It is empty for the zero Account.
func (a *Account) Key() string {
	switch {
	case a.TenantID != "" && a.ObjectID != "":
		return strings.ToLower(a.TenantID + "." + a.ObjectID)
	case a.Issuer != "" && a.Subject != "":
		return a.Issuer + "#" + a.Subject
	}
	return ""
}

// Same reports whether two accounts are one person: everything that identifies them
// is equal. Equal keys would not be enough for an account that was stored under
// another configuration.
func (a *Account) Same(b *Account) bool {
	return a.Issuer == b.Issuer && a.Subject == b.Subject && a.TenantID == b.TenantID && a.ObjectID == b.ObjectID
}

// Personal reports whether this is a personal Microsoft account.
func (a *Account) Personal() bool { return a.TenantID == PersonalTenant || a.Issuer == LiveIssuer }

// ErrNotAdmitted means that an ID token is valid, but Admits refuses its account.
// This package does not return it: callers of Admits do.
var ErrNotAdmitted = errors.New("msauth: account not admitted")

// Admits reports whether an account may sign in: it belongs to the configured tenant
// ("" for providers other than Entra, where every account may) and to one of the
// allowed tenants, unless that list is empty.
func Admits(u *Account, tenant string, allowed []string) bool {
	switch {
	case tenant == "":
		return true
	case tenant == "organizations" && u.Personal(), tenant == "consumers" && !u.Personal():
		return false
	case u.TenantID != tenant && GUIDForm.MatchString(tenant):
		return false
	}
	return len(allowed) == 0 || slices.Contains(allowed, u.TenantID)
}
