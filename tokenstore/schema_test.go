//go:build unix

package tokenstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"example.com/msauth/tokenstore"
)

// later is what a later version may do to the schema.
var later = [][]string{
	{`ALTER TABLE msauth_tokens ADD COLUMN note text`, `UPDATE msauth_tokens SET note = 'of version ' || version`},
	{`CREATE INDEX msauth_tokens_note ON msauth_tokens (note)`},
}

// explain is how the database goes about a query; nil stands for one text.
func (b backend) explain(t *testing.T, db *sql.DB, query string, args []any) string {
	t.Helper()
	explain := "EXPLAIN "
	if b.driver == "sqlite" {
		explain = "EXPLAIN QUERY PLAN "
	}
	if args == nil {
		args = []any{"x"}
	}
	rows, err := db.Query(explain+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, _ := rows.Columns()
	var plan strings.Builder
	for rows.Next() {
		var line string
		fields := make([]any, len(columns))
		for i := range fields {
			fields[i] = new(any)
		}
		fields[len(fields)-1] = &line
		if err := rows.Scan(fields...); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&plan, line)
	}
	return plan.String()
}

// readsTable reports whether a query that uses an index reads columns from the
// table too. SQLite's plan does not say it of an index with a condition, but its
// program does: the table's cursor is the one that a DeferredSeek would move.
func (b backend) readsTable(t *testing.T, db *sql.DB, query string, args []any) bool {
	t.Helper()
	if b.driver == "pgx" {
		return !strings.Contains(b.explain(t, db, query, args), "Index Only Scan")
	}
	rows, err := db.Query("EXPLAIN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	table, columns := -1, map[int]bool{}
	for rows.Next() {
		var op string
		var p1, p3 int
		if err := rows.Scan(new(any), &op, &p1, new(any), &p3, new(any), new(any), new(any)); err != nil {
			t.Fatal(err)
		}
		switch op {
		case "DeferredSeek":
			table = p3
		case "Column":
			columns[p1] = true
		}
	}
	if err := rows.Err(); err != nil || len(columns) == 0 {
		t.Fatalf("no program: %v", err)
	}
	return columns[table]
}

func schemaVersion(t *testing.T, db *sql.DB) int {
	t.Helper()
	var version, rows int
	err := db.QueryRow("SELECT MAX(version), COUNT(*) FROM msauth_tokens_schema").Scan(&version, &rows)
	if err != nil || rows != 1 {
		t.Fatalf("the version is in %d rows, or: %v", rows, err)
	}
	return version
}

func TestMigration(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		dsn := b.empty(t)
		db := openDB(t, b.driver, dsn)
		store := openStore(t, db)
		save(t, store, "ada", 0, entry("a"))
		before := load(t, store, "ada")
		if got := schemaVersion(t, db); got != tokenstore.SchemaVersion {
			t.Errorf("version %d", got)
		}
		store = openStore(t, db) // again
		holds(t, store, "ada", entry("a"))

		// One that fails changes nothing.
		broken := append(later[:1:1], []string{`CREATE TABLE other (id integer)`, `CREATE TABLE msauth_tokens (id integer)`})
		if _, err := tokenstore.NewWith(t.Context(), db, broken...); err == nil || !strings.HasPrefix(err.Error(), "tokenstore: creating or migrating the tables: ") {
			t.Errorf("a migration that fails: %v", err)
		}
		if got := schemaVersion(t, db); got != tokenstore.SchemaVersion {
			t.Errorf("version %d after a migration that failed", got)
		}
		if _, err := db.Exec("SELECT note FROM msauth_tokens"); err == nil {
			t.Error("half of a migration that failed is there")
		}

		newer, err := tokenstore.NewWith(t.Context(), db, later...)
		if err != nil {
			t.Fatal(err)
		}
		if got := load(t, newer, "ada"); got.Version != before.Version || !same(got, before) {
			t.Errorf("%+v became %+v", before, got)
		}
		var note string
		if err := db.QueryRow("SELECT note FROM msauth_tokens").Scan(&note); err != nil || note != fmt.Sprint("of version ", before.Version) {
			t.Errorf("the new column has %q, %v", note, err)
		}
		want := fmt.Sprintf("tokenstore: creating or migrating the tables: the schema has version %d, which is newer than %d, that of this package",
			tokenstore.SchemaVersion+2, tokenstore.SchemaVersion)
		if _, err := tokenstore.New(t.Context(), db); err == nil || err.Error() != want {
			t.Errorf("a newer schema: %v, want %s", err, want)
		}

		// With a schema that is up to date nothing is written.
		if _, err := tokenstore.NewWith(t.Context(), openDB(t, b.driver, b.readOnly(dsn)), later...); err != nil {
			t.Errorf("a database that is read-only: %v", err)
		}
	})
}

func TestMigrationByManyProcesses(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		for round := range times(1, 3) {
			dsn := b.empty(t)
			db := openDB(t, b.driver, dsn)
			together(t, 8, func(int) *exec.Cmd { return task("migrate", b.driver, dsn, "0") })
			if got := schemaVersion(t, db); got != tokenstore.SchemaVersion {
				t.Fatalf("round %d: version %d", round, got)
			}
			store := openStore(t, db)
			save(t, store, "ada", 0, entry("a"))
			together(t, 8, func(int) *exec.Cmd { return task("migrate", b.driver, dsn, "2") })
			if got := schemaVersion(t, db); got != tokenstore.SchemaVersion+2 {
				t.Fatalf("round %d: version %d after the second migration", round, got)
			}
			holds(t, store, "ada", entry("a"))
		}
	})
}

// Somebody else's migration that never ends is not waited for without end.
func TestMigrationBehindALock(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		dsn := b.empty(t)
		db := openDB(t, b.driver, dsn)
		openStore(t, db)
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.Exec("UPDATE msauth_tokens_schema SET version = version"); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := tokenstore.NewWithin(t.Context(), 300*time.Millisecond, db, later...)
			ended <- err
		}()
		select {
		case err := <-ended:
			fails(t, "New", err)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("New: %v", err)
			}
		case <-time.After(4 * time.Second):
			t.Fatal("New waits on")
		}
		tx.Rollback()
		if _, err := tokenstore.NewWith(t.Context(), db, later...); err != nil {
			t.Errorf("once the lock is gone: %v", err)
		}
	})
}

// TestSearchPath has the tables where other connections of the app find them.
func TestSearchPath(t *testing.T) {
	t.Parallel()
	p := sharedPostgres(t)
	admin := openDB(t, "pgx", p.dsn(""))
	for _, schema := range []string{"tenant_a", "tenant_b"} {
		if _, err := admin.Exec("CREATE SCHEMA " + schema); err != nil {
			t.Fatal(err)
		}
	}
	a := openStore(t, openDB(t, "pgx", p.dsn("search_path=tenant_a")))
	b := openStore(t, openDB(t, "pgx", p.dsn("search_path=tenant_b")))
	behind := openStore(t, openDB(t, "pgx", p.dsn("search_path=pg_catalog,tenant_a,tenant_b")))
	save(t, a, "ada", 0, entry("a"))
	save(t, b, "ada", 0, entry("b"))
	holds(t, a, "ada", entry("a"))
	holds(t, b, "ada", entry("b"))
	holds(t, behind, "ada", entry("a"))
	var schemas int
	err := admin.QueryRow("SELECT COUNT(*) FROM pg_tables WHERE schemaname LIKE 'tenant%' AND tablename LIKE 'msauth%'").Scan(&schemas)
	if err != nil || schemas != 4 {
		t.Errorf("%d tables, %v, want 4", schemas, err)
	}
}
