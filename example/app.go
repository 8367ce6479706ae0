package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
	"example.com/msauth/graph"
)

type app struct {
	auth *msauth.Middleware
	set  *settings
	log  *slog.Logger

	uploads uploads
	passing passing
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
	a.fileRoutes(mux)
	a.noteRoutes(mux)
	mux.Handle("POST /language", a.sameOrigin(http.HandlerFunc(chooseLanguage)))
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
func (a *app) me(r *http.Request) (graph.User, error) {
	if a.set.Graph == "" {
		s, _ := msauth.FromContext(r.Context())
		return graph.User{DisplayName: nameOf(s.User), Mail: s.User.Email, UserPrincipalName: s.User.Username}, nil
	}
	return graph.Get[graph.User](r.Context(), a.graph(r), "me")
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
	if a.set.Graph != "" {
		picture, err := a.graph(r).Photo(r.Context(), "me", 0)
		if err == nil {
			defer picture.Close()
			if sendPicture(w, picture) {
				return nil
			}
		}
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	return defaultPhoto.Execute(w, initials(nameOf(s.User)))
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

// secure sets the security headers of all responses. msauth's pages, downloads and
// the upload page replace the Content-Security-Policy.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy())
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		// Not no-referrer: msauth takes the page that a script's 401 leads back to
		// from the Referer.
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// policy returns the Content-Security-Policy of a page whose scripts may call this
// app and the hosts given.
func policy(hosts ...string) string {
	return "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
		"connect-src " + strings.Join(append([]string{"'self'"}, hosts...), " ") + "; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}
