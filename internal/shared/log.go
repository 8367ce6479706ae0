package shared

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"example.com/msauth/internal/seal"
)

const (
	logName   = "log"
	epochName = "epoch"
	// StartTime is how long requests wait at most, after the start of the process,
	// until the log is read.
	StartTime = 5 * time.Second
	// lookEvery is how often the epoch is read, and so how long one wait for new
	// entries may be.
	lookEvery = 1 * time.Second
	// replaceEvery is how often an epoch that does not open is replaced at most.
	replaceEvery = 1 * time.Minute
	// epochLife is far longer than any log.
	epochLife = 5 * 365 * 24 * time.Hour
	// refillAfter is when what is missing is published: others may have done it
	// by then.
	refillAfter = 1 * time.Second
)

// Publish tells all processes, and this one too. If the backend fails, it returns
// ErrUnavailable and publishes as soon as possible.
func (h *Hub) Publish(ctx context.Context, data []byte) error {
	entry := framed(data)
	err := h.append(ctx, entry)
	if err != nil && !h.queue.addEntry(entry) {
		h.Observer.SharedDropped()
	}
	return err
}

// Queued returns how much is waiting to be passed on.
func (h *Hub) Queued() int { return h.queue.length() }

// append adds an entry to the log that all processes follow. It consists of frames.
func (h *Hub) append(ctx context.Context, entry []byte) error {
	_, err := h.Append(ctx, logName, entry, h.Life)
	if err == nil {
		h.queue.note(entry)
	}
	return err
}

// Ready reports whether the log has been read to its end once.
func (h *Hub) Ready() bool { return h.ready.Load() }

// Started waits until the log has been read, at most until StartTime after the start
// of the process, or until ctx ends.
func (h *Hub) Started(ctx context.Context) {
	if h.Ready() {
		return
	}
	timer := time.NewTimer(time.Until(h.begun.Add(StartTime)))
	defer timer.Stop()
	select {
	case <-h.caught:
	case <-ctx.Done():
	case <-timer.C:
		if h.unread.CompareAndSwap(false, true) {
			h.Observer.SharedUnread()
		}
	}
}

// A follower reads the log.
type follower struct {
	h      *Hub
	after  uint64    // the position that was read last
	atEnd  bool      // the log was read to its end
	broken time.Time // since when calls fail, zero if they do not
	refill time.Time // when to publish what is missing, zero if nothing is

	replaced time.Time // when this process has begun an epoch last

	sealed     [][]byte // entries that do not open, until the keys were looked at again
	unreadable int      // entries that were not reported yet
	reported   time.Time
}

