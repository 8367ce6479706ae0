package renew

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
)

// stored makes renewals over a store, and signs a person in as the app's user 7
// two hours ago.
func stored(t *testing.T, p *fakeProvider, store *memoryStore) (*Renewals, *recorder, Request) {
	t.Helper()
	r, told := fixture(p, func(s *Settings) { s.Vault = vaultOn(t, store, 1) })
	return r, told, renewal(connect(t, r, expired("ada", "R0"), "7"))
}

// Two processes with one store use one refresh token once: the lease tells the
// other one to wait, and then it finds the tokens in the entry.
func TestProcessesShareRenewalsThroughTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, store := &fakeProvider{reply: slow(3 * time.Second)}, &memoryStore{}
		one, _, want := stored(t, p, store)
		two, _ := fixture(p, func(s *Settings) { s.Vault = vaultOn(t, store, 1) })
		var wait sync.WaitGroup
		for n := range 20 {
			wait.Go(func() {
				r := []*Renewals{one, two}[n%2]
				if g, err := r.Renew(t.Context(), want); err != nil || g.Access != "A1" {
					t.Errorf("%+v, %v", g, err)
				}
			})
		}
		wait.Wait()
		if got := p.used(); !slices.Equal(got, []string{"R0"}) {
			t.Errorf("used %q", got)
		}
		e, err := one.Vault.Load(t.Context(), "7")
		if err != nil || e.Rec.Refresh != "R1" || !e.Lease.IsZero() {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// A session in the browser of such a user never has the refresh token.
func TestSessionsOfStoredUsersHaveNoRefreshToken(t *testing.T) {
	t.Parallel()
	r, _, want := stored(t, &fakeProvider{}, &memoryStore{})
	g, err := r.Renew(t.Context(), want)
	if err != nil || g.Identity == nil {
		t.Fatalf("%+v, %v", g, err)
	}
	if _, _, newest := r.Own(want.Rec); newest != "" || want.Rec.Refresh != "" || want.Rec.RenewedBy(g).Refresh != "" {
		t.Error("the session has a refresh token")
	}
}

// What the provider has refused is not tried again, in no process, until the
// person has signed in.
func TestARefusalIsStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, store := &fakeProvider{reply: refuse(400, "invalid_grant")}, &memoryStore{}
		one, told, want := stored(t, p, store)
		two, _ := fixture(p, func(s *Settings) { s.Vault = vaultOn(t, store, 1) })
		for _, r := range []*Renewals{one, two, one} {
			if _, err := r.Renew(t.Context(), want); classOf(err) != provider.SignIn {
				t.Error(err)
			}
		}
		if got := p.used(); len(got) != 1 {
			t.Errorf("%d requests, want 1", len(got))
		}
		if got := told.take(); !slices.Contains(got, "ended") {
			t.Errorf("told %q", got)
		}
		p.answer(nil)
		again := renewal(connect(t, one, expired("ada", "S0"), "7"))
		for _, r := range []*Renewals{one, two} {
			if g, err := r.Renew(t.Context(), again); err != nil || g.Access != "A2" {
				t.Errorf("after another sign-in: %+v, %v", g, err)
			}
		}
	})
}

// The provider is slow, and all requests that may be under way are: that is not the
// store's fault.
func TestWaitingInVainIsNotBlamedOnTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, told, want := stored(t, &fakeProvider{}, &memoryStore{})
		for range maxFlights {
			r.slots <- struct{}{}
		}
		began := time.Now()
		_, err := r.Renew(t.Context(), want)
		if classOf(err) != provider.Retry || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*leaseTime {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if got := told.take(); len(got) > 0 {
			t.Errorf("told %q", got)
		}
		if e, err := r.Vault.Load(t.Context(), "7"); err != nil || !e.Lease.IsZero() {
			t.Errorf("%v, and a lease is left until %v", err, e.Lease)
		}
	})
}

// What a refusal says is kept as long as the entry; if the store does not take it,
// it is remembered in this process.
func TestARefusalThatTheStoreDoesNotTake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, store := &fakeProvider{reply: refuse(400, "invalid_grant")}, &memoryStore{}
		r, told, want := stored(t, p, store)
		store.failing(savesFailAfter(1))
		for range 2 {
			if _, err := r.Renew(t.Context(), want); classOf(err) != provider.SignIn {
				t.Errorf("%v, want class %q", err, provider.SignIn)
			}
			time.Sleep(refusalGrace - time.Second)
		}
		if got := p.used(); len(got) != 1 {
			t.Errorf("%d requests, want 1", len(got))
		}
		if got := told.take(); !slices.Contains(got, "token store fails: the store fails") {
			t.Errorf("told %q", got)
		}
	})
}

