package renew

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/ttl"
	"golang.org/x/sync/singleflight"
)

const (
	outcomeGrace = 2 * time.Minute  // a renewal's outcome answers late requests this long
	refusalGrace = 10 * time.Minute // a refused refresh token is not tried again this long
	MaxOutcomes  = 10_000           // of each kind
	longestChain = MaxOutcomes      // refresh tokens, one from the other, that one cookie may have missed

	// How long a request waits before its handler is served without the new
	// token: Session.Token can still wait for it.
	ValidPatience   = 1 * time.Second
	ExpiredPatience = 5 * time.Second

	maxFlights = 32 // renewals at one time; more wait their turn
	mostRaces  = 20 // that one request can lose to others of its session

	longestBackOff = 10 * time.Second // of one refresh token, where the provider does not say
	pauseAfter     = 5                // failures in a row, as blame counts
	leaveToOthers  = 5 * time.Second  // by whom a probe has failed
	longestPause   = 60 * time.Second // that one Retry-After can impose on all
	troubleRecent  = 10 * time.Minute // Ready fails this long after "app misconfigured"
	troubleLogStep = 1 * time.Minute
)

// Renewals renews tokens: one request per refresh token at a time, its outcome
// shared by all who wait and remembered for those who come late.
type Renewals struct {
	Settings
	flights singleflight.Group
	slots   chan struct{} // one per request under way

	// What is known of a refresh token. The four are apart because they are
	// kept for very different times: where there are too many of one, it must
	// not be at the cost of another.
	granted *ttl.Map[Key, *provider.TokenSet] // what it gave
	untaken *ttl.Map[Key, *provider.TokenSet] // the same, until a browser was given it
	kept    *ttl.Map[Key, *provider.TokenSet] // what no cookie carries
	refused *ttl.Map[Key, Refusal]            // why it gives nothing for now

	others  *ttl.Map[Key, *provider.TokenSet] // for other APIs, by wish
	moved   *ttl.Map[Key, seal.Secret]        // what followed a refresh token that was used for these
	notices *ttl.Map[session.ID, PendingUpdate]
	// touching are the sessions of which an answer is under way that has the
	// tokens of before and only notes use.
	touching *ttl.Map[session.ID, struct{}]
	// Challenges are wishes for which a token was got because of one.
	Challenges *ttl.Map[Key, struct{}]

	unsaved *ttl.Map[Key, *unsaved]
	// forgotten tells how often forgetStored was called, by user.
	forgotten *ttl.Map[Key, uint64]
	forgets   atomic.Uint64

	struggling *ttl.Map[string, struggle] // people

	recoveries atomic.Uint64 // ends of pauses

	mu       sync.Mutex
	pause    pause
	trouble  *provider.Failure // the latest answer of class "app misconfigured"
	byProbe  bool              // a probe has found it: the next one may take it back
	troubled time.Time
	logged   time.Time
	probed   time.Time // when a suspicion has last cost a request
}

// An Observer is told what happens to tokens, for logs and counters. Its methods
// do not fail and do not panic.
type Observer interface {
	// Renewed and renewalFailed report one token request each. user is the key of
	// the account; other says that it was for another API than the session's own.
	Renewed(ctx context.Context, user, reason string, other bool, took time.Duration)
	RenewalFailed(ctx context.Context, user, reason string, other bool, took time.Duration, err *provider.Failure)
	SessionEnded(ctx context.Context, user string, err *provider.Failure)
	// Paused and resumed report that requests stop because the provider fails,
	// and go on.
	Paused(ctx context.Context, err *provider.Failure)
	Resumed(ctx context.Context)
	// Troubled reports what an operator must mend.
	Troubled(ctx context.Context, err *provider.Failure)
	// StoreFailed reports that what, "session store" or "token store", fails.
	StoreFailed(ctx context.Context, what string, err error)
	// Weaken notes what does not work while people can sign in, for a while;
	// about is the one of several that it is about. mend ends it.
	Weaken(ctx context.Context, what, about string, lasts time.Duration, err error)
	Mend(ctx context.Context, what, about string)
}

// A Key stands for a refresh token, in place of the token itself.
type Key [sha256.Size]byte

