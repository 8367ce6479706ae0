package renew

import (
	"context"

	"example.com/msauth/internal/provider"
)

// report tells the Observer what the breaker has changed. err is the failure that
// it was, nil if it was none.
func (r *Renewals) report(ctx context.Context, c change, err *provider.Failure) {
	if c.cleared {
		r.Observer.Mend(ctx, weakApp, "")
	}
	if c.resumed {
		r.Observer.Resumed(ctx)
	}
	if c.paused {
		r.Observer.Paused(ctx, err)
	}
	if c.due {
		r.Observer.Troubled(ctx, err)
	}
	if c.blamed {
		r.Observer.Weaken(ctx, weakApp, "", weakFor, nil)
	}
}

// Succeeded notes that the provider serves this app: a pause ends, and so does
// the trouble that Ready returns.
func (r *Renewals) Succeeded(ctx context.Context) { r.report(ctx, r.breaker.success(), nil) }

// ReportTrouble notes a failure that an operator must fix, if err is of class
// [provider.Misconfigured], and logs it once a minute at most.
func (r *Renewals) ReportTrouble(ctx context.Context, err *provider.Failure) {
	r.report(ctx, r.breaker.blameApp(err, false), err)
}

// Ready returns the latest failure that an operator must fix, if it is recent
// (10 minutes) and nothing has succeeded since.
func (r *Renewals) Ready() error {
	if err := r.breaker.recent(); err != nil {
		return err
	}
	return nil
}

// Bound reports whether a failure concerns nobody but the tenant that it happened
// to, where people of many tenants sign in.
func (r *Renewals) Bound(err *provider.Failure) bool { return r.breaker.bound(err) }
