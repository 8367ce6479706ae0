package msauth

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// leaseTime is how long one process has to renew a user's tokens before
	// others try. It is longer than a token request and its saves may take.
	leaseTime = 1 * time.Minute
	// leasePoll is when those who wait for it look first; then it takes twice as
	// long each time, up to longestPoll.
	leasePoll   = 10 * time.Millisecond
	longestPoll = 500 * time.Millisecond
	// storeTimeout bounds each call of a TokenStore's methods.
	storeTimeout = 10 * time.Second
	saveAttempts = 3
	savePause    = 100 * time.Millisecond // between them, more each time
	// What cannot be saved is tried again after this time, then after twice as
	// long, up to longestRetry, as long as refresh tokens live (90 days).
	firstRetry    = 1 * time.Second
	longestRetry  = 1 * time.Minute
	refreshExpiry = 90 * 24 * time.Hour
	maxUserKey    = 255      // bytes
	maxSealed     = 64 << 10 // bytes
)

// A vault is [Config.Tokens] as this package uses it. What an entry holds is
// sealed for its user: entries that change places are worth nothing.
type vault struct {
	store        TokenStore
	keys         aeads
	registration registration
	layout       *layout
}

// keptTokens are the entry of one user, opened. The record has the refresh
// token, which sessions in cookies of such users have not.
type keptTokens struct {
	StoredTokens
	rec     *record
	resealt bool // it was sealed with a key that no longer seals
}

// errEntry means that an entry cannot be opened: a key was dropped too early,
// or it is another app's.
var errEntry = errors.New("msauth: the stored tokens do not open with Config.Keys for this user")

func (v *vault) additional(user string) []byte {
	return append(append([]byte("msauth stored tokens v1\x00"), v.registration[:]...), user...)
}

// call bounds a call of the app's store, and makes a panic in it an error.
func (v *vault) call(ctx context.Context, f func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrNoTokens):
			err = ErrNoTokens
		default:
			err = fmt.Errorf("msauth: Config.Tokens: %w", err)
		}
	}()
	return f(ctx)
}

// read returns an entry as it is stored.
func (v *vault) read(ctx context.Context, user string) (stored StoredTokens, err error) {
	err = v.call(ctx, func(ctx context.Context) (err error) {
		if stored, err = v.store.Load(ctx, user); err == nil && stored.Version <= 0 {
			err = fmt.Errorf("Load gave an entry of version %d", stored.Version)
		}
		return err
	})
	return stored, err
}

// load returns an entry, or [ErrNoTokens].
func (v *vault) load(ctx context.Context, user string) (*keptTokens, error) {
	stored, err := v.read(ctx, user)
	if err != nil {
		return nil, err
	}
	plain, old, err := v.keys.open(append([]byte(nil), stored.Sealed...), v.additional(user))
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
	return &keptTokens{StoredTokens: stored, rec: rec, resealt: old}, nil
}

// save puts an entry in the place of the one that it was made from, and leaves
// it as it is in the store.
func (v *vault) save(ctx context.Context, user string, e *keptTokens) error {
	next := e.StoredTokens
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
			return fmt.Errorf("%w: %d bytes for Config.Tokens, where %d may be used", ErrCookieTooLarge, len(next.Sealed), maxSealed)
		}
	}
	next.Account = e.rec.user.Key()
	if err := v.write(ctx, user, e.Version, &next); err != nil {
		return err
	}
	e.StoredTokens = next
	return nil
}

// write draws a version and saves. Where the store does not say whether it has,
// it is asked.
func (v *vault) write(ctx context.Context, user string, old int64, next *StoredTokens) error {
	for next.Version = old; next.Version == old || next.Version == 0; {
		next.Version = rand.Int64() // #nosec G404 -- tells saves apart, no secret
	}
	err := v.call(ctx, func(ctx context.Context) error { return v.store.Save(ctx, user, old, *next) })
	if err == nil || errors.Is(err, ErrConflict) || errors.Is(err, ErrAccountTaken) {
		return err
	}
	if stored, loaded := v.read(context.WithoutCancel(ctx), user); loaded == nil && stored.Version == next.Version {
		return nil
	}
	return err
}

// delete removes an entry.
func (v *vault) delete(ctx context.Context, user string) error {
	return v.call(ctx, func(ctx context.Context) error { return v.store.Delete(ctx, user) })
}

