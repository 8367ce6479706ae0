package renewal_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestRenewedIDToken(t *testing.T) {
	t.Parallel()
	refresh := func(change func(c map[string]any)) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			b.IDToken = func(kind msauthtest.Kind, c map[string]any) {
				if kind == msauthtest.TokenRefresh {
					change(c)
				}
			}
		}
	}
	set := func(pairs ...any) func(*msauthtest.Behavior) {
		return refresh(func(c map[string]any) {
			for i := 0; i < len(pairs); i += 2 {
				c[pairs[i].(string)] = pairs[i+1]
			}
		})
	}
	const kept, ended, replaced, later = "kept", "ended", "replaced", "later" // later: not accepted, the session lives
	tests := []struct {
		name   string
		behave func(*msauthtest.Behavior)
		want   string
		reason string
	}{
		{"none", func(b *msauthtest.Behavior) { b.OmitIDTokenOnRefresh = true }, kept, ""},
		{"the same person", func(*msauthtest.Behavior) {}, kept, ""},
		{"new name", set("name", "Ada Byron"), replaced, ""},
		{"no refresh token beside it", func(b *msauthtest.Behavior) { b.OmitRefreshToken = true }, kept, ""},
		{"the same refresh token beside it", func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateSame }, kept, ""},
		{"everything of another person", func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Bruno }, ended, "another person"},
		{"of a colleague", func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Grace }, ended, "another person"},
		{"other sub", set("sub", "x"), ended, "another person"},
		{"other oid", set("oid", "00000000-0000-4000-8000-000000000000"), ended, "another person"},
		{"other tenant", set("tid", msauthtest.TenantFabrikam, "iss", "http://localhost:9/"+msauthtest.TenantFabrikam+"/v2.0"), ended, "another person"},
		{"other iss", set("iss", "https://evil.example/"), ended, "another person"},
		{"other aud", set("aud", "somebody"), ended, "another person"},
		{"other nonce", set("nonce", "AAAAAAAAAAAAAAAAAAAAAA"), ended, "nonce"},
		{"empty nonce", set("nonce", ""), ended, "nonce"},
		{"expired", set("exp", 1), later, "expired"},
		{"wrong at_hash", set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), later, "at_hash"},
		{"other auth_time", set("auth_time", 1), later, "auth_time"},
		{"unsigned", func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignNone }, later, "signature algorithm"},
		{"signed by nobody", func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignUnpublished }, later, "signed by no key"},
		{"signed by nobody, of another person", func(b *msauthtest.Behavior) {
			b.Signing, b.RefreshAs = msauthtest.SignUnpublished, msauthtest.Bruno
		}, ended, "another person"},
		{"not a token", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["id_token"] = "x" }
		}, later, "not a JWT"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			testsite.Renewing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
				first := b.Token()
				time.Sleep(testsite.Due)
				s.MS.Set(test.behave)
				res := b.Still().Get("/")
				s.WantCalls(t, msauthtest.TokenRefresh, 1)
				want := map[string]string{kept: testsite.HelloAda, replaced: "hello Ada Byron", later: testsite.HelloAda, ended: ""}[test.want]
				if res.Text != want || (res.StatusCode == 303) != (test.want == ended) {
					t.Fatalf("status %d, page %q, want %q; log:\n%s", res.StatusCode, res.Text, want, s.Log)
				}
				if test.reason != "" && len(s.Log.With(test.reason)) == 0 {
					t.Errorf("log %s, want %q", s.Log, test.reason)
				}
				switch test.want {
				case ended:
					b.WantGreeting(testsite.HelloNobody)
				case later:
					if b.Token() != first {
						t.Error("a token is in use that came with an ID token that is not accepted")
					}
				default:
					if b.Token() == first {
						t.Error("the token is the old one")
					}
				}
			})
		})
	}
}

func TestRenewalKeepsTheNonceOfTheFirstIDToken(t *testing.T) {
	var nonce any
	testsite.Renewing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.IDToken = func(kind msauthtest.Kind, c map[string]any) {
				if kind == msauthtest.TokenCode {
					nonce = c["nonce"]
				} else {
					c["nonce"] = nonce
				}
			}
		})
		b.Get("/auth/login")
		first := b.Token()
		time.Sleep(testsite.Due)
		if got := b.Token(); got == first || len(got) < 1000 {
			t.Errorf("Token: %.40q; log:\n%s", got, s.Log)
		}
	})
}

func TestRenewalUpdatesTheClaims(t *testing.T) {
	testsite.Renewing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser) {
		var seen []string
		s.Mux.Handle("/roles", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			seen = append(seen, fmt.Sprintf("%s %v %v %v", session.User.Name, session.User.Roles, session.User.Claims, session.User.HasRole("Admin")))
		})))
		change := func(u msauthtest.User) {
			u.SignInName, u.ObjectID, u.Email = msauthtest.Ada, "8342b3fe-9359-4c66-8314-5ba888da8409", msauthtest.Ada
			s.MS.SetUser(u)
		}
		change(msauthtest.User{Name: "Ada Lindqvist", Roles: []string{"Admin", "Reader"}})
		s.MS.Set(testsite.Claim("ctry", "SE"))
		time.Sleep(testsite.Due)
		b.Get("/roles")
		change(msauthtest.User{Name: "Ada Byron", Roles: []string{"Reader"}})
		s.MS.Set(testsite.Claim("ctry", "UK"))
		b.Get("/roles") // not before the renewal
		time.Sleep(testsite.Due)
		b.Get("/roles")
		change(msauthtest.User{Name: "Ada Byron"})
		s.MS.Set(testsite.Drop("ctry"))
		time.Sleep(testsite.Due)
		b.Get("/roles")
		want := []string{
			"Ada Lindqvist [Admin Reader] map[ctry:SE] true", "Ada Lindqvist [Admin Reader] map[ctry:SE] true",
			"Ada Byron [Reader] map[ctry:UK] false", "Ada Byron [] map[] false",
		}
		if !slices.Equal(seen, want) {
			t.Errorf("seen %q, want %q", seen, want)
		}
	}, func(c *msauth.Config) { c.Claims = []string{"ctry"} })
}
