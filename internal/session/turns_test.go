package session

import (
	"sync"
	"testing"
)

func TestTurns(t *testing.T) {
	t.Parallel()
	var ts turns
	held := ts.take("a")
	ts.take("b")() // nobody waits for another name
	ts.take("")()
	ts.take("") // nor for none
	ts.take("")()

	var all sync.WaitGroup
	count := 0 // the race detector sees two at a time
	for range 50 {
		all.Go(func() {
			defer ts.take("a")()
			count++
		})
	}
	held()
	all.Wait()
	if count != 50 || len(ts.by) != 0 {
		t.Errorf("%d had a turn, %d names are left", count, len(ts.by))
	}
}
