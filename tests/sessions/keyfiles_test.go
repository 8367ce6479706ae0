package sessions_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

const (
	// noticed is when a process that has requests has looked at its files.
	noticed = 6 * time.Second
	// unused is how long nobody uses a process that then looks before it answers.
	unused = 10 * time.Second
)

// A fleet are processes of an app, each with key files of its own.
type fleet struct {
	*testsite.Office
	t        *testing.T
	files    []testsite.KeyFile
	auths    []*msauth.Middleware
	handlers []http.Handler
	signIns  int
	visitors []*testsite.Visitor
}

func newFleet(t *testing.T, files []testsite.KeyFile, changes ...func(*msauth.Config)) *fleet {
	t.Helper()
	f := &fleet{t: t, files: files, Office: testsite.RenewingOffice(t, files[0].Use)}
	for _, change := range changes {
		change(&f.Cfg)
	}
	for _, file := range files {
		file.Use(&f.Cfg)
		auth, handler := f.Open()
		f.auths, f.handlers = append(f.auths, auth), append(f.handlers, handler)
	}
	return f
}

// ownFiles are three files with the same keys.
func ownFiles(t *testing.T, keys ...[]byte) []testsite.KeyFile {
	return []testsite.KeyFile{testsite.NewKeyFile(t, keys...), testsite.NewKeyFile(t, keys...), testsite.NewKeyFile(t, keys...)}
}

// signIn begins at one process, comes back at another, and is greeted at all.
func (f *fleet) signIn(begin, end int) {
	f.t.Helper()
	v := f.Visitor()
	f.come(v, begin, end, func() {})
	f.visitors = append(f.visitors, v)
	f.wantAll(fmt.Sprintf("a sign-in from %d to %d", begin, end))
}

// come signs a visitor in, with something in between.
func (f *fleet) come(v *testsite.Visitor, begin, end int, meanwhile func()) {
	f.t.Helper()
	f.signIns++
	to := v.At(f.handlers[begin]).Get("/page?at=" + fmt.Sprint(begin))
	if !testsite.ToProvider(to) {
		f.t.Fatalf("status %d, not to the provider; log:\n%s", to.Status, f.Log)
	}
	meanwhile()
	req, _ := http.NewRequest(http.MethodGet, to.Header.Get("Location"), nil)
	back, err := f.MS.Transport().RoundTrip(req)
	if err != nil {
		f.t.Fatal(err)
	}
	got := v.At(f.handlers[end]).Get(strings.TrimPrefix(back.Header.Get("Location"), testsite.OfficeURL))
	if got.Status != http.StatusSeeOther || !strings.HasPrefix(got.Header.Get("Location"), "/page?at=") {
		f.t.Fatalf("a sign-in from %d to %d: status %d to %q; log:\n%s", begin, end, got.Status, got.Header.Get("Location"), f.Log)
	}
	v.At(f.handlers[end]).Get("/public/")
}

// wantAll checks that everybody is signed in everywhere.
func (f *fleet) wantAll(when string) {
	f.t.Helper()
	for i, v := range f.visitors {
		for at, handler := range f.handlers {
			v.At(handler).WantHello(fmt.Sprintf("%s: visitor %d at process %d", when, i, at))
		}
	}
	f.WantCalls(msauthtest.Authorize, f.signIns)
}

// renewAll renews everybody's tokens, visitor i at process first+i.
func (f *fleet) renewAll(when string, first int) {
	f.t.Helper()
	time.Sleep(testsite.AfterExpiry)
	before := f.MS.Count(msauthtest.TokenRefresh)
	for i, v := range f.visitors {
		at := (first + i) % len(f.handlers)
		v.At(f.handlers[at]).WantHello(fmt.Sprintf("%s: renewal of visitor %d at process %d", when, i, at))
	}
	f.WantCalls(msauthtest.TokenRefresh, before+len(f.visitors))
	f.wantAll(when + ", renewed")
}

// settle lets all processes notice what they are going to.
func (f *fleet) settle() {
	for range 2 {
		time.Sleep(noticed)
		for _, handler := range f.handlers {
			f.Visitor().At(handler).Get("/public/")
		}
	}
	time.Sleep(time.Second)
}

var orders = [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}

