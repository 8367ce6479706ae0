//go:build unix

package site

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth/tests/testsite"
)

// All programs that are missing are named, with one command that installs them.
func TestFind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		there []string
		want  string
	}{
		{nil, "not installed: nginx, redis-server. On Debian and Ubuntu: apt-get install -y nginx-light redis-server"},
		{[]string{"redis-server"}, "not installed: nginx. On Debian and Ubuntu: apt-get install -y nginx-light"},
		{[]string{"/usr/sbin/nginx"}, "not installed: redis-server. On Debian and Ubuntu: apt-get install -y redis-server"},
		{[]string{"/usr/sbin/nginx", "redis-server"}, ""},
	} {
		found, err := find(func(name string) (string, error) {
			if slices.Contains(tt.there, name) {
				return name, nil
			}
			return "", exec.ErrNotFound
		})
		if got := errorText(err); got != tt.want || err == nil && len(found) != len(tt.there) {
			t.Errorf("with %q: %v, %q, want %q", tt.there, found, got, tt.want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A program that ends while it is started is named.
func TestFailure(t *testing.T) {
	t.Parallel()
	var log testsite.LogBuffer
	s := &Site{log: &lines{out: &log}}
	p := &Program{Name: "nginx", begin: func(name string) (*process, error) {
		return s.run(name, nil, nil, "/bin/sh", "-c", "echo no; exit 3")
	}}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	err := p.process().waitFor(t.Context(), "it listens", func() bool { return false })
	if failure, ok := errors.AsType[*Failure](err); !ok || failure.Name != "nginx" || err.Error() != "nginx has ended (exit status 3)" {
		t.Errorf("%v", err)
	}
	if got := log.String(); got != "nginx    | no\n" {
		t.Errorf("the log is %q", got)
	}
	if err := p.stop(time.Second); err != nil {
		t.Error(err)
	}
	var never *Program
	if err := never.stop(time.Second); err != nil {
		t.Error(err)
	}
}

// A client ID stays the same in its file.
func TestClientID(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "client-id")
	first, err := clientID(file)
	if err != nil || len(first) != 36 {
		t.Fatalf("%q, %v", first, err)
	}
	if again, err := clientID(file); err != nil || again != first {
		t.Errorf("%q, then %q, %v", first, again, err)
	}
	if _, err := clientID(filepath.Join(file, "client-id")); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Error(err)
	}
}
