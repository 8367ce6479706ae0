package sessions_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestReplicasThatRenewTheSameSessionBothWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.RenewingOffice(t)
		_, other := o.Open()
		v := o.SignIn()
		for i := range 3 {
			time.Sleep(testsite.AfterExpiry)
			// Both get the cookie of before; the browser keeps the last answer.
			old := v.Copy()
			old.At(other).WantHello("at the other replica")
			v.WantHello("at this replica")
			o.WantCalls(msauthtest.TokenRefresh, 2*(i+1)) // wasteful, never fatal
			v.At(other).WantHello("this replica's cookie at the other")
			old.WantHello("the other's cookie at this one")
			o.WantCalls(msauthtest.TokenRefresh, 2*(i+1))
		}
		o.WantCalls(msauthtest.Authorize, 1)
	})
}

// Where a refresh token is good for one use, the replica that comes second is
// refused. Its answer must not take away what the first one gave.
func TestReplicaThatLosesAtAStrictProviderEndsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.RenewingOffice(t)
		o.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		_, other := o.Open()
		v := o.SignIn()
		time.Sleep(testsite.AfterExpiry)
		old := v.Copy()

		v.WantHello("the replica that wins")
		lost := old.At(other).Fetch("/")
		if lost.Status != http.StatusUnauthorized || len(lost.Header["Set-Cookie"]) != 0 {
			t.Errorf("the replica that loses: status %d, cookies %q, want 401 and none", lost.Status, lost.Header["Set-Cookie"])
		}
		// The winner's cookie arrives: the person is signed in at both, the
		// whole life of the token long.
		for range 5 {
			v.At(other).WantHello("the winner's cookie at the loser")
			v.WantHello("the winner's cookie at the winner")
			time.Sleep(10 * time.Minute)
		}
		o.WantCalls(msauthtest.TokenRefresh, 2)

		// A page load at the loser leads to the provider, which knows the
		// person, and on.
		page := old.At(other).Get("/")
		if !testsite.ToProvider(page) {
			t.Fatalf("a page load at the loser: status %d", page.Status)
		}
	})
}

// Two requests reach two replicas in the same moment.
func TestReplicasAtTheSameMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := testsite.RenewingOffice(t)
		o.MS.Set(func(b *msauthtest.Behavior) {
			b.Rotation = msauthtest.RotateStrict
			b.Delay[msauthtest.TokenRefresh] = time.Second
		})
		_, other := o.Open()
		v := o.SignIn()
		time.Sleep(testsite.AfterExpiry)
		var wg sync.WaitGroup
		answers := make([]testsite.Answer, 40)
		visitors := make([]*testsite.Visitor, len(answers))
		for i := range answers {
			visitors[i] = v.Copy()
			if i%2 == 1 {
				visitors[i] = visitors[i].At(other)
			}
			wg.Go(func() { answers[i] = visitors[i].Fetch("/") })
		}
		wg.Wait()
		o.WantCalls(msauthtest.TokenRefresh, 2)
		won := [2]int{}
		for i, a := range answers {
			if a.Status == http.StatusOK {
				won[i%2]++
				visitors[i].WantHello("with the cookie of the one that won")
			} else if len(a.Header["Set-Cookie"]) != 0 {
				t.Errorf("a refused request got cookies %q", a.Header["Set-Cookie"])
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
				o := testsite.RenewingOffice(t)
				o.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = c.delay })
				inner := o.Handler
				slow := o.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(c.handler)
					testsite.Hello(w, r)
				}))
				o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/slow" {
						slow.ServeHTTP(w, r)
						return
					}
					inner.ServeHTTP(w, r)
				})
				v := o.SignIn()
				time.Sleep(testsite.AfterExpiry)
				tab := v.Copy()
				var late testsite.Answer
				var wg sync.WaitGroup
				wg.Go(func() { late = tab.Get("/slow") })
				time.Sleep(time.Second)
				out := v.Do(http.MethodPost, "/auth/logout", "Origin", testsite.OfficeURL, "Sec-Fetch-Site", "same-origin")
				if out.Status != http.StatusSeeOther || len(v.Jar) != 0 {
					t.Fatalf("sign-out: status %d, cookies left %d", out.Status, len(v.Jar))
				}
				wg.Wait()
				if c.handler == 0 && late.SetsSession() {
					t.Error("a renewal that ended after the sign-out was written to a cookie")
				}
				// The late answer comes in last, with whatever it has.
				for name, value := range tab.Jar {
					v.Jar[name] = value
				}
				if got := v.Get("/public/"); got.Body != "hello nobody" {
					t.Errorf("the late answer signed in again: %q", got.Body)
				}
				if got := v.Get("/"); !testsite.ToProvider(got) {
					t.Errorf("status %d, want the sign-in page", got.Status)
				}
				if got := tab.Fetch("/"); got.Status != http.StatusUnauthorized {
					t.Errorf("the old tab's script: status %d, want 401", got.Status)
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
				o := testsite.RenewingOffice(t)
				got := make(chan error, 1)
				inner, started := o.Handler, make(chan bool)
				long := o.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					s, _ := msauth.FromContext(r.Context())
					close(started)
					time.Sleep(2 * time.Hour)
					_, err := s.Token(r.Context())
					got <- err
				}))
				o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/long" {
						long.ServeHTTP(w, r)
						return
					}
					inner.ServeHTTP(w, r)
				})
				v := o.SignIn()
				o.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 3 * time.Second })
				go v.Copy().Get("/long")
				<-started
				time.Sleep(2*time.Hour + c.out)
				v.Do(http.MethodPost, "/auth/logout", "Origin", testsite.OfficeURL, "Sec-Fetch-Site", "same-origin")
				if err := <-got; err == nil || !strings.Contains(err.Error(), msauth.ErrNoSession.Error()) {
					t.Errorf("Token returns %v, want ErrNoSession", err)
				}
			})
		})
	}
}
