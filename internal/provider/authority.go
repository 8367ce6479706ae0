package provider

import (
	"context"
	"net/http"

	"example.com/msauth/internal/credential"
)

// An Authority is the identity provider as this app sees it: its endpoints, its
// signing keys, and what makes one of its ID tokens valid. It may be used by
// many goroutines at once.
type Authority struct {
	Settings

	metadata document[*Metadata]
	keys     document[[]publishedKey]
	appKeys  appKeys
	logouts  seldom // refetches of keys for logout tokens
}

// Settings describe the provider and this app's registration there. They are
// taken as they are: the caller has checked them.
type Settings struct {
	// Kind is what KindOf says of the two issuers below.
	Kind Kind
	// Origin is scheme and host of the Microsoft cloud, such as
	// "https://login.microsoftonline.com", or the URL of Live Connect; empty for
	// other kinds.
	Origin string
	// Tenant is "common", "organizations", "consumers", a tenant id or a domain
	// of the tenant, in lower case; empty for other kinds than Entra.
	Tenant string
	// Issuer is the URL below which discovery is found; empty for Entra.
	Issuer string
	// Published is the issuer that discovery must name where that is not Issuer:
	// Config.MicrosoftIssuer of package msauth.
	Published string
	// ClientID is the id of the app registration.
	ClientID string
	// Claims names the further claims of the ID token to keep.
	Claims []string
	// Host is the host of the app's redirect URI, without a port: Live Connect makes
	// its authentication tokens for it.
	Host string
	// Secrets returns the app's client secrets, with which Live Connect signs its
	// authentication tokens.
	Secrets func(context.Context) []credential.NumberedSecret
	// Client makes all requests. It must not follow redirects: see web.FollowNothing.
	Client *http.Client
}

// NewAuthority returns the provider with these settings. It makes no request:
// discovery and keys are read when they are first needed.
func NewAuthority(s Settings) *Authority {
	a := &Authority{Settings: s}
	a.metadata.fetch = a.fetchMetadata
	a.keys.fetch = a.fetchKeys
	return a
}

// MicrosoftIssuer reports whether the claims tid and oid mean what they mean at
// Microsoft.
func (a *Authority) MicrosoftIssuer() bool { return a.Kind != OtherProvider }

// Ready returns nil if discovery and keys can be read or were read before, and
// otherwise the reason.
func (a *Authority) Ready(ctx context.Context) error {
	if a.Kind == LiveConnect {
		return nil // there is nothing to read
	}
	if _, err := a.Discover(ctx); err != nil {
		return err
	}
	_, err := a.keys.get(ctx)
	return err
}
