package shared_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// Of many requests with one cookie over three replicas, at the moment when its token
// expires, one renews it, at a provider that takes each refresh token once.
func TestOneTokenRequestOverAllReplicas(t *testing.T) {
	t.Parallel()
	for i := range testsite.Times(2, 200) {
		at := testsite.Services[i%len(testsite.Services)] // in turn
		with(t, 3, func(t *testing.T, r *replicas) {
			strict(r)
			r.MS.Set(func(b *msauthtest.Behavior) {
				b.Delay = map[msauthtest.Kind]time.Duration{msauthtest.TokenRefresh: 300 * time.Millisecond}
			})
			v := r.SignIn()
			for round := range 3 {
				time.Sleep(testsite.AfterExpiry)
				r.MS.ResetCalls()
				var all sync.WaitGroup
				var mu sync.Mutex
				newest := v
				for i := range 60 {
					all.Go(func() {
						c := v.Copy().At(r.pages[i%3])
						if got := c.Get("/"); got.Status != http.StatusOK || got.Body != testsite.HelloAda {
							t.Errorf("status %d, %.80q", got.Status, got.Body)
						}
						mu.Lock()
						defer mu.Unlock()
						newest = c
					})
				}
				all.Wait()
				r.WantCalls(msauthtest.TokenRefresh, 1)
				// Late ones come with the cookie from before, at replicas that did
				// not renew.
				time.Sleep(time.Minute)
				r.MS.ResetCalls()
				r.wantOn("late", v, testsite.HelloAda)
				r.WantCalls(msauthtest.TokenRefresh, 0)
				if v = newest; round == 2 {
					r.wantOn("at the end", v, testsite.HelloAda)
				}
			}
		}, at.Change)
	}
}

// A replica that dies with a lease holds up the others until the lease is over, and
// no longer; the session goes on.
func TestALeaseOfADeadReplicaEnds(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		v := r.SignIn()
		time.Sleep(testsite.AfterExpiry)
		r.MS.Set(func(b *msauthtest.Behavior) {
			b.Delay = map[msauthtest.Kind]time.Duration{msauthtest.TokenRefresh: 14 * time.Second}
		})
		go v.Copy().Fetch("/")
		time.Sleep(time.Second)
		r.shared.down.Store(true) // what the first one has got reaches nobody
		time.Sleep(20 * time.Second)
		r.auths[0].Close(canceled())
		r.shared.down.Store(false)
		r.MS.Set(func(b *msauthtest.Behavior) { b.Delay = nil })
		time.Sleep(15 * time.Second)
		r.MS.ResetCalls()
		if got := v.Copy().At(r.pages[1]).Get("/"); got.Body != testsite.HelloAda || !got.SetsSession() {
			t.Errorf("status %d, %.80q, new cookie %t", got.Status, got.Body, got.SetsSession())
		}
		r.WantCalls(msauthtest.TokenRefresh, 1)
	})
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// What a browser has not got yet is kept for it by all: its cookie from before works
// an hour later, at a replica that did not renew, and after the one that did has died.
func TestAnUndeliveredTokenIsKnownEverywhere(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		strict(r)
		v := r.SignIn()
		time.Sleep(testsite.AfterExpiry)
		r.MS.Set(func(b *msauthtest.Behavior) {
			b.Delay = map[msauthtest.Kind]time.Duration{msauthtest.TokenRefresh: 10 * time.Second}
		})
		v.Copy().Get("/") // gives up after 5 seconds, without the token
		time.Sleep(10 * time.Second)
		r.auths[0].Close(canceled())
		r.MS.Set(func(b *msauthtest.Behavior) { b.Delay = nil })
		time.Sleep(time.Hour / 2)
		r.MS.ResetCalls()
		v = v.Copy().At(r.pages[1])
		if got := v.Get("/?token"); got.Status != http.StatusOK || !got.SetsSession() {
			t.Errorf("status %d, %.80q, new cookie %t", got.Status, got.Body, got.SetsSession())
		}
		r.WantCalls(msauthtest.TokenRefresh, 0)
		time.Sleep(testsite.AfterExpiry)
		v.WantHello("an hour later")
	})
}

