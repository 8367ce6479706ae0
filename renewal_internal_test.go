package msauth

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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
		r := newRenewals(renewalSettings{})
		fill := func() {
			token := strings.Repeat("t", 2000)
			for i := range maxOutcomes + 5_000 {
				refresh := secret(binary.BigEndian.AppendUint64([]byte(token), uint64(i)))
				key := r.key(refresh)
				r.granted.put(key, &grant{access: refresh + "a", refresh: refresh + "r"}, time.Now().Add(outcomeGrace))
				r.kept.put(key, &grant{access: refresh + "b", refresh: refresh}, time.Now().Add(time.Hour))
				r.refused.put(key, refusal{err: &Failure{Description: string(refresh[len(refresh)-500:])}}, time.Now().Add(refusalGrace))
			}
		}
		fill()
		first := heap() - before
		fill()
		second := heap() - before
		for name, got := range map[string]int{"granted": r.granted.len(), "kept": r.kept.len(), "refused": r.refused.len()} {
			if got != maxOutcomes {
				t.Errorf("%d entries %s, want %d", got, name, maxOutcomes)
			}
		}
		if second > first+first/10 || second > 150<<20 {
			t.Errorf("%d MB at the caps, %d MB when filled once more", first>>20, second>>20)
		}
		time.Sleep(outcomeGrace + 2*time.Minute) // when it is swept
		if got := r.granted.len(); got != 0 {
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
		r := newRenewals(renewalSettings{})
		for i := range maxOutcomes {
			var key tokenKey
			binary.BigEndian.PutUint64(key[:], uint64(i))
			r.refuse(key, &Failure{Class: kindSignIn}, time.Hour)
			r.kept.put(key, &grant{refresh: "x"}, time.Now().Add(time.Hour))
		}
		r.granted.put(r.key("old"), &grant{refresh: "new"}, time.Now().Add(outcomeGrace))
		if _, err, newest := r.known("old"); err != nil || newest != "new" {
			t.Errorf("the newest token is %q, %v, want new", string(newest), err)
		}
		r.granted.put(r.key("new"), &grant{refresh: "newer"}, time.Now().Add(outcomeGrace))
		r.refuse(r.key("newer"), &Failure{Class: kindSignIn}, 2*time.Hour)
		if g, err, newest := r.known("old"); err == nil || newest != "newer" || g == nil || g.refresh != "newer" {
			t.Errorf("grant %v, error %v, newest %q", g != nil, err, string(newest))
		}
	})
}

// Whatever a reply says, there is a class, and only certain words end a
// session.
func TestClassesAreTotal(t *testing.T) {
	t.Parallel()
	words := []string{"", "invalid_grant", "interaction_required", "consent_required", "login_required", "invalid_client",
		"unauthorized_client", "temporarily_unavailable", "server_error", "access_denied", "user_password_expired", "INVALID_GRANT", "x"}
	suberrors := []string{"", "bad_token", "BAD_TOKEN", "token_expired", "basic_action", "Basic_Action", "additional_action", "message_only", "consent_required",
		"user_password_expired", "protection_policy_required", "device_authentication_failed", "client_mismatch", "x"}
	for status := 0; status < 600; status++ {
		for _, code := range words {
			for _, suberror := range suberrors {
				for _, asked := range []grantType{grantCode, grantRenewal, grantScopes} {
					got := classify(status, code, suberror, asked)
					over := slices.Contains([]string{"bad_token", "token_expired"}, strings.ToLower(suberror))
					trouble := status >= 500 || status == 429 || status == 408
					switch {
					case got == kindDeclined || got == kindNotAllowed || got == "":
						t.Fatalf("%d %q %q: class %q", status, code, suberror, got)
					case trouble && got != kindRetry:
						t.Fatalf("%d %q %q: class %q, want %q", status, code, suberror, got, kindRetry)
					case got == kindSignIn && asked == grantCode:
						t.Fatalf("%d %q %q: a code ends a session", status, code, suberror)
					case got == kindSignIn && !over && (code != "invalid_grant" || asked == grantScopes):
						t.Fatalf("%d %q %q: ends a session", status, code, suberror)
					case got == kindReplay && asked != grantCode:
						t.Fatalf("%d %q %q: a renewal is no replay", status, code, suberror)
					case classify(status, code, strings.ToUpper(suberror), asked) != got:
						t.Fatalf("%d %q %q: another class in upper case", status, code, suberror)
					}
				}
			}
		}
	}
}

// A shelf is a keeper for one user.
type shelf struct {
	mu    sync.Mutex
	entry stored
}

func (s *shelf) load(context.Context, string) (stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entry.Version == 0 {
		return s.entry, errNothingKept
	}
	t := s.entry
	t.Sealed = bytes.Clone(t.Sealed)
	return t, nil
}

func (s *shelf) save(ctx context.Context, _ string, old int64, t stored) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.entry.Version != old {
		return errChanged
	}
	s.entry = t
	return nil
}

func (s *shelf) delete(context.Context, string) error { return nil }

// Microsoft is slow, and all requests that may be under way are: that is not the
// store's fault.
func TestWaitingInVainIsNotBlamedOnTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ring, err := newKeyring([][]byte{bytes.Repeat([]byte{1, 2, 3, 4}, 8)})
		if err != nil {
			t.Fatal(err)
		}
		told, of := &noted{}, &layout{clientID: "id"}
		v := &vault{store: &shelf{}, keys: ring.derive("msauth stored tokens v1"), layout: of}
		r := newRenewals(renewalSettings{observer: told, vault: v})
		now := time.Now().Unix()
		rec := &record{
			layout: of, userKey: "7", stored: true, user: account{Issuer: "https://id.example.com", Subject: "ada"},
			signedIn: now, used: now, renewed: now, expiry: now + 3600, refreshAt: now + 3300, access: "A", refresh: "R",
		}
		if _, err := v.keep(t.Context(), rec, false, false); err != nil {
			t.Fatal(err)
		}
		kept, err := v.load(t.Context(), "7")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		for range maxFlights {
			r.slots <- struct{}{}
		}
		began := time.Now()
		_, err = r.renew(t.Context(), renewal{rec: kept.rec, reason: "asked", due: func(g *grant) bool { return !g.usable(time.Now()) }})
		failure, ok := errors.AsType[*Failure](err)
		if !ok || failure.Class != kindRetry || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*leaseTime {
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
