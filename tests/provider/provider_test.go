package provider_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

const someDirectory = "f3a1c0de-5b7a-4c1e-9d5a-0c2b6a7e4d11"

// New names what to set in place of what does not work.
func TestNewNamesTheSettingsOfMicrosoftsServices(t *testing.T) {
	t.Parallel()
	const custom = "https://login.fabrikam.example/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0"
	issuer := func(address string) func(*msauth.Config) { return func(c *msauth.Config) { c.Issuer = address } }
	authority := func(address string) func(*msauth.Config) {
		return func(c *msauth.Config) { c.Authority = address }
	}
	microsoft := func(address string) func(*msauth.Config) {
		return func(c *msauth.Config) { c.Issuer, c.MicrosoftIssuer = custom, address }
	}
	const public, us, china = "https://login.microsoftonline.com", "https://login.microsoftonline.us", "https://login.partner.microsoftonline.cn"
	values := func(authority, tenant string) string {
		return `set Authority to "` + authority + `" and Tenant to "` + tenant + `"`
	}
	tests := []struct {
		name   string
		change func(*msauth.Config)
		field  string // "" if New accepts it
		want   string
	}{
		{"Entra as issuer", issuer(public + "/" + someDirectory + "/v2.0"), "Issuer", values(public, someDirectory)},
		{"Entra as issuer, with a slash", issuer(public + "/" + someDirectory + "/v2.0/"), "Issuer", values(public, someDirectory)},
		{"Entra as issuer, by domain", issuer(public + "/contoso.example/v2.0"), "Issuer", values(public, "contoso.example")},
		{"Entra as issuer, common", issuer(public + "/common/v2.0"), "Issuer", values(public, "common")},
		{"Entra as issuer, the template", issuer(public + "/{tenantid}/v2.0"), "Issuer", values(public, "the id of your tenant")},
		{"Entra as issuer, no tenant", issuer(public), "Issuer", values(public, "the id of your tenant")},
		{"Entra as issuer, with a port and capitals", issuer("https://Login.MicrosoftOnline.com:443/" + someDirectory + "/v2.0"), "Issuer", values(public, someDirectory)},
		{"Entra as issuer, with a dot", issuer("https://login.microsoftonline.com./" + someDirectory + "/v2.0"), "Issuer", values(public, someDirectory)},
		{"version 1", issuer("https://sts.windows.net/" + someDirectory + "/"), "Issuer", values(public, someDirectory)},
		{"an old name", issuer("https://login.windows.net/" + someDirectory + "/v2.0"), "Issuer", values(public, someDirectory)},
		{"a region", issuer("https://westeurope.login.microsoft.com/" + someDirectory + "/v2.0"), "Issuer", values(public, someDirectory)},
		{"US as issuer", issuer(us + "/" + someDirectory + "/v2.0"), "Issuer", values(us, someDirectory)},
		{"US under another name", issuer("https://login.usgovcloudapi.net/" + someDirectory + "/v2.0"), "Issuer", values(us, someDirectory)},
		{"US under an old name", issuer("https://login-us.microsoftonline.com/" + someDirectory + "/v2.0"), "Issuer", values(us, someDirectory)},
		{"China as issuer", issuer(china + "/" + someDirectory + "/v2.0"), "Issuer", values(china, someDirectory)},
		{"China under another name", issuer("https://login.chinacloudapi.cn/" + someDirectory + "/v2.0"), "Issuer", values(china, someDirectory)},
		{"Entra as Microsoft's issuer", microsoft(public + "/" + someDirectory + "/v2.0"), "MicrosoftIssuer", values(public, someDirectory)},

		{"an old name as authority", authority("https://login.windows.net"), "Authority", `set Authority to "` + public + `"`},
		{"version 1 as authority", authority("https://sts.windows.net/"), "Authority", `set Authority to "` + public + `"`},
		{"China's other name as authority", authority("https://login.chinacloudapi.cn"), "Authority", `set Authority to "` + china + `"`},
		{"US's other name as authority", authority("https://login.usgovcloudapi.net"), "Authority", `set Authority to "` + us + `"`},
		{"a region as authority", authority("https://westeurope.login.microsoft.com"), "Authority", `set Authority to "` + public + `"`},
		{"a port too many", authority("https://login.microsoftonline.com:443"), "Authority", `set Authority to "` + public + `"`},
		{"B2C as authority", authority("https://fabrikam.b2clogin.com"), "Authority", "set Issuer to the URL"},
		{"B2C with its path as authority", authority("https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/B2C_1_susi"), "Authority", "set Issuer to the URL"},
		{"External ID as authority", authority("https://Fabrikam.CIAMlogin.com/"), "Authority", "set Issuer to the URL"},

		{"the address of discovery", issuer("https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0/.well-known/openid-configuration"), "Issuer",
			`set it to "https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0"`},
		{"the address of discovery, with a query", issuer("https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/v2.0/.well-known/openid-configuration?p=b2c_1_susi"), "Issuer", "must end before /.well-known/"},
		{"a user flow in the query", issuer("https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/v2.0?p=b2c_1_susi"), "Issuer", "a user flow of Azure AD B2C goes into the path"},

		{"Microsoft's issuer alone", func(c *msauth.Config) {
			c.MicrosoftIssuer = "https://login.fabrikam.example/" + someDirectory + "/v2.0/"
		}, "MicrosoftIssuer", "needs Issuer"},
		{"Microsoft's issuer with authority", func(c *msauth.Config) {
			c.Authority, c.MicrosoftIssuer = public, "https://login.fabrikam.example/"+someDirectory+"/v2.0/"
		}, "MicrosoftIssuer", "needs Issuer"},
		{"no GUID", microsoft("https://login.fabrikam.example/fabrikam.onmicrosoft.com/v2.0/"), "MicrosoftIssuer", "must have the form"},
		{"a GUID too many", microsoft("https://login.fabrikam.example/" + someDirectory + "/" + someDirectory + "/v2.0/"), "MicrosoftIssuer", "must have the form"},
		{"two slashes", microsoft("https://login.fabrikam.example/" + someDirectory + "/v2.0//"), "MicrosoftIssuer", "must have the form"},
		{"the template", microsoft("https://{tenantid}.ciamlogin.com/{tenantid}/v2.0"), "MicrosoftIssuer", "must"},
		{"escaped", microsoft("https://login.fabrikam.example/%66" + someDirectory[1:] + "/v2.0/"), "MicrosoftIssuer", "must have the form"},
		{"on http", microsoft("http://login.fabrikam.example/" + someDirectory + "/v2.0/"), "MicrosoftIssuer", "https"},
		{"with a query", microsoft("https://login.fabrikam.example/" + someDirectory + "/v2.0/?p=x"), "MicrosoftIssuer", "no user, query or fragment"},
		{"with the user flow in it", microsoft("https://login.fabrikam.example/tfp/" + someDirectory + "/b2c_1_susi/v2.0/"), "MicrosoftIssuer", `"Issuer (iss) claim"`},

		{"custom domain of B2C", microsoft("https://login.fabrikam.example/" + someDirectory + "/v2.0/"), "", ""},
		{"custom domain of External ID", microsoft("https://" + someDirectory + ".ciamlogin.com/" + someDirectory + "/v2.0"), "", ""},
		{"on loopback", microsoft("http://localhost:9/" + someDirectory + "/v2.0/"), "", ""},
		{"B2C", issuer("https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0"), "", ""},
		{"External ID", issuer("https://fabrikam.ciamlogin.com/" + someDirectory + "/v2.0"), "", ""},
		{"another provider with a name like it", issuer("https://login.microsoftonline.com.example/"), "", ""},
		{"Germany", authority("https://login.microsoftonline.de"), "", ""},
	}
	for _, test := range tests {
		cfg := testsite.LeastConfig()
		test.change(&cfg)
		_, err := msauth.New(cfg)
		if test.field == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "msauth: Config."+test.field+" ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q about %s", test.name, err, test.want, test.field)
		}
	}
}