// A Refusal is why asking with one refresh token failed.
type Refusal struct {
	err   *provider.Failure
	until time.Time // when to ask again
	// failures is how often that failed in a row where nobody named a time to
	// wait for, else 0. Such a refusal is void once the provider has recovered,
	// which recoveries tells.
	failures   int
	recoveries uint64
}

// Settings are what renewals have to know of the app.
type Settings struct {
	Endpoint     *provider.TokenEndpoint
	Registration session.Registration
	Rules        provider.Scopes
	Scopes       []string // the app's own
	Tenants      int      // of how many tenants people may be; 0 for one, or none
	OneTenant    bool     // all are of one organization
	Observer     Observer
	Vault        *Vault // where the app keeps tokens, nil if it does not
}

func New(s Settings) *Renewals {
	return &Renewals{
		Settings:   s,
		slots:      make(chan struct{}, maxFlights),
		granted:    ttl.New[Key, *provider.TokenSet](MaxOutcomes),
		untaken:    ttl.New[Key, *provider.TokenSet](MaxOutcomes),
		kept:       ttl.New[Key, *provider.TokenSet](MaxOutcomes),
		refused:    ttl.New[Key, Refusal](MaxOutcomes),
		others:     ttl.New[Key, *provider.TokenSet](MaxOutcomes),
		moved:      ttl.New[Key, seal.Secret](MaxOutcomes),
		notices:    ttl.New[session.ID, PendingUpdate](MaxOutcomes),
		touching:   ttl.New[session.ID, struct{}](MaxOutcomes),
		Challenges: ttl.New[Key, struct{}](MaxOutcomes),
		unsaved:    ttl.New[Key, *unsaved](MaxOutcomes),
		forgotten:  ttl.New[Key, uint64](MaxOutcomes),
		struggling: ttl.New[string, struggle](MaxOutcomes),
	}
}

func (r *Renewals) Key(refresh seal.Secret) Key {
	h := sha256.New()
	h.Write(r.Registration[:])
	h.Write([]byte(refresh))
	return Key(h.Sum(nil))
}

// ErrSessionOver means that the session has ended while its tokens were renewed.
var ErrSessionOver = errors.New("msauth: nobody is signed in")

var errPaused = errors.New("msauth: renewals are paused, because those before failed")

var ErrNoRefreshToken = errors.New("msauth: the provider gave no refresh token")

// ErrPending means that the renewal goes on without the request.
var ErrPending = errors.New("msauth: renewal still under way")

// Known follows the outcomes of a refresh token to the newest of its chain.
// grant is the newest there is, nil if none; err is why the newest refresh
// token gives nothing more; refresh is that newest token.
func (r *Renewals) Known(refresh seal.Secret) (g *provider.TokenSet, err *provider.Failure, newest seal.Secret) {
	if refresh == "" { // people without one have nothing in common
		return nil, nil, ""
	}
	for range longestChain {
		key := r.Key(refresh)
		next := refresh
		came, ok := r.kept.Get(key)
		for _, outcomes := range [...]*ttl.Map[Key, *provider.TokenSet]{r.untaken, r.granted} {
			if granted, also := outcomes.Get(key); also && (!ok || granted.Issued >= came.Issued) {
				came, ok = granted, true
			}
		}
		if ok {
			g, next = came, came.Refresh
		}
		if moved, ok := r.moved.Get(key); ok && next == refresh {
			next = moved
		}
		if next == refresh { // the end, or the provider hands out the same one again
			err = r.refusal(key)
			break
		}
		refresh = next
	}
	if g != nil && g.Refresh != refresh {
		g = g.MovedTo(refresh)
	}
	return g, err, refresh
}

// OwnOf is known for a record, whose own tokens are the newest if nothing
// followed them. Where the refresh token is kept for the app's user, there is
// none here.
func (r *Renewals) Own(rec *session.Record) (*provider.TokenSet, *provider.Failure, seal.Secret) {
	if rec.UserKey != "" {
		g, err := r.ownStored(rec)
		return g, err, ""
	}
	g, err, newest := r.Known(rec.Refresh)
	if g == nil {
		if g = rec.TokenSet(); g.Refresh != newest {
			g = g.MovedTo(newest)
		}
	}
	return g, err, newest
}

