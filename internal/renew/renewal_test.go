package renew

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

// Ten thousand renewals and a hundred thousand sign-outs are the most that a
// process remembers, whoever makes more of them, and not for good. Not
// parallel: memory is that of the whole process.
func TestMemoryIsBoundedAtTheCaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		r := New(Settings{})
		fill := func() {
			token := strings.Repeat("t", 2000)
			for i := range MaxOutcomes + 5_000 {
				refresh := seal.Secret(binary.BigEndian.AppendUint64([]byte(token), uint64(i)))
				key := r.Key(refresh)
				r.granted.Put(key, &provider.TokenSet{Access: refresh + "a", Refresh: refresh + "r"}, time.Now().Add(outcomeGrace))
				r.kept.Put(key, &provider.TokenSet{Access: refresh + "b", Refresh: refresh}, time.Now().Add(time.Hour))
				r.refused.Put(key, Refusal{err: &provider.Failure{Description: string(refresh[len(refresh)-500:])}}, time.Now().Add(refusalGrace))
			}
		}
		fill()
		first := heap() - before
		fill()
		second := heap() - before
		for name, got := range map[string]int{"granted": r.granted.Len(), "kept": r.kept.Len(), "refused": r.refused.Len()} {
			if got != MaxOutcomes {
				t.Errorf("%d entries %s, want %d", got, name, MaxOutcomes)
			}
		}
		if second > first+first/10 || second > 150<<20 {
			t.Errorf("%d MB at the caps, %d MB when filled once more", first>>20, second>>20)
		}
		time.Sleep(outcomeGrace + 2*time.Minute) // when it is swept
		if got := r.granted.Len(); got != 0 {
			t.Errorf("%d outcomes after their time", got)
		}
		time.Sleep(time.Hour)
		after := heap() - before
		t.Logf("at the caps %d MB, filled once more %d MB, when all is over %d KB", first>>20, second>>20, after>>10)
		if after > 1<<20 {
			t.Errorf("%d KB are left", after>>10)
		}
		runtime.KeepAlive(r)
	})
}

// A crowd that is refused, or whose tokens do not fit their cookies, does not
// push out the outcomes that late requests need.
func TestOutcomesOfOneKindDoNotDisplaceThoseOfAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Settings{})
		for i := range MaxOutcomes {
			var key Key
			binary.BigEndian.PutUint64(key[:], uint64(i))
			r.refuse(key, &provider.Failure{Class: provider.SignIn}, time.Hour)
			r.kept.Put(key, &provider.TokenSet{Refresh: "x"}, time.Now().Add(time.Hour))
		}
		r.granted.Put(r.Key("old"), &provider.TokenSet{Refresh: "new"}, time.Now().Add(outcomeGrace))
		if _, err, newest := r.Known("old"); err != nil || newest != "new" {
			t.Errorf("the newest token is %q, %v, want new", string(newest), err)
		}
		r.granted.Put(r.Key("new"), &provider.TokenSet{Refresh: "newer"}, time.Now().Add(outcomeGrace))
		r.refuse(r.Key("newer"), &provider.Failure{Class: provider.SignIn}, 2*time.Hour)
		if g, err, newest := r.Known("old"); err == nil || newest != "newer" || g == nil || g.Refresh != "newer" {
			t.Errorf("grant %v, error %v, newest %q", g != nil, err, string(newest))
		}
	})
}

// A shelf is a keeper for one user.
type shelf struct {
	mu    sync.Mutex
	entry StoredTokens
}

func (s *shelf) Load(context.Context, string) (StoredTokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entry.Version == 0 {
		return s.entry, ErrNoTokens
	}
	t := s.entry
	t.Sealed = bytes.Clone(t.Sealed)
	return t, nil
}

func (s *shelf) Save(ctx context.Context, _ string, old int64, t StoredTokens) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.entry.Version != old {
		return ErrConflict
	}
	s.entry = t
	return nil
}

func (s *shelf) Delete(context.Context, string) error { return nil }

// Microsoft is slow, and all requests that may be under way are: that is not the
// store's fault.
func TestWaitingInVainIsNotBlamedOnTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ring, err := seal.NewKeyring([][]byte{bytes.Repeat([]byte{1, 2, 3, 4}, 8)})
		if err != nil {
			t.Fatal(err)
		}
		told, of := &noted{}, &session.Layout{ClientID: "id"}
		v := &Vault{Store: &shelf{}, Keys: ring.Derive("msauth stored tokens v1"), Layout: of}
		r := New(Settings{Observer: told, Vault: v})
		now := time.Now().Unix()
		rec := &session.Record{
			Layout: of, UserKey: "7", Stored: true, User: provider.Account{Issuer: "https://id.example.com", Subject: "ada"},
			SignedIn: now, Used: now, Renewed: now, Expiry: now + 3600, RefreshAt: now + 3300, Access: "A", Refresh: "R",
		}
		if _, err := v.keep(t.Context(), rec, false, false); err != nil {
			t.Fatal(err)
		}
		kept, err := v.Load(t.Context(), "7")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		for range maxFlights {
			r.slots <- struct{}{}
		}
		began := time.Now()
		_, err = r.Renew(t.Context(), Request{Rec: kept.Rec, Reason: "asked", Due: func(g *provider.TokenSet) bool { return !g.Usable(time.Now()) }})
		failure, ok := errors.AsType[*provider.Failure](err)
		if !ok || failure.Class != provider.Retry || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*leaseTime {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if len(told.stores) > 0 {
			t.Errorf("told of %q", told.stores)
		}
		if e, err := v.read(t.Context(), "7"); err != nil || !e.Lease.IsZero() {
			t.Errorf("%v, and a lease is left until %v", err, e.Lease)
		}
	})
}
