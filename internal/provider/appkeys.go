package provider

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"example.com/msauth/internal/web"
)

// maxAppKeys is the number of tenants whose keys for this app are kept.
const maxAppKeys = 100

// appKeys are the keys that tenants publish for this app alone. A tenant that maps
// claims for the app signs its tokens with a key that is listed only in discovery
// with the app's id ("Customize claims issued in the JSON web token"). Such a key
// is accepted for tokens of its own tenant only: the tenant's administrators
// choose it.
type appKeys struct {
	mu      sync.Mutex
	tenants []*tenantKeys // the most recently used first
}

// tenantKeys are the keys of one tenant for this app.
type tenantKeys struct {
	tenant string
	document[[]publishedKey]
}

// known returns the keys of a tenant if they were asked for before, else nil.
func (k *appKeys) known(tenant string) *document[[]publishedKey] {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.find(tenant)
}

// find is known for a caller that holds the lock. It marks the tenant as used.
func (k *appKeys) find(tenant string) *document[[]publishedKey] {
	i := slices.IndexFunc(k.tenants, func(t *tenantKeys) bool { return t.tenant == tenant })
	if i < 0 {
		return nil
	}
	t := k.tenants[i]
	copy(k.tenants[1:], k.tenants[:i])
	k.tenants[0] = t
	return &t.document
}

// documentFor returns the keys of a tenant. A new one is read by fetch when it is
// first used, and takes the place of the least recently used one if there are too
// many.
func (k *appKeys) documentFor(tenant string, fetch func(context.Context) ([]publishedKey, error)) *document[[]publishedKey] {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d := k.find(tenant); d != nil {
		return d
	}
	t := &tenantKeys{tenant: tenant}
	t.refusalPause = keysRefetch // each of a refusing tenant's tokens would lead to a request
	t.fetch = func(ctx context.Context) ([]publishedKey, error) {
		keys, err := fetch(ctx)
		if err != nil {
			return nil, err
		}
		return withLastGood(keys, t.last(), time.Now()), nil
	}
	k.tenants = slices.Insert(k.tenants, 0, t)
	k.tenants = slices.Delete(k.tenants, min(len(k.tenants), maxAppKeys), len(k.tenants))
	return &t.document
}

// fetchAppKeys reads the keys that a tenant publishes for this app.
func (a *Authority) fetchAppKeys(ctx context.Context, tenant string) ([]publishedKey, error) {
	where := a.discoveryURL(tenant) + "?appid=" + url.QueryEscape(a.ClientID)
	m, err := a.readMetadata(ctx, where)
	if err != nil {
		return nil, err
	}
	if a.Kind == Entra {
		if m.Issuer != TenantIssuer(a.Origin, tenant) {
			return nil, refusedDocument("discovery", where, fmt.Errorf("names the issuer %q, which is not that of tenant %q", web.OneLine(m.Issuer, 200), tenant))
		}
	} else if err := a.checkIssuer(m); err != nil {
		return nil, refusedDocument("discovery", where, err)
	}
	if keys, err := url.Parse(m.Keys); err != nil || !keys.Query().Has("appid") {
		return nil, refusedDocument("discovery", where, errors.New("the tenant has no keys for this app"))
	}
	return a.readKeys(ctx, m.Keys)
}