// refusal is why a refresh token, or a wish, gives nothing for now.
func (r *Renewals) refusal(key Key) *provider.Failure { return r.RefusalIn(r.refused, key) }

// RefusalIn is refusal among those of another kind.
func (r *Renewals) RefusalIn(refused *ttl.Map[Key, Refusal], key Key) *provider.Failure {
	last, ok := refused.Get(key)
	if !ok || !time.Now().Before(last.until) || last.failures > 0 && last.recoveries != r.recoveries.Load() {
		return nil
	}
	return last.err
}

// refuse notes why a refresh token, or a wish, gives nothing for a while: for as
// long as the provider asks, or else for longer each time.
func (r *Renewals) refuse(key Key, err *provider.Failure, grace time.Duration) {
	r.RefuseIn(r.refused, key, err, grace)
}

// RefuseIn is refuse among those of another kind.
func (r *Renewals) RefuseIn(refused *ttl.Map[Key, Refusal], key Key, err *provider.Failure, grace time.Duration) {
	now := time.Now()
	next := Refusal{err: err, until: now.Add(max(grace, time.Second))}
	keep := next.until
	if grace == 0 {
		next.failures, next.recoveries = 1, r.recoveries.Load()
		if last, ok := refused.Get(key); ok && last.failures > 0 && last.recoveries == next.recoveries {
			next.failures += last.failures
		}
		next.until = now.Add(backOff(next.failures))
		keep = next.until.Add(outcomeGrace) // or the next failure would be the first again
	}
	refused.Put(key, next, keep)
}

// A Request asks for tokens that are newer than those of a record, or others.
type Request struct {
	Rec      *session.Record // unpacked
	Wanted   TokenRequest
	Reason   string                        // for the log
	Due      func(*provider.TokenSet) bool // tells whether a remembered grant is too old to be an answer
	Patience time.Duration                 // how long to wait, 0 for as long as the context lasts
	asker    context.Context               // whose request began the flight, for the log; set by renew
	// OnlyKnown is for those who must not ask: they get what is remembered.
	OnlyKnown bool
	// KeepUntil is how long the browser may come with the refresh token that
	// it has.
	KeepUntil time.Time
	// Reload, if not nil, reads the record again where it is kept on the
	// server; it returns nil when the record is gone.
	Reload func() (*session.Record, error)
}

// Renew fulfils a wish, if need be by a request. The grant is the newest there
// is and can come together with an error, if asking once more has failed.
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
		key := r.Key(refresh)
		if rec.UserKey != "" {
			key = r.ownerKey(rec)
		}
		known, failed := r.granting(rec, want.Wanted, own, failed)
		if known != nil && !want.Due(known) {
			return known, nil
		}
		if failed != nil {
			return known, failed
		}
		if want.OnlyKnown {
			return known, nil
		}
		if refresh == "" && rec.UserKey == "" {
			return known, &provider.Failure{Class: provider.SignIn, Err: ErrNoRefreshToken}
		}
		flight := r.flights.DoChan(string(key[:]), func() (_ any, err error) {
			// Nothing could recover a panic of the app's transport, logger or
			// store from here on up.
			defer provider.RecoverInto(&err)
			want := want
			want.asker = context.WithoutCancel(ctx)
			if rec.UserKey != "" {
				return r.flyStored(want, rec)
			}
			return r.fly(want, rec, refresh)
		})
		select {
		case result := <-flight:
			switch v, _ := result.Val.(*outcome); {
			case v == nil:
				return known, result.Err
			case v.newer != nil:
				rec = v.newer
			case v.wish != want.Wanted:
				// Another wish with the same refresh token: now it is ours.
			case v.grant == nil && result.Err == nil:
				if races == mostRaces {
					return known, &provider.Failure{Class: provider.Retry, Err: errors.New("the refresh tokens go round in circles")}
				}
				races++ // somebody has renewed since we looked
			case result.Err != nil:
				if own, _, _ := r.Own(rec); want.Wanted == (TokenRequest{}) {
					known = own // the refresh token may be another one all the same
				}
				return known, result.Err
			default:
				return v.grant, nil
			}
		case <-timeout:
			return known, ErrPending
		case <-ctx.Done():
			return known, &provider.Failure{Class: provider.Retry, Err: ctx.Err()}
		}
	}
}

