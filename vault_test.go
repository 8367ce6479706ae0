package msauth_test

import (
	"bytes"
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
)

// tokens is a TokenStore in memory. fail, if set, is asked before each call.
type tokens struct {
	mu      sync.Mutex
	entries map[string]msauth.StoredTokens
	fail    func(method string) error
	saves   int
}

func newTokens() *tokens { return &tokens{entries: map[string]msauth.StoredTokens{}} }

var _ msauth.TokenStore = (*tokens)(nil)

func (s *tokens) failing(method string) error {
	if s.fail == nil {
		return nil
	}
	return s.fail(method)
}

func (s *tokens) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.failing("load")); err != nil {
		return msauth.StoredTokens{}, err
	}
	t, ok := s.entries[user]
	if !ok {
		return t, fmt.Errorf("in memory: %w", msauth.ErrNoTokens)
	}
	t.Sealed = bytes.Clone(t.Sealed)
	return t, nil
}

func (s *tokens) Save(ctx context.Context, user string, old int64, t msauth.StoredTokens) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.failing("save")); err != nil {
		return err
	}
	user, t.Account = s.place(user, t.Account)
	if s.entries[user].Version != old {
		return msauth.ErrConflict
	}
	for other, e := range s.entries {
		if other != user && e.Account == t.Account && !e.Shared && !t.Shared {
			return msauth.ErrAccountTaken
		}
	}
	t.Sealed = bytes.Clone(t.Sealed)
	s.entries[user] = t
	s.saves++
	return nil
}

func (s *tokens) Delete(ctx context.Context, user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.failing("delete")); err != nil {
		return err
	}
	user, _ = s.place(user, "")
	delete(s.entries, user)
	return nil
}

// place lets tests name an entry by the app's own user.
func (s *tokens) place(user, account string) (string, string) {
	for name := range s.entries {
		if name != user && withoutRegistration(name) == user {
			return name, strings.TrimSuffix(name, user) + withoutRegistration(account)
		}
	}
	return user, account
}

// set changes how the store fails.
func (s *tokens) set(fail func(method string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// users are the app's own, without the registration before them.
func (s *tokens) users() (users []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.entries {
		users = append(users, withoutRegistration(name))
	}
	slices.Sort(users)
	return users
}

// entry is that of one of the app's own users, with the account's own key.
func (s *tokens) entry(user string) msauth.StoredTokens {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, e := range s.entries {
		if withoutRegistration(name) == user {
			e.Account = withoutRegistration(e.Account)
			return e
		}
	}
	return msauth.StoredTokens{}
}

func withoutRegistration(name string) string {
	if rest, ok := strings.CutPrefix(name, "msauth:"); ok {
		_, name, _ = strings.Cut(rest, ":")
	}
	return name
}

// away makes a site in a bubble whose sign-ins are kept for the user "7".
func away(t *testing.T, do func(s *site, kept *tokens, b *browser), changes ...func(*msauth.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		kept := newTokens()
		s := newSiteInProcess(t, append([]func(*msauth.Config){func(c *msauth.Config) {
			c.Tokens = kept
			c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
				in.UserKey = "7"
				return nil
			}
		}}, changes...)...)
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		do(s, kept, b)
	})
}

func (s *site) offline(t *testing.T, user string) *msauth.Session {
	t.Helper()
	session, err := s.auth.Offline(context.Background(), user)
	if err != nil {
		t.Fatalf("%v; log:\n%s", err, s.log)
	}
	return session
}

func TestTheServerActsForPeopleWhoAreAway(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		if got := kept.users(); !slices.Equal(got, []string{"7"}) {
			t.Fatalf("kept for %q", got)
		}
		s.wantNoSecrets(t, "the store", string(kept.entry("7").Sealed))
		for day := range 30 {
			time.Sleep(24 * time.Hour)
			s.restart(t) // every memory is gone
			session := s.offline(t, "7")
			if session.User.Name != "Ada Lindqvist" || kept.entry("7").Account != session.User.Key() {
				t.Fatalf("session of %v, entry of %s", session, kept.entry("7").Account)
			}
			if status, err := call(session.Client(context.Background()), "GET", graphMe, nil); status != 200 {
				t.Fatalf("day %d: status %d, %v", day, status, err)
			}
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 30)
	}, func(c *msauth.Config) { c.MaxAge = 48 * time.Hour })
}

