package shared

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/seal"
)

// A faulty is a Backend that fails, or answers something else, on demand.
type faulty struct {
	*Memory
	fails atomic.Bool
	read  func([]Entry) []Entry // changes what Read returns, if it is set
	calls atomic.Int64
}

// lose makes it as new.
func (b *faulty) lose() {
	fresh := NewMemory()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.values, b.logs, b.ends, b.logEnds, b.entries = fresh.values, fresh.logs, fresh.ends, fresh.logEnds, fresh.entries
}

var errFault = errors.New("fault")

func (b *faulty) call() error {
	b.calls.Add(1)
	if b.fails.Load() {
		return errFault
	}
	return nil
}

func (b *faulty) Append(ctx context.Context, log string, entry []byte, life time.Duration) (uint64, error) {
	if err := b.call(); err != nil {
		return 0, err
	}
	return b.Memory.Append(ctx, log, entry, life)
}

func (b *faulty) Read(ctx context.Context, log string, after uint64, wait time.Duration) ([]Entry, error) {
	if err := b.call(); err != nil {
		return nil, err
	}
	entries, err := b.Memory.Read(ctx, log, after, wait)
	if b.read != nil {
		entries = b.read(entries)
	}
	return entries, err
}

func (b *faulty) Get(ctx context.Context, key string) ([]byte, error) {
	if err := b.call(); err != nil {
		return nil, err
	}
	return b.Memory.Get(ctx, key)
}

func (b *faulty) Swap(ctx context.Context, key string, old, value []byte, life time.Duration) ([]byte, error) {
	if err := b.call(); err != nil {
		return nil, err
	}
	return b.Memory.Swap(ctx, key, old, value, life)
}

// told counts what an Observer hears.
type told struct{ fails, works, unread, lost, unreadable, dropped atomic.Int64 }

func (o *told) SharedFails(error)      { o.fails.Add(1) }
func (o *told) SharedWorks()           { o.works.Add(1) }
func (o *told) SharedUnread()          { o.unread.Add(1) }
func (o *told) SharedLost()            { o.lost.Add(1) }
func (o *told) SharedUnreadable(n int) { o.unreadable.Add(int64(n)) }
func (o *told) SharedDropped()         { o.dropped.Add(1) }

// A process is a hub with what it has heard.
type process struct {
	*Hub
	told  *told
	mu    sync.Mutex
	heard []string
}

func (p *process) has(text string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.heard {
		if h == text {
			n++
		}
	}
	return n
}

var oneKey = bytes.Repeat([]byte{1, 2}, 16)

// start makes a process of an app and has it follow the log, until the test ends.
func start(t *testing.T, b Backend, change ...func(*Settings)) *process {
	t.Helper()
	ring, err := seal.NewKeyring([][]byte{oneKey})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{told: &told{}}
	s := Settings{
		Backend: b, Keys: ring.Derive("test"), Registration: [8]byte{1}, Life: time.Hour, Observer: p.told,
		Apply: func(data []byte) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.heard = append(p.heard, string(data))
			return nil
		},
		Restart: func() {}, Missing: func(func([]byte) bool) {},
	}
	for _, f := range change {
		f(&s)
	}
	p.Hub = New(s)
	p.Start()
	t.Cleanup(func() { _ = p.Close(over()) })
	return p
}

func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// What one publishes all hear, those that start later too, and other apps do not.
func TestPublish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewMemory()
		one, two := start(t, b), start(t, b)
		other := start(t, b, func(s *Settings) { s.Registration = [8]byte{2} })
		if err := one.Publish(t.Context(), []byte("news")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		three := start(t, b)
		time.Sleep(time.Second)
		if one.has("news") != 1 || two.has("news") != 1 || three.has("news") != 1 || len(other.heard) != 0 {
			t.Errorf("heard %q, %q, %q, and %q", one.heard, two.heard, three.heard, other.heard)
		}
	})
}

