package otelmsauth_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/otelmsauth"
	"example.com/msauth/sharedtest"
	"example.com/msauth/tests/testsite"
)

// measured returns the Shared that a Config has after New.
func measured(t testing.TB, of msauth.Shared, options otelmsauth.Options) msauth.Shared {
	t.Helper()
	c := testsite.LeastConfig()
	c.Shared = of
	if _, err := otelmsauth.New(&c, options); err != nil {
		t.Fatal(err)
	}
	return c.Shared
}

// A Shared that is measured does what its documentation says.
func TestShared(t *testing.T) {
	notQuick(t)
	t.Parallel()
	o := newTelemetry(t)
	sharedtest.Run(t, func(t testing.TB) (one, other msauth.Shared) {
		memory := sharedtest.New()
		return measured(t, memory, o.options), measured(t, memory, o.options)
	})
}

// broken is a Shared that fails.
type broken struct{ msauth.Shared }

func (broken) Get(context.Context, string) ([]byte, error) { return nil, errors.New("at redis:6379") }

func (broken) Put(ctx context.Context, _ string, _ []byte, _ time.Duration) error {
	<-ctx.Done()
	return ctx.Err()
}

func (broken) Swap(context.Context, string, []byte, []byte, time.Duration) ([]byte, error) {
	panic("a zebra")
}

func TestFailuresOfSharedAreCounted(t *testing.T) {
	t.Parallel()
	o := newTelemetry(t)
	s := measured(t, broken{sharedtest.New()}, o.options)
	ctx := context.Background()
	if _, err := s.Get(ctx, "k"); err == nil {
		t.Error("no error")
	}
	soon, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := s.Put(soon, "k", []byte("v"), time.Hour); err == nil {
		t.Error("no error")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		_, _ = s.Swap(ctx, "k", nil, nil, time.Hour)
	}()
	if _, err := s.Append(ctx, "l", []byte("e"), time.Hour); err != nil {
		t.Error(err)
	}
	const name = "msauth_shared_operation_duration_seconds"
	o.want(t, 1, name, "msauth_shared_operation", "get", "error_type", "_OTHER")
	o.want(t, 1, name, "msauth_shared_operation", "put", "error_type", "timeout")
	o.want(t, 1, name, "msauth_shared_operation", "swap", "error_type", "_OTHER")
	o.want(t, 1, name, "msauth_shared_operation", "append", "error_type", "")
}
