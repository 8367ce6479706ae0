package main

import (
	"io"
	"net/http"

	"example.com/msauth/graph"
)

const maxPicture = 8 << 20 // bytes of a thumbnail or a photo

// preview shows a picture, in the size in which OneDrive draws it for pages.
func (a *app) preview(w http.ResponseWriter, r *http.Request) error {
	_, it, err := a.itemOf(r)
	if err != nil {
		return err
	}
	if !isPicture(it) {
		return errNotFound
	}
	return a.render(w, r, http.StatusOK, "preview", it.Name, struct {
		Item graph.DriveItem
		Back string
	}{it, folderURL(it.Parent)})
}

// thumbnail serves a small picture of an item. It comes through this app, so that
// the policy of the pages need not name Microsoft's hosts for pictures, and their
// pre-authenticated URLs do not reach the browser.
func (a *app) thumbnail(w http.ResponseWriter, r *http.Request) error {
	f, err := a.drive(r)
	if err != nil {
		return err
	}
	picture, err := f.Thumbnail(r.Context(), graph.Ref{ID: r.PathValue("id")}, r.URL.Query().Get("size"))
	if err != nil {
		return err
	}
	defer picture.Close()
	if !sendPicture(w, picture) {
		return errNotFound
	}
	return nil
}

// sendPicture serves a picture, and nothing that is not one. It reports whether it
// has written anything.
func sendPicture(w http.ResponseWriter, s *graph.Stream) bool {
	switch s.ContentType {
	case "image/jpeg", "image/png", "image/gif", "image/webp":
	default:
		return false
	}
	w.Header().Set("Content-Type", s.ContentType)
	w.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'")
	if n, err := io.Copy(w, io.LimitReader(s, maxPicture+1)); err != nil || n > maxPicture {
		panic(http.ErrAbortHandler) // half a picture must not look whole
	}
	return true
}
