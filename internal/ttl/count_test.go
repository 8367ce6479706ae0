package ttl

import (
	"testing"
	"time"
)

// What spares readers the locks of an empty map is right again when it is empty.
func TestCountOfEntries(t *testing.T) {
	t.Parallel()
	m := New[int, int](3)
	for i := range 5 { // two more than there is room for
		m.Put(i, i, time.Now().Add(time.Hour+time.Duration(i)))
	}
	m.Put(4, 5, time.Now().Add(time.Hour)) // in place of another
	if got := m.count.Load(); got != 3 {
		t.Errorf("%d entries counted, want 3", got)
	}
	for i := range 5 {
		m.Drop(i)
	}
	if got := m.count.Load(); got != 0 {
		t.Errorf("%d entries counted in an empty map", got)
	}
}
