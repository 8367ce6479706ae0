package shared

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

const (
	maxQueued = 100_000 // entries that wait to be published: about 10 MB
	maxTasks  = 1_000   // leases that wait to be settled, with tokens
	maxBatch  = 32 << 10
	// keepRecent is how long a process remembers what it has published: a backend
	// that fails over may have lost the last moments.
	keepRecent = 1 * time.Minute
	maxRecent  = 10_000
)

// queue is what could not be done because the backend fails.
type queue struct {
	mu      sync.Mutex
	entries [][]byte // to be published, in frames
	tasks   []task
	recent  []published
	wake    chan struct{} // holds a value when there is something to do
	change  chan struct{} // closed when the queue has become shorter
}

type task struct {
	do    func(context.Context) error
	until time.Time // when it is of no use any more
}

type published struct {
	entry []byte
	at    time.Time
}

func newQueue() queue {
	return queue{wake: make(chan struct{}, 1), change: make(chan struct{})}
}

// addEntry adds an entry to publish. It reports whether there was room.
func (q *queue) addEntry(entry []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.entries) >= maxQueued {
		return false
	}
	q.entries = append(q.entries, entry)
	return true
}

func (q *queue) addTask(do func(context.Context) error, until time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.tasks) < maxTasks {
		q.tasks = append(q.tasks, task{do, until})
	}
}

// again has what is in the queue be tried now.
func (q *queue) again() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// An entry of the log has several pieces of data, each after its length.

func framed(data []byte) []byte {
	return append(binary.AppendUvarint(make([]byte, 0, len(data)+3), uint64(len(data))), data...)
}

// frames calls f with each piece of an entry. It reports whether all is well.
func frames(entry []byte, f func(data []byte) error) bool {
	ok := true
	for len(entry) > 0 {
		size, width := binary.Uvarint(entry)
		if width <= 0 || size > uint64(len(entry)-width) { // #nosec G115 -- not negative
			return false
		}
		entry = entry[width:]
		ok = f(entry[:size]) == nil && ok
		entry = entry[size:]
	}
	return ok
}

// length returns how much is waiting.
func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries) + len(q.tasks)
}

// note remembers what was published.
func (q *queue) note(entry []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for len(q.recent) > 0 && (len(q.recent) >= maxRecent || now.Sub(q.recent[0].at) > keepRecent) {
		q.recent = q.recent[1:]
	}
	q.recent = append(q.recent, published{entry, now})
}

// repeat has what was published in the minute before a failure be published once
// more.
func (q *queue) repeat(failed time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.recent) > 0 && q.recent[0].at.Before(failed) {
		if p := q.recent[0]; failed.Sub(p.at) <= keepRecent && len(q.entries) < maxQueued {
			q.entries = append(q.entries, p.entry)
		}
		q.recent = q.recent[1:]
	}
}

// next returns what is to be done first: entries that fit into one, or a task.
func (q *queue) next() (batch []byte, entries int, do *task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, entry := range q.entries {
		if entries > 0 && len(batch)+len(entry) > maxBatch {
			break
		}
		batch = append(batch, entry...)
		entries++
	}
	if entries == 0 && len(q.tasks) > 0 {
		do = &q.tasks[0]
	}
	return batch, entries, do
}

// drop takes what next has returned out of the queue.
func (q *queue) drop(entries int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if entries > 0 {
		q.entries = q.entries[entries:]
	} else {
		q.tasks = q.tasks[1:]
	}
	if len(q.entries) == 0 {
		q.entries = nil // slices never shrink
	}
	close(q.change)
	q.change = make(chan struct{})
}

// empty waits until nothing is left to do.
func (q *queue) empty(ctx context.Context) error {
	for {
		q.mu.Lock()
		left, change := len(q.entries)+len(q.tasks), q.change
		q.mu.Unlock()
		if left == 0 {
			return nil
		}
		q.again()
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("%w: %d sign-outs or outcomes were not passed on", ErrUnavailable, left)
		}
	}
}

// deliver does what is in the queue when the backend is back.
func (h *Hub) deliver(ctx context.Context) {
	timer := time.NewTicker(restTime)
	defer timer.Stop()
	for {
		select {
		case <-h.queue.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil {
			batch, entries, do := h.queue.next()
			var err error
			switch {
			case entries > 0:
				err = h.append(ctx, batch)
			case do == nil:
			case time.Now().Before(do.until):
				err = do.do(ctx)
			}
			if err != nil || entries == 0 && do == nil {
				break
			}
			h.queue.drop(entries)
		}
		h.probe(ctx)
	}
}
