package sessions_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"time"

	"example.com/msauth/tests/testsite"
)

// Strangers who send garbage all the time take nobody's place among those who wait
// for a look at a key file that has changed.
func TestFloodDuringARotationSignsNobodyOut(t *testing.T) {
	t.Parallel()
	a, b := testsite.NewKey(), testsite.NewKey()
	shared := testsite.NewKeyFile(t, a)
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, []testsite.KeyFile{shared, shared, shared})
		f.signIn(0, 0)
		f.settle()
		time.Sleep(testsite.AfterExpiry)
		for _, handler := range f.handlers {
			f.Visitor().At(handler).Get("/public/")
		}
		time.Sleep(2 * time.Second)
		f.garbage(f.handlers[1]) // it looks at this moment
		shared.Write(t, b, a)
		f.garbage(f.handlers[0])
		v := f.visitors[0]
		v.At(f.handlers[0]).WantHello("the renewal") // sealed with the new key
		var flood sync.WaitGroup
		for range 150 {
			flood.Go(func() {
				r := httptest.NewRequest("GET", "https://app.test/auth/login?sealed="+strings.Repeat("A", 400), nil)
				f.handlers[1].ServeHTTP(httptest.NewRecorder(), r)
			})
		}
		time.Sleep(time.Millisecond)
		if ids := f.auths[1].Stats().KeyIDs; len(ids) != 1 {
			t.Fatalf("process 1 has noticed already: %q", ids)
		}
		if got := v.At(f.handlers[1]).Get("/"); got.Status != http.StatusOK || got.ClearsSession() {
			t.Errorf("status %d, cleared %t", got.Status, got.ClearsSession())
		}
		flood.Wait()
	})
}
