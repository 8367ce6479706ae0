package webapp

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"time"
)

//go:embed templates static
var shared embed.FS

// Pages are the pages of an app and the static files that they use.
type Pages struct {
	pages  map[string]*template.Template
	static map[string][]byte
}

// NewPages parses the pages, which are the files templates/NAME.html of an app,
// and the page "failure". Each is rendered in a layout, for which the app's
// templates/parts.html defines the templates "site" (its name), "stand-in" (a note
// shown on the local stand-in for Microsoft) and "bar" (the right part of the
// header). Static files are those below static, and those of this package.
//
// Besides the functions given, templates have "ago", "bytes" and "static", which
// returns the URL of a static file.
func NewPages(files fs.FS, funcs template.FuncMap, names ...string) *Pages {
	return NewPagesOf(files, files, funcs, names...)
}

// NewPagesOf is NewPages for an app that shares parts.html and static files with
// others: those in common. Its own parts.html and static files come in addition.
func NewPagesOf(common, files fs.FS, funcs template.FuncMap, names ...string) *Pages {
	p := &Pages{pages: map[string]*template.Template{}, static: map[string][]byte{}}
	for _, fsys := range []fs.FS{shared, common, files} {
		must(fs.WalkDir(fsys, "static", func(path string, d fs.DirEntry, err error) error {
			if path == "static" && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			p.static[d.Name()], err = fs.ReadFile(fsys, path)
			return err
		}))
	}
	all := template.FuncMap{"ago": Ago, "bytes": Bytes, "static": p.url}
	maps.Copy(all, funcs)
	layout := template.Must(template.New("layout.html").Funcs(all).ParseFS(shared, "templates/layout.html"))
	template.Must(layout.ParseFS(common, "templates/parts.html"))
	template.Must(layout.ParseFS(files, "templates/parts.html"))
	p.pages["failure"] = template.Must(template.Must(layout.Clone()).ParseFS(shared, "templates/failure.html"))
	for _, name := range names {
		p.pages[name] = template.Must(template.Must(layout.Clone()).ParseFS(files, "templates/"+name+".html"))
	}
	return p
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Write writes a page. The view is a struct with at least the fields Page, Title,
// Here, Local and Data. An error means that nothing was written.
func (p *Pages) Write(w http.ResponseWriter, status int, page string, view any) error {
	var b bytes.Buffer // so that a template that fails does not leave half a page
	if err := p.pages[page].Execute(&b, view); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w)
	return nil
}

// url returns the URL of a static file. It changes with the content, because
// browsers cache the file.
func (p *Pages) url(name string) (string, error) {
	b, ok := p.static[name]
	if !ok {
		return "", fmt.Errorf("no static file %s", name)
	}
	sum := sha256.Sum256(b)
	return "/static/" + name + "?v=" + hex.EncodeToString(sum[:6]), nil
}

// ServeStatic serves the static files, for the pattern "GET /static/{name}".
func (p *Pages) ServeStatic(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	b, ok := p.static[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=86400")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
}

// A Failure is the data of the page "failure": what went wrong and what to do
// about it, in the app's own words. The error itself goes to the log.
type Failure struct {
	Status      int
	Title, Text string
	Retry       bool          // offer to try again, at the view's Here
	RetryAfter  time.Duration // not before this time has passed; 0 if unknown
	ID          string        // also in the log
}

// Log gives the failure an ID and logs the error.
func (f *Failure) Log(log *slog.Logger, r *http.Request, err error) {
	f.ID = rand.Text()[:8]
	level := slog.LevelInfo
	if f.Status >= 500 && r.Context().Err() == nil { // the client is still waiting
		level = slog.LevelWarn
	}
	log.Log(r.Context(), level, "request failed", "id", f.ID, "path", r.URL.Path, "status", f.Status, "error", err)
}

// Logged logs each request, without the query: that of the callback contains an
// authorization code.
func Logged(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			log.Info("request", "method", r.Method, "path", r.URL.Path, "status", sw.status,
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

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
