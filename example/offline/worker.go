package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"example.com/msauth"
	"example.com/msauth/tokenstore"
)

const (
	workers     = 8                // users at the same time
	maxFailures = 20               // at Microsoft in a row; the last one ends the run
	maxBackoff  = 15 * time.Minute // added to the period after runs that fail
	reportEvery = 5 * time.Second  // in the log
	keepDigests = 24 * time.Hour
	batch       = 500 // rows to delete at a time
)

// A worker writes digests: one per period for each user who has connected an
// account. Any number of workers can share a database.
type worker struct {
	auth  *msauth.Middleware
	store *tokenstore.Store
	db    *sql.DB
	log   *slog.Logger
	every time.Duration
	// recent reads the files of the session's user from Microsoft.
	recent func(context.Context, *msauth.Session) ([]file, error)

	writing sync.Mutex // SQLite has one writer at a time; a mutex is fair
	from    string     // the last user that an incomplete run reached

	mu      sync.Mutex
	current *run      // nil between runs
	latest  *run      // the last one that ended
	next    time.Time // when the next one begins
}

// A run goes through all users once.
type run struct {
	ID           int64 // 0 if it could not be stored
	Due, Started time.Time
	Ended        time.Time // zero while it is running
	// Users is how many users it reached. Each digest was written; or skipped,
	// because it exists, the account is no longer connected, or Microsoft asked to
	// wait; or is waiting for the user to sign in again; or has failed.
	Users, Written, Skipped, Waiting, Failed int
	Why                                      string // it is incomplete; shown on the page

	inRow      int           // failures at Microsoft in a row
	others     bool          // another worker is writing digests too
	retryAfter time.Duration // requested by Microsoft
	microsoft  bool          // failed
	database   bool          // failed
}

// work runs until ctx is done, then returns within a second.
func (w *worker) work(ctx context.Context) {
	for rest := time.Duration(0); ; {
		wait := time.Until(time.Now().Truncate(w.every).Add(w.every))
		w.mu.Lock()
		if w.latest != nil {
			rest, wait = pause(rest, wait, w.every, w.latest)
		}
		w.next = time.Now().Add(wait)
		w.mu.Unlock()
		if rest > 0 {
			w.log.Warn("digests: the last run failed", "next_in", wait.Round(time.Second))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		w.run(ctx, time.Now().Truncate(w.every))
	}
}

// pause returns how long to wait after a run: until the next period or, while runs
// fail, twice as long each time, but at least as long as Microsoft asked for. A run
// has not failed if digests were written, here or by another worker. rest is the
// time between runs that fail, 0 otherwise.
func pause(rest, wait, every time.Duration, last *run) (time.Duration, time.Duration) {
	if !last.database && !(last.microsoft && (last.Why != "" || last.Written == 0 && !last.others)) {
		return 0, wait
	}
	rest = min(max(every, 2*rest), every+maxBackoff)
	wait += rest - every
	wait += rand.N(min(every, maxBackoff)/10 + 1) // so that workers do not all return at once
	return rest, max(wait, last.retryAfter)
}

// run writes the digests of one period.
func (w *worker) run(ctx context.Context, due time.Time) *run {
	r := &run{Due: due, Started: time.Now()}
	w.mu.Lock()
	w.current = r
	w.mu.Unlock()
	err := w.begin(ctx, r)
	if err == nil {
		err = w.walk(ctx, r)
	}
	w.mu.Lock()
	switch {
	case err == nil:
	case ctx.Err() != nil:
		r.Why = "The server was stopped."
	case isOfDatabase(err):
		r.database = true
		r.Why = "The database is not available."
	default:
		r.Why = "Microsoft is not responding. The next run begins with the remaining users."
	}
	r.Ended = time.Now()
	w.current, w.latest = nil, r
	done := *r
	w.mu.Unlock()
	if err := w.end(ctx, &done); err != nil {
		w.log.Error("digests: cannot store the run", "error", err)
	}
	level := slog.LevelInfo
	if err != nil && ctx.Err() == nil {
		level = slog.LevelWarn
	} else if err != nil {
		err = context.Cause(ctx)
	}
	attrs := append(done.attrs(), "seconds", done.Ended.Sub(done.Started).Seconds())
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	w.log.Log(ctx, level, "digests: run ended", attrs...)
	if err := w.clean(ctx, due); err != nil && ctx.Err() == nil {
		w.log.Error("digests: cannot delete old data", "error", err)
	}
	return &done
}

func (r *run) attrs() []any {
	return []any{"due", r.Due.UTC().Format(time.TimeOnly), "users", r.Users, "written", r.Written, "skipped", r.Skipped, "waiting", r.Waiting, "failed", r.Failed}
}

// A status is the state of a worker.
type status struct {
	Current, Latest *run
	Next            time.Time
}

func (w *worker) status() (s status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.Next = w.next
	if w.current != nil {
		r := *w.current
		s.Current = &r
	}
	if w.latest != nil {
		r := *w.latest
		s.Latest = &r
	}
	return s
}

// begin stores that a run has begun.
func (w *worker) begin(ctx context.Context, r *run) error {
	var id int64
	err := w.db.QueryRowContext(ctx, `INSERT INTO runs (due, started, users, written, skipped, waiting, failed, why)
		VALUES (?, ?, 0, 0, 0, 0, 0, '') RETURNING id`, r.Due.UnixMilli(), r.Started.UnixMilli()).Scan(&id)
	w.mu.Lock()
	r.ID = id
	w.mu.Unlock()
	return ofDatabase(err)
}

// end stores how the run ended, even if that is because the server stops.
func (w *worker) end(ctx context.Context, r *run) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
	defer cancel()
	_, err := w.db.ExecContext(ctx, `UPDATE runs SET ended = ?, users = ?, written = ?, skipped = ?, waiting = ?, failed = ?, why = ? WHERE id = ?`,
		r.Ended.UnixMilli(), r.Users, r.Written, r.Skipped, r.Waiting, r.Failed, r.Why, r.ID)
	return err
}

