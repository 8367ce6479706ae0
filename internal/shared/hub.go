package shared

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"example.com/msauth/internal/seal"
)

const (
	// callTime is how long one call of the backend may take.
	callTime = 1 * time.Second
	// restTime is how long the backend is left alone after a failure.
	restTime = 1 * time.Second
	// workers are how many things are done behind requests at a time, of maxBehind
	// that wait.
	workers   = 4
	maxBehind = 1000
	// Doubt is how long what is not known means nothing, after the backend has failed
	// or lost its memory: longer than late requests of a browser are expected.
	Doubt = 150 * time.Second
)

// ErrUnavailable means that the backend fails, or did so a moment ago.
var ErrUnavailable = errors.New("msauth: Config.Shared fails")

// An Observer is told how the backend fares. Its methods are called without any
// lock held; they do not fail and do not panic.
type Observer interface {
	// SharedFails reports that the backend fails, once until SharedWorks.
	SharedFails(err error)
	// SharedWorks reports that it works again.
	SharedWorks()
	// SharedUnread reports that the log has not been read to its end within
	// StartTime: requests are served without.
	SharedUnread()
	// SharedLost reports that the backend has lost its memory.
	SharedLost()
	// SharedUnreadable reports entries of the log that do not open or make no sense,
	// once a minute at most.
	SharedUnreadable(entries int)
	// SharedDropped reports that something was not passed on for want of room.
	SharedDropped()
}

// Settings are what a Hub has to know of the app.
type Settings struct {
	Backend      Backend
	Keys         *seal.Keys // seal what is kept
	Registration [8]byte    // tells the app from others
	Life         time.Duration
	Observer     Observer

	// Apply takes what another process, or this one, has published.
	Apply func(data []byte) error
	// Restart is called when the backend has lost its memory, and Missing some time
	// later: it yields what is known and has not been applied again since, until
	// yield returns false.
	Restart func()
	Missing func(yield func(data []byte) bool)
}

// A Hub shares what processes know. Use [New].
type Hub struct {
	Settings
	prefix string // begins all names

	stop   context.CancelFunc
	done   sync.WaitGroup // the goroutines of the hub
	begun  time.Time
	caught chan struct{} // closed when the log has been read to its end once
	ready  atomic.Bool   // the same
	unread atomic.Bool   // SharedUnread was called
	closed atomic.Bool   // nobody does what is left

	mu      sync.Mutex
	failing bool      // one of the two below; reported
	byCall  bool      // the last call that says something has failed
	byLog   bool      // the same of the last look at the log
	failed  time.Time // the last failure, zero if there was none
	worked  time.Time // when the last call that worked ended
	probing bool      // somebody finds out whether the backend is back
	epoch   epoch
	checked time.Time     // when the epoch was last read
	looked  chan struct{} // closed at the next look at the epoch

	queue queue                      // what is to be published
	tasks chan func(context.Context) // see Later
	left  atomic.Int64               // how many of them are not done
}

// New returns a hub that does not follow the log yet.
func New(s Settings) *Hub {
	return &Hub{
		Settings: s, prefix: hex.EncodeToString(s.Registration[:]) + ":", stop: func() {}, begun: time.Now(),
		caught: make(chan struct{}), looked: make(chan struct{}), queue: newQueue(), tasks: make(chan func(context.Context), maxBehind),
	}
}

// Start begins to follow the log, until Close.
func (h *Hub) Start() {
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.done.Go(func() { h.follow(ctx) })
	h.done.Go(func() { h.deliver(ctx) })
	for range workers {
		h.done.Go(func() { h.work(ctx) })
	}
}

// Close does what is left to do, as long as ctx lasts, and stops following the log.
// It returns an error if something to be published was left. The hub can still be
// used afterwards, but for the log.
func (h *Hub) Close(ctx context.Context) error {
	if h.closed.Load() {
		if left := h.queue.length(); left > 0 {
			return fmt.Errorf("%w: %d sign-outs or outcomes were not passed on", ErrUnavailable, left)
		}
		return nil
	}
	for h.left.Load() > 0 && ctx.Err() == nil {
		pause(ctx, 10*time.Millisecond)
	}
	err := h.queue.empty(ctx)
	h.closed.Store(true)
	h.stop()
	done := make(chan struct{})
	go func() {
		h.done.Wait()
		close(done)
	}()
	timer := time.NewTimer(2 * callTime)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		err = errors.Join(err, errors.New("a call of Config.Shared goes on although its context is over"))
	}
	return err
}

// call makes one call of the backend, unless it has just failed.
func (h *Hub) call(ctx context.Context, f func(ctx context.Context) error) error {
	return h.callFor(ctx, callTime, f)
}

func (h *Hub) callFor(ctx context.Context, limit time.Duration, f func(ctx context.Context) error) error {
	probe, ok := h.admit()
	if !ok {
		return ErrUnavailable
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	err := f(limited)
	if err != nil && ctx.Err() != nil {
		h.probed(probe)
		return ctx.Err() // the caller is gone, which says nothing of the backend
	}
	h.report(probe, began, err)
	if err != nil {
		return errors.Join(ErrUnavailable, err)
	}
	return nil
}

// admit reports whether to call the backend. After a failure it is left alone for
// a while; then one call finds out whether it is back.
func (h *Hub) admit() (probe, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.failing {
		return false, true
	}
	if h.probing || time.Since(h.failed) < restTime {
		return false, false
	}
	h.probing = true
	return true, true
}

func (h *Hub) probed(probe bool) {
	if probe {
		h.mu.Lock()
		h.probing = false
		h.mu.Unlock()
	}
}

// report notes how a call has ended. One that began before the latest failure, or the
// latest success, says nothing of how the backend fares since.
func (h *Hub) report(probe bool, began time.Time, err error) {
	h.mu.Lock()
	was := h.failing
	if probe {
		h.probing = false
	}
	switch {
	case err == nil && began.After(h.failed):
		h.byCall, h.worked = false, time.Now()
	case err != nil && !began.Before(h.worked):
		h.byCall, h.failed = true, time.Now()
	}
	h.tell(was, err)
}

// followed notes how a look at the log has ended. That one works does not say that
// calls do, nor the other way round: a backend that is full reads and does not write.
func (h *Hub) followed(err error) {
	h.mu.Lock()
	was := h.failing
	if err != nil {
		h.byLog, h.failed = true, time.Now()
	} else {
		h.byLog = false
	}
	h.tell(was, err)
}

// tell says how the backend fares if that has changed. It unlocks mu.
func (h *Hub) tell(was bool, err error) {
	h.failing = h.byCall || h.byLog
	now := h.failing
	h.mu.Unlock()
	switch {
	case now && !was:
		h.Observer.SharedFails(err)
	case was && !now:
		h.Observer.SharedWorks()
		h.queue.again()
	}
}

// probe finds out by a write whether a backend that failed is back.
func (h *Hub) probe(ctx context.Context) {
	h.mu.Lock()
	failing := h.failing
	h.mu.Unlock()
	if failing {
		_ = h.Put(ctx, "probe", nil, time.Second)
	}
}

// Later does something with the backend behind a request, in its turn. Where too
// much is waiting, or the backend fails, or after Close, it is not done at all.
func (h *Hub) Later(f func(ctx context.Context)) {
	if h.closed.Load() {
		return
	}
	h.left.Add(1)
	select {
	case h.tasks <- f:
	default:
		h.left.Add(-1)
	}
}

func (h *Hub) work(ctx context.Context) {
	for {
		select {
		case f := <-h.tasks:
			f(ctx)
			h.left.Add(-1)
		case <-ctx.Done():
			return
		}
	}
}
