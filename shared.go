package msauth

import (
	"context"
	"errors"
	"time"

	"example.com/msauth/internal/shared"
)

// Shared is what all processes of an app know together: which sessions have
// ended, who renews which tokens, and what came of it. Set it as [Config.Shared].
// Module example.com/msauth/redisshared has an implementation on Redis, and package
// example.com/msauth/sharedtest tests that another one does what is said here.
//
// It has logs, whose entries have positions, and values, which can be compared
// and replaced in one step. Names of logs and keys of values are two kinds: a log
// and a value may have the same. Both are at most 100 bytes of letters, digits and
// the characters "-", "_" and ":", and differ in case. Entries and values have 1 to
// 65,536 bytes.
//
// Methods are called from many goroutines, and from many processes. They return
// when ctx is over, with an error. After an error, a write may have been done or
// not. All that is written is sealed with [Config.Keys]: who can write to Shared can
// withhold and delete, and not forge.
//
// Nothing may be kept by Shared for longer than its life, and what it loses before
// (by a restart, a failover, or for want of memory) costs no session: see
// docs/scale.md.
type Shared interface {
	// Append adds an entry to a log and returns its position: greater than 0, and
	// than the positions of all entries that the log has or had. The entry is kept
	// for life at least. Afterwards it, and what is older, may be dropped at any
	// time.
	Append(ctx context.Context, log string, entry []byte, life time.Duration) (position uint64, err error)

	// Read returns entries of a log, in order: the first of those whose position
	// is greater than after, as many as are good to be sent at once, at most 1000.
	// If there are none it waits for one, as long as wait, and then returns none
	// and no error. A log that was never appended to has no entries.
	Read(ctx context.Context, log string, after uint64, wait time.Duration) ([]SharedEntry, error)

	// Position returns the position of the newest entry of a log, even if that is
	// no longer kept. It may return 0 once all entries are gone.
	Position(ctx context.Context, log string) (uint64, error)

	// Get returns a value, nil if there is none.
	Get(ctx context.Context, key string) ([]byte, error)

	// Put sets a value, whatever there was, for the time of its life.
	Put(ctx context.Context, key string, value []byte, life time.Duration) error

	// Swap replaces a value, in one step, if it is old. It returns what the value
	// was before: it has been replaced if that equals old. nil stands for no
	// value: as old, and as value, which is then deleted.
	Swap(ctx context.Context, key string, old, value []byte, life time.Duration) (before []byte, err error)

	// Wait waits until a value is another than old, and returns it, nil if there
	// is none. After the time wait it returns the value in any case. It is told of
	// changes by Swap soon (about 100 ms); a value whose life is over, or that Put has
	// changed, may be noticed within a second.
	Wait(ctx context.Context, key string, old []byte, wait time.Duration) ([]byte, error)
}

// SharedEntry is an entry of a log of [Shared].
type SharedEntry struct {
	Position uint64
	Entry    []byte
}

// ErrSharedUnavailable means that what an operation has done holds in this process,
// but could not be passed on by [Config.Shared]. It is passed on as soon as that
// works again, as long as this process runs.
var ErrSharedUnavailable = errors.New("msauth: Config.Shared cannot be reached: the other processes do not know yet")

// appShared is the app's Shared, as package shared knows it.
type appShared struct{ Shared }

var _ shared.Backend = appShared{}

// Read implements [shared.Backend].
func (s appShared) Read(ctx context.Context, log string, after uint64, wait time.Duration) ([]shared.Entry, error) {
	entries, err := s.Shared.Read(ctx, log, after, wait)
	same := make([]shared.Entry, len(entries))
	for i, e := range entries {
		same[i] = shared.Entry{Position: e.Position, Data: e.Entry}
	}
	return same, err
}
