package msauth

import (
	"context"
	"slices"
	"time"
)

// What [Stats.Degraded] can hold beside what renewals tell.
const (
	weakPaused   = "renewals paused"
	weakSessions = "session store fails"
)

const (
	// storeWeakFor is how long a weakness of Config.Store lasts of which nothing
	// more is heard: every request asks it.
	storeWeakFor = 1 * time.Minute
)

// A weakness is what does not work while people can sign in.
type weakness struct {
	about string // the one thing of several, where only its success mends it
	since time.Time
	timer *time.Timer
}

// Weaken notes a weakness for a while, and logs that it begins. err is nil where
// another line has said so.
func (e *events) Weaken(ctx context.Context, what, about string, lasts time.Duration, err error) {
	e.mu.Lock()
	w := e.weak[what]
	if w != nil {
		w.about = about
		w.timer.Reset(lasts)
	} else {
		if e.weak == nil {
			e.weak = map[string]*weakness{}
		}
		w = &weakness{about: about, since: time.Now()}
		ctx := context.WithoutCancel(ctx)
		w.timer = time.AfterFunc(lasts, func() { e.Mend(ctx, what, "") })
		e.weak[what] = w
		if err != nil {
			defer e.log.WarnContext(ctx, "msauth: degraded", "event", "degraded", "what", what, "err", err)
		}
	}
	e.mu.Unlock()
}

// Mend ends a weakness, if there is one, about whatever it is or about the same.
func (e *events) Mend(ctx context.Context, what, about string) {
	e.mu.Lock()
	w := e.weak[what]
	if w == nil || about != "" && w.about != about {
		e.mu.Unlock()
		return
	}
	delete(e.weak, what)
	w.timer.Stop()
	e.mu.Unlock()
	e.log.InfoContext(ctx, "msauth: no longer degraded", "event", "degraded_end", "what", what, "duration", time.Since(w.since))
}

// degraded lists what is weak now. Its caller holds the lock.
func (e *events) degraded() (list []string) {
	if e.stats.Paused {
		list = append(list, weakPaused)
	}
	for what := range e.weak {
		list = append(list, what)
	}
	slices.Sort(list)
	return list
}
