package testsite

import (
	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

func Tenant(id string, allowed ...string) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Tenant, c.AllowedTenants = id, allowed }
}

// Generic makes the plain OpenID provider of the test server that of the app.
func Generic(s *Site) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Authority, c.Issuer = "", s.MS.URL+"/generic" }
}

// Providers of msauthtest under the names that Microsoft gives them, in process.
const (
	B2cIssuer        = "https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0"
	ExternalIDIssuer = "https://fabrikam.ciamlogin.com/" + msauthtest.TenantExternal + "/v2.0"
)

// Issuer makes another provider than Microsoft's work and personal accounts the
// app's.
func Issuer(url string) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Authority, c.Issuer = "", url }
}

func Scopes(list ...string) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Scopes = list }
}

// Claim sets one claim of every ID token; drop removes it.
func Claim(name string, value any) func(*msauthtest.Behavior) {
	return Claims(map[string]any{name: value})
}

func Claims(set map[string]any) func(*msauthtest.Behavior) {
	return func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, c map[string]any) {
			for name, value := range set {
				if f, ok := value.(func(any) any); ok {
					value = f(c[name])
				}
				if c[name] = value; value == nil {
					delete(c, name)
				}
			}
		}
	}
}

func Drop(name string) func(*msauthtest.Behavior) { return Claim(name, nil) }

func Strict(s *Site) {
	s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
}
