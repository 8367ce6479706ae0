package provider

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/web"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// algorithms are those an ID token may be signed with: RS256, or what another
// provider announces, if that is asymmetric.
func (a *Authority) algorithms(m *Metadata) []string {
	if a.Kind != Entra {
		var algs []string
		for _, alg := range m.Algorithms {
			switch alg {
			case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA":
				algs = append(algs, alg)
			}
		}
		if len(algs) > 0 {
			return algs
		}
	}
	return []string{"RS256"}
}

// An Identity is what a verified ID token says.
type Identity struct {
	User      Account
	Extra     string // the claims that Config.Claims names, as JSON
	SID       string
	LoginHint string
	AuthTime  int64
	Contexts  []string // authentication contexts that were satisfied (acrs)
}

// IDTokenCheck is what an ID token must agree with besides the configuration.
type IDTokenCheck struct {
	Access seal.Secret
	// NonceFits judges the nonce claim; present is false when there is none.
	NonceFits func(nonce string, present bool) bool
	// Person is whom a renewed token must be about, nil at sign-in.
	Person   *Account
	AuthTime int64 // of the person's first token, 0 if it had none
}

// Reasons why an ID token is not accepted, beside the plain ones.
var (
	ErrAnotherPerson = errors.New("msauth: the renewed ID token is about another person")
	ErrNotAdmitted   = errors.New("msauth: account not admitted")
	// ErrOtherNonce is about a renewed token: the provider mixes sign-ins up
	// (OpenID Connect Core section 12.2).
	ErrOtherNonce = errors.New("msauth: the renewed ID token has another nonce than the first")
)

// KeysUnavailableError wraps the reason why a signature could not be judged.
type KeysUnavailableError struct{ error }

func (e KeysUnavailableError) Unwrap() error { return e.error }

// Verify checks an ID token as OpenID Connect Core section 3.1.3.7 and
// Microsoft's "Secure applications and APIs by validating claims" say. It may
// ask the provider for keys: it is called only with tokens that the token
// endpoint has just sent, which takes a code or a refresh token.
func (a *Authority) Verify(ctx context.Context, raw string, check IDTokenCheck) (*Identity, error) {
	m, err := a.Metadata.Get(ctx)
	if err != nil {
		return nil, KeysUnavailableError{err}
	}
	unverified, err := peek(raw)
	if err != nil {
		return nil, err
	}
	if err := checkForm(raw); err != nil {
		return nil, err
	}
	issuer := m.Issuer
	tenant := strings.ToLower(unverified.text("tid"))
	switch a.Kind {
	case Entra:
		if !GUIDForm.MatchString(tenant) {
			return nil, errors.New("msauth: ID token: tid is not a tenant id")
		}
		issuer = strings.ReplaceAll(issuer, TenantPattern, tenant)
		if !strings.EqualFold(a.issuerTenant(issuer), tenant) {
			return nil, fmt.Errorf("msauth: ID token: issued in tenant %s and not by %s", tenant, issuer)
		}
	case ExternalID:
		directory := DirectoryOf(issuer)
		if _, there := unverified["tid"]; there && tenant != directory {
			return nil, fmt.Errorf("msauth: ID token: issued in tenant %q and not by %s", web.OneLine(tenant, 100), issuer)
		}
		tenant = directory
	default:
		if !GUIDForm.MatchString(tenant) {
			tenant = DirectoryOf(issuer)
		}
	}
	algs := a.algorithms(m)
	keys := &signingKeys{authority: a, issuer: issuer, tenant: tenant}
	for _, alg := range algs {
		keys.algs = append(keys.algs, jose.SignatureAlgorithm(alg))
	}
	token, err := oidc.NewVerifier(issuer, keys, &oidc.Config{
		ClientID:             a.ClientID,
		SupportedSigningAlgs: algs,
		SkipExpiryCheck:      true, // checkTimes below has our leeways and says by how much
	}).Verify(ctx, raw)
	if keys.err != nil {
		return nil, KeysUnavailableError{keys.err}
	}
	if err != nil {
		return nil, fmt.Errorf("msauth: ID token: %s", web.OneLine(err.Error(), 300))
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		return nil, errors.New("msauth: ID token: claims are not a JSON object")
	}
	if c.text("sub") == "" {
		return nil, errors.New("msauth: ID token: sub is missing")
	}
	if err := a.checkParty(c, token.Audience); err != nil {
		return nil, err
	}
	if err := checkTimes(c, time.Now()); err != nil {
		return nil, err
	}
	if raw, present := c["nonce"]; !check.NonceFits(c.text("nonce"), present && string(raw) != "null") {
		if check.Person != nil {
			return nil, ErrOtherNonce
		}
		return nil, errors.New("msauth: ID token: nonce is missing or of another attempt")
	}
	if _, present := c["at_hash"]; present {
		if err := token.VerifyAccessToken(string(check.Access)); err != nil {
			return nil, errors.New("msauth: ID token: at_hash does not fit the access token")
		}
	}
	id := a.identity(c, token.Issuer)
	if err := a.CheckPerson(&id.User); err != nil {
		return nil, err
	}
	if check.Person != nil {
		if !id.User.Same(check.Person) {
			return nil, ErrAnotherPerson
		}
		// A later one is a person who signed in anew meanwhile.
		if check.AuthTime != 0 && id.AuthTime != 0 && id.AuthTime < check.AuthTime {
			return nil, errors.New("msauth: renewed ID token: auth_time is earlier than at sign-in")
		}
	}
	return id, nil
}

