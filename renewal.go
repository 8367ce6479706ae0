package msauth

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

	"golang.org/x/sync/singleflight"
)

const (
	outcomeGrace = 2 * time.Minute  // a renewal's outcome answers late requests this long
	refusalGrace = 10 * time.Minute // a refused refresh token is not tried again this long
	maxOutcomes  = 10_000           // of each kind
	longestChain = maxOutcomes      // refresh tokens, one from the other, that one cookie may have missed

	// How long a request waits before its handler is served without the new
	// token: Session.Token can still wait for it.
	validPatience   = 1 * time.Second
	expiredPatience = 5 * time.Second

	maxFlights = 32 // renewals at one time; more wait their turn
	mostRaces  = 20 // that one request can lose to others of its session

	longestBackOff = 10 * time.Second // of one refresh token, where the provider does not say
	pauseAfter     = 5                // failures in a row, as blame counts
	leaveToOthers  = 5 * time.Second  // by whom a probe has failed
	longestPause   = 60 * time.Second // that one Retry-After can impose on all
	troubleRecent  = 10 * time.Minute // Ready fails this long after "app misconfigured"
	troubleLogStep = 1 * time.Minute
)

// renewals renews tokens: one request per refresh token at a time, its outcome
// shared by all who wait and remembered for those who come late.
type renewals struct {
	renewalSettings
	flights singleflight.Group
	slots   chan struct{} // one per request under way

	// What is known of a refresh token. The four are apart because they are
	// kept for very different times: where there are too many of one, it must
	// not be at the cost of another.
	granted *expiring[tokenKey, *grant]  // what it gave
	untaken *expiring[tokenKey, *grant]  // the same, until a browser was given it
	kept    *expiring[tokenKey, *grant]  // what no cookie carries
	refused *expiring[tokenKey, refusal] // why it gives nothing for now

	others  *expiring[tokenKey, *grant] // for other APIs, by wish
	moved   *expiring[tokenKey, secret] // what followed a refresh token that was used for these
	notices *expiring[sessionID, notice]
	// touching are the sessions of which an answer is under way that has the
	// tokens of before and only notes use.
	touching *expiring[sessionID, struct{}]
	// challenges are wishes for which a token was got because of one.
	challenges *expiring[tokenKey, struct{}]

	unsaved *expiring[tokenKey, *unsaved]
	// forgotten tells how often forgetStored was called, by user.
	forgotten *expiring[tokenKey, uint64]
	forgets   atomic.Uint64

	struggling *expiring[string, struggle] // people

	recoveries atomic.Uint64 // ends of pauses

	mu       sync.Mutex
	pause    pause
	trouble  *Failure // the latest answer of class "app misconfigured"
	byProbe  bool     // a probe has found it: the next one may take it back
	troubled time.Time
	logged   time.Time
	probed   time.Time // when a suspicion has last cost a request
}

// An observer is told what happens to tokens, for logs and counters. Its methods
// do not fail and do not panic.
type observer interface {
	// renewed and renewalFailed report one token request each. user is the key of
	// the account; other says that it was for another API than the session's own.
	renewed(ctx context.Context, user, reason string, other bool, took time.Duration)
	renewalFailed(ctx context.Context, user, reason string, other bool, took time.Duration, err *Failure)
	sessionEnded(ctx context.Context, user string, err *Failure)
	// paused and resumed report that requests stop because the provider fails,
	// and go on.
	paused(ctx context.Context, err *Failure)
	resumed(ctx context.Context)
	// troubled reports what an operator must mend.
	troubled(ctx context.Context, err *Failure)
	// storeFailed reports that what, "session store" or "token store", fails.
	storeFailed(ctx context.Context, what string, err error)
	// weaken notes what does not work while people can sign in, for a while;
	// about is the one of several that it is about. mend ends it.
	weaken(ctx context.Context, what, about string, lasts time.Duration, err error)
	mend(ctx context.Context, what, about string)
}

// A tokenKey stands for a refresh token, in place of the token itself.
type tokenKey [sha256.Size]byte

