package provider

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// Any API's header gives a short claims request or nothing, and what is made of
// it for Microsoft is one that declares the capability.
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
