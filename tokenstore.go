package msauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
)

// Offline returns a session for one of the app's users whose tokens
// [Config.Tokens] keeps, whether they are there or not: for workers. Its methods
// work like those of a session of a request, with Client, Token and
// TokenSource; it does not end by itself. user is what [SignIn.UserKey] was.
//
// The error is [ErrNoTokens] when nothing is kept for the user,
// [ErrSignInRequired] when Microsoft has refused what is kept, or no key opens
// it, which the methods of the session return too, when it happens: tell the
// person, and leave the user alone until they have signed in. An [AuthError] of
// [ClassNotAllowed] is for accounts that [Config.AllowedTenants] no longer
// admits. Other errors are those of the store.
func (m *Middleware) Offline(ctx context.Context, user string) (*Session, error) {
	if m.vault == nil {
		return nil, errors.New("msauth: Offline needs Config.Tokens")
	}
	if err := renew.CheckUserKey(user); err != nil {
		return nil, err
	}
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

// StoredUser is the name under which [Config.Tokens] keeps the entry of one of
// the app's users: it begins with the registration, so that several apps can
// share one store. A store that lists its entries cuts StoredUser("") off to get
// the user for [Middleware.Offline]. Entries from earlier versions may be kept
// under the user alone; the registration that can open them uses them.
func (m *Middleware) StoredUser(user string) string { return m.registration.Prefix() + user }

// StoredAccount is what [StoredTokens].Account is for an account, given as
// [User.Key].
func (m *Middleware) StoredAccount(key string) string { return m.registration.Prefix() + key }

// Disconnect forgets the tokens of one of the app's users. Sessions of theirs in
// browsers end when their access token does, after an hour or so; so does what
// was copied of it. Microsoft offers no way to revoke one app's refresh tokens:
// the person can take back their consent (https://myapps.microsoft.com for work
// accounts, https://account.live.com/consent/Manage for personal ones), and an
// administrator can revoke all sessions of a person.
//
// An entry that was kept under the bare name of a user, before entries told apps
// apart, and that no key opens stays where it is: it may be another app's.
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

// Reseal seals what is kept for a user with the first of [Config.Keys], if that
// is not so: after it was done for all, an old key can be dropped. Errors are
// [ErrNoTokens] and those of the store.
func (m *Middleware) Reseal(ctx context.Context, user string) error {
	if m.vault == nil {
		return errors.New("msauth: Reseal needs Config.Tokens")
	}
	if err := renew.CheckUserKey(user); err != nil {
		return err
	}
	return public(m.vault.Reseal(ctx, user))
}

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

// storeTimeout bounds each call of a TokenStore's methods.
const storeTimeout = 10 * time.Second

// appTokens is the app's [TokenStore] as the vault uses it: calls are bounded, a
// panic is an error, and errors say where they come from.
type appTokens struct{ store TokenStore }

func (s appTokens) Load(ctx context.Context, user string) (t renew.StoredTokens, err error) {
	err = s.call(ctx, func(ctx context.Context) error {
		loaded, err := s.store.Load(ctx, user)
		if err == nil && loaded.Version <= 0 {
			err = fmt.Errorf("Load gave an entry of version %d", loaded.Version)
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

// A storeError is an error of the app's store, and which of the vault's it is.
type storeError struct{ err, kind error }

func (e storeError) Error() string { return "msauth: Config.Tokens: " + e.err.Error() }

func (e storeError) Unwrap() []error { return []error{e.err, e.kind} }