// The documented steps, over processes that notice at different times.
func TestKeyRotationOverReplicas(t *testing.T) {
	t.Parallel()
	for i, order := range orders {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			t.Parallel()
			a, b := testsite.NewKey(), testsite.NewKey()
			files := ownFiles(t, a)
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, files)
				for i := range 3 {
					f.signIn(i, (i+1)%3)
				}
				for s, step := range []struct {
					name string
					keys [][]byte
				}{
					{"the new key in second place", [][]byte{a, b}},
					{"the new key in first place", [][]byte{b, a}},
					{"without the old key", [][]byte{b}},
				} {
					for n, at := range orders[(i+s)%len(orders)] {
						v := f.Visitor() // signs in while the keys change
						f.come(v, at, (at+1)%3, func() { f.files[at].Write(t, step.keys...) })
						f.visitors = append(f.visitors, v)
						f.settle()
						when := fmt.Sprintf("%s at %d processes", step.name, n+1)
						f.wantAll(when)
						for begin := range 3 {
							f.signIn(begin, (begin+1+n)%3)
						}
						f.renewAll(when, n)
					}
					f.renewAll("before the next step", 0) // MaxAge, for those who come back
				}
				ids := f.auths[0].Stats().KeyIDs
				for _, auth := range f.auths {
					if got := auth.Stats(); len(got.KeyIDs) != 1 || !slices.Equal(got.KeyIDs, ids) || len(got.Degraded) > 0 {
						t.Errorf("keys %q, degraded %q, want one key, the same everywhere", got.KeyIDs, got.Degraded)
					}
				}
			})
		})
	}
}

// A file that all processes share needs no steps: one that notices later looks
// before it signs anybody out, even if strangers have just made it look.
func TestKeyRotationInOneStepOnASharedFile(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"cookies", "store"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a, b := testsite.NewKey(), testsite.NewKey()
			shared := testsite.NewKeyFile(t, a)
			store := testsite.FileStore(t)
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, []testsite.KeyFile{shared, shared, shared}, func(c *msauth.Config) {
					if kind == "store" {
						c.Store = store
					}
				})
				for i := range 3 {
					f.signIn(i, i)
				}
				f.settle()
				time.Sleep(testsite.AfterExpiry)
				for _, handler := range f.handlers {
					f.Visitor().At(handler).Get("/public/")
					f.garbage(handler) // it looks at this moment
				}
				shared.Write(t, b, a)
				f.garbage(f.handlers[0])
				if got := f.auths[0].Stats().KeyIDs; len(got) != 2 {
					t.Fatalf("process 0 has keys %q after something did not open", got)
				}
				if got := f.auths[1].Stats().KeyIDs; len(got) != 1 {
					t.Fatalf("process 1 has noticed already: %q", got)
				}
				v := f.visitors[0]
				v.At(f.handlers[0]).WantHello("the renewal") // sealed with the new key
				v.At(f.handlers[1]).WantHello("at a process that has not noticed")
				w := f.Visitor()
				f.come(w, 0, 2, func() {})
				f.visitors = append(f.visitors, w)
				f.wantAll("afterwards")
				f.settle()
				f.renewAll("later", 1)
			})
		})
	}
}

// garbage asks with something that looks sealed.
func (f *fleet) garbage(handler http.Handler) {
	f.t.Helper()
	if got := f.Visitor().At(handler).Get("/auth/login?sealed=" + strings.Repeat("A", 400)); got.Status != http.StatusBadRequest {
		f.t.Errorf("garbage gets status %d", got.Status)
	}
}

func TestDroppedKeySignsOut(t *testing.T) {
	t.Parallel()
	a, b := testsite.NewKey(), testsite.NewKey()
	file := testsite.NewKeyFile(t, a)
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t, file.Use)
		v := o.SignIn()
		time.Sleep(unused)
		file.Write(t, b)
		long := time.Now().Add(-time.Hour)
		if err := os.Chtimes(string(file), long, long); err != nil {
			t.Fatal(err)
		}
		// The process has not looked for a while, so it does before it opens
		// anything.
		if got := v.Copy().Fetch("/"); got.Status != http.StatusUnauthorized || got.ClearsSession() {
			t.Errorf("a script: status %d, cleared %t", got.Status, got.ClearsSession())
		}
		if got := v.Get("/"); !testsite.ToProvider(got) || !got.ClearsSession() {
			t.Errorf("a page: status %d, cleared %t", got.Status, got.ClearsSession())
		}
		o.SignIn().WantHello("after signing in again")
		if got := len(o.Log.With("event=keys_changed")); got != 1 {
			t.Errorf("%d lines about changed keys; log:\n%s", got, o.Log)
		}
	})
}

