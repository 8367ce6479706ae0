package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// ID tokens of renewals.
func TestRenewedTokenWithLaterAuthTimeOrOtherNonce(t *testing.T) {
	t.Parallel()
	a, _ := plainProvider(t)
	claims := with(someClaims(otherBase), "auth_time", 1_000_000)
	first, err := a.verified(signJWT(0, headerOf("one"), claims))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		key     int
		changes []any
		want    string
	}{
		{"the same", 0, nil, ""},
		{"without a nonce", 0, []any{"nonce", nil}, ""},
		{"without auth_time", 0, []any{"auth_time", nil}, ""},
		{"a later auth_time", 0, []any{"auth_time", 1_000_001}, ""},
		{"an earlier auth_time", 0, []any{"auth_time", 999_999}, "auth_time is earlier"},
		{"another nonce", 0, []any{"nonce", "m"}, ErrOtherNonce.Error()},
		{"another nonce, under another key", 1, []any{"nonce", "m"}, "failed to verify signature"},
		{"another person", 0, []any{"sub", "BBBB"}, ErrAnotherPerson.Error()},
	} {
		id, err := a.Verify(t.Context(), signJWT(test.key, headerOf("one"), with(claims, test.changes...)), IDTokenCheck{
			NonceFits: func(nonce string, present bool) bool { return !present || nonce == "n" }, Person: &first.User, AuthTime: first.AuthTime,
		})
		switch {
		case test.want != "":
			wantFault(t, err, test.want)
			if errors.Is(err, ErrOtherNonce) != (test.want == ErrOtherNonce.Error()) {
				t.Errorf("%s: %v", test.name, err)
			}
		case err != nil || id.User.Subject != "AAAA":
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := a.verified(signJWT(0, headerOf("one"), with(claims, "nonce", "m"))); err == nil || errors.Is(err, ErrOtherNonce) {
		t.Errorf("at sign-in: %v", err)
	}
}

func TestAudiencesAreNamedInTheError(t *testing.T) {
	t.Parallel()
	a, _ := plainProvider(t)
	many := []string{testClient}
	for i := range 20 {
		many = append(many, fmt.Sprintf("app-%d", i))
	}
	for _, test := range []struct {
		name    string
		changes []any
		want    string
	}{
		{"one in a list", []any{"aud", []string{testClient}}, ""},
		{"two, and azp", []any{"aud", []string{"other", testClient}, "azp", testClient}, ""},
		{"azp is null", []any{"azp", json.RawMessage("null")}, ""},
		{"two without azp", []any{"aud", []string{"other\n\u202eapp", testClient}}, `aud names several: "other app", "` + testClient + `"`},
		{"many", []any{"aud", many}, `"app-3", 16 more`},
		{"another azp", []any{"azp", "other"}, `azp is not this app but "other"`},
		{"azp is a number", []any{"azp", 7}, `azp is not this app but 7`},
		{"a long one", []any{"aud", []string{strings.Repeat("x", 9999), testClient}}, `xxx..."`},
	} {
		_, err := a.verified(signJWT(0, headerOf("one"), with(someClaims(otherBase), test.changes...)))
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if wantFault(t, err, test.want); err != nil && len(err.Error()) > 700 {
			t.Errorf("%s: an error of %d bytes", test.name, len(err.Error()))
		}
	}
}
