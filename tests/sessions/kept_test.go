package sessions_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// strictOffice is an office whose provider revokes everything when a refresh
// token is used twice, where every request after a minute notes use.
func strictOffice(t *testing.T, changes ...func(*msauth.Config)) *testsite.Office {
	o := testsite.NewOffice(t, append([]func(*msauth.Config){func(c *msauth.Config) { c.IdleTimeout = 24 * time.Hour }}, changes...)...)
	o.MS.Set(func(b *msauthtest.Behavior) {
		b.Rotation, b.AccessTokenLifetime, b.RefreshIn = msauthtest.RotateStrict, time.Hour, 30*time.Minute
	})
	return o
}

// stuck is a store whose next saves wait, fail or panic.
type stuck struct {
	sessions.Store
	mu   sync.Mutex
	next func(session *sessions.Session) error
}

func (s *stuck) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	s.mu.Lock()
	next := s.next
	s.next = nil
	s.mu.Unlock()
	if next != nil {
		if err := next(session); err != nil {
			return err
		}
	}
	return s.Store.Save(r, w, session)
}

func (s *stuck) once(next func(*sessions.Session) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
}

// However long an old cookie takes to come back.
func TestAnOutcomeThatNoBrowserTookIsKept(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(o *testsite.Office, v *testsite.Visitor, store *stuck){
		"the browser is gone already": func(o *testsite.Office, v *testsite.Visitor, store *stuck) {
			o.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 10 * time.Second })
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			v.Copy().DoContext(ctx, "GET", "/")
			time.Sleep(time.Minute)
			o.MS.Set(func(b *msauthtest.Behavior) { clear(b.Delay) })
		},
		"the provider is slow": func(o *testsite.Office, v *testsite.Visitor, store *stuck) {
			o.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 10 * time.Second })
			v.Copy().Get("/")
			time.Sleep(time.Minute)
			o.MS.Set(func(b *msauthtest.Behavior) { clear(b.Delay) })
		},
		"the browser leaves": func(o *testsite.Office, v *testsite.Visitor, store *stuck) {
			o.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 10 * time.Second })
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			v.Copy().DoContext(ctx, "GET", "/")
			time.Sleep(time.Minute)
			o.MS.Set(func(b *msauthtest.Behavior) { clear(b.Delay) })
		},
		"Save fails": func(o *testsite.Office, v *testsite.Visitor, store *stuck) {
			store.once(func(*sessions.Session) error { return errors.New("disk full") })
			v.Copy().Get("/")
		},
		"Save panics": func(o *testsite.Office, v *testsite.Visitor, store *stuck) {
			store.once(func(*sessions.Session) error { panic("bug in the store") })
			func() {
				defer func() { _ = recover() }()
				v.Copy().Get("/")
			}()
		},
	} {
		for _, kind := range []string{"cookies", "Store"} {
			if kind == "cookies" && (name == "Save fails" || name == "Save panics") {
				continue
			}
			t.Run(kind+": "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					store := &stuck{Store: testsite.FileStore(t)}
					o := strictOffice(t, func(c *msauth.Config) {
						if kind == "Store" {
							c.Store = store
						}
					})
					v := o.SignIn()
					time.Sleep(31 * time.Minute)
					lose(o, v, store)
					time.Sleep(20 * time.Hour)
					v.WantHello("a day later")
					for range 3 {
						time.Sleep(2 * time.Hour)
						v.WantHello("afterwards")
					}
					if n := o.MS.Count(msauthtest.Authorize); n != 1 {
						t.Errorf("%d sign-ins; log:\n%s", n, o.Log)
					}
				})
			})
		}
	}
}

// An answer that only notes use and comes last has the older token in it.
func TestALateAnswerThatNotesUseLosesNoToken(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{time.Second, time.Hour, 7 * time.Hour} {
		t.Run(wait.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := strictOffice(t, func(c *msauth.Config) { c.IdleTimeout = 8 * time.Hour })
				v := o.SignIn()
				time.Sleep(29 * time.Minute) // use is noted every 20, tokens are due after 30
				slow := v.Copy()
				late := slow.Get("/")
				if !late.SetsSession() {
					t.Fatal("the answer does not note use")
				}
				o.WantCalls(msauthtest.TokenRefresh, 0)
				time.Sleep(10 * time.Minute)
				v.WantHello("a renewal")
				v.WantHello("and its cookie")
				o.WantCalls(msauthtest.TokenRefresh, 1)
				v.Receive(late.Header["Set-Cookie"])
				time.Sleep(wait)
				v.WantHello("with the late cookie")
				time.Sleep(time.Hour)
				v.WantHello("and on")
				if n := o.MS.Count(msauthtest.Authorize); n != 1 {
					t.Errorf("%d sign-ins; log:\n%s", n, o.Log)
				}
			})
		})
	}
}

