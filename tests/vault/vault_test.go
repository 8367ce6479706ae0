package vault_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// away makes a site in a bubble whose sign-ins are kept for the user "7".
func away(t *testing.T, do func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser), changes ...func(*msauth.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		kept := testsite.NewTokens()
		s := testsite.NewInProcess(t, append([]func(*msauth.Config){func(c *msauth.Config) {
			c.Tokens = kept
			c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
				in.UserKey = "7"
				return nil
			}
		}}, changes...)...)
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		do(s, kept, b)
	})
}

func offline(s *testsite.Site, t *testing.T, user string) *msauth.Session {
	t.Helper()
	session, err := s.Auth.Offline(context.Background(), user)
	if err != nil {
		t.Fatalf("%v; log:\n%s", err, s.Log)
	}
	return session
}

func TestTheServerActsForPeopleWhoAreAway(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		if got := kept.Users(); !slices.Equal(got, []string{"7"}) {
			t.Fatalf("kept for %q", got)
		}
		s.WantNoSecrets(t, "the store", string(kept.Entry("7").Sealed))
		for day := range 30 {
			time.Sleep(24 * time.Hour)
			s.Restart(t) // every memory is gone
			session := offline(s, t, "7")
			if session.User.Name != "Ada Lindqvist" || kept.Entry("7").Account != session.User.Key() {
				t.Fatalf("session of %v, entry of %s", session, kept.Entry("7").Account)
			}
			if status, err := testsite.Call(session.Client(context.Background()), "GET", testsite.GraphMe, nil); status != 200 {
				t.Fatalf("day %d: status %d, %v", day, status, err)
			}
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 30)
	}, func(c *msauth.Config) { c.MaxAge = 48 * time.Hour })
}

func TestTheCookieOfAUserWhoseTokensAreKeptHasNoRefreshToken(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		for range 3 {
			if n := len(b.Session()[0].Value); n > 1900 {
				t.Errorf("the cookie has %d bytes", n)
			}
			time.Sleep(61 * time.Minute)
			if res := b.Get("/"); res.Text != testsite.HelloAda {
				t.Fatalf("page %q; log:\n%s", res.Text, s.Log)
			}
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 3)
		if err := s.Auth.Disconnect(context.Background(), "7"); err != nil {
			t.Fatal(err)
		}
		if len(kept.Users()) > 0 {
			t.Error("still kept")
		}
		b.WantGreeting(testsite.HelloAda) // until the access token ends
		time.Sleep(61 * time.Minute)
		b.WantGreeting(testsite.HelloNobody)
		s.WantCalls(t, msauthtest.TokenRefresh, 3)
	})
}

// Browsers and workers in several processes at once, at a provider that revokes
// everything when a refresh token is used twice.
func TestStrictRotationLosesNothingBetweenProcesses(t *testing.T) {
	t.Parallel()
	kept := testsite.NewTokens()
	s := testsite.New(t, func(c *msauth.Config) { c.Tokens = kept })
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.Rotation = msauthtest.RotateStrict
		b.AccessTokenLifetime = time.Second // due at once, good for a moment
	})
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	user := kept.Users()[0]
	workers := make([]*msauth.Middleware, 3)
	for i := range workers {
		var err error
		if workers[i], err = msauth.New(s.Cfg); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	stop := time.Now().Add(4 * time.Second)
	for i := range 6 {
		wg.Go(func() {
			for time.Now().Before(stop) {
				session, err := workers[i%3].Offline(context.Background(), user)
				if err == nil {
					_, err = session.Token(context.Background())
				}
				if err != nil && !errors.Is(err, msauth.ErrTokenUnavailable) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for time.Now().Before(stop) {
			if res := b.Get("/public/"); res.Text != testsite.HelloAda {
				t.Errorf("page %q", res.Text)
				return
			}
		}
	})
	wg.Wait()
	for _, call := range s.MS.Calls(msauthtest.TokenRefresh) {
		if call.Status != http.StatusOK {
			t.Fatalf("a token request of status %d; log:\n%s", call.Status, s.Log)
		}
	}
	if n := s.MS.Count(msauthtest.TokenRefresh); n < 4 {
		t.Errorf("%d token requests: nothing was tested", n)
	}
	if kept.Entry(user).SignInRequired {
		t.Error("the tokens are lost")
	}
}

func TestAGrantThatIsRefusedIsMarked(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		worker := offline(s, t, "7")
		s.MS.Revoke(msauthtest.Ada)
		time.Sleep(2 * time.Hour)
		for range 3 {
			if _, err := worker.Token(context.Background()); !errors.Is(err, msauth.ErrSignInRequired) {
				t.Fatalf("the error is %v, want ErrSignInRequired", err)
			}
			time.Sleep(20 * time.Second)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		if !kept.Entry("7").SignInRequired {
			t.Error("the entry does not say so")
		}
		if _, err := s.Auth.Offline(context.Background(), "7"); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Errorf("the error is %v, want ErrSignInRequired", err)
		}
		if res := b.Still().Get("/"); res.StatusCode != http.StatusSeeOther {
			t.Errorf("the browser gets %d", res.StatusCode)
		}
		b.SignIn(msauthtest.Ada)
		if _, err := offline(s, t, "7").Token(context.Background()); err != nil {
			t.Errorf("after signing in again: %v", err)
		}
		if _, err := s.Auth.Offline(context.Background(), "8"); !errors.Is(err, msauth.ErrNoTokens) {
			t.Errorf("nobody's tokens: %v, want ErrNoTokens", err)
		}
	})
}

