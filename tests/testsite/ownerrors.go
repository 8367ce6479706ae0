package testsite

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"example.com/msauth/internal/provider"
)

// ownErrors is a log handler that notes where a Failure of package provider is
// logged in place of the AuthError that apps know.
type ownErrors struct {
	slog.Handler
	found *foreignErrors
}

type foreignErrors struct {
	mu   sync.Mutex
	seen []string
}

// Handle looks through the errors of a record, then passes the record on.
func (h ownErrors) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			h.found.look(r.Message, err)
		}
		return true
	})
	return h.Handler.Handle(ctx, r)
}

func (f *foreignErrors) look(where string, err error) {
	if err == nil {
		return
	}
	if _, ok := err.(*provider.Failure); ok {
		f.mu.Lock()
		f.seen = append(f.seen, fmt.Sprintf("%s: %T", where, err))
		f.mu.Unlock()
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		f.look(where, e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, below := range e.Unwrap() {
			f.look(where, below)
		}
	}
}

// list is what was found so far.
func (f *foreignErrors) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.seen...)
}
