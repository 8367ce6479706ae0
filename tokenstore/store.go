package tokenstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/msauth"
)

var _ msauth.TokenStore = (*Store)(nil)

// A Store is an [msauth.TokenStore] in an SQL database. It is made by [New],
// and safe for use by many goroutines and processes.
type Store struct {
	db      querier
	dialect *dialect
	inTx    bool          // db is a transaction of the app's
	turn    chan struct{} // full while somebody writes; nil where there are no turns
	served  *served
}

// querier is what *sql.DB and *sql.Tx have in common.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// New returns the Store in db, which stays the app's to close. It asks the
// database which one it is, and creates or migrates the tables where necessary;
// it waits for other processes that do so, for up to a minute, and fails if the
// database cannot be reached.
func New(ctx context.Context, db *sql.DB) (*Store, error) {
	if db == nil {
		return nil, errors.New("tokenstore: the *sql.DB is nil")
	}
	return open(ctx, db, postgreSQL, sqlite, time.Minute)
}

// open is New, which waits for other processes for as long as migrating says.
func open(ctx context.Context, db *sql.DB, postgreSQL, sqlite *dialect, migrating time.Duration) (*Store, error) {
	var d *dialect
	// Opening SQLite can be busy too, where that sets the journal mode.
	err := retry(ctx, patience, func() (err error) {
		d, err = dialectOf(ctx, db, postgreSQL, sqlite)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, db, d, migrating); err != nil {
		return nil, fmt.Errorf("tokenstore: creating or migrating the tables: %w", err)
	}
	s := &Store{db: db, dialect: d, served: &served{}}
	if d.oneWriter {
		s.turn = make(chan struct{}, 1)
	}
	return s, nil
}

// In returns the same store, bound to a transaction on its database: what is
// done by it becomes real when the app commits tx, together with what else the
// app did in it. Nothing is repeated there: where the database asks for that,
// repeat the transaction. While a transaction is open, other users of the same
// entry may have to wait, in SQLite all who write: do not talk to Microsoft
// meanwhile.
//
// After [msauth.ErrNoTokens], [msauth.ErrConflict] and [msauth.ErrAccountTaken]
// tx can still be used; after other errors roll it back.
func (s *Store) In(tx *sql.Tx) *Store {
	if s == nil || s.db == nil || tx == nil {
		return &Store{}
	}
	return &Store{db: tx, dialect: s.dialect, inTx: true, served: s.served}
}

// check says whether the Store, and the user key, can be used.
func (s *Store) check(user string) error {
	if s == nil || s.db == nil {
		return errors.New("tokenstore: this Store was not made by New, or is bound to a nil transaction")
	}
	return checkKey("user", user, 255)
}

// checkKey holds a key against what both databases can keep, and what people
// can tell apart: PostgreSQL takes no NUL and no invalid UTF-8.
func checkKey(what, key string, most int) error {
	switch {
	case key == "":
		return fmt.Errorf("tokenstore: the %s key is empty", what)
	case len(key) > most:
		return fmt.Errorf("tokenstore: the %s key has %d bytes, more than %d", what, len(key), most)
	case !utf8.ValidString(key):
		return fmt.Errorf("tokenstore: the %s key is not valid UTF-8", what)
	}
	for _, r := range key {
		if unicode.IsControl(r) {
			return fmt.Errorf("tokenstore: the %s key has a control character", what)
		}
	}
	return nil
}

// Load implements [msauth.TokenStore]. A user whose name is not one of
// [msauth.Middleware.StoredUser] is looked for among the apps of this Store.
func (s *Store) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	of, user := s.parse(user)
	if err := s.check(user); err != nil {
		return msauth.StoredTokens{}, err
	}
	var found []entry
	err := s.retry(ctx, func() error {
		rows, err := s.db.QueryContext(ctx, s.dialect.load, user)
		if err != nil {
			return err
		}
		defer rows.Close()
		for found = nil; rows.Next(); {
			var e entry
			var lease sql.NullInt64
			t := &e.tokens
			if err := rows.Scan(&e.registration, &t.Version, &t.Sealed, &t.Account, &t.Shared, &t.SignInRequired, &lease); err != nil {
				return err
			}
			if lease.Valid {
				t.Lease = time.UnixMilli(lease.Int64).UTC()
			}
			if of.has(e.registration) {
				found = append(found, e)
			}
		}
		return rows.Err()
	})
	if err != nil {
		return msauth.StoredTokens{}, fmt.Errorf("tokenstore: loading an entry: %w", err)
	}
	switch e, err := only(found); {
	case err != nil:
		return msauth.StoredTokens{}, err
	case e == nil:
		return msauth.StoredTokens{}, msauth.ErrNoTokens
	default:
		if of.stored && e.registration != "" {
			e.tokens.Account = prefix(e.registration) + e.tokens.Account
		}
		return e.tokens, nil
	}
}

