package main

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/msauth"
	"example.com/msauth/graph"
)

const (
	pageSize   = 50  // items of a folder
	maxDepth   = 20  // folders in a breadcrumb trail
	maxFound   = 100 // items that a search shows
	maxFolders = 500 // items that are looked at for the folders to move to
)

// itemFields are the properties of items that the pages show.
var itemFields = []string{"id", "name", "size", "lastModifiedDateTime", "folder", "file", "image", "root", "webUrl", "parentReference"}

// fileRoutes adds the pages below /files. Reading needs the permission Files.Read,
// which people grant when they sign in. Files.ReadWrite is asked for on the first
// page that leads to a change, before anything is typed there.
func (a *app) fileRoutes(mux *http.ServeMux) {
	read, write := a.auth.Require, a.auth.RequireScopes(writeScope)
	if a.set.Graph == "" {
		write = read // other providers do not know the scope
	}
	form := func(pattern string, show, do handler) {
		mux.Handle("GET "+pattern, write(a.page(show)))
		mux.Handle("POST "+pattern, a.sameOrigin(write(a.page(do))))
	}
	button := func(pattern string, do handler) {
		mux.Handle("POST "+pattern, a.sameOrigin(write(a.page(do))))
	}

	mux.Handle("GET /files", read(a.page(a.files)))
	mux.Handle("GET /files/{id}", read(a.page(a.files)))
	mux.Handle("GET /files/search", read(a.page(a.search)))
	mux.Handle("GET /files/recycle-bin", read(a.page(a.recycleBin)))
	mux.Handle("GET /files/{id}/content", read(a.transfer(a.download)))
	mux.Handle("GET /files/{id}/preview", read(a.page(a.preview)))
	mux.Handle("GET /files/{id}/thumbnail", read(a.page(a.thumbnail)))

	form("/files/new-folder", a.newFolder, a.createFolder)
	form("/files/{id}/rename", a.renamePage, a.rename)
	form("/files/{id}/move", a.movePage, a.move)
	form("/files/{id}/copy", a.copyPage, a.copyItem)
	form("/files/{id}/delete", a.deletePage, a.deleteItem)
	form("/files/{id}/share", a.sharePage, a.share)
	button("/files/{id}/unshare", a.unshare)
	button("/files/restore", a.restore)

	mux.Handle("GET /files/upload", write(a.page(a.uploadPage)))
	mux.Handle("POST /files/upload", a.sameOrigin(write(a.transfer(a.upload))))
	mux.Handle("POST /files/upload-session", a.sameOrigin(write(a.api(a.startUpload))))
	mux.Handle("POST /files/upload-session/cancel", a.sameOrigin(write(a.api(a.cancelUpload))))
}

// A listing is a page of items: those of a folder, or what a search has found.
type listing struct {
	Folder graph.DriveItem // the zero value at the root
	Trail  []graph.DriveItem
	Items  []graph.DriveItem
	Paged  bool   // not the first page
	Next   string // query of the next page; empty on the last one
	Quota  *graph.Quota
	Notice *notice
	Search string // what was searched for
	Cut    bool   // the search has found more

	CanWrite bool // the session has the permission for changes
}

// Rows returns the items as the list shows them.
func (l listing) Rows() (rows []row) {
	for _, it := range l.Items {
		rows = append(rows, row{DriveItem: it, ShowPlace: l.Search != "", CanWrite: l.CanWrite})
	}
	return rows
}

// A row is an item in a list of items.
type row struct {
	graph.DriveItem
	ShowPlace bool // say in which folder it is
	CanWrite  bool
}

const writeScope = "Files.ReadWrite"

// canWrite reports whether the session has the permission for changes.
func canWrite(r *http.Request) bool {
	s, ok := msauth.FromContext(r.Context())
	return ok && slices.Contains(s.Scopes(), writeScope)
}

// files shows a folder: the root of the drive, or the one with the ID of the path.
func (a *app) files(w http.ResponseWriter, r *http.Request) error {
	f, err := a.drive(r)
	if err != nil {
		return err
	}
	ctx, id, query := r.Context(), r.PathValue("id"), r.URL.Query().Get("next")
	data := listing{Paged: query != "", CanWrite: canWrite(r)}
	title := "Files"
	if id == "" {
		if data.Quota, err = quota(ctx, f); err != nil {
			return err
		}
	} else {
		if data.Folder, err = f.Stat(ctx, graph.Ref{ID: id}, graph.Query{Select: itemFields}); err != nil {
			return err
		}
		switch {
		case data.Folder.Root != nil:
			http.Redirect(w, r, "/files", http.StatusSeeOther)
			return nil
		case data.Folder.Folder == nil: // a file has no page of its own
			http.Redirect(w, r, "/files/"+url.PathEscape(id)+"/content", http.StatusSeeOther)
			return nil
		}
		if data.Trail, err = trail(ctx, f, data.Folder); err != nil {
			return err
		}
		title = data.Folder.Name
	}
	if data.Items, data.Next, err = a.children(r, f, id, query); err != nil {
		return err
	}
	data.Notice = a.noticeOf(w, r)
	return a.render(w, r, http.StatusOK, "files", title, data)
}