var errDown = errors.New("the database is down")

func TestSignInSaysWhenTokensCannotBeKept(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"load", "save"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			kept := testsite.NewTokens()
			s := testsite.New(t, func(c *msauth.Config) { c.Tokens = kept })
			s.As(msauthtest.Ada)
			kept.Set(func(m string) error {
				if m == method {
					return errDown
				}
				return nil
			})
			b := s.Browser(t)
			res := b.Get("/page")
			b.WantRefused(res, http.StatusServiceUnavailable, "unavailable", "the database is down")
			b.WantGreeting(testsite.HelloNobody)
			kept.Set(nil)
			if res := b.Get("/page"); res.Text != testsite.HelloAda || len(kept.Users()) != 1 {
				t.Errorf("once it is up: page %.200q, kept for %q", res.Text, kept.Users())
			}
		})
	}
}

// What the provider has given when the database is down must not be lost: at a
// provider that rotates strictly there is no other.
func TestARenewalThatCannotBeSavedIsAnErrorAndIsNotLost(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		worker := offline(s, t, "7")
		time.Sleep(2 * time.Hour)
		saves := 0
		kept.Set(func(method string) error {
			if method == "save" {
				if saves++; saves > 1 { // the lease is taken
					return errDown
				}
			}
			return nil
		})
		_, err := worker.Token(context.Background())
		if !errors.Is(err, msauth.ErrTokenUnavailable) || !errors.Is(err, errDown) {
			t.Fatalf("the error is %v", err)
		}
		time.Sleep(10 * time.Second)
		if _, err := worker.Token(context.Background()); !errors.Is(err, errDown) {
			t.Errorf("the error is %v", err)
		}
		kept.Set(nil)
		time.Sleep(10 * time.Second)
		if _, err := worker.Token(context.Background()); err != nil {
			t.Errorf("once it is up: %v", err)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		time.Sleep(2 * time.Hour)
		if _, err := offline(s, t, "7").Token(context.Background()); err != nil {
			t.Errorf("the next time: %v", err)
		}
	})
}

// A process that was killed after it took the lease holds nobody up for long.
func TestALeaseThatNobodyReturnsRunsOut(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		time.Sleep(2 * time.Hour)
		e := kept.Entry("7")
		old := e.Version
		e.Version, e.Lease = old+1, time.Now().Add(2*time.Minute)
		if err := kept.Save(context.Background(), "7", old, e); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := offline(s, t, "7").Token(context.Background()); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited < 119*time.Second || waited > 121*time.Second {
			t.Errorf("waited %v for a lease of two minutes", waited)
		}
	})
}

func TestKeptTokensOutliveAChangeOfKeys(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		before, fresh := s.Cfg.Keys[0], testsite.NewKey()
		s.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{fresh, before} })
		saves := kept.Saves
		for range 2 {
			if err := s.Auth.Reseal(context.Background(), "7"); err != nil {
				t.Fatal(err)
			}
		}
		if kept.Saves != saves+1 {
			t.Errorf("%d saves, want 1", kept.Saves-saves)
		}
		s.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{fresh} })
		if _, err := offline(s, t, "7").Token(context.Background()); err != nil {
			t.Error(err)
		}
		if err := s.Auth.Reseal(context.Background(), "8"); !errors.Is(err, msauth.ErrNoTokens) {
			t.Errorf("nobody's entry: %v", err)
		}
		s.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{testsite.NewKey()} })
		if _, err := s.Auth.Offline(context.Background(), "7"); !errors.Is(err, msauth.ErrSignInRequired) || !strings.Contains(err.Error(), "do not open") {
			t.Errorf("with another key: %v", err)
		}
		b.SignIn(msauthtest.Ada) // makes it good
		offline(s, t, "7")
	})
}

