package provider

import (
	"testing"
	"time"
)

func TestDigestOfRequirements(t *testing.T) {
	t.Parallel()
	base := Requirement{Scopes: []string{"a", "b"}, Claims: `{"access_token":{"nbf":{"value":"1"},"acrs":{"value":"c1"}}}`, MaxAge: time.Minute}
	for _, test := range []struct {
		name        string
		requirement Requirement
		same        bool
	}{
		{"itself", base, true},
		{"a later nbf", Requirement{Scopes: base.Scopes, Claims: `{"access_token":{"nbf":{"value":"2"},"acrs":{"value":"c1"}}}`, MaxAge: base.MaxAge}, true},
		{"another order of members", Requirement{Scopes: base.Scopes, Claims: `{"access_token":{"acrs":{"value":"c1"},"nbf":{"value":"1"}}}`, MaxAge: base.MaxAge}, true},
		{"another maximum age", Requirement{Scopes: base.Scopes, Claims: base.Claims, MaxAge: time.Hour}, true},
		{"no maximum age", Requirement{Scopes: base.Scopes, Claims: base.Claims}, false},
		{"no nbf", Requirement{Scopes: base.Scopes, Claims: `{"access_token":{"acrs":{"value":"c1"}}}`, MaxAge: base.MaxAge}, false},
		{"another context", Requirement{Scopes: base.Scopes, Claims: `{"access_token":{"nbf":{"value":"1"},"acrs":{"value":"c2"}}}`, MaxAge: base.MaxAge}, false},
		{"of another token", Requirement{Scopes: base.Scopes, Claims: `{"id_token":{"nbf":{"value":"1"},"acrs":{"value":"c1"}}}`, MaxAge: base.MaxAge}, false},
		{"fewer scopes", Requirement{Scopes: []string{"a"}, Claims: base.Claims, MaxAge: base.MaxAge}, false},
		{"scopes in one", Requirement{Scopes: []string{"a b"}, Claims: base.Claims, MaxAge: base.MaxAge}, false},
		{"again", Requirement{Scopes: base.Scopes, Claims: base.Claims, MaxAge: base.MaxAge, Again: true}, false},
		{"empty", Requirement{}, false},
	} {
		digest := test.requirement.Digest()
		if same := digest == base.Digest(); same != test.same {
			t.Errorf("%s: the same %t, want %t", test.name, same, test.same)
		}
		if none := digest == (RequirementDigest{}); none != test.requirement.Empty() {
			t.Errorf("%s: the zero digest %t", test.name, none)
		}
	}
}
