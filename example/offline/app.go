package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"example.com/msauth"
	"example.com/msauth/tokenstore"
)

type app struct {
	auth   *msauth.Middleware
	set    *settings
	db     *sql.DB
	store  *tokenstore.Store
	worker *worker
	log    *slog.Logger
}

// newApp opens the database, and makes the site and its worker.
func newApp(ctx context.Context, set *settings, log *slog.Logger) (*app, error) {
	db, err := openDatabase(set.database)
	if err != nil {
		return nil, err
	}
	store, err := prepare(ctx, db)
	if err != nil {
		db.Close()
		return nil, err
	}
	a, err := newAppOn(db, store, store, set, log)
	if err != nil {
		db.Close()
		return nil, err
	}
	return a, nil
}

// newAppOn is the site on a database. tokens is where msauth keeps what it keeps.
func newAppOn(db *sql.DB, store *tokenstore.Store, tokens msauth.TokenStore, set *settings, log *slog.Logger) (*app, error) {
	c := set.auth
	c.Logger = log
	c.Tokens = markedStore{tokens}
	c.User = func(r *http.Request) string {
		if p := personIn(r.Context()); p != nil {
			return p.key()
		}
		return ""
	}
	// People sign in to this site by its own means. Without this, whoever opens
	// /auth/login could sign in with Microsoft: to a session that means nothing
	// here.
	c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
		if !in.Connecting {
			return errors.New("nobody signs in to this site with Microsoft")
		}
		return nil
	}
	auth, err := msauth.New(c)
	if err != nil {
		return nil, err
	}
	return &app{
		auth: auth, set: set, db: db, store: store, log: log,
		worker: &worker{auth: auth, store: store, db: db, log: log, every: set.every, recent: recent(set.graph)},
	}, nil
}

// work does what goes on beside the pages, until ctx ends.
func (a *app) work(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { a.reseal(ctx) })
	wg.Go(func() { a.worker.work(ctx) })
	wg.Wait()
}

// reseal seals what is kept of all accounts with the first key, so that the
// others can be dropped: one account after the other, each start anew. Whose
// tokens were refused is not among them, and has to sign in again anyway.
func (a *app) reseal(ctx context.Context) {
	if len(a.set.auth.Keys) < 2 {
		return
	}
	var last error
	users, lost, failed := 0, 0, 0
	for user, err := range a.store.Users(ctx, "") {
		if err == nil {
			users++
			err = a.auth.Reseal(ctx, user)
		} else {
			err = ofDatabase(err)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil, errors.Is(err, msauth.ErrNoTokens): // or disconnected
		case isOfDatabase(err):
			failed, last = failed+1, err
		default:
			lost++ // none of the keys opens it
		}
	}
	if failed > 0 {
		a.log.Error("keys: not all accounts are sealed with the first key: keep the others until a start says so", "users", users, "failed", failed, "error", last)
		return
	}
	a.log.Info("keys: all accounts are sealed with the first key: the others can be dropped", "users", users, "not_opened", lost)
}

// handler is the whole site.
func (a *app) handler() http.Handler {
	mux := http.NewServeMux()

	// All that it takes to connect Microsoft accounts: one handler mounted, for
	// the way back, and one that a form of the app posts to.
	mux.Handle(a.set.mount, a.auth) // "/auth/"
	mux.Handle("POST /settings/connect", a.auth.Connect("/settings", "Files.Read"))

	mux.Handle("GET /{$}", a.page(a.home))
	mux.Handle("GET /sign-up", a.page(a.signUpPage))
	mux.Handle("POST /sign-up", a.page(a.signUp))
	mux.Handle("GET /sign-in", a.page(a.signInPage))
	mux.Handle("POST /sign-in", a.page(a.signIn))
	mux.Handle("POST /sign-out", a.page(a.signOut))
	mux.Handle("GET /settings", a.page(a.members(a.settings)))
	mux.Handle("POST /settings/disconnect", a.page(a.members(a.disconnect)))
	mux.Handle("GET /digests", a.page(a.members(a.digests)))
	mux.Handle("/", a.page(func(http.ResponseWriter, *http.Request) error { return errNotFound }))

	// Forms of other sites are refused before anything is done for them.
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(a.page(func(http.ResponseWriter, *http.Request) error { return errOtherSite }))
	site := protection.Handler(a.identify(mux))

	files := http.NewServeMux()
	files.Handle("/", a.atHome(site))
	files.Handle("GET /static/{name}", staticFiles())
	files.Handle("GET /favicon.ico", http.RedirectHandler("/static/logo.svg", http.StatusFound))
	files.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok\n") })
	return a.logged(a.secure(files))
}

