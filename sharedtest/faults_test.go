package sharedtest

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
)

// A fault is a Shared that does one thing wrong. The suite must find it.
type fault struct {
	msauth.Shared
	append func(ctx context.Context, s msauth.Shared, log string, entry []byte, life time.Duration) (uint64, error)
	read   func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error)
	get    func(ctx context.Context, s msauth.Shared, key string) ([]byte, error)
	put    func(ctx context.Context, s msauth.Shared, key string, value []byte, life time.Duration) error
	swap   func(ctx context.Context, s msauth.Shared, key string, old, value []byte, life time.Duration) ([]byte, error)
	wait   func(ctx context.Context, s msauth.Shared, key string, old []byte, wait time.Duration) ([]byte, error)
}

func (f *fault) Append(ctx context.Context, log string, entry []byte, life time.Duration) (uint64, error) {
	if f.append != nil {
		return f.append(ctx, f.Shared, log, entry, life)
	}
	return f.Shared.Append(ctx, log, entry, life)
}

func (f *fault) Read(ctx context.Context, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
	if f.read != nil {
		return f.read(ctx, f.Shared, log, after, wait)
	}
	return f.Shared.Read(ctx, log, after, wait)
}

func (f *fault) Get(ctx context.Context, key string) ([]byte, error) {
	if f.get != nil {
		return f.get(ctx, f.Shared, key)
	}
	return f.Shared.Get(ctx, key)
}

func (f *fault) Put(ctx context.Context, key string, value []byte, life time.Duration) error {
	if f.put != nil {
		return f.put(ctx, f.Shared, key, value, life)
	}
	return f.Shared.Put(ctx, key, value, life)
}

func (f *fault) Swap(ctx context.Context, key string, old, value []byte, life time.Duration) ([]byte, error) {
	if f.swap != nil {
		return f.swap(ctx, f.Shared, key, old, value, life)
	}
	return f.Shared.Swap(ctx, key, old, value, life)
}

func (f *fault) Wait(ctx context.Context, key string, old []byte, wait time.Duration) ([]byte, error) {
	if f.wait != nil {
		return f.wait(ctx, f.Shared, key, old, wait)
	}
	return f.Shared.Wait(ctx, key, old, wait)
}

// A recorder is a test that may fail. It does what the real one does that it stands
// for, but for that.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failed   bool
	cleanups []func()
}

func (r *recorder) Helper()               {}
func (r *recorder) Log(...any)            {}
func (r *recorder) Logf(string, ...any)   {}
func (r *recorder) Error(...any)          { r.Fail() }
func (r *recorder) Errorf(string, ...any) { r.Fail() }
func (r *recorder) Fatal(...any)          { r.FailNow() }
func (r *recorder) Fatalf(string, ...any) { r.FailNow() }
func (r *recorder) FailNow()              { r.Fail(); runtime.Goexit() }

func (r *recorder) Fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// finds reports whether a check fails with the two clients.
func finds(t *testing.T, c check, one, other msauth.Shared) bool {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(&clients{TB: r, one: one, other: other})
	}()
	<-done
	for _, f := range r.cleanups {
		f()
	}
	return r.Failed()
}
