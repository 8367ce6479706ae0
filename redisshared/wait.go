package redisshared

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// What Wait asks for again, after the first and at most: messages may be lost,
	// and of the end of a life and of Put there is none.
	firstPoll = 100 * time.Millisecond
	lastPoll  = 800 * time.Millisecond

	// idle is how long the subscription stays when nobody waits.
	idle = time.Minute
)

// ErrClosed is what Wait returns after [Shared.Close].
var ErrClosed = errors.New("redisshared: the Shared is closed")

// Wait implements [msauth.Shared].
func (s *Shared) Wait(ctx context.Context, key string, old []byte, wait time.Duration) ([]byte, error) {
	if _, err := s.key("v", key); err != nil {
		return nil, err
	}
	if wait <= 0 {
		return s.Get(ctx, key)
	}
	// Before the value is looked at: what changes afterwards is told.
	told, err := s.watch.enter(key)
	if err != nil {
		return nil, err
	}
	defer s.watch.leave(key, told)
	end := time.Now().Add(wait)
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		now, err := s.Get(ctx, key)
		left := time.Until(end)
		if err != nil || !same(now, old) || left <= 0 {
			return now, err
		}
		timer := time.NewTimer(min(poll, left))
		select {
		case <-timer.C:
		case <-told:
			poll = firstPoll / 2 // which is doubled now
		case <-s.watch.done:
			err = ErrClosed
		case <-ctx.Done():
			err = fmt.Errorf("redisshared: %w", ctx.Err())
		}
		timer.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// same reports whether two values are the same. nil is no value.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// A watch tells those who wait of messages in a channel, which are the keys of
// values that have been changed.
type watch struct {
	client  redis.UniversalClient
	channel string
	idle    time.Duration
	done    chan struct{} // closed by close

	mu      sync.Mutex
	closed  bool
	waiting map[string]map[told]struct{} // by key
	count   int                          // of all that wait
	current *subscription                // nil while there is none
	end     *time.Timer                  // of the subscription; nil while somebody waits
}

// told has something when its key has been changed, or may have been.
type told chan struct{}

// A subscription is a connection of its own, whose goroutine ends with it.
type subscription struct {
	cancel context.CancelFunc
	pubsub *redis.PubSub
	ended  chan struct{}
}

func newWatch(client redis.UniversalClient, channel string) *watch {
	return &watch{
		client: client, channel: channel, idle: idle,
		done: make(chan struct{}), waiting: map[string]map[told]struct{}{},
	}
}

// enter returns what tells of a key, until leave.
func (w *watch) enter(key string) (told, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
	}
	if w.end != nil {
		w.end.Stop()
		w.end = nil
	}
	if w.current == nil {
		w.subscribe()
	}
	t := make(told, 1)
	if w.waiting[key] == nil {
		w.waiting[key] = map[told]struct{}{}
	}
	w.waiting[key][t] = struct{}{}
	w.count++
	return t, nil
}

func (w *watch) leave(key string, t told) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if delete(w.waiting[key], t); len(w.waiting[key]) == 0 {
		delete(w.waiting, key)
	}
	if w.count--; w.count == 0 && !w.closed {
		w.end = time.AfterFunc(w.idle, w.rest)
	}
}

// rest ends the subscription if still nobody waits.
func (w *watch) rest() {
	w.mu.Lock()
	s := w.current
	if w.count > 0 || s == nil {
		w.mu.Unlock()
		return
	}
	w.current = nil
	w.mu.Unlock()
	s.close()
}

func (w *watch) close() {
	w.mu.Lock()
	s := w.current
	if !w.closed {
		w.closed = true
		close(w.done)
	}
	if w.end != nil {
		w.end.Stop()
	}
	w.current = nil
	w.mu.Unlock()
	if s == nil {
		return
	}
	// A server that does not answer may keep the connection until the client's
	// timeouts.
	go s.close()
	select {
	case <-s.ended:
	case <-time.After(time.Second):
	}
}

// subscribe begins a subscription. go-redis looks after its connection: it makes
// another one when that is lost, and subscribes again. mu is held.
func (w *watch) subscribe() {
	ctx, cancel := context.WithCancel(context.Background())
	s := &subscription{cancel: cancel, pubsub: w.client.Subscribe(ctx), ended: make(chan struct{})}
	w.current = s
	go func() {
		defer close(s.ended)
		// An error is no matter: it is tried again when messages are received.
		_ = s.pubsub.Subscribe(ctx, w.channel)
		for message := range s.pubsub.ChannelWithSubscriptions() {
			switch m := message.(type) {
			case *redis.Message:
				w.tell(m.Payload)
			case *redis.Subscription:
				w.tellAll() // what was told before was not heard
			}
		}
	}()
}

func (s *subscription) close() {
	s.cancel()
	_ = s.pubsub.Close()
}

func (w *watch) tell(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for t := range w.waiting[key] {
		t.tell()
	}
}

func (w *watch) tellAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, all := range w.waiting {
		for t := range all {
			t.tell()
		}
	}
}

func (t told) tell() {
	select {
	case t <- struct{}{}:
	default: // it has been told before, and not looked yet
	}
}
