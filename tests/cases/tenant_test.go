package cases_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// of makes ID tokens say that they are of a tenant, in iss and tid alike.
func of(id string) func(*msauthtest.Behavior) {
	return func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["iss"], claims["tid"] = "http://localhost:9/"+id+"/v2.0", id
		}
	}
}

func TestCase044_SingleTenantIsStrict(t *testing.T) {
	c := newCase(t)
	for _, id := range []string{msauthtest.TenantContoso, strings.ToUpper(msauthtest.TenantContoso), "contoso.example"} {
		c.refusesToken("token of another tenant at "+id, "and not by", of(msauthtest.TenantFabrikam), testsite.Tenant(id))
		c.refusesToken("token of personal accounts at "+id, "and not by", of(msauthtest.TenantPersonal), testsite.Tenant(id))
		c.run("its own people at "+id, func(c *testCase) {
			s := testsite.NewInProcess(c.T, testsite.Tenant(id))
			s.Browser(c.T).SignIn(msauthtest.Ada)
			c.calls(s, msauthtest.TokenCode, 1)
			s.As(msauthtest.Bruno)
			if got := s.Browser(c.T).Get("/").Text; strings.HasPrefix(got, "hello") {
				c.Errorf("somebody of another tenant gets %q", got)
			}
		})
	}
}

// A session made when the configuration was wider is over when it is not.
func TestCase044_SessionsOfOtherTenantsEnd(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	ada, mia := s.Browser(t), s.Browser(t)
	ada.SignIn(msauthtest.Ada)
	mia.SignIn(msauthtest.Mia)
	s.Restart(t, testsite.Tenant("common", msauthtest.TenantFabrikam, msauthtest.TenantPersonal))
	c.signedOut(ada)
	mia.WantGreeting("hello Mia Müller")
	c.logged(s, `reason="no longer admitted"`, 2)
	s.Restart(t, testsite.Tenant("organizations"))
	c.signedOut(mia)
}

func TestCase045_TemplatedIssuer(t *testing.T) {
	c := newCase(t)
	for _, name := range []string{"common", "organizations"} {
		for _, test := range []struct {
			allowed []string
			who     string
			in      bool
		}{
			{nil, msauthtest.Ada, true}, {nil, msauthtest.Bruno, true},
			{[]string{msauthtest.TenantContoso}, msauthtest.Ada, true},
			{[]string{strings.ToUpper(msauthtest.TenantContoso)}, msauthtest.Ada, true},
			{[]string{msauthtest.TenantContoso}, msauthtest.Bruno, false},
			{[]string{msauthtest.TenantFabrikam, msauthtest.TenantContoso}, msauthtest.Bruno, true},
		} {
			c.run(fmt.Sprint(name, test.allowed, test.who), func(c *testCase) {
				s := testsite.NewInProcess(c.T, testsite.Tenant(name, test.allowed...))
				s.As(test.who)
				b := s.Browser(c.T)
				res := b.Get("/")
				if test.in {
					if !strings.HasPrefix(res.Text, "hello ") {
						c.Errorf("page %q:\n%s", res.Text, s.Log)
					}
				} else {
					c.refused(b, res, http.StatusForbidden, "not-allowed", "account not admitted: tenant "+msauthtest.TenantFabrikam)
				}
				c.calls(s, msauthtest.TokenCode, 1)
			})
		}
	}
}

func TestCase046_IssuerAndTenantMustAgree(t *testing.T) {
	c := newCase(t)
	c.refusesToken("tid of another tenant", "ID token: ", claimIs("tid", msauthtest.TenantFabrikam))
	c.refusesToken("tid of personal accounts", "ID token: ", claimIs("tid", msauthtest.TenantPersonal))
	c.refusesToken("tid in other case than iss", "ID token: ", func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["iss"] = strings.ToUpper(claims["iss"].(string))
		}
	})
	c.refusesToken("tid absent", "tid is not a tenant id", without("tid"))
	for _, wrong := range []any{"", "common", "{tenantid}", "contoso.example", msauthtest.TenantContoso + "/..", "../" + msauthtest.TenantContoso, 7, nil, []any{msauthtest.TenantContoso}} {
		c.refusesToken(fmt.Sprintf("tid %v", wrong), "tid is not a tenant id", claimIs("tid", wrong))
		c.refusesToken(fmt.Sprintf("iss and tid %v", wrong), "tid is not a tenant id", of(fmt.Sprint(wrong)))
	}
}

func TestCase047_TemplateAsIssuerIsRefused(t *testing.T) {
	c := newCase(t)
	for _, name := range []string{"common", "organizations"} {
		c.refusesToken("iss at "+name, "different provider", claimIs("iss", "http://localhost:9/{tenantid}/v2.0"), testsite.Tenant(name))
		c.refusesToken("iss and tid at "+name, "tid is not a tenant id", of("{tenantid}"), testsite.Tenant(name))
	}
}

