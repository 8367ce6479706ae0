package msauth

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"
)

// Whatever claims an ID token has, they are read: what is not of the expected
// type is absent.
func FuzzIDTokenClaims(f *testing.F) {
	a := newAuthority(providerSettings{origin: "https://login.microsoftonline.com", kind: entra, tenant: "common", claims: []string{"upn", "x"}})
	f.Add(`{"sub":"a","name":1,"roles":"one","groups":[1,"x",null],"_claim_names":{"groups":"src1"}}`)
	f.Add(`{"_claim_names":"x","exp":1e300,"iat":"x","x":{"y":[1]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var c claims
		if json.Unmarshal([]byte(text), &c) != nil {
			return
		}
		checkTimes(c, time.Now())
		id := a.identity(c, "https://issuer.example.com")
		if id.user.Issuer != "https://issuer.example.com" || slices.Contains(id.user.Roles, "") || slices.Contains(id.user.Groups, "") {
			t.Errorf("%q: read as %#v", text, id.user)
		}
		var kept map[string]any
		if id.extra != "" && (json.Unmarshal([]byte(id.extra), &kept) != nil || !reflect.DeepEqual(kept, id.user.Claims)) {
			t.Errorf("%q: kept %q, read %#v", text, id.extra, id.user.Claims)
		}
	})
}
