package renew

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

const (
	// leaseTime is how long one process has to renew a user's tokens before
	// others try. leaseLeft of it must be left before a token request, which
	// then has the time to be answered (tokenTimeout) and saved (saveAttempts,
	// each with a look at what is there).
	leaseTime = 2 * time.Minute
	leaseLeft = leaseTime * 3 / 4
	// leasePoll is when those who wait for it look first; then it takes twice as
	// long each time, up to longestPoll.
	leasePoll   = 10 * time.Millisecond
	longestPoll = 500 * time.Millisecond
	// What cannot be saved is tried again after this time, then after twice as
	// long, up to longestRetry, as long as refresh tokens live (90 days).
	firstRetry    = 1 * time.Second
	longestRetry  = 1 * time.Minute
	RefreshExpiry = 90 * 24 * time.Hour
)

// A leaseWait is the wait for somebody else who renews a user's tokens: the
// entry is theirs to save.
type leaseWait struct {
	version int64
	since   time.Time
	looked  int
}

// wait waits a moment if there is somebody. It trusts its own clock more than
// theirs: a lease is over when it has been seen for as long as one lasts. One
// that is too far from now, for all that clocks may differ, is none.
func (l *leaseWait) wait(ctx context.Context, e StoredTokens) (waited bool, err error) {
	left := time.Until(e.Lease)
	if e.Lease.IsZero() || left < -provider.FutureLeeway || left > leaseTime+provider.FutureLeeway {
		return false, nil
	}
	if l.version != e.Version {
		l.version, l.since = e.Version, time.Now()
	} else if time.Since(l.since) >= leaseTime {
		return false, nil
	}
	return true, l.pause(ctx)
}

