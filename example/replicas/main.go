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
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
	"example.com/msauth/redisshared"
)

// version is set by the linker: see deploy/Dockerfile.
var version = "development"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "health" {
		health(os.Getenv, os.Stdout)
		return
	}
	webapp.Main(run)
}

// run serves the site until ctx is done.
func run(ctx context.Context, getenv func(string) string, out io.Writer, log *slog.Logger) error {
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
	if err := metrics.Observe(auth); err != nil {
		return err
	}
	stop, err := metrics.serve(set.metrics)
	if err != nil {
		return fmt.Errorf("METRICS_ADDR: %w", err)
	}
	defer stop() // last: what happens at the end is measured too
	listener, err := webapp.Listen(set.Listen, "go run ./example/replicas")
	if err != nil {
		return errors.Join(err, auth.Close(ctx))
	}
	a := &app{auth: auth, metrics: metrics, set: set, log: log, stopping: ctx.Done()}
	if set.debug {
		a.commands = countCommands(client)
	}
	fmt.Fprintf(out, "Server %s, version %s\n\n  Open %s\n\n", set.instance, version, set.HomeURL())
	set.PrintNotes(out)
	// Serve shuts the server down and then calls auth.Close, which waits for renewals
	// under way and tells the other servers what they do not know yet.
	return webapp.Serve(later(ctx, set.delay), listener, a.handler(), auth.Close, out, log)
}

// later returns a context that is done some time after ctx.
func later(ctx context.Context, delay time.Duration) context.Context {
	if delay == 0 {
		return ctx
	}
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(delay, cancel) })
	return late
}
