package msauth_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// slowFiles is a store whose next save takes until the gate is open.
type slowFiles struct {
	*files
	hold atomic.Bool
	gate chan struct{}
}

func (f *slowFiles) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if session.Options.MaxAge > 0 && f.hold.CompareAndSwap(true, false) {
		<-f.gate
	}
	return f.files.Save(r, w, session)
}

// A renewal is being saved while the same browser signs in as somebody else: the
// record of before is deleted after that, and stays so.
func TestRecordOfBeforeASignInStaysDeleted(t *testing.T) {
	t.Parallel()
	inner := newFiles(t)
	synctest.Test(t, func(t *testing.T) {
		store := &slowFiles{files: inner, gate: make(chan struct{})}
		s := newSiteInProcess(t, func(c *msauth.Config) { c.Store = store })
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.RefreshIn = time.Hour, 30*time.Minute })
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		still := b.still()
		time.Sleep(due)
		store.hold.Store(true)
		before := b.session()
		renewed, signedIn := make(chan struct{}), make(chan struct{})
		go func() { defer close(renewed); still.get("/") }()
		synctest.Wait()
		s.as(msauthtest.Mia)
		go func() { defer close(signedIn); b.get("/auth/login?prompt=select_account") }()
		synctest.Wait()
		close(store.gate)
		<-renewed
		<-signedIn
		if got := len(inner.records(t)); got != 1 {
			t.Errorf("%d records, want that of the new session alone", got)
		}
		s.restart(t) // a process that knows nothing of it
		copied := s.browser(t)
		for _, cookie := range before {
			copied.keep(cookie.Name, cookie.Value)
		}
		copied.wantGreeting(helloNobody)
	})
}
