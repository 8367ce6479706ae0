package msauth

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"
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
	refreshExpiry = 90 * 24 * time.Hour
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
func (l *leaseWait) wait(ctx context.Context, e stored) (waited bool, err error) {
	left := time.Until(e.Lease)
	if e.Lease.IsZero() || left < -futureLeeway || left > leaseTime+futureLeeway {
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
func (r *renewals) userKey(user string) tokenKey { return r.key(secret("\x00user " + user)) }

// ownerKey stands for the user and the account that a session is of, until they
// are forgotten.
func (r *renewals) ownerKey(rec *record) tokenKey {
	user := r.userKey(rec.userKey)
	h := sha256.New()
	h.Write(user[:])
	var n [8]byte
	times, _ := r.forgotten.get(user)
	binary.BigEndian.PutUint64(n[:], times)
	h.Write(n[:])
	h.Write([]byte(rec.user.key()))
	return tokenKey(h.Sum(nil))
}

// forgetStored forgets what is known of a user's tokens, of whichever account:
// there are newer ones, or none. What could not be saved yet finds that out by
// itself.
func (r *renewals) forgetStored(user string) {
	r.forgotten.put(r.userKey(user), r.forgets.Add(1), time.Now().Add(2*maxRetryAfter)) // longer than what is forgotten
}

// An unsaved entry is what the provider has given and the store has not taken
// yet.
type unsaved struct {
	turn  chan struct{} // to save it, one after the other
	saved bool          // or obsolete
	mine  *keptTokens
	used  secret   // the refresh token that it cost
	grant *grant   // of the session's own token, nil for others
	owner tokenKey // of the outcome
}

// lateKey stands for the sign-in whose tokens an entry has.
func (r *renewals) lateKey(rec *record) tokenKey {
	return r.key(secret("\x00late " + string(rec.id[:]) + rec.userKey))
}

// flyStored is fly for tokens that are kept for one of the app's users.
func (r *renewals) flyStored(want renewal, rec *record) (*outcome, error) {
	o := &outcome{wish: want.wish}
	own, failed := r.ownStored(rec)
	if o.grant, failed = r.granting(rec, want.wish, own, failed); failed != nil {
		return o, failed
	}
	if o.grant != nil && !want.due(o.grant) {
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
func (r *renewals) ownStored(rec *record) (*grant, *Failure) {
	key := r.ownerKey(rec)
	own, ok := r.granted.get(key)
	if !ok || own.issued < rec.renewed {
		own = rec.grant()
	}
	return own, r.refusal(key)
}

// refusedBefore is what an entry says that is of no use until the person has
// signed in again.
func (e *keptTokens) refusedBefore() *Failure {
	failure := &Failure{Class: kindSignIn, Err: errors.New("the stored tokens were refused before")}
	if e.rec.stepUp {
		failure.Class, failure.Claims = kindStepUp, e.rec.claims
	}
	return failure
}

// renewStored renews a user's tokens, or fulfils a wish with them, and saves what
// came of it.
func (r *renewals) renewStored(ctx context.Context, want renewal, rec *record) (*grant, error) {
	user, key := rec.userKey, r.ownerKey(rec)
	mine, g, err := r.claim(ctx, want, rec)
	if mine == nil {
		return g, err
	}
	g, failed := r.askStored(want, rec, mine)
	late := &unsaved{turn: make(chan struct{}, 1), mine: mine, used: mine.rec.refresh, owner: key}
	mine.Lease = time.Time{}
	switch {
	case failed == nil && want.wish.scopes == "":
		mine.rec = mine.rec.renewedBy(g)
		g = mine.rec.shared()
		late.grant = g
	case g != nil: // of another API, or with an ID token that cannot be accepted
		mine.rec = mine.rec.movedTo(g.refresh)
	case want.wish.scopes == "" && failed.Class == kindSignIn:
		mine.SignInRequired = true
	case want.wish == (wish{}) && failed.Class == kindStepUp:
		mine.SignInRequired = true
		mine.rec = mine.rec.clone()
		mine.rec.stepUp, mine.rec.claims = true, failed.Claims
	}
	// Whoever asked may be gone: the tokens must be kept all the same.
	ctx = context.WithoutCancel(ctx)
	if g == nil {
		if err := r.vault.save(ctx, user, mine); err != nil && !errors.Is(err, errChanged) {
			r.storeFails(want.asker, key, err)
			if mine.SignInRequired { // which the entry does not say
				r.refuse(key, failed, refusalGrace)
			}
		}
		return nil, failed
	}
	r.unsaved.put(r.lateKey(mine.rec), late, time.Now().Add(refreshExpiry))
	if err := r.saveLate(ctx, user, late); err != nil {
		r.retrySave(user, late, firstRetry)
		return nil, r.storeFails(want.asker, key, err)
	}
	r.observer.mend(want.asker, weakTokens, "")
	if failed != nil {
		return nil, failed
	}
	return g, nil
}

// claim takes the lease of a user's entry, and a slot. Where that is not called
// for, it returns what there is in its place.
func (r *renewals) claim(ctx context.Context, want renewal, rec *record) (mine *keptTokens, g *grant, err error) {
	user, key := rec.userKey, r.ownerKey(rec)
	var wait leaseWait
	for {
		if ctx.Err() != nil {
			return nil, nil, &Failure{Class: kindRetry, Err: ctx.Err()}
		}
		e, err := r.vault.load(ctx, user)
		if err == nil {
			if late, ok := r.unsaved.get(r.lateKey(e.rec)); ok {
				if err := r.saveLate(ctx, user, late); err != nil {
					return nil, nil, r.storeFails(want.asker, key, err)
				}
				continue
			}
		}
		switch {
		case errors.Is(err, errNothingKept), errors.Is(err, errEntry):
			return nil, nil, &Failure{Class: kindSignIn, Err: err}
		case err != nil:
			return nil, nil, r.storeFails(want.asker, key, err)
		case !e.rec.user.same(&rec.user):
			return nil, nil, &Failure{Class: kindSignIn, Err: errAnotherPerson}
		case e.SignInRequired:
			return nil, nil, e.refusedBefore()
		}
		if g := e.rec.shared(); want.wish == (wish{}) && !want.due(g) {
			r.granted.put(key, g, time.Now().Add(outcomeGrace))
			return nil, g, nil // somebody else has renewed them
		}
		if e.rec.refresh == "" {
			return nil, nil, &Failure{Class: kindSignIn, Err: errNoRefreshToken}
		}
		if waited, err := wait.wait(ctx, e.stored); waited || err != nil {
			continue
		}
		if paused := r.paused(rec.user.key()); paused != nil {
			return nil, nil, paused
		}
		if err := r.lease(ctx, user, e); errors.Is(err, errChanged) {
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
			_ = r.vault.save(context.WithoutCancel(ctx), user, e)
		case !errors.Is(err, errChanged):
			return nil, nil, r.storeFails(want.asker, key, err)
		}
	}
}

// shared is grant with what each session of the user may take over of the
// person: not what a single sign-in has proved.
func (r *record) shared() *grant {
	g := r.grant()
	g.identity = &identity{user: r.user, extra: r.extra}
	return g
}

// lease takes an entry for this process.
func (r *renewals) lease(ctx context.Context, user string, e *keptTokens) error {
	e.Lease = time.Now().Add(leaseTime).Round(0) // by the wall clock: the machine may be asleep meanwhile
	return r.vault.save(ctx, user, e)
}

// takeSlot waits for a slot, which the caller gives back. A lease that has grown
// old meanwhile is taken once more.
func (r *renewals) takeSlot(ctx context.Context, user string, e *keptTokens) error {
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
func (r *renewals) askStored(want renewal, rec *record, mine *keptTokens) (*grant, *Failure) {
	defer func() { <-r.slots }()
	if paused := r.admit(rec.user.key()); paused != nil {
		return nil, paused
	}
	asking := mine.rec.clone()
	asking.id = rec.id // which knows of the outcome
	return r.ask(want, asking, mine.rec.refresh)
}

// saveLate saves what the provider has given. Where the entry has changed but
// still has the refresh token that is used up, what is new has to get in; where
// the provider hands out the same one again, nothing is lost.
func (r *renewals) saveLate(ctx context.Context, user string, late *unsaved) error {
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
		if err = r.vault.save(ctx, user, late.mine); err == nil {
			break
		}
		if !errors.Is(err, errChanged) {
			continue
		}
		now, loaded := r.vault.load(ctx, user)
		if loaded == nil && now.rec.user.same(&late.mine.rec.user) && now.rec.refresh == late.used && late.mine.rec.refresh != late.used {
			late.mine.Version, late.mine.Shared, late.mine.place = now.Version, now.Shared, now.place
			continue
		}
		if loaded == nil || errors.Is(loaded, errNothingKept) || errors.Is(loaded, errEntry) {
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
	if held, _ := r.unsaved.get(r.lateKey(late.mine.rec)); held == late {
		r.unsaved.drop(r.lateKey(late.mine.rec))
	}
	if late.grant != nil {
		r.granted.put(late.owner, late.grant, time.Now().Add(outcomeGrace))
	}
	return nil
}

// retrySave tries later what could not be saved, as long as it is remembered.
func (r *renewals) retrySave(user string, late *unsaved, after time.Duration) {
	key := r.lateKey(late.mine.rec)
	time.AfterFunc(after, func() {
		if held, _ := r.unsaved.get(key); held == late && r.saveLate(context.Background(), user, late) != nil {
			r.retrySave(user, late, min(2*after, longestRetry))
		}
	})
}

// storeFails makes an error of a store one that passes. It does not name what
// is stored.
func (r *renewals) storeFails(ctx context.Context, key tokenKey, err error) *Failure {
	failure := &Failure{Class: kindRetry, Err: err}
	r.observer.storeFailed(ctx, "token store", err)
	r.observer.weaken(ctx, weakTokens, "", weakFor, err)
	if r.refusal(key) == nil {
		r.refuse(key, failure, time.Second)
	}
	return failure
}
