package renew

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
)

// Who may be connected as whom, and what undo leaves.
func TestWhoseTokensReplaceWhose(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name           string
		before         string // whose tokens user 7 has
		person         string // who comes
		replace, share bool
		want           error
		undone         string // whose tokens user 7 has after undo
	}{
		{"nobody's", "", "ada", false, false, nil, ""},
		{"one's own", "ada", "ada", false, false, nil, "ada"},
		{"another account's", "ada", "bob", false, false, ErrOtherAccount, "ada"},
		{"another account's, which is meant", "ada", "bob", true, false, nil, "ada"},
		{"with an account that another user has", "", "eve", false, false, ErrAccountTaken, ""},
		{"with a shared account", "", "eve", false, true, nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r, _ := fixture(&fakeProvider{}, func(s *Settings) { s.Vault = vaultOn(t, &memoryStore{}, 1) })
			connect(t, r, expired("eve", "E0"), "8")
			if test.before != "" {
				connect(t, r, expired(test.before, "R0"), "7")
			}
			whose := func() string {
				e, err := r.Vault.Load(t.Context(), "7")
				if errors.Is(err, ErrNoTokens) {
					return ""
				}
				if err != nil {
					t.Fatal(err)
				}
				return e.Rec.User.Subject
			}
			_, undo, err := r.KeepStored(t.Context(), expired(test.person, "S0"), "7", test.replace, test.share)
			if !errors.Is(err, test.want) {
				t.Fatalf("%v, want %v", err, test.want)
			}
			if err == nil {
				if got := whose(); got != test.person {
					t.Errorf("user 7 has the tokens of %q, want %q", got, test.person)
				}
				if err := undo(); err != nil {
					t.Error(err)
				}
			}
			if got := whose(); got != test.undone {
				t.Errorf("user 7 has the tokens of %q, want %q", got, test.undone)
			}
		})
	}
}

// The refresh token is handed over: nobody else may use it, not even with what
// they hold of the session.
func TestTokensThatAreHandedOverAreNotUsedByTheSession(t *testing.T) {
	t.Parallel()
	p := &fakeProvider{}
	r, _ := fixture(p, func(s *Settings) { s.Vault = vaultOn(t, &memoryStore{}, 1) })
	rec := expired("ada", "R0")
	browser, _, err := r.KeepStored(t.Context(), rec, "7", false, false)
	if err != nil || browser.Refresh != "" || browser.UserKey != "7" || browser.Stored || browser.ID != rec.ID {
		t.Fatalf("%+v, %v", browser, err)
	}
	if _, err := r.Renew(t.Context(), renewal(rec)); classOf(err) != provider.Retry || !errors.Is(err, errHandedOver) || len(p.used()) > 0 {
		t.Errorf("%v, used %q", err, p.used())
	}
	if g, err := r.Renew(t.Context(), renewal(browser)); err != nil || g.Access != "A1" {
		t.Errorf("%v, %v", g, err)
	}
}

// undo may put tokens back that somebody is renewing: a sign-in waits for that, not
// for ever.
func TestASignInWaitsForTheRenewalOfWhatItReplaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := fixture(&fakeProvider{}, func(s *Settings) { s.Vault = vaultOn(t, &memoryStore{}, 1) })
		connect(t, r, expired("ada", "R0"), "7")
		e, err := r.Vault.Load(t.Context(), "7")
		if err != nil || r.Vault.lease(t.Context(), "7", e) != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, _, err := r.KeepStored(t.Context(), expired("bob", "S0"), "7", true, false); err == nil || time.Since(began) != replaceWait {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.AfterFunc(time.Second, func() {
			e.Lease = time.Time{}
			if err := r.Vault.save(t.Context(), "7", e); err != nil {
				t.Error(err)
			}
		})
		began = time.Now()
		if _, _, err := r.KeepStored(t.Context(), expired("bob", "S0"), "7", true, false); err != nil || time.Since(began) < time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		connectAgain := time.Now()
		if e, err = r.Vault.Load(t.Context(), "7"); err != nil || r.Vault.lease(t.Context(), "7", e) != nil {
			t.Fatal(err)
		}
		connect(t, r, expired("bob", "T0"), "7") // the same account's is replaced at once
		if time.Since(connectAgain) > 0 {
			t.Error("waited for a renewal of the same account")
		}
	})
}

// A sign-in that brought no refresh token is kept all the same.
func TestKeepStoredWithoutRefreshToken(t *testing.T) {
	t.Parallel()
	r, _ := fixture(&fakeProvider{}, func(s *Settings) { s.Vault = vaultOn(t, &memoryStore{}, 1) })
	connect(t, r, expired("ada", ""), "7")
	if e, err := r.Vault.Load(t.Context(), "7"); err != nil || e.Rec.Access != "A" {
		t.Errorf("%+v, %v", e, err)
	}
}
