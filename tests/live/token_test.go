package live_test

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// identity returns the authentication token of a browser's session.
func identity(t *testing.T, b *testsite.Browser) string {
	t.Helper()
	res := b.Get("/identity")
	if res.StatusCode != http.StatusOK || strings.Count(res.Text, ".") != 2 {
		t.Fatalf("status %d, %.100q", res.StatusCode, res.Text)
	}
	return res.Text
}

// Single sign-on to the site's other parts: a server with the same registration
// believes the token, and nobody else's.
func TestAuthenticationTokenSignsInToOtherParts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.Browser(t)
	signIn(t, s, b, msauth.LoginOptions{})
	token := identity(t, b)
	key := strings.TrimPrefix(b.Get("/status").Text, "connected ")

	cfg := s.Cfg
	cfg.Keys = [][]byte{testsite.NewKey()} // sessions are none of its business
	for _, change := range []func(*msauth.Config){
		func(*msauth.Config) {},
		func(c *msauth.Config) {
			c.ClientSecret, c.Credentials = "", []msauth.Credential{msauth.Secret("a new one").WithVersion(1), msauth.Secret(s.MS.ClientSecret).WithVersion(0)}
		},
	} {
		other := cfg
		change(&other)
		auth, err := msauth.New(other)
		if err != nil {
			t.Fatal(err)
		}
		if u, err := auth.VerifyAuthenticationToken(t.Context(), token); err != nil || u.Key() != key {
			t.Errorf("user %q, %v, want %q", u.Key(), err, key)
		}
	}
	for _, test := range []struct {
		name, want string
		change     func(*msauth.Config)
	}{
		{"another site", "for the site \"127.0.0.1\" (aud), and not for other.example", func(c *msauth.Config) { c.BaseURL = "https://other.example/auth" }},
		{"another app", "and not for this one", func(c *msauth.Config) { c.ClientID = "000000001C1175CE" }},
		{"another secret", "signed with another client secret", func(c *msauth.Config) { c.ClientSecret = "another" }},
		{"another version of the secret", "signed with version 0 of the client secret", func(c *msauth.Config) {
			c.ClientSecret, c.Credentials = "", []msauth.Credential{msauth.Secret(s.MS.ClientSecret).WithVersion(1)}
		}},
		{"Microsoft Entra", "Config.Authority is for another provider", func(c *msauth.Config) { c.Authority = s.MS.URL }},
	} {
		other := cfg
		test.change(&other)
		auth, err := msauth.New(other)
		if err != nil {
			t.Fatal(err)
		}
		u, err := auth.VerifyAuthenticationToken(t.Context(), token)
		if err == nil || !strings.Contains(err.Error(), test.want) || u.Key() != "" {
			t.Errorf("%s: user %q, error %v, want %q", test.name, u.Key(), err, test.want)
		}
		if err != nil {
			s.WantNoSecrets(t, "the error", err.Error())
		}
	}
}

func TestForgedAuthenticationTokens(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, test := range []struct {
		name, want string
		change     func(header, claims map[string]any)
	}{
		{"expired", "expired", func(_, c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }},
		{"another app's", "and not for this one", func(_, c map[string]any) { c["urn:microsoft:appid"] = "000000001C1175CE" }},
		{"alg none", "alg is none", func(h, _ map[string]any) { h["alg"] = "none" }},
		{"alg RS256", "alg is RS256", func(h, _ map[string]any) { h["alg"] = "RS256" }},
		{"good", "", nil},
	} {
		u, err := s.Auth.VerifyAuthenticationToken(t.Context(), s.MS.AuthenticationToken(msauthtest.Mia, "127.0.0.1", test.change))
		switch {
		case test.want == "" && (err != nil || u.Key() == ""):
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || u.Key() != ""):
			t.Errorf("%s: user %q, error %v, want %q", test.name, u.Key(), err, test.want)
		}
	}
}

// A sign-in with a token that is not what it should be is none.
func TestSignInWithAnUntrueAuthenticationToken(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(map[string]any){
		"for the app":    func(c map[string]any) { c["urn:microsoft:appid"] = "000000001C1175CE" },
		"for the site":   func(c map[string]any) { c["aud"] = "other.example" },
		"iss is":         func(c map[string]any) { c["iss"] = "urn:example" },
		"expired":        func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() },
		"uid is missing": func(c map[string]any) { delete(c, "uid") },
	} {
		s := newSite(t)
		b := s.Browser(t)
		s.As(msauthtest.Mia)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { change(claims) }
		})
		res := b.Get("/files")
		if res.StatusCode < 400 || res.Kind() == "" || len(s.Log.With(name)) == 0 {
			t.Errorf("%s: status %d, page %.100q, log:\n%s", name, res.StatusCode, res.Kind(), s.Log)
		}
		want(t, b.Get("/status"), "unknown nobody")
	}
}

