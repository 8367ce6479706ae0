package redisshared

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/msauth"
)

// The limits of [msauth.Shared], and of the names of it.
const (
	maxName = 100
	maxSize = 65536
	maxRead = 1000 // entries
)

// maxBlock is how long one XREAD waits: go-redis adds 10 seconds to it, which must
// not be too much for a time.Duration.
const maxBlock = time.Hour

// A Shared is an [msauth.Shared] on Redis, as the package comment explains it. It is
// made by [New], and is to be closed by [Shared.Close].
type Shared struct {
	client redis.UniversalClient
	prefix string
	watch  *watch
}

var _ msauth.Shared = (*Shared)(nil)

// New returns a Shared whose keys in Redis begin with prefix, which has 1 to 100
// letters, digits and characters "-", "_" and ":". It sends nothing. The client remains
// the app's, which closes it after the Shared, and may use it for other things.
func New(client redis.UniversalClient, prefix string) (*Shared, error) {
	switch c := client.(type) {
	case nil:
		return nil, errors.New("redisshared: the client is nil")
	case *redis.ClusterClient:
		if o := c.Options(); o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return nil, errors.New("redisshared: the client reads from replicas (ReadOnly, RouteByLatency or RouteRandomly), which may not know the newest yet")
		}
	case *redis.Ring:
		return nil, errors.New("redisshared: a redis.Ring has no masters: what it holds changes with the servers it can reach")
	}
	if !legal(prefix) {
		return nil, fmt.Errorf("redisshared: prefix %q must be 1 to %d letters, digits, '-', '_' and ':'", prefix, maxName)
	}
	return &Shared{client: client, prefix: prefix, watch: newWatch(client, prefix+":changed")}, nil
}

// Close ends the subscription of those who wait, and their waiting with an error. It
// does not close the client.
func (s *Shared) Close() error {
	s.watch.close()
	return nil
}

// Append implements [msauth.Shared].
func (s *Shared) Append(ctx context.Context, log string, entry []byte, life time.Duration) (position uint64, err error) {
	key, err := s.key("l", log)
	if err := errors.Join(err, check(entry, life)); err != nil {
		return 0, err
	}
	// The command may still be sent when the caller has gone on: it gets a copy.
	data := string(entry)
	return call(ctx, func() (uint64, error) {
		id, err := s.run(ctx, appendScript, key, data, milliseconds(life))
		if err != nil {
			return 0, err
		}
		return positionOf(id)
	})
}

// Read implements [msauth.Shared].
func (s *Shared) Read(ctx context.Context, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
	key, err := s.key("l", log)
	if err != nil {
		return nil, err
	}
	for {
		block := min(wait, maxBlock)
		if end, ok := ctx.Deadline(); ok {
			// No connection waits for an entry that nobody will take.
			block = min(block, max(time.Until(end), 0)+time.Millisecond)
		}
		found, err := call(ctx, func() ([]msauth.SharedEntry, error) { return s.read(ctx, key, after, block) })
		if err != nil || len(found) > 0 || block >= wait {
			return found, err
		}
		wait -= block
	}
}

// read sends XREAD, which waits as long as block, if that is positive.
func (s *Shared) read(ctx context.Context, key string, after uint64, block time.Duration) ([]msauth.SharedEntry, error) {
	args := &redis.XReadArgs{Streams: []string{key}, ID: idOf(after), Count: maxRead, Block: -1}
	if block > 0 { // 0 would be forever
		args.Block = time.Duration(milliseconds(block)) * time.Millisecond
	}
	streams, err := s.client.XRead(ctx, args).Result()
	if errors.Is(err, redis.Nil) || err == nil && len(streams) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []msauth.SharedEntry
	for _, message := range streams[0].Messages {
		position, err := positionOf(message.ID)
		if err != nil {
			return nil, err
		}
		data, ok := message.Values["e"].(string)
		if !ok {
			return nil, fmt.Errorf("entry %s of stream %s is none of this package's: it has no field e", message.ID, key)
		}
		found = append(found, msauth.SharedEntry{Position: position, Entry: []byte(data)})
	}
	return found, nil
}

