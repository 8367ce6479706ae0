package msauth

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// What [Stats.Degraded] can hold.
const (
	weakPaused   = "renewals paused"
	weakApp      = "app misconfigured"
	weakSecret   = "client secret suspected"
	weakAPI      = "tokens of an API refused"
	weakTokens   = "token store fails"
	weakSessions = "session store fails"
)

const (
	// weakFor is how long a weakness lasts of which nothing more is heard.
	weakFor = troubleRecent
	// storeWeakFor is the same of a store, which every request asks.
	storeWeakFor = 1 * time.Minute
	// probeEvery is how often a suspicion may cost a token request.
	probeEvery = 1 * time.Minute
)

// A weakness is what does not work while people can sign in.
type weakness struct {
	about string // the one thing of several, where only its success mends it
	since time.Time
	timer *time.Timer
}

// weaken notes a weakness for a while, and logs that it begins. err is nil where
// another line has said so.
func (e *events) weaken(ctx context.Context, what, about string, lasts time.Duration, err error) {
	e.mu.Lock()
	w := e.weak[what]
	if w != nil {
		w.about = about
		w.timer.Reset(lasts)
	} else {
		if e.weak == nil {
			e.weak = map[string]*weakness{}
		}
		w = &weakness{about: about, since: time.Now()}
		ctx := context.WithoutCancel(ctx)
		w.timer = time.AfterFunc(lasts, func() { e.mend(ctx, what, "") })
		e.weak[what] = w
		if err != nil {
			defer e.log.WarnContext(ctx, "msauth: degraded", "event", "degraded", "what", what, "err", err)
		}
	}
	e.mu.Unlock()
}

// mend ends a weakness, if there is one, about whatever it is or about the same.
func (e *events) mend(ctx context.Context, what, about string) {
	e.mu.Lock()
	w := e.weak[what]
	if w == nil || about != "" && w.about != about {
		e.mu.Unlock()
		return
	}
	delete(e.weak, what)
	w.timer.Stop()
	e.mu.Unlock()
	e.log.InfoContext(ctx, "msauth: no longer degraded", "event", "degraded_end", "what", what, "duration", time.Since(w.since))
}

// degraded lists what is weak now. Its caller holds the lock.
func (e *events) degraded() (list []string) {
	if e.stats.Paused {
		list = append(list, weakPaused)
	}
	for what := range e.weak {
		list = append(list, what)
	}
	slices.Sort(list)
	return list
}

// suspect hears of a code that was refused because of the app's secret. Whoever
// signs in can bring that about, with a code that was made for another redirect
// URI of the same app. So the provider is asked, with a refresh token that is
// none: it refuses the token where the secret is good. That is done once a minute
// at most, and only the first to suspect waits for it, a second.
func (r *renewals) suspect(ctx context.Context, err *AuthError) {
	r.mu.Lock()
	lately := time.Since(r.probed) < probeEvery
	if !lately {
		r.probed = time.Now()
	}
	r.mu.Unlock()
	if lately {
		return
	}
	r.events.weaken(ctx, weakSecret, "", weakFor, err)
	done := make(chan struct{})
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer close(done)
		switch failure := r.probe(); {
		case failure.Code == "invalid_client" && failure.Class == ClassMisconfigured:
			r.reportTrouble(ctx, failure)
			r.mu.Lock()
			r.byProbe = r.trouble == failure
			r.mu.Unlock()
			r.events.mend(ctx, weakSecret, "")
		case failure.Code != "" && failure.Class != ClassRetry:
			r.acquit(ctx)
			r.events.mend(ctx, weakSecret, "")
		}
	}()
	timer := time.NewTimer(validPatience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// probe asks whether the provider takes the app's secret.
func (r *renewals) probe() (failure *AuthError) {
	defer func() {
		if p := recover(); p != nil {
			failure = &AuthError{Class: ClassRetry, Err: fmt.Errorf("panic: %v", p)}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), tokenTimeout)
	defer cancel()
	_, failure = r.endpoint.post(ctx, grantRenewal, false, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {"msauth-asks-whether-the-client-secret-is-good"},
	})
	if failure == nil { // it takes anything
		failure = &AuthError{Class: ClassSignIn, Code: "invalid_grant"}
	}
	return failure
}

// acquit takes back what a probe before has made believe of the app's secret. What
// a real renewal has met with stands until one works.
func (r *renewals) acquit(ctx context.Context) {
	r.mu.Lock()
	taken := r.trouble != nil && r.byProbe
	if taken {
		r.trouble = nil
	}
	r.mu.Unlock()
	if taken {
		r.events.mend(ctx, weakApp, "")
	}
}
