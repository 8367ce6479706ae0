package otelmsauth

import (
	"context"
	"errors"
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
		if u, err := url.Parse("https://" + host); err == nil { // otherwise msauth.New says so
			made.own = append(made.own, hostPort(u))
		}
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
	var res *http.Response
	err := errUnfinished
	defer func() {
		result := resultOf(ctx, res, err)
		span.SetAttributes(result...)
		if err != nil || res == nil || res.StatusCode >= 400 {
			span.SetStatus(codes.Error, "")
		}
		span.End()              // not deferred itself: it would take down the text of a panic
		if !t.few(ctx, r.URL) { // one of the many hosts of files: see docs/metrics.md
			server = []attribute.KeyValue{method, semconv.ServerAddress(typeOther)}
		}
		t.t.requests.Record(ctx, time.Since(began).Seconds(), t.t.with(append(server, result...)...))
	}()
	sent := r.Clone(ctx)
	if slices.Contains(t.own, hostPort(r.URL)) {
		t.t.propagator.Inject(ctx, propagation.HeaderCarrier(sent.Header))
	}
	res, err = t.base.RoundTrip(sent)
	return res, err
}

// errUnfinished is the error of a request whose transport panics.
var errUnfinished = errors.New("otelmsauth: the request was not completed")

// resultOf returns the attributes for how a request has ended.
func resultOf(ctx context.Context, res *http.Response, err error) []attribute.KeyValue {
	if err != nil || res == nil {
		failed := errorType(err)
		if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
			failed = typeTimeout // by http.Client.Timeout, which net/http has other errors for here
		}
		return []attribute.KeyValue{semconv.ErrorTypeKey.String(failed)}
	}
	result := []attribute.KeyValue{semconv.HTTPResponseStatusCode(res.StatusCode)}
	if res.StatusCode >= 400 {
		result = append(result, semconv.ErrorTypeKey.String(strconv.Itoa(res.StatusCode)))
	}
	return result
}

// few reports whether a host is one of few: token requests and requests with a token go
// to Microsoft and to the hosts that the configuration names. In a sign-in OnSignIn may
// ask any host, with the same context.
func (t *transport) few(ctx context.Context, u *url.URL) bool {
	name, _ := ctx.Value(operationKey{}).(string)
	return name != "" && name != signInName || slices.Contains(t.known, hostPort(u))
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
	return []attribute.KeyValue{semconv.ServerAddress(strings.ToLower(u.Hostname())), semconv.ServerPort(number)}
}

// hostPort returns the host and port of a URL, the port of its scheme if it names none.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		if port = "443"; u.Scheme == "http" {
			port = "80"
		}
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
