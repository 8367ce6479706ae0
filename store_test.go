package msauth_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// files is gorilla's store in a directory. It fails on demand, and lets nobody
// call Get, which rewrites the request.
type files struct {
	*sessions.FilesystemStore
	dir string

	mu    sync.Mutex
	what  string // "New", "Save", or "write": Save of what is not a deletion
	after int    // so many calls go well
	err   error
}

func newFiles(t *testing.T) *files {
	f := &files{dir: t.TempDir()}
	f.FilesystemStore = sessions.NewFilesystemStore(f.dir, newKey())
	f.MaxLength(1 << 16)
	return f
}

// breaks makes calls fail from now on.
func (f *files) breaks(what string, after int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.what, f.after, f.err = what, after, err
}

// works ends that and tells whether any call has failed.
func (f *files) works() (failed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = nil
	return f.after < 0
}

func (f *files) call(what ...string) error {
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

func (f *files) Get(*http.Request, string) (*sessions.Session, error) { panic("Get is called") }

func (f *files) New(r *http.Request, name string) (*sessions.Session, error) {
	if err := f.call("New"); err != nil {
		return sessions.NewSession(f, name), err
	}
	return f.FilesystemStore.New(r, name)
}

func (f *files) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	what := []string{"Save", "write"}
	if session.Options.MaxAge < 0 {
		what = what[:1]
	}
	if err := f.call(what...); err != nil {
		return err
	}
	return f.FilesystemStore.Save(r, w, session)
}

var errStoreDown = errors.New("connection refused by the store")

// records are the names of the files.
func (f *files) records(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// storing runs a test in a bubble where Ada is signed in and sessions are kept
// in files.
func storing(t *testing.T, f func(t *testing.T, s *site, b *browser, store *files)) {
	t.Helper()
	t.Parallel()
	store := newFiles(t)
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t, func(c *msauth.Config) { c.Store = store })
		s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime, b.RefreshIn = time.Hour, 30*time.Minute })
		s.routeTokens()
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		s.ms.ResetCalls()
		f(t, s, b, store)
	})
}