// An outcome is what all get who wait for a flight. Without grant and newer it
// says to look again at what is known.
type outcome struct {
	wish  TokenRequest // that the flight was for
	grant *provider.TokenSet
	newer *session.Record // by which to go on, because the server keeps it
}

// fly is one flight. Nobody else may ask with the same refresh token meanwhile,
// whatever for, so a flight never asks with another than that it is named
// after.
func (r *Renewals) fly(want Request, rec *session.Record, refresh seal.Secret) (*outcome, error) {
	o := &outcome{wish: want.Wanted}
	// A flight that ended between the look of renew and now has the answer.
	own, failed, newest := r.Known(refresh)
	if newest != refresh {
		return o, nil
	}
	if o.grant, failed = r.granting(rec, want.Wanted, own, failed); failed != nil {
		return o, failed
	}
	if o.grant != nil && !want.Due(o.grant) {
		return o, nil
	}
	o.grant = nil
	if want.Reload != nil {
		switch newer, err := want.Reload(); {
		case err != nil:
			r.Observer.StoreFailed(want.asker, "session store", err)
			return o, &provider.Failure{Class: provider.Retry, Err: err}
		case newer == nil || newer.ID != rec.ID:
			return o, &provider.Failure{Class: provider.SignIn, Err: ErrSessionOver}
		case !r.LeadsTo(newer.Refresh, refresh) && newer.Refresh != rec.Refresh:
			o.newer = newer // another process has renewed
			return o, nil
		}
	}
	// A provider that accepts and stays silent must not collect a request
	// from everybody before the first one fails.
	r.slots <- struct{}{}
	defer func() { <-r.slots }()
	if paused := r.admit(rec.User.Key()); paused != nil {
		return o, paused
	}
	if o.grant, failed = r.ask(want, rec, refresh); failed != nil {
		o.grant = nil
		if other, ok := errors.AsType[renewedElsewhere](failed); ok {
			o.newer = other.rec
			return o, nil
		}
		return o, failed
	}
	return o, nil
}

// renewedElsewhere is no failure: another process was faster.
type renewedElsewhere struct{ rec *session.Record }

func (renewedElsewhere) Error() string { return "msauth: another process has renewed" }

// elsewhere looks whether a refresh token was refused because another process
// has used it at the same time: its record may take a moment to be there.
func (r *Renewals) elsewhere(want Request, rec *session.Record, refresh seal.Secret) *session.Record {
	if want.Reload == nil {
		return nil
	}
	for _, pause := range [...]time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond} {
		time.Sleep(pause)
		newer, err := want.Reload()
		if err != nil || newer == nil || newer.ID != rec.ID {
			return nil
		}
		if !r.LeadsTo(newer.Refresh, refresh) && newer.Refresh != rec.Refresh {
			return newer
		}
	}
	return nil
}

// LeadsTo reports whether a refresh token is another one, or one that it is known
// to have followed.
func (r *Renewals) LeadsTo(refresh, other seal.Secret) bool {
	_, _, newest := r.Known(refresh)
	return refresh == other || newest == other
}