// A session that the provider refuses ends everywhere, by one token request.
func TestARefusedSessionEndsEverywhere(t *testing.T) {
	t.Parallel()
	for _, at := range testsite.Services {
		with(t, 3, func(t *testing.T, r *replicas) {
			v := r.SignIn()
			stolen := v.Copy()
			r.MS.Revoke(msauthtest.Ada)
			time.Sleep(testsite.AfterExpiry)
			r.MS.ResetCalls()
			if got := v.Copy().Get("/"); !testsite.ToProvider(got) {
				t.Errorf("status %d, %.80q", got.Status, got.Body)
			}
			time.Sleep(time.Second)
			r.wantOn("a copy", stolen, testsite.HelloNobody)
			r.WantCalls(msauthtest.TokenRefresh, 1)
			r.restart()
			r.wantOn("after a restart", stolen, testsite.HelloNobody)
			r.WantCalls(msauthtest.TokenRefresh, 1)
		}, at.Change)
	}
}

// Of many requests over all replicas with a refresh token that the provider refuses, one
// asks; the others are told.
func TestOneRefusalOverAllReplicas(t *testing.T) {
	t.Parallel()
	with(t, 3, func(t *testing.T, r *replicas) {
		v := r.SignIn()
		r.MS.Revoke(msauthtest.Ada)
		time.Sleep(testsite.AfterExpiry)
		r.MS.ResetCalls()
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				if got := v.Copy().At(r.pages[i%3]).Get("/"); !testsite.ToProvider(got) {
					t.Errorf("status %d, %.80q", got.Status, got.Body)
				}
			})
		}
		all.Wait()
		r.WantCalls(msauthtest.TokenRefresh, 1)
	})
}

// The cookie from before a renewal, which somebody brings long afterwards, is refused
// by a strict provider. That ends the copy, and not the session.
func TestAnOldCookieDoesNotEndTheSession(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		v := r.SignIn()
		old := v.Copy()
		time.Sleep(testsite.AfterExpiry)
		v.WantHello("renewed")
		time.Sleep(10 * time.Minute)
		r.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Error: "invalid_grant", Suberror: "bad_token"}
		})
		if got := old.At(r.pages[1]).Get("/"); !testsite.ToProvider(got) {
			t.Errorf("the old cookie: status %d, %.80q", got.Status, got.Body)
		}
		r.MS.Set(func(b *msauthtest.Behavior) { delete(b.FailAlways, msauthtest.TokenRefresh) })
		time.Sleep(2 * time.Second)
		r.wantOn("the session", v, testsite.HelloAda)
	})
}

// While nobody can tell whether another replica has used the refresh token, because the
// backend fails or has lost its memory, a refusal ends nothing. It counts when the
// backend is steady again, and after five minutes in any case.
func TestARefusalInDoubt(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		doubt func(b *backend)
		mend  func(b *backend)
		until time.Duration
	}{
		{"the backend is down", func(b *backend) { b.down.Store(true) }, func(b *backend) { b.down.Store(false) }, 3 * time.Minute},
		{"and stays down", func(b *backend) { b.down.Store(true) }, func(b *backend) {}, 6 * time.Minute},
		{"it has lost its memory", func(b *backend) { b.lose() }, func(b *backend) {}, 3 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			with(t, 2, func(t *testing.T, r *replicas) {
				v := r.SignIn()
				time.Sleep(testsite.AfterExpiry)
				r.MS.Revoke(msauthtest.Ada)
				test.doubt(r.shared)
				time.Sleep(2 * time.Second)
				for range 3 {
					if got := v.Copy().Get("/"); got.Body != testsite.HelloAda {
						t.Errorf("in doubt: status %d, %.80q", got.Status, got.Body)
					}
					time.Sleep(15 * time.Second)
				}
				test.mend(r.shared)
				time.Sleep(test.until)
				if got := v.Copy().Get("/"); !testsite.ToProvider(got) {
					t.Errorf("out of doubt: status %d, %.80q; log:\n%s", got.Status, got.Body, r.Log)
				}
			})
		})
	}
}

// A token for another API is requested once over all replicas. Where the refresh token
// was used up for it, the others go on with the new one.
func TestTokensForOtherAPIsAreShared(t *testing.T) {
	t.Parallel()
	with(t, 3, func(t *testing.T, r *replicas) {
		strict(r)
		r.MS.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
		r.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
		v := r.SignIn()
		r.MS.ResetCalls()
		tokens := map[string]bool{}
		for i := range r.auths {
			v.Copy().At(r.auths[i].Load(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
				s, ok := msauth.FromContext(req.Context())
				if !ok {
					t.Fatal("nobody is signed in")
				}
				token, err := s.Token(req.Context(), testsite.OrdersRead)
				if err != nil {
					t.Fatal(err)
				}
				tokens[token.AccessToken] = true
			}))).Get("/public/")
			synctest.Wait()
		}
		if len(tokens) != 1 {
			t.Errorf("%d tokens", len(tokens))
		}
		r.WantCalls(msauthtest.TokenRefresh, 1)
		time.Sleep(testsite.AfterExpiry)
		w := v.Copy().At(r.pages[2]) // which did not request it
		w.WantHello("an hour later")
	})
}

