package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/msauth/internal/web"
)

const (
	ExpLeeway     = 1 * time.Minute // a token may have expired this long ago
	FutureLeeway  = 5 * time.Minute // nbf and iat may lie this far ahead
	maxTokenAge   = 1 * time.Hour   // iat of a token that was just issued
	TenantPattern = "{tenantid}"
)

// Authority is Microsoft, or another OpenID provider, as this app sees it:
// where its endpoints are, which keys it signs with, and what makes an ID
// token of it a true one. It knows nothing of cookies and sessions.
type Authority struct {
	Settings

	Metadata Document[*Metadata]
	keys     Document[[]publishedKey]
	appKeys  appKeys
}

// Metadata is what discovery says (OpenID Connect Discovery section 3).
type Metadata struct {
	Issuer        string
	Authorization string
	Token         string
	Keys          string
	EndSession    string
	UserInfo      string
	Algorithms    []string // id_token_signing_alg_values_supported
	AuthMethods   []string // token_endpoint_auth_methods_supported
	Scopes        []string // scopes_supported; nil where that is absent
	AnswerIssuer  bool     // authorization_response_iss_parameter_supported
}

// Settings are what the app says of its provider.
type Settings struct {
	Kind      Kind
	Origin    string // of the Microsoft cloud; empty for other providers
	Tenant    string
	Issuer    string // for other providers: below it is discovery
	Published string // the issuer that discovery must name, where that is another
	ClientID  string
	Claims    []string // further claims to keep
	Client    *http.Client
}

func NewAuthority(s Settings) *Authority {
	a := &Authority{Settings: s}
	a.Metadata.fetch = a.fetchMetadata
	a.keys.fetch = a.fetchKeys
	return a
}

// discoveryURL is where the metadata of a tenant is; other providers than
// Microsoft have but one.
func (a *Authority) discoveryURL(tenant string) string {
	base := a.Origin + "/" + tenant + "/v2.0"
	if a.Issuer != "" {
		base = strings.TrimSuffix(a.Issuer, "/")
	}
	return base + "/.well-known/openid-configuration"
}

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

// readMetadata reads discovery from anywhere and checks all but the issuer.
func (a *Authority) readMetadata(ctx context.Context, where string) (*Metadata, error) {
	c, err := getJSON(ctx, a.Client, where)
	if err != nil {
		return nil, wrapFault("msauth: discovery", err)
	}
	// What nothing of signing in depends on may be of any type.
	m := &Metadata{UserInfo: c.text("userinfo_endpoint"), AuthMethods: c.texts("token_endpoint_auth_methods_supported")}
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

// checkIssuer refuses a document that speaks for somebody else.
func (a *Authority) checkIssuer(m *Metadata) error {
	named := web.OneLine(m.Issuer, 200)
	if a.Issuer == "" {
		tenant := a.issuerTenant(m.Issuer)
		var fits bool
		switch {
		case a.Tenant == "common", a.Tenant == "organizations":
			fits = tenant != ""
		case a.Tenant == "consumers":
			fits = tenant == PersonalTenant
		case GUIDForm.MatchString(a.Tenant):
			fits = strings.EqualFold(tenant, a.Tenant)
		default: // a domain: whatever tenant it belongs to, but always the same
			fits = GUIDForm.MatchString(tenant)
			if known, err := a.Known(); err == nil && known.Issuer != m.Issuer {
				fits = false
			}
		}
		if !fits {
			return fmt.Errorf("names the issuer %q, which is not that of tenant %q", named, a.Tenant)
		}
		return nil
	}
	directory := DirectoryOf(m.Issuer)
	switch {
	case TFPIssuer(m.Issuer) && (a.Kind == b2c || m.Issuer != a.Issuer):
		return fmt.Errorf("names the issuer %q: this form of Azure AD B2C, with /tfp/, is not supported. "+
			"In the properties of the user flow, under \"Token compatibility settings\", set \"Issuer (iss) claim\" to the form that has the tenant's id alone "+
			"(in a custom policy, IssuanceClaimPattern to AuthorityAndTenantGuid)", named)
	case a.Published != "":
		if m.Issuer != a.Published {
			return fmt.Errorf("names the issuer %q and not Config.MicrosoftIssuer, %q", named, a.Published)
		}
		return nil
	case m.Issuer == a.Issuer && (a.Kind == OtherProvider || directory != ""), a.Kind != OtherProvider && directoryIssuer(a.Issuer, m.Issuer):
		return nil
	case directory != "" && named == m.Issuer:
		if u, err := url.Parse(m.Issuer); err == nil && CloudOf(u) != "" {
			return fmt.Errorf("names the issuer %q and not %q: set Config.Authority to %q and Config.Tenant to %q, and leave Config.Issuer empty",
				named, a.Issuer, CloudOf(u), directory)
		}
		return fmt.Errorf("names the issuer %q and not %q: if this is a custom domain of Entra External ID or Azure AD B2C, and that is your tenant's id, set Config.MicrosoftIssuer to %q",
			named, a.Issuer, m.Issuer)
	}
	if a.Kind != OtherProvider && m.Issuer == a.Issuer {
		return fmt.Errorf("names the issuer %q, which is not of the form https://host/<tenant id>/v2.0 that Entra External ID and Azure AD B2C have", named)
	}
	return fmt.Errorf("names the issuer %q and not %q", named, a.Issuer)
}

// checkEndpoints refuses a document that leads elsewhere.
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

// checkEndpoint accepts an absolute URL on https, or on a loopback host.
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

// Known returns the metadata as last read, without asking anybody.
func (a *Authority) Known() (*Metadata, error) {
	a.Metadata.mu.Lock()
	defer a.Metadata.mu.Unlock()
	if !a.Metadata.have {
		return nil, errors.New("msauth: discovery has not been read")
	}
	return a.Metadata.value, nil
}

// Ready reports whether discovery and keys can be read.
func (a *Authority) Ready(ctx context.Context) error {
	if _, err := a.Metadata.Get(ctx); err != nil {
		return err
	}
	_, err := a.keys.Get(ctx)
	return err
}
