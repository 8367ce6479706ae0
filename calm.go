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
	return c.handler.Handle(ctx, publicRecord(r))
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

// publicRecord is a record whose errors are those that an app sees elsewhere.
func publicRecord(r slog.Record) slog.Record {
	own := true
	r.Attrs(func(a slog.Attr) bool {
		_, own = publicAttr(a)
		return own
	})
	if own {
		return r
	}
	made := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		seen, _ := publicAttr(a)
		made.AddAttrs(seen)
		return true
	})
	return made
}

// publicAttr is an attribute as an app sees it, and whether it is the one given.
func publicAttr(a slog.Attr) (seen slog.Attr, same bool) {
	if err, ok := a.Value.Any().(error); ok {
		if seen, another := publicly(err); another {
			return slog.Any(a.Key, seen), false
		}
	}
	return a, true
}