// What cannot be published waits, in order and bounded, and what was published in the
// minute before a failure is published once more.
func TestQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Memory: NewMemory()}
		one, two := start(t, b), start(t, b)
		time.Sleep(time.Minute)
		publish := func(text string) error { return one.Publish(t.Context(), []byte(text)) }
		if publish("old") != nil {
			t.Fatal("it works")
		}
		time.Sleep(2 * time.Minute)
		if publish("recent") != nil {
			t.Fatal("it works")
		}
		time.Sleep(2 * time.Second)
		b.fails.Store(true)
		for i := range maxQueued + 5 {
			if err := publish(fmt.Sprint(i)); !errors.Is(err, ErrUnavailable) {
				t.Fatalf("%d: %v", i, err)
			}
		}
		if n := one.told.dropped.Load(); n != 5 || one.Queued() != maxQueued {
			t.Errorf("%d dropped, %d waiting", n, one.Queued())
		}
		if n := one.told.fails.Load(); n != 1 {
			t.Errorf("%d reports of one failure", n)
		}
		time.Sleep(30 * time.Second)
		b.fails.Store(false)
		time.Sleep(10 * time.Second)
		if one.Queued() != 0 || two.has("0") != 1 || two.has(fmt.Sprint(maxQueued-1)) != 1 || two.has(fmt.Sprint(maxQueued)) != 0 {
			t.Errorf("%d waiting; the first was heard %d times, the last %d", one.Queued(), two.has("0"), two.has(fmt.Sprint(maxQueued-1)))
		}
		if two.has("recent") != 2 || two.has("old") != 1 {
			t.Errorf("recent %d times, old %d", two.has("recent"), two.has("old"))
		}
		if n := one.told.works.Load(); n != 1 {
			t.Errorf("%d reports that it works", n)
		}
	})
}

// While the backend fails it gets a call a second at most from requests, and one from
// the follower.
func TestAFailingBackendIsSpared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Memory: NewMemory()}
		p := start(t, b)
		time.Sleep(time.Minute)
		b.fails.Store(true)
		time.Sleep(2 * time.Second)
		before := b.calls.Load()
		for range 1000 {
			if _, err := p.Get(t.Context(), "name"); !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := b.calls.Load() - before; n > 35 {
			t.Errorf("%d calls in 10 seconds", n)
		}
	})
}

// A backend whose answers make no sense stops nobody and is asked in peace.
func TestABackendThatMakesNoSense(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		read func([]Entry) []Entry
	}{
		{"repeats itself", func(list []Entry) []Entry { return append(list, Entry{Position: 1, Data: []byte("x")}) }},
		{"has positions of 0", func(list []Entry) []Entry { return append(list, Entry{}) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := &faulty{Memory: NewMemory(), read: test.read}
				p := start(t, b)
				time.Sleep(10 * time.Second)
				if n := b.calls.Load(); n > 50 {
					t.Errorf("%d calls in 10 seconds", n)
				}
				if !p.Ready() {
					t.Error("the log has no end")
				}
			})
		})
	}
}

// Of two who claim a lease one gets it, the other what comes of it.
func TestLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewMemory()
		one, two := start(t, b), start(t, b)
		good := func(v []byte) bool { return string(v) != "bad" }
		ctx := t.Context()
		claim := func(p *process) Claimed {
			t.Helper()
			c, err := p.Claim(ctx, "name", good)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		mine := claim(one)
		theirs := claim(two)
		if mine.Lease == nil || mine.Held() || theirs.Lease != nil || !theirs.Held() {
			t.Fatalf("%+v, %+v", mine, theirs)
		}
		began := time.Now()
		time.AfterFunc(3*time.Second, func() { mine.Lease.Settle(ctx, []byte("done"), time.Minute) })
		value, err := two.Await(ctx, theirs, good)
		if err != nil || string(value) != "done" || time.Since(began) != 3*time.Second {
			t.Errorf("%q, %v after %v", value, err, time.Since(began))
		}
		if c := claim(two); string(c.Value) != "done" {
			t.Errorf("%+v", c)
		}
		// A value that is of no use makes room for a lease; a lease that was given
		// back leaves nothing.
		_ = one.Put(ctx, "name", []byte("bad"), time.Minute)
		c := claim(two)
		if c.Lease == nil {
			t.Fatalf("%+v", c)
		}
		c.Lease.Release(ctx)
		if v, err := one.Get(ctx, "name"); v != nil || err != nil {
			t.Errorf("%q, %v", v, err)
		}
	})
}

