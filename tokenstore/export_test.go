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

// Queries are those that must use an index, by what they are for.
func (s *Store) Queries() map[string]string {
	return map[string]string{"load": s.dialect.load, "why": s.dialect.why, "userOf": s.dialect.userOf, "users": s.dialect.users}
}
