package main

import (
	"net/http"
	"net/url"
	"strings"

	"example.com/msauth/graph"
)

// A destination is the page on which people walk to the folder to move an item to.
type destination struct {
	Item    graph.DriveItem
	Folder  graph.DriveItem   // that would be moved to
	Trail   []graph.DriveItem // folders above it; without the root
	Folders []graph.DriveItem // in it
	IsRoot  bool
	Here    bool // the item is in this folder already
	Cut     bool // there are more folders than are shown
}

// movePage shows the folders in the one that the query names: at first the folder
// that the item is in.
func (a *app) movePage(w http.ResponseWriter, r *http.Request) error {
	f, it, err := a.itemOf(r)
	if err != nil {
		return err
	}
	ctx, data := r.Context(), destination{Item: it}
	ref := graph.Ref{ID: r.URL.Query().Get("to")}
	if !r.URL.Query().Has("to") && it.Parent != nil {
		ref.ID = it.Parent.ID
	}
	if data.Folder, err = f.Stat(ctx, ref, graph.Query{Select: itemFields}); err != nil {
		return err
	}
	if data.Folder.Folder == nil {
		return errNotFound
	}
	data.IsRoot = data.Folder.Root != nil
	data.Here = it.Parent != nil && it.Parent.ID == data.Folder.ID
	if !data.IsRoot {
		if data.Trail, err = trail(ctx, f, data.Folder); err != nil {
			return err
		}
	}
	looked := 0
	for child, err := range f.List(ctx, ref, graph.Query{Select: itemFields, OrderBy: []string{"name"}, Top: 200}) {
		if err != nil {
			return err
		}
		if looked++; looked > maxFolders {
			data.Cut = true
			break
		}
		if child.Folder != nil && child.ID != it.ID { // not into itself
			data.Folders = append(data.Folders, child)
		}
	}
	return a.render(w, r, http.StatusOK, "move", "Move", data)
}

func (a *app) move(w http.ResponseWriter, r *http.Request) error {
	f, it, err := a.itemOf(r)
	if err == nil {
		err = readForm(w, r)
	}
	if err != nil {
		return err
	}
	to, name := r.PostForm.Get("to"), strings.TrimSpace(r.PostForm.Get("name"))
	moved, err := f.Move(r.Context(), graph.Ref{ID: it.ID}, graph.Ref{ID: to}, name, graph.Fail)
	if err != nil {
		form := nameForm{
			Heading: "Move", Text: "“" + it.Name + "” gets another name in the new folder.",
			Action: "/files/" + url.PathEscape(it.ID) + "/move", Submit: "Move", Back: folderURL(it.Parent),
			Hidden: []field{{"to", to}}, Name: name,
		}
		if name == "" {
			form.Name = it.Name
		}
		return a.askAgain(w, r, form, err)
	}
	return a.after(w, r, pageOf(to), notice{Done: "moved", Name: moved.Name})
}