func TestStoreKeepsTheSession(t *testing.T) {
	storing(t, func(t *testing.T, s *site, b *browser, store *files) {
		cookie := b.session()
		if len(cookie) != 1 || len(cookie[0].Value) > 200 || len(store.records(t)) != 1 {
			t.Fatalf("cookies %v, files %v, want one of each", cookie, store.records(t))
		}
		file := filepath.Join(store.dir, store.records(t)[0])
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s.wantNoSecrets(t, "the record", string(before))
		first := b.token()
		for range 3 {
			if res := b.get("/"); res.body != helloAda || len(res.Cookies()) > 0 {
				t.Errorf("page %q, cookies %v", res.body, res.Cookies())
			}
		}
		s.wantNoCalls(t)

		time.Sleep(due)
		res := b.get("/")
		for _, c := range res.Cookies() {
			if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 7*24*3600-31*60 {
				t.Errorf("cookie %v", c)
			}
		}
		if got := b.token(); got == first || len(got) < 1000 {
			t.Errorf("Token: %.40q", got)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
		if after, _ := os.ReadFile(file); string(after) == string(before) || len(store.records(t)) != 1 {
			t.Errorf("the record was not rewritten, or %v", store.records(t))
		}

		s.restart(t) // memory is lost, the store is not
		b.wantGreeting(helloAda)

		old := b.session()[0]
		res = b.still().do("POST", "/auth/logout", ownPage...)
		if res.StatusCode != http.StatusSeeOther || len(b.session()) != 0 || len(store.records(t)) != 0 {
			t.Errorf("status %d, cookies %v, files %v, want all gone", res.StatusCode, b.session(), store.records(t))
		}
		s.restart(t)
		b.keep(old.Name, old.Value)
		b.wantGreeting(helloNobody) // the copy of a cookie opens nothing, in any process
	})
}

func TestStoreKeepsWhatCookiesCannot(t *testing.T) {
	t.Parallel()
	store := newFiles(t)
	s := newSiteInProcess(t, func(c *msauth.Config) { c.Store = store })
	s.ms.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	s.as(msauthtest.Grace)
	s.routeTokens()
	b := s.browser(t)
	if u := b.user("/user"); len(u.Groups) != 200 || u.GroupsOverage {
		t.Errorf("%d groups", len(u.Groups))
	}
	if got := b.token(); len(got) < 10_000 {
		t.Errorf("a token of %d bytes", len(got))
	}
	s.wantCalls(t, msauthtest.TokenRefresh, 0)
}

func TestStoreWithItsOwnLimitIsNamed(t *testing.T) {
	t.Parallel()
	store := newFiles(t)
	store.MaxLength(4096) // gorilla's default
	s := newSiteInProcess(t, func(c *msauth.Config) { c.Store = store })
	var caught error
	s.restart(t, func(c *msauth.Config) {
		c.Page = func(w http.ResponseWriter, r *http.Request, p msauth.Page) {
			caught = p.Err
			w.WriteHeader(p.Status)
			fmt.Fprintf(w, `<html lang="en"><main id="msauth-%s"><code>%s</code>`, p.Kind, p.ID)
		}
	})
	s.as(msauthtest.Ada)
	b := s.browser(t)
	b.wantRefused(b.get("/"), 500, "app-error", "MaxLength(0)")
	if !errors.Is(caught, msauth.ErrCookieTooLarge) {
		t.Errorf("the page's error is %v, want ErrCookieTooLarge", caught)
	}
	if len(b.session()) != 0 || len(store.records(t)) != 0 {
		t.Errorf("cookies %v, files %v", b.session(), store.records(t))
	}
}

func TestSignInMakesANewRecordInPlaceOfTheOld(t *testing.T) {
	storing(t, func(t *testing.T, s *site, b *browser, store *files) {
		old, file := b.session()[0], store.records(t)[0]
		s.as(msauthtest.Bruno)
		res := b.still().get(b.attempt("/auth/login"))
		if n := len(res.Header["Set-Cookie"]); n != 3 { // session, marker, attempt
			t.Errorf("%d Set-Cookie lines, want each name once: %.60q", n, res.Header["Set-Cookie"])
		}
		b.wantGreeting(helloBruno)
		if got := store.records(t); len(got) != 1 || got[0] == file || b.session()[0].Value == old.Value {
			t.Errorf("files %v, want another than %s", got, file)
		}
		s.restart(t)
		b.keep(old.Name, old.Value)
		b.wantGreeting(helloNobody)
	})
}

func TestStoreThatFails(t *testing.T) {
	script := []string{"Sec-Fetch-Mode", "cors", "Accept", "application/json"}
	storing(t, func(t *testing.T, s *site, b *browser, store *files) {
		store.breaks("New", 0, errStoreDown)
		res := b.get("/page")
		s.wantPage(t, res, http.StatusServiceUnavailable, "unavailable", "connection refused by the store")
		if !strings.Contains(res.body, `href="/page"`) {
			t.Errorf("page %s, want a way to try again", res.body)
		}
		for _, res := range []seen{res, b.get("/public/"), b.get("/page", script...)} {
			if len(res.Cookies()) > 0 || res.StatusCode == 303 || res.StatusCode == 401 {
				t.Errorf("status %d, cookies %v", res.StatusCode, res.Cookies())
			}
		}
		b.wantGreeting(helloNobody) // Load goes on
		s.wantNoCalls(t)
		// Signing out is not pretended either.
		res = b.still().do("POST", "/auth/logout", ownPage...)
		s.wantPage(t, res, http.StatusServiceUnavailable, "unavailable", "connection refused by the store")
		store.works()
		if len(store.records(t)) != 1 {
			t.Error("the record is gone")
		}
	})
}

func TestStoreThatFailsInTheMiddleSendsNobodyToMicrosoft(t *testing.T) {
	for _, what := range []string{"New", "Save"} {
		for after := range 4 {
			t.Run(fmt.Sprint(what, after), func(t *testing.T) {
				storing(t, func(t *testing.T, s *site, b *browser, store *files) {
					time.Sleep(due) // this request has something to write
					store.breaks(what, after, errStoreDown)
					res := b.still().get("/page")
					if !store.works() {
						return // there are not so many calls
					}
					if res.StatusCode != 200 && res.StatusCode != 503 || len(res.Cookies()) > 0 {
						t.Errorf("status %d, %d cookies, want 200 or 503 and none; log:\n%s", res.StatusCode, len(res.Cookies()), s.log)
					}
					if len(s.log.with("connection refused by the store")) == 0 {
						t.Errorf("nothing is logged:\n%s", s.log)
					}
					time.Sleep(10 * time.Second)
					b.wantGreeting(helloAda)
					if got := b.token(); len(got) < 1000 {
						t.Errorf("Token: %.40q", got)
					}
					s.wantCalls(t, msauthtest.TokenRefresh, 1) // what could not be written is not lost
				})
			})
		}
	}
}

func TestSignInThatCannotBeStoredLeavesTheOldSession(t *testing.T) {
	tests := []struct {
		name, what string
		err        error
		status     int
		kind       string
	}{
		{"store down", "New", errStoreDown, 503, "unavailable"},
		{"store read-only", "Save", errStoreDown, 503, "unavailable"},
		{"store full", "write", errStoreDown, 503, "unavailable"},
		{"record too large", "write", errors.New("SessionStore: the value to store is too big"), 500, "app-error"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			storing(t, func(t *testing.T, s *site, b *browser, store *files) {
				old := b.session()[0].Value
				s.as(msauthtest.Bruno)
				back := b.attempt("/auth/login")
				store.breaks(test.what, 0, test.err)
				b.wantRefused(b.get(back), test.status, test.kind, test.err.Error())
				store.works()
				if got := b.session(); len(got) != 1 || got[0].Value != old {
					t.Errorf("cookies %v, want the one from before", got)
				}
				b.wantGreeting(helloAda)
			})
		})
	}
}

