package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// While Microsoft fails a server that has just started says so to whoever deploys it.
// Once people could sign in it never says so again, and it is ready and healthy all
// the time. It is not ready from the moment when it is to end.
func TestHealth(t *testing.T) {
	t.Parallel()
	ms := msauthtest.NewServer()
	t.Cleanup(ms.Close)
	failing := func(on bool) {
		ms.Set(func(b *msauthtest.Behavior) {
			clear(b.FailAlways)
			if on {
				b.FailAlways[msauthtest.Discovery] = msauthtest.Failure{Status: http.StatusServiceUnavailable}
			}
		})
	}
	server := httptest.NewUnstartedServer(nil)
	t.Cleanup(server.Close)
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	getenv := env{
		"AZURE_CLIENT_ID": ms.ClientID, "AZURE_CLIENT_SECRET": ms.ClientSecret, "AZURE_AUTHORITY_HOST": ms.URL,
		"MSAUTH_KEYS": testKey, "PORT": port,
	}.get
	if err := askHealth(getenv); err == nil {
		t.Error("a server that does not serve is healthy")
	}
	set, err := readSettings(getenv)
	if err != nil {
		t.Fatal(err)
	}
	set.Auth.Logger = slog.New(slog.DiscardHandler)
	measured, err := measure(&set.Auth)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := msauth.New(set.Auth)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	server.Config.Handler = (&app{auth: auth, metrics: measured, set: set, log: set.Auth.Logger, stopping: ctx.Done()}).handler()
	server.Start()

	want := func(when string, healthy, ready, started int) {
		t.Helper()
		for path, status := range map[string]int{"/healthz": healthy, "/readyz": ready, "/startupz": started} {
			res, err := http.Get(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != status {
				t.Errorf("%s: %s says %d, want %d", when, path, res.StatusCode, status)
			}
		}
		if err := askHealth(getenv); (err == nil) != (started == http.StatusOK) {
			t.Errorf("%s: the command says %v", when, err)
		}
	}
	failing(true)
	want("Microsoft fails at the start", 200, 200, 503)
	failing(false)
	for began := time.Now(); askHealth(getenv) != nil && time.Since(began) < time.Minute; {
		time.Sleep(100 * time.Millisecond) // it is asked again after some seconds
	}
	want("Microsoft answers", 200, 200, 200)
	failing(true)
	ms.RollKeys()
	want("Microsoft fails later", 200, 200, 200)
	stop()
	want("it is to end", 200, 503, 200)
}

// The command asks where the server listens.
func TestHealthOfABadEnvironment(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"8080": "LISTEN_ADDR", "localhost:1": "refused"} {
		if err := askHealth(env{"LISTEN_ADDR": value}.get); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("LISTEN_ADDR=%s: %v, want %q in it", value, err, want)
		}
	}
}
