package main

import (
	"cmp"
	"embed"
	"html/template"
	"net/http"
	"path"
	"strings"
	"time"
	"unicode"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
	"example.com/msauth/graph"
)

//go:embed templates static
var files embed.FS

var pages = webapp.NewPages(files, template.FuncMap{
	"device": deviceOf, "hours": hours, "initials": initials, "kind": kindOf, "moment": newMoment, "name": nameOf,
	"picture": isPicture, "place": placeOf,
}, "home", "profile", "files", "name", "move", "delete", "share", "preview", "upload", "notes", "calendar", "session", "sessions", "ended", "security", "admin")

// defaultPhoto is the picture of people who have none: their initials.
var defaultPhoto = template.Must(template.ParseFS(files, "templates/photo.svg"))

// view is the data of every page.
type view struct {
	Page, Title string
	Session     *msauth.Session // nil when nobody is signed in
	Scopes      []string        // that the app requests
	LoginURL    string
	SwitchURL   string
	LogoutURL   string
	ScriptURL   string // of msauth.js
	Languages   []language
	Here        string // URL of this page, for "Try again"
	Local       bool   // the app runs on the local stand-in for Microsoft
	Data        any    // what this page shows
}

func (a *app) render(w http.ResponseWriter, r *http.Request, status int, page, title string, data any) error {
	session, _ := msauth.FromContext(r.Context())
	return a.renderFor(w, r, session, status, page, title, data)
}

// renderFor writes a page for a session, nil if nobody is signed in any more.
func (a *app) renderFor(w http.ResponseWriter, r *http.Request, session *msauth.Session, status int, page, title string, data any) error {
	section, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	here := r.URL.RequestURI()
	if r.Method != http.MethodGet && r.Method != http.MethodHead { // a form is not sent again
		here = "/" + section
	}
	return pages.Write(w, status, page, view{
		Page:    page,
		Title:   title,
		Session: session,
		Scopes:  a.set.Auth.Scopes,
		// Signing in leads back to this page. Another account cannot open the same
		// file or folder, so switching accounts leads to the top of the section.
		LoginURL:  a.auth.LoginURL(msauth.LoginOptions{ReturnTo: here}),
		SwitchURL: a.auth.LoginURL(msauth.LoginOptions{ReturnTo: "/" + section, Prompt: "select_account"}),
		LogoutURL: a.auth.LogoutURL(),
		ScriptURL: a.auth.ScriptURL(),
		Languages: languagesFor(r),
		Here:      here,
		Local:     a.set.Local != "",
		Data:      data,
	})
}

// nameOf returns the name to show for a user.
func nameOf(u msauth.User) string {
	for _, name := range []string{u.Name, u.Username, u.Email} {
		if name != "" {
			return name
		}
	}
	return "Somebody"
}

// deviceOf returns words for where a session is: "Firefox on Windows".
func deviceOf(s msauth.UserSession) string {
	browser := cmp.Or(s.Browser, "Unknown browser")
	if s.Platform == "" {
		return browser
	}
	return browser + " on " + s.Platform
}

// initials returns the first letters of the first and the last word.
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

// kindOf returns the name of an item's icon, by its media type and file name.
func kindOf(it graph.DriveItem) string {
	if it.Folder != nil {
		return "folder"
	}
	if it.File == nil {
		return "other" // a notebook, or a shortcut to another user's folder
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

// A moment is a time on the session page.
type moment struct {
	ID, Label string
	Time      time.Time
}

func newMoment(id, label string, t time.Time) moment { return moment{id, label, t} }

// hours formats the part of an appointment that is on a day: "09:00 – 11:00".
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
