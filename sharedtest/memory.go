package sharedtest

import (
	"context"
	"time"

	"example.com/msauth"
	"example.com/msauth/internal/shared"
)

// New returns an empty [msauth.Shared] in the memory of this process: whoever is to
// share it must be given the same one. It holds up to 100,000 values, 100,000 logs
// and 1,000,000 entries; of more it keeps those that end last. It has no goroutines,
// needs not be closed, and works in a testing/synctest bubble.
func New() msauth.Shared { return memory{shared.NewMemory()} }

type memory struct{ *shared.Memory }

// Read implements [msauth.Shared].
func (m memory) Read(ctx context.Context, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
	found, err := m.Memory.Read(ctx, log, after, wait)
	if err != nil {
		return nil, err
	}
	entries := make([]msauth.SharedEntry, len(found))
	for i, e := range found {
		entries[i] = msauth.SharedEntry{Position: e.Position, Entry: e.Data}
	}
	return entries, nil
}
