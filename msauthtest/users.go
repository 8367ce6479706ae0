package msauthtest

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Tenants of the people of a new [Server]. TenantPersonal is the tenant that
// Microsoft uses for every personal account; the others are invented. The
// endpoints accept a work tenant's GUID and the domain of its people,
// contoso.example or fabrikam.example. TenantExternal is the directory of the
// B2C and External ID providers, in which everybody has an account.
const (
	TenantContoso  = "40a0cffe-4fc9-448b-9790-232954984f24"
	TenantFabrikam = "fa7c7377-ff53-432d-be5e-18211903ec03"
	TenantPersonal = "9188040d-6c67-4c5b-b112-36a304b66dad"
	TenantExternal = "b4d1f6a2-93c7-4e58-8a0d-6f25c97e31b0"
)

// Sign-in names of the people of a new [Server].
const (
	Ada   = "ada@contoso.example"    // work account in TenantContoso
	Bruno = "bruno@fabrikam.example" // work account in TenantFabrikam
	Mia   = "mia@outlook.example"    // personal account
	Grace = "grace@contoso.example"  // work account in TenantContoso, member of 200 groups
)

// A User is a person who can sign in.
type User struct {
	// SignInName is the name to sign in with, and the claim preferred_username.
	// It identifies the person to the server, regardless of case.
	SignInName string

	// Name is the display name. The default is SignInName.
	Name, GivenName, FamilyName, JobTitle string

	// Email is the claim email. If empty, tokens have no such claim, as happens
	// with personal accounts.
	Email string

	// TenantID is a GUID. The default is TenantContoso. TenantPersonal makes a
	// personal account.
	TenantID string

	// ObjectID is a GUID, the claim oid. If empty, SetUser keeps the one that
	// the person has, or makes a random one.
	ObjectID string

	// Groups are the object IDs of groups. If there are 200 or more, tokens
	// carry Microsoft's overage claims in their place, unless
	// [Behavior.GroupClaims] is set.
	Groups []string

	// Roles are the app roles of the person: the claim roles of ID tokens.
	Roles []string

	// APIRoles are the app roles of the person at APIs, by [API.ID]: the claim
	// roles of access tokens for them.
	APIRoles map[string][]string

	// NoPhoto makes Graph answer requests for the photo with 404 ImageNotFound,
	// as it does for most people.
	NoPhoto bool

	// Disabled refuses sign-ins and renewals with AADSTS50057.
	Disabled bool
}

// clone returns a copy that shares nothing with u.
func (u User) clone() User {
	u.Groups = slices.Clone(u.Groups)
	u.Roles = slices.Clone(u.Roles)
	u.APIRoles = maps.Clone(u.APIRoles)
	for id, roles := range u.APIRoles {
		u.APIRoles[id] = slices.Clone(roles)
	}
	return u
}

func (u User) personal() bool { return u.TenantID == TenantPersonal }

func (u User) domain() string {
	_, domain, _ := strings.Cut(u.SignInName, "@")
	return strings.ToLower(domain)
}

// kind returns a description of the account for pages.
func (u User) kind() string {
	if u.personal() {
		return "Personal account"
	}
	return "Work or school account, " + u.domain()
}

// founders returns the people of a new server. Their object IDs are fixed, so
// that an app that stores accounts finds them again after a restart.
func founders() []User {
	groups := make([]string, 200)
	for i := range groups {
		groups[i] = derivedGUID("group " + strconv.Itoa(i))
	}
	return []User{{
		SignInName: Ada, Name: "Ada Lindqvist", GivenName: "Ada", FamilyName: "Lindqvist",
		JobTitle: "Structural engineer", Email: Ada,
		TenantID: TenantContoso, ObjectID: "8342b3fe-9359-4c66-8314-5ba888da8409",
	}, {
		SignInName: Bruno, Name: "Bruno Okafor", GivenName: "Bruno", FamilyName: "Okafor",
		JobTitle: "Head of procurement", Email: Bruno,
		TenantID: TenantFabrikam, ObjectID: "b35a9b8a-224c-413f-9b14-3a53475c0f84",
	}, {
		SignInName: Mia, Name: "Mia Müller", GivenName: "Mia", FamilyName: "Müller", Email: Mia,
		// Object IDs of personal accounts begin with two empty groups.
		TenantID: TenantPersonal, ObjectID: "00000000-0000-0000-ebfe-34ba80b050ef",
	}, {
		SignInName: Grace, Name: "Grace Achterberg", GivenName: "Grace", FamilyName: "Achterberg",
		JobTitle: "Director of research", Email: Grace,
		TenantID: TenantContoso, ObjectID: "dcac61c2-8aad-4211-9e13-bbd20e943240",
		Groups: groups,
	}}
}

// Users returns the people who can sign in, in the order of the sign-in page.
func (s *Server) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	users := make([]User, len(s.users))
	for i, u := range s.users {
		users[i] = u.clone()
	}
	return users
}

// SetUser adds a person, or replaces the one with the same sign-in name.
// Changes take effect at the next sign-in or renewal. SetUser panics if u has
// no sign-in name.
func (s *Server) SetUser(u User) {
	if u.SignInName == "" {
		panic("msauthtest: SetUser: User.SignInName is empty")
	}
	u.Name = cmp.Or(u.Name, u.SignInName)
	u.TenantID = strings.ToLower(cmp.Or(u.TenantID, TenantContoso))
	u = u.clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, old := range s.users {
		if strings.EqualFold(old.SignInName, u.SignInName) {
			u.ObjectID = cmp.Or(u.ObjectID, old.ObjectID)
			s.users[i] = &u
			return
		}
	}
	u.ObjectID = cmp.Or(u.ObjectID, newGUID())
	s.users = append(s.users, &u)
}

// user returns the person with a sign-in name or a login_hint claim.
func (s *Server) user(name string) (User, bool) {
	if name == "" {
		return User{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		if strings.EqualFold(u.SignInName, name) || s.loginHint(u.SignInName) == name {
			return *u, true
		}
	}
	return User{}, false
}

// loginHint returns the opaque claim login_hint. s.mu is held.
func (s *Server) loginHint(signInName string) string {
	key := strings.ToLower(signInName)
	hint, ok := s.hints[key]
	if !ok {
		hint = "O." + base64.RawURLEncoding.EncodeToString(append([]byte{0x0a}, randomBytes(35)...))
		s.hints[key] = hint
	}
	return hint
}

// subjectAt returns the claim sub of a provider's ID tokens. At B2C it equals
// oid.
func (s *Server) subjectAt(t tenant, u User) string {
	if t.family == b2c {
		return u.ObjectID
	}
	return s.subjectFor(s.ClientID, u)
}

// subjectFor returns the claim sub of tokens for an audience. As with
// Microsoft, it differs from audience to audience.
func (s *Server) subjectFor(audience string, u User) string {
	sum := sha256.Sum256([]byte("sub\x00" + strings.ToLower(audience) + "\x00" + u.TenantID + "\x00" + u.ObjectID))
	text := base64.RawURLEncoding.EncodeToString(sum[:])
	if u.personal() {
		return "AAAAAAAAAAAAAAAAAAAAA" + text[:22]
	}
	return text
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

// randomText returns n random characters of the base64url alphabet.
func randomText(n int) string {
	return base64.RawURLEncoding.EncodeToString(randomBytes(n))[:n]
}

func newGUID() string { return formatGUID(randomBytes(16)) }

// derivedGUID returns a GUID that depends on text only.
func derivedGUID(text string) string {
	sum := sha256.Sum256([]byte("msauthtest " + text))
	return formatGUID(sum[:16])
}

func formatGUID(b []byte) string {
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
