package renew

import (
	"context"
	"fmt"
	"time"

	"example.com/msauth/internal/provider"
)

// Suspect hears of an authorization code that was refused because of the app's
// secret. Whoever signs in can cause that, with a code that was made for another
// redirect URI of the same app. So the provider is asked, with a refresh token
// that is none: it refuses the token where the secret is good. That is done once a
// minute at most, and only the first to suspect waits for the answer, a second at
// most.
func (r *Renewals) Suspect(ctx context.Context, err *provider.Failure) {
	if !r.breaker.probes() {
		return
	}
	r.Observer.Weaken(ctx, weakSecret, "", weakFor, err)
	done := make(chan struct{})
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer close(done)
		switch failure := r.probe(ctx); {
		case failure.Code == "invalid_client" && failure.Class == provider.Misconfigured:
			r.report(ctx, r.breaker.blameApp(failure, true), failure)
			r.Observer.Mend(ctx, weakSecret, "")
		case failure.Code != "" && failure.Class != provider.Retry:
			r.report(ctx, r.breaker.acquit(), nil)
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

// probe returns how the provider refuses a request with the app's secret.
func (r *Renewals) probe(ctx context.Context) (failure *provider.Failure) {
	defer func() {
		if p := recover(); p != nil {
			failure = &provider.Failure{Class: provider.Retry, Err: fmt.Errorf("panic: %v", p)}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, provider.TokenTimeout)
	defer cancel()
	return r.Endpoint.Probe(ctx)
}
