package renew

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

const (
	saveAttempts = 3
	savePause    = 100 * time.Millisecond // between them, more each time
	maxUserKey   = 255                    // bytes
	maxSealed    = 64 << 10               // bytes
	// replaceWait is how long a sign-in waits for a renewal of the account that
	// it replaces.
	replaceWait = 20 * time.Second
)

// StoredTokens is one user's entry in a keeper: see StoredTokens of the root package.
type StoredTokens struct {
	Version        int64
	Sealed         []byte
	Account        string
	Shared         bool
	SignInRequired bool
	Lease          time.Time
}

// A TokenStore keeps entries: see TokenStore of the root package. Its errors wrap
// errNothingKept, errChanged or errTaken where they are of that kind.
type TokenStore interface {
	Load(ctx context.Context, user string) (StoredTokens, error)
	Save(ctx context.Context, user string, old int64, t StoredTokens) error
	Delete(ctx context.Context, user string) error
}

var (
	ErrNoTokens     = errors.New("msauth: nothing is kept for this user")
	ErrConflict     = errors.New("msauth: the entry has changed in the meantime")
	ErrAccountTaken = errors.New("msauth: the Microsoft account is connected to another user")
)

// A Vault is a keeper as this package uses it. What an entry holds is
// sealed for its user: entries that change places are worth nothing.
type Vault struct {
	Store        TokenStore
	Keys         seal.Keys
	Registration session.Registration
	Layout       *session.Layout
	Prefix       string // of what is stored, so that other registrations have theirs
	Serves       bool   // the store itself finds the entries of before
}

// Entry are the entry of one user, opened. The record has the refresh
// token, which sessions in cookies of such users have not.
type Entry struct {
	StoredTokens        // Account as in account.key
	place        string // under which it is stored
	Rec          *session.Record
	resealt      bool // it was sealed with a key that no longer seals
}

// ErrUnreadable means that an entry cannot be opened: a key was dropped too early,
// or it is another app's.
var ErrUnreadable = errors.New("msauth: the stored tokens do not open with Config.Keys for this user")

func (v *Vault) additional(user string) []byte {
	return append(append([]byte("msauth stored tokens v1\x00"), v.Registration[:]...), user...)
}

// readAt returns what is stored under a name.
func (v *Vault) readAt(ctx context.Context, place string) (StoredTokens, error) {
	return v.Store.Load(ctx, place)
}

// open unseals a user's entry.
func (v *Vault) open(user string, e StoredTokens) (plain []byte, old bool, err error) {
	return v.Keys.Open(append([]byte(nil), e.Sealed...), v.additional(user))
}

// find returns a user's entry as it is stored, and where that is. Entries of
// before the registration was part of their names are stored for the user alone;
// they are those of the registration that opens them.
func (v *Vault) find(ctx context.Context, user string) (place string, e StoredTokens, err error) {
	own := v.Prefix + user
	for _, place := range [...]string{own, user} {
		if place != own && v.Serves {
			break
		}
		e, err := v.readAt(ctx, place)
		if err != nil && !errors.Is(err, ErrNoTokens) {
			return own, StoredTokens{}, err
		}
		account, ours := strings.CutPrefix(e.Account, v.Prefix)
		if err == nil && !ours {
			_, _, failed := v.open(user, e)
			ours = failed == nil
		}
		if err == nil && ours {
			e.Account = account
			return place, e, nil
		}
	}
	return own, StoredTokens{}, ErrNoTokens
}

// read is find where the place does not matter.
func (v *Vault) read(ctx context.Context, user string) (StoredTokens, error) {
	_, e, err := v.find(ctx, user)
	return e, err
}

// Load returns an entry, or errNothingKept.
func (v *Vault) Load(ctx context.Context, user string) (*Entry, error) {
	place, e, err := v.find(ctx, user)
	if err != nil {
		return nil, err
	}
	plain, old, err := v.open(user, e)
	if err != nil {
		return nil, ErrUnreadable
	}
	identity, tokens, err := session.SplitParts(plain)
	if err != nil {
		return nil, ErrUnreadable
	}
	rec, err := session.DecodeRecord(identity, v.Layout)
	if err != nil {
		return nil, ErrUnreadable
	}
	rec.Packed, rec.Stored = tokens, true
	if err := rec.Unpack(); err != nil || rec.UserKey != user {
		return nil, ErrUnreadable
	}
	return &Entry{StoredTokens: e, place: place, Rec: rec, resealt: old}, nil
}

