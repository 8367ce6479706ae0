package reload_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/reload"
)

// counted returns a Pace and how many looks have ended.
func counted(takes time.Duration) (*reload.Pace, *atomic.Int32) {
	var looks atomic.Int32
	return reload.NewPace(func() {
		time.Sleep(takes)
		looks.Add(1)
	}), &looks
}

func TestTick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, looks := counted(0)
		steps := []struct {
			after  time.Duration
			atOnce int32 // looks when Tick returns
			then   int32 // a moment later
		}{
			{0, 0, 0},
			{reload.Every - 1, 0, 0},
			{1, 0, 1},
			{0, 1, 1},
			{reload.Every - 1, 1, 1},
			{reload.Every, 1, 2}, // nearly twice as long: still in the background
			{2 * reload.Every, 3, 3},
			{24 * time.Hour, 4, 4},
		}
		for i, step := range steps {
			time.Sleep(step.after)
			p.Tick(time.Now())
			atOnce := looks.Load()
			synctest.Wait()
			if then := looks.Load(); atOnce != step.atOnce && i != 2 && i != 5 || then != step.then {
				t.Errorf("step %d: %d looks at once and %d then, want %d and %d", i, atOnce, then, step.atOnce, step.then)
			}
		}
		time.Sleep(time.Hour)
		if got := looks.Load(); got != 4 {
			t.Errorf("%d looks while nobody used the content", got-4)
		}
	})
}

// Tick does not wait for a slow look.
func TestTickDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, looks := counted(time.Second)
		time.Sleep(reload.Every)
		for range 100 {
			before := time.Now()
			p.Tick(before)
			if time.Since(before) != 0 {
				t.Fatal("waits")
			}
		}
		time.Sleep(4 * time.Second)
		if got := looks.Load(); got != 1 {
			t.Errorf("%d looks, want 1", got)
		}
	})
}

// Whoever misses something gets a look that begins after that, and all together
// cause one a second.
func TestWanting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var began []time.Time
		p := reload.NewPace(func() {
			mu.Lock()
			began = append(began, time.Now())
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
		})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 500 { // ten seconds
			wg.Go(func() {
				asked := time.Now()
				p.Wanting()
				mu.Lock()
				defer mu.Unlock()
				if n := len(began); n == 0 || began[n-1].Before(asked) {
					t.Errorf("request %d got no look of its own or later", i)
				}
				if took := time.Since(asked); took > 1200*time.Millisecond {
					t.Errorf("request %d waited %v", i, took)
				}
			})
			time.Sleep(20 * time.Millisecond)
		}
		wg.Wait()
		if took := time.Since(start); len(began) < 9 || len(began) > int(took/time.Second) {
			t.Errorf("%d looks in %v", len(began), took)
		}
		for i := 1; i < len(began); i++ {
			if between := began[i].Sub(began[i-1]); between < time.Second {
				t.Errorf("%v between two looks", between)
			}
		}
		time.Sleep(time.Hour)
		before := time.Now()
		if p.Wanting(); time.Since(before) != 100*time.Millisecond {
			t.Errorf("after a calm hour it waits %v", time.Since(before))
		}
	})
}

// A file system that hangs keeps one goroutine, and nobody for long.
func TestLookThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		var running, looks atomic.Int32
		p := reload.NewPace(func() {
			looks.Add(1)
			if running.Add(1) > 1 {
				t.Error("two looks at once")
			}
			<-hang
			running.Add(-1)
		})
		time.Sleep(time.Second)
		for i, want := range []time.Duration{3 * time.Second, 3 * time.Second, 0, 0} {
			before := time.Now()
			if p.Wanting(); time.Since(before) > want {
				t.Errorf("request %d waits %v, want at most %v", i, time.Since(before), want)
			}
		}
		time.Sleep(time.Hour)
		before := time.Now()
		if p.Tick(before); time.Since(before) != 0 {
			t.Errorf("Tick waits %v", time.Since(before))
		}
		close(hang)
		synctest.Wait()
		if p.Wanting(); looks.Load() < 2 {
			t.Errorf("%d looks after the first one ended", looks.Load())
		}
	})
}

// Strangers cannot make any number of goroutines wait.
func TestFewWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := counted(0)
		var wg sync.WaitGroup
		var waited atomic.Int32
		for range 10_400 {
			wg.Go(func() {
				before := time.Now()
				if p.Wanting(); time.Since(before) > 0 {
					waited.Add(1)
				}
			})
		}
		wg.Wait()
		if got := waited.Load(); got != 10_000 {
			t.Errorf("%d wait, want 10000", got)
		}
		time.Sleep(time.Hour)
		before := time.Now()
		if p.Wanting(); time.Since(before) != 0 { // the others have gone
			t.Errorf("an hour later it waits %v", time.Since(before))
		}
	})
}
