package shared

import (
	"bytes"
	"context"
	"errors"
	"time"

	"example.com/msauth/internal/seal"
)

// Kinds of what is sealed. They are part of what a value is sealed for.
const (
	kindEntry = "entry"
	kindValue = "value"
	kindLease = "lease"
)

// MaxValue is how many bytes a value may have. One that has more is an error of the
// caller's, and not of the backend.
const MaxValue = maxSize - seal.SealOverhead

var errTooLarge = errors.New("msauth: too large for Config.Shared")

// seal seals a value for its kind, name and app.
func (h *Hub) seal(kind, name string, plain []byte) []byte {
	return h.Keys.Seal(plain, h.place(kind, name))
}

// open undoes seal for the one of the kinds that box was sealed as, and says which, or
// returns [seal.ErrNotSealed]. It leaves box as it is. Where there is nothing, or what it
// is opens, the keys are not looked at again: that can take a second.
func (h *Hub) open(name string, box []byte, kinds ...string) (plain []byte, kind string, err error) {
	if box == nil {
		return nil, "", seal.ErrNotSealed
	}
	for again := false; ; again = true {
		for _, kind := range kinds {
			if plain, _, err := h.Keys.Open(bytes.Clone(box), h.place(kind, name)); err == nil {
				return plain, kind, nil
			}
		}
		if again || !h.Keys.Again() {
			return nil, "", seal.ErrNotSealed
		}
	}
}

func (h *Hub) place(kind, name string) []byte {
	return []byte("msauth " + kind + "\x00" + h.prefix + name)
}

// Get returns the value under a name, nil if there is none that opens.
func (h *Hub) Get(ctx context.Context, name string) (value []byte, err error) {
	var box []byte
	err = h.call(ctx, func(ctx context.Context) (err error) {
		box, err = h.Backend.Get(ctx, h.prefix+name)
		return err
	})
	if err != nil || box == nil {
		return nil, err
	}
	value, _, _ = h.open(name, box, kindValue)
	return value, nil
}

// Put keeps a value under a name for the time of its life.
func (h *Hub) Put(ctx context.Context, name string, value []byte, life time.Duration) error {
	if len(value) > MaxValue {
		return errTooLarge
	}
	box := h.seal(kindValue, name, value)
	return h.call(ctx, func(ctx context.Context) error {
		return h.Backend.Put(ctx, h.prefix+name, box, max(life, time.Second))
	})
}

// Add notes something under a name for the time of its life. It reports whether that
// was done before.
func (h *Hub) Add(ctx context.Context, name string, life time.Duration) (before bool, err error) {
	box, err := h.swap(ctx, name, nil, h.seal(kindValue, name, nil), max(life, time.Second))
	return box != nil, err
}

// Append adds an entry to a log that nobody follows, and returns its position.
func (h *Hub) Append(ctx context.Context, log string, data []byte, life time.Duration) (position uint64, err error) {
	box := h.seal(kindEntry, log, data)
	err = h.call(ctx, func(ctx context.Context) (err error) {
		position, err = h.Backend.Append(ctx, h.prefix+log, box, max(life, time.Second))
		return err
	})
	return position, err
}

// Read returns what a log holds, the oldest first: the newest 10,000 entries of a
// million at most. What does not open is left out.
func (h *Hub) Read(ctx context.Context, log string) (entries []Entry, err error) {
	after := uint64(0)
	for range maxReads {
		entries = entries[max(0, len(entries)-maxRead):]
		var some []Entry
		err := h.call(ctx, func(ctx context.Context) (err error) {
			some, err = h.Backend.Read(ctx, h.prefix+log, after, 0)
			return err
		})
		if err != nil {
			return nil, err
		}
		before := after
		for _, e := range some {
			if after = max(after, e.Position); e.Data != nil {
				if data, _, err := h.open(log, e.Data, kindEntry); err == nil {
					entries = append(entries, Entry{e.Position, data})
				}
			}
		}
		if after == before { // no more, or a backend that repeats itself
			break
		}
	}
	return entries, nil
}

const (
	maxRead  = 10_000 // entries that Read returns, about
	maxReads = 1_000  // calls for it
)
