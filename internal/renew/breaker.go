package renew

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/ttl"
)

const (
	pauseAfter      = 5                // failures in a row, as blame counts them
	longestPause    = 60 * time.Second // that one Retry-After can impose on everyone
	leaveToOthers   = 5 * time.Second  // how long a person whose probe failed leaves the next to others
	longestStruggle = 3                // failures in a row before all sessions of a person wait
)

var errPaused = errors.New("msauth: renewals are paused, because those before failed")

// A breaker decides whether the provider may be asked. It spares a provider that
// is down, and it spares the app's requests the wait. It also knows whether the app
// itself is refused (type trouble). Failures are counted such that no stranger can stop everyone: see
// blame.
//
// It decides and nothing else. Its methods return what there is to report, and
// their callers report it when the lock is free.
type breaker struct {
	tenants   int  // of how many tenants people may be; 0 for one, or none
	oneTenant bool // all are of the one tenant that the app was made for

	// recoveries counts the ends of pauses. It is read on every request that
	// finds a refusal, so it needs no lock.
	recoveries atomic.Uint64

	mu      sync.Mutex
	pause   pause
	people  *ttl.Map[string, struggle] // by the key of their account
	trouble trouble
}

func newBreaker(tenants int, oneTenant bool) *breaker {
	return &breaker{tenants: tenants, oneTenant: oneTenant, people: ttl.New[string, struggle](MaxOutcomes)}
}

// A pause is what the failures since the latest answer have come to.
type pause struct {
	on      bool
	probeAt time.Time // when the next request may be made, while on
	others  bool      // somebody who has not failed has asked since the latest probe

	// The latest failure, as everyone may know it: what was said to one person is
	// not for others to read.
	class   provider.Class
	code    string
	numbers []int

	failed  map[string]bool // whom blame names
	tenants map[string]bool // those of them that are tenants
	doubts  map[string]bool // tenants that say that the app is at fault
	people  map[string]bool // to whom it happened
}

// A struggle is what one person's sessions have met in a row. However many there
// are, they ask no more often than one would.
type struggle struct {
	failures int
	until    time.Time
}

// A change is what a call has changed, for the caller to report.
type change struct {
	paused  bool // requests stop
	resumed bool // they go on
	blamed  bool // the app itself is refused
	due     bool // and it is time to say so again
	cleared bool // it is no longer
}

// pauseStep returns how long a pause lasts where the provider does not say: long
// enough to spare it (12 requests a minute at most), short enough for a recovery
// to be noticed within 10 seconds, or 15 where nobody comes who has not failed.
func pauseStep() time.Duration { return 5*time.Second + rand.N(5*time.Second) } // #nosec G404 -- jitter, no secret

// admit says why a request for a person may not be made now, nil if it may. While
// paused, one in 5 to 10 seconds may: the probe. A person with whom one has failed
// leaves the next to others for a while, if there are any.
func (b *breaker) admit(person string) *provider.Failure {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuses(person) {
		return b.refusal()
	}
	if b.pause.on {
		b.pause.probeAt, b.pause.others = time.Now().Add(pauseStep()), false
	}
	return nil
}

// wouldRefuse is admit for those who do not ask yet: the probe is left to others.
func (b *breaker) wouldRefuse(person string) *provider.Failure {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuses(person) {
		return b.refusal()
	}
	return nil
}

// refuses decides for both, and notes whether others than those who failed have
// come. It needs the lock.
func (b *breaker) refuses(person string) bool {
	now := time.Now()
	if own, ok := b.people.Get(person); ok && own.failures >= longestStruggle && now.Before(own.until) {
		return true
	}
	p := &b.pause
	if !p.on {
		return false
	}
	from := p.probeAt
	if p.people[person] && p.others {
		from = from.Add(leaveToOthers)
	}
	if now.Before(from) {
		p.others = p.others || !p.people[person]
		return true
	}
	return false
}

// refusal is the latest failure as everyone may know it. It needs the lock.
func (b *breaker) refusal() *provider.Failure {
	p := &b.pause
	return &provider.Failure{Class: cmp.Or(p.class, provider.Retry), Code: p.code, Numbers: p.numbers, Err: errPaused}
}

// success notes that the provider serves this app.
func (b *breaker) success() change {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.answered()
	c.cleared = b.trouble.clear()
	return c
}

// forgive forgets that a person's requests have failed.
func (b *breaker) forgive(person string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.people.Drop(person)
}