// That a person has to do more before there are tokens, which one replica has heard from
// the token endpoint after an API's claims challenge, is known at all.
func TestAClaimsChallengeIsKnownEverywhere(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		v := r.SignIn()
		time.Sleep(time.Second)
		withdraw := r.MS.Challenge(msauthtest.Challenge{})
		defer withdraw()
		r.MS.Set(func(b *msauthtest.Behavior) {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Error: "interaction_required", Suberror: "basic_action", Codes: []int{50076}}
		})
		r.as(v, func(req *http.Request, s *msauth.Session) {
			res, err := s.Client(req.Context()).Get(testsite.GraphMe)
			if err == nil {
				res.Body.Close()
				t.Errorf("the API answers %d", res.StatusCode)
			}
		})
		synctest.Wait()
		time.Sleep(2 * time.Second)
		r.MS.Set(func(b *msauthtest.Behavior) { delete(b.FailAlways, msauthtest.TokenRefresh) })
		for i := range r.pages {
			if got := v.Copy().At(r.pages[i]).Get("/"); got.Body == testsite.HelloAda {
				t.Errorf("replica %d: status %d, %.80q", i, got.Status, got.Body)
			}
		}
	}, func(c *msauth.Config) { c.ContinuousAccess = true })
}

// What is asked of the backend, exactly: see docs/scale.md.
func TestCallsOfTheBackend(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		strict(r)
		r.MS.Set(testsite.Claim("sid", "f00d"))
		var v *testsite.Visitor
		want := func(what string, most int64, f func()) {
			t.Helper()
			if n := r.shared.counted(f); n > most {
				t.Errorf("%s: %d calls, want %d at most", what, n, most)
			} else {
				t.Logf("%s: %d calls", what, n)
			}
		}
		want("a sign-in", 3, func() { v = r.SignIn() })
		want("a page", 0, func() { v.WantHello("a page") })
		want("a sign-in in the place of another", 3, func() { signInAgain(t, r, v) })
		before := v.Copy()
		time.Sleep(testsite.AfterExpiry)
		want("a renewal", 4, func() { v.WantHello("renewed") })
		want("the cookie from before, here", 1, func() { before.Copy().Get("/") })
		want("the cookie from before, elsewhere", 2, func() { before.Copy().At(r.pages[1]).Get("/") })
		want("a page with the new one", 0, func() { v.WantHello("a page") })
		want("a page with the new one, elsewhere", 0, func() { v.Copy().At(r.pages[1]).WantHello("a page") })
		want("SignOutUser", 2, func() { _ = r.auths[0].SignOutUser(t.Context(), r.key(v)) })
		v = r.SignIn()
		want("a sign-out", 2, func() { signOut(t, v) })
		v = r.SignIn()
		r.MS.Revoke(msauthtest.Ada)
		time.Sleep(testsite.AfterExpiry)
		want("a refusal", 4, func() {
			if got := v.Get("/"); !testsite.ToProvider(got) {
				t.Errorf("status %d", got.Status)
			}
		})
	})
}

// In Store mode replicas renew once too, and what has ended does so everywhere.
func TestReplicasWithAStore(t *testing.T) {
	t.Parallel()
	with(t, 3, func(t *testing.T, r *replicas) {
		strict(r)
		v := r.SignIn()
		stolen := v.Copy()
		time.Sleep(testsite.AfterExpiry)
		r.MS.ResetCalls()
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				if got := v.Copy().At(r.pages[i%3]).Get("/"); got.Body != testsite.HelloAda {
					t.Errorf("status %d, %.80q", got.Status, got.Body)
				}
			})
		}
		all.Wait()
		r.WantCalls(msauthtest.TokenRefresh, 1)
		if err := r.auths[2].SignOutUser(t.Context(), r.key(v)); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		r.wantOn("signed out", stolen, testsite.HelloNobody)
	}, func(c *msauth.Config) { c.Store = testsite.NewFiles(t) })
}

