package sharedtest

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"example.com/msauth"
)

var logChecks = []check{
	{"positions of a log grow, whoever appends", func(t *clients) {
		last := uint64(0)
		for i := range 100 {
			position := t.append([]msauth.Shared{t.one, t.other}[i%2], "log", []byte("entry"), long)
			if position <= last {
				t.Fatalf("position %d comes after %d", position, last)
			}
			last = position
		}
	}},
	{"positions do not fall from log to log", func(t *clients) {
		last := uint64(0)
		for i := range 100 {
			position := t.append([]msauth.Shared{t.one, t.other}[i%2], fmt.Sprint("log:", i%7), []byte("entry"), long)
			if position < last {
				t.Fatalf("position %d comes after %d", position, last)
			}
			last = position
		}
	}},
	{"a log has what many have appended at once, in the order of positions", func(t *clients) {
		var written entries
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				for j := range 20 {
					entry := fmt.Appendf(nil, "%d of %d", j, i)
					position, err := []msauth.Shared{t.one, t.other}[i%2].Append(t.Context(), "log", entry, long)
					if err != nil {
						t.Errorf("Append: %v", err)
						return
					}
					written.add(position, entry)
				}
			})
		}
		group.Wait()
		t.equal(t.readAll(t.one, "log", 0), written.sorted())
	}},
	{"a reader who follows a log misses no entry", followed},
	{"entries are read from any position on", func(t *clients) {
		var written entries
		for i := range 10 {
			entry := []byte{byte(i)}
			written.add(t.append(t.one, "log", entry, long), entry)
		}
		for i, e := range written.all {
			t.equal(t.read(t.other, "log", e.Position, 0), written.all[i+1:])
			t.equal(t.read(t.other, "log", e.Position-1, 0), written.all[i:])
		}
		t.equal(t.read(t.other, "log", 0, time.Minute), written.all)
		t.equal(t.read(t.other, "log", math.MaxInt64, 0), nil)
	}},
	{"more than 1000 entries are read in parts", func(t *clients) {
		var written entries
		var group sync.WaitGroup
		for range 25 {
			group.Go(func() {
				for range 100 {
					position, err := t.one.Append(t.Context(), "log", []byte("entry"), long)
					if err != nil {
						t.Errorf("Append: %v", err)
						return
					}
					written.add(position, []byte("entry"))
				}
			})
		}
		group.Wait()
		t.equal(t.readAll(t.other, "log", 0), written.sorted())
	}},
	{"a log that was never appended to has no entries", func(t *clients) {
		t.equal(t.read(t.one, "log", 0, 0), nil)
	}},
	{"two logs are apart", func(t *clients) {
		first := msauth.SharedEntry{Position: t.append(t.one, "log:1", []byte("entry of 1"), long), Entry: []byte("entry of 1")}
		second := msauth.SharedEntry{Position: t.append(t.one, "log:2", []byte("entry of 2"), long), Entry: []byte("entry of 2")}
		t.equal(t.read(t.other, "log:1", 0, 0), []msauth.SharedEntry{first})
		t.equal(t.read(t.other, "log:2", 0, 0), []msauth.SharedEntry{second})
	}},
	{"names of logs differ in case", func(t *clients) {
		position := t.append(t.one, "log", []byte("entry"), long)
		t.equal(t.read(t.one, "Log", 0, 0), nil)
		t.equal(t.read(t.one, "log", 0, 0), []msauth.SharedEntry{{Position: position, Entry: []byte("entry")}})
	}},
	{"a log and a value may have the same name", func(t *clients) {
		position := t.append(t.one, "name", []byte("entry"), long)
		t.holds("name", nil)
		t.put(t.one, "name", []byte("value"), long)
		t.equal(t.read(t.one, "name", 0, 0), []msauth.SharedEntry{{Position: position, Entry: []byte("entry")}})
		t.holds("name", []byte("value"))
		t.swap(t.one, "name", []byte("value"), nil, 0, []byte("value"))
		t.equal(t.read(t.one, "name", 0, 0), []msauth.SharedEntry{{Position: position, Entry: []byte("entry")}})
	}},
	{"all legal names are names of logs", func(t *clients) {
		for _, name := range names {
			entry := []byte("entry of " + name)
			position := t.append(t.one, name, entry, long)
			t.equal(t.read(t.other, name, 0, 0), []msauth.SharedEntry{{Position: position, Entry: entry}})
		}
	}},
	{"entries are bytes, 1 to 65536 of them", func(t *clients) {
		var written entries
		for _, entry := range contents() {
			sent := bytes.Clone(entry)
			written.add(t.append(t.one, "log", sent, long), entry)
			clear(sent) // it is the caller's again
		}
		t.equal(t.readAll(t.other, "log", 0), written.all)
		for _, e := range t.readAll(t.other, "log", 0) {
			clear(e.Entry) // so is what was read
		}
		t.equal(t.readAll(t.other, "log", 0), written.all)
	}},
	{"Read waits for an entry of another client", func(t *clients) {
		after := t.append(t.one, "log", []byte("first"), long)
		t.after(func() { _, _ = t.other.Append(t.Context(), "log", []byte("second"), long) })
		t.within(soon, 2*time.Second, "Read", func() {
			entries := t.read(t.one, "log", after, enough)
			if len(entries) != 1 || string(entries[0].Entry) != "second" {
				t.Errorf("%d entries", len(entries))
			}
		})
	}},
	{"Read waits for the first entry of a log", func(t *clients) {
		t.after(func() {
			_, _ = t.other.Append(t.Context(), "another", []byte("entry"), long)
			_, _ = t.other.Append(t.Context(), "log", []byte("first"), long)
		})
		entries := t.read(t.one, "log", 0, enough)
		if len(entries) != 1 || string(entries[0].Entry) != "first" {
			t.Errorf("%d entries", len(entries))
		}
	}},
	{"many wait for one entry", func(t *clients) {
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				if entries, err := t.one.Read(t.Context(), "log", 0, enough); err != nil || len(entries) != 1 {
					t.Errorf("Read: %d entries, %v", len(entries), err)
				}
			})
		}
		t.after(func() { _, _ = t.other.Append(t.Context(), "log", []byte("entry"), long) })
		group.Wait()
	}},
	{"Read returns none when waiting is over", func(t *clients) {
		after := t.append(t.one, "log", []byte("entry"), long)
		t.within(soon, 2*time.Second, "Read", func() {
			t.equal(t.read(t.one, "log", after, later), nil)
		})
		t.within(0, time.Second, "Read that does not wait", func() {
			t.equal(t.read(t.one, "log", after, 0), nil)
		})
		t.within(0, time.Second, "Read that waits for a microsecond", func() {
			t.equal(t.read(t.one, "log", after, time.Microsecond), nil)
		})
	}},
	{"an entry is kept for its life, whatever lives its neighbours have", func(t *clients) {
		first := t.append(t.one, "log", []byte("first"), long)
		t.append(t.one, "other", []byte("first"), short)
		last := t.append(t.one, "other", []byte("second"), long)
		over()
		second := t.append(t.one, "log", []byte("second"), short)
		t.equal(t.readAll(t.other, "log", 0), []msauth.SharedEntry{
			{Position: first, Entry: []byte("first")}, {Position: second, Entry: []byte("second")},
		})
		all := t.readAll(t.other, "other", 0)
		if len(all) == 0 || all[len(all)-1].Position != last {
			t.Errorf("%d entries, without the newest", len(all))
		}
	}},
	{"positions grow where all entries are gone", func(t *clients) {
		before := t.append(t.one, "log", []byte("entry"), short)
		over()
		after := t.append(t.other, "log", []byte("entry"), long)
		if after <= before {
			t.Errorf("position %d comes after %d", after, before)
		}
		t.equal(t.read(t.one, "log", before, 0), []msauth.SharedEntry{{Position: after, Entry: []byte("entry")}})
	}},
}

