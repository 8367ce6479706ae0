//go:build !race

// The race detector makes sync.Pool forget at random: these run without it.

package msauth

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"example.com/msauth/internal/device"
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

func allocates(t *testing.T, key device.Digest, more float64) {
	m := fuzzed(t)
	rec := aRecord()
	rec.User.Groups, rec.User.Roles = nil, nil
	rec.Device = key
	made := httptest.NewRecorder()
	if err := m.sessions.Create(made, &http.Request{}, rec, 0); err != nil {
		t.Fatal(err)
	}
	cookie, err := http.ParseSetCookie(made.Header().Get("Set-Cookie"))
	if err != nil {
		t.Fatal(err)
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