// Close waits for a token request under way and for what others are to know of it.
func TestCloseWaits(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		strict(r)
		v := r.SignIn()
		time.Sleep(testsite.AfterExpiry)
		r.MS.Set(func(b *msauthtest.Behavior) {
			b.Delay = map[msauthtest.Kind]time.Duration{msauthtest.TokenRefresh: 8 * time.Second}
		})
		v.Copy().Fetch("/")
		r.MS.Set(func(b *msauthtest.Behavior) { b.Delay = nil })
		began := time.Now()
		if err := r.auths[0].Close(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 2*time.Second || took > 4*time.Second {
			t.Errorf("Close took %v", took)
		}
		r.MS.ResetCalls()
		if got := v.Copy().At(r.pages[1]).Get("/"); got.Body != testsite.HelloAda || !got.SetsSession() {
			t.Errorf("status %d, %.80q", got.Status, got.Body)
		}
		r.WantCalls(msauthtest.TokenRefresh, 0)

		r.shared.down.Store(true)
		signOut(t, v.Copy().At(r.pages[1]))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := r.auths[1].Close(ctx); err == nil {
			t.Error("Close says that nothing is left")
		}
	})
}

// Sessions lists where somebody is signed in, from any replica, and SignOutSession
// ends one of them.
func TestSessions(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		first := r.SignIn()
		began := time.Now()
		time.Sleep(time.Minute)
		second := r.SignIn().At(r.pages[1])
		other := r.SignInNew()
		key := r.key(first)
		list := func() []msauth.UserSession {
			t.Helper()
			list, err := r.auths[1].Sessions(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		got := list()
		if len(got) != 2 || !got[1].Begun.Equal(began) || got[0].ID == got[1].ID || got[0].Current || got[1].Current ||
			!got[1].LastUsed.Equal(began) || !got[1].Ends.Equal(began.Add(7*24*time.Hour)) {
			t.Fatalf("%+v", got)
		}
		r.as(first, func(req *http.Request, s *msauth.Session) {
			own, err := r.auths[0].Sessions(req.Context(), s.User.Key())
			if err != nil || len(own) != 2 || own[0].Current || !own[1].Current {
				t.Errorf("%+v, %v", own, err)
			}
		})
		time.Sleep(testsite.AfterExpiry)
		first.WantHello("renewed")
		synctest.Wait()
		time.Sleep(time.Second)
		if got := list(); !got[1].LastUsed.After(began.Add(time.Hour)) {
			t.Errorf("last used %v after %v", got[1].LastUsed, began)
		}
		for _, id := range []string{"", "x", got[0].ID + "0"} {
			if err := r.auths[0].SignOutSession(t.Context(), key, id); err == nil {
				t.Errorf("%q is a session", id)
			}
		}
		if err := r.auths[0].SignOutSession(t.Context(), r.key(other), got[0].ID); err == nil {
			t.Error("somebody ends another one's session")
		}
		if err := r.auths[0].SignOutSession(t.Context(), key, got[0].ID); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		r.wantOn("the second", second, testsite.HelloNobody)
		r.wantOn("the first", first, testsite.HelloAda)
		if now := list(); len(now) != 1 || now[0].ID != got[1].ID {
			t.Errorf("%+v", now)
		}
		if err := r.auths[0].SignOutUser(t.Context(), key); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if now := list(); len(now) != 0 {
			t.Errorf("%+v", now)
		}
		if _, err := r.auths[0].Sessions(t.Context(), "nobody"); err == nil {
			t.Error("a key that is none")
		}
	})
}

// A key that is replaced takes the names of users' lists with it: they are found under
// all keys.
func TestSessionsUnderOldKeys(t *testing.T) {
	t.Parallel()
	with(t, 1, func(t *testing.T, r *replicas) {
		old := r.SignIn()
		key := r.key(old)
		r.Cfg.Keys = append([][]byte{testsite.NewKey()}, r.Cfg.Keys...)
		i := r.open()
		time.Sleep(time.Minute)
		fresh := r.SignIn().At(r.pages[i])
		signInAt(t, r, i)
		list, err := r.auths[i].Sessions(t.Context(), key)
		if err != nil || len(list) != 3 {
			t.Fatalf("%d sessions, %v", len(list), err)
		}
		r.pages, r.auths = slices.Delete(r.pages, 0, 1), slices.Delete(r.auths, 0, 1)
		if err := r.auths[0].SignOutUser(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.wantOn("old", old, testsite.HelloNobody)
		r.wantOn("fresh", fresh, testsite.HelloNobody)
	})
}

// signInAt signs in at a replica.
func signInAt(t *testing.T, r *replicas, i int) *testsite.Visitor {
	t.Helper()
	before := r.Handler
	r.Handler = r.pages[i]
	defer func() { r.Handler = before }()
	return r.SignIn()
}
