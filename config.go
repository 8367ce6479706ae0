package msauth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
	"github.com/gorilla/sessions"
	"golang.org/x/oauth2"
)

// Config says who the app is at Microsoft, who may sign in, and how sessions
// are kept. ClientID, ClientSecret, BaseURL and Keys have no defaults; the zero
// value of every other field is a good choice. [New] copies what it needs.
type Config struct {
	// ClientID and ClientSecret are the "Application (client) ID" and the
	// value (not the id) of a client secret of the app registration.
	ClientID     string
	ClientSecret string

	// Tenant says whose accounts are asked to sign in: "common" (work, school
	// and personal), "organizations" (work and school), "consumers"
	// (personal), a tenant id, or a domain name of a tenant. Default
	// "common".
	Tenant string

	// AllowedTenants narrows "common" or "organizations" to the tenants with
	// these ids. Personal accounts are tenant
	// 9188040d-6c67-4c5b-b112-36a304b66dad. Anybody else is told so after
	// signing in, and existing sessions of others end. Default: all.
	AllowedTenants []string

	// Authority is the origin of the Microsoft cloud, without a path. Default
	// "https://login.microsoftonline.com"; others are
	// "https://login.microsoftonline.us" and
	// "https://login.partner.microsoftonline.cn". Plain http is accepted on
	// loopback hosts, for package msauthtest.
	Authority string

	// Issuer selects any other OpenID provider (Entra External ID and Azure AD
	// B2C among them) in place of Authority and Tenant: the URL below which
	// /.well-known/openid-configuration is found, exactly as the provider
	// names itself. The issuers of External ID and B2C are other URLs by
	// design: theirs is the one that discovery is read below, such as
	// "https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/B2C_1_susi/v2.0"
	// or "https://fabrikam.ciamlogin.com/<tenant id>/v2.0".
	Issuer string

	// MicrosoftIssuer is the issuer that discovery below Issuer publishes,
	// where that is another: a custom domain of Entra External ID or Azure AD
	// B2C. It says that the provider is Microsoft's, and has the form
	// "https://<tenant id>.ciamlogin.com/<tenant id>/v2.0" or
	// "https://login.example.com/<tenant id>/v2.0/". Discovery must publish
	// exactly this; where it is missing, the error names the one that it
	// publishes. Issuers of B2C with /tfp/ in them are not supported. Default:
	// none is needed at ciamlogin.com and b2clogin.com.
	MicrosoftIssuer string

	// BaseURL is where people reach this Middleware, such as
	// "https://app.example.com/auth". BaseURL + "/callback" is the redirect
	// URI to register at Microsoft, and BaseURL + "/signed-out" a second one.
	// It is never guessed from a request, because the Host header is the
	// visitor's to choose. It must be https except on loopback hosts, where
	// http is for development: cookies then go without "Secure".
	BaseURL string

	// Scopes are what the app wants to do in the person's name, such as
	// "Files.Read", all of one API: the first access token is for that one.
	// openid, profile, email and offline_access are always asked for. Default
	// "User.Read" at Microsoft, nothing more elsewhere.
	Scopes []string

	// Keys seal the cookies: 32 random bytes each, for example from
	// "openssl rand -base64 32". The first seals, all open, so that keys can
	// be rotated: add the new key in second place on every server, then move
	// it to first place, and drop the old one MaxAge later (see Tokens).
	Keys [][]byte

	// Store keeps sessions on the server, for when cookies of 3 KB are not
	// wanted. Any gorilla store will do; what it keeps is sealed with Keys
	// all the same, each record for its place: a sign-in saves twice, because
	// most stores give the name of a record at its first save. Lift the store's
	// limit on the length of a record, which is 4096 bytes with most. Default:
	// sessions live in cookies.
	Store sessions.Store

	// Tokens keeps refresh tokens for the app's own users, so that it can act
	// for them with [Middleware.Offline] while they are away; the cookies of
	// these sign-ins carry none. [SignIn.UserKey] is the user. What is kept is sealed with
	// Keys: before an old key is dropped, [Middleware.Reseal] has to be called
	// for every user. It is sealed for this app too: what was kept is lost when
	// Authority, Tenant, ClientID or BaseURL change. Default: none are kept but
	// in sessions.
	Tokens TokenStore

	// User tells who is signed in to the app by the app's own means, as a key
	// of at most 255 bytes, not beginning with "msauth:", or "". [Middleware.Connect] needs it; it is asked
	// again when the person comes back from Microsoft: the app's own cookie has
	// to get to BaseURL, and cannot be SameSite=Strict.
	User func(r *http.Request) (key string)

	// CookieName is the session cookie's name after the "__Host-" prefix,
	// which every cookie of this package gets where BaseURL is https. Default "msauth-" and six
	// letters that differ between registrations, because apps on several
	// ports of one host share cookies.
	CookieName string

	// CookieBudget limits the bytes of all Set-Cookie lines of a session,
	// from 1024 to 7168. Raise it together with the header limits of the
	// proxies in front, of which nginx's 4 KB is the lowest in wide use. A
	// session over budget leaves out, in this order: the ID token for signing
	// out (kept at providers that are not Microsoft), the access token (it is
	// then fetched when asked for), the groups, the claims named by Claims.
	// Default 3300, which leaves room for the other lines of an answer.
	CookieBudget int

	// Claims names further claims of the ID token to keep in [User.Claims].
	// Default none.
	Claims []string

	// MaxAge ends a session this long after sign-in, at most 400 days,
	// whatever happens: a further sign-in of the same person puts the end off
	// only if credentials were entered anew (claim auth_time). Default 7 days.
	MaxAge time.Duration

	// IdleTimeout ends a session that was not used for this long. Use is
	// noted in steps of IdleTimeout/24, so it may end one step early, never
	// late. A value of MaxAge or more switches it off. Default 24 hours.
	IdleTimeout time.Duration

	// SessionCookie makes browsers forget the session when they are closed,
	// for shared computers. Default: it stays until it ends.
	SessionCookie bool

	// RecheckAfter renews the tokens when they were issued this long ago,
	// even if they are valid for longer, so that a person who was disabled
	// or signed out everywhere by an administrator is out after at most this
	// time. A session without a refresh token ends then. At least one minute.
	// Default: when the access token is due, after about an hour; never where
	// a provider at Issuer gave no refresh token.
	RecheckAfter time.Duration

	// PostLogoutURL is where Microsoft sends people after they signed out:
	// an absolute URL that is registered as a redirect URI. Do not name a
	// page under Require: it would sign them straight in again. Default
	// BaseURL + "/signed-out".
	PostLogoutURL string

	// Home is the path of the site's home page, such as "/expenses/", with or
	// without a query: where pages of this package link to, and where people
	// come to after signing in if nothing else was wanted. Default: the parent
	// of BaseURL's path, "/expenses/" for "https://corp.example/expenses/auth"
	// and "/" for "https://app.example.com/auth".
	Home string

	// TokenHosts are further hosts, such as "api.example.com" or
	// "localhost:8081", to which [Session.Client] sends an access token: one
	// with the scopes that are named, such as "api://orders/.default", all of
	// one API, or the session's own where there are none. Default: Microsoft
	// Graph of the Authority's cloud only.
	TokenHosts map[string][]string

	// ContinuousAccess declares to Microsoft that the app handles claims
	// challenges (client capability "cp1"): handlers use [Session.Client], or
	// hand the errors of APIs to [Middleware.Challenge]. Access tokens then
	// live up to 28 hours, and are refused within minutes when a person is
	// disabled or changes their password. See "Continuous access evaluation"
	// of the Microsoft identity platform. Default: not declared.
	ContinuousAccess bool

	// OnSignIn is called once per sign-in, after all checks and before the
	// session is made. It may refuse the person by returning an error, link
	// them to the app's own user, set cookies of the app's own on w, and
	// change AppData and ReturnTo. It must not write a response. A refusal
	// is shown as a page with status 403 that does not show the error's text;
	// Config.Page sees it. Default: everybody whom Microsoft vouches for and
	// AllowedTenants admits.
	OnSignIn func(w http.ResponseWriter, r *http.Request, s *SignIn) error

	// Page replaces the HTML of every page that this package shows: errors,
	// "signed out", "confirm sign-out". The strict headers are set before
	// it is called and may be changed by it; it writes status and body.
	// Default: plain, accessible English pages.
	Page func(w http.ResponseWriter, r *http.Request, p Page)

	// HTTPClient reaches Microsoft. Redirects are never followed with it,
	// replies are bounded in bytes. Default: a client with a timeout of 15
	// seconds that honours HTTPS_PROXY.
	HTTPClient *http.Client

	// Logger receives what happens, never a token, code, key or cookie. Where
	// its handler panics, the line is lost, and nothing else.
	// Default [slog.Default] at the time of New.
	Logger *slog.Logger

	// InsecureCookies permits a BaseURL of plain http on other hosts than
	// loopback. As on loopback, cookies then have neither "Secure" nor the
	// "__Host-" prefix: anybody on the network can take sessions over. For
	// development networks only.
	InsecureCookies bool
}

