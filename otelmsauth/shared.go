package otelmsauth

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"example.com/msauth"
)

// shared measures the calls of a Shared.
type shared struct {
	of msauth.Shared
	t  *Telemetry
}

var _ msauth.Shared = (*shared)(nil)

// measure records how long a call has taken since it began, and how it ended. A panic
// goes on, and counts as an error.
func (s *shared) measure(ctx context.Context, name string, began time.Time, err *error, returned *bool) {
	attributes := []attribute.KeyValue{attribute.String("msauth.shared.operation", name)}
	switch {
	case !*returned:
		attributes = append(attributes, semconv.ErrorTypeKey.String(typeOther))
	case *err != nil:
		attributes = append(attributes, semconv.ErrorTypeKey.String(errorType(*err)))
	}
	s.t.calls.Record(ctx, time.Since(began).Seconds(), s.t.with(attributes...))
}

// Append implements [msauth.Shared].
func (s *shared) Append(ctx context.Context, log string, entry []byte, life time.Duration) (position uint64, err error) {
	returned := false
	defer s.measure(ctx, "append", time.Now(), &err, &returned)
	position, err = s.of.Append(ctx, log, entry, life)
	returned = true
	return position, err
}

// Read implements [msauth.Shared].
func (s *shared) Read(ctx context.Context, log string, after uint64, wait time.Duration) (entries []msauth.SharedEntry, err error) {
	returned := false
	defer s.measure(ctx, "read", time.Now(), &err, &returned)
	entries, err = s.of.Read(ctx, log, after, wait)
	returned = true
	return entries, err
}

// Get implements [msauth.Shared].
func (s *shared) Get(ctx context.Context, key string) (value []byte, err error) {
	returned := false
	defer s.measure(ctx, "get", time.Now(), &err, &returned)
	value, err = s.of.Get(ctx, key)
	returned = true
	return value, err
}

// Put implements [msauth.Shared].
func (s *shared) Put(ctx context.Context, key string, value []byte, life time.Duration) (err error) {
	returned := false
	defer s.measure(ctx, "put", time.Now(), &err, &returned)
	err = s.of.Put(ctx, key, value, life)
	returned = true
	return err
}

// Swap implements [msauth.Shared].
func (s *shared) Swap(ctx context.Context, key string, old, value []byte, life time.Duration) (before []byte, err error) {
	returned := false
	defer s.measure(ctx, "swap", time.Now(), &err, &returned)
	before, err = s.of.Swap(ctx, key, old, value, life)
	returned = true
	return before, err
}

// Wait implements [msauth.Shared].
func (s *shared) Wait(ctx context.Context, key string, old []byte, wait time.Duration) (value []byte, err error) {
	returned := false
	defer s.measure(ctx, "wait", time.Now(), &err, &returned)
	value, err = s.of.Wait(ctx, key, old, wait)
	returned = true
	return value, err
}
