package sessions_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// slowFiles is a store whose next save takes until the gate is open.
type slowFiles struct {
	*testsite.Files
	hold atomic.Bool
	gate chan struct{}
}

func (f *slowFiles) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if session.Options.MaxAge > 0 && f.hold.CompareAndSwap(true, false) {
		<-f.gate
	}
	return f.Files.Save(r, w, session)
}

// A renewal is being saved while the same browser signs in as somebody else: the
// record of before is deleted after that, and stays so.
func TestRecordOfBeforeASignInStaysDeleted(t *testing.T) {
	t.Parallel()
	inner := testsite.NewFiles(t)
	synctest.Test(t, func(t *testing.T) {
		store := &slowFiles{Files: inner, gate: make(chan struct{})}
		s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Store = store })
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.RefreshIn = time.Hour, 30*time.Minute })
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		still := b.Still()
		time.Sleep(testsite.Due)
		store.hold.Store(true)
		before := b.Session()
		renewed, signedIn := make(chan struct{}), make(chan struct{})
		go func() { defer close(renewed); still.Get("/") }()
		synctest.Wait()
		s.As(msauthtest.Mia)
		go func() { defer close(signedIn); b.Get("/auth/login?prompt=select_account") }()
		synctest.Wait()
		close(store.gate)
		<-renewed
		<-signedIn
		if got := len(inner.Records(t)); got != 1 {
			t.Errorf("%d records, want that of the new session alone", got)
		}
		s.Restart(t) // a process that knows nothing of it
		copied := s.Browser(t)
		for _, cookie := range before {
			copied.Keep(cookie.Name, cookie.Value)
		}
		copied.WantGreeting(testsite.HelloNobody)
	})
}
