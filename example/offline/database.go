package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	_ "modernc.org/sqlite"

	"example.com/msauth"
	"example.com/msauth/tokenstore"
)

// The settings that tokenstore recommends, and foreign keys.
const sqliteSettings = "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_txlock=immediate"

// Times are Unix times in milliseconds.
const schema = `
CREATE TABLE IF NOT EXISTS users (
	id       INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: tokens are stored under it
	name     TEXT NOT NULL UNIQUE COLLATE NOCASE,
	password TEXT NOT NULL, -- its hash
	created  INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS sessions (
	id   BLOB PRIMARY KEY, -- SHA-256 of the cookie's value
	user INTEGER NOT NULL REFERENCES users,
	ends INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS digests (
	user  INTEGER NOT NULL REFERENCES users,
	due   INTEGER NOT NULL,
	files TEXT NOT NULL, -- JSON
	PRIMARY KEY (user, due)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS digests_due ON digests (due);
CREATE INDEX IF NOT EXISTS sessions_ends ON sessions (ends);
CREATE TABLE IF NOT EXISTS troubles ( -- of users who did not get their last digest
	user         INTEGER PRIMARY KEY REFERENCES users,
	time         INTEGER NOT NULL,
	needs_person INTEGER NOT NULL, -- the user must sign in again
	why          TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS runs (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	due     INTEGER NOT NULL,
	started INTEGER NOT NULL,
	ended   INTEGER, -- NULL: running, or its process was killed
	users   INTEGER NOT NULL,
	written INTEGER NOT NULL,
	skipped INTEGER NOT NULL,
	waiting INTEGER NOT NULL,
	failed  INTEGER NOT NULL,
	why     TEXT NOT NULL -- it is incomplete
);
CREATE INDEX IF NOT EXISTS runs_due ON runs (due);
`

// changes are later changes to the schema, oldest first: only append to them. The
// user_version of a database is how many have been made to it.
var changes = []string{
	`ALTER TABLE troubles ADD COLUMN not_before INTEGER NOT NULL DEFAULT 0`, // when Microsoft may be asked again
	// Who is the administrator. In a database from before, nobody is, until somebody says
	// so with: UPDATE users SET admin = 1 WHERE name = ...
	`ALTER TABLE users ADD COLUMN admin INTEGER NOT NULL DEFAULT 0`,
}

// openDatabase opens a database file, or creates it. more are further settings of
// the driver.
func openDatabase(path string, more ...string) (*sql.DB, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600) // it contains password hashes
	if err != nil {
		return nil, fmt.Errorf("cannot open the database: %w", err)
	}
	f.Close()
	name := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + strings.Join(append([]string{sqliteSettings}, more...), "&")
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, fmt.Errorf("cannot open the database: %w", err)
	}
	db.SetMaxOpenConns(2 * workers)
	db.SetMaxIdleConns(2 * workers)
	return db, nil
}

// databaseError is an error of the database, as opposed to one from Microsoft:
// msauth's errors wrap either.
type databaseError struct{ err error }

func (e *databaseError) Error() string { return e.err.Error() }
func (e *databaseError) Unwrap() error { return e.err }

// ofDatabase marks an error as one of the database.
func ofDatabase(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return &databaseError{err}
}

func isOfDatabase(err error) bool {
	_, ok := errors.AsType[*databaseError](err)
	return ok
}

// markedStore is a token store whose errors are marked as those of the database.
type markedStore struct{ msauth.TokenStore }

// Serve passes on which app the store is for: New looks for this method.
func (s markedStore) Serve(prefix string) {
	if store, ok := s.TokenStore.(interface{ Serve(prefix string) }); ok {
		store.Serve(prefix)
	}
}

func (s markedStore) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	t, err := s.TokenStore.Load(ctx, user)
	if errors.Is(err, msauth.ErrNoTokens) {
		return t, err
	}
	return t, ofDatabase(err)
}

func (s markedStore) Save(ctx context.Context, user string, old int64, t msauth.StoredTokens) error {
	err := s.TokenStore.Save(ctx, user, old, t)
	if errors.Is(err, msauth.ErrConflict) || errors.Is(err, msauth.ErrAccountTaken) {
		return err
	}
	return ofDatabase(err)
}

func (s markedStore) Delete(ctx context.Context, user string) error {
	return ofDatabase(s.TokenStore.Delete(ctx, user))
}

// prepare creates the tables of the app and of tokenstore.
func prepare(ctx context.Context, db *sql.DB) (*tokenstore.Store, error) {
	store, err := tokenstore.New(ctx, db)
	if err != nil {
		return nil, err
	}
	err = together(ctx, db, func(tx *sql.Tx) error {
		var had int
		if _, err := tx.ExecContext(ctx, schema); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&had); err != nil {
			return err
		}
		for _, change := range changes[min(had, len(changes)):] {
			had++
			if _, err := tx.ExecContext(ctx, fmt.Sprintf("%s; PRAGMA user_version = %d", change, had)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot create the tables: %w", err)
	}
	return store, nil
}

// together calls f in a transaction, which it commits if f returns no error. Errors
// of f are not marked.
func together(ctx context.Context, db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return ofDatabase(err)
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return ofDatabase(tx.Commit())
}

func milli(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
