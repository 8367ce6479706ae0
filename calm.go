package msauth

import (
	"context"
	"log/slog"
)

// calm is the app's log handler where its panics are the loss of a line, and of
// nothing that was to be done after it.
type calm struct{ handler slog.Handler }

// Enabled implements [slog.Handler].
func (c calm) Enabled(ctx context.Context, level slog.Level) bool {
	defer survive()
	return c.handler.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (c calm) Handle(ctx context.Context, r slog.Record) error {
	defer survive()
	return c.handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (c calm) WithAttrs(attrs []slog.Attr) (next slog.Handler) {
	defer survive()
	next = c
	return calm{c.handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (c calm) WithGroup(name string) (next slog.Handler) {
	defer survive()
	next = c
	return calm{c.handler.WithGroup(name)}
}

func survive() { _ = recover() }
