package session

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
)

// Which sessions a sign-out of an account ends: those that stand before it in the
// account's log; without a place there, those that began until then by the clock.
func TestWhatARevocationEnds(t *testing.T) {
	t.Parallel()
	const now = 1_800_000_000
	for _, test := range []struct {
		name string
		v    revocation
		rec  Record
		want bool
	}{
		{"before it in the log", revocation{before: Place{1, 8}, at: now}, Record{Place: Place{1, 7}, SignedIn: now}, true},
		{"at the same place", revocation{before: Place{1, 8}, at: now}, Record{Place: Place{1, 8}, SignedIn: now}, false},
		{"after it, in the same second", revocation{before: Place{1, 8}, at: now}, Record{Place: Place{1, 9}, SignedIn: now}, false},
		{"before it, where its server's clock is fast", revocation{before: Place{1, 8}, at: now}, Record{Place: Place{1, 7}, SignedIn: now + 540}, true},
		{"after it, where its server's clock is slow", revocation{before: Place{1, 8}, at: now}, Record{Place: Place{1, 9}, SignedIn: now - 540}, false},
		{"long before it, in a log that was lost since", revocation{before: Place{1, 8}, at: now}, Record{Place: Place{1, 900}, SignedIn: now - 601}, true},
		{"long after it, where somebody repeats the entry", revocation{before: Place{1, 8}, at: now}, Record{Place: Place{1, 7}, SignedIn: now + 601}, false},
		{"of another era, which began before", revocation{before: Place{2, 8}, at: now}, Record{Place: Place{1, 900}, SignedIn: now}, true},
		{"of another era, which began after", revocation{before: Place{1, 900}, at: now}, Record{Place: Place{2, 1}, SignedIn: now + 1}, false},
		{"no place, the second before", revocation{before: Place{1, 8}, at: now}, Record{SignedIn: now - 1}, true},
		{"no place, the same second", revocation{before: Place{1, 8}, at: now}, Record{SignedIn: now}, true},
		{"no place, the second after", revocation{before: Place{1, 8}, at: now}, Record{SignedIn: now + 1}, false},
		{"by the clock, the second before", revocation{clock: now}, Record{Place: Place{1, 7}, SignedIn: now - 1}, true},
		{"by the clock, the same second", revocation{clock: now}, Record{Place: Place{1, 7}, SignedIn: now}, true},
		{"by the clock, the second after", revocation{clock: now}, Record{Place: Place{1, 7}, SignedIn: now + 1}, false},
		{"both, after the place", revocation{before: Place{1, 8}, at: now, clock: now + 5}, Record{Place: Place{1, 9}, SignedIn: now + 5}, true},
		{"both, after both", revocation{before: Place{1, 8}, at: now, clock: now + 5}, Record{Place: Place{1, 9}, SignedIn: now + 6}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := test.v.ends(&test.rec); got != test.want {
				t.Errorf("ended %t, want %t", got, test.want)
			}
		})
	}
}

// What one process has ended has ended in another that applies it, in any order and
// however often.
func TestEndingsApplyElsewhere(t *testing.T) {
	t.Parallel()
	user := provider.Account{Issuer: "https://id.example.com", Subject: "s"}
	other := provider.Account{Issuer: "https://id.example.com", Subject: "t"}
	now := time.Now().Unix()
	single := &Record{ID: ID{1}, SignedIn: now, User: other}
	leaving := &Record{ID: ID{2}, SignedIn: now, User: other}
	bySID := &Record{ID: ID{3}, SignedIn: now, User: other, sid: "sid", Place: Place{1, 4}}
	old := &Record{ID: ID{4}, SignedIn: now, User: user, Place: Place{1, 4}}
	new := &Record{ID: ID{5}, SignedIn: now, User: user, Place: Place{1, 6}}
	untouched := &Record{ID: ID{6}, SignedIn: now, User: other, sid: "another", Place: Place{1, 4}}

	here := NewRevoked(week)
	endings := [][]byte{here.End(single, 0), here.End(leaving, time.Minute), here.EndSID("sid", Place{1, 5})}
	account, ok := here.EndAccount(user.Key(), Place{1, 5})
	if !ok {
		t.Fatal("no key")
	}
	endings = append(endings, account)
	backwards := slices.Clone(endings)
	slices.Reverse(backwards)
	for i, order := range [][][]byte{endings, backwards, slices.Concat(endings, endings), {slices.Concat(endings...)}} {
		there := NewRevoked(week)
		for _, e := range order {
			if err := there.Apply(e); err != nil {
				t.Fatal(err)
			}
		}
		for _, rec := range []*Record{single, leaving, bySID, old, new, untouched} {
			wantEnded, wantLeaving := rec != leaving && rec != new && rec != untouched, rec == leaving
			for who, s := range map[string]*Revoked{"here": here, "there": there} {
				if ended, leaves := s.State(rec, time.Now()); ended != wantEnded || leaves != wantLeaving {
					t.Errorf("order %d, %s: session %v has ended %t, is leaving %t", i, who, rec.ID, ended, leaves)
				}
			}
		}
	}
}

