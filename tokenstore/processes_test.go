//go:build unix

package tokenstore_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/tokenstore"
)

// tasks are what other processes do.
var tasks = map[string]func(driver, dsn, arg string) error{
	// migrate is the start of a process, of a version with arg more migrations.
	"migrate": func(driver, dsn, arg string) error {
		db, err := sql.Open(driver, dsn)
		if err != nil {
			return err
		}
		n, _ := strconv.Atoi(arg)
		_, err = tokenstore.NewWith(context.Background(), db, later[:n]...)
		return err
	},
	// count adds 1 to the number in an entry, arg times, whatever others do.
	"count": func(driver, dsn, arg string) error {
		store, err := openTask(driver, dsn)
		if err != nil {
			return err
		}
		n, _ := strconv.Atoi(arg)
		for n > 0 {
			_, err := next(store, "counter")
			switch {
			case err == nil:
				n--
			case !errors.Is(err, msauth.ErrConflict):
				return err
			}
		}
		return nil
	},
	// write does the same without end and prints each number that is saved.
	"write": func(driver, dsn, user string) error {
		store, err := openTask(driver, dsn)
		if err != nil {
			return err
		}
		for {
			n, err := next(store, user)
			if err != nil {
				return err
			}
			fmt.Println(n)
		}
	},
}

func openTask(driver, dsn string) (*tokenstore.Store, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, err
	}
	return tokenstore.New(context.Background(), db)
}

// numbered is the entry with number n: all its fields tell which one it is, and
// it is up to 60 KB long, many pages of a database.
func numbered(n uint64) msauth.StoredTokens {
	sealed := make([]byte, 1000+n*7919%59_000)
	for i := range sealed {
		sealed[i] = byte(n)
	}
	binary.BigEndian.PutUint64(sealed, n)
	return msauth.StoredTokens{Sealed: sealed, Account: fmt.Sprint("account", n%3), Shared: n%2 == 0,
		SignInRequired: n%5 == 0, Lease: time.UnixMilli(int64(n))}
}

// number is which entry the user has; 0 for none.
func number(store *tokenstore.Store, user string) (n uint64, version int64, err error) {
	e, err := store.Load(context.Background(), user)
	if errors.Is(err, msauth.ErrNoTokens) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	n = binary.BigEndian.Uint64(e.Sealed)
	if !same(e, numbered(n)) {
		return 0, 0, fmt.Errorf("the entry with number %d is mixed with others: %d bytes, %s, %v", n, len(e.Sealed), e.Account, e.Lease)
	}
	return n, e.Version, nil
}

func next(store *tokenstore.Store, user string) (uint64, error) {
	n, version, err := number(store, user)
	if err != nil {
		return 0, err
	}
	return n + 1, store.Save(context.Background(), user, version, numbered(n+1))
}

// together runs n processes at the same time, all of which must succeed.
func together(t *testing.T, n int, process func(i int) *exec.Cmd) {
	t.Helper()
	cmds, outs := make([]*exec.Cmd, n), make([]bytes.Buffer, n)
	for i := range n {
		cmds[i] = process(i)
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], &outs[i]
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("process %d: %v\n%s", i, err, outs[i].String())
		}
	}
}

func TestManyProcesses(t *testing.T) {
	notQuick(t)
	const processes, each = 4, 50
	eachBackend(t, func(t *testing.T, b backend) {
		dsn := b.empty(t)
		together(t, processes, func(int) *exec.Cmd { return task("count", b.driver, dsn, strconv.Itoa(each)) })
		store := openStore(t, openDB(t, b.driver, dsn))
		if n, _, err := number(store, "counter"); n != processes*each || err != nil {
			t.Errorf("%d processes that counted %d each came to %d, %v", processes, each, n, err)
		}
	})
}

func TestKill(t *testing.T) {
	notQuick(t)
	eachBackend(t, func(t *testing.T, b backend) {
		dsn := b.empty(t)
		db := openDB(t, b.driver, dsn)
		store := openStore(t, db)
		save(t, store, "other", 0, entry("other"))
		var cut uint64 // saved, but killed before it could say so
		var saved uint64
		for round := range times(10, 50) {
			cmd := task("write", b.driver, dsn, "ada")
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// At any moment: every other time its start is included.
			var timer *time.Timer
			kill := func() {
				timer = time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, func() { cmd.Process.Kill() })
			}
			started := round%2 == 0
			if started {
				kill()
			}
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if !started {
					started = true
					kill()
				}
				saved, err = strconv.ParseUint(lines.Text(), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
			}
			cmd.Wait()
			if timer == nil || timer.Stop() {
				t.Fatal("the process ended by itself")
			}
			// The server may still be about what the process has sent it.
			time.Sleep(20 * time.Millisecond)
			n, _, err := number(store, "ada")
			if err != nil {
				t.Fatal(err)
			}
			if n != saved && n != saved+1 {
				t.Fatalf("entry %d is there, after %d was saved", n, saved)
			}
			cut += n - saved
			saved = n
		}
		if saved == 0 {
			t.Fatal("nothing was ever saved")
		}
		t.Logf("%d entries; %d times killed between saving and saying so", saved, cut)
		holds(t, store, "other", entry("other"))
		save(t, store, "ada", load(t, store, "ada").Version, entry("a"))
		if b.driver == "sqlite" {
			var result string
			if err := db.QueryRow("PRAGMA integrity_check").Scan(&result); result != "ok" || err != nil {
				t.Errorf("integrity_check: %s, %v", result, err)
			}
		}
	})
}

// TestServerCrash ends PostgreSQL without a checkpoint, while it is written to.
func TestServerCrash(t *testing.T) {
	notQuick(t)
	t.Parallel()
	p, err := newPostgres()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	db := openDB(t, "pgx", p.dsn(""))
	store := openStore(t, db)
	var saved uint64
	for range times(2, 5) {
		stopped := make(chan struct{})
		go func() {
			time.Sleep(time.Duration(50+rand.IntN(200)) * time.Millisecond)
			p.stop("QUIT")
			close(stopped)
		}()
		for {
			n, err := next(store, "ada")
			if err != nil {
				if !strings.HasPrefix(err.Error(), "tokenstore: ") || errors.Is(err, msauth.ErrConflict) {
					t.Errorf("while the server crashes: %v", err)
				}
				break
			}
			saved = n
		}
		<-stopped
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
		n, _, err := number(store, "ada")
		if err != nil {
			t.Fatal(err)
		}
		if n != saved && n != saved+1 {
			t.Fatalf("entry %d is there, after %d was saved", n, saved)
		}
		saved = n
	}
	if saved == 0 {
		t.Fatal("nothing was ever saved")
	}
}
