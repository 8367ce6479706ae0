package renew

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

// Ten thousand outcomes of each kind are the most that a process remembers,
// whoever makes more of them, and not for good. Not parallel: memory is that of
// the whole process.
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
				r.outcomes.renewed.Put(key, &provider.TokenSet{Access: refresh + "a", Refresh: refresh + "r"}, time.Now().Add(outcomeGrace))
				r.outcomes.kept.Put(key, &provider.TokenSet{Access: refresh + "b", Refresh: refresh}, time.Now().Add(time.Hour))
				r.outcomes.refused.Remember(key, &provider.Failure{Description: string(refresh[len(refresh)-500:])}, refusalGrace)
			}
		}
		fill()
		first := heap() - before
		fill()
		second := heap() - before
		for name, got := range map[string]int{"renewed": r.outcomes.renewed.Len(), "kept": r.outcomes.kept.Len(), "refused": r.outcomes.refused.byKey.Len()} {
			if got != MaxOutcomes {
				t.Errorf("%d entries %s, want %d", got, name, MaxOutcomes)
			}
		}
		if second > first+first/10 || second > 150<<20 {
			t.Errorf("%d MB at the caps, %d MB when filled once more", first>>20, second>>20)
		}
		time.Sleep(outcomeGrace + 2*time.Minute) // when it is swept
		if got := r.outcomes.renewed.Len(); got != 0 {
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
			r.outcomes.refused.Remember(key, &provider.Failure{Class: provider.SignIn}, time.Hour)
			r.outcomes.kept.Put(key, &provider.TokenSet{Refresh: "x"}, time.Now().Add(time.Hour))
		}
		r.outcomes.renewed.Put(r.Key("old"), &provider.TokenSet{Refresh: "new"}, time.Now().Add(outcomeGrace))
		if _, err, newest := r.Known("old"); err != nil || newest != "new" {
			t.Errorf("the newest token is %q, %v, want new", string(newest), err)
		}
		r.outcomes.renewed.Put(r.Key("new"), &provider.TokenSet{Refresh: "newer"}, time.Now().Add(outcomeGrace))
		r.outcomes.refused.Remember(r.Key("newer"), &provider.Failure{Class: provider.SignIn}, 2*time.Hour)
		if g, err, newest := r.Known("old"); err == nil || newest != "newer" || g == nil || g.Refresh != "newer" {
			t.Errorf("tokens %v, error %v, newest %q", g != nil, err, string(newest))
		}
	})
}

// What is kept of sessions that are over budget is not pushed out by those that
// use several APIs.
func TestOtherAPIsTakeNoRoomFromSessionsOverBudget(t *testing.T) {
	t.Parallel()
	r, now := New(Settings{}), time.Now()
	for i := range MaxOutcomes {
		rec := &session.Record{Layout: layout, Refresh: seal.Secret(fmt.Sprint("S", i)), Access: "A", Renewed: now.Unix()}
		f := &flight{r: r, rec: rec, refresh: rec.Refresh, want: Request{Wanted: TokenRequest{Scopes: "api://x/y"}, KeepUntil: now.Add(24 * time.Hour)}}
		f.keepOther(&provider.TokenSet{Access: "X", Refresh: seal.Secret(fmt.Sprint("T", i)), Issued: now.Unix(), Expiry: now.Unix() + 3600})
	}
	r.Keep("R", &provider.TokenSet{Access: "A", Refresh: "R", Expiry: now.Unix() + 3600}, now.Add(time.Hour))
	if g, _, _ := r.Known("R"); g == nil {
		t.Error("a session over its budget has no access token any more")
	}
}

