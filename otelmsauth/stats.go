package otelmsauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"example.com/msauth"
)

// Keys of attributes.
const (
	kindKey       = attribute.Key("msauth.refusal.kind")
	outcomeKey    = attribute.Key("msauth.outcome")
	whatKey       = attribute.Key("msauth.degraded.what")
	reasonKey     = attribute.Key("msauth.device.reason")
	keyKey        = attribute.Key("msauth.key.id")
	credentialKey = attribute.Key("msauth.credential.name")
	indexKey      = attribute.Key("msauth.credential.index")
)

// Values that are exported before anything has happened, so that an alert sees the
// first time too: of Stats.Refused, Stats.RenewalsFailed and DeviceStats.
var (
	refusals = []string{
		"on_sign_in", "tenant", "role", "group", "scope", "fresh_sign_in", "auth_context", "claims", "provider", "device",
		"connect", "account_taken", "junk", "foreign_state",
	}
	failures      = []string{string(msauth.ClassSignIn), string(msauth.ClassStepUp), string(msauth.ClassRetry), string(msauth.ClassMisconfigured)}
	unproved      = []string{"missing", "expired", "forged", "of another session"}
	skipped       = []string{"unreachable", "server_error", "quota_exceeded", "other"}
	deviceRefused = []string{"request", "proof", "challenge", "session", "store"}
)

// observed are the instruments that are read from Stats.
type observed struct {
	signIns, signInsRefused, refusals, signOuts, sessionsEnded, endingsForgotten metric.Int64ObservableCounter
	renewals                                                                     metric.Int64ObservableCounter
	paused, degraded, keyPosition                                                metric.Int64ObservableGauge
	credentialEnds, credentialInUse                                              metric.Int64ObservableGauge
	offered, registered, refreshed, deviceRefusals, unproved, skipped            metric.Int64ObservableCounter
	sharedQueue                                                                  metric.Int64ObservableGauge
	sharedDropped                                                                metric.Int64ObservableCounter
}

// Observe exports the counts of auth, the Middleware that was made with the Config of
// [New]: each time that metrics are collected it calls [msauth.Middleware.Stats]. Call
// it once; another Middleware needs a [Telemetry] of its own.
func (t *Telemetry) Observe(auth *msauth.Middleware) error {
	if auth == nil {
		return errors.New("otelmsauth: Observe: the Middleware is nil")
	}
	if !t.observes.CompareAndSwap(false, true) { // all would be counted twice
		return errors.New("otelmsauth: Observe was called before: make a Telemetry for each Middleware")
	}
	return t.export(auth.Stats)
}

// export exports what stats returns.
func (t *Telemetry) export(stats func() msauth.Stats) error {
	var o observed
	var list []metric.Observable
	var failed error
	counter := func(c *metric.Int64ObservableCounter, name, unit, description string) {
		made, err := t.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		*c, list, failed = made, append(list, made), errors.Join(failed, err)
	}
	gauge := func(g *metric.Int64ObservableGauge, name, unit, description string) {
		made, err := t.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		*g, list, failed = made, append(list, made), errors.Join(failed, err)
	}
	counter(&o.signIns, "msauth.sign_ins", "{session}", "Sessions made.")
	counter(&o.signInsRefused, "msauth.sign_ins_refused", "{sign_in}", "Sign-ins that could not begin, or ended on an error page.")
	counter(&o.refusals, "msauth.refusals", "{refusal}", "Refusals of sign-ins, and of requests by handlers, by kind.")
	counter(&o.signOuts, "msauth.sign_outs", "{sign_out}", "Sign-outs by users, here or at Microsoft, and by the app. One of all sessions of an account counts once.")
	counter(&o.sessionsEnded, "msauth.sessions_ended", "{session}", "Sessions that ended because Microsoft refused to renew them.")
	counter(&o.endingsForgotten, "msauth.endings_forgotten", "{session}", "Ended sessions that were forgotten too early, because there were over a million.")
	counter(&o.renewals, "msauth.renewals", "{renewal}", "Token requests to renew a session, by outcome.")
	gauge(&o.paused, "msauth.renewals_paused", "", "1 while renewals pause because Microsoft fails, otherwise 0.")
	gauge(&o.degraded, "msauth.degraded", "", "1 for each problem that there is now: docs/metrics.md says what each text means.")
	gauge(&o.keyPosition, "msauth.key.position", "", "Position of a key in Config.Keys or KeyFiles: 1 for the key that encrypts.")
	gauge(&o.credentialEnds, "msauth.credential.ends_timestamp", "s", "When a credential of the app ends, in Unix time.")
	gauge(&o.credentialInUse, "msauth.credential.in_use", "", "1 for the credential that token requests carry, 0 for the others.")
	counter(&o.offered, "msauth.device.offered", "{sign_in}", "Sign-ins that offered to bind the session to the device.")
	counter(&o.registered, "msauth.device.registered", "{session}", "Sessions that were bound to a device.")
	counter(&o.refreshed, "msauth.device.refreshed", "{request}", "Proofs of a device after its registration.")
	counter(&o.deviceRefusals, "msauth.device.refused", "{request}", "Registrations and proofs of devices that were refused, by reason.")
	counter(&o.unproved, "msauth.device.unproved", "{request}", "Requests with the cookie of a bound session and without the proof of its device, by what the bound cookie was.")
	counter(&o.skipped, "msauth.device.skipped", "{request}", "Requests without the proof of a device for which the browser gives a reason, by reason.")
	gauge(&o.sharedQueue, "msauth.shared.queue", "{entry}", "Sign-outs and the like that other processes do not know yet, because Config.Shared fails.")
	counter(&o.sharedDropped, "msauth.shared.dropped", "{entry}", "Sign-outs and the like that other processes will never know, because too many were waiting.")
	if failed == nil {
		_, failed = t.meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
			t.observe(to, &o, stats())
			return nil
		}, list...)
	}
	if failed != nil {
		return fmt.Errorf("otelmsauth: %w", failed)
	}
	return nil
}

