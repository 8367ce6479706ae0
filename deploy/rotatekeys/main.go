// Command rotatekeys takes one step of a change of keys, if one is due: it is meant to
// run once a day, and does nothing on most days.
//
//	rotatekeys -file /etc/msauth/keys
//	rotatekeys -secret msauth-keys -key keys      in a pod of Kubernetes
//
// The steps are those of "Keys in files" in docs/operations.md: a new key comes second,
// a day later first, and the old one goes when nobody can have anything any more that it
// has sealed. Between them the servers read the file by themselves. Comments in the file
// have the times, so nothing else has to be remembered, and what was interrupted is done
// by the next run. Each step changes the text from one that all servers can work with
// to another one, at once.
//
// -file makes a file with one key where there is none; a Secret must be there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], time.Now(), os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "rotatekeys:", err)
		os.Exit(1)
	}
}

// A store keeps the text of the keys.
type store interface {
	// change replaces the text by what f makes of it, all of it or nothing. It does
	// nothing if f returns nil or an error. The text is nil if there is none yet.
	change(ctx context.Context, f func(text []byte) ([]byte, error)) error
}

func run(ctx context.Context, args []string, now time.Time, out io.Writer) error {
	flags := flag.NewFlagSet("rotatekeys", flag.ContinueOnError)
	file := flags.String("file", "", "`file` of keys")
	secret := flags.String("secret", "", "`name` of a Secret of Kubernetes, in the namespace of this pod")
	key := flags.String("key", "keys", "`name` of the text in the Secret")
	var p policy
	flags.DurationVar(&p.every, "every", 90*24*time.Hour, "how `long` a key seals")
	flags.DurationVar(&p.wait, "wait", 20*time.Hour, "how `long` a new key waits in second place, until all servers have it for certain")
	flags.DurationVar(&p.keep, "keep", 8*24*time.Hour, "how `long` an old key still opens: more than Config.MaxAge")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	var s store
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case (*file == "") == (*secret == ""):
		return errors.New("needs -file or -secret")
	case *file != "":
		s = fileStore{path: *file}
	default:
		var err error
		if s, err = inCluster(*secret, *key); err != nil {
			return err
		}
	}
	done := "nothing is due"
	err := s.change(ctx, func(text []byte) (changed []byte, err error) {
		changed, done, err = step(text, now, p)
		return changed, err
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, done)
	return nil
}