// Whoever can write to the database cannot move one person's tokens to another.
func TestEntriesThatChangePlacesOpenNothing(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		e := kept.Entry("7")
		eight, nine := s.Auth.StoredUser("8"), s.Auth.StoredUser("9")
		if err := kept.Save(context.Background(), eight, 0, msauth.StoredTokens{Version: 1, Sealed: e.Sealed, Account: s.Auth.StoredAccount("x"), Shared: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Auth.Offline(context.Background(), "8"); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Errorf("the error is %v", err)
		}
		for _, spoilt := range [][]byte{nil, e.Sealed[:20], append([]byte{1}, e.Sealed...)} {
			kept.Delete(context.Background(), nine)
			kept.Save(context.Background(), nine, 0, msauth.StoredTokens{Version: 1, Sealed: spoilt, Account: s.Auth.StoredAccount("y")})
			if _, err := s.Auth.Offline(context.Background(), "9"); !errors.Is(err, msauth.ErrSignInRequired) {
				t.Errorf("%d bytes: %v", len(spoilt), err)
			}
		}
		// Without the registration it looks like an entry of before, and is none.
		kept.Save(context.Background(), "10", 0, msauth.StoredTokens{Version: 1, Sealed: e.Sealed, Account: "z", Shared: true})
		if _, err := s.Auth.Offline(context.Background(), "10"); !errors.Is(err, msauth.ErrNoTokens) {
			t.Errorf("under a bare name: %v", err)
		}
	})
}

// Resealing does not get in the way of a process that renews.
func TestResealingWaitsForTheLease(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		s.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{testsite.NewKey(), c.Keys[0]} })
		e := kept.Entry("7")
		old := e.Version
		e.Version, e.Lease = old+1, time.Now().Add(20*time.Second)
		kept.Save(context.Background(), "7", old, e)
		start := time.Now()
		if err := s.Auth.Reseal(context.Background(), "7"); err != nil || time.Since(start) < 20*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestASignInThatFailsKeepsNothing(t *testing.T) {
	t.Parallel()
	kept := testsite.NewTokens()
	s := testsite.New(t, func(c *msauth.Config) { c.Tokens, c.CookieBudget = kept, 1024 })
	roles := make([]string, 60)
	for i := range roles {
		roles[i] = fmt.Sprintf("role %x", testsite.NewKey())
	}
	s.MS.SetUser(msauthtest.User{SignInName: "many@contoso.example", Roles: roles})
	s.As("many@contoso.example")
	b := s.Browser(t)
	b.WantRefused(b.Get("/"), http.StatusForbidden, "too-large", "session too large")
	if got := kept.Users(); len(got) != 0 {
		t.Errorf("kept for %q", got)
	}
}

func TestOtherAPIsAndChallengesWorkWhileAway(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
		worker := offline(s, t, "7")
		for range 3 {
			if _, err := worker.Token(context.Background(), testsite.OrdersRead); err != nil {
				t.Fatal(err)
			}
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		if _, err := worker.Token(context.Background(), "api://stock/All"); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Errorf("without consent: %v", err)
		}
		if kept.Entry("7").SignInRequired {
			t.Error("that marks the entry")
		}
		s.MS.Challenge(msauthtest.Challenge{})
		if status, err := testsite.Call(worker.Client(context.Background()), "GET", testsite.GraphMe, nil); status != 200 {
			t.Errorf("challenged: status %d, %v", status, err)
		}
		time.Sleep(2 * time.Hour)
		b.WantGreeting(testsite.HelloAda)
		s.Restart(t)
		if _, err := offline(s, t, "7").Token(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// A provider that gives no refresh token: what is kept is good as long as the
// access token.
func TestTokensThatCannotBeRenewedAreNotAskedFor(t *testing.T) {
	t.Parallel()
	away(t, func(s *testsite.Site, kept *testsite.Tokens, b *testsite.Browser) {
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "refresh_token") }
		})
		s.Browser(t).SignIn(msauthtest.Ada)
		worker := offline(s, t, "7")
		if token, err := worker.Token(context.Background()); err != nil || token.AccessToken == "" {
			t.Fatalf("while the access token is good: %v", err)
		}
		if _, err := worker.Token(context.Background(), testsite.OrdersRead); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Errorf("for another API: %v, want ErrSignInRequired", err)
		}
		time.Sleep(2 * time.Hour)
		saves := kept.Saves
		for _, session := range []*msauth.Session{worker, offline(s, t, "7")} {
			_, err := session.Token(context.Background())
			if !errors.Is(err, msauth.ErrSignInRequired) || !strings.Contains(err.Error(), "gave no refresh token") {
				t.Errorf("the error is %v, want ErrSignInRequired", err)
			}
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 0)
		if kept.Saves != saves {
			t.Errorf("%d saves", kept.Saves-saves)
		}
		if err := s.Auth.Ready(context.Background()); err != nil {
			t.Errorf("not ready: %v", err)
		}
		if lines := s.Log.With("token_store_failed"); len(lines) > 0 {
			t.Errorf("the log blames the store: %q", lines)
		}
		s.MS.Set(func(b *msauthtest.Behavior) { b.TokenReply = nil })
		b.SignIn(msauthtest.Ada) // makes it good
		if _, err := offline(s, t, "7").Token(context.Background()); err != nil {
			t.Errorf("after signing in again: %v", err)
		}
	})
}

const mostOfAnEntry = 64 << 10

// noise is a text that hardly gets shorter.
func noise(n int) string {
	b := make([]byte, n/2)
	rand.Read(b)
	return hex.EncodeToString(b)
}
