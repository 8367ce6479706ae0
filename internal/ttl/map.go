package ttl

import (
	"container/heap"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
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
	seed  maphash.Seed
	// shards have the entries by key. Every request of a server reads some of
	// these maps: with one lock, its processors would wait for each other.
	shards [shardCount]shard[K, V]
	count  atomic.Int64 // of entries: 0 spares readers the rest

	mu       sync.Mutex // held from finding an entry to changing it; before that of a shard
	byTime   entryHeap[K, V]
	sweeping bool // a call of sweep is due
}

const shardCount = 16

type shard[K comparable, V any] struct {
	mu      sync.RWMutex
	entries map[K]*entry[K, V]
	_       [32]byte // no two locks in one cache line
}

// An entry is never changed, but for its index.
type entry[K comparable, V any] struct {
	key   K
	value V
	until time.Time // expired from then on
	index int       // in byTime
}

// New returns an empty map of at most limit entries.
func New[K comparable, V any](limit int) *Map[K, V] {
	return &Map[K, V]{limit: limit, seed: maphash.MakeSeed()}
}

// Get returns the value of key. ok is false if there is none or it has expired.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	e := m.find(key)
	if e == nil || !time.Now().Before(e.until) {
		return value, false
	}
	return e.value, true
}

// find returns the entry of key, expired or not, or nil.
func (m *Map[K, V]) find(key K) *entry[K, V] {
	if m.count.Load() == 0 {
		return nil
	}
	s := m.shardOf(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entries[key]
}

func (m *Map[K, V]) shardOf(key K) *shard[K, V] {
	return &m.shards[maphash.Comparable(m.seed, key)%shardCount]
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
	if e := m.find(key); e != nil && time.Now().Before(e.until) {
		return false
	}
	m.store(key, value, until)
	return true
}

// Drop forgets the value of key, if there is one.
func (m *Map[K, V]) Drop(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.find(key); e != nil {
		heap.Remove(&m.byTime, e.index)
		m.remove(e)
	}
}

// Len returns how many entries are in memory, including expired ones that have
// not been freed yet.
func (m *Map[K, V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.byTime)
}

// Range calls yield with the entries that have not expired, in any order, until it
// returns false. Nothing is locked meanwhile: entries that change during the call
// may be given as they were before or are afterwards.
func (m *Map[K, V]) Range(yield func(key K, value V) bool) {
	m.mu.Lock()
	list := slices.Clone(m.byTime)
	m.mu.Unlock()
	for _, e := range list { // which never change but for their index
		if time.Now().Before(e.until) && !yield(e.key, e.value) {
			return
		}
	}
}

// store does what Put does while mu is held.
func (m *Map[K, V]) store(key K, value V, until time.Time) {
	e := &entry[K, V]{key: key, value: value, until: until}
	if old := m.find(key); old != nil {
		heap.Remove(&m.byTime, old.index)
	} else {
		m.count.Add(1)
	}
	s := m.shardOf(key)
	s.mu.Lock()
	if s.entries == nil {
		s.entries = map[K]*entry[K, V]{}
	}
	s.entries[key] = e
	s.mu.Unlock()
	heap.Push(&m.byTime, e)
	for len(m.byTime) > m.limit {
		m.dropFirst()
	}
	if !m.sweeping {
		m.sweeping = true
		time.AfterFunc(sweepEvery, m.sweep)
	}
}

// remove takes an entry out of its shard, and frees a shard that is empty: maps
// never shrink. mu is held.
func (m *Map[K, V]) remove(e *entry[K, V]) {
	s := m.shardOf(e.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.entries, e.key); len(s.entries) == 0 {
		s.entries = nil
	}
	m.count.Add(-1)
}

// dropFirst forgets the entry that expires first. mu is held.
func (m *Map[K, V]) dropFirst() { m.remove(heap.Pop(&m.byTime).(*entry[K, V])) }

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
		m.byTime = nil // slices never shrink
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
