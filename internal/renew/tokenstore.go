package renew

import (
	"context"
	"errors"
	"time"
)

// StoredTokens is one user's entry in a TokenStore. It has the fields of
// StoredTokens of package msauth, which explains them to apps.
type StoredTokens struct {
	Version        int64     // drawn at random by whoever saves; greater than 0, 0 only for no entry
	Sealed         []byte    // the record, encrypted for this user, 64 KB at most
	Account        string    // the key of the Microsoft account, in the store after Vault.Prefix
	Shared         bool      // other users may have the same account
	SignInRequired bool      // the tokens were refused: the person must sign in again
	Lease          time.Time // until when a process renews the tokens, zero if none does
}

// A TokenStore keeps entries, as TokenStore of package msauth explains. Its errors
// wrap ErrNoTokens, ErrConflict or ErrAccountTaken where they are of that kind.
type TokenStore interface {
	// Load returns a user's entry, or ErrNoTokens.
	Load(ctx context.Context, user string) (StoredTokens, error)
	// Save replaces the entry that has version old, 0 for none, by t. Otherwise it
	// changes nothing and returns ErrConflict, or ErrAccountTaken.
	Save(ctx context.Context, user string, old int64, t StoredTokens) error
	// Delete removes a user's entry, if there is one.
	Delete(ctx context.Context, user string) error
}

var (
	// ErrNoTokens means that nothing is kept for a user.
	ErrNoTokens = errors.New("msauth: nothing is kept for this user")
	// ErrConflict means that an entry has changed since it was loaded.
	ErrConflict = errors.New("msauth: the entry has changed in the meantime")
	// ErrAccountTaken means that the Microsoft account is another user's.
	ErrAccountTaken = errors.New("msauth: the Microsoft account is connected to another user")
)