// A leaseWait is the wait for somebody else who renews a user's tokens: the
// entry is theirs to save.
type leaseWait struct {
	version int64
	since   time.Time
	looked  int
}

// wait waits a moment if there is somebody. It trusts its own clock more than
// theirs: a lease is over when it has been seen for as long as one lasts, and is
// none if it ends later than one could.
func (l *leaseWait) wait(ctx context.Context, e *keptTokens) (waited bool, err error) {
	left := time.Until(e.Lease)
	if left <= 0 || left > 2*leaseTime {
		return false, nil
	}
	if l.version != e.Version {
		l.version, l.since = e.Version, time.Now()
	} else if time.Since(l.since) >= leaseTime {
		return false, nil
	}
	return true, l.pause(ctx, left)
}

// pause waits longer each time.
func (l *leaseWait) pause(ctx context.Context, most time.Duration) error {
	poll := min(leasePoll<<min(l.looked, 10), longestPoll)
	l.looked++
	timer := time.NewTimer(min(most, poll/2+rand.N(poll))) // #nosec G404 -- jitter, no secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var (
	// errOtherAccount means that a user who has connected one Microsoft account
	// comes with another.
	errOtherAccount = errors.New("msauth: the user is connected to another Microsoft account")
	// errUserKey is a mistake of the app's.
	errUserKey = errors.New("msauth: SignIn.UserKey has more than 255 bytes")
)

// keep saves what a sign-in has brought. replace allows another account in the
// place of the one that the user had, share one that another user has. undo puts
// back what was there before.
func (v *vault) keep(ctx context.Context, rec *record, replace, share bool) (undo func() error, err error) {
	user := rec.userKey
	if len(user) > maxUserKey {
		return nil, errUserKey
	}
	ctx = context.WithoutCancel(ctx) // half a sign-in helps nobody
	for attempt := 0; ; attempt++ {
		before, err := v.read(ctx, user)
		if err != nil && !errors.Is(err, ErrNoTokens) {
			return nil, err
		}
		same := before.Account == rec.user.Key()
		if err == nil && !same && !replace {
			return nil, errOtherAccount
		}
		e := &keptTokens{StoredTokens: StoredTokens{Version: before.Version, Shared: share || before.Shared && same}, rec: rec}
		err = v.save(ctx, user, e)
		if errors.Is(err, ErrConflict) && attempt < saveAttempts {
			continue
		}
		return func() error {
			if before.Version == 0 {
				if now, err := v.read(ctx, user); err != nil || now.Version != e.Version {
					return err // somebody else's by now
				}
				return v.delete(ctx, user)
			}
			if err := v.write(ctx, user, e.Version, &before); !errors.Is(err, ErrConflict) {
				return err
			}
			return nil
		}, err
	}
}

// userKey stands for a user, and for the account that a session is of, where
// refresh tokens have a tokenKey.
func (r *renewals) userKey(user, account string) tokenKey {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(user))) // #nosec G115 -- a length
	return r.key(secret("\x00user " + string(n[:]) + user + account))
}

// ownerKey is userKey of a record.
func (r *renewals) ownerKey(rec *record) tokenKey { return r.userKey(rec.userKey, rec.user.Key()) }

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
func (r *renewals) ownStored(rec *record) (*grant, *AuthError) {
	key := r.ownerKey(rec)
	own, ok := r.granted.get(key)
	if !ok || own.issued < rec.renewed {
		own = rec.grant()
	}
	return own, r.refusal(key)
}

// refusedBefore is what an entry says that is of no use until the person has
// signed in again.
func (e *keptTokens) refusedBefore() *AuthError {
	failure := &AuthError{Class: ClassSignIn, Err: errors.New("the stored tokens were refused before")}
	if e.rec.stepUp {
		failure.Class, failure.Claims = ClassStepUp, e.rec.claims
	}
	return failure
}