// The person signs in again while the refusal of the old tokens is being saved,
// which fails: it says nothing of the new ones.
func TestARefusalThatIsLateSaysNothingOfNewTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, store := &fakeProvider{reply: refuse(400, "invalid_grant")}, &memoryStore{}
		r, _, want := stored(t, p, store)
		fails := savesFailAfter(1) // the lease is taken
		store.failing(func(call string) error {
			err := fails(call)
			if err != nil {
				r.ForgetStored(want.Rec.UserKey) // as a sign-in does
			}
			return err
		})
		if _, err := r.Renew(t.Context(), want); classOf(err) != provider.SignIn {
			t.Fatalf("%v, want class %q", err, provider.SignIn)
		}
		if _, refused, _ := r.Own(want.Rec); refused != nil {
			t.Errorf("the tokens of the new sign-in are refused: %v", refused)
		}
	})
}

// Where the provider requires more of the person, the entry says what.
func TestAStepUpIsStored(t *testing.T) {
	t.Parallel()
	claims := `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	r, _, want := stored(t, &fakeProvider{reply: func(int, url.Values) (int, string) {
		return 400, fmt.Sprintf(`{"error":"interaction_required","claims":%q}`, claims)
	}}, &memoryStore{})
	for range 2 {
		if _, err := r.Renew(t.Context(), want); classOf(err) != provider.StepUp {
			t.Error(err)
		}
	}
	e, err := r.Vault.Load(t.Context(), "7")
	if err != nil || !e.SignInRequired || e.RefusedBefore().Class != provider.StepUp || e.RefusedBefore().Claims != claims {
		t.Errorf("%+v, %v", e, err)
	}
}

// A step-up for other scopes is no matter of the entry: it is remembered in this
// process.
func TestAStepUpForOtherScopesIsRemembered(t *testing.T) {
	t.Parallel()
	p := &fakeProvider{reply: refuse(400, "interaction_required")}
	r, _, want := stored(t, p, &memoryStore{})
	for range 2 {
		if _, err := r.Renew(t.Context(), other(want.Rec, "api://x/read")); classOf(err) != provider.StepUp {
			t.Error(err)
		}
	}
	if got := p.used(); len(got) != 1 {
		t.Errorf("%d requests, want 1", len(got))
	}
	if e, err := r.Vault.Load(t.Context(), "7"); err != nil || e.SignInRequired {
		t.Errorf("%+v, %v", e, err)
	}
}

// Entries that no token request can help.
func TestEntriesThatCannotBeRenewed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(t *testing.T, r *Renewals, store *memoryStore)
		want error
	}{
		{"disconnected", func(t *testing.T, r *Renewals, _ *memoryStore) {
			if err := r.Vault.Delete(t.Context(), "7"); err != nil {
				t.Error(err)
			}
		}, ErrNoTokens},
		{"sealed with another key", func(t *testing.T, r *Renewals, store *memoryStore) {
			store.entries[r.Vault.Prefix+"7"] = StoredTokens{Version: 1, Account: r.Vault.Prefix + "x", Sealed: []byte("x")}
		}, ErrUnreadable},
		{"another account's by now", func(t *testing.T, r *Renewals, _ *memoryStore) {
			if _, _, err := r.KeepStored(t.Context(), expired("bob", "S0"), "7", true, false); err != nil {
				t.Error(err)
			}
		}, provider.ErrAnotherPerson},
		{"without refresh token", func(t *testing.T, r *Renewals, _ *memoryStore) { connect(t, r, expired("ada", ""), "7") }, ErrNoRefreshToken},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, store := &fakeProvider{}, &memoryStore{}
			r, _, want := stored(t, p, store)
			test.do(t, r, store)
			if _, err := r.Renew(t.Context(), want); classOf(err) != provider.SignIn || !errors.Is(err, test.want) || len(p.used()) > 0 {
				t.Errorf("%v, want %v; used %q", err, test.want, p.used())
			}
		})
	}
}

// Tokens for other scopes are not stored, but the refresh token that came with them
// is.
func TestTokensForOtherScopesOfStoredUsers(t *testing.T) {
	t.Parallel()
	p := &fakeProvider{}
	r, _, want := stored(t, p, &memoryStore{})
	if g, err := r.Renew(t.Context(), other(want.Rec, "api://x/read")); err != nil || g.Access != "A1" {
		t.Errorf("%v, %v", g, err)
	}
	if e, err := r.Vault.Load(t.Context(), "7"); err != nil || e.Rec.Access != "A" || e.Rec.Refresh != "R1" {
		t.Errorf("%+v, %v", e, err)
	}
}
