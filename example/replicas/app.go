package main

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"io"
	"log/slog"
	"net/http"

	"example.com/msauth"
)

type app struct {
	auth     *msauth.Middleware
	metrics  *metrics
	set      *settings
	log      *slog.Logger
	commands *commands // nil but in tests
}

// handler is the whole site.
func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(a.set.Mount, a.auth) // "/auth/"
	page := a.metrics.Pages(http.HandlerFunc(a.page))
	mux.Handle("GET /{$}", a.auth.Load(page))
	mux.Handle("GET /me", a.auth.Require(page))
	mux.Handle("POST /sign-out-everywhere", a.auth.Require(http.HandlerFunc(a.signOutEverywhere)))
	mux.HandleFunc("GET /healthz", healthz)
	if a.commands != nil {
		a.debug(mux)
	}
	// Other sites must not be able to send the form.
	return http.NewCrossOriginProtection().Handler(mux)
}

// healthz is for the load balancer. It says that the server runs, and nothing of
// Redis or Microsoft: if these fail they do so for all servers, which serve the people
// who are signed in nevertheless. auth.Ready and auth.Stats are for alerts.
func healthz(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }

// signOutEverywhere ends all sessions of the person, in all browsers. An administrator
// would do it for others, by their User.Key.
func (a *app) signOutEverywhere(w http.ResponseWriter, r *http.Request) {
	s, _ := msauth.FromContext(r.Context())
	err := a.auth.SignOutUser(r.Context(), s.User.Key())
	switch {
	case errors.Is(err, msauth.ErrSharedUnavailable):
		// It is passed on when Redis is back. Until then the other servers accept
		// the sessions.
		a.log.WarnContext(r.Context(), "signed out at this server only", "err", err)
		a.write(w, r, http.StatusAccepted, nil, "You are signed out at this server, and soon at the others.")
	case err != nil:
		a.log.ErrorContext(r.Context(), "not signed out", "err", err)
		http.Error(w, "You could not be signed out. Try again.", http.StatusInternalServerError)
	default:
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

//go:embed templates/page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page shows who is signed in, and which server answers.
func (a *app) page(w http.ResponseWriter, r *http.Request) {
	var person *msauth.User
	if s, ok := msauth.FromContext(r.Context()); ok {
		person = &s.User
	}
	a.write(w, r, http.StatusOK, person, "")
}

func (a *app) write(w http.ResponseWriter, r *http.Request, status int, person *msauth.User, note string) {
	var b bytes.Buffer // so that a template that fails does not leave half a page
	err := pageTemplate.Execute(&b, struct {
		Instance, Note, LoginURL, LogoutURL string
		Person                              *msauth.User
	}{a.set.instance, note, a.auth.LoginURL(msauth.LoginOptions{}), a.auth.LogoutURL(), person})
	if err != nil {
		a.log.ErrorContext(r.Context(), "page failed", "err", err)
		http.Error(w, "The page failed.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w)
}
