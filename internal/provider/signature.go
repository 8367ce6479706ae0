package provider

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// algorithms returns the algorithms that an ID token may be signed with: RS256 at
// Entra; elsewhere the asymmetric ones that the provider announces, or RS256.
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

// signingKeys is the oidc.KeySet for the tokens of one issuer. The one of go-oidc
// ignores the issuer that Microsoft names in a key, reads replies of any size and
// never drops a key.
type signingKeys struct {
	authority *Authority
	issuer    string
	tenant    string // in the issuer or in the token; "" if there is none
	algs      []jose.SignatureAlgorithm
	refetch   func(context.Context) ([]publishedKey, error) // if no key fits
	err       error                                         // why keys could not be read; go-oidc does not wrap it
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
	keys, err := s.keysFor(ctx, header.KeyID)
	if err != nil {
		s.err = err
		return nil, err
	}
	payload, err := s.verifiedBy(keys, jws)
	if err != nil && header.KeyID == "" {
		// Without a key id, only this failure tells that the keys may be new.
		if keys, err = s.refetch(ctx); err != nil {
			s.err = err
			return nil, err
		}
		payload, err = s.verifiedBy(keys, jws)
	}
	return payload, err
}

// verifiedBy returns the payload if it is signed by one of the keys that may sign
// it.
func (s *signingKeys) verifiedBy(keys []publishedKey, jws *jose.JSONWebSignature) ([]byte, error) {
	header, now := jws.Signatures[0].Header, time.Now()
	for _, key := range keys {
		if !key.usable(now) || header.KeyID != "" && key.KeyID != header.KeyID {
			continue
		}
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if key.issuer != "" && !s.issuerFits(key.issuer) {
			continue
		}
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("signed by no key that the provider publishes for this issuer")
}

// issuerFits reports whether a key that names this issuer may sign tokens of
// s.issuer.
func (s *signingKeys) issuerFits(issuer string) bool {
	if strings.Contains(issuer, TenantPattern) {
		if s.tenant == "" {
			return false
		}
		issuer = strings.ReplaceAll(issuer, TenantPattern, s.tenant)
	}
	if issuer == s.issuer {
		return true
	}
	// The host in the issuer of External ID's keys is not documented. The tenant
	// is what counts.
	return s.authority.Kind == ExternalID && s.tenant != "" && DirectoryOf(issuer) == s.tenant
}

// keysFor returns the key set that has a key with this id; if none has, the latest
// one. It may ask the provider. Verify is called only with tokens that the token
// endpoint has just sent, and VerifyLogout asks seldom, so a stranger cannot cause
// requests at will.
func (s *signingKeys) keysFor(ctx context.Context, id string) ([]publishedKey, error) {
	a := s.authority
	keys, err := a.keys.get(ctx)
	if err != nil || id == "" || hasKey(keys, id) {
		return keys, err
	}
	if d := a.appKeys.known(s.tenant); d != nil {
		if own, err := d.get(ctx); err == nil && hasKey(own, id) {
			return own, nil
		}
	}
	if keys, err = s.refetch(ctx); err != nil || hasKey(keys, id) || s.tenant == "" {
		return keys, err
	}
	if a.Kind != Entra && a.Kind != ExternalID {
		return keys, nil
	}
	d := a.appKeys.documentFor(s.tenant, func(ctx context.Context) ([]publishedKey, error) { return a.fetchAppKeys(ctx, s.tenant) })
	own, err := d.get(ctx)
	if err == nil && !hasKey(own, id) && d.age() >= keysRefetch {
		own, err = d.refetch(ctx, keysRefetch)
	}
	if refusal, ok := errors.AsType[*Failure](err); ok && refusal.Class == Misconfigured {
		return keys, nil // the tenant has no keys for this app: the token is not valid
	}
	return own, err
}