// A second sign-out of an account takes nothing back from the first.
func TestRevocationsOfOneAccountAddUp(t *testing.T) {
	t.Parallel()
	user := provider.Account{Issuer: "https://id.example.com", Subject: "s"}
	s := NewRevoked(week)
	s.EndAccount(user.Key(), Place{1, 9})
	s.EndAccount(user.Key(), Place{1, 5})
	s.EndAccount(user.Key(), Place{})
	now := time.Now().Unix()
	if !s.Has(&Record{User: user, Place: Place{1, 8}, SignedIn: now + 1}) {
		t.Error("a session before the first one is valid again")
	}
	if !s.Has(&Record{User: user, Place: Place{1, 12}, SignedIn: now - 1}) {
		t.Error("a session that the clock has ended is valid")
	}
	if s.Has(&Record{User: user, Place: Place{1, 12}, SignedIn: now + 2}) {
		t.Error("a session after all of them has ended")
	}
}

// Where the log was lost in between, the later sign-out of an account counts: it ends
// what the first one ended too.
func TestRevocationsOfTwoErasAddUp(t *testing.T) {
	t.Parallel()
	const now = 1_800_000_000
	first, second := revocation{before: Place{1, 900}, at: now - 100}, revocation{before: Place{2, 5}, at: now}
	for i, v := range []revocation{first.and(second), second.and(first)} {
		for _, test := range []struct {
			rec  Record
			want bool
		}{
			{Record{Place: Place{1, 899}, SignedIn: now - 200}, true},
			{Record{Place: Place{1, 901}, SignedIn: now - 50}, true},
			{Record{Place: Place{2, 4}, SignedIn: now}, true},
			{Record{Place: Place{2, 6}, SignedIn: now}, false},
		} {
			if got := v.ends(&test.rec); got != test.want {
				t.Errorf("order %d, %v: ended %t, want %t", i, test.rec.Place, got, test.want)
			}
		}
	}
}

// An ending that says that it is of the future, or of long ago, ends no session
// that begins later.
func TestEndingsOfWrongClocks(t *testing.T) {
	t.Parallel()
	user := provider.Account{Issuer: "https://id.example.com", Subject: "s"}
	name := revokedName{account: nameOf(&user)}
	now := time.Now().Unix()
	s := NewRevoked(week)
	if err := s.Apply(name.encode(revocation{before: Place{1, 5}, at: now + 90000})); err != nil {
		t.Fatal(err)
	}
	if !s.Has(&Record{User: user, Place: Place{1, 4}, SignedIn: now}) || s.Has(&Record{User: user, Place: Place{1, 6}, SignedIn: now}) {
		t.Error("an ending of a clock that is a day fast is not by position")
	}
	s = NewRevoked(week)
	old := now - int64(week/time.Second)
	if err := s.Apply(name.encode(revocation{before: Place{1, 5}, at: old})); err != nil {
		t.Fatal(err)
	}
	if n := s.accounts.Len(); n != 0 {
		t.Errorf("%d accounts of an ending that is over", n)
	}
	if e := (endedSession{id: ID{1}, from: old, until: now}); s.Apply(e.encode()) != nil || s.sessions.count.Load() != 0 {
		t.Error("a session that would have ended anyway is kept")
	}
}

// After the log was lost, what was known before and did not come back is missing, and
// nothing else.
func TestEndingsThatAreMissing(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	s := NewRevoked(week)
	account := func(i int) provider.Account {
		return provider.Account{Issuer: "https://id.example.com", Subject: fmt.Sprint(i)}
	}
	missing := func() *Revoked {
		there := NewRevoked(week)
		s.Endings(func(endings []byte) bool {
			if len(endings) > 40<<10 {
				t.Errorf("%d bytes at once", len(endings))
			}
			if err := there.Apply(endings); err != nil {
				t.Error(err)
			}
			return true
		})
		return there
	}
	const sessions = 5000
	var back [][]byte
	for i := range sessions {
		rec := &Record{SignedIn: now, User: account(i)}
		binary.BigEndian.PutUint64(rec.ID[:], uint64(i)*0x9e3779b97f4a7c15)
		ending := s.End(rec, 0)
		if i%2 == 0 {
			back = append(back, ending)
		}
	}
	first, _ := s.EndAccount("a#1", Place{1, 7})
	s.EndAccount("a#2", Place{1, 7})
	s.EndSID("sid", Place{1, 7})
	if got := missing(); got.sessions.count.Load() != 0 || got.accounts.Len()+got.sids.Len() != 0 {
		t.Error("something is missing though nothing was lost")
	}
	s.Restart()
	if got := missing(); got.sessions.count.Load() != sessions || got.accounts.Len() != 2 || got.sids.Len() != 1 {
		t.Errorf("%d sessions, %d accounts, %d sids are missing", got.sessions.count.Load(), got.accounts.Len(), got.sids.Len())
	}
	if err := s.Apply(slices.Concat(append(back, first)...)); err != nil {
		t.Fatal(err)
	}
	got := missing()
	if n := got.sessions.count.Load(); n != sessions-int64(len(back)) || got.accounts.Len() != 1 || got.sids.Len() != 1 {
		t.Errorf("%d sessions, %d accounts, %d sids are still missing", n, got.accounts.Len(), got.sids.Len())
	}
	if !got.Has(&Record{SignedIn: now, Place: Place{1, 6}, User: provider.Account{Issuer: "a", Subject: "2"}}) {
		t.Error("the place in the log is lost")
	}
}

