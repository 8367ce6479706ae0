package live_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/tests/testsite"
)

func TestConfigurationsThatLiveConnectCannotHave(t *testing.T) {
	t.Parallel()
	secret := msauth.Secret("a-client-secret-that-must-not-be-shown")
	for _, test := range []struct {
		name, want string
		change     func(*msauth.Config)
	}{
		{"as it is", "", func(*msauth.Config) {}},
		{"in other letters", "", func(c *msauth.Config) { c.Authority = "https://LOGIN.live.com:443/" }},
		{"versions", "", func(c *msauth.Config) {
			c.ClientSecret, c.Credentials = "", []msauth.Credential{secret.WithVersion(2), secret, secret.WithVersion(0)}
		}},
		{"a tenant", "Config.Tenant cannot be used with Live Connect", func(c *msauth.Config) { c.Tenant = "consumers" }},
		{"tenants", "Config.AllowedTenants cannot be used with Live Connect", func(c *msauth.Config) { c.AllowedTenants = []string{"9188040d-6c67-4c5b-b112-36a304b66dad"} }},
		{"fresh credentials", "Config.Reauthenticate cannot be used with Live Connect", func(c *msauth.Config) { c.Reauthenticate = true }},
		{"challenges", "Config.ContinuousAccess cannot be used with Live Connect", func(c *msauth.Config) { c.ContinuousAccess = true }},
		{"a certificate", "Credentials[0] is no client secret", func(c *msauth.Config) {
			c.ClientSecret, c.Credentials = "", []msauth.Credential{msauth.CertificateFiles("app.pem", "app.pem")}
		}},
		{"the oldest first", "Config.Credentials have version 0 before version 1: the newest comes first", func(c *msauth.Config) {
			c.ClientSecret, c.Credentials = "", []msauth.Credential{secret.WithVersion(0), secret.WithVersion(1)}
		}},
		{"a version twice", "each version once", func(c *msauth.Config) {
			c.ClientSecret, c.Credentials = "", []msauth.Credential{secret.WithVersion(1), secret.WithVersion(1)}
		}},
		{"a version below 0", "has version -1: the first version of a secret is 0", func(c *msauth.Config) {
			c.ClientSecret, c.Credentials = "", []msauth.Credential{secret.WithVersion(-1)}
		}},
		{"a path", "must have no path", func(c *msauth.Config) { c.Authority = "https://login.live.com/common" }},
		{"plain http", "must be https", func(c *msauth.Config) { c.Authority = "http://login.live.com" }},
		{"a version elsewhere", "have versions, which are for Live Connect", func(c *msauth.Config) {
			c.Authority, c.ClientSecret, c.Credentials = "", "", []msauth.Credential{secret.WithVersion(0)}
		}},
		{"a version of no secret", "is no secret: WithVersion is for Secret and SecretFile", func(c *msauth.Config) {
			c.Authority, c.ClientSecret, c.Credentials = "", "", []msauth.Credential{msauth.FederatedTokenFile("token").WithVersion(0)}
		}},
		{"as an OpenID provider", `Config.Issuer "https://login.live.com" is Live Connect: leave Issuer and MicrosoftIssuer empty`, func(c *msauth.Config) { c.Authority, c.Issuer = "", "https://login.live.com" }},
		{"its scopes elsewhere", `has "wl.basic", a scope of Live Connect`, func(c *msauth.Config) { c.Authority, c.Scopes = "", []string{"wl.basic"} }},
	} {
		cfg := testsite.LeastConfig()
		cfg.Authority, cfg.Logger = "https://login.live.com", slog.New(slog.DiscardHandler)
		test.change(&cfg)
		_, err := msauth.New(cfg)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// What its tokens do not say, nobody can prove: such handlers are closed, and Ready
// says so.
func TestHandlersThatNobodyCouldReach(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hello := http.HandlerFunc(testsite.Hello)
	for path, handler := range map[string]http.Handler{
		"/fresh":   s.Auth.RequireFreshSignIn(1e12)(hello),
		"/context": s.Auth.RequireAuthContext("c1")(hello),
		"/role":    s.Auth.RequireRole("Admin")(hello),
		"/tenant":  s.Auth.RequireTenant("9188040d-6c67-4c5b-b112-36a304b66dad")(hello),
		"/group":   s.Auth.RequireGroup("9188040d-6c67-4c5b-b112-36a304b66dad")(hello),
	} {
		s.Mux.Handle(path, handler)
	}
	b := s.Browser(t)
	signIn(t, s, b, msauth.LoginOptions{})
	ready := s.Auth.Ready(t.Context())
	for path, name := range map[string]string{"/fresh": "RequireFreshSignIn", "/context": "RequireAuthContext", "/role": "RequireRole", "/tenant": "RequireTenant", "/group": "RequireGroup"} {
		if res := b.Get(path); res.StatusCode != http.StatusInternalServerError || strings.Contains(res.Text, "hello") {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
		if ready == nil || !strings.Contains(ready.Error(), name+": the tokens of Live Connect say who somebody is") {
			t.Errorf("%s: Ready says %v", name, ready)
		}
	}
}

// However the authority is written, it is the same one.
func TestSpellingsOfTheAuthority(t *testing.T) {
	t.Parallel()
	for _, authority := range []string{"https://login.live.com", "https://LOGIN.live.com/", "https://login.live.com//"} {
		cfg := testsite.LeastConfig()
		cfg.Authority, cfg.Logger, cfg.Scopes = authority, slog.New(slog.DiscardHandler), []string{"WL.Basic", "wl.basic", "Wl.Signin"}
		auth, err := msauth.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		auth.ServeHTTP(w, httptest.NewRequest("GET", auth.LoginURL(msauth.LoginOptions{}), nil))
		to, err := url.Parse(w.Header().Get("Location"))
		if err != nil || to.Scheme+"://"+to.Host+to.Path != "https://login.live.com/oauth20_authorize.srf" {
			t.Errorf("%s leads to %v, %v", authority, to, err)
		}
		if got := to.Query().Get("scope"); got != "wl.signin wl.offline_access wl.basic" {
			t.Errorf("asks for %q", got)
		}
	}
}
