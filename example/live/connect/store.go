package main

import (
	"context"
	"sync"

	"example.com/msauth"
)

// memory is a msauth.TokenStore that forgets everything when the program ends. It
// stands for the IRefreshTokenHandler of a site. Module tokenstore has one for SQLite
// and PostgreSQL.
type memory struct {
	mu      sync.Mutex
	entries map[string]msauth.StoredTokens // by the name of the user
}

var _ msauth.TokenStore = (*memory)(nil)

// Load is RetrieveRefreshTokenAsync, with a user.
func (m *memory) Load(_ context.Context, user string) (msauth.StoredTokens, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.entries[user]
	if !ok {
		return t, msauth.ErrNoTokens
	}
	return t, nil
}

// Save is SaveRefreshTokenAsync. It refuses what would undo the work of another
// process, and an account that somebody else has connected.
func (m *memory) Save(_ context.Context, user string, old int64, t msauth.StoredTokens) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries[user].Version != old {
		return msauth.ErrConflict
	}
	for other, e := range m.entries {
		if other != user && e.Account == t.Account && !e.Shared && !t.Shared {
			return msauth.ErrAccountTaken
		}
	}
	m.entries[user] = t
	return nil
}

// Delete has no counterpart in IRefreshTokenHandler.
func (m *memory) Delete(_ context.Context, user string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, user)
	return nil
}
