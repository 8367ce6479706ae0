package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	key := "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	for _, tt := range []struct {
		name   string
		env    env
		graph  string
		listen string
		forms  string
	}{
		{"Microsoft", env{"AZURE_CLIENT_ID": "id", "AZURE_CLIENT_SECRET": "secret"}, "https://graph.microsoft.com/v1.0", "localhost:8080", "https://login.microsoftonline.com https://login.live.com"},
		{"US government", env{"AZURE_CLIENT_ID": "id", "AZURE_CLIENT_SECRET": "secret", "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.us/"}, "https://graph.microsoft.us/v1.0", "localhost:8080", "https://login.microsoftonline.us https://login.live.com"},
		{"in public", env{"AZURE_CLIENT_ID": "id", "AZURE_CLIENT_SECRET": "secret", "MSAUTH_BASE_URL": "https://digests.example.com/sso", "PORT": "9000"}, "https://graph.microsoft.com/v1.0", ":9000", "https://login.microsoftonline.com https://login.live.com"},
		{"msauthtest elsewhere", env{"AZURE_CLIENT_ID": "id", "AZURE_CLIENT_SECRET": "secret", "AZURE_AUTHORITY_HOST": "http://127.0.0.1:9999"}, "http://127.0.0.1:9999/v1.0", "localhost:8080", "http://127.0.0.1:9999"},
	} {
		tt.env["MSAUTH_KEYS"] = key
		set, err := readSettings(tt.env.get)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if set.Graph != tt.graph || set.Listen != tt.listen || set.formTargets() != tt.forms || set.every != time.Minute || set.Local != "" {
			t.Errorf("%s: %q, %q, %q, %v", tt.name, set.Graph, set.Listen, set.formTargets(), set.every)
		}
		if _, err := msauth.New(set.Auth); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	for _, tt := range []struct {
		env  env
		want string
	}{
		{env{"PORT": "http"}, "PORT"},
		{env{"DIGEST_EVERY": "0s"}, "DIGEST_EVERY"},
		{env{"DIGEST_EVERY": "soon"}, "DIGEST_EVERY"},
		{env{"MSAUTH_KEYS": "????"}, "MSAUTH_KEYS: entry 1"},
		{env{"MSAUTH_BASE_URL": "http://[::1"}, "MSAUTH_BASE_URL"},
		{env{"MSAUTH_BASE_URL": "http://localhost:8080"}, "must have a path"},
		{env{"MSAUTH_BASE_URL": "https://digests.example.com/auth"}, "AZURE_CLIENT_ID is not set"},
		{env{"AZURE_CLIENT_ID": "id", "MSAUTH_KEYS": key, "PORT": "8199", "DIGEST_DB": filepath.Join(t.TempDir(), "a.db")}, "set AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE"},
		{env{"DIGEST_DB": filepath.Join(t.TempDir(), "none", "a.db")}, "cannot make a key"},
	} {
		err := serve(t.Context(), tt.env.get, io.Discard, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: error %v, want %q in it", tt.env, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "????") {
			t.Error("the error shows the key")
		}
	}
}

// The program, started twice without configuration.
func TestServe(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	log := slog.New(slog.DiscardHandler)
	database := filepath.Join(t.TempDir(), "digests.db")
	getenv := env{"PORT": port, "DIGEST_DB": database, "DIGEST_EVERY": "1s"}.get
	err = serve(t.Context(), getenv, io.Discard, log)
	if err == nil || !strings.Contains(err.Error(), "choose another one, for example: PORT=8081") {
		t.Errorf("port taken: %v, want what to do", err)
	}
	free.Close()
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		var out lockedBuffer
		ended := make(chan error, 1)
		go func() { ended <- serve(ctx, getenv, &out, log) }()
		var res *http.Response
		for range 200 {
			if res, err = http.Get("http://localhost:" + port + "/"); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if !strings.Contains(string(body), "local stand-in for Microsoft") {
			t.Errorf("no word about the local Microsoft in\n%s", body)
		}
		time.Sleep(1200 * time.Millisecond) // the worker runs
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("serve does not end")
		}
		for _, want := range []string{
			"Open http://localhost:" + port + "/\n", "http://localhost:" + port + "/auth/callback\n", "local stand-in for Microsoft",
			"MSAUTH_KEYS is not set: the key is in " + database + ".key", "A digest is written every second.",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q was not printed:\n%s", want, out.String())
			}
		}
	}
	for _, path := range []string{database, database + ".key"} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ got, want string }{
		{every(time.Minute), "minute"},
		{every(2 * time.Minute), "2 minutes"},
		{every(time.Second), "second"},
		{every(90 * time.Second), "90 seconds"},
		{every(1500 * time.Millisecond), "1.5 seconds"},
		{every(time.Hour), "hour"},
		{every(24 * time.Hour), "24 hours"},
		{nameOf(msauth.User{Name: "Ada", Username: "ada@contoso.example"}), "Ada (ada@contoso.example)"},
		{nameOf(msauth.User{Email: "a@b.example"}), "a@b.example"},
		{nameOf(msauth.User{}), "an account without a name"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}