func (a *app) home(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, http.StatusOK, "home", "", nil)
}

// form is what the pages to sign up and to sign in show again if something is
// wrong with it: with the field of this name or, where that is empty, with both.
type form struct{ Name, Complaint, Field string }

// Wrong reports whether the complaint is about a field.
func (f form) Wrong(field string) bool {
	return f.Complaint != "" && (f.Field == "" || f.Field == field)
}

func (a *app) signUpPage(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, http.StatusOK, "sign-up", "Sign up", form{})
}

func (a *app) signInPage(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, http.StatusOK, "sign-in", "Sign in", form{})
}

// entered reads a form with name and password.
func entered(w http.ResponseWriter, r *http.Request) (name, password string, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		return "", "", errBadForm
	}
	return strings.TrimSpace(r.PostForm.Get("name")), r.PostForm.Get("password"), nil
}

func (a *app) signUp(w http.ResponseWriter, r *http.Request) error {
	name, password, err := entered(w, r)
	if err != nil {
		return err
	}
	field, wrong := complaint(name, password)
	if wrong == "" {
		hash, err := hashPassword(r.Context(), password)
		if err != nil {
			return err
		}
		err = a.enter(w, r, "/settings", func(tx *sql.Tx) (int64, error) { return create(r.Context(), tx, name, hash) })
		if !errors.Is(err, errTaken) {
			return err
		}
		field, wrong = "name", "Somebody has this name already. Please choose another one."
	}
	return a.render(w, r, http.StatusUnprocessableEntity, "sign-up", "Sign up", form{Name: name, Complaint: wrong, Field: field})
}

func (a *app) signIn(w http.ResponseWriter, r *http.Request) error {
	name, password, err := entered(w, r)
	if err != nil {
		return err
	}
	if len(password) <= longestPassword {
		id, err := a.check(r.Context(), name, password)
		if err == nil {
			return a.enter(w, r, "/digests", func(*sql.Tx) (int64, error) { return id, nil })
		}
		if !errors.Is(err, errWrong) {
			return err
		}
	}
	return a.render(w, r, http.StatusUnprocessableEntity, "sign-in", "Sign in",
		form{Name: name, Complaint: "Name and password do not belong together. Please try again."})
}

