// Command example is "OneDrive at a glance", a small web app that signs people
// in with package msauth and shows them their Microsoft profile, files and
// calendar. Some of its pages take more than a sign-in: a permission that is
// asked for on the first visit, a password that was entered a moment ago, a role.
//
//	go run ./example
//
// Without configuration it runs on a local stand-in for Microsoft, so that it
// can be tried without an account. With AZURE_CLIENT_ID and the other variables
// of env.go it runs on the real one. What to copy is in app.go (one handler
// mounted, the others wrapped) and in failure.go (errors that only the person can
// mend).
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for open requests
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(ctx, os.Getenv, os.Stdout, log); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves the app until ctx ends.
func run(ctx context.Context, getenv func(string) string, out io.Writer, log *slog.Logger) error {
	set, err := readSettings(getenv)
	if err != nil {
		return err
	}
	if set.auth.ClientID == "" {
		microsoft := msauthtest.NewServer() // a free port of 127.0.0.1
		defer microsoft.Close()
		set.useLocal(microsoft)
	}

	set.auth.Logger = log
	auth, err := msauth.New(set.auth)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", set.listen)
	if err != nil {
		return fmt.Errorf("cannot listen: %w\nIf another program has the port, stop that or choose another one, for example: PORT=8081 go run ./example", err)
	}
	server := &http.Server{
		Handler:           newApp(auth, set, log),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute, // a download asks for more
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	set.announce(out)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	fmt.Fprintln(out, "Stopping.")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		server.Close() // a long download does not keep the program
	}
	return nil
}