// renewStored takes the lease of a user's entry, asks, and saves.
func (r *renewals) renewStored(ctx context.Context, want renewal, rec *record) (*grant, error) {
	user, key := rec.userKey, r.ownerKey(rec)
	var wait leaseWait
	var mine *keptTokens
	for {
		if ctx.Err() != nil {
			return nil, &AuthError{Class: ClassRetry, Err: ctx.Err()}
		}
		if late, ok := r.unsaved.get(r.userKey(user, "")); ok {
			if err := r.saveLate(ctx, user, late); err != nil {
				return nil, r.storeFails(key, err)
			}
		}
		e, err := r.vault.load(ctx, user)
		switch {
		case errors.Is(err, ErrNoTokens), errors.Is(err, errEntry):
			return nil, &AuthError{Class: ClassSignIn, Err: err}
		case err != nil:
			return nil, r.storeFails(key, err)
		case e.rec.user.Key() != rec.user.Key():
			return nil, &AuthError{Class: ClassSignIn, Err: errAnotherPerson}
		case e.SignInRequired:
			return nil, e.refusedBefore()
		}
		if g := e.rec.grant(); want.wish == (wish{}) && !want.due(g) {
			r.granted.put(key, g, time.Now().Add(outcomeGrace))
			return g, nil // somebody else has renewed them
		}
		if e.rec.refresh == "" {
			return nil, &AuthError{Class: ClassSignIn, Err: errNoRefreshToken}
		}
		if waited, err := wait.wait(ctx, e); waited || err != nil {
			continue
		}
		if paused := r.paused(rec.user.Key()); paused != nil {
			return nil, paused
		}
		if err := r.lease(ctx, user, e); errors.Is(err, ErrConflict) {
			_ = wait.pause(ctx, leaseTime)
			continue
		} else if err != nil {
			return nil, r.storeFails(key, err)
		}
		if err := r.takeSlot(ctx, user, e); errors.Is(err, ErrConflict) || ctx.Err() != nil {
			continue
		} else if err != nil {
			return nil, r.storeFails(key, err)
		}
		mine = e
		break
	}
	g, failed := r.askStored(want, rec, mine)
	late := &unsaved{turn: make(chan struct{}, 1), mine: mine, used: mine.rec.refresh, owner: key}
	mine.Lease = time.Time{}
	switch {
	case failed == nil && want.wish.scopes == "":
		mine.rec, late.grant = mine.rec.renewedBy(g), g
	case failed == nil:
		mine.rec = mine.rec.movedTo(g.refresh)
	case want.wish.scopes == "" && failed.Class == ClassSignIn:
		mine.SignInRequired = true
	case want.wish == (wish{}) && failed.Class == ClassStepUp:
		mine.SignInRequired = true
		mine.rec = mine.rec.clone()
		mine.rec.stepUp, mine.rec.claims = true, failed.Claims
	}
	// Whoever asked may be gone: the tokens must be kept all the same.
	ctx = context.WithoutCancel(ctx)
	if failed != nil {
		if err := r.vault.save(ctx, user, mine); err != nil && !errors.Is(err, ErrConflict) {
			r.storeFails(key, err)
		}
		return nil, failed
	}
	r.unsaved.put(r.userKey(user, ""), late, time.Now().Add(refreshExpiry))
	if err := r.saveLate(ctx, user, late); err != nil {
		r.retrySave(user, firstRetry)
		return nil, r.storeFails(key, err)
	}
	return g, nil
}

// lease takes an entry for this process.
func (r *renewals) lease(ctx context.Context, user string, e *keptTokens) error {
	e.Lease = time.Now().Add(leaseTime)
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
	if time.Until(e.Lease) >= leaseTime/2 {
		return nil
	}
	<-r.slots
	if err := r.lease(ctx, user, e); err != nil {
		return err
	}
	return r.takeSlot(ctx, user, e)
}

// askStored makes the request, and gives the slot back.
func (r *renewals) askStored(want renewal, rec *record, mine *keptTokens) (*grant, *AuthError) {
	defer func() { <-r.slots }()
	if paused := r.admit(rec.user.Key()); paused != nil {
		return nil, paused
	}
	asking := mine.rec.clone()
	asking.id = rec.id // which knows of the outcome
	return r.ask(want, asking, mine.rec.refresh)
}

// saveLate saves what the provider has given. Where the entry has changed but
// still has the refresh token that is used up, what is new has to get in.
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
		if !errors.Is(err, ErrConflict) {
			continue
		}
		now, loaded := r.vault.load(ctx, user)
		if loaded == nil && now.rec.user.Key() == late.mine.rec.user.Key() && now.rec.refresh == late.used {
			late.mine.Version, late.mine.Shared = now.Version, now.Shared
			continue
		}
		if loaded == nil || errors.Is(loaded, ErrNoTokens) || errors.Is(loaded, errEntry) {
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
	if held, _ := r.unsaved.get(r.userKey(user, "")); held == late {
		r.unsaved.drop(r.userKey(user, ""))
	}
	if late.grant != nil {
		r.granted.put(late.owner, late.grant, time.Now().Add(outcomeGrace))
	}
	return nil
}

