package renewal_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A renewal names what was granted of the session's own API. Without a scope
// Microsoft refuses it where that is the app's own registration (AADSTS90009:
// issue 5198 of microsoft-authentication-library-for-js), and everybody loses
// their token after an hour.
func TestRenewalNamesTheGrantedScopesOfItsAPI(t *testing.T) {
	t.Parallel()
	const id = "6731de76-14a6-49ae-97bc-6eba6914391e"
	reply := func(scope string) func(*msauthtest.Server) {
		return func(ms *msauthtest.Server) {
			ms.Set(func(b *msauthtest.Behavior) {
				b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["scope"] = scope }
			})
		}
	}
	for _, test := range []struct {
		name   string
		scopes []string
		change func(*msauthtest.Server)
		want   string
	}{
		{"User.Read by default", nil, nil, "User.Read"},
		{"several of Graph", []string{"User.Read", "Files.Read"}, nil, "Files.Read User.Read"},
		{"none of an API", []string{}, nil, ""},
		{"the app's own API", []string{"api://" + id + "/read", "api://" + id + "/write"}, nil, "api://" + id + "/read api://" + id + "/write"},
		{"the app's own API by its GUID", []string{id + "/read"}, nil, id + "/read"},
		{"all of the app's own API", []string{"api://" + id + "/.default"}, nil, "api://" + id + "/.default"},
		{"an API of somebody else", []string{"api://orders/Orders.Read"}, nil, "api://orders/Orders.Read"},
		{"all of another API", []string{"api://orders/.default"}, nil, "api://orders/.default"},
		{"one that was not granted", []string{"User.Read", "Files.Read"}, func(ms *msauthtest.Server) {
			ms.Set(func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Files.Read"} })
		}, "User.Read"},
		{"more than was asked for", []string{"User.Read"}, func(ms *msauthtest.Server) { ms.Consent(msauthtest.Ada, "Mail.Read") }, "Mail.Read User.Read"},
		{"a reply in the long form", []string{"User.Read"}, reply("email openid profile https://graph.microsoft.com/User.Read https://graph.microsoft.com/Files.Read"), "Files.Read User.Read"},
		{"a reply in the short form", []string{"https://graph.microsoft.com/User.Read"}, reply("openid user.read Files.Read"), "https://graph.microsoft.com/Files.Read https://graph.microsoft.com/User.Read"},
		{"a reply that lists .default", []string{"api://" + id + "/read"}, reply("api://" + id + "/read api://" + id + "/.default"), "api://" + id + "/read"},
		{"a reply in the other form of the API", []string{"api://" + id + "/read"}, reply(id + "/read " + id + "/write"), "api://" + id + "/read api://" + id + "/write"},
		{"a reply without scopes", []string{"api://" + id + "/read"}, reply(""), "api://" + id + "/read"},
		{"a reply with scopes of another API only", []string{"api://" + id + "/read"}, reply("User.Read"), "api://" + id + "/read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t, func(c *msauth.Config) { c.ClientID, c.Scopes = id, test.scopes })
				s.MS.ClientID = id
				s.MS.AddAPI(msauthtest.API{ID: "api://" + id, ClientID: id, Scopes: []string{"read", "write"}})
				s.MS.AddAPI(msauthtest.API{ID: "api://orders"})
				for _, scope := range strings.Fields(test.want) {
					if !strings.HasSuffix(scope, "/.default") {
						s.MS.Consent(msauthtest.Ada, scope)
					}
				}
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				if test.change != nil {
					test.change(s.MS)
				}
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				s.WantRenewed(t, b, test.want)
				s.WantRenewed(t, b, test.want)
			})
		})
	}
}

