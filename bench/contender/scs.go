package contender

import (
	"context"
	"errors"
	"net/http"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"

	"example.com/msauth/bench/fixture"
)

// NewSCS is alexedwards/scs with its in-memory store: the cookie holds a
// number only, and every server keeps every session.
func NewSCS(a *fixture.Account) (*Contender, error) {
	return newSCS("alexedwards/scs, in memory", a, scs.New(), func() {})
}

// NewSCSRedis is alexedwards/scs with a Redis at the address.
func NewSCSRedis(a *fixture.Account, address string) (*Contender, error) {
	client := redis.NewClient(&redis.Options{Addr: address})
	manager := scs.New()
	manager.Store = goredisstore.New(client)
	return newSCS("alexedwards/scs, Redis on loopback", a, manager, func() { client.Close() })
}

func newSCS(name string, a *fixture.Account, manager *scs.SessionManager, close func()) (*Contender, error) {
	manager.Cookie.Secure = true
	session := newState(a)
	read := func(ctx context.Context) (*state, error) {
		var s state
		s.Claims, _ = manager.Get(ctx, "claims").(map[string]any)
		s.Access, s.Refresh = manager.GetString(ctx, "access_token"), manager.GetString(ctx, "refresh_token")
		s.Expiry = manager.GetTime(ctx, "expiry")
		if !s.current() {
			return nil, errors.New("expired")
		}
		return &s, nil
	}
	c := fromState(name, func(r *http.Request) (*state, error) {
		cookie, err := r.Cookie(manager.Cookie.Name)
		if err != nil {
			return nil, err
		}
		ctx, err := manager.Load(r.Context(), cookie.Value)
		if err != nil {
			return nil, err
		}
		return read(ctx)
	})
	c.Close = close
	c.Save = func(w http.ResponseWriter, r *http.Request) error {
		ctx, err := manager.Load(r.Context(), "")
		if err != nil {
			return err
		}
		manager.Put(ctx, "claims", session.Claims)
		manager.Put(ctx, "access_token", session.Access)
		manager.Put(ctx, "refresh_token", session.Refresh)
		manager.Put(ctx, "expiry", session.Expiry)
		token, expiry, err := manager.Commit(ctx)
		if err != nil {
			return err
		}
		manager.WriteSessionCookie(ctx, w, token, expiry)
		return nil
	}
	c.Protect = func(next http.Handler) http.Handler {
		return manager.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s, err := read(r.Context()); err != nil || s.name() == "" {
				http.Error(w, "sign in", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		}))
	}
	return c, c.save(a, c.Request())
}
