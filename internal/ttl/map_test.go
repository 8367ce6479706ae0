package ttl_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"example.com/msauth/internal/ttl"
)

// after is the time that is seconds away.
func after(seconds int) time.Time { return time.Now().Add(time.Duration(seconds) * time.Second) }

func TestEntryExpiresAtItsTime(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		seconds int
		asked   time.Duration
		want    bool
	}{
		{"at once", 60, 0, true},
		{"just before", 60, time.Minute - 1, true},
		{"at its time", 60, time.Minute, false},
		{"after the sweep", 60, time.Hour, false},
		{"longer than a sweep, before", 600, 10*time.Minute - 1, true},
		{"longer than a sweep, at its time", 600, 10 * time.Minute, false},
		{"expired when it came", -1, 0, false},
		{"expires when it came", 0, 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := ttl.New[string, int](10)
				m.Put("key", 7, after(test.seconds))
				time.Sleep(test.asked)
				switch value, ok := m.Get("key"); {
				case ok != test.want:
					t.Errorf("found: %t, want %t", ok, test.want)
				case ok && value != 7, !ok && value != 0:
					t.Errorf("value %d", value)
				}
			})
		})
	}
}

func TestPutReplacesValueAndTime(t *testing.T) {
	t.Parallel()
	for _, second := range []int{30, 60, 90} {
		t.Run(fmt.Sprint(second), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := ttl.New[string, string](10)
				m.Put("key", "first", after(60))
				m.Put("key", "second", after(second))
				if value, _ := m.Get("key"); value != "second" || m.Len() != 1 {
					t.Errorf("%q, %d entries", value, m.Len())
				}
				time.Sleep(time.Duration(second)*time.Second - 1)
				if _, ok := m.Get("key"); !ok {
					t.Error("gone too early")
				}
				time.Sleep(time.Nanosecond)
				if value, ok := m.Get("key"); ok {
					t.Errorf("%q outlives the second time", value)
				}
			})
		})
	}
}

func TestAddOnlyWhereNothingIs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		give func(m *ttl.Map[string, string])
		want string // what is there after Add of "new"
	}{
		{"empty map", func(*ttl.Map[string, string]) {}, "new"},
		{"another key", func(m *ttl.Map[string, string]) { m.Put("other", "old", after(60)) }, "new"},
		{"the same key", func(m *ttl.Map[string, string]) { m.Put("key", "old", after(60)) }, "old"},
		{"added before", func(m *ttl.Map[string, string]) { m.Add("key", "old", after(60)) }, "old"},
		{"dropped", func(m *ttl.Map[string, string]) { m.Put("key", "old", after(60)); m.Drop("key") }, "new"},
		{"expired, not yet freed", func(m *ttl.Map[string, string]) {
			m.Put("key", "old", after(60))
			time.Sleep(time.Minute)
		}, "new"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := ttl.New[string, string](10)
				test.give(m)
				added := m.Add("key", "new", after(60))
				value, ok := m.Get("key")
				if added != (test.want == "new") || !ok || value != test.want {
					t.Errorf("added: %t, %q is there (%t), want %q", added, value, ok, test.want)
				}
			})
		})
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	m := ttl.New[int, int](10)
	m.Drop(1) // of an empty map
	for i := range 5 {
		m.Put(i, i, after(60+i))
	}
	m.Drop(2)
	m.Drop(2)
	for i := range 5 {
		if _, ok := m.Get(i); ok != (i != 2) {
			t.Errorf("entry %d: found: %t", i, ok)
		}
	}
	if m.Len() != 4 {
		t.Errorf("%d entries", m.Len())
	}
}

// A full map drops what expires first, not what is oldest.
func TestLimit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		limit   int
		expires []int // seconds, of the entries 0, 1, ... in the order they come
		want    []int // entries that are left
	}{
		{"not full", 3, []int{30, 10, 20}, []int{0, 1, 2}},
		{"the oldest expires first", 3, []int{10, 20, 30, 40}, []int{1, 2, 3}},
		{"the oldest expires last", 3, []int{40, 30, 20, 25}, []int{0, 1, 3}},
		{"the new one expires first", 3, []int{40, 30, 20, 10}, []int{0, 1, 2}},
		{"far more than fit", 2, []int{5, 60, 1, 4, 70, 3, 2}, []int{1, 4}},
		{"expired ones go first", 2, []int{-1, 10, 20}, []int{1, 2}},
		{"limit 1", 1, []int{10, 20, 15}, []int{1}},
		{"limit 0", 0, []int{10, 20}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := ttl.New[int, int](test.limit)
				for i, seconds := range test.expires {
					m.Put(i, i, after(seconds))
					if m.Len() > test.limit {
						t.Errorf("%d entries after entry %d, want at most %d", m.Len(), i, test.limit)
					}
				}
				var left []int
				for i := range test.expires {
					if _, ok := m.Get(i); ok {
						left = append(left, i)
					}
				}
				if fmt.Sprint(left) != fmt.Sprint(test.want) {
					t.Errorf("entries %v are left, want %v", left, test.want)
				}
			})
		})
	}
}

// Values can be tokens: they must not wait in memory for somebody to ask.
func TestExpiredValuesAreFreed(t *testing.T) {
	t.Parallel()
	const sweeps = 4 * time.Minute // at most two, of which the second finds it
	tests := []struct {
		name string
		end  func(m *ttl.Map[string, *[64]byte])
	}{
		{"expired", func(*ttl.Map[string, *[64]byte]) { time.Sleep(time.Minute + sweeps) }},
		{"dropped", func(m *ttl.Map[string, *[64]byte]) { m.Drop("key") }},
		{"replaced", func(m *ttl.Map[string, *[64]byte]) { m.Put("key", nil, after(60)) }},
		{"pushed out", func(m *ttl.Map[string, *[64]byte]) {
			m.Put("other", nil, after(3600))
			m.Put("another", nil, after(3600))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := ttl.New[string, *[64]byte](2)
				value := new([64]byte)
				held := weak.Make(value)
				m.Put("key", value, after(60))
				value = nil
				runtime.GC()
				if held.Value() == nil {
					t.Fatal("freed while the map holds it")
				}
				test.end(m)
				runtime.GC()
				if held.Value() != nil {
					t.Error("still in memory")
				}
				runtime.KeepAlive(m)
			})
		})
	}
}

// The sweep frees what has expired, leaves the rest, and starts again after
// the map was empty.
func TestSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := ttl.New[string, int](10)
		for range 2 {
			m.Put("short", 1, after(60))
			m.Put("long", 2, after(600))
			time.Sleep(2*time.Minute + 1)
			if _, ok := m.Get("long"); m.Len() != 1 || !ok {
				t.Errorf("%d entries, the long one there: %t", m.Len(), ok)
			}
			time.Sleep(time.Hour)
			if m.Len() != 0 {
				t.Errorf("%d entries after an hour", m.Len())
			}
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	m := ttl.New[int, int](50)
	var added atomic.Int32
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			if m.Add(-1, worker, after(3600)) {
				added.Add(1)
			}
			for i := range 500 {
				m.Put(i%100, worker, after(60+i))
				m.Get((i + worker) % 100)
				m.Drop((i * worker) % 100)
				if n := m.Len(); n > 50 {
					t.Errorf("%d entries", n)
				}
			}
		})
	}
	wg.Wait()
	if added.Load() != 1 {
		t.Errorf("Add has stored the same key %d times", added.Load())
	}
}