func TestStoreRecordThatCannotBeReadMeansSignedOut(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, s *site, b *browser, store *files)
	}{
		{"record gone", func(t *testing.T, s *site, b *browser, store *files) {
			os.Remove(filepath.Join(store.dir, store.records(t)[0]))
		}},
		{"record empty", func(t *testing.T, s *site, b *browser, store *files) {
			os.WriteFile(filepath.Join(store.dir, store.records(t)[0]), nil, 0o600)
		}},
		{"record cut", func(t *testing.T, s *site, b *browser, store *files) {
			os.Truncate(filepath.Join(store.dir, store.records(t)[0]), 1000)
		}},
		{"cookie garbage", func(t *testing.T, s *site, b *browser, store *files) { b.keep(b.session()[0].Name, "garbage") }},
		{"cookie changed", func(t *testing.T, s *site, b *browser, store *files) {
			b.keep(b.session()[0].Name, flip(b.session()[0].Value, 20))
		}},
		{"other keys of the store", func(t *testing.T, s *site, b *browser, store *files) {
			store.FilesystemStore = sessions.NewFilesystemStore(store.dir, newKey())
			store.MaxLength(1 << 16)
		}},
		{"other keys of the app", func(t *testing.T, s *site, b *browser, store *files) {
			s.restart(t, func(c *msauth.Config) { c.Keys = [][]byte{newKey()} })
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			storing(t, func(t *testing.T, s *site, b *browser, store *files) {
				test.spoil(t, s, b, store)
				if res := b.get("/page", "Sec-Fetch-Mode", "cors", "Accept", "*/*"); res.StatusCode != http.StatusUnauthorized || len(res.Cookies()) != 0 {
					t.Errorf("a script gets %d and cookies %v, want 401 and none", res.StatusCode, res.Cookies())
				}
				if res := b.still().get("/page"); res.StatusCode != http.StatusSeeOther || len(b.session()) != 0 {
					t.Errorf("status %d, cookies %v, want 303 and none", res.StatusCode, b.session())
				}
				if len(s.log.with("reason=unreadable")) == 0 || len(s.log.with("level=ERROR")) != 0 {
					t.Errorf("log %s", s.log)
				}
				b.signIn(msauthtest.Ada)
			})
		})
	}
}