// checkForm refuses what a signature does not make good: a token of another
// type (RFC 8725 section 3.11), and members that are there twice, of which
// readers take one or the other.
func checkForm(raw string) error {
	parts := strings.Split(raw, ".") // three: peek has looked
	for i, part := range parts[:2] {
		data, err := seal.Base64url.DecodeString(part)
		if err != nil {
			return errors.New("msauth: ID token: not a JWT")
		}
		name, err := repeatedMember(data)
		if err != nil {
			return errors.New("msauth: ID token: not a JWT")
		}
		if name != "" {
			return fmt.Errorf("msauth: ID token: %q is twice in its %s", web.OneLine(name, 100), [...]string{"header", "claims"}[i])
		}
		if i > 0 {
			break
		}
		var header claims
		if json.Unmarshal(data, &header) != nil {
			return errors.New("msauth: ID token: not a JWT")
		}
		if typ, there := header["typ"]; there {
			// RFC 7515 section 4.1.9: "application/" may be left out, and case does not count.
			switch strings.ToLower(header.text("typ")) {
			case "jwt", "application/jwt":
			default:
				return fmt.Errorf("msauth: ID token: its typ is %s and not JWT: it is a token of another kind", web.OneLine(string(typ), 100))
			}
		}
	}
	return nil
}

// repeatedMember returns the name of a member that an object in data has twice,
// "" if there is none. encoding/json, on which go-oidc builds, takes no notice
// of case where it fills a struct: neither does this for the names it reads.
func repeatedMember(data []byte) (string, error) {
	type level struct {
		names map[string]bool // nil in a list
		value bool            // the next token is the value of a member
	}
	var open []level
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if n := len(open); n > 0 && open[n-1].names != nil && !open[n-1].value && token != json.Delim('}') {
			name, _ := token.(string) // no other token can be here
			key := name
			if i := slices.IndexFunc(tokenMembers, func(m string) bool { return strings.EqualFold(m, name) }); n == 1 && i >= 0 {
				key = tokenMembers[i]
			}
			if open[n-1].names[key] {
				return name, nil
			}
			open[n-1].names[key], open[n-1].value = true, true
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}})
			continue
		case json.Delim('['):
			open = append(open, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if n := len(open); n > 0 {
			open[n-1].value = false
		}
	}
}

