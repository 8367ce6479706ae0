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
	"net/http"
	"strconv"
	"sync"
	"time"

	"example.com/msauth"
	"example.com/msauth/tokenstore"
)

const (
	workers     = 8               // users at the same time
	patience    = 20              // failures of Microsoft in a row that end a run
	longestRest = 15              // periods, between runs that fail
	reportEvery = 5 * time.Second // in the log
	keepDigests = 24 * time.Hour
)

// A worker writes the digests: for each user who has connected an account, one in
// each period. Any number of workers may share a database.
type worker struct {
	auth  *msauth.Middleware
	store *tokenstore.Store
	db    *sql.DB
	log   *slog.Logger
	every time.Duration
	// recent asks Microsoft, in the name of the session's person.
	recent func(context.Context, *msauth.Session) ([]file, error)

	writing sync.Mutex // SQLite has one writer; here they wait in order
	from    string     // the last user whom a run that was cut short has got to

	mu      sync.Mutex
	current *run      // under way
	latest  *run      // the one before
	next    time.Time // when the next one is due
}

// A run is one walk over all users.
type run struct {
	ID           int64 // 0 where the database did not take it
	Due, Started time.Time
	Ended        time.Time // zero while it is under way
	// Users counts those whom it got to: for each a digest was written, was
	// skipped as there is one already or the account is no longer connected,
	// waits for the person to sign in again, or has failed.
	Users, Written, Skipped, Waiting, Failed int
	Why                                      string // it did not get to all, for people

	inRow      int           // failures of Microsoft since something succeeded
	retryAfter time.Duration // that Microsoft asks for
	microsoft  bool          // has failed
	database   bool          // has failed
}

// work runs until ctx ends, then stops within a second.
func (w *worker) work(ctx context.Context) {
	for rest := 0; ; {
		wait := time.Until(time.Now().Truncate(w.every).Add(w.every))
		w.mu.Lock()
		if w.latest != nil {
			rest, wait = pause(rest, wait, w.every, w.latest)
		}
		w.next = time.Now().Add(wait)
		w.mu.Unlock()
		if rest > 0 {
			w.log.Warn("digests: the last run had trouble", "next_in", wait.Round(time.Second))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		w.run(ctx, time.Now().Truncate(w.every))
	}
}

// pause says how long to wait after a run: until the next period, or, as long as
// runs fail, twice as long each time, and at least as long as Microsoft asks for.
func pause(rest int, wait, every time.Duration, last *run) (int, time.Duration) {
	if !last.database && !(last.microsoft && (last.Why != "" || last.Written == 0)) {
		return 0, wait
	}
	rest = min(max(1, 2*rest), longestRest)
	wait += time.Duration(rest-1) * every
	wait += rand.N(every/10 + 1) // else all workers come back at once
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
		r.Why = "The database does not work at the moment."
	default:
		r.Why = "Microsoft is not answering. Those who are left come first in the next run."
	}
	r.Ended = time.Now()
	w.current, w.latest = nil, r
	done := *r
	w.mu.Unlock()
	if err := w.end(ctx, &done); err != nil {
		w.log.Error("digests: the run cannot be noted", "error", err)
	}
	level := slog.LevelInfo
	if err != nil && ctx.Err() == nil {
		level = slog.LevelWarn
	} else if err != nil {
		err = context.Cause(ctx)
	}
	w.log.Log(ctx, level, "digests: run ended", append(done.attrs(), "seconds", done.Ended.Sub(done.Started).Seconds(), "error", err)...)
	return &done
}

func (r *run) attrs() []any {
	return []any{"due", r.Due.UTC().Format(time.TimeOnly), "users", r.Users, "written", r.Written, "skipped", r.Skipped, "waiting", r.Waiting, "failed", r.Failed}
}

