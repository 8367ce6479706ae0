package msauth

import (
	"context"
	"errors"

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
