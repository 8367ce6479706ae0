package renew

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/ttl"
)

// storedState is what this process knows of tokens that the app stores for its
// users, apart from their outcomes.
type storedState struct {
	unsaved *ttl.Map[Key, *unsaved] // what the store has not taken yet, by unsavedKey
	// generations makes the ownerKey of a user another one with each ForgetStored,
	// by userKey.
	generations *ttl.Map[Key, uint64]
	forgets     atomic.Uint64 // calls of ForgetStored
}

func newStoredState() storedState {
	return storedState{unsaved: ttl.New[Key, *unsaved](MaxOutcomes), generations: ttl.New[Key, uint64](MaxOutcomes)}
}

func (s *storedState) generation(user Key) uint64 {
	n, _ := s.generations.Get(user)
	return n
}

// ForgetStored forgets what is known of a user's tokens, of whichever account:
// there are newer ones, or none. What could not be saved yet finds that out by
// itself.
func (r *Renewals) ForgetStored(user string) {
	longer := time.Now().Add(2 * provider.MaxRetryAfter) // than anything that is forgotten
	r.stored.generations.Put(r.userKey(user), r.stored.forgets.Add(1), longer)
}

// ownStored returns what is known of a user's own tokens in this process.
func (r *Renewals) ownStored(rec *session.Record) (*provider.TokenSet, *provider.Failure) {
	key := r.ownerKey(rec)
	own, ok := r.outcomes.renewed.Get(key)
	if !ok || own.Issued < rec.Renewed {
		own = rec.TokenSet()
	}
	return own, r.outcomes.refused.Find(key)
}

// flyStored is fly for tokens that are stored for one of the app's users.
func (f *flight) flyStored() (*outcome, error) {
	o := &outcome{wanted: f.want.Wanted}
	own, failed := f.r.ownStored(f.rec)
	known, failed := f.r.knownFor(f.rec, f.want.Wanted, own, failed)
	if failed != nil {
		return o, failed
	}
	if known != nil && !f.want.Due(known) {
		o.tokens = known
		return o, nil
	}
	ctx, cancel := context.WithTimeout(f.asker, 2*leaseTime)
	defer cancel()
	tokens, err := f.renewStored(ctx)
	if err != nil {
		return o, err
	}
	o.tokens = tokens
	return o, nil
}

// renewStored claims the user's entry, makes the token request, and saves what
// came of it.
func (f *flight) renewStored(ctx context.Context) (*provider.TokenSet, error) {
	mine, known, err := f.claim(ctx)
	if mine == nil {
		return known, err
	}
	used := mine.Rec.Refresh
	tokens, failed := f.askStored(mine)
	shared := mine.update(f.want.Wanted, tokens, failed)
	if tokens == nil {
		f.saveRefused(ctx, mine, failed)
		return nil, failed
	}
	late := &unsaved{turn: make(chan struct{}, 1), entry: mine, used: used, tokens: shared, owner: f.key}
	if storing := f.saveNew(ctx, late); storing != nil {
		return nil, storing
	}
	switch {
	case failed != nil:
		return nil, failed
	case shared != nil:
		return shared, nil
	}
	return tokens, nil
}

// claim takes the lease of a user's entry, and a slot. Where that is not called
// for, the entry is nil, and there are tokens or an error in its place.
func (f *flight) claim(ctx context.Context) (mine *Entry, known *provider.TokenSet, err error) {
	r, user := f.r, f.rec.UserKey
	var wait leaseWait
	for {
		if ctx.Err() != nil {
			return nil, nil, &provider.Failure{Class: provider.Retry, Err: ctx.Err()}
		}
		e, err := r.Vault.Load(ctx, user)
		if err == nil {
			if late, ok := r.stored.unsaved.Get(r.unsavedKey(e.Rec)); ok {
				if err := r.saveLate(ctx, user, late); err != nil {
					return nil, nil, r.storeFails(f.asker, f.key, err)
				}
				continue
			}
		}
		if known, err := f.judge(e, err); known != nil || err != nil {
			return nil, known, err
		}
		if waited, err := wait.wait(ctx, e.StoredTokens); waited || err != nil {
			continue
		}
		if paused := r.breaker.wouldRefuse(f.rec.User.Key()); paused != nil {
			return nil, nil, paused
		}
		if err := r.Vault.lease(ctx, user, e); errors.Is(err, ErrConflict) {
			_ = wait.pause(ctx)
			continue
		} else if err != nil {
			return nil, nil, r.storeFails(f.asker, f.key, err)
		}
		switch err := r.takeSlot(ctx, user, e); {
		case err == nil:
			return e, nil, nil
		case ctx.Err() != nil: // too many are waiting: the next one begins anew
			e.Lease = time.Time{}
			_ = r.Vault.save(context.WithoutCancel(ctx), user, e)
		case !errors.Is(err, ErrConflict):
			return nil, nil, r.storeFails(f.asker, f.key, err)
		}
	}
}

