package shared_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// signOut presses the button of a page of the site.
func signOut(t *testing.T, v *testsite.Visitor) {
	t.Helper()
	if got := v.Get("/auth/logout", testsite.SameOrigin...); got.Status != http.StatusSeeOther {
		t.Fatalf("signing out: status %d", got.Status)
	}
}

// However a session is ended, a copy of its cookie opens nothing at any replica a
// second later, nor after all of them were restarted.
func TestACopiedCookieIsWorthlessEverywhere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  func(t *testing.T, r *replicas, v *testsite.Visitor)
	}{
		{"sign-out", func(t *testing.T, r *replicas, v *testsite.Visitor) { signOut(t, v) }},
		{"SignOutUser", func(t *testing.T, r *replicas, v *testsite.Visitor) {
			if err := r.auths[1].SignOutUser(t.Context(), r.key(v)); err != nil {
				t.Error(err)
			}
		}},
		{"SignOutSession", func(t *testing.T, r *replicas, v *testsite.Visitor) {
			list, err := r.auths[1].Sessions(t.Context(), r.key(v))
			if err != nil || len(list) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			if err := r.auths[1].SignOutSession(t.Context(), r.key(v), list[0].ID); err != nil {
				t.Error(err)
			}
		}},
		{"front-channel logout at another replica", func(t *testing.T, r *replicas, v *testsite.Visitor) {
			if got := r.Visitor().At(r.pages[2]).Get("/auth/front-channel-logout?sid=f00d", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "cross-site"); got.Status != http.StatusOK {
				t.Errorf("status %d", got.Status)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			with(t, 3, func(t *testing.T, r *replicas) {
				r.MS.Set(testsite.Claim("sid", "f00d"))
				v := r.SignIn()
				stolen := v.Copy()
				r.wantOn("at first", stolen, testsite.HelloAda)
				test.end(t, r, v)
				time.Sleep(time.Second)
				r.wantOn("a second later", stolen, testsite.HelloNobody)
				r.restart()
				r.wantOn("after a restart", stolen, testsite.HelloNobody)
				again := r.SignIn()
				r.wantOn("who signs in again", again, testsite.HelloAda)
			})
		})
	}
}

// A sign-in that replaces a session of somebody else ends it everywhere at once; one of
// the same account leaves it a grace period.
func TestAReplacedSessionEndsEverywhere(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		v := r.SignIn()
		old := v.Copy()
		r.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Bruno })
		signInAgain(t, r, v)
		time.Sleep(time.Second)
		r.wantOn("the new person", v, testsite.HelloBruno)
		r.wantOn("the one before", old, testsite.HelloNobody)
	})
}

// signInAgain has a visitor who is signed in sign in once more.
func signInAgain(t *testing.T, r *replicas, v *testsite.Visitor) {
	t.Helper()
	to := v.Get("/auth/login", testsite.SameOrigin...)
	req, err := http.NewRequest(http.MethodGet, to.Header.Get("Location"), nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := r.MS.Transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Get(strings.TrimPrefix(back.Header.Get("Location"), testsite.OfficeURL)); got.Status != http.StatusSeeOther {
		t.Fatalf("callback: status %d, %s", got.Status, got.Body)
	}
	v.Get("/public/")
}

// What is before and what after SignOutUser is told by the log: whoever signs in after
// it is in, in the same second, at whichever replica, whatever the clocks say.
func TestSigningInRightAfterSignOutUser(t *testing.T) {
	t.Parallel()
	with(t, 3, func(t *testing.T, r *replicas) {
		before := r.SignIn()
		for i := range r.auths {
			if err := r.auths[i].SignOutUser(t.Context(), r.key(before)); err != nil {
				t.Fatal(err)
			}
			after := r.SignIn()
			r.wantOn("who signs in after it", after, testsite.HelloAda)
			time.Sleep(time.Second)
			r.wantOn("a second later", after, testsite.HelloAda)
			r.wantOn("who signed in before", before, testsite.HelloNobody)
			before = after
		}
	})
}

// SignOutUser does not touch other accounts.
func TestSignOutUserIsAboutOneAccount(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		ada, other := r.SignIn(), r.SignInNew()
		if err := r.auths[0].SignOutUser(t.Context(), strings.ToUpper(r.key(ada))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.wantOn("the account", ada, testsite.HelloNobody)
		r.wantOn("another one", other, testsite.HelloAda)
		for _, key := range []string{"", "ada", r.key(other) + "x"} {
			if err := r.auths[0].SignOutUser(t.Context(), key); err == nil {
				t.Errorf("%q is taken for a key", key)
			}
		}
	})
}