// followed has one client read while the other and it append: what appears must
// not appear before a position that was read.
func followed(t *clients) {
	const writers, each = 10, 50
	var written, seen entries
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			for j := range each {
				entry := fmt.Appendf(nil, "%d of %d", j, i)
				position, err := []msauth.Shared{t.one, t.other}[i%2].Append(t.Context(), "log", entry, long)
				if err != nil {
					t.Errorf("Append: %v", err)
					return
				}
				written.add(position, entry)
			}
		})
	}
	after := uint64(0)
	for len(seen.all) < writers*each {
		entries := t.read(t.one, "log", after, enough)
		if len(entries) == 0 {
			t.Errorf("%d of %d entries were seen", len(seen.all), writers*each)
			break
		}
		seen.all = append(seen.all, entries...)
		after = entries[len(entries)-1].Position
	}
	group.Wait()
	t.equal(seen.all, written.sorted())
}

// names are such that all legal characters are in them, and the longest.
var names = []string{
	"abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789-_:",
	"-", "_", ":", "0", "a::", "-a", string(bytes.Repeat([]byte("x"), 100)), string(bytes.Repeat([]byte("x"), 99)) + ":",
}

// contents are values and entries of all kinds.
func contents() [][]byte {
	all := [][]byte{{0}, {'\n'}, {255}, []byte("a\r\nb"), []byte(`"'\`), []byte("ä\xff\xfe"), []byte("nil"), []byte("false"), []byte("1e3")}
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	return append(all, every, bytes.Repeat(every, 256))
}

// entries are those that were written, from many goroutines.
type entries struct {
	mu  sync.Mutex
	all []msauth.SharedEntry
}

func (e *entries) add(position uint64, entry []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, msauth.SharedEntry{Position: position, Entry: entry})
}

func (e *entries) sorted() []msauth.SharedEntry {
	slices.SortFunc(e.all, func(a, b msauth.SharedEntry) int {
		if a.Position < b.Position {
			return -1
		}
		return 1
	})
	return e.all
}