// What a person has granted on top of Config.Scopes is named too: a personal
// account's token has no more than was asked for.
func TestRenewalNamesWhatWasGrantedLater(t *testing.T) {
	t.Parallel()
	for _, person := range []string{msauthtest.Ada, msauthtest.Mia} {
		t.Run(person, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				s.Guard("/calendar", s.Auth.RequireScopes("Calendars.Read"))
				b := s.Browser(t)
				b.SignIn(person)
				if res := b.Get("/calendar"); res.StatusCode != http.StatusOK {
					t.Fatalf("status %d; log:\n%s", res.StatusCode, s.Log)
				}
				s.WantRenewed(t, b, "Calendars.Read User.Read")

				// And one that the person takes back stops nobody.
				s.MS.Withdraw(person, "Calendars.Read")
				s.WantRenewed(t, b, "Calendars.Read User.Read", "User.Read")
				s.WantRenewed(t, b, "User.Read")

				// What the app cannot do without does: a personal account does
				// not say that it is consent which is missing.
				s.MS.Withdraw(person)
				time.Sleep(testsite.Expired)
				res := b.Still().Get("/")
				if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || !strings.Contains(to, "/authorize?") {
					t.Errorf("status %d to %q", res.StatusCode, to)
				}
			})
		})
	}
}

// Users report that Microsoft refuses the URI form of the app's own API at
// times, where the GUID is safe.
func TestOwnAPIIsAskedForByItsGUIDWhereItsURIIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		own := "api://" + s.MS.ClientID + "/read"
		byGUID := s.MS.ClientID + "/read"
		s.Restart(t, testsite.Scopes(own))
		s.MS.AddAPI(msauthtest.API{ID: "api://" + s.MS.ClientID, ClientID: s.MS.ClientID})
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		b, other := s.Browser(t), s.Browser(t)
		b.SignIn(msauthtest.Ada)
		other.SignIn(msauthtest.Bruno)
		s.MS.Set(func(b *msauthtest.Behavior) { b.RefuseOwnURI = true })
		s.WantRenewed(t, b, own, byGUID)
		s.WantRenewed(t, b, byGUID) // from now on at once
		s.MS.ResetCalls()
		other.Get("/?token")
		if got := s.Named(); len(got) != 1 || !strings.HasSuffix(got[0], byGUID) {
			t.Errorf("the other person's renewals named %q", got)
		}
		if err := s.Auth.Ready(t.Context()); err != nil {
			t.Errorf("Ready returns %v", err)
		}
	})
}

// A refusal that the other form does not mend is reported as it was.
func TestRefusalOfBothFormsOfTheOwnAPI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.Restart(t, testsite.Scopes("api://"+s.MS.ClientID+"/read"), testsite.Tenant(msauthtest.TenantContoso))
		s.MS.AddAPI(msauthtest.API{ID: "api://" + s.MS.ClientID, ClientID: s.MS.ClientID})
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Error: "invalid_request", Codes: []int{90009}}
		})
		s.MS.ResetCalls()
		time.Sleep(testsite.Expired)
		if res := b.Get("/"); res.Text != testsite.HelloAda {
			t.Errorf("page %.100q", res.Text)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 2)
		if err := s.Auth.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "AADSTS90009") || !strings.Contains(err.Error(), "<client id>/name") {
			t.Errorf("Ready returns %v, want the number and what helps", err)
		}
	})
}

