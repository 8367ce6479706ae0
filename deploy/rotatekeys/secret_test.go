package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// api is a Kubernetes that has one Secret. It stands for what the documentation of the
// API says: a merge patch (RFC 7386) with a resourceVersion is refused with 409 if
// that is not the current one.
type api struct {
	mu      sync.Mutex
	version int
	data    map[string][]byte
	status  int    // if not 0, every answer
	lose    bool   // the answers to changes get lost
	race    func() // before a change
	patches int
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPatch && a.race != nil {
		a.race()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	version := func() string { return "v" + strings.Repeat("1", a.version) }
	switch {
	case r.Header.Get("Authorization") != "Bearer the-token":
		http.Error(w, "no token", http.StatusUnauthorized)
		return
	case a.status != 0:
		http.Error(w, "the-token", a.status)
		return
	case r.URL.Path != "/api/v1/namespaces/shop/secrets/msauth-keys":
		http.NotFound(w, r)
		return
	case r.Method == http.MethodPatch:
		var patch struct {
			Metadata struct{ ResourceVersion string }
			Data     map[string][]byte
		}
		if err := json.NewDecoder(r.Body).Decode(&patch); err != nil || r.Header.Get("Content-Type") != "application/merge-patch+json" {
			http.Error(w, "what?", http.StatusUnsupportedMediaType)
			return
		}
		if patch.Metadata.ResourceVersion != version() {
			http.Error(w, "conflict", http.StatusConflict)
			return
		}
		for key, value := range patch.Data {
			a.data[key] = value
		}
		a.version++
		a.patches++
		if a.lose {
			panic(http.ErrAbortHandler)
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "Secret", "apiVersion": "v1", "type": "Opaque",
		"metadata": map[string]any{"name": "msauth-keys", "resourceVersion": version()}, "data": a.data,
	})
}

// pod starts an API, and returns the store that a pod would have.
func pod(t *testing.T, a *api) *secretStore {
	t.Helper()
	server := httptest.NewUnstartedServer(a)
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	dir := t.TempDir()
	for name, text := range map[string][]byte{
		"token": []byte("the-token\n"), "namespace": []byte("shop"),
		"ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u, _ := url.Parse(server.URL)
	s, err := openSecret(func(name string) string {
		return map[string]string{"KUBERNETES_SERVICE_HOST": u.Hostname(), "KUBERNETES_SERVICE_PORT": u.Port()}[name]
	}, dir, "msauth-keys", "keys")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newAPI(t *testing.T) *api {
	t.Helper()
	text, _, err := step(nil, start, usual)
	if err != nil {
		t.Fatal(err)
	}
	return &api{data: map[string][]byte{"keys": text, "other": []byte("stays")}}
}

// A whole change of keys, in a Secret of which the other entries stay.
func TestSecret(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	s := pod(t, a)
	days := map[int]string{}
	for n := range 120 {
		done := ""
		err := s.change(t.Context(), func(text []byte) (changed []byte, err error) {
			changed, done, err = step(text, start.Add(day*time.Duration(n)), usual)
			return changed, err
		})
		if err != nil {
			t.Fatal(err)
		}
		if done != "nothing is due" {
			days[n] = done
		}
	}
	if a.patches != 3 || days[90] != "added a key in second place" || !strings.Contains(days[91], "is first") || days[99] != "removed 1 keys" {
		t.Errorf("%d changes: %v", a.patches, days)
	}
	if string(a.data["other"]) != "stays" || len(a.data) != 2 {
		t.Error("another entry has changed")
	}
}

// What goes wrong is said, changes nothing, and is made good by the next run.
func TestSecretFails(t *testing.T) {
	t.Parallel()
	due := start.Add(90 * day)
	for _, tt := range []struct {
		name  string
		fault func(*api)
		want  string
		taken bool // the step was taken all the same
	}{
		{"no right", func(a *api) { a.status = http.StatusForbidden }, "403 Forbidden: the service account needs the verbs get and patch", false},
		{"no Secret", func(a *api) { a.status = http.StatusNotFound }, "make it first", false},
		{"no entry", func(a *api) { delete(a.data, "keys") }, `no entry "keys"`, false},
		{"an empty entry", func(a *api) { a.data["keys"] = []byte{} }, "there is no key", false},
		{"somebody else changes it", func(a *api) {
			a.race = func() {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.version++
			}
		}, "409 Conflict", false},
		{"the answer gets lost", func(a *api) { a.lose = true }, "EOF", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			good := a.data["keys"]
			s := pod(t, a)
			tt.fault(a)
			rotate := func() error {
				return s.change(t.Context(), func(text []byte) ([]byte, error) {
					changed, _, err := step(text, due, usual)
					return changed, err
				})
			}
			before := bytes.Clone(a.data["keys"])
			err := rotate()
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "the-token") {
				t.Errorf("%v, want %q in it", err, tt.want)
			}
			if changed := !bytes.Equal(a.data["keys"], before); changed != tt.taken {
				t.Errorf("changed is %t:\n%s", changed, a.data["keys"])
			}
			a.status, a.lose, a.race = 0, false, nil
			if len(before) == 0 {
				a.data["keys"] = good
			}
			if err := rotate(); err != nil {
				t.Fatal(err)
			}
			if n := len(keysIn(t, a.data["keys"])); n != 2 || a.patches != 1 {
				t.Errorf("%d keys after %d changes", n, a.patches)
			}
		})
	}
}

func TestNoPod(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	inside := func(name string) string { return "1" }
	if _, err := openSecret(inside, dir, "a", "keys"); err == nil || !strings.Contains(err.Error(), "automountServiceAccountToken") {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("-"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSecret(inside, dir, "a", "keys"); err == nil || !strings.Contains(err.Error(), "has no certificate") {
		t.Error(err)
	}
}
