package otelmsauth

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"example.com/msauth"
)

// scope is the name of the instrumentation.
const scope = "example.com/msauth/otelmsauth"

// Options are optional settings of [New].
type Options struct {
	// TracerProvider makes the spans. Default [otel.GetTracerProvider].
	TracerProvider trace.TracerProvider

	// MeterProvider makes the metrics. Default [otel.GetMeterProvider].
	MeterProvider metric.MeterProvider

	// Propagator writes the trace context into requests for the hosts of
	// Config.TokenHosts. Default [otel.GetTextMapPropagator], which writes nothing
	// until the app sets another.
	Propagator propagation.TextMapPropagator

	// Attributes are part of every metric and span, to tell several Middlewares in
	// one program apart. Default none.
	Attributes []attribute.KeyValue
}

// Telemetry are the metrics and traces of one [msauth.Middleware]. It is safe for
// concurrent use.
type Telemetry struct {
	tracer     trace.Tracer
	meter      metric.Meter
	propagator propagation.TextMapPropagator
	attributes []attribute.KeyValue

	durations map[string]metric.Float64Histogram // of operations, by name
	requests  metric.Float64Histogram            // to HTTP servers
	calls     metric.Float64Histogram            // of Config.Shared
	tokenAge  metric.Float64Histogram            // at pages
	observes  atomic.Bool                        // Observe was called
}

// New sets cfg.Trace, and replaces cfg.HTTPClient and, if it is set, cfg.Shared by
// ones that measure what they do. Call it before [msauth.New], and do not instrument
// the HTTP client in another way too.
func New(cfg *msauth.Config, o Options) (*Telemetry, error) {
	if cfg.Trace != nil {
		return nil, errors.New("otelmsauth: Config.Trace is set already: leave it nil, New sets it")
	}
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.MeterProvider == nil {
		o.MeterProvider = otel.GetMeterProvider()
	}
	if o.Propagator == nil {
		o.Propagator = otel.GetTextMapPropagator()
	}
	t := &Telemetry{
		tracer:     o.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		meter:      o.MeterProvider.Meter(scope),
		propagator: o.Propagator,
		attributes: append([]attribute.KeyValue(nil), o.Attributes...),
		durations:  map[string]metric.Float64Histogram{},
	}
	if err := t.instruments(); err != nil {
		return nil, fmt.Errorf("otelmsauth: %w", err)
	}

	cfg.Trace = t.trace
	client := http.Client{Timeout: 15 * time.Second} // the default of Config.HTTPClient
	if cfg.HTTPClient != nil {
		client = *cfg.HTTPClient
	}
	client.Transport = t.transport(cfg, client.Transport)
	cfg.HTTPClient = &client
	if cfg.Shared != nil {
		cfg.Shared = &shared{of: cfg.Shared, t: t}
	}
	return t, nil
}

// Boundaries of histograms, in seconds.
var (
	// A token request may take 15 seconds, and a request to an API can wait longer
	// for a token, and for the API.
	operationSeconds = []float64{0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 15, 30}
	// Those of the semantic conventions for http.client.request.duration.
	requestSeconds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	// Redis answers within a millisecond; msauth waits a second at most for most calls.
	callSeconds = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	// Tokens are renewed after about an hour; with continuous access evaluation they
	// last up to 28 hours.
	ageSeconds = []float64{60, 300, 900, 1800, 2700, 3600, 4500, 5400, 7200, 14400, 28800, 57600, 100800}
)

func (t *Telemetry) instruments() error {
	var all error
	histogram := func(name, description string, boundaries []float64) metric.Float64Histogram {
		h, err := t.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
			metric.WithExplicitBucketBoundaries(boundaries...))
		all = errors.Join(all, err)
		return h
	}
	for name, description := range operations {
		t.durations[name] = histogram(name+".duration", description, operationSeconds)
	}
	t.requests = histogram("http.client.request.duration", "Duration of HTTP client requests.", requestSeconds)
	t.calls = histogram("msauth.shared.operation.duration", "Duration of calls of Config.Shared; read and wait include the time that they wait.", callSeconds)
	t.tokenAge = histogram("msauth.page.token_age", "Time since the tokens of a session were issued, at each page.", ageSeconds)
	return all
}

// with returns the attributes of a metric or span.
func (t *Telemetry) with(attributes ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(t.set(attributes...))
}

func (t *Telemetry) set(attributes ...attribute.KeyValue) attribute.Set {
	return attribute.NewSet(append(attributes, t.attributes...)...)
}
