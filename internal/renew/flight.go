package renew

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

// How long a request waits for a renewal before its handler is served without
// the new token: Session.Token of package msauth can still wait for it.
const (
	// ValidPatience is for an access token that is due but still valid.
	ValidPatience = 1 * time.Second
	// ExpiredPatience is for one that has expired.
	ExpiredPatience = 5 * time.Second
)

const (
	maxFlights = 32 // token requests at one time; more wait their turn
	mostRaces  = 20 // how often one call of Renew can lose to others of its session
)

var (
	// ErrSessionOver means that the session ended while its tokens were renewed.
	ErrSessionOver = errors.New("msauth: nobody is signed in")
	// ErrNoRefreshToken means that there is nothing to renew with.
	ErrNoRefreshToken = errors.New("msauth: the provider gave no refresh token")
	// ErrPending means that the renewal goes on without the request.
	ErrPending = errors.New("msauth: renewal still under way")
)

// A Request asks for tokens that are newer than those of a record, or for others.
type Request struct {
	Rec    *session.Record // whose tokens are meant; unpacked
	Wanted TokenRequest    // zero for a renewal of the session's own tokens
	Reason string          // for the log
	// Due reports whether remembered tokens are too old to be the answer.
	Due func(*provider.TokenSet) bool
	// Patience is how long to wait, 0 for as long as the context lasts.
	Patience time.Duration
	// OnlyKnown is for those who must not ask the provider: they get what is
	// remembered.
	OnlyKnown bool
	// KeepUntil is how long the browser may come with the refresh token that it
	// has.
	KeepUntil time.Time
	// Reload, if not nil, reads the record again where it is kept on the server;
	// it returns nil when the record is gone.
	Reload func() (*session.Record, error)
}

// Renew returns the tokens that are asked for: remembered ones if they are new
// enough, else those of a token request, which others may wait for as well. They
// are the newest there are and can come together with an error, if asking once
// more has failed. The error is a [provider.Failure] or ErrPending.
func (r *Renewals) Renew(ctx context.Context, want Request) (*provider.TokenSet, error) {
	var timeout <-chan time.Time
	if want.Patience > 0 {
		timer := time.NewTimer(want.Patience)
		defer timer.Stop()
		timeout = timer.C
	}
	rec := want.Rec
	for races := 0; ; {
		own, failed, refresh := r.Own(rec)
		known, failed := r.knownFor(rec, want.Wanted, own, failed)
		switch {
		case known != nil && !want.Due(known):
			return known, nil
		case failed != nil:
			return known, failed
		case want.OnlyKnown:
			return known, nil
		case refresh == "" && rec.UserKey == "":
			return known, &provider.Failure{Class: provider.SignIn, Err: ErrNoRefreshToken}
		}
		f := &flight{r: r, want: want, rec: rec, refresh: refresh, asker: context.WithoutCancel(ctx)}
		select {
		case landed := <-f.join():
			switch o, _ := landed.Val.(*outcome); {
			case o == nil:
				return known, landed.Err
			case o.newer != nil:
				rec = o.newer
			case o.wanted != want.Wanted:
				// Another token request with the same refresh token: now it is ours.
			case o.tokens == nil && landed.Err == nil:
				if races == mostRaces {
					return known, &provider.Failure{Class: provider.Retry, Err: errors.New("the refresh tokens go round in circles")}
				}
				races++ // somebody has renewed since we looked
			case landed.Err != nil:
				if want.Wanted == (TokenRequest{}) {
					known, _, _ = r.Own(rec) // a failure can bring a new refresh token all the same
				}
				return known, landed.Err
			default:
				return o.tokens, nil
			}
		case <-timeout:
			return known, ErrPending
		case <-ctx.Done():
			return known, &provider.Failure{Class: provider.Retry, Err: ctx.Err()}
		}
	}
}

// A flight is one renewal under way: from the last look at what is known to what
// is remembered of the answer. Nobody else may use its refresh token meanwhile,
// whatever for, so a flight never uses another than the one its key names.
type flight struct {
	r       *Renewals
	want    Request         // of whoever began it
	rec     *session.Record // the session that it is for
	refresh seal.Secret     // the newest refresh token of that; "" where it is stored
	asker   context.Context // of whoever began it, for logs and traces; never canceled
	key     Key             // names it: see ownKey
}

// An outcome is what everyone gets who waits for a flight. Without tokens and
// newer it says to look again at what is known.
type outcome struct {
	wanted TokenRequest // what the flight was for
	tokens *provider.TokenSet
	newer  *session.Record // to go on with: the server has it by now
}

// join starts the flight, or waits for the one that is under way with the same
// refresh token, of whoever.
func (f *flight) join() <-chan singleflight.Result {
	f.key = f.r.ownKey(f.rec, f.refresh)
	return f.r.flights.DoChan(string(f.key[:]), func() (_ any, err error) {
		// Nothing could recover a panic of the app's transport, logger or store
		// from here on up.
		defer provider.RecoverInto(&err)
		f.r.under.Add(1)
		defer f.r.under.Add(-1)
		f.fetchOther()
		if f.rec.UserKey != "" {
			return f.flyStored()
		}
		return f.fly()
	})
}

