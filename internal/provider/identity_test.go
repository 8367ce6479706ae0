package provider

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// No two people have the same key, and keys that apps have stored keep their form.
func TestPersonAtB2CAndExternalID(t *testing.T) {
	t.Parallel()
	const otherDirectory = "40a0cffe-4fc9-448b-9790-232954984f24"
	providers := map[string]struct {
		make   func(*testing.T) (*Authority, *published)
		issuer string
	}{
		"B2C": {b2cProvider, b2cIssuer}, "External ID": {ciamProvider, ciamIssuer},
		"Entra": {entraProvider, entraBase}, "another": {plainProvider, otherBase},
	}
	for _, test := range []struct {
		name, provider string
		claims         []any
		want           string // the key, or the beginning of an error
		tenant         string
	}{
		{"as user flows send it", "B2C", []any{"sub", testPerson, "oid", testPerson}, b2cIssuer + "#" + testPerson, ""},
		{"without oid", "B2C", []any{"sub", testPerson}, b2cIssuer + "#" + testPerson, ""},
		{"sub is a sentence", "B2C", []any{"sub", sharedText, "oid", strings.ToUpper(testPerson)}, testDirectory + "." + testPerson, testDirectory},
		{"sub is another sentence", "B2C", []any{"sub", "see oid", "oid", testPerson}, testDirectory + "." + testPerson, testDirectory},
		{"sub is a sentence, no oid", "B2C", []any{"sub", sharedText}, `msauth: ID token: sub is a text that everybody has`, ""},
		{"sub is a sentence, oid is none", "B2C", []any{"sub", sharedText, "oid", "Not supported currently."}, `add the application claim "User's Object ID"`, ""},
		{"sub is a sentence, oid is a list", "B2C", []any{"sub", sharedText, "oid", []string{testPerson}}, `add the application claim "User's Object ID"`, ""},
		{"sub with another space", "B2C", []any{"sub", "see\u00a0oid"}, `add the application claim "User's Object ID"`, ""},
		{"sub is a sentence, with tid", "B2C", []any{"sub", sharedText, "tid", otherDirectory}, `add the application claim "User's Object ID"`, ""},
		{"with tid", "B2C", []any{"sub", testPerson, "oid", testPerson, "tid", otherDirectory}, otherDirectory + "." + testPerson, otherDirectory},

		{"as it is sent", "External ID", []any{"oid", testPerson, "tid", testDirectory}, testDirectory + "." + testPerson, testDirectory},
		{"tid in capitals", "External ID", []any{"oid", testPerson, "tid", strings.ToUpper(testDirectory)}, testDirectory + "." + testPerson, testDirectory},
		{"without tid", "External ID", []any{"oid", testPerson}, testDirectory + "." + testPerson, testDirectory},
		{"without tid and oid", "External ID", nil, ciamIssuer + "#AAAA", ""},
		{"tid of another tenant", "External ID", []any{"oid", testPerson, "tid", otherDirectory}, "and not by " + ciamIssuer, ""},
		{"tid is empty", "External ID", []any{"oid", testPerson, "tid", ""}, "and not by " + ciamIssuer, ""},
		{"tid is a number", "External ID", []any{"oid", testPerson, "tid", 7}, "and not by " + ciamIssuer, ""},
		{"sub is a sentence, no oid", "External ID", []any{"sub", sharedText}, `add the application claim "User's Object ID"`, ""},

		{"as it is sent", "Entra", []any{"oid", testPerson, "tid", testDirectory}, testDirectory + "." + testPerson, testDirectory},
		{"oid is no GUID", "Entra", []any{"oid", "x", "tid", testDirectory}, "oid is missing", ""},

		{"as it is sent", "another", nil, otherBase + "#AAAA", ""},
		{"tid and oid mean nothing", "another", []any{"oid", testPerson, "tid", testDirectory}, otherBase + "#AAAA", ""},
		{"a sub with a space", "another", []any{"sub", "cn=Ada Lindqvist,dc=example"}, otherBase + "#cn=Ada Lindqvist,dc=example", ""},
		{"B2C's sentence behind a proxy", "another", []any{"sub", sharedText, "oid", testPerson}, "sub is a text that everybody has", ""},
	} {
		t.Run(test.provider+" "+test.name, func(t *testing.T) {
			t.Parallel()
			p := providers[test.provider]
			a, _ := p.make(t)
			id, err := a.verified(signJWT(0, headerOf("one"), with(someClaims(p.issuer), test.claims...)))
			if err != nil {
				wantFault(t, err, test.want)
				return
			}
			if got := id.User.Key(); got != test.want || id.User.TenantID != test.tenant {
				t.Errorf("key %q in tenant %q, want %q in %q", got, id.User.TenantID, test.want, test.tenant)
			}
		})
	}
}

