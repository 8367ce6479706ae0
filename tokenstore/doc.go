// Package tokenstore keeps the tokens of msauth's offline access in the app's
// own SQL database: SQLite or PostgreSQL, through database/sql. A [Store] is an
// [msauth.TokenStore], to be set as [msauth.Config.Tokens]:
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	...
//	store, err := tokenstore.New(ctx, db)
//
// The app opens the database, with the driver of its choice; tested are
// modernc.org/sqlite and github.com/jackc/pgx/v5/stdlib, with SQLite 3.54 and
// PostgreSQL 15. It takes SQLite 3.24 or PostgreSQL 9.5, or newer.
//
// # What is in the database
//
// [New] makes table msauth_tokens, with a row for each user of an app, its
// indexes, and table msauth_tokens_schema, which has the version of the schema
// in its only row. When a new version of this package needs another schema, New
// changes it, in one transaction: any number of processes may start at the same
// time. A process of an earlier version that is still running may fail from
// then on, and does not start again: New refuses a schema that is newer than
// the package. Where the schema is up to date, New only reads, so that the app
// needs no right to create tables once somebody who has it has called New.
//
// In PostgreSQL the tables are found along the search_path of the connection,
// which must be the same for all connections of the pool, and are created in
// the first schema of it.
//
// # Several apps
//
// Apps, which are registrations at Microsoft with their BaseURL, can share the
// tables: each has rows of its own, with its registration in a column, and
// neither sees, replaces nor deletes those of another. [msauth.New] tells the
// Store which app it serves, by its method [Store.Serve]. A type that wraps a
// Store must embed it, or pass Serve on: to embed an [msauth.TokenStore] is not
// enough, as that has no Serve.
//
// The users and accounts of [Store.Users], [Store.UserOf] and [Store.Delete]
// are then that app's own, as the app knows them; UserOf and Delete take names
// of [msauth.Middleware.StoredAccount] and [msauth.Middleware.StoredUser] too.
// Where one Store serves several apps, or none in this process, these methods
// are about all of them, and fail where that is ambiguous: [Store.For] is the
// same Store for one app.
//
// [msauth.Middleware.Offline] takes the users that Users and UserOf return. It
// takes no names of StoredUser: a store that lists those cuts off the prefix,
// which is auth.StoredUser(""), before it calls Offline.
//
// Rows of version 1 of the schema have no registration. They are used by the
// app that can open them, and become that app's when it next saves them: an
// hour or so after the person, or a worker, has come. Until then Users lists
// them for each app that shares the tables, and Delete deletes them for any of
// these. The account of such a row is taken in all of them: no other user can
// connect it.
//
// Let no table of the app's reference msauth_tokens by a foreign key: a new
// schema may make that table anew.
//
// # What is not
//
// There is no cryptography here: what is secret in an entry,
// [msauth.StoredTokens].Sealed, comes encrypted and is kept as it is. The user
// keys, the account keys (tenant and object id), and the times are readable to
// whoever reads the database. Deleted entries, still encrypted, may live on in
// free pages, write-ahead logs and backups until the database overwrites them.
//
// # Limits
//
// A user key has 1 to 255 bytes, an account key 1 to 1024, without the prefix
// of a stored name; both are UTF-8 without control characters, and are compared
// byte by byte. Sealed has at most 64 KB. Lease is kept to the millisecond, cut
// off, and returned in UTC; its year must be 1 to 9999. Anything beyond these
// limits is an error, and changes nothing.
//
// # Failures
//
// Load, Save and UserOf are one statement each; a Save that changes nothing
// reads once more to tell why. Delete first reads which apps have an entry. A
// statement that the database asks to repeat (SQLITE_BUSY, and PostgreSQL's
// serialization failures and deadlocks) is repeated for up to 5 seconds. An
// error of [Store.Save] that is none of msauth's means in most cases that
// nothing has changed; but where the connection was lost or the context ended,
// the new entry may be there: load it. When its context ends, a call returns at
// once with the two drivers that are tested, also while it waits for somebody
// else's lock. With others that may take longer: with
// github.com/mattn/go-sqlite3 as long as busy_timeout. To save tokens that
// Microsoft has just issued, use a context that does not end with the request.
// Errors hold neither tokens nor user keys.
//
// # SQLite
//
// Recommended, in the notation of modernc.org/sqlite:
//
//	file:app.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate
//
// What they are for:
//
//   - busy_timeout has SQLite wait for other writers, which is faster than
//     repeating and, within a transaction, the only way.
//   - journal_mode=WAL lets people read while somebody writes.
//   - synchronous=FULL has each entry on the disk before Save returns. With
//     NORMAL a power failure can take back the last ones: Microsoft may have
//     replaced the tokens of those before. With OFF it can damage the database.
//     Where only the process is killed, nothing is lost with any of them.
//   - _txlock=immediate has the app's own transactions wait at their start:
//     one that reads first and then writes would fail at once if somebody
//     else has written in between.
//
// SQLite has one writer at a time, and those that wait for its lock ask again
// and again, in no order: of a hundred, some wait for too long. Therefore Save
// and Delete take turns, in the order they are called. A call that has waited
// for its turn for 5 seconds goes on without it. The turns are those of one
// [New], and not for calls in the app's transactions: several processes, and
// transactions that write, still compete for the lock. A few at a time do no
// harm.
//
// Limit the connections all the same, as with SetMaxOpenConns(4): a hundred
// that read at the same time are slower than four, as all of a process wait for
// the same mutexes in modernc.org/sqlite, and as a [database/sql.DB] without a
// limit opens most of them anew each time. Those that wait for a connection get
// it in the order they came, those that begin transactions too.
//
// A database in memory must have but one connection (SetMaxOpenConns(1)), as
// each has its own.
//
// # PostgreSQL
//
// Nothing needs to be set. Leave synchronous_commit on. Any isolation level
// will do, and so does pgbouncer where the driver is set up for it.
package tokenstore