// A file that is written in place may have some of its lines only, for a while.
func TestHalfAFileWithWholeLinesDropsNothing(t *testing.T) {
	t.Parallel()
	a, b := testsite.NewKey(), testsite.NewKey()
	file := testsite.NewKeyFile(t, a)
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t, file.Use)
		v := o.SignIn()
		time.Sleep(unused)
		file.Write(t, b) // and the old key is still to come
		v.WantHello("while the file is written")
		if got := len(o.Auth.Stats().KeyIDs); got != 2 {
			t.Errorf("%d keys in use, want the new one and the one before", got)
		}
		file.Write(t, b, a)
		time.Sleep(unused)
		v.WantHello("afterwards")

		file.Write(t, b)
		time.Sleep(unused)
		v.WantHello("once more")
		time.Sleep(unused)
		if got := v.Get("/"); !testsite.ToProvider(got) {
			t.Errorf("a key that stays away is still in use: status %d", got.Status)
		}
	})
}

// Somebody who empties a file to write it anew is given a moment.
func TestKeyFileThatIsBeingWritten(t *testing.T) {
	t.Parallel()
	a, b := testsite.NewKey(), testsite.NewKey()
	file, whole := testsite.NewKeyFile(t, a), testsite.NewKeyFile(t, b, a)
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, []testsite.KeyFile{file, whole})
		time.Sleep(unused)
		v := f.Visitor()
		f.come(v, 1, 1, func() {}) // sealed with the new key
		file.Fill(t, testsite.KeyLine(b)[:10])
		var writer sync.WaitGroup
		writer.Go(func() {
			time.Sleep(50 * time.Millisecond)
			file.Write(t, b, a)
		})
		v.At(f.handlers[0]).WantHello("while the file is written")
		writer.Wait()
		if lines := f.Log.With("event=key_files_failed"); len(lines) > 0 {
			t.Errorf("a fault of a moment is logged: %q", lines)
		}
	})
}

// wantNoKeys checks that a text shows nothing of the keys.
func wantNoKeys(t *testing.T, what, text string, keys ...[]byte) {
	t.Helper()
	for _, key := range keys {
		for _, secret := range []string{string(key), testsite.KeyLine(key)[:20], fmt.Sprintf("%x", key), fmt.Sprint(key)} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows a key: %q", what, text)
			}
		}
	}
}

func TestKeyFilesAtNew(t *testing.T) {
	t.Parallel()
	a, b := testsite.NewKey(), testsite.NewKey()
	la, lb := testsite.KeyLine(a)+"\n", testsite.KeyLine(b)+"\n"
	many := ""
	for range 33 {
		many += testsite.KeyLine(testsite.NewKey()) + "\n"
	}
	tests := []struct {
		name  string
		texts []string
		want  string // after "msauth: Config.KeyFiles "; FILE is the first one, OTHER the second
	}{
		{"one key", []string{la}, ""},
		{"several files", []string{la, "\n# second\n" + lb}, ""},
		{"missing", []string{"-"}, "cannot be used: FILE: no such file or directory"},
		{"the second is missing", []string{la, "-"}, "cannot be used: OTHER: no such file or directory"},
		{"empty", []string{""}, `cannot be used: FILE: there is no key: write one on a line, as "openssl rand -base64 32" prints it`},
		{"half a key", []string{la + lb[:24]}, "cannot be used: FILE: line 2 has 18 bytes in base64: want 32 random bytes"},
		{"half a key in the second", []string{la, lb[:24]}, "cannot be used: FILE, OTHER: line 1 of OTHER has 18 bytes in base64: want 32 random bytes"},
		{"another length", []string{strings.TrimSpace(la)[:43] + "AAAA" + "\n"}, "cannot be used: FILE: line 1"},
		{"not base64", []string{"# keys\n\n" + la[:20] + "!" + la[20:]}, "cannot be used: FILE: line 3 is not base64"},
		{"raw bytes", []string{"\x80\x81\x82\x83" + strings.Repeat("\xf7\x0e", 14)}, "cannot be used: FILE: line 1"},
		{"one byte repeated", []string{strings.Repeat("A", 43) + "=\n"}, "cannot be used: FILE: line 1 is the same byte 32 times: want 32 random bytes"},
		{"twice", []string{la + lb + la}, "cannot be used: FILE: line 3 is the same key as line 1"},
		{"twice in two files", []string{la + lb, lb}, "cannot be used: FILE, OTHER: line 1 of OTHER is the same key as line 2 of FILE"},
		{"too large", []string{la + strings.Repeat("#\n", 1<<19)}, "cannot be used: FILE: has more than 1048576 bytes"},
		{"too many", []string{many}, "cannot be used: FILE: line 33 is one key too many: at most 32 can be used"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := testsite.LeastConfig()
			cfg.Keys = nil
			dir := t.TempDir()
			want := test.want
			for i, text := range test.texts {
				path := filepath.Join(dir, fmt.Sprint("keys", i))
				if cfg.KeyFiles = append(cfg.KeyFiles, path); text != "-" {
					testsite.KeyFile(path).Fill(t, text)
				}
				want = strings.ReplaceAll(want, []string{"FILE", "OTHER"}[i], path)
			}
			m, err := msauth.New(cfg)
			if want == "" {
				if err != nil || len(m.Stats().KeyIDs) != len(test.texts) {
					t.Fatalf("New returns %v", err)
				}
				wantNoKeys(t, "a Middleware", fmt.Sprintf("%+v %#v", m, m), a, b)
				wantNoKeys(t, "a Config", fmt.Sprintf("%+v %#v", cfg, cfg), a, b)
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), "msauth: Config.KeyFiles "+want) {
				t.Fatalf("New returns %v, want %s", err, want)
			}
			wantNoKeys(t, "the error", err.Error(), a, b)
		})
	}
	for _, test := range []struct {
		name   string
		change func(*msauth.Config)
		want   string
	}{
		{"both", func(c *msauth.Config) { c.KeyFiles = []string{"keys"} }, "msauth: Config.KeyFiles cannot be combined with Keys"},
		{"neither", func(c *msauth.Config) { c.Keys = nil }, "msauth: Config.Keys is empty: want at least one key of 32 random bytes, or set KeyFiles"},
		{"no path", func(c *msauth.Config) { c.Keys, c.KeyFiles = nil, []string{""} }, "msauth: Config.KeyFiles cannot be used: KeyFiles[0] is empty: want the path of a file"},
		{"a directory", func(c *msauth.Config) { c.Keys, c.KeyFiles = nil, []string{"."} }, "msauth: Config.KeyFiles cannot be used: .: is not a regular file"},
	} {
		cfg := testsite.LeastConfig()
		test.change(&cfg)
		if _, err := msauth.New(cfg); err == nil || err.Error() != test.want {
			t.Errorf("%s: New returns %v, want %s", test.name, err, test.want)
		}
	}
}