// begin notes that a run is under way.
func (w *worker) begin(ctx context.Context, r *run) error {
	var id int64
	err := w.db.QueryRowContext(ctx, `INSERT INTO runs (due, started, users, written, skipped, waiting, failed, why)
		VALUES (?, ?, 0, 0, 0, 0, 0, '') RETURNING id`, r.Due.UnixMilli(), r.Started.UnixMilli()).Scan(&id)
	w.mu.Lock()
	r.ID = id
	w.mu.Unlock()
	return ofDatabase(err)
}

// end notes how the run ended, also when that is because the server stops, and
// throws away what is old.
func (w *worker) end(ctx context.Context, r *run) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
	defer cancel()
	_, err := w.db.ExecContext(ctx, `UPDATE runs SET ended = ?, users = ?, written = ?, skipped = ?, waiting = ?, failed = ?, why = ? WHERE id = ?`,
		r.Ended.UnixMilli(), r.Users, r.Written, r.Skipped, r.Waiting, r.Failed, r.Why, r.ID)
	if err != nil {
		return err
	}
	old := r.Due.Add(-keepDigests).UnixMilli()
	for _, statement := range []string{
		`DELETE FROM digests WHERE due < ?`, `DELETE FROM runs WHERE due < ?`, `DELETE FROM sessions WHERE ends < ?`,
	} {
		if _, err := w.db.ExecContext(ctx, statement, old); err != nil {
			return err
		}
	}
	return nil
}

