package renew

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/session"
)

// put saves a person's tokens as those of a user.
func put(t *testing.T, v *Vault, person, user string) {
	t.Helper()
	rec := expired(person, "R0")
	rec.UserKey, rec.Stored = user, true
	if _, err := v.keep(t.Context(), rec, false, false); err != nil {
		t.Fatal(err)
	}
}

// An entry opens for the user and the registration that it was sealed for, with a
// key that is still there.
func TestEntriesOpenOnlyForWhomTheyWereSealed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(t *testing.T, v *Vault, s *memoryStore) *Vault
		want error
	}{
		{"the same", func(_ *testing.T, v *Vault, _ *memoryStore) *Vault { return v }, nil},
		{"an old key", func(t *testing.T, _ *Vault, s *memoryStore) *Vault { return vaultOn(t, s, 9, 1) }, nil},
		{"another key", func(t *testing.T, _ *Vault, s *memoryStore) *Vault { return vaultOn(t, s, 9) }, ErrUnreadable},
		{"another user's", func(t *testing.T, v *Vault, s *memoryStore) *Vault {
			put(t, v, "bob", "8")
			s.entries[v.Prefix+"7"] = s.entries[v.Prefix+"8"]
			return v
		}, ErrUnreadable},
		{"another registration's", func(_ *testing.T, v *Vault, s *memoryStore) *Vault {
			w := *v
			w.Registration = session.Registration{2}
			w.Prefix = w.Registration.Prefix()
			e := s.entries[v.Prefix+"7"]
			e.Account = w.Prefix + strings.TrimPrefix(e.Account, v.Prefix)
			s.entries[w.Prefix+"7"] = e
			return &w
		}, ErrUnreadable},
		{"none", func(_ *testing.T, v *Vault, s *memoryStore) *Vault { clear(s.entries); return v }, ErrNoTokens},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &memoryStore{}
			v := vaultOn(t, s, 1)
			put(t, v, "ada", "7")
			e, err := test.do(t, v, s).Load(t.Context(), "7")
			if !errors.Is(err, test.want) || err == nil && (e.Rec.User.Subject != "ada" || e.Rec.Refresh != "R0" || strings.HasPrefix(e.Account, v.Prefix)) {
				t.Errorf("%+v, %v, want %v", e, err, test.want)
			}
		})
	}
}

// An entry from earlier versions is stored under the user alone. It stays where it
// is while it is renewed; Delete removes it and one with the prefix, but no other
// app's.
func TestEntriesFromEarlierVersions(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	v := vaultOn(t, s, 1)
	bare := *v
	bare.Prefix = ""
	put(t, &bare, "ada", "7")
	strange := vaultOn(t, s, 9)
	strange.Prefix = ""
	put(t, strange, "bob", "8")
	e, err := v.Load(t.Context(), "7")
	if err != nil || e.Rec.User.Subject != "ada" {
		t.Fatalf("%+v, %v", e, err)
	}
	if err := v.save(t.Context(), "7", e); err != nil {
		t.Fatal(err)
	}
	if got := s.places(); !slices.Equal(got, []string{"7", "8"}) {
		t.Errorf("stored under %q", got)
	}
	if _, err := v.Load(t.Context(), "8"); !errors.Is(err, ErrNoTokens) {
		t.Errorf("%v for what another app has stored", err)
	}
	s.entries[v.Prefix+"7"] = s.entries["7"]
	for _, user := range []string{"7", "8"} {
		if err := v.Delete(t.Context(), user); err != nil {
			t.Error(err)
		}
	}
	if got := s.places(); !slices.Equal(got, []string{"8"}) {
		t.Errorf("left are %q", got)
	}
	v.Serves = true // then the store finds them
	if _, err := v.Load(t.Context(), "8"); !errors.Is(err, ErrNoTokens) {
		t.Error(err)
	}
}

// The store does not say whether it has saved, or says that it has not because it
// has done so already: then it is asked.
func TestASaveThatIsInDoubt(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	v := vaultOn(t, doubtful{s}, 1)
	put(t, v, "ada", "7")
	if e, err := v.Load(t.Context(), "7"); err != nil || v.save(t.Context(), "7", e) != nil {
		t.Error(err)
	}
	e, err := v.Load(t.Context(), "7")
	if err != nil {
		t.Fatal(err)
	}
	put(t, vaultOn(t, s, 1), "ada", "7") // somebody else
	if err := v.save(t.Context(), "7", e); !errors.Is(err, ErrConflict) {
		t.Errorf("%v, want a conflict", err)
	}
}

// doubtful saves each entry twice, and says how the second time went.
type doubtful struct{ *memoryStore }

func (s doubtful) Save(ctx context.Context, place string, old int64, t StoredTokens) error {
	_ = s.memoryStore.Save(ctx, place, old, t)
	return s.memoryStore.Save(ctx, place, old, t)
}

// Resealing changes what an old key has sealed, and waits for a renewal.
func TestReseal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memoryStore{}
		put(t, vaultOn(t, s, 1), "ada", "7")
		v := vaultOn(t, s, 9, 1)
		e, err := v.Load(t.Context(), "7")
		if err != nil || v.lease(t.Context(), "7", e) != nil {
			t.Fatal(err)
		}
		// The lease was saved with the new key: put the old sealing back.
		leased := s.entries[v.Prefix+"7"]
		put(t, vaultOn(t, &memoryStore{}, 1), "ada", "7")
		old := &memoryStore{}
		put(t, vaultOn(t, old, 1), "ada", "7")
		leased.Sealed = old.entries[v.Prefix+"7"].Sealed
		s.entries[v.Prefix+"7"] = leased

		began := time.Now()
		if err := v.Reseal(t.Context(), "7"); err != nil || time.Since(began) < leaseTime {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := vaultOn(t, s, 9).Load(t.Context(), "7"); err != nil {
			t.Error(err)
		}
		version := s.entries[v.Prefix+"7"].Version
		if err := v.Reseal(t.Context(), "7"); err != nil || s.entries[v.Prefix+"7"].Version != version {
			t.Errorf("%v, or saved once more without need", err)
		}
		if err := v.Reseal(t.Context(), "8"); !errors.Is(err, ErrNoTokens) {
			t.Error(err)
		}
	})
}

func TestUserKeys(t *testing.T) {
	t.Parallel()
	for user, ok := range map[string]bool{
		"7": true, "": true, strings.Repeat("x", 255): true,
		strings.Repeat("x", 256): false, session.StoredPrefix + "7": false,
	} {
		err := CheckUserKey(user)
		if (err == nil) != ok || err != nil && (!errors.Is(err, ErrUserKey) || strings.Contains(err.Error(), user)) {
			t.Errorf("%q: %v", user, err)
		}
	}
}
