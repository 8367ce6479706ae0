package vault_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// appUser is who is signed in to an app with users of its own, in these tests.
func appUser(r *http.Request) string {
	if c, err := r.Cookie("app"); err == nil {
		return c.Value
	}
	return ""
}

func TestLiveSDKConnectsAndDisconnectsAnAccount(t *testing.T) {
	t.Parallel()
	s, kept := live(t, func(c *msauth.Config) {
		store := c.Tokens.(*memory)
		c.User, c.OnSignIn = appUser, link(store.UserOf)
	})
	connecting(s.Mux, s.Auth, appUser)
	s.As(msauthtest.Mia)
	b := s.Browser(t)
	b.Keep("app", "zoe")
	settings := func(b *testsite.Browser, want string) {
		t.Helper()
		if got := b.Get("/settings").Text; got != "<p>Microsoft account: "+want {
			t.Errorf("settings %q, want %q", got, want)
		}
	}
	settings(b, "not connected")
	nobody := s.Browser(t)
	for _, res := range []testsite.Seen{nobody.Get("/settings"), nobody.Request(http.MethodPost, "/disconnect", "Sec-Fetch-Site", "same-origin")} {
		if res.StatusCode != http.StatusForbidden || res.Text != "Sign in to this site first.\n" {
			t.Errorf("nobody is signed in: status %d, %q", res.StatusCode, res.Text)
		}
	}
	if res := s.Browser(t).Get("/files"); res.StatusCode != http.StatusForbidden {
		t.Errorf("not connected: status %d", res.StatusCode)
	}
	if res := b.Connect(); res.Request.URL.Path != "/settings" {
		t.Fatalf("page %.200q at %s; log:\n%s", res.Text, res.Request.URL, s.Log)
	}
	settings(b, msauthtest.Mia)

	// Another browser: the account signs in, as the same user.
	other := s.Browser(t)
	if res := other.Get("/files"); !strings.HasPrefix(res.Text, mias) || len(kept.entries) != 1 {
		t.Errorf("signing in with it: page %.200q, %d entries", res.Text, len(kept.entries))
	}
	s.MS.Revoke(msauthtest.Mia)
	e := kept.entries[s.Auth.StoredUser("zoe")]
	e.SignInRequired = true // as when a worker comes
	kept.entries[s.Auth.StoredUser("zoe")] = e
	settings(b, "connect it again")
	b.Connect()
	settings(b, msauthtest.Mia)

	if res := b.Request(http.MethodPost, "/disconnect", "Sec-Fetch-Site", "cross-site"); res.StatusCode != http.StatusForbidden {
		t.Errorf("for another site: status %d", res.StatusCode)
	}
	settings(b, msauthtest.Mia)
	b.Request(http.MethodPost, "/disconnect", "Sec-Fetch-Site", "same-origin")
	settings(b, "not connected")
}

// A plain sign-in does not take the account away from those who connect it.
func TestLiveSDKAccountThatSignedInCanBeConnected(t *testing.T) {
	t.Parallel()
	s, kept := live(t, func(c *msauth.Config) { c.User = appUser })
	connecting(s.Mux, s.Auth, appUser)
	s.As(msauthtest.Mia)
	b := s.Browser(t)
	b.Keep("app", "zoe")
	b.Get("/files")
	if b.Connect(); len(kept.entries) != 1 || kept.entries[s.Auth.StoredUser("zoe")].Account == "" {
		t.Errorf("%d entries", len(kept.entries))
	}
}

// The Live SDK compared the stored user with the current one, and both with the
// one whom a new token was for.
func TestLiveSDKComparesThreeUsers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, kept := live(t, func(c *msauth.Config) { c.Tenant, c.User = "", appUser })
		connecting(s.Mux, s.Auth, appUser)
		s.As(msauthtest.Mia)
		b := s.Browser(t)
		b.Keep("app", "zoe")
		b.Connect()

		// The current user has connected another account.
		s.As(msauthtest.Ada)
		s.WantPage(t, b.Connect(), http.StatusForbidden, "account-taken", "connected to another Microsoft account")
		// The account is another user's.
		s.As(msauthtest.Mia)
		other := s.Browser(t)
		other.Keep("app", "yan")
		s.WantPage(t, other.Connect(), http.StatusForbidden, "account-taken", "connected to another user")
		// What is stored is moved to another user.
		kept.entries[s.Auth.StoredUser("yan")] = kept.entries[s.Auth.StoredUser("zoe")]
		if _, err := s.Auth.Offline(context.Background(), "yan"); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Errorf("moved: %v", err)
		}
		delete(kept.entries, s.Auth.StoredUser("yan"))
		// The new token is another person's.
		s.MS.Set(func(b *msauthtest.Behavior) { b.RefreshAs = msauthtest.Ada })
		time.Sleep(2 * time.Hour)
		if token, err := offline(s, t, "zoe").Token(context.Background()); token != nil || !errors.Is(err, msauth.ErrSignInRequired) {
			t.Errorf("another person's: %v", err)
		}
		if !kept.entries[s.Auth.StoredUser("zoe")].SignInRequired {
			t.Error("the entry does not say so")
		}
	})
}

// A session goes on with the tokens of its own account only.
func TestLiveSDKSessionOfAnAccountThatWasReplacedEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := live(t, func(c *msauth.Config) {
			c.Tenant = ""
			c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
				in.UserKey, in.ReplaceAccount = "zoe", true
				return nil
			}
		})
		s.As(msauthtest.Mia)
		b := s.Browser(t)
		b.Get("/files")
		s.As(msauthtest.Ada)
		s.Browser(t).Get("/files")
		if res := b.Get("/files"); !strings.HasPrefix(res.Text, mias) {
			t.Errorf("at first: page %.100q", res.Text)
		}
		time.Sleep(2 * time.Hour)
		if res := b.Still().Get("/files"); res.StatusCode != http.StatusSeeOther {
			t.Errorf("later: status %d, %.100q", res.StatusCode, res.Text)
		}
	})
}