// fly is a flight whose refresh token is the session's.
func (f *flight) fly() (*outcome, error) {
	o := &outcome{wanted: f.want.Wanted}
	// A flight that ended between Renew's look and now has the answer.
	own, failed, newest := f.r.Known(f.refresh)
	if newest != f.refresh {
		return o, nil
	}
	known, failed := f.r.knownFor(f.rec, f.want.Wanted, own, failed)
	if failed != nil {
		return o, failed
	}
	if known != nil && !f.want.Due(known) {
		o.tokens = known
		return o, nil
	}
	if o.newer, failed = f.reload(); failed != nil {
		return o, failed
	}
	if o.newer != nil {
		return o, nil
	}
	mine, failed, ok := f.takeTurn()
	if !ok {
		if failed != nil {
			return o, failed
		}
		return o, nil
	}
	end := sync.OnceFunc(mine.end)
	defer end()
	if paused := f.r.breaker.admit(f.rec.User.Key()); paused != nil {
		mine.giveUp()
		return o, paused
	}
	a := f.request()
	if a.failed != nil && a.failed.Class == provider.SignIn {
		end() // what follows takes a second, and the provider nothing
		if o.newer = f.renewedElsewhere(); o.newer != nil {
			mine.giveUp()
			return o, nil
		}
		mine.judgeRefusal(&a)
	}
	f.conclude(a)
	mine.share(a)
	if a.failed != nil {
		return o, a.failed
	}
	o.tokens = a.tokens
	return o, nil
}

// reload returns the record that the server has, if another process has renewed
// it.
func (f *flight) reload() (newer *session.Record, failed *provider.Failure) {
	if f.want.Reload == nil {
		return nil, nil
	}
	newer, err := f.want.Reload()
	switch {
	case err != nil:
		f.r.Observer.StoreFailed(f.asker, "session store", err)
		return nil, &provider.Failure{Class: provider.Retry, Err: err}
	case newer == nil || newer.ID != f.rec.ID:
		return nil, &provider.Failure{Class: provider.SignIn, Err: ErrSessionOver}
	case f.replacedBy(newer):
		return newer, nil
	}
	return nil, nil
}

// renewedElsewhere looks whether the refresh token was refused because another
// process used it at the same time: what that saved may take a moment to be there.
func (f *flight) renewedElsewhere() *session.Record {
	if f.want.Reload == nil {
		return nil
	}
	for _, pause := range [...]time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond} {
		time.Sleep(pause)
		newer, err := f.want.Reload()
		if err != nil || newer == nil || newer.ID != f.rec.ID {
			return nil
		}
		if f.replacedBy(newer) {
			return newer
		}
	}
	return nil
}

// replacedBy reports whether a record has a refresh token that is not known here:
// then another process has renewed.
func (f *flight) replacedBy(newer *session.Record) bool {
	return !f.r.LeadsTo(newer.Refresh, f.refresh) && newer.Refresh != f.rec.Refresh
}

// conclude remembers how the token request ended, and reports it.
func (f *flight) conclude(a answer) {
	if a.failed == nil {
		f.succeeded(a)
	} else {
		f.failed(a)
	}
}

func (f *flight) succeeded(a answer) {
	r, w := f.r, f.want.Wanted
	person := f.rec.User.Key()
	key := r.ownKey(f.rec, f.refresh) // another one than f.key after ForgetStored
	r.breaker.forgive(person)
	r.outcomes.refused.Forget(key)
	r.doubts.Drop(key)
	r.Succeeded(f.asker)
	switch {
	case w.Scopes != "":
		r.Observer.Mend(f.asker, weakAPI, w.Scopes)
		f.keepOther(a.tokens)
	case f.rec.UserKey == "": // else once the entry is saved
		r.outcomes.renewed.Put(key, a.tokens, time.Now().Add(outcomeGrace))
		if a.tokens.Refresh != f.refresh {
			r.outcomes.undelivered.Drop(r.Key(a.tokens.Refresh)) // it may come round in a circle
			r.outcomes.undelivered.Put(key, a.tokens, f.want.KeepUntil)
		}
	}
	r.Observer.Renewed(f.asker, person, f.want.Reason, w.Scopes != "", a.took)
}

func (f *flight) failed(a answer) {
	r, w, err := f.r, f.want.Wanted, a.failed
	refresh := f.refresh
	if a.tokens != nil && f.rec.UserKey == "" {
		refresh = a.tokens.Refresh
		f.moveOn(refresh)
	}
	// What other scopes or claims failed with does not hold for the session's own
	// token.
	alone := w.Scopes != "" || w.Claims != "" && err.Class != provider.SignIn
	key := r.ownKey(f.rec, refresh)
	if alone {
		key = r.RequestKey(f.rec.ID, w)
	}
	grace, passing := refusalGrace, err.Class == provider.Retry || err.Class == provider.Misconfigured
	if passing {
		grace = err.RetryAfter
	}
	// Where tokens are stored for the app's user, the entry says from now on that
	// they were refused, until a sign-in brings others: perhaps in another process.
	if f.rec.UserKey == "" || passing || alone {
		r.outcomes.refused.Remember(key, err, grace)
	}
	if w.Scopes != "" && err.Class == provider.Misconfigured && !r.Bound(err) && !r.breaker.doubted(err) {
		r.Observer.Weaken(f.asker, weakAPI, w.Scopes, weakFor, err)
	}
	if w == (TokenRequest{}) { // a handler can ask for scopes that do not exist
		r.report(f.asker, r.breaker.failure(f.rec, err), err)
	}
	r.Observer.RenewalFailed(f.asker, f.rec.User.Key(), f.want.Reason, w.Scopes != "", a.took, err)
	if err.Class == provider.SignIn && w.Scopes == "" {
		// Once for each session, whoever comes with its cookie afterwards.
		r.Observer.SessionEnded(f.asker, f.rec.User.Key(), err)
	}
}
