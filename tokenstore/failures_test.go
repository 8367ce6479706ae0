//go:build unix

package tokenstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/tokenstore"
)

// calls are all methods, each once, for a user who has an entry.
func calls(ctx context.Context, store *tokenstore.Store, version int64) map[string]error {
	_, errLoad := store.Load(ctx, "ada")
	_, errUserOf := store.UserOf(ctx, "a")
	var errUsers error
	for _, err := range store.Users(ctx, "") {
		errUsers = err
	}
	return map[string]error{
		"Load":          errLoad,
		"Save":          store.Save(ctx, "ada", version, entry("changed")),
		"Save of a new": store.Save(ctx, "bob", 0, entry("b")),
		"Delete":        store.Delete(ctx, "ada"),
		"UserOf":        errUserOf,
		"Users":         errUsers,
	}
}

// unchanged checks that the database has ada's entry and no other.
func unchanged(t *testing.T, store *tokenstore.Store, version int64) {
	t.Helper()
	holds(t, store, "ada", entry("a"))
	if got := load(t, store, "ada").Version; got != version {
		t.Errorf("version %d became %d", version, got)
	}
	if got := fmt.Sprint(users(t, store, "")); got != "[ada]" {
		t.Errorf("users: %s", got)
	}
}

// fails checks an error that is none of msauth's.
func fails(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), "tokenstore: ") ||
		errors.Is(err, msauth.ErrNoTokens) || errors.Is(err, msauth.ErrConflict) || errors.Is(err, msauth.ErrAccountTaken) {
		t.Errorf("%s: %v", what, err)
	}
}

func TestNoStore(t *testing.T) {
	t.Parallel()
	if _, err := tokenstore.New(t.Context(), nil); err == nil || err.Error() != "tokenstore: the *sql.DB is nil" {
		t.Errorf("New without a database: %v", err)
	}
	var none *tokenstore.Store
	want := "tokenstore: this Store was not made by New, or is bound to a nil transaction"
	for _, store := range []*tokenstore.Store{none, {}, none.In(nil), none.In(new(sql.Tx)), new(tokenstore.Store).In(new(sql.Tx))} {
		for name, err := range calls(t.Context(), store, 1) {
			if err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
	}
}

func TestClosed(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		store, db := b.newStore(t)
		save(t, store, "ada", 0, entry("a"))
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for name, err := range calls(t.Context(), store.In(nil), 1) {
			fails(t, name+" in a nil transaction", err)
		}
		tx.Rollback()
		for name, err := range calls(t.Context(), store.In(tx), 1) {
			fails(t, name, err)
			if !errors.Is(err, sql.ErrTxDone) {
				t.Errorf("%s in a transaction that has ended: %v", name, err)
			}
		}
		unchanged(t, store, load(t, store, "ada").Version)

		db.Close()
		for name, err := range calls(t.Context(), store, 1) {
			fails(t, name+" of a closed database", err)
		}
		_, err = tokenstore.New(t.Context(), db)
		fails(t, "New with a closed database", err)
	})
}

func TestContext(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		store, db := b.newStore(t)
		save(t, store, "ada", 0, entry("a"))
		version := load(t, store, "ada").Version
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		for name, err := range calls(canceled, store, version) {
			fails(t, name, err)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		}
		unchanged(t, store, version)

		// One that ends while somebody else has the entry locked.
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		save(t, store.In(tx), "ada", version, entry("b"))
		started := time.Now()
		err = store.Save(withTimeout(t, 200*time.Millisecond), "ada", version, entry("c"))
		fails(t, "Save", err)
		if took := time.Since(started); took > 3*time.Second {
			t.Errorf("Save took %v", took)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Save: %v", err)
		}
		tx.Rollback()
		if b.driver == "pgx" {
			time.Sleep(time.Second) // until the server has settled it
		}
		if b.driver == "pgx" && load(t, store, "ada").Version != version {
			// The server gets the lock before it is told to cancel: a save
			// whose context ends may have happened all the same.
			holds(t, store, "ada", entry("c"))
			return
		}
		unchanged(t, store, version)
	})
}

func TestBusy(t *testing.T) {
	notQuick(t)
	eachBackend(t, func(t *testing.T, b backend) {
		store, db := b.newStore(t)
		save(t, store, "ada", 0, entry("a"))
		locked := func(during func()) {
			t.Helper()
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			save(t, store.In(tx), "bob", 0, entry("b"))
			during()
		}
		// A short time is waited for, without settings too.
		saved := make(chan error, 1)
		locked(func() {
			go func() { saved <- store.Save(t.Context(), "ada", load(t, store, "ada").Version, entry("c")) }()
			time.Sleep(500 * time.Millisecond)
		})
		if err := <-saved; err != nil {
			t.Errorf("Save while somebody else writes for half a second: %v", err)
		}
		holds(t, store, "ada", entry("c"))

		if b.driver == "pgx" {
			return
		}
		version := load(t, store, "ada").Version
		locked(func() {
			started := time.Now()
			err := store.Save(t.Context(), "ada", version, entry("d"))
			fails(t, "Save while somebody else writes without end", err)
			if took := time.Since(started); took < 4*time.Second || took > 20*time.Second {
				t.Errorf("Save gave up after %v: %v", took, err)
			}
		})
		holds(t, store, "ada", entry("c"))
	})
}

