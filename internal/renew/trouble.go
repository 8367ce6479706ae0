package renew

import (
	"time"

	"example.com/msauth/internal/provider"
)

const (
	troubleRecent  = 10 * time.Minute // Ready fails this long after the app was refused
	troubleLogStep = 1 * time.Minute  // between two reports of it
	probeEvery     = 1 * time.Minute  // how often a suspicion may cost a token request
)

// trouble is what is believed of the app itself: that the provider refuses it, by
// a failure of class "app misconfigured". The breaker's lock guards it.
type trouble struct {
	latest  *provider.Failure // nil if there is none
	byProbe bool              // a probe has found it: the next one may take it back
	since   time.Time         // when latest came
	logged  time.Time         // when it was last reported
	probed  time.Time         // when a suspicion last cost a request
}

// note takes down a failure, and reports whether it is time to report one.
func (t *trouble) note(err *provider.Failure, byProbe bool) (due bool) {
	now := time.Now()
	t.latest, t.since, t.byProbe = err, now, byProbe
	if due = now.Sub(t.logged) >= troubleLogStep; due {
		t.logged = now
	}
	return due
}

// clear reports whether there was trouble.
func (t *trouble) clear() bool {
	was := t.latest != nil
	t.latest = nil
	return was
}

// blameApp notes a failure that is the app's own, if it is of that class.
func (b *breaker) blameApp(err *provider.Failure, byProbe bool) (c change) {
	if err.Class != provider.Misconfigured {
		return c
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return change{blamed: true, due: b.trouble.note(err, byProbe)}
}

// acquit takes back what an earlier probe has found. What a real renewal has met
// stands until one works.
func (b *breaker) acquit() (c change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trouble.byProbe {
		c.cleared = b.trouble.clear()
	}
	return c
}

// probes reports whether a suspicion may cost a request now, once a minute.
func (b *breaker) probes() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.trouble.probed) < probeEvery {
		return false
	}
	b.trouble.probed = time.Now()
	return true
}

// recent returns the latest trouble, nil if it was long ago.
func (b *breaker) recent() *provider.Failure {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.trouble.since) < troubleRecent {
		return b.trouble.latest
	}
	return nil
}