// save puts an entry in the place of the one that it was made from, and leaves
// it as it is in the store.
func (v *Vault) save(ctx context.Context, user string, e *Entry) error {
	next := e.StoredTokens
	lean := e.Rec
	for {
		identity, tokens := lean.Encode()
		if next.Sealed = v.Keys.Seal(session.JoinParts(identity, tokens), v.additional(user)); len(next.Sealed) <= maxSealed {
			break
		}
		if lean == e.Rec {
			lean = e.Rec.Clone()
		}
		if lean.Shrink() == "" {
			return fmt.Errorf("%w: %d bytes for Config.Tokens, where %d may be used", session.ErrTooLarge, len(next.Sealed), maxSealed)
		}
	}
	next.Account = e.Rec.User.Key()
	if err := v.write(ctx, e.place, e.Version, &next); err != nil {
		return err
	}
	e.StoredTokens = next
	return nil
}

// write draws a version and saves. Where the store does not say whether it has,
// it is asked; so it is after a conflict, which may be one with this very save,
// done twice on the way.
func (v *Vault) write(ctx context.Context, place string, old int64, next *StoredTokens) error {
	for next.Version = old; next.Version == old || next.Version == 0; {
		next.Version = rand.Int64() // #nosec G404 -- tells saves apart, no secret
	}
	e := *next
	e.Account = v.Prefix + next.Account
	err := v.Store.Save(ctx, place, old, e)
	if err == nil || errors.Is(err, ErrAccountTaken) {
		return err
	}
	if now, loaded := v.readAt(context.WithoutCancel(ctx), place); loaded == nil && now.Version == next.Version {
		return nil
	}
	return err
}

// Delete removes an entry, and one of before that is under it.
func (v *Vault) Delete(ctx context.Context, user string) error {
	for try := range 3 {
		place, _, err := v.find(ctx, user)
		if errors.Is(err, ErrNoTokens) && (try > 0 || v.Serves) {
			return nil // the store has no entry that is ours
		}
		if err != nil && v.Serves {
			return err // Delete would take another app's where there is none of ours
		}
		deleted := v.Store.Delete(ctx, place)
		if err != nil || deleted != nil { // what cannot be read can be deleted all the same
			return deleted
		}
	}
	return nil
}

var (
	// ErrOtherAccount means that a user who has connected one Microsoft account
	// comes with another.
	ErrOtherAccount = errors.New("msauth: the user is connected to another Microsoft account")
	// ErrUserKey is a mistake of the app's.
	ErrUserKey = errors.New("msauth: this user key cannot be used")
)

// CheckUserKey checks a key of one of the app's users. The text of the error
// does not show it: it may be a name.
func CheckUserKey(user string) error {
	switch {
	case len(user) > maxUserKey:
		return fmt.Errorf("%w: it has more than %d bytes", ErrUserKey, maxUserKey)
	case strings.HasPrefix(user, session.StoredPrefix):
		return fmt.Errorf("%w: it begins with %q, as names in Config.Tokens do", ErrUserKey, session.StoredPrefix)
	}
	return nil
}

// keep saves what a sign-in has brought. replace allows another account in the
// place of the one that the user had, share one that another user has. undo puts
// back what was there before.
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
			// undo may put these back: who renews them has to be done by then.
			// Nobody waits for somebody who is late.
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

// undo puts an entry back in the place of what keep has saved. The same
// account's stays: its tokens are good, and those before may be used up by now.
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

// KeepStored saves the tokens of a sign-in for the app's user, and returns the
// record that a session of theirs in a browser has. replace and share are those
// of keep.
func (r *Renewals) KeepStored(ctx context.Context, rec *session.Record, user string, replace, share bool) (browser *session.Record, undo func() error, err error) {
	if err := CheckUserKey(user); err != nil {
		return nil, nil, err
	}
	// Nobody may use the refresh token meanwhile, nor afterwards with what they
	// hold of the session: the hook may have begun to.
	var kept *session.Record
	for kept == nil {
		_, _, newest := r.Known(rec.Refresh)
		key := r.Key(newest)
		if newest == "" { // which nobody shares
			key = r.Key(seal.Secret("\x00session " + string(rec.ID[:])))
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
				r.refuse(key, &provider.Failure{Class: provider.Retry, Err: errHandedOver}, outcomeGrace)
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

var errHandedOver = errors.New("msauth: the tokens have just been given to Config.Tokens")

// Reseal seals a user's entry with the first key, if it is not.
func (v *Vault) Reseal(ctx context.Context, user string) error {
	var wait leaseWait
	for {
		e, err := v.Load(ctx, user)
		if err != nil || !e.resealt {
			return err
		}
		if waited, err := wait.wait(ctx, e.StoredTokens); err != nil {
			return err
		} else if waited {
			continue
		}
		if err = v.save(ctx, user, e); !errors.Is(err, ErrConflict) {
			return err
		}
		if err := wait.pause(ctx); err != nil {
			return err
		}
	}
}