func TestReadOnly(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		dsn := b.empty(t)
		store := openStore(t, openDB(t, b.driver, dsn))
		save(t, store, "ada", 0, entry("a"))
		version := load(t, store, "ada").Version

		readOnly := openStore(t, openDB(t, b.driver, b.readOnly(dsn)))
		for name, err := range calls(t.Context(), readOnly, version) {
			switch name {
			case "Save", "Save of a new", "Delete":
				fails(t, name, err)
			default:
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		unchanged(t, store, version)

		_, err := tokenstore.New(t.Context(), openDB(t, b.driver, b.readOnly(b.empty(t))))
		fails(t, "New without tables", err)
	})
}

func TestFull(t *testing.T) {
	t.Parallel()
	for _, b := range backends[:2] {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			dsn := b.empty(t)
			store := openStore(t, openDB(t, b.driver, dsn+"&_pragma=max_page_count(30)"))
			save(t, store, "ada", 0, entry("a"))
			version := load(t, store, "ada").Version
			large := entry("a")
			large.Sealed = make([]byte, 64<<10)
			var err error
			for i := 0; err == nil; i++ { // 30 pages have 120 KB
				err = store.Save(t.Context(), fmt.Sprint("user", i), 0, msauth.StoredTokens{Account: fmt.Sprint(i), Sealed: large.Sealed, SignInRequired: true})
			}
			fails(t, "Save of a new", err)
			if !strings.Contains(err.Error(), "full") {
				t.Errorf("Save of a new: %v", err)
			}
			fails(t, "Save", store.Save(t.Context(), "ada", version, large))
			unchanged(t, store, version)
			if err := store.Delete(t.Context(), "user0"); err != nil {
				t.Fatal(err)
			}
			save(t, store, "ada", version, large)
			holds(t, store, "ada", large)
		})
	}
}

func TestServerDown(t *testing.T) {
	notQuick(t)
	t.Parallel()
	p, err := newPostgres()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	db := openDB(t, "pgx", p.dsn(""))
	store := openStore(t, db)
	save(t, store, "ada", 0, entry("a"))
	version := load(t, store, "ada").Version
	for _, signal := range []string{"INT", "QUIT"} {
		p.stop(signal)
		for name, err := range calls(t.Context(), store, version) {
			fails(t, name, err)
		}
		_, err = tokenstore.New(t.Context(), db)
		fails(t, "New", err)
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
		unchanged(t, store, version)
	}
}

func TestTransaction(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		store, db := b.newStore(t)
		for _, statement := range []string{"CREATE TABLE people (name varchar(9))", "INSERT INTO people VALUES ('ada'), ('bob')"} {
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		save(t, store, "ada", 0, entry("a"))
		save(t, store, "bob", 0, entry("b"))
		version := load(t, store, "ada").Version
		there := func(want string) {
			t.Helper()
			got := strings.Join(users(t, store, ""), " ") + ","
			rows, err := db.Query("SELECT name FROM people ORDER BY name")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var name string
				if err := rows.Scan(&name); err != nil {
					t.Fatal(err)
				}
				got += " " + name
			}
			if got != want {
				t.Errorf("there are %s, want %s", got, want)
			}
		}
		// in deletes ada in a transaction, with what else is done there.
		in := func(also func(*tokenstore.Store)) *sql.Tx {
			t.Helper()
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { tx.Rollback() })
			if _, err := tx.Exec("DELETE FROM people WHERE name = 'ada'"); err != nil {
				t.Fatal(err)
			}
			bound := store.In(tx)
			also(bound)
			if err := bound.Delete(t.Context(), "ada"); err != nil {
				t.Fatal(err)
			}
			if _, err := bound.Load(t.Context(), "ada"); err != msauth.ErrNoTokens {
				t.Errorf("Load in the transaction: %v", err)
			}
			return tx
		}

		there("ada bob, ada bob")
		var inside int64
		tx := in(func(s *tokenstore.Store) {
			save(t, s, "ada", version, entry("c"))
			inside = load(t, s, "ada").Version
			save(t, s, "eve", 0, entry("e"))
		})
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		there("ada bob, ada bob")
		holds(t, store, "ada", entry("a"))
		if err := store.Save(t.Context(), "ada", inside, entry("d")); err != msauth.ErrConflict {
			t.Errorf("Save with a version that was rolled back: %v", err)
		}

		// A refusal does not spoil the transaction.
		tx = in(func(s *tokenstore.Store) {
			save(t, s, "eve", 0, entry("e"))
			refusals := []struct {
				user string
				old  int64
				e    msauth.StoredTokens
				want error
			}{
				{"bob", 0, entry("b"), msauth.ErrConflict},
				{"bob", 1, entry("b"), msauth.ErrConflict},
				{"fay", 0, entry("b"), msauth.ErrAccountTaken},
				{"ada", version, entry("b"), msauth.ErrAccountTaken},
				{"ada", version, entry("e"), msauth.ErrAccountTaken},
			}
			for i, r := range refusals {
				if err := s.Save(t.Context(), r.user, r.old, r.e); err != r.want {
					t.Errorf("refusal %d: %v, want %v", i, err, r.want)
				}
			}
			save(t, s, "ada", version, entry("f"))
			if user, err := s.UserOf(t.Context(), "f"); user != "ada" || err != nil {
				t.Errorf("UserOf in the transaction: %q, %v", user, err)
			}
		})
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		there("bob eve, bob")
	})
}
