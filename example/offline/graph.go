package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"example.com/msauth"
	"example.com/msauth/example/internal/msgraph"
)

const digestFiles = 10 // of a digest

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
func recent(graph string) func(context.Context, *msauth.Session) ([]file, error) {
	return func(ctx context.Context, s *msauth.Session) ([]file, error) {
		var page struct {
			Value []struct {
				Name     string
				Size     int64
				Modified time.Time `json:"lastModifiedDateTime"`
				Folder   *struct{}
			}
		}
		ctx, cancel := context.WithTimeout(ctx, msgraph.Timeout) // also for renewing the token
		defer cancel()
		err := msgraph.Get(ctx, s.Client(ctx), graph+"/me/drive/root/children?$select=name,size,lastModifiedDateTime,folder&$top=200", &page)
		if err != nil {
			return nil, err
		}
		files := make([]file, len(page.Value))
		for i, it := range page.Value {
			files[i] = file{Name: it.Name, Size: it.Size, Modified: it.Modified.UTC(), Folder: it.Folder != nil}
		}
		slices.SortFunc(files, func(a, b file) int {
			return cmp.Or(b.Modified.Compare(a.Modified), cmp.Compare(a.Name, b.Name))
		})
		return files[:min(digestFiles, len(files))], nil
	}
}