// follow reads the log until ctx ends.
func (h *Hub) follow(ctx context.Context) {
	f := &follower{h: h}
	for ctx.Err() == nil {
		err := f.look(ctx)
		if err == nil {
			err = f.read(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		h.followed(err)
		if err != nil {
			if f.broken.IsZero() {
				f.broken = time.Now()
			}
			pause(ctx, restTime/2+rand.N(restTime)) // #nosec G404 -- jitter, no secret
			continue
		}
		if !f.broken.IsZero() {
			h.queue.repeat(f.broken)
			h.queue.again()
			f.broken = time.Time{}
		}
		if f.atEnd && !f.refill.IsZero() && time.Now().After(f.refill) {
			f.fill(ctx)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// read reads entries, and waits for some if it has read all.
func (f *follower) read(ctx context.Context) error {
	wait := time.Duration(0)
	if f.atEnd {
		wait = lookEvery
	}
	limited, cancel := context.WithTimeout(ctx, wait+callTime)
	defer cancel()
	entries, err := f.h.Backend.Read(limited, f.h.prefix+logName, f.after, wait)
	if err != nil {
		return err
	}
	before := f.after
	for _, e := range entries {
		f.after = max(f.after, e.Position)
		if f.apply(e.Data) {
			continue
		}
		if len(f.sealed) == maxEntries {
			f.sealed, f.unreadable = f.sealed[1:], f.unreadable+1
		}
		f.sealed = append(f.sealed, e.Data)
	}
	if len(f.sealed) > 0 && (f.atEnd || len(entries) == 0) {
		f.again()
	}
	if f.unreadable > 0 && time.Since(f.reported) >= time.Minute {
		f.h.Observer.SharedUnreadable(f.unreadable)
		f.unreadable, f.reported = 0, time.Now()
	}
	if f.after > before {
		return nil
	}
	if len(entries) > 0 {
		pause(ctx, lookEvery) // a backend that repeats itself
	}
	if f.atEnd = true; f.h.ready.CompareAndSwap(false, true) {
		close(f.h.caught)
	}
	return nil
}

// apply applies an entry. It reports whether that opens.
func (f *follower) apply(box []byte) bool {
	data, _, err := f.h.Keys.Open(bytes.Clone(box), f.h.place(kindEntry, logName))
	if err != nil {
		return false
	}
	if !frames(data, f.h.Apply) {
		f.unreadable++
	}
	return true
}

// again tries once more what did not open, after one look at the keys for all of it:
// that can take a second, and there can be a million entries of a key that is gone.
func (f *follower) again() {
	more := f.h.Keys.Again()
	for _, box := range f.sealed {
		if !more || !f.apply(box) {
			f.unreadable++
		}
	}
	f.sealed = nil
}

// An epoch is how long the backend has had its memory.
type epoch struct {
	id   [8]byte
	made time.Time
}

// look reads the epoch, if that is due, or begins one. If it is another than before,
// the log begins anew.
func (f *follower) look(ctx context.Context) error {
	h := f.h
	h.mu.Lock()
	known, due := h.epoch, time.Since(h.checked) >= lookEvery
	h.mu.Unlock()
	if !due {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	box, err := h.Backend.Get(ctx, h.prefix+epochName)
	if err != nil {
		return err
	}
	now, ok := h.epochOf(box)
	if !ok && box != nil && known.id != [8]byte{} && time.Since(f.replaced) < replaceEvery {
		now, ok = known, true // somebody with other keys: not by turns, each second
	}
	if !ok {
		f.replaced = time.Now()
		now.made = time.Now()
		seal.RandomBytes(now.id[:])
		plain := binary.BigEndian.AppendUint64(now.id[:], uint64(now.made.Unix())) // #nosec G115 -- a Unix time
		before, err := h.Backend.Swap(ctx, h.prefix+epochName, box, h.seal(kindValue, epochName, plain), epochLife)
		if err != nil || !bytes.Equal(before, box) {
			return err // and look again, at what another process has begun
		}
	}
	if known.id != [8]byte{} && known.id != now.id {
		f.after, f.atEnd = 0, false
		f.refill = time.Now().Add(refillAfter + rand.N(refillAfter)) // #nosec G404 -- jitter, no secret
		h.Restart()
		h.Observer.SharedLost()
	}
	h.mu.Lock()
	h.epoch, h.checked = now, time.Now()
	close(h.looked)
	h.looked = make(chan struct{})
	h.mu.Unlock()
	return nil
}

// epochOf reads an epoch. ok is false if it does not open.
func (h *Hub) epochOf(box []byte) (e epoch, ok bool) {
	plain, _, err := h.open(epochName, box, kindValue)
	if err != nil || len(plain) != 16 {
		return e, false
	}
	copy(e.id[:], plain)
	e.made = time.Unix(int64(binary.BigEndian.Uint64(plain[8:])), 0) // #nosec G115 -- we made it
	return e, true
}

// fill publishes what is missing from a log that has begun anew. One process does so
// at a time; the next finds less that is missing.
func (f *follower) fill(ctx context.Context) {
	c, err := f.h.Claim(ctx, "refill", func([]byte) bool { return false })
	if err != nil || c.Held() {
		f.refill = time.Now().Add(refillAfter)
		return
	}
	f.refill = time.Time{}
	f.h.Missing(func(data []byte) bool {
		if f.h.append(ctx, framed(data)) == nil {
			return true
		}
		f.refill = time.Now().Add(refillAfter)
		return false
	})
	c.Lease.Release(ctx)
}

// Era tells the positions of logs from those of before the backend had lost its
// memory. ok is false as long as that is not known.
func (h *Hub) Era() (era uint16, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return binary.BigEndian.Uint16(h.epoch.id[:]), h.epoch.id != [8]byte{}
}

// Steady reports whether what is not known to the backend has not happened: it has
// had its memory for Doubt at least, and this process has reached it all the time.
// It waits until that was looked at, a second at most.
func (h *Hub) Steady(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*lookEvery+callTime)
	defer cancel()
	for asked := time.Now(); ; {
		h.mu.Lock()
		checked, looked := h.checked, h.looked
		steady := !h.failing && time.Since(h.epoch.made) >= Doubt && (h.failed.IsZero() || time.Since(h.failed) >= Doubt)
		h.mu.Unlock()
		if checked.After(asked) {
			return steady
		}
		select {
		case <-looked:
		case <-ctx.Done():
			return false
		}
	}
}
