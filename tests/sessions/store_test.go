package sessions_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestStoreKeepsTheSession(t *testing.T) {
	testsite.Storing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
		cookie := b.Session()
		if len(cookie) != 1 || len(cookie[0].Value) > 200 || len(store.Records(t)) != 1 {
			t.Fatalf("cookies %v, files %v, want one of each", cookie, store.Records(t))
		}
		file := filepath.Join(store.Dir, store.Records(t)[0])
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s.WantNoSecrets(t, "the record", string(before))
		first := b.Token()
		for range 3 {
			if res := b.Get("/"); res.Text != testsite.HelloAda || len(res.Cookies()) > 0 {
				t.Errorf("page %q, cookies %v", res.Text, res.Cookies())
			}
		}
		s.WantNoCalls(t)

		time.Sleep(testsite.Due)
		res := b.Get("/")
		for _, c := range res.Cookies() {
			if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 7*24*3600-31*60 {
				t.Errorf("cookie %v", c)
			}
		}
		if got := b.Token(); got == first || len(got) < 1000 {
			t.Errorf("Token: %.40q", got)
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		if after, _ := os.ReadFile(file); string(after) == string(before) || len(store.Records(t)) != 1 {
			t.Errorf("the record was not rewritten, or %v", store.Records(t))
		}

		s.Restart(t) // memory is lost, the store is not
		b.WantGreeting(testsite.HelloAda)

		old := b.Session()[0]
		res = b.Still().Request("POST", "/auth/logout", testsite.OwnPage...)
		if res.StatusCode != http.StatusSeeOther || len(b.Session()) != 0 || len(store.Records(t)) != 0 {
			t.Errorf("status %d, cookies %v, files %v, want all gone", res.StatusCode, b.Session(), store.Records(t))
		}
		s.Restart(t)
		b.Keep(old.Name, old.Value)
		b.WantGreeting(testsite.HelloNobody) // the copy of a cookie opens nothing, in any process
	})
}

func TestStoreKeepsWhatCookiesCannot(t *testing.T) {
	t.Parallel()
	store := testsite.NewFiles(t)
	s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Store = store })
	s.MS.Set(func(b *msauthtest.Behavior) { b.GroupClaims = true })
	s.As(msauthtest.Grace)
	s.RouteTokens()
	b := s.Browser(t)
	if u := b.User(); len(u.Groups) != 200 || u.GroupsOverage {
		t.Errorf("%d groups", len(u.Groups))
	}
	if got := b.Token(); len(got) < 10_000 {
		t.Errorf("a token of %d bytes", len(got))
	}
	s.WantCalls(t, msauthtest.TokenRefresh, 0)
}

func TestStoreWithItsOwnLimitIsNamed(t *testing.T) {
	t.Parallel()
	store := testsite.NewFiles(t)
	store.MaxLength(4096) // gorilla's default
	s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Store = store })
	var caught error
	s.Restart(t, func(c *msauth.Config) {
		c.Page = func(w http.ResponseWriter, r *http.Request, p msauth.Page) {
			caught = p.Err
			w.WriteHeader(p.Status)
			fmt.Fprintf(w, `<html lang="en" dir="ltr"><main id="msauth-%s"><code>%s</code>`, p.Kind, p.ID)
		}
	})
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	b.WantRefused(b.Get("/"), 500, "app-error", "MaxLength(0)")
	if !errors.Is(caught, msauth.ErrCookieTooLarge) {
		t.Errorf("the page's error is %v, want ErrCookieTooLarge", caught)
	}
	if len(b.Session()) != 0 || len(store.Records(t)) != 0 {
		t.Errorf("cookies %v, files %v", b.Session(), store.Records(t))
	}
}

func TestSignInMakesANewRecordInPlaceOfTheOld(t *testing.T) {
	testsite.Storing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
		old, file := b.Session()[0], store.Records(t)[0]
		s.As(msauthtest.Bruno)
		res := b.Still().Get(b.Attempt("/auth/login"))
		if n := len(res.Header["Set-Cookie"]); n != 3 { // session, marker, attempt
			t.Errorf("%d Set-Cookie lines, want each name once: %.60q", n, res.Header["Set-Cookie"])
		}
		b.WantGreeting(testsite.HelloBruno)
		if got := store.Records(t); len(got) != 1 || got[0] == file || b.Session()[0].Value == old.Value {
			t.Errorf("files %v, want another than %s", got, file)
		}
		s.Restart(t)
		b.Keep(old.Name, old.Value)
		b.WantGreeting(testsite.HelloNobody)
	})
}

