package ttl

import (
	"container/heap"
	"sync"
	"time"
)

// sweepEvery bounds how long an expired entry stays in memory.
const sweepEvery = 2 * time.Minute

// A Map forgets each entry at its expiry, and holds no more than its limit: of
// more entries it keeps those that expire last. It is safe for concurrent use.
//
// An expired entry is freed within two minutes, whether or not anybody asks
// for it. A map that has been empty for as long holds neither memory nor a
// timer.
type Map[K comparable, V any] struct {
	limit int

	mu       sync.Mutex
	entries  map[K]*entry[K, V]
	byTime   entryHeap[K, V]
	sweeping bool // a call of sweep is due
}

type entry[K comparable, V any] struct {
	key   K
	value V
	until time.Time // expired from then on
	index int       // in byTime
}

// New returns an empty map of at most limit entries.
func New[K comparable, V any](limit int) *Map[K, V] {
	return &Map[K, V]{limit: limit}
}

// Get returns the value of key. ok is false if there is none or it has expired.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[key]
	if e == nil || !time.Now().Before(e.until) {
		return value, false
	}
	return e.value, true
}

// Put stores value under key until the given time, in place of what was there.
// Where the map is full, the entry that expires first is dropped; that can be
// the new one.
func (m *Map[K, V]) Put(key K, value V, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store(key, value, until)
}

// Add does what [Map.Put] does unless key has a value that has not expired, and
// reports whether it did. Of concurrent calls with one key one gets true.
func (m *Map[K, V]) Add(key K, value V, until time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[key]; e != nil && time.Now().Before(e.until) {
		return false
	}
	m.store(key, value, until)
	return true
}

// Drop forgets the value of key, if there is one.
func (m *Map[K, V]) Drop(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[key]; e != nil {
		heap.Remove(&m.byTime, e.index)
		delete(m.entries, key)
	}
}

// Len returns how many entries are in memory, including expired ones that have
// not been freed yet.
func (m *Map[K, V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}

// store does what Put does while mu is held.
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

// dropFirst forgets the entry that expires first. mu is held.
func (m *Map[K, V]) dropFirst() {
	delete(m.entries, heap.Pop(&m.byTime).(*entry[K, V]).key)
}

// sweep frees the expired entries, and calls itself again while others are left.
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

// An entryHeap implements [heap.Interface]: the entry that expires first is at
// index 0, and each entry knows its index.
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
