package vault_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestLiveSDKTokenHandlerKeepsItsPromises(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	kept := &memory{entries: map[string]msauth.StoredTokens{}}
	if _, err := kept.Load(ctx, "zoe"); !errors.Is(err, msauth.ErrNoTokens) {
		t.Errorf("nothing kept: %v", err)
	}
	for _, step := range []struct {
		name, user string
		old        int64
		t          msauth.StoredTokens
		want       error
	}{
		{"the first", "zoe", 0, msauth.StoredTokens{Version: 5, Account: "a"}, nil},
		{"not the first", "zoe", 0, msauth.StoredTokens{Version: 6, Account: "a"}, msauth.ErrConflict},
		{"another version", "zoe", 4, msauth.StoredTokens{Version: 6, Account: "a"}, msauth.ErrConflict},
		{"of nobody", "yan", 4, msauth.StoredTokens{Version: 6, Account: "b"}, msauth.ErrConflict},
		{"the next", "zoe", 5, msauth.StoredTokens{Version: 6, Account: "a"}, nil},
		{"taken", "yan", 0, msauth.StoredTokens{Version: 7, Account: "a"}, msauth.ErrAccountTaken},
		{"shared", "yan", 0, msauth.StoredTokens{Version: 8, Account: "a", Shared: true}, nil},
	} {
		if err := kept.Save(ctx, step.user, step.old, step.t); !errors.Is(err, step.want) {
			t.Errorf("%s: %v, want %v", step.name, err, step.want)
		}
	}
	for _, want := range []string{"zoe", "", ""} { // yan's is shared
		got, err := kept.UserOf(ctx, "a")
		if got != want || (want == "") != errors.Is(err, msauth.ErrNoTokens) {
			t.Errorf("user %q, %v, want %q", got, err, want)
		}
		if err := kept.Delete(ctx, "zoe"); err != nil {
			t.Error(err)
		}
	}
}

func TestLiveSDKWorkerActsForPeopleWhoAreAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, kept := live(t, func(c *msauth.Config) { c.Tenant = "" })
		users := []string{"nobody"}
		for _, person := range []string{msauthtest.Ada, msauthtest.Mia} {
			s.As(person)
			s.Browser(t).Get("/files")
		}
		for stored := range kept.entries {
			users = append(users, strings.TrimPrefix(stored, kept.prefix))
		}
		slices.Sort(users)
		var seen, told []string
		run := func() error {
			seen, told = nil, nil
			return forEach(context.Background(), s.Auth, users, func(ctx context.Context, s *msauth.Session) error {
				names, err := topFolder(ctx, s, liveGraph)
				if err == nil {
					seen = append(seen, names[0])
				}
				return err
			}, func(user string) { told = append(told, user) })
		}
		want := func(what string, err error, failures bool, people, notified string) {
			t.Helper()
			slices.Sort(seen)
			if got := strings.Join(seen, ", "); (err != nil) != failures || got != people || strings.Join(told, ", ") != notified {
				t.Errorf("%s: done for %q, told %q, error %v; want %q, %q", what, got, told, err, people, notified)
			}
		}
		time.Sleep(30 * 24 * time.Hour)
		want("after a month", run(), false, "Ada Lindqvist, Mia Müller", "")

		s.MS.Revoke(msauthtest.Mia)
		time.Sleep(2 * time.Hour)
		mia, err := kept.UserOf(context.Background(), msauthtest.TenantPersonal+"."+objectID(s, t, msauthtest.Mia))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			want("revoked", run(), false, "Ada Lindqvist", mia)
		}
		s.As(msauthtest.Mia)
		s.Browser(t).Get("/files")
		want("signed in again", run(), false, "Ada Lindqvist, Mia Müller", "")

		time.Sleep(2 * time.Hour)
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: 503}
		})
		want("an outage", run(), true, "", "")
	})
}

func objectID(s *testsite.Site, t *testing.T, person string) string {
	t.Helper()
	for _, u := range s.MS.Users() {
		if u.SignInName == person {
			return u.ObjectID
		}
	}
	t.Fatalf("no %s", person)
	return ""
}
