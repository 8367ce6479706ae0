// Command offline is "OneDrive digests", a small site with users and a login of
// its own. Whoever wants to connects a Microsoft account, and from then on a
// worker writes digests of what has changed in their OneDrive, every minute,
// also when all browsers are closed and after the server was restarted.
//
//	go run ./example/offline
//
// Without configuration it runs on a local stand-in for Microsoft, which forgets
// everything when the program ends. With AZURE_CLIENT_ID and the other variables
// of env.go it runs on the real one. What to copy is in app.go (an account is
// connected and disconnected) and in worker.go (acting for people who are away).
//
// It is an example of package msauth, not of a login: there is no confirmation
// of addresses, no way back for those who forget their password, and no limit
// on guessing but what a password hash costs.
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

	"example.com/msauth/msauthtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for open requests
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := serve(ctx, os.Getenv, os.Stdout, log); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve serves the site, and runs its worker, until ctx ends.
func serve(ctx context.Context, getenv func(string) string, out io.Writer, log *slog.Logger) error {
	set, err := readSettings(getenv)
	if err != nil {
		return err
	}
	if set.auth.ClientID == "" {
		microsoft := msauthtest.NewServer() // a free port of 127.0.0.1
		defer microsoft.Close()
		set.useLocal(microsoft)
	}
	listener, err := net.Listen("tcp", set.listen)
	if err != nil {
		return fmt.Errorf("cannot listen: %w\nIf another program has the port, stop that or choose another one, for example: PORT=8081 go run ./example/offline", err)
	}
	defer listener.Close()
	a, err := newApp(ctx, set, log)
	if err != nil {
		return err
	}
	defer a.db.Close()
	server := &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		a.work(ctx)
	}()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	set.announce(out)

	select {
	case err := <-failed:
		stop()
		<-worked
		return err
	case <-ctx.Done():
	}
	fmt.Fprintln(out, "Stopping.")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		server.Close()
	}
	<-worked // before the database is closed
	return nil
}
