package tokenstore

import (
	"context"
	"database/sql"
	"time"
)

// NewWith is New of a version of this package that has more migrations.
func NewWith(ctx context.Context, db *sql.DB, more ...[]string) (*Store, error) {
	return NewWithin(ctx, time.Minute, db, more...)
}

// NewWithin is NewWith, with another time to wait for other processes.
func NewWithin(ctx context.Context, migrating time.Duration, db *sql.DB, more ...[]string) (*Store, error) {
	with := func(d *dialect) *dialect {
		changed := *d
		changed.migrations = append(d.migrations[:len(d.migrations):len(d.migrations)], more...)
		return &changed
	}
	return open(ctx, db, with(postgreSQL), with(sqlite), migrating)
}

// SchemaVersion is that of this version of the package.
var SchemaVersion = len(sqlite.migrations)

// Queries are those that must use an index, by what they are for: as they are
// when the Store serves one app, as usual.
func (s *Store) Queries() map[string]string {
	users, _ := s.dialect.usersOf([]string{"0123456789abcdef"})
	return map[string]string{"load": s.dialect.load, "why": s.dialect.why, "apps": s.dialect.apps, "userOf": s.dialect.userOf, "users": users}
}

// FirstSchema makes tables of the first version, with one entry.
func FirstSchema(pg bool) []string {
	d := sqlite
	if pg {
		d = postgreSQL
	}
	return append(append([]string{
		`CREATE TABLE msauth_tokens_schema (id integer PRIMARY KEY, version integer NOT NULL)`,
		`INSERT INTO msauth_tokens_schema (id, version) VALUES (1, 1)`,
	}, d.migrations[0]...),
		`INSERT INTO msauth_tokens (user_key, version, sealed, account, shared, sign_in_required) VALUES ('7', 5, 'x', 'a', FALSE, FALSE)`)
}

// TakeTurn takes the turn of those who write, where they take turns.
func (s *Store) TakeTurn() {
	if s.turn != nil {
		s.turn <- struct{}{}
	}
}