func TestTheCookieOfAUserWhoseTokensAreKeptHasNoRefreshToken(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		for range 3 {
			if n := len(b.session()[0].Value); n > 1900 {
				t.Errorf("the cookie has %d bytes", n)
			}
			time.Sleep(61 * time.Minute)
			if res := b.get("/"); res.body != helloAda {
				t.Fatalf("page %q; log:\n%s", res.body, s.log)
			}
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 3)
		if err := s.auth.Disconnect(context.Background(), "7"); err != nil {
			t.Fatal(err)
		}
		if len(kept.users()) > 0 {
			t.Error("still kept")
		}
		b.wantGreeting(helloAda) // until the access token ends
		time.Sleep(61 * time.Minute)
		b.wantGreeting(helloNobody)
		s.wantCalls(t, msauthtest.TokenRefresh, 3)
	})
}

// Browsers and workers in several processes at once, at a provider that revokes
// everything when a refresh token is used twice.
func TestStrictRotationLosesNothingBetweenProcesses(t *testing.T) {
	t.Parallel()
	kept := newTokens()
	s := newSite(t, func(c *msauth.Config) { c.Tokens = kept })
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.Rotation = msauthtest.RotateStrict
		b.AccessTokenLifetime = time.Second // due at once, good for a moment
	})
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	user := kept.users()[0]
	workers := make([]*msauth.Middleware, 3)
	for i := range workers {
		var err error
		if workers[i], err = msauth.New(s.cfg); err != nil {
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
			if res := b.get("/public/"); res.body != helloAda {
				t.Errorf("page %q", res.body)
				return
			}
		}
	})
	wg.Wait()
	for _, call := range s.ms.Calls(msauthtest.TokenRefresh) {
		if call.Status != http.StatusOK {
			t.Fatalf("a token request of status %d; log:\n%s", call.Status, s.log)
		}
	}
	if n := s.ms.Count(msauthtest.TokenRefresh); n < 4 {
		t.Errorf("%d token requests: nothing was tested", n)
	}
	if kept.entry(user).SignInRequired {
		t.Error("the tokens are lost")
	}
}

func TestAGrantThatIsRefusedIsMarked(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		worker := s.offline(t, "7")
		s.ms.Revoke(msauthtest.Ada)
		time.Sleep(2 * time.Hour)
		for range 3 {
			if _, err := worker.Token(context.Background()); !errors.Is(err, msauth.ErrSignInRequired) {
				t.Fatalf("the error is %v, want ErrSignInRequired", err)
			}
			time.Sleep(20 * time.Second)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
		if !kept.entry("7").SignInRequired {
			t.Error("the entry does not say so")
		}
		if _, err := s.auth.Offline(context.Background(), "7"); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Errorf("the error is %v, want ErrSignInRequired", err)
		}
		if res := b.still().get("/"); res.StatusCode != http.StatusSeeOther {
			t.Errorf("the browser gets %d", res.StatusCode)
		}
		b.signIn(msauthtest.Ada)
		if _, err := s.offline(t, "7").Token(context.Background()); err != nil {
			t.Errorf("after signing in again: %v", err)
		}
		if _, err := s.auth.Offline(context.Background(), "8"); !errors.Is(err, msauth.ErrNoTokens) {
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
			kept := newTokens()
			s := newSite(t, func(c *msauth.Config) { c.Tokens = kept })
			s.as(msauthtest.Ada)
			kept.set(func(m string) error {
				if m == method {
					return errDown
				}
				return nil
			})
			b := s.browser(t)
			res := b.get("/page")
			b.wantRefused(res, http.StatusServiceUnavailable, "unavailable", "the database is down")
			b.wantGreeting(helloNobody)
			kept.set(nil)
			if res := b.get("/page"); res.body != helloAda || len(kept.users()) != 1 {
				t.Errorf("once it is up: page %.200q, kept for %q", res.body, kept.users())
			}
		})
	}
}

