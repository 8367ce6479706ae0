package msauth_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"example.com/msauth"
)

// One Config.Tokens for two apps, with the same users and accounts.
func TestTwoRegistrationsInOneTokenStore(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		ctx := context.Background()
		cfg := s.cfg
		cfg.BaseURL = s.URL + "/second"
		second, err := msauth.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.mux.Handle("/second/", second)
		if _, err := second.Offline(ctx, "7"); !errors.Is(err, msauth.ErrNoTokens) {
			t.Errorf("of the other app: %v", err)
		}
		if err := second.Disconnect(ctx, "7"); err != nil {
			t.Error(err)
		}
		wantToken(t, s.offline(t, "7"))
		b.get("/second/login?return_to=/public/")
		for _, auth := range []*msauth.Middleware{s.auth, second} {
			if e := kept.entries[auth.StoredUser("7")]; e.Version == 0 || e.Account != auth.StoredAccount(s.offline(t, "7").User.Key()) {
				t.Errorf("entry %q: %+v", auth.StoredUser("7"), e.Account)
			}
		}
		for range 3 {
			time.Sleep(2 * time.Hour)
			for _, auth := range []*msauth.Middleware{s.auth, second} {
				session, err := auth.Offline(ctx, "7")
				if err != nil {
					t.Fatal(err)
				}
				wantToken(t, session)
			}
		}
		if err := s.auth.Disconnect(ctx, "7"); err != nil {
			t.Error(err)
		}
		if _, err := second.Offline(ctx, "7"); err != nil {
			t.Errorf("disconnected at the first, at the second: %v", err)
		}
	})
}

// An entry that is stored under the bare user, as versions before did.
func TestAnEntryOfBeforeIsUsedByTheRegistrationThatOpensIt(t *testing.T) {
	t.Parallel()
	for _, last := range []string{"disconnect", "sign in"} {
		away(t, func(s *site, kept *tokens, b *browser) {
			ctx := context.Background()
			stored := s.auth.StoredUser("7")
			old := kept.entries[stored]
			old.Account = s.offline(t, "7").User.Key()
			delete(kept.entries, stored)
			kept.entries["7"] = old
			cfg := s.cfg
			cfg.BaseURL = s.URL + "/second"
			second, err := msauth.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := second.Offline(ctx, "7"); !errors.Is(err, msauth.ErrNoTokens) {
				t.Errorf("of the other app: %v", err)
			}
			if err := second.Disconnect(ctx, "7"); err != nil || len(kept.entries) != 1 {
				t.Errorf("%v, %d entries", err, len(kept.entries))
			}
			for range 3 {
				time.Sleep(2 * time.Hour)
				wantToken(t, s.offline(t, "7"))
			}
			if len(kept.entries) != 1 {
				t.Errorf("%d entries", len(kept.entries))
			}
			if last == "sign in" {
				b.get("/auth/login?return_to=/")
				wantToken(t, s.offline(t, "7"))
			}
			if err := s.auth.Disconnect(ctx, "7"); err != nil || len(kept.entries) != 0 {
				t.Errorf("%v, %d entries", err, len(kept.entries))
			}
		})
	}
}