// ask makes the one request of a flight and remembers how it ended. A grant that
// comes with an error has nothing to use but its refresh token, which is new.
func (r *Renewals) ask(want Request, rec *session.Record, refresh seal.Secret) (*provider.TokenSet, *provider.Failure) {
	began := time.Now()
	g, err := r.request(rec, refresh, want.Wanted)
	key := r.Key(refresh)
	if rec.UserKey != "" {
		key = r.ownerKey(rec)
	}
	now := time.Now()
	if err == nil {
		r.struggling.Drop(rec.User.Key())
		r.refused.Drop(key)
		r.Succeeded(want.asker)
		switch {
		case want.Wanted.Scopes != "":
			r.Observer.Mend(want.asker, weakAPI, want.Wanted.Scopes)
			r.grantOther(want, rec, refresh, g)
		case rec.UserKey == "": // else once it is saved
			r.granted.Put(key, g, now.Add(outcomeGrace))
			if g.Refresh != refresh {
				r.untaken.Drop(r.Key(g.Refresh)) // should it come round in a circle
				r.untaken.Put(key, g, want.KeepUntil)
			}
		}
		r.Observer.Renewed(want.asker, rec.User.Key(), want.Reason, want.Wanted.Scopes != "", now.Sub(began))
		return g, nil
	}
	if err.Class == provider.SignIn && rec.UserKey == "" {
		if newer := r.elsewhere(want, rec, refresh); newer != nil {
			return nil, &provider.Failure{Class: provider.Retry, Err: renewedElsewhere{newer}}
		}
	}
	if want.Wanted.Scopes != "" || want.Wanted.Claims != "" && err.Class != provider.SignIn {
		key = r.RequestKey(rec.ID, want.Wanted) // what the session's own token need not suffer from
	}
	if g != nil && rec.UserKey == "" {
		r.moveOn(want, rec, refresh, g.Refresh)
		if key == r.Key(refresh) {
			key = r.Key(g.Refresh)
		}
	}
	grace, passing := refusalGrace, err.Class == provider.Retry || err.Class == provider.Misconfigured
	if passing {
		grace = err.RetryAfter
	}
	// Where tokens are kept for the app's users, the entry says from now on that
	// it was refused, until there is another: perhaps by a sign-in elsewhere.
	if rec.UserKey == "" || passing || key != r.ownerKey(rec) {
		r.refuse(key, err, grace)
	}
	if want.Wanted.Scopes != "" && err.Class == provider.Misconfigured && !r.Bound(err) && !r.doubted(err) {
		r.Observer.Weaken(want.asker, weakAPI, want.Wanted.Scopes, weakFor, err)
	}
	if want.Wanted == (TokenRequest{}) {
		r.failed(want.asker, rec, err) // a handler can wish for what does not exist
	}
	r.Observer.RenewalFailed(want.asker, rec.User.Key(), want.Reason, want.Wanted.Scopes != "", now.Sub(began), err)
	if err.Class == provider.SignIn && want.Wanted.Scopes == "" {
		// Once for each session, whoever comes with its cookie afterwards.
		r.Observer.SessionEnded(want.asker, rec.User.Key(), err)
	}
	return g, err
}

// request asks the provider. Its context is its own: the request that started
// the flight may go away, those that wait do not. A panic, of the app's
// transport for example, is a failure like any other: it is remembered, and
// not repeated at once.
func (r *Renewals) request(rec *session.Record, refresh seal.Secret, w TokenRequest) (g *provider.TokenSet, failed *provider.Failure) {
	defer func() {
		if p := recover(); p != nil {
			g, failed = nil, &provider.Failure{Class: provider.Retry, Err: fmt.Errorf("panic: %v", p)}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), provider.TokenTimeout)
	defer cancel()
	g, failed = r.Endpoint.Refresh(ctx, refresh, r.asks(rec, w))
	switch {
	case failed != nil:
	case w.Scopes != "":
		g.Scopes = cmp.Or(g.Scopes, w.Scopes)
	case g.Scopes == "" && r.Rules.Foreign(rec.Scopes): // as asked for
		g.Scopes = strings.Join(r.Scopes, " ")
	default:
		g.Scopes = r.Rules.Asked(r.Scopes, g.Scopes)
	}
	if failed == nil && g.IDToken != "" {
		failed = r.Identify(ctx, rec, g)
	}
	if failed == nil && g.Access == "" && (rec.Access != "" || rec.Shed) {
		failed = &provider.Failure{Class: provider.Retry, Err: unusableReply{errors.New("msauth: the renewal brought no access token, where there was one")}}
	}
	if failed != nil && (g == nil || failed.Class != provider.Retry || g.Refresh == refresh) {
		g = nil
	}
	return g, failed
}

