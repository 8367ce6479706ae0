package renew

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
)

// replaceWait is how long a sign-in waits for a renewal of the account that it
// replaces.
const replaceWait = 20 * time.Second

// ErrOtherAccount means that a user who has connected one Microsoft account comes
// with another.
var ErrOtherAccount = errors.New("msauth: the user is connected to another Microsoft account")

var errHandedOver = errors.New("msauth: the tokens have just been given to Config.Tokens")

// KeepStored saves the tokens of a sign-in for the app's user, and returns the
// record that a session of theirs in a browser has, without the refresh token.
// replace allows another account in the place of the one that the user had, share
// an account that another user has. undo puts back what was there before.
func (r *Renewals) KeepStored(ctx context.Context, rec *session.Record, user string, replace, share bool) (browser *session.Record, undo func() error, err error) {
	if err := CheckUserKey(user); err != nil {
		return nil, nil, err
	}
	// Nobody may use the refresh token meanwhile, nor afterwards with what they
	// hold of the session: the app's hook may have begun to.
	var kept *session.Record
	for kept == nil {
		_, _, newest := r.Known(rec.Refresh)
		key := r.Key(newest)
		if newest == "" { // which nobody shares
			key = r.sessionKey(rec.ID)
		}
		// It may be another flight that ends: then once more.
		_, _, _ = r.flights.Do(string(key[:]), func() (any, error) {
			defer provider.RecoverInto(&err)
			if _, _, now := r.Known(rec.Refresh); now != newest {
				return &outcome{}, nil
			}
			kept = rec.MovedTo(newest)
			kept.UserKey, kept.Stored, kept.IDToken = user, true, ""
			undo, err = r.Vault.keep(ctx, kept, replace, share)
			if newest != "" {
				r.outcomes.refused.Remember(key, &provider.Failure{Class: provider.Retry, Err: errHandedOver}, outcomeGrace)
			}
			return &outcome{}, nil
		})
	}
	if err != nil {
		return nil, nil, err
	}
	r.ForgetStored(user)
	browser = kept.MovedTo("")
	browser.Stored, browser.IDToken = false, rec.IDToken
	return browser, undo, nil
}

// keep saves what a sign-in has brought, as KeepStored says.
func (v *Vault) keep(ctx context.Context, rec *session.Record, replace, share bool) (undo func() error, err error) {
	user := rec.UserKey
	waiting, cancel := context.WithTimeout(ctx, replaceWait)
	defer cancel()
	ctx = context.WithoutCancel(ctx) // half a sign-in helps nobody
	var wait leaseWait
	for attempt := 0; ; attempt++ {
		place, before, err := v.find(ctx, user)
		if err != nil && !errors.Is(err, ErrNoTokens) {
			return nil, err
		}
		same := before.Account == rec.User.Key()
		if err == nil && !same {
			if !replace {
				return nil, ErrOtherAccount
			}
			// undo may put these back: whoever renews them must be done by then.
			// Nobody waits for a lease that is over.
			if time.Until(before.Lease) > 0 {
				waited, err := wait.wait(waiting, before)
				if err != nil {
					return nil, fmt.Errorf("msauth: waiting for a renewal of the account to replace: %w", err)
				}
				if waited {
					attempt--
					continue
				}
			}
		}
		e := &Entry{StoredTokens: StoredTokens{Version: before.Version, Shared: share || before.Shared && same}, place: place, Rec: rec}
		err = v.save(ctx, user, e)
		if errors.Is(err, ErrConflict) && attempt < saveAttempts {
			continue
		}
		return func() error { return v.undo(ctx, user, before, e, same) }, err
	}
}

// undo puts an entry back in the place of what keep has saved. The same account's
// stays: its tokens are good, and those from before may be used up by now.
func (v *Vault) undo(ctx context.Context, user string, before StoredTokens, e *Entry, same bool) error {
	switch {
	case same:
		return nil
	case before.Version == 0:
		if _, now, err := v.find(ctx, user); err != nil || now.Version != e.Version {
			return err // somebody else's by now
		}
		return v.Delete(ctx, user)
	}
	if err := v.write(ctx, e.place, e.Version, &before); !errors.Is(err, ErrConflict) {
		return err
	}
	return nil
}
