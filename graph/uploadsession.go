package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An UploadSession is an upload that has begun ("driveItem: createUploadSession").
// To go on with it after a restart, keep what MarshalBinary returns, as a secret, and
// where nobody can change it: whoever reads it can write this file until the session
// expires, and whoever changes it decides where the content is sent. JSON does not
// keep it.
type UploadSession struct {
	// URL is where the file's bytes go, without a token. A page may send them
	// there from the browser, if the storage host allows that (CORS).
	URL SecretURL
	// Size is the size of the file, in bytes.
	Size int64
	// Expires is when the session ends, if nothing is sent before.
	Expires time.Time

	drive    string // as in Files
	at       Ref
	conflict Conflict
	began    time.Time
}

// A savedSession is an UploadSession as bytes.
type savedSession struct {
	Version  int
	URL      string
	Size     int64
	Expires  time.Time
	Drive    string
	ID, Path string `json:",omitempty"`
	Conflict Conflict
	Began    time.Time
}

const savedVersion = 1

// MarshalBinary returns the session, with its URL, for [Client.ResumeUpload] after
// a restart.
func (s UploadSession) MarshalBinary() ([]byte, error) {
	return json.Marshal(savedSession{savedVersion, string(s.URL), s.Size, s.Expires, s.drive, s.at.ID, s.at.Path, s.conflict, s.began})
}

// UnmarshalBinary reads what MarshalBinary has returned.
func (s *UploadSession) UnmarshalBinary(data []byte) error {
	var saved savedSession
	if err := json.Unmarshal(data, &saved); err != nil || saved.Version != savedVersion || saved.Size < 0 || saved.Conflict < Fail || saved.Conflict > Replace {
		return &InvalidError{Field: "upload session", Reason: "is not what MarshalBinary has returned"}
	}
	*s = UploadSession{SecretURL(saved.URL), saved.Size, saved.Expires, saved.Drive, Ref{saved.ID, saved.Path}, saved.Conflict, saved.Began}
	return nil
}

// StartUpload begins an upload session for a file of a size in bytes, which must not be 0.
// Most programs call Upload instead; this is for a browser that sends the bytes
// itself, and for [Client.ResumeUpload].
func (f *Files) StartUpload(ctx context.Context, at Ref, size int64, o UploadOptions) (UploadSession, error) {
	var zero UploadSession
	if err := f.checkTarget(at); err != nil {
		return zero, err
	}
	if size <= 0 || size > maxFile {
		return zero, &InvalidError{Field: "size", Value: strconv.FormatInt(size, 10), Reason: "must be between 1 byte and 250 GB"}
	}
	path, err := f.at(at, "createUploadSession")
	if err != nil {
		return zero, err
	}
	item := map[string]any{conflictBehavior: o.Conflict.String()}
	if info := (FileSystemInfo{o.Created, o.LastModified}); info != (FileSystemInfo{}) {
		item["fileSystemInfo"] = info
	}
	r, err := f.c.newRequest(http.MethodPost, path, map[string]any{"item": item}, nil)
	if err != nil {
		return zero, err
	}
	r.repeat = ifFailed // a session that nobody knows of expires
	var waits waiting
	res, doc, err := f.c.documentWithin(ctx, f.c.api, r, &waits)
	if waits.times > 0 && errors.Is(err, fs.ErrExist) && o.Conflict == Fail {
		if _, missing := f.Stat(ctx, at); errors.Is(missing, fs.ErrNotExist) { // a session whose answer was lost holds the name
			return zero, &callError{r.op, errNameHeld}
		}
	}
	if err != nil {
		return zero, err
	}
	var answer struct {
		UploadURL string    `json:"uploadUrl"`
		Expires   time.Time `json:"expirationDateTime"`
	}
	if err := decode(r.op, res, doc, &answer); err != nil {
		return zero, err
	}
	if _, err := f.c.storageURL(answer.UploadURL); err != nil {
		return zero, err
	}
	began, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		began = time.Now()
	}
	return UploadSession{SecretURL(answer.UploadURL), size, answer.Expires, f.drive, at, o.Conflict, began}, nil
}

var errNameHeld = errors.New("an upload session whose answer was lost holds the name, for some minutes")

// checkTarget checks where a file is to be: a path whose last name is allowed, or
// the ID of a file that gets new content.
func (f *Files) checkTarget(at Ref) error {
	if at.Path == "" {
		if at.ID == "" {
			return &InvalidError{Field: "path", Reason: "is empty: a file needs a name"}
		}
		return checkID(at.ID)
	}
	names, err := splitPath(at.Path)
	if err != nil {
		return err
	}
	return CheckName(names[len(names)-1])
}

// UploadStatus asks how many bytes of an upload have arrived. A session that has
// ended, because its file is complete or it expired, is an error:
// errors.Is(err, fs.ErrNotExist).
func (c *Client) UploadStatus(ctx context.Context, s UploadSession) (int64, error) {
	r, err := c.sessionRequest(http.MethodGet, s)
	if err != nil {
		return 0, err
	}
	res, doc, err := c.document(ctx, c.storage, r)
	if e, ok := errors.AsType[*Error](err); ok && gone(e) && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w (%w)", err, fs.ErrNotExist)
	}
	if err != nil {
		return 0, err
	}
	return nextRange(r.op, res, doc, s.Size)
}

// CancelUpload ends an upload session and forgets the bytes that have arrived. One
// that has ended is no error.
func (c *Client) CancelUpload(ctx context.Context, s UploadSession) error {
	r, err := c.sessionRequest(http.MethodDelete, s)
	if err != nil {
		return err
	}
	_, _, err = c.document(ctx, c.storage, r)
	if e, ok := errors.AsType[*Error](err); ok && gone(e) {
		return nil
	}
	return err
}

func (c *Client) sessionRequest(method string, s UploadSession) (*request, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	u, err := c.storageURL(string(s.URL))
	if err != nil {
		return nil, err
	}
	return &request{op: "upload", method: method, url: u, header: http.Header{}, repeat: ifFailed}, nil
}

// gone reports whether an upload session has ended. Drives say so in several ways
// (OneDrive/onedrive-api-docs issues 698, 1073 and 1570); where it is a refusal in
// truth, the next session will tell.
func gone(e *Error) bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return true
	}
	return e.HasCode("uploadSessionNotFound") || e.HasCode("uploadSessionFailed")
}

// nextRange returns the first byte that the answer of a session asks for. Without
// ranges all have arrived.
func nextRange(op string, res *http.Response, doc []byte, size int64) (int64, error) {
	var answer struct {
		Next []string `json:"nextExpectedRanges"`
	}
	if len(bytes.TrimSpace(doc)) == 0 {
		return 0, unreadable(op, res, errEmpty)
	}
	if err := json.Unmarshal(doc, &answer); err != nil {
		return 0, unreadable(op, res, err)
	}
	first := size
	for _, text := range answer.Next {
		from, _, _ := strings.Cut(text, "-")
		n, err := strconv.ParseInt(from, 10, 64)
		if err != nil || n < 0 || n > size {
			return 0, unreadable(op, res, fmt.Errorf("nextExpectedRanges has %.50q", text))
		}
		first = min(first, n)
	}
	return first, nil
}