// A person has the same key at a custom domain and at the default one.
func TestPersonBehindACustomDomain(t *testing.T) {
	t.Parallel()
	const custom = "https://login.fabrikam.example"
	issuer := custom + "/" + testDirectory + "/v2.0/"
	a, _ := testProvider(t, custom+"/b2c/v2.0", issuer, issuerIs(custom+"/b2c/v2.0", issuer))
	id, err := a.verified(signJWT(0, headerOf("one"), with(someClaims(issuer), "sub", sharedText, "oid", testPerson)))
	if err != nil || id.User.Key() != testDirectory+"."+testPerson {
		t.Errorf("B2C: %v, %v", id, err)
	}
	a, _ = testProvider(t, custom+"/ciam/v2.0", ciamIssuer, issuerIs(custom+"/ciam/v2.0", ciamIssuer))
	id, err = a.verified(signJWT(0, headerOf("one"), with(someClaims(ciamIssuer), "tid", testDirectory, "oid", testPerson)))
	if err != nil || id.User.Key() != testDirectory+"."+testPerson {
		t.Errorf("External ID: %v, %v", id, err)
	}
}

// Other providers name people by other claims.
func TestNamesByOtherClaims(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, claims          string
		username, email       string
		verified, atMicrosoft bool
	}{
		{"Microsoft's", `{"preferred_username":"p","upn":"u","unique_name":"n","email":"e","emails":["x"]}`, "p", "e", false, true},
		{"AD FS", `{"upn":"u","unique_name":"n"}`, "u", "", false, false},
		{"older AD FS", `{"unique_name":"n"}`, "n", "", false, false},
		{"other types", `{"preferred_username":["p"],"upn":7,"unique_name":"n","email":{},"emails":[7,null,"x","y"]}`, "n", "x", false, true},
		{"B2C's", `{"emails":["x","y"]}`, "", "x", false, true},
		{"B2C's with marks", `{"emails":["x"],"xms_edov":true,"email_verified":true}`, "", "x", false, true},
		{"elsewhere with marks", `{"emails":["x"],"email_verified":true}`, "", "x", false, false},
		{"with a mark", `{"email":"e","emails":["x"],"xms_edov":true}`, "", "e", true, true},
		{"with a mark elsewhere", `{"email":"e","email_verified":true}`, "", "e", true, false},
		{"one in place of a list", `{"emails":"x"}`, "", "x", false, true},
	} {
		var c claims
		if err := json.Unmarshal([]byte(test.claims), &c); err != nil {
			t.Fatal(err)
		}
		a := &Authority{}
		if test.atMicrosoft {
			a.Kind = b2c
		}
		u := a.identity(c, "https://issuer.example.com").User
		if u.Username != test.username || u.Email != test.email || u.EmailVerified != test.verified {
			t.Errorf("%s: %q, %q, verified %t", test.name, u.Username, u.Email, u.EmailVerified)
		}
	}
}

// Whatever claims an ID token has, they are read: a claim of another type than
// expected counts as absent.
func FuzzIDTokenClaims(f *testing.F) {
	a := NewAuthority(Settings{Origin: "https://login.microsoftonline.com", Kind: Entra, Tenant: "common", Claims: []string{"upn", "x"}})
	f.Add(`{"sub":"a","name":1,"roles":"one","groups":[1,"x",null],"_claim_names":{"groups":"src1"}}`)
	f.Add(`{"_claim_names":"x","exp":1e300,"iat":"x","x":{"y":[1]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var c claims
		if json.Unmarshal([]byte(text), &c) != nil {
			return
		}
		checkTimes(c, time.Now())
		id := a.identity(c, "https://issuer.example.com")
		if id.User.Issuer != "https://issuer.example.com" || slices.Contains(id.User.Roles, "") || slices.Contains(id.User.Groups, "") {
			t.Errorf("%q: read as %#v", text, id.User)
		}
		var kept map[string]any
		if id.Extra != "" && (json.Unmarshal([]byte(id.Extra), &kept) != nil || !reflect.DeepEqual(kept, id.User.Claims)) {
			t.Errorf("%q: kept %q, read %#v", text, id.Extra, id.User.Claims)
		}
	})
}
