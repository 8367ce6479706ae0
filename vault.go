package msauth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
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

// stored is one user's entry in a keeper: see StoredTokens of the root package.
type stored struct {
	Version        int64
	Sealed         []byte
	Account        string
	Shared         bool
	SignInRequired bool
	Lease          time.Time
}

// A keeper keeps entries: see TokenStore of the root package. Its errors wrap
// errNothingKept, errChanged or errTaken where they are of that kind.
type keeper interface {
	load(ctx context.Context, user string) (stored, error)
	save(ctx context.Context, user string, old int64, t stored) error
	delete(ctx context.Context, user string) error
}

var (
	errNothingKept = errors.New("msauth: nothing is kept for this user")
	errChanged     = errors.New("msauth: the entry has changed in the meantime")
	errTaken       = errors.New("msauth: the Microsoft account is connected to another user")
)

// A vault is a keeper as this package uses it. What an entry holds is
// sealed for its user: entries that change places are worth nothing.
type vault struct {
	store        keeper
	keys         aeads
	registration registration
	layout       *layout
	prefix       string // of what is stored, so that other registrations have theirs
	serves       bool   // the store itself finds the entries of before
}

// prefix of a registration's entries in a [TokenStore].
func (id registration) prefix() string { return fmt.Sprintf("%s%x:", storedPrefix, id[:]) }

// keptTokens are the entry of one user, opened. The record has the refresh
// token, which sessions in cookies of such users have not.
type keptTokens struct {
	stored         // Account as in account.key
	place   string // under which it is stored
	rec     *record
	resealt bool // it was sealed with a key that no longer seals
}

// errEntry means that an entry cannot be opened: a key was dropped too early,
// or it is another app's.
var errEntry = errors.New("msauth: the stored tokens do not open with Config.Keys for this user")

func (v *vault) additional(user string) []byte {
	return append(append([]byte("msauth stored tokens v1\x00"), v.registration[:]...), user...)
}

// readAt returns what is stored under a name.
func (v *vault) readAt(ctx context.Context, place string) (stored, error) {
	return v.store.load(ctx, place)
}

// open unseals a user's entry.
func (v *vault) open(user string, e stored) (plain []byte, old bool, err error) {
	return v.keys.open(append([]byte(nil), e.Sealed...), v.additional(user))
}

// find returns a user's entry as it is stored, and where that is. Entries of
// before the registration was part of their names are stored for the user alone;
// they are those of the registration that opens them.
func (v *vault) find(ctx context.Context, user string) (place string, e stored, err error) {
	own := v.prefix + user
	for _, place := range [...]string{own, user} {
		if place != own && v.serves {
			break
		}
		e, err := v.readAt(ctx, place)
		if err != nil && !errors.Is(err, errNothingKept) {
			return own, stored{}, err
		}
		account, ours := strings.CutPrefix(e.Account, v.prefix)
		if err == nil && !ours {
			_, _, failed := v.open(user, e)
			ours = failed == nil
		}
		if err == nil && ours {
			e.Account = account
			return place, e, nil
		}
	}
	return own, stored{}, errNothingKept
}

// read is find where the place does not matter.
func (v *vault) read(ctx context.Context, user string) (stored, error) {
	_, e, err := v.find(ctx, user)
	return e, err
}

// load returns an entry, or errNothingKept.
func (v *vault) load(ctx context.Context, user string) (*keptTokens, error) {
	place, e, err := v.find(ctx, user)
	if err != nil {
		return nil, err
	}
	plain, old, err := v.open(user, e)
	if err != nil {
		return nil, errEntry
	}
	identity, tokens, err := splitParts(plain)
	if err != nil {
		return nil, errEntry
	}
	rec, err := decodeRecord(identity, v.layout)
	if err != nil {
		return nil, errEntry
	}
	rec.packed, rec.stored = tokens, true
	if err := rec.unpack(); err != nil || rec.userKey != user {
		return nil, errEntry
	}
	return &keptTokens{stored: e, place: place, rec: rec, resealt: old}, nil
}

// save puts an entry in the place of the one that it was made from, and leaves
// it as it is in the store.
func (v *vault) save(ctx context.Context, user string, e *keptTokens) error {
	next := e.stored
	lean := e.rec
	for {
		identity, tokens := lean.encode()
		if next.Sealed = v.keys.seal(joinParts(identity, tokens), v.additional(user)); len(next.Sealed) <= maxSealed {
			break
		}
		if lean == e.rec {
			lean = e.rec.clone()
		}
		if lean.shrink() == "" {
			return fmt.Errorf("%w: %d bytes for Config.Tokens, where %d may be used", errTooLarge, len(next.Sealed), maxSealed)
		}
	}
	next.Account = e.rec.user.key()
	if err := v.write(ctx, e.place, e.Version, &next); err != nil {
		return err
	}
	e.stored = next
	return nil
}

// write draws a version and saves. Where the store does not say whether it has,
// it is asked; so it is after a conflict, which may be one with this very save,
// done twice on the way.
func (v *vault) write(ctx context.Context, place string, old int64, next *stored) error {
	for next.Version = old; next.Version == old || next.Version == 0; {
		next.Version = rand.Int64() // #nosec G404 -- tells saves apart, no secret
	}
	e := *next
	e.Account = v.prefix + next.Account
	err := v.store.save(ctx, place, old, e)
	if err == nil || errors.Is(err, errTaken) {
		return err
	}
	if now, loaded := v.readAt(context.WithoutCancel(ctx), place); loaded == nil && now.Version == next.Version {
		return nil
	}
	return err
}

