// Package webapp holds what the examples have in common and would have without
// msauth: settings from the environment, a server that shuts down gracefully,
// templates, static files and a request log.
//
// What the examples show is not here but in their own directories. To start an app
// from one of them, copy its directory and example/internal, and change the import
// paths.
package webapp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Main calls run with the program's environment and exits. The context is
// canceled by an interrupt; a second interrupt ends the program at once.
func Main(run func(ctx context.Context, getenv func(string) string, out io.Writer, log *slog.Logger) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(ctx, os.Getenv, os.Stdout, log); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Listen listens on an address. The error names the command to repeat with
// another port.
func Listen(address, command string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w\nIf another program uses the port, stop it or choose another one, for example: PORT=8081 %s", err, command)
	}
	return listener, nil
}

// How long the end of a program takes at most. What stops and restarts it must wait
// for the sum, or kills it in the middle: see docs/operations.md.
const (
	requestTime = 10 * time.Second // for open requests
	closeTime   = 20 * time.Second // for token requests: 15 seconds, and what follows them
)

// Serve serves until ctx is done. Then it lets open requests finish, for at most
// ten seconds. At last it calls end, which is the method Close of a
// [msauth.Middleware]: a renewal can go on when the request that began it has been
// answered, and what comes of it must not be lost.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, end func(context.Context) error, out io.Writer, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute, // a download extends its own
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		fmt.Fprintln(out, "Stopping.")
		ctx, cancel := context.WithTimeout(context.Background(), requestTime)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close() // a long download must not keep the program running
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	return errors.Join(err, end(ctx))
}
