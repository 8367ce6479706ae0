package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"example.com/msauth"
	"example.com/msauth/graph"
)

const (
	maxFile = 250 << 30 // bytes of a file in OneDrive

	// What is read of a refused upload all the same: browsers differ in whether they
	// read an answer while they are sending.
	maxDrain  = 32 << 20
	drainTime = 5 * time.Second
)

var (
	errNoFile    = errors.New("no file was chosen")
	errLargeFile = errors.New("the file is too large")

	// errManyUploads means that an account sends more files at once than it may.
	errManyUploads = errors.New("too many uploads at once")

	// errOtherAccount means that somebody else has signed in since the upload page
	// was opened, as in another tab. The file would go to another OneDrive.
	errOtherAccount = errors.New("the page was opened by another account")
)

// conflicts are the answers to what happens if there is a file of the name.
var conflicts = map[string]graph.Conflict{"": graph.Fail, "ask": graph.Fail, "rename": graph.Rename, "replace": graph.Replace}

// uploadPage has the form. Its script sends files to OneDrive without the detour
// through this app where the browser may do that, for which the policy of the page
// names OneDrive's hosts.
func (a *app) uploadPage(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	return a.showUpload(w, r, http.StatusOK, uploadView{In: q.Get("in"), Conflict: "ask"})
}

// An uploadView is the data of the upload page.
type uploadView struct {
	In       string // the ID of the folder
	Name     string // of the folder
	Back     string
	Conflict string
	Account  string // whose OneDrive the page is about
	Problem  string // why a file was not stored
}

func (a *app) showUpload(w http.ResponseWriter, r *http.Request, status int, view uploadView) error {
	f, err := a.drive(r)
	if err != nil {
		return err
	}
	view.Name, view.Back, view.Account = "OneDrive", pageOf(view.In), accountOf(r)
	if view.In != "" {
		it, err := f.Stat(r.Context(), graph.Ref{ID: view.In}, graph.Query{Select: itemFields})
		if err != nil {
			return err
		}
		if it.Folder == nil {
			return errNotFound
		}
		view.Name = it.Name
	}
	w.Header().Set("Content-Security-Policy", policy(a.set.UploadHosts...))
	return a.render(w, r, status, "upload", "Upload", view)
}

// upload stores the file of the form. The bytes go on to OneDrive as they come: no
// more than a chunk of them is in memory, whatever the size of the file.
func (a *app) upload(w http.ResponseWriter, r *http.Request) error {
	f, err := a.drive(r)
	if err != nil {
		return err
	}
	if !a.passing.enter(accountOf(r)) {
		return a.notStored(w, r, nil, errManyUploads)
	}
	defer a.passing.leave(accountOf(r))
	control, body := http.NewResponseController(w), r.Body
	r.Body = io.NopCloser(patientReader{body, control})
	it, form, err := a.storeForm(r, f)
	if err != nil {
		_ = control.SetReadDeadline(time.Now().Add(drainTime))
		_, _ = io.CopyN(io.Discard, body, maxDrain)
		_ = control.SetReadDeadline(time.Now().Add(patience)) // if it passes, r.Context() ends
		return a.notStored(w, r, form, err)
	}
	if isScript(r) {
		writeJSON(w, http.StatusOK, "application/json", map[string]string{"name": it.Name})
		return nil
	}
	return a.after(w, r, pageOf(form.fields["in"]), notice{Done: "uploaded", Name: it.Name})
}

// passing counts the uploads that pass through this app, by account. Each holds a
// chunk in memory, for as long as its browser likes.
type passing struct {
	mu sync.Mutex
	n  map[string]int
}

// maxPassing is how many an account may have at once: several pages' worth.
const maxPassing = 8

// enter reports whether an account may have another one, which then has to leave.
func (p *passing) enter(account string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n[account] >= maxPassing {
		return false
	}
	if p.n == nil {
		p.n = map[string]int{}
	}
	p.n[account]++
	return true
}

func (p *passing) leave(account string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n[account]--; p.n[account] == 0 {
		delete(p.n, account)
	}
}

// storeForm stores the file of a form. The form is nil if it could not be read.
func (a *app) storeForm(r *http.Request, f *graph.Files) (it graph.DriveItem, form *uploadForm, err error) {
	if form, err = readUpload(r); err != nil {
		return it, nil, err
	}
	conflict, ok := conflicts[form.fields["conflict"]]
	switch {
	case !ok:
		return it, form, errBadForm
	case form.fields["account"] != accountOf(r):
		return it, form, errOtherAccount
	case form.name == "":
		return it, form, errNoFile
	case form.size > maxFile:
		return it, form, errLargeFile
	}
	if err := graph.CheckName(form.name); err != nil {
		return it, form, err
	}
	// Not r.Context(): when the browser goes away, reading the content fails, and the
	// upload session is cancelled. Left open, it could keep the name taken.
	ctx := context.WithoutCancel(r.Context())
	at := graph.Ref{ID: form.fields["in"], Path: form.name}
	it, err = f.Upload(ctx, at, form.content, form.size, graph.UploadOptions{Conflict: conflict})
	if invalid, ok := errors.AsType[*graph.InvalidError](err); ok && invalid.Field == "size" {
		err = errors.Join(errFrame, err) // something follows the file, or is missing
	}
	return it, form, err
}

// notStored answers an upload that has failed: with its page, where choosing
// something else there helps.
func (a *app) notStored(w http.ResponseWriter, r *http.Request, form *uploadForm, err error) error {
	if isScript(r) {
		a.problem(w, r, err)
		return nil
	}
	if form == nil {
		return err
	}
	view, status := uploadView{In: form.fields["in"], Conflict: cmp.Or(form.fields["conflict"], "ask")}, http.StatusBadRequest
	invalid, _ := errors.AsType[*graph.InvalidError](err)
	switch {
	case errors.Is(err, fs.ErrExist):
		status, view.Conflict = http.StatusConflict, "rename"
		view.Problem = "There is already an item called “" + form.name + "” in the folder. Choose the file again, and what to do."
	case invalid != nil && invalid.Field == "name":
		view.Problem = "The name “" + form.name + "” " + invalid.Reason + ". Rename the file and choose it again."
	case errors.Is(err, errNoFile):
		view.Problem = "Choose a file."
	default:
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.set.AnswerTime)
	defer cancel()
	return a.showUpload(w, r.WithContext(ctx), status, view)
}

// accountOf returns the key of the account that is signed in.
func accountOf(r *http.Request) string {
	s, ok := msauth.FromContext(r.Context())
	if !ok {
		return ""
	}
	return s.User.Key()
}

// isScript reports whether the page's script has sent a request, which wants JSON.
func isScript(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "application/json")
}
