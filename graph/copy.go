package graph

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"example.com/msauth/internal/web"
)

// ErrRunning means that an operation has not ended in the time that Wait waits.
var ErrRunning = errors.New("graph: the operation is still running")

// An Operation is something that a drive does after it has answered ("Working with
// long-running actions").
type Operation struct {
	// URL is where the operation is watched, without a token. Client.Operation
	// makes an Operation of it in another request, or another process.
	URL SecretURL

	c *Client
}

// Copy begins to copy an item, with all that is in it, to a folder of the same
// drive. If name is not empty, the copy gets that name.
func (f *Files) Copy(ctx context.Context, item, folder Ref, name string, conflict Conflict) (*Operation, error) {
	parent, err := f.Stat(ctx, folder, Query{Select: []string{"id", "parentReference"}})
	if err != nil {
		return nil, err
	}
	reference := ItemReference{ID: parent.ID}
	if parent.Parent != nil {
		reference.DriveID = parent.Parent.DriveID
	}
	body := map[string]any{"parentReference": reference}
	if name != "" {
		if err := CheckName(name); err != nil {
			return nil, err
		}
		body["name"] = name
	}
	path, err := f.at(item, "copy")
	if err != nil {
		return nil, err
	}
	if conflict != Fail { // what Graph does by itself
		path += "?" + conflictBehavior + "=" + conflict.String()
	}
	r, err := f.c.newRequest(http.MethodPost, path, body, nil)
	if err != nil {
		return nil, err
	}
	res, _, err := f.c.document(ctx, f.c.api, r)
	if err != nil {
		return nil, err
	}
	o, err := f.c.Operation(SecretURL(res.Header.Get("Location")))
	if err != nil {
		return nil, unreadable(r.op, res, fmt.Errorf("the copy has begun, and cannot be watched: %w", err))
	}
	return o, nil
}

// Operation returns the operation that is watched at a URL, which must be one that
// the app has kept, and not what somebody sends: it is asked for, if it is https.
func (c *Client) Operation(address SecretURL) (*Operation, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	if _, err := c.storageURL(string(address)); err != nil {
		return nil, err
	}
	return &Operation{address, c}, nil
}

// A Status is how far an operation is.
type Status struct {
	Done    bool
	Percent float64 // between 0 and 100
	ItemID  string  // of the copy, when it is done, if the drive says it
}

// Status asks how far the operation is. If it has failed, that is the error: an
// [Error] with the operation's code.
func (o *Operation) Status(ctx context.Context) (Status, error) {
	if err := o.c.ready(); err != nil {
		return Status{}, err
	}
	u, err := o.c.storageURL(string(o.URL))
	if err != nil {
		return Status{}, err
	}
	r := &request{op: "monitor", method: http.MethodGet, url: u, header: http.Header{}, repeat: ifFailed, found: true}
	watch := &http.Client{Transport: o.c.storage.Transport, CheckRedirect: web.FollowNothing}
	res, doc, err := o.c.document(ctx, watch, r)
	if err != nil {
		return Status{}, err
	}
	var answer struct {
		Percent    float64 `json:"percentageComplete"`
		Status     string  `json:"status"`
		ResourceID string  `json:"resourceId"`
		ErrorCode  string  `json:"errorCode"`
		Error      *errorDocument
	}
	moved := res.StatusCode == http.StatusSeeOther // to the item, which needs the token
	if err := decode(r.op, res, doc, &answer); err != nil && !moved {
		return Status{}, err
	}
	s := Status{Percent: min(max(answer.Percent, 0), 100), ItemID: answer.ResourceID}
	switch {
	case moved || strings.EqualFold(answer.Status, "completed"):
		s.Done, s.Percent = true, 100
		if s.ItemID == "" && moved {
			s.ItemID = itemIn(res.Header.Get("Location"))
		}
		return s, nil
	case strings.EqualFold(answer.Status, "failed"), strings.EqualFold(answer.Status, "deleteFailed"), answer.Error != nil:
		e := refusal(r.op, http.StatusInternalServerError, res.Header, nil)
		if answer.Error == nil {
			answer.Error = &errorDocument{Code: answer.ErrorCode}
		}
		e.read(answer.Error)
		e.hide(u)
		e.Status = statusOf(e)
		return Status{}, e
	case answer.Status == "":
		return Status{}, unreadable(r.op, res, errors.New("there is no status"))
	}
	return s, nil
}

// itemIn returns the ID at the end of the URL of an item, or "". Its query may be a
// secret.
func itemIn(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	parent, id := path.Split(u.Path)
	if path.Base(parent) != "items" || checkID(id) != nil {
		return ""
	}
	return id
}

// statusOf returns the HTTP status that Graph has for a code, for operations that
// fail after they were accepted.
func statusOf(e *Error) int {
	for code, status := range map[string]int{
		"nameAlreadyExists": http.StatusConflict, "itemNotFound": http.StatusNotFound,
		"accessDenied": http.StatusForbidden, "quotaLimitReached": http.StatusInsufficientStorage,
	} {
		if e.HasCode(code) {
			return status
		}
	}
	return http.StatusInternalServerError
}

const (
	firstLook  = 500 * time.Millisecond
	slowLook   = 5 * time.Second
	waitAtMost = 10 * time.Minute
)

// Wait waits until the operation has ended, and returns the ID of the new item, if
// the drive says it. progress, if not nil, is called with the percentage that is
// done. After ten minutes the error is [ErrRunning]; Wait can be called again.
func (o *Operation) Wait(ctx context.Context, progress func(percent float64)) (itemID string, err error) {
	began, pause := time.Now(), firstLook
	var waits waiting
	for {
		s, err := o.Status(ctx)
		if _, isAnswer := errors.AsType[*Error](err); err != nil {
			if isAnswer || isInvalid(err) || !waits.pause(ctx, 0) {
				return "", err
			}
			continue // a connection has failed
		}
		waits = waiting{}
		if progress != nil {
			progress(s.Percent)
		}
		if s.Done {
			return s.ItemID, nil
		}
		wait := pause + rand.N(pause/4) // #nosec G404 -- jitter
		if time.Since(began)+wait > waitAtMost {
			return "", ErrRunning
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return "", &callError{"monitor", context.Cause(ctx)}
		}
		pause = min(pause*3/2, slowLook)
	}
}