// asks is the request that fulfils a wish. Other providers than Microsoft give
// one access token for all scopes, and a renewal brings none that were not
// granted: it names none.
func (r *Renewals) asks(rec *session.Record, w TokenRequest) provider.RefreshRequest {
	q := provider.RefreshRequest{Asks: provider.GrantRenewal, Claims: w.Claims, Personal: rec.User.Personal()}
	switch {
	case w.Scopes != "":
		q.Asks = provider.GrantScopes
		// With profile the ID token names the person (oid), who must be the same.
		q.Scopes = "openid profile offline_access " + w.Scopes
		q.Fewer = q.Scopes
	case r.Rules.Apart:
		all, fewer := r.Rules.Renewed(r.Scopes, rec.ScopeList())
		q.Scopes = strings.Join(slices.Concat(provider.SignInScopes, all), " ")
		q.Fewer = strings.Join(slices.Concat(provider.SignInScopes, fewer), " ")
	}
	return q
}

// Identify verifies the ID token of a renewal (OpenID Connect Core section
// 12.2): the same person, and no other nonce than the first.
func (r *Renewals) Identify(ctx context.Context, rec *session.Record, g *provider.TokenSet) *provider.Failure {
	id, err := r.Endpoint.Authority.Verify(ctx, g.IDToken, provider.IDTokenCheck{
		Access: g.Access,
		NonceFits: func(nonce string, present bool) bool {
			return !present || session.NonceDigest(nonce) == rec.Nonce
		},
		Person:   &rec.User,
		AuthTime: rec.AuthTime,
	})
	if err == nil {
		g.Identity = id
		return nil
	}
	if errors.Is(err, provider.ErrOtherNonce) { // OpenID Connect Core section 12.2
		return &provider.Failure{Class: provider.SignIn, Err: err}
	}
	// A token that is not even meant for this person and this app ends the
	// session, whatever else is wrong with it.
	meant, unreadable := r.Endpoint.Meant(g.IDToken, &rec.User)
	if errors.Is(err, provider.ErrAnotherPerson) || unreadable == nil && !meant {
		return &provider.Failure{Class: provider.SignIn, Err: provider.ErrAnotherPerson}
	}
	if _, ok := errors.AsType[provider.KeysUnavailableError](err); ok && unreadable == nil {
		// The tokens are good and must not be lost: a renewal need not carry
		// an ID token at all. The old claims stay.
		return nil
	}
	return &provider.Failure{Class: provider.Retry, Err: unusableReply{err}}
}

// unusableReply is the fault of a reply whose ID token, or missing access token,
// makes it no use to one person. The provider answers, and answers others well.
type unusableReply struct{ error }

func (e unusableReply) Unwrap() error { return e.error }

// Keep holds on to a grant that no cookie carries.
func (r *Renewals) Keep(refresh seal.Secret, g *provider.TokenSet, until time.Time) {
	if refresh == "" {
		return
	}
	if grace := time.Now().Add(outcomeGrace); until.Before(grace) {
		until = grace
	}
	r.kept.Put(r.Key(refresh), g, until)
}

// Taken notes that an answer with a newer refresh token than the request's is
// under way to the browser. Who comes with that once more within the grace is
// served from memory, and from then on gets tokens of their own; but not where
// an answer with the older one may come last, and be what the browser keeps.
func (r *Renewals) Taken(rec, fresh *session.Record) {
	if _, late := r.touching.Get(rec.ID); late {
		return
	}
	for refresh, n := rec.Refresh, 0; refresh != fresh.Refresh && n < mostRaces; n++ {
		key := r.Key(refresh)
		g, ok := r.untaken.Get(key)
		if !ok {
			return
		}
		r.untaken.Drop(key)
		refresh = g.Refresh
	}
}

// Touches notes that an answer with a record's tokens is under way that only
// notes use: for as long as it takes, and may be on its way afterwards. What has
// followed these tokens meanwhile is kept.
func (r *Renewals) Touches(ctx context.Context, rec *session.Record, until time.Time) {
	if rec.UserKey != "" || rec.Unpack() != nil {
		return
	}
	r.touching.Put(rec.ID, struct{}{}, until)
	id := rec.ID
	context.AfterFunc(ctx, func() { // ctx ends with the handler
		r.touching.Put(id, struct{}{}, time.Now().Add(outcomeGrace))
	})
	if g, _, newest := r.Known(rec.Refresh); g != nil && newest != rec.Refresh {
		r.Keep(rec.Refresh, g, until)
	}
}