// However refresh tokens lead from one to the next, looking for the newest ends.
func TestChainsOfRefreshTokensHaveAnEnd(t *testing.T) {
	t.Parallel()
	now := time.Now()
	soon := now.Add(time.Hour)
	g := func(refresh string, issued int64) *provider.TokenSet {
		return &provider.TokenSet{Access: "A", Refresh: seal.Secret(refresh), Issued: issued, Expiry: now.Unix() + 3600, RefreshAt: now.Unix() + 3000}
	}
	tests := []struct {
		name    string
		fill    func(*Renewals)
		renewed int64
		want    seal.Secret
	}{
		{"by a server whose clock is ahead", func(r *Renewals) {
			r.outcomes.moved.Put(r.Key("R0"), "R1", soon)
			r.outcomes.renewed.Put(r.Key("R1"), g("R2", now.Unix()), soon)
		}, now.Unix() + 3, "R2"},
		{"very long", func(r *Renewals) {
			for i := range 2_000 {
				r.outcomes.moved.Put(r.Key(seal.Secret(fmt.Sprint("R", i))), seal.Secret(fmt.Sprint("R", i+1)), soon)
			}
		}, now.Unix(), "R2000"},
		{"over budget, and used for another API", func(r *Renewals) {
			r.outcomes.kept.Put(r.Key("R0"), g("R0", now.Unix()), soon)
			r.outcomes.moved.Put(r.Key("R0"), "R1", soon)
		}, now.Unix(), "R1"},
		{"renewed, then over budget", func(r *Renewals) {
			r.outcomes.renewed.Put(r.Key("R0"), g("R1", now.Unix()), soon)
			r.outcomes.kept.Put(r.Key("R1"), g("R1", now.Unix()), soon)
			r.outcomes.moved.Put(r.Key("R1"), "R2", soon)
		}, now.Unix() - 60, "R2"},
		{"in a circle", func(r *Renewals) {
			r.outcomes.moved.Put(r.Key("R0"), "R1", soon)
			r.outcomes.moved.Put(r.Key("R1"), "R0", soon)
		}, now.Unix(), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r, _ := fixture(&fakeProvider{reply: refuse(400, "invalid_grant")}, nil)
			test.fill(r)
			rec := &session.Record{Layout: layout, Refresh: "R0", Access: "A", Renewed: test.renewed, Expiry: now.Unix() + 3600, RefreshAt: now.Unix() + 3000}
			own, _, newest := r.Own(rec)
			if test.want != "" && (newest != test.want || own.Refresh != newest) {
				t.Errorf("leads to %q, the tokens to %q, want %q", string(newest), string(own.Refresh), string(test.want))
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			looked := 0
			_, err := r.Renew(ctx, Request{Rec: rec, Wanted: TokenRequest{Claims: "{}"}, Due: func(*provider.TokenSet) bool { looked++; return true }})
			if looked > 2*mostRaces || ctx.Err() != nil || classOf(err) == "" {
				t.Errorf("looked %d times: %v", looked, err)
			}
		})
	}
}

// Sessions without a refresh token share nothing.
func TestNothingIsKnownOfNoRefreshToken(t *testing.T) {
	t.Parallel()
	r := New(Settings{})
	r.Keep("", &provider.TokenSet{Access: "somebody's"}, time.Now().Add(time.Hour))
	if g, err, newest := r.Known(""); g != nil || err != nil || newest != "" {
		t.Errorf("%v, %v, %q", g, err, string(newest))
	}
}

// A browser that has not been given the new refresh token is served from memory
// for as long as it may come with the old one; once it has been given it, for two
// minutes, unless an answer with the old one may arrive last.
func TestOldRefreshTokensLeadToNewOnesUntilTheBrowserHasThem(t *testing.T) {
	t.Parallel()
	day := func() time.Time { return time.Now().Add(24 * time.Hour) }
	tests := []struct {
		name string
		do   func(ctx context.Context, r *Renewals, old *session.Record, renew func() (fresh *session.Record))
		want time.Duration // the old token leads to the new one this long
	}{
		{"not delivered", func(_ context.Context, _ *Renewals, _ *session.Record, renew func() *session.Record) {
			renew()
		}, 24 * time.Hour},
		{"delivered", func(_ context.Context, r *Renewals, old *session.Record, renew func() *session.Record) {
			r.Taken(old, renew())
		}, outcomeGrace},
		{"delivered, while an answer from before is under way", func(ctx context.Context, r *Renewals, old *session.Record, renew func() *session.Record) {
			r.Touches(ctx, old, day())
			r.Taken(old, renew())
		}, 24 * time.Hour},
		{"delivered, before an answer with the old one", func(ctx context.Context, r *Renewals, old *session.Record, renew func() *session.Record) {
			r.Taken(old, renew())
			r.Touches(ctx, old, day())
		}, 24 * time.Hour},
		{"delivered, long after an answer with the old one", func(ctx context.Context, r *Renewals, old *session.Record, renew func() *session.Record) {
			ctx, done := context.WithCancel(ctx)
			r.Touches(ctx, old, day())
			done()
			time.Sleep(outcomeGrace)
			r.Taken(old, renew())
		}, outcomeGrace},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, _ := fixture(&fakeProvider{}, nil)
				old := expired("ada", "R0")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				test.do(ctx, r, old, func() *session.Record {
					g, err := r.Renew(t.Context(), renewal(old))
					if err != nil {
						t.Fatal(err)
					}
					return old.RenewedBy(g)
				})
				time.Sleep(test.want - time.Second)
				if _, _, newest := r.Known("R0"); newest != "R1" {
					t.Errorf("leads to %q after %v, want R1", string(newest), test.want-time.Second)
				}
				time.Sleep(2 * time.Second)
				if _, _, newest := r.Known("R0"); newest != "R0" {
					t.Errorf("leads to %q after %v", string(newest), test.want+time.Second)
				}
			})
		})
	}
}
