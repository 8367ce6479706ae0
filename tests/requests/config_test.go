package requests_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// noNetwork is the transport of code that must not use one. It counts.
type noNetwork struct{ asked atomic.Int32 }

func (n *noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	n.asked.Add(1)
	return nil, errors.New("no network here")
}

func TestNewNamesTheFieldThatIsWrong(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*msauth.Config)
		want   string
	}{
		{"no client id", func(c *msauth.Config) { c.ClientID = "" }, "ClientID"},
		{"client id with a line break", func(c *msauth.Config) { c.ClientID = "abc\n" }, "ClientID"},
		{"client id with a space", func(c *msauth.Config) { c.ClientID = "a b" }, "ClientID"},
		{"no secret", func(c *msauth.Config) { c.ClientSecret = "" }, "ClientSecret"},

		{"no base URL", func(c *msauth.Config) { c.BaseURL = "" }, "BaseURL"},
		{"relative base URL", func(c *msauth.Config) { c.BaseURL = "/auth" }, "BaseURL"},
		{"base URL without scheme", func(c *msauth.Config) { c.BaseURL = "//app.example.com/auth" }, "BaseURL"},
		{"base URL without scheme and slashes", func(c *msauth.Config) { c.BaseURL = "app.example.com/auth" }, "BaseURL"},
		{"base URL without host", func(c *msauth.Config) { c.BaseURL = "https:///auth" }, "BaseURL"},
		{"base URL with a port only", func(c *msauth.Config) { c.BaseURL = "https://:443/auth" }, "BaseURL"},
		{"base URL of another scheme", func(c *msauth.Config) { c.BaseURL = "ftp://app.example.com/auth" }, "BaseURL"},
		{"base URL on http", func(c *msauth.Config) { c.BaseURL = "http://app.example.com/auth" }, "BaseURL"},
		{"base URL on http of a look-alike of loopback", func(c *msauth.Config) { c.BaseURL = "http://localhost.example.com/auth" }, "BaseURL"},
		{"base URL on http of a private address", func(c *msauth.Config) { c.BaseURL = "http://192.168.1.2/auth" }, "BaseURL"},
		{"base URL with a query", func(c *msauth.Config) { c.BaseURL += "?x=1" }, "BaseURL"},
		{"base URL with an empty query", func(c *msauth.Config) { c.BaseURL += "?" }, "BaseURL"},
		{"base URL with a fragment", func(c *msauth.Config) { c.BaseURL += "#x" }, "BaseURL"},
		{"base URL with an empty fragment", func(c *msauth.Config) { c.BaseURL += "#" }, "BaseURL"},
		{"base URL with a user", func(c *msauth.Config) { c.BaseURL = "https://me@app.example.com/auth" }, "BaseURL"},
		{"base URL with a password", func(c *msauth.Config) { c.BaseURL = "https://me:secret@app.example.com/auth" }, "BaseURL"},
		{"base URL that climbs", func(c *msauth.Config) { c.BaseURL = "https://app.example.com/a/../auth" }, "BaseURL"},
		{"base URL with doubled slashes", func(c *msauth.Config) { c.BaseURL = "https://app.example.com//auth" }, "BaseURL"},
		{"base URL with an encoded slash", func(c *msauth.Config) { c.BaseURL = "https://app.example.com/a%2Fb" }, "BaseURL"},
		{"base URL with a space", func(c *msauth.Config) { c.BaseURL = "https://app.example.com /auth" }, "BaseURL"},

		{"no keys", func(c *msauth.Config) { c.Keys = nil }, "Keys"},
		{"short key", func(c *msauth.Config) { c.Keys = [][]byte{testsite.NewKey()[:31]} }, "Keys"},
		{"long key", func(c *msauth.Config) { c.Keys = [][]byte{append(testsite.NewKey(), 1)} }, "Keys"},
		{"key still in base64", func(c *msauth.Config) { c.Keys = [][]byte{[]byte("jJQ9RkNmVYlM1Yv5NR1rJ8a5Zx3b9PXyC9t7Gq7w2eU=")} }, "Keys"},
		{"key of zeros", func(c *msauth.Config) { c.Keys = [][]byte{make([]byte, 32)} }, "Keys"},
		{"key of one byte repeated", func(c *msauth.Config) { c.Keys = [][]byte{bytes.Repeat([]byte("x"), 32)} }, "Keys"},
		{"second key of zeros", func(c *msauth.Config) { c.Keys = append(c.Keys, make([]byte, 32)) }, "Keys"},
		{"second key empty", func(c *msauth.Config) { c.Keys = append(c.Keys, nil) }, "Keys"},

		{"unknown tenant", func(c *msauth.Config) { c.Tenant = "everybody" }, "Tenant"},
		{"tenant with a slash", func(c *msauth.Config) { c.Tenant = "contoso.example/x" }, "Tenant"},
		{"tenant with a query", func(c *msauth.Config) { c.Tenant = "contoso.example?x" }, "Tenant"},
		{"tenant in other case", func(c *msauth.Config) { c.Tenant = "Common" }, "Tenant"},
		{"tenant id too short", func(c *msauth.Config) { c.Tenant = msauthtest.TenantContoso[1:] }, "Tenant"},
		{"tenant template", func(c *msauth.Config) { c.Tenant = "{tenantid}" }, "Tenant"},
		{"tenant that climbs", func(c *msauth.Config) { c.Tenant = ".." }, "Tenant"},
		{"tenant that is an address", func(c *msauth.Config) { c.Tenant = "10.0.0.1" }, "Tenant"},

		{"issuer and tenant", func(c *msauth.Config) { c.Issuer, c.Tenant = "https://id.example.com", "common" }, "Issuer"},
		{"issuer and authority", func(c *msauth.Config) {
			c.Issuer, c.Authority = "https://id.example.com", "https://login.microsoftonline.com"
		}, "Issuer"},
		{"issuer on http", func(c *msauth.Config) { c.Issuer = "http://id.example.com" }, "Issuer"},
		{"relative issuer", func(c *msauth.Config) { c.Issuer = "id.example.com" }, "Issuer"},
		{"issuer with a query", func(c *msauth.Config) { c.Issuer = "https://id.example.com?x" }, "Issuer"},
		{"issuer with a fragment", func(c *msauth.Config) { c.Issuer = "https://id.example.com#x" }, "Issuer"},
		{"issuer and allowed tenants", func(c *msauth.Config) {
			c.Issuer, c.AllowedTenants = "https://id.example.com", []string{msauthtest.TenantContoso}
		}, "AllowedTenants"},

		{"allowed tenant that is a domain", func(c *msauth.Config) { c.AllowedTenants = []string{"contoso.example"} }, "AllowedTenants"},
		{"allowed tenant that is empty", func(c *msauth.Config) { c.AllowedTenants = []string{""} }, "AllowedTenants[0]"},
		{"allowed tenants of one tenant", func(c *msauth.Config) {
			c.Tenant, c.AllowedTenants = msauthtest.TenantContoso, []string{msauthtest.TenantContoso}
		}, "AllowedTenants"},
		{"allowed tenants of personal accounts", func(c *msauth.Config) {
			c.Tenant, c.AllowedTenants = "consumers", []string{msauthtest.TenantPersonal}
		}, "AllowedTenants"},
		{"personal accounts of organizations", func(c *msauth.Config) {
			c.Tenant, c.AllowedTenants = "organizations", []string{msauthtest.TenantPersonal}
		}, "AllowedTenants"},

		{"authority with the tenant", func(c *msauth.Config) { c.Authority = "https://login.microsoftonline.com/common" }, "Authority"},
		{"authority with the version", func(c *msauth.Config) { c.Authority = "https://login.microsoftonline.com/v2.0/" }, "Authority"},
		{"authority without scheme", func(c *msauth.Config) { c.Authority = "login.microsoftonline.com" }, "Authority"},
		{"authority on http", func(c *msauth.Config) { c.Authority = "http://login.microsoftonline.com" }, "Authority"},
		{"authority with a query", func(c *msauth.Config) { c.Authority = "https://login.microsoftonline.com?x" }, "Authority"},

		{"two scopes in one", func(c *msauth.Config) { c.Scopes = []string{"User.Read Files.Read"} }, "Scopes"},
		{"empty scope", func(c *msauth.Config) { c.Scopes = []string{"User.Read", ""} }, "Scopes[1]"},
		{"scope with a quote", func(c *msauth.Config) { c.Scopes = []string{`User."Read`} }, "Scopes"},
		{"scope that is not ASCII", func(c *msauth.Config) { c.Scopes = []string{"Üser.Read"} }, "Scopes"},

		{"scopes of Graph and of another API", func(c *msauth.Config) { c.Scopes = []string{"User.Read", "api://orders/Orders.Read"} }, "Scopes"},
		{"scopes of two APIs", func(c *msauth.Config) { c.Scopes = []string{"api://orders/Orders.Read", "api://stock/All"} }, "Scopes"},
		{"all of Graph and one scope", func(c *msauth.Config) {
			c.Scopes = []string{"https://graph.microsoft.com/.default", "User.Read"}
		}, "Scopes"},
		{"all of an API and one scope", func(c *msauth.Config) { c.Scopes = []string{"api://orders/Orders.Read", "api://orders/.default"} }, "Scopes"},
		{"all of two APIs", func(c *msauth.Config) { c.Scopes = []string{"api://orders/.default", "api://stock/.default"} }, "Scopes"},

		{"cookie name with a space", func(c *msauth.Config) { c.CookieName = "my app" }, "CookieName"},
		{"cookie name with an equals sign", func(c *msauth.Config) { c.CookieName = "my=app" }, "CookieName"},
		{"cookie name with a semicolon", func(c *msauth.Config) { c.CookieName = "app;Domain=example.com" }, "CookieName"},
		{"cookie name of 41 letters", func(c *msauth.Config) { c.CookieName = strings.Repeat("a", 41) }, "CookieName"},
		{"cookie name with a slash", func(c *msauth.Config) { c.CookieName = "a/b" }, "CookieName"},
		{"cookie name like a piece of another's", func(c *msauth.Config) { c.CookieName = "app-1" }, "CookieName"},
		{"cookie name like the marker of another's", func(c *msauth.Config) { c.CookieName = "app-ok" }, "CookieName"},
		{"cookie name like an address of another's", func(c *msauth.Config) { c.CookieName = "app-to" }, "CookieName"},
		{"cookie name like an attempt of another's", func(c *msauth.Config) { c.CookieName = "app-login-0123456789abcdef" }, "CookieName"},
		{"cookie budget too small", func(c *msauth.Config) { c.CookieBudget = 1023 }, "CookieBudget"},
		{"cookie budget too large", func(c *msauth.Config) { c.CookieBudget = 7169 }, "CookieBudget"},
		{"negative cookie budget", func(c *msauth.Config) { c.CookieBudget = -1 }, "CookieBudget"},
		{"claim without a name", func(c *msauth.Config) { c.Claims = []string{""} }, "Claims[0]"},

		{"negative age", func(c *msauth.Config) { c.MaxAge = -time.Hour }, "MaxAge"},
		{"age of a second", func(c *msauth.Config) { c.MaxAge = time.Second }, "MaxAge"},
		{"age over 400 days", func(c *msauth.Config) { c.MaxAge = 400*24*time.Hour + 1 }, "MaxAge"},
		{"negative idle timeout", func(c *msauth.Config) { c.IdleTimeout = -1 }, "IdleTimeout"},
		{"idle timeout of a second", func(c *msauth.Config) { c.IdleTimeout = time.Second }, "IdleTimeout"},
		{"negative recheck", func(c *msauth.Config) { c.RecheckAfter = -time.Minute }, "RecheckAfter"},
		{"recheck after a second", func(c *msauth.Config) { c.RecheckAfter = time.Second }, "RecheckAfter"},

		{"relative post-logout URL", func(c *msauth.Config) { c.PostLogoutURL = "/bye" }, "PostLogoutURL"},
		{"post-logout URL of another scheme", func(c *msauth.Config) { c.PostLogoutURL = "javascript://x/%0aalert(1)" }, "PostLogoutURL"},
		{"post-logout URL with a user", func(c *msauth.Config) { c.PostLogoutURL = "https://me@app.example.com/" }, "PostLogoutURL"},

		{"token host with a scheme", func(c *msauth.Config) { c.TokenHosts = map[string][]string{"https://api.example.com": nil} }, "TokenHosts"},
		{"token host with a path", func(c *msauth.Config) { c.TokenHosts = map[string][]string{"api.example.com/v1": nil} }, "TokenHosts"},
		{"token host that is a pattern", func(c *msauth.Config) { c.TokenHosts = map[string][]string{"*.example.com": nil} }, "TokenHosts"},
		{"token host that ends in a dot", func(c *msauth.Config) { c.TokenHosts = map[string][]string{"api.example.com.": nil} }, "TokenHosts"},
		{"token host with a user", func(c *msauth.Config) { c.TokenHosts = map[string][]string{"me@api.example.com": nil} }, "TokenHosts"},
		{"empty token host", func(c *msauth.Config) { c.TokenHosts = map[string][]string{"api.example.com": nil, "": nil} }, "TokenHosts"},
		{"token host that is a port", func(c *msauth.Config) { c.TokenHosts = map[string][]string{":443": nil} }, "TokenHosts"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := testsite.LeastConfig()
			test.change(&cfg)
			m, err := msauth.New(cfg)
			if err == nil {
				t.Fatalf("no error, want one that names %s", test.want)
			}
			if m != nil {
				t.Error("a Middleware beside an error")
			}
			if prefix := "msauth: Config." + test.want + " "; !strings.HasPrefix(err.Error(), prefix) {
				t.Errorf("error %q, want it to begin with %q", err, prefix)
			}
			if strings.Contains(err.Error(), testsite.LeastConfig().ClientSecret) {
				t.Errorf("error %q shows the client secret", err)
			}
		})
	}
}

