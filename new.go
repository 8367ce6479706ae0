package msauth

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/device"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/ttl"
	"example.com/msauth/internal/web"
	"golang.org/x/oauth2"
)

// New returns a Middleware configured by cfg. An error names the invalid field.
// New makes no network request, so an app can start while Microsoft is down.
func New(cfg Config) (*Middleware, error) {
	wantsOffline := slices.Contains(cfg.Scopes, "offline_access")
	base, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	registration := cfg.registration()
	if cfg.CookieName == "" {
		name := base64.RawURLEncoding.EncodeToString(registration[:])
		cfg.CookieName = "msauth-" + strings.NewReplacer("-", "x", "_", "y").Replace(name)[:6]
	}
	events := &events{log: cfg.Logger}
	ring, files, err := cfg.keyring(events)
	if err != nil {
		return nil, err
	}
	if cfg.InsecureCookies {
		cfg.Logger.Warn("msauth: InsecureCookies is set; anyone on the network can take over sessions")
	}
	client := *cfg.HTTPClient
	client.CheckRedirect = web.FollowNothing
	client.Jar = nil

	m := &Middleware{
		cfg: cfg.withoutSecrets(), base: base, log: cfg.Logger, events: events, keyFiles: files,
		trace:        tracer{cfg.Trace, cfg.Logger},
		registration: registration,
		scopes:       provider.NewScopes(cfg.kind(), cfg.Authority, cfg.Scopes),
	}
	if err := m.checkScopes(); err != nil {
		return nil, err
	}
	if m.tokenHosts, err = cfg.tokenHosts(m.scopes); err != nil {
		return nil, err
	}
	sources, err := cfg.credentialSources()
	if err != nil {
		return nil, err
	}
	m.credentials = credential.NewRing(sources, cfg.ExpiryWarning, m.events)
	m.authority = provider.NewAuthority(provider.Settings{
		Kind: cfg.kind(), Origin: cfg.Authority, Tenant: cfg.Tenant, Issuer: cfg.Issuer, Published: cfg.MicrosoftIssuer,
		ClientID: cfg.ClientID, Host: base.Hostname(), Secrets: m.credentials.Secrets, Claims: cfg.Claims, Client: &client,
	})
	m.layout = session.Layout{
		Authority: cfg.Authority, ClientID: cfg.ClientID, KeepsIDToken: !m.authority.MicrosoftIssuer() || m.live(),
	}
	m.cookies = session.NewCookies(cfg.CookieName, registration[:], seal.Codec{Keys: ring.Derive("msauth session v1")},
		base.Scheme == "http", http.SameSiteLaxMode, cfg.CookieBudget)
	m.devices = device.NewValues(ring, registration[:])
	m.ended = session.NewRevoked(cfg.MaxAge)
	m.binding = ttl.New[session.ID, struct{}](maxBinding)
	m.logoutJTIs = ttl.New[[sha256.Size]byte, struct{}](maxLogoutJTIs)

	m.wireShared(&cfg, ring)
	m.wireTokens(&cfg, ring, &client)
	m.sessions = session.NewStore(session.StoreSettings{
		Cookies: m.cookies, Layout: &m.layout, Registration: registration, Ended: m.ended,
		MaxAge: cfg.MaxAge, SessionCookie: cfg.SessionCookie, Log: cfg.Logger,
		Keep: m.renewals.Keep, LeadsTo: m.renewals.LeadsTo,
	}, cfg.Store, ring)

	m.wantsOffline = wantsOffline
	m.attempts = session.NewAttempts(ring, registration, m.cookies, cfg.Home)
	m.linkKeys, m.formKeys, m.againKeys = ring.Daily("msauth login link v1"), ring.Daily("msauth form v1"), ring.Daily("msauth form again v1")
	m.storeCodec = cookieStoreCodec(ring)
	m.oauth = oauth2.Config{ClientID: cfg.ClientID, RedirectURL: cfg.BaseURL + "/callback", Scopes: cfg.Scopes}

	if m.tokenBase = http.DefaultTransport; cfg.HTTPClient.Transport != nil {
		m.tokenBase = cfg.HTTPClient.Transport
	}
	m.graph, m.memberships = provider.GraphURL(cfg.Authority), newMemberships(m.renewals)

	if m.shared != nil {
		m.shared.Start()
	}
	m.events.stats.KeyIDs = ring.IDs()
	m.log.Info("msauth: configured", "event", "start", "base_url", cfg.BaseURL, "key_ids", strings.Join(m.events.stats.KeyIDs, " "))
	return m, nil
}

// checkScopes returns an error if no single token can have all the scopes.
func (m *Middleware) checkScopes() error {
	own, others := m.scopes.ByAPI(m.scopes.Order(m.cfg.Scopes))
	switch {
	case len(others) > 0:
		return fieldError("Scopes", "belong to several APIs: keep those of one, and request the others with RequireScopes and Session.Token")
	case len(own) > 1 && slices.ContainsFunc(own, m.scopes.All):
		return fieldError("Scopes", "%v", provider.ErrAlone)
	}
	return nil
}

// wireTokens sets up renewals and, if Config.Tokens is set, the vault.
func (m *Middleware) wireTokens(cfg *Config, ring *seal.Keyring, client *http.Client) {
	if cfg.Tokens != nil {
		m.vault = &renew.Vault{
			Store: appTokens{cfg.Tokens}, Keys: ring.Derive("msauth stored tokens v1"),
			Registration: m.registration, Layout: &m.layout, Prefix: m.registration.Prefix(),
		}
		if m.keyFiles != nil {
			m.vault.Look = func() { _ = m.keyFiles.look() }
		}
		if store, ok := cfg.Tokens.(interface{ Serve(prefix string) }); ok { // module tokenstore
			store.Serve(m.vault.Prefix)
			m.vault.Serves = true
		}
	}
	m.renewals = renew.New(renew.Settings{
		Endpoint: &provider.TokenEndpoint{
			Authority: m.authority, ClientID: cfg.ClientID, Credentials: m.credentials,
			RedirectURI: cfg.BaseURL + "/callback", Capability: cfg.capability(), RecheckAfter: cfg.RecheckAfter, Client: client,
		},
		Registration: m.registration, Rules: m.scopes, Scopes: cfg.Scopes,
		Tenants: cfg.manyTenants(), OneTenant: cfg.oneTenant(), Observer: m.events, Vault: m.vault, Shared: m.sharing(),
		Trace: m.trace.tokens,
	})
}

// withoutSecrets returns the configuration that a Middleware keeps.
func (c Config) withoutSecrets() Config {
	c.ClientSecret, c.Credentials, c.Keys = "", nil, nil
	return c
}