// Once all sessions of an account have ended, those that ended one by one long
// before need no memory; what was ended since does.
func TestSignOutUserCoversSingleSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		user := provider.Account{Issuer: "https://id.example.com", Subject: "s"}
		s := NewRevoked(week)
		early := &Record{ID: ID{1}, SignedIn: time.Now().Unix(), User: user, Place: Place{1, 1}}
		other := &Record{ID: ID{2}, SignedIn: time.Now().Unix(), User: provider.Account{Issuer: "https://id.example.com", Subject: "t"}}
		s.End(early, 0)
		s.End(other, 0)
		time.Sleep(11 * time.Minute)
		s.EndAccount(user.Key(), Place{1, 2})
		time.Sleep(time.Second)
		late := &Record{ID: ID{3}, SignedIn: time.Now().Unix(), User: user, Place: Place{1, 3}}
		s.End(late, 0)
		time.Sleep(sweepEvery)
		if n := s.sessions.count.Load(); n != 2 {
			t.Errorf("%d sessions are kept, want 2", n)
		}
		for _, rec := range []*Record{early, other, late} {
			if !s.Has(rec) {
				t.Errorf("session %v is valid again", rec.ID)
			}
		}
		time.Sleep(week + 3*time.Minute)
	})
}

// An ending that arrives late, after a later one, does not shorten that.
func TestALateEndingShortensNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		user := provider.Account{Issuer: "https://id.example.com", Subject: "s"}
		here, there := NewRevoked(week), NewRevoked(week)
		late, _ := there.EndAccount(user.Key(), Place{})
		lateSID := there.EndSID("sid", Place{})
		time.Sleep(24 * time.Hour)
		rec := &Record{ID: ID{1}, SignedIn: time.Now().Unix(), User: user}
		other := &Record{ID: ID{2}, SignedIn: time.Now().Unix(), User: provider.Account{Issuer: "https://id.example.com", Subject: "t"}, sid: "sid"}
		time.Sleep(time.Second)
		here.EndAccount(user.Key(), Place{})
		here.EndSID("sid", Place{})
		for _, ending := range [][]byte{late, lateSID} {
			if err := here.Apply(ending); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(week - time.Minute)
		for _, rec := range []*Record{rec, other} {
			if !here.Has(rec) {
				t.Errorf("session %v is valid again before its time is over", rec.ID)
			}
		}
		time.Sleep(24 * time.Hour)
	})
}

// Where clocks tell what began before, those of the process that ended it do: also in
// one whose clock is three minutes behind.
func TestAnEndingOfAClockThatIsAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		user := provider.Account{Issuer: "https://id.example.com", Subject: "s"}
		name, _ := accountNamed(user.Key())
		ahead := time.Now().Add(3 * time.Minute).Unix()
		rec := &Record{ID: ID{1}, SignedIn: ahead - 60, User: user}
		s := NewRevoked(week)
		if err := s.Apply(revokedName{account: name}.encode(revocation{clock: ahead})); err != nil {
			t.Fatal(err)
		}
		if !s.Has(rec) {
			t.Error("the session has not ended")
		}
		// A clock that is a day ahead keeps nobody out for a day.
		if err := s.Apply(revokedName{account: name}.encode(revocation{clock: ahead + 24*60*60})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Minute)
		if s.Has(&Record{ID: ID{2}, SignedIn: time.Now().Unix(), User: user}) {
			t.Error("who signs in now has ended")
		}
		time.Sleep(week)
	})
}

// What Apply does not understand changes nothing and is an error.
func FuzzEndings(f *testing.F) {
	s := NewRevoked(week)
	user := provider.Account{Issuer: "https://id.example.com", Subject: "s"}
	account, _ := s.EndAccount(user.Key(), Place{1, 1 << 62})
	session := s.End(&Record{ID: ID{1}, SignedIn: time.Now().Unix(), User: user}, 0)
	for _, seed := range [][]byte{nil, account, session, s.EndSID("sid", Place{1, 3}), slices.Concat(account, session), {9}, {1, 2}, bytes.Repeat([]byte{0xff}, 40)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, endings []byte) {
		s := NewRevoked(week)
		if err := s.Apply(endings); err != nil {
			return
		}
		there := NewRevoked(week)
		s.Restart()
		s.Endings(func(endings []byte) bool {
			if err := there.Apply(endings); err != nil {
				t.Errorf("its own endings: %v", err)
			}
			return true
		})
		if s.accounts.Len() != there.accounts.Len() || s.sids.Len() != there.sids.Len() || s.sessions.count.Load() != there.sessions.count.Load() {
			t.Error("endings that were applied are not all given back")
		}
	})
}