// A refusal is why asking with one refresh token failed.
type refusal struct {
	err   *Failure
	until time.Time // when to ask again
	// failures is how often that failed in a row where nobody named a time to
	// wait for, else 0. Such a refusal is void once the provider has recovered,
	// which recoveries tells.
	failures   int
	recoveries uint64
}

// renewalSettings are what renewals have to know of the app.
type renewalSettings struct {
	endpoint     *tokenEndpoint
	registration registration
	rules        scopeRules
	scopes       []string // the app's own
	tenants      int      // of how many tenants people may be; 0 for one, or none
	oneTenant    bool     // all are of one organization
	observer     observer
	vault        *vault // where the app keeps tokens, nil if it does not
}

func newRenewals(s renewalSettings) *renewals {
	return &renewals{
		renewalSettings: s,
		slots:           make(chan struct{}, maxFlights),
		granted:         newExpiring[tokenKey, *grant](maxOutcomes),
		untaken:         newExpiring[tokenKey, *grant](maxOutcomes),
		kept:            newExpiring[tokenKey, *grant](maxOutcomes),
		refused:         newExpiring[tokenKey, refusal](maxOutcomes),
		others:          newExpiring[tokenKey, *grant](maxOutcomes),
		moved:           newExpiring[tokenKey, secret](maxOutcomes),
		notices:         newExpiring[sessionID, notice](maxOutcomes),
		touching:        newExpiring[sessionID, struct{}](maxOutcomes),
		challenges:      newExpiring[tokenKey, struct{}](maxOutcomes),
		unsaved:         newExpiring[tokenKey, *unsaved](maxOutcomes),
		forgotten:       newExpiring[tokenKey, uint64](maxOutcomes),
		struggling:      newExpiring[string, struggle](maxOutcomes),
	}
}

func (r *renewals) key(refresh secret) tokenKey {
	h := sha256.New()
	h.Write(r.registration[:])
	h.Write([]byte(refresh))
	return tokenKey(h.Sum(nil))
}

// errOver means that the session has ended while its tokens were renewed.
var errOver = errors.New("msauth: nobody is signed in")

var errPaused = errors.New("msauth: renewals are paused, because those before failed")

var errNoRefreshToken = errors.New("msauth: the provider gave no refresh token")

// errPending means that the renewal goes on without the request.
var errPending = errors.New("msauth: renewal still under way")

// known follows the outcomes of a refresh token to the newest of its chain.
// grant is the newest there is, nil if none; err is why the newest refresh
// token gives nothing more; refresh is that newest token.
func (r *renewals) known(refresh secret) (g *grant, err *Failure, newest secret) {
	if refresh == "" { // people without one have nothing in common
		return nil, nil, ""
	}
	for range longestChain {
		key := r.key(refresh)
		next := refresh
		came, ok := r.kept.get(key)
		for _, outcomes := range [...]*expiring[tokenKey, *grant]{r.untaken, r.granted} {
			if granted, also := outcomes.get(key); also && (!ok || granted.issued >= came.issued) {
				came, ok = granted, true
			}
		}
		if ok {
			g, next = came, came.refresh
		}
		if moved, ok := r.moved.get(key); ok && next == refresh {
			next = moved
		}
		if next == refresh { // the end, or the provider hands out the same one again
			err = r.refusal(key)
			break
		}
		refresh = next
	}
	if g != nil && g.refresh != refresh {
		g = g.movedTo(refresh)
	}
	return g, err, refresh
}

// ownOf is known for a record, whose own tokens are the newest if nothing
// followed them. Where the refresh token is kept for the app's user, there is
// none here.
func (r *renewals) ownOf(rec *record) (*grant, *Failure, secret) {
	if rec.userKey != "" {
		g, err := r.ownStored(rec)
		return g, err, ""
	}
	g, err, newest := r.known(rec.refresh)
	if g == nil {
		if g = rec.grant(); g.refresh != newest {
			g = g.movedTo(newest)
		}
	}
	return g, err, newest
}

