package msauth_test

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
)

// Providers of msauthtest under the names that Microsoft gives them, in process.
const (
	b2cIssuer        = "https://fabrikam.b2clogin.com/fabrikam.onmicrosoft.com/b2c_1_susi/v2.0"
	externalIDIssuer = "https://fabrikam.ciamlogin.com/" + msauthtest.TenantExternal + "/v2.0"
)

// issuer makes another provider than Microsoft's work and personal accounts the
// app's.
func issuer(url string) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Authority, c.Issuer = "", url }
}

func scopes(list ...string) func(*msauth.Config) {
	return func(c *msauth.Config) { c.Scopes = list }
}

// named are the scopes that the renewals have asked for, each as it was sent.
func (s *site) named() (scopes []string) {
	for _, call := range s.ms.Calls(msauthtest.TokenRefresh) {
		scopes = append(scopes, call.Form.Get("scope"))
	}
	return scopes
}

// wantRenewed has a token renewed that is over and checks what that has named.
func (s *site) wantRenewed(t *testing.T, b *browser, scopes ...string) {
	t.Helper()
	before := b.get("/public/?token").body
	s.ms.ResetCalls()
	time.Sleep(expired)
	res := b.get("/?token")
	if res.StatusCode != http.StatusOK || res.body == before || !strings.HasPrefix(res.Request.URL.Path, "/") {
		t.Errorf("status %d, another token %t; log:\n%s", res.StatusCode, res.body != before, s.log)
	}
	for i := range scopes {
		scopes[i] = strings.TrimSpace("openid profile email offline_access " + scopes[i])
	}
	if got := s.named(); !slices.Equal(got, scopes) {
		t.Errorf("the renewals named %q, want %q", got, scopes)
	}
	s.wantCalls(t, msauthtest.Authorize, 0)
}

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
				s := newSiteInProcess(t, func(c *msauth.Config) { c.ClientID, c.Scopes = id, test.scopes })
				s.ms.ClientID = id
				s.ms.AddAPI(msauthtest.API{ID: "api://" + id, ClientID: id, Scopes: []string{"read", "write"}})
				s.ms.AddAPI(msauthtest.API{ID: "api://orders"})
				for _, scope := range strings.Fields(test.want) {
					if !strings.HasSuffix(scope, "/.default") {
						s.ms.Consent(msauthtest.Ada, scope)
					}
				}
				s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				if test.change != nil {
					test.change(s.ms)
				}
				b := s.browser(t)
				b.signIn(msauthtest.Ada)
				s.wantRenewed(t, b, test.want)
				s.wantRenewed(t, b, test.want)
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
				s := newSiteInProcess(t)
				s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				s.guard("/calendar", s.auth.RequireScopes("Calendars.Read"))
				b := s.browser(t)
				b.signIn(person)
				if res := b.get("/calendar"); res.StatusCode != http.StatusOK {
					t.Fatalf("status %d; log:\n%s", res.StatusCode, s.log)
				}
				s.wantRenewed(t, b, "Calendars.Read User.Read")

				// And one that the person takes back stops nobody.
				s.ms.Withdraw(person, "Calendars.Read")
				s.wantRenewed(t, b, "Calendars.Read User.Read", "User.Read")
				s.wantRenewed(t, b, "User.Read")

				// What the app cannot do without does: a personal account does
				// not say that it is consent which is missing.
				s.ms.Withdraw(person)
				time.Sleep(expired)
				res := b.still().get("/")
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
		s := newSiteInProcess(t)
		own := "api://" + s.ms.ClientID + "/read"
		byGUID := s.ms.ClientID + "/read"
		s.restart(t, scopes(own))
		s.ms.AddAPI(msauthtest.API{ID: "api://" + s.ms.ClientID, ClientID: s.ms.ClientID})
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		b, other := s.browser(t), s.browser(t)
		b.signIn(msauthtest.Ada)
		other.signIn(msauthtest.Bruno)
		s.ms.Set(func(b *msauthtest.Behavior) { b.RefuseOwnURI = true })
		s.wantRenewed(t, b, own, byGUID)
		s.wantRenewed(t, b, byGUID) // from now on at once
		s.ms.ResetCalls()
		other.get("/?token")
		if got := s.named(); len(got) != 1 || !strings.HasSuffix(got[0], byGUID) {
			t.Errorf("the other person's renewals named %q", got)
		}
		if err := s.auth.Ready(t.Context()); err != nil {
			t.Errorf("Ready returns %v", err)
		}
	})
}

