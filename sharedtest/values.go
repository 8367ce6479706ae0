package sharedtest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"example.com/msauth"
)

var valueChecks = []check{
	{"there is no value before one is put", func(t *clients) {
		t.holds("key", nil)
		t.wait(t.one, "key", nil, 0, nil)
	}},
	{"Put sets a value, whatever there was", func(t *clients) {
		t.put(t.one, "key", []byte("first"), long)
		t.holds("key", []byte("first"))
		t.put(t.other, "key", []byte("second"), long)
		t.holds("key", []byte("second"))
	}},
	{"keys differ in case, and by each character", func(t *clients) {
		for _, key := range append(names, "key", "Key") {
			t.put(t.one, key, []byte("value of "+key), long)
		}
		for _, key := range append(names, "key", "Key") {
			t.holds(key, []byte("value of "+key))
		}
	}},
	{"values are bytes, 1 to 65536 of them", func(t *clients) {
		before := []byte(nil)
		for _, value := range contents() {
			sent := append([]byte{}, value...)
			t.put(t.one, "put", sent, long)
			clear(sent) // it is the caller's again
			t.holds("put", value)

			sent = append([]byte{}, value...)
			t.swap(t.one, "swapped", before, sent, long, before)
			clear(sent)
			t.holds("swapped", value)
			t.swap(t.other, "swapped", value, value, long, value)
			before = value

			got, err := t.one.Get(t.Context(), "put")
			if err != nil {
				t.Fatalf("Get: %v", err)
			}
			clear(got) // so is what was read
			t.holds("put", value)
		}
	}},
	{"a value is gone when its life is over, as it was said last", func(t *clients) {
		t.put(t.one, "put", []byte("value"), short)
		t.put(t.one, "put:longer", []byte("value"), short)
		t.put(t.one, "put:longer", []byte("value"), long)
		t.put(t.one, "put:shorter", []byte("value"), long)
		t.put(t.one, "put:shorter", []byte("value"), short)
		t.swap(t.one, "swapped", nil, []byte("value"), short, nil)
		t.put(t.one, "swapped:longer", []byte("first"), short)
		t.swap(t.one, "swapped:longer", []byte("first"), []byte("value"), long, []byte("first"))
		t.put(t.one, "not:swapped", []byte("first"), short)
		t.swap(t.one, "not:swapped", []byte("other"), []byte("value"), long, []byte("first"))
		for _, key := range []string{"put", "put:longer", "put:shorter", "swapped", "swapped:longer"} {
			t.holds(key, []byte("value"))
		}
		over()
		for _, key := range []string{"put", "put:shorter", "swapped", "not:swapped"} {
			t.holds(key, nil)
		}
		t.holds("put:longer", []byte("value"))
		t.holds("swapped:longer", []byte("value"))
		t.swap(t.one, "put", nil, []byte("next"), long, nil)
		t.holds("put", []byte("next"))
	}},
	{"Swap replaces a value that is old, and no other", swapped},
	{"of fifty Swaps at once one replaces the value", func(t *clients) {
		t.put(t.one, "old", []byte("value"), long)
		for _, c := range []struct {
			key string
			old []byte
		}{{"none", nil}, {"old", []byte("value")}} {
			var won atomic.Int64
			var group sync.WaitGroup
			for i := range 50 {
				group.Go(func() {
					value := strconv.AppendInt(nil, int64(i), 10)
					before, err := []msauth.Shared{t.one, t.other}[i%2].Swap(t.Context(), c.key, c.old, value, long)
					if err != nil {
						t.Errorf("Swap: %v", err)
					}
					if same(before, c.old) {
						won.Add(1)
					}
				})
			}
			group.Wait()
			if won.Load() != 1 {
				t.Errorf("%d have replaced %s, want 1", won.Load(), quoted(c.old))
			}
		}
	}},
	{"a counter by Swap counts all of a thousand", counted},
	{"Wait returns at once what is another value", func(t *clients) {
		t.put(t.one, "key", []byte("value"), long)
		t.within(0, time.Second, "Wait", func() {
			t.wait(t.other, "key", nil, enough, []byte("value"))
			t.wait(t.other, "key", []byte("other"), enough, []byte("value"))
			t.wait(t.other, "none", []byte("other"), enough, nil)
		})
	}},
	{"Wait is told of a first value by Swap of another client", func(t *clients) {
		t.after(func() { _, _ = t.other.Swap(t.Context(), "key", nil, []byte("value"), long) })
		t.within(soon, 1500*time.Millisecond, "Wait", func() {
			t.wait(t.one, "key", nil, enough, []byte("value"))
		})
	}},
	{"Wait is told of another value by Swap of another client", func(t *clients) {
		t.put(t.one, "key", []byte("first"), long)
		t.after(func() { _, _ = t.other.Swap(t.Context(), "key", []byte("first"), []byte("second"), long) })
		t.within(soon, 1500*time.Millisecond, "Wait", func() {
			t.wait(t.one, "key", []byte("first"), enough, []byte("second"))
		})
	}},
	{"Wait is told of a value that Swap has deleted", func(t *clients) {
		t.put(t.one, "key", []byte("first"), long)
		t.after(func() { _, _ = t.other.Swap(t.Context(), "key", []byte("first"), nil, 0) })
		t.within(soon, 1500*time.Millisecond, "Wait", func() {
			t.wait(t.one, "key", []byte("first"), enough, nil)
		})
	}},
	{"Wait notices what Put has changed", func(t *clients) {
		// Also when it has waited for long.
		t.afterwards(3500*time.Millisecond, func() { _ = t.other.Put(t.Context(), "key", []byte("value"), long) })
		t.within(3*time.Second, 5500*time.Millisecond, "Wait", func() {
			t.wait(t.one, "key", nil, 2*enough, []byte("value"))
		})
	}},
	{"Wait notices that the life of a value is over", func(t *clients) {
		t.put(t.one, "key", []byte("value"), short)
		t.within(short-200*time.Millisecond, short+2*time.Second, "Wait", func() {
			t.wait(t.other, "key", []byte("value"), enough, nil)
		})
	}},
	{"many wait for one value, and others for another", func(t *clients) {
		var group sync.WaitGroup
		for i := range 20 {
			key := []string{"key", "other"}[i%2]
			group.Go(func() {
				value, err := t.one.Wait(t.Context(), key, nil, enough)
				if err != nil || string(value) != "value of "+key {
					t.Errorf("Wait(%q): %s, %v", key, quoted(value), err)
				}
			})
		}
		t.after(func() {
			_, _ = t.other.Swap(t.Context(), "key", nil, []byte("value of key"), long)
			_, _ = t.other.Swap(t.Context(), "other", nil, []byte("value of other"), long)
		})
		group.Wait()
	}},
	{"Wait returns the old value when waiting is over", func(t *clients) {
		t.put(t.one, "key", []byte("value"), long)
		for key, old := range map[string][]byte{"key": []byte("value"), "none": nil} {
			t.within(soon, 2*time.Second, "Wait", func() {
				t.wait(t.one, key, old, later, old)
			})
			t.within(0, time.Second, "Wait that does not wait", func() {
				t.wait(t.one, key, old, 0, old)
			})
		}
	}},
}