func TestNewAcceptsAndAsksNobody(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*msauth.Config)
		want   string // the login link
	}{
		{"the least", func(c *msauth.Config) {}, "/auth/login"},
		{"base URL with a slash at the end", func(c *msauth.Config) { c.BaseURL += "/" }, "/auth/login"},
		{"base URL without a path", func(c *msauth.Config) { c.BaseURL = "https://app.example.com" }, "/login"},
		{"base URL on http of localhost", func(c *msauth.Config) { c.BaseURL = "http://localhost:8080/auth" }, "/auth/login"},
		{"base URL on http below localhost", func(c *msauth.Config) { c.BaseURL = "http://app.localhost/auth" }, "/auth/login"},
		{"base URL on http of IPv4 loopback", func(c *msauth.Config) { c.BaseURL = "http://127.0.0.2:80/auth" }, "/auth/login"},
		{"base URL on http of IPv6 loopback", func(c *msauth.Config) { c.BaseURL = "http://[::1]:8080/auth" }, "/auth/login"},
		{"http elsewhere, loudly", func(c *msauth.Config) {
			c.BaseURL, c.InsecureCookies = "http://app.example.com/auth", true
		}, "/auth/login"},
		{"a tenant by id", func(c *msauth.Config) { c.Tenant = strings.ToUpper(msauthtest.TenantContoso) }, "/auth/login"},
		{"a tenant by domain", func(c *msauth.Config) { c.Tenant = "contoso.onmicrosoft.com" }, "/auth/login"},
		{"work accounts", func(c *msauth.Config) { c.Tenant = "organizations" }, "/auth/login"},
		{"personal accounts", func(c *msauth.Config) { c.Tenant = "consumers" }, "/auth/login"},
		{"two tenants", func(c *msauth.Config) {
			c.AllowedTenants = []string{msauthtest.TenantContoso, strings.ToUpper(msauthtest.TenantPersonal)}
		}, "/auth/login"},
		{"another cloud", func(c *msauth.Config) { c.Authority = "https://login.microsoftonline.us/" }, "/auth/login"},
		{"another provider", func(c *msauth.Config) { c.Issuer = "https://id.example.com/" }, "/auth/login"},
		{"an API of the app's own", func(c *msauth.Config) {
			c.Scopes, c.TokenHosts = []string{"api://1234/access"}, map[string][]string{"api.example.com": nil, "localhost:8081": nil, "[::1]:80": nil}
		}, "/auth/login"},
		{"scopes that look like several APIs', of another provider", func(c *msauth.Config) {
			c.Issuer, c.Scopes = "https://id.example.com", []string{"read", "api://orders/.default", "api://stock/All"}
		}, "/auth/login"},
		{"all of an API, beside those of every sign-in", func(c *msauth.Config) {
			c.Scopes = []string{"openid", "email", "offline_access", "api://orders/.default"}
		}, "/auth/login"},
		{"limits at their ends", func(c *msauth.Config) {
			c.CookieBudget, c.MaxAge, c.IdleTimeout, c.RecheckAfter = 7168, 400*24*time.Hour, time.Minute, time.Minute
			c.CookieName = strings.Repeat("a", 40)
		}, "/auth/login"},
		{"three keys", func(c *msauth.Config) { c.Keys = append(c.Keys, testsite.NewKey(), testsite.NewKey()) }, "/auth/login"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				network := &noNetwork{}
				cfg := testsite.LeastConfig()
				cfg.HTTPClient = &http.Client{Transport: network}
				test.change(&cfg)
				m, err := msauth.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if got := m.LoginURL(msauth.LoginOptions{}); got != test.want {
					t.Errorf("login link %q, want %q", got, test.want)
				}
				synctest.Wait() // for whatever New may have started
				if n := network.asked.Load(); n != 0 {
					t.Errorf("New makes %d requests", n)
				}
				// The transport is the one that requests go through.
				if err := m.Ready(t.Context()); err == nil || network.asked.Load() != 1 {
					t.Errorf("Ready: %v, %d requests", err, network.asked.Load())
				}
			})
		})
	}
}

