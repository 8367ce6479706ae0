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

// maxAppKeys is of how many tenants the keys of the app are kept.
const maxAppKeys = 100

// appKeys are those that tenants use for this app alone: where claims mapping
// is set up for it, its tokens are signed with a key that only discovery with
// the app's id leads to ("Customize claims issued in the JSON web token"). They
// are good for tokens of that tenant: its administrators choose them.
type appKeys struct {
	mu      sync.Mutex
	tenants []*tenantKeys // the latest used first
}

type tenantKeys struct {
	tenant string
	Document[[]publishedKey]
}

// known are the keys of a tenant that was asked for before, or nil.
func (k *appKeys) known(tenant string) *Document[[]publishedKey] {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.find(tenant)
}

func (k *appKeys) find(tenant string) *Document[[]publishedKey] {
	i := slices.IndexFunc(k.tenants, func(t *tenantKeys) bool { return t.tenant == tenant })
	if i < 0 {
		return nil
	}
	t := k.tenants[i]
	copy(k.tenants[1:], k.tenants[:i])
	k.tenants[0] = t
	return &t.Document
}

// of are the keys of a tenant, which fetch reads.
func (k *appKeys) of(tenant string, fetch func(context.Context) ([]publishedKey, error)) *Document[[]publishedKey] {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d := k.find(tenant); d != nil {
		return d
	}
	t := &tenantKeys{tenant: tenant}
	t.patience = keysRefetch // a tenant that refuses is not asked with every token of it
	t.fetch = func(ctx context.Context) ([]publishedKey, error) {
		keys, err := fetch(ctx)
		if err != nil {
			return nil, err
		}
		return withLastGood(keys, t.last(), time.Now()), nil
	}
	k.tenants = slices.Insert(k.tenants, 0, t)
	k.tenants = slices.Delete(k.tenants, min(len(k.tenants), maxAppKeys), len(k.tenants))
	return &t.Document
}

// fetchAppKeys reads the keys of this app in a tenant.
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