func TestCase049_NotAdmitted(t *testing.T) {
	c := newCase(t)
	for _, test := range []struct {
		name, who string
		change    func(*msauth.Config)
		tamper    func(*msauthtest.Behavior)
	}{
		{"tenant not on the list", msauthtest.Bruno, testsite.Tenant("common", msauthtest.TenantContoso), nil},
		{"personal account not on the list", msauthtest.Mia, testsite.Tenant("common", msauthtest.TenantContoso), nil},
		{"personal account where work is asked", msauthtest.Ada, testsite.Tenant("organizations"), of(msauthtest.TenantPersonal)},
		{"refused by the app", msauthtest.Ada, func(c *msauth.Config) {
			c.OnSignIn = func(http.ResponseWriter, *http.Request, *msauth.SignIn) error {
				return fmt.Errorf("account not admitted: <b>because</b>")
			}
		}, nil},
	} {
		c.run(test.name, func(c *testCase) {
			s := testsite.NewInProcess(c.T, test.change)
			if test.tamper != nil {
				s.MS.Set(test.tamper)
			}
			s.As(test.who)
			b := s.Browser(c.T)
			res := b.Get("/a")
			c.refused(b, res, http.StatusForbidden, "not-allowed", "account not admitted")
			if strings.Contains(res.Text, "because") {
				c.Error("the page shows the app's error")
			}
			for _, want := range []string{`href="/auth/login?prompt=select_account&amp;return_to=%2Fa"`, `href="/auth/logout"`} {
				if !strings.Contains(res.Text, want) {
					c.Errorf("no link %s in %s", want, res.Text)
				}
			}
			c.calls(s, msauthtest.TokenCode, 1)
			if got := b.AuthorizeQuery("/auth/login?prompt=select_account&return_to=%2Fa").Get("prompt"); got != "select_account" {
				c.Errorf("prompt %q", got)
			}
			out := b.Still().Get("/auth/logout", testsite.SameOrigin...)
			if !strings.HasPrefix(out.Header.Get("Location"), s.MS.URL) {
				c.Errorf("the sign-out link leads to %q", out.Header.Get("Location"))
			}
			b.WantGreeting(testsite.HelloNobody)
		})
	}
	// At the provider's own word, too.
	c.run("not assigned", func(c *testCase) {
		s := testsite.NewInProcess(c.T)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.Authorize] = msauthtest.Failure{Error: "access_denied", Codes: []int{50105}}
		})
		b := s.Browser(c.T)
		c.refused(b, b.Get("/a"), http.StatusForbidden, "not-allowed", "AADSTS50105")
		c.calls(s, msauthtest.Authorize, 1)
	})
}

func TestCase050_WhatIdentifiesAPerson(t *testing.T) {
	c := newCase(t)
	s := testsite.NewInProcess(t)
	users := make(chan msauth.User, 1)
	s.Mux.Handle("/who", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		users <- session.User
	})))
	who := func(person string) msauth.User {
		c.Helper()
		s.As(person)
		s.Browser(c.T).Get("/who")
		return <-users
	}
	ada := who(msauthtest.Ada)
	// An administrator elsewhere gives somebody Ada's address, name and even sub.
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["email"], claims["preferred_username"], claims["upn"], claims["name"], claims["sub"] = ada.Email, ada.Username, ada.Username, ada.Name, ada.Subject
			claims["xms_edov"] = false
		}
	})
	bruno := who(msauthtest.Bruno)
	if bruno.Key() == ada.Key() || bruno.Email != ada.Email || bruno.EmailVerified || bruno.Subject != ada.Subject {
		c.Errorf("%+v is taken for %+v", bruno, ada)
	}
	if want := strings.ToLower(ada.TenantID + "." + ada.ObjectID); ada.Key() != want {
		c.Errorf("key %q, want %q", ada.Key(), want)
	}
	// The same object id in another tenant is somebody else, and case does not make two of one.
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["oid"] = ada.ObjectID }
	})
	if other := who(msauthtest.Bruno); other.Key() == ada.Key() || other.ObjectID != ada.ObjectID {
		c.Errorf("%+v is taken for %+v", other, ada)
	}
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["oid"] = strings.ToUpper(ada.ObjectID) }
	})
	if same := who(msauthtest.Ada); same.Key() != ada.Key() {
		c.Errorf("key %q, want %q", same.Key(), ada.Key())
	}
	// Elsewhere it is issuer and subject, even if tid and oid are claimed.
	s.Restart(t, testsite.Generic(s))
	s.Mux.Handle("/who", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		users <- session.User
	})))
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["tid"], claims["oid"] = ada.TenantID, ada.ObjectID
		}
	})
	if u := who(msauthtest.Ada); u.Key() != s.MS.URL+"/generic#"+u.Subject || u.TenantID != "" || u.ObjectID != "" {
		c.Errorf("another provider's claims give %+v with key %q", u, u.Key())
	}
	c.calls(s, msauthtest.TokenCode, 5)
}

