package main

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
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

// newApp opens the database and makes the site and its worker.
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

// newAppOn makes the site on a database. msauth stores tokens in tokens.
func newAppOn(db *sql.DB, store *tokenstore.Store, tokens msauth.TokenStore, set *settings, log *slog.Logger) (*app, error) {
	c := set.Auth
	c.Logger = log
	c.Tokens = markedStore{tokens}
	c.User = func(r *http.Request) string {
		if p := personIn(r.Context()); p != nil {
			return p.key()
		}
		return ""
	}
	// Users sign in with the site's own passwords. Without this hook, anybody could
	// sign in with Microsoft at /auth/login, to a session that the site ignores.
	c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
		if !in.Connecting {
			return errors.New("this site has no sign-in with Microsoft")
		}
		return nil
	}
	auth, err := msauth.New(c)
	if err != nil {
		return nil, err
	}
	return &app{
		auth: auth, set: set, db: db, store: store, log: log,
		worker: &worker{auth: auth, store: store, db: db, log: log, every: set.every, recent: recent(set.Graph)},
	}, nil
}

// work runs what is independent of requests, until ctx is done.
func (a *app) work(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { a.reseal(ctx) })
	wg.Go(func() { a.worker.work(ctx) })
	wg.Wait()
}

// reseal seals the stored tokens of all accounts with the first key, so that the
// others can be removed. It runs at each start. Accounts whose tokens were refused
// are left out: their users have to sign in again anyway.
func (a *app) reseal(ctx context.Context) {
	if len(a.set.Auth.Keys) < 2 {
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
		case err == nil, errors.Is(err, msauth.ErrNoTokens): // disconnected meanwhile
		case isOfDatabase(err):
			failed, last = failed+1, err
		default:
			lost++ // no key opens it
		}
	}
	if failed > 0 {
		a.log.Error("keys: not all accounts are sealed with the first key; keep the others", "users", users, "failed", failed, "error", last)
		return
	}
	a.log.Info("keys: all accounts are sealed with the first key; the others can be removed", "users", users, "not_opened", lost)
}

// handler returns the handler of the whole site.
func (a *app) handler() http.Handler {
	mux := http.NewServeMux()

	// To connect Microsoft accounts, mount one handler, for the way back from
	// Microsoft, and one that a form of the app posts to.
	mux.Handle(a.set.Mount, a.auth) // "/auth/"
	mux.Handle("POST /settings/connect", a.auth.Connect("/settings", "Files.Read"))

	mux.Handle("GET /{$}", a.page(a.home))
	mux.Handle("GET /sign-up", a.page(a.signUpPage))
	mux.Handle("POST /sign-up", a.page(a.signUp))
	mux.Handle("GET /sign-in", a.page(a.signInPage))
	mux.Handle("POST /sign-in", a.page(a.signIn))
	mux.Handle("POST /sign-out", a.page(a.signOut))
	mux.Handle("GET /settings", a.page(a.members(a.settings)))
	mux.Handle("POST /settings/disconnect", a.page(a.members(a.disconnect)))
	mux.Handle("GET /people", a.page(a.administrator(a.people)))
	mux.Handle("GET /people/{id}/left", a.page(a.administrator(a.leavingPage)))
	mux.Handle("POST /people/{id}/left", a.page(a.administrator(a.leave)))
	mux.Handle("GET /digests", a.page(a.members(a.digests)))
	mux.Handle("/", a.page(func(http.ResponseWriter, *http.Request) error { return errNotFound }))

	// Forms posted by other sites are refused.
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(a.page(func(http.ResponseWriter, *http.Request) error { return errOtherSite }))
	site := protection.Handler(a.identify(mux))

	all := http.NewServeMux()
	all.Handle("/", a.canonical(site))
	all.HandleFunc("GET /static/{name}", pages.ServeStatic)
	all.Handle("GET /favicon.ico", http.RedirectHandler("/static/logo.svg", http.StatusFound))
	all.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok\n") })
	return webapp.Logged(a.log, a.secure(all))
}

func (a *app) home(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, http.StatusOK, "home", "", nil)
}

// canonical redirects from another name of this computer, such as 127.0.0.1, to
// the one in MSAUTH_BASE_URL. Microsoft redirects to that one, where the cookies of
// the other are not sent. Other hosts are left alone: they may be a proxy's.
func (a *app) canonical(next http.Handler) http.Handler {
	base, err := url.Parse(a.set.Auth.BaseURL)
	if err != nil || !webapp.IsLoopback(base.Hostname()) {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := url.URL{Host: r.Host}
		if (r.Method == http.MethodGet || r.Method == http.MethodHead) && webapp.IsLoopback(at.Hostname()) &&
			!strings.EqualFold(at.Hostname(), base.Hostname()) && at.Port() == base.Port() {
			http.Redirect(w, r, base.Scheme+"://"+base.Host+r.URL.RequestURI(), http.StatusFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// secure sets the security headers of all responses. msauth's pages replace the
// Content-Security-Policy by a stricter one.
func (a *app) secure(next http.Handler) http.Handler {
	policy := "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' " + a.set.formTargets() +
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
