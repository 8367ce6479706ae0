package provider

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	keysRefetch = 5 * time.Minute // for an unknown key id, at most this often
	keyGrace    = 1 * time.Hour   // a key stays usable after the first refetch that lacks it
	maxKeys     = 200
)

type publishedKey struct {
	jose.JSONWebKey
	issuer  string    // tokens of other issuers are not signed with it
	missing time.Time // of the first refetch that lacked it
}

func (a *Authority) fetchKeys(ctx context.Context) ([]publishedKey, error) {
	m, err := a.Metadata.Get(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := a.readKeys(ctx, m.Keys)
	if err != nil {
		return nil, err
	}
	return withLastGood(keys, a.keys.last(), time.Now()), nil
}

// withLastGood adds to fresh keys those of the document so far that are missing
// among them. The front ends of a provider do not agree: of 85 changes of
// Microsoft's set in six days, 47 were a key that vanished and came back.
func withLastGood(fresh, before []publishedKey, now time.Time) []publishedKey {
	keys := fresh
	for _, key := range before {
		if len(keys) >= maxKeys {
			break
		}
		if slices.ContainsFunc(fresh, func(k publishedKey) bool { return replaces(k, key) }) {
			continue
		}
		if key.missing.IsZero() {
			key.missing = now
		}
		if key.usable(now) {
			keys = append(keys, key)
		}
	}
	return keys
}

// replaces reports whether a key takes the place of another one: the same name
// for the same issuer, or of one that was for every issuer.
func replaces(fresh, before publishedKey) bool {
	return fresh.KeyID == before.KeyID && (fresh.issuer == before.issuer || before.issuer == "")
}

// usable says that a key is published, or was within the hour.
func (k *publishedKey) usable(now time.Time) bool {
	return k.missing.IsZero() || now.Sub(k.missing) < keyGrace
}

// readKeys reads a key set (RFC 7517).
func (a *Authority) readKeys(ctx context.Context, where string) ([]publishedKey, error) {
	document, err := getJSON(ctx, a.Client, where)
	if err != nil {
		return nil, wrapFault("msauth: signing keys", err)
	}
	var set []json.RawMessage
	json.Unmarshal(document["keys"], &set) // none, if it is no list
	var keys []publishedKey
	for _, raw := range set {
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
		return nil, refusedDocument("signing keys", where, errors.New("none that can be used"))
	}
	return keys, nil
}

// signingKeys is the oidc.KeySet for tokens of one issuer. go-oidc's own drops
// the issuer that Microsoft gives a key, reads replies of any size and never
// lets a key go.
type signingKeys struct {
	authority *Authority
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
	keys, err := s.named(ctx, header.KeyID)
	if err != nil {
		s.err = err
		return nil, err
	}
	payload, err := s.verifiedBy(keys, jws)
	if err != nil && header.KeyID == "" {
		// Nothing else tells that the keys are new ones.
		if keys, err = s.authority.keys.again(ctx, keysRefetch); err != nil {
			s.err = err
			return nil, err
		}
		payload, err = s.verifiedBy(keys, jws)
	}
	return payload, err
}

// verifiedBy returns what is signed by one of the keys that may.
func (s *signingKeys) verifiedBy(keys []publishedKey, jws *jose.JSONWebSignature) ([]byte, error) {
	header, now := jws.Signatures[0].Header, time.Now()
	for _, key := range keys {
		if !key.usable(now) || header.KeyID != "" && key.KeyID != header.KeyID {
			continue
		}
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if key.issuer != "" && !s.isFor(key.issuer) {
			continue
		}
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("signed by no key that the provider publishes for this issuer")
}

// isFor reports whether a key of this issuer signs the tokens of ours.
func (s *signingKeys) isFor(issuer string) bool {
	if strings.Contains(issuer, TenantPattern) {
		if s.tenant == "" {
			return false
		}
		issuer = strings.ReplaceAll(issuer, TenantPattern, s.tenant)
	}
	if issuer == s.issuer {
		return true
	}
	// Which host the issuer of External ID's keys is on is written nowhere; it
	// is the tenant that tells their tokens apart.
	return s.authority.Kind == ExternalID && s.tenant != "" && DirectoryOf(issuer) == s.tenant
}

// named returns the key set in which a key of this id is, or else the latest.
// It may ask the provider: a token is verified only after the token endpoint
// has answered with it, so that no stranger can bring this about at will.
func (s *signingKeys) named(ctx context.Context, id string) ([]publishedKey, error) {
	a := s.authority
	keys, err := a.keys.Get(ctx)
	if err != nil || id == "" || has(keys, id) {
		return keys, err
	}
	if d := a.appKeys.known(s.tenant); d != nil {
		if own, err := d.Get(ctx); err == nil && has(own, id) {
			return own, nil
		}
	}
	if keys, err = a.keys.again(ctx, keysRefetch); err != nil || has(keys, id) || s.tenant == "" {
		return keys, err
	}
	if a.Kind != Entra && a.Kind != ExternalID {
		return keys, nil
	}
	d := a.appKeys.of(s.tenant, func(ctx context.Context) ([]publishedKey, error) { return a.fetchAppKeys(ctx, s.tenant) })
	own, err := d.Get(ctx)
	if err == nil && !has(own, id) && d.age() >= keysRefetch {
		own, err = d.again(ctx, keysRefetch)
	}
	if refusal, ok := errors.AsType[*Failure](err); ok && refusal.Class == Misconfigured {
		return keys, nil // there are none for this app: the token is not good
	}
	return own, err
}

// has reports whether there is a usable key of this id.
func has(keys []publishedKey, id string) bool {
	now := time.Now()
	return slices.ContainsFunc(keys, func(k publishedKey) bool { return k.KeyID == id && k.usable(now) })
}
