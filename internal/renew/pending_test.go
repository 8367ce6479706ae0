package renew

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/session"
)

// What becomes known of older tokens does not replace what is known of newer ones.
func TestAnUpdateAboutOlderTokensChangesNothing(t *testing.T) {
	t.Parallel()
	var refused, other Key
	refused[0], other[0] = 1, 2
	tests := []struct {
		name string
		list []PendingUpdate
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
			r := New(Settings{Observer: &recorder{}})
			for _, n := range test.list {
				r.Note(session.ID{}, n, time.Now().Add(time.Hour))
			}
			if got, _ := r.pending.bySession.Get(session.ID{}); got != test.want {
				t.Errorf("%+v is known, want %+v", got, test.want)
			}
		})
	}
}

// A cookie that has been written says what was known when it was begun.
func TestWhatANewCookieDoesNotSayStaysKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Settings{Observer: &recorder{}})
		id, until := session.ID{1}, time.Now().Add(24*time.Hour)
		want := func(want PendingUpdate) {
			t.Helper()
			if got, _ := r.pending.bySession.Get(id); got != want {
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
		time.Sleep(RequirementRest - time.Second)
		want(PendingUpdate{Of: 3, Claims: "acrs"})
		time.Sleep(2 * time.Second)
		want(PendingUpdate{})
		r.Settle(id, claims) // once more, by a request that was slower
		want(PendingUpdate{})
	})
}

// An answer that began before the newer tokens were delivered may arrive last, and
// put the old cookie back: the newer ones are delivered again then.
func TestRemindDeliversOnceMore(t *testing.T) {
	t.Parallel()
	delivered := PendingUpdate{Of: 1, Deliver: true}
	tests := []struct {
		name  string
		n     PendingUpdate
		fresh session.Record
		want  bool
	}{
		{"newer tokens were delivered", delivered, session.Record{Renewed: 2}, true},
		{"the same tokens", delivered, session.Record{Renewed: 1}, false},
		{"no delivery", PendingUpdate{Of: 1, StepUp: true}, session.Record{Renewed: 2}, false},
		{"claims are required", PendingUpdate{Of: 1, Deliver: true, Claims: "{}"}, session.Record{Renewed: 2}, false},
		{"no cookie has the tokens", delivered, session.Record{Renewed: 2, Stored: true}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := New(Settings{})
			r.Remind(test.n, &test.fresh, time.Now().Add(time.Hour))
			if n, ok := r.Pending(&session.Record{Renewed: 1}); ok != test.want || n.Deliver != test.want {
				t.Errorf("who comes with the old cookie has %+v, want a delivery: %t", n, test.want)
			}
			if _, ok := r.Pending(&test.fresh); ok && test.fresh.Renewed > 1 {
				t.Error("who comes with the new cookie is told too")
			}
		})
	}
}
