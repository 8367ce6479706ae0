package renew

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
)

// The provider has given a refresh token, the store does not take it: it is saved
// later, and not lost. The old one is not used again meanwhile.
func TestWhatTheStoreDoesNotTakeIsSavedLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, store := &fakeProvider{}, &memoryStore{}
		r, told, want := stored(t, p, store)
		store.failing(savesFailAfter(1)) // the lease is taken
		if _, err := r.Renew(t.Context(), want); classOf(err) != provider.Retry || !errors.Is(err, errStore) {
			t.Errorf("%v, want that the store fails", err)
		}
		if got := told.take(); !slices.Contains(got, "token store fails: the store fails") || !slices.Contains(got, "weak: token store fails") {
			t.Errorf("told %q", got)
		}
		time.Sleep(time.Hour)
		if _, err := r.Renew(t.Context(), want); classOf(err) != provider.Retry {
			t.Errorf("%v, want that the store fails", err)
		}
		store.failing(nil)
		time.Sleep(2*longestRetry + time.Second)
		if e, err := r.Vault.Load(t.Context(), "7"); err != nil || e.Rec.Refresh != "R1" {
			t.Errorf("%v, %v", e, err)
		}
		if g, err := r.Renew(t.Context(), want); err != nil || g.Access == "A" {
			t.Errorf("%v, %v", g, err)
		}
		if got := p.used(); got[0] != "R0" || slices.Contains(got[1:], "R0") {
			t.Errorf("used %q", got)
		}
	})
}

// What was not saved yet gives way to another sign-in, and to a disconnection.
func TestLateTokensGiveWay(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(*testing.T, *Renewals){
		"to another sign-in": func(t *testing.T, r *Renewals) { connect(t, r, expired("ada", "S0"), "7") },
		"to a sign-in in another process": func(t *testing.T, r *Renewals) {
			two, _ := fixture(&fakeProvider{}, func(s *Settings) { s.Vault = r.Vault })
			connect(t, two, expired("ada", "S0"), "7")
		},
		"to a disconnection": func(t *testing.T, r *Renewals) {
			if err := r.Vault.Delete(t.Context(), "7"); err != nil {
				t.Error(err)
			}
			r.ForgetStored("7")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := &memoryStore{}
				r, _, want := stored(t, &fakeProvider{}, store)
				store.failing(savesFailAfter(1)) // the lease is taken
				_, _ = r.Renew(t.Context(), want)
				store.failing(nil)
				do(t, r)
				time.Sleep(longestRetry)
				if own, _, _ := r.Own(want.Rec); own.Access != "A" {
					t.Errorf("the tokens %q are remembered", string(own.Access))
				}
				if e, err := r.Vault.Load(t.Context(), "7"); err == nil && e.Rec.Refresh != "S0" || err != nil && !errors.Is(err, ErrNoTokens) {
					t.Errorf("%v, %v", e, err)
				}
				if n := r.stored.unsaved.Len(); n != 0 {
					t.Errorf("%d entries are still to be saved", n)
				}
			})
		})
	}
}
