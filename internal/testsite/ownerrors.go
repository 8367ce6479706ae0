package testsite

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
)

// ownErrors is a log handler that notes errors whose types an app cannot know:
// those of packages below internal/.
type ownErrors struct {
	slog.Handler
	found *foreignErrors
}

type foreignErrors struct {
	mu   sync.Mutex
	seen []string
}

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
	of := reflect.TypeOf(err)
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if strings.HasPrefix(of.PkgPath(), "example.com/msauth/internal/") {
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
