package main

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/msauth/graph"
)

// Notes are text files in the folder "Notes" of the user's OneDrive.
const (
	notesFolder = "Notes"
	maxNote     = 15_000 // bytes: what fits into the page's 5000 characters, in any script
	maxNotes    = 100    // that the page lists
	maxTitle    = 60     // bytes of the first line, which is in the file's name

	noteTime = "2006-01-02 150405 " // at the beginning of a file's name
)

// noteRoutes adds the notes: a page with a form that survives the end of the session, and
// what its script asks for. The permission for changes is asked for before anything is
// typed.
func (a *app) noteRoutes(mux *http.ServeMux) {
	write := a.auth.RequireScopes(writeScope)
	if a.set.Graph == "" {
		write = a.auth.Require // other providers do not know the scope
	}
	mux.Handle("GET /notes", write(a.page(a.notes)))
	mux.Handle("POST /notes", a.sameOrigin(write(a.page(a.addNote))))
	mux.Handle("GET /api/notes/{id}", write(a.api(a.apiNote)))
}

// A notebook is what the page of notes shows.
type notebook struct {
	Notes   []note
	Text    string // that could not be saved
	Problem string
}

// A note is one of the list.
type note struct {
	ID, Title string
	Time      time.Time
}

// noteOf returns the note that is in a file, or reports that it is none.
func noteOf(it graph.DriveItem) (note, bool) {
	title, ok := strings.CutSuffix(it.Name, ".txt")
	n := note{it.ID, title, it.LastModified}
	if len(title) > len(noteTime) {
		if t, err := time.Parse(noteTime, title[:len(noteTime)]); err == nil {
			n.Title, n.Time = title[len(noteTime):], t
		}
	}
	return n, ok && it.File != nil && it.Size <= maxNote
}

func (a *app) notes(w http.ResponseWriter, r *http.Request) error {
	return a.showNotes(w, r, http.StatusOK, notebook{})
}

func (a *app) showNotes(w http.ResponseWriter, r *http.Request, status int, data notebook) error {
	f, err := a.drive(r)
	if err != nil {
		return err
	}
	for it, err := range f.List(r.Context(), graph.Ref{Path: notesFolder}, graph.Query{Select: itemFields, OrderBy: []string{"name desc"}, Top: maxNotes}) {
		if errors.Is(err, fs.ErrNotExist) {
			break // the folder comes with the first note
		}
		if err != nil {
			return err
		}
		if len(data.Notes) == maxNotes {
			break
		}
		if n, ok := noteOf(it); ok {
			data.Notes = append(data.Notes, n)
		}
	}
	return a.render(w, r, status, "notes", "Notes", data)
}

// addNote saves what the form has sent, and leads to the note: by the fragment of the
// address, which a script reads.
func (a *app) addNote(w http.ResponseWriter, r *http.Request) error {
	f, err := a.drive(r)
	if err == nil {
		err = readForm(w, r)
	}
	if err != nil {
		return err
	}
	text := strings.TrimSpace(strings.ReplaceAll(r.PostForm.Get("text"), "\r\n", "\n"))
	problem := ""
	switch {
	case text == "":
		problem = "Write something first."
	case len(text) > maxNote:
		problem = "A note has at most 5000 characters."
	case !utf8.ValidString(text):
		problem = "This is not a text in UTF-8."
	}
	if problem != "" {
		return a.showNotes(w, r, http.StatusBadRequest, notebook{Text: strings.ToValidUTF8(text, "\uFFFD"), Problem: problem})
	}
	if _, err := f.CreateFolder(r.Context(), graph.Ref{}, notesFolder, graph.Fail); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	name := time.Now().UTC().Format(noteTime) + titleOf(text) + ".txt"
	it, err := f.Upload(r.Context(), graph.Ref{Path: notesFolder + "/" + name}, strings.NewReader(text), int64(len(text)), graph.UploadOptions{Conflict: graph.Rename})
	if err != nil {
		return err
	}
	http.Redirect(w, r, "/notes#note/"+it.ID, http.StatusSeeOther)
	return nil
}

// titleOf makes a part of a file name of the first line of a note.
func titleOf(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F || strings.ContainsRune(`"*:<>?/\|#%~&{}`, r) {
			return ' '
		}
		return r
	}, line)
	for len(line) > maxTitle {
		_, size := utf8.DecodeLastRuneInString(line)
		line = line[:len(line)-size]
	}
	if line = strings.Trim(strings.Join(strings.Fields(line), " "), " ."); line == "" {
		return "Note"
	}
	return line
}

// apiNote returns the text of a note, for the script of the page.
func (a *app) apiNote(r *http.Request) (any, error) {
	f, err := a.drive(r)
	if err != nil {
		return nil, err
	}
	it, err := f.Stat(r.Context(), graph.Ref{ID: r.PathValue("id")}, graph.Query{Select: itemFields})
	if err != nil {
		return nil, err
	}
	n, ok := noteOf(it)
	if !ok || placeOf(it) != "OneDrive / "+notesFolder {
		return nil, errNotFound
	}
	content, err := f.Download(r.Context(), graph.Ref{ID: it.ID}, graph.DownloadOptions{})
	if err != nil {
		return nil, err
	}
	defer content.Close()
	text, err := io.ReadAll(io.LimitReader(content, maxNote))
	if err != nil {
		return nil, err
	}
	return map[string]any{"title": n.Title, "text": string(text), "time": n.Time}, nil
}
