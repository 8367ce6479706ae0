package signin_test

import (
	"encoding/json"
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

func TestIDToken(t *testing.T) {
	t.Parallel()
	const origin = "http://localhost:9"
	in := func(d time.Duration) func(any) any { return func(any) any { return time.Now().Add(d).Unix() } }
	text := func(f func(string) string) func(any) any { return func(v any) any { return f(v.(string)) } }
	suffix := func(s string) func(any) any { return text(func(v string) string { return v + s }) }
	with := func(also ...string) func(any) any {
		return func(v any) any { return append([]string{v.(string)}, also...) }
	}
	sign := func(how msauthtest.Signing) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) { b.Signing = how }
	}
	keys := func(f func(key map[string]any)) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			b.KeySet = func(keys []map[string]any) []map[string]any {
				for _, key := range keys {
					f(key)
				}
				return keys
			}
		}
	}
	var self string // replaced by the client id
	const issuer, alg, signed = "issued by a different provider", "signature algorithm", "signed by no key that the provider publishes"
	tests := []struct {
		name   string
		behave func(*msauthtest.Behavior)
		want   string // reason to refuse; "" for accepted
	}{
		{"as it should be", func(*msauthtest.Behavior) {}, ""},

		{"iss of another host", testsite.Claim("iss", "https://evil.example/"+msauthtest.TenantContoso+"/v2.0"), issuer},
		{"iss with a slash", testsite.Claim("iss", suffix("/")), issuer},
		{"iss on https", testsite.Claim("iss", text(func(s string) string { return strings.Replace(s, "http:", "https:", 1) })), issuer},
		{"iss in upper case", testsite.Claim("iss", text(strings.ToUpper)), issuer},
		{"iss of the old version", testsite.Claim("iss", "https://sts.windows.net/"+msauthtest.TenantContoso+"/"), issuer},
		{"iss of another tenant", testsite.Claim("iss", origin+"/"+msauthtest.TenantFabrikam+"/v2.0"), issuer},
		{"iss is the template", testsite.Claim("iss", origin+"/{tenantid}/v2.0"), issuer},
		{"iss missing", testsite.Drop("iss"), issuer},
		{"iss is a list", testsite.Claim("iss", []string{origin}), "failed to unmarshal claims"},
		{"tid of another tenant", testsite.Claim("tid", msauthtest.TenantFabrikam), issuer},
		{"tid missing", testsite.Drop("tid"), "tid is not a tenant id"},
		{"tid is a domain", testsite.Claim("tid", "contoso.example"), "tid is not a tenant id"},
		{"tid is a number", testsite.Claim("tid", 7), "tid is not a tenant id"},
		{"tid and iss are the template", testsite.Claims(map[string]any{"tid": "{tenantid}", "iss": origin + "/{tenantid}/v2.0"}), "tid is not a tenant id"},
		{"tid in upper case", testsite.Claim("tid", text(strings.ToUpper)), ""},

		{"aud of another app", testsite.Claim("aud", "0c4d6a9d-0000-4000-8000-000000000000"), "expected audience"},
		{"aud missing", testsite.Drop("aud"), "expected audience"},
		{"aud empty", testsite.Claim("aud", ""), "expected audience"},
		{"aud an empty list", testsite.Claim("aud", []string{}), "expected audience"},
		{"aud a number", testsite.Claim("aud", 1), "failed to unmarshal claims"},
		{"aud a list of one", testsite.Claim("aud", with()), ""},
		{"aud a list of two", testsite.Claim("aud", with("other")), "azp is not this app"},
		{"aud a list of two, azp us", testsite.Claims(map[string]any{"aud": with("other"), "azp": &self}), ""},
		{"aud a list of two, azp the other", testsite.Claims(map[string]any{"aud": with("other"), "azp": "other"}), "azp is not this app"},
		{"azp another app", testsite.Claim("azp", "other"), "azp is not this app"},
		{"azp us", testsite.Claim("azp", &self), ""},

		{"sub missing", testsite.Drop("sub"), "sub is missing"},
		{"sub empty", testsite.Claim("sub", ""), "sub is missing"},
		{"sub a number", testsite.Claim("sub", 7), "failed to unmarshal claims"},
		{"oid missing", testsite.Drop("oid"), "oid is missing"},
		{"oid not a GUID", testsite.Claim("oid", "ada"), "oid is missing"},
		{"oid a list", testsite.Claim("oid", []string{"x"}), "oid is missing"},

		{"nonce of another attempt", testsite.Claim("nonce", suffix("x")), "nonce is missing or of another attempt"},
		{"nonce missing", testsite.Drop("nonce"), "nonce is missing or of another attempt"},
		{"nonce empty", testsite.Claim("nonce", ""), "nonce is missing or of another attempt"},
		{"nonce a number", testsite.Claim("nonce", 0), ""},
		{"nonce a list", testsite.Claim("nonce", []string{""}), ""},

		{"expired", testsite.Claim("exp", in(-61*time.Second)), "expired 1m"},
		{"expired within the leeway", testsite.Claim("exp", in(-50*time.Second)), ""},
		{"exp missing", testsite.Drop("exp"), "exp is missing"},
		{"exp a text", testsite.Claim("exp", "tomorrow"), "failed to unmarshal claims"},
		{"exp beyond all time", testsite.Claim("exp", 1e300), "exp is missing"},
		{"iat missing", testsite.Drop("iat"), "iat is missing"},
		{"iat null", testsite.Claim("iat", json.RawMessage("null")), "failed to unmarshal claims"},
		{"iat a week ago", testsite.Claim("iat", in(-7*24*time.Hour)), "issued 168h0m"},
		{"iat over an hour ago", testsite.Claim("iat", in(-61*time.Minute)), "issued 1h1m"},
		{"iat under an hour ago", testsite.Claim("iat", in(-59*time.Minute)), ""},
		{"iat far ahead", testsite.Claim("iat", in(6*time.Minute)), "in the future"},
		{"iat a little ahead", testsite.Claim("iat", in(4*time.Minute)), ""},
		{"nbf far ahead", testsite.Claim("nbf", in(time.Hour)), "not valid for another"},
		{"nbf a little ahead", testsite.Claim("nbf", in(4*time.Minute)), ""},
		{"nbf missing", testsite.Drop("nbf"), ""},
		{"nbf a text", testsite.Claim("nbf", "now"), "failed to unmarshal claims"},
		{"times with fractions", testsite.Claims(map[string]any{"iat": float64(time.Now().Unix()) + 0.5, "exp": float64(time.Now().Unix()) + 3600.25}), ""},

		{"at_hash wrong", testsite.Claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "at_hash does not fit"},
		{"at_hash empty", testsite.Claim("at_hash", ""), "at_hash does not fit"},
		{"at_hash absent", testsite.Drop("at_hash"), ""},

		{"alg none", sign(msauthtest.SignNone), alg},
		{"alg HS256 with the client secret", sign(msauthtest.SignHS256Secret), alg},
		{"alg HS256 with the public key", sign(msauthtest.SignHS256Public), alg},
		{"alg PS256", sign(msauthtest.SignPS256), alg},
		{"alg ES256 with a published key", sign(msauthtest.SignES256), alg},
		{"key that is not published under a known id", sign(msauthtest.SignUnknownKey), signed},
		{"key that is not published", sign(msauthtest.SignUnpublished), signed},
		{"key of the other class of accounts", sign(msauthtest.SignOtherClass), signed},
		{"good signature under an unknown id", sign(msauthtest.SignWrongKeyID), signed},
		{"good signature without an id, two keys", sign(msauthtest.SignWithoutKeyID), ""},
		{"one bit of the signature changed", sign(msauthtest.SignFlippedBit), signed},
		{"signature cut short", sign(msauthtest.SignTruncated), signed},
		{"keys for encryption", keys(func(key map[string]any) { key["use"] = "enc" }), "none that can be used"},
		{"keys of another algorithm", keys(func(key map[string]any) { key["alg"] = "RS512" }), signed},
		{"keys of another issuer", keys(func(key map[string]any) { key["issuer"] = origin + "/" + msauthtest.TenantFabrikam + "/v2.0" }), signed},
		{"keys of another cloud", keys(func(key map[string]any) { key["issuer"] = "https://evil.example/{tenantid}/v2.0" }), signed},
		{"keys without an issuer", keys(func(key map[string]any) { delete(key, "issuer") }), ""},
		{"keys without a certificate", keys(func(key map[string]any) { delete(key, "x5c") }), ""},
		{"keys with a broken certificate", keys(func(key map[string]any) { key["x5c"] = []string{"AAAA"} }), ""},
		{"keys of unknown kinds beside", func(b *msauthtest.Behavior) {
			b.KeySet = func(keys []map[string]any) []map[string]any {
				return append([]map[string]any{{"kty": "PQ", "kid": "1"}, {"kty": "oct", "k": "c2VjcmV0", "kid": "2"}, {}, {"kty": "RSA", "n": "AQ", "e": 7}}, keys...)
			}
		}, ""},

		{"overage of an odd shape", testsite.Claim("_claim_names", []string{"groups"}), "failed to unmarshal claims"},
		{"not a JWT", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["id_token"] = "a.b.c" }
		}, "not a JWT"},
		{"encrypted", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["id_token"] = "e30.e30.e30.e30.e30" }
		}, "not a JWT"},
		{"an access token in its place", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["id_token"] = reply["access_token"] }
		}, issuer},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t)
			s.As(msauthtest.Ada)
			s.MS.Set(test.behave)
			s.MS.Set(func(b *msauthtest.Behavior) {
				if change := b.IDToken; change != nil {
					b.IDToken = func(kind msauthtest.Kind, c map[string]any) {
						change(kind, c)
						if c["azp"] == &self {
							c["azp"] = s.MS.ClientID
						}
					}
				}
			})
			b := s.Browser(t)
			res := b.Get("/page")
			s.WantCalls(t, msauthtest.TokenCode, 1)
			switch {
			case test.want == "" && strings.HasPrefix(test.name, "nonce a "):
				if res.StatusCode != 400 || res.Kind() != "start-again" || len(s.Log.With("nonce")) == 0 {
					t.Errorf("status %d, page %q, want a refusal that names the nonce; log:\n%s", res.StatusCode, res.Kind(), s.Log)
				}
			case test.want == "":
				if res.Text != testsite.HelloAda {
					t.Errorf("page %q, want %q; log:\n%s", res.Text, testsite.HelloAda, s.Log)
				}
			case test.want == "none that can be used":
				b.WantRefused(res, 503, "unavailable", test.want)
			default:
				b.WantRefused(res, 400, "start-again", test.want)
				b.WantGreeting(testsite.HelloNobody)
			}
		})
	}
}