// at makes the site use B2C or External ID of its local Microsoft; scopes bring
// an access token at B2C.
func at(p msauthtest.Provider, scopes ...string) func(*msauth.Config) {
	return func(c *msauth.Config) {
		c.Authority, c.Issuer, c.MicrosoftIssuer, c.Scopes = "", p.Issuer, "", scopes
		if p.Published != p.Issuer {
			c.MicrosoftIssuer = p.Published
		}
	}
}

// userAt serves the user who is signed in at /who.
func userAt(s *testsite.Site) chan msauth.User {
	got := make(chan msauth.User, 1)
	s.Mux.Handle("/who", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		got <- session.User
	})))
	return got
}

// Two people at B2C and External ID have two
// keys, whatever sub says.
func TestPeopleOfB2CAndExternalIDAreToldApart(t *testing.T) {
	t.Parallel()
	stockB2C := func(*msauthtest.Server) msauthtest.Provider {
		const issuer = "https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0"
		return msauthtest.Provider{Issuer: issuer, Published: issuer}
	}
	stockExternal := func(*msauthtest.Server) msauthtest.Provider {
		const issuer = "https://fabrikam.ciamlogin.com/" + msauthtest.TenantExternal + "/v2.0"
		return msauthtest.Provider{Issuer: issuer, Published: issuer}
	}
	shared := func(b *msauthtest.Behavior) { b.B2CSharedSubject = true }
	for _, test := range []struct {
		name     string
		provider func(*msauthtest.Server) msauthtest.Provider
		behave   func(*msauthtest.Behavior)
		key      string // its beginning
	}{
		{"B2C", stockB2C, func(*msauthtest.Behavior) {}, "https://fabrikam.b2clogin.com/" + msauthtest.TenantExternal + "/v2.0/#"},
		{"B2C, one sub for all", stockB2C, shared, msauthtest.TenantExternal + "."},
		{"B2C on a custom domain", (*msauthtest.Server).B2C, func(*msauthtest.Behavior) {}, "http://localhost:9/" + msauthtest.TenantExternal + "/v2.0/#"},
		{"B2C on a custom domain, one sub for all", (*msauthtest.Server).B2C, shared, msauthtest.TenantExternal + "."},
		{"External ID", stockExternal, func(*msauthtest.Behavior) {}, msauthtest.TenantExternal + "."},
		{"External ID on a custom domain", (*msauthtest.Server).ExternalID, func(*msauthtest.Behavior) {}, msauthtest.TenantExternal + "."},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t)
			s.Restart(t, at(test.provider(s.MS), s.MS.ClientID))
			if strings.HasPrefix(test.name, "External") {
				s.Restart(t, at(test.provider(s.MS), "User.Read"))
			}
			s.Wire = stockHosts{s.Wire, s.MS.Transport()}
			s.MS.Set(test.behave)
			got := userAt(s)
			var keys []string
			for _, who := range []string{msauthtest.Ada, msauthtest.Bruno} {
				s.As(who)
				res := s.Browser(t).Get("/who")
				select {
				case u := <-got:
					if !strings.HasPrefix(u.Key(), test.key) || u.Email == "" || u.EmailVerified && strings.HasPrefix(test.name, "B2C") {
						t.Errorf("key %q, want %q...; e-mail %q, verified %t", u.Key(), test.key, u.Email, u.EmailVerified)
					}
					keys = append(keys, u.Key())
				default:
					t.Fatalf("not signed in: status %d, page %q:\n%s", res.StatusCode, res.Kind(), s.Log)
				}
			}
			if keys[0] == keys[1] {
				t.Errorf("two people have the key %q", keys[0])
			}
		})
	}
}