func TestStoreSharedByTwoProcesses(t *testing.T) {
	storing(t, func(t *testing.T, s *site, b *browser, store *files) {
		s.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		here := s.auth
		time.Sleep(due)
		b.wantGreeting(helloAda) // renewed here
		late := b.session()
		s.restart(t) // from now on the other process answers
		s.routeTokens()
		time.Sleep(due)
		b.wantGreeting(helloAda)
		s.wantCalls(t, msauthtest.TokenRefresh, 2)
		if here == s.auth {
			t.Fatal("it is the same process")
		}
		// Signed out there, signed out here, though this process was not told.
		s.mux.Handle("/here/", here.Load(http.HandlerFunc(hello)))
		if got := b.get("/here/").body; got != helloAda {
			t.Errorf("page %q, want %q", got, helloAda)
		}
		b.still().do("POST", "/auth/logout", ownPage...)
		for _, c := range late {
			b.keep(c.Name, c.Value)
		}
		if got := b.get("/here/").body; got != helloNobody {
			t.Errorf("page %q after the sign-out elsewhere, want %q", got, helloNobody)
		}
	})
}

func TestStoreManyRequestsRenewOnce(t *testing.T) {
	storing(t, func(t *testing.T, s *site, b *browser, store *files) {
		s.ms.Set(func(b *msauthtest.Behavior) {
			b.Rotation = msauthtest.RotateStrict
			b.Delay[msauthtest.TokenRefresh] = 500 * time.Millisecond
		})
		time.Sleep(expired)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if got := b.get("/").body; got != helloAda {
					t.Errorf("page %q, want %q", got, helloAda)
				}
			})
		}
		all.Wait()
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
		if len(store.records(t)) != 1 {
			t.Errorf("files %v, want one", store.records(t))
		}
	})
}

func TestStoreRecordDeletedDuringARenewalStaysDeleted(t *testing.T) {
	storing(t, func(t *testing.T, s *site, b *browser, store *files) {
		s.ms.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 2 * time.Second })
		time.Sleep(expired)
		var res seen
		var done sync.WaitGroup
		done.Go(func() { res = b.still().get("/page", "Sec-Fetch-Mode", "cors", "Accept", "*/*") })
		time.Sleep(time.Second)
		os.Remove(filepath.Join(store.dir, store.records(t)[0])) // another process signs out
		done.Wait()
		if res.StatusCode != http.StatusUnauthorized || len(store.records(t)) != 0 {
			t.Errorf("status %d, files %v, want 401 and none", res.StatusCode, store.records(t))
		}
	})
}

func TestStoreForgottenWithTheBrowser(t *testing.T) {
	t.Parallel()
	store := newFiles(t)
	s := newSiteInProcess(t, func(c *msauth.Config) { c.Store, c.SessionCookie = store, true })
	s.as(msauthtest.Ada)
	b := s.browser(t)
	for name, line := range lines(b.still().get(b.attempt("/")).Header) {
		if sessionCookie.MatchString(name) && (strings.Contains(line, "Max-Age") || strings.Contains(line, "Expires") || !strings.HasSuffix(line, "; Path=/; HttpOnly; Secure; SameSite=Lax")) {
			t.Errorf("line %s, want no age", line)
		}
	}
	b.wantGreeting(helloAda)
}

func TestStoreOfOurOwnIsRefusedAsConfigStore(t *testing.T) {
	t.Parallel()
	cfg := leastConfig()
	store, _ := msauth.NewCookieStore(cfg.Keys...)
	cfg.Store = store
	if _, err := msauth.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "msauth: Config.Store ") {
		t.Errorf("%v, want an error that names Store", err)
	}
}