// Whatever becomes of the file while the app runs, the last good keys stay in use,
// and the operator is told once.
func TestKeyFileThatTurnsBad(t *testing.T) {
	t.Parallel()
	a, b := testsite.NewKey(), testsite.NewKey()
	file := testsite.NewKeyFile(t, a)
	path := string(file)
	faults := []struct {
		name string
		fill func()
		want string // in the log line, after the path
	}{
		{"missing", func() { os.Remove(path) }, "no such file"},
		{"half written", func() { file.Fill(t, testsite.KeyLine(a)+"\n"+testsite.KeyLine(b)[:20]) }, "line 2 has 15 bytes"},
		{"empty", func() { file.Fill(t, "") }, "there is no key"},
		{"not base64", func() { file.Fill(t, testsite.KeyLine(b)+"!") }, "line 1 is not base64"},
		{"a key twice", func() { file.Fill(t, testsite.KeyLine(b)+"\n"+testsite.KeyLine(b)) }, "line 2 is the same key as line 1"},
		{"a directory", func() { os.Remove(path); os.Mkdir(path, 0o700) }, "is not a regular file"},
	}
	synctest.Test(t, func(t *testing.T) {
		o := testsite.RenewingOffice(t, file.Use)
		v := o.SignIn()
		for _, fault := range faults {
			fault.fill()
			o.Log.Reset()
			for range 5 {
				time.Sleep(noticed)
				v.WantHello(fault.name)
				o.SignIn().WantHello(fault.name + ", a new session")
			}
			lines := o.Log.With("event=key_files_failed")
			if len(lines) != 1 || !strings.Contains(lines[0], "level=ERROR") || !strings.Contains(lines[0], path+": "+fault.want) {
				t.Errorf("%s: %q, want one line", fault.name, lines)
			}
			if got := o.Auth.Stats().Degraded; !slices.Equal(got, []string{"key files fail"}) {
				t.Errorf("%s: degraded %q", fault.name, got)
			}
			wantNoKeys(t, "the log", o.Log.String(), a, b)
		}
		time.Sleep(24 * time.Hour)
		if got := o.Auth.Stats().Degraded; len(got) != 1 {
			t.Errorf("a day later: degraded %q", got)
		}
		os.Remove(path)
		file.Write(t, a)
		v = o.SignIn()
		time.Sleep(noticed)
		if got := o.Auth.Stats(); len(got.Degraded) != 0 || len(got.KeyIDs) != 1 {
			t.Errorf("mended: degraded %q, keys %q", got.Degraded, got.KeyIDs)
		}
		if len(o.Log.With("event=degraded_end")) != 1 || len(o.Log.With("event=keys_changed")) != 0 {
			t.Errorf("mended, with the keys of before; log:\n%s", o.Log)
		}
		file.Write(t, b, a)
		time.Sleep(unused)
		v.WantHello("with a new key")
		lines := o.Log.With("event=keys_changed")
		if ids := strings.Join(o.Auth.Stats().KeyIDs, " "); len(lines) != 1 || !strings.Contains(lines[0], "level=INFO") || !strings.Contains(lines[0], `key_ids="`+ids+`"`) {
			t.Errorf("keys changed to %s: %q", ids, lines)
		}
		wantNoKeys(t, "the log", o.Log.String(), a, b)
	})
}

