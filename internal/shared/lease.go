package shared

import (
	"bytes"
	"context"
	"time"

	"example.com/msauth/internal/seal"
)

// LeaseTime is how long whoever has a lease may take.
const LeaseTime = 30 * time.Second

// longestWait is how long one wait for another process may be, in a call of the
// backend.
const longestWait = 2 * time.Second

// A Lease is the right to say what stands under a name: of all processes, this one
// has it, for LeaseTime.
type Lease struct {
	h    *Hub
	name string
	box  []byte // what stands there
}

// A Claimed is what came of [Hub.Claim]: one of these.
type Claimed struct {
	Lease *Lease // this process has it now
	Value []byte // what another process has left there
	held  []byte // another process has the lease
	name  string
}

// Held reports whether another process has the lease: see [Hub.Await].
func (c Claimed) Held() bool { return c.held != nil }

// Claim takes the lease of a name, unless another process has it or there is a
// value that good accepts. With an error it returns a lease that this process may
// have or not: whoever goes on without the others settles it all the same, or they
// would wait for one whose taking was done and not answered.
func (h *Hub) Claim(ctx context.Context, name string, good func(value []byte) bool) (c Claimed, err error) {
	token := make([]byte, 16)
	seal.RandomBytes(token)
	mine := h.seal(kindLease, name, token)
	var old []byte
	for range 3 {
		before, err := h.swap(ctx, name, old, mine, LeaseTime)
		if err != nil && ctx.Err() == nil {
			return Claimed{Lease: &Lease{h, name, mine}}, err
		}
		if err != nil {
			return c, err
		}
		if bytes.Equal(before, old) {
			return Claimed{Lease: &Lease{h, name, mine}}, nil
		}
		switch value, kind, err := h.open(name, before, kindLease, kindValue); {
		case err != nil:
		case kind == kindLease:
			return Claimed{held: before, name: name}, nil
		case good(value):
			return Claimed{Value: value}, nil
		}
		old = before // a value that is of no use, or none any more
	}
	return c, ErrUnavailable
}

// Await waits until another process gives up the lease that c says it has, and
// returns what it has left there, if good accepts it.
func (h *Hub) Await(ctx context.Context, c Claimed, good func(value []byte) bool) (value []byte, err error) {
	for until := time.Now().Add(LeaseTime); time.Now().Before(until); {
		var now []byte
		began := time.Now()
		err := h.callFor(ctx, longestWait+callTime, func(ctx context.Context) (err error) {
			now, err = h.Backend.Wait(ctx, h.prefix+c.name, c.held, longestWait)
			return err
		})
		if err != nil {
			return nil, err
		}
		if bytes.Equal(now, c.held) {
			if time.Since(began) < longestWait/2 {
				pause(ctx, 100*time.Millisecond) // a backend that does not wait
			}
			continue
		}
		if value, kind, err := h.open(c.name, now, kindValue, kindLease); err == nil && kind == kindValue && good(value) {
			return value, nil
		}
		return nil, nil
	}
	return nil, nil
}

// Settle leaves a value in the place of the lease. If the lease is over and another
// process has taken it, that one decides: then nothing happens. If the backend
// fails, it is tried again as long as the lease would last.
func (l *Lease) Settle(ctx context.Context, value []byte, life time.Duration) {
	box := l.h.seal(kindValue, l.name, value)
	settle := func(ctx context.Context) error { return l.leave(ctx, box, max(life, time.Second)) }
	if settle(ctx) != nil {
		l.h.queue.addTask(settle, time.Now().Add(LeaseTime))
	}
}

// Release gives the lease back, and leaves nothing.
func (l *Lease) Release(ctx context.Context) { _ = l.leave(ctx, nil, time.Second) }

func (l *Lease) leave(ctx context.Context, box []byte, life time.Duration) error {
	before, err := l.h.swap(ctx, l.name, l.box, box, life)
	if err == nil && before == nil && box != nil { // it is over, or the backend has lost it
		_, err = l.h.swap(ctx, l.name, nil, box, life)
	}
	return err
}

func (h *Hub) swap(ctx context.Context, name string, old, value []byte, life time.Duration) (before []byte, err error) {
	err = h.call(ctx, func(ctx context.Context) (err error) {
		before, err = h.Backend.Swap(ctx, h.prefix+name, old, value, life)
		return err
	})
	return before, err
}
