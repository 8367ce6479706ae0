// Command prepare makes the files that a recipe mounts, where they are missing: keys,
// the password of Redis and its users, and for trying a site out a certificate that no
// authority has signed, with what browsers have to trust.
//
//	go run ./deploy/prepare -dir deploy/compose/secrets
//
// A certificate of your own replaces site.pem (with its chain) and site-key.pem, and is
// not touched again; one for trying out is made anew in its last week. A client secret
// from Microsoft replaces the random one in client-secret, which is for the stand-in.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"example.com/msauth/deploy/internal/material"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("prepare", flag.ContinueOnError)
	dir := flags.String("dir", "secrets", "`directory` to write to; nobody else can enter it")
	hosts := flags.String("hosts", "localhost,127.0.0.1", "`names` and addresses that the certificate is for, separated by commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	written, err := material.Write(*dir, strings.FieldsFunc(*hosts, func(r rune) bool { return r == ',' || r == ' ' })...)
	if err != nil {
		return err
	}
	if len(written) == 0 {
		fmt.Fprintf(out, "%s: all files are there.\n", *dir)
		return nil
	}
	fmt.Fprintf(out, "%s: made %s.\n", *dir, strings.Join(written, ", "))
	return nil
}