// SignIn is one sign-in as [Config.OnSignIn] sees it.
type SignIn struct {
	// Session is the session to be, usable for calls to Microsoft already.
	Session *Session
	// AppState is what [LoginOptions.AppState] held when the sign-in began.
	AppState string
	// AppData becomes [Session.AppData]: at most 512 bytes.
	AppData string
	// ReturnTo is the local path that the person will come to. Anything that
	// is not a path on this site is replaced by [Config.Home].
	ReturnTo string

	// UserKey is the app's user under whom [Config.Tokens] keeps the tokens, at
	// most 255 bytes, not beginning with "msauth:"; "" keeps nothing. Where Connect began this it is the user
	// who connects; else the [User.Key] of the account or, where [Config.User]
	// is set, nobody: an app with users of its own puts theirs here. They are
	// kept after OnSignIn has returned: that it was called does not mean that
	// they are.
	UserKey string
	// Connecting is set when [Middleware.Connect] began this for UserKey, who
	// [Config.User] says is still there. No session is made then, unless
	// MakeSession is set.
	Connecting  bool
	MakeSession bool
	// ReplaceAccount allows this account where UserKey has connected another,
	// whose tokens are then forgotten; ShareAccount allows one that another
	// user has connected. Otherwise the sign-in ends on a page with status 403.
	ReplaceAccount, ShareAccount bool
}

