package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// A program that is told to end while its worker renews tokens stops the worker, and
// stores the tokens when they come: the provider has used up the ones before.
func TestEndDuringARenewal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.lifetime(2 * time.Second)
	s.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateStrict })
	s.connected("ada@site.example", msauthtest.Ada)
	s.db.Close()
	time.Sleep(2100 * time.Millisecond)

	used, answered := make(chan struct{}), make(chan struct{})
	answer := sync.OnceFunc(func() { close(answered) })
	t.Cleanup(answer) // or the stand-in waits for it
	first := true
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.TokenReply = func(grant msauthtest.Kind, _ map[string]any) {
			if grant == msauthtest.TokenRefresh && first {
				first = false
				close(used)
				<-answered
			}
		}
	})
	free, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	getenv := func(name string) string {
		switch name {
		case "PORT":
			return port
		case "MSAUTH_BASE_URL": // as before: what is stored is of this app
			return s.URL + "/auth"
		case "DIGEST_EVERY":
			return "1s"
		}
		return s.env[name]
	}
	go func() { ended <- serve(ctx, getenv, io.Discard, slog.New(slog.NewTextHandler(s.log, nil))) }()
	select {
	case <-used:
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(20 * time.Second):
		t.Fatal("the worker does not renew")
	}
	stop()
	select {
	case err := <-ended:
		t.Fatalf("it has ended before the answer: %v", err)
	case <-time.After(3 * time.Second):
	}
	answer()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}

	s.start()
	time.Sleep(2100 * time.Millisecond) // the tokens of that renewal have to be renewed
	s.wantRun(run{Users: 1, Written: 1})
}
