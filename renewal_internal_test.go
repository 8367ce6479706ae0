package msauth

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
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
		ended := newEndedSet()
		fill := func() {
			token := strings.Repeat("t", 2000)
			for i := range maxOutcomes + 5_000 {
				refresh := secret(binary.BigEndian.AppendUint64([]byte(token), uint64(i)))
				key := r.key(refresh)
				r.granted.put(key, &grant{access: refresh + "a", refresh: refresh + "r"}, time.Now().Add(outcomeGrace))
				r.kept.put(key, &grant{access: refresh + "b", refresh: refresh}, time.Now().Add(time.Hour))
				r.refused.put(key, refusal{err: &Failure{Description: string(refresh[len(refresh)-500:])}}, time.Now().Add(refusalGrace))
			}
			for i := range maxEnded + 50_000 {
				rec := &record{signedIn: time.Now().Unix()}
				binary.BigEndian.PutUint64(rec.id[:], uint64(i))
				ended.add(rec, 7*24*time.Hour, 0)
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
		if got := ended.since.len(); got != maxEnded {
			t.Errorf("%d ended sessions, want %d", got, maxEnded)
		}
		if second > first+first/10 || second > 150<<20 {
			t.Errorf("%d MB at the caps, %d MB when filled once more", first>>20, second>>20)
		}
		time.Sleep(outcomeGrace + sweepEvery)
		if got := r.granted.len(); got != 0 {
			t.Errorf("%d outcomes after their time", got)
		}
		time.Sleep(7*24*time.Hour + sweepEvery)
		after := heap() - before
		t.Logf("at the caps %d MB, filled once more %d MB, when all is over %d KB", first>>20, second>>20, after>>10)
		if after > 1<<20 {
			t.Errorf("%d KB are left", after>>10)
		}
		runtime.KeepAlive(r)
		runtime.KeepAlive(ended)
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

// A shelf is a TokenStore for one user.
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
		var log bytes.Buffer
		m := testMiddleware(t, func(c *Config) {
			c.Tokens, c.Logger = &shelf{}, slog.New(slog.NewTextHandler(&log, nil))
		})
		log.Reset() // of the start
		rec := someRecord()
		rec.layout, rec.userKey, rec.stored = &m.layout, "7", true
		if _, err := m.vault.keep(t.Context(), rec, false, false); err != nil {
			t.Fatal(err)
		}
		worker, err := m.Offline(t.Context(), "7")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		for range maxFlights {
			m.renewals.slots <- struct{}{}
		}
		began := time.Now()
		_, err = worker.Token(t.Context())
		if !errors.Is(err, ErrTokenUnavailable) || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*leaseTime {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if log.Len() > 0 {
			t.Errorf("the log says %s", &log)
		}
		if e, err := m.vault.read(t.Context(), "7"); err != nil || !e.Lease.IsZero() {
			t.Errorf("%v, and a lease is left until %v", err, e.Lease)
		}
	})
}

// No page of a session without a refresh token tries to renew it.
func TestRenewalIsPutOffWithoutARefreshToken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		change  func(*Config)
		refresh secret
		user    string
		off     time.Duration // from signing in; 0 for as it was
	}{
		{"for good", nil, "", "", longestMaxAge},
		{"until it is to be rechecked", func(c *Config) { c.RecheckAfter = time.Hour }, "", "", time.Hour},
		{"with a refresh token", nil, "x", "", 0},
		{"of a user of the app", nil, "", "7", 0},
		{"at Microsoft", func(c *Config) { c.Issuer = "" }, "", "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := testMiddleware(t, func(c *Config) {
				c.Authority, c.Tenant, c.Issuer = "", "", "https://id.example.com"
				if test.change != nil {
					test.change(c)
				}
			})
			rec := someRecord()
			rec.refresh, rec.userKey = test.refresh, test.user
			want := rec.refreshAt
			if test.off > 0 {
				want = rec.signedIn + int64(test.off/time.Second)
			}
			if m.withoutRefreshToken(rec); rec.refreshAt != want {
				t.Errorf("renewed %d s after signing in, want %d", rec.refreshAt-rec.signedIn, want-rec.signedIn)
			}
		})
	}
}
