package vault_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A person of many groups: what is kept has to fit into any database's column.
func TestWhatIsKeptLeavesOutWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	groups := make([]string, 5_000)
	for i := range groups {
		groups[i] = fmt.Sprintf("%x-0000-4000-8000-%x", testsite.NewKey()[:4], testsite.NewKey()[:6])
	}
	tests := []struct {
		name   string
		config func(*msauth.Config)
		behave func(*msauthtest.Behavior)
		left   func(u *msauth.User) bool // out
	}{
		{"groups", nil, func(b *msauthtest.Behavior) { b.GroupClaims = true },
			func(u *msauth.User) bool { return len(u.Groups) == 0 && u.GroupsOverage }},
		{"claims", func(c *msauth.Config) { c.Claims = []string{"biography"} }, func(b *msauthtest.Behavior) {
			text := noise(100 << 10)
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["biography"] = text }
		}, func(u *msauth.User) bool { return len(u.Claims) == 0 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
				s.MS.SetUser(msauthtest.User{SignInName: "many@contoso.example", Name: "Many", Groups: groups})
				s.MS.Set(test.behave)
				s.Browser(t).SignIn("many@contoso.example")
				for range 3 {
					if n := len(kept.Entry("7").Sealed); n == 0 || n > mostOfAnEntry {
						t.Fatalf("an entry of %d bytes", n)
					}
					worker := offline(s, t, "7")
					if u := worker.User; u.Name != "Many" || !test.left(&u) {
						t.Errorf("%d groups, overage %v, claims %d", len(u.Groups), u.GroupsOverage, len(u.Claims))
					}
					if status, err := testsite.Call(worker.Client(context.Background()), "GET", testsite.GraphMe, nil); status != 200 {
						t.Errorf("status %d, %v; log:\n%s", status, err, s.Log)
					}
					time.Sleep(2 * time.Hour)
				}
			}, func(c *msauth.Config) {
				replacing(c)
				if test.config != nil {
					test.config(c)
				}
			})
		})
	}
}

// What cannot be left out ends the sign-in, and what was there stays.
func TestWhatCannotBeKeptEndsTheSignIn(t *testing.T) {
	t.Parallel()
	roles := make([]string, 2_500)
	for i := range roles {
		roles[i] = fmt.Sprintf("%x", testsite.NewKey())
	}
	const reason = "for Config.Tokens, where 65536 may be used"
	t.Run("connecting", func(t *testing.T) {
		t.Parallel()
		s, kept := testsite.Account(t)
		s.MS.SetUser(msauthtest.User{SignInName: "many@contoso.example", Roles: roles})
		s.As("many@contoso.example")
		b := s.Browser(t)
		b.Keep("app", "zoe")
		b.WantRefused(b.Connect(), http.StatusForbidden, "too-large", reason)
		if got := kept.Users(); len(got) != 0 {
			t.Errorf("kept for %q", got)
		}
	})
	t.Run("signing in", func(t *testing.T) {
		t.Parallel()
		away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
			before := kept.Entry("7")
			long := noise(150 << 10)
			s.MS.Set(func(b *msauthtest.Behavior) {
				b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["refresh_token"] = long }
			})
			other := s.Browser(t)
			other.WantRefused(other.Get("/"), http.StatusForbidden, "too-large", reason)
			other.WantGreeting(testsite.HelloNobody)
			if now := kept.Entry("7"); now.Version != before.Version || !bytes.Equal(now.Sealed, before.Sealed) {
				t.Error("the entry of before has changed")
			}
			if _, err := offline(s, t, "7").Token(context.Background()); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestOfflineNeedsAPlaceForTokens(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	_, err := s.Auth.Offline(context.Background(), "7")
	for _, err := range []error{err, s.Auth.Disconnect(context.Background(), "7"), s.Auth.Reseal(context.Background(), "7")} {
		if err == nil || !strings.Contains(err.Error(), "needs Config.Tokens") {
			t.Errorf("the error is %v", err)
		}
	}
}
