package msauth_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// at is the same browser at another process of the app.
func (v *visitor) at(h http.Handler) *visitor {
	c := *v
	c.handler = h
	return &c
}

func TestReplicasThatRenewTheSameSessionBothWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := renewingOffice(t)
		_, other := o.open()
		v := o.signIn()
		for i := range 3 {
			time.Sleep(afterExpiry)
			// Both get the cookie of before; the browser keeps the last answer.
			old := v.copy()
			old.at(other).wantHello("at the other replica")
			v.wantHello("at this replica")
			o.wantCalls(msauthtest.TokenRefresh, 2*(i+1)) // wasteful, never fatal
			v.at(other).wantHello("this replica's cookie at the other")
			old.wantHello("the other's cookie at this one")
			o.wantCalls(msauthtest.TokenRefresh, 2*(i+1))
		}
		o.wantCalls(msauthtest.Authorize, 1)
	})
}

// Where a refresh token is good for one use, the replica that comes second is
// refused. Its answer must not take away what the first one gave.
func TestReplicaThatLosesAtAStrictProviderEndsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := renewingOffice(t)
		o.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		_, other := o.open()
		v := o.signIn()
		time.Sleep(afterExpiry)
		old := v.copy()

		v.wantHello("the replica that wins")
		lost := old.at(other).fetch("/")
		if lost.status != http.StatusUnauthorized || len(lost.header["Set-Cookie"]) != 0 {
			t.Errorf("the replica that loses: status %d, cookies %q, want 401 and none", lost.status, lost.header["Set-Cookie"])
		}
		// The winner's cookie arrives: the person is signed in at both, the
		// whole life of the token long.
		for range 5 {
			v.at(other).wantHello("the winner's cookie at the loser")
			v.wantHello("the winner's cookie at the winner")
			time.Sleep(10 * time.Minute)
		}
		o.wantCalls(msauthtest.TokenRefresh, 2)

		// A page load at the loser leads to the provider, which knows the
		// person, and on.
		page := old.at(other).get("/")
		if !toProvider(page) {
			t.Fatalf("a page load at the loser: status %d", page.status)
		}
	})
}

// Two requests reach two replicas in the same moment.
func TestReplicasAtTheSameMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := renewingOffice(t)
		o.ms.Set(func(b *msauthtest.Behavior) {
			b.Rotation = msauthtest.RotateStrict
			b.Delay[msauthtest.TokenRefresh] = time.Second
		})
		_, other := o.open()
		v := o.signIn()
		time.Sleep(afterExpiry)
		var wg sync.WaitGroup
		answers := make([]answer, 40)
		visitors := make([]*visitor, len(answers))
		for i := range answers {
			visitors[i] = v.copy()
			if i%2 == 1 {
				visitors[i] = visitors[i].at(other)
			}
			wg.Go(func() { answers[i] = visitors[i].fetch("/") })
		}
		wg.Wait()
		o.wantCalls(msauthtest.TokenRefresh, 2)
		won := [2]int{}
		for i, a := range answers {
			if a.status == http.StatusOK {
				won[i%2]++
				visitors[i].wantHello("with the cookie of the one that won")
			} else if len(a.header["Set-Cookie"]) != 0 {
				t.Errorf("a refused request got cookies %q", a.header["Set-Cookie"])
			}
		}
		if won != [2]int{20, 0} && won != [2]int{0, 20} {
			t.Errorf("%v requests were served at the two replicas, want all of one and none of the other", won)
		}
	})
}

// Signing out while a slow renewal is under way: whatever the slow answer
// brings opens nothing.
func TestSignOutWinsOverARenewalInFlight(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		handler time.Duration // how long the handler takes once it runs
		delay   time.Duration // how long the provider takes
	}{
		{"the provider is slow", 0, 3 * time.Second},
		{"the handler is slow", 3 * time.Second, 0},
		{"both are", 3 * time.Second, 1500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := renewingOffice(t)
				o.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = c.delay })
				inner := o.handler
				slow := o.auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(c.handler)
					hello(w, r)
				}))
				o.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/slow" {
						slow.ServeHTTP(w, r)
						return
					}
					inner.ServeHTTP(w, r)
				})
				v := o.signIn()
				time.Sleep(afterExpiry)
				tab := v.copy()
				var late answer
				var wg sync.WaitGroup
				wg.Go(func() { late = tab.get("/slow") })
				time.Sleep(time.Second)
				out := v.do(http.MethodPost, "/auth/logout", "Origin", officeURL, "Sec-Fetch-Site", "same-origin")
				if out.status != http.StatusSeeOther || len(v.jar) != 0 {
					t.Fatalf("sign-out: status %d, cookies left %d", out.status, len(v.jar))
				}
				wg.Wait()
				if c.handler == 0 && late.setsSession() {
					t.Error("a renewal that ended after the sign-out was written to a cookie")
				}
				// The late answer comes in last, with whatever it has.
				for name, value := range tab.jar {
					v.jar[name] = value
				}
				if got := v.get("/public/"); got.body != "hello nobody" {
					t.Errorf("the late answer signed in again: %q", got.body)
				}
				if got := v.get("/"); !toProvider(got) {
					t.Errorf("status %d, want the sign-in page", got.status)
				}
				if got := tab.fetch("/"); got.status != http.StatusUnauthorized {
					t.Errorf("the old tab's script: status %d, want 401", got.status)
				}
			})
		})
	}
}

// A handler that waits for a token when its person signs out gets none.
func TestTokenAfterSignOutIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		out  time.Duration // of the sign-out, after the handler asked
	}{{"before it asks", -time.Second}, {"while the renewal is under way", time.Second}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := renewingOffice(t)
				got := make(chan error, 1)
				inner, started := o.handler, make(chan bool)
				long := o.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					s, _ := msauth.FromContext(r.Context())
					close(started)
					time.Sleep(2 * time.Hour)
					_, err := s.Token(r.Context())
					got <- err
				}))
				o.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/long" {
						long.ServeHTTP(w, r)
						return
					}
					inner.ServeHTTP(w, r)
				})
				v := o.signIn()
				o.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 3 * time.Second })
				go v.copy().get("/long")
				<-started
				time.Sleep(2*time.Hour + c.out)
				v.do(http.MethodPost, "/auth/logout", "Origin", officeURL, "Sec-Fetch-Site", "same-origin")
				if err := <-got; err == nil || !strings.Contains(err.Error(), msauth.ErrNoSession.Error()) {
					t.Errorf("Token returns %v, want ErrNoSession", err)
				}
			})
		})
	}
}