// A pause spares a provider that is down, and the app's own requests the wait.
// Failures are counted such that nobody can stop everybody: see blame.
type pause struct {
	failed  map[string]bool // in a row, as blame counts
	tenants map[string]bool // those of them that are tenants
	doubts  map[string]bool // tenants that say, in a row, that the app is at fault
	people  map[string]bool // to whom it happened, then and with probes
	on      bool
	probeAt time.Time
	others  bool // somebody else has asked since the latest probe
	class   provider.Class
	code    string
	numbers []int
}

// A struggle is what one person's sessions have met in a row. However many
// there are, they ask no more often than one would.
type struggle struct {
	failures int
	until    time.Time
}

const longestStruggle = 3 // sessions that fail before the person's others wait

// backOff is how long one refresh token rests after it has failed so many times in
// a row, where the provider does not say: a second after the first, which may
// have been one lost packet, then twice as long each time, up to 10 seconds, and
// up to a fifth less, so that people do not come back all at once.
func backOff(failures int) time.Duration {
	step := min(time.Second<<min(failures-1, 10), longestBackOff)
	return step - rand.N(step/5) // #nosec G404 -- jitter, no secret
}

// pauseStep is how long a pause lasts where the provider does not say: long
// enough to spare it (12 requests a minute at most), short enough for a recovery
// to be noticed within 10 seconds, or 15 where nobody comes who has not failed.
func pauseStep() time.Duration { return 5*time.Second + rand.N(5*time.Second) } // #nosec G404 -- jitter, no secret

// admit says whether a request may be made now for a person. While paused, one
// in 5 to 10 seconds may: the probe. Whoever has failed with one leaves the
// next to others for a while, if there are any.
func (r *Renewals) admit(person string) *provider.Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judgeAdmission(person, true)
}

// paused says whether admit would refuse.
func (r *Renewals) paused(person string) *provider.Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judgeAdmission(person, false)
}

func (r *Renewals) judgeAdmission(person string, asks bool) *provider.Failure {
	p := &r.pause
	now := time.Now()
	// What was said to somebody else is not for this person to read.
	paused := &provider.Failure{Class: p.class, Code: p.code, Numbers: p.numbers, Err: errPaused}
	if own, ok := r.struggling.Get(person); ok && own.failures >= longestStruggle && now.Before(own.until) {
		return paused
	}
	if !p.on {
		return nil
	}
	from := p.probeAt
	if p.people[person] && p.others {
		from = from.Add(leaveToOthers)
	}
	if now.Before(from) {
		p.others = p.others || !p.people[person]
		return paused
	}
	if asks {
		p.probeAt, p.others = now.Add(pauseStep()), false
	}
	return nil
}

// Succeeded notes that the provider serves this app.
func (r *Renewals) Succeeded(ctx context.Context) {
	r.mu.Lock()
	troubled := r.trouble != nil
	r.trouble = nil
	r.mu.Unlock()
	if troubled {
		r.Observer.Mend(ctx, weakApp, "")
	}
	r.answered(ctx)
}

// answered notes that the provider answers. Nothing is logged under the lock:
// a log may take its time, or ask Ready.
func (r *Renewals) answered(ctx context.Context) {
	r.mu.Lock()
	resumed := r.pause.on
	r.pause = pause{}
	r.mu.Unlock()
	if resumed {
		r.recoveries.Add(1)
		r.Observer.Resumed(ctx)
	}
}

// Bound reports whether a failure binds nobody but the tenant of whom it
// happened to: where people of many tenants sign in, each of these can remove
// the app for its own people.
func (r *Renewals) Bound(err *provider.Failure) bool {
	return r.Tenants > 1 && err.Code == "unauthorized_client"
}

// doubted reports whether a failure is believed to be the app's own only when
// several tenants see it: the app, or the API that it uses, can be set up in
// another way in each.
func (r *Renewals) doubted(err *provider.Failure) bool {
	return r.Tenants > 1 && err.Class == provider.Misconfigured && err.Code != "invalid_client"
}