// judge returns why an entry that was loaded, or was not, needs no token request:
// tokens that another process has renewed, or an error; neither if it needs one.
func (f *flight) judge(e *Entry, err error) (*provider.TokenSet, error) {
	switch {
	case errors.Is(err, ErrNoTokens), errors.Is(err, ErrUnreadable):
		return nil, &provider.Failure{Class: provider.SignIn, Err: err}
	case err != nil:
		return nil, f.r.storeFails(f.asker, f.key, err)
	case !e.Rec.User.Same(&f.rec.User):
		return nil, &provider.Failure{Class: provider.SignIn, Err: provider.ErrAnotherPerson}
	case e.SignInRequired:
		return nil, e.RefusedBefore()
	}
	if known := e.Rec.Shared(); f.want.Wanted == (TokenRequest{}) && !f.want.Due(known) {
		f.r.outcomes.renewed.Put(f.key, known, time.Now().Add(outcomeGrace))
		return known, nil
	}
	if e.Rec.Refresh == "" {
		return nil, &provider.Failure{Class: provider.SignIn, Err: ErrNoRefreshToken}
	}
	return nil, nil
}

// askStored makes the token request with a claimed entry, and gives the slot back.
func (f *flight) askStored(mine *Entry) (*provider.TokenSet, *provider.Failure) {
	defer func() { <-f.r.slots }()
	if paused := f.r.breaker.admit(f.rec.User.Key()); paused != nil {
		return nil, paused
	}
	ask := *f
	ask.rec, ask.refresh = mine.Rec.Clone(), mine.Rec.Refresh
	ask.rec.ID = f.rec.ID // the session that asks finds the outcome
	a := ask.request()
	ask.conclude(a)
	return a.tokens, a.failed
}

// update puts into a claimed entry what a token request has come to. Of a renewal it
// returns the tokens as each session of the user may have them.
func (e *Entry) update(w TokenRequest, tokens *provider.TokenSet, failed *provider.Failure) (shared *provider.TokenSet) {
	e.Lease = time.Time{}
	switch {
	case failed == nil && w.Scopes == "":
		e.Rec = e.Rec.RenewedBy(tokens)
		return e.Rec.Shared()
	case tokens != nil: // for other scopes, or with an ID token that cannot be accepted
		e.Rec = e.Rec.MovedTo(tokens.Refresh)
	case w.Scopes == "" && failed.Class == provider.SignIn:
		e.SignInRequired = true
	case w == (TokenRequest{}) && failed.Class == provider.StepUp:
		e.SignInRequired = true
		e.Rec = e.Rec.Clone()
		e.Rec.StepUp, e.Rec.Claims = true, failed.Claims
	}
	return nil
}

// RefusedBefore returns why an entry with SignInRequired is of no use until the
// person has signed in again.
func (e *Entry) RefusedBefore() *provider.Failure {
	failure := &provider.Failure{Class: provider.SignIn, Err: errors.New("the stored tokens were refused before")}
	if e.Rec.StepUp {
		failure.Class, failure.Claims = provider.StepUp, e.Rec.Claims
	}
	return failure
}

// saveRefused saves a claimed entry after a failure that brought no tokens: its
// lease is over at least.
func (f *flight) saveRefused(ctx context.Context, mine *Entry, failed *provider.Failure) {
	// Whoever asked may be gone: it must be saved all the same.
	err := f.r.Vault.save(context.WithoutCancel(ctx), f.rec.UserKey, mine)
	if err == nil || errors.Is(err, ErrConflict) {
		return
	}
	// f.key is that of before the save: where the user has signed in meanwhile, the
	// refusal says nothing of the new tokens.
	f.r.storeFails(f.asker, f.key, err)
	if mine.SignInRequired { // which the entry does not say
		f.r.outcomes.refused.Remember(f.key, failed, refusalGrace)
	}
}

// storeFails makes an error of the token store one that passes, and remembers it
// for a second. The error does not name what is stored.
func (r *Renewals) storeFails(ctx context.Context, key Key, err error) *provider.Failure {
	failure := &provider.Failure{Class: provider.Retry, Err: err}
	r.Observer.StoreFailed(ctx, "token store", err)
	r.Observer.Weaken(ctx, weakTokens, "", weakFor, err)
	if r.outcomes.refused.Find(key) == nil {
		r.outcomes.refused.Remember(key, failure, time.Second)
	}
	return failure
}
