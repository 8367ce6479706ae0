package msauth_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
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

// Everybody can work out the prefix of stored names: a user of an app who calls
// themselves by such a name is nobody else.
func TestUserKeysThatAreNamesOfTheStoreAreRefused(t *testing.T) {
	t.Parallel()
	key := "zoe"
	s, kept := account(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error { in.UserKey = key; return nil }
	})
	s.as(msauthtest.Ada)
	b := s.browser(t)
	b.keep("app", "zoe")
	b.connect()
	before := kept.entry("zoe")
	if before.Version == 0 {
		t.Fatalf("nothing kept; log:\n%s", s.log)
	}
	for _, name := range []string{s.auth.StoredUser("zoe"), "msauth:", "msauth:x"} {
		_, err := s.auth.Offline(t.Context(), name)
		for method, err := range map[string]error{
			"Offline": err, "Disconnect": s.auth.Disconnect(t.Context(), name), "Reseal": s.auth.Reseal(t.Context(), name),
		} {
			if err == nil || !strings.Contains(err.Error(), `begins with "msauth:"`) {
				t.Errorf("%s(%q): %v", method, name, err)
			}
		}
		key = name // which the hook makes of a name that the person chose
		s.as(msauthtest.Bruno)
		s.wantPage(t, b.connect(), http.StatusInternalServerError, "app-error", `begins with \"msauth:\"`)
		b.keep("app", name)
		s.wantPage(t, b.connect(), http.StatusInternalServerError, "app-error", `begins with \"msauth:\"`)
		b.keep("app", "zoe")
	}
	if now := kept.entry("zoe"); len(kept.users()) != 1 || now.Version != before.Version || now.Account != before.Account {
		t.Errorf("kept for %q, of %q, was of %q", kept.users(), now.Account, before.Account)
	}
}

// A store that finds the entries of earlier versions by itself is not asked to
// delete what it has just said is not there: that may be another app's.
func TestDisconnectDeletesOnlyWhatWasFound(t *testing.T) {
	t.Parallel()
	kept := &serving{tokens: newTokens()}
	s := newSite(t, func(c *msauth.Config) { c.Tokens = kept })
	if err := s.auth.Disconnect(t.Context(), "7"); err != nil || kept.deletes != 0 {
		t.Errorf("%v, %d deletes of an entry that is not there", err, kept.deletes)
	}
}

type serving struct {
	*tokens
	deletes int
}

func (s *serving) Serve(string) {}

func (s *serving) Delete(ctx context.Context, user string) error {
	s.deletes++
	return s.tokens.Delete(ctx, user)
}
