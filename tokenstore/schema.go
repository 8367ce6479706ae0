package tokenstore

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// dialect is what differs between the databases, and the statements.
type dialect struct {
	name       string
	savepoints bool // a failed statement spoils the transaction
	oneWriter  bool // at a time, and those that wait for it ask again and again, in no order
	exists     string
	migrations [][]string

	placeholder string // what stands before a parameter's number

	load, insert, update, why, apps, delete, userOf, users string
}

var (
	postgreSQL = newDialect(dialect{
		name:       "PostgreSQL",
		savepoints: true,
		exists:     `SELECT to_regclass('msauth_tokens_schema') IS NOT NULL`,
		migrations: migrationsOf(`text COLLATE "C"`, "bytea", "boolean", "bigint", registrationsPostgreSQL),
	}, "UPDATE")
	// SQLite says in words only that the account is taken; with OR IGNORE it
	// says it by changing no row.
	sqlite = newDialect(dialect{
		name:       "SQLite",
		oneWriter:  true,
		exists:     `SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'msauth_tokens_schema')`,
		migrations: migrationsOf("TEXT", "BLOB", "INTEGER", "INTEGER", registrationsSQLite),
	}, "UPDATE OR IGNORE")
)

// dialectOf asks the database which one it is. The name and the type of the
// driver would not tell: drivers are wrapped, for tracing for example. SQLite
// comes second because it does not log what it does not understand.
func dialectOf(ctx context.Context, db *sql.DB, postgreSQL, sqlite *dialect) (*dialect, error) {
	var version string
	errPostgreSQL := db.QueryRowContext(ctx, "SHOW server_version_num").Scan(&version)
	if errPostgreSQL == nil {
		return postgreSQL, nil
	}
	err := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version)
	if err == nil {
		return sqlite, nil
	}
	if err.Error() == errPostgreSQL.Error() { // most likely it cannot be reached
		return nil, fmt.Errorf("tokenstore: asking for the database's version: %w", err)
	}
	return nil, fmt.Errorf("tokenstore: the database is neither PostgreSQL (%w) nor SQLite (%w)", errPostgreSQL, err)
}

// migrationsOf lists the changes of the schema, the oldest first: the version
// of a database is how many of them it has had. They are never edited, only
// added to.
func migrationsOf(text, bytes, boolean, integer string, registrations []string) [][]string {
	migrations := [][]string{{
		// The order and the equality of text are those of its bytes.
		`CREATE TABLE msauth_tokens (
			user_key         {text} NOT NULL PRIMARY KEY,
			version          {integer} NOT NULL,
			sealed           {bytes} NOT NULL,
			account          {text} NOT NULL,
			shared           {boolean} NOT NULL,
			sign_in_required {boolean} NOT NULL,
			lease            {integer} -- Unix time in milliseconds
		)`,
		`CREATE UNIQUE INDEX msauth_tokens_account ON msauth_tokens (account) WHERE NOT shared`,
		// For Users: the primary key would lead it through all the entries
		// that have been refused.
		`CREATE INDEX msauth_tokens_usable ON msauth_tokens (user_key) WHERE NOT sign_in_required`,
	}, slices.Clone(registrations)}
	types := strings.NewReplacer("{text}", text, "{bytes}", bytes, "{boolean}", boolean, "{integer}", integer)
	for _, statements := range migrations {
		for i := range statements {
			statements[i] = types.Replace(statements[i])
		}
	}
	return migrations
}

// registrations are the second version: each app has entries of its own. The
// registration of entries from the first is empty, until the app that opens them
// writes them.
var (
	registrationsPostgreSQL = []string{
		`ALTER TABLE msauth_tokens ADD COLUMN registration {text} NOT NULL DEFAULT ''`,
		`ALTER TABLE msauth_tokens DROP CONSTRAINT msauth_tokens_pkey`,
		`ALTER TABLE msauth_tokens ADD PRIMARY KEY (user_key, registration)`,
		`DROP INDEX msauth_tokens_account`,
		`CREATE UNIQUE INDEX msauth_tokens_account ON msauth_tokens (account, registration) WHERE NOT shared`,
		`DROP INDEX msauth_tokens_usable`,
		`CREATE INDEX msauth_tokens_usable ON msauth_tokens (user_key, registration) WHERE NOT sign_in_required`,
	}
	registrationsSQLite = []string{
		`CREATE TABLE msauth_tokens_2 (
			user_key         {text} NOT NULL,
			version          {integer} NOT NULL,
			sealed           {bytes} NOT NULL,
			account          {text} NOT NULL,
			shared           {boolean} NOT NULL,
			sign_in_required {boolean} NOT NULL,
			lease            {integer}, -- Unix time in milliseconds
			registration     {text} NOT NULL DEFAULT '',
			PRIMARY KEY (user_key, registration)
		)`,
		`INSERT INTO msauth_tokens_2 (user_key, version, sealed, account, shared, sign_in_required, lease)
			SELECT user_key, version, sealed, account, shared, sign_in_required, lease FROM msauth_tokens`,
		`DROP TABLE msauth_tokens`,
		`ALTER TABLE msauth_tokens_2 RENAME TO msauth_tokens`,
		`CREATE UNIQUE INDEX msauth_tokens_account ON msauth_tokens (account, registration) WHERE NOT shared`,
		`CREATE INDEX msauth_tokens_usable ON msauth_tokens (user_key, registration) WHERE NOT sign_in_required`,
	}
)

