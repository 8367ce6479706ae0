package tokenstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
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
