package provider

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/seal"
)

// The ID token of a renewal is about the same person and the same sign-in, or a later
// one.
func TestIDTokenOfARenewal(t *testing.T) {
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
		{"another nonce, under another key", 1, []any{"nonce", "m"}, noKey},
		{"another person", 0, []any{"sub", "BBBB"}, ErrAnotherPerson.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			id, err := a.Verify(t.Context(), signJWT(test.key, headerOf("one"), with(claims, test.changes...)), IDTokenCheck{
				NonceFits: func(nonce string, present bool) bool { return !present || nonce == "n" }, Person: &first.User, AuthTime: first.AuthTime,
			})
			switch {
			case test.want != "":
				wantFault(t, err, test.want)
				if errors.Is(err, ErrOtherNonce) != (test.want == ErrOtherNonce.Error()) {
					t.Error(err)
				}
			case err != nil || id.User.Subject != "AAAA":
				t.Error(err)
			}
		})
	}
	_, err = a.verified(signJWT(0, headerOf("one"), with(claims, "nonce", "m")))
	if wantFault(t, err, "nonce is missing or of another attempt"); errors.Is(err, ErrOtherNonce) {
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
		t.Run(test.name, func(t *testing.T) {
			_, err := a.verified(signJWT(0, headerOf("one"), with(someClaims(otherBase), test.changes...)))
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if wantFault(t, err, test.want); err != nil && len(err.Error()) > 700 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// What makes a signed token invalid at sign-in.
func TestIDTokenAtSignIn(t *testing.T) {
	t.Parallel()
	const access = "an-access-token"
	half := sha256.Sum256([]byte(access))
	hash := seal.Base64url.EncodeToString(half[:16])
	type in time.Duration // a time that long from now
	for _, test := range []struct {
		name    string
		changes []any
		want    string // "" if it is accepted
	}{
		{"valid", nil, ""},
		{"another issuer", []any{"iss", "https://evil.example"}, "id token issued by a different provider"},
		{"another app", []any{"aud", "another"}, "expected audience"},
		{"no sub", []any{"sub", nil}, "sub is missing"},
		{"sub is a number", []any{"sub", 7}, "failed to unmarshal claims"},
		{"no nonce", []any{"nonce", nil}, "nonce is missing or of another attempt"},
		{"nonce is null", []any{"nonce", json.RawMessage("null")}, "nonce is missing or of another attempt"},
		{"another nonce", []any{"nonce", "m"}, "nonce is missing or of another attempt"},
		{"no exp", []any{"exp", nil}, "exp is missing"},
		{"no iat", []any{"iat", nil}, "iat is missing"},
		{"iat is null", []any{"iat", json.RawMessage("null")}, "failed to unmarshal claims"},
		{"nbf is null", []any{"nbf", json.RawMessage("null")}, "nbf is not a time"},
		{"no nbf", []any{"nbf", nil}, ""},
		{"just expired", []any{"exp", in(-50 * time.Second)}, ""},
		{"expired", []any{"exp", in(-2 * time.Minute)}, "expired 2m0s ago by the clock of this server"},
		{"issued soon", []any{"iat", in(4 * time.Minute)}, ""},
		{"issued in the future", []any{"iat", in(10 * time.Minute)}, "issued 10m0s in the future"},
		{"issued long ago", []any{"iat", in(-2 * time.Hour)}, "issued 2h0m0s ago"},
		{"valid soon", []any{"nbf", in(4 * time.Minute)}, ""},
		{"not valid yet", []any{"nbf", in(10 * time.Minute)}, "not valid for another 10m0s"},
		{"at_hash", []any{"at_hash", hash}, ""},
		{"at_hash of another token", []any{"at_hash", hash[1:] + "A"}, "at_hash does not fit the access token"},
		{"at_hash is empty", []any{"at_hash", ""}, "at_hash does not fit the access token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, _ := plainProvider(t)
				claims := with(someClaims(otherBase), test.changes...)
				for name, value := range claims {
					if d, ok := value.(in); ok {
						claims[name] = time.Now().Add(time.Duration(d)).Unix()
					}
				}
				id, err := a.Verify(t.Context(), signJWT(0, headerOf("one"), claims), IDTokenCheck{NonceFits: atSignIn, Access: access})
				switch {
				case test.want != "":
					if wantFault(t, err, test.want); id != nil {
						t.Errorf("%+v beside an error", id)
					}
				case err != nil || id.User.Key() != otherBase+"#AAAA":
					t.Errorf("%+v, %v", id, err)
				}
			})
		})
	}
}

// Only the algorithms that the provider announces, and none that is symmetric or
// missing.
func TestAlgorithmsOfIDTokens(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		make      func(*testing.T) (*Authority, *published)
		base      string
		announced any
		alg       string
		want      string // "" if it is accepted
	}{
		{"none is announced", plainProvider, otherBase, nil, "RS256", ""},
		{"RS256 among others", plainProvider, otherBase, []string{"HS256", "ES256", "RS256"}, "RS256", ""},
		{"RS256 is not announced", plainProvider, otherBase, []string{"ES256"}, "RS256", "unexpected signature algorithm"},
		{"only useless ones are announced", plainProvider, otherBase, []string{"none", "HS256"}, "RS256", ""},
		{"HS256", plainProvider, otherBase, []string{"HS256", "RS256"}, "HS256", "unexpected signature algorithm"},
		{"none", plainProvider, otherBase, []string{"none", "RS256"}, "none", "unexpected signature algorithm"},
		{"another key type", plainProvider, otherBase, []string{"ES256", "RS256"}, "ES256", noKey},
		{"Entra announces more", entraProvider, entraBase, []string{"RS256", "PS256"}, "PS256", "unexpected signature algorithm"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, web := test.make(t)
			where := test.base + "/.well-known/openid-configuration"
			web.set(where, with(web.pages[where].(map[string]any), "id_token_signing_alg_values_supported", test.announced))
			_, err := a.verified(signJWT(0, with(headerOf("one"), "alg", test.alg), with(someClaims(test.base), "tid", testDirectory, "oid", testPerson)))
			if test.want != "" {
				wantFault(t, err, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// A token that cannot be judged is not an invalid one.
func TestIDTokenWithoutKeysIsNotJudged(t *testing.T) {
	t.Parallel()
	for _, address := range []string{otherDiscovery, otherBase + "/keys"} {
		a, web := plainProvider(t)
		web.set(address, unavailable)
		_, err := a.verified(signJWT(0, headerOf("one"), someClaims(otherBase)))
		if _, ok := errors.AsType[KeysUnavailableError](err); !ok {
			t.Errorf("%s: %v is no KeysUnavailableError", address, err)
		}
		if failure, ok := errors.AsType[*Failure](err); !ok || failure.Class != Retry {
			t.Errorf("%s: %v, want class %q", address, err, Retry)
		}
	}
}
