package shared

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// The sizes of what a [Backend] keeps, as Shared of package msauth has them.
const (
	maxName    = 100
	maxSize    = 65536
	maxEntries = 1000 // that Read returns
)

// A limit is how much a [Memory] holds.
type limit struct{ values, logs, entries int }

// Memory is a [Backend] in the memory of this process. It has no goroutines and
// no timers of its own: what is over is freed by the next call of any method.
//
// It is bounded: of more than 100,000 values, 100,000 logs or 1,000,000 entries it
// keeps those that end last.
type Memory struct {
	limit limit

	mu      sync.Mutex
	last    uint64 // the position of the newest entry of all logs
	values  map[string]*value
	logs    map[string]*log
	ends    ends // of values
	logEnds ends // of logs: when the last of their entries ends
	entries ends // of entries

	changed  signals // by key
	appended signals // by log
}

var _ Backend = (*Memory)(nil)

// A value is never changed: another takes its place.
type value struct {
	end
	key  string
	data []byte
}

// A log has at least one entry that is kept.
type log struct {
	end
	name    string
	newest  uint64
	entries []*entry // by position
	dropped int      // so many of entries are no longer kept
}

type entry struct {
	end
	Entry // Data is nil once it has been dropped
	log   *log
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return newMemory(limit{values: 100_000, logs: 100_000, entries: 1_000_000})
}

func newMemory(l limit) *Memory {
	return &Memory{
		limit: l, values: map[string]*value{}, logs: map[string]*log{},
		changed: signals{}, appended: signals{},
	}
}

// Append implements [Backend]. Positions count all entries of all logs, so that
// they grow also where a log has been dropped in between.
func (m *Memory) Append(ctx context.Context, name string, data []byte, life time.Duration) (uint64, error) {
	if err := errors.Join(ctx.Err(), checkName(name), checkData(data), checkLife(life)); err != nil {
		return 0, err
	}
	m.lock()
	defer m.mu.Unlock()
	until := time.Now().Add(life)
	l := m.logs[name]
	if l == nil {
		l = &log{end: end{until: until}, name: name}
		m.logs[name] = l
		m.logEnds.add(l)
	} else if until.After(l.until) {
		m.logEnds.move(l, until)
	}
	m.last++
	e := &entry{end: end{until: until}, Entry: Entry{Position: m.last, Data: bytes.Clone(data)}, log: l}
	l.newest = e.Position
	l.entries = append(l.entries, e)
	m.entries.add(e)
	for len(m.logs) > m.limit.logs {
		m.dropLog(m.logEnds[0].(*log))
	}
	for len(m.entries) > m.limit.entries {
		m.dropEntry(m.entries[0].(*entry))
	}
	m.appended.send(name)
	return e.Position, nil
}

