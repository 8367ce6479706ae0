package shared

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What all implementations do is tested by package sharedtest. Here is what only
// this one does.

func TestMemoryKeepsWhatEndsLast(t *testing.T) {
	t.Parallel()
	m := newMemory(limit{values: 3, logs: 2, entries: 5})
	for i, life := range []time.Duration{4, 1, 3, 2, 5} {
		if err := m.Put(t.Context(), fmt.Sprint(i), []byte("value"), life*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	var kept []string
	for i := range 5 {
		if value, _ := m.Get(t.Context(), fmt.Sprint(i)); value != nil {
			kept = append(kept, fmt.Sprint(i))
		}
	}
	if got := strings.Join(kept, " "); got != "0 2 4" {
		t.Errorf("values %s are kept, want 0 2 4", got)
	}

	write := func(log string, lives ...time.Duration) {
		for _, life := range lives {
			if _, err := m.Append(t.Context(), log, []byte(fmt.Sprint(int(life))), life*time.Hour); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(log, want string) {
		t.Helper()
		var kept []string
		entries, err := m.Read(t.Context(), log, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			kept = append(kept, string(e.Data))
		}
		if got := strings.Join(kept, " "); got != want {
			t.Errorf("log %s has %q, want %q", log, got, want)
		}
	}
	write("a", 4, 1, 9, 3)
	write("b", 8, 2, 7)
	want("a", "4 9 3")
	want("b", "8 7")
	write("c", 6) // b ends before a does, and after c
	want("a", "4 9 3")
	want("b", "8 7")
	want("c", "")
	write("c", 10)
	want("a", "4 9 3")
	want("b", "")
	want("c", "10")
	if len(m.entries) != 4 || len(m.logs) != 2 || len(m.logEnds) != 2 || len(m.values) != 3 || len(m.ends) != 3 {
		t.Errorf("%d entries, %d logs, %d values", len(m.entries), len(m.logs), len(m.values))
	}
}

// Entries that are dropped from the middle of a log leave no room behind.
func TestMemoryFreesEntries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		for i := range 10_000 {
			life := time.Second
			if i%1000 == 0 {
				life = time.Hour
			}
			if _, err := m.Append(t.Context(), "log", make([]byte, 100), life); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		entries, err := m.Read(t.Context(), "log", 0, 0)
		if err != nil || len(entries) != 10 {
			t.Errorf("%d entries, %v", len(entries), err)
		}
		if l := m.logs["log"]; cap(l.entries) > 50 || len(m.entries) != 10 {
			t.Errorf("room for %d entries in the log, %d in all", cap(l.entries), len(m.entries))
		}
		time.Sleep(time.Hour)
		if _, err := m.Read(t.Context(), "log", 0, 0); err != nil || len(m.logs)+len(m.entries)+len(m.logEnds) > 0 {
			t.Errorf("%d logs, %d entries, %v", len(m.logs), len(m.entries), err)
		}
	})
}

// Who waits is told at once, and leaves nothing behind.
func TestMemoryTellsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		m.Put(t.Context(), "ends", []byte("value"), 7*time.Second)
		m.Put(t.Context(), "put", []byte("value"), time.Hour)
		begin := time.Now()
		var group sync.WaitGroup
		told := func(name string, want time.Duration, wait func() (string, error)) {
			group.Go(func() {
				got, err := wait()
				if took := time.Since(begin); took != want || err != nil || got != name {
					t.Errorf("%s: %q, %v, after %v, want after %v", name, got, err, took, want)
				}
			})
		}
		waitFor := func(key, old string) func() (string, error) {
			return func() (string, error) {
				var was []byte
				if old != "" {
					was = []byte(old)
				}
				value, err := m.Wait(t.Context(), key, was, time.Minute)
				return string(value), err
			}
		}
		told("by Swap", 3*time.Second, waitFor("swap", ""))
		told("by Put", 4*time.Second, waitFor("put", "value"))
		told("", 7*time.Second, waitFor("ends", "value"))
		told("", time.Minute, waitFor("nothing", ""))
		told("by Append", 5*time.Second, func() (string, error) {
			entries, err := m.Read(t.Context(), "log", 0, time.Minute)
			return string(entries[0].Data), err
		})
		time.Sleep(3 * time.Second)
		m.Swap(t.Context(), "swap", nil, []byte("by Swap"), time.Hour)
		time.Sleep(time.Second)
		m.Put(t.Context(), "put", []byte("by Put"), time.Hour)
		time.Sleep(time.Second)
		m.Append(t.Context(), "log", []byte("by Append"), time.Hour)
		group.Wait()
		if len(m.changed)+len(m.appended) > 0 {
			t.Errorf("%d and %d signals are left", len(m.changed), len(m.appended))
		}
	})
}

func TestMemoryRefuses(t *testing.T) {
	t.Parallel()
	m := NewMemory()
	ctx, value := t.Context(), []byte("value")
	for _, name := range []string{"", "a b", "ä", "a{b}", "a\n", strings.Repeat("a", 101)} {
		for method, err := range map[string]error{
			"Append": second(m.Append(ctx, name, value, time.Hour)),
			"Read":   second(m.Read(ctx, name, 0, 0)),
			"Get":    second(m.Get(ctx, name)),
			"Put":    m.Put(ctx, name, value, time.Hour),
			"Swap":   second(m.Swap(ctx, name, nil, value, time.Hour)),
			"Wait":   second(m.Wait(ctx, name, nil, 0)),
		} {
			if err == nil {
				t.Errorf("%s takes the name %q", method, name)
			}
		}
	}
	for _, bad := range []struct {
		value []byte
		life  time.Duration
	}{{[]byte{}, time.Hour}, {make([]byte, 65537), time.Hour}, {value, 0}, {value, -1}} {
		for method, err := range map[string]error{
			"Append": second(m.Append(ctx, "name", bad.value, bad.life)),
			"Put":    m.Put(ctx, "name", bad.value, bad.life),
			"Swap":   second(m.Swap(ctx, "name", nil, bad.value, bad.life)),
		} {
			if err == nil {
				t.Errorf("%s takes %d bytes for %v", method, len(bad.value), bad.life)
			}
		}
	}
	if _, err := m.Swap(ctx, "name", nil, nil, 0); err != nil {
		t.Errorf("deleting needs no life: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := m.Append(cancelled, "name", value, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }
