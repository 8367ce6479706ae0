package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/msauth"
)

//go:embed templates
var templateFS embed.FS

//go:embed static
var staticFS embed.FS

// templates are the pages, each within the layout.
var templates = func() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(template.FuncMap{
		"ago": ago, "bytes": formatBytes, "every": every, "static": staticURL, "took": took,
	}).ParseFS(templateFS, "templates/layout.html", "templates/parts.html"))
	pages := map[string]*template.Template{}
	for _, name := range []string{"home", "sign-up", "sign-in", "settings", "digests", "failure"} {
		pages[name] = template.Must(template.Must(layout.Clone()).ParseFS(templateFS, "templates/"+name+".html"))
	}
	return pages
}()

// view is what every page gets.
type view struct {
	Page, Title string
	Person      *person // nil when nobody is signed in
	Every       time.Duration
	Here        string // this page, for "try again"
	Local       bool   // runs on the local stand-in for Microsoft
	Data        any    // of the page itself
}

func (a *app) render(w http.ResponseWriter, r *http.Request, status int, page, title string, data any) error {
	v := view{
		Page: page, Title: title, Person: personIn(r.Context()), Every: a.set.every,
		Here: "/", Local: a.set.local != "", Data: data,
	}
	if r.Method == http.MethodGet {
		v.Here = r.URL.RequestURI()
	}
	var b bytes.Buffer // a template that fails half way must not leave half a page
	if err := templates[page].Execute(&b, v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w)
	return nil
}

// staticURL names an asset so that a new version has a new URL.
func staticURL(name string) (string, error) {
	b, err := fs.ReadFile(staticFS, "static/"+name)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return "/static/" + name + "?v=" + hex.EncodeToString(sum[:6]), nil
}

func staticFiles() http.Handler {
	files := http.FileServerFS(staticFS)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=86400")
		files.ServeHTTP(w, r)
	})
}

// nameOf is what to call an account: names can be those of many.
func nameOf(u msauth.User) string {
	id := cmp.Or(u.Username, u.Email)
	if id == "" || u.Name == "" || id == u.Name {
		return cmp.Or(u.Name, id, "somebody without a name")
	}
	return u.Name + " (" + id + ")"
}

func formatBytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	size, unit := float64(n)/1024, 0
	for size >= 1024 && unit < 4 {
		size, unit = size/1024, unit+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", size), ".0") + " " + []string{"KB", "MB", "GB", "TB", "PB"}[unit]
}

// every is a period in words: "minute", "2 hours", "1.5 seconds".
func every(d time.Duration) string {
	unit, name := time.Second, "second"
	switch {
	case d%time.Hour == 0:
		unit, name = time.Hour, "hour"
	case d%time.Minute == 0:
		unit, name = time.Minute, "minute"
	}
	if d == unit {
		return name
	}
	return strconv.FormatFloat(float64(d)/float64(unit), 'f', -1, 64) + " " + name + "s"
}

// took is how long a run lasted.
func took(r run) string {
	if r.Ended.IsZero() {
		return ""
	}
	return r.Ended.Sub(r.Started).Round(10 * time.Millisecond).String()
}

// ago says how far a time is from now: "in 58 seconds", "3 days ago".
func ago(t time.Time) string {
	d := time.Until(t)
	past := d < 0
	d = d.Abs()
	n, unit := int(d.Round(time.Second)/time.Second), "second"
	switch {
	case d < time.Second:
		return "now"
	case d >= 48*time.Hour:
		n, unit = int(d.Round(24*time.Hour)/(24*time.Hour)), "day"
	case d >= 2*time.Hour:
		n, unit = int(d.Round(time.Hour)/time.Hour), "hour"
	case d >= 2*time.Minute:
		n, unit = int(d.Round(time.Minute)/time.Minute), "minute"
	}
	if n != 1 {
		unit += "s"
	}
	if past {
		return fmt.Sprintf("%d %s ago", n, unit)
	}
	return fmt.Sprintf("in %d %s", n, unit)
}