// Save implements [msauth.TokenStore]. Where t.Version is 0, a version is drawn
// here.
func (s *Store) Save(ctx context.Context, user string, old int64, t msauth.StoredTokens) error {
	of, user := s.parse(user)
	if err := s.check(user); err != nil {
		return err
	}
	registration := of.first()
	if registration != "" {
		t.Account = strings.TrimPrefix(t.Account, prefix(registration))
	}
	if err := checkKey("account", t.Account, 1024); err != nil {
		return err
	}
	if len(t.Sealed) > 64<<10 {
		return fmt.Errorf("tokenstore: Sealed has %d bytes, more than 64 KB", len(t.Sealed))
	}
	if t.Sealed == nil {
		t.Sealed = []byte{} // nil would be NULL
	}
	var lease sql.NullInt64
	if !t.Lease.IsZero() {
		if year := t.Lease.UTC().Year(); year < 1 || year > 9999 {
			return errors.New("tokenstore: the year of Lease is not 1 to 9999")
		}
		lease = sql.NullInt64{Int64: t.Lease.UnixMilli(), Valid: true}
	}
	if t.Version < 0 || t.Version != 0 && t.Version == old {
		return fmt.Errorf("tokenstore: Version is %d in the place of %d: want another number greater than 0", t.Version, old)
	}
	if t.Version == 0 {
		t.Version = newVersion(old)
	}
	args := []any{user, t.Version, t.Sealed, t.Account, t.Shared, t.SignInRequired, lease, registration}
	query := s.dialect.insert
	if old != 0 {
		query, args = s.dialect.update, append(args, old)
	}

	var done bool
	err := s.inTurn(ctx, func() (err error) {
		done, err = s.write(ctx, query, args)
		return err
	})
	if err != nil {
		return fmt.Errorf("tokenstore: saving an entry: %w", err)
	}
	if done {
		return nil
	}

	// Nothing has changed. That it must not is decided; this only tells why.
	var version int64
	var taken bool
	before := ""
	if old == 0 { // an entry from an earlier version is not in the way
		before = registration
	}
	err = s.retry(ctx, func() error {
		return s.db.QueryRowContext(ctx, s.dialect.why, user, t.Account, registration, before).Scan(&version, &taken)
	})
	if err != nil {
		return fmt.Errorf("tokenstore: looking why an entry cannot be saved: %w", err)
	}
	if version == old && taken && !t.Shared {
		return msauth.ErrAccountTaken
	}
	// Also where the reason has gone in the meantime: loading again is right.
	return msauth.ErrConflict
}

