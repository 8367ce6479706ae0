package credential_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"example.com/msauth/internal/credential"
)

const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmF0dXJlLXRoYXQtbXVzdC1ub3QtYmUtc2Vlbg"

// What a function of the app says shows no token.
func TestFunctionThatShowsItsToken(t *testing.T) {
	t.Parallel()
	for name, get := range map[string]func(context.Context, string) (string, error){
		"error": func(context.Context, string) (string, error) {
			return "", errors.New("GET http://x/?t=" + jwt + ": refused")
		},
		"panic": func(context.Context, string) (string, error) { panic("bad token " + jwt) },
	} {
		c, _ := credential.NewAsked(get, "F")
		s := newSite(t, "B", credential.Fixed(c), fixed("B")[0])
		s.request(name, "B")
		if told := strings.Join(s.told, "\n"); strings.Contains(told, jwt[30:60]) {
			t.Errorf("%s: %s", name, told)
		}
	}
}

// A token in place of the path of its file is not shown either.
func TestTokenInPlaceOfAPath(t *testing.T) {
	t.Parallel()
	if _, err := credential.TokenFile(jwt); err == nil || strings.Contains(err.Error(), "eyJ") {
		t.Error(err)
	}
}
