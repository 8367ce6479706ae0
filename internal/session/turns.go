package session

import "sync"

// turns let one goroutine at a time do something under a name.
type turns struct {
	mu sync.Mutex
	by map[string]*turn
}

type turn struct {
	busy  chan struct{} // full while somebody has the turn
	wants int           // who has it or waits for it
}

// take waits for the turn of a name; done ends it. "" is no name: nobody waits
// for it.
func (t *turns) take(name string) (done func()) {
	if name == "" {
		return func() {}
	}
	t.mu.Lock()
	mine := t.by[name]
	if mine == nil {
		if t.by == nil {
			t.by = map[string]*turn{}
		}
		mine = &turn{busy: make(chan struct{}, 1)}
		t.by[name] = mine
	}
	mine.wants++
	t.mu.Unlock()
	mine.busy <- struct{}{}
	return func() {
		<-mine.busy
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.wants--; mine.wants == 0 {
			delete(t.by, name)
		}
	}
}