// What the provider has given when the database is down must not be lost: at a
// provider that rotates strictly there is no other.
func TestARenewalThatCannotBeSavedIsAnErrorAndIsNotLost(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		s.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		worker := s.offline(t, "7")
		time.Sleep(2 * time.Hour)
		saves := 0
		kept.set(func(method string) error {
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
		kept.set(nil)
		time.Sleep(10 * time.Second)
		if _, err := worker.Token(context.Background()); err != nil {
			t.Errorf("once it is up: %v", err)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
		time.Sleep(2 * time.Hour)
		if _, err := s.offline(t, "7").Token(context.Background()); err != nil {
			t.Errorf("the next time: %v", err)
		}
	})
}

// A process that was killed after it took the lease holds nobody up for long.
func TestALeaseThatNobodyReturnsRunsOut(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		time.Sleep(2 * time.Hour)
		e := kept.entry("7")
		old := e.Version
		e.Version, e.Lease = old+1, time.Now().Add(2*time.Minute)
		if err := kept.Save(context.Background(), "7", old, e); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := s.offline(t, "7").Token(context.Background()); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited < 119*time.Second || waited > 121*time.Second {
			t.Errorf("waited %v for a lease of two minutes", waited)
		}
	})
}

func TestKeptTokensOutliveAChangeOfKeys(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		before, fresh := s.cfg.Keys[0], newKey()
		s.restart(t, func(c *msauth.Config) { c.Keys = [][]byte{fresh, before} })
		saves := kept.saves
		for range 2 {
			if err := s.auth.Reseal(context.Background(), "7"); err != nil {
				t.Fatal(err)
			}
		}
		if kept.saves != saves+1 {
			t.Errorf("%d saves, want 1", kept.saves-saves)
		}
		s.restart(t, func(c *msauth.Config) { c.Keys = [][]byte{fresh} })
		if _, err := s.offline(t, "7").Token(context.Background()); err != nil {
			t.Error(err)
		}
		if err := s.auth.Reseal(context.Background(), "8"); !errors.Is(err, msauth.ErrNoTokens) {
			t.Errorf("nobody's entry: %v", err)
		}
		s.restart(t, func(c *msauth.Config) { c.Keys = [][]byte{newKey()} })
		if _, err := s.auth.Offline(context.Background(), "7"); !errors.Is(err, msauth.ErrSignInRequired) || !strings.Contains(err.Error(), "do not open") {
			t.Errorf("with another key: %v", err)
		}
		b.signIn(msauthtest.Ada) // makes it good
		s.offline(t, "7")
	})
}

// Whoever can write to the database cannot move one person's tokens to another.
func TestEntriesThatChangePlacesOpenNothing(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		e := kept.entry("7")
		eight, nine := s.auth.StoredUser("8"), s.auth.StoredUser("9")
		if err := kept.Save(context.Background(), eight, 0, msauth.StoredTokens{Version: 1, Sealed: e.Sealed, Account: s.auth.StoredAccount("x"), Shared: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.auth.Offline(context.Background(), "8"); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Errorf("the error is %v", err)
		}
		for _, spoilt := range [][]byte{nil, e.Sealed[:20], append([]byte{1}, e.Sealed...)} {
			kept.Delete(context.Background(), nine)
			kept.Save(context.Background(), nine, 0, msauth.StoredTokens{Version: 1, Sealed: spoilt, Account: s.auth.StoredAccount("y")})
			if _, err := s.auth.Offline(context.Background(), "9"); !errors.Is(err, msauth.ErrSignInRequired) {
				t.Errorf("%d bytes: %v", len(spoilt), err)
			}
		}
		// Without the registration it looks like an entry of before, and is none.
		kept.Save(context.Background(), "10", 0, msauth.StoredTokens{Version: 1, Sealed: e.Sealed, Account: "z", Shared: true})
		if _, err := s.auth.Offline(context.Background(), "10"); !errors.Is(err, msauth.ErrNoTokens) {
			t.Errorf("under a bare name: %v", err)
		}
	})
}

