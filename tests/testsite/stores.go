package testsite

import (
	"errors"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// FileStore is a store of gorilla's that keeps sessions on the server.
func FileStore(t *testing.T) sessions.Store {
	t.Helper()
	store := sessions.NewFilesystemStore(t.TempDir(), NewKey(), NewKey())
	store.MaxLength(1 << 20)
	return store
}

// Files is gorilla's store in a directory. It fails on demand, and lets nobody
// call Get, which rewrites the request.
type Files struct {
	*sessions.FilesystemStore
	Dir string

	mu    sync.Mutex
	what  string // "New", "Save", or "write": Save of what is not a deletion
	after int    // so many calls go well
	err   error
}

// NewFiles makes a store in a directory of the test's own; nothing fails yet.
func NewFiles(t *testing.T) *Files {
	f := &Files{Dir: t.TempDir()}
	f.FilesystemStore = sessions.NewFilesystemStore(f.Dir, NewKey())
	f.MaxLength(1 << 16)
	return f
}

// Breaks makes calls fail with err once so many of them, after, have gone well.
// What fails is "New", "Save", or "write": Save of what is not a deletion.
func (f *Files) Breaks(what string, after int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.what, f.after, f.err = what, after, err
}

// Works ends that and tells whether any call has failed.
func (f *Files) Works() (failed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = nil
	return f.after < 0
}

func (f *Files) call(what ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil || !slices.Contains(what, f.what) {
		return nil
	}
	if f.after--; f.after >= 0 {
		return nil
	}
	return f.err
}

// Get panics, as nothing may call it.
func (f *Files) Get(*http.Request, string) (*sessions.Session, error) { panic("Get is called") }

// New reads a session as gorilla's store does, or fails as Breaks says, with a new
// session beside the error.
func (f *Files) New(r *http.Request, name string) (*sessions.Session, error) {
	if err := f.call("New"); err != nil {
		return sessions.NewSession(f, name), err
	}
	return f.FilesystemStore.New(r, name)
}

// Save writes or deletes a session as gorilla's store does, or fails as Breaks says
// and changes nothing.
func (f *Files) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	what := []string{"Save", "write"}
	if session.Options.MaxAge < 0 {
		what = what[:1]
	}
	if err := f.call(what...); err != nil {
		return err
	}
	return f.FilesystemStore.Save(r, w, session)
}

// ErrStoreDown is an error for stores to fail with.
var ErrStoreDown = errors.New("connection refused by the store")

// Records are the names of the files.
func (f *Files) Records(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(f.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// Storing runs a test in a bubble where Ada is signed in and sessions are kept
// in files.
func Storing(t *testing.T, f func(t *testing.T, s *Site, b *Browser, store *Files)) {
	t.Helper()
	t.Parallel()
	store := NewFiles(t)
	synctest.Test(t, func(t *testing.T) {
		s := NewInProcess(t, func(c *msauth.Config) { c.Store = store })
		s.MS.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.RefreshIn = time.Hour, 30*time.Minute })
		s.RouteTokens()
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		s.MS.ResetCalls()
		f(t, s, b, store)
	})
}