// Get implements [msauth.Shared].
func (s *Shared) Get(ctx context.Context, key string) ([]byte, error) {
	name, err := s.key("v", key)
	if err != nil {
		return nil, err
	}
	return call(ctx, func() ([]byte, error) { return value(s.client.Get(ctx, name).Result()) })
}

// Put implements [msauth.Shared].
func (s *Shared) Put(ctx context.Context, key string, data []byte, life time.Duration) error {
	name, err := s.key("v", key)
	if err := errors.Join(err, check(data, life)); err != nil {
		return err
	}
	sent := string(data)
	_, err = call(ctx, func() (string, error) { return s.do(ctx, 1, "set", name, sent, "px", milliseconds(life)) })
	return err
}

// Swap implements [msauth.Shared].
func (s *Shared) Swap(ctx context.Context, key string, old, data []byte, life time.Duration) (before []byte, err error) {
	name, err := s.key("v", key)
	if data != nil {
		err = errors.Join(err, check(data, life))
	}
	if old != nil && len(old) == 0 {
		err = errors.Join(err, errors.New("redisshared: old has no bytes, and is not nil"))
	}
	if err != nil {
		return nil, err
	}
	args := []any{string(old), string(data), milliseconds(life), s.watch.channel, key}
	return call(ctx, func() ([]byte, error) { return value(s.run(ctx, swapScript, name, args...)) })
}

// key returns the key in Redis of a log ("l") or a value ("v").
func (s *Shared) key(kind, name string) (string, error) {
	if !legal(name) {
		return "", fmt.Errorf("redisshared: %q must be 1 to %d letters, digits, '-', '_' and ':'", name, maxName)
	}
	return s.prefix + ":" + kind + ":" + name, nil
}

// call calls f in a goroutine of its own, and returns when that does or when ctx is
// over. go-redis looks at ctx while it waits for a connection; but an answer is
// awaited until ReadTimeout, unless ContextTimeoutEnabled is set, and cancelling does
// not end even that. What is left behind has one of the client's connections each:
// there are no more than those.
func call[T any](ctx context.Context, f func() (T, error)) (answer T, err error) {
	if err = ctx.Err(); err != nil {
		return answer, fmt.Errorf("redisshared: %w", err)
	}
	type result struct {
		answer T
		err    error
	}
	done := make(chan result, 1)
	go func() {
		answer, err := f()
		done <- result{answer, err}
	}()
	select {
	case r := <-done:
		answer, err = r.answer, r.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		// Also where go-redis has noticed first, by another error: it has the
		// connection time out at the deadline, a moment before the context notices.
		if failed, ok := errors.AsType[net.Error](err); ok && failed.Timeout() && almostOver(ctx) {
			<-ctx.Done()
		}
		if over := ctx.Err(); over != nil && !errors.Is(err, over) {
			return answer, fmt.Errorf("redisshared: %w (%w)", over, err)
		}
		return answer, fmt.Errorf("redisshared: %w", err)
	}
	return answer, nil
}

// almostOver reports whether a context's deadline is now, but for what timers and
// schedulers take.
func almostOver(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < 20*time.Millisecond
}

// value is a string of Redis as a value, nil if there is none.
func value(s string, err error) ([]byte, error) {
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []byte(s), nil
}

// milliseconds rounds up: to no more than a life is to be no life.
func milliseconds(d time.Duration) int64 {
	ms := d.Milliseconds()
	if d > time.Duration(ms)*time.Millisecond {
		ms++
	}
	return ms
}

func check(data []byte, life time.Duration) error {
	if len(data) == 0 || len(data) > maxSize {
		return fmt.Errorf("redisshared: %d bytes, must be 1 to %d", len(data), maxSize)
	}
	if life <= 0 {
		return fmt.Errorf("redisshared: a life of %v, must be positive", life)
	}
	return nil
}

func legal(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != ':' {
			return false
		}
	}
	return len(name) > 0 && len(name) <= maxName
}
