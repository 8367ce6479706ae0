// Command offline is "OneDrive digests", a small site with its own users and
// passwords. Users connect a Microsoft account, and from then on a worker writes
// digests of what has changed in their OneDrive, every minute, even if all
// browsers are closed and after the server has restarted.
//
//	go run ./example/offline
//
// Without configuration it runs on a local stand-in for Microsoft, which forgets
// everything when the program ends. If AZURE_CLIENT_ID and the other variables
// described in env.go are set, it runs on the real one.
//
// What to copy is in app.go and connection.go (connecting and disconnecting an
// account) and in worker.go (acting for users while they are away). Package
// webapp, in example/internal, holds what any web app needs.
//
// The first user who signs up is the administrator, and can say of another that they
// have left: see people.go. So sign up first, before others can.
//
// It is an example of package msauth, not of a login: it does not confirm
// addresses, has no way to reset a password, and limits guessing only by the cost
// of the password hash.
package main

import (
	"context"
	"io"
	"log/slog"

	"example.com/msauth/example/internal/webapp"
	"example.com/msauth/msauthtest"
)

func main() { webapp.Main(serve) }

// serve serves the site, and runs its worker, until ctx is done.
func serve(ctx context.Context, getenv func(string) string, out io.Writer, log *slog.Logger) error {
	set, err := readSettings(getenv)
	if err != nil {
		return err
	}
	if set.Auth.ClientID == "" {
		microsoft := msauthtest.NewServer() // on a free port of 127.0.0.1
		defer microsoft.Close()
		set.UseLocal(microsoft)
	}
	listener, err := webapp.Listen(set.Listen, "go run ./example/offline")
	if err != nil {
		return err
	}
	defer listener.Close()
	a, err := newApp(ctx, set, log)
	if err != nil {
		return err
	}
	defer a.db.Close()
	ctx, stop := context.WithCancel(ctx)
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		a.work(ctx)
	}()
	set.announce(out)
	// The worker stops at once. What it has asked Microsoft for may still be under
	// way, and is stored before the database is closed.
	end := func(ctx context.Context) error {
		stop()
		<-worked
		return a.auth.Close(ctx)
	}
	return webapp.Serve(ctx, listener, a.handler(), end, out, log)
}
