package renew

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
)

// jwt is a token that nobody has signed.
func jwt(payload string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"1"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2lnbmF0dXJl"
}

// What becomes of tokens whose ID token cannot be verified, because the provider's
// keys cannot be read or because it is none.
func TestIDTokensOfRenewals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		idToken string
		class   provider.Class // of the error, "" for none
		newest  string         // refresh token that is known afterwards
	}{
		{"keys unavailable", jwt(`{"iss":"` + issuer + `","sub":"ada","aud":"app"}`), "", "R1"},
		{"another person", jwt(`{"iss":"` + issuer + `","sub":"bob","aud":"app"}`), provider.SignIn, "R0"},
		{"another app", jwt(`{"iss":"` + issuer + `","sub":"ada","aud":"other"}`), provider.SignIn, "R0"},
		{"not a JWT", "nonsense", provider.Retry, "R1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := &fakeProvider{reply: func(n int, _ url.Values) (int, string) {
				return 200, tokens(n, fmt.Sprintf(`,"id_token":%q`, test.idToken))
			}}
			r, _ := fixture(p, nil)
			rec := expired("ada", "R0")
			_, err := r.Renew(t.Context(), renewal(rec))
			if _, _, newest := r.Own(rec); classOf(err) != test.class || string(newest) != test.newest {
				t.Errorf("%v, the newest refresh token is %q", err, string(newest))
			}
			if n, _ := r.Pending(rec); n.Deliver != (test.class == provider.Retry) {
				t.Errorf("%+v: a refresh token that came with unusable tokens must be delivered", n)
			}
		})
	}
}

// Where there was an access token, a renewal brings one.
func TestARenewalWithoutAccessTokenIsNoUse(t *testing.T) {
	t.Parallel()
	p := &fakeProvider{reply: func(int, url.Values) (int, string) {
		return 200, fmt.Sprintf(`{"token_type":"Bearer","id_token":%q,"refresh_token":"R1"}`, jwt(`{"iss":"`+issuer+`","sub":"ada","aud":"app"}`))
	}}
	for _, had := range []bool{true, false} {
		r, _ := fixture(p, nil)
		rec := expired("ada", "R0")
		if !had {
			rec.Access = ""
		}
		want := renewal(rec)
		want.Due = func(g *provider.TokenSet) bool { return g.Refresh == "R0" }
		if _, err := r.Renew(t.Context(), want); (err != nil) != had {
			t.Errorf("had an access token: %t, error %v", had, err)
		}
	}
}

// At Microsoft every request names its scopes, with those of a sign-in: a token is
// for one API, and without profile the ID token does not name the person. Other
// providers give one token for all scopes, and a renewal names none.
func TestScopesThatRequestsName(t *testing.T) {
	t.Parallel()
	scopes := []string{"User.Read", "Mail.Read"}
	tests := []struct {
		name          string
		kind          provider.Kind
		granted       string // at sign-in
		wanted        TokenRequest
		reply         string // the scopes that it names
		asked, scopes string // that the request names, and of the tokens
	}{
		{"Microsoft, renewal", provider.Entra, "User.Read Mail.Read", TokenRequest{}, "User.Read Mail.Read",
			"openid profile email offline_access Mail.Read User.Read", "User.Read Mail.Read"},
		{"Microsoft, other scopes", provider.Entra, "User.Read", TokenRequest{Scopes: "api://x/read"}, "",
			"openid profile offline_access api://x/read", "api://x/read"},
		{"another provider, renewal", provider.OtherProvider, "User.Read", TokenRequest{}, "User.Read", "", "User.Read"},
		{"another provider, other scopes", provider.OtherProvider, "User.Read", TokenRequest{Scopes: "x"}, "x y",
			"openid profile offline_access x", "x y"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := &fakeProvider{reply: func(n int, _ url.Values) (int, string) {
				return 200, tokens(n, fmt.Sprintf(`,"scope":%q`, test.reply))
			}}
			r, _ := fixture(p, func(s *Settings) {
				s.Rules, s.Scopes = provider.NewScopes(test.kind, "https://login.microsoftonline.com", scopes), scopes
			})
			want := renewal(expired("ada", "R0"))
			want.Rec.Scopes, want.Wanted = test.granted, test.wanted
			g, err := r.Renew(t.Context(), want)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.forms[0].Get("scope"); got != test.asked || g.Scopes != test.scopes {
				t.Errorf("asked for %q, want %q; got %q, want %q", got, test.asked, g.Scopes, test.scopes)
			}
		})
	}
}

// Requests end by themselves: the provider has 15 seconds.
func TestARequestEndsByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, told := fixture(silent{}, nil)
		began := time.Now()
		_, err := r.Renew(t.Context(), renewal(expired("ada", "R0")))
		if classOf(err) != provider.Retry || time.Since(began) != provider.TokenTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if got := told.take(); !slices.Equal(got, []string{"failed expired false: retry"}) {
			t.Errorf("told %q", got)
		}
	})
}

// silent never answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}
