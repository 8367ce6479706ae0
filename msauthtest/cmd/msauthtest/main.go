// Command msauthtest runs a local Microsoft on this computer, for trying an app
// without an account.
//
//	go run ./msauthtest/cmd/msauthtest
//
// It prints the authority, that of Live Connect, the client ID and secret, and commands
// for a shell that set the app's environment variables, with a key for its cookies. It listens on loopback only: on -addr, or by default on
// localhost:9090 or, if that is in use, on a free port.
//
// The flag -role gives a person, named by sign-in name or by first name, an app
// role. It may be repeated:
//
//	go run ./msauthtest/cmd/msauthtest -role Ada=Admin -role bruno@fabrikam.example=Reader
//
// The flag -certificate registers the certificate in a PEM file, for an app that
// authenticates with that. If there is no such file, the command makes one, with
// a certificate of 90 days and its private key.
//
// The flag -redirect-uri registers a redirect URI. It may be repeated, and all others are
// refused with AADSTS50011, as by Microsoft. Without it any on loopback and any https URI
// is accepted. An app also returns from signing out, so register that address too:
//
//	go run ./msauthtest/cmd/msauthtest -redirect-uri http://localhost:8080/auth/callback -redirect-uri http://localhost:8080/auth/signed-out
//
// A client secret that comes by -client-secret-file is not printed.
//
// In a container, -addr is the address by which browsers and the app reach it, with a
// host below .localhost, and -insecure-listen the one to listen on. Publish its port on
// loopback only: whoever can reach it can sign in as anybody.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/msauth/msauthtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "msauthtest:", err)
		os.Exit(1)
	}
}

// defaultAddr is the default address to listen on.
const defaultAddr = "localhost:9090"

// find returns the person with a sign-in name or a first name.
func find(ms *msauthtest.Server, name string) (msauthtest.User, error) {
	var people []string
	for _, u := range ms.Users() {
		first, _, _ := strings.Cut(u.Name, " ")
		if strings.EqualFold(name, u.SignInName) || strings.EqualFold(name, first) {
			return u, nil
		}
		people = append(people, first+" ("+u.SignInName+")")
	}
	return msauthtest.User{}, fmt.Errorf("no person %q; there are %s", name, strings.Join(people, ", "))
}