func TestRenewalBringsANewAuthenticationToken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		signIn(t, s, b, msauth.LoginOptions{})
		before := identity(t, b)
		time.Sleep(time.Hour)
		after := identity(t, b)
		if after == before {
			t.Error("the token has stayed")
		}
		call := s.MS.Calls(msauthtest.TokenRefresh)[0]
		if call.Form.Get("redirect_uri") != s.URL+"/auth/callback" || call.Form.Has("scope") {
			t.Errorf("renewal %v", call.Form)
		}
		for _, token := range []string{before, after} {
			if _, err := s.Auth.VerifyAuthenticationToken(t.Context(), token); err != nil {
				t.Error(err)
			}
		}
		s.WantNoSecrets(t, "the log", s.Log.String())
	})
}

// A renewal whose authentication token is about somebody else ends the session; one that
// cannot be believed brings nothing and loses nothing.
func TestRenewalWithAnotherAuthenticationToken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(map[string]any)
		status string
	}{
		{"another person", func(c map[string]any) { c["uid"] = "aebe3ba54e18d3a4f33886d235fd7b46" }, "expired"},
		{"another app", func(c map[string]any) { c["urn:microsoft:appid"] = "000000001C1175CE" }, "expired"},
		{"another site", func(c map[string]any) { c["aud"] = "other.example" }, "connected"},
		{"another version of the token", func(c map[string]any) { c["ver"] = 2 }, "connected"},
	} {
		inBubble(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
			signIn(t, s, b, msauth.LoginOptions{})
			time.Sleep(time.Hour)
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { test.change(claims) }
			})
			if got, _, _ := strings.Cut(b.Get("/status").Text, " "); got != test.status {
				t.Errorf("%s: status %q, want %q; log:\n%s", test.name, got, test.status, s.Log)
			}
		})
	}
}

func TestWhenThereIsNoAuthenticationToken(t *testing.T) {
	t.Parallel()
	refused := func(s *testsite.Site, name string) {
		b := s.Browser(t)
		s.As(msauthtest.Mia)
		if res := b.Get("/identity"); res.StatusCode != http.StatusBadGateway || !strings.Contains(res.Text, msauth.ErrTokenUnavailable.Error()) {
			t.Errorf("%s: status %d, %.100q", name, res.StatusCode, res.Text)
		}
	}
	entra := testsite.New(t)
	routes(entra.Mux, entra.Auth)
	refused(entra, "Entra")
	random := make([]byte, 750)
	rand.Read(random)
	padding := hex.EncodeToString(random)
	small := newSite(t, func(c *msauth.Config) { c.CookieBudget = 1024 })
	small.MS.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["padding"] = padding }
	})
	refused(small, "a cookie without room")
	if _, err := (*msauth.Session)(nil).AuthenticationToken(); !errors.Is(err, msauth.ErrNoSession) {
		t.Error(err)
	}
	if _, err := msauth.NewSession(msauth.User{}, nil).AuthenticationToken(); !errors.Is(err, msauth.ErrTokenUnavailable) {
		t.Error(err)
	}
}

// The rollover of the Live SDK's documentation: the new secret calls at once, tokens
// come with the old signature until the new one is activated, and then the old one is
// kept for a day.
func TestRolloverOfVersions(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *msauth.Config) {
		c.Credentials, c.ClientSecret = []msauth.Credential{msauth.Secret(c.ClientSecret).WithVersion(0)}, ""
	})
	b := s.Browser(t)
	signIn(t, s, b, msauth.LoginOptions{})
	old := identity(t, b)

	const newSecret = "a-new-client-secret-that-must-not-be-shown"
	second := s.MS.AddSecret(newSecret)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(newSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	both := []msauth.Credential{msauth.SecretFile(file).WithVersion(second.Version()), s.Cfg.Credentials[0]}
	s.Restart(t, func(c *msauth.Config) { c.Credentials = both })
	routes(s.Mux, s.Auth)
	s.MS.ResetCalls()
	again := s.Browser(t)
	signIn(t, s, again, msauth.LoginOptions{})
	if got := s.MS.Calls(msauthtest.TokenCode)[0].Form.Get("client_secret"); got != newSecret {
		t.Error("the old secret calls")
	}
	signedOld := identity(t, again)
	second.Activate()
	last := s.Browser(t)
	signIn(t, s, last, msauth.LoginOptions{})
	for name, token := range map[string]string{"before": old, "signed with the old one": signedOld, "signed with the new one": identity(t, last)} {
		if _, err := s.Auth.VerifyAuthenticationToken(t.Context(), token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	want(t, b.Get("/status"), "connected ")

	s.Restart(t, func(c *msauth.Config) { c.Credentials = both[:1] })
	if _, err := s.Auth.VerifyAuthenticationToken(t.Context(), old); err == nil || !strings.Contains(err.Error(), "signed with version 0 of the client secret, which the app does not have") {
		t.Error(err)
	}
	s.WantNoSecrets(t, "the log", s.Log.String())
	if stats := s.Auth.Stats(); len(stats.Credentials) != 1 || !strings.HasSuffix(stats.Credentials[0].Name, ", version 1") {
		t.Errorf("credentials %+v", stats.Credentials)
	}
}