// stockHosts leads requests of browsers to the stock names of B2C and External
// ID as well.
type stockHosts struct{ site, ms http.RoundTripper }

func (h stockHosts) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Host, ".b2clogin.com") || strings.HasSuffix(r.URL.Host, ".ciamlogin.com") {
		return h.ms.RoundTrip(r)
	}
	return h.site.RoundTrip(r)
}

// Nobody is signed in by a token that is everybody's.
func TestTokenOfEverybodyIsRefused(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.Restart(t, at(s.MS.B2C(), s.MS.ClientID))
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.B2CSharedSubject = true
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { delete(claims, "oid") }
	})
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.WantRefused(b.Get("/a"), 400, "start-again", `User's Object ID`)
	b.WantGreeting(testsite.HelloNobody)
}

// A custom domain whose setting is missing.
func TestCustomDomainWithoutTheSettingNamesIt(t *testing.T) {
	t.Parallel()
	for _, provider := range []func(*msauthtest.Server) msauthtest.Provider{(*msauthtest.Server).B2C, (*msauthtest.Server).ExternalID} {
		s := testsite.NewInProcess(t)
		p := provider(s.MS)
		s.Restart(t, at(p), func(c *msauth.Config) { c.MicrosoftIssuer = "" })
		s.As(msauthtest.Ada)
		s.WantPage(t, s.Browser(t).Get("/"), 503, "unavailable", "names the issuer")
		err := s.Auth.Ready(t.Context())
		if want := `set Config.MicrosoftIssuer to "` + p.Published + `"`; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Ready returns %v, want %q", err, want)
		}
	}
}

// The new setting is no part of what a session is bound to: who is signed in
// stays so when it is set.
func TestMicrosoftIssuerIsNoPartOfTheRegistration(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.Restart(t, testsite.Generic(s))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	s.Restart(t, func(c *msauth.Config) { c.MicrosoftIssuer = "http://localhost:9/" + someDirectory + "/v2.0" })
	b.WantGreeting(testsite.HelloAda)
}

