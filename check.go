package msauth

import (
	"crypto/sha256"
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
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

const (
	defaultAuthority   = "https://login.microsoftonline.com"
	defaultMaxAge      = 7 * 24 * time.Hour
	defaultIdleTimeout = 24 * time.Hour

	defaultCookieBudget = 3300 // bytes
	largestCookieBudget = 7168 // bytes
	maxHome             = 200  // bytes
)

// complete sets defaults, normalizes the fields, and returns an error for a
// configuration that cannot work.
func (c *Config) complete() (base *url.URL, err error) {
	switch {
	case c.ClientID == "":
		return nil, fieldError("ClientID", "is empty: must be the application (client) ID of the app registration")
	case strings.ContainsFunc(c.ClientID, notPrintable):
		return nil, fieldError("ClientID", "has a space, a line break or a letter that is not ASCII: must be the application (client) ID of the app registration")
	}
	if err = c.completeCredentials(); err != nil {
		return nil, err
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
		if host == "" {
			return nil, fieldError("TokenHosts", "has an empty host: must be a host or host:port, such as api.example.com")
		}
		u, err := url.Parse("https://" + host)
		if err != nil || u.Host != host || u.Hostname() == "" || !web.IsASCII(host) || strings.HasSuffix(u.Hostname(), ".") || strings.Contains(host, "*") {
			return nil, fieldError("TokenHosts", "has %q: must be a host or host:port, such as api.example.com", host)
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

func (c *Config) completeCredentials() error {
	switch {
	case len(c.Credentials) == 0 && c.ClientSecret == "":
		return fieldError("ClientSecret", "is empty: create one under \"Certificates & secrets\" of the app registration and copy its value, or set Credentials")
	case len(c.Credentials) > 0 && c.ClientSecret != "":
		return fieldError("ClientSecret", "is set, and Credentials too: add Secret(...) to Credentials in its place")
	case c.ExpiryWarning < 0:
		return fieldError("ExpiryWarning", "is negative: must be 0 for 30 days, or longer")
	case c.ExpiryWarning == 0:
		c.ExpiryWarning = defaultExpiryWarning
	}
	return nil
}

func notPrintable(r rune) bool { return r <= ' ' || r > '~' }

func (c *Config) completeURLs() (*url.URL, error) {
	base, err := checkURL("BaseURL", c.BaseURL, c.InsecureCookies)
	if err != nil {
		return nil, err
	}
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	base.Path = strings.TrimRight(base.Path, "/")
	if strings.Contains(base.Path, "//") || base.RawPath != "" || strings.Contains(base.Path, "/.") {
		return nil, fieldError("BaseURL", "%q must have a plain path, such as /auth", c.BaseURL)
	}
	if c.PostLogoutURL == "" {
		c.PostLogoutURL = c.BaseURL + "/signed-out"
	} else if u, err := url.Parse(c.PostLogoutURL); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil {
		return nil, fieldError("PostLogoutURL", "%q must be an absolute URL that is registered as a redirect URI", c.PostLogoutURL)
	}
	return base, c.completeHome(base)
}

// completeHome checks Home, or derives it from the path of BaseURL.
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

// checkURL parses an absolute URL without query, fragment or user. Plain http
// is for loopback hosts, unless anyHTTP is set.
func checkURL(field, s string, anyHTTP bool) (*url.URL, error) {
	if s == "" {
		return nil, fieldError(field, "is empty: must be an absolute URL such as https://app.example.com/auth")
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

func (c *Config) completeProvider() error {
	if provider.GUIDForm.MatchString(c.ClientID) && c.kind() != provider.OtherProvider {
		c.ClientID = strings.ToLower(c.ClientID) // as ID tokens have it
	}
	if c.Issuer != "" {
		return c.completeIssuer()
	}
	if c.MicrosoftIssuer != "" {
		return fieldError("MicrosoftIssuer", "needs Issuer, the URL that comes before /.well-known/openid-configuration")
	}
	if c.Authority == "" {
		c.Authority = defaultAuthority
	}
	u, err := checkURL("Authority", c.Authority, false)
	if err != nil {
		return err
	}
	if provider.OnHost(c.Authority, ".b2clogin.com") || provider.OnHost(c.Authority, ".ciamlogin.com") {
		return fieldError("Authority", "%q belongs to Azure AD B2C or Entra External ID: leave Authority and Tenant empty, and set Issuer to the URL "+
			"that comes before /.well-known/openid-configuration, such as https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/B2C_1_susi/v2.0 "+
			"or https://fabrikam.ciamlogin.com/<tenant id>/v2.0", c.Authority)
	}
	if c.kind() == provider.LiveConnect {
		return c.completeLive(u)
	}
	if strings.Trim(u.Path, "/") != "" {
		return fieldError("Authority", "%q must have no path: the tenant goes into Config.Tenant", c.Authority)
	}
	c.Authority = u.Scheme + "://" + strings.ToLower(u.Host)
	if cloud := provider.CloudOf(u); cloud != "" && c.Authority != cloud {
		return fieldError("Authority", "%q is another name for %s, and tokens name the latter: set Authority to %q", c.Authority, cloud, cloud)
	}

	switch {
	case c.Tenant == "":
		c.Tenant = "common"
	case provider.GUIDForm.MatchString(c.Tenant), provider.DomainForm.MatchString(c.Tenant):
		c.Tenant = strings.ToLower(c.Tenant)
	case c.Tenant == "common", c.Tenant == "organizations", c.Tenant == "consumers":
	default:
		return fieldError("Tenant", "%q must be common, organizations, consumers, a tenant id or a domain name", c.Tenant)
	}
	c.AllowedTenants = slices.Clone(c.AllowedTenants)
	for i, id := range c.AllowedTenants {
		if id == "" {
			return emptyEntry("AllowedTenants", i, "must be a tenant ID (a GUID)")
		}
		if !provider.GUIDForm.MatchString(id) {
			return fieldError("AllowedTenants", "has %q, which is not a tenant id (a GUID)", id)
		}
		c.AllowedTenants[i] = strings.ToLower(id)
	}
	if len(c.AllowedTenants) > 0 && c.Tenant != "common" && c.Tenant != "organizations" {
		return fieldError("AllowedTenants", "needs Tenant common or organizations")
	}
	if c.Tenant == "organizations" && slices.Contains(c.AllowedTenants, provider.PersonalTenant) {
		return fieldError("AllowedTenants", "names the tenant of personal accounts, which Tenant organizations excludes")
	}
	return nil
}

func (c *Config) completeIssuer() error {
	if c.Authority != "" || c.Tenant != "" {
		return fieldError("Issuer", "cannot be combined with Authority or Tenant")
	}
	if len(c.AllowedTenants) > 0 {
		return fieldError("AllowedTenants", "cannot be combined with Issuer")
	}
	for _, f := range []struct{ field, value string }{{"Issuer", c.Issuer}, {"MicrosoftIssuer", c.MicrosoftIssuer}} {
		if f.value == "" {
			continue
		}
		if before, _, found := strings.Cut(f.value, "/.well-known/"); found {
			return fieldError(f.field, "%q must end before /.well-known/: set it to %q", f.value, before)
		}
		u, err := checkURL(f.field, f.value, false)
		if err != nil {
			if u, bad := url.Parse(f.value); bad == nil && f.field == "Issuer" && u.Query().Has("p") {
				return fmt.Errorf("%w: a user flow of Azure AD B2C goes into the path, as in https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/B2C_1_susi/v2.0", err)
			}
			return err
		}
		if cloud := provider.CloudOf(u); cloud != "" {
			return fieldError(f.field, "%q is Microsoft's own sign-in service: leave Issuer and MicrosoftIssuer empty, and set Authority to %q and Tenant to %q",
				f.value, cloud, provider.TenantIn(u))
		}
		if provider.IsLiveConnect(f.value) { // or its accounts would have the keys of Live Connect's
			return fieldError(f.field, "%q is Live Connect: leave Issuer and MicrosoftIssuer empty, and set Authority to %q", f.value, provider.LiveIssuer)
		}
	}
	if c.MicrosoftIssuer == "" || provider.DirectoryOf(c.MicrosoftIssuer) != "" {
		return nil
	}
	if provider.TFPIssuer(c.MicrosoftIssuer) {
		return fieldError("MicrosoftIssuer", "%q: B2C issuers with /tfp/ are not supported: in the properties of the user flow, under "+
			"\"Token compatibility settings\", set \"Issuer (iss) claim\" to the form with only the tenant's id", c.MicrosoftIssuer)
	}
	return fieldError("MicrosoftIssuer", "%q must have the form https://host/<tenant id>/v2.0, with or without a slash at the end, exactly as the discovery document of Issuer publishes it", c.MicrosoftIssuer)
}

func (c *Config) completeScopes() error {
	scopes := slices.Clone(provider.NewScopes(c.kind(), c.Authority, nil).SignIn)
	wanted, live := c.Scopes, c.kind() == provider.LiveConnect
	switch {
	case wanted != nil:
	case live:
		wanted = []string{"wl.basic"}
	case c.Issuer == "":
		wanted = []string{"User.Read"}
	}
	for i, s := range wanted {
		ofLive := len(s) > 3 && strings.EqualFold(s[:3], "wl.")
		switch {
		case s == "":
			return emptyEntry("Scopes", i, "must be a scope, such as User.Read")
		case !provider.ScopeForm.MatchString(s):
			return fieldError("Scopes", "has %q: must be one scope per entry, without spaces", s)
		case ofLive && live:
			s = strings.ToLower(s)
		case ofLive && c.Issuer == "":
			return fieldError("Scopes", "has %q, a scope of Live Connect: package livesdk has the ones that have taken its place", s)
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
		return fieldError("CookieName", "%q must be 1 to 40 letters, digits, dots, dashes or underscores, and must not end in -1 to -9, -ok, -to, -device or -login-ID, which other cookies of a session have (the __Host- prefix is added)", c.CookieName)
	}
	if _, ours := c.Store.(*CookieStore); ours {
		return fieldError("Store", "is a CookieStore: leave it nil to keep sessions in cookies")
	}
	if c.CookieBudget == 0 {
		c.CookieBudget = defaultCookieBudget
	}
	if c.CookieBudget < 1024 || c.CookieBudget > largestCookieBudget {
		return fieldError("CookieBudget", "is %d: must be 1024 to %d bytes", c.CookieBudget, largestCookieBudget)
	}
	for i, name := range c.Claims {
		if name == "" {
			return emptyEntry("Claims", i, "must be the name of a claim")
		}
		if len(name) > 100 {
			return fieldError("Claims", "has %q: must be the name of a claim, of at most 100 bytes", name)
		}
	}
	c.Claims = slices.Clone(c.Claims)
	switch c.DeviceBinding {
	case DeviceBindingOff:
	case DeviceBindingOffered, DeviceBindingRequired:
		if !strings.HasPrefix(c.BaseURL, "https://") {
			return fieldError("DeviceBinding", "needs a BaseURL of https: browsers bind no other sessions")
		}
	default:
		return fieldError("DeviceBinding", "is %q: must be DeviceBindingOff, DeviceBindingOffered or DeviceBindingRequired", c.DeviceBinding)
	}
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

// checkDuration returns an error if d is not between least and most.
func checkDuration(d, least, most time.Duration) error {
	switch {
	case d < least:
		return fmt.Errorf("is %s: must be at least %s", inWords(d), inWords(least))
	case d > most:
		return fmt.Errorf("is %s: must be at most %s", inWords(d), inWords(most))
	}
	return nil
}

// inWords formats a duration in its largest whole unit, such as "7 days".
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

// kind returns the kind of provider that c is for.
func (c *Config) kind() provider.Kind {
	return provider.KindOf(c.Authority, c.Issuer, c.MicrosoftIssuer)
}

// tokenHosts returns the hosts that may receive a token, as normalized by
// web.HostPort, with the scopes of their tokens.
func (c *Config) tokenHosts(rules provider.Scopes) (map[string][]string, error) {
	hosts := map[string][]string{}
	for _, host := range provider.GraphHosts(c.Authority) {
		if hosts[host] = nil; rules.Own != "" {
			hosts[host] = []string{rules.Graph[0] + "/" + provider.DefaultScope}
		}
	}
	seen := map[string]bool{}
	for host, scopes := range c.TokenHosts {
		if slices.Contains(scopes, "") {
			return nil, fieldError("TokenHosts", "%q: a scope is empty: must be a scope, such as api://orders/Orders.Read", host)
		}
		scopes, err := rules.Check(scopes)
		if err != nil {
			return nil, fieldError("TokenHosts", "%q: %v", host, err)
		}
		if own, others := rules.ByAPI(scopes); len(others) > 1 || len(others) == 1 && len(own) > 0 {
			return nil, fieldError("TokenHosts", "%q: %v", host, provider.ErrManyAPIs)
		}
		u, err := url.Parse("https://" + host)
		if err != nil {
			continue // complete has rejected it
		}
		if seen[web.HostPort(u)] {
			return nil, fieldError("TokenHosts", "names the host %q twice, in different spellings", host)
		}
		seen[web.HostPort(u)] = true
		hosts[web.HostPort(u)] = scopes
	}
	return hosts, nil
}

// capability returns the client capability that token requests declare.
func (c *Config) capability() string {
	if c.ContinuousAccess {
		return provider.Capability
	}
	return ""
}

// manyTenants returns how many tenants users may come from, or 0 if Tenant does
// not admit several.
func (c *Config) manyTenants() int {
	switch {
	case c.Tenant != "common" && c.Tenant != "organizations":
		return 0
	case len(c.AllowedTenants) > 0:
		return len(c.AllowedTenants)
	}
	return math.MaxInt
}

// oneTenant reports whether all users are in one organization.
func (c *Config) oneTenant() bool {
	if len(c.AllowedTenants) == 1 {
		return c.AllowedTenants[0] != provider.PersonalTenant
	}
	return c.kind() == provider.Entra && c.Tenant != "consumers" && c.Tenant != provider.PersonalTenant && c.manyTenants() == 0
}

// registration returns the identity of the app registration: sessions and
// stored tokens of another one are not accepted.
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