func TestStoreThatFails(t *testing.T) {
	script := []string{"Sec-Fetch-Mode", "cors", "Accept", "application/json"}
	testsite.Storing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
		store.Breaks("New", 0, testsite.ErrStoreDown)
		res := b.Get("/page")
		s.WantPage(t, res, http.StatusServiceUnavailable, "unavailable", "connection refused by the store")
		if !strings.Contains(res.Text, `href="/page"`) {
			t.Errorf("page %s, want a way to try again", res.Text)
		}
		for _, res := range []testsite.Seen{res, b.Get("/public/"), b.Get("/page", script...)} {
			if len(res.Cookies()) > 0 || res.StatusCode == 303 || res.StatusCode == 401 {
				t.Errorf("status %d, cookies %v", res.StatusCode, res.Cookies())
			}
		}
		b.WantGreeting(testsite.HelloNobody) // Load goes on
		s.WantNoCalls(t)
		// Signing out is not pretended either.
		res = b.Still().Request("POST", "/auth/logout", testsite.OwnPage...)
		s.WantPage(t, res, http.StatusServiceUnavailable, "unavailable", "connection refused by the store")
		store.Works()
		if len(store.Records(t)) != 1 {
			t.Error("the record is gone")
		}
	})
}

func TestStoreThatFailsInTheMiddleSendsNobodyToMicrosoft(t *testing.T) {
	for _, what := range []string{"New", "Save"} {
		for after := range 4 {
			t.Run(fmt.Sprint(what, after), func(t *testing.T) {
				testsite.Storing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
					time.Sleep(testsite.Due) // this request has something to write
					store.Breaks(what, after, testsite.ErrStoreDown)
					res := b.Still().Get("/page")
					if !store.Works() {
						return // there are not so many calls
					}
					if res.StatusCode != 200 && res.StatusCode != 503 || len(res.Cookies()) > 0 {
						t.Errorf("status %d, %d cookies, want 200 or 503 and none; log:\n%s", res.StatusCode, len(res.Cookies()), s.Log)
					}
					if len(s.Log.With("connection refused by the store")) == 0 {
						t.Errorf("nothing is logged:\n%s", s.Log)
					}
					time.Sleep(10 * time.Second)
					b.WantGreeting(testsite.HelloAda)
					if got := b.Token(); len(got) < 1000 {
						t.Errorf("Token: %.40q", got)
					}
					s.WantCalls(t, msauthtest.TokenRefresh, 1) // what could not be written is not lost
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
		{"store down", "New", testsite.ErrStoreDown, 503, "unavailable"},
		{"store read-only", "Save", testsite.ErrStoreDown, 503, "unavailable"},
		{"store full", "write", testsite.ErrStoreDown, 503, "unavailable"},
		{"record too large", "write", errors.New("SessionStore: the value to store is too big"), 500, "app-error"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			testsite.Storing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
				old := b.Session()[0].Value
				s.As(msauthtest.Bruno)
				back := b.Attempt("/auth/login")
				store.Breaks(test.what, 0, test.err)
				b.WantRefused(b.Get(back), test.status, test.kind, test.err.Error())
				store.Works()
				if got := b.Session(); len(got) != 1 || got[0].Value != old {
					t.Errorf("cookies %v, want the one from before", got)
				}
				b.WantGreeting(testsite.HelloAda)
			})
		})
	}
}

func TestStoreRecordThatCannotBeReadMeansSignedOut(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files)
	}{
		{"record gone", func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
			os.Remove(filepath.Join(store.Dir, store.Records(t)[0]))
		}},
		{"record empty", func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
			os.WriteFile(filepath.Join(store.Dir, store.Records(t)[0]), nil, 0o600)
		}},
		{"record cut", func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
			os.Truncate(filepath.Join(store.Dir, store.Records(t)[0]), 1000)
		}},
		{"cookie garbage", func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
			b.Keep(b.Session()[0].Name, "garbage")
		}},
		{"cookie changed", func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
			b.Keep(b.Session()[0].Name, testsite.Flip(b.Session()[0].Value, 20))
		}},
		{"other keys of the store", func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
			store.FilesystemStore = sessions.NewFilesystemStore(store.Dir, testsite.NewKey())
			store.MaxLength(1 << 16)
		}},
		{"other keys of the app", func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
			s.Restart(t, func(c *msauth.Config) { c.Keys = [][]byte{testsite.NewKey()} })
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			testsite.Storing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
				test.spoil(t, s, b, store)
				if res := b.Get("/page", "Sec-Fetch-Mode", "cors", "Accept", "*/*"); res.StatusCode != http.StatusUnauthorized || len(res.Cookies()) != 0 {
					t.Errorf("a script gets %d and cookies %v, want 401 and none", res.StatusCode, res.Cookies())
				}
				if res := b.Still().Get("/page"); res.StatusCode != http.StatusSeeOther || len(b.Session()) != 0 {
					t.Errorf("status %d, cookies %v, want 303 and none", res.StatusCode, b.Session())
				}
				if len(s.Log.With("reason=unreadable")) == 0 || len(s.Log.With("level=ERROR")) != 0 {
					t.Errorf("log %s", s.Log)
				}
				b.SignIn(msauthtest.Ada)
			})
		})
	}
}

