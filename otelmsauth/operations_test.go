package otelmsauth_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"example.com/msauth"
	"example.com/msauth/tests/testsite"
)

// Whatever an app's hooks return, error.type is one of few.
func TestErrorTypesAreFew(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("ada@example.com may not"), "_OTHER"},
		{&msauth.AuthError{Class: "ada@example.com"}, "_OTHER"},
		{&msauth.AuthError{}, "_OTHER"},
		{&msauth.AuthError{Class: msauth.ClassRetry}, "retry"},
		{fmt.Errorf("wrapped: %w", &msauth.AuthError{Class: msauth.ClassDeclined}), "declined"},
		// A browser that is gone is nobody's failure.
		{&msauth.AuthError{Class: msauth.ClassRetry, Err: context.Canceled}, "canceled"},
		{&msauth.AuthError{Class: msauth.ClassRetry, Err: context.DeadlineExceeded}, "retry"},
		{context.DeadlineExceeded, "timeout"},
		{msauth.ErrNoSession, "no session"},
		{msauth.ErrSignInRequired, "sign in again"},
		{msauth.ErrTokenUnavailable, "retry"},
		{msauth.ErrAccountTaken, "account taken"},
		{msauth.ErrCookieTooLarge, "session too large"},
	} {
		o := newTelemetry(t)
		c := testsite.LeastConfig()
		o.use(t)(&c)
		_, end := c.Trace(t.Context(), "msauth.sign_in")
		end(tt.err)
		o.want(t, 1, "msauth_sign_in_duration_seconds", "error_type", tt.want)
		if got := attributesOf(o.last(t, "msauth.sign_in"))["error.type"]; got != tt.want {
			t.Errorf("%v: error.type %q, want %q", tt.err, got, tt.want)
		}
	}
}
