package main

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"example.com/msauth"
	"example.com/msauth/graph"
)

// itemOf returns the drive and the item that a page below /files/{id} is about.
func (a *app) itemOf(r *http.Request) (*graph.Files, graph.DriveItem, error) {
	f, err := a.drive(r)
	if err != nil {
		return nil, graph.DriveItem{}, err
	}
	it, err := f.Stat(r.Context(), graph.Ref{ID: r.PathValue("id")}, graph.Query{Select: itemFields})
	if err == nil && it.Root != nil {
		err = errNotFound // nothing can be done to the drive as a whole
	}
	return f, it, err
}

func newFolderForm(in, name string) nameForm {
	return nameForm{
		Heading: "New folder", Action: "/files/new-folder", Submit: "Create", Back: pageOf(in),
		Hidden: []field{{"in", in}}, Name: name,
	}
}

func (a *app) newFolder(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.drive(r); err != nil {
		return err
	}
	return a.askName(w, r, newFolderForm(r.URL.Query().Get("in"), ""))
}

func (a *app) createFolder(w http.ResponseWriter, r *http.Request) error {
	f, err := a.drive(r)
	if err == nil {
		err = readForm(w, r)
	}
	if err != nil {
		return err
	}
	in, name := r.PostForm.Get("in"), strings.TrimSpace(r.PostForm.Get("name"))
	it, err := f.CreateFolder(r.Context(), graph.Ref{ID: in}, name, graph.Fail)
	if err != nil {
		return a.askAgain(w, r, newFolderForm(in, name), err)
	}
	return a.after(w, r, pageOf(in), notice{Done: "created", Name: it.Name})
}

func renameForm(it graph.DriveItem, name string) nameForm {
	return nameForm{
		Heading: "Rename", Text: "“" + it.Name + "” gets another name.",
		Action: "/files/" + url.PathEscape(it.ID) + "/rename", Submit: "Rename", Back: folderURL(it.Parent), Name: name,
	}
}

func (a *app) renamePage(w http.ResponseWriter, r *http.Request) error {
	_, it, err := a.itemOf(r)
	if err != nil {
		return err
	}
	return a.askName(w, r, renameForm(it, it.Name))
}

func (a *app) rename(w http.ResponseWriter, r *http.Request) error {
	f, it, err := a.itemOf(r)
	if err == nil {
		err = readForm(w, r)
	}
	if err != nil {
		return err
	}
	name := strings.TrimSpace(r.PostForm.Get("name"))
	renamed, err := f.Rename(r.Context(), graph.Ref{ID: it.ID}, name, graph.Fail)
	if err != nil {
		return a.askAgain(w, r, renameForm(it, name), err)
	}
	return a.after(w, r, folderURL(it.Parent), notice{Done: "renamed", Name: renamed.Name})
}

// deletePage asks whether to delete an item. Who has the permission for changes does
// not see it: in the list, Delete is then a button.
func (a *app) deletePage(w http.ResponseWriter, r *http.Request) error {
	_, it, err := a.itemOf(r)
	if err != nil {
		return err
	}
	return a.render(w, r, http.StatusOK, "delete", "Delete", struct {
		Item graph.DriveItem
		Back string
	}{it, folderURL(it.Parent)})
}

// deleteItem moves an item to the recycle bin. The next page can bring it back, or
// says where it is.
func (a *app) deleteItem(w http.ResponseWriter, r *http.Request) error {
	f, it, err := a.itemOf(r)
	if err != nil {
		return err
	}
	if err := f.Delete(r.Context(), graph.Ref{ID: it.ID}); err != nil {
		return err
	}
	n := notice{Done: "deleted", Name: it.Name}
	if s, ok := msauth.FromContext(r.Context()); ok && s.User.Personal() {
		n.ID = it.ID // can be restored
	}
	return a.after(w, r, folderURL(it.Parent), n)
}

// restore brings an item back from the recycle bin. Drives of work accounts do not
// let apps do that; people can do it themselves on OneDrive's own pages.
func (a *app) restore(w http.ResponseWriter, r *http.Request) error {
	f, err := a.drive(r)
	if err == nil {
		err = readForm(w, r)
	}
	if err != nil {
		return err
	}
	id, name := r.PostForm.Get("id"), strings.TrimSpace(r.PostForm.Get("name")) // no name: its own
	it, err := f.Restore(r.Context(), id, nil, name)
	if refusal, ok := errors.AsType[*graph.Error](err); ok {
		switch refusal.Status {
		case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented:
			a.log.Info("the drive restores nothing", "error", err)
			return a.after(w, r, "/files", notice{Done: "in-bin"})
		}
	}
	if err != nil {
		return a.askAgain(w, r, nameForm{
			Heading: "Restore", Text: "The item comes back under another name.",
			Action: "/files/restore", Submit: "Restore", Back: "/files",
			Hidden: []field{{"id", id}}, Name: cmp.Or(name, r.PostForm.Get("was")),
		}, err)
	}
	return a.after(w, r, folderURL(it.Parent), notice{Done: "restored", Name: it.Name})
}
