//go:build unix

package tokenstore_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A postgres is a PostgreSQL server in a temporary directory, at a Unix socket
// there.
type postgres struct {
	dir  string // of the socket, and above the data
	bin  string // where its programs are
	cred *syscall.Credential
	stop func(signal string) // shuts it down by INT (fast) or QUIT (at once), and waits for it
}

// dsn is how to reach its database, with further settings.
func (p *postgres) dsn(settings string) string {
	return "host=" + p.dir + " user=postgres dbname=postgres sslmode=disable " + settings
}

// newPostgres makes a database and starts its server.
func newPostgres() (*postgres, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	// Not below t.TempDir, whose path may be too long for a socket, and which
	// the server's user may not enter.
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	p := &postgres{dir: dir, bin: bin}
	if os.Getuid() == 0 { // as which it refuses to run
		if err := p.unprivileged(); err != nil {
			os.RemoveAll(dir)
			return nil, err
		}
	}
	// In an order of text that is not that of the bytes.
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", p.data(), "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale-provider=icu", "--icu-locale=en", "--no-sync", "--no-instructions")
	p.prepare(initdb)
	if out, err := initdb.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if err := p.start(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *postgres) data() string { return filepath.Join(p.dir, "data") }

// findPostgres returns the directory with initdb and postgres, those of the
// newest version.
func findPostgres() (string, error) {
	newest, best := -1, ""
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // Debian's place
	for _, path := range found {
		bin := filepath.Dir(path)
		if version, err := strconv.Atoi(filepath.Base(filepath.Dir(bin))); err == nil && version > newest {
			newest, best = version, bin
		}
	}
	if best != "" {
		return best, nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", errors.New("PostgreSQL is missing. On Debian and Ubuntu: sudo apt-get install -y postgresql")
}

// unprivileged makes the programs run as somebody else than root, who gets the
// directory.
func (p *postgres) unprivileged() error {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		p.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return os.Chown(p.dir, uid, gid)
	}
	return errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

func (p *postgres) prepare(cmd *exec.Cmd) {
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred, Setpgid: true}
}

// start starts the server and waits until it answers. The shell between ends
// it with the tests, even if they are killed: their end of the pipe closes.
func (p *postgres) start() error {
	cmd := exec.Command("/bin/sh", "-c", `
		"$@" & server=$!
		read -r signal
		kill "-${signal:-QUIT}" "$server"
		wait "$server"
		[ -n "$signal" ] || rm -rf "$PWD"`, "sh",
		filepath.Join(p.bin, "postgres"), "-D", p.data(), "-k", p.dir, "-c", "listen_addresses=",
		"-c", "max_connections=300", "-c", "fsync=off", "-c", "log_min_messages=fatal")
	p.prepare(cmd)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.stop = func(signal string) {
		p.stop = func(string) {}
		fmt.Fprintln(in, signal)
		cmd.Wait()
	}
	db, err := sql.Open("pgx", p.dsn(""))
	if err != nil {
		return err
	}
	defer db.Close()
	for range 300 {
		if err = db.Ping(); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.stop("QUIT")
	return fmt.Errorf("PostgreSQL does not answer: %w\n%s", err, out.String())
}

func (p *postgres) close() {
	if p.stop != nil {
		p.stop("INT")
	}
	os.RemoveAll(p.dir)
}

// dump is what pg_dump writes.
func (p *postgres) dump(t *testing.T) []byte {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.Command(filepath.Join(p.bin, "pg_dump"), "-h", p.dir, "-U", "postgres", "postgres")
	p.prepare(cmd)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v\n%s", err, stderr.String())
	}
	return out
}