func newDialect(d dialect, update string) *dialect {
	// Entries from earlier versions, whose registration is empty, come last.
	d.load = `SELECT registration, version, sealed, account, shared, sign_in_required, lease
		FROM msauth_tokens WHERE user_key = $1 ORDER BY registration DESC`
	d.insert = `INSERT INTO msauth_tokens (user_key, version, sealed, account, shared, sign_in_required, lease, registration)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8
		WHERE $5 OR NOT EXISTS (SELECT 1 FROM msauth_tokens WHERE account = $4 AND NOT shared AND user_key <> $1 AND registration = '')
		ON CONFLICT DO NOTHING`
	// An entry that has the account already keeps it, whatever a process of an
	// earlier version has saved meanwhile.
	d.update = update + ` msauth_tokens
		SET version = $2, sealed = $3, account = $4, shared = $5, sign_in_required = $6, lease = $7, registration = $8
		WHERE user_key = $1 AND version = $9 AND registration IN ($8, '') AND ($5 OR account = $4 AND NOT shared
			OR NOT EXISTS (SELECT 1 FROM msauth_tokens WHERE account = $4 AND NOT shared AND user_key <> $1 AND registration = ''))`
	d.why = `SELECT
		COALESCE((SELECT version FROM msauth_tokens WHERE user_key = $1 AND registration IN ($3, $4) ORDER BY registration DESC LIMIT 1), 0),
		EXISTS (SELECT 1 FROM msauth_tokens WHERE account = $2 AND NOT shared AND user_key <> $1 AND registration IN ($3, ''))`
	d.apps = `SELECT registration, user_key FROM msauth_tokens WHERE user_key = $1 ORDER BY registration DESC`
	d.delete = `DELETE FROM msauth_tokens WHERE user_key = $1 AND registration = $2`
	d.userOf = `SELECT registration, user_key FROM msauth_tokens WHERE account = $1 AND NOT shared ORDER BY registration DESC`
	d.users = `SELECT DISTINCT user_key FROM msauth_tokens
		WHERE user_key > $1 AND NOT sign_in_required {registrations} ORDER BY user_key LIMIT $2`
	d.placeholder = "$"
	if d.name == "SQLite" {
		d.placeholder = "?"
		// $1 would be a name there, which some drivers do not look up.
		for _, query := range []*string{&d.load, &d.insert, &d.update, &d.why, &d.apps, &d.delete, &d.userOf, &d.users} {
			*query = strings.ReplaceAll(*query, "$", d.placeholder)
		}
	}
	return &d
}

// migrate brings the schema up to date.
func migrate(ctx context.Context, db *sql.DB, d *dialect, patience time.Duration) error {
	// PostgreSQL waits without end for a lock that another process has.
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return retry(ctx, math.MaxInt64, func() error { // until ctx ends
		version, err := schemaVersion(ctx, db, d)
		if err != nil || version == len(d.migrations) {
			return err
		}
		if version == 0 {
			_, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS msauth_tokens_schema (id integer PRIMARY KEY, version integer NOT NULL)`)
			if err != nil {
				// PostgreSQL fails, in one of several ways, where somebody else
				// creates the table at the same time.
				if exists, errExists := hasSchema(ctx, db, d); errExists != nil || !exists {
					return err
				}
			}
			_, err = db.ExecContext(ctx, `INSERT INTO msauth_tokens_schema (id, version) VALUES (1, 0) ON CONFLICT DO NOTHING`)
			if err != nil {
				return err
			}
		}
		return migrateFrom(ctx, db, d)
	})
}

func hasSchema(ctx context.Context, db querier, d *dialect) (exists bool, err error) {
	err = db.QueryRowContext(ctx, d.exists).Scan(&exists)
	return exists, err
}

// schemaVersion is how many of the migrations the database has had.
func schemaVersion(ctx context.Context, db querier, d *dialect) (int, error) {
	exists, err := hasSchema(ctx, db, d)
	if err != nil || !exists {
		return 0, err
	}
	var version int
	err = db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM msauth_tokens_schema`).Scan(&version)
	if err == nil && version > len(d.migrations) {
		return 0, fmt.Errorf("the schema has version %d, which is newer than %d, that of this package",
			version, len(d.migrations))
	}
	return version, err
}

// migrateFrom does what is missing, all or nothing.
func migrateFrom(ctx context.Context, db *sql.DB, d *dialect) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// Writing first makes all others wait until this transaction ends: by the
	// row's lock in PostgreSQL, by the only writer's in SQLite.
	if _, err := tx.ExecContext(ctx, `UPDATE msauth_tokens_schema SET version = version`); err != nil {
		return err
	}
	var version int
	if err := tx.QueryRowContext(ctx, `SELECT version FROM msauth_tokens_schema`).Scan(&version); err != nil {
		return err
	}
	if version >= len(d.migrations) {
		_, err := schemaVersion(ctx, tx, d) // somebody else was faster
		return err
	}
	for _, statements := range d.migrations[version:] {
		for _, statement := range statements {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(`UPDATE msauth_tokens_schema SET version = %d`, len(d.migrations))); err != nil {
		return err
	}
	return tx.Commit()
}