// refusal is why a refresh token, or a wish, gives nothing for now.
func (r *renewals) refusal(key tokenKey) *Failure { return r.refusalIn(r.refused, key) }

// refusalIn is refusal among those of another kind.
func (r *renewals) refusalIn(refused *expiring[tokenKey, refusal], key tokenKey) *Failure {
	last, ok := refused.get(key)
	if !ok || !time.Now().Before(last.until) || last.failures > 0 && last.recoveries != r.recoveries.Load() {
		return nil
	}
	return last.err
}

// refuse notes why a refresh token, or a wish, gives nothing for a while: for as
// long as the provider asks, or else for longer each time.
func (r *renewals) refuse(key tokenKey, err *Failure, grace time.Duration) {
	r.refuseIn(r.refused, key, err, grace)
}

// refuseIn is refuse among those of another kind.
func (r *renewals) refuseIn(refused *expiring[tokenKey, refusal], key tokenKey, err *Failure, grace time.Duration) {
	now := time.Now()
	next := refusal{err: err, until: now.Add(max(grace, time.Second))}
	keep := next.until
	if grace == 0 {
		next.failures, next.recoveries = 1, r.recoveries.Load()
		if last, ok := refused.get(key); ok && last.failures > 0 && last.recoveries == next.recoveries {
			next.failures += last.failures
		}
		next.until = now.Add(backOff(next.failures))
		keep = next.until.Add(outcomeGrace) // or the next failure would be the first again
	}
	refused.put(key, next, keep)
}

// A renewal asks for tokens that are newer than those of a record, or others.
type renewal struct {
	rec      *record // unpacked
	wish     wish
	reason   string            // for the log
	due      func(*grant) bool // tells whether a remembered grant is too old to be an answer
	patience time.Duration     // how long to wait, 0 for as long as the context lasts
	asker    context.Context   // whose request began the flight, for the log; set by renew
	// onlyKnown is for those who must not ask: they get what is remembered.
	onlyKnown bool
	// keepUntil is how long the browser may come with the refresh token that
	// it has.
	keepUntil time.Time
	// reload, if not nil, reads the record again where it is kept on the
	// server; it returns nil when the record is gone.
	reload func() (*record, error)
}