// Resealing does not get in the way of a process that renews.
func TestResealingWaitsForTheLease(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		s.restart(t, func(c *msauth.Config) { c.Keys = [][]byte{newKey(), c.Keys[0]} })
		e := kept.entry("7")
		old := e.Version
		e.Version, e.Lease = old+1, time.Now().Add(20*time.Second)
		kept.Save(context.Background(), "7", old, e)
		start := time.Now()
		if err := s.auth.Reseal(context.Background(), "7"); err != nil || time.Since(start) < 20*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestASignInThatFailsKeepsNothing(t *testing.T) {
	t.Parallel()
	kept := newTokens()
	s := newSite(t, func(c *msauth.Config) { c.Tokens, c.CookieBudget = kept, 1024 })
	roles := make([]string, 60)
	for i := range roles {
		roles[i] = fmt.Sprintf("role %x", newKey())
	}
	s.ms.SetUser(msauthtest.User{SignInName: "many@contoso.example", Roles: roles})
	s.as("many@contoso.example")
	b := s.browser(t)
	b.wantRefused(b.get("/"), http.StatusForbidden, "too-large", "session too large")
	if got := kept.users(); len(got) != 0 {
		t.Errorf("kept for %q", got)
	}
}

func TestOtherAPIsAndChallengesWorkWhileAway(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		s.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		s.ms.Consent(msauthtest.Ada, ordersRead)
		worker := s.offline(t, "7")
		for range 3 {
			if _, err := worker.Token(context.Background(), ordersRead); err != nil {
				t.Fatal(err)
			}
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
		if _, err := worker.Token(context.Background(), "api://stock/All"); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Errorf("without consent: %v", err)
		}
		if kept.entry("7").SignInRequired {
			t.Error("that marks the entry")
		}
		s.ms.Challenge(msauthtest.Challenge{})
		if status, err := call(worker.Client(context.Background()), "GET", graphMe, nil); status != 200 {
			t.Errorf("challenged: status %d, %v", status, err)
		}
		time.Sleep(2 * time.Hour)
		b.wantGreeting(helloAda)
		s.restart(t)
		if _, err := s.offline(t, "7").Token(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// A provider that gives no refresh token: what is kept is good as long as the
// access token.
func TestTokensThatCannotBeRenewedAreNotAskedFor(t *testing.T) {
	t.Parallel()
	away(t, func(s *site, kept *tokens, b *browser) {
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "refresh_token") }
		})
		s.browser(t).signIn(msauthtest.Ada)
		worker := s.offline(t, "7")
		if token, err := worker.Token(context.Background()); err != nil || token.AccessToken == "" {
			t.Fatalf("while the access token is good: %v", err)
		}
		if _, err := worker.Token(context.Background(), ordersRead); !errors.Is(err, msauth.ErrSignInRequired) {
			t.Errorf("for another API: %v, want ErrSignInRequired", err)
		}
		time.Sleep(2 * time.Hour)
		saves := kept.saves
		for _, session := range []*msauth.Session{worker, s.offline(t, "7")} {
			_, err := session.Token(context.Background())
			if !errors.Is(err, msauth.ErrSignInRequired) || !strings.Contains(err.Error(), "gave no refresh token") {
				t.Errorf("the error is %v, want ErrSignInRequired", err)
			}
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 0)
		if kept.saves != saves {
			t.Errorf("%d saves", kept.saves-saves)
		}
		if err := s.auth.Ready(context.Background()); err != nil {
			t.Errorf("not ready: %v", err)
		}
		if lines := s.log.with("token_store_failed"); len(lines) > 0 {
			t.Errorf("the log blames the store: %q", lines)
		}
		s.ms.Set(func(b *msauthtest.Behavior) { b.TokenReply = nil })
		b.signIn(msauthtest.Ada) // makes it good
		if _, err := s.offline(t, "7").Token(context.Background()); err != nil {
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

// A person of many groups: what is kept has to fit into any database's column.
func TestWhatIsKeptLeavesOutWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	groups := make([]string, 5_000)
	for i := range groups {
		groups[i] = fmt.Sprintf("%x-0000-4000-8000-%x", newKey()[:4], newKey()[:6])
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
			away(t, func(s *site, kept *tokens, b *browser) {
				s.ms.SetUser(msauthtest.User{SignInName: "many@contoso.example", Name: "Many", Groups: groups})
				s.ms.Set(test.behave)
				s.browser(t).signIn("many@contoso.example")
				for range 3 {
					if n := len(kept.entry("7").Sealed); n == 0 || n > mostOfAnEntry {
						t.Fatalf("an entry of %d bytes", n)
					}
					worker := s.offline(t, "7")
					if u := worker.User; u.Name != "Many" || !test.left(&u) {
						t.Errorf("%d groups, overage %v, claims %d", len(u.Groups), u.GroupsOverage, len(u.Claims))
					}
					if status, err := call(worker.Client(context.Background()), "GET", graphMe, nil); status != 200 {
						t.Errorf("status %d, %v; log:\n%s", status, err, s.log)
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
		roles[i] = fmt.Sprintf("%x", newKey())
	}
	const reason = "for Config.Tokens, where 65536 may be used"
	t.Run("connecting", func(t *testing.T) {
		t.Parallel()
		s, kept := account(t)
		s.ms.SetUser(msauthtest.User{SignInName: "many@contoso.example", Roles: roles})
		s.as("many@contoso.example")
		b := s.browser(t)
		b.keep("app", "zoe")
		b.wantRefused(b.connect(), http.StatusForbidden, "too-large", reason)
		if got := kept.users(); len(got) != 0 {
			t.Errorf("kept for %q", got)
		}
	})
	t.Run("signing in", func(t *testing.T) {
		t.Parallel()
		away(t, func(s *site, kept *tokens, b *browser) {
			before := kept.entry("7")
			long := noise(150 << 10)
			s.ms.Set(func(b *msauthtest.Behavior) {
				b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["refresh_token"] = long }
			})
			other := s.browser(t)
			other.wantRefused(other.get("/"), http.StatusForbidden, "too-large", reason)
			other.wantGreeting(helloNobody)
			if now := kept.entry("7"); now.Version != before.Version || !bytes.Equal(now.Sealed, before.Sealed) {
				t.Error("the entry of before has changed")
			}
			if _, err := s.offline(t, "7").Token(context.Background()); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestOfflineNeedsAPlaceForTokens(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, err := s.auth.Offline(context.Background(), "7")
	for _, err := range []error{err, s.auth.Disconnect(context.Background(), "7"), s.auth.Reseal(context.Background(), "7")} {
		if err == nil || !strings.Contains(err.Error(), "needs Config.Tokens") {
			t.Errorf("the error is %v", err)
		}
	}
}

// ofItsOwn makes an app with users and a login of its own: whoever sends the
// cookie app=NAME is NAME.
func ofItsOwn(kept *tokens) func(*msauth.Config) {
	return func(c *msauth.Config) {
		c.Tokens = kept
		c.User = func(r *http.Request) string {
			if c, err := r.Cookie("app"); err == nil {
				return c.Value
			}
			return ""
		}
	}
}

// account makes a site of such an app.
func account(t *testing.T, changes ...func(*msauth.Config)) (*site, *tokens) {
	t.Helper()
	kept := newTokens()
	s := newSite(t, append([]func(*msauth.Config){ofItsOwn(kept)}, changes...)...)
	s.mux.Handle("/connect", s.auth.Connect("/public/settings"))
	return s, kept
}

// connect presses the app's button.
func (b *browser) connect() seen {
	b.t.Helper()
	return b.do(http.MethodPost, "/connect", "Sec-Fetch-Site", "same-origin", "Origin", b.site.URL)
}

func TestConnectAddsAMicrosoftAccountToTheAppsUser(t *testing.T) {
	t.Parallel()
	var seenUser string
	s, kept := account(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			if in.Connecting {
				token, err := in.Session.Token(r.Context())
				seenUser = fmt.Sprint(in.UserKey, " ", in.Session.User.Name, " ", err == nil && token.AccessToken != "")
			}
			return nil
		}
	})
	s.as(msauthtest.Ada)
	b := s.browser(t)
	b.keep("app", "zoe")
	res := b.connect()
	if res.Request.URL.Path != "/public/settings" || res.body != helloNobody {
		t.Fatalf("page %.200q at %s; log:\n%s", res.body, res.Request.URL, s.log)
	}
	if got := s.asked(t); got.Get("prompt") != "select_account" {
		t.Errorf("asked with prompt %q", got.Get("prompt"))
	}
	if seenUser != "zoe Ada Lindqvist true" || !slices.Equal(kept.users(), []string{"zoe"}) {
		t.Errorf("OnSignIn saw %q, kept for %q", seenUser, kept.users())
	}
	if len(b.session()) != 0 {
		t.Error("the app's user has a session of ours too")
	}
	if session := s.offline(t, "zoe"); session.User.Name != "Ada Lindqvist" {
		t.Errorf("connected to %v", session.User)
	}
	// Once more: the same account, newer tokens.
	version := kept.entry("zoe").Version
	if res := b.connect(); res.StatusCode != 200 || kept.entry("zoe").Version == version {
		t.Errorf("again: status %d, version %d", res.StatusCode, kept.entry("zoe").Version)
	}
}

func TestNobodyCanBeMadeToConnectAnAccount(t *testing.T) {
	t.Parallel()
	t.Run("from another site", func(t *testing.T) {
		t.Parallel()
		s, kept := account(t)
		s.as(msauthtest.Ada)
		b := s.browser(t)
		b.keep("app", "zoe")
		s.wantPage(t, b.do(http.MethodPost, "/connect", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"), http.StatusForbidden, "not-allowed", "not of this site")
		s.wantPage(t, b.get("/connect"), http.StatusMethodNotAllowed, "bad-request", "")
		s.wantNoCalls(t)
		if len(kept.users()) != 0 {
			t.Error("connected")
		}
	})
	t.Run("signed out of the app", func(t *testing.T) {
		t.Parallel()
		s, _ := account(t)
		b := s.browser(t)
		s.wantPage(t, b.connect(), http.StatusForbidden, "not-allowed", "nobody is signed in to the app")
	})
	for name, cookie := range map[string]string{"another user comes back": "eve", "nobody comes back": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, kept := account(t)
			s.as(msauthtest.Ada)
			b := s.browser(t)
			b.keep("app", "zoe")
			still := b.still()
			to := still.connect().Header.Get("Location")
			back := still.get(to).Header.Get("Location")
			b.keep("app", cookie)
			b.wantRefused(still.get(back), http.StatusForbidden, "not-allowed", "than when this began")
			if len(kept.users()) != 0 {
				t.Errorf("connected to %q", kept.users())
			}
		})
	}
	t.Run("with a callback of somebody else's", func(t *testing.T) {
		t.Parallel()
		s, kept := account(t)
		s.as(msauthtest.Ada)
		eve, zoe := s.browser(t), s.browser(t)
		eve.keep("app", "zoe") // even if Eve knew how to name her
		still := eve.still()
		back := still.get(still.connect().Header.Get("Location")).Header.Get("Location")
		zoe.keep("app", "zoe")
		zoe.wantRefused(zoe.still().get(back), http.StatusBadRequest, "start-again", "no cookie of this attempt")
		if len(kept.users()) != 0 {
			t.Errorf("connected to %q", kept.users())
		}
	})
}

func TestDoubleConnectionsAreRefusedUnlessTheAppAllowsThem(t *testing.T) {
	t.Parallel()
	var allow func(in *msauth.SignIn)
	s, kept := account(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			if allow != nil {
				allow(in)
			}
			return nil
		}
	})
	connect := func(user, person string) seen {
		s.as(person)
		b := s.browser(t)
		b.keep("app", user)
		return b.connect()
	}
	account := func(user string) string {
		t.Helper()
		return s.offline(t, user).User.Username
	}
	connect("zoe", msauthtest.Ada)
	s.wantPage(t, connect("zoe", msauthtest.Bruno), http.StatusForbidden, "account-taken", "connected to another Microsoft account")
	s.wantPage(t, connect("yan", msauthtest.Ada), http.StatusForbidden, "account-taken", "connected to another user")
	if got := kept.users(); !slices.Equal(got, []string{"zoe"}) || account("zoe") != msauthtest.Ada {
		t.Errorf("connected: %q", got)
	}
	allow = func(in *msauth.SignIn) { in.ReplaceAccount = true }
	if res := connect("zoe", msauthtest.Bruno); res.StatusCode != 200 || account("zoe") != msauthtest.Bruno {
		t.Errorf("replacing: status %d", res.StatusCode)
	}
	allow = nil
	connect("yan", msauthtest.Ada) // free again
	s.wantPage(t, connect("xia", msauthtest.Ada), http.StatusForbidden, "account-taken", "connected to another user")
	allow = func(in *msauth.SignIn) { in.ShareAccount = true }
	if res := connect("xia", msauthtest.Ada); res.StatusCode != 200 || account("xia") != msauthtest.Ada {
		t.Errorf("sharing: status %d", res.StatusCode)
	}
}

// What a worker is challenged for is asked of the person who connects again,
// whenever that is.
func TestConnectingAgainMeetsTheWorkersChallenge(t *testing.T) {
	t.Parallel()
	for _, age := range []time.Duration{0, 48 * time.Hour, 30 * 24 * time.Hour} {
		t.Run(age.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSiteInProcess(t, ofItsOwn(newTokens()))
				s.mux.Handle("/connect", s.auth.Connect("/public/settings"))
				s.as(msauthtest.Ada)
				b := s.browser(t)
				b.keep("app", "zoe")
				b.connect()
				time.Sleep(age)
				s.ms.Challenge(msauthtest.Challenge{ACRS: "c1"})
				worker := s.offline(t, "zoe")
				if _, err := call(worker.Client(context.Background()), "GET", graphMe, nil); !errors.Is(err, msauth.ErrSignInRequired) {
					t.Fatalf("the error is %v", err)
				}
				time.Sleep(age)
				b.connect()
				if got := s.asked(t).Get("claims"); !strings.Contains(got, `"acrs"`) {
					t.Errorf("claims %q", got)
				}
				if status, err := call(s.offline(t, "zoe").Client(context.Background()), "GET", graphMe, nil); status != 200 {
					t.Errorf("afterwards: status %d, %v", status, err)
				}
			})
		})
	}
}

func TestConnectingThatFailsLeadsBackToTheApp(t *testing.T) {
	t.Parallel()
	for name, behave := range map[string]func(*msauthtest.Behavior){
		"cancelled": func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.Authorize] = []msauthtest.Failure{{Error: "access_denied", Suberror: "cancel"}}
		},
		"an outage": func(b *msauthtest.Behavior) { b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{{Status: 503}} },
		"a replay": func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{{Error: "invalid_grant"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, kept := account(t)
			s.as(msauthtest.Ada)
			s.ms.Set(behave)
			b := s.browser(t)
			b.keep("app", "zoe")
			res := b.connect()
			if res.kind() == "" || strings.Contains(res.body, "/auth/login") || !strings.Contains(res.body, `href="/public/settings"`) {
				t.Errorf("page %q: %s", res.kind(), res.body)
			}
			if len(kept.users()) != 0 {
				t.Error("connected")
			}
		})
	}
}

// An account that the site does not admit is nothing to sign in with: the person
// goes back to the app, who they are there.
func TestConnectingAnAccountThatIsNotAdmittedLeadsBackToTheApp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*msauth.Config)
		behave func(*msauthtest.Behavior)
		reason string
	}{
		{"by the app", func(c *msauth.Config) {
			c.OnSignIn = func(http.ResponseWriter, *http.Request, *msauth.SignIn) error {
				return errors.New("no company account")
			}
		}, nil, "no company account"},
		{"by its tenant", func(c *msauth.Config) { c.AllowedTenants = []string{msauthtest.TenantFabrikam} }, nil, "tenant " + msauthtest.TenantContoso},
		{"by Microsoft", nil, func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.Authorize] = []msauthtest.Failure{{Error: "access_denied", Codes: []int{50105}}}
		}, "AADSTS50105"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var changes []func(*msauth.Config)
			if test.change != nil {
				changes = append(changes, test.change)
			}
			s, kept := account(t, changes...)
			s.as(msauthtest.Ada)
			if test.behave != nil {
				s.ms.Set(test.behave)
			}
			b := s.browser(t)
			b.keep("app", "zoe")
			res := b.connect()
			b.wantRefused(res, http.StatusForbidden, "not-allowed", test.reason)
			if !strings.Contains(res.body, "The account was not connected") || !strings.Contains(res.body, `<a href="/public/settings" target="_top">Back</a>`) {
				t.Errorf("page %s", res.body)
			}
			if strings.Contains(res.body, "/auth/login") || strings.Contains(res.body, "/auth/logout") {
				t.Errorf("the page leads to a sign-in of its own: %s", res.body)
			}
			if len(kept.users()) != 0 {
				t.Error("connected")
			}
		})
	}
}

