package provider

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestContextsOfClaims(t *testing.T) {
	t.Parallel()
	for _, contexts := range [][]string{nil, {"c1"}, {"c1", "c99"}} {
		if got := ContextsIn(ContextClaims(contexts)); !slices.Equal(got, contexts) {
			t.Errorf("%q become %q", contexts, got)
		}
	}
	var many []string
	for i := range maxContexts + 5 {
		many = append(many, fmt.Sprint("c", i+1))
	}
	for _, test := range []struct {
		name, claims string
		want         []string
	}{
		{"of the access token", `{"access_token":{"acrs":{"value":"c1"}}}`, nil},
		{"malformed ids", `{"id_token":{"acrs":{"values":["c0","c100","C1","c1 ","c7"],"value":"x"}}}`, []string{"c7"}},
		{"another type", `{"id_token":{"acrs":["c1"]}}`, nil},
		{"no JSON", `c1`, nil},
		{"too many", ContextClaims(many), many[:maxContexts]},
	} {
		if got := ContextsIn(test.claims); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestMergeClaims(t *testing.T) {
	t.Parallel()
	long := `{"id_token":{"x":"` + strings.Repeat("x", maxClaims) + `"}}`
	for _, test := range []struct{ name, a, b, want string }{
		{"nothing", "", "", ""},
		{"the first alone", `{"a":{}}`, "", `{"a":{}}`},
		{"the second alone", "", `{"a":{}}`, `{"a":{}}`},
		{"what is no object is left out", `[1]`, `null`, ""},
		{"of two tokens", `{"id_token":{"x":null}}`, Capability, `{"access_token":{"xms_cc":{"values":["cp1"]}},"id_token":{"x":null}}`},
		{"of one token", `{"access_token":{"nbf":{"value":"1"}}}`, Capability, `{"access_token":{"nbf":{"value":"1"},"xms_cc":{"values":["cp1"]}}}`},
		{"the second wins", `{"a":{"x":1,"y":1}}`, `{"a":{"x":2}}`, `{"a":{"x":2,"y":1}}`},
		{"a part that is no object", `{"a":1}`, `{"a":{"x":2}}`, `{"a":{"x":2}}`},
		{"too long", `{"a":{}}`, long, `{"a":{}}`},
	} {
		if got := MergeClaims(test.a, test.b); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestAsksFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		request string
		want    bool
	}{
		{`{"id_token":{"acrs":null}}`, true},
		{`{"x":1,"access_token":{"acrs":{"value":"c1"}}}`, true},
		{`{"acrs":{"value":"c1"}}`, false},
		{`{"id_token":{"x":{"acrs":1}}}`, false},
		{`{"id_token":"acrs"}`, false},
		{`acrs`, false},
		{``, false},
	} {
		if got := AsksFor(test.request, "acrs"); got != test.want {
			t.Errorf("%s: %t, want %t", test.request, got, test.want)
		}
	}
}
