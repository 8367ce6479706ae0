package msauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/msauth/internal/device"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
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
	// than the positions of all entries that the log has or had. It is not less than
	// those that entries of other logs got before, as far as the clocks of the
	// servers agree that Shared is on. The entry is kept for life at least. Afterwards
	// it, and what is older, may be dropped at any time.
	Append(ctx context.Context, log string, entry []byte, life time.Duration) (position uint64, err error)

	// Read returns entries of a log, in order: the first of those whose position
	// is greater than after, as many as are good to be sent at once, at most 1000.
	// If there are none it waits for one, as long as wait, and then returns none
	// and no error. A log that was never appended to has no entries.
	Read(ctx context.Context, log string, after uint64, wait time.Duration) ([]SharedEntry, error)

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

// Close ends what the Middleware does by itself. It waits for token requests under
// way, passes on what other processes do not know yet, and stops following what they
// say, all as long as ctx lasts. Call it when the server has shut down (see
// [http.Server.Shutdown]): a server that is killed instead loses nothing but that.
// It returns an error if something was left. The Middleware can still be used
// afterwards, but sessions that other processes end stay valid in this one.
func (m *Middleware) Close(ctx context.Context) error {
	err := m.renewals.Finish(ctx)
	if m.shared == nil {
		return err
	}
	if left := m.shared.Close(ctx); left != nil {
		err = errors.Join(err, fmt.Errorf("%w: %w", ErrSharedUnavailable, left))
	}
	return err
}

// wireShared sets up what is known together with other processes, and the list of
// sessions, which this process has alone if there are none.
func (m *Middleware) wireShared(cfg *Config, ring *seal.Keyring) {
	m.directory = session.Directory{
		Store: shared.NewLocal(), MaxAge: cfg.MaxAge,
		Names: ring.Names("msauth shared names v1").Of,
	}
	if cfg.Shared == nil {
		return
	}
	m.shared = shared.New(shared.Settings{
		Backend: appShared{cfg.Shared}, Keys: ring.Derive("msauth shared v1"), Registration: m.registration,
		Life: cfg.MaxAge, Observer: m.events,
		Apply: m.apply, Restart: m.ended.Restart, Missing: m.ended.Endings,
	})
	m.directory.Store = m.shared
}

// sharing returns what renewals share, nil if this process is alone.
func (m *Middleware) sharing() *renew.Sharing {
	if m.shared == nil {
		return nil
	}
	return &renew.Sharing{
		Hub: m.shared, Newer: m.directory.NewerThan,
		End: func(ctx context.Context, rec *session.Record) { _ = m.publish(ctx, m.ended.End(rec, 0)) },
	}
}

// publish passes on an ending, or a pending update.
func (m *Middleware) publish(ctx context.Context, data []byte) error {
	if m.shared == nil || m.shared.Publish(ctx, data) == nil {
		return nil
	}
	return ErrSharedUnavailable
}

// apply notes what a process has published.
func (m *Middleware) apply(data []byte) error {
	if renew.IsUpdate(data) {
		return m.renewals.ApplyUpdate(data)
	}
	return m.ended.Apply(data)
}

// endSession ends a session here and in the other processes, after a grace period. Of
// one that has ended already nothing is passed on, or anybody could fill the log by
// signing out again and again with one cookie.
func (m *Middleware) endSession(ctx context.Context, rec *session.Record, grace time.Duration) {
	if m.ended.Has(rec) || !time.Now().Before(rec.Ends(m.cfg.MaxAge)) {
		return
	}
	ending := m.ended.End(rec, grace)
	if grace == 0 && m.bindable(rec.Device != device.Digest{}, time.Unix(rec.SignedIn, 0)) {
		bound := rec.Clone()
		bound.ID = device.Next(rec.ID)
		ending = append(ending, m.ended.End(bound, 0)...)
	}
	_ = m.publish(context.WithoutCancel(ctx), ending)
}

// noteUse notes behind the request that a session was used.
func (m *Middleware) noteUse(rec *session.Record) {
	if m.shared == nil {
		_ = m.directory.NoteUse(context.Background(), rec)
		return
	}
	m.shared.Later(func(ctx context.Context) { _ = m.directory.NoteUse(ctx, rec) })
}

// appShared is the app's Shared, as package shared knows it. A panic is an error.
type appShared struct{ of Shared }

var _ shared.Backend = appShared{}

func (s appShared) Append(ctx context.Context, log string, entry []byte, life time.Duration) (position uint64, err error) {
	defer sharedPanic(&err)
	return s.of.Append(ctx, log, entry, life)
}

func (s appShared) Read(ctx context.Context, log string, after uint64, wait time.Duration) (entries []shared.Entry, err error) {
	defer sharedPanic(&err)
	list, err := s.of.Read(ctx, log, after, wait)
	for _, e := range list {
		entries = append(entries, shared.Entry{Position: e.Position, Data: e.Entry})
	}
	return entries, err
}

func (s appShared) Get(ctx context.Context, key string) (value []byte, err error) {
	defer sharedPanic(&err)
	return s.of.Get(ctx, key)
}

func (s appShared) Put(ctx context.Context, key string, value []byte, life time.Duration) (err error) {
	defer sharedPanic(&err)
	return s.of.Put(ctx, key, value, life)
}

func (s appShared) Swap(ctx context.Context, key string, old, value []byte, life time.Duration) (before []byte, err error) {
	defer sharedPanic(&err)
	return s.of.Swap(ctx, key, old, value, life)
}

func (s appShared) Wait(ctx context.Context, key string, old []byte, wait time.Duration) (value []byte, err error) {
	defer sharedPanic(&err)
	return s.of.Wait(ctx, key, old, wait)
}

// sharedPanic makes a panic of the app's Shared an error.
func sharedPanic(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("msauth: Config.Shared: panic: %v", p)
	}
}
