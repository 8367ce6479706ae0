package contender

import (
	"errors"
	"net/http"
	"time"

	"github.com/markbates/goth/gothic"
	"github.com/markbates/goth/providers/azureadv2"

	"example.com/msauth/bench/fixture"
)

// NewGoth is markbates/goth with gothic and its azureadv2 provider, on
// gorilla's CookieStore with the limit on the length lifted. Its session keeps
// tokens and no claims: who somebody is it asks Microsoft. The name that is
// read here stands in for that answer and costs nothing.
func NewGoth(a *fixture.Account) (*Contender, error) {
	gothic.Store = newCookieStore()
	provider := azureadv2.New(a.ClientID, "secret", "https://app.example.com/auth/callback", azureadv2.ProviderOptions{})
	begun, err := provider.BeginAuth("state-of-this-sign-in-0123456789abcdefgh")
	if err != nil {
		return nil, err
	}
	session := begun.(*azureadv2.Session)
	session.AccessToken, session.RefreshToken, session.ExpiresAt = a.Access, a.Refresh, time.Now().Add(time.Hour)
	token := func(r *http.Request) (string, error) {
		text, err := gothic.GetFromSession(provider.Name(), r)
		if err != nil {
			return "", err
		}
		got, err := provider.UnmarshalSession(text)
		if err != nil {
			return "", err
		}
		s := got.(*azureadv2.Session)
		if !time.Now().Before(s.ExpiresAt) {
			return "", errors.New("expired")
		}
		return s.AccessToken, nil
	}
	identity := func(r *http.Request) (string, error) {
		if _, err := token(r); err != nil {
			return "", err
		}
		return a.Name, nil
	}
	c := &Contender{Name: "markbates/goth gothic, azureadv2", Token: token, Identity: identity, Protect: protect(identity), Close: func() {}}
	c.Save = func(w http.ResponseWriter, r *http.Request) error {
		return gothic.StoreInSession(provider.Name(), session.Marshal(), r, w)
	}
	return c, c.save(a, c.Request())
}
