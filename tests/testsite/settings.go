package testsite

import (
	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// Tenant sets the tenant of the app, and the ones that it lets in.
func Tenant(id string, allowed ...string) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Tenant, c.AllowedTenants = id, allowed }
}

// Generic makes the plain OpenID provider of the test server that of the app.
func Generic(s *Site) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Authority, c.Issuer = "", s.MS.URL+"/generic" }
}

// Providers of msauthtest under the names that Microsoft gives them, in process.
const (
	// B2cIssuer is the issuer of an Azure AD B2C user flow.
	B2cIssuer = "https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0"
	// ExternalIDIssuer is the issuer of a tenant of Entra External ID.
	ExternalIDIssuer = "https://fabrikam.ciamlogin.com/" + msauthtest.TenantExternal + "/v2.0"
)

// Issuer makes another provider than Microsoft's work and personal accounts the
// app's.
func Issuer(url string) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Authority, c.Issuer = "", url }
}

// Scopes makes these the scopes that the app asks for.
func Scopes(list ...string) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Scopes = list }
}

// Claim sets one claim of every ID token; [Drop] removes it.
func Claim(name string, value any) func(*msauthtest.Behavior) {
	return Claims(map[string]any{name: value})
}

// Claims sets claims of every ID token. A value nil removes the claim, and a
// func(any) any gets the value that it would have had.
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

// Drop removes one claim from every ID token.
func Drop(name string) func(*msauthtest.Behavior) { return Claim(name, nil) }

// Strict makes the provider take each refresh token once, and a second use of one
// for theft.
func Strict(s *Site) {
	s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
}
