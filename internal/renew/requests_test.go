package renew

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

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
		newest  seal.Secret
	}{
		{"by a server whose clock is ahead", func(r *Renewals) {
			r.moved.Put(r.Key("R0"), "R1", soon)
			r.granted.Put(r.Key("R1"), g("R2", now.Unix()), soon)
		}, now.Unix() + 3, "R2"},
		{"very long", func(r *Renewals) {
			for i := range 2_000 {
				r.moved.Put(r.Key(seal.Secret(fmt.Sprint("R", i))), seal.Secret(fmt.Sprint("R", i+1)), soon)
			}
		}, now.Unix(), "R2000"},
		{"over budget, and used for another API", func(r *Renewals) {
			r.kept.Put(r.Key("R0"), g("R0", now.Unix()), soon)
			r.moved.Put(r.Key("R0"), "R1", soon)
		}, now.Unix(), "R1"},
		{"renewed, then over budget", func(r *Renewals) {
			r.granted.Put(r.Key("R0"), g("R1", now.Unix()), soon)
			r.kept.Put(r.Key("R1"), g("R1", now.Unix()), soon)
			r.moved.Put(r.Key("R1"), "R2", soon)
		}, now.Unix() - 60, "R2"},
		{"in a circle", func(r *Renewals) {
			r.moved.Put(r.Key("R0"), "R1", soon)
			r.moved.Put(r.Key("R1"), "R0", soon)
		}, now.Unix(), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := New(Settings{Observer: &noted{}})
			test.fill(r)
			rec := &session.Record{Layout: &session.Layout{}, Refresh: "R0", Access: "A", Renewed: test.renewed, Expiry: now.Unix() + 3600, RefreshAt: now.Unix() + 3000}
			own, _, newest := r.Own(rec)
			if test.newest != "" && (newest != test.newest || own.Refresh != newest) {
				t.Errorf("leads to %q, the grant to %q, want %q", string(newest), string(own.Refresh), string(test.newest))
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			looked := 0
			_, err := r.Renew(ctx, Request{Rec: rec, Wanted: TokenRequest{Claims: "{}"}, Due: func(*provider.TokenSet) bool { looked++; return true }})
			if looked > 10 || ctx.Err() != nil || err == nil {
				t.Errorf("looked %d times: %v", looked, err)
			}
		})
	}
}

// What is kept of sessions that are over budget is not pushed out by those that
// use several APIs.
func TestOtherAPIsTakeNoRoomFromSessionsOverBudget(t *testing.T) {
	t.Parallel()
	r, now := New(Settings{Observer: &noted{}}), time.Now()
	for i := range MaxOutcomes {
		rec := &session.Record{Layout: &session.Layout{}, Refresh: seal.Secret(fmt.Sprint("S", i)), Access: "A", Renewed: now.Unix()}
		r.grantOther(Request{Wanted: TokenRequest{Scopes: "api://x/y"}, KeepUntil: now.Add(24 * time.Hour)}, rec, rec.Refresh,
			&provider.TokenSet{Access: "X", Refresh: seal.Secret(fmt.Sprint("T", i)), Issued: now.Unix(), Expiry: now.Unix() + 3600})
	}
	r.Keep("R", &provider.TokenSet{Access: "A", Refresh: "R", Expiry: now.Unix() + 3600}, now.Add(time.Hour))
	if g, _, _ := r.Known("R"); g == nil {
		t.Error("a session over its budget has no access token any more")
	}
}