// enter signs a person in, who is found or made in the same transaction.
func (a *app) enter(w http.ResponseWriter, r *http.Request, to string, who func(*sql.Tx) (int64, error)) error {
	var session string
	err := together(r.Context(), a.db, func(tx *sql.Tx) error {
		user, err := who(tx)
		if err == nil {
			session, err = a.begin(r, tx, user)
		}
		return err
	})
	if err != nil {
		return err
	}
	http.SetCookie(w, a.cookie(session, int(sessionLife/time.Second)))
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func (a *app) signOut(w http.ResponseWriter, r *http.Request) error {
	if err := together(r.Context(), a.db, func(tx *sql.Tx) error { return a.end(r, tx) }); err != nil {
		return err
	}
	http.SetCookie(w, a.cookie("", -1))
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// members is for pages of people who are signed in to this site.
func (a *app) members(h func(http.ResponseWriter, *http.Request, *person) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if p := personIn(r.Context()); p != nil {
			return h(w, r, p)
		}
		http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
		return nil
	}
}

// A connection is how things stand with a user's Microsoft account.
type connection struct {
	Connected bool
	Refused   bool   // the person has to sign in again
	Account   string // who it is, where that can be told
	Trouble   string // why the latest digest was not written
	Time      time.Time
	NotBefore time.Time // Microsoft is asked again; zero for the next run
}

// connection asks msauth, which asks the database: this costs no call to
// Microsoft.
func (a *app) connection(ctx context.Context, p *person) (c connection, err error) {
	s, err := a.auth.Offline(ctx, p.key())
	switch {
	case errors.Is(err, msauth.ErrNoTokens):
		return c, nil
	case errors.Is(err, msauth.ErrSignInRequired):
		return connection{Connected: true, Refused: true}, nil
	case err != nil:
		// What is wrong with the account itself must not stand in the way of
		// disconnecting it.
		if _, ok := errors.AsType[*msauth.AuthError](err); ok && !isOfDatabase(err) {
			return connection{Connected: true, Trouble: troubleOf(err).why}, nil
		}
		return c, err
	}
	c.Connected, c.Account = true, nameOf(s.User)
	var ms, notBefore int64
	err = a.db.QueryRowContext(ctx, `SELECT time, needs_person, why, not_before FROM troubles WHERE user = ?`, p.ID).
		Scan(&ms, &c.Refused, &c.Trouble, &notBefore)
	if errors.Is(err, sql.ErrNoRows) {
		return c, nil
	}
	if c.Time = milli(ms); c.Refused && s.SignedIn().Unix() >= c.Time.Unix() {
		c.Refused, c.Trouble = false, "" // the person has signed in again since
	}
	if t := milli(notBefore); time.Until(t) > 0 {
		c.NotBefore = t
	}
	return c, ofDatabase(err)
}

func (a *app) settings(w http.ResponseWriter, r *http.Request, p *person) error {
	c, err := a.connection(r.Context(), p)
	if err != nil {
		return err
	}
	return a.render(w, r, http.StatusOK, "settings", "Settings", c)
}

// disconnect forgets the user's tokens and digests, both or neither.
func (a *app) disconnect(w http.ResponseWriter, r *http.Request, p *person) error {
	if err := a.forget(r.Context(), p); err != nil {
		return err
	}
	// What msauth knows of the user in memory. Should the account have been
	// connected again since the transaction, in another tab, that is gone too.
	// Should this fail, the memory is of no use for long: the entry is gone.
	if err := a.auth.Disconnect(r.Context(), p.key()); err != nil {
		a.log.Warn("disconnected, but msauth may know the user's token until it ends", "user", p.ID, "error", err)
	}
	a.log.Info("disconnected", "user", p.ID)
	http.Redirect(w, r, "/settings", http.StatusSeeOther)
	return nil
}

func (a *app) forget(ctx context.Context, p *person) error {
	return together(ctx, a.db, func(tx *sql.Tx) error {
		if err := a.store.In(tx).Delete(ctx, p.key()); err != nil {
			return ofDatabase(err)
		}
		for _, statement := range []string{
			`DELETE FROM digests WHERE user = ?`, `DELETE FROM troubles WHERE user = ?`,
		} {
			if _, err := tx.ExecContext(ctx, statement, p.ID); err != nil {
				return ofDatabase(err)
			}
		}
		return nil
	})
}

// A digest is what has changed, as of some time.
type digest struct {
	Due   time.Time
	Files []file
}

func (a *app) digests(w http.ResponseWriter, r *http.Request, p *person) error {
	var data struct {
		Connection connection
		Digests    []digest
		Runs       []run
		Worker     status
	}
	ctx := r.Context()
	var err error
	if data.Connection, err = a.connection(ctx, p); err != nil {
		return err
	}
	if data.Digests, err = a.digestsOf(ctx, p, 5); err != nil {
		return ofDatabase(err)
	}
	if data.Runs, err = a.runs(ctx, 12); err != nil {
		return ofDatabase(err)
	}
	// Only now: what has begun or ended since is known here.
	data.Worker = a.worker.status()
	data.Runs = data.Worker.merge(data.Runs, 10)
	return a.render(w, r, http.StatusOK, "digests", "Digests", data)
}

func (a *app) digestsOf(ctx context.Context, p *person, n int) (list []digest, err error) {
	rows, err := a.db.QueryContext(ctx, `SELECT due, files FROM digests WHERE user = ? ORDER BY due DESC LIMIT ?`, p.ID, n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var ms int64
		var text string
		var d digest
		if err := rows.Scan(&ms, &text); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(text), &d.Files); err != nil {
			return nil, fmt.Errorf("a digest is not JSON: %w", err)
		}
		d.Due = milli(ms)
		list = append(list, d)
	}
	return list, rows.Err()
}

