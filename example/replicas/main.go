// Command replicas is a site that runs on several servers at once. They have the same
// keys, and a Redis in which each finds what the others have done: a sign-out at one
// of them holds at all, and of all of them one renews the tokens of a session.
//
// What to copy is here, in run: Config.Shared is set, what is done is measured for
// Prometheus (metrics.go), and when the program ends the server shuts down first, and
// then the Middleware is closed.
//
// To try it with three servers, start Redis and the local stand-in for Microsoft, and
// set the variables that this prints:
//
//	redis-server --save "" --appendonly no
//	go run ./msauthtest/cmd/msauthtest
//
// Then start the servers, each in a terminal of its own. env.go describes these
// variables, and all others:
//
//	export MSAUTH_KEYS=... MSAUTH_BASE_URL=http://localhost:8081/auth
//	PORT=8081 INSTANCE=one METRICS_ADDR=localhost:9464 go run ./example/replicas
//	PORT=8082 INSTANCE=two go run ./example/replicas
//	PORT=8083 INSTANCE=three go run ./example/replicas
//
// Browsers send cookies to all ports of localhost: who is signed in at
// http://localhost:8081/ is at the two others. Elsewhere a load balancer is in front of
// the servers; it may send each request to any of them. What server one has measured is
// at http://localhost:9464/metrics.
//
// It is a separate module because of its dependencies: go-redis, and OpenTelemetry's
// exporter for Prometheus.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
	"example.com/msauth/redisshared"
)

func main() { webapp.Main(run) }

// run serves the site until ctx is done.
func run(ctx context.Context, getenv func(string) string, out io.Writer, log *slog.Logger) (err error) {
	set, err := readSettings(getenv)
	if err != nil {
		return err
	}
	client := redis.NewUniversalClient(&set.redis)
	defer client.Close()
	shared, err := redisshared.New(client, "msauth")
	if err != nil {
		return err
	}
	defer shared.Close()

	set.Auth.Shared = shared
	set.Auth.Logger = log.With("instance", set.instance)
	metrics, err := measure(&set.Auth)
	if err != nil {
		return err
	}
	auth, err := msauth.New(set.Auth)
	if err != nil {
		return err
	}
	defer func() {
		// What the other servers do not know yet is passed on, as long as this may
		// take. Afterwards nothing is lost but that.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err = errors.Join(err, auth.Close(ctx))
	}()

	if err := metrics.Observe(auth); err != nil {
		return err
	}
	stop, err := metrics.serve(set.metrics)
	if err != nil {
		return fmt.Errorf("METRICS_ADDR: %w", err)
	}
	defer stop()
	listener, err := webapp.Listen(set.Listen, "go run ./example/replicas")
	if err != nil {
		return err
	}
	a := &app{auth: auth, metrics: metrics, set: set, log: log}
	if set.debug {
		a.commands = countCommands(client)
	}
	fmt.Fprintf(out, "Server %s\n\n  Open %s\n\n", set.instance, set.HomeURL())
	set.PrintNotes(out)
	// Serve returns when http.Server.Shutdown has: no request is under way.
	return webapp.Serve(ctx, listener, a.handler(), out, log)
}
