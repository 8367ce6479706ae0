package msauth

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	expLeeway     = 1 * time.Minute // a token may have expired this long ago
	futureLeeway  = 5 * time.Minute // nbf and iat may lie this far ahead
	maxTokenAge   = 1 * time.Hour   // iat of a token that was just issued
	keysRefetch   = 5 * time.Minute // for an unknown key id, at most this often
	maxKeys       = 200
	tenantPattern = "{tenantid}"
)

// authority is Microsoft, or another OpenID provider, as this app sees it:
// where its endpoints are, which keys it signs with, and what makes an ID
// token of it a true one. It knows nothing of cookies and sessions.
type authority struct {
	origin   string // of the Microsoft cloud; empty for other providers
	tenant   string
	issuer   string // for other providers
	clientID string
	claims   []string // further claims to keep
	client   *http.Client

	metadata document[*metadata]
	keys     document[[]publishedKey]
}

// metadata is what discovery says (OpenID Connect Discovery section 3).
type metadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Keys          string   `json:"jwks_uri"`
	EndSession    string   `json:"end_session_endpoint"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	AnswerIssuer  bool     `json:"authorization_response_iss_parameter_supported"`
}

type publishedKey struct {
	jose.JSONWebKey
	issuer string // tokens of other issuers are not signed with it
}

func newAuthority(cfg *Config, client *http.Client) *authority {
	a := &authority{
		origin: cfg.Authority, tenant: cfg.Tenant, issuer: cfg.Issuer,
		clientID: cfg.ClientID, claims: cfg.Claims, client: client,
	}
	a.metadata.fetch = a.fetchMetadata
	a.keys.fetch = a.fetchKeys
	return a
}

// tenantIssuer is the issuer of a Microsoft tenant's tokens.
func tenantIssuer(origin, tenantID string) string {
	if origin == "" || tenantID == "" {
		return ""
	}
	return string(appendTenantIssuer(nil, origin, []byte(tenantID)))
}

func appendTenantIssuer(out []byte, origin string, tenantID []byte) []byte {
	return append(append(append(append(out, origin...), '/'), tenantID...), "/v2.0"...)
}

// issuerTenant is the tenant in such an issuer, or "".
func (a *authority) issuerTenant(issuer string) string {
	rest, ok := strings.CutPrefix(issuer, a.origin+"/")
	if !ok {
		return ""
	}
	tenant, ok := strings.CutSuffix(rest, "/v2.0")
	if !ok || tenant != tenantPattern && !guidForm.MatchString(tenant) {
		return ""
	}
	return tenant
}

func (a *authority) fetchMetadata(ctx context.Context) (*metadata, error) {
	base := a.origin + "/" + a.tenant + "/v2.0"
	if a.issuer != "" {
		base = strings.TrimSuffix(a.issuer, "/")
	}
	where := base + "/.well-known/openid-configuration"
	var m metadata
	if err := getJSON(ctx, a.client, where, &m); err != nil {
		return nil, fmt.Errorf("msauth: discovery: %w", err)
	}
	if err := a.checkMetadata(&m); err != nil {
		return nil, fmt.Errorf("msauth: discovery at %s: %w", where, err)
	}
	return &m, nil
}

// checkMetadata refuses a document that speaks for somebody else.
func (a *authority) checkMetadata(m *metadata) error {
	if a.issuer != "" {
		if m.Issuer != a.issuer && !externalIDIssuer(a.issuer, m.Issuer) {
			return fmt.Errorf("names the issuer %q and not %q", oneLine(m.Issuer, 200), a.issuer)
		}
	} else {
		tenant := a.issuerTenant(m.Issuer)
		var fits bool
		switch {
		case a.tenant == "common", a.tenant == "organizations":
			fits = tenant != ""
		case a.tenant == "consumers":
			fits = tenant == personalTenant
		case guidForm.MatchString(a.tenant):
			fits = strings.EqualFold(tenant, a.tenant)
		default: // a domain: whatever tenant it belongs to, but always the same
			fits = guidForm.MatchString(tenant)
			if known, err := a.known(); err == nil && known.Issuer != m.Issuer {
				fits = false
			}
		}
		if !fits {
			return fmt.Errorf("names the issuer %q, which is not that of tenant %q", oneLine(m.Issuer, 200), a.tenant)
		}
	}
	for _, e := range []struct {
		name, value string
		optional    bool
	}{
		{"authorization_endpoint", m.Authorization, false},
		{"token_endpoint", m.Token, false},
		{"jwks_uri", m.Keys, false},
		{"end_session_endpoint", m.EndSession, true},
	} {
		if e.value == "" && e.optional {
			continue
		}
		u, err := url.Parse(e.value)
		switch {
		case err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "":
			return fmt.Errorf("%s is not an absolute URL", e.name)
		case u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())):
			return fmt.Errorf("%s is not on https", e.name)
		case a.origin != "" && !strings.EqualFold(u.Scheme+"://"+u.Host, a.origin):
			return fmt.Errorf("%s is on the host %q and not on the authority's", e.name, u.Host)
		}
	}
	return nil
}

// known returns the metadata as last read, without asking anybody.
func (a *authority) known() (*metadata, error) {
	a.metadata.mu.Lock()
	defer a.metadata.mu.Unlock()
	if !a.metadata.have {
		return nil, errors.New("msauth: discovery has not been read")
	}
	return a.metadata.value, nil
}

var externalIDPath = regexp.MustCompile(`^/[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}/v2\.0/?$`)

// externalIDIssuer accepts the issuers that Azure AD B2C and Entra External ID
// publish: by design not the URL that their discovery is read from.
func externalIDIssuer(configured, published string) bool {
	c, err := url.Parse(configured)
	if err != nil {
		return false
	}
	p, err := url.Parse(published)
	if err != nil || p.Scheme != "https" || p.User != nil || p.RawQuery != "" || p.Fragment != "" || !externalIDPath.MatchString(p.EscapedPath()) {
		return false
	}
	host := strings.ToLower(c.Host)
	switch {
	case strings.HasSuffix(host, ".b2clogin.com"):
		return p.Host == host
	case strings.HasSuffix(host, ".ciamlogin.com"):
		tenant := strings.Split(p.Path, "/")[1]
		return p.Host == host || p.Host == tenant+".ciamlogin.com"
	}
	return false
}

// microsoftIssuer says whether tid and oid mean what they mean at Microsoft.
func (a *authority) microsoftIssuer() bool {
	if a.origin != "" {
		return true
	}
	u, err := url.Parse(a.issuer)
	return err == nil && (strings.HasSuffix(u.Host, ".b2clogin.com") || strings.HasSuffix(u.Host, ".ciamlogin.com"))
}

func (a *authority) fetchKeys(ctx context.Context) ([]publishedKey, error) {
	m, err := a.metadata.get(ctx)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := getJSON(ctx, a.client, m.Keys, &set); err != nil {
		return nil, fmt.Errorf("msauth: signing keys: %w", err)
	}
	var keys []publishedKey
	for _, raw := range set.Keys {
		var fields claims
		if json.Unmarshal(raw, &fields) != nil {
			continue
		}
		// Certificates say nothing that we use, and go-jose takes SHA-1 of
		// them, which FIPS 140 mode answers with a panic.
		for _, certificate := range [...]string{"x5c", "x5t", "x5t#S256", "x5u"} {
			delete(fields, certificate)
		}
		plain, err := json.Marshal(fields)
		if err != nil {
			continue
		}
		var key publishedKey
		if json.Unmarshal(plain, &key.JSONWebKey) != nil {
			continue // of a kind that this build does not know
		}
		if !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		key.issuer = fields.text("issuer")
		if keys = append(keys, key); len(keys) == maxKeys {
			break
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("msauth: signing keys: none that can be used at %s", m.Keys)
	}
	return keys, nil
}

// signingKeys is the oidc.KeySet for tokens of one issuer. go-oidc's own drops
// the issuer that Microsoft gives a key, reads replies of any size and never
// lets a key go.
type signingKeys struct {
	authority *authority
	issuer    string
	tenant    string
	algs      []jose.SignatureAlgorithm
	err       error // set when the keys could not be had; go-oidc drops it
}

// VerifySignature implements [oidc.KeySet].
func (s *signingKeys) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(token, s.algs)
	if err != nil {
		return nil, err
	}
	if len(jws.Signatures) != 1 {
		return nil, errors.New("want one signature")
	}
	header := jws.Signatures[0].Header
	keys, err := s.authority.keys.get(ctx)
	if err != nil {
		s.err = err
		return nil, err
	}
	if header.KeyID != "" && !slices.ContainsFunc(keys, func(k publishedKey) bool { return k.KeyID == header.KeyID }) {
		if keys, err = s.authority.keys.again(ctx, keysRefetch); err != nil {
			s.err = err
			return nil, err
		}
	}
	for _, key := range keys {
		if header.KeyID != "" && key.KeyID != header.KeyID {
			continue
		}
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if key.issuer != "" && strings.ReplaceAll(key.issuer, tenantPattern, s.tenant) != s.issuer {
			continue
		}
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("signed by no key that the provider publishes for this issuer")
}

// algorithms are those an ID token may be signed with: RS256, or what another
// provider announces, if that is asymmetric.
func (a *authority) algorithms(m *metadata) []string {
	if a.origin == "" {
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

// An identity is what a verified ID token says.
type identity struct {
	user      User
	extra     string // the claims that Config.Claims names, as JSON
	sid       string
	loginHint string
	authTime  int64
	contexts  []string // authentication contexts that were satisfied (acrs)
}

// idTokenCheck is what an ID token must agree with besides the configuration.
type idTokenCheck struct {
	access secret
	// nonceFits judges the nonce claim; present is false when there is none.
	nonceFits func(nonce string, present bool) bool
	// person is whom a renewed token must be about, nil at sign-in.
	person   *User
	authTime int64 // of the person's first token, 0 if it had none
}

// Reasons why an ID token is not accepted, beside the plain ones.
var (
	errAnotherPerson = errors.New("msauth: the renewed ID token is about another person")
	errNotAdmitted   = errors.New("msauth: account not admitted")
)

// keysUnavailable wraps the reason why a signature could not be judged.
type keysUnavailable struct{ error }

func (e keysUnavailable) Unwrap() error { return e.error }

// verify checks an ID token as OpenID Connect Core section 3.1.3.7 and
// Microsoft's "Secure applications and APIs by validating claims" say.
func (a *authority) verify(ctx context.Context, raw string, check idTokenCheck) (*identity, error) {
	m, err := a.metadata.get(ctx)
	if err != nil {
		return nil, keysUnavailable{err}
	}
	unverified, err := peek(raw)
	if err != nil {
		return nil, err
	}
	tenant := ""
	issuer := m.Issuer
	if a.origin != "" {
		tenant = strings.ToLower(unverified.text("tid"))
		if !guidForm.MatchString(tenant) {
			return nil, errors.New("msauth: ID token: tid is not a tenant id")
		}
		issuer = strings.ReplaceAll(issuer, tenantPattern, tenant)
		if !strings.EqualFold(a.issuerTenant(issuer), tenant) {
			return nil, fmt.Errorf("msauth: ID token: issued in tenant %s and not by %s", tenant, issuer)
		}
	}
	algs := a.algorithms(m)
	keys := &signingKeys{authority: a, issuer: issuer, tenant: tenant}
	for _, alg := range algs {
		keys.algs = append(keys.algs, jose.SignatureAlgorithm(alg))
	}
	token, err := oidc.NewVerifier(issuer, keys, &oidc.Config{
		ClientID:             a.clientID,
		SupportedSigningAlgs: algs,
		SkipExpiryCheck:      true, // checkTimes below has our leeways and says by how much
	}).Verify(ctx, raw)
	if keys.err != nil {
		return nil, keysUnavailable{keys.err}
	}
	if err != nil {
		return nil, fmt.Errorf("msauth: ID token: %s", oneLine(err.Error(), 300))
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		return nil, errors.New("msauth: ID token: claims are not a JSON object")
	}
	if c.text("sub") == "" {
		return nil, errors.New("msauth: ID token: sub is missing")
	}
	if azp := c.text("azp"); azp != "" && azp != a.clientID || azp == "" && len(token.Audience) > 1 {
		return nil, errors.New("msauth: ID token: azp is not this app")
	}
	if err := checkTimes(c, time.Now()); err != nil {
		return nil, err
	}
	_, present := c["nonce"]
	if !check.nonceFits(c.text("nonce"), present) {
		return nil, errors.New("msauth: ID token: nonce is missing or of another attempt")
	}
	if _, present := c["at_hash"]; present {
		if err := token.VerifyAccessToken(string(check.access)); err != nil {
			return nil, errors.New("msauth: ID token: at_hash does not fit the access token")
		}
	}
	id := a.identity(c, token.Issuer)
	if a.origin != "" && !guidForm.MatchString(id.user.ObjectID) {
		return nil, errors.New("msauth: ID token: oid is missing")
	}
	if p := check.person; p != nil {
		if id.user.Issuer != p.Issuer || id.user.Subject != p.Subject || id.user.TenantID != p.TenantID || id.user.ObjectID != p.ObjectID {
			return nil, errAnotherPerson
		}
		if check.authTime != 0 && id.authTime != 0 && id.authTime != check.authTime {
			return nil, errors.New("msauth: renewed ID token: auth_time changed")
		}
	}
	return id, nil
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
	case now.Sub(exp) > expLeeway:
		return off("expired %v ago", now.Sub(exp))
	case iat.Sub(now) > futureLeeway:
		return off("issued %v in the future", iat.Sub(now))
	case now.Sub(iat) > maxTokenAge:
		return off("issued %v ago", now.Sub(iat))
	}
	if _, present := c["nbf"]; present {
		nbf, ok := c.time("nbf")
		if !ok {
			return errors.New("msauth: ID token: nbf is not a time")
		}
		if nbf.Sub(now) > futureLeeway {
			return off("not valid for another %v", nbf.Sub(now))
		}
	}
	return nil
}

// identity reads the claims we keep. Every shape is survived: what is not of
// the expected type is absent.
func (a *authority) identity(c claims, issuer string) *identity {
	id := &identity{sid: c.text("sid"), loginHint: c.text("login_hint")}
	if t, ok := c.time("auth_time"); ok && time.Until(t) <= futureLeeway {
		id.authTime = t.Unix()
	}
	for _, context := range c.texts("acrs") {
		if validContext(context) && !slices.Contains(id.contexts, context) {
			id.contexts = append(id.contexts, context)
		}
	}
	u := &id.user
	u.Issuer, u.Subject = issuer, c.text("sub")
	if a.microsoftIssuer() {
		u.TenantID, u.ObjectID = strings.ToLower(c.text("tid")), strings.ToLower(c.text("oid"))
		u.EmailVerified = c.truth("xms_edov")
	} else {
		u.EmailVerified = c.truth("email_verified")
	}
	u.Name, u.Username, u.Email = c.text("name"), c.text("preferred_username"), c.text("email")
	u.EmailVerified = u.EmailVerified && u.Email != ""
	u.Roles, u.Groups = c.texts("roles"), c.texts("groups")
	var names map[string]any
	if json.Unmarshal(c["_claim_names"], &names) == nil {
		_, u.GroupsOverage = names["groups"]
	}
	u.GroupsOverage = u.GroupsOverage || c.truth("hasgroups")

	kept := map[string]json.RawMessage{}
	for _, name := range a.claims {
		if value, ok := c[name]; ok {
			kept[name] = value
		}
	}
	if len(kept) > 0 {
		if text, err := json.Marshal(kept); err == nil && json.Unmarshal(text, &u.Claims) == nil {
			id.extra = string(text)
		}
	}
	return id
}

var contextForm = regexp.MustCompile(`^c[1-9][0-9]?$`)

// validContext reports whether a text is the id of an authentication context.
func validContext(id string) bool { return contextForm.MatchString(id) }

// claims are those of a JWT, each still JSON.
type claims map[string]json.RawMessage

// peek reads the claims of a JWT without verifying anything.
func peek(raw string) (claims, error) {
	parts := strings.Split(raw, ".")
	if len(parts) == 3 {
		if payload, err := base64url.DecodeString(parts[1]); err == nil {
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

// ready reports whether discovery and keys can be read.
func (a *authority) ready(ctx context.Context) error {
	if _, err := a.metadata.get(ctx); err != nil {
		return err
	}
	_, err := a.keys.get(ctx)
	return err
}

// sameText compares without telling by the time taken where texts differ.
func sameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
