package renew

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
)

// A challenge that was refused says nothing about the request for a plain token,
// nor about another challenge; one that only names a later time is the same.
func TestTokenRequestsAreToldApartByTheirClaims(t *testing.T) {
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
			t.Error("two token requests are taken for one")
		}
	}
	if key("a", challenge("1")) != key("a", challenge("2")) {
		t.Error("a challenge that names a later time is taken for another")
	}
}

// other asks for a token of another API.
func other(rec *session.Record, scopes string) Request {
	want := renewal(rec)
	want.Wanted, want.Reason = TokenRequest{Scopes: scopes}, "other scopes"
	return want
}

// A token for another API is kept until it expires, and for one session.
func TestTokensForOtherScopesAreKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &fakeProvider{}
		r, told := fixture(p, nil)
		rec, w := expired("ada", "R0"), TokenRequest{Scopes: "api://x/read"}
		g, err := r.Renew(t.Context(), other(rec, w.Scopes))
		if err != nil || g.Access != "A1" || g.Scopes != w.Scopes {
			t.Fatalf("%+v, %v", g, err)
		}
		if got := told.take(); !slices.Equal(got, []string{"mended: tokens of an API refused api://x/read", "renewed other scopes true"}) {
			t.Errorf("told %q", got)
		}
		if got := r.Other(rec.ID, w); got == nil || got.Access != "A1" {
			t.Errorf("%v is kept, want A1", got)
		}
		if got := r.Latest(rec, w); got == nil || got.Access != "A1" {
			t.Errorf("the latest is %v, want A1", got)
		}
		if r.Other(expired("bob", "R0").ID, w) != nil {
			t.Error("another session has the token")
		}
		// The refresh token was used up: the session's own tokens go on with the
		// new one, and a cookie must take it to the browser.
		if own, _, newest := r.Own(rec); own.Access != "A" || newest != "R1" {
			t.Errorf("own tokens %q, refresh token %q, want A and R1", string(own.Access), string(newest))
		}
		if n, ok := r.Pending(rec); !ok || !n.Deliver {
			t.Error("the new refresh token is not delivered")
		}
		time.Sleep(time.Hour)
		if r.Other(rec.ID, w) != nil {
			t.Error("an expired token is kept")
		}
	})
}

// A handler can ask for scopes that do not exist: that harms nothing but the same
// request.
func TestRefusedOtherScopesLeaveTheSessionAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &fakeProvider{reply: refuse(400, "invalid_scope")}
		r, told := fixture(p, nil)
		rec := expired("ada", "R0")
		for range 2 {
			if _, err := r.Renew(t.Context(), other(rec, "api://x/nonsense")); classOf(err) != provider.Misconfigured {
				t.Errorf("%v, want class %q", err, provider.Misconfigured)
			}
		}
		if got := p.used(); len(got) != 1 {
			t.Errorf("%d requests, want 1: the refusal is remembered", len(got))
		}
		if got := told.take(); !slices.Equal(got, []string{"weak: tokens of an API refused api://x/nonsense", "failed other scopes true: app misconfigured"}) {
			t.Errorf("told %q", got)
		}
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
		p.answer(nil)
		if g, err := r.Renew(t.Context(), renewal(rec)); err != nil || g.Access != "A2" {
			t.Errorf("the session's own renewal: %v, %v", g, err)
		}
	})
}

// Whoever puts a challenge down is told of it until its time is over.
func TestChallengedIsByScopesAndSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Settings{})
		rec, w := expired("ada", "R0"), TokenRequest{Scopes: "api://x/read"}
		r.Challenges.Put(r.RequestKey(rec.ID, w), struct{}{}, time.Now().Add(time.Minute))
		w.Claims = `{"access_token":{}}`
		if !r.Challenged(rec, w) || r.Challenged(rec, TokenRequest{}) || r.Challenged(expired("bob", "R0"), w) {
			t.Error("a challenge is not known of, or taken for another")
		}
		time.Sleep(time.Minute)
		if r.Challenged(rec, w) {
			t.Error("a challenge is known of after its time")
		}
	})
}
