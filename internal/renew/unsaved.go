package renew

import (
	"context"
	"errors"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
)

const (
	saveAttempts = 3
	savePause    = 100 * time.Millisecond // between them, longer each time

	// What could not be saved is tried again after firstRetry, then after twice as
	// long each time, up to longestRetry, for as long as refresh tokens live.
	firstRetry   = 1 * time.Second
	longestRetry = 1 * time.Minute
	// RefreshExpiry is how long a refresh token lives at most.
	RefreshExpiry = 90 * 24 * time.Hour
)

// An unsaved entry has what the provider has given and the store has not taken
// yet.
type unsaved struct {
	turn   chan struct{} // holds a value while somebody saves it
	saved  bool          // or obsolete
	entry  *Entry
	used   seal.Secret        // the refresh token that was used for it
	tokens *provider.TokenSet // of a renewal, nil of a request for other scopes
	owner  Key                // under which to remember them once they are saved
}

// saveNew saves the tokens that a flight has got. If that fails, it is tried again
// until it succeeds or another entry has replaced this one.
func (f *flight) saveNew(ctx context.Context, late *unsaved) *provider.Failure {
	// Whoever asked may be gone: the tokens must be kept all the same.
	ctx = context.WithoutCancel(ctx)
	r, user := f.r, f.rec.UserKey
	r.stored.unsaved.Put(r.unsavedKey(late.entry.Rec), late, time.Now().Add(RefreshExpiry))
	if err := r.saveLate(ctx, user, late); err != nil {
		r.retrySave(user, late, firstRetry)
		return r.storeFails(f.asker, f.key, err)
	}
	r.Observer.Mend(f.asker, weakTokens, "")
	return nil
}

// saveLate saves what the provider has given. Where the entry has changed but
// still has the refresh token that was used up, the new one must get in; where the
// provider gave the same one again, nothing is lost.
func (r *Renewals) saveLate(ctx context.Context, user string, late *unsaved) error {
	late.turn <- struct{}{}
	defer func() { <-late.turn }()
	if late.saved {
		return nil
	}
	err := errors.New("not tried")
	for attempt := range saveAttempts {
		if attempt > 0 {
			time.Sleep(savePause << (2 * attempt))
		}
		if err = r.Vault.save(ctx, user, late.entry); err == nil {
			break
		}
		if !errors.Is(err, ErrConflict) {
			continue
		}
		now, loaded := r.Vault.Load(ctx, user)
		if loaded == nil && now.Rec.User.Same(&late.entry.Rec.User) && now.Rec.Refresh == late.used && late.entry.Rec.Refresh != late.used {
			late.entry.Version, late.entry.Shared, late.entry.place = now.Version, now.Shared, now.place
			continue
		}
		if loaded == nil || errors.Is(loaded, ErrNoTokens) || errors.Is(loaded, ErrUnreadable) {
			// The user has signed in again or was disconnected: that counts.
			err = nil
			late.tokens = nil
			break
		}
	}
	if err != nil {
		return err
	}
	late.saved = true
	key := r.unsavedKey(late.entry.Rec)
	if held, _ := r.stored.unsaved.Get(key); held == late {
		r.stored.unsaved.Drop(key)
	}
	if late.tokens != nil {
		r.outcomes.renewed.Put(late.owner, late.tokens, time.Now().Add(outcomeGrace))
	}
	return nil
}

// retrySave saves later what could not be saved, as long as it is remembered.
func (r *Renewals) retrySave(user string, late *unsaved, after time.Duration) {
	key := r.unsavedKey(late.entry.Rec)
	time.AfterFunc(after, func() {
		if held, _ := r.stored.unsaved.Get(key); held == late && r.saveLate(context.Background(), user, late) != nil {
			r.retrySave(user, late, min(2*after, longestRetry))
		}
	})
}
