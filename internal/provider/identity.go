package provider

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"example.com/msauth/internal/web"
)

// An Identity is what a verified ID token says.
type Identity struct {
	// User is the person.
	User Account
	// Extra is User.Claims as a JSON object; "" if there are none.
	Extra string
	// SID is the provider's id of the session (sid); "" if the token has none.
	SID string
	// LoginHint is the login_hint claim, which names the account to the provider
	// in later requests; "" if the token has none.
	LoginHint string
	// AuthTime is when the person entered their credentials (auth_time), in Unix
	// seconds; 0 if the token does not say, or says nonsense.
	AuthTime int64
	// Contexts are the ids of the authentication contexts that the sign-in
	// satisfied (acrs), such as "c1".
	Contexts []string
}

// identity reads the claims that are kept. A claim of another type than expected
// counts as absent.
func (a *Authority) identity(c claims, issuer string) *Identity {
	id := &Identity{SID: c.text("sid"), LoginHint: c.text("login_hint")}
	if t, ok := c.time("auth_time"); ok && time.Until(t) <= FutureLeeway {
		id.AuthTime = t.Unix()
	}
	for _, context := range c.texts("acrs") {
		if ValidContext(context) && !slices.Contains(id.Contexts, context) {
			id.Contexts = append(id.Contexts, context)
		}
	}
	u := &id.User
	u.Issuer, u.Subject = issuer, c.text("sub")
	if a.MicrosoftIssuer() {
		u.TenantID, u.ObjectID = a.microsoftIDs(c, issuer)
		u.EmailVerified = c.truth("xms_edov")
	} else {
		u.EmailVerified = c.truth("email_verified")
	}
	// Both claims are about the email claim only, not about emails.
	u.EmailVerified = u.EmailVerified && c.text("email") != ""
	u.Name, u.Username, u.Email = c.names()
	u.Roles, u.Groups = c.texts("roles"), c.texts("groups")
	var names map[string]any
	if json.Unmarshal(c["_claim_names"], &names) == nil {
		_, u.GroupsOverage = names["groups"]
	}
	u.GroupsOverage = u.GroupsOverage || c.truth("hasgroups")

	a.keepClaims(id, c)
	return id
}

// keepClaims keeps the further claims that Settings.Claims names.
func (a *Authority) keepClaims(id *Identity, c claims) {
	kept := map[string]json.RawMessage{}
	for _, name := range a.Claims {
		if value, ok := c[name]; ok {
			kept[name] = value
		}
	}
	if len(kept) > 0 {
		if text, err := json.Marshal(kept); err == nil && json.Unmarshal(text, &id.User.Claims) == nil {
			id.Extra = string(text)
		}
	}
}

// names returns what a person is called, for display. AD FS sends upn or unique_name
// in place of preferred_username, and Azure AD B2C emails in place of email.
func (c claims) names() (name, username, email string) {
	emails := append([]string{c.text("email")}, c.texts("emails")...)
	return c.text("name"), cmp.Or(c.text("preferred_username"), c.text("upn"), c.text("unique_name")), cmp.Or(emails...)
}

// microsoftIDs returns the directory and the person in it. An oid that is not a
// GUID counts as absent.
func (a *Authority) microsoftIDs(c claims, issuer string) (tenantID, objectID string) {
	tenantID = strings.ToLower(c.text("tid"))
	if objectID = strings.ToLower(c.text("oid")); !GUIDForm.MatchString(objectID) {
		objectID = ""
	}
	// Tokens of Azure AD B2C have no tid. Where sub identifies the person, apps
	// have always known them by issuer and sub: their keys must not change.
	if tenantID == "" && objectID != "" && (a.Kind == ExternalID || a.Kind == b2c && sharedSubject(c.text("sub"), b2c)) {
		tenantID = DirectoryOf(issuer)
	}
	return tenantID, objectID
}

// CheckPerson refuses an account that does not tell people apart: no two people may
// have the same Key. It is for accounts of tokens and for stored ones.
func (a *Authority) CheckPerson(u *Account) error {
	switch {
	case a.Kind == LiveConnect && (u.Issuer != LiveIssuer || u.Subject == ""):
		return errors.New("msauth: authentication token: uid is missing")
	case a.Kind == Entra && u.ObjectID == "":
		return errors.New("msauth: ID token: oid is missing")
	case (u.TenantID == "" || u.ObjectID == "") && sharedSubject(u.Subject, a.Kind):
		return fmt.Errorf("msauth: ID token: sub is a text that everybody has, %q, and oid is missing: "+
			"add the application claim \"User's Object ID\" to the user flow (in a custom policy, the output claim objectId as oid)", web.OneLine(u.Subject, 100))
	}
	return nil
}

// sharedSubject reports whether a subject is a sentence that everybody has. Azure AD
// B2C sends "Not supported currently. Use oid claim." At other providers a subject
// may contain spaces, as the names of LDAP do.
func sharedSubject(subject string, kind Kind) bool {
	if !strings.ContainsFunc(subject, unicode.IsSpace) {
		return false
	}
	return strings.Contains(strings.ToLower(subject), "use oid claim") ||
		kind == b2c || kind == ExternalID
}

// contextForm is the form of the ids of authentication contexts: c1 to c99.
var contextForm = regexp.MustCompile(`^c[1-9][0-9]?$`)

// ValidContext reports whether id is the id of an authentication context, "c1" to
// "c99".
func ValidContext(id string) bool { return contextForm.MatchString(id) }
