//go:build unix

// Command local runs a whole deployment as processes of this computer, until it is
// interrupted: the stand-in for Microsoft, Redis with a password, three servers of
// example/replicas, and nginx with TLS in front of them.
//
//	go run ./deploy/local
//
// It prints the address of the site and what to do with it. A server that ends is
// started again, as by whatever runs servers elsewhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/msauth/deploy/internal/site"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends it at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	port := flags.String("port", "8443", "`port` of the site; 0 takes a free one")
	keep := flags.String("dir", "", "`directory` for files, which stay there: keys, certificate, log (default: a temporary one)")
	lifetime := flags.Duration("lifetime", 0, "how `long` access tokens last: a short time shows renewals (default 60 to 90 minutes)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "example.com/msauth").Output()
	if err != nil {
		return fmt.Errorf("run it in a clone of the repository: go list: %w", err)
	}
	dir := *keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "msauth-local-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	} else if dir, err = filepath.Abs(dir); err != nil {
		return err
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// The stand-in prints its client secret.
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintln(out, "Building and starting: the first time this takes a minute or two.")
	s, err := site.Start(ctx, site.Options{
		Root: strings.TrimSpace(string(root)), Dir: dir, Port: *port, Log: log, Delay: 2 * time.Second,
		StandIn: []string{"-lifetime", lifetime.String()},
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%w\n\n%s", err, tail(log.Name()))
	}
	announce(out, s, log.Name())
	var all sync.WaitGroup
	for _, srv := range s.Servers {
		all.Go(func() { keepRunning(ctx, srv, out) })
	}
	<-ctx.Done()
	fmt.Fprintln(out, "Stopping: servers finish what they have begun.")
	all.Wait()
	return s.Stop()
}

// keepRunning starts a server again when it has ended, until ctx is done.
func keepRunning(ctx context.Context, srv *site.Server, out io.Writer) {
	for {
		select {
		case <-srv.Ended():
		case <-ctx.Done():
			return
		}
		fmt.Fprintf(out, "%s has ended. ", srv.Name)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
		if err := srv.Start(); err != nil {
			fmt.Fprintln(out, err)
			return
		}
		fmt.Fprintf(out, "It runs again, as process %d.\n", srv.PID())
	}
}

func announce(out io.Writer, s *site.Site, log string) {
	fmt.Fprintf(out, `
The site         %s
Trust its CA     %s
  one browser    import the file as an authority (Firefox and Chrome: Settings, Privacy and security, Certificates)
  curl           curl --cacert %[2]s %[1]s/
The stand-in     %[3]s  (any account, no password; this computer only)
Log              %[4]s

`, s.URL, s.CA, s.StandIn, log)
	for _, srv := range s.Servers {
		fmt.Fprintf(out, "%-8s process %-7d pages http://%s  metrics http://%s/metrics\n", srv.Name, srv.PID(), srv.Addr, srv.Metrics)
	}
	fmt.Fprintf(out, `
Check the set-up, in another terminal:

  env SSL_CERT_FILE=%s \
    %s \
    go run ./cmd/msauth-check

End a server, as a deployment does: kill %d. It starts again, and nobody notices.
Ctrl-C ends everything.
`, s.CA, strings.Join(s.Env, " \\\n    "), s.Servers[0].PID())
}

// tail returns the last lines of the log.
func tail(path string) string {
	text, _ := os.ReadFile(path)
	lines := strings.Split(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