// answered notes that the provider answers. It needs the lock.
func (b *breaker) answered() change {
	resumed := b.pause.on
	b.pause = pause{}
	if resumed {
		b.recoveries.Add(1)
	}
	return change{resumed: resumed}
}

// failure notes a failed renewal of a session's own tokens. What concerns one
// person or one tenant alone is an answer like any other.
func (b *breaker) failure(rec *session.Record, err *provider.Failure) change {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, unusable := errors.AsType[unusableReply](err)
	if unusable || b.bound(err) || err.Class != provider.Retry && err.Class != provider.Misconfigured {
		return b.answered()
	}
	if err.Code != "invalid_client" {
		b.struggles(rec.User.Key())
	}
	believed := b.count(rec, err)
	c := change{paused: b.pauses(err)}
	if believed {
		c.blamed, c.due = true, b.trouble.note(err, false)
	}
	return c
}

// struggles counts one more failure of a person.
func (b *breaker) struggles(person string) {
	own, _ := b.people.Get(person)
	own.failures++
	now := time.Now()
	b.people.Put(person, struggle{own.failures, now.Add(backOff(own.failures))}, now.Add(outcomeGrace))
}

// count adds a failure to those in a row, and reports whether it is believed to
// be the app's own.
func (b *breaker) count(rec *session.Record, err *provider.Failure) (believed bool) {
	p := &b.pause
	p.class, p.code, p.numbers = err.Class, err.Code, err.Numbers
	if p.failed == nil || len(p.people) > MaxOutcomes {
		p.failed, p.tenants = map[string]bool{}, map[string]bool{}
		p.doubts, p.people = map[string]bool{}, map[string]bool{}
	}
	by, tenant := b.blame(rec, err)
	p.failed[by], p.people[rec.User.Key()] = true, true
	if tenant {
		p.tenants[by] = true
	}
	if b.doubted(err) {
		p.doubts[by] = true
		return len(p.doubts) >= b.several()
	}
	return err.Class == provider.Misconfigured
}

// several is how many tenants stand for all of them: fewer than pauseAfter where
// fewer may sign in.
func (b *breaker) several() int { return min(pauseAfter, b.tenants) }

// pauses reports whether a pause begins with the failure that was just counted.
// One that is under way is prolonged only by what the provider asks for: probes
// that hang put off no other.
func (b *breaker) pauses(err *provider.Failure) (begins bool) {
	p, now := &b.pause, time.Now()
	if !p.on {
		allTenants := b.several() > 1 && len(p.tenants) >= b.several()
		if len(p.failed) < pauseAfter && !allTenants {
			return false
		}
		p.on, begins = true, true
		p.probeAt = now.Add(pauseStep())
	}
	if asked := now.Add(min(err.RetryAfter, longestPause)); asked.After(p.probeAt) {
		p.probeAt = asked
	}
	return begins
}

// bound reports whether a failure concerns nobody but the tenant that it happened
// to: where people of many tenants sign in, each of these can remove the app for
// its own people.
func (b *breaker) bound(err *provider.Failure) bool {
	return b.tenants > 1 && err.Code == "unauthorized_client"
}

// doubted reports whether a failure is believed to be the app's own only when
// several tenants see it: the app, or the API that it uses, can be set up
// differently in each.
func (b *breaker) doubted(err *provider.Failure) bool {
	return b.tenants > 1 && err.Class == provider.Misconfigured && err.Code != "invalid_client"
}

// blame names what a failure is counted by, of which one stranger has only one.
//
//   - An answer about the app's secret is counted by session: no person can
//     cause it.
//   - Where everyone is of the app's own tenant, failures are counted by person.
//   - Elsewhere a tenant can cause an OAuth answer for its people: it is counted by
//     tenant. So can whoever has a personal account, and anybody can have several:
//     they are all of one tenant. Without an OAuth answer, status 429 and the like
//     are counted in this way for personal accounts.
//   - Nobody can cause anything else: it is counted by person.
func (b *breaker) blame(rec *session.Record, err *provider.Failure) (by string, tenant bool) {
	switch {
	case err.Code == "invalid_client":
		return string(rec.ID[:]), false
	case b.oneTenant:
	case err.Code != "", rec.User.Personal() && err.StatusCode >= 400 && err.StatusCode < 500:
		return "tenant " + rec.User.TenantID, true
	}
	return rec.User.Key(), false
}
