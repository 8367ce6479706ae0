package livesite

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
)

func getenv(env map[string]string) func(string) string {
	return func(name string) string { return env[name] }
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		env      map[string]string
		versions []int
		fail     string // the error of ReadSettings
	}{
		{"one secret", map[string]string{"LIVE_CLIENT_ID": "id", "LIVE_CLIENT_SECRET_0": "a"}, []int{0}, ""},
		{"two secrets", map[string]string{"LIVE_CLIENT_ID": "id", "LIVE_CLIENT_SECRET_9": "a", "LIVE_CLIENT_SECRET_10": "b"}, []int{10, 9}, ""},
		{"in public", map[string]string{"LIVE_CLIENT_ID": "id", "LIVE_CLIENT_SECRET_2": "a", "MSAUTH_BASE_URL": "https://site.example/auth"}, []int{2}, ""},
		{"no secret", map[string]string{"LIVE_CLIENT_ID": "id"}, nil, "set LIVE_CLIENT_SECRET_0"},
		{"the stand-in in public", map[string]string{"MSAUTH_BASE_URL": "https://site.example/auth"}, nil, "LIVE_CLIENT_ID is not set"},
		{"another stand-in in public", map[string]string{"LIVE_CLIENT_ID": "id", "LIVE_CLIENT_SECRET_0": "a", "LIVE_AUTHORITY": "http://localhost:9090/login.live.com", "MSAUTH_BASE_URL": "https://site.example/auth"}, nil, "unset AZURE_AUTHORITY_HOST or LIVE_AUTHORITY"},
		{"no port", map[string]string{"PORT": "x"}, nil, "PORT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set, err := ReadSettings(getenv(tt.env))
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Errorf("error %v, want %q in it", err, tt.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := msauth.New(set.Auth); err != nil {
				t.Error(err)
			}
			if set.Auth.Authority != "https://login.live.com" || !slices.Equal(set.Versions, tt.versions) || set.Local != "" {
				t.Errorf("authority %q, versions %v, local %q", set.Auth.Authority, set.Versions, set.Local)
			}
			var out bytes.Buffer
			set.announce(&out, "Sample")
			if text := out.String(); !strings.Contains(text, "https://login.live.com") || !strings.Contains(text, "Client secret: version ") {
				t.Errorf("printed %s", text)
			}
		})
	}
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A program runs without settings, says what to open, and ends when it is told to.
func TestRun(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	p := Program{Name: "Sample", Command: "go run ./sample", Site: func(set *Settings, log *slog.Logger) (http.Handler, *msauth.Middleware, error) {
		auth, err := msauth.New(set.Auth)
		if err != nil || set.Local == "" {
			t.Errorf("%v, local %q", err, set.Local)
		}
		return http.NotFoundHandler(), auth, err
	}}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	env := map[string]string{"PORT": port, "LIVE_CLIENT_SECRET_0": "left over"}
	out := &buffer{}
	if err := p.Run(t.Context(), getenv(env), out, log); err == nil || !strings.Contains(err.Error(), "PORT=8081 go run ./sample") {
		t.Errorf("a port that is taken: %v", err)
	}

	listener.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, getenv(env), out, log) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		res, err := http.Get("http://localhost:" + port + "/")
		if err == nil {
			res.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, want := range []string{"Open http://localhost:" + port + "/", "choose Mia", "version 1; tokens that are signed with version 0 are accepted too",
		"LIVE_CLIENT_SECRET_0 is ignored", "MSAUTH_KEYS is not set", "Stopping."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	failing := errors.New("no site")
	p.Site = func(*Settings, *slog.Logger) (http.Handler, *msauth.Middleware, error) { return nil, nil, failing }
	if err := p.Run(t.Context(), getenv(env), out, log); !errors.Is(err, failing) {
		t.Errorf("%v, want %v", err, failing)
	}
}
