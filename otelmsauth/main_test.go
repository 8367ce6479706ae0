package otelmsauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"example.com/msauth"
	"example.com/msauth/otelmsauth"
	"example.com/msauth/tests/testsite"
)

// telemetry are the SDK's providers, with all that they are told.
type telemetry struct {
	*otelmsauth.Telemetry
	options otelmsauth.Options
	spans   *tracetest.SpanRecorder
	reader  *metric.ManualReader
	scrape  *httptest.Server // what Prometheus reads
}

func newTelemetry(t *testing.T) *telemetry {
	t.Helper()
	o := &telemetry{spans: tracetest.NewSpanRecorder(), reader: metric.NewManualReader()}
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry),
		otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		t.Fatal(err)
	}
	o.scrape = httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(o.scrape.Close)
	o.options.TracerProvider = trace.NewTracerProvider(trace.WithSpanProcessor(o.spans))
	o.options.MeterProvider = metric.NewMeterProvider(metric.WithReader(o.reader), metric.WithReader(exporter))
	return o
}

// use is a change of a Config, for testsite.New. What the config gets to measure must
// be set before.
func (o *telemetry) use(t *testing.T) func(*msauth.Config) {
	return func(c *msauth.Config) {
		t.Helper()
		made, err := otelmsauth.New(c, o.options)
		if err != nil {
			t.Fatal(err)
		}
		o.Telemetry = made
	}
}

// observe completes what use has begun.
func (o *telemetry) observe(t *testing.T, auth *msauth.Middleware) {
	t.Helper()
	if err := o.Observe(auth); err != nil {
		t.Fatal(err)
	}
}

// text is what a scrape gets.
func (o *telemetry) text(t *testing.T) string {
	t.Helper()
	res, err := http.Get(o.scrape.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v:\n%s", res.StatusCode, err, &b)
	}
	return b.String()
}

// families are what a scrape gets, parsed.
func (o *telemetry) families(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(o.text(t)))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// value returns the value of a counter or gauge, or how many values a histogram has,
// with all these labels; -1 if there is none.
func (o *telemetry) value(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	sum := -1.0
	for _, m := range o.families(t)[name].GetMetric() {
		has := map[string]string{}
		for _, l := range m.Label {
			has[l.GetName()] = l.GetValue()
		}
		fits := true
		for i := 0; i < len(labels); i += 2 {
			fits = fits && has[labels[i]] == labels[i+1]
		}
		if fits {
			sum = max(sum, 0) + m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// want checks values: a name and labels, as Prometheus writes them.
func (o *telemetry) want(t *testing.T, want float64, name string, labels ...string) {
	t.Helper()
	if got := o.value(t, name, labels...); got != want {
		t.Errorf("%s%q is %v, want %v", name, labels, got, want)
	}
}

// names are the names of the metrics at the SDK.
func (o *telemetry) names(t *testing.T) map[string]metricdata.Metrics {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := o.reader.Collect(context.Background(), &data); err != nil {
		t.Fatal(err)
	}
	names := map[string]metricdata.Metrics{}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			names[m.Name] = m
		}
	}
	return names
}

// everything is all that was exported, as one text.
func (o *telemetry) everything(t *testing.T) string {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := o.reader.Collect(context.Background(), &data); err != nil {
		t.Fatal(err)
	}
	metrics, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	spans := fmt.Sprintf("%+v", tracetest.SpanStubsFromReadOnlySpans(o.spans.Ended()))
	return spans + string(metrics) + o.text(t)
}

// tree is a span and where it is: "POST in msauth.sign_in in page".
func (o *telemetry) tree(s trace.ReadOnlySpan) string {
	for _, other := range o.spans.Started() {
		if s.Parent().IsValid() && other.SpanContext().SpanID() == s.Parent().SpanID() {
			return s.Name() + " in " + o.tree(other)
		}
	}
	return s.Name()
}

// trees are the spans that have ended and are not in seen, which has them afterwards.
func (o *telemetry) trees(seen map[trace.ReadOnlySpan]bool) (trees []string) {
	for _, s := range o.spans.Ended() {
		if !seen[s] {
			trees, seen[s] = append(trees, o.tree(s)), true
		}
	}
	slices.Sort(trees)
	return trees
}

// last is the span of that name that ended last.
func (o *telemetry) last(t *testing.T, name string) trace.ReadOnlySpan {
	t.Helper()
	for _, s := range slices.Backward(o.spans.Ended()) {
		if s.Name() == name {
			return s
		}
	}
	t.Fatalf("no span %s", name)
	return nil
}

// attributes of a span, as texts.
func attributesOf(s trace.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func wantAttributes(t *testing.T, s trace.ReadOnlySpan, want map[string]string) {
	t.Helper()
	got := attributesOf(s)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("span %s: %s is %q, want %q", s.Name(), name, got[name], value)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("span %s has %s=%q", s.Name(), name, got[name])
		}
	}
}

// served gives each request to a site a span of its own, as the app's own
// instrumentation would.
func (o *telemetry) served(s *testsite.Site) {
	tracer := o.options.TracerProvider.Tracer("app")
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		ctx, span := tracer.Start(r.Context(), "page")
		defer span.End()
		s.Mux.ServeHTTP(w, r.WithContext(ctx))
	})
	s.Current.Store(mux)
}

// wait waits until the spans are the ones wanted: those of what outlasts a request
// end later.
func (o *telemetry) wait(t *testing.T, seen map[trace.ReadOnlySpan]bool, when string, want ...string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	for range 200 {
		got = slices.Concat(got, o.trees(seen))
		if slices.Sort(got); slices.Equal(got, want) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s: spans\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(want, "\n"))
}

// app is an attribute that tells Middlewares apart.
var app = attribute.String("app", "intranet")
