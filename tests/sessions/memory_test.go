package sessions_test

import (
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A detachable is a way to a provider that can be cut, so that what the provider holds in
// memory does not count.
type detachable struct {
	base atomic.Pointer[http.RoundTripper]
}

func (d *detachable) RoundTrip(r *http.Request) (*http.Response, error) {
	return (*d.base.Load()).RoundTrip(r)
}

func heap() int64 {
	var m runtime.MemStats
	for range 3 { // pools are emptied in two steps
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Sessions live in cookies: what the process remembers of a crowd is gone with
// the grace period of the renewals and the end of the sessions signed out of.
// Not parallel: goroutines and memory are those of the whole process.
func TestMemoryAndGoroutinesReturnToWhereTheyWere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := testsite.Flood / testsite.ManySessions // of each
		before, goroutines := heap(), runtime.NumGoroutine()

		var wire detachable
		o := testsite.NewOffice(t, func(c *msauth.Config) {
			base := c.HTTPClient.Transport
			wire.base.Store(&base)
			c.HTTPClient = &http.Client{Transport: &wire}
			c.Logger = slog.New(slog.DiscardHandler)
			// Another provider may sign with elliptic curves, which is quick.
			c.Authority, c.Issuer = "", c.Authority+"/generic"
			c.MaxAge, c.IdleTimeout = 2*time.Hour, 2*time.Hour
		})
		o.MS.Set(func(b *msauthtest.Behavior) {
			b.AutoSignIn = msauthtest.Mia
			b.Signing = msauthtest.SignES256
			b.Discovery = func(doc map[string]any) { doc["id_token_signing_alg_values_supported"] = []string{"ES256"} }
			b.AccessTokenLifetime = 30 * time.Minute
			b.OmitIDTokenOnRefresh = true
		})
		people := make([]*testsite.Visitor, testsite.ManySessions)
		for i := range people {
			people[i] = o.SignIn()
		}
		time.Sleep(30 * time.Minute)
		var wg sync.WaitGroup
		for _, part := range [][]*testsite.Visitor{people[:testsite.ManySessions/2], people[testsite.ManySessions/2:]} {
			wg.Go(func() {
				for i, v := range part {
					for range requests {
						if got := v.Fetch("/"); got.Status != http.StatusOK {
							t.Errorf("status %d", got.Status)
						}
					}
					if i%2 == 0 {
						v.Do(http.MethodPost, "/auth/logout", "Origin", testsite.OfficeURL, "Sec-Fetch-Site", "same-origin")
					}
				}
			})
		}
		wg.Wait()
		o.WantCalls(msauthtest.TokenRefresh, testsite.ManySessions)
		if got := o.Auth.Stats(); got.SignOuts != uint64(testsite.ManySessions/2) || got.Renewals != uint64(testsite.ManySessions) {
			t.Errorf("stats %+v", got)
		}

		// Everything but the Middleware is let go of.
		none := http.RoundTripper(testsite.RoundTripper(func(*http.Request) (*http.Response, error) { return nil, http.ErrServerClosed }))
		wire.base.Store(&none)
		auth := o.Auth
		o, people = nil, nil
		full := heap() - before
		time.Sleep(5 * time.Minute) // the grace period, and a sweep
		grace := heap() - before
		time.Sleep(2 * time.Hour)
		after := heap() - before
		t.Logf("%d sessions, %d requests: the process remembers %d KB, after the grace period %d KB, when all sessions are over %d KB; goroutines %d, before %d",
			testsite.ManySessions, testsite.Flood, full>>10, grace>>10, after>>10, runtime.NumGoroutine(), goroutines)
		// What stays is the Middleware itself, keys and discovery.
		if after > 2<<20 {
			t.Errorf("%d KB are left", after>>10)
		}
		if limit := full / 2; testsite.ManySessions >= 5000 && grace > limit {
			t.Errorf("%d KB of %d KB are left after the grace period", grace>>10, full>>10)
		}
		if got := runtime.NumGoroutine(); got > goroutines {
			t.Errorf("%d goroutines, before %d", got, goroutines)
		}
		runtime.KeepAlive(auth)
	})
}
