package msauth

import (
	"context"
	"fmt"
	"net/url"
	"time"
)

// What weaken and mend are told.
const (
	weakApp    = "app misconfigured"
	weakSecret = "client secret suspected"
	weakAPI    = "tokens of an API refused"
	weakTokens = "token store fails"
)

const (
	// weakFor is how long a weakness lasts of which nothing more is heard.
	weakFor = troubleRecent
	// probeEvery is how often a suspicion may cost a token request.
	probeEvery = 1 * time.Minute
)

// suspect hears of a code that was refused because of the app's secret. Whoever
// signs in can bring that about, with a code that was made for another redirect
// URI of the same app. So the provider is asked, with a refresh token that is
// none: it refuses the token where the secret is good. That is done once a minute
// at most, and only the first to suspect waits for it, a second.
func (r *renewals) suspect(ctx context.Context, err *Failure) {
	r.mu.Lock()
	lately := time.Since(r.probed) < probeEvery
	if !lately {
		r.probed = time.Now()
	}
	r.mu.Unlock()
	if lately {
		return
	}
	r.observer.weaken(ctx, weakSecret, "", weakFor, err)
	done := make(chan struct{})
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer close(done)
		switch failure := r.probe(); {
		case failure.Code == "invalid_client" && failure.Class == kindMisconfigured:
			r.reportTrouble(ctx, failure)
			r.mu.Lock()
			r.byProbe = r.trouble == failure
			r.mu.Unlock()
			r.observer.mend(ctx, weakSecret, "")
		case failure.Code != "" && failure.Class != kindRetry:
			r.acquit(ctx)
			r.observer.mend(ctx, weakSecret, "")
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
func (r *renewals) probe() (failure *Failure) {
	defer func() {
		if p := recover(); p != nil {
			failure = &Failure{Class: kindRetry, Err: fmt.Errorf("panic: %v", p)}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), tokenTimeout)
	defer cancel()
	_, failure = r.endpoint.post(ctx, grantRenewal, false, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {"msauth-asks-whether-the-client-secret-is-good"},
	})
	if failure == nil { // it takes anything
		failure = &Failure{Class: kindSignIn, Code: "invalid_grant"}
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
		r.observer.mend(ctx, weakApp, "")
	}
}
