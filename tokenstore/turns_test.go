//go:build unix

package tokenstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
)

// A watched context tells when somebody begins to wait for its end.
type watched struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func (c *watched) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waits) })
	return c.Context.Done()
}

// Those who write to SQLite do so in the order they came.
func TestTurns(t *testing.T) {
	eachOf(t, []string{"sqlite", "sqlite-bare"}, func(t *testing.T, b backend) {
		store, db := b.newStore(t)
		app := store.For(new(msauth.Middleware)) // takes turns with store
		save(t, store, "user00", 0, entry("user00"))
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		save(t, store.In(tx), "user01", 0, entry("user01"))

		var wg sync.WaitGroup
		want := []string{"user01"}
		queue := func(write func(context.Context) error) {
			ctx := &watched{Context: t.Context(), waits: make(chan struct{})}
			wg.Go(func() {
				if err := write(ctx); err != nil {
					t.Error(err)
				}
			})
			<-ctx.waits
			time.Sleep(20 * time.Millisecond)
		}
		for i := range 20 {
			user, s := fmt.Sprintf("user%02d", 2+i), store
			if i%2 == 1 {
				s = app
			}
			queue(func(ctx context.Context) error { return s.Save(ctx, user, 0, entry(user)) })
			want = append(want, user)
			if i == 10 {
				queue(func(ctx context.Context) error { return store.Delete(ctx, "user00") })
			}
		}
		started := time.Now()
		err = store.Save(withTimeout(t, 100*time.Millisecond), "late", 0, entry("late"))
		fails(t, "Save whose context ends", err)
		if took := time.Since(started); !errors.Is(err, context.DeadlineExceeded) || took > 3*time.Second {
			t.Errorf("Save whose context ends: %v after %v", err, took)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if got := inOrder(t, db); !slices.Equal(got, want) {
			t.Errorf("written in the order %q, want %q", got, want)
		}
	})
}

// inOrder are the users in the order in which their entries were made.
func inOrder(t *testing.T, db *sql.DB) (users []string) {
	t.Helper()
	rows, err := db.Query("SELECT user_key FROM msauth_tokens ORDER BY rowid")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var user string
		if err := rows.Scan(&user); err != nil {
			t.Fatal(err)
		}
		users = append(users, user)
	}
	return users
}

// Somebody who does not end keeps nobody from reading, nor from writing in a
// transaction or in PostgreSQL, and others who write only for a time.
func TestTurnThatDoesNotEnd(t *testing.T) {
	notQuick(t)
	eachBackend(t, func(t *testing.T, b backend) {
		store, db := b.newStore(t)
		save(t, store, "ada", 0, entry("a"))
		store.TakeTurn()
		started := time.Now()
		version := load(t, store, "ada").Version
		if user, err := store.UserOf(t.Context(), "a"); user != "ada" || err != nil {
			t.Errorf("UserOf: %q, %v", user, err)
		}
		if got := users(t, store, ""); !slices.Equal(got, []string{"ada"}) {
			t.Errorf("Users: %q", got)
		}
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		save(t, store.In(tx), "bob", 0, entry("b"))
		if err := store.In(tx).Delete(t.Context(), "bob"); err != nil {
			t.Error(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(started); took > 3*time.Second {
			t.Errorf("reading, and a transaction, took %v", took)
		}

		started = time.Now()
		save(t, store, "ada", version, entry("c"))
		took := time.Since(started)
		if b.driver == "sqlite" && took < 3*time.Second {
			t.Errorf("Save took %v: it did not wait for its turn", took)
		}
		if b.driver == "pgx" && took > 3*time.Second || took > 9*time.Second {
			t.Errorf("Save took %v", took)
		}
		holds(t, store, "ada", entry("c"))
	})
}
