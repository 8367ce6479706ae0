package tokenstore_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite"

	"example.com/msauth"
	"example.com/msauth/tokenstore"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	// The app's own database.
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "app.db")+
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(4)
	store, err := tokenstore.New(ctx, db) // for Config.Tokens
	if err != nil {
		log.Fatal(err)
	}

	// What msauth does when somebody connects their account.
	err = store.Save(ctx, "user-42", 0, msauth.StoredTokens{Sealed: []byte("..."), Account: "tid.oid"})
	if err != nil {
		log.Fatal(err)
	}

	// A worker walks all who are connected.
	for user, err := range store.Users(ctx, "") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("to do for", user)
	}
	user, err := store.UserOf(ctx, "tid.oid")
	fmt.Println("tid.oid is", user, err)

	// Output:
	// to do for user-42
	// tid.oid is user-42 <nil>
}

// Deleting a user of the app's and their tokens, both or none.
func ExampleStore_In() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	store, err := tokenstore.New(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE people (id TEXT PRIMARY KEY)"); err != nil {
		log.Fatal(err)
	}

	deleteUser := func(id string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "DELETE FROM people WHERE id = ?", id); err != nil {
			return err
		}
		if err := store.In(tx).Delete(ctx, id); err != nil {
			return err
		}
		return tx.Commit()
	}
	fmt.Println(deleteUser("user-42"))
	// Output: <nil>
}

// PostgreSQL by database/sql and pgx (github.com/jackc/pgx/v5/stdlib), or SQLite as
// here. New makes the tables, or brings them up to date.
func ExampleNew() {
	db, err := sql.Open("sqlite", ":memory:") // sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	store, err := tokenstore.New(context.Background(), db)
	if err != nil {
		log.Fatal(err)
	}
	cfg := msauth.Config{Tokens: store}
	_, err = cfg.Tokens.Load(context.Background(), "user-42")
	fmt.Println(err)
	// Output: msauth: nothing is kept for this user
}

// A worker of one app, where several apps share the tables. After an interruption it
// goes on behind the user whom it did last.
func ExampleStore_Users() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	store, err := tokenstore.New(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	key := make([]byte, 32)
	rand.Read(key)
	newApp := func(name string) *msauth.Middleware {
		auth, err := msauth.New(msauth.Config{
			ClientID: "11111111-2222-3333-4444-555555555555", ClientSecret: "a secret",
			BaseURL: "https://" + name + ".example.com/auth", Keys: [][]byte{key}, Tokens: store,
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			log.Fatal(err)
		}
		return auth
	}
	orders, letters := newApp("orders"), newApp("letters")
	for i, user := range []string{"user-1", "user-2", "user-3"} { // what sign-ins do
		for _, auth := range []*msauth.Middleware{orders, letters} {
			entry := msauth.StoredTokens{Sealed: []byte("..."), Account: auth.StoredAccount(fmt.Sprint("tid.", i))}
			if err := store.Save(ctx, auth.StoredUser(user), 0, entry); err != nil {
				log.Fatal(err)
			}
		}
	}

	mine := store.For(orders)
	for user, err := range mine.Users(ctx, "user-1") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(user)
	}
	fmt.Println(mine.UserOf(ctx, "tid.0"))
	// Output:
	// user-2
	// user-3
	// user-1 <nil>
}