// Where there is no value, or one of another kind, the keys are not looked at again: a
// process with keys in files would wait a second for that at its start, and for what
// another process has renewed.
func TestKeysAreLookedAtForWhatDoesNotOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewMemory()
		var looks atomic.Int32
		ring, err := seal.NewKeyring([][]byte{oneKey})
		if err != nil {
			t.Fatal(err)
		}
		ring.Look = func() {
			looks.Add(1)
			time.Sleep(time.Second)
		}
		one := start(t, b, func(s *Settings) { s.Keys = ring.Derive("test") })
		two := start(t, b, func(s *Settings) { s.Keys = ring.Derive("test") })
		good := func([]byte) bool { return true }
		ctx := t.Context()
		mine, err1 := one.Claim(ctx, "name", good)
		theirs, err2 := two.Claim(ctx, "name", good)
		if mine.Lease == nil || !theirs.Held() || errors.Join(err1, err2) != nil {
			t.Fatalf("%+v, %+v, errors %v, %v", mine, theirs, err1, err2)
		}
		time.AfterFunc(100*time.Millisecond, func() { mine.Lease.Release(ctx) })
		if value, err := two.Await(ctx, theirs, good); value != nil || err != nil {
			t.Errorf("%q, %v", value, err)
		}
		mine, err1 = one.Claim(ctx, "name", good)
		theirs, err2 = two.Claim(ctx, "name", good)
		if mine.Lease == nil || !theirs.Held() || errors.Join(err1, err2) != nil {
			t.Fatalf("%+v, %+v, errors %v, %v", mine, theirs, err1, err2)
		}
		mine.Lease.Settle(ctx, []byte("done"), time.Minute)
		if value, err := two.Await(ctx, theirs, good); string(value) != "done" || err != nil {
			t.Errorf("%q, %v", value, err)
		}
		if c, err := two.Claim(ctx, "name", good); string(c.Value) != "done" || err != nil {
			t.Errorf("%+v, %v", c, err)
		}
		if value, err := one.Get(ctx, "none"); value != nil || err != nil {
			t.Errorf("%q, %v", value, err)
		}
		if n := looks.Load(); n != 0 || one.told.fails.Load() != 0 {
			t.Errorf("%d looks at the keys", n)
		}
		if err := b.Put(ctx, one.prefix+"name", []byte("of other keys"), time.Minute); err != nil {
			t.Fatal(err)
		}
		if value, err := one.Get(ctx, "name"); value != nil || err != nil || looks.Load() != 1 {
			t.Errorf("%q, %v after %d looks", value, err, looks.Load())
		}
	})
}

// Whoever takes longer than the lease does not overwrite what came after.
func TestALateOutcomeIsFenced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewMemory()
		one, two := start(t, b), start(t, b)
		ctx, good := t.Context(), func([]byte) bool { return true }
		late, _ := one.Claim(ctx, "name", good)
		time.Sleep(LeaseTime + time.Second)
		next, err := two.Claim(ctx, "name", good)
		if err != nil || next.Lease == nil {
			t.Fatalf("%+v, %v", next, err)
		}
		late.Lease.Settle(ctx, []byte("late"), time.Minute)
		late.Lease.Release(ctx)
		if c, _ := one.Claim(ctx, "name", good); !c.Held() {
			t.Errorf("%+v", c)
		}
		next.Lease.Settle(ctx, []byte("next"), time.Minute)
		late.Lease.Settle(ctx, []byte("late"), time.Minute)
		if v, err := one.Get(ctx, "name"); string(v) != "next" || err != nil {
			t.Errorf("%q, %v", v, err)
		}
		alone, _ := one.Claim(ctx, "another", good) // which nobody else wants
		time.Sleep(LeaseTime + time.Second)
		alone.Lease.Settle(ctx, []byte("late"), time.Minute)
		if v, err := two.Get(ctx, "another"); string(v) != "late" || err != nil {
			t.Errorf("%q, %v", v, err)
		}
	})
}

