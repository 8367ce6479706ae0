package sharedtest

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"example.com/msauth"
)

// Run tests an implementation of [msauth.Shared], in parallel subtests that take
// less than 15 seconds together. For each of them it calls open, which returns two
// clients of the same logs and values, which must be empty and no other test's. They
// should have as little in common as those of two processes have. Open can end a
// test and clean up after it by the methods of its argument.
//
// Lives and waiting are tested by the clock: a Shared or a machine that stands
// still for a second can fail a test.
func Run(t *testing.T, open func(t testing.TB) (one, other msauth.Shared)) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			one, other := open(t)
			c.run(&clients{TB: t, one: one, other: other})
		})
	}
}

// A check is about one thing that the contract says.
type check struct {
	name string
	run  func(t *clients)
}

var checks = append(append(logChecks, valueChecks...), contextChecks...)

// clients are two clients of the same Shared, and the test that has them. What its
// methods do must succeed.
type clients struct {
	testing.TB
	one, other msauth.Shared
}

const (
	long   = time.Minute     // a life that outlasts the test
	short  = 1 * time.Second // a life whose end is waited for
	enough = 5 * time.Second // to wait for what should come soon

	later = 300 * time.Millisecond // when another client does something
	soon  = 250 * time.Millisecond // nobody knows of it before
)

// over waits until what was written with a short life before must be gone.
func over() { time.Sleep(short + time.Second) }

func (t *clients) append(s msauth.Shared, log string, entry []byte, life time.Duration) uint64 {
	t.Helper()
	position, err := s.Append(t.Context(), log, entry, life)
	if err != nil {
		t.Fatalf("Append(%q): %v", log, err)
	}
	if position == 0 {
		t.Fatalf("Append(%q): position 0", log)
	}
	return position
}

func (t *clients) read(s msauth.Shared, log string, after uint64, wait time.Duration) []msauth.SharedEntry {
	t.Helper()
	entries, err := s.Read(t.Context(), log, after, wait)
	if err != nil {
		t.Fatalf("Read(%q, %d, %v): %v", log, after, wait, err)
	}
	if len(entries) > 1000 {
		t.Fatalf("Read(%q, %d): %d entries, must be at most 1000", log, after, len(entries))
	}
	last := after
	for _, e := range entries {
		if e.Position <= last {
			t.Fatalf("Read(%q, %d): position %d comes after %d", log, after, e.Position, last)
		}
		last = e.Position
	}
	return entries
}

// readAll reads a log from a position to its end.
func (t *clients) readAll(s msauth.Shared, log string, after uint64) (all []msauth.SharedEntry) {
	t.Helper()
	for {
		entries := t.read(s, log, after, 0)
		if len(entries) == 0 {
			return all
		}
		all = append(all, entries...)
		after = entries[len(entries)-1].Position
	}
}

// holds checks what both clients get as a value; nil is none.
func (t *clients) holds(key string, want []byte) {
	t.Helper()
	for i, s := range []msauth.Shared{t.one, t.other} {
		got, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatalf("Get(%q): %v", key, err)
		}
		if !same(got, want) {
			t.Errorf("Get(%q) by client %d: %s, want %s", key, i+1, quoted(got), quoted(want))
		}
	}
}

func (t *clients) put(s msauth.Shared, key string, value []byte, life time.Duration) {
	t.Helper()
	if err := s.Put(t.Context(), key, value, life); err != nil {
		t.Fatalf("Put(%q): %v", key, err)
	}
}

// swap checks what Swap returns.
func (t *clients) swap(s msauth.Shared, key string, old, value []byte, life time.Duration, want []byte) {
	t.Helper()
	before, err := s.Swap(t.Context(), key, old, value, life)
	if err != nil {
		t.Fatalf("Swap(%q): %v", key, err)
	}
	if !same(before, want) {
		t.Errorf("Swap(%q, %s, %s): it was %s, want %s", key, quoted(old), quoted(value), quoted(before), quoted(want))
	}
}

// wait checks what Wait returns.
func (t *clients) wait(s msauth.Shared, key string, old []byte, wait time.Duration, want []byte) {
	t.Helper()
	value, err := s.Wait(t.Context(), key, old, wait)
	if err != nil {
		t.Fatalf("Wait(%q): %v", key, err)
	}
	if !same(value, want) {
		t.Errorf("Wait(%q, %s): %s, want %s", key, quoted(old), quoted(value), quoted(want))
	}
}

// within checks how long something takes.
func (t *clients) within(least, most time.Duration, what string, do func()) {
	t.Helper()
	begin := time.Now()
	do()
	if took := time.Since(begin); took < least || took > most {
		t.Errorf("%s took %v, want %v to %v", what, took.Round(time.Millisecond), least, most)
	}
}

// after calls do after a while, and has the test wait for it.
func (t *clients) after(do func()) { t.afterwards(later, do) }

func (t *clients) afterwards(while time.Duration, do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		time.Sleep(while)
		do()
	}()
	t.Cleanup(func() { <-done })
}

// equal checks that entries are those that were written, with their positions.
func (t *clients) equal(got, want []msauth.SharedEntry) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Position != want[i].Position || !bytes.Equal(got[i].Entry, want[i].Entry) {
			t.Fatalf("entry %d is %s at %d, want %s at %d", i, quoted(got[i].Entry), got[i].Position, quoted(want[i].Entry), want[i].Position)
		}
	}
}

func cancelLater(t *clients) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	t.after(cancel)
	return ctx
}

// same reports whether two values are the same. nil is no value, and there is none
// of no bytes.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// quoted is a value to be read by people, who need not see all of 64 KB.
func quoted(value []byte) string {
	switch {
	case value == nil:
		return "none"
	case len(value) > 100:
		return fmt.Sprintf("%q... (%d bytes)", value[:50], len(value))
	}
	return fmt.Sprintf("%q", value)
}
