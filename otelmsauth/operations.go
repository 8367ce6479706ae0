package otelmsauth

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"example.com/msauth"
)

// signInName is the operation during which Config.OnSignIn is called.
const signInName = "msauth.sign_in"

// operations describes the durations of what Config.Trace is called for.
var operations = map[string]string{
	signInName:           "Duration of sign-ins, from Microsoft's answer to the session.",
	"msauth.renewal":     "Duration of token requests that renew a session.",
	"msauth.token":       "Duration of token requests for other APIs.",
	"msauth.api_request": "Duration of requests to Microsoft Graph and other APIs with a token, with the waits for it.",
}

// operationKey is the key, in the context of an operation, of its name.
type operationKey struct{}

// trace is Config.Trace.
func (t *Telemetry) trace(ctx context.Context, name string) (context.Context, func(error)) {
	began := time.Now()
	ctx, span := t.tracer.Start(ctx, name, trace.WithAttributes(t.attributes...))
	ctx = context.WithValue(ctx, operationKey{}, name)
	return ctx, func(err error) {
		var failed []attribute.KeyValue
		if err != nil {
			failed = append(failed, semconv.ErrorTypeKey.String(errorType(err)))
			span.SetAttributes(append(failed, detailsOf(err)...)...)
			span.SetStatus(codes.Error, "")
		}
		span.End()
		if duration := t.durations[name]; duration != nil {
			duration.Record(ctx, time.Since(began).Seconds(), t.with(failed...))
		}
	}
}

// Values of error.type besides the classes of package msauth.
const (
	typeCanceled = "canceled"
	typeTimeout  = "timeout"
	typeOther    = "_OTHER"
)

// classes are all those that package msauth gives an error.
var classes = []msauth.Class{
	msauth.ClassSignIn, msauth.ClassStepUp, msauth.ClassRetry, msauth.ClassMisconfigured, msauth.ClassDeclined,
	msauth.ClassNotAllowed, msauth.ClassReplay,
}

// errorType returns the value of error.type for an error: one of few.
func errorType(err error) string {
	if errors.Is(err, context.Canceled) { // not Microsoft's fault, whatever the class
		return typeCanceled
	}
	if failure, ok := errors.AsType[*msauth.AuthError](err); ok {
		if slices.Contains(classes, failure.Class) {
			return string(failure.Class)
		}
		return typeOther // made by the app
	}
	for _, known := range []struct {
		err  error
		text string
	}{
		{context.DeadlineExceeded, typeTimeout},
		{os.ErrDeadlineExceeded, typeTimeout},
		{msauth.ErrNoSession, "no session"},
		{msauth.ErrSignInRequired, string(msauth.ClassSignIn)},
		{msauth.ErrTokenUnavailable, string(msauth.ClassRetry)},
		{msauth.ErrAccountTaken, "account taken"},
		{msauth.ErrCookieTooLarge, "session too large"},
	} {
		if errors.Is(err, known.err) {
			return known.text
		}
	}
	if network, ok := errors.AsType[net.Error](err); ok && network.Timeout() {
		return typeTimeout
	}
	return typeOther
}

// detailsOf returns what a span says of an error in addition: nothing that people
// could be known by.
func detailsOf(err error) (details []attribute.KeyValue) {
	failure, ok := errors.AsType[*msauth.AuthError](err)
	if !ok {
		return nil
	}
	if len(failure.Numbers) > 0 {
		details = append(details, attribute.IntSlice("msauth.aadsts", failure.Numbers))
	}
	// Microsoft's support asks for these.
	if failure.CorrelationID != "" {
		details = append(details, attribute.String("msauth.correlation_id", failure.CorrelationID))
	}
	if failure.TraceID != "" {
		details = append(details, attribute.String("msauth.trace_id", failure.TraceID))
	}
	return details
}