func TestCase051_DiscoveryOfAnotherIssuer(t *testing.T) {
	c := newCase(t)
	us, them := msauthtest.TenantContoso, msauthtest.TenantFabrikam
	tests := []struct {
		tenant, issuer string
	}{
		{"common", "https://evil.example/{tenantid}/v2.0"}, {"common", "http://localhost:9/{tenantid}/v2.0/"}, {"common", "http://localhost:9/{tenantid}"},
		{"common", "http://localhost:9/{tenant}/v2.0"}, {"common", ""}, {"common", "http://localhost:9/common/v2.0"}, {"common", "http://localhost:99/{tenantid}/v2.0"},
		{"organizations", "http://localhost:9/x/v2.0"},
		{"consumers", "http://localhost:9/{tenantid}/v2.0"}, {"consumers", "http://localhost:9/" + us + "/v2.0"},
		{us, "http://localhost:9/" + them + "/v2.0"}, {us, "http://localhost:9/{tenantid}/v2.0"},
		{"contoso.example", "http://localhost:9/{tenantid}/v2.0"}, {"contoso.example", "http://localhost:9/contoso.example/v2.0"},
		{"generic", "http://localhost:9/generic/"}, {"generic", "http://localhost:9/Generic"}, {"generic", "http://localhost:9"}, {"generic", ""},
	}
	for _, test := range tests {
		c.run(test.tenant+" "+test.issuer, func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			if test.tenant == "generic" {
				s.Restart(c.T, testsite.Generic(s))
			} else {
				s.Restart(c.T, testsite.Tenant(test.tenant))
			}
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.Discovery = func(doc map[string]any) { doc["issuer"] = test.issuer }
			})
			s.As(msauthtest.Ada)
			c.page(s, s.Browser(c.T).Get("/"), http.StatusServiceUnavailable, "unavailable", "names the issuer")
			c.fails(s.Auth.Ready(c.Context()), "names the issuer")
			c.calls(s, msauthtest.Authorize, 0)
		})
	}
}

// Endpoints that lead away from the authority are no endpoints of it.
func TestCase051_EndpointsElsewhere(t *testing.T) {
	c := newCase(t)
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"} {
		for _, value := range []any{"https://evil.example/x", "http://localhost:9.evil.example/x", "http://localhost:9@evil.example/x", "//evil.example/x", "/x", "javascript:alert(1)", "http://evil.example/x", "http://localhost:99/x", "x", 7} {
			c.run(fmt.Sprint(name, value), func(c *testCase) {
				s := testsite.NewInProcess(c.T)
				s.MS.Set(func(b *msauthtest.Behavior) {
					b.Discovery = func(doc map[string]any) { doc[name] = value }
				})
				s.As(msauthtest.Ada)
				c.page(s, s.Browser(c.T).Get("/"), http.StatusServiceUnavailable, "unavailable", "msauth: discovery")
				c.calls(s, msauthtest.Authorize, 0)
			})
		}
	}
}

func TestCase052_IssuerInTheAnswer(t *testing.T) {
	c := newCase(t)
	right := "http://localhost:9/" + msauthtest.TenantContoso + "/v2.0"
	answer := func(change func(url.Values)) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) { b.AuthorizeAnswer = change }
	}
	for _, wrong := range []string{
		"https://evil.example", right + "/", strings.ToUpper(right), "https" + strings.TrimPrefix(right, "http"), right + "\x00", " " + right,
		"http://localhost:9/{tenantid}/v2.0x", "http://localhost:9/common/v2.0", "http://localhost:9/x/v2.0", "http://localhost:9//v2.0",
	} {
		c.run("wrong "+wrong, func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			s.MS.Set(answer(func(q url.Values) { q.Set("iss", wrong) }))
			s.As(msauthtest.Ada)
			b := s.Browser(c.T)
			c.refused(b, b.Get("/"), 400, "start-again", "iss of the answer is another issuer")
			c.calls(s, msauthtest.TokenCode, 0)
		})
	}
	for name, change := range map[string]func(url.Values){
		"announced and absent":             func(q url.Values) { q.Del("iss") },
		"announced and empty":              func(q url.Values) { q.Set("iss", "") },
		"announced and absent in an error": func(q url.Values) { q.Del("iss"); q.Del("code"); q.Set("error", "access_denied") },
	} {
		c.run(name, func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			s.MS.Set(func(b *msauthtest.Behavior) { b.AnswerIssuer, b.AuthorizeAnswer = true, change })
			s.As(msauthtest.Ada)
			b := s.Browser(c.T)
			c.refused(b, b.Get("/"), 400, "start-again", "iss is missing from the answer")
			c.calls(s, msauthtest.TokenCode, 0)
		})
	}
	for _, announced := range []bool{true, false} {
		c.run(fmt.Sprint("announced ", announced), func(c *testCase) {
			s := testsite.NewInProcess(c.T)
			s.MS.Set(func(b *msauthtest.Behavior) { b.AnswerIssuer = announced })
			s.Browser(c.T).SignIn(msauthtest.Ada)
			c.calls(s, msauthtest.TokenCode, 1)
		})
	}
}