func TestNewSigningKeysAreFetchedOnceAndNotForEveryForgery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		early := s.Browser(t)
		early.SignIn(msauthtest.Ada)
		s.MS.RollKeys()
		s.Browser(t).SignIn(msauthtest.Bruno)
		s.WantCalls(t, msauthtest.Keys, 2)
		early.WantGreeting(testsite.HelloAda)

		s.As(msauthtest.Ada)
		s.MS.Set(func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignWrongKeyID })
		for range 3 { // within 5 minutes of the last time
			if res := s.Browser(t).Get("/"); res.Kind() != "start-again" {
				t.Errorf("page %q, want a refusal", res.Kind())
			}
		}
		s.WantCalls(t, msauthtest.Keys, 2)
		time.Sleep(5 * time.Minute)
		s.Browser(t).Get("/")
		s.Browser(t).Get("/")
		s.WantCalls(t, msauthtest.Keys, 3)
	})
}

func TestSigningKeysOutliveAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.Browser(t).SignIn(msauthtest.Ada)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.Keys] = msauthtest.Failure{Status: 500}
			b.FailAlways[msauthtest.Discovery] = msauthtest.Failure{Hang: true}
		})
		for _, wait := range []time.Duration{time.Hour, 12 * time.Hour, 24 * time.Hour} {
			time.Sleep(wait)
			s.Browser(t).SignIn(msauthtest.Bruno)
		}
		s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
		time.Sleep(24 * time.Hour)
		s.MS.ResetCalls()
		s.Browser(t).SignIn(msauthtest.Bruno)
		s.WantCalls(t, msauthtest.Keys, 1)
		s.WantCalls(t, msauthtest.Discovery, 1)
	})
}

