package outside

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"example.com/msauth/cmd/msauth-check/internal/report"
	"example.com/msauth/cmd/msauth-check/internal/settings"
	"example.com/msauth/internal/provider"
)

// Patience is how long one request may take. All checks together may take twice as
// long and a second more.
const Patience = 4 * time.Second

// A Network is how requests are made.
type Network struct {
	// Transport makes them. Its Proxy is asked who is in between.
	Transport *http.Transport
	// Patience is how long one request may take; 0 for the constant.
	Patience time.Duration
}

// checks are the checks of one run.
type checks struct {
	set    *settings.Settings
	report *report.Report

	trace     *tracer // of all requests to the provider
	client    *http.Client
	site      *http.Client
	authority *provider.Authority // nil if the settings do not say whom to ask
}

// Run makes all checks that the settings allow.
func Run(ctx context.Context, set *settings.Settings, found *report.Report, network Network) {
	patience := cmp.Or(network.Patience, Patience)
	ctx, cancel := context.WithTimeout(ctx, 2*patience+time.Second)
	defer cancel()
	c := newChecks(set, found, network)
	together(
		func() { c.checkProvider(ctx) },
		func() { c.checkSite(ctx) },
	)
}

func newChecks(set *settings.Settings, found *report.Report, network Network) *checks {
	c := &checks{set: set, report: found, trace: newTracer(network)}
	c.client, c.site = c.trace.client(), newTracer(network).client()
	if set.Provider != nil {
		s := *set.Provider
		s.ClientID, s.Client = set.ClientID, c.client
		c.authority = provider.NewAuthority(s)
	}
	return c
}

// checkProvider asks the provider: first what it publishes, then what needs that.
func (c *checks) checkProvider(ctx context.Context) {
	if c.authority == nil {
		return
	}
	meta, ok := c.checkDiscovery(ctx)
	if !ok {
		return
	}
	c.checkClock()
	var answers *signInAnswers
	together(
		func() { c.checkKeys(ctx) },
		func() { c.checkCredentials(ctx) },
		func() { answers = c.askSignIn(ctx, meta) },
	)
	c.checkClock() // the first answer may have come from a cache, and said nothing of it
	if answers != nil {
		c.checkSignIn(answers)
	}
}

// together calls functions at the same time, and returns when all have.
func together(all ...func()) {
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Go(f)
	}
	wg.Wait()
}

// host is the host of a URL, for messages.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}
