package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"example.com/msauth"
	"example.com/msauth/graph"
)

const (
	digestFiles = 10               // of a digest
	digestTime  = 15 * time.Second // for the files of one digest, with a new token
)

// A file is a line of a digest. Folders are listed too: they change when something
// in them does.
type file struct {
	Name     string    `json:"name"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Folder   bool      `json:"folder,omitempty"`
}

// recent returns a function that lists the items of the top folder of a user's
// OneDrive that changed last, newest first. It sorts the first 200 items itself,
// because not all drives can sort by time.
func recent(base string) func(context.Context, *msauth.Session) ([]file, error) {
	return func(ctx context.Context, s *msauth.Session) ([]file, error) {
		ctx, cancel := context.WithTimeout(ctx, digestTime)
		defer cancel()
		page, err := graph.Get[graph.Page[graph.DriveItem]](ctx, graph.New(s.Client(ctx), base), "me/drive/root/children",
			graph.Query{Select: []string{"name", "size", "lastModifiedDateTime", "folder"}, Top: 200})
		if err != nil {
			return nil, err
		}
		files := make([]file, len(page.Value))
		for i, it := range page.Value {
			files[i] = file{Name: it.Name, Size: it.Size, Modified: it.LastModified.UTC(), Folder: it.Folder != nil}
		}
		slices.SortFunc(files, func(a, b file) int {
			return cmp.Or(b.Modified.Compare(a.Modified), cmp.Compare(a.Name, b.Name))
		})
		return files[:min(digestFiles, len(files))], nil
	}
}