// blame is by whom a failure is counted: by what one stranger has only one of.
// Where no OAuth answer came, none can have caused it, and it is counted by
// person, but for status 429 and its like, which anybody can bring upon personal
// accounts of theirs. An answer can be caused by a tenant, whose people sign in where many
// tenants do, and by a personal account, of which anybody can have several; not
// so where all are of the one tenant that the app was made for.
func (r *Renewals) blame(rec *session.Record, err *provider.Failure) (by string, tenant bool) {
	switch {
	case err.Code == "invalid_client": // of the app, whoever asks
		return string(rec.ID[:]), false
	case r.OneTenant:
	case err.Code != "", rec.User.Personal() && err.StatusCode >= 400 && err.StatusCode < 500:
		return "tenant " + rec.User.TenantID, true
	}
	return rec.User.Key(), false
}

// failed notes a failure. A refusal of one person is an answer like any other.
func (r *Renewals) failed(ctx context.Context, rec *session.Record, err *provider.Failure) {
	_, unusable := errors.AsType[unusableReply](err)
	if unusable || r.Bound(err) || err.Class != provider.Retry && err.Class != provider.Misconfigured {
		r.answered(ctx)
		return
	}
	if err.Code != "invalid_client" {
		person := rec.User.Key()
		own, _ := r.struggling.Get(person)
		own.failures++
		r.struggling.Put(person, struggle{own.failures, time.Now().Add(backOff(own.failures))}, time.Now().Add(outcomeGrace))
	}
	believed, began := r.countFailure(rec, err)
	if began {
		r.Observer.Paused(ctx, err)
	}
	if believed {
		r.ReportTrouble(ctx, err)
	}
}

// countFailure reports whether a failure is believed to be the app's own, and
// whether a pause begins with it.
func (r *Renewals) countFailure(rec *session.Record, err *provider.Failure) (believed, began bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &r.pause
	p.class, p.code, p.numbers = err.Class, err.Code, err.Numbers
	if p.failed == nil || len(p.people) > MaxOutcomes {
		p.failed, p.tenants = map[string]bool{}, map[string]bool{}
		p.doubts, p.people = map[string]bool{}, map[string]bool{}
	}
	blamed, tenant := r.blame(rec, err)
	p.failed[blamed], p.people[rec.User.Key()] = true, true
	several := min(pauseAfter, r.Tenants) // where few tenants may sign in
	if tenant {
		p.tenants[blamed] = true
	}
	if believed = err.Class == provider.Misconfigured; r.doubted(err) {
		p.doubts[blamed] = true
		believed = len(p.doubts) >= several
	}
	if !p.on {
		if len(p.failed) < pauseAfter && !(several > 1 && len(p.tenants) >= several) {
			return believed, false
		}
		p.on, began = true, true
		p.probeAt = time.Now().Add(pauseStep())
	}
	// Probes that hang put off no other: only what the provider asks for.
	if asked := time.Now().Add(min(err.RetryAfter, longestPause)); asked.After(p.probeAt) {
		p.probeAt = asked
	}
	return believed, began
}

// ReportTrouble logs failures that an operator must mend, once a minute.
func (r *Renewals) ReportTrouble(ctx context.Context, err *provider.Failure) {
	if err.Class != provider.Misconfigured {
		return
	}
	r.mu.Lock()
	now := time.Now()
	r.trouble, r.troubled, r.byProbe = err, now, false
	due := now.Sub(r.logged) >= troubleLogStep
	if due {
		r.logged = now
	}
	r.mu.Unlock()
	if due {
		r.Observer.Troubled(ctx, err)
	}
	r.Observer.Weaken(ctx, weakApp, "", weakFor, nil)
}

// Ready returns the latest trouble, if it is recent.
func (r *Renewals) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble != nil && time.Since(r.troubled) < troubleRecent {
		return r.trouble
	}
	return nil
}

// A TokenRequest is for a token that a renewal would not bring: one for another API,
// or one that meets a claims challenge. The zero wish is for a renewal. Grants
// for other APIs are kept in memory, by session and scopes.
type TokenRequest struct {
	Scopes string // of one API, in the order of scopeRules.check; "" for the session's own token
	Claims string // the challenge, as checkChallenge returns it
}