// While the backend fails, a sign-out holds where it was made and is told when the
// backend is back. What is weaker is logged once and stands in Stats.
func TestSigningOutDuringAnOutage(t *testing.T) {
	t.Parallel()
	for _, fault := range []struct {
		name string
		set  func(b *backend, on bool)
	}{
		{"refuses", func(b *backend, on bool) { b.down.Store(on) }},
		{"hangs", func(b *backend, on bool) { b.hangs.Store(on) }},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			with(t, 2, func(t *testing.T, r *replicas) {
				first, second, third := r.SignIn(), r.SignInNew(), r.SignInNew()
				fault.set(r.shared, true)
				began := time.Now()
				signOut(t, first.Copy())
				if took := time.Since(began); took > 1500*time.Millisecond {
					t.Errorf("signing out took %v", took)
				}
				if err := r.auths[0].SignOutUser(t.Context(), r.key(second)); !errors.Is(err, msauth.ErrSharedUnavailable) {
					t.Errorf("SignOutUser: %v", err)
				}
				for i, v := range []*testsite.Visitor{first, second} {
					if got := v.Copy().Get("/public/"); got.Body != testsite.HelloNobody {
						t.Errorf("%d: here: %q", i, got.Body)
					}
					if got := v.Copy().At(r.pages[1]).Get("/public/"); got.Body != testsite.HelloAda {
						t.Errorf("%d: there: %q", i, got.Body)
					}
				}
				fourth := r.SignInNew() // people can sign in meanwhile
				stats := r.auths[0].Stats()
				if !slices.Contains(stats.Degraded, "shared state fails") || stats.SharedQueue < 2 {
					t.Errorf("degraded %q, %d in the queue", stats.Degraded, stats.SharedQueue)
				}
				time.Sleep(time.Minute)
				fault.set(r.shared, false)
				time.Sleep(5 * time.Second)
				r.wantOn("signed out", first, testsite.HelloNobody)
				r.wantOn("signed out by an administrator", second, testsite.HelloNobody)
				r.wantOn("somebody else", third, testsite.HelloAda)
				r.wantOn("signed in meanwhile", fourth, testsite.HelloAda)
				if stats := r.auths[0].Stats(); len(stats.Degraded) != 0 || stats.SharedQueue != 0 {
					t.Errorf("degraded %q, %d in the queue", stats.Degraded, stats.SharedQueue)
				}
				if lines := r.Log.With("event=degraded "); len(lines) != 2 { // one for each replica
					t.Errorf("log lines: %q", lines)
				}
				if err := r.auths[1].SignOutUser(t.Context(), r.key(fourth)); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
				r.wantOn("signed in meanwhile, signed out now", fourth, testsite.HelloNobody)
			})
		})
	}
}

// A backend that comes back empty is filled from what the replicas know, so that a
// replica that starts afterwards knows it too. It happens once, not by each.
func TestAnEmptiedBackendIsFilledAgain(t *testing.T) {
	t.Parallel()
	with(t, 3, func(t *testing.T, r *replicas) {
		out, user, in := r.SignIn(), r.SignInNew(), r.SignInNew()
		signOut(t, out.Copy())
		key := r.key(user)
		if err := r.auths[2].SignOutUser(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		r.shared.appends = nil
		r.shared.lose()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(r.shared.appends); n != 1 {
			t.Errorf("%d entries in the new log, want 1", n)
		}
		r.restart()
		r.wantOn("signed out", out, testsite.HelloNobody)
		r.wantOn("signed out by an administrator", user, testsite.HelloNobody)
		r.wantOn("somebody else", in, testsite.HelloAda)
		if lines := r.Log.With("event=shared_lost"); len(lines) != 3 {
			t.Errorf("log lines: %q", lines)
		}
	})
}

// Entries that are forged, altered, of another app, or repeated, end nothing that
// they did not end before.
func TestEntriesOfOthersEndNothing(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		v := r.SignIn()
		key := r.key(v)
		if err := r.auths[0].SignOutUser(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		genuine := r.shared.appends[len(r.shared.appends)-1]
		time.Sleep(11 * time.Minute)
		v = r.SignIn()
		append := func(entry []byte) {
			if _, err := r.shared.shared().Append(t.Context(), genuine.log, entry, time.Hour); err != nil {
				t.Error(err)
			}
		}
		append(genuine.entry) // a repetition
		for i := range genuine.entry {
			bad := slices.Clone(genuine.entry)
			bad[i] ^= 1
			append(bad)
		}
		append([]byte("garbage"))
		append(genuine.entry[:5])
		time.Sleep(2 * time.Second)
		r.wantOn("after all that", v, testsite.HelloAda)
		if lines := r.Log.With("event=shared_unreadable"); len(lines) == 0 || len(lines) > 2 {
			t.Errorf("log lines: %q", lines)
		}
		signOut(t, v.Copy())
		time.Sleep(time.Second)
		r.wantOn("a real sign-out", v, testsite.HelloNobody)
	})
}