// Tokens of other kinds, from outside.
func TestTokenOfAnotherKindSignsNobodyIn(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["id_token"] = reply["access_token"] }
	})
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.WantRefused(b.Get("/a"), 400, "start-again", "ID token: ")
	b.WantGreeting(testsite.HelloNobody)
}

// People go on signing in while the key set flaps.
func TestSignInsWhileKeysFlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.Browser(t).SignIn(msauthtest.Ada)
		// The next front end has all but the keys that are in use.
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.KeySet = func(keys []map[string]any) []map[string]any {
				for i := range keys {
					other := map[string]any{}
					for name, value := range keys[i] {
						other[name] = value
					}
					other["kid"] = "another-" + keys[i]["kid"].(string)
					keys[i] = other
				}
				return keys
			}
		})
		time.Sleep(13 * time.Hour) // the set is old, and fetched anew beside its use
		for range 6 {
			s.Browser(t).SignIn(msauthtest.Bruno)
			time.Sleep(9 * time.Minute)
		}
		if n := s.MS.Count(msauthtest.Keys); n != 2 {
			t.Errorf("the keys were fetched %d times, want 2", n)
		}
		s.MS.Set(func(b *msauthtest.Behavior) { b.KeySet = nil })
		s.Browser(t).SignIn(msauthtest.Ada)
	})
}

// Section G: a session of parts answers like one of a sign-in.
func TestSessionOfPartsAnswers(t *testing.T) {
	t.Parallel()
	now := time.Now()
	scopes := []string{"User.Read", "Files.Read"}
	s := msauth.NewSessionFrom(msauth.SessionParts{
		User: msauth.User{Name: "Ada"}, AppData: "7", Scopes: scopes,
		TokenSource: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "a"}),
		SignedIn:    now, Renewed: now.Add(1), Expiry: now.Add(2), AuthTime: now.Add(3), Ends: now.Add(4),
	})
	scopes[0] = "changed"
	if got := s.Scopes(); !slices.Equal(got, []string{"User.Read", "Files.Read"}) {
		t.Errorf("scopes %q", got)
	}
	for scope, want := range map[string]bool{
		"User.Read": true, "user.read": true, "https://graph.microsoft.com/User.Read": true, "Mail.Read": false, "": false,
	} {
		if got := s.HasScope(scope); got != want {
			t.Errorf("HasScope(%q) is %t", scope, got)
		}
	}
	for i, got := range []time.Time{s.SignedIn(), s.Renewed(), s.Expiry(), s.AuthTime(), s.Ends()} {
		if !got.Equal(now.Add(time.Duration(i))) {
			t.Errorf("time %d is %v after the first", i, got.Sub(now))
		}
	}
	if token, err := s.Token(t.Context()); err != nil || token.AccessToken != "a" || s.AppData != "7" || s.User.Name != "Ada" {
		t.Errorf("token %v, %v; data %q; user %q", token, err, s.AppData, s.User.Name)
	}
	bare := msauth.NewSession(msauth.User{}, nil)
	if bare.HasScope("User.Read") || len(bare.Scopes()) > 0 || !bare.Ends().IsZero() {
		t.Error("a session of a person alone has scopes, or ends")
	}
}

// A provider whose front ends differ all the time.
func TestSignInsWhileFrontEndsDiffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.MS.Set(func(b *msauthtest.Behavior) { b.AlternateKeys = true })
		for range 60 {
			s.Browser(t).SignIn(msauthtest.Ada)
			time.Sleep(50 * time.Minute)
		}
	})
}

// Apps with claims mapping.
func TestAppWithClaimsMappingSignsPeopleIn(t *testing.T) {
	t.Parallel()
	for _, tenant := range []string{"common", "organizations", msauthtest.TenantContoso, "contoso.example"} {
		synctest.Test(t, func(t *testing.T) {
			s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Tenant = tenant })
			s.MS.Set(func(b *msauthtest.Behavior) { b.AppKey = true })
			s.Lifetime(time.Hour)
			b := s.Browser(t)
			b.SignIn(msauthtest.Ada)
			if tenant == "common" || tenant == "organizations" {
				s.Browser(t).SignIn(msauthtest.Bruno) // of another tenant, within the five minutes
			}
			// Renewed ID tokens are signed with it too.
			s.MS.ResetCalls()
			for range 3 {
				time.Sleep(time.Hour)
				b.WantGreeting(testsite.HelloAda)
			}
			s.WantCalls(t, msauthtest.TokenRefresh, 3)
			s.WantCalls(t, msauthtest.Discovery, 0)
			s.WantCalls(t, msauthtest.Keys, 0)
			if lines := s.Log.With("level=ERROR"); len(lines) > 0 {
				t.Errorf("errors in the log: %q", lines)
			}
		})
	}
}
