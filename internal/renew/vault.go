package renew

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

const (
	maxUserKey = 255      // bytes
	maxSealed  = 64 << 10 // bytes
)

// A Vault is a token store as this package uses it. What an entry holds is sealed
// for its user and registration: entries that change places do not open.
type Vault struct {
	Store        TokenStore
	Keys         *seal.Keys
	Registration session.Registration
	Layout       *session.Layout
	// Look, if it is set, brings Keys up to date when an entry does not open. It
	// is not Keys.Again, which waits: no stranger can make an entry.
	Look func()
	// Prefix begins the names under which entries are stored, and their accounts,
	// so that other registrations have theirs in the same store.
	Prefix string
	// Serves says that the store knows the prefix and finds entries from earlier
	// versions, whose names have none, by itself.
	Serves bool
}

// An Entry is the entry of one user, opened. Its record has the refresh token,
// which sessions of such users in cookies do not have.
type Entry struct {
	StoredTokens                 // Account is here without Vault.Prefix
	Rec          *session.Record // unpacked; never changed in place
	place        string          // the name under which it is stored
	oldKey       bool            // it was sealed with a key that no longer seals
}

var (
	// ErrUnreadable means that an entry cannot be opened: a key was dropped too
	// early, or the entry is another app's.
	ErrUnreadable = errors.New("msauth: the stored tokens do not open with Config.Keys for this user")
	// ErrUserKey is a mistake of the app's.
	ErrUserKey = errors.New("msauth: this user key cannot be used")
)

// CheckUserKey checks a key of one of the app's users. Its error wraps ErrUserKey
// and does not show the key, which may be a name.
func CheckUserKey(user string) error {
	switch {
	case len(user) > maxUserKey:
		return fmt.Errorf("%w: it has more than %d bytes", ErrUserKey, maxUserKey)
	case strings.HasPrefix(user, session.StoredPrefix):
		return fmt.Errorf("%w: it begins with %q, as names in Config.Tokens do", ErrUserKey, session.StoredPrefix)
	}
	return nil
}

// Load returns a user's entry, ErrNoTokens, ErrUnreadable, or an error of the
// store's.
func (v *Vault) Load(ctx context.Context, user string) (*Entry, error) {
	place, e, err := v.find(ctx, user)
	if err != nil {
		return nil, err
	}
	plain, oldKey, err := v.open(user, e)
	if err != nil && v.Look != nil {
		v.Look()
		plain, oldKey, err = v.open(user, e)
	}
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
	return &Entry{StoredTokens: e, place: place, Rec: rec, oldKey: oldKey}, nil
}

// Delete removes a user's entry, and one from earlier versions that is stored
// beside it.
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

// Reseal seals a user's entry with the first key, if it is not.
func (v *Vault) Reseal(ctx context.Context, user string) error {
	var wait leaseWait
	for {
		e, err := v.Load(ctx, user)
		if err != nil || !e.oldKey {
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

// find returns a user's entry as it is stored, and under which name. Entries from
// earlier versions are stored under the user alone; they are those of the
// registration that opens them.
func (v *Vault) find(ctx context.Context, user string) (place string, e StoredTokens, err error) {
	own := v.Prefix + user
	for _, place := range [...]string{own, user} {
		if place != own && v.Serves {
			break
		}
		e, err := v.Store.Load(ctx, place)
		if errors.Is(err, ErrNoTokens) {
			continue
		}
		if err != nil {
			return own, StoredTokens{}, err
		}
		account, ours := strings.CutPrefix(e.Account, v.Prefix)
		if !ours {
			_, _, failed := v.open(user, e)
			ours = failed == nil
		}
		if ours {
			e.Account = account
			return place, e, nil
		}
	}
	return own, StoredTokens{}, ErrNoTokens
}

// open unseals a user's entry. oldKey says that another key than the first did.
func (v *Vault) open(user string, e StoredTokens) (plain []byte, oldKey bool, err error) {
	return v.Keys.Open(append([]byte(nil), e.Sealed...), v.additional(user))
}

// additional is what an entry is sealed for.
func (v *Vault) additional(user string) []byte {
	return append(append([]byte("msauth stored tokens v1\x00"), v.Registration[:]...), user...)
}

// save puts an entry in the place of the one that it was made from, and leaves it
// as it is in the store. What a session can do without is left out if it is too
// large.
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

// write draws a version and saves. Where the store does not say whether it has
// saved, it is asked; so it is after a conflict, which may be one with this very
// save, done twice on the way.
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
	if now, loaded := v.Store.Load(context.WithoutCancel(ctx), place); loaded == nil && now.Version == next.Version {
		return nil
	}
	return err
}