// Values of the app's own follow, and those of NewCookieStore with the same keys
// open.
func TestCookieStoreOfAMiddleware(t *testing.T) {
	t.Parallel()
	a, b := testsite.NewKey(), testsite.NewKey()
	file := testsite.NewKeyFile(t, a)
	synctest.Test(t, func(t *testing.T) {
		o := testsite.NewOffice(t, file.Use)
		own, err := msauth.NewCookieStore(a)
		if err != nil {
			t.Fatal(err)
		}
		jar := map[string]string{}
		save := func(store *msauth.CookieStore, value string) {
			t.Helper()
			session, _ := store.New(jarOf(jar, nil), "cart")
			session.Values["v"] = value
			w := httptest.NewRecorder()
			if err := store.Save(jarOf(jar, nil), w, session); err != nil {
				t.Fatal(err)
			}
			for _, line := range w.Header()["Set-Cookie"] {
				c, _ := http.ParseSetCookie(line)
				jar[c.Name] = c.Value
			}
		}
		want := func(store *msauth.CookieStore, value string) {
			t.Helper()
			if session, _ := store.New(jarOf(jar, nil), "cart"); fmt.Sprint(session.Values["v"]) != value {
				t.Errorf("%v, want %s", session.Values["v"], value)
			}
		}
		store := o.Auth.CookieStore()
		if store.InsecureCookies || store.Options.MaxAge != own.Options.MaxAge {
			t.Errorf("%+v", store.Options)
		}
		save(own, "one")
		want(store, "one")
		file.Write(t, b, a)
		time.Sleep(unused)
		want(store, "one")
		save(store, "two")
		want(store, "two")
		other, _ := msauth.NewCookieStore(b)
		want(other, "two")

		newest := testsite.NewKey()
		file.Write(t, newest, b)
		newer, _ := msauth.NewCookieStore(newest)
		save(newer, "three") // by a process that has noticed
		want(store, "three")
	})
}

// Keys that change all the time, over processes that notice when they notice,
// while people click: nobody is signed out.
func TestKeysChangeAThousandTimes(t *testing.T) {
	t.Parallel()
	rounds := testsite.Times(25, 500) // of two changes each
	keys := [][]byte{testsite.NewKey()}
	files := ownFiles(t, keys[0])
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, files, func(c *msauth.Config) { c.IdleTimeout = time.Minute }) // a new cookie every 2.5 s
		for i := range 3 {
			f.signIn(i, i)
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i, v := range f.visitors {
			wg.Go(func() {
				for n := i; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					if got := v.At(f.handlers[n%3]).Get("/"); got.Status != http.StatusOK {
						t.Errorf("visitor %d, request %d: status %d", i, n, got.Status)
						return
					}
					time.Sleep(time.Second)
				}
			})
		}
		for n := range rounds {
			keys = append([][]byte{testsite.NewKey()}, keys...)
			keys = keys[:min(len(keys), 6)]
			for i, file := range files {
				// Each has a new key in second place while all have it, and then
				// in first place.
				next := slices.Clone(keys)
				if len(next) > 1 {
					next[0], next[1] = next[1], next[0]
				}
				file.Write(t, next...)
				time.Sleep(time.Duration(i*n%3) * time.Second)
			}
			time.Sleep(unused)
			for _, file := range files {
				file.Write(t, keys...)
				time.Sleep(time.Duration(n%4) * time.Second)
			}
			time.Sleep(noticed)
		}
		close(stop)
		wg.Wait()
		f.WantCalls(msauthtest.Authorize, f.signIns)
		if t.Failed() {
			t.Logf("%.3000s", f.Log)
		}
	})
}
