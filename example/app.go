package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/msauth"
)

type app struct {
	auth *msauth.Middleware
	set  *settings
	log  *slog.Logger
}

// newApp is the whole app as a handler.
func newApp(auth *msauth.Middleware, set *settings, log *slog.Logger) http.Handler {
	a := &app{auth: auth, set: set, log: log}
	mux := http.NewServeMux()

	// All that signing in takes: one handler mounted (login, callback, logout,
	// signed-out) ...
	mux.Handle(set.mount, auth) // "/auth/"

	// ... and the app's own handlers wrapped, by Load where visitors are
	// welcome and by Require where only people who are signed in are.
	mux.Handle("GET /{$}", auth.Load(a.page(a.home)))
	mux.Handle("GET /profile", auth.Require(a.page(a.profile)))
	mux.Handle("GET /profile/photo", auth.Require(a.page(a.photo)))
	mux.Handle("GET /files", auth.Require(a.page(a.files)))
	mux.Handle("GET /files/{id}", auth.Require(a.page(a.files)))
	mux.Handle("GET /files/{id}/content", auth.Require(a.page(a.download)))
	mux.Handle("GET /session", auth.Require(a.page(a.session)))
	mux.Handle("GET /api/me", auth.Require(a.api(a.apiMe)))

	// Some take more than a sign-in: a permission that is asked for where it is
	// first needed, a password that was entered a moment ago, a role. Scripts
	// need the same as pages.
	calendar, fresh, admin := auth.RequireScopes("Calendars.Read"), auth.RequireFreshSignIn(freshness), auth.RequireRole(adminRole)
	if set.graph == "" {
		calendar = auth.Require // at other providers the scope means nothing
	}
	mux.Handle("GET /calendar", calendar(a.page(a.calendar)))
	mux.Handle("GET /api/calendar", calendar(a.api(a.apiCalendar)))
	mux.Handle("GET /security", fresh(a.page(a.security)))
	mux.Handle("GET /api/security", fresh(a.api(a.apiSecurity)))
	mux.Handle("GET /admin", admin(a.page(a.admin)))
	mux.Handle("GET /api/admin", admin(a.api(a.apiAdmin)))
	if set.mount != "/" {
		mux.Handle("/", auth.Load(a.page(a.notFound)))
	}

	mux.Handle("GET /static/{name}", staticFiles())
	mux.Handle("GET /favicon.ico", http.RedirectHandler("/static/logo.svg", http.StatusFound))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", a.ready)
	return a.logged(secure(mux))
}

// home greets everybody, and by name those who are signed in.
func (a *app) home(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, http.StatusOK, "home", "", nil)
}

// me asks Graph for the person's entry. At a provider without Graph it is what
// the session knows.
func (a *app) me(r *http.Request) (person, error) {
	if a.set.graph == "" {
		s, _ := msauth.FromContext(r.Context())
		return person{DisplayName: nameOf(s.User), Mail: s.User.Email, UserPrincipalName: s.User.Username}, nil
	}
	return a.graph(r).me(r.Context())
}

func (a *app) profile(w http.ResponseWriter, r *http.Request) error {
	me, err := a.me(r)
	if err != nil {
		return err
	}
	return a.render(w, r, http.StatusOK, "profile", "Profile", me)
}