// cleaning are the statements that delete a batch of rows older than a time.
var cleaning = []string{
	`DELETE FROM digests WHERE (user, due) IN (SELECT user, due FROM digests WHERE due < ? LIMIT ?)`,
	`DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE due < ? LIMIT ?)`,
	`DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE ends < ? LIMIT ?)`,
}

// clean deletes old data, in batches so that others can write in between. It stops
// in time for the next run, which continues.
func (w *worker) clean(ctx context.Context, due time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, w.every/2)
	defer cancel()
	old := due.Add(-keepDigests).UnixMilli()
	for _, statement := range cleaning {
		for deleted := int64(batch); deleted == batch; {
			result, err := w.db.ExecContext(ctx, statement, old, batch)
			if err == nil {
				deleted, err = result.RowsAffected()
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// walk goes through all users, some at the same time. An error means that it did
// not reach all of them.
func (w *worker) walk(ctx context.Context, r *run) error {
	done, resting, asked, err := w.known(ctx, r.Due)
	if err != nil {
		return ofDatabase(err)
	}
	w.count(r, func() { r.others = len(done) > 0 })
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	users := make(chan string)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for user := range users {
				if ctx.Err() == nil {
					w.one(ctx, stop, r, user, asked[user])
				}
			}
		})
	}
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	last := ""
	for user, err := range round(ctx, w.store, w.from) {
		if err != nil {
			stop(ofDatabase(err))
		}
		if ctx.Err() != nil {
			break
		}
		if done[user] || resting[user] {
			w.count(r, func() { r.Users++; r.Skipped++ })
			continue
		}
		select {
		case users <- user:
			last = user
		case <-ctx.Done():
		}
		select {
		case <-report.C:
			w.mu.Lock()
			attrs := r.attrs()
			w.mu.Unlock()
			w.log.Info("digests: run in progress", attrs...)
		default:
		}
	}
	close(users)
	wg.Wait()
	err = context.Cause(ctx)
	if w.from = ""; err != nil {
		w.from = last
	}
	return err
}