const (
	defaultAuthority   = "https://login.microsoftonline.com"
	defaultMaxAge      = 7 * 24 * time.Hour
	defaultIdleTimeout = 24 * time.Hour

	defaultCookieBudget = 3300
	largestCookieBudget = 7168
	maxAppData          = 512
	maxHome             = 200
)

// New checks cfg and makes a Middleware from it. It makes no network call, so
// that an app starts while Microsoft is down. An error names the field that is
// wrong.
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
	ring, err := seal.NewKeyring(cfg.Keys)
	if err != nil {
		return nil, fieldError("Keys", "%v", err)
	}
	if cfg.InsecureCookies {
		cfg.Logger.Warn("msauth: InsecureCookies is set: sessions can be taken over by anybody on the network")
	}
	client := *cfg.HTTPClient
	client.CheckRedirect = provider.FollowNothing
	client.Jar = nil

	m := &Middleware{
		cfg:          cfg.withoutSecrets(),
		base:         base,
		registration: registration,
		layout:       session.Layout{Authority: cfg.Authority, ClientID: cfg.ClientID},
		wantsOffline: wantsOffline,
		log:          cfg.Logger,
		events:       &events{log: cfg.Logger},
		ended:        session.NewRevoked(),
		linkKeys:     ring.Daily("msauth login link v1"),
		formKeys:     ring.Daily("msauth form v1"),
		cookies: session.NewCookies(cfg.CookieName, registration[:], seal.Codec{Keys: ring.Derive("msauth session v1")},
			base.Scheme == "http", http.SameSiteLaxMode, cfg.CookieBudget),
	}
	m.attempts = session.NewAttempts(ring, registration, m.cookies, cfg.Home)
	m.authority = provider.NewAuthority(provider.Settings{
		Kind: cfg.kind(), Origin: cfg.Authority, Tenant: cfg.Tenant, Issuer: cfg.Issuer, Published: cfg.MicrosoftIssuer,
		ClientID: cfg.ClientID, Claims: cfg.Claims, Client: &client,
	})
	m.layout.KeepsIDToken = !m.authority.MicrosoftIssuer()
	m.scopes = provider.NewScopes(cfg.kind(), cfg.Authority, cfg.Scopes)
	own, others := m.scopes.ByAPI(m.scopes.Order(cfg.Scopes))
	switch {
	case len(others) > 0:
		return nil, fieldError("Scopes", "are of several APIs: leave those of the others to RequireScopes and Session.Token")
	case len(own) > 1 && slices.ContainsFunc(own, m.scopes.All):
		return nil, fieldError("Scopes", "%v", provider.ErrAlone)
	}
	if m.tokenHosts, err = cfg.tokenHosts(m.scopes); err != nil {
		return nil, err
	}
	m.tokenBase = http.DefaultTransport
	if cfg.HTTPClient.Transport != nil {
		m.tokenBase = cfg.HTTPClient.Transport
	}
	if cfg.Tokens != nil {
		m.vault = &renew.Vault{
			Store: appTokens{cfg.Tokens}, Keys: ring.Derive("msauth stored tokens v1"),
			Registration: registration, Layout: &m.layout, Prefix: registration.Prefix(),
		}
		if store, ok := cfg.Tokens.(interface{ Serve(prefix string) }); ok { // module tokenstore
			store.Serve(m.vault.Prefix)
			m.vault.Serves = true
		}
	}
	m.renewals = renew.New(renew.Settings{
		Endpoint: &provider.TokenEndpoint{
			Authority: m.authority, ClientID: cfg.ClientID, ClientSecret: seal.Hide(cfg.ClientSecret),
			RedirectURI: cfg.BaseURL + "/callback", Capability: cfg.capability(), RecheckAfter: cfg.RecheckAfter, Client: &client,
		},
		Registration: registration, Rules: m.scopes, Scopes: cfg.Scopes,
		Tenants: cfg.manyTenants(), OneTenant: cfg.oneTenant(), Observer: m.events, Vault: m.vault,
	})
	m.graph = provider.GraphURL(cfg.Authority)
	m.memberships = newMemberships()
	m.sessions = session.NewStore(session.StoreSettings{
		Cookies: m.cookies, Layout: &m.layout, Registration: registration, Ended: m.ended,
		MaxAge: cfg.MaxAge, SessionCookie: cfg.SessionCookie, Log: cfg.Logger,
		Keep: m.renewals.Keep, LeadsTo: m.renewals.LeadsTo,
	}, cfg.Store, ring)
	m.oauth = oauth2.Config{
		ClientID:    cfg.ClientID,
		RedirectURL: cfg.BaseURL + "/callback",
		Scopes:      cfg.Scopes,
	}
	m.log.Info("msauth: configured", "event", "start", "base_url", cfg.BaseURL, "key_ids", strings.Join(ring.IDs(), " "))
	return m, nil
}