// Two apps on one backend, with the same keys even, know nothing of each other.
func TestTwoAppsShareNothing(t *testing.T) {
	t.Parallel()
	with(t, 1, func(t *testing.T, r *replicas) {
		other := r.Cfg
		other.BaseURL = "https://other.test/auth"
		auth, err := msauth.New(other)
		if err != nil {
			t.Fatal(err)
		}
		defer auth.Close(t.Context())
		v := r.SignIn()
		time.Sleep(time.Second)
		if list, err := auth.Sessions(t.Context(), r.key(v)); err != nil || len(list) != 0 {
			t.Errorf("the other app lists %v, %v", list, err)
		}
		if err := auth.SignOutUser(t.Context(), r.key(v)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		r.wantOn("signed out of another app", v, testsite.HelloAda)
	})
}

// The first page waits until the log is read, 5 seconds at most, and says if it goes
// on without.
func TestTheFirstPageWaitsForTheLog(t *testing.T) {
	t.Parallel()
	with(t, 1, func(t *testing.T, r *replicas) {
		v := r.SignIn()
		stolen := v.Copy()
		signOut(t, v)
		r.shared.hangs.Store(true)
		i := r.open()
		time.AfterFunc(2*time.Second, func() { r.shared.hangs.Store(false) })
		began := time.Now()
		if got := stolen.Copy().At(r.pages[i]).Get("/public/"); got.Body != testsite.HelloNobody {
			t.Errorf("%q after %v", got.Body, time.Since(began))
		}
		if took := time.Since(began); took < 2*time.Second || took >= 5*time.Second {
			t.Errorf("the page took %v", took)
		}
		r.shared.hangs.Store(true)
		i = r.open()
		began = time.Now()
		if got := r.Visitor().At(r.pages[i]).Get("/public/"); got.Body != testsite.HelloNobody || time.Since(began) > 0 {
			t.Errorf("without a cookie: %q after %v", got.Body, time.Since(began))
		}
		if got := stolen.Copy().At(r.pages[i]).Get("/public/"); got.Body != testsite.HelloAda {
			t.Errorf("%q after %v", got.Body, time.Since(began))
		}
		if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("the page took %v", took)
		}
		began = time.Now()
		if stolen.Copy().At(r.pages[i]).Get("/public/"); time.Since(began) > 0 {
			t.Errorf("the next page took %v", time.Since(began))
		}
		if lines := r.Log.With("event=shared_unread"); len(lines) != 1 {
			t.Errorf("log lines: %q", lines)
		}
		r.shared.hangs.Store(false)
	})
}

// Whoever calls the front-channel address a thousand times a second, with ids of nobody
// or of a megabyte, ends nothing and leaves nothing behind.
func TestFrontChannelCallsOfStrangers(t *testing.T) {
	t.Parallel()
	with(t, 2, func(t *testing.T, r *replicas) {
		r.MS.Set(testsite.Claim("sid", "f00d"))
		v := r.SignIn()
		synctest.Wait()
		r.Log.Reset()
		r.shared.appends = nil
		for i := range 1000 {
			sid := fmt.Sprintf("f00d%d", i)
			if i%100 == 0 {
				sid = strings.Repeat("f", 1<<20)
			}
			if got := r.Visitor().Get("/auth/front-channel-logout?sid=" + sid); got.Status != http.StatusOK {
				t.Fatalf("status %d", got.Status)
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.wantOn("after that", v, testsite.HelloAda)
		if n := len(r.shared.appends); n != 0 {
			t.Errorf("%d entries in the log of what has ended", n)
		}
		if lines := strings.Count(r.Log.String(), "\n"); lines > 1 {
			t.Errorf("%d lines in the log", lines)
		}
		r.Visitor().Get("/auth/front-channel-logout?sid=f00d")
		time.Sleep(time.Second)
		r.wantOn("the one that is known", v, testsite.HelloNobody)
	})
}
