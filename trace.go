package msauth

import (
	"context"
	"errors"
	"log/slog"
)

// What Config.Trace is called for. The names are part of its documentation.
const (
	traceSignIn     = "msauth.sign_in"
	traceRenewal    = "msauth.renewal"
	traceToken      = "msauth.token" // #nosec G101 -- a name
	traceAPIRequest = "msauth.api_request"
)

// A tracer calls [Config.Trace], if there is one. If that panics, or returns nil,
// the operation goes on without it.
type tracer struct {
	hook func(context.Context, string) (context.Context, func(error))
	log  *slog.Logger
}

// begin reports that an operation begins. It returns the context to go on with, and
// what to call at its end.
func (t tracer) begin(ctx context.Context, name string) (inner context.Context, end func(error)) {
	inner, end = ctx, func(error) {}
	if t.hook == nil {
		return inner, end
	}
	defer t.survive()
	traced, over := t.hook(ctx, name)
	if traced != nil {
		inner = traced
	}
	if over != nil {
		end = func(err error) {
			defer t.survive()
			over(public(err))
		}
	}
	return inner, end
}

func (t tracer) survive() {
	if p := recover(); p != nil {
		t.log.Error("msauth: Config.Trace panicked", "panic", p)
	}
}

// tokens is begin for a token request: for the session's own API, or others.
func (t tracer) tokens(ctx context.Context, other bool) (context.Context, func(error)) {
	if other {
		return t.begin(ctx, traceToken)
	}
	return t.begin(ctx, traceRenewal)
}

// apiRequests is begin for requests of [Session.Client], nil if nobody is told.
func (t tracer) apiRequests() func(context.Context) (context.Context, func(error)) {
	if t.hook == nil {
		return nil
	}
	return func(ctx context.Context) (context.Context, func(error)) { return t.begin(ctx, traceAPIRequest) }
}

// An ending is how a sign-in ends. Whatever refuses it finds it in the request's
// context.
type ending struct{ err error }

type endingKey struct{}

// errUnfinished is the error of a sign-in that neither succeeds nor is refused:
// something panics.
var errUnfinished = errors.New("msauth: the sign-in was not completed")

// noteEnding notes how the sign-in of a request ends, if there is one.
func noteEnding(ctx context.Context, err error) {
	if e, ok := ctx.Value(endingKey{}).(*ending); ok {
		e.err = err
	}
}
