package msauth

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/reload"
	"example.com/msauth/internal/seal"
)

// withKeyFile is a Middleware whose keys are in a file, and how often it has
// looked at it.
func withKeyFile(t *testing.T, path string) (*Middleware, *atomic.Int32) {
	t.Helper()
	key := make([]byte, seal.KeyLength)
	seal.RandomBytes(key)
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(key)), 0o600); err != nil {
		t.Fatal(err)
	}
	m := testMiddleware(t, func(c *Config) { c.Keys, c.KeyFiles = nil, []string{path} })
	var looks atomic.Int32
	m.keyFiles.pace = reload.NewPace(func() {
		looks.Add(1)
		_ = m.keyFiles.look()
	})
	m.keyFiles.ring.Look = m.keyFiles.pace.Wanting
	return m, &looks
}

// Strangers who send what looks sealed, in every place where something sealed can
// come in, make a process look at its files once a second.
func TestGarbageCausesOneLookASecond(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	synctest.Test(t, func(t *testing.T) {
		m, looks := withKeyFile(t, path)
		garbage := strings.Repeat("A", 400)
		h := m.Require(http.NotFoundHandler())
		start := time.Now()
		var all sync.WaitGroup
		for i := range 2000 {
			r := httptest.NewRequest("GET", "/", nil)
			switch i % 5 {
			case 0:
				r.Header.Set("Cookie", m.cookies.Name+"=1"+garbage)
			case 1:
				r.Header.Set("Cookie", strings.Repeat(m.cookies.Name+"=1"+garbage+"; ", 5))
			case 2:
				r = httptest.NewRequest("GET", "/auth/callback?code=x&state="+garbage, nil)
			case 3:
				r = httptest.NewRequest("GET", "/auth/login?sealed="+garbage, nil)
			case 4:
				r = httptest.NewRequest("POST", "/auth/logout", strings.NewReader(formField+"="+garbage[:100]))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			all.Go(func() {
				before := time.Now()
				if h.ServeHTTP(httptest.NewRecorder(), r); time.Since(before) > 4*time.Second {
					t.Errorf("request %d took %v", i, time.Since(before))
				}
			})
			time.Sleep(5 * time.Millisecond)
		}
		all.Wait()
		if took := time.Since(start); int(looks.Load()) > int(took/time.Second) || looks.Load() < 9 {
			t.Errorf("%d looks in %v, want one a second", looks.Load(), took)
		}

		// Values that nobody can take for sealed ones cause none.
		time.Sleep(time.Second)
		before := looks.Load()
		for _, value := range []string{"", "1", "1!" + garbage, "x" + garbage, "1" + garbage + "=="} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", m.cookies.Name+"="+value)
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		if got := looks.Load(); got > before+1 { // the one that is due every five seconds
			t.Errorf("%d looks for what is not sealed", got-before)
		}
	})
}

// Requests that carry nothing sealed have the files looked at too, and an idle
// process does not look.
func TestLooksWhileRequestsCome(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	synctest.Test(t, func(t *testing.T) {
		m, looks := withKeyFile(t, path)
		ways := map[string]func(){
			"Load": func() {
				m.Load(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			},
			"ServeHTTP":   func() { m.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/auth/signed-out", nil)) },
			"CookieStore": func() { _, _ = m.CookieStore().New(httptest.NewRequest("GET", "/", nil), "cart") },
		}
		for name, use := range ways {
			before := looks.Load()
			time.Sleep(time.Hour)
			if got := looks.Load() - before; got != 0 {
				t.Errorf("%d looks while nobody came", got)
			}
			if use(); looks.Load() != before+1 {
				t.Errorf("%s: %d looks before it does anything, want 1", name, looks.Load()-before)
			}
			for range 100 {
				time.Sleep(time.Second)
				use()
			}
			synctest.Wait()
			if got := looks.Load() - before - 1; got != 20 {
				t.Errorf("%s: %d looks in 100 seconds, want 20", name, got)
			}
		}
	})
}

// A file system that hangs does not keep requests.
func TestKeyFilesThatHang(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	synctest.Test(t, func(t *testing.T) {
		m, _ := withKeyFile(t, path)
		hang := make(chan struct{})
		m.keyFiles.pace = reload.NewPace(func() { <-hang })
		defer close(hang)
		page := m.Load(http.NotFoundHandler())
		for range 30 {
			time.Sleep(time.Second)
			before := time.Now()
			page.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			if took := time.Since(before); took != 0 {
				t.Fatalf("a page takes %v", took)
			}
		}
	})
}
