//go:build unix

// Command local runs a whole deployment as processes of this computer, until it is
// interrupted: the stand-in for Microsoft, Redis with a password, three servers of
// example/replicas, and nginx with TLS in front of them.
//
//	go run ./deploy/local
//
// It prints the address of the site and what to do with it. A program that ends is
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
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/msauth/deploy/internal/dirlock"
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
	lifetime := flags.Duration("lifetime", 0, "how long access tokens last, such as 30s to see renewals in the metrics (default 60 to 90 minutes)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *lifetime < 0 {
		return errors.New("-lifetime must not be negative")
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
	unlock, err := dirlock.Lock(dir)
	switch {
	case errors.Is(err, dirlock.ErrLocked):
		return fmt.Errorf("-dir: another run uses %s: end it, or name another directory", dir)
	case err != nil:
		return fmt.Errorf("-dir: %w", err)
	}
	defer unlock()
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintln(out, "The first start takes up to 3 minutes on a slow computer.")
	s, err := site.Start(ctx, site.Options{
		Root: strings.TrimSpace(string(root)), Dir: dir, Port: *port, Out: out, Log: log, Delay: 2 * time.Second,
		StandIn: []string{"-lifetime", lifetime.String()},
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		if failure, ok := errors.AsType[*site.Failure](err); ok {
			return fmt.Errorf("%w. Its last lines:\n\n%s", err, tail(log.Name(), failure.Name))
		}
		return err
	}
	announce(out, s, log.Name())
	var all sync.WaitGroup
	for _, p := range s.Programs() {
		all.Go(func() { keepRunning(ctx, p, out) })
	}
	<-ctx.Done()
	fmt.Fprintln(out, "Stopping: servers finish what they have begun.")
	all.Wait()
	return s.Stop()
}

// What keepRunning waits before it starts a program again: longer each time for one
// that does not run for a while.
const (
	firstWait = time.Second
	longWait  = 30 * time.Second
	aWhile    = 10 * time.Second
)

// keepRunning starts a program again when it has ended, until ctx is done.
func keepRunning(ctx context.Context, p *site.Program, out io.Writer) {
	for wait, began := firstWait, time.Now(); ; wait = min(2*wait, longWait) {
		select {
		case <-p.Ended():
		case <-ctx.Done():
			return
		}
		if time.Since(began) > aWhile {
			wait = firstWait
		}
		fmt.Fprintf(out, "%s has ended (%s). It starts again in %v.\n", p.Name, p.How(), wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		began = time.Now()
		if err := p.Start(); err != nil {
			fmt.Fprintln(out, err)
			continue
		}
		fmt.Fprintf(out, "%s runs again, as process %d.\n", p.Name, p.PID())
	}
}

func announce(out io.Writer, s *site.Site, log string) {
	fmt.Fprintf(out, `
The site         %s
Trust its CA     %s
  one browser    import the file as an authority (Firefox and Chrome: Settings, Privacy and security, Certificates)
  curl           curl --cacert %[5]s %[1]s/
The stand-in     %[3]s  (plays Microsoft: any account, no password; this computer only)
Log              %[4]s

`, s.URL, s.CA, s.StandIn, log, word(s.CA))
	for _, srv := range s.Servers {
		fmt.Fprintf(out, "%-8s process %-7d pages http://%s  metrics http://%s/metrics\n", srv.Name, srv.PID(), srv.Addr, srv.Metrics)
	}
	for _, p := range s.Programs() {
		if !strings.HasPrefix(p.Name, "app") {
			fmt.Fprintf(out, "%-8s process %d\n", p.Name, p.PID())
		}
	}
	var env, metrics []string
	for _, variable := range append([]string{"SSL_CERT_FILE=" + s.CA}, s.Env...) {
		env = append(env, word(variable))
	}
	for _, srv := range s.Servers {
		metrics = append(metrics, srv.Metrics)
	}
	fmt.Fprintf(out, `
Check the set-up, in another terminal:

  env %s \
    MSAUTH_SCOPES=User.Read \
    go run ./cmd/msauth-check

Look at the sign-ins in the metrics, which each server counts for itself:

  for address in %s; do echo $address; curl -s http://$address/metrics | grep '^msauth_sign_ins_total'; done

End a server, as a deployment does: kill %d. It starts again, and nobody notices.
Ctrl-C ends everything.
`, strings.Join(env, " \\\n    "), strings.Join(metrics, " "), s.Servers[0].PID())
}

var plain = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// word returns a text as one word for a shell.
func word(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// tail returns the last lines of a program in the log.
func tail(path, name string) string {
	text, _ := os.ReadFile(path)
	var lines []string
	for line := range strings.Lines(string(text)) {
		if before, _, _ := strings.Cut(line, "|"); strings.TrimSpace(before) == name {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-20):], "")
}
