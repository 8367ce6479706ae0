package outside

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.com/msauth/cmd/msauth-check/internal/report"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/web"
)

// checkDiscovery reads the discovery document, and reports whether more can be asked.
// Its request is the first to the provider, so it is the one that finds what is wrong
// with the network.
func (c *checks) checkDiscovery(ctx context.Context) (*provider.Metadata, bool) {
	if c.authority.Kind == provider.LiveConnect { // has none
		res, _, err := get(ctx, c.client, c.authority.Origin, nil)
		if err != nil && res == nil {
			c.unreachable(err, host(c.authority.Origin))
			return nil, false
		}
		c.report.Checked("network")
		meta, err := c.authority.Discover(ctx)
		return meta, err == nil
	}
	where := host(c.authority.Origin)
	if c.authority.Issuer != "" {
		where = host(c.authority.Issuer)
	}
	meta, err := c.authority.Discover(ctx)
	if err != nil {
		c.reportDocument(err, where, "discovery-failed", "discovery-refused")
		return nil, false
	}
	c.report.Checked("network")
	c.report.Checked("discovery")
	return meta, true
}

// checkKeys reads the signing keys.
func (c *checks) checkKeys(ctx context.Context) {
	if c.authority.Kind == provider.LiveConnect { // has none
		return
	}
	if err := c.authority.Ready(ctx); err != nil {
		c.reportDocument(err, "the host of the signing keys", "keys-unusable", "keys-unusable")
		return
	}
	c.report.Checked("signing keys")
}

// unreachable reports why the provider cannot be reached.
func (c *checks) unreachable(err error, where string) bool {
	kind, what := faultOf(err, where)
	if kind == noFault {
		return false
	}
	c.report.Found(providerFaults[kind], what)
	return true
}

// reportDocument reports why a document could not be read. failed is the ID if there is
// none, refused if there is and it cannot be used.
func (c *checks) reportDocument(err error, where, failed, refused string) {
	text := sentence(err)
	failure, ok := errors.AsType[*provider.Failure](err)
	if ok {
		if id := firstKnown(failure.Numbers); id != "" {
			c.report.Found(id, text, failure.Numbers...)
			return
		}
	}
	switch {
	case c.unreachable(err, where):
	case ok && failure.Class == provider.Misconfigured && failure.StatusCode == http.StatusOK:
		c.report.Found(refused, text)
	default:
		c.report.Found(failed, text)
	}
}

// firstKnown is the ID of the first number that the catalogue knows.
func firstKnown(numbers []int) string {
	for _, n := range numbers {
		if id := report.ByNumber(n); id != "" {
			return id
		}
	}
	return ""
}

// sentence is the text of an error as a sentence, without the advice for developers.
func sentence(err error) string {
	text := strings.TrimPrefix(web.OneLine(err.Error(), 700), "msauth: ")
	if failure, ok := err.(*provider.Failure); ok {
		text = strings.TrimPrefix(text, string(failure.Class)+": ") // what an app would do
		if failure.Description != "" {
			text = failure.Description // Microsoft's words alone
		}
	}
	text, _, _ = strings.Cut(text, ". What helps: ")
	text, _, _ = strings.Cut(text, " Trace ID: ")
	return ended(text)
}

// ended is a text with the mark at its end that a sentence has.
func ended(text string) string {
	text = strings.TrimRight(text, ". ")
	if strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

// mostOff is how far a clock may be off. That is the leeway of msauth for tokens that have
// expired; a clock that is synchronized is off by less than a second.
const mostOff = time.Minute

// checkClock compares this machine's clock with the provider's.
func (c *checks) checkClock() {
	c.trace.mu.Lock()
	offset, dated := c.trace.offset, c.trace.dated
	c.trace.mu.Unlock()
	switch {
	case !dated:
		return
	case offset > mostOff:
		c.report.Found("clock-off", fmt.Sprintf("This machine's clock is %s slow, by the provider's Date header.", rough(offset)))
	case offset < -mostOff:
		c.report.Found("clock-off", fmt.Sprintf("This machine's clock is %s fast, by the provider's Date header.", rough(-offset)))
	}
	c.report.Checked("clock")
}

// rough is a duration as people say it.
func rough(d time.Duration) string {
	if days := int(d.Hours() / 24); days > 1 {
		return fmt.Sprint(days, " days")
	}
	return d.Round(time.Second).String()
}
