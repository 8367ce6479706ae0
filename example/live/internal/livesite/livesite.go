// Package livesite holds what the samples below example/live have in common and
// would have without msauth: settings from the environment, the start of the local
// stand-in for Live Connect, and what their pages look like.
package livesite

import (
	"context"
	"embed"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
	"example.com/msauth/msauthtest"
)

//go:embed templates static
var shared embed.FS

// A Program is one of the samples.
type Program struct {
	Name    string // on its pages and in the terminal
	Command string // that starts it
	// Site makes its handler, and the Middleware in it, which is closed at the end.
	Site func(set *Settings, log *slog.Logger) (http.Handler, *msauth.Middleware, error)
}

// Main runs the program and exits.
func (p Program) Main() { webapp.Main(p.Run) }

// Run serves the site until ctx is done.
func (p Program) Run(ctx context.Context, getenv func(string) string, out io.Writer, log *slog.Logger) error {
	set, err := ReadSettings(getenv)
	if err != nil {
		return err
	}
	if set.Auth.ClientID == "" {
		microsoft := msauthtest.NewServer() // on a free port of 127.0.0.1
		defer microsoft.Close()
		set.UseLocal(microsoft)
	}
	set.Auth.Logger = log
	site, auth, err := p.Site(set, log)
	if err != nil {
		return err
	}
	listener, err := webapp.Listen(set.Listen, p.Command)
	if err != nil {
		return err
	}
	set.announce(out, p.Name)
	return webapp.Serve(ctx, listener, webapp.Logged(log, site), auth.Close, out, log)
}

// NewPages parses the pages templates/NAME.html of a sample. Besides the functions
// of package webapp, templates have "moment", for a row in a list of facts.
func NewPages(files fs.FS, names ...string) *webapp.Pages {
	return webapp.NewPagesOf(shared, files, template.FuncMap{"moment": newMoment}, names...)
}

// A moment is a time in a list of facts.
type moment struct {
	ID, Label string
	Time      time.Time
}

func newMoment(id, label string, t time.Time) moment { return moment{id, label, t} }

// A View is the data of every page.
type View struct {
	Page, Title string
	Session     *msauth.Session // nil when nobody is signed in
	User        string          // of the site's own users, who is signed in
	LogoutURL   string
	Here        string // URL of this page, for "Try again"
	Local       bool   // the site runs on the local stand-in
	Data        any    // what this page shows
}

// A Site is what the handlers of a sample begin with.
type Site struct {
	Set   *Settings
	Auth  *msauth.Middleware
	Log   *slog.Logger
	Pages *webapp.Pages
}

// Show writes a page. It adds to the view what all pages have.
func (s *Site) Show(w http.ResponseWriter, r *http.Request, status int, v View) error {
	w.Header().Set("Cache-Control", "no-store") // who is signed in, or has declined, may change
	v.Session, _ = msauth.FromContext(r.Context())
	v.LogoutURL = s.Auth.LogoutURL()
	v.Local = s.Set.Local != ""
	if v.Here = "/"; r.Method == http.MethodGet {
		v.Here = r.URL.RequestURI()
	}
	return s.Pages.Write(w, status, v.Page, v)
}

// Page makes a handler of a function that returns an error if it has written
// nothing.
func (s *Site) Page(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		f := webapp.Failure{Status: http.StatusServiceUnavailable, Retry: true, Title: "This does not work right now",
			Text: "Nothing has changed. Please try again in a moment."}
		f.Log(s.Log, r, err)
		if err := s.Show(w, r, f.Status, View{Page: "failure", Title: f.Title, Data: f}); err != nil {
			http.Error(w, f.Title, f.Status)
		}
	})
}

// Handler returns the handler of the whole site: mux, the static files, and the
// security headers of all responses. formTargets are origins that forms may lead
// to, besides the site. msauth's pages replace the Content-Security-Policy by a
// stricter one.
func (s *Site) Handler(mux *http.ServeMux, formTargets string) http.Handler {
	mux.HandleFunc("GET /static/{name}", s.Pages.ServeStatic)
	mux.Handle("GET /favicon.ico", http.RedirectHandler("/static/logo.svg", http.StatusFound))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok\n") })
	policy := "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
		strings.TrimSpace("form-action 'self' "+formTargets) + "; base-uri 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		// Not no-referrer: msauth takes the page that a script's 401 leads back to
		// from the Referer.
		h.Set("Referrer-Policy", "same-origin")
		mux.ServeHTTP(w, r)
	})
}
