package provider

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	keysRefetch = 5 * time.Minute // an unknown key id leads to one refetch in this time
	keyGrace    = 1 * time.Hour   // a key stays usable after the first refetch that lacks it
	maxKeys     = 200             // in one set
)

// A publishedKey is a signing key of the provider.
type publishedKey struct {
	jose.JSONWebKey
	issuer  string    // only its tokens may be signed with the key; "" for any
	missing time.Time // of the first refetch that lacked the key; zero while it is published
}

// usable reports whether the key is published, or went missing less than keyGrace
// ago.
func (k *publishedKey) usable(now time.Time) bool {
	return k.missing.IsZero() || now.Sub(k.missing) < keyGrace
}

// hasKey reports whether there is a usable key with this id.
func hasKey(keys []publishedKey, id string) bool {
	now := time.Now()
	return slices.ContainsFunc(keys, func(k publishedKey) bool { return k.KeyID == id && k.usable(now) })
}

// fetchKeys reads the provider's key set.
func (a *Authority) fetchKeys(ctx context.Context) ([]publishedKey, error) {
	m, err := a.Discover(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := a.readKeys(ctx, m.Keys)
	if err != nil {
		return nil, err
	}
	return withLastGood(keys, a.keys.last(), time.Now()), nil
}

// refetchKeys returns the keys, read again if that was not done in the last minutes.
func (a *Authority) refetchKeys(ctx context.Context) ([]publishedKey, error) {
	return a.keys.refetch(ctx, keysRefetch)
}

// readKeys reads a key set (RFC 7517). Keys that cannot be used are left out.
func (a *Authority) readKeys(ctx context.Context, where string) ([]publishedKey, error) {
	document, err := getJSON(ctx, a.Client, where)
	if err != nil {
		return nil, wrapFault("msauth: signing keys", err)
	}
	var set []json.RawMessage
	json.Unmarshal(document["keys"], &set) // no keys, if it is not a list
	var keys []publishedKey
	for _, raw := range set {
		var fields claims
		if json.Unmarshal(raw, &fields) != nil {
			continue
		}
		// Certificates are not used, and go-jose computes SHA-1 of them, which
		// panics in FIPS 140 mode.
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

// withLastGood adds to a fresh key set the keys of the previous one that it
// lacks. The servers of a provider do not always agree: Microsoft's set changed
// 85 times in six days, and 47 of these changes were a key that went missing and
// came back.
func withLastGood(fresh, previous []publishedKey, now time.Time) []publishedKey {
	keys := fresh
	for _, key := range previous {
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

// replaces reports whether a fresh key takes the place of an earlier one: it has
// the same id and the same issuer, or the earlier one was for any issuer.
func replaces(fresh, before publishedKey) bool {
	return fresh.KeyID == before.KeyID && (fresh.issuer == before.issuer || before.issuer == "")
}
