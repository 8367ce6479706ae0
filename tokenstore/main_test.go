//go:build unix

package tokenstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"example.com/msauth"
	"example.com/msauth/tokenstore"
)

// The tests run as further processes too, each with one task.
const taskVariable = "TOKENSTORE_TEST_TASK"

func TestMain(m *testing.M) {
	if name := os.Getenv(taskVariable); name != "" {
		if err := tasks[name](os.Args[1], os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if server.p != nil {
		server.p.close()
	}
	os.Exit(code)
}

// task is another process: tasks[name](driver, dsn, arg).
func task(name, driver, dsn, arg string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], driver, dsn, arg)
	cmd.Env = append(os.Environ(), taskVariable+"="+name)
	return cmd
}

// server is the PostgreSQL that most tests share.
var server struct {
	once    sync.Once
	p       *postgres
	err     error
	schemas atomic.Int64
}

func sharedPostgres(t *testing.T) *postgres {
	t.Helper()
	notQuick(t)
	server.once.Do(func() { server.p, server.err = newPostgres() })
	if server.err != nil {
		t.Fatal(server.err)
	}
	return server.p
}

// A backend is a kind of database with a way to open it. All of them must
// behave alike.
type backend struct {
	name     string
	driver   string
	settings string
}

var backends = []backend{
	// As the package comment recommends it.
	{"sqlite", "sqlite", "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate"},
	// As it is without settings: rollback journal, nobody waits for a lock.
	{"sqlite-bare", "sqlite", ""},
	{"postgres", "pgx", ""},
	{"postgres-serializable", "pgx", "default_transaction_isolation=serializable"},
}

// times is how often something is tried: usually, and by make test-long, which
// sets MSAUTH_TEST_LONG.
func times(usual, long int) int {
	if os.Getenv("MSAUTH_TEST_LONG") != "" {
		return long
	}
	return usual
}

// notQuick skips a test where only quick ones are asked for (go test -short):
// those with SQLite.
func notQuick(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds")
	}
}

// eachBackend runs test with each of them.
func eachBackend(t *testing.T, test func(t *testing.T, b backend)) {
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			test(t, b)
		})
	}
}

// empty makes an empty database and returns its data source name: in
// PostgreSQL a schema, found by search_path.
func (b backend) empty(t *testing.T) string {
	t.Helper()
	if b.driver == "sqlite" {
		return "file:" + filepath.Join(t.TempDir(), "app.db") + "?" + b.settings
	}
	p := sharedPostgres(t)
	schema := fmt.Sprintf("app%d", server.schemas.Add(1))
	db := openDB(t, b.driver, p.dsn(""))
	if _, err := db.Exec("CREATE SCHEMA " + schema); err != nil {
		t.Fatal(err)
	}
	return p.dsn("search_path=" + schema + " " + b.settings)
}

// readOnly is the data source name of a database that is not to be written to.
func (b backend) readOnly(dsn string) string {
	if b.driver == "sqlite" {
		file, _, _ := strings.Cut(dsn, "?")
		return file + "?mode=ro"
	}
	return dsn + " default_transaction_read_only=on"
}

// dump is all that is in the database.
func (b backend) dump(t *testing.T, dsn string) []byte {
	t.Helper()
	if b.driver != "sqlite" {
		return sharedPostgres(t).dump(t)
	}
	file, _, _ := strings.Cut(strings.TrimPrefix(dsn, "file:"), "?")
	var all []byte
	for _, suffix := range []string{"", "-wal", "-journal"} {
		data, err := os.ReadFile(file + suffix)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	return all
}

func openDB(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// newStore makes a store in a new database.
func (b backend) newStore(t *testing.T) (*tokenstore.Store, *sql.DB) {
	t.Helper()
	db := openDB(t, b.driver, b.empty(t))
	return openStore(t, db), db
}

func openStore(t *testing.T, db *sql.DB) *tokenstore.Store {
	t.Helper()
	store, err := tokenstore.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// entry is some entry with the account.
func entry(account string) msauth.StoredTokens {
	return msauth.StoredTokens{Sealed: []byte("sealed of " + account), Account: account}
}

// save saves what must be saved.
func save(t *testing.T, store *tokenstore.Store, user string, old int64, e msauth.StoredTokens) {
	t.Helper()
	if err := store.Save(t.Context(), user, old, e); err != nil {
		t.Fatalf("Save(%q, %d): %v", user, old, err)
	}
}

// load loads what must be there.
func load(t *testing.T, store *tokenstore.Store, user string) msauth.StoredTokens {
	t.Helper()
	e, err := store.Load(t.Context(), user)
	if err != nil {
		t.Fatalf("Load(%q): %v", user, err)
	}
	if e.Version <= 0 {
		t.Fatalf("Load(%q): version %d", user, e.Version)
	}
	return e
}

// holds checks that the user's entry is want, whatever its version.
func holds(t *testing.T, store *tokenstore.Store, user string, want msauth.StoredTokens) {
	t.Helper()
	if got := load(t, store, user); !same(got, want) {
		t.Fatalf("the entry of %q is %+v, want %+v", user, got, want)
	}
}

func same(a, b msauth.StoredTokens) bool {
	return bytes.Equal(a.Sealed, b.Sealed) && a.Account == b.Account && a.Shared == b.Shared &&
		a.SignInRequired == b.SignInRequired && a.Lease.Equal(b.Lease)
}

func users(t *testing.T, store *tokenstore.Store, after string) []string {
	t.Helper()
	var all []string
	for user, err := range store.Users(t.Context(), after) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, user)
	}
	return all
}

func withTimeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
