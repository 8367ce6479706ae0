package testsite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/msauth"
)

// Tokens is a TokenStore in memory that fails as Set says. Entries are by the name
// that the app registration makes of a user, and Saves counts those that went well.
type Tokens struct {
	mu      sync.Mutex
	Entries map[string]msauth.StoredTokens
	fail    func(method string) error
	Saves   int
}

// NewTokens makes a store that is empty and does not fail.
func NewTokens() *Tokens { return &Tokens{Entries: map[string]msauth.StoredTokens{}} }

var _ msauth.TokenStore = (*Tokens)(nil)

func (s *Tokens) failing(method string) error {
	if s.fail == nil {
		return nil
	}
	return s.fail(method)
}

// Load returns the entry of a user, as [msauth.TokenStore] has it.
func (s *Tokens) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.failing("load")); err != nil {
		return msauth.StoredTokens{}, err
	}
	t, ok := s.Entries[user]
	if !ok {
		return t, fmt.Errorf("in memory: %w", msauth.ErrNoTokens)
	}
	t.Sealed = bytes.Clone(t.Sealed)
	return t, nil
}

// Save replaces the entry of a user, as [msauth.TokenStore] has it.
func (s *Tokens) Save(ctx context.Context, user string, old int64, t msauth.StoredTokens) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.failing("save")); err != nil {
		return err
	}
	user, t.Account = s.place(user, t.Account)
	if s.Entries[user].Version != old {
		return msauth.ErrConflict
	}
	for other, e := range s.Entries {
		if other != user && e.Account == t.Account && !e.Shared && !t.Shared {
			return msauth.ErrAccountTaken
		}
	}
	t.Sealed = bytes.Clone(t.Sealed)
	s.Entries[user] = t
	s.Saves++
	return nil
}

// Delete removes the entry of a user, as [msauth.TokenStore] has it.
func (s *Tokens) Delete(ctx context.Context, user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.failing("delete")); err != nil {
		return err
	}
	user, _ = s.place(user, "")
	delete(s.Entries, user)
	return nil
}

// place lets tests name an entry by the app's own user.
func (s *Tokens) place(user, account string) (string, string) {
	for name := range s.Entries {
		if name != user && WithoutRegistration(name) == user {
			return name, strings.TrimSuffix(name, user) + WithoutRegistration(account)
		}
	}
	return user, account
}

// Set changes how the store fails: before each call, fail is asked with "load",
// "save" or "delete", and an error of its is that of the call.
func (s *Tokens) Set(fail func(method string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// Users are the app's own, without the registration before them.
func (s *Tokens) Users() (users []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.Entries {
		users = append(users, WithoutRegistration(name))
	}
	slices.Sort(users)
	return users
}

// Entry is that of one of the app's own users, with the account's own key.
func (s *Tokens) Entry(user string) msauth.StoredTokens {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, e := range s.Entries {
		if WithoutRegistration(name) == user {
			e.Account = WithoutRegistration(e.Account)
			return e
		}
	}
	return msauth.StoredTokens{}
}

// WithoutRegistration is the app's own user, or the account's own key, in a name that
// has the app registration before it.
func WithoutRegistration(name string) string {
	if rest, ok := strings.CutPrefix(name, "msauth:"); ok {
		_, name, _ = strings.Cut(rest, ":")
	}
	return name
}

// OfItsOwn makes an app with users and a login of its own: whoever sends the
// cookie app=NAME is NAME.
func OfItsOwn(kept *Tokens) func(*msauth.Config) {
	return func(c *msauth.Config) {
		c.Tokens = kept
		c.User = func(r *http.Request) string {
			if c, err := r.Cookie("app"); err == nil {
				return c.Value
			}
			return ""
		}
	}
}

// Account makes a site of such an app.
func Account(t *testing.T, changes ...func(*msauth.Config)) (*Site, *Tokens) {
	t.Helper()
	kept := NewTokens()
	s := New(t, append([]func(*msauth.Config){OfItsOwn(kept)}, changes...)...)
	s.Mux.Handle("/connect", s.Auth.Connect("/public/settings"))
	return s, kept
}