func (t *Telemetry) observe(to metric.Observer, o *observed, s msauth.Stats) {
	count := func(c metric.Int64ObservableCounter, n uint64, attributes ...attribute.KeyValue) {
		to.ObserveInt64(c, int64(n), t.with(attributes...)) // #nosec G115 -- counts are far below
	}
	countBy := func(c metric.Int64ObservableCounter, key attribute.Key, known []string, counts map[string]uint64) {
		all := map[string]uint64{}
		for _, name := range known {
			all[name] = 0
		}
		maps.Copy(all, counts)
		for name, n := range all {
			count(c, n, key.String(name))
		}
	}
	gauge := func(g metric.Int64ObservableGauge, value int64, attributes ...attribute.KeyValue) {
		to.ObserveInt64(g, value, t.with(attributes...))
	}
	count(o.signIns, s.SignIns)
	count(o.signInsRefused, s.SignInsRefused)
	countBy(o.refusals, kindKey, refusals, s.Refused)
	count(o.signOuts, s.SignOuts)
	count(o.sessionsEnded, s.SessionsEnded)
	count(o.endingsForgotten, s.EndingsForgotten)
	outcomes := map[string]uint64{"renewed": s.Renewals}
	for class, n := range s.RenewalsFailed {
		outcomes[string(class)] = n
	}
	countBy(o.renewals, outcomeKey, failures, outcomes)
	gauge(o.paused, oneIf(s.Paused))
	for _, what := range s.Degraded {
		what, _, _ = strings.Cut(what, ":") // "last credential: NAME"
		gauge(o.degraded, 1, whatKey.String(what))
	}
	for i, id := range s.KeyIDs {
		gauge(o.keyPosition, int64(i)+1, keyKey.String(id))
	}
	for i, c := range s.Credentials {
		which := []attribute.KeyValue{indexKey.String(strconv.Itoa(i)), credentialKey.String(c.Name)}
		if !c.Ends.IsZero() {
			gauge(o.credentialEnds, c.Ends.Unix(), which...)
		}
		gauge(o.credentialInUse, oneIf(c.InUse), which...)
	}
	count(o.offered, s.Devices.Offered)
	count(o.registered, s.Devices.Registered)
	count(o.refreshed, s.Devices.Refreshed)
	countBy(o.deviceRefusals, reasonKey, deviceRefused, s.Devices.Refused)
	countBy(o.unproved, reasonKey, unproved, s.Devices.Unproved)
	countBy(o.skipped, reasonKey, skipped, s.Devices.Skipped)
	gauge(o.sharedQueue, int64(s.SharedQueue))
	count(o.sharedDropped, s.SharedDropped)
}

func oneIf(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}