// round returns all users with tokens, beginning with those after from.
func round(ctx context.Context, store *tokenstore.Store, from string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for user, err := range store.Users(ctx, from) {
			if !yield(user, err) || err != nil {
				return
			}
		}
		if from == "" {
			return
		}
		for user, err := range store.Users(ctx, "") {
			if err == nil && user > from || !yield(user, err) || err != nil {
				return
			}
		}
	}
}

// known returns the users who already have their digest, from another worker or
// from before a restart; those for whom Microsoft asked to wait; and when others
// were asked to sign in again.
func (w *worker) known(ctx context.Context, due time.Time) (done, resting map[string]bool, asked map[string]time.Time, err error) {
	done, resting, asked = map[string]bool{}, map[string]bool{}, map[string]time.Time{}
	err = w.each(ctx, func(user, _ int64) { done[strconv.FormatInt(user, 10)] = true },
		`SELECT user, due FROM digests WHERE due = ?`, due.UnixMilli())
	if err == nil {
		err = w.each(ctx, func(user, _ int64) { resting[strconv.FormatInt(user, 10)] = true },
			`SELECT user, not_before FROM troubles WHERE not_before > ?`, time.Now().UnixMilli())
	}
	if err == nil {
		err = w.each(ctx, func(user, time int64) { asked[strconv.FormatInt(user, 10)] = milli(time) },
			`SELECT user, time FROM troubles WHERE needs_person`)
	}
	return done, resting, asked, err
}

func (w *worker) each(ctx context.Context, do func(a, b int64), query string, args ...any) error {
	rows, err := w.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var a, b int64
		if err := rows.Scan(&a, &b); err != nil {
			return err
		}
		do(a, b)
	}
	return rows.Err()
}

