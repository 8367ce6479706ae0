package msauthtest

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	uploadLife = 24 * time.Hour // of an upload session without requests
	uploadUnit = 320 << 10      // bytes; the size of each part but the last is a multiple
	maxUploads = 1000           // upload sessions, and copies, that are kept
)

// An upload is an upload session ("driveItem: createUploadSession").
type upload struct {
	owner    string // object id
	at       place
	behavior conflict
	size     int64 // of the file; -1 until the first part
	data     []byte
	deferred bool // the file is added on request
	expires  time.Time
}

// createUpload starts an upload session.
func (c *driveCall) createUpload(w http.ResponseWriter, r *http.Request, p place) {
	type description struct {
		Name     string   `json:"name"`
		FileSize *int64   `json:"fileSize"`
		Conflict conflict `json:"@microsoft.graph.conflictBehavior"`
	}
	ask := struct {
		Item  *description `json:"item"`
		Defer bool         `json:"deferCommit"`
	}{Item: &description{}}
	bad := readDocument(c.body, &ask)
	if ask.Item == nil {
		ask.Item = &description{}
	}
	if ask.Item.Conflict == "" {
		ask.Item.Conflict = "replace"
	}
	if bad == nil {
		bad = ask.Item.Conflict.check()
	}
	if bad == nil && ask.Item.Name != "" {
		bad = nameProblem(ask.Item.Name)
	}
	size := int64(-1)
	if ask.Item.FileSize != nil {
		size = *ask.Item.FileSize
	}
	for _, name := range p.missing {
		if bad == nil {
			bad = nameProblem(name)
		}
	}
	switch {
	case bad != nil:
	case size > maxDriveSize:
		bad = problemQuota
	case p.item != nil && p.item.folder, p.item == nil && !p.base.folder:
		bad = badRequest("An upload session is for files only.")
	case p.item != nil && ask.Item.Conflict == "fail":
		bad = problemExists
	default:
		bad = c.room(1+len(p.missing), max(size, 0))
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	if ask.Item.Name != "" && p.item == nil { // the property overrides the path
		p.missing = append(slices.Clone(p.missing[:len(p.missing)-1]), ask.Item.Name)
	}
	now := time.Now()
	for id, old := range c.uploads {
		if len(c.uploads) >= maxUploads || now.After(old.expires) {
			delete(c.uploads, id)
		}
	}
	id := randomText(43)
	up := &upload{
		owner: c.user.ObjectID, at: p, behavior: ask.Item.Conflict, size: size,
		deferred: ask.Defer, expires: now.Add(uploadLife),
	}
	c.uploads[id] = up
	doc := up.status()
	address := c.otherURL + "/upload/" + id
	doc["uploadUrl"] = address
	c.addSecrets(address)
	writeJSON(w, http.StatusOK, doc)
}

func (up *upload) status() map[string]any {
	next := []string{}
	if got := int64(len(up.data)); up.size < 0 || got < up.size {
		next = append(next, strconv.FormatInt(got, 10)+"-")
	}
	return map[string]any{
		"expirationDateTime": up.expires.UTC().Format("2006-01-02T15:04:05.000Z"),
		"nextExpectedRanges": next,
	}
}

var contentRange = regexp.MustCompile(`^bytes (\d{1,15})-(\d{1,15})/(\d{1,15})$`)

// upload serves the URL of an upload session. The URL is the permission:
// requests with an access token are refused, as "driveItem:
// createUploadSession" warns.
func (e *exchange) upload(w http.ResponseWriter, r *http.Request) {
	if !e.noToken(w, r) {
		return
	}
	var body []byte
	if r.Method == http.MethodPut {
		var bad *problem
		if body, bad = readBody(r, maxFragment); bad != nil {
			bad.write(w, r)
			return
		}
	}
	e.withFiles(w, func(w http.ResponseWriter) {
		id := strings.TrimPrefix(r.URL.Path, "/upload/")
		up, ok := e.uploads[id]
		if !ok || time.Now().After(up.expires) {
			problemMissing.write(w, r)
			return
		}
		c := &driveCall{exchange: e, drive: e.drives[up.owner], body: body}
		for _, u := range e.Users() {
			if u.ObjectID == up.owner {
				c.user = u
			}
		}
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			writeJSON(w, http.StatusOK, up.status())
		case http.MethodDelete:
			delete(e.uploads, id)
			w.WriteHeader(http.StatusNoContent)
		case http.MethodPut:
			c.part(w, r, id, up)
		case http.MethodPost:
			if up.size < 0 || int64(len(up.data)) < up.size {
				badRequest("The upload is not complete.").write(w, r)
				return
			}
			c.commit(w, r, id, up)
		default:
			w.Header().Set("Allow", "GET, HEAD, PUT, POST, DELETE")
			graphError(w, r, http.StatusMethodNotAllowed, "notSupported", "The method is not allowed here.")
		}
	})
}

// part stores one part of a file.
func (c *driveCall) part(w http.ResponseWriter, r *http.Request, id string, up *upload) {
	fields := contentRange.FindStringSubmatch(r.Header.Get("Content-Range"))
	if fields == nil {
		badRequest("The Content-Range header is missing or malformed.").write(w, r)
		return
	}
	var n [3]int64
	for i := range n {
		n[i], _ = strconv.ParseInt(fields[i+1], 10, 64) // at most 15 digits
	}
	first, last, size := n[0], n[1], n[2]
	got := int64(len(up.data))
	switch {
	case last < first || last >= size || last-first+1 != int64(len(c.body)):
		badRequest("The Content-Range header does not suit the body.").write(w, r)
		return
	case up.size >= 0 && up.size != size:
		badRequest("The size of the file has changed.").write(w, r)
		return
	case first != got:
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		graphError(w, r, http.StatusRequestedRangeNotSatisfiable, "invalidRange", "Optimistic concurrency failure during fragmented upload: expected "+strconv.FormatInt(got, 10)+"-.")
		return
	case last+1 < size && len(c.body)%uploadUnit != 0:
		badRequest("Every part but the last must be a multiple of 320 KiB (327,680 bytes).").write(w, r)
		return
	}
	if bad := c.room(1, int64(len(c.body))); bad != nil {
		bad.write(w, r)
		return
	}
	up.size = size
	up.data = append(up.data, c.body...)
	up.expires = time.Now().Add(uploadLife)
	if last+1 < size || up.deferred {
		writeJSON(w, http.StatusAccepted, up.status())
		return
	}
	c.commit(w, r, id, up)
}

// commit adds the file of a complete upload to the drive.
func (c *driveCall) commit(w http.ResponseWriter, r *http.Request, id string, up *upload) {
	delete(c.uploads, id)
	p := up.at
	if p.item == nil { // missing items may exist by now
		if !p.base.within(c.drive.root) {
			problemMissing.write(w, r)
			return
		}
		p.descend(p.missing)
	} else if !p.item.within(c.drive.root) {
		problemMissing.write(w, r)
		return
	}
	it, created, bad := c.store(p, up.behavior, up.data)
	if bad != nil {
		bad.write(w, r)
		return
	}
	c.stored(w, it, created)
}