func TestNewCopiesWhatItNeeds(t *testing.T) {
	t.Parallel()
	tenants := []string{msauthtest.TenantContoso}
	s := testsite.NewInProcess(t, func(c *msauth.Config) { c.AllowedTenants = tenants })
	key := bytes.Clone(s.Cfg.Keys[0])
	clear(s.Cfg.Keys[0])
	tenants[0] = msauthtest.TenantFabrikam
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada) // still admitted
	attempt := b.Attempt("/auth/login?return_to=/there")
	s.Restart(t, func(c *msauth.Config) {
		c.Keys, c.AllowedTenants = [][]byte{key}, []string{msauthtest.TenantContoso}
	})
	b.WantGreeting(testsite.HelloAda)
	if got := b.Get(attempt).Request.URL.Path; got != "/there" {
		t.Errorf("a sign-in begun before ends at %q, want /there: the keys were not copied", got)
	}
}

func TestAppStartsWhileTheProviderIsDown(t *testing.T) {
	t.Parallel()
	for _, down := range []msauthtest.Failure{{Status: 500}, {Close: true}, {Hang: true}, {Body: "<html>maintenance"}} {
		t.Run(fmt.Sprintf("%+v", down), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				s.As(msauthtest.Ada)
				s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Discovery] = down })
				b := s.Browser(t)
				b.WantGreeting(testsite.HelloNobody)
				s.WantNoCalls(t)
				s.WantPage(t, b.Get("/"), http.StatusServiceUnavailable, "unavailable", "msauth: discovery")
				if err := s.Auth.Ready(t.Context()); err == nil {
					t.Error("ready, though nobody can sign in")
				}
				s.WantCalls(t, msauthtest.Discovery, 1) // a failure is remembered for 5 seconds
				s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
				time.Sleep(5 * time.Second)
				if got := b.Get("/").Text; got != testsite.HelloAda {
					t.Errorf("page %q once the provider is back, want %q", got, testsite.HelloAda)
				}
				if err := s.Auth.Ready(t.Context()); err != nil {
					t.Errorf("not ready: %v", err)
				}
			})
		})
	}
}

func TestReadyFailsWhileTheAppIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.As(msauthtest.Ada)
		s.MS.Set(func(b *msauthtest.Behavior) { b.SecretExpired = true })
		b := s.Browser(t)
		b.WantRefused(b.Get("/"), http.StatusInternalServerError, "app-error", "AADSTS7000222")
		err := s.Auth.Ready(t.Context())
		if failure, ok := errors.AsType[*msauth.AuthError](err); !ok || failure.Class != msauth.ClassMisconfigured {
			t.Errorf("Ready returns %v, want the refusal", err)
		}
		if got := len(s.Log.With("level=ERROR")); got != 2 { // the page's line and the operator's
			t.Errorf("%d error lines, want 2:\n%s", got, s.Log)
		}
		s.MS.Set(func(b *msauthtest.Behavior) { b.SecretExpired = false })
		b.SignIn(msauthtest.Ada)
		if err := s.Auth.Ready(t.Context()); err != nil {
			t.Errorf("not ready after a sign-in: %v", err)
		}
	})
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	store, err := msauth.NewCookieStore(s.Cfg.Keys...)
	if err != nil {
		t.Fatal(err)
	}
	in := make(chan string, 1)
	s.Mux.Handle("/print", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		var all strings.Builder
		for _, v := range []any{
			session, *session, s.Cfg, &s.Cfg, s.Auth, store, session.TokenSource(r.Context()), session.Client(r.Context()),
			msauth.SignIn{Session: session}, struct{ S *msauth.Session }{session}, []any{s.Cfg, session}, r.Context(),
		} {
			fmt.Fprintf(&all, "%v %+v %#v %s %q %d %x\n", v, v, v, v, v, v, v)
		}
		s.Cfg.Logger.Info("all", "session", session, "config", s.Cfg, "middleware", s.Auth, "store", store, "context", r.Context())
		in <- all.String()
	})))
	b.Get("/print")
	s.WantNoSecrets(t, "what prints", <-in)
}