var tokenMembers = []string{"iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "azp", "at_hash", "tid", "oid", "typ", "alg", "kid"}

// checkParty refuses a token that was issued to another app, or does not say to
// which of several (OpenID Connect Core section 3.1.3.7).
func (a *Authority) checkParty(c claims, audience []string) error {
	var azp *string
	if raw, there := c["azp"]; there && (json.Unmarshal(raw, &azp) != nil || azp != nil && *azp != "" && *azp != a.ClientID) {
		return fmt.Errorf("msauth: ID token: azp is not this app but %s", web.OneLine(string(raw), 100))
	}
	if (azp == nil || *azp == "") && len(audience) > 1 {
		var names []string
		for _, name := range audience[:min(len(audience), 5)] {
			names = append(names, strconv.Quote(web.OneLine(name, 100)))
		}
		if more := len(audience) - len(names); more > 0 {
			names = append(names, fmt.Sprintf("%d more", more))
		}
		return fmt.Errorf("msauth: ID token: azp is not this app but absent, and aud names several: %s", strings.Join(names, ", "))
	}
	return nil
}

// CheckPerson refuses a token that tells who nobody is: two people must never
// have the same [User.Key].
func (a *Authority) CheckPerson(u *Account) error {
	switch {
	case a.Kind == Entra && u.ObjectID == "":
		return errors.New("msauth: ID token: oid is missing")
	case (u.TenantID == "" || u.ObjectID == "") && sharedSubject(u.Subject, a.Kind):
		return fmt.Errorf("msauth: ID token: sub is a text that everybody has, %q, and oid is missing: "+
			"add the application claim \"User's Object ID\" to the user flow (in a custom policy, the output claim objectId as oid)", web.OneLine(u.Subject, 100))
	}
	return nil
}

// sharedSubject reports whether a subject is a sentence in place of one: what
// Azure AD B2C sends that way says "Not supported currently. Use oid claim."
// At other providers a subject may hold spaces, as the names of LDAP do.
func sharedSubject(subject string, kind Kind) bool {
	if !strings.ContainsFunc(subject, unicode.IsSpace) {
		return false
	}
	return strings.Contains(strings.ToLower(subject), "use oid claim") ||
		kind == b2c || kind == ExternalID
}

// checkTimes says by how much the clocks differ: a server whose clock is off
// by minutes refuses everybody, and nothing else tells its operator why.
func checkTimes(c claims, now time.Time) error {
	exp, ok := c.time("exp")
	if !ok {
		return errors.New("msauth: ID token: exp is missing")
	}
	iat, ok := c.time("iat")
	if !ok {
		return errors.New("msauth: ID token: iat is missing")
	}
	off := func(format string, d time.Duration) error {
		return fmt.Errorf("msauth: ID token: "+format+" by the clock of this server: compare it with the provider's", d.Round(time.Second))
	}
	switch {
	case now.Sub(exp) > ExpLeeway:
		return off("expired %v ago", now.Sub(exp))
	case iat.Sub(now) > FutureLeeway:
		return off("issued %v in the future", iat.Sub(now))
	case now.Sub(iat) > maxTokenAge:
		return off("issued %v ago", now.Sub(iat))
	}
	if _, present := c["nbf"]; present {
		nbf, ok := c.time("nbf")
		if !ok {
			return errors.New("msauth: ID token: nbf is not a time")
		}
		if nbf.Sub(now) > FutureLeeway {
			return off("not valid for another %v", nbf.Sub(now))
		}
	}
	return nil
}

// identity reads the claims we keep. Every shape is survived: what is not of
// the expected type is absent.
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
		u.TenantID, u.ObjectID = a.whose(c, issuer)
		u.EmailVerified = c.truth("xms_edov")
	} else {
		u.EmailVerified = c.truth("email_verified")
	}
	// What these say is said of the email claim alone.
	u.EmailVerified = u.EmailVerified && c.text("email") != ""
	u.Name, u.Username, u.Email = c.names()
	u.Roles, u.Groups = c.texts("roles"), c.texts("groups")
	var names map[string]any
	if json.Unmarshal(c["_claim_names"], &names) == nil {
		_, u.GroupsOverage = names["groups"]
	}
	u.GroupsOverage = u.GroupsOverage || c.truth("hasgroups")

	kept := map[string]json.RawMessage{}
	for _, name := range a.Claims {
		if value, ok := c[name]; ok {
			kept[name] = value
		}
	}
	if len(kept) > 0 {
		if text, err := json.Marshal(kept); err == nil && json.Unmarshal(text, &u.Claims) == nil {
			id.Extra = string(text)
		}
	}
	return id
}

