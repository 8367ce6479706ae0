package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"localhost:0", "127.0.0.1:0", "ms.localhost:0"} {
		ctx, cancel := context.WithCancel(t.Context())
		out, in := io.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- run(ctx, []string{"-addr", addr, "-client-id", "the-client", "-lifetime", "5m"}, in, io.Discard)
			in.Close()
		}()
		var authority, id string
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), "AZURE_AUTHORITY_HOST="); ok {
				authority = v
			}
			if v, ok := strings.CutPrefix(lines.Text(), "AZURE_CLIENT_ID="); ok {
				id = v
			}
			if strings.HasPrefix(lines.Text(), "Ctrl-C") {
				break
			}
		}
		if id != "the-client" || !strings.HasPrefix(authority, "http://"+strings.TrimSuffix(addr, "0")) || !strings.HasSuffix(authority, "/") {
			t.Errorf("%s: authority %q, client id %q", addr, authority, id)
		}
		if !strings.HasPrefix(addr, "ms.") {
			res, err := http.Get(authority + "common/v2.0/.well-known/openid-configuration")
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != 200 {
				t.Errorf("%s: discovery: %s", addr, res.Status)
			}
		}
		cancel()
		go io.Copy(io.Discard, out)
		if err := <-done; err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, want string }{
		{"-addr :9090", "not a loopback host"},
		{"-addr 0.0.0.0:9090", "not a loopback host"},
		{"-addr app.example.com:9090", "not a loopback host"},
		{"-addr localhost", "-addr"},
		{"-lifetime -5m", "-lifetime"},
		{"serve", "unexpected argument"},
	} {
		err := run(t.Context(), strings.Fields(tt.args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.args, err)
		}
	}
}
