package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"example.com/msauth/internal/web"
)

// Metadata is the part of the discovery document that this package uses (OpenID
// Connect Discovery section 3). It is shared: do not change it.
type Metadata struct {
	// Issuer is the issuer of the provider's tokens. At Entra it may have
	// TenantPattern in the place of the tenant.
	Issuer string
	// Authorization is the authorization endpoint.
	Authorization string
	// Token is the token endpoint.
	Token string
	// Keys is jwks_uri: where the signing keys are.
	Keys string
	// EndSession is the endpoint for signing out; empty if there is none.
	EndSession string
	// UserInfo is the userinfo endpoint, unchecked; empty if there is none.
	UserInfo string
	// Algorithms is id_token_signing_alg_values_supported.
	Algorithms []string
	// AuthMethods is token_endpoint_auth_methods_supported.
	AuthMethods []string
	// AuthAlgorithms is token_endpoint_auth_signing_alg_values_supported; nil if
	// that is absent.
	AuthAlgorithms []string
	// Scopes is scopes_supported; nil if that is absent.
	Scopes []string
	// AnswerIssuer is authorization_response_iss_parameter_supported (RFC 9207
	// section 3).
	AnswerIssuer bool
}

// Discover returns the metadata, at most a day old if the provider can be reached.
// It may have to ask the provider, and fails only if nothing was read before.
func (a *Authority) Discover(ctx context.Context) (*Metadata, error) {
	if a.Kind == LiveConnect {
		return a.liveMetadata(), nil
	}
	return a.metadata.get(ctx)
}

// Known returns the metadata that was last read. It never asks the provider, and
// fails if nothing was read yet.
func (a *Authority) Known() (*Metadata, error) {
	if a.Kind == LiveConnect {
		return a.liveMetadata(), nil
	}
	if m := a.metadata.last(); m != nil {
		return m, nil
	}
	return nil, errors.New("msauth: discovery has not been read")
}

// discoveryURL is the address of a tenant's discovery document. Providers other
// than Entra have only one.
func (a *Authority) discoveryURL(tenant string) string {
	base := a.Origin + "/" + tenant + "/v2.0"
	if a.Issuer != "" {
		base = strings.TrimSuffix(a.Issuer, "/")
	}
	return base + "/.well-known/openid-configuration"
}

// fetchMetadata reads the discovery document of the configured tenant.
func (a *Authority) fetchMetadata(ctx context.Context) (*Metadata, error) {
	where := a.discoveryURL(a.Tenant)
	m, err := a.readMetadata(ctx, where)
	if err != nil {
		return nil, err
	}
	if err := a.checkIssuer(m); err != nil {
		return nil, refusedDocument("discovery", where, err)
	}
	return m, nil
}

// readMetadata reads a discovery document and checks everything but its issuer.
func (a *Authority) readMetadata(ctx context.Context, where string) (*Metadata, error) {
	c, err := getJSON(ctx, a.Client, where)
	if err != nil {
		return nil, wrapFault("msauth: discovery", err)
	}
	// Signing in does not depend on these: a wrong type counts as absent.
	m := &Metadata{UserInfo: c.text("userinfo_endpoint"), AuthMethods: c.texts("token_endpoint_auth_methods_supported"),
		AuthAlgorithms: c.texts("token_endpoint_auth_signing_alg_values_supported")}
	if raw, ok := c["scopes_supported"]; ok && string(raw) != "null" {
		m.Scopes = append([]string{}, c.texts("scopes_supported")...)
	}
	for _, member := range []struct {
		name  string
		value any
	}{
		{"issuer", &m.Issuer},
		{"authorization_endpoint", &m.Authorization},
		{"token_endpoint", &m.Token},
		{"jwks_uri", &m.Keys},
		{"end_session_endpoint", &m.EndSession},
		{"id_token_signing_alg_values_supported", &m.Algorithms},
		{"authorization_response_iss_parameter_supported", &m.AnswerIssuer},
	} {
		if raw, there := c[member.name]; there {
			if err := json.Unmarshal(raw, member.value); err != nil {
				return nil, refusedDocument("discovery", where, fmt.Errorf("%s: %w", member.name, err))
			}
		}
	}
	if err := a.checkEndpoints(m); err != nil {
		return nil, refusedDocument("discovery", where, err)
	}
	return m, nil
}

// checkEndpoints refuses metadata whose endpoints are not on https or, at Entra,
// on another host than the authority's.
func (a *Authority) checkEndpoints(m *Metadata) error {
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
		u, err := checkEndpoint(e.name, e.value)
		if err != nil {
			return err
		}
		if a.Origin != "" && !strings.EqualFold(u.Scheme+"://"+u.Host, a.Origin) {
			return fmt.Errorf("%s is on the host %q and not on the authority's", e.name, u.Host)
		}
	}
	return nil
}

// checkEndpoint accepts an absolute URL on https, or on http on a loopback host.
func checkEndpoint(name, value string) (*url.URL, error) {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("%s is not an absolute URL", name)
	case u.Scheme != "https" && !(u.Scheme == "http" && web.IsLoopback(u.Hostname())):
		return nil, fmt.Errorf("%s is not on https", name)
	}
	return u, nil
}

// basicAuth reports whether the client secret goes into an Authorization header
// (RFC 6749 section 2.3.1) and not into the body. Basic is the default of a
// provider that says nothing (OpenID Connect Discovery section 3); Microsoft's
// endpoints all accept the secret in the body.
func (a *Authority) basicAuth(m *Metadata) bool {
	return a.Kind == OtherProvider && !slices.Contains(m.AuthMethods, "client_secret_post")
}

// OffersOffline reports whether offline_access may be asked for: providers may
// refuse a scope that they do not know. Azure AD B2C lists only openid, and gives
// refresh tokens all the same.
func (a *Authority) OffersOffline(m *Metadata) bool {
	return a.Kind != OtherProvider || m.Scopes == nil || slices.Contains(m.Scopes, "offline_access")
}