// swapped is the table of what Swap does.
func swapped(t *clients) {
	a, b, c := []byte("a"), []byte("b"), []byte("c")
	for i, row := range []struct{ was, old, value, want []byte }{
		{nil, nil, nil, nil},
		{nil, nil, b, b},
		{nil, a, b, nil},
		{nil, a, nil, nil},
		{a, a, b, b},
		{a, a, a, a},
		{a, a, nil, nil},
		{a, nil, b, a},
		{a, nil, nil, a},
		{a, c, b, a},
		{a, c, nil, a},
		{a, c, a, a},
		{a, b, b, a},
		{a, []byte("A"), b, a},
		{a, []byte("aa"), b, a},
		{[]byte("aa"), a, b, []byte("aa")},
		{[]byte("a\x00"), a, b, []byte("a\x00")},
		{[]byte("1"), []byte("1.0"), b, []byte("1")},
	} {
		key := "key:" + strconv.Itoa(i)
		if row.was != nil {
			t.put(t.one, key, row.was, long)
		}
		t.swap(t.other, key, row.old, row.value, long, row.was)
		t.holds(key, row.want)
	}
}

// counted has ten count to a hundred each.
func counted(t *clients) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var group sync.WaitGroup
	for i := range 10 {
		group.Go(func() {
			s := []msauth.Shared{t.one, t.other}[i%2]
			var old []byte
			for n := 0; n < 100; {
				count, _ := strconv.Atoi(string(old))
				before, err := s.Swap(ctx, "count", old, strconv.AppendInt(nil, int64(count)+1, 10), long)
				if err != nil {
					t.Errorf("Swap: %v", err)
					return
				}
				if same(before, old) {
					n++
					old = strconv.AppendInt(nil, int64(count)+1, 10)
				} else {
					old = before
				}
			}
		})
	}
	group.Wait()
	t.holds("count", []byte("1000"))
}

var contextChecks = []check{
	{"a Read that waits returns when its context is over", func(t *clients) {
		ends(t, func(ctx context.Context) error {
			_, err := t.one.Read(ctx, "log", 0, time.Minute)
			return err
		})
	}},
	{"a Wait returns when its context is over", func(t *clients) {
		t.put(t.one, "key", []byte("value"), long)
		ends(t, func(ctx context.Context) error {
			_, err := t.one.Wait(ctx, "key", []byte("value"), time.Minute)
			return err
		})
	}},
	{"nothing succeeds whose context is over before", func(t *clients) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		t.append(t.one, "log", []byte("entry"), long)
		t.put(t.one, "key", []byte("value"), long)
		for method, call := range map[string]func() error{
			"Append": func() error { _, err := t.one.Append(ctx, "log", []byte("entry"), long); return err },
			"Read":   func() error { _, err := t.one.Read(ctx, "log", 0, time.Minute); return err },
			"Get":    func() error { _, err := t.one.Get(ctx, "key"); return err },
			"Put":    func() error { return t.one.Put(ctx, "key", []byte("value"), long) },
			"Swap":   func() error { _, err := t.one.Swap(ctx, "key", nil, []byte("value"), long); return err },
			"Wait":   func() error { _, err := t.one.Wait(ctx, "key", nil, time.Minute); return err },
		} {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want %v", method, err, context.Canceled)
			}
		}
	}},
}

// ends checks that something that waits ends with its context, whether that is
// cancelled or has a deadline.
func ends(t *clients, wait func(ctx context.Context) error) {
	t.within(soon, 2*time.Second, "waiting until it is cancelled", func() {
		if err := wait(cancelLater(t)); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want %v", err, context.Canceled)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	t.within(soon, 2*time.Second, "waiting until the deadline", func() {
		if err := wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want %v", err, context.DeadlineExceeded)
		}
	})
}
