package msauth

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// However refresh tokens lead from one to the next, looking for the newest ends.
func TestChainsOfRefreshTokensHaveAnEnd(t *testing.T) {
	t.Parallel()
	now := time.Now()
	soon := now.Add(time.Hour)
	g := func(refresh string, issued int64) *grant {
		return &grant{access: "A", refresh: secret(refresh), issued: issued, expiry: now.Unix() + 3600, refreshAt: now.Unix() + 3000}
	}
	tests := []struct {
		name    string
		fill    func(*renewals)
		renewed int64
		newest  secret
	}{
		{"by a server whose clock is ahead", func(r *renewals) {
			r.moved.put(r.key("R0"), "R1", soon)
			r.granted.put(r.key("R1"), g("R2", now.Unix()), soon)
		}, now.Unix() + 3, "R2"},
		{"very long", func(r *renewals) {
			for i := range 2_000 {
				r.moved.put(r.key(secret(fmt.Sprint("R", i))), secret(fmt.Sprint("R", i+1)), soon)
			}
		}, now.Unix(), "R2000"},
		{"over budget, and used for another API", func(r *renewals) {
			r.kept.put(r.key("R0"), g("R0", now.Unix()), soon)
			r.moved.put(r.key("R0"), "R1", soon)
		}, now.Unix(), "R1"},
		{"renewed, then over budget", func(r *renewals) {
			r.granted.put(r.key("R0"), g("R1", now.Unix()), soon)
			r.kept.put(r.key("R1"), g("R1", now.Unix()), soon)
			r.moved.put(r.key("R1"), "R2", soon)
		}, now.Unix() - 60, "R2"},
		{"in a circle", func(r *renewals) {
			r.moved.put(r.key("R0"), "R1", soon)
			r.moved.put(r.key("R1"), "R0", soon)
		}, now.Unix(), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRenewals(renewalSettings{observer: &noted{}})
			test.fill(r)
			rec := &record{layout: &layout{}, refresh: "R0", access: "A", renewed: test.renewed, expiry: now.Unix() + 3600, refreshAt: now.Unix() + 3000}
			own, _, newest := r.ownOf(rec)
			if test.newest != "" && (newest != test.newest || own.refresh != newest) {
				t.Errorf("leads to %q, the grant to %q, want %q", string(newest), string(own.refresh), string(test.newest))
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			looked := 0
			_, err := r.renew(ctx, renewal{rec: rec, wish: wish{claims: "{}"}, due: func(*grant) bool { looked++; return true }})
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
	r, now := newRenewals(renewalSettings{observer: &noted{}}), time.Now()
	for i := range maxOutcomes {
		rec := &record{layout: &layout{}, refresh: secret(fmt.Sprint("S", i)), access: "A", renewed: now.Unix()}
		r.grantOther(renewal{wish: wish{scopes: "api://x/y"}, keepUntil: now.Add(24 * time.Hour)}, rec, rec.refresh,
			&grant{access: "X", refresh: secret(fmt.Sprint("T", i)), issued: now.Unix(), expiry: now.Unix() + 3600})
	}
	r.keep("R", &grant{access: "A", refresh: "R", expiry: now.Unix() + 3600}, now.Add(time.Hour))
	if g, _, _ := r.known("R"); g == nil {
		t.Error("a session over its budget has no access token any more")
	}
}

// A challenge that was refused says nothing about the wish for a plain token, nor
// about another challenge; one that names a later time only is the same.
func TestWishesAreToldApartByTheirClaims(t *testing.T) {
	t.Parallel()
	var r renewals
	key := func(scopes, claims string) tokenKey { return r.wishKey(sessionID{1}, wish{scopes, claims}) }
	challenge := func(nbf string) string {
		return `{"access_token":{"nbf":{"essential":true,"value":"` + nbf + `"}}}`
	}
	acrs := `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	for _, pair := range [][2]tokenKey{
		{key("a", ""), key("a", acrs)}, {key("a", acrs), key("a", challenge("1"))}, {key("a", ""), key("b", "")},
		{key("", acrs), key("a", acrs)}, {key("a", ""), r.wishKey(sessionID{2}, wish{scopes: "a"})},
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
	var refused, other tokenKey
	refused[0], other[0] = 1, 2
	tests := []struct {
		name string
		news []notice
		want notice
	}{
		{"older", []notice{{of: 2, claims: "new"}, {of: 1, stepUp: true, claims: "old", deliver: true, rejected: refused}}, notice{of: 2, claims: "new"}},
		{"older, about a refusal", []notice{{of: 2, deliver: true}, {of: 1, rejected: refused}}, notice{of: 2, deliver: true}},
		{"newer", []notice{{of: 1, claims: "old"}, {of: 2, claims: "new"}}, notice{of: 2, claims: "new"}},
		{"newer, which adds", []notice{{of: 1, claims: "old", deliver: true, rejected: refused}, {of: 2, rejected: other}}, notice{of: 2, claims: "old", deliver: true, rejected: other}},
		{"of the same tokens", []notice{{of: 1, rejected: refused}, {of: 1, claims: "more"}, {of: 1, deliver: true}}, notice{of: 1, claims: "more", deliver: true, rejected: refused}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRenewals(renewalSettings{observer: &noted{}})
			for _, n := range test.news {
				r.note(sessionID{}, n, time.Now().Add(time.Hour))
			}
			if got, _ := r.notices.get(sessionID{}); got != test.want {
				t.Errorf("%+v is known, want %+v", got, test.want)
			}
		})
	}
}

// A cookie that has been written says what was known when it was begun.
func TestWhatANewCookieDoesNotSayStaysKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRenewals(renewalSettings{observer: &noted{}})
		id, until := sessionID{1}, time.Now().Add(24*time.Hour)
		want := func(want notice) {
			t.Helper()
			if got, _ := r.notices.get(id); got != want {
				t.Errorf("%+v is known, want %+v", got, want)
			}
		}
		delivered := notice{of: 1, deliver: true}
		r.note(id, delivered, until)
		r.note(id, notice{of: 1, claims: "meanwhile", stepUp: true}, until)
		r.settle(id, delivered)
		want(notice{of: 1, claims: "meanwhile", stepUp: true, deliver: true})
		r.note(id, notice{of: 2, deliver: true}, until)
		r.settle(id, notice{of: 1, claims: "meanwhile", stepUp: true, deliver: true})
		want(notice{of: 2, claims: "meanwhile", stepUp: true, deliver: true})
		r.settle(id, notice{of: 2, claims: "meanwhile", stepUp: true, deliver: true})
		want(notice{})

		// Claims that single pages ask for are asked of the person for a while.
		claims := notice{of: 3, claims: "acrs", deliver: true}
		r.note(id, claims, until)
		r.settle(id, claims)
		want(notice{of: 3, claims: "acrs"})
		time.Sleep(demandRest - time.Second)
		want(notice{of: 3, claims: "acrs"})
		time.Sleep(2 * time.Second)
		want(notice{})
		r.settle(id, claims) // once more, by a request that was slower
		want(notice{})
	})
}

// noted is an observer that notes which stores fail.
type noted struct {
	observer
	stores []string
}

func (n *noted) renewed(context.Context, string, string, bool, time.Duration)                 {}
func (n *noted) renewalFailed(context.Context, string, string, bool, time.Duration, *Failure) {}
func (n *noted) sessionEnded(context.Context, string, *Failure)                               {}
func (n *noted) paused(context.Context, *Failure)                                             {}
func (n *noted) storeFailed(_ context.Context, what string, err error) {
	n.stores = append(n.stores, what+": "+err.Error())
}