func TestStoreSharedByTwoProcesses(t *testing.T) {
	testsite.Storing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
		s.MS.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
		here := s.Auth
		time.Sleep(testsite.Due)
		b.WantGreeting(testsite.HelloAda) // renewed here
		late := b.Session()
		s.Restart(t) // from now on the other process answers
		s.RouteTokens()
		time.Sleep(testsite.Due)
		b.WantGreeting(testsite.HelloAda)
		s.WantCalls(t, msauthtest.TokenRefresh, 2)
		if here == s.Auth {
			t.Fatal("it is the same process")
		}
		// Signed out there, signed out here, though this process was not told.
		s.Mux.Handle("/here/", here.Load(http.HandlerFunc(testsite.Hello)))
		if got := b.Get("/here/").Text; got != testsite.HelloAda {
			t.Errorf("page %q, want %q", got, testsite.HelloAda)
		}
		b.Still().Request("POST", "/auth/logout", testsite.OwnPage...)
		for _, c := range late {
			b.Keep(c.Name, c.Value)
		}
		if got := b.Get("/here/").Text; got != testsite.HelloNobody {
			t.Errorf("page %q after the sign-out elsewhere, want %q", got, testsite.HelloNobody)
		}
	})
}

func TestStoreManyRequestsRenewOnce(t *testing.T) {
	testsite.Storing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.Rotation = msauthtest.RotateStrict
			b.Delay[msauthtest.TokenRefresh] = 500 * time.Millisecond
		})
		time.Sleep(testsite.Expired)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if got := b.Get("/").Text; got != testsite.HelloAda {
					t.Errorf("page %q, want %q", got, testsite.HelloAda)
				}
			})
		}
		all.Wait()
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		if len(store.Records(t)) != 1 {
			t.Errorf("files %v, want one", store.Records(t))
		}
	})
}

func TestStoreRecordDeletedDuringARenewalStaysDeleted(t *testing.T) {
	testsite.Storing(t, func(t *testing.T, s *testsite.Site, b *testsite.Browser, store *testsite.Files) {
		s.MS.Set(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 2 * time.Second })
		time.Sleep(testsite.Expired)
		var res testsite.Seen
		var done sync.WaitGroup
		done.Go(func() { res = b.Still().Get("/page", "Sec-Fetch-Mode", "cors", "Accept", "*/*") })
		time.Sleep(time.Second)
		os.Remove(filepath.Join(store.Dir, store.Records(t)[0])) // another process signs out
		done.Wait()
		if res.StatusCode != http.StatusUnauthorized || len(store.Records(t)) != 0 {
			t.Errorf("status %d, files %v, want 401 and none", res.StatusCode, store.Records(t))
		}
	})
}

func TestStoreForgottenWithTheBrowser(t *testing.T) {
	t.Parallel()
	store := testsite.NewFiles(t)
	s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Store, c.SessionCookie = store, true })
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	for name, line := range lines(b.Still().Get(b.Attempt("/")).Header) {
		if testsite.SessionCookie.MatchString(name) && (strings.Contains(line, "Max-Age") || strings.Contains(line, "Expires") || !strings.HasSuffix(line, "; Path=/; HttpOnly; Secure; SameSite=Lax")) {
			t.Errorf("line %s, want no age", line)
		}
	}
	b.WantGreeting(testsite.HelloAda)
}

func TestStoreOfOurOwnIsRefusedAsConfigStore(t *testing.T) {
	t.Parallel()
	cfg := testsite.LeastConfig()
	store, _ := msauth.NewCookieStore(cfg.Keys...)
	cfg.Store = store
	if _, err := msauth.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "msauth: Config.Store ") {
		t.Errorf("%v, want an error that names Store", err)
	}
}
