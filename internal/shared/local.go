package shared

import (
	"context"
	"time"
)

// Local has some of what a Hub does for this process alone: nothing is sealed,
// followed or passed on.
type Local struct{ Backend Backend }

// NewLocal returns an empty Local, which holds up to 100,000 entries and as many
// values.
func NewLocal() Local {
	return Local{newMemory(limit{values: 100_000, logs: 100_000, entries: 100_000})}
}

// Append adds an entry to a log and returns its position.
func (l Local) Append(ctx context.Context, log string, data []byte, life time.Duration) (position uint64, err error) {
	return l.Backend.Append(ctx, log, data, max(life, time.Second))
}

// Read returns what a log holds, the oldest first.
func (l Local) Read(ctx context.Context, log string) (entries []Entry, err error) {
	for after := uint64(0); len(entries) < maxRead; after = entries[len(entries)-1].Position {
		some, err := l.Backend.Read(ctx, log, after, 0)
		if err != nil || len(some) == 0 {
			return entries, err
		}
		entries = append(entries, some...)
	}
	return entries, nil
}

// Get returns the value under a name, nil if there is none.
func (l Local) Get(ctx context.Context, name string) ([]byte, error) {
	return l.Backend.Get(ctx, name)
}

// Era says that positions tell nothing: they begin anew with the process.
func (Local) Era() (era uint16, ok bool) { return 0, false }

// Put keeps a value under a name for the time of its life.
func (l Local) Put(ctx context.Context, name string, value []byte, life time.Duration) error {
	return l.Backend.Put(ctx, name, value, max(life, time.Second))
}