// runs lists the newest runs of all workers.
func (a *app) runs(ctx context.Context, n int) (list []run, err error) {
	rows, err := a.db.QueryContext(ctx, `SELECT id, due, started, ended, users, written, skipped, waiting, failed, why
		FROM runs ORDER BY id DESC LIMIT ?`, n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r run
		var due, started int64
		var ended sql.NullInt64
		if err := rows.Scan(&r.ID, &due, &started, &ended, &r.Users, &r.Written, &r.Skipped, &r.Waiting, &r.Failed, &r.Why); err != nil {
			return nil, err
		}
		r.Due, r.Started = milli(due), milli(started)
		if ended.Valid {
			r.Ended = milli(ended.Int64)
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// merge leaves out the run that is under way, and puts the worker's latest, which
// the database may not have taken, in the place of what is kept of it.
func (s status) merge(kept []run, n int) (list []run) {
	if s.Latest != nil && (s.Latest.ID == 0 || s.Latest.database) {
		list = append(list, *s.Latest)
	}
	for _, r := range kept {
		switch {
		case s.Current != nil && s.Current.ID == r.ID:
		case s.Latest == nil || s.Latest.ID != r.ID:
			list = append(list, r)
		case !s.Latest.database:
			list = append(list, *s.Latest)
		}
	}
	return list[:min(n, len(list))]
}

// atHome sends people who came by another name of this computer, 127.0.0.1 say,
// to that of MSAUTH_BASE_URL: Microsoft sends them back there, where a cookie of
// the other name is none. Other hosts are left alone: a proxy may name its own.
func (a *app) atHome(next http.Handler) http.Handler {
	base, err := url.Parse(a.set.auth.BaseURL)
	if err != nil || !isLoopback(base.Hostname()) {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := url.URL{Host: r.Host}
		if (r.Method == http.MethodGet || r.Method == http.MethodHead) && isLoopback(at.Hostname()) &&
			!strings.EqualFold(at.Hostname(), base.Hostname()) && at.Port() == base.Port() {
			http.Redirect(w, r, base.Scheme+"://"+base.Host+r.URL.RequestURI(), http.StatusFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// secure sets the headers of the whole site. The pages of msauth replace the
// policy by a stricter one of their own.
func (a *app) secure(next http.Handler) http.Handler {
	policy := "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' " + a.set.mayFormsGoTo() +
		"; base-uri 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// logged writes a line for each request. No query strings: that of the callback
// holds an authorization code.
func (a *app) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			a.log.Info("request", "method", r.Method, "path", r.URL.Path, "status", sw.status,
				"ms", time.Since(start).Milliseconds())
		}()
		next.ServeHTTP(sw, r)
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

var (
	errNotFound  = errors.New("no such page")
	errOtherSite = errors.New("a form of another site")
	errBadForm   = errors.New("the form cannot be read")
)

// failure is what a person is told when something did not work: what happened
// and what to do. The error goes to the log, under the same id.
type failure struct {
	Status      int
	Title, Text string
	Retry       bool // offer to try again
	ID          string
}

func explain(err error) failure {
	switch {
	case errors.Is(err, errNotFound):
		return failure{Status: http.StatusNotFound, Title: "There is no such page", Text: "The address may be mistyped."}
	case errors.Is(err, errOtherSite):
		return failure{Status: http.StatusForbidden, Title: "This did not come from here",
			Text: "The form was not one of this site's pages. Nothing has changed."}
	case errors.Is(err, errBadForm):
		return failure{Status: http.StatusBadRequest, Title: "The form cannot be read", Text: "Please go back and try again."}
	case isOfDatabase(err):
		return failure{Status: http.StatusServiceUnavailable, Retry: true, Title: "The database does not work at the moment",
			Text: "This site keeps everything there. Nothing has changed; please try again in a moment."}
	}
	return failure{Status: http.StatusInternalServerError, Retry: true, Title: "Something went wrong here",
		Text: "It is our fault, not yours. Please try again in a moment."}
}

// page serves a handler that may fail, before it has written anything.
func (a *app) page(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		f := explain(err)
		f.ID = rand.Text()[:8]
		level := slog.LevelInfo
		if f.Status >= 500 && r.Context().Err() == nil { // somebody still waits for the answer
			level = slog.LevelWarn
		}
		a.log.Log(r.Context(), level, "request failed", "id", f.ID, "path", r.URL.Path, "status", f.Status, "error", err)
		if err := a.render(w, r, f.Status, "failure", f.Title, f); err != nil {
			http.Error(w, f.Title, f.Status)
		}
	})
}
