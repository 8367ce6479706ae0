package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"example.com/msauth"
)

const (
	graphPatience = 15 * time.Second
	graphMaxJSON  = 4 << 20 // bytes
	digestFiles   = 10
)

// A file is a line of a digest. A folder is one too: it has changed when
// something in it has.
type file struct {
	Name     string    `json:"name"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Folder   bool      `json:"folder,omitempty"`
}

// graphError is a refusal by Graph. Its text is for the log.
type graphError struct {
	Status     int
	Code       string
	RequestID  string
	RetryAfter time.Duration
}

func (e *graphError) Error() string {
	return fmt.Sprintf("graph: HTTP status %d: %.100q (request %.50q)", e.Status, e.Code, e.RequestID)
}

// recent lists what has changed last in the top folder of a person's OneDrive,
// the newest first. Not all drives can sort by time, so that is done here, of the
// first 200 items.
func recent(graph string) func(context.Context, *msauth.Session) ([]file, error) {
	return func(ctx context.Context, s *msauth.Session) ([]file, error) {
		ctx, cancel := context.WithTimeout(ctx, graphPatience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, graph+"/me/drive/root/children?$select=name,size,lastModifiedDateTime,folder&$top=200", nil)
		if err != nil {
			return nil, err
		}
		res, err := s.Client(ctx).Do(req)
		if err != nil {
			if e, ok := errors.AsType[*url.Error](err); ok {
				err = e.Err // without the URL
			}
			return nil, err
		}
		defer res.Body.Close()
		body := io.LimitReader(res.Body, graphMaxJSON)
		if res.StatusCode != http.StatusOK {
			var doc struct{ Error struct{ Code string } }
			_ = json.NewDecoder(body).Decode(&doc) // it may well be no JSON
			seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
			return nil, &graphError{
				Status: res.StatusCode, Code: doc.Error.Code, RequestID: res.Header.Get("Request-Id"),
				RetryAfter: time.Duration(min(max(seconds, 0), 3600)) * time.Second,
			}
		}
		var page struct {
			Value []struct {
				Name     string
				Size     int64
				Modified time.Time `json:"lastModifiedDateTime"`
				Folder   *struct{}
			}
		}
		if err := json.NewDecoder(body).Decode(&page); err != nil {
			return nil, fmt.Errorf("graph: cannot read the answer: %w", err)
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