// trail returns the folders that contain an item, outermost first, without the
// root of the drive.
func trail(ctx context.Context, f *graph.Files, it graph.DriveItem) (folders []graph.DriveItem, err error) {
	for folderURL(it.Parent) != "/files" && len(folders) < maxDepth {
		if it, err = f.Stat(ctx, graph.Ref{ID: it.Parent.ID}, graph.Query{Select: itemFields}); err != nil {
			return nil, err
		}
		if it.Root != nil {
			break
		}
		folders = append([]graph.DriveItem{it}, folders...)
	}
	return folders, nil
}

// folderURL returns the page of the folder that an item is in.
func folderURL(parent *graph.ItemReference) string {
	if parent == nil || parent.ID == "" || strings.HasSuffix(parent.Path, "root:") {
		return "/files"
	}
	return "/files/" + url.PathEscape(parent.ID)
}

// pageOf returns the page of the folder with an ID, "" for the root.
func pageOf(folder string) string {
	if folder == "" {
		return "/files"
	}
	return "/files/" + url.PathEscape(folder)
}

// children returns one page of a folder's items. query is empty for the first
// page, and next of the page before for the others.
func (a *app) children(r *http.Request, f *graph.Files, id, query string) (items []graph.DriveItem, next string, err error) {
	path, err := f.ChildrenPath(graph.Ref{ID: id})
	if err != nil {
		return nil, "", err
	}
	first := graph.Query{Select: itemFields, OrderBy: []string{"name"}, Top: pageSize}
	if query != "" {
		if strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) {
			return nil, "", errNotFound
		}
		path, first = path+"?"+query, graph.Query{}
	}
	page, err := graph.Get[graph.Page[graph.DriveItem]](r.Context(), a.graph(r), path, first)
	if err != nil {
		return nil, "", err
	}
	// The next page is the same folder with another query. Only the query goes
	// through the browser, so nobody can make this app request another URL.
	if u, err := url.Parse(page.NextLink); err == nil {
		next = u.RawQuery
	}
	return page.Value, next, nil
}

// search shows the items of the drive that match a text.
func (a *app) search(w http.ResponseWriter, r *http.Request) error {
	f, err := a.drive(r)
	if err != nil {
		return err
	}
	data := listing{Search: strings.TrimSpace(r.URL.Query().Get("q")), CanWrite: canWrite(r)}
	if data.Search == "" {
		http.Redirect(w, r, "/files", http.StatusSeeOther)
		return nil
	}
	for it, err := range f.Search(r.Context(), graph.Ref{}, data.Search, graph.Query{Select: itemFields, Top: maxFound}) {
		if err != nil {
			return err
		}
		if data.Cut = len(data.Items) == maxFound; data.Cut {
			break
		}
		data.Items = append(data.Items, it)
	}
	return a.render(w, r, http.StatusOK, "files", "Search", data)
}

// recycleBin leads to the drive on OneDrive's own pages, where the recycle bin is.
func (a *app) recycleBin(w http.ResponseWriter, r *http.Request) error {
	f, err := a.drive(r)
	if err != nil {
		return err
	}
	drive, err := f.Drive(r.Context(), graph.Query{Select: []string{"webUrl"}})
	if err != nil {
		return err
	}
	if !strings.HasPrefix(drive.WebURL, "https://") {
		return errNotFound
	}
	http.Redirect(w, r, drive.WebURL, http.StatusSeeOther)
	return nil
}

// placeOf returns where an item is: "Documents / Reports".
func placeOf(it graph.DriveItem) string {
	if it.Parent == nil {
		return ""
	}
	_, below, _ := strings.Cut(it.Parent.Path, "root:")
	if text, err := url.PathUnescape(below); err == nil {
		below = text
	}
	return strings.Join(append([]string{"OneDrive"}, strings.FieldsFunc(below, func(r rune) bool { return r == '/' })...), " / ")
}

// isPicture reports whether OneDrive has thumbnails of an item, in all likelihood.
func isPicture(it graph.DriveItem) bool {
	return it.File != nil && (it.Image != nil || strings.HasPrefix(it.File.MimeType, "image/"))
}
