package graph

import (
	"context"
	"errors"
	"iter"
	"strings"

	"example.com/msauth/internal/web"
)

// Files are the files and folders of a drive. Use [Client.Files] to make one.
type Files struct {
	c     *Client
	drive string
}

// Files returns the files of a drive: "me/drive" for the person's own OneDrive,
// which an empty text means too, "drives/{id}", "groups/{id}/drive",
// "sites/{id}/drive" and others for the rest. Escape IDs with [Path]. What is in an
// app's own folder is below the item whose ID Get of "me/drive/special/approot" has.
func (c *Client) Files(drive string) *Files {
	if drive = strings.Trim(drive, "/"); drive == "" {
		drive = "me/drive"
	}
	return &Files{c, drive}
}

// A Ref refers to an item of a drive. The zero Ref is the root folder; ID is an
// item's ID; Path, such as "Documents/Report.txt", is relative to the item with
// the ID or, without one, to the root. Neither is escaped. The path "/" is like "".
type Ref struct{ ID, Path string }

// at returns the path of an item, and of something below it: "", "children".
func (f *Files) at(ref Ref, below string) (string, error) {
	switch {
	case f == nil || f.c == nil:
		return "", &InvalidError{Field: "files", Reason: "were not made by Client.Files"}
	case strings.ContainsAny(f.drive, "?#"): // what follows would not be part of the path
		return "", &InvalidError{Field: "drive", Value: web.OneLine(hideShare(f.drive), 200), Reason: "has a query"}
	}
	path := f.drive + "/root"
	if ref.ID != "" {
		if err := checkID(ref.ID); err != nil {
			return "", err
		}
		path = f.drive + "/items/" + escape(ref.ID)
	}
	if ref.Path != "" && ref.Path != "/" {
		names, err := splitPath(ref.Path)
		if err != nil {
			return "", err
		}
		path += ":/" + Path(names...)
		if below == "" {
			return path, nil
		}
		path += ":"
	}
	if below == "" {
		return path, nil
	}
	return path + "/" + below, nil
}

