// Package otelmsauth gives an app that uses package msauth OpenTelemetry metrics and
// traces.
//
//	t, err := otelmsauth.New(&cfg, otelmsauth.Options{}) // before msauth.New
//	...
//	auth, err := msauth.New(cfg)
//	...
//	err = t.Observe(auth)
//	...
//	mux.Handle("/", auth.Require(t.Pages(app)))
//
// [New] sets Config.Trace, and wraps Config.HTTPClient and Config.Shared.
// [Telemetry.Observe] has the counts of [msauth.Middleware.Stats] read when metrics
// are collected. [Telemetry.Pages] measures how old the tokens of people's sessions
// are. Each can be left out, with what it measures.
//
// All metrics, spans and their attributes are in docs/metrics.md, and what to alert on
// is in alerts.yaml; dashboard.json shows the metrics in Grafana. Names and attributes
// follow the semantic conventions of OpenTelemetry; those of this package begin with
// "msauth.". An attribute of a metric never has more than a few values.
//
// # What is not said
//
// No span, metric or attribute has a token, code, key or secret, or says who the user
// is. Addresses of requests are cut down: url.full has no query, which may be a
// permission by itself at storage hosts, and of the path only the words that Microsoft
// Graph and the sign-in pages have in common for everybody. File names, IDs and e-mail
// addresses are replaced by "REDACTED". Errors have a type (error.type) and the numbers
// of Microsoft (msauth.aadsts), and no text: the texts are in the log, whose lines have
// a context of the same trace.
//
// Trace context (the header traceparent) is passed on to the hosts that
// Config.TokenHosts names, which are the app's own, and to no others.
//
// It is a separate module because of its dependencies.
package otelmsauth