// write reports whether the statement wrote a row, rather than found another
// version, or the account with another user.
func (s *Store) write(ctx context.Context, query string, args []any) (bool, error) {
	// In PostgreSQL a failed statement takes the whole transaction with it,
	// unless there is a savepoint before it. The insert does not fail.
	savepoint := s.inTx && s.dialect.savepoints && query == s.dialect.update
	if savepoint {
		if _, err := s.db.ExecContext(ctx, "SAVEPOINT msauth_tokens"); err != nil {
			return false, err
		}
	}
	result, err := s.db.ExecContext(ctx, query, args...)
	taken := sqlState(err) == uniqueViolation
	if err != nil && !taken {
		return false, err
	}
	if savepoint {
		end := "RELEASE SAVEPOINT msauth_tokens"
		if taken {
			end = "ROLLBACK TO SAVEPOINT msauth_tokens"
		}
		if _, err := s.db.ExecContext(ctx, end); err != nil {
			return false, err
		}
	}
	if taken {
		return false, nil
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// newVersion is a number that no entry of the user has had, but for one chance
// in 2^63. A counter would start again after Delete, and come back after a
// transaction that was rolled back.
func newVersion(old int64) int64 {
	for {
		if v := rand.Int64(); v != 0 && v != old {
			return v
		}
	}
}

// Delete implements [msauth.TokenStore], for the app's own user too. Where
// several apps of this Store have an entry of that user it is an error: see
// [Store.For].
func (s *Store) Delete(ctx context.Context, user string) error {
	of, user := s.parse(user)
	if err := s.check(user); err != nil {
		return err
	}
	err := s.inTurn(ctx, func() error {
		found, err := s.registrations(ctx, of, s.dialect.apps, user)
		if err != nil {
			return err
		}
		if _, err := only(found); err != nil {
			return err
		}
		for _, e := range found {
			if _, err := s.db.ExecContext(ctx, s.dialect.delete, user, e.registration); err != nil {
				return err
			}
			if of.stored {
				break // an entry from an earlier version may be another app's
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errSeveral) {
		return fmt.Errorf("tokenstore: deleting an entry: %w", err)
	}
	return err
}

// UserOf returns the app's own user whose entry has the account, given as
// [msauth.User.Key], or [msauth.ErrNoTokens]. Entries that are shared do not
// count: any number of users may have those.
func (s *Store) UserOf(ctx context.Context, account string) (string, error) {
	of, account := s.parse(account)
	if err := s.check("-"); err != nil {
		return "", err
	}
	if err := checkKey("account", account, 1024); err != nil {
		return "", err
	}
	var found []entry
	err := s.retry(ctx, func() (err error) {
		found, err = s.registrations(ctx, of, s.dialect.userOf, account)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("tokenstore: looking for the user of an account: %w", err)
	}
	switch e, err := only(found); {
	case err != nil:
		return "", err
	case e == nil:
		return "", msauth.ErrNoTokens
	default:
		return e.user, nil
	}
}

// registrations are the apps, of those that are asked for, which a query names,
// each with a user.
func (s *Store) registrations(ctx context.Context, of apps, query, arg string) (found []entry, err error) {
	rows, err := s.db.QueryContext(ctx, query, arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.registration, &e.user); err != nil {
			return nil, err
		}
		if of.has(e.registration) {
			found = append(found, e)
		}
	}
	return found, rows.Err()
}

// pageSize is how many user keys are read at a time.
const pageSize = 500

// Users returns the users with an entry that can be used, which is one without
// SignInRequired, in the order of the bytes of their keys, from the first one
// behind after; "" stands for all. An error ends it.
//
// It reads 500 keys at a time, from an index, and holds no connection while the
// caller works. Whose entry is made, refused or deleted meanwhile may come or
// not; nobody comes twice. To go on after an interruption, pass the last user
// as after.
func (s *Store) Users(ctx context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for after := after; ; {
			page, err := s.page(ctx, after)
			if err != nil {
				yield("", err)
				return
			}
			for _, user := range page {
				if !yield(user, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			after = page[pageSize-1]
		}
	}
}

func (s *Store) page(ctx context.Context, after string) ([]string, error) {
	user := after
	if after == "" {
		user = "-"
	}
	if err := s.check(user); err != nil {
		return nil, err
	}
	var users []string
	query, args := s.dialect.usersOf(s.served.list())
	args = append([]any{after, pageSize}, args...)
	err := s.retry(ctx, func() error {
		users = make([]string, 0, pageSize)
		rows, err := s.db.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var user string
			if err := rows.Scan(&user); err != nil {
				return err
			}
			users = append(users, user)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("tokenstore: listing users: %w", err)
	}
	return users, nil
}
