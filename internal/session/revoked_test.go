package session

import (
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
)

// However many people sign out, what is remembered of them is bounded, and gone
// when their sessions would have ended: 64 bytes each, as a million of them may have
// (BenchmarkStart of module redisshared has that many). Not parallel: it measures the
// memory of the whole process.
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
		const limit = maxEnded / 8
		revoked := NewRevoked(week)
		revoked.sessions.limit = limit
		fill := func() {
			for i := range limit + limit/8 {
				rec := &Record{SignedIn: time.Now().Unix()}
				binary.LittleEndian.PutUint64(rec.ID[:], uint64(i))
				revoked.End(rec, 0)
			}
		}
		fill()
		first := heap() - before
		fill()
		second := heap() - before
		if got := revoked.sessions.count.Load(); got > limit || got < limit*9/10 {
			t.Errorf("%d revoked sessions, want about %d", got, limit)
		}
		if revoked.Forgotten() == 0 {
			t.Error("nobody is told that some were forgotten")
		}
		if second > first+first/10 || second > 64*limit {
			t.Errorf("%d KB at the cap, %d KB when filled once more", first>>10, second>>10)
		}
		time.Sleep(week + sweepEvery) // when it is swept
		if after := heap() - before; after > 1<<20 {
			t.Errorf("%d KB are left", after>>10)
		}
		runtime.KeepAlive(revoked)
	})
}

const week = 7 * 24 * time.Hour

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
				revoked, rec := NewRevoked(maxAge), &Record{ID: ID{1}, SignedIn: start.Unix()}
				for _, a := range test.adds {
					time.Sleep(time.Until(start.Add(a.after)))
					revoked.End(rec, a.grace)
				}
				time.Sleep(time.Until(start.Add(test.at)))
				if ended, leaving := revoked.State(rec, time.Now()); ended != test.wantEnded || leaving != test.wantLeaving {
					t.Errorf("ended %v, leaving %v", ended, leaving)
				}
				if revoked.Has(rec) != test.wantEnded || revoked.Has(&Record{ID: ID{2}}) {
					t.Errorf("Has says %v, of another session %v", revoked.Has(rec), revoked.Has(&Record{ID: ID{2}}))
				}
				time.Sleep(maxAge + 3*time.Minute) // until the last entry is swept
			})
		})
	}
}

// All sessions of an account end, and those of a session at the provider; those that
// begin later do not.
func TestRevokedAccountsAndSIDs(t *testing.T) {
	t.Parallel()
	const tid, oid = "40a0cffe-4fc9-448b-9790-232954984f24", "8342b3fe-9359-4c66-8314-5ba888da8409"
	synctest.Test(t, func(t *testing.T) {
		const maxAge = 7 * 24 * time.Hour
		begun := func(id byte, sid string, user provider.Account) *Record {
			return &Record{ID: ID{id}, SignedIn: time.Now().Unix(), sid: sid, User: user}
		}
		work := provider.Account{Issuer: "https://id.example.com", Subject: "s", TenantID: tid, ObjectID: oid}
		other := provider.Account{Issuer: "https://id.example.com", Subject: "s#1"}
		revoked := NewRevoked(maxAge)
		a, b, c := begun(1, "one", work), begun(2, "two", work), begun(3, "one", other)
		for _, rec := range []*Record{a, b, c} {
			revoked.Note(rec)
		}
		want := func(when string, ended ...*Record) {
			t.Helper()
			for _, rec := range []*Record{a, b, c} {
				if got, leaving := revoked.State(rec, time.Now()); got != slices.Contains(ended, rec) || leaving {
					t.Errorf("%s: session %v ended %t, leaving %t", when, rec.ID, got, leaving)
				}
			}
		}
		want("at first")
		if revoked.Knows("unknown") || revoked.Knows("") {
			t.Error("a sid that nobody has is known")
		}
		for _, key := range []string{"", "x", tid, tid + "." + "x", "#s", "https://id.example.com#"} {
			if _, ok := revoked.EndAccount(key, Place{}); ok {
				t.Errorf("%q is taken for the key of an account", key)
			}
		}
		want("nothing that is known")
		if !revoked.Knows("one") || revoked.Knows("one") {
			t.Error("a sid ends once")
		}
		revoked.EndSID("one", Place{})
		want("the sid", a, c)
		if _, ok := revoked.EndAccount(strings.ToUpper(work.Key()), Place{}); !ok {
			t.Error("the key is not known")
		}
		want("the account", a, b, c)
		time.Sleep(time.Second)
		a, b, c = begun(4, "one", work), begun(5, "two", work), begun(6, "one", other)
		want("sessions that begin later")
		if _, ok := revoked.EndAccount(other.Key(), Place{}); !ok {
			t.Error("the key is not known")
		}
		want("an account of another provider", c)
		time.Sleep(maxAge + 3*time.Minute)
		want("when they would have ended anyway")
	})
}

// Nobody can fill the memory with ids of their own.
func TestNoteIsBounded(t *testing.T) {
	t.Parallel()
	revoked := NewRevoked(time.Hour)
	long := &Record{sid: strings.Repeat("x", MaxSID+1), SignedIn: time.Now().Unix()}
	if revoked.Note(long); revoked.Knows(long.sid) {
		t.Error("a long sid is remembered")
	}
	for range 1000 {
		if revoked.EndSID(strings.Repeat("x", 1<<20), Place{}) != nil {
			t.Fatal("a long sid is passed on")
		}
	}
	if n := revoked.sids.Len() + revoked.known.Len(); n != 0 {
		t.Errorf("%d entries", n)
	}
}
