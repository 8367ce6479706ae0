package ttl

import (
	"container/heap"
	"sync"
	"time"
)

// sweepEvery bounds how long an entry outlives its time in memory.
const sweepEvery = 2 * time.Minute

// An Map map forgets each entry at its time, and the entries nearest to
// theirs when there are more than limit. It is safe for concurrent use. It
// holds no memory and no timer while it is empty.
type Map[K comparable, V any] struct {
	limit int

	mu       sync.Mutex
	entries  map[K]*entry[K, V]
	byTime   entryHeap[K, V]
	sweeping bool
}

type entry[K comparable, V any] struct {
	key   K
	value V
	until time.Time
	index int
}

func New[K comparable, V any](limit int) *Map[K, V] {
	return &Map[K, V]{limit: limit}
}

func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[key]
	if e == nil || !time.Now().Before(e.until) {
		return value, false
	}
	return e.value, true
}

func (m *Map[K, V]) Put(key K, value V, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store(key, value, until)
}

func (m *Map[K, V]) store(key K, value V, until time.Time) {
	if old := m.entries[key]; old != nil {
		heap.Remove(&m.byTime, old.index)
	}
	if m.entries == nil {
		m.entries = map[K]*entry[K, V]{}
	}
	e := &entry[K, V]{key: key, value: value, until: until}
	m.entries[key] = e
	heap.Push(&m.byTime, e)
	for len(m.byTime) > m.limit {
		m.dropFirst()
	}
	if !m.sweeping {
		m.sweeping = true
		time.AfterFunc(sweepEvery, m.sweep)
	}
}

// Add is put for a key that is not there, and reports whether it was so.
func (m *Map[K, V]) Add(key K, value V, until time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[key]; e != nil && time.Now().Before(e.until) {
		return false
	}
	m.store(key, value, until)
	return true
}

// Drop forgets an entry.
func (m *Map[K, V]) Drop(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[key]; e != nil {
		heap.Remove(&m.byTime, e.index)
		delete(m.entries, key)
	}
}

func (m *Map[K, V]) dropFirst() {
	delete(m.entries, heap.Pop(&m.byTime).(*entry[K, V]).key)
}

func (m *Map[K, V]) sweep() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for len(m.byTime) > 0 && !now.Before(m.byTime[0].until) {
		m.dropFirst()
	}
	if m.sweeping = len(m.byTime) > 0; m.sweeping {
		time.AfterFunc(sweepEvery, m.sweep)
	} else {
		m.entries, m.byTime = nil, nil // maps and slices never shrink
	}
}

func (m *Map[K, V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}

type entryHeap[K comparable, V any] []*entry[K, V]

func (h entryHeap[K, V]) Len() int { return len(h) }

func (h entryHeap[K, V]) Less(i, j int) bool { return h[i].until.Before(h[j].until) }

func (h entryHeap[K, V]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *entryHeap[K, V]) Push(x any) {
	e := x.(*entry[K, V])
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *entryHeap[K, V]) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
