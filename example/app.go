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
	"example.com/msauth/example/internal/msgraph"
	"example.com/msauth/example/internal/webapp"
)

type app struct {
	auth *msauth.Middleware
	set  *settings
	log  *slog.Logger
}

// newApp returns the handler of the whole app.
func newApp(auth *msauth.Middleware, set *settings, log *slog.Logger) http.Handler {
	a := &app{auth: auth, set: set, log: log}
	mux := http.NewServeMux()

	// To sign people in, mount one handler (login, callback, logout, signed-out)
	// ...
	mux.Handle(set.Mount, auth) // "/auth/"

	// ... and wrap the app's own handlers: in Load where anybody may come, in
	// Require where people must be signed in.
	mux.Handle("GET /{$}", auth.Load(a.page(a.home)))
	mux.Handle("GET /profile", auth.Require(a.page(a.profile)))
	mux.Handle("GET /profile/photo", auth.Require(a.page(a.photo)))
	mux.Handle("GET /files", auth.Require(a.page(a.files)))
	mux.Handle("GET /files/{id}", auth.Require(a.page(a.files)))
	mux.Handle("GET /files/{id}/content", auth.Require(a.page(a.download)))
	mux.Handle("GET /session", auth.Require(a.page(a.session)))
	mux.Handle("GET /sessions", auth.Require(a.page(a.sessions)))
	mux.Handle("POST /sessions/end", a.sameOrigin(auth.Require(a.page(a.endSession))))
	mux.Handle("POST /sessions/end-all", a.sameOrigin(auth.Require(a.page(a.endSessions))))
	mux.Handle("GET /api/me", auth.Require(a.api(a.apiMe)))

	// Some require more than a sign-in: a permission, requested when it is first
	// needed; a password entered a moment ago; a role. The same goes for the
	// endpoints that scripts call.
	calendar, fresh, admin := auth.RequireScopes("Calendars.Read"), auth.RequireFreshSignIn(freshness), auth.RequireRole(adminRole)
	if set.Graph == "" {
		calendar = auth.Require // other providers do not know the scope
	}
	mux.Handle("GET /calendar", calendar(a.page(a.calendar)))
	mux.Handle("GET /api/calendar", calendar(a.api(a.apiCalendar)))
	mux.Handle("GET /security", fresh(a.page(a.security)))
	mux.Handle("GET /api/security", fresh(a.api(a.apiSecurity)))
	mux.Handle("GET /admin", admin(a.page(a.admin)))
	mux.Handle("GET /api/admin", admin(a.api(a.apiAdmin)))
	if set.Mount != "/" {
		mux.Handle("/", auth.Load(a.page(a.notFound)))
	}

	mux.HandleFunc("GET /static/{name}", pages.ServeStatic)
	mux.Handle("GET /favicon.ico", http.RedirectHandler("/static/logo.svg", http.StatusFound))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", a.ready)
	return webapp.Logged(log, secure(mux))
}

// home is the home page, for everybody.
func (a *app) home(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, http.StatusOK, "home", "", nil)
}

// me reads the user's profile from Graph or, at a provider without Graph, from
// the session.
func (a *app) me(r *http.Request) (person, error) {
	if a.set.Graph == "" {
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

// photo serves the user's picture, or one with their initials.
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
	return defaultPhoto.Execute(w, initials(nameOf(s.User)))
}

// files shows a folder: the root of the drive, or the one with the ID of the path.
func (a *app) files(w http.ResponseWriter, r *http.Request) error {
	ctx, g, id := r.Context(), a.graph(r), r.PathValue("id")
	var data struct {
		Folder item
		Trail  []item
		Items  []item
		Paged  bool   // not the first page
		Next   string // query of the next page; empty on the last one
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

// download streams a file. Its content is not trusted: the browser is told to
// save it and, if it displays it anyway, to run no scripts.
func (a *app) download(w http.ResponseWriter, r *http.Request) error {
	const timeout = 30 * time.Minute // instead of the server's WriteTimeout
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	g, id := a.graph(r), r.PathValue("id")

	it, err := g.item(ctx, id)
	if err != nil {
		return err
	}
	if it.File == nil {
		return &msgraph.Error{Status: http.StatusNotFound, Message: "not a file"}
	}
	byteRange := r.Header.Get("Range")
	if r.Header.Get("If-Range") != "" {
		byteRange = "" // the app sends no validators, so the client's is not from here
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
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(timeout))
	w.WriteHeader(res.StatusCode)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(w, res.Body); err != nil {
		panic(http.ErrAbortHandler) // cuts the connection, so that the client notices that the file is incomplete
	}
	return nil
}

// attachment returns a Content-Disposition header for a file name (RFC 6266
// section 5): the name in UTF-8, and an ASCII version for old programs.
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

// session shows the session, without a request to Microsoft.
func (a *app) session(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, http.StatusOK, "session", "Session", nil)
}

// apiMe is for scripts. If nobody is signed in, Require answers with status 401
// and problem+json.
func (a *app) apiMe(r *http.Request) (any, error) { return a.me(r) }

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// ready reports, for monitoring, whether Microsoft can be reached and accepts this
// app. Do not use it as a load balancer's health check: people who are signed in
// are served even while it fails. For that there is /healthz.
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

// secure sets the security headers of all responses. msauth's pages and downloads
// replace the Content-Security-Policy by a stricter one.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "+
			"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		// Not no-referrer: msauth takes the page that a script's 401 leads back to
		// from the Referer.
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}
