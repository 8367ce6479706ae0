package msauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
)

// A TokenStore keeps one entry of tokens for each of the app's own users, so
// that the app can act for users while they are away. Set it as
// [Config.Tokens]. Module example.com/msauth/tokenstore has an implementation on
// database/sql.
//
// Methods are called from many goroutines, and from many processes for the same
// entries. Each call has at most 10 seconds. The user argument is the name
// returned by [Middleware.StoredUser]: a prefix of 24 bytes that distinguishes
// app registrations, then the app's own user, of at most 255 bytes.
type TokenStore interface {
	// Load returns the entry of a user, or [ErrNoTokens] if there is none.
	Load(ctx context.Context, user string) (StoredTokens, error)

	// Save replaces the entry of a user by t, including t.Version, if the
	// version of the entry is old, or if old is 0 and there is no entry.
	// Otherwise it changes nothing and returns [ErrConflict].
	//
	// Unless t.Shared is set, Save changes nothing and returns
	// [ErrAccountTaken] if the entry of another user has the same Account and
	// is not shared either. The test for a conflict comes first.
	//
	// Save is atomic and durable: it stores all of t or nothing. After any
	// other error, it may have done either.
	Save(ctx context.Context, user string, old int64, t StoredTokens) error

	// Delete removes the entry of a user. It is not an error if there is none.
	Delete(ctx context.Context, user string) error
}

// StoredTokens is the entry of one user in a [TokenStore].
type StoredTokens struct {
	// Version is a random number greater than 0, chosen by the caller of Save.
	// No version is ever reused, not even after Delete.
	Version int64
	// Sealed contains the tokens and the account they belong to, encrypted with
	// [Config.Keys] for this user: usually about 3 KB, at most 64 KB.
	Sealed []byte
	// Account identifies the Microsoft account; see
	// [Middleware.StoredAccount].
	Account string
	// Shared is set if other users may have the same account.
	Shared bool
	// SignInRequired is set if Microsoft has refused the tokens: the user must
	// sign in again.
	SignInRequired bool
	// Lease is the time until which one process may renew the tokens, at most
	// 2 minutes ahead, or zero if none is doing so. Stores keep it to the
	// millisecond or better.
	Lease time.Time
}

var (
	// ErrNoTokens means that no tokens are stored for a user.
	ErrNoTokens = errors.New("msauth: nothing is kept for this user")
	// ErrConflict means that a user's entry has changed since it was loaded.
	ErrConflict = errors.New("msauth: the entry has changed in the meantime")
	// ErrAccountTaken means that the Microsoft account is connected to another
	// user.
	ErrAccountTaken = errors.New("msauth: the Microsoft account is connected to another user")
)

// Offline returns a session with the tokens that [Config.Tokens] keeps for one
// of the app's own users, for work without a request of theirs. user is the
// value of [SignIn.UserKey] at sign-in. The methods of the session, such as
// Client, Token and TokenSource, work like those of a request's session. It
// does not end by itself.
//
// The error matches
//
//   - [ErrNoTokens] if nothing is stored for the user,
//   - [ErrSignInRequired] if Microsoft has refused the stored tokens, or no key
//     opens them; methods of the session return it too, if this happens later.
//     Tell the user, and do not try again until they have signed in,
//   - an [AuthError] of [ClassNotAllowed] if [Config.AllowedTenants] no longer
//     includes the account's tenant.
//
// Any other error comes from the store.
func (m *Middleware) Offline(ctx context.Context, user string) (*Session, error) {
	if m.vault == nil {
		return nil, errors.New("msauth: Offline needs Config.Tokens")
	}
	if err := renew.CheckUserKey(user); err != nil {
		return nil, err
	}
	m.keyFiles.tick(time.Now())
	e, err := m.vault.Load(ctx, user)
	switch {
	case errors.Is(err, renew.ErrUnreadable):
		err = &provider.Failure{Class: provider.SignIn, Err: err}
	case err != nil:
	case e.SignInRequired:
		err = e.RefusedBefore()
	case !m.admits(&e.Rec.User):
		err = &provider.Failure{Class: provider.NotAllowed, Err: provider.ErrNotAdmitted}
	}
	if err != nil {
		return nil, public(err)
	}
	return new(heldSession).of(m, e.Rec, nil), nil
}

