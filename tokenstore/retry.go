package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// patience is how long statements are repeated for. Where busy_timeout is set,
// SQLite has waited before it says that it is busy.
const patience = 5 * time.Second

// retry calls f until the database no longer asks to repeat it. What was asked
// to be repeated has changed nothing.
func (s *Store) retry(ctx context.Context, f func() error) error {
	if s.inTx {
		return f() // in a transaction nothing short of all of it can be repeated
	}
	return retry(ctx, patience, f)
}

// inTurn is retry for statements that write. Where the database has one writer
// at a time, those of this Store take turns, in the order they came: left to
// SQLite, some of a hundred wait for too long. There are no turns within a
// transaction of the app's, which may have SQLite's lock already. After patience
// f is called without a turn: whoever has it may wait for something else, such
// as a connection.
func (s *Store) inTurn(ctx context.Context, f func() error) error {
	if s.turn != nil {
		select {
		case s.turn <- struct{}{}: // those that wait to send are served in order
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return fmt.Errorf("waiting for others to write: %w", ctx.Err())
		case <-time.After(patience):
		}
	}
	return s.retry(ctx, f)
}

func retry(ctx context.Context, patience time.Duration, f func() error) error {
	started, wait := time.Now(), 5*time.Millisecond
	for {
		err := f()
		if err == nil || !repeatable(err) || time.Since(started) > patience {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (after: %w)", ctx.Err(), err)
		case <-time.After(wait/2 + rand.N(wait)): // at random: the others wait as well
		}
		wait = min(2*wait, 200*time.Millisecond)
	}
}

// uniqueViolation is the SQLSTATE of a row that a unique index refuses.
const uniqueViolation = "23505"

// repeatable reports whether a statement or transaction failed only because of
// others at the same time.
func repeatable(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return true
	case "":
		// SQLite's own texts of SQLITE_BUSY and SQLITE_LOCKED, which all
		// drivers pass on; how they pass on the number differs.
		text := err.Error()
		return strings.Contains(text, "database is locked") ||
			strings.Contains(text, "database table is locked") ||
			strings.Contains(text, "database schema is locked")
	}
	return false
}

// sqlState is the SQLSTATE of an error of PostgreSQL's, else empty. Both pgx
// and lib/pq have the method.
func sqlState(err error) string {
	var e interface{ SQLState() string }
	if !errors.As(err, &e) {
		return ""
	}
	return e.SQLState()
}
