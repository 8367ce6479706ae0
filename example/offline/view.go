package main

import (
	"cmp"
	"embed"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
)

//go:embed templates static
var files embed.FS

var pages = webapp.NewPages(files, template.FuncMap{"every": every, "took": took},
	"home", "sign-up", "sign-in", "settings", "digests", "people", "leaving", "left")

// view is the data of every page.
type view struct {
	Page, Title string
	Person      *person // nil when nobody is signed in
	Every       time.Duration
	Here        string // URL of this page, for "Try again"
	Local       bool   // the app runs on the local stand-in for Microsoft
	Data        any    // what this page shows
}

func (a *app) render(w http.ResponseWriter, r *http.Request, status int, page, title string, data any) error {
	here := "/"
	if r.Method == http.MethodGet {
		here = r.URL.RequestURI()
	}
	return pages.Write(w, status, page, view{
		Page: page, Title: title, Person: personIn(r.Context()), Every: a.set.every,
		Here: here, Local: a.set.Local != "", Data: data,
	})
}

// nameOf returns the name to show for an account, with its address: names are not
// unique.
func nameOf(u msauth.User) string {
	id := cmp.Or(u.Username, u.Email)
	if id == "" || u.Name == "" || id == u.Name {
		return cmp.Or(u.Name, id, "an account without a name")
	}
	return u.Name + " (" + id + ")"
}

// every formats the time between digests: "minute", "2 hours", "1.5 seconds".
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

// took formats how long a run took.
func took(r run) string {
	if r.Ended.IsZero() {
		return ""
	}
	return r.Ended.Sub(r.Started).Round(10 * time.Millisecond).String()
}