// renew fulfils a wish, if need be by a request. The grant is the newest there
// is and can come together with an error, if asking once more has failed.
func (r *renewals) renew(ctx context.Context, want renewal) (*grant, error) {
	var timeout <-chan time.Time
	if want.patience > 0 {
		timer := time.NewTimer(want.patience)
		defer timer.Stop()
		timeout = timer.C
	}
	rec := want.rec
	for races := 0; ; {
		own, failed, refresh := r.ownOf(rec)
		key := r.key(refresh)
		if rec.userKey != "" {
			key = r.ownerKey(rec)
		}
		known, failed := r.granting(rec, want.wish, own, failed)
		if known != nil && !want.due(known) {
			return known, nil
		}
		if failed != nil {
			return known, failed
		}
		if want.onlyKnown {
			return known, nil
		}
		if refresh == "" && rec.userKey == "" {
			return known, &Failure{Class: kindSignIn, Err: errNoRefreshToken}
		}
		flight := r.flights.DoChan(string(key[:]), func() (_ any, err error) {
			// Nothing could recover a panic of the app's transport, logger or
			// store from here on up.
			defer recoverInto(&err)
			want := want
			want.asker = context.WithoutCancel(ctx)
			if rec.userKey != "" {
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
			case v.wish != want.wish:
				// Another wish with the same refresh token: now it is ours.
			case v.grant == nil && result.Err == nil:
				if races == mostRaces {
					return known, &Failure{Class: kindRetry, Err: errors.New("the refresh tokens go round in circles")}
				}
				races++ // somebody has renewed since we looked
			case result.Err != nil:
				if own, _, _ := r.ownOf(rec); want.wish == (wish{}) {
					known = own // the refresh token may be another one all the same
				}
				return known, result.Err
			default:
				return v.grant, nil
			}
		case <-timeout:
			return known, errPending
		case <-ctx.Done():
			return known, &Failure{Class: kindRetry, Err: ctx.Err()}
		}
	}
}

// An outcome is what all get who wait for a flight. Without grant and newer it
// says to look again at what is known.
type outcome struct {
	wish  wish // that the flight was for
	grant *grant
	newer *record // by which to go on, because the server keeps it
}

// fly is one flight. Nobody else may ask with the same refresh token meanwhile,
// whatever for, so a flight never asks with another than that it is named
// after.
func (r *renewals) fly(want renewal, rec *record, refresh secret) (*outcome, error) {
	o := &outcome{wish: want.wish}
	// A flight that ended between the look of renew and now has the answer.
	own, failed, newest := r.known(refresh)
	if newest != refresh {
		return o, nil
	}
	if o.grant, failed = r.granting(rec, want.wish, own, failed); failed != nil {
		return o, failed
	}
	if o.grant != nil && !want.due(o.grant) {
		return o, nil
	}
	o.grant = nil
	if want.reload != nil {
		switch newer, err := want.reload(); {
		case err != nil:
			r.observer.storeFailed(want.asker, "session store", err)
			return o, &Failure{Class: kindRetry, Err: err}
		case newer == nil || newer.id != rec.id:
			return o, &Failure{Class: kindSignIn, Err: errOver}
		case !r.leadsTo(newer.refresh, refresh) && newer.refresh != rec.refresh:
			o.newer = newer // another process has renewed
			return o, nil
		}
	}
	// A provider that accepts and stays silent must not collect a request
	// from everybody before the first one fails.
	r.slots <- struct{}{}
	defer func() { <-r.slots }()
	if paused := r.admit(rec.user.key()); paused != nil {
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
type renewedElsewhere struct{ rec *record }

func (renewedElsewhere) Error() string { return "msauth: another process has renewed" }

// elsewhere looks whether a refresh token was refused because another process
// has used it at the same time: its record may take a moment to be there.
func (r *renewals) elsewhere(want renewal, rec *record, refresh secret) *record {
	if want.reload == nil {
		return nil
	}
	for _, pause := range [...]time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond} {
		time.Sleep(pause)
		newer, err := want.reload()
		if err != nil || newer == nil || newer.id != rec.id {
			return nil
		}
		if !r.leadsTo(newer.refresh, refresh) && newer.refresh != rec.refresh {
			return newer
		}
	}
	return nil
}

// leadsTo reports whether a refresh token is another one, or one that it is known
// to have followed.
func (r *renewals) leadsTo(refresh, other secret) bool {
	_, _, newest := r.known(refresh)
	return refresh == other || newest == other
}

// ask makes the one request of a flight and remembers how it ended. A grant that
// comes with an error has nothing to use but its refresh token, which is new.
func (r *renewals) ask(want renewal, rec *record, refresh secret) (*grant, *Failure) {
	began := time.Now()
	g, err := r.request(rec, refresh, want.wish)
	key := r.key(refresh)
	if rec.userKey != "" {
		key = r.ownerKey(rec)
	}
	now := time.Now()
	if err == nil {
		r.struggling.drop(rec.user.key())
		r.refused.drop(key)
		r.succeeded(want.asker)
		switch {
		case want.wish.scopes != "":
			r.observer.mend(want.asker, weakAPI, want.wish.scopes)
			r.grantOther(want, rec, refresh, g)
		case rec.userKey == "": // else once it is saved
			r.granted.put(key, g, now.Add(outcomeGrace))
			if g.refresh != refresh {
				r.untaken.drop(r.key(g.refresh)) // should it come round in a circle
				r.untaken.put(key, g, want.keepUntil)
			}
		}
		r.observer.renewed(want.asker, rec.user.key(), want.reason, want.wish.scopes != "", now.Sub(began))
		return g, nil
	}
	if err.Class == kindSignIn && rec.userKey == "" {
		if newer := r.elsewhere(want, rec, refresh); newer != nil {
			return nil, &Failure{Class: kindRetry, Err: renewedElsewhere{newer}}
		}
	}
	if want.wish.scopes != "" || want.wish.claims != "" && err.Class != kindSignIn {
		key = r.wishKey(rec.id, want.wish) // what the session's own token need not suffer from
	}
	if g != nil && rec.userKey == "" {
		r.moveOn(want, rec, refresh, g.refresh)
		if key == r.key(refresh) {
			key = r.key(g.refresh)
		}
	}
	grace, passing := refusalGrace, err.Class == kindRetry || err.Class == kindMisconfigured
	if passing {
		grace = err.RetryAfter
	}
	// Where tokens are kept for the app's users, the entry says from now on that
	// it was refused, until there is another: perhaps by a sign-in elsewhere.
	if rec.userKey == "" || passing || key != r.ownerKey(rec) {
		r.refuse(key, err, grace)
	}
	if want.wish.scopes != "" && err.Class == kindMisconfigured && !r.bound(err) && !r.doubted(err) {
		r.observer.weaken(want.asker, weakAPI, want.wish.scopes, weakFor, err)
	}
	if want.wish == (wish{}) {
		r.failed(want.asker, rec, err) // a handler can wish for what does not exist
	}
	r.observer.renewalFailed(want.asker, rec.user.key(), want.reason, want.wish.scopes != "", now.Sub(began), err)
	if err.Class == kindSignIn && want.wish.scopes == "" {
		// Once for each session, whoever comes with its cookie afterwards.
		r.observer.sessionEnded(want.asker, rec.user.key(), err)
	}
	return g, err
}

// request asks the provider. Its context is its own: the request that started
// the flight may go away, those that wait do not. A panic, of the app's
// transport for example, is a failure like any other: it is remembered, and
// not repeated at once.
func (r *renewals) request(rec *record, refresh secret, w wish) (g *grant, failed *Failure) {
	defer func() {
		if p := recover(); p != nil {
			g, failed = nil, &Failure{Class: kindRetry, Err: fmt.Errorf("panic: %v", p)}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), tokenTimeout)
	defer cancel()
	g, failed = r.endpoint.refresh(ctx, refresh, r.asks(rec, w))
	switch {
	case failed != nil:
	case w.scopes != "":
		g.scopes = cmp.Or(g.scopes, w.scopes)
	case g.scopes == "" && r.rules.foreign(rec.scopes): // as asked for
		g.scopes = strings.Join(r.scopes, " ")
	default:
		g.scopes = r.rules.asked(r.scopes, g.scopes)
	}
	if failed == nil && g.idToken != "" {
		failed = r.identify(ctx, rec, g)
	}
	if failed == nil && g.access == "" && (rec.access != "" || rec.shed) {
		failed = &Failure{Class: kindRetry, Err: unusableReply{errors.New("msauth: the renewal brought no access token, where there was one")}}
	}
	if failed != nil && (g == nil || failed.Class != kindRetry || g.refresh == refresh) {
		g = nil
	}
	return g, failed
}

// asks is the request that fulfils a wish. Other providers than Microsoft give
// one access token for all scopes, and a renewal brings none that were not
// granted: it names none.
func (r *renewals) asks(rec *record, w wish) refreshRequest {
	q := refreshRequest{asks: grantRenewal, claims: w.claims, personal: rec.user.personal()}
	switch {
	case w.scopes != "":
		q.asks = grantScopes
		// With profile the ID token names the person (oid), who must be the same.
		q.scopes = "openid profile offline_access " + w.scopes
		q.fewer = q.scopes
	case r.rules.apart:
		all, fewer := r.rules.renewed(r.scopes, rec.scopeList())
		q.scopes = strings.Join(slices.Concat(signInScopes, all), " ")
		q.fewer = strings.Join(slices.Concat(signInScopes, fewer), " ")
	}
	return q
}

// identify verifies the ID token of a renewal (OpenID Connect Core section
// 12.2): the same person, and no other nonce than the first.
func (r *renewals) identify(ctx context.Context, rec *record, g *grant) *Failure {
	id, err := r.endpoint.authority.verify(ctx, g.idToken, idTokenCheck{
		access: g.access,
		nonceFits: func(nonce string, present bool) bool {
			return !present || nonceDigest(nonce) == rec.nonce
		},
		person:   &rec.user,
		authTime: rec.authTime,
	})
	if err == nil {
		g.identity = id
		return nil
	}
	if errors.Is(err, errOtherNonce) { // OpenID Connect Core section 12.2
		return &Failure{Class: kindSignIn, Err: err}
	}
	// A token that is not even meant for this person and this app ends the
	// session, whatever else is wrong with it.
	c, peeked := peek(g.idToken)
	if errors.Is(err, errAnotherPerson) || peeked == nil && !r.endpoint.meant(c, &rec.user) {
		return &Failure{Class: kindSignIn, Err: errAnotherPerson}
	}
	if _, ok := errors.AsType[keysUnavailable](err); ok && peeked == nil {
		// The tokens are good and must not be lost: a renewal need not carry
		// an ID token at all. The old claims stay.
		return nil
	}
	return &Failure{Class: kindRetry, Err: unusableReply{err}}
}

// unusableReply is the fault of a reply whose ID token, or missing access token,
// makes it no use to one person. The provider answers, and answers others well.
type unusableReply struct{ error }

func (e unusableReply) Unwrap() error { return e.error }

// keep holds on to a grant that no cookie carries.
func (r *renewals) keep(refresh secret, g *grant, until time.Time) {
	if refresh == "" {
		return
	}
	if grace := time.Now().Add(outcomeGrace); until.Before(grace) {
		until = grace
	}
	r.kept.put(r.key(refresh), g, until)
}

// taken notes that an answer with a newer refresh token than the request's is
// under way to the browser. Who comes with that once more within the grace is
// served from memory, and from then on gets tokens of their own; but not where
// an answer with the older one may come last, and be what the browser keeps.
func (r *renewals) taken(rec, fresh *record) {
	if _, late := r.touching.get(rec.id); late {
		return
	}
	for refresh, n := rec.refresh, 0; refresh != fresh.refresh && n < mostRaces; n++ {
		key := r.key(refresh)
		g, ok := r.untaken.get(key)
		if !ok {
			return
		}
		r.untaken.drop(key)
		refresh = g.refresh
	}
}

// touches notes that an answer with a record's tokens is under way that only
// notes use: for as long as it takes, and may be on its way afterwards. What has
// followed these tokens meanwhile is kept.
func (r *renewals) touches(ctx context.Context, rec *record, until time.Time) {
	if rec.userKey != "" || rec.unpack() != nil {
		return
	}
	r.touching.put(rec.id, struct{}{}, until)
	id := rec.id
	context.AfterFunc(ctx, func() { // ctx ends with the handler
		r.touching.put(id, struct{}{}, time.Now().Add(outcomeGrace))
	})
	if g, _, newest := r.known(rec.refresh); g != nil && newest != rec.refresh {
		r.keep(rec.refresh, g, until)
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
	class   kind
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
func (r *renewals) admit(person string) *Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judgeAdmission(person, true)
}

// paused says whether admit would refuse.
func (r *renewals) paused(person string) *Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judgeAdmission(person, false)
}

func (r *renewals) judgeAdmission(person string, asks bool) *Failure {
	p := &r.pause
	now := time.Now()
	// What was said to somebody else is not for this person to read.
	paused := &Failure{Class: p.class, Code: p.code, Numbers: p.numbers, Err: errPaused}
	if own, ok := r.struggling.get(person); ok && own.failures >= longestStruggle && now.Before(own.until) {
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

// succeeded notes that the provider serves this app.
func (r *renewals) succeeded(ctx context.Context) {
	r.mu.Lock()
	troubled := r.trouble != nil
	r.trouble = nil
	r.mu.Unlock()
	if troubled {
		r.observer.mend(ctx, weakApp, "")
	}
	r.answered(ctx)
}

// answered notes that the provider answers. Nothing is logged under the lock:
// a log may take its time, or ask Ready.
func (r *renewals) answered(ctx context.Context) {
	r.mu.Lock()
	resumed := r.pause.on
	r.pause = pause{}
	r.mu.Unlock()
	if resumed {
		r.recoveries.Add(1)
		r.observer.resumed(ctx)
	}
}

// bound reports whether a failure binds nobody but the tenant of whom it
// happened to: where people of many tenants sign in, each of these can remove
// the app for its own people.
func (r *renewals) bound(err *Failure) bool {
	return r.tenants > 1 && err.Code == "unauthorized_client"
}

// doubted reports whether a failure is believed to be the app's own only when
// several tenants see it: the app, or the API that it uses, can be set up in
// another way in each.
func (r *renewals) doubted(err *Failure) bool {
	return r.tenants > 1 && err.Class == kindMisconfigured && err.Code != "invalid_client"
}

// blame is by whom a failure is counted: by what one stranger has only one of.
// Where no OAuth answer came, none can have caused it, and it is counted by
// person, but for status 429 and its like, which anybody can bring upon personal
// accounts of theirs. An answer can be caused by a tenant, whose people sign in where many
// tenants do, and by a personal account, of which anybody can have several; not
// so where all are of the one tenant that the app was made for.
func (r *renewals) blame(rec *record, err *Failure) (by string, tenant bool) {
	switch {
	case err.Code == "invalid_client": // of the app, whoever asks
		return string(rec.id[:]), false
	case r.oneTenant:
	case err.Code != "", rec.user.personal() && err.StatusCode >= 400 && err.StatusCode < 500:
		return "tenant " + rec.user.TenantID, true
	}
	return rec.user.key(), false
}

// failed notes a failure. A refusal of one person is an answer like any other.
func (r *renewals) failed(ctx context.Context, rec *record, err *Failure) {
	_, unusable := errors.AsType[unusableReply](err)
	if unusable || r.bound(err) || err.Class != kindRetry && err.Class != kindMisconfigured {
		r.answered(ctx)
		return
	}
	if err.Code != "invalid_client" {
		person := rec.user.key()
		own, _ := r.struggling.get(person)
		own.failures++
		r.struggling.put(person, struggle{own.failures, time.Now().Add(backOff(own.failures))}, time.Now().Add(outcomeGrace))
	}
	believed, began := r.countFailure(rec, err)
	if began {
		r.observer.paused(ctx, err)
	}
	if believed {
		r.reportTrouble(ctx, err)
	}
}

// countFailure reports whether a failure is believed to be the app's own, and
// whether a pause begins with it.
func (r *renewals) countFailure(rec *record, err *Failure) (believed, began bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &r.pause
	p.class, p.code, p.numbers = err.Class, err.Code, err.Numbers
	if p.failed == nil || len(p.people) > maxOutcomes {
		p.failed, p.tenants = map[string]bool{}, map[string]bool{}
		p.doubts, p.people = map[string]bool{}, map[string]bool{}
	}
	blamed, tenant := r.blame(rec, err)
	p.failed[blamed], p.people[rec.user.key()] = true, true
	several := min(pauseAfter, r.tenants) // where few tenants may sign in
	if tenant {
		p.tenants[blamed] = true
	}
	if believed = err.Class == kindMisconfigured; r.doubted(err) {
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

// reportTrouble logs failures that an operator must mend, once a minute.
func (r *renewals) reportTrouble(ctx context.Context, err *Failure) {
	if err.Class != kindMisconfigured {
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
		r.observer.troubled(ctx, err)
	}
	r.observer.weaken(ctx, weakApp, "", weakFor, nil)
}

// ready returns the latest trouble, if it is recent.
func (r *renewals) ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble != nil && time.Since(r.troubled) < troubleRecent {
		return r.trouble
	}
	return nil
}
