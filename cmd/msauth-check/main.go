// Command msauth-check finds what is wrong with an app registration and with the front
// of a site, before the first person signs in:
//
//	go run example.com/msauth/cmd/msauth-check
//
// It reads the environment variables of the examples (AZURE_CLIENT_ID,
// AZURE_CLIENT_SECRET, MSAUTH_BASE_URL and so on) or flags in their place, asks
// Microsoft and the site, and prints for each finding what it is, why it matters and
// how it is mended. Nobody is signed in. With -sign-in it also signs its user in, on a
// page of its own, and tells what came of it. docs/check.md has all findings.
//
// The exit code is 0 if nothing was found, 1 if something was, 2 for a wrong use, and 130
// if it was interrupted.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/msauth/cmd/msauth-check/internal/outside"
	"example.com/msauth/cmd/msauth-check/internal/report"
	"example.com/msauth/cmd/msauth-check/internal/settings"
	"example.com/msauth/cmd/msauth-check/internal/signin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], surroundings{getenv: os.Getenv, transport: transport(), stdout: os.Stdout, stderr: os.Stderr})
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitNothing     = 0
	exitFindings    = 1
	exitUsage       = 2
	exitInterrupted = 130 // as shells have it for SIGINT
)

// surroundings are what the command needs of its process.
type surroundings struct {
	getenv         func(string) string
	transport      *http.Transport
	stdout, stderr io.Writer
	patience       time.Duration // 0: that of package outside
	signInTime     time.Duration // 0: the constant
}

// transport is how the app makes its requests: by HTTPS_PROXY, and with the certificate
// authorities of the system.
func transport() *http.Transport {
	return http.DefaultTransport.(*http.Transport).Clone()
}

// options are the flags that are no settings.
type options struct {
	json   bool
	signIn bool
	port   uint
}

// signInTime is how long a person may take with -sign-in.
const signInTime = 5 * time.Minute

// run is the command. It returns the exit code.
func run(ctx context.Context, args []string, s surroundings) int {
	getenv, o, err := parse(args, s)
	if errors.Is(err, flag.ErrHelp) {
		return exitNothing
	}
	if err != nil {
		return exitUsage // the flag package has said why
	}
	found := new(report.Report)
	set := settings.Read(getenv, found)
	network := outside.Network{Transport: s.transport, Patience: s.patience}
	outside.Run(ctx, set, found, network)
	if o.signIn {
		signin.Run(ctx, set, found, network, signin.Options{Port: o.port, Timeout: cmp.Or(s.signInTime, signInTime), Out: s.stderr})
	}
	if ctx.Err() != nil { // what has failed since then is no fault
		fmt.Fprintln(s.stderr, "msauth-check: interrupted")
		return exitInterrupted
	}
	write := found.Text
	if o.json {
		write = found.JSON
	}
	if err := write(s.stdout); err != nil {
		fmt.Fprintln(s.stderr, "msauth-check:", err)
		return exitUsage
	}
	if found.Faults() > 0 {
		return exitFindings
	}
	return exitNothing
}

// parse reads the flags. getenv returns their values in place of the variables'.
func parse(args []string, s surroundings) (getenv func(string) string, o options, err error) {
	flags := flag.NewFlagSet("msauth-check", flag.ContinueOnError)
	flags.SetOutput(s.stderr)
	flags.Usage = func() { usage(flags) }
	flags.BoolVar(&o.json, "json", false, "write JSON")
	flags.BoolVar(&o.signIn, "sign-in", false, "sign in too, on a page of this computer: needs the redirect URI http://localhost"+signin.Path+"/callback")
	flags.UintVar(&o.port, "sign-in-port", 0, "the `port` of that page; 0 is any, which Microsoft allows")
	given := map[string]string{}
	for _, v := range settings.Variables {
		if v.Flag != "" {
			flags.Func(v.Flag, v.Help, func(value string) error { given[v.Name] = value; return nil })
		}
	}
	if err := flags.Parse(args); err != nil {
		return nil, o, err
	}
	if o.port > 65535 {
		fmt.Fprintln(s.stderr, "msauth-check: -sign-in-port must be at most 65535")
		return nil, o, errors.New("port")
	}
	if flags.NArg() > 0 { // which may be a secret
		fmt.Fprintln(s.stderr, "msauth-check: only flags are expected; secrets come from the environment or from files")
		usage(flags)
		return nil, o, errors.New("arguments")
	}
	return func(name string) string {
		if value, ok := given[name]; ok {
			return value
		}
		return s.getenv(name)
	}, o, nil
}

func usage(flags *flag.FlagSet) {
	fmt.Fprint(flags.Output(), `Usage: msauth-check [flags]

Checks an app registration at Microsoft and the front of a site. Settings come from the
environment, or from flags:

`)
	for _, v := range settings.Variables {
		switch {
		case v.Flag == "":
			fmt.Fprintf(flags.Output(), "  %-36s %s\n", v.Name, v.Help)
		case v.Name[0] == '(':
		default:
			fmt.Fprintf(flags.Output(), "  %-36s -%s\n", v.Name, v.Flag)
		}
	}
	fmt.Fprintln(flags.Output(), "\nFlags:")
	flags.PrintDefaults()
}