// photo passes the person's picture on, or draws their initials.
func (a *app) photo(w http.ResponseWriter, r *http.Request) error {
	s, _ := msauth.FromContext(r.Context())
	res, err := a.graph(r).photo(r.Context())
	if err == nil {
		defer res.Body.Close()
		switch kind := res.Header.Get("Content-Type"); kind {
		case "image/jpeg", "image/png", "image/gif", "image/webp":
			w.Header().Set("Content-Type", kind)
			io.Copy(w, io.LimitReader(res.Body, 8<<20))
			return nil
		}
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	return templates["photo"].Execute(w, initials(nameOf(s.User)))
}

// files shows a folder: the root of the drive, or the one with the id.
func (a *app) files(w http.ResponseWriter, r *http.Request) error {
	ctx, g, id := r.Context(), a.graph(r), r.PathValue("id")
	var data struct {
		Folder item
		Trail  []item
		Items  []item
		Paged  bool   // this is not the first page
		Next   string // query of the next page
		Quota  quota
	}
	query := r.URL.Query().Get("next")
	data.Paged = query != ""
	title := "Files"
	var err error
	if id == "" {
		if data.Quota, err = g.quota(ctx); err != nil {
			return err
		}
	} else {
		if data.Folder, err = g.item(ctx, id); err != nil {
			return err
		}
		if data.Folder.Folder == nil { // a file has no page of its own
			http.Redirect(w, r, "/files/"+url.PathEscape(id)+"/content", http.StatusSeeOther)
			return nil
		}
		if data.Trail, err = g.trail(ctx, data.Folder); err != nil {
			return err
		}
		title = data.Folder.Name
	}
	if data.Items, data.Next, err = g.children(ctx, id, query); err != nil {
		return err
	}
	return a.render(w, r, http.StatusOK, "files", title, data)
}

// download streams a file. The bytes are somebody's: the browser is told to
// save them and, should it show them after all, to run nothing.
func (a *app) download(w http.ResponseWriter, r *http.Request) error {
	const patience = 30 * time.Minute // in place of the server's WriteTimeout
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	g, id := a.graph(r), r.PathValue("id")

	it, err := g.item(ctx, id)
	if err != nil {
		return err
	}
	if it.File == nil {
		return &graphError{Status: http.StatusNotFound, Message: "not a file"}
	}
	byteRange := r.Header.Get("Range")
	if r.Header.Get("If-Range") != "" {
		byteRange = "" // we give no validators, so this cannot be what the client has
	}
	res, err := g.content(ctx, id, byteRange)
	if err != nil {
		return err
	}
	defer res.Body.Close()

	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	if _, _, err := mime.ParseMediaType(it.File.MimeType); err == nil {
		h.Set("Content-Type", it.File.MimeType)
	}
	h.Set("Content-Disposition", attachment(it.Name))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	for _, name := range []string{"Content-Length", "Content-Range", "Accept-Ranges"} {
		if value := res.Header.Get(name); value != "" {
			h.Set(name, value)
		}
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience))
	w.WriteHeader(res.StatusCode)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(w, res.Body); err != nil {
		panic(http.ErrAbortHandler) // cut the connection: half a file must not pass for a whole one
	}
	return nil
}

// attachment is a Content-Disposition with a file name in any script (RFC 6266
// section 5): the name in UTF-8, and one in ASCII for old programs.
func attachment(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"%\`, r) {
			return '_'
		}
		return r
	}, name)
	encoded := strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	return fmt.Sprintf(`attachment; filename="%s"; filename*=UTF-8''%s`, plain, encoded)
}

// session shows what the middleware knows, without asking Microsoft.
func (a *app) session(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, http.StatusOK, "session", "Session", nil)
}

// apiMe is for scripts. Signed out, a script gets status 401 and problem+json
// from Require; nothing here has to know.
func (a *app) apiMe(r *http.Request) (any, error) { return a.me(r) }

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// ready is for an alert: is Microsoft there, and does it accept this app? No load
// balancer should act on it: people who are signed in are served all the same.
// Whether the process runs at all is what /healthz tells.
func (a *app) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if err := a.auth.Ready(ctx); err != nil {
		a.log.Warn("not ready", "error", err)
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ready\n")
}

// secure sets the headers of the whole app. The pages of msauth and downloads
// replace the policy by stricter ones of their own.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "+
			"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		// Not no-referrer: a script's 401 names the page to come back to,
		// which msauth learns from the Referer.
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// logged writes a line for each request. No query strings: that of the
// callback holds an authorization code.
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
