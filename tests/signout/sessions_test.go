package signout_test

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// One process alone lists the sessions that began in it.
func TestSessionsWithoutConfigShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		b, other := s.Browser(t), s.Browser(t)
		b.SignIn(msauthtest.Ada)
		time.Sleep(time.Minute)
		other.SignIn(msauthtest.Ada)
		user := b.User()
		key := user.Key()
		list, err := s.Auth.Sessions(t.Context(), key)
		if err != nil || len(list) != 2 || !list[0].Begun.After(list[1].Begun) {
			t.Fatalf("Sessions: %+v, %v, want two, the newest first", list, err)
		}
		if err := s.Auth.SignOutSession(t.Context(), key, list[1].ID); err != nil {
			t.Fatal(err)
		}
		if got := b.Get("/public/").Text; got != testsite.HelloNobody {
			t.Errorf("the session that was ended: %q", got)
		}
		other.WantGreeting(testsite.HelloAda)
		if err := s.Auth.SignOutSession(t.Context(), key, list[1].ID); !errors.Is(err, msauth.ErrUnknownSession) {
			t.Errorf("ended once more: %v", err)
		}
		if n := s.Auth.Stats().SignOuts; n != 1 {
			t.Errorf("%d sign-outs counted, want 1", n)
		}
		if left, err := s.Auth.Sessions(t.Context(), key); err != nil || len(left) != 1 || left[0].ID != list[0].ID {
			t.Errorf("Sessions afterwards: %+v, %v", left, err)
		}
		time.Sleep(time.Second)
		if err := s.Auth.SignOutUser(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if left, err := s.Auth.Sessions(t.Context(), key); err != nil || len(left) != 0 {
			t.Errorf("Sessions after SignOutUser: %+v, %v", left, err)
		}
	})
}

// A sign-in that fails in the end is not listed.
func TestASignInThatFailsIsNotListed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		files := testsite.NewFiles(t)
		s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Store = files })
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		user := b.User()
		files.Breaks("Save", 0, testsite.ErrStoreDown)
		s.As(msauthtest.Ada)
		if got := s.Browser(t).Get("/"); got.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("status %d", got.StatusCode)
		}
		if !files.Works() {
			t.Error("nothing failed")
		}
		if list, err := s.Auth.Sessions(t.Context(), user.Key()); err != nil || len(list) != 1 {
			t.Errorf("Sessions: %+v, %v, want the first one alone", list, err)
		}
	})
}