// A challenge that was refused says nothing about the wish for a plain token, nor
// about another challenge; one that names a later time only is the same.
func TestWishesAreToldApartByTheirClaims(t *testing.T) {
	t.Parallel()
	var r Renewals
	key := func(scopes, claims string) Key { return r.RequestKey(session.ID{1}, TokenRequest{scopes, claims}) }
	challenge := func(nbf string) string {
		return `{"access_token":{"nbf":{"essential":true,"value":"` + nbf + `"}}}`
	}
	acrs := `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	for _, pair := range [][2]Key{
		{key("a", ""), key("a", acrs)}, {key("a", acrs), key("a", challenge("1"))}, {key("a", ""), key("b", "")},
		{key("", acrs), key("a", acrs)}, {key("a", ""), r.RequestKey(session.ID{2}, TokenRequest{Scopes: "a"})},
	} {
		if pair[0] == pair[1] {
			t.Error("two wishes are taken for one")
		}
	}
	if key("a", challenge("1")) != key("a", challenge("2")) {
		t.Error("a challenge that names a later time is taken for another")
	}
}

// What becomes known of older tokens does not cover up what is known of newer
// ones.
func TestOlderNewsDoesNotReplaceNewer(t *testing.T) {
	t.Parallel()
	var refused, other Key
	refused[0], other[0] = 1, 2
	tests := []struct {
		name string
		news []PendingUpdate
		want PendingUpdate
	}{
		{"older", []PendingUpdate{{Of: 2, Claims: "new"}, {Of: 1, StepUp: true, Claims: "old", Deliver: true, Rejected: refused}}, PendingUpdate{Of: 2, Claims: "new"}},
		{"older, about a refusal", []PendingUpdate{{Of: 2, Deliver: true}, {Of: 1, Rejected: refused}}, PendingUpdate{Of: 2, Deliver: true}},
		{"newer", []PendingUpdate{{Of: 1, Claims: "old"}, {Of: 2, Claims: "new"}}, PendingUpdate{Of: 2, Claims: "new"}},
		{"newer, which adds", []PendingUpdate{{Of: 1, Claims: "old", Deliver: true, Rejected: refused}, {Of: 2, Rejected: other}}, PendingUpdate{Of: 2, Claims: "old", Deliver: true, Rejected: other}},
		{"of the same tokens", []PendingUpdate{{Of: 1, Rejected: refused}, {Of: 1, Claims: "more"}, {Of: 1, Deliver: true}}, PendingUpdate{Of: 1, Claims: "more", Deliver: true, Rejected: refused}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := New(Settings{Observer: &noted{}})
			for _, n := range test.news {
				r.Note(session.ID{}, n, time.Now().Add(time.Hour))
			}
			if got, _ := r.notices.Get(session.ID{}); got != test.want {
				t.Errorf("%+v is known, want %+v", got, test.want)
			}
		})
	}
}

// A cookie that has been written says what was known when it was begun.
func TestWhatANewCookieDoesNotSayStaysKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Settings{Observer: &noted{}})
		id, until := session.ID{1}, time.Now().Add(24*time.Hour)
		want := func(want PendingUpdate) {
			t.Helper()
			if got, _ := r.notices.Get(id); got != want {
				t.Errorf("%+v is known, want %+v", got, want)
			}
		}
		delivered := PendingUpdate{Of: 1, Deliver: true}
		r.Note(id, delivered, until)
		r.Note(id, PendingUpdate{Of: 1, Claims: "meanwhile", StepUp: true}, until)
		r.Settle(id, delivered)
		want(PendingUpdate{Of: 1, Claims: "meanwhile", StepUp: true, Deliver: true})
		r.Note(id, PendingUpdate{Of: 2, Deliver: true}, until)
		r.Settle(id, PendingUpdate{Of: 1, Claims: "meanwhile", StepUp: true, Deliver: true})
		want(PendingUpdate{Of: 2, Claims: "meanwhile", StepUp: true, Deliver: true})
		r.Settle(id, PendingUpdate{Of: 2, Claims: "meanwhile", StepUp: true, Deliver: true})
		want(PendingUpdate{})

		// Claims that single pages ask for are asked of the person for a while.
		claims := PendingUpdate{Of: 3, Claims: "acrs", Deliver: true}
		r.Note(id, claims, until)
		r.Settle(id, claims)
		want(PendingUpdate{Of: 3, Claims: "acrs"})
		time.Sleep(DemandRest - time.Second)
		want(PendingUpdate{Of: 3, Claims: "acrs"})
		time.Sleep(2 * time.Second)
		want(PendingUpdate{})
		r.Settle(id, claims) // once more, by a request that was slower
		want(PendingUpdate{})
	})
}

// noted is an observer that notes which stores fail.
type noted struct {
	Observer
	stores []string
}

func (n *noted) renewed(context.Context, string, string, bool, time.Duration) {}

func (n *noted) renewalFailed(context.Context, string, string, bool, time.Duration, *provider.Failure) {
}

func (n *noted) sessionEnded(context.Context, string, *provider.Failure) {}

func (n *noted) paused(context.Context, *provider.Failure) {}

func (n *noted) storeFailed(_ context.Context, what string, err error) {
	n.stores = append(n.stores, what+": "+err.Error())
}