// A refusal that the other form does not mend is reported as it was.
func TestRefusalOfBothFormsOfTheOwnAPI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		s.restart(t, scopes("api://"+s.ms.ClientID+"/read"), tenant(msauthtest.TenantContoso))
		s.ms.AddAPI(msauthtest.API{ID: "api://" + s.ms.ClientID, ClientID: s.ms.ClientID})
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Error: "invalid_request", Codes: []int{90009}}
		})
		s.ms.ResetCalls()
		time.Sleep(expired)
		if res := b.get("/"); res.body != helloAda {
			t.Errorf("page %.100q", res.body)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 2)
		if err := s.auth.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "AADSTS90009") || !strings.Contains(err.Error(), "<client id>/name") {
			t.Errorf("Ready returns %v, want the number and what helps", err)
		}
	})
}

// Users report (June 2026) that personal accounts which signed in at /common are
// refused their first renewal there.
func TestPersonalAccountIsRenewedAtConsumers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.RefusePersonalAtCommon = time.Hour, true })
		paths := func() (paths []string) {
			for _, call := range s.ms.Calls(msauthtest.TokenRefresh) {
				paths = append(paths, call.Path)
			}
			return paths
		}
		b, ada := s.browser(t), s.browser(t)
		b.signIn(msauthtest.Mia)
		ada.signIn(msauthtest.Ada)
		s.wantRenewed(t, b, "User.Read", "User.Read")
		if got := paths(); !slices.Equal(got, []string{"/common/oauth2/v2.0/token", "/consumers/oauth2/v2.0/token"}) {
			t.Errorf("renewals at %q", got)
		}
		s.wantRenewed(t, b, "User.Read")
		if got := paths(); !slices.Equal(got, []string{"/consumers/oauth2/v2.0/token"}) {
			t.Errorf("the second renewal at %q", got)
		}
		s.wantRenewed(t, ada, "User.Read")
		if got := paths(); !slices.Equal(got, []string{"/common/oauth2/v2.0/token"}) {
			t.Errorf("that of a work account at %q", got)
		}

		// Once, then the session ends: the token may be over after all.
		s.ms.Revoke(msauthtest.Mia)
		s.restart(t)
		s.ms.ResetCalls()
		time.Sleep(expired)
		b.wantGreeting(helloNobody)
		s.wantCalls(t, msauthtest.TokenRefresh, 2)
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
		{"External ID", externalIDIssuer, []string{"User.Read"}, "openid profile email offline_access User.Read"},
		{"B2C, the client ID as scope", b2cIssuer, nil, "openid profile email offline_access CLIENT"},
		{"another provider", "http://localhost:9/generic", []string{"read"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSiteInProcess(t)
				list := test.scopes
				if list == nil {
					list = []string{s.ms.ClientID}
				}
				s.restart(t, issuer(test.issuer), scopes(list...))
				s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
				b := s.browser(t)
				b.signIn(msauthtest.Ada)
				for range 2 {
					s.ms.ResetCalls()
					time.Sleep(expired)
					if res := b.get("/?token"); res.StatusCode != http.StatusOK {
						t.Fatalf("status %d, %s; log:\n%s", res.StatusCode, res.body, s.log)
					}
					want := []string{strings.Replace(test.want, "CLIENT", s.ms.ClientID, 1)}
					if got := s.named(); !slices.Equal(got, want) {
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
			s := newSite(t)
			s.mux.Handle("/calendar", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				token, err := session.Token(r.Context(), "Calendars.Read")
				if s.auth.Challenge(w, r, err) {
					return
				}
				if err != nil {
					http.Error(w, err.Error(), http.StatusBadGateway)
					return
				}
				fmt.Fprint(w, "token ", len(token.AccessToken) > 0)
			})))
			b := s.browser(t)
			b.signIn(test.person)
			if test.failure.Status != 0 {
				s.ms.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{test.failure} })
			}
			s.ms.ResetCalls()
			if res := b.get("/calendar"); res.body != "token true" {
				t.Fatalf("status %d, page %.200q; log:\n%s", res.StatusCode, res.body, s.log)
			}
			s.wantCalls(t, msauthtest.Authorize, 1)
			if got := s.asked(t).Get("scope"); got != "openid profile email offline_access User.Read Calendars.Read" {
				t.Errorf("the person was asked for %q", got)
			}
		})
	}
}