// StoredUser returns the name under which [Config.Tokens] keeps the entry of one
// of the app's own users. It begins with a prefix for the app registration, so
// that several apps can share a store. To get the user for [Middleware.Offline]
// from the name of an entry, remove the prefix, StoredUser("").
//
// Earlier versions stored entries under the bare name of the user; a
// registration that can open such an entry still uses it.
func (m *Middleware) StoredUser(user string) string { return m.registration.Prefix() + user }

// StoredAccount returns the value of [StoredTokens].Account for an account,
// given its [User.Key].
func (m *Middleware) StoredAccount(key string) string { return m.registration.Prefix() + key }

// Disconnect deletes the stored tokens of one of the app's own users. The user's
// sessions in browsers, and any copies of the access token, stop working when
// the access token expires, after about an hour.
//
// Microsoft offers no way to revoke the refresh tokens of a single app. The user
// can withdraw consent (https://myapps.microsoft.com for work accounts,
// https://account.live.com/consent/Manage for personal accounts), and an
// administrator can revoke all sessions of a user.
//
// An entry that an earlier version stored under the bare name of the user is
// kept if no key opens it, because it may belong to another app.
func (m *Middleware) Disconnect(ctx context.Context, user string) error {
	if m.vault == nil {
		return errors.New("msauth: Disconnect needs Config.Tokens")
	}
	if err := renew.CheckUserKey(user); err != nil {
		return err
	}
	if err := m.vault.Delete(ctx, user); err != nil {
		return public(err)
	}
	m.renewals.ForgetStored(user)
	return nil
}

// Reseal encrypts the stored tokens of a user with the first of [Config.Keys],
// unless they already are. Once that is done for all users, the old keys can be
// dropped. The error matches [ErrNoTokens] if nothing is stored for the user;
// any other error comes from the store, or says that the first key is not known
// because [Config.KeyFiles] cannot be used as they are now.
func (m *Middleware) Reseal(ctx context.Context, user string) error {
	if m.vault == nil {
		return errors.New("msauth: Reseal needs Config.Tokens")
	}
	if err := renew.CheckUserKey(user); err != nil {
		return err
	}
	if m.keyFiles != nil {
		if err := m.keyFiles.look(); err != nil { // the first key may be another by now
			return fieldError("KeyFiles", "cannot be used: %v", err)
		}
	}
	return public(m.vault.Reseal(ctx, user))
}

// storeTimeout bounds each call of a TokenStore's methods.
const storeTimeout = 10 * time.Second

// appTokens adapts a [TokenStore] to the vault: it adds a timeout to each call,
// turns a panic into an error, and makes errors name Config.Tokens.
type appTokens struct{ store TokenStore }

func (s appTokens) Load(ctx context.Context, user string) (t renew.StoredTokens, err error) {
	err = s.call(ctx, func(ctx context.Context) error {
		loaded, err := s.store.Load(ctx, user)
		if err == nil && loaded.Version <= 0 {
			err = fmt.Errorf("Load returned an entry of version %d", loaded.Version)
		}
		t = renew.StoredTokens(loaded)
		return err
	})
	return t, err
}

func (s appTokens) Save(ctx context.Context, user string, old int64, t renew.StoredTokens) error {
	return s.call(ctx, func(ctx context.Context) error { return s.store.Save(ctx, user, old, StoredTokens(t)) })
}

func (s appTokens) Delete(ctx context.Context, user string) error {
	return s.call(ctx, func(ctx context.Context) error { return s.store.Delete(ctx, user) })
}

func (s appTokens) call(ctx context.Context, f func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrNoTokens):
			err = renew.ErrNoTokens
		case errors.Is(err, ErrConflict):
			err = storeError{err, renew.ErrConflict}
		case errors.Is(err, ErrAccountTaken):
			err = storeError{err, renew.ErrAccountTaken}
		default:
			err = storeError{err, nil}
		}
	}()
	return f(ctx)
}

// A storeError is an error of the app's store, with the error of package renew
// that it stands for, if any.
type storeError struct{ err, kind error }

func (e storeError) Error() string { return "msauth: Config.Tokens: " + e.err.Error() }

func (e storeError) Unwrap() []error {
	if e.kind == nil {
		return []error{e.err}
	}
	return []error{e.err, e.kind}
}
