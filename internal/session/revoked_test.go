package session

import (
	"encoding/binary"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// However many people sign out, what is remembered of them is bounded, and gone
// when their sessions would have ended. Not parallel: it measures the memory of
// the whole process.
func TestMemoryOfRevokedSessionsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		revoked := NewRevoked()
		fill := func() {
			for i := range maxRevoked + 50_000 {
				rec := &Record{SignedIn: time.Now().Unix()}
				binary.BigEndian.PutUint64(rec.ID[:], uint64(i))
				revoked.Add(rec, 7*24*time.Hour, 0)
			}
		}
		fill()
		first := heap() - before
		fill()
		second := heap() - before
		if got := revoked.from.Len(); got != maxRevoked {
			t.Errorf("%d revoked sessions, want %d", got, maxRevoked)
		}
		if second > first+first/10 || second > 50<<20 {
			t.Errorf("%d MB at the cap, %d MB when filled once more", first>>20, second>>20)
		}
		time.Sleep(7*24*time.Hour + 2*time.Minute) // when it is swept
		if after := heap() - before; after > 1<<20 {
			t.Errorf("%d KB are left", after>>10)
		}
		runtime.KeepAlive(revoked)
	})
}

// A session ends once, at the earliest time that was said, and is forgotten when
// it would have ended anyway.
func TestRevokedSession(t *testing.T) {
	t.Parallel()
	const maxAge = 24 * time.Hour
	type add struct{ after, grace time.Duration }
	for _, test := range []struct {
		name                   string
		adds                   []add
		at                     time.Duration
		wantEnded, wantLeaving bool
	}{
		{"never", nil, 0, false, false},
		{"signed out", []add{{0, 0}}, 0, true, false},
		{"signed out long ago", []add{{0, 0}}, maxAge - 1, true, false},
		{"would have ended", []add{{0, 0}}, maxAge, false, false},
		{"replaced, in its grace period", []add{{0, time.Minute}}, time.Minute - 1, false, true},
		{"replaced, after it", []add{{0, time.Minute}}, time.Minute, true, false},
		{"replaced, then signed out", []add{{0, time.Minute}, {time.Second, 0}}, time.Second, true, false},
		{"signed out, then replaced", []add{{0, 0}, {time.Second, time.Minute}}, time.Second, true, false},
		{"replaced twice", []add{{0, time.Minute}, {30 * time.Second, time.Minute}}, time.Minute, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				revoked, rec := NewRevoked(), &Record{ID: ID{1}, SignedIn: start.Unix()}
				for _, a := range test.adds {
					time.Sleep(time.Until(start.Add(a.after)))
					revoked.Add(rec, maxAge, a.grace)
				}
				time.Sleep(time.Until(start.Add(test.at)))
				if ended, leaving := revoked.State(rec.ID, time.Now()); ended != test.wantEnded || leaving != test.wantLeaving {
					t.Errorf("ended %v, leaving %v", ended, leaving)
				}
				if revoked.Has(rec.ID) != test.wantEnded || revoked.Has(ID{2}) {
					t.Errorf("Has says %v, of another session %v", revoked.Has(rec.ID), revoked.Has(ID{2}))
				}
				time.Sleep(maxAge + 3*time.Minute) // until the last entry is swept
			})
		})
	}
}
