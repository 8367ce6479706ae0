package msauth

import (
	"context"
	"errors"
	"time"
)

// A TokenStore keeps what the app needs to act for people while they are away:
// one entry for each of the app's own users. Set it as [Config.Tokens]. Its
// methods are called from many goroutines, and from many processes on the same
// entries; each call has at most 10 seconds. user is what [Middleware.StoredUser]
// says: the app's own user, of at most 255 bytes, after the 24 of a prefix that
// tells the entries of several registrations apart. Module example.com/msauth/tokenstore has one on database/sql.
type TokenStore interface {
	// Load returns a user's entry, or [ErrNoTokens] if there is none.
	Load(ctx context.Context, user string) (StoredTokens, error)

	// Save puts t, t.Version included, in the place of the user's entry, if that
	// has the version old; 0 stands for no entry. In any other case it changes
	// nothing and returns [ErrConflict]. Else, unless t.Shared is set, it
	// returns [ErrAccountTaken] where another user's entry, that is not shared
	// either, has the same Account. It either keeps all of t, for good, or
	// nothing; after any other error it may have done the one or the other.
	Save(ctx context.Context, user string, old int64, t StoredTokens) error

	// Delete removes a user's entry. That there is none is no error.
	Delete(ctx context.Context, user string) error
}

// StoredTokens are the entry of one user in a [TokenStore].
type StoredTokens struct {
	// Version is greater than 0 and drawn at random by whoever saves: none comes
	// back, not even after Delete.
	Version int64
	// Sealed are the tokens and who they are of, encrypted with [Config.Keys]
	// for this user: usually about 3 KB, at most 64 KB.
	Sealed []byte
	// Account is the Microsoft account, as [Middleware.StoredAccount] says.
	Account string
	// Shared says that other users may have the same account.
	Shared bool
	// SignInRequired says that Microsoft has refused the tokens: the person must
	// sign in again.
	SignInRequired bool
	// Lease is until when somebody renews the tokens, at most 2 minutes; zero
	// for nobody. Stores keep it to the millisecond or better.
	Lease time.Time
}

var (
	// ErrNoTokens means that nothing is kept for a user.
	ErrNoTokens = errors.New("msauth: nothing is kept for this user")
	// ErrConflict means that a user's entry has changed since it was loaded.
	ErrConflict = errors.New("msauth: the entry has changed in the meantime")
	// ErrAccountTaken means that the Microsoft account is another user's.
	ErrAccountTaken = errors.New("msauth: the Microsoft account is connected to another user")
)