// checkID refuses what cannot be the ID of an item, such as the name of a special
// folder.
func checkID(id string) error {
	for _, r := range id {
		if (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune("!_-.", r) {
			return &InvalidError{Field: "id", Value: web.OneLine(id, 100), Reason: "contains a character that no ID has"}
		}
	}
	if len(id) > 400 || strings.Trim(id, ".") == "" {
		return &InvalidError{Field: "id", Value: web.OneLine(id, 100), Reason: "is not that of an item"}
	}
	return nil
}

// splitPath returns the names of a path. A slash at either end is allowed.
func splitPath(path string) ([]string, error) {
	path = strings.Trim(path, "/")
	if utf16Length(path) > maxItemPath {
		return nil, &InvalidError{Field: "path", Value: web.OneLine(path, 100), Reason: "is longer than 400 characters"}
	}
	names := strings.Split(path, "/")
	for _, name := range names {
		// Items that exist may have names that are refused today.
		if name == "" || name == "." || name == ".." || hasControl(name) || strings.ContainsAny(name, `"*:<>?\|`) {
			return nil, &InvalidError{Field: "path", Value: web.OneLine(path, 400), Reason: "has a name that is empty or that OneDrive does not allow"}
		}
	}
	return names, nil
}

// Drive returns the drive itself, with its quota.
func (f *Files) Drive(ctx context.Context, query ...Query) (Drive, error) {
	if _, err := f.at(Ref{}, ""); err != nil {
		return Drive{}, err
	}
	return Get[Drive](ctx, f.c, f.drive, query...)
}

// Stat returns an item.
func (f *Files) Stat(ctx context.Context, item Ref, query ...Query) (DriveItem, error) {
	path, err := f.at(item, "")
	if err != nil {
		return DriveItem{}, err
	}
	return Get[DriveItem](ctx, f.c, path, query...)
}

// List returns the items in a folder, page by page: see the function [List].
func (f *Files) List(ctx context.Context, folder Ref, query ...Query) iter.Seq2[DriveItem, error] {
	return f.list(ctx, folder, "children", query)
}

// ChildrenPath returns the path of the items in a folder, for pages that people
// turn:
//
//	page, err := graph.Get[graph.Page[graph.DriveItem]](ctx, c, path, query)
func (f *Files) ChildrenPath(folder Ref) (string, error) { return f.at(folder, "children") }

// Search returns the items in a folder and below it that match a text by name,
// metadata or content. The index may be some time behind.
func (f *Files) Search(ctx context.Context, folder Ref, text string, query ...Query) iter.Seq2[DriveItem, error] {
	if strings.TrimSpace(text) == "" || hasControl(text) || len(text) > 1000 {
		return failing[DriveItem](&InvalidError{Field: "search text", Value: web.OneLine(text, 100), Reason: "is empty, too long or contains a control character"})
	}
	// An apostrophe within quotes is written twice (OData URL Conventions section
	// 5.1.1.14.1). A slash parts words, as a space does, and paths cannot have it.
	text = strings.NewReplacer("'", "''", "/", " ", `\`, " ").Replace(text)
	return f.list(ctx, folder, "search(q='"+escape(text)+"')", query)
}

func (f *Files) list(ctx context.Context, folder Ref, below string, query []Query) iter.Seq2[DriveItem, error] {
	path, err := f.at(folder, below)
	if err != nil {
		return failing[DriveItem](err)
	}
	return List[DriveItem](ctx, f.c, path, query...)
}

// failing yields an error.
func failing[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		yield(zero, err)
	}
}

// A Conflict says what happens if there is an item of that name already. The zero
// Conflict is Fail.
type Conflict int

const (
	Fail    Conflict = iota // the call fails: errors.Is(err, fs.ErrExist)
	Rename                  // the new item gets another name, which the result has
	Replace                 // the new item takes the place of the old one
)

const conflictBehavior = "@microsoft.graph.conflictBehavior"

// String returns Graph's word for it.
func (b Conflict) String() string {
	switch b {
	case Rename:
		return "rename"
	case Replace:
		return "replace"
	}
	return "fail"
}

// CreateFolder makes a folder in another.
func (f *Files) CreateFolder(ctx context.Context, parent Ref, name string, conflict Conflict) (DriveItem, error) {
	if err := CheckName(name); err != nil {
		return DriveItem{}, err
	}
	path, err := f.at(parent, "children")
	if err != nil {
		return DriveItem{}, err
	}
	it, err := Post[DriveItem](ctx, f.c, path, map[string]any{
		"name": name, "folder": struct{}{}, conflictBehavior: conflict.String(),
	})
	if errors.Is(err, errEmpty) && conflict != Rename { // made, as users report, but not shown
		return f.Stat(ctx, Ref{parent.ID, strings.Trim(parent.Path, "/") + "/" + name})
	}
	return it, err
}

// Rename gives an item another name, in the same folder.
func (f *Files) Rename(ctx context.Context, item Ref, name string, conflict Conflict) (DriveItem, error) {
	return f.update(ctx, item, nil, name, conflict)
}

// Move moves an item to another folder of the same drive. If name is not empty,
// it gets that name there. Between drives there is no move: copy and delete.
func (f *Files) Move(ctx context.Context, item, folder Ref, name string, conflict Conflict) (DriveItem, error) {
	return f.update(ctx, item, &folder, name, conflict)
}

func (f *Files) update(ctx context.Context, item Ref, folder *Ref, name string, conflict Conflict) (DriveItem, error) {
	body := map[string]any{}
	if folder != nil {
		parent, err := f.reference(ctx, *folder)
		if err != nil {
			return DriveItem{}, err
		}
		body["parentReference"] = parent
	}
	if folder == nil || name != "" {
		if err := CheckName(name); err != nil {
			return DriveItem{}, err
		}
		body["name"] = name
	}
	if conflict != Fail { // what Graph does by itself
		body[conflictBehavior] = conflict.String()
	}
	path, err := f.at(item, "")
	if err != nil {
		return DriveItem{}, err
	}
	return Patch[DriveItem](ctx, f.c, path, body)
}

// reference returns a reference to a folder. Where it is not given by its ID, the
// ID is asked for: a path would depend on the kind of drive.
func (f *Files) reference(ctx context.Context, folder Ref) (*ItemReference, error) {
	if folder.ID != "" && folder.Path == "" {
		return &ItemReference{ID: folder.ID}, checkID(folder.ID)
	}
	it, err := f.Stat(ctx, folder, Query{Select: []string{"id", "parentReference"}})
	if err != nil {
		return nil, err
	}
	return &ItemReference{ID: it.ID}, nil
}

// Delete moves an item, and all that is in it, to the recycle bin. An item that is
// not there is an error: errors.Is(err, fs.ErrNotExist).
func (f *Files) Delete(ctx context.Context, item Ref) error {
	path, err := f.at(item, "")
	if err != nil {
		return err
	}
	return f.c.Delete(ctx, path)
}

// DeletePermanently deletes an item for good ("driveItem: permanentDelete").
func (f *Files) DeletePermanently(ctx context.Context, item Ref) error {
	path, err := f.at(item, "permanentDelete")
	if err == nil {
		_, err = Post[struct{}](ctx, f.c, path, nil)
	}
	return err
}

// Restore brings an item back from the recycle bin, to where it was or, if folder
// is not nil, to that folder; under another name if name is not empty. Microsoft
// offers this for personal accounts only ("driveItem: restore"); the people of
// others find the recycle bin on OneDrive's own pages.
func (f *Files) Restore(ctx context.Context, id string, folder *Ref, name string) (DriveItem, error) {
	body := map[string]any{}
	if folder != nil {
		parent, err := f.reference(ctx, *folder)
		if err != nil {
			return DriveItem{}, err
		}
		body["parentReference"] = parent
	}
	if name != "" {
		if err := CheckName(name); err != nil {
			return DriveItem{}, err
		}
		body["name"] = name
	}
	if id == "" {
		return DriveItem{}, &InvalidError{Field: "id", Reason: "is empty"}
	}
	path, err := f.at(Ref{ID: id}, "restore")
	if err != nil {
		return DriveItem{}, err
	}
	return Post[DriveItem](ctx, f.c, path, body)
}
