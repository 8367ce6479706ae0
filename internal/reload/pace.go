package reload

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Every is how often a Pace has files looked at while it is used.
	Every = 5 * time.Second
	// leastBetween is the least time from the beginning of one look to that of
	// the next.
	leastBetween = 1 * time.Second
	// patience is how long anybody waits for a look.
	patience = 3 * time.Second
	// maxWaiting is how many may wait at once. Whoever is one too many is told that
	// what they have does not open, and is signed out if it was a session; strangers
	// must not bring that about. Those who wait need little: a look takes place once
	// a second.
	maxWaiting = 10_000
)

// A Pace says when files are looked at: every few seconds while somebody uses
// what they hold, and when it was found wanting, but at most once a second. Looks
// happen one at a time, in goroutines that end with them, so that a file system
// that hangs keeps nobody for long. A Pace may be used by many goroutines at once.
type Pace struct {
	look  func()
	began time.Time
	due   atomic.Int64 // when a look is due, since began

	waiting atomic.Int32

	mu      sync.Mutex
	planned chan struct{} // closed at the end of the look that has not begun yet; nil if there is none
	looking bool
	last    time.Time // when a look last began
}

// NewPace returns a Pace for files that were looked at just now. look is called
// to look at them again.
func NewPace(look func()) *Pace {
	p := &Pace{look: look, began: time.Now(), last: time.Now()}
	p.due.Store(int64(Every))
	return p
}

// Tick says that the files' content is used now. If the last look is a while ago,
// there is another, which Tick waits for only if nobody has used the content for
// as long again: nothing from before that time is used.
func (p *Pace) Tick(now time.Time) {
	over := int64(now.Sub(p.began)) - p.due.Load()
	if over < 0 {
		return
	}
	if done := p.plan(); over >= int64(Every) {
		p.wait(done)
	}
}

// Wanting says that something is missing which the files may hold by now. It
// returns after a look that has begun since, or when it is useless to wait.
func (p *Pace) Wanting() { p.wait(p.plan()) }

// plan returns a channel that is closed at the end of a look that has not begun
// yet.
func (p *Pace) plan() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.planned == nil {
		p.planned = make(chan struct{})
		if !p.looking {
			p.start()
		}
	}
	return p.planned
}

// start has the planned look begin as soon as it may. The caller holds the lock.
func (p *Pace) start() { time.AfterFunc(leastBetween-time.Since(p.last), p.run) }

func (p *Pace) run() {
	p.mu.Lock()
	done := p.planned
	p.planned, p.looking, p.last = nil, true, time.Now()
	p.due.Store(int64(p.last.Sub(p.began) + Every))
	p.mu.Unlock()

	p.look()
	close(done)

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.looking = false; p.planned != nil {
		p.start()
	}
}

// wait waits for the end of a look, unless that takes too long, or too many wait.
func (p *Pace) wait(done <-chan struct{}) {
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxWaiting || p.hangs() {
		return
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

// hangs reports whether a look has taken longer than anybody waits.
func (p *Pace) hangs() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.looking && time.Since(p.last) > patience
}