// Users report (June 2026) that personal accounts which signed in at /common are
// refused their first renewal there.
func TestPersonalAccountIsRenewedAtConsumers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.RefusePersonalAtCommon = time.Hour, true })
		paths := func() (paths []string) {
			for _, call := range s.MS.Calls(msauthtest.TokenRefresh) {
				paths = append(paths, call.Path)
			}
			return paths
		}
		b, ada := s.Browser(t), s.Browser(t)
		b.SignIn(msauthtest.Mia)
		ada.SignIn(msauthtest.Ada)
		s.WantRenewed(t, b, "User.Read", "User.Read")
		if got := paths(); !slices.Equal(got, []string{"/common/oauth2/v2.0/token", "/consumers/oauth2/v2.0/token"}) {
			t.Errorf("renewals at %q", got)
		}
		s.WantRenewed(t, b, "User.Read")
		if got := paths(); !slices.Equal(got, []string{"/consumers/oauth2/v2.0/token"}) {
			t.Errorf("the second renewal at %q", got)
		}
		s.WantRenewed(t, ada, "User.Read")
		if got := paths(); !slices.Equal(got, []string{"/common/oauth2/v2.0/token"}) {
			t.Errorf("that of a work account at %q", got)
		}

		// Once, then the session ends: the token may be over after all.
		s.MS.Revoke(msauthtest.Mia)
		s.Restart(t)
		s.MS.ResetCalls()
		time.Sleep(testsite.Expired)
		b.WantGreeting(testsite.HelloNobody)
		s.WantCalls(t, msauthtest.TokenRefresh, 2)
	})
}

// External ID and B2C are Microsoft's too: a renewal names its scopes. At other
// providers it names none, which means as granted (RFC 6749 section 6).
func TestRenewalElsewhere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		issuer string
		scopes []string
		want   string
	}{
		{"External ID", testsite.ExternalIDIssuer, []string{"User.Read"}, "openid profile email offline_access User.Read"},
		{"B2C, the client ID as scope", testsite.B2cIssuer, nil, "openid profile email offline_access CLIENT"},
		{"another provider", "http://localhost:9/generic", []string{"read"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := testsite.NewInProcess(t)
				list := test.scopes
				if list == nil {
					list = []string{s.MS.ClientID}
				}
				s.Restart(t, testsite.Issuer(test.issuer), testsite.Scopes(list...))
				s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				for range 2 {
					s.MS.ResetCalls()
					time.Sleep(testsite.Expired)
					if res := b.Get("/?token"); res.StatusCode != http.StatusOK {
						t.Fatalf("status %d, %s; log:\n%s", res.StatusCode, res.Text, s.Log)
					}
					want := []string{strings.Replace(test.want, "CLIENT", s.MS.ClientID, 1)}
					if got := s.Named(); !slices.Equal(got, want) {
						t.Errorf("the renewal named %q, want %q", got, want)
					}
				}
			})
		})
	}
}

// Personal accounts refuse a scope that was not granted with a bare
// invalid_grant (AADSTS70000), and old replies for work accounts have no suberror
// either: asking for other scopes than the session's own then asks the person.
func TestScopeThatWasNotGrantedAsksThePerson(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		person  string
		failure msauthtest.Failure
	}{
		{msauthtest.Mia, msauthtest.Failure{}},
		{msauthtest.Ada, msauthtest.Failure{}},
		{msauthtest.Ada, msauthtest.Failure{Status: 400, Body: `{"error":"invalid_grant","error_description":"AADSTS65001: the older form","error_codes":[65001]}`}},
	} {
		t.Run(fmt.Sprint(test.person, test.failure.Status), func(t *testing.T) {
			t.Parallel()
			s := testsite.New(t)
			s.Mux.Handle("/calendar", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				token, err := session.Token(r.Context(), "Calendars.Read")
				if s.Auth.Challenge(w, r, err) {
					return
				}
				if err != nil {
					http.Error(w, err.Error(), http.StatusBadGateway)
					return
				}
				fmt.Fprint(w, "token ", len(token.AccessToken) > 0)
			})))
			b := s.Browser(t)
			b.SignIn(test.person)
			if test.failure.Status != 0 {
				s.MS.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{test.failure} })
			}
			s.MS.ResetCalls()
			if res := b.Get("/calendar"); res.Text != "token true" {
				t.Fatalf("status %d, page %.200q; log:\n%s", res.StatusCode, res.Text, s.Log)
			}
			s.WantCalls(t, msauthtest.Authorize, 1)
			if got := s.Asked(t).Get("scope"); got != "openid profile email offline_access User.Read Calendars.Read" {
				t.Errorf("the person was asked for %q", got)
			}
		})
	}
}
