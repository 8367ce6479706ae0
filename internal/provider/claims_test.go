package provider

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
