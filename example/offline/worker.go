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
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"example.com/msauth"
	"example.com/msauth/tokenstore"
)

const (
	workers     = 8                // users at the same time
	patience    = 20               // failures of Microsoft in a row that end a run
	longestRest = 15 * time.Minute // beyond the period, between runs that fail
	reportEvery = 5 * time.Second  // in the log
	keepDigests = 24 * time.Hour
	batch       = 500 // rows that are deleted at a time
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
	// skipped as there is one already, as the account is no longer connected or
	// as Microsoft has asked to wait, has met with a refusal that only signing in
	// again helps against, or has failed.
	Users, Written, Skipped, Waiting, Failed int
	Why                                      string // it did not get to all, for people

	inRow      int           // failures of Microsoft since something succeeded
	others     bool          // another worker has written digests too
	retryAfter time.Duration // that Microsoft asks for
	microsoft  bool          // has failed
	database   bool          // has failed
}

// work runs until ctx ends, then stops within a second.
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
// Where digests are written all the same, here or by another worker, what fails
// is not Microsoft as a whole. rest is how far runs that fail lie apart.
func pause(rest, wait, every time.Duration, last *run) (time.Duration, time.Duration) {
	if !last.database && !(last.microsoft && (last.Why != "" || last.Written == 0 && !last.others)) {
		return 0, wait
	}
	rest = min(max(every, 2*rest), every+longestRest)
	wait += rest - every
	wait += rand.N(min(every, longestRest)/10 + 1) // else all workers come back at once
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
	attrs := append(done.attrs(), "seconds", done.Ended.Sub(done.Started).Seconds())
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	w.log.Log(ctx, level, "digests: run ended", attrs...)
	if err := w.clean(ctx, due); err != nil && ctx.Err() == nil {
		w.log.Error("digests: what is old cannot be deleted", "error", err)
	}
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

// end notes how the run ended, also when that is because the server stops.
func (w *worker) end(ctx context.Context, r *run) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
	defer cancel()
	_, err := w.db.ExecContext(ctx, `UPDATE runs SET ended = ?, users = ?, written = ?, skipped = ?, waiting = ?, failed = ?, why = ? WHERE id = ?`,
		r.Ended.UnixMilli(), r.Users, r.Written, r.Skipped, r.Waiting, r.Failed, r.Why, r.ID)
	return err
}

// cleaning deletes a batch of what is older than a time, of each table.
var cleaning = []string{
	`DELETE FROM digests WHERE (user, due) IN (SELECT user, due FROM digests WHERE due < ? LIMIT ?)`,
	`DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE due < ? LIMIT ?)`,
	`DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE ends < ? LIMIT ?)`,
}

// clean throws away what is old. In batches: others want to write as well, and
// where time runs out the next run has less to do. The next run must not be late.
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

// walk goes over all users, some at a time. The error is why it did not get to
// all of them.
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
// from before a restart, for whom Microsoft is not to be asked yet, and when
// others were asked to sign in again.
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

// one does what is to be done for one user. stop ends the run, for what others
// would only meet as well.
func (w *worker) one(ctx context.Context, stop context.CancelCauseFunc, r *run, user string, asked time.Time) {
	began := time.Now()
	account, written, err := w.digest(ctx, user, r.Due, asked)
	if ctx.Err() != nil && err != nil {
		return // abandoned
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
	case errors.Is(err, errAskedBefore): // as if the store had left the user out
		return
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
	w.log.Info("digests: none for a user", "user", user, "error", err)
	if err := w.note(ctx, user, account, began, t); err != nil {
		stop(err)
	}
}

var (
	errAskedBefore = fmt.Errorf("asked before: %w", msauth.ErrSignInRequired)
	errPanic       = errors.New("a panic, which is in the log")
)

// digest writes one user's digest. It reports whether it has, rather than found
// one of another worker. The error is msauth.ErrNoTokens where the account was
// disconnected, errAskedBefore where nothing is known to help but signing in.
// account is whose files they are, as soon as that is known.
func (w *worker) digest(ctx context.Context, user string, due, asked time.Time) (account string, written bool, err error) {
	defer func() { // one user's files must not end the site
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
	// Some refusals are not of the tokens as such, so nothing in the store
	// tells of them. Signing in is noted to the second.
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

	// All of the digest or nothing of it; and nothing for whoever has
	// disconnected the account while Microsoft was asked.
	w.writing.Lock()
	defer w.writing.Unlock()
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
			return ofDatabase(err)
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM troubles WHERE user = ?`, user)
		return ofDatabase(err)
	})
	return account, written && err == nil, err
}

// connected makes sure, in a transaction, that the user's account is still
// connected. It is not compared where it is not known, "".
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

// note keeps for the user why there was no digest, unless the account was
// disconnected meanwhile. The time is that before Microsoft was asked: whoever
// has signed in again since then is asked for again.
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
	case errors.Is(err, errPanic):
		return trouble{why: "Something went wrong at this site."}
	case errors.Is(err, msauth.ErrSignInRequired):
		return trouble{needsPerson: true, why: "Microsoft wants you to sign in again."}
	case errors.Is(err, msauth.ErrTokenUnavailable):
		t := trouble{passing: true, why: "Microsoft was not answering."}
		if refusal != nil {
			t.retryAfter = refusal.RetryAfter
		}
		return t
	case refusal != nil && refusal.Class == msauth.ClassNotAllowed: // for who sets Config.AllowedTenants
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
