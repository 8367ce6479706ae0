package provider

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// The forms of challenges that Microsoft Graph and Azure Resource Manager were seen
// to send.
func TestFormsOfClaimsChallenges(t *testing.T) {
	t.Parallel()
	const claims = `{"access_token":{"nbf":{"essential":true,"value":"1702882382"}}}`
	const encoded = "eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNzAyODgyMzgyIn19fQ=="
	const graph = `authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`
	for _, test := range []struct {
		name, line string
		want       bool
	}{
		{"Graph", `Bearer realm="", ` + graph + `, error="insufficient_claims", claims="` + encoded + `"`, true},
		{"Graph, PoP first", `PoP realm="", ` + graph + `, nonce="AAAA", Bearer realm="", ` + graph +
			`, error_description="Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp", error="insufficient_claims", claims="` + encoded + `"`, true},
		{"Graph, authorization_uri without quotes", `Bearer realm="", authorization_uri=https://login.microsoftonline.com/common/oauth2/authorize, client_id="00000003-0000-0000-c000-000000000000", error="insufficient_claims", claims="` + encoded + `", errorDescription="x"`, true},
		{"without quotes and with a query", `Bearer realm="", authorization_uri=https://login.microsoftonline.com/common/oauth2/authorize?a=b&c=(d), error="insufficient_claims", claims="` + encoded + `"`, true},
		{"without quotes, parted by white space", `Bearer authorization_uri=https://login.windows.net/?x=1 error="insufficient_claims" claims=` + encoded, true},
		{"Graph, without a client", `Bearer realm="", authorization_uri="https://x.example", error="insufficient_claims", claims="` + encoded + `"`, true},
		{"Resource Manager", `Bearer authorization_uri="https://login.windows.net/", error="invalid_token", error_description="User session has been revoked", claims="` + encoded + `"`, true},
		{"Negotiate first", `Negotiate YII=, Bearer error="invalid_token", claims="` + encoded + `"`, true},

		{"invalid_token alone", `Bearer authorization_uri="https://login.windows.net/", error="invalid_token", error_description="The access token is invalid."`, false},
		{"another error", `Bearer error="insufficient_scope", claims="` + encoded + `"`, false},
		{"claims without an error", `Bearer claims="` + encoded + `"`, false},
		{"PoP alone", `PoP error="insufficient_claims", claims="` + encoded + `"`, false},
		{"claims of no JSON", `Bearer error="invalid_token", claims="e30x"`, false},
	} {
		want := ""
		if test.want {
			want = claims
		}
		if got := ChallengeIn(http.Header{"Www-Authenticate": {test.line}}); got != want {
			t.Errorf("%s: %q, want %q", test.name, got, want)
		}
		if got := ChallengeIn(http.Header{"Www-Authenticate": {`Basic realm="x"`, test.line}}); got != want {
			t.Errorf("%s, in a second line: %q, want %q", test.name, got, want)
		}
	}
}

// Whatever an API's header is, ChallengeIn returns a short claims request or nothing,
// and it can be merged with the capability.
func FuzzWWWAuthenticate(f *testing.F) {
	claims := base64.StdEncoding.EncodeToString([]byte(`{"access_token":{"nbf":{"essential":true,"value":"1"},"xms_cc":null},"x":1}`))
	f.Add(`Bearer realm="", authorization_uri="https://x/y", error="insufficient_claims", claims="`+claims+`"`, "")
	f.Add(`Negotiate YII==, Bearer error=insufficient_claims,claims=`+strings.TrimRight(claims, "="), `Basic realm="\"a, b\\"`)
	f.Add("Bearer ,,==\"", "\x00")
	f.Fuzz(func(t *testing.T, one, two string) {
		got := ChallengeIn(http.Header{"Www-Authenticate": {one, two}})
		if got == "" {
			return
		}
		if _, ok := readMembers([]byte(got)); !ok || len(got) > MaxChallenge {
			t.Fatalf("%d bytes: %q", len(got), got)
		}
		if again := CheckChallenge(got); again != got {
			t.Errorf("%q becomes %q", got, again)
		}
		merged := MergeClaims(got, Capability)
		if !AsksFor(merged, "xms_cc") || len(merged) > maxClaims {
			t.Errorf("merged: %q", merged)
		}
		if (Requirement{Claims: got}).Digest() == (RequirementDigest{}) {
			t.Errorf("no digest of %q", got)
		}
	})
}

func TestCheckChallenge(t *testing.T) {
	t.Parallel()
	longest := `{"x":"` + strings.Repeat("x", MaxChallenge-len(`{"x":""}`)) + `"}`
	for _, test := range []struct{ name, text, want string }{
		{"without white space", "{ \"id_token\" :\n{} }", `{"id_token":{}}`},
		{"the longest", longest, longest},
		{"too long", strings.Replace(longest, "x", "xx", 1), ""},
		{"white space does not count", longest + strings.Repeat(" ", 100), longest},
		{"a list", `[]`, ""},
		{"null", `null`, ""},
		{"half", `{"id_token":`, ""},
		{"two", `{}{}`, ""},
		{"nothing", ``, ""},
	} {
		if got := CheckChallenge(test.text); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