// walk goes over all users, some at a time. The error is why it did not get to
// all of them.
func (w *worker) walk(ctx context.Context, r *run) error {
	done, asked, err := w.known(ctx, r.Due)
	if err != nil {
		return ofDatabase(err)
	}
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
		if done[user] {
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
			w.log.Info("digests: run under way", attrs...)
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

// round lists all users with tokens, those behind from first.
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

// known reads which users have their digest already, from another worker or
// from before a restart, and when others were asked to sign in again.
func (w *worker) known(ctx context.Context, due time.Time) (done map[string]bool, asked map[string]time.Time, err error) {
	done, asked = map[string]bool{}, map[string]time.Time{}
	err = w.each(ctx, func(user, _ int64) { done[strconv.FormatInt(user, 10)] = true },
		`SELECT user, due FROM digests WHERE due = ?`, due.UnixMilli())
	if err == nil {
		err = w.each(ctx, func(user, time int64) { asked[strconv.FormatInt(user, 10)] = milli(time) },
			`SELECT user, time FROM troubles WHERE needs_person`)
	}
	return done, asked, err
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

// one does what is to be done for one user. stop ends the run, for what others
// would only meet as well.
func (w *worker) one(ctx context.Context, stop context.CancelCauseFunc, r *run, user string, asked time.Time) {
	written, err := w.digest(ctx, user, r.Due, asked)
	if ctx.Err() != nil && err != nil {
		return // abandoned
	}
	t := troubleOf(err)
	switch {
	case err == nil && written:
		w.count(r, func() { r.Users++; r.Written++; r.inRow = 0 })
	case err == nil, errors.Is(err, msauth.ErrNoTokens):
		w.count(r, func() { r.Users++; r.Skipped++ })
	case isOfDatabase(err):
		w.count(r, func() { r.Users++; r.Failed++ })
		stop(err)
	case t.needsPerson:
		w.count(r, func() { r.Users++; r.Waiting++; r.inRow = 0 })
	case t.passing:
		w.count(r, func() {
			r.Users++
			r.Failed++
			r.microsoft = true
			r.retryAfter = max(r.retryAfter, t.retryAfter)
			if r.inRow++; r.inRow == patience {
				stop(fmt.Errorf("%d failures in a row, the last: %w", patience, err))
			}
		})
	default:
		w.count(r, func() { r.Users++; r.Failed++; r.inRow = 0 })
	}
	if t == (trouble{}) || errors.Is(err, errAskedBefore) || isOfDatabase(err) {
		return
	}
	w.log.Info("digests: none for a user", "user", user, "error", err)
	if err := w.note(ctx, user, t); err != nil {
		stop(ofDatabase(err))
	}
}

var errAskedBefore = fmt.Errorf("asked before: %w", msauth.ErrSignInRequired)

// digest writes one user's digest. It reports whether it has, rather than
// found one, or found the account disconnected.
func (w *worker) digest(ctx context.Context, user string, due, asked time.Time) (written bool, err error) {
	s, err := w.auth.Offline(ctx, user)
	if err != nil {
		return false, err
	}
	// Some refusals are not of the tokens as such, so nothing in the store
	// tells of them. Signing in is noted to the second.
	if !asked.IsZero() && s.SignedIn().Unix() < asked.Unix() {
		return false, errAskedBefore
	}
	files, err := w.recent(ctx, s)
	if err != nil {
		return false, err
	}
	text, err := json.Marshal(files)
	if err != nil {
		return false, err
	}

	// All of the digest or nothing of it; and nothing for whoever has
	// disconnected the account while Microsoft was asked.
	w.writing.Lock()
	defer w.writing.Unlock()
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return false, ofDatabase(err)
	}
	defer tx.Rollback()
	switch now, err := w.store.In(tx).Load(ctx, user); {
	case errors.Is(err, msauth.ErrNoTokens):
		return false, nil
	case err != nil:
		return false, ofDatabase(err)
	case now.Account != s.User.Key():
		return false, nil
	}
	result, err := tx.ExecContext(ctx, `INSERT INTO digests (user, due, files) SELECT id, ?, ? FROM users WHERE id = ?
		ON CONFLICT DO NOTHING`, due.UnixMilli(), string(text), user)
	if err != nil {
		return false, ofDatabase(err)
	}
	if n, err := result.RowsAffected(); n == 0 || err != nil {
		return false, ofDatabase(err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM troubles WHERE user = ?`, user); err != nil {
		return false, ofDatabase(err)
	}
	return true, ofDatabase(tx.Commit())
}

// note keeps for the user why there was no digest.
func (w *worker) note(ctx context.Context, user string, t trouble) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	_, err := w.db.ExecContext(ctx, `INSERT INTO troubles (user, time, needs_person, why) SELECT id, ?, ?, ? FROM users WHERE id = ?
		ON CONFLICT (user) DO UPDATE SET time = excluded.time, needs_person = excluded.needs_person, why = excluded.why`,
		time.Now().UnixMilli(), t.needsPerson, t.why, user)
	return err
}

// trouble is why a user got no digest.
type trouble struct {
	needsPerson bool // only signing in again helps
	passing     bool // it is Microsoft's, and others most likely meet it too
	why         string
	retryAfter  time.Duration
}

// troubleOf sorts errors. The zero value stands for none.
func troubleOf(err error) trouble {
	refusal, _ := errors.AsType[*msauth.AuthError](err)
	answer, _ := errors.AsType[*graphError](err)
	switch {
	case err == nil, errors.Is(err, msauth.ErrNoTokens):
		return trouble{}
	case isOfDatabase(err):
		return trouble{why: "The database did not work."}
	case errors.Is(err, msauth.ErrSignInRequired):
		return trouble{needsPerson: true, why: "Microsoft wants you to sign in again."}
	case errors.Is(err, msauth.ErrTokenUnavailable):
		t := trouble{passing: true, why: "Microsoft was not answering."}
		if refusal != nil {
			t.retryAfter = refusal.RetryAfter
		}
		return t
	case refusal != nil && refusal.Class == msauth.ClassNotAllowed:
		return trouble{why: "Accounts of your organization are not admitted here any more."}
	case answer == nil:
		return trouble{passing: true, why: "Microsoft was not answering, or its answer made no sense."}
	case answer.Status == http.StatusTooManyRequests, answer.Status >= 500:
		return trouble{passing: true, why: "Microsoft was busy.", retryAfter: answer.RetryAfter}
	case answer.Status == http.StatusForbidden, answer.Status == http.StatusNotFound, answer.Status == http.StatusBadRequest:
		return trouble{why: "There is no OneDrive with this account, or it is not for this site to read."}
	}
	return trouble{why: "Microsoft gave an answer that this site does not understand."}
}

// A status is what a worker is doing.
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