// options are the values of the flags.
type options struct {
	addr                   string // empty: defaultAddr, or a free port
	insecureListen         string // in place of addr
	clientID, clientSecret string
	clientSecretFile       string // in place of clientSecret
	lifetime               time.Duration
	autoSignIn             string
	roles                  []string // person=role
	certificate            string   // file
	redirectURIs           []string // empty: any on loopback, and any https
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("msauthtest", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.addr, "addr", "", "loopback `address` to listen on; port 0 takes a free one (default "+defaultAddr+", or a free port if that is in use)")
	flags.StringVar(&o.insecureListen, "insecure-listen", "", "`address` to listen on in place of -addr, in a container: whoever can reach it can sign in as anybody")
	flags.StringVar(&o.clientID, "client-id", "", "the app's client `id` (default random)")
	flags.StringVar(&o.clientSecret, "client-secret", "", "the app's client `secret` (default random)")
	flags.StringVar(&o.clientSecretFile, "client-secret-file", "", "a `file` with the app's client secret")
	flags.DurationVar(&o.lifetime, "lifetime", 0, "lifetime of access tokens (default 60 to 90 minutes, at random)")
	flags.StringVar(&o.autoSignIn, "auto-sign-in", "", "sign in this `person` without showing the page")
	flags.Func("role", "give a person an app role, as in Ada=Admin; may be repeated (`person=role`)", func(text string) error {
		if name, role, ok := strings.Cut(text, "="); !ok || name == "" || role == "" {
			return errors.New("must be person=role, such as Ada=Admin")
		}
		o.roles = append(o.roles, text)
		return nil
	})
	flags.StringVar(&o.certificate, "certificate", "", "register the certificate in this PEM `file`, which is made if there is none")
	flags.Func("redirect-uri", "register this redirect `URI`, and refuse others; may be repeated (default any on loopback, and any https)", func(text string) error {
		if u, err := url.Parse(text); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Contains(text, "#") {
			return errors.New("must be an http or https URL without user and fragment, such as http://localhost:8080/auth/callback")
		}
		o.redirectURIs = append(o.redirectURIs, text)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.insecureListen != "" && o.addr == "" {
		return o, errors.New("-insecure-listen needs -addr, which tells by what address it is reached")
	}
	if o.clientSecretFile != "" {
		secret, err := os.ReadFile(o.clientSecretFile)
		if err != nil {
			return o, fmt.Errorf("-client-secret-file: %w", err)
		}
		if o.clientSecret = strings.TrimSpace(string(secret)); o.clientSecret == "" {
			return o, fmt.Errorf("-client-secret-file: %s is empty", o.clientSecretFile)
		}
	}
	if o.lifetime < 0 {
		return o, errors.New("-lifetime must not be negative")
	}
	return o, nil
}

// listen listens on a loopback address, or on another one in its place, and returns
// the host and port for URLs.
func listen(addr, insecure string) (l net.Listener, origin string, err error) {
	l, host, err := listenOn(addr, insecure)
	if err != nil {
		return nil, "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if insecure != "" {
		_, port, err = net.SplitHostPort(addr)
	}
	return l, "http://" + net.JoinHostPort(host, port), err
}

func listenOn(addr, insecure string) (l net.Listener, host string, err error) {
	listenAt := cmp.Or(addr, defaultAddr)
	host, _, err = net.SplitHostPort(listenAt)
	if err != nil {
		return nil, "", fmt.Errorf("-addr: %w", err)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && !strings.HasSuffix(host, ".localhost") && (err != nil || !ip.IsLoopback()) {
		return nil, "", fmt.Errorf("-addr: %q is not a loopback host: anybody who can reach this server can sign in as anybody; use localhost:9090", host)
	}
	if strings.HasSuffix(host, ".localhost") { // browsers resolve these by themselves
		listenAt = "127.0.0.1" + strings.TrimPrefix(listenAt, host)
	}
	if insecure != "" {
		listenAt = insecure
	}
	l, err = net.Listen("tcp", listenAt)
	if err != nil && addr == "" { // the default port is in use
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	return l, host, err
}

// giveRoles adds app roles, each in the form person=role.
func giveRoles(ms *msauthtest.Server, roles []string) error {
	for _, text := range roles {
		name, role, _ := strings.Cut(text, "=")
		u, err := find(ms, name)
		if err != nil {
			return fmt.Errorf("-role: %w", err)
		}
		if !slices.Contains(u.Roles, role) {
			u.Roles = append(u.Roles, role)
		}
		ms.SetUser(u)
	}
	return nil
}

// quoted returns a text as one word for a shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	l, origin, err := listen(o.addr, o.insecureListen)
	if err != nil {
		return err
	}
	defer l.Close()

	ms := msauthtest.New(origin)
	defer ms.Close()
	ms.ClientID = cmp.Or(o.clientID, ms.ClientID)
	ms.ClientSecret = cmp.Or(o.clientSecret, ms.ClientSecret)
	if err := giveRoles(ms, o.roles); err != nil {
		return err
	}
	secret, proof := ms.ClientSecret, "AZURE_CLIENT_SECRET="+quoted(ms.ClientSecret)
	if o.clientSecretFile != "" { // who keeps it in a file does not want it in a log
		path, err := filepath.Abs(o.clientSecretFile)
		if err != nil {
			return fmt.Errorf("-client-secret-file: %w", err)
		}
		secret, proof = "in "+path, "AZURE_CLIENT_SECRET_FILE="+quoted(path)
	}
	if o.certificate != "" {
		cert, path, err := certificate(o.certificate)
		if err != nil {
			return fmt.Errorf("-certificate: %w", err)
		}
		ms.AddCertificate(cert)
		proof = "AZURE_CLIENT_CERTIFICATE_PATH=" + quoted(path)
	}
	ms.Set(func(b *msauthtest.Behavior) {
		b.AccessTokenLifetime = o.lifetime
		b.AutoSignIn = o.autoSignIn
		b.RedirectURIs = o.redirectURIs
	})
	redirectURIs := "any on loopback, and any https"
	if len(o.redirectURIs) > 0 {
		redirectURIs = strings.Join(o.redirectURIs, "\n               ")
	}

	fmt.Fprintf(stdout, `A local Microsoft, for tests: not Microsoft, no passwords, this computer only.

Authority      %[1]s
Graph          %[1]s/v1.0
Live Connect   %[5]s
Client id      %[2]s
Client secret  %[3]s
Redirect URI   %[6]s

Paste these into the shell that is to start your app:

export AZURE_AUTHORITY_HOST=%[1]s/
export AZURE_TENANT_ID=common
export AZURE_CLIENT_ID=%[7]s
export %[4]s
export MSAUTH_KEY=$(openssl rand -base64 32)

Ctrl-C ends it.
`, ms.URL, ms.ClientID, secret, proof, ms.LiveAuthority(), redirectURIs, quoted(ms.ClientID))

	base, cancel := context.WithCancel(context.Background())
	defer cancel()
	srv := &http.Server{
		Handler:           ms,
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: 10 * time.Second,
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	cancel() // ends requests that hang or are delayed
	grace, done := context.WithTimeout(context.Background(), 3*time.Second)
	defer done()
	if err := srv.Shutdown(grace); err != nil {
		srv.Close()
	}
	<-failed
	return nil
}