// names are what a person is called, for display. AD FS says upn or unique_name
// in place of preferred_username, and Azure AD B2C emails in place of email.
func (c claims) names() (name, username, email string) {
	emails := append([]string{c.text("email")}, c.texts("emails")...)
	return c.text("name"), cmp.Or(c.text("preferred_username"), c.text("upn"), c.text("unique_name")), cmp.Or(emails...)
}

// whose are the directory and the person in it, as Microsoft's tokens say it.
// An oid that is no GUID identifies nobody.
func (a *Authority) whose(c claims, issuer string) (tenantID, objectID string) {
	tenantID = strings.ToLower(c.text("tid"))
	if objectID = strings.ToLower(c.text("oid")); !GUIDForm.MatchString(objectID) {
		objectID = ""
	}
	// The tokens of Azure AD B2C have no tid, and apps know their people by
	// issuer and sub wherever that is one.
	if tenantID == "" && objectID != "" && (a.Kind == ExternalID || a.Kind == b2c && sharedSubject(c.text("sub"), b2c)) {
		tenantID = DirectoryOf(issuer)
	}
	return tenantID, objectID
}

var contextForm = regexp.MustCompile(`^c[1-9][0-9]?$`)

// ValidContext reports whether a text is the id of an authentication context.
func ValidContext(id string) bool { return contextForm.MatchString(id) }

// claims are those of a JWT, each still JSON.
type claims map[string]json.RawMessage

// peek reads the claims of a JWT without verifying anything.
func peek(raw string) (claims, error) {
	parts := strings.Split(raw, ".")
	if len(parts) == 3 {
		if payload, err := seal.Base64url.DecodeString(parts[1]); err == nil {
			var c claims
			if json.Unmarshal(payload, &c) == nil && c != nil {
				return c, nil
			}
		}
	}
	return nil, errors.New("msauth: ID token: not a JWT")
}

func (c claims) text(name string) string {
	var s string
	if json.Unmarshal(c[name], &s) != nil {
		return ""
	}
	return s
}

// texts accepts a list of texts, leaving out what is none, or a single text.
func (c claims) texts(name string) []string {
	var list []json.RawMessage
	if json.Unmarshal(c[name], &list) != nil {
		if s := c.text(name); s != "" {
			return []string{s}
		}
		return nil
	}
	var texts []string
	for _, raw := range list {
		var s string
		if json.Unmarshal(raw, &s) == nil && s != "" {
			texts = append(texts, s)
		}
	}
	return texts
}

// truth accepts what Microsoft's claims use for yes: true, 1, "1", "true".
func (c claims) truth(name string) bool {
	switch strings.Trim(string(c[name]), `"`) {
	case "true", "True", "1":
		return true
	}
	return false
}

// time reads a NumericDate (RFC 7519 section 2).
func (c claims) time(name string) (time.Time, bool) {
	var f float64
	if raw := c[name]; len(raw) == 0 || string(raw) == "null" || json.Unmarshal(raw, &f) != nil || math.Abs(f) > 1e11 {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0), true
}