// delete removes an entry, and one of before that is under it.
func (v *vault) delete(ctx context.Context, user string) error {
	for try := range 3 {
		place, _, err := v.find(ctx, user)
		if errors.Is(err, errNothingKept) && (try > 0 || v.serves) {
			return nil // the store has no entry that is ours
		}
		deleted := v.store.delete(ctx, place)
		if err != nil || deleted != nil { // what cannot be read can be deleted all the same
			return deleted
		}
	}
	return nil
}

var (
	// errOtherAccount means that a user who has connected one Microsoft account
	// comes with another.
	errOtherAccount = errors.New("msauth: the user is connected to another Microsoft account")
	// errUserKey is a mistake of the app's.
	errUserKey = errors.New("msauth: this user key cannot be used")
)

// storedPrefix is what all names of [Middleware.StoredUser] begin with, and no
// user key of an app may: it would be another entry's name.
const storedPrefix = "msauth:"

// checkUserKey checks a key of one of the app's users. The text of the error
// does not show it: it may be a name.
func checkUserKey(user string) error {
	switch {
	case len(user) > maxUserKey:
		return fmt.Errorf("%w: it has more than %d bytes", errUserKey, maxUserKey)
	case strings.HasPrefix(user, storedPrefix):
		return fmt.Errorf("%w: it begins with %q, as names in Config.Tokens do", errUserKey, storedPrefix)
	}
	return nil
}

// keep saves what a sign-in has brought. replace allows another account in the
// place of the one that the user had, share one that another user has. undo puts
// back what was there before.
func (v *vault) keep(ctx context.Context, rec *record, replace, share bool) (undo func() error, err error) {
	user := rec.userKey
	waiting, cancel := context.WithTimeout(ctx, replaceWait)
	defer cancel()
	ctx = context.WithoutCancel(ctx) // half a sign-in helps nobody
	var wait leaseWait
	for attempt := 0; ; attempt++ {
		place, before, err := v.find(ctx, user)
		if err != nil && !errors.Is(err, errNothingKept) {
			return nil, err
		}
		same := before.Account == rec.user.key()
		if err == nil && !same {
			if !replace {
				return nil, errOtherAccount
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
		e := &keptTokens{stored: stored{Version: before.Version, Shared: share || before.Shared && same}, place: place, rec: rec}
		err = v.save(ctx, user, e)
		if errors.Is(err, errChanged) && attempt < saveAttempts {
			continue
		}
		return func() error { return v.undo(ctx, user, before, e, same) }, err
	}
}

// undo puts an entry back in the place of what keep has saved. The same
// account's stays: its tokens are good, and those before may be used up by now.
func (v *vault) undo(ctx context.Context, user string, before stored, e *keptTokens, same bool) error {
	switch {
	case same:
		return nil
	case before.Version == 0:
		if _, now, err := v.find(ctx, user); err != nil || now.Version != e.Version {
			return err // somebody else's by now
		}
		return v.delete(ctx, user)
	}
	if err := v.write(ctx, e.place, e.Version, &before); !errors.Is(err, errChanged) {
		return err
	}
	return nil
}

// keepStored saves the tokens of a sign-in for the app's user, and returns the
// record that a session of theirs in a browser has. replace and share are those
// of keep.
func (r *renewals) keepStored(ctx context.Context, rec *record, user string, replace, share bool) (browser *record, undo func() error, err error) {
	if err := checkUserKey(user); err != nil {
		return nil, nil, err
	}
	// Nobody may use the refresh token meanwhile, nor afterwards with what they
	// hold of the session: the hook may have begun to.
	var kept *record
	for kept == nil {
		_, _, newest := r.known(rec.refresh)
		key := r.key(newest)
		if newest == "" { // which nobody shares
			key = r.key(secret("\x00session " + string(rec.id[:])))
		}
		// It may be another flight that ends: then once more.
		_, _, _ = r.flights.Do(string(key[:]), func() (any, error) {
			defer recoverInto(&err)
			if _, _, now := r.known(rec.refresh); now != newest {
				return &outcome{}, nil
			}
			kept = rec.movedTo(newest)
			kept.userKey, kept.stored, kept.idToken = user, true, ""
			undo, err = r.vault.keep(ctx, kept, replace, share)
			if newest != "" {
				r.refuse(key, &Failure{Class: kindRetry, Err: errHandedOver}, outcomeGrace)
			}
			return &outcome{}, nil
		})
	}
	if err != nil {
		return nil, nil, err
	}
	r.forgetStored(user)
	browser = kept.movedTo("")
	browser.stored, browser.idToken = false, rec.idToken
	return browser, undo, nil
}

var errHandedOver = errors.New("msauth: the tokens have just been given to Config.Tokens")

// reseal seals a user's entry with the first key, if it is not.
func (v *vault) reseal(ctx context.Context, user string) error {
	var wait leaseWait
	for {
		e, err := v.load(ctx, user)
		if err != nil || !e.resealt {
			return err
		}
		if waited, err := wait.wait(ctx, e.stored); err != nil {
			return err
		} else if waited {
			continue
		}
		if err = v.save(ctx, user, e); !errors.Is(err, errChanged) {
			return err
		}
		if err := wait.pause(ctx); err != nil {
			return err
		}
	}
}