// retrySave tries later what could not be saved.
func (r *renewals) retrySave(user string, after time.Duration) {
	time.AfterFunc(after, func() {
		if late, ok := r.unsaved.get(r.userKey(user, "")); ok && r.saveLate(context.Background(), user, late) != nil {
			r.retrySave(user, min(2*after, longestRetry))
		}
	})
}

// storeFails makes an error of a store one that passes. It does not name what
// is stored.
func (r *renewals) storeFails(key tokenKey, err error) *AuthError {
	failure := &AuthError{Class: ClassRetry, Err: err}
	r.events.log.Error("msauth: the token store fails", "event", "token_store_failed", "err", err)
	if r.refusal(key) == nil {
		r.refused.put(key, refusal{err: failure}, time.Now().Add(time.Second))
	}
	return failure
}

// forgetStored forgets what is known of a user's tokens: there are newer ones,
// or none.
func (r *renewals) forgetStored(user, account string) {
	key := r.userKey(user, account)
	r.granted.drop(key)
	r.refused.drop(key)
	r.unsaved.drop(r.userKey(user, ""))
}

// Offline returns a session for one of the app's users whose tokens
// [Config.Tokens] keeps, whether they are there or not: for workers. Its methods
// work like those of a session of a request, with Client, Token and
// TokenSource; it does not end by itself. user is what [SignIn.UserKey] was.
//
// The error is [ErrNoTokens] when nothing is kept for the user,
// [ErrSignInRequired] when Microsoft has refused what is kept, which
// the methods of the session return too, when it happens: tell the person, and
// leave the user alone until they have signed in. Other errors are those of the
// store.
func (m *Middleware) Offline(ctx context.Context, user string) (*Session, error) {
	if m.vault == nil {
		return nil, errors.New("msauth: Offline needs Config.Tokens")
	}
	e, err := m.vault.load(ctx, user)
	switch {
	case errors.Is(err, errEntry):
		return nil, &AuthError{Class: ClassSignIn, Err: err}
	case err != nil:
		return nil, err
	case e.SignInRequired:
		return nil, e.refusedBefore()
	case !admits(&e.rec.user, m.cfg.Tenant, m.cfg.AllowedTenants):
		return nil, &AuthError{Class: ClassNotAllowed, Err: errNotAdmitted}
	}
	return new(heldSession).of(m, e.rec, nil), nil
}

// Disconnect forgets the tokens of one of the app's users. Sessions of theirs in
// browsers end when their access token does, after an hour or so; so does what
// was copied of it. Microsoft offers no way to revoke one app's refresh tokens:
// the person can take back their consent (https://myapps.microsoft.com for work
// accounts, https://account.live.com/consent/Manage for personal ones), and an
// administrator can revoke all sessions of a person.
func (m *Middleware) Disconnect(ctx context.Context, user string) error {
	if m.vault == nil {
		return errors.New("msauth: Disconnect needs Config.Tokens")
	}
	before, err := m.vault.read(ctx, user)
	if err != nil && !errors.Is(err, ErrNoTokens) {
		return err
	}
	if err := m.vault.delete(ctx, user); err != nil {
		return err
	}
	m.renewals.forgetStored(user, before.Account)
	return nil
}

// Reseal seals what is kept for a user with the first of [Config.Keys], if that
// is not so: after it was done for all, an old key can be dropped. Errors are
// [ErrNoTokens] and those of the store.
func (m *Middleware) Reseal(ctx context.Context, user string) error {
	if m.vault == nil {
		return errors.New("msauth: Reseal needs Config.Tokens")
	}
	var wait leaseWait
	for {
		e, err := m.vault.load(ctx, user)
		if err != nil || !e.resealt {
			return err
		}
		if waited, err := wait.wait(ctx, e); err != nil {
			return err
		} else if waited {
			continue
		}
		if err = m.vault.save(ctx, user, e); !errors.Is(err, ErrConflict) {
			return err
		}
		if err := wait.pause(ctx, leaseTime); err != nil {
			return err
		}
	}
}
