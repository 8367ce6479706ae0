package otelmsauth

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"example.com/msauth"
)

// A transport makes a client span for each request ("Semantic conventions for HTTP
// spans", HTTP client), which ends when the header of the response is there.
type transport struct {
	t     *Telemetry
	base  http.RoundTripper
	own   []string // hosts of the app's APIs, which go on with the trace
	known []string // hosts where people sign in
}

func (t *Telemetry) transport(cfg *msauth.Config, base http.RoundTripper) *transport {
	if base == nil {
		base = http.DefaultTransport
	}
	made := &transport{t: t, base: base}
	for host := range cfg.TokenHosts {
		made.own = append(made.own, strings.ToLower(host))
	}
	for _, address := range []string{cfg.Authority, cfg.Issuer, "https://login.microsoftonline.com"} {
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			made.known = append(made.known, hostPort(u))
		}
	}
	return made
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	method, shown := methodOf(r)
	server := append([]attribute.KeyValue{method}, serverOf(r.URL)...)
	ctx, span := t.t.tracer.Start(r.Context(), shown, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(server...), trace.WithAttributes(semconv.URLFull(addressOf(r.URL))), trace.WithAttributes(t.t.attributes...))
	defer span.End()
	sent := r.Clone(ctx)
	if slices.Contains(t.own, hostPort(r.URL)) {
		t.t.propagator.Inject(ctx, propagation.HeaderCarrier(sent.Header))
	}
	res, err := t.base.RoundTrip(sent)
	var result []attribute.KeyValue
	switch {
	case err != nil:
		failed := errorType(err)
		if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
			failed = typeTimeout // by http.Client.Timeout, which net/http has other errors for here
		}
		result = append(result, semconv.ErrorTypeKey.String(failed))
		span.SetStatus(codes.Error, "")
	default:
		result = append(result, semconv.HTTPResponseStatusCode(res.StatusCode))
		if res.StatusCode >= 400 {
			result = append(result, semconv.ErrorTypeKey.String(strconv.Itoa(res.StatusCode)))
			span.SetStatus(codes.Error, "")
		}
	}
	span.SetAttributes(result...)
	if !t.few(ctx, r.URL) { // one of the many hosts of files: see docs/metrics.md
		server = []attribute.KeyValue{method, semconv.ServerAddress(typeOther)}
	}
	t.t.requests.Record(ctx, time.Since(began).Seconds(), t.t.with(append(server, result...)...))
	return res, err
}

// few reports whether a host is one of few: requests of operations go to Microsoft
// and to the hosts that the configuration names.
func (t *transport) few(ctx context.Context, u *url.URL) bool {
	return ctx.Value(operationKey{}) != nil || slices.Contains(t.known, hostPort(u))
}

// CloseIdleConnections is for [http.Client.CloseIdleConnections].
func (t *transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// methods are those of RFC 9110 and RFC 5789, which the conventions call known.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

// methodOf returns the attribute for the method of a request, and its name in that
// of a span.
func methodOf(r *http.Request) (attribute.KeyValue, string) {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	if !slices.Contains(methods, method) {
		return semconv.HTTPRequestMethodOther, "HTTP"
	}
	return semconv.HTTPRequestMethodKey.String(method), method
}

func serverOf(u *url.URL) []attribute.KeyValue {
	_, port, _ := net.SplitHostPort(hostPort(u))
	number, _ := strconv.Atoi(port)
	if number == 0 {
		if number = 443; u.Scheme == "http" {
			number = 80
		}
	}
	return []attribute.KeyValue{semconv.ServerAddress(strings.ToLower(u.Hostname())), semconv.ServerPort(number)}
}

// hostPort returns the host of a URL, with the port if it is not that of its scheme.
func hostPort(u *url.URL) string {
	host := strings.ToLower(u.Host)
	for scheme, port := range map[string]string{"https": ":443", "http": ":80"} {
		if u.Scheme == scheme {
			host = strings.TrimSuffix(host, port)
		}
	}
	return host
}
