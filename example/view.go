package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"net/http"
	"path"
	"strings"
	"time"
	"unicode"

	"example.com/msauth"
)

//go:embed templates
var templateFS embed.FS

//go:embed static
var staticFS embed.FS

// templates are the pages, each within the layout, and the photo of those who
// have none.
var templates = func() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(template.FuncMap{
		"ago": ago, "bytes": formatBytes, "hours": hours, "initials": initials, "kind": kindOf, "moment": newMoment,
		"name": nameOf, "static": staticURL,
	}).ParseFS(templateFS, "templates/layout.html", "templates/icons.html"))
	pages := map[string]*template.Template{
		"photo": template.Must(template.ParseFS(templateFS, "templates/photo.svg")),
	}
	for _, name := range []string{"home", "profile", "files", "calendar", "session", "security", "admin", "failure"} {
		pages[name] = template.Must(template.Must(layout.Clone()).ParseFS(templateFS, "templates/"+name+".html"))
	}
	return pages
}()

// view is what every page gets.
type view struct {
	Page, Title string
	Session     *msauth.Session // nil when nobody is signed in
	Scopes      []string        // asked for
	LoginURL    string
	SwitchURL   string
	LogoutURL   string
	Here        string // this page, for "try again"
	Local       bool   // runs on the local stand-in for Microsoft
	Data        any    // of the page itself
}

func (a *app) render(w http.ResponseWriter, r *http.Request, status int, page, title string, data any) error {
	session, _ := msauth.FromContext(r.Context())
	section, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	v := view{
		Page:    page,
		Title:   title,
		Session: session,
		Scopes:  a.set.auth.Scopes,
		// Back to this page after signing in. Another person has no use for
		// this very file or folder, so they come to the top of the section.
		LoginURL:  a.auth.LoginURL(msauth.LoginOptions{ReturnTo: r.URL.RequestURI()}),
		SwitchURL: a.auth.LoginURL(msauth.LoginOptions{ReturnTo: "/" + section, Prompt: "select_account"}),
		LogoutURL: a.auth.LogoutURL(),
		Here:      r.URL.RequestURI(),
		Local:     a.set.local != "",
		Data:      data,
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

// nameOf is what to call a person.
func nameOf(u msauth.User) string {
	for _, name := range []string{u.Name, u.Username, u.Email} {
		if name != "" {
			return name
		}
	}
	return "Somebody"
}

// initials are at most two letters, of the first and the last word.
func initials(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) })
	switch len(words) {
	case 0:
		return "?"
	case 1:
		return strings.ToUpper(string([]rune(words[0])[:1]))
	}
	return strings.ToUpper(string([]rune(words[0])[:1]) + string([]rune(words[len(words)-1])[:1]))
}

// kindOf names the icon of an item, after its media type and its name.
func kindOf(it item) string {
	if it.Folder != nil {
		return "folder"
	}
	if it.File == nil {
		return "other" // a notebook, or a shortcut to somebody else's folder
	}
	switch class, _, _ := strings.Cut(it.File.MimeType, "/"); class {
	case "image":
		return "image"
	case "audio", "video":
		return "media"
	}
	switch strings.ToLower(path.Ext(it.Name)) {
	case ".csv", ".ods", ".xls", ".xlsm", ".xlsx":
		return "sheet"
	case ".key", ".odp", ".ppt", ".pptx":
		return "slides"
	case ".doc", ".docx", ".md", ".odt", ".pdf", ".rtf", ".txt":
		return "text"
	case ".7z", ".gz", ".rar", ".tar", ".zip":
		return "archive"
	}
	return "file"
}

func formatBytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	size, unit := float64(n)/1024, 0
	for size >= 1024 && unit < 4 {
		size, unit = size/1024, unit+1
	}
	digits := 0
	if size < 10 && size*10 != math.Floor(size)*10 {
		digits = 1
	}
	return fmt.Sprintf("%.*f %s", digits, size, []string{"KB", "MB", "GB", "TB", "PB"}[unit])
}

// A moment is a line of the session page.
type moment struct {
	ID, Label string
	Time      time.Time
}

func newMoment(id, label string, t time.Time) moment { return moment{id, label, t} }

// hours says when on a day an appointment is: "09:00 – 11:00".
func hours(ap appointment, day time.Time) string {
	if ap.AllDay {
		return "All day"
	}
	from, to := ap.Start.Format("15:04"), ap.End.Format("15:04")
	if ap.Start.Before(day) {
		from = ap.Start.Format("2 Jan, 15:04")
	}
	if !ap.End.Before(day.AddDate(0, 0, 1)) {
		to = ap.End.Format("2 Jan, 15:04")
	}
	return from + " – " + to
}

// ago says how far a time is from now: "in 58 minutes", "3 days ago".
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