// Read implements [Backend].
func (m *Memory) Read(ctx context.Context, name string, after uint64, wait time.Duration) ([]Entry, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	var found []Entry
	err := m.await(ctx, m.appended, name, wait, func() (bool, time.Time) {
		found = m.read(name, after)
		return len(found) > 0, time.Time{}
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// read returns the first entries after a position. mu is held.
func (m *Memory) read(name string, after uint64) (found []Entry) {
	l := m.logs[name]
	if l == nil || l.newest <= after {
		return nil
	}
	first, _ := slices.BinarySearchFunc(l.entries, after, func(e *entry, after uint64) int {
		if e.Position <= after {
			return -1
		}
		return 1
	})
	for _, e := range l.entries[first:] {
		if e.Data != nil {
			found = append(found, Entry{Position: e.Position, Data: bytes.Clone(e.Data)})
		}
		if len(found) == maxEntries {
			break
		}
	}
	return found
}

// Get implements [Backend].
func (m *Memory) Get(ctx context.Context, key string) ([]byte, error) {
	if err := errors.Join(ctx.Err(), checkName(key)); err != nil {
		return nil, err
	}
	m.lock()
	defer m.mu.Unlock()
	return m.get(key), nil
}

// get returns a copy of a value, nil if there is none. mu is held.
func (m *Memory) get(key string) []byte {
	if v := m.values[key]; v != nil {
		return bytes.Clone(v.data)
	}
	return nil
}

// Put implements [Backend].
func (m *Memory) Put(ctx context.Context, key string, data []byte, life time.Duration) error {
	if err := errors.Join(ctx.Err(), checkName(key), checkData(data), checkLife(life)); err != nil {
		return err
	}
	m.lock()
	defer m.mu.Unlock()
	m.put(key, data, life)
	return nil
}

// put replaces a value, or deletes it if data is nil. mu is held.
func (m *Memory) put(key string, data []byte, life time.Duration) {
	if v := m.values[key]; v != nil {
		m.dropValue(v)
	}
	if data != nil {
		v := &value{end: end{until: time.Now().Add(life)}, key: key, data: bytes.Clone(data)}
		m.values[key] = v
		m.ends.add(v)
		for len(m.values) > m.limit.values {
			m.dropValue(m.ends[0].(*value))
		}
	}
	m.changed.send(key)
}

// Swap implements [Backend].
func (m *Memory) Swap(ctx context.Context, key string, old, data []byte, life time.Duration) ([]byte, error) {
	err := errors.Join(ctx.Err(), checkName(key))
	if data != nil {
		err = errors.Join(err, checkData(data), checkLife(life))
	}
	if err != nil {
		return nil, err
	}
	m.lock()
	defer m.mu.Unlock()
	before := m.get(key)
	if same(before, old) {
		m.put(key, data, life)
	}
	return before, nil
}

// Wait implements [Backend].
func (m *Memory) Wait(ctx context.Context, key string, old []byte, wait time.Duration) ([]byte, error) {
	if err := checkName(key); err != nil {
		return nil, err
	}
	var now []byte
	err := m.await(ctx, m.changed, key, wait, func() (bool, time.Time) {
		var until time.Time
		if v := m.values[key]; v != nil {
			until = v.until
		}
		now = m.get(key)
		return !same(now, old), until
	})
	if err != nil {
		return nil, err
	}
	return now, nil
}

// await calls done, which is called with mu held, until it returns true, wait is
// over, or ctx is. In between it waits for a signal, or until the time that done
// returns, if any.
func (m *Memory) await(ctx context.Context, on signals, name string, wait time.Duration, done func() (bool, time.Time)) error {
	end := time.Now().Add(wait)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.lock()
		ok, until := done()
		if ok || !time.Now().Before(end) {
			m.mu.Unlock()
			return nil
		}
		signal := on.enter(name)
		m.mu.Unlock()
		if until.IsZero() || until.After(end) {
			until = end
		}
		timer := time.NewTimer(time.Until(until))
		select {
		case <-signal.sent:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		m.mu.Lock()
		on.leave(name, signal)
		m.mu.Unlock()
	}
}

// lock locks mu and drops what is over.
func (m *Memory) lock() {
	m.mu.Lock()
	now := time.Now()
	for v := m.ends.over(now); v != nil; v = m.ends.over(now) {
		m.dropValue(v.(*value))
	}
	for e := m.entries.over(now); e != nil; e = m.entries.over(now) {
		m.dropEntry(e.(*entry))
	}
}

// dropValue is called with mu held, as the others are that drop something.
func (m *Memory) dropValue(v *value) {
	m.ends.remove(v)
	delete(m.values, v.key)
	m.changed.send(v.key)
}

func (m *Memory) dropEntry(e *entry) {
	m.entries.remove(e)
	e.Data = nil
	l := e.log
	if l.dropped++; l.dropped == len(l.entries) {
		m.dropLog(l)
	} else if l.dropped*2 > len(l.entries) {
		// A slice never shrinks, but its copy is as long as it has to be.
		l.entries = slices.Clone(slices.DeleteFunc(l.entries, func(e *entry) bool { return e.Data == nil }))
		l.dropped = 0
	}
}

func (m *Memory) dropLog(l *log) {
	for _, e := range l.entries {
		if e.Data != nil {
			m.entries.remove(e)
		}
	}
	m.logEnds.remove(l)
	delete(m.logs, l.name)
}

// same reports whether two values are the same. nil is no value.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

func checkName(name string) error {
	legal := len(name) > 0 && len(name) <= maxName
	for _, c := range []byte(name) {
		legal = legal && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == ':')
	}
	if !legal {
		return fmt.Errorf("shared: %q must be 1 to %d letters, digits, '-', '_' and ':'", name, maxName)
	}
	return nil
}

func checkData(data []byte) error {
	if len(data) == 0 || len(data) > maxSize {
		return fmt.Errorf("shared: %d bytes, must be 1 to %d", len(data), maxSize)
	}
	return nil
}

func checkLife(life time.Duration) error {
	if life <= 0 {
		return fmt.Errorf("shared: a life of %v, must be positive", life)
	}
	return nil
}
