//go:build !race

// The race detector makes sync.Pool forget at random: these run without it.

package msauth

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"example.com/msauth/internal/device"
	"example.com/msauth/internal/session"
)

// silent is a ResponseWriter that is used again and again.
type silent http.Header

func (w silent) Header() http.Header { return http.Header(w) }

func (w silent) Write(b []byte) (int, error) { return len(b), nil }

func (w silent) WriteHeader(int) {}

// What a request of somebody who is signed in costs, in pieces of memory: one for
// the record, the session and the response headers, one for the texts of the
// identity, and one for the request with another context.
func TestAuthenticatedRequestAllocatesLittle(t *testing.T) { allocates(t, device.Digest{}, 0) }

// A session that is bound to a device costs two more: to open the bound cookie.
func TestRequestOfABoundSessionAllocatesLittle(t *testing.T) { allocates(t, device.Digest{1}, 2) }

// Config.Trace costs an ordinary request nothing, because it is not called.
func TestTracedRequestAllocatesAsLittle(t *testing.T) {
	allocates(t, device.Digest{}, 0, func(c *Config) {
		c.Trace = func(ctx context.Context, name string) (context.Context, func(error)) {
			t.Errorf("%s is traced", name)
			return ctx, nil
		}
	})
}

// BenchmarkPage is a protected page, with Config.Trace and without.
func BenchmarkPage(b *testing.B) {
	page := func(b *testing.B, changes ...func(*Config)) {
		m, _, r := requestOf(b, device.Digest{}, changes...)
		w, served := silent{}, 0
		page := m.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
		b.ReportAllocs()
		for b.Loop() {
			clear(w)
			page.ServeHTTP(w, r)
		}
		if served != b.N {
			b.Errorf("%d of %d requests were served", served, b.N)
		}
	}
	b.Run("Trace=nil", func(b *testing.B) { page(b) })
	b.Run("Trace=set", func(b *testing.B) {
		page(b, func(c *Config) {
			c.Trace = func(ctx context.Context, name string) (context.Context, func(error)) {
				b.Errorf("%s is traced", name)
				return ctx, nil
			}
		})
	})
}

// requestOf returns a Middleware and a request of somebody who is signed in.
func requestOf(tb testing.TB, key device.Digest, changes ...func(*Config)) (*Middleware, *session.Record, *http.Request) {
	tb.Helper()
	m := fuzzed(tb, changes...)
	rec := aRecord()
	rec.User.Groups, rec.User.Roles = nil, nil
	rec.Device = key
	made := httptest.NewRecorder()
	if err := m.sessions.Create(made, &http.Request{}, rec, 0); err != nil {
		tb.Fatal(err)
	}
	cookie, err := http.ParseSetCookie(made.Header().Get("Set-Cookie"))
	if err != nil {
		tb.Fatal(err)
	}
	r := httptest.NewRequest("GET", "https://app.example.com/", nil)
	r.RequestURI = "/" // as it is in a server
	r.Header.Set("Cookie", cookie.Name+"="+cookie.Value)
	if key != (device.Digest{}) {
		bound := m.devices.Seal(device.Bound{ID: rec.ID, Key: key, Proved: time.Now().Unix()})
		r.Header.Set("Cookie", r.Header.Get("Cookie")+"; "+m.cookies.DeviceName()+"="+bound)
	}
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	return m, rec, r
}

func allocates(t *testing.T, key device.Digest, more float64, changes ...func(*Config)) {
	m, rec, r := requestOf(t, key, changes...)
	w := silent{}
	served := 0
	handler := func(w http.ResponseWriter, r *http.Request) { served++ }
	withToken := func(w http.ResponseWriter, r *http.Request) {
		if s, ok := FromContext(r.Context()); ok {
			if token, err := s.Token(r.Context()); err == nil && token.AccessToken == string(rec.Access) {
				served++
			}
		}
	}
	for _, test := range []struct {
		name string
		run  func()
		most float64
	}{
		{"up to the session", func() {
			v := &visit{}
			if m.receive(v, w, r); v.session != nil {
				served++
			}
		}, 2},
		{"Load", func() { m.Load(http.HandlerFunc(handler)).ServeHTTP(w, r) }, 3},
		{"Require", func() { m.Require(http.HandlerFunc(handler)).ServeHTTP(w, r) }, 3},
		{"Require and Token", func() { m.Require(http.HandlerFunc(withToken)).ServeHTTP(w, r) }, 9},
	} {
		served = 0
		got := testing.AllocsPerRun(100, func() {
			clear(w)
			test.run()
		})
		if served != 101 {
			t.Errorf("%s: %d of 101 requests were served", test.name, served)
		}
		if got > test.most+more {
			t.Errorf("%s: %v allocations, want at most %v", test.name, got, test.most+more)
		}
	}
}