func TestClaimsOfAnyShapeReachTheApp(t *testing.T) {
	t.Parallel()
	sources := map[string]any{"src1": map[string]string{"endpoint": "https://graph.example/getMemberObjects"}}
	many := slices.Repeat([]string{"0b4c1a52-0000-4000-8000-00000000000f"}, 20)
	tests := []struct {
		name   string
		claims map[string]any
		want   func(u *msauth.User) // changes what is seen as a rule
	}{
		{"as usual", nil, func(u *msauth.User) {}},
		{"names in other scripts", map[string]any{"name": "Ὀδυσσεύς 🚢 <b>\x00\u202e"}, func(u *msauth.User) { u.Name = "Ὀδυσσεύς 🚢 <b>\x00\u202e" }},
		{"name missing", map[string]any{"name": nil}, func(u *msauth.User) { u.Name = "" }},
		{"name a number", map[string]any{"name": 7}, func(u *msauth.User) { u.Name = "" }},
		{"name null", map[string]any{"name": json.RawMessage("null")}, func(u *msauth.User) { u.Name = "" }},
		{"email missing", map[string]any{"email": nil}, func(u *msauth.User) { u.Email, u.EmailVerified = "", false }},
		{"email empty", map[string]any{"email": ""}, func(u *msauth.User) { u.Email, u.EmailVerified = "", false }},
		{"email a list", map[string]any{"email": []string{"a@b"}}, func(u *msauth.User) { u.Email, u.EmailVerified = "", false }},
		{"email not verified", map[string]any{"xms_edov": nil}, func(u *msauth.User) { u.EmailVerified = false }},
		{"email verified, as a number", map[string]any{"xms_edov": 1}, func(u *msauth.User) {}},
		{"email verified, as a text", map[string]any{"xms_edov": "1"}, func(u *msauth.User) {}},
		{"email not verified, as a text", map[string]any{"xms_edov": "0"}, func(u *msauth.User) { u.EmailVerified = false }},
		{"email verified by the standard's claim only", map[string]any{"xms_edov": nil, "email_verified": true}, func(u *msauth.User) { u.EmailVerified = false }},
		{"roles", map[string]any{"roles": []string{"Admin", "Reader"}}, func(u *msauth.User) { u.Roles = []string{"Admin", "Reader"} }},
		{"roles as a text", map[string]any{"roles": "Admin"}, func(u *msauth.User) { u.Roles = []string{"Admin"} }},
		{"roles of mixed kinds", map[string]any{"roles": []any{1, nil, "Reader", []string{"Admin"}, ""}}, func(u *msauth.User) { u.Roles = []string{"Reader"} }},
		{"roles an object", map[string]any{"roles": map[string]string{"Admin": "1"}}, func(u *msauth.User) {}},
		{"groups", map[string]any{"groups": many}, func(u *msauth.User) { u.Groups = many }},
		{"groups that are no GUIDs", map[string]any{"groups": []string{"CONTOSO\\all", "A0B4C1A5-0000-4000-8000-00000000000F"}}, func(u *msauth.User) {
			u.Groups = []string{"CONTOSO\\all", "A0B4C1A5-0000-4000-8000-00000000000F"}
		}},
		{"too many groups", map[string]any{"_claim_names": map[string]string{"groups": "src1"}, "_claim_sources": sources}, func(u *msauth.User) { u.GroupsOverage = true }},
		{"too many groups, the other mark", map[string]any{"hasgroups": true}, func(u *msauth.User) { u.GroupsOverage = true }},
		{"overage of something else", map[string]any{"_claim_names": map[string]string{"roles": "src1"}, "_claim_sources": sources}, func(u *msauth.User) {}},
		{"sid and login_hint of odd shapes", map[string]any{"sid": 1, "login_hint": []string{"x"}, "auth_time": "yesterday"}, func(u *msauth.User) {}},
		{"claims that the app keeps", map[string]any{"ipaddr": "203.0.113.1", "nested": map[string]any{"a": []any{1.5, nil, true}}, "dropped": 1}, func(u *msauth.User) {
			u.Claims = map[string]any{"ipaddr": "203.0.113.1", "nested": map[string]any{"a": []any{1.5, nil, true}}}
		}},
		{"object id in upper case", map[string]any{"oid": "8342B3FE-9359-4C66-8314-5BA888DA8409"}, func(u *msauth.User) {}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Claims = []string{"ipaddr", "nested"} })
			s.As(msauthtest.Ada)
			s.MS.Set(testsite.Claims(test.claims))
			got := s.Browser(t).User()
			want := msauth.User{
				Issuer: "http://localhost:9/" + msauthtest.TenantContoso + "/v2.0", Subject: got.Subject,
				TenantID: msauthtest.TenantContoso, ObjectID: "8342b3fe-9359-4c66-8314-5ba888da8409",
				Name: "Ada Lindqvist", Username: msauthtest.Ada, Email: msauthtest.Ada, EmailVerified: true,
			}
			test.want(&want)
			g, _ := json.Marshal(got)
			w, _ := json.Marshal(want)
			if string(g) != string(w) || got.Subject == "" {
				t.Errorf("user %s\nwant %s", g, w)
			}
			if want := msauthtest.TenantContoso + ".8342b3fe-9359-4c66-8314-5ba888da8409"; got.Key() != want {
				t.Errorf("Key %q, want %q", got.Key(), want)
			}
		})
	}
}

func TestKeyTellsTenantsApart(t *testing.T) {
	t.Parallel()
	same := map[string]any{"sub": "same", "email": "same@example.com", "preferred_username": "same@example.com"}
	s := testsite.NewInProcess(t)
	s.MS.Set(testsite.Claims(same))
	keys := map[string]bool{}
	for _, person := range []string{msauthtest.Ada, msauthtest.Bruno, msauthtest.Mia} {
		b := s.Browser(t)
		b.SignIn(person)
		s.Mux.Handle("/"+person[:3], s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session, _ := msauth.FromContext(r.Context())
			keys[session.User.Key()] = true
			if session.User.Personal() != (person == msauthtest.Mia) {
				t.Errorf("Personal of %s is %v", person, session.User.Personal())
			}
		})))
		b.Get("/" + person[:3])
	}
	if len(keys) != 3 {
		t.Errorf("keys %v, want three", keys)
	}
}
