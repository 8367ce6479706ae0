package shared

import (
	"container/heap"
	"time"
)

// An end is when something ends. What has one can be put into [ends].
type end struct {
	until time.Time
	index int // in ends
}

func (e *end) ending() *end { return e }

type ending interface{ ending() *end }

// ends implements [heap.Interface]: what ends first is at index 0.
type ends []ending

func (e *ends) add(x ending)    { heap.Push(e, x) }
func (e *ends) remove(x ending) { heap.Remove(e, x.ending().index) }

func (e *ends) move(x ending, until time.Time) {
	x.ending().until = until
	heap.Fix(e, x.ending().index)
}

// over returns what has ended, nil if nothing has.
func (e ends) over(now time.Time) ending {
	if len(e) == 0 || now.Before(e[0].ending().until) {
		return nil
	}
	return e[0]
}

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].ending().until.Before(e[j].ending().until) }

func (e ends) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].ending().index, e[j].ending().index = i, j
}

func (e *ends) Push(x any) {
	x.(ending).ending().index = len(*e)
	*e = append(*e, x.(ending))
}

func (e *ends) Pop() any {
	old := *e
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*e = old[:len(old)-1]
	return x
}

// signals wake those who wait for something of a name.
type signals map[string]*signal

type signal struct {
	sent    chan struct{} // closed when it is sent
	waiting int
}

// enter returns the signal of a name, which is to be left again.
func (s signals) enter(name string) *signal {
	if s[name] == nil {
		s[name] = &signal{sent: make(chan struct{})}
	}
	s[name].waiting++
	return s[name]
}

func (s signals) leave(name string, one *signal) {
	if one.waiting--; one.waiting == 0 && s[name] == one {
		delete(s, name)
	}
}

func (s signals) send(name string) {
	if one := s[name]; one != nil {
		close(one.sent)
		delete(s, name)
	}
}