// complete fills in the defaults, puts every field into its one form, and
// refuses what cannot work.
func (c *Config) complete() (base *url.URL, err error) {
	if c.ClientID == "" || strings.ContainsFunc(c.ClientID, notPrintable) {
		return nil, fieldError("ClientID", "must be the application (client) id of the app registration")
	}
	if c.ClientSecret == "" {
		return nil, fieldError("ClientSecret", "is empty: create one under \"Certificates & secrets\" of the app registration and copy its value")
	}
	if base, err = c.completeURLs(); err != nil {
		return nil, err
	}
	if err = c.completeProvider(); err != nil {
		return nil, err
	}
	if err = c.completeScopes(); err != nil {
		return nil, err
	}
	if err = c.completeSession(); err != nil {
		return nil, err
	}
	for host := range c.TokenHosts {
		u, err := url.Parse("https://" + host)
		if err != nil || u.Host != host || u.Hostname() == "" || !web.IsASCII(host) || strings.HasSuffix(u.Hostname(), ".") || strings.Contains(host, "*") {
			return nil, fieldError("TokenHosts", "has %q: want a host, or host:port, such as api.example.com", host)
		}
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{Timeout: 15 * time.Second}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = slog.New(calm{c.Logger.Handler()})
	return base, nil
}

func (c *Config) completeURLs() (*url.URL, error) {
	base, err := checkURL("BaseURL", c.BaseURL, c.InsecureCookies)
	if err != nil {
		return nil, err
	}
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	base.Path = strings.TrimRight(base.Path, "/")
	if strings.Contains(base.Path, "//") || base.RawPath != "" || strings.Contains(base.Path, "/.") {
		return nil, fieldError("BaseURL", "%q has an unusual path", c.BaseURL)
	}
	if c.PostLogoutURL == "" {
		c.PostLogoutURL = c.BaseURL + "/signed-out"
	} else if u, err := url.Parse(c.PostLogoutURL); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil {
		return nil, fieldError("PostLogoutURL", "%q must be an absolute URL that is registered as a redirect URI", c.PostLogoutURL)
	}
	return base, c.completeHome(base)
}

// completeHome finds the site's home page.
func (c *Config) completeHome(base *url.URL) error {
	if c.Home == "" {
		escaped := web.ASCIIURL(base.EscapedPath())
		c.Home = escaped[:strings.LastIndexByte(escaped, '/')+1]
		if c.Home == "" {
			c.Home = "/"
		}
		return nil
	}
	own := func(p string) bool { return ownRoute(base.Path, p) }
	if home, _ := web.ReturnPath(c.Home, own, ""); home != c.Home || len(home) > maxHome {
		return fieldError("Home", "%q must be the path of a page of this site, such as /expenses/, of at most %d bytes", c.Home, maxHome)
	}
	return nil
}

// checkURL accepts an absolute URL without query, fragment or user, on https
// or where plain http may be used.
func checkURL(field, s string, anyHTTP bool) (*url.URL, error) {
	if s == "" {
		return nil, fieldError(field, "is empty: want an absolute URL such as https://app.example.com/auth")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme == "" || u.Hostname() == "":
		return nil, fieldError(field, "%q must be an absolute URL such as https://app.example.com/auth", s)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fieldError(field, "%q must begin with https://", s)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#"):
		return nil, fieldError(field, "%q must have no user, query or fragment", s)
	case u.Scheme == "http" && !anyHTTP && !web.IsLoopback(u.Hostname()):
		return nil, fieldError(field, "%q must be https: plain http is for loopback hosts such as localhost", s)
	}
	return u, nil
}

func (c *Config) completeScopes() error {
	scopes := slices.Clone(provider.SignInScopes)
	wanted := c.Scopes
	if wanted == nil && c.Issuer == "" {
		wanted = []string{"User.Read"}
	}
	for _, s := range wanted {
		if !provider.ScopeForm.MatchString(s) {
			return fieldError("Scopes", "has %q: want one scope per entry, without spaces", s)
		}
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	c.Scopes = scopes
	return nil
}

func (c *Config) completeSession() error {
	if c.CookieName != "" && !session.ValidName(c.CookieName) {
		return fieldError("CookieName", "%q must be 1 to 40 letters, digits, dots, dashes or underscores, and not end like one of another session's cookies (the __Host- prefix is added)", c.CookieName)
	}
	if _, ours := c.Store.(*CookieStore); ours {
		return fieldError("Store", "is a CookieStore: leave it nil, sessions live in cookies then")
	}
	if c.CookieBudget == 0 {
		c.CookieBudget = defaultCookieBudget
	}
	if c.CookieBudget < 1024 || c.CookieBudget > largestCookieBudget {
		return fieldError("CookieBudget", "is %d: want 1024 to %d bytes", c.CookieBudget, largestCookieBudget)
	}
	for _, name := range c.Claims {
		if name == "" || len(name) > 100 {
			return fieldError("Claims", "has %q: want the name of a claim", name)
		}
	}
	c.Claims = slices.Clone(c.Claims)
	for _, d := range []struct {
		field string
		value *time.Duration
		least time.Duration
		most  time.Duration
		zero  time.Duration
	}{
		{"MaxAge", &c.MaxAge, time.Minute, session.LongestMaxAge, defaultMaxAge},
		{"IdleTimeout", &c.IdleTimeout, time.Minute, 1<<63 - 1, defaultIdleTimeout},
		{"RecheckAfter", &c.RecheckAfter, time.Minute, 1<<63 - 1, 0},
	} {
		if *d.value < 0 {
			return fieldError(d.field, "is negative: must be at least %s", inWords(d.least))
		}
		if *d.value == 0 {
			*d.value = d.zero
			continue
		}
		if err := checkDuration(*d.value, d.least, d.most); err != nil {
			return fieldError(d.field, "%v", err)
		}
	}
	return nil
}

// checkDuration says in words what is wrong with a duration.
func checkDuration(d, least, most time.Duration) error {
	switch {
	case d < least:
		return fmt.Errorf("is %s: must be at least %s", inWords(d), inWords(least))
	case d > most:
		return fmt.Errorf("is %s: must be at most %s", inWords(d), inWords(most))
	}
	return nil
}

// inWords is a duration as a person would say it, if it is a round one.
func inWords(d time.Duration) string {
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		switch n := d / unit.of; {
		case d <= 0 || d%unit.of != 0:
		case n == 1:
			return "1 " + unit.name
		default:
			return fmt.Sprint(int64(n), " ", unit.name, "s")
		}
	}
	return d.String()
}

// tokenHosts are the hosts that may have a token, as tokenHost writes them, and
// the scopes of these tokens.
func (c *Config) tokenHosts(rules provider.Scopes) (map[string][]string, error) {
	hosts := map[string][]string{}
	for _, host := range provider.GraphHosts(c.Authority) {
		if hosts[host] = nil; rules.Own != "" {
			hosts[host] = []string{rules.Graph[0] + "/" + provider.DefaultScope}
		}
	}
	seen := map[string]bool{}
	for host, scopes := range c.TokenHosts {
		scopes, err := rules.Check(scopes)
		if err != nil {
			return nil, fieldError("TokenHosts", "%q: %v", host, err)
		}
		if own, others := rules.ByAPI(scopes); len(others) > 1 || len(others) == 1 && len(own) > 0 {
			return nil, fieldError("TokenHosts", "%q: %v", host, provider.ErrManyAPIs)
		}
		u, err := url.Parse("https://" + host)
		if err != nil {
			continue // seen by complete
		}
		if seen[provider.TokenHost(u)] {
			return nil, fieldError("TokenHosts", "names the host %q twice, in different spellings", host)
		}
		seen[provider.TokenHost(u)] = true
		hosts[provider.TokenHost(u)] = scopes
	}
	return hosts, nil
}

// capability is what every request for tokens claims.
func (c *Config) capability() string {
	if c.ContinuousAccess {
		return provider.Capability
	}
	return ""
}

// manyTenants is of how many tenants people may be, where several may.
func (c *Config) manyTenants() int {
	switch {
	case c.Tenant != "common" && c.Tenant != "organizations":
		return 0
	case len(c.AllowedTenants) > 0:
		return len(c.AllowedTenants)
	}
	return math.MaxInt
}

// oneTenant reports whether all people are of one organization.
func (c *Config) oneTenant() bool {
	if len(c.AllowedTenants) == 1 {
		return c.AllowedTenants[0] != provider.PersonalTenant
	}
	return c.Issuer == "" && c.Tenant != "consumers" && c.Tenant != provider.PersonalTenant && c.manyTenants() == 0
}

func (c *Config) registration() (id session.Registration) {
	h := sha256.New()
	for _, part := range []string{c.Authority, c.Issuer, c.Tenant, c.ClientID, c.BaseURL} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	copy(id[:], h.Sum(nil))
	return id
}

// withoutSecrets is what a Middleware keeps of its configuration.
func (c Config) withoutSecrets() Config {
	c.ClientSecret, c.Keys = "", nil
	return c
}

// Format implements [fmt.Formatter]: whatever the verb, ClientSecret and Keys
// are not shown. Package fmt takes no notice of that for a Config in an
// unexported field of another struct: do not print such a struct.
func (c Config) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, "msauth.Config{ClientID:%q BaseURL:%q}", c.ClientID, c.BaseURL)
}

// LogValue implements [slog.LogValuer], without secrets.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("client_id", c.ClientID), slog.String("base_url", c.BaseURL))
}

func notPrintable(r rune) bool { return r <= ' ' || r > '~' }