// An environment variable that is not set, or that was not exported, is the usual cause.
func TestNewSaysWhatIsEmpty(t *testing.T) {
	t.Parallel()
	const path = "cannot be used: the path is empty"
	for _, test := range []struct {
		change func(*msauth.Config)
		want   string
	}{
		{func(c *msauth.Config) { c.ClientID = "" }, "ClientID is empty: must be the application (client) ID of the app registration"},
		{func(c *msauth.Config) { c.ClientSecret = "" }, "ClientSecret is empty: create one"},
		{func(c *msauth.Config) { c.BaseURL = "" }, "BaseURL is empty: must be an absolute URL"},
		{func(c *msauth.Config) { c.Keys = nil }, "Keys is empty: want at least one key"},
		{func(c *msauth.Config) { c.Keys = [][]byte{{}} }, "Keys cannot be used: Keys[0] is empty, want 32 random bytes"},
		{func(c *msauth.Config) { c.Keys = append(c.Keys, nil) }, "Keys cannot be used: Keys[1] is empty, want 32 random bytes"},
		{func(c *msauth.Config) { c.Keys, c.KeyFiles = nil, []string{""} }, "KeyFiles cannot be used: KeyFiles[0] is empty: want the path of a file"},
		{func(c *msauth.Config) { c.AllowedTenants = strings.Split("", ",") }, "AllowedTenants[0] is empty: must be a tenant ID (a GUID)"},
		{func(c *msauth.Config) { c.Scopes = strings.Split("User.Read  Files.Read", " ") }, "Scopes[1] is empty: must be a scope, such as User.Read"},
		{func(c *msauth.Config) { c.Claims = []string{"country", ""} }, "Claims[1] is empty: must be the name of a claim"},
		{func(c *msauth.Config) { c.TokenHosts = map[string][]string{"": {testsite.OrdersRead}} }, "TokenHosts has an empty host: must be a host or host:port"},
		{func(c *msauth.Config) { c.TokenHosts = map[string][]string{"orders.example.com": {""}} }, `TokenHosts "orders.example.com": a scope is empty: must be a scope`},
		{func(c *msauth.Config) { c.ClientSecret, c.Credentials = "", []msauth.Credential{msauth.Secret("")} }, "Credentials[0] is empty: create a client secret"},
		{func(c *msauth.Config) { c.ClientSecret, c.Credentials = "", []msauth.Credential{msauth.SecretFile("")} }, "Credentials[0] " + path},
		{func(c *msauth.Config) {
			c.ClientSecret, c.Credentials = "", []msauth.Credential{msauth.FederatedTokenFile("")}
		}, "Credentials[0] " + path},
		{func(c *msauth.Config) {
			c.ClientSecret, c.Credentials = "", []msauth.Credential{msauth.CertificateFiles("", "key.pem")}
		}, "Credentials[0] " + path},
	} {
		cfg := testsite.LeastConfig()
		test.change(&cfg)
		if _, err := msauth.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "msauth: Config."+test.want) {
			t.Errorf("New returns %v, want %s", err, test.want)
		}
	}
}

// Package fmt calls no methods of what stands in unexported fields.
func TestFormattingAnUnexportedFieldShowsNoSecret(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{17, 34, 51, 68}, 8)
	auth, err := msauth.New(msauth.Config{
		ClientID: "11111111-2222-3333-4444-555555555555", ClientSecret: "THE-SECRET",
		BaseURL: "https://app.test/auth", Keys: [][]byte{key},
	})
	if err != nil {
		t.Fatal(err)
	}
	store, err := msauth.NewCookieStore(key)
	if err != nil {
		t.Fatal(err)
	}
	server := struct {
		auth  *msauth.Middleware
		store *msauth.CookieStore
	}{auth, store}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{server, &server, []any{auth, store}} {
			got := fmt.Sprintf(verb, value)
			for _, secret := range []string{"THE-SECRET", fmt.Sprintf("%x", "THE-SECRET"), "17 34 51 68", "11223344"} {
				if strings.Contains(got, secret) {
					t.Errorf("%s of %T shows %q", verb, value, secret)
				}
			}
		}
	}
}