func TestAPlainSignInIsNoneOfTheAppsUsers(t *testing.T) {
	t.Parallel()
	s, kept := account(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	b.keep("app", "zoe")
	b.connect()
	b.signIn(msauthtest.Ada)
	if got := kept.users(); !slices.Equal(got, []string{"zoe"}) {
		t.Errorf("kept for %q", got)
	}
}

func TestConnectingCanSignInToo(t *testing.T) {
	t.Parallel()
	s, _ := account(t, func(c *msauth.Config) {
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.MakeSession = in.Connecting
			in.AppData = in.UserKey
			return nil
		}
	})
	s.as(msauthtest.Ada)
	b := s.browser(t)
	b.keep("app", "zoe")
	if res := b.connect(); res.body != helloAda {
		t.Errorf("page %q", res.body)
	}
}

func TestConnectNeedsToKnowTheAppsUser(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *msauth.Config) { c.Tokens = newTokens() })
	s.mux.Handle("/connect", s.auth.Connect("/"))
	if res := s.browser(t).connect(); res.StatusCode != http.StatusInternalServerError {
		t.Errorf("status %d", res.StatusCode)
	}
	if len(s.log.with("Connect needs Config.Tokens and Config.User")) == 0 {
		t.Error("the log does not say why")
	}
}
