package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/web"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// ExpLeeway is how long ago a token may have expired, for clocks that differ.
	ExpLeeway = 1 * time.Minute
	// FutureLeeway is how far in the future a time may lie that should be past,
	// such as nbf and iat, for clocks that differ.
	FutureLeeway = 5 * time.Minute

	maxTokenAge = 1 * time.Hour // by iat: the token was just issued
)

// An IDTokenCheck says what an ID token must agree with, besides the settings of
// the Authority.
type IDTokenCheck struct {
	// Access is the access token of the same reply, for at_hash.
	Access seal.Secret
	// NonceFits judges the nonce claim; present is false if there is none.
	NonceFits func(nonce string, present bool) bool
	// Person is whom the token of a renewal must be about; nil at sign-in.
	Person *Account
	// AuthTime is the auth_time of the person's first token in Unix seconds, 0 if
	// it had none. It is for renewals only.
	AuthTime int64
}

// Reasons to refuse an ID token that callers tell apart.
var (
	// ErrAnotherPerson: the ID token of a renewal is about another person.
	ErrAnotherPerson = errors.New("msauth: the renewed ID token is about another person")
	// ErrOtherNonce: the ID token of a renewal has another nonce than the first,
	// so the provider has mixed up two sign-ins (OpenID Connect Core section
	// 12.2).
	ErrOtherNonce = errors.New("msauth: the renewed ID token has another nonce than the first")
)

// A KeysUnavailableError means that discovery or keys could not be read: whether
// the ID token is valid is not known. It wraps the cause.
type KeysUnavailableError struct{ error }

// Unwrap returns the cause.
func (e KeysUnavailableError) Unwrap() error { return e.error }

// Verify checks an ID token and returns what it says. The checks are those of
// OpenID Connect Core sections 3.1.3.7 and 12.2 and of Microsoft's "Secure
// applications and APIs by validating claims". The error is a
// KeysUnavailableError if the token could not be judged; any other error means
// that it is not valid.
//
// Live Connect has an authentication token in place of an ID token, which
// VerifyAuthenticationToken checks. It has no nonce.
//
// Verify may ask the provider for keys. Call it only with tokens that the token
// endpoint has just sent.
func (a *Authority) Verify(ctx context.Context, raw string, check IDTokenCheck) (*Identity, error) {
	if a.Kind == LiveConnect {
		id, err := a.VerifyAuthenticationToken(ctx, raw)
		if err == nil {
			err = check.checkPerson(id)
		}
		return id, err
	}
	m, err := a.Discover(ctx)
	if err != nil {
		return nil, KeysUnavailableError{err}
	}
	unverified, err := unverifiedClaims(raw)
	if err != nil {
		return nil, err
	}
	if err := idTokens.checkForm(raw); err != nil {
		return nil, err
	}
	issuer, tenant, err := a.expectedIssuer(m.Issuer, unverified)
	if err != nil {
		return nil, err
	}
	token, err := a.verifySignature(ctx, raw, a.algorithms(m), issuer, tenant)
	if err != nil {
		return nil, err
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		return nil, errors.New("msauth: ID token: claims are not a JSON object")
	}
	if c.text("sub") == "" {
		return nil, errors.New("msauth: ID token: sub is missing")
	}
	if err := a.checkAuthorizedParty(c, token.Audience); err != nil {
		return nil, err
	}
	if err := checkTimes(c, time.Now()); err != nil {
		return nil, err
	}
	if err := check.checkNonce(c); err != nil {
		return nil, err
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
	if err := check.checkPerson(id); err != nil {
		return nil, err
	}
	return id, nil
}

// expectedIssuer returns the issuer that the token must have, and the tenant whose
// keys may sign it, "" if there is none. The claims are not verified yet: of them
// only tid is used, and the issuer that is made from it must then be the token's.
func (a *Authority) expectedIssuer(published string, unverified claims) (issuer, tenant string, err error) {
	issuer = published
	tenant = strings.ToLower(unverified.text("tid"))
	switch a.Kind {
	case Entra:
		if !GUIDForm.MatchString(tenant) {
			return "", "", errors.New("msauth: ID token: tid is not a tenant id")
		}
		issuer = strings.ReplaceAll(issuer, TenantPattern, tenant)
		if !strings.EqualFold(a.issuerTenant(issuer), tenant) {
			return "", "", fmt.Errorf("msauth: ID token: issued in tenant %s and not by %s", tenant, issuer)
		}
	case ExternalID:
		directory := DirectoryOf(issuer)
		if _, there := unverified["tid"]; there && tenant != directory {
			return "", "", fmt.Errorf("msauth: ID token: issued in tenant %q and not by %s", web.OneLine(tenant, 100), issuer)
		}
		tenant = directory
	default:
		if !GUIDForm.MatchString(tenant) {
			tenant = DirectoryOf(issuer)
		}
	}
	return issuer, tenant, nil
}

// verifySignature checks signature, issuer and audience.
func (a *Authority) verifySignature(ctx context.Context, raw string, algs []string, issuer, tenant string) (*oidc.IDToken, error) {
	keys := &signingKeys{authority: a, issuer: issuer, tenant: tenant, refetch: a.refetchKeys}
	for _, alg := range algs {
		keys.algs = append(keys.algs, jose.SignatureAlgorithm(alg))
	}
	token, err := oidc.NewVerifier(issuer, keys, &oidc.Config{
		ClientID:             a.ClientID,
		SupportedSigningAlgs: algs,
		SkipExpiryCheck:      true, // checkTimes has leeways, and says by how much the clocks differ
	}).Verify(ctx, raw)
	if keys.err != nil {
		return nil, KeysUnavailableError{keys.err}
	}
	if err != nil {
		return nil, fmt.Errorf("msauth: ID token: %s", web.OneLine(err.Error(), 300))
	}
	return token, nil
}

// checkAuthorizedParty refuses a token that was issued to another app, or that does
// not say to which one of several (OpenID Connect Core section 3.1.3.7).
func (a *Authority) checkAuthorizedParty(c claims, audience []string) error {
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

// checkTimes checks exp, iat and nbf. Its errors say by how much the clocks differ: a
// server whose clock is minutes off refuses everybody, and nothing else would tell
// its operator why.
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

// checkNonce asks NonceFits about the nonce claim.
func (check IDTokenCheck) checkNonce(c claims) error {
	if raw, present := c["nonce"]; !check.NonceFits(c.text("nonce"), present && string(raw) != "null") {
		if check.Person != nil {
			return ErrOtherNonce
		}
		return errors.New("msauth: ID token: nonce is missing or of another attempt")
	}
	return nil
}

// checkPerson refuses the token of a renewal that is about another person, or about
// an earlier sign-in. A later auth_time is accepted: the person has signed in again
// since.
func (check IDTokenCheck) checkPerson(id *Identity) error {
	if check.Person == nil {
		return nil
	}
	if !id.User.Same(check.Person) {
		return ErrAnotherPerson
	}
	if check.AuthTime != 0 && id.AuthTime != 0 && id.AuthTime < check.AuthTime {
		return errors.New("msauth: renewed ID token: auth_time is earlier than at sign-in")
	}
	return nil
}