func (w *worker) count(r *run, change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// one writes one user's digest and counts the result. It calls stop, which ends
// the run, for errors that would affect other users too.
func (w *worker) one(ctx context.Context, stop context.CancelCauseFunc, r *run, user string, asked time.Time) {
	began := time.Now()
	account, written, err := w.digest(ctx, user, r.Due, asked)
	if ctx.Err() != nil && err != nil {
		return // the run has been stopped
	}
	t := troubleOf(err)
	switch {
	case err == nil && written:
		w.count(r, func() { r.Users++; r.Written++; r.inRow = 0 })
		return
	case err == nil:
		w.count(r, func() { r.Users++; r.Skipped++; r.others = true })
		return
	case errors.Is(err, msauth.ErrNoTokens):
		w.count(r, func() { r.Users++; r.Skipped++ })
		return
	case isOfDatabase(err):
		w.count(r, func() { r.Users++; r.Failed++ })
		stop(err)
		return
	case errors.Is(err, errAskedBefore): // not counted, like users without tokens
		return
	case t.needsPerson:
		w.count(r, func() { r.Users++; r.Waiting++; r.inRow = 0 })
	case t.passing:
		w.count(r, func() {
			r.Users++
			r.Failed++
			r.microsoft = true
			r.retryAfter = max(r.retryAfter, t.retryAfter)
			if r.inRow++; r.inRow == maxFailures {
				stop(fmt.Errorf("%d failures in a row, the last one: %w", maxFailures, err))
			}
		})
	default:
		w.count(r, func() { r.Users++; r.Failed++; r.inRow = 0 })
	}
	w.log.Info("digests: user failed", "user", user, "error", err)
	if err := w.note(ctx, user, account, began, t); err != nil {
		stop(err)
	}
}

var (
	errAskedBefore = fmt.Errorf("asked before: %w", msauth.ErrSignInRequired)
	errPanic       = errors.New("panic (see the log)")
)

// digest writes one user's digest. It reports whether it did, or another worker
// had. The error is msauth.ErrNoTokens if the account was disconnected, and
// errAskedBefore if the user has not signed in again since asked. account is the
// key of the Microsoft account, empty if unknown.
func (w *worker) digest(ctx context.Context, user string, due, asked time.Time) (account string, written bool, err error) {
	defer func() { // one user's files must not crash the site
		if p := recover(); p != nil {
			w.log.Error("digests: panic", "user", user, "panic", p, "stack", string(debug.Stack()))
			written, err = false, errPanic
		}
	}()
	s, err := w.auth.Offline(ctx, user)
	if !asked.IsZero() && errors.Is(err, msauth.ErrSignInRequired) {
		return "", false, errAskedBefore
	}
	if err != nil {
		return "", false, err
	}
	account = s.User.Key()
	// The store does not know of refusals by Graph. SignedIn has a resolution of
	// one second.
	if !asked.IsZero() && s.SignedIn().Unix() < asked.Unix() {
		return account, false, errAskedBefore
	}
	files, err := w.recent(ctx, s)
	if err != nil {
		return account, false, err
	}
	text, err := json.Marshal(files)
	if err != nil {
		return account, false, err
	}

	// In a transaction, so that nothing is written if the account has been
	// disconnected since Microsoft was asked.
	w.writing.Lock()
	defer w.writing.Unlock()
	gone := false
	err = together(ctx, w.db, func(tx *sql.Tx) error {
		if err := w.connected(ctx, tx, user, account); err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, `INSERT INTO digests (user, due, files) SELECT id, ?, ? FROM users WHERE id = ?
			ON CONFLICT DO NOTHING`, due.UnixMilli(), string(text), user)
		if err != nil {
			return ofDatabase(err)
		}
		n, err := result.RowsAffected()
		if written = n > 0; !written || err != nil {
			if err == nil {
				err = tx.QueryRowContext(ctx, `SELECT NOT EXISTS (SELECT 1 FROM users WHERE id = ?)`, user).Scan(&gone)
			}
			return ofDatabase(err)
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM troubles WHERE user = ?`, user)
		return ofDatabase(err)
	})
	if gone && err == nil { // the account was being connected while the user left
		return account, false, errors.Join(msauth.ErrNoTokens, w.auth.Disconnect(ctx, user))
	}
	return account, written && err == nil, err
}

// connected returns msauth.ErrNoTokens unless the user is still connected to the
// account, or to any if account is empty.
func (w *worker) connected(ctx context.Context, tx *sql.Tx, user, account string) error {
	now, err := w.store.In(tx).Load(ctx, user)
	switch {
	case errors.Is(err, msauth.ErrNoTokens):
		return err
	case err != nil:
		return ofDatabase(err)
	case account != "" && now.Account != account:
		return msauth.ErrNoTokens
	}
	return nil
}

// note stores why the user got no digest, unless the account was disconnected
// meanwhile. began is the time before Microsoft was asked: after signing in again
// since then, the user is tried again.
func (w *worker) note(ctx context.Context, user, account string, began time.Time, t trouble) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	notBefore := int64(0)
	if t.retryAfter > 0 {
		notBefore = time.Now().Add(t.retryAfter).UnixMilli()
	}
	err := together(ctx, w.db, func(tx *sql.Tx) error {
		if err := w.connected(ctx, tx, user, account); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO troubles (user, time, needs_person, why, not_before) SELECT id, ?, ?, ?, ? FROM users WHERE id = ?
			ON CONFLICT (user) DO UPDATE SET time = excluded.time, needs_person = excluded.needs_person, why = excluded.why, not_before = excluded.not_before`,
			began.UnixMilli(), t.needsPerson, t.why, notBefore, user)
		return ofDatabase(err)
	})
	if errors.Is(err, msauth.ErrNoTokens) {
		return nil
	}
	return err
}
