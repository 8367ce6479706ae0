package contender

import (
	"encoding/gob"
	"errors"
	"net/http"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"example.com/msauth/bench/fixture"
)

func init() {
	gob.Register(map[string]any{})
	gob.Register(time.Time{})
}

// NewGorilla is gorilla/sessions with its CookieStore: gob, encrypted, and the
// limit on the length lifted.
func NewGorilla(a *fixture.Account) (*Contender, error) {
	const name = "session"
	store := newCookieStore()
	session := newState(a)
	// New, not Get: that keeps the session for the next reader of the request.
	c := fromState("gorilla/sessions CookieStore, gob", func(r *http.Request) (*state, error) {
		got, err := store.New(r, name)
		if err != nil {
			return nil, err
		}
		var s state
		s.Claims, _ = got.Values["claims"].(map[string]any)
		s.Access, _ = got.Values["access_token"].(string)
		s.Refresh, _ = got.Values["refresh_token"].(string)
		s.Expiry, _ = got.Values["expiry"].(time.Time)
		if !s.current() {
			return nil, errors.New("expired")
		}
		return &s, nil
	})
	c.Save = func(w http.ResponseWriter, r *http.Request) error {
		s := sessions.NewSession(store, name)
		options := *store.Options
		s.Options = &options
		s.Values["claims"] = session.Claims
		s.Values["access_token"] = session.Access
		s.Values["refresh_token"] = session.Refresh
		s.Values["expiry"] = session.Expiry
		return store.Save(r, w, s)
	}
	return c, c.save(a, c.Request())
}

func newCookieStore() *sessions.CookieStore {
	store := sessions.NewCookieStore(securecookie.GenerateRandomKey(64), securecookie.GenerateRandomKey(32))
	for _, codec := range store.Codecs {
		codec.(*securecookie.SecureCookie).MaxLength(0)
	}
	store.Options = &sessions.Options{Path: "/", MaxAge: 604800, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	return store
}

// NewSecureCookie is gorilla/securecookie with its JSON encoder.
func NewSecureCookie(a *fixture.Account) (*Contender, error) {
	const name = "session"
	codec := securecookie.New(securecookie.GenerateRandomKey(64), securecookie.GenerateRandomKey(32))
	codec.SetSerializer(securecookie.JSONEncoder{})
	codec.MaxLength(0)
	session := newState(a)
	c := fromState("gorilla/securecookie, JSON", func(r *http.Request) (*state, error) {
		cookie, err := r.Cookie(name)
		if err != nil {
			return nil, err
		}
		var s state
		if err := codec.Decode(name, cookie.Value, &s); err != nil {
			return nil, err
		}
		if !s.current() {
			return nil, errors.New("expired")
		}
		return &s, nil
	})
	c.Save = func(w http.ResponseWriter, _ *http.Request) error {
		text, err := codec.Encode(name, session)
		if err != nil {
			return err
		}
		http.SetCookie(w, &http.Cookie{
			Name: name, Value: text, Path: "/", MaxAge: 604800,
			Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		})
		return nil
	}
	return c, c.save(a, c.Request())
}
