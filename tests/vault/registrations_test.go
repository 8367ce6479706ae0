package vault_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// One Config.Tokens for two apps, with the same users and accounts.
func TestTwoRegistrationsInOneTokenStore(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		ctx := context.Background()
		cfg := s.Cfg
		cfg.BaseURL = s.URL + "/second"
		second, err := msauth.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.Mux.Handle("/second/", second)
		if _, err := second.Offline(ctx, "7"); !errors.Is(err, msauth.ErrNoTokens) {
			t.Errorf("of the other app: %v", err)
		}
		if err := second.Disconnect(ctx, "7"); err != nil {
			t.Error(err)
		}
		wantToken(t, offline(s, t, "7"))
		b.Get("/second/login?return_to=/public/")
		for _, auth := range []*msauth.Middleware{s.Auth, second} {
			if e := kept.Entries[auth.StoredUser("7")]; e.Version == 0 || e.Account != auth.StoredAccount(offline(s, t, "7").User.Key()) {
				t.Errorf("entry %q: %+v", auth.StoredUser("7"), e.Account)
			}
		}
		for range 3 {
			time.Sleep(2 * time.Hour)
			for _, auth := range []*msauth.Middleware{s.Auth, second} {
				session, err := auth.Offline(ctx, "7")
				if err != nil {
					t.Fatal(err)
				}
				wantToken(t, session)
			}
		}
		if err := s.Auth.Disconnect(ctx, "7"); err != nil {
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
		away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
			ctx := context.Background()
			stored := s.Auth.StoredUser("7")
			old := kept.Entries[stored]
			old.Account = offline(s, t, "7").User.Key()
			delete(kept.Entries, stored)
			kept.Entries["7"] = old
			cfg := s.Cfg
			cfg.BaseURL = s.URL + "/second"
			second, err := msauth.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := second.Offline(ctx, "7"); !errors.Is(err, msauth.ErrNoTokens) {
				t.Errorf("of the other app: %v", err)
			}
			if err := second.Disconnect(ctx, "7"); err != nil || len(kept.Entries) != 1 {
				t.Errorf("%v, %d entries", err, len(kept.Entries))
			}
			for range 3 {
				time.Sleep(2 * time.Hour)
				wantToken(t, offline(s, t, "7"))
			}
			if len(kept.Entries) != 1 {
				t.Errorf("%d entries", len(kept.Entries))
			}
			if last == "sign in" {
				b.Get("/auth/login?return_to=/")
				wantToken(t, offline(s, t, "7"))
			}
			if err := s.Auth.Disconnect(ctx, "7"); err != nil || len(kept.Entries) != 0 {
				t.Errorf("%v, %d entries", err, len(kept.Entries))
			}
		})
	}
}

// Everybody can work out the prefix of stored names: a user of an app who calls
// themselves by such a name is nobody else.
func TestUserKeysThatAreNamesOfTheStoreAreRefused(t *testing.T) {
	t.Parallel()
	key := "zoe"
	s, kept := testsite.Account(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error { in.UserKey = key; return nil }
	})
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.Keep("app", "zoe")
	b.Connect()
	before := kept.Entry("zoe")
	if before.Version == 0 {
		t.Fatalf("nothing kept; log:\n%s", s.Log)
	}
	for _, name := range []string{s.Auth.StoredUser("zoe"), "msauth:", "msauth:x"} {
		_, err := s.Auth.Offline(t.Context(), name)
		for method, err := range map[string]error{
			"Offline": err, "Disconnect": s.Auth.Disconnect(t.Context(), name), "Reseal": s.Auth.Reseal(t.Context(), name),
		} {
			if err == nil || !strings.Contains(err.Error(), `begins with "msauth:"`) {
				t.Errorf("%s(%q): %v", method, name, err)
			}
		}
		key = name // which the hook makes of a name that the person chose
		s.As(msauthtest.Bruno)
		s.WantPage(t, b.Connect(), http.StatusInternalServerError, "app-error", `begins with \"msauth:\"`)
		b.Keep("app", name)
		s.WantPage(t, b.Connect(), http.StatusInternalServerError, "app-error", `begins with \"msauth:\"`)
		b.Keep("app", "zoe")
	}
	if now := kept.Entry("zoe"); len(kept.Users()) != 1 || now.Version != before.Version || now.Account != before.Account {
		t.Errorf("kept for %q, of %q, was of %q", kept.Users(), now.Account, before.Account)
	}
}

// A store that finds the entries of earlier versions by itself is not asked to
// delete what it has just said is not there: that may be another app's.
func TestDisconnectDeletesOnlyWhatWasFound(t *testing.T) {
	t.Parallel()
	kept := &serving{Tokens: testsite.NewTokens()}
	s := testsite.New(t, func(c *msauth.Config) { c.Tokens = kept })
	if err := s.Auth.Disconnect(t.Context(), "7"); err != nil || kept.deletes != 0 {
		t.Errorf("%v, %d deletes of an entry that is not there", err, kept.deletes)
	}
}

type serving struct {
	*testsite.Tokens
	deletes int
}

func (s *serving) Serve(string) {}

func (s *serving) Delete(ctx context.Context, user string) error {
	s.deletes++
	return s.Tokens.Delete(ctx, user)
}
