package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"example.com/msauth/graph"
)

// uploads are the upload sessions that browsers have begun, so that this app can
// cancel one whose host the browser cannot reach. What another process has begun,
// or a former one, expires by itself.
type uploads struct {
	mu   sync.Mutex
	list map[string]begunUpload
}

type begunUpload struct {
	session graph.UploadSession
	account string
	begun   time.Time
}

const (
	maxUploads = 1000
	uploadLife = time.Hour // how long an upload can be cancelled here
)

func (u *uploads) add(account string, s graph.UploadSession) (id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.list == nil {
		u.list = map[string]begunUpload{}
	}
	for id, one := range u.list {
		if time.Since(one.begun) > uploadLife || len(u.list) >= maxUploads {
			delete(u.list, id)
		}
	}
	id = rand.Text()
	u.list[id] = begunUpload{s, account, time.Now()}
	return id
}

// take returns and forgets an upload of an account.
func (u *uploads) take(account, id string) (graph.UploadSession, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	one, ok := u.list[id]
	if !ok || one.account != account {
		return graph.UploadSession{}, false
	}
	delete(u.list, id)
	return one.session, true
}

// readJSON reads what a script has sent.
func readJSON(r *http.Request, v any) error {
	if err := json.NewDecoder(io.LimitReader(r.Body, 16<<10)).Decode(v); err != nil {
		return errors.Join(errBadForm, err)
	}
	return nil
}

// startUpload begins an upload session for the script of the upload page. The
// answer has the URL that the script sends the file to. It is a permission to
// write this one file, so it goes nowhere else.
func (a *app) startUpload(r *http.Request) (any, error) {
	f, err := a.drive(r)
	if err != nil {
		return nil, err
	}
	var ask struct {
		Account, In, Name, Conflict string
		Size                        int64
		Modified                    time.Time
	}
	if err := readJSON(r, &ask); err != nil {
		return nil, err
	}
	conflict, ok := conflicts[ask.Conflict]
	if !ok || ask.Size <= 0 {
		return nil, errBadForm
	}
	if ask.Account != accountOf(r) {
		return nil, errOtherAccount
	}
	if ask.Size > maxFile {
		return nil, errLargeFile
	}
	if err := graph.CheckName(ask.Name); err != nil {
		return nil, err
	}
	s, err := f.StartUpload(r.Context(), graph.Ref{ID: ask.In, Path: ask.Name}, ask.Size, graph.UploadOptions{
		Conflict: conflict, LastModified: ask.Modified,
	})
	if err != nil {
		return nil, err
	}
	return struct {
		ID    string `json:"id"`
		URL   string `json:"url"`
		Chunk int    `json:"chunk"` // bytes to send at once
	}{a.uploads.add(ask.Account, s), string(s.URL), 16 * graph.ChunkUnit}, nil
}

// cancelUpload ends an upload session that the script cannot end itself.
func (a *app) cancelUpload(r *http.Request) (any, error) {
	var ask struct{ ID string }
	if err := readJSON(r, &ask); err != nil {
		return nil, err
	}
	s, ok := a.uploads.take(accountOf(r), ask.ID)
	if !ok {
		return struct{}{}, nil
	}
	return struct{}{}, a.graph(r).CancelUpload(r.Context(), s)
}