// pause waits longer each time.
func (l *leaseWait) pause(ctx context.Context) error {
	poll := min(leasePoll<<min(l.looked, 10), longestPoll)
	l.looked++
	timer := time.NewTimer(poll/2 + rand.N(poll)) // #nosec G404 -- jitter, no secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// userKey stands for a user, where refresh tokens have a tokenKey.
func (r *Renewals) userKey(user string) Key { return r.Key(seal.Secret("\x00user " + user)) }

// ownerKey stands for the user and the account that a session is of, until they
// are forgotten.
func (r *Renewals) ownerKey(rec *session.Record) Key {
	user := r.userKey(rec.UserKey)
	h := sha256.New()
	h.Write(user[:])
	var n [8]byte
	times, _ := r.forgotten.Get(user)
	binary.BigEndian.PutUint64(n[:], times)
	h.Write(n[:])
	h.Write([]byte(rec.User.Key()))
	return Key(h.Sum(nil))
}

// ForgetStored forgets what is known of a user's tokens, of whichever account:
// there are newer ones, or none. What could not be saved yet finds that out by
// itself.
func (r *Renewals) ForgetStored(user string) {
	r.forgotten.Put(r.userKey(user), r.forgets.Add(1), time.Now().Add(2*provider.MaxRetryAfter)) // longer than what is forgotten
}

// An unsaved entry is what the provider has given and the store has not taken
// yet.
type unsaved struct {
	turn  chan struct{} // to save it, one after the other
	saved bool          // or obsolete
	mine  *Entry
	used  seal.Secret        // the refresh token that it cost
	grant *provider.TokenSet // of the session's own token, nil for others
	owner Key                // of the outcome
}

// lateKey stands for the sign-in whose tokens an entry has.
func (r *Renewals) lateKey(rec *session.Record) Key {
	return r.Key(seal.Secret("\x00late " + string(rec.ID[:]) + rec.UserKey))
}

// flyStored is fly for tokens that are kept for one of the app's users.
func (r *Renewals) flyStored(want Request, rec *session.Record) (*outcome, error) {
	o := &outcome{wish: want.Wanted}
	own, failed := r.ownStored(rec)
	if o.grant, failed = r.granting(rec, want.Wanted, own, failed); failed != nil {
		return o, failed
	}
	if o.grant != nil && !want.Due(o.grant) {
		return o, nil
	}
	o.grant = nil
	ctx, cancel := context.WithTimeout(context.Background(), 2*leaseTime)
	defer cancel()
	var err error
	if o.grant, err = r.renewStored(ctx, want, rec); err != nil {
		o.grant = nil
	}
	return o, err
}

// ownStored is what is known of a user's own tokens in this process.
func (r *Renewals) ownStored(rec *session.Record) (*provider.TokenSet, *provider.Failure) {
	key := r.ownerKey(rec)
	own, ok := r.granted.Get(key)
	if !ok || own.Issued < rec.Renewed {
		own = rec.TokenSet()
	}
	return own, r.refusal(key)
}

// RefusedBefore is what an entry says that is of no use until the person has
// signed in again.
func (e *Entry) RefusedBefore() *provider.Failure {
	failure := &provider.Failure{Class: provider.SignIn, Err: errors.New("the stored tokens were refused before")}
	if e.Rec.StepUp {
		failure.Class, failure.Claims = provider.StepUp, e.Rec.Claims
	}
	return failure
}

// renewStored renews a user's tokens, or fulfils a wish with them, and saves what
// came of it.
func (r *Renewals) renewStored(ctx context.Context, want Request, rec *session.Record) (*provider.TokenSet, error) {
	user, key := rec.UserKey, r.ownerKey(rec)
	mine, g, err := r.claim(ctx, want, rec)
	if mine == nil {
		return g, err
	}
	g, failed := r.askStored(want, rec, mine)
	late := &unsaved{turn: make(chan struct{}, 1), mine: mine, used: mine.Rec.Refresh, owner: key}
	mine.Lease = time.Time{}
	switch {
	case failed == nil && want.Wanted.Scopes == "":
		mine.Rec = mine.Rec.RenewedBy(g)
		g = mine.Rec.Shared()
		late.grant = g
	case g != nil: // of another API, or with an ID token that cannot be accepted
		mine.Rec = mine.Rec.MovedTo(g.Refresh)
	case want.Wanted.Scopes == "" && failed.Class == provider.SignIn:
		mine.SignInRequired = true
	case want.Wanted == (TokenRequest{}) && failed.Class == provider.StepUp:
		mine.SignInRequired = true
		mine.Rec = mine.Rec.Clone()
		mine.Rec.StepUp, mine.Rec.Claims = true, failed.Claims
	}
	// Whoever asked may be gone: the tokens must be kept all the same.
	ctx = context.WithoutCancel(ctx)
	if g == nil {
		if err := r.Vault.save(ctx, user, mine); err != nil && !errors.Is(err, ErrConflict) {
			r.storeFails(want.asker, key, err)
			if mine.SignInRequired { // which the entry does not say
				r.refuse(key, failed, refusalGrace)
			}
		}
		return nil, failed
	}
	r.unsaved.Put(r.lateKey(mine.Rec), late, time.Now().Add(RefreshExpiry))
	if err := r.saveLate(ctx, user, late); err != nil {
		r.retrySave(user, late, firstRetry)
		return nil, r.storeFails(want.asker, key, err)
	}
	r.Observer.Mend(want.asker, weakTokens, "")
	if failed != nil {
		return nil, failed
	}
	return g, nil
}

// claim takes the lease of a user's entry, and a slot. Where that is not called
// for, it returns what there is in its place.
func (r *Renewals) claim(ctx context.Context, want Request, rec *session.Record) (mine *Entry, g *provider.TokenSet, err error) {
	user, key := rec.UserKey, r.ownerKey(rec)
	var wait leaseWait
	for {
		if ctx.Err() != nil {
			return nil, nil, &provider.Failure{Class: provider.Retry, Err: ctx.Err()}
		}
		e, err := r.Vault.Load(ctx, user)
		if err == nil {
			if late, ok := r.unsaved.Get(r.lateKey(e.Rec)); ok {
				if err := r.saveLate(ctx, user, late); err != nil {
					return nil, nil, r.storeFails(want.asker, key, err)
				}
				continue
			}
		}
		switch {
		case errors.Is(err, ErrNoTokens), errors.Is(err, ErrUnreadable):
			return nil, nil, &provider.Failure{Class: provider.SignIn, Err: err}
		case err != nil:
			return nil, nil, r.storeFails(want.asker, key, err)
		case !e.Rec.User.Same(&rec.User):
			return nil, nil, &provider.Failure{Class: provider.SignIn, Err: provider.ErrAnotherPerson}
		case e.SignInRequired:
			return nil, nil, e.RefusedBefore()
		}
		if g := e.Rec.Shared(); want.Wanted == (TokenRequest{}) && !want.Due(g) {
			r.granted.Put(key, g, time.Now().Add(outcomeGrace))
			return nil, g, nil // somebody else has renewed them
		}
		if e.Rec.Refresh == "" {
			return nil, nil, &provider.Failure{Class: provider.SignIn, Err: ErrNoRefreshToken}
		}
		if waited, err := wait.wait(ctx, e.StoredTokens); waited || err != nil {
			continue
		}
		if paused := r.paused(rec.User.Key()); paused != nil {
			return nil, nil, paused
		}
		if err := r.lease(ctx, user, e); errors.Is(err, ErrConflict) {
			_ = wait.pause(ctx)
			continue
		} else if err != nil {
			return nil, nil, r.storeFails(want.asker, key, err)
		}
		switch err := r.takeSlot(ctx, user, e); {
		case err == nil:
			return e, nil, nil
		case ctx.Err() != nil: // too many are waiting: the next one begins anew
			e.Lease = time.Time{}
			_ = r.Vault.save(context.WithoutCancel(ctx), user, e)
		case !errors.Is(err, ErrConflict):
			return nil, nil, r.storeFails(want.asker, key, err)
		}
	}
}

// lease takes an entry for this process.
func (r *Renewals) lease(ctx context.Context, user string, e *Entry) error {
	e.Lease = time.Now().Add(leaseTime).Round(0) // by the wall clock: the machine may be asleep meanwhile
	return r.Vault.save(ctx, user, e)
}

// takeSlot waits for a slot, which the caller gives back. A lease that has grown
// old meanwhile is taken once more.
func (r *Renewals) takeSlot(ctx context.Context, user string, e *Entry) error {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if time.Until(e.Lease) >= leaseLeft {
		return nil
	}
	<-r.slots
	if err := r.lease(ctx, user, e); err != nil {
		return err
	}
	return r.takeSlot(ctx, user, e)
}

// askStored makes the request, and gives the slot back.
func (r *Renewals) askStored(want Request, rec *session.Record, mine *Entry) (*provider.TokenSet, *provider.Failure) {
	defer func() { <-r.slots }()
	if paused := r.admit(rec.User.Key()); paused != nil {
		return nil, paused
	}
	asking := mine.Rec.Clone()
	asking.ID = rec.ID // which knows of the outcome
	return r.ask(want, asking, mine.Rec.Refresh)
}

// saveLate saves what the provider has given. Where the entry has changed but
// still has the refresh token that is used up, what is new has to get in; where
// the provider hands out the same one again, nothing is lost.
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
		if err = r.Vault.save(ctx, user, late.mine); err == nil {
			break
		}
		if !errors.Is(err, ErrConflict) {
			continue
		}
		now, loaded := r.Vault.Load(ctx, user)
		if loaded == nil && now.Rec.User.Same(&late.mine.Rec.User) && now.Rec.Refresh == late.used && late.mine.Rec.Refresh != late.used {
			late.mine.Version, late.mine.Shared, late.mine.place = now.Version, now.Shared, now.place
			continue
		}
		if loaded == nil || errors.Is(loaded, ErrNoTokens) || errors.Is(loaded, ErrUnreadable) {
			// The user has signed in again or was disconnected: that counts.
			err = nil
			late.grant = nil
			break
		}
	}
	if err != nil {
		return err
	}
	late.saved = true
	if held, _ := r.unsaved.Get(r.lateKey(late.mine.Rec)); held == late {
		r.unsaved.Drop(r.lateKey(late.mine.Rec))
	}
	if late.grant != nil {
		r.granted.Put(late.owner, late.grant, time.Now().Add(outcomeGrace))
	}
	return nil
}

// retrySave tries later what could not be saved, as long as it is remembered.
func (r *Renewals) retrySave(user string, late *unsaved, after time.Duration) {
	key := r.lateKey(late.mine.Rec)
	time.AfterFunc(after, func() {
		if held, _ := r.unsaved.Get(key); held == late && r.saveLate(context.Background(), user, late) != nil {
			r.retrySave(user, late, min(2*after, longestRetry))
		}
	})
}

// storeFails makes an error of a store one that passes. It does not name what
// is stored.
func (r *Renewals) storeFails(ctx context.Context, key Key, err error) *provider.Failure {
	failure := &provider.Failure{Class: provider.Retry, Err: err}
	r.Observer.StoreFailed(ctx, "token store", err)
	r.Observer.Weaken(ctx, weakTokens, "", weakFor, err)
	if r.refusal(key) == nil {
		r.refuse(key, failure, time.Second)
	}
	return failure
}