// Across two processes: the store has the newer record when the save of the
// older one comes.
func TestALateSaveInStoreReplacesNothingNewer(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			dir, key := t.TempDir(), testsite.NewKey()
			open := func() *sessions.FilesystemStore {
				f := sessions.NewFilesystemStore(dir, key)
				f.MaxLength(1 << 16)
				return f
			}
			slow := &slowRead{Store: open()}
			o := strictOffice(t, func(c *msauth.Config) { c.Store, c.IdleTimeout = slow, 8*time.Hour })
			other := o.Handler
			if replicas == 2 {
				o.Cfg.Store = open()
				_, other = o.Open()
			}
			v := o.SignIn()
			time.Sleep(29 * time.Minute)
			// One request is about to note use, and takes its time; meanwhile
			// another renews.
			started, goOn := make(chan struct{}), make(chan struct{})
			slow.hold(started, goOn)
			var done sync.WaitGroup
			tab := v.Copy()
			done.Go(func() { tab.Get("/") })
			<-started
			time.Sleep(2 * time.Minute)
			v.At(other).WantHello("a renewal")
			o.WantCalls(msauthtest.TokenRefresh, 1)
			close(goOn)
			done.Wait()
			for range 3 {
				time.Sleep(40 * time.Minute)
				v.WantHello("at the one")
				v.At(other).WantHello("at the other")
			}
			if n := o.MS.Count(msauthtest.Authorize); n != 1 {
				t.Errorf("%d sign-ins; log:\n%s", n, o.Log)
			}
		})
	}
}

// slowRead holds the second reading from now on back after it has read: that by
// which a request that writes looks whether the record is still there.
type slowRead struct {
	sessions.Store
	mu            sync.Mutex
	reads         int
	started, goOn chan struct{}
}

func (s *slowRead) hold(started, goOn chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads, s.started, s.goOn = 0, started, goOn
}

func (s *slowRead) New(r *http.Request, name string) (*sessions.Session, error) {
	session, err := s.Store.New(r, name)
	s.mu.Lock()
	var started, goOn chan struct{}
	if s.reads++; s.reads == 2 {
		started, goOn = s.started, s.goOn
	}
	s.mu.Unlock()
	if started != nil {
		close(started)
		<-goOn
	}
	return session, err
}

// Whoever can write the store puts one record in the place of another.
func TestARecordInAnothersPlaceOpensNothing(t *testing.T) {
	t.Parallel()
	store := testsite.NewFiles(t)
	s := testsite.New(t, func(c *msauth.Config) { c.Store = store })
	ada, bruno := s.Browser(t), s.Browser(t)
	ada.SignIn(msauthtest.Ada)
	adas := store.Records(t)
	bruno.SignIn(msauthtest.Bruno)
	var brunos string
	for _, name := range store.Records(t) {
		if name != adas[0] {
			brunos = name
		}
	}
	if len(adas) != 1 || len(store.Records(t)) != 2 {
		t.Fatalf("records %q, then %q", adas, store.Records(t))
	}
	// FilesystemStore seals its files with a key of its own, for no file in
	// particular.
	text, err := os.ReadFile(filepath.Join(store.Dir, adas[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(store.Dir, brunos), text, 0o600); err != nil {
		t.Fatal(err)
	}
	bruno.WantGreeting(testsite.HelloNobody)
	ada.WantGreeting(testsite.HelloAda)
}

// A store that keeps nothing has no ids.
func TestAStoreWithoutIDsWorks(t *testing.T) {
	t.Parallel()
	cookies := sessions.NewCookieStore(testsite.NewKey(), testsite.NewKey())
	for _, codec := range cookies.Codecs {
		codec.(*securecookie.SecureCookie).MaxLength(0)
	}
	renewing := func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.RefreshIn = time.Hour, 30*time.Minute }
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Store = cookies })
		s.MS.Set(renewing)
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		for range 3 {
			time.Sleep(testsite.Due)
			b.WantGreeting(testsite.HelloAda)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 3)
		s.WantCalls(t, msauthtest.Authorize, 1)
	})
}
