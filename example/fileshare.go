package main

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"

	"example.com/msauth/graph"
)

// errNoSharing means that the organization, or the drive, allows no links.
var errNoSharing = errors.New("sharing is not allowed")

// sharePage shows the links to an item, and a button that makes one.
func (a *app) sharePage(w http.ResponseWriter, r *http.Request) error {
	f, it, err := a.itemOf(r)
	if err != nil {
		return err
	}
	data := struct {
		Item   graph.DriveItem
		Back   string
		Links  []graph.Permission
		Notice *notice
	}{Item: it, Back: folderURL(it.Parent), Notice: a.noticeOf(w, r)}
	for p, err := range f.Permissions(r.Context(), graph.Ref{ID: it.ID}) {
		if err != nil {
			return err
		}
		if p.Link != nil && p.Link.WebURL != "" {
			data.Links = append(data.Links, p)
		}
	}
	return a.render(w, r, http.StatusOK, "share", "Share", data)
}

// share makes a link with which others can see an item. If there is one already,
// OneDrive returns that.
func (a *app) share(w http.ResponseWriter, r *http.Request) error {
	f, it, err := a.itemOf(r)
	if err != nil {
		return err
	}
	_, err = f.CreateLink(r.Context(), graph.Ref{ID: it.ID}, graph.LinkOptions{Type: "view"})
	if e, ok := errors.AsType[*graph.Error](err); errors.Is(err, fs.ErrPermission) || ok && e.Status == http.StatusBadRequest {
		err = errors.Join(errNoSharing, err)
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, "/files/"+url.PathEscape(it.ID)+"/share", http.StatusSeeOther)
	return nil
}

// unshare takes a link back.
func (a *app) unshare(w http.ResponseWriter, r *http.Request) error {
	f, err := a.drive(r)
	if err == nil {
		err = readForm(w, r)
	}
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	err = f.DeletePermission(r.Context(), graph.Ref{ID: id}, r.PostForm.Get("link"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return a.after(w, r, "/files/"+url.PathEscape(id)+"/share", notice{Done: "unshared"})
}