// A value opens under its name, as what it is, and in its app only.
func TestValuesAreSealedForTheirPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewMemory()
		p := start(t, b)
		other := start(t, b, func(s *Settings) { s.Registration = [8]byte{2} })
		ctx := t.Context()
		if err := p.Put(ctx, "a", []byte("secret"), time.Minute); err != nil {
			t.Fatal(err)
		}
		box, err := b.Get(ctx, p.prefix+"a")
		if err != nil || bytes.Contains(box, []byte("secret")) {
			t.Fatalf("%q, %v", box, err)
		}
		for _, place := range []string{p.prefix + "b", other.prefix + "a"} {
			_ = b.Put(ctx, place, box, time.Minute)
		}
		if v, _ := p.Get(ctx, "b"); v != nil {
			t.Errorf("under another name: %q", v)
		}
		if v, _ := other.Get(ctx, "a"); v != nil {
			t.Errorf("in another app: %q", v)
		}
		if _, err := b.Append(ctx, p.prefix+logName, box, time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if len(p.heard) != 0 || p.told.unreadable.Load() != 1 {
			t.Errorf("a value is an entry: %q", p.heard)
		}
		if v, _ := p.Get(ctx, "a"); string(v) != "secret" {
			t.Errorf("in its place: %q", v)
		}
	})
}

// Steady is false for a while after a failure and after a loss of memory.
func TestSteady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Memory: NewMemory()}
		p := start(t, b)
		want := func(when string, want bool) {
			t.Helper()
			if got := p.Steady(t.Context()); got != want {
				t.Errorf("%s: %t", when, got)
			}
		}
		want("at first", false)
		time.Sleep(Doubt)
		want("later", true)
		b.fails.Store(true)
		time.Sleep(3 * time.Second)
		want("failing", false)
		b.fails.Store(false)
		time.Sleep(time.Minute)
		want("a minute after", false)
		time.Sleep(Doubt)
		want("long after", true)
		b.lose()
		time.Sleep(3 * time.Second)
		want("after its memory was lost", false)
		if n := p.told.lost.Load(); n != 1 {
			t.Errorf("%d losses", n)
		}
		time.Sleep(Doubt)
		want("long after that", true)
	})
}

// Close does what is left to do behind requests, and leaves no goroutine.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := start(t, NewMemory())
		var done atomic.Int64
		for range 50 {
			p.Later(func(context.Context) { time.Sleep(time.Second); done.Add(1) })
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := done.Load(); n != 50 {
			t.Errorf("%d of 50 were done", n)
		}
		p.Later(func(context.Context) { t.Error("done after Close") })
		if err := p.Close(over()); err != nil {
			t.Error(err)
		}
		if err := p.Publish(t.Context(), []byte("afterwards")); err != nil {
			t.Error(err)
		}
	})
}

// Frames that are cut off, or longer than what there is, are not read.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{})
	f.Add(append(framed([]byte("one")), framed(nil)...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, entry []byte) {
		var again []byte
		if frames(entry, func(data []byte) error { again = append(again, framed(data)...); return nil }) && len(again) > len(entry) {
			t.Errorf("%q has become %q", entry, again)
		}
	})
}

// What is missing from a log that has begun anew is published by one process at a time.
func TestOneFillsAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Memory: NewMemory()}
		var fills atomic.Int64
		missing := func(s *Settings) { s.Missing = func(func([]byte) bool) { fills.Add(1) } }
		p, _ := start(t, b, missing), start(t, b, missing)
		time.Sleep(time.Minute)
		b.lose()
		c, err := p.Claim(t.Context(), "refill", func([]byte) bool { return false })
		if err != nil || c.Lease == nil {
			t.Fatalf("%+v, %v", c, err)
		}
		time.Sleep(10 * time.Second)
		if n := fills.Load(); n != 0 {
			t.Errorf("%d have filled the log while somebody else did", n)
		}
		c.Lease.Release(t.Context())
		time.Sleep(10 * time.Second)
		if n := fills.Load(); n != 2 {
			t.Errorf("%d of 2 have looked at what is missing", n)
		}
	})
}
