package renew

import (
	"context"
	"fmt"
	"time"

	"example.com/msauth/internal/provider"
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

// Suspect hears of a code that was refused because of the app's secret. Whoever
// signs in can bring that about, with a code that was made for another redirect
// URI of the same app. So the provider is asked, with a refresh token that is
// none: it refuses the token where the secret is good. That is done once a minute
// at most, and only the first to suspect waits for it, a second.
func (r *Renewals) Suspect(ctx context.Context, err *provider.Failure) {
	r.mu.Lock()
	lately := time.Since(r.probed) < probeEvery
	if !lately {
		r.probed = time.Now()
	}
	r.mu.Unlock()
	if lately {
		return
	}
	r.Observer.Weaken(ctx, weakSecret, "", weakFor, err)
	done := make(chan struct{})
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer close(done)
		switch failure := r.probe(); {
		case failure.Code == "invalid_client" && failure.Class == provider.Misconfigured:
			r.ReportTrouble(ctx, failure)
			r.mu.Lock()
			r.byProbe = r.trouble == failure
			r.mu.Unlock()
			r.Observer.Mend(ctx, weakSecret, "")
		case failure.Code != "" && failure.Class != provider.Retry:
			r.acquit(ctx)
			r.Observer.Mend(ctx, weakSecret, "")
		}
	}()
	timer := time.NewTimer(ValidPatience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// probe asks whether the provider takes the app's secret.
func (r *Renewals) probe() (failure *provider.Failure) {
	defer func() {
		if p := recover(); p != nil {
			failure = &provider.Failure{Class: provider.Retry, Err: fmt.Errorf("panic: %v", p)}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), provider.TokenTimeout)
	defer cancel()
	return r.Endpoint.Probe(ctx)
}

// acquit takes back what a probe before has made believe of the app's secret. What
// a real renewal has met with stands until one works.
func (r *Renewals) acquit(ctx context.Context) {
	r.mu.Lock()
	taken := r.trouble != nil && r.byProbe
	if taken {
		r.trouble = nil
	}
	r.mu.Unlock()
	if taken {
		r.Observer.Mend(ctx, weakApp, "")
	}
}
