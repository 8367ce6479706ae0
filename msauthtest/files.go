package msauthtest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Limits of a drive, which is held in memory. Requests beyond them are refused,
// most of them with 507 quotaLimitReached.
const (
	maxItems     = 10_000
	maxDriveSize = 256 << 20 // bytes
	maxFragment  = 60 << 20  // bytes of one request, as documented for upload sessions
	maxDocument  = 64 << 10  // bytes of a JSON body
)

// A problem is an error answer of Graph.
type problem struct {
	status        int
	code, message string
}

func (p *problem) write(w http.ResponseWriter, r *http.Request) {
	graphError(w, r, p.status, p.code, p.message)
}

func badRequest(message string) *problem {
	return &problem{http.StatusBadRequest, "invalidRequest", message}
}

var (
	problemMissing  = &problem{http.StatusNotFound, "itemNotFound", "The resource could not be found."}
	problemExists   = &problem{http.StatusConflict, "nameAlreadyExists", "An item with the same name already exists under the parent."}
	problemQuota    = &problem{http.StatusInsufficientStorage, "quotaLimitReached", "The user has reached their quota limit."}
	problemChanged  = &problem{http.StatusPreconditionFailed, "resourceModified", "ETag does not match current item's value."}
	problemTooLarge = &problem{http.StatusRequestEntityTooLarge, "invalidRequest", "The request body is too large."}
)

// A driveCall is a request to a drive. e.files is held.
type driveCall struct {
	*exchange
	user  User
	drive *drive
	body  []byte
}

// drive serves /v1.0/me/drive, /v1.0/drives/{id} and everything below.
func (e *exchange) drive(w http.ResponseWriter, r *http.Request, full string) {
	need := readNeed
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		need = writeNeed
	}
	u, ok := e.bearer(w, r, need)
	if !ok {
		return
	}
	rest, mine := strings.CutPrefix(full, "me/drive")
	if !mine {
		id, below, _ := strings.Cut(strings.TrimPrefix(full, "drives/"), "/")
		if !strings.EqualFold(id, driveID(u)) {
			problemMissing.write(w, r)
			return
		}
		rest = below
	}
	limit := int64(maxDocument)
	if r.Method == http.MethodPut {
		limit = maxFragment
	}
	body, bad := readBody(r, limit)
	if bad != nil {
		bad.write(w, r)
		return
	}
	e.withFiles(w, func(w http.ResponseWriter) {
		c := &driveCall{exchange: e, user: u, drive: e.driveOf(u), body: body}
		if full == "me/drives" {
			if readOnly(w, r) {
				writeJSON(w, http.StatusOK, map[string]any{"value": []any{e.driveDoc(u, c.drive.root)}})
			}
			return
		}
		c.answer(w, r, strings.Trim(rest, "/"))
	})
}

// withFiles calls answer with e.files held. What answer writes is sent after
// the lock is released, so that a slow client blocks nobody.
func (e *exchange) withFiles(w http.ResponseWriter, answer func(w http.ResponseWriter)) {
	var rec recorder
	func() {
		e.files.Lock()
		defer e.files.Unlock()
		answer(&rec)
	}()
	rec.replay(w)
}

// replay writes the recorded answer to w.
func (r *recorder) replay(w http.ResponseWriter) {
	r.WriteHeader(http.StatusOK)
	for name, values := range r.sent {
		w.Header()[name] = values
	}
	w.WriteHeader(r.status)
	w.Write(r.body.Bytes())
}

// readBody reads a body, which clients of Graph may compress.
func readBody(r *http.Request, limit int64) ([]byte, *problem) {
	var from io.Reader = r.Body
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, badRequest("The body is not gzip.")
		}
		from = z
	default:
		return nil, &problem{http.StatusUnsupportedMediaType, "invalidRequest", "The content encoding is not supported."}
	}
	body, err := io.ReadAll(io.LimitReader(from, limit+1))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge) || int64(len(body)) > limit:
		return nil, problemTooLarge
	case err != nil:
		return nil, badRequest("The body cannot be read.")
	}
	return body, nil
}

// readDocument decodes a JSON body. An empty one leaves into unchanged.
func readDocument(body []byte, into any) *problem {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &problem{http.StatusBadRequest, "BadRequest", "Unable to read JSON request payload."}
	}
	return nil
}

// A place is what a path of a drive refers to.
type place struct {
	item    *item    // nil if there is none
	base    *item    // the deepest item on the path that exists
	missing []string // the names below base that do not exist
	action  string   // such as children or content
}

// locate finds an item by ID ("items/ID", "root"), by path
// ("root:/Documents/a.txt:"), or by both ("items/ID:/a.txt:"). It returns false
// if the item that the path starts at does not exist.
func locate(root *item, path string) (p place, ok bool) {
	head, names, byPath := path, "", false
	if before, after, found := strings.Cut(path, ":"); found {
		head, byPath = before, true
		names, p.action, _ = strings.Cut(after, ":")
		if !strings.HasPrefix(names, "/") {
			return p, false
		}
	}
	id, below, _ := strings.Cut(strings.TrimPrefix(head, "items/"), "/")
	switch {
	case head == path && !byPath:
		p.action = below
	case below != "":
		return p, false
	}
	switch {
	case id == "root":
		p.base = root
	case strings.HasPrefix(head, "items/"):
		p.base = root.find(id)
	}
	if p.base == nil {
		return p, false
	}
	p.action = strings.TrimPrefix(strings.Trim(p.action, "/"), "microsoft.graph.")
	p.descend(without(strings.Split(names, "/"), func(name string) bool { return name == "" }))
	return p, true
}

// descend follows names from p.base as far as they exist.
func (p *place) descend(names []string) {
	p.item, p.missing = p.base, nil
	for _, name := range names {
		if p.item != nil {
			if p.item = p.item.child(name); p.item != nil {
				p.base = p.item
				continue
			}
		}
		p.missing = append(p.missing, name)
	}
}

// methods are the allowed methods of an item, by action.
var methods = map[string]string{
	"": "GET, HEAD, PATCH, DELETE", "children": "GET, HEAD, POST", "content": "GET, HEAD, PUT",
	"createUploadSession": "POST", "copy": "POST",
}

// answer serves a request to a drive.
func (c *driveCall) answer(w http.ResponseWriter, r *http.Request, path string) {
	u, root := c.user, c.drive.root
	metadata := "users('" + url.PathEscape(u.ObjectID) + "')/drive"
	if path == "" {
		if readOnly(w, r) {
			c.graphJSON(w, r, "drives/$entity", c.driveDoc(u, root))
		}
		return
	}
	p, ok := locate(root, path)
	creates := (r.Method == http.MethodPut && p.action == "content") || p.action == "createUploadSession"
	if !ok || p.item == nil && !creates {
		problemMissing.write(w, r)
		return
	}
	allow, known := methods[p.action]
	switch {
	case !known:
		graphError(w, r, http.StatusBadRequest, "BadRequest", "Resource not found for the segment '"+p.action+"'.")
		return
	case !slices.Contains(strings.Split(allow, ", "), r.Method):
		w.Header().Set("Allow", allow)
		graphError(w, r, http.StatusMethodNotAllowed, "notSupported", "The method is not allowed here.")
		return
	}
	if want := r.Header.Get("If-Match"); want != "" && want != "*" && p.item != nil && r.Method != http.MethodGet && r.Method != http.MethodHead && want != p.item.eTag() {
		problemChanged.write(w, r)
		return
	}
	switch r.Method + " " + p.action {
	case "POST children":
		c.createFolder(w, r, p.item)
	case "POST createUploadSession":
		c.createUpload(w, r, p)
	case "POST copy":
		c.copy(w, r, p.item)
	case "PUT content":
		c.put(w, r, p)
	case "PATCH ":
		c.update(w, r, p.item)
	case "DELETE ":
		if p.item == root {
			(&problem{http.StatusForbidden, "accessDenied", "The root folder cannot be deleted."}).write(w, r)
			return
		}
		p.item.remove()
		w.WriteHeader(http.StatusNoContent)
	default: // GET and HEAD
		switch p.action {
		case "":
			c.graphJSON(w, r, metadata+"/root/$entity", c.itemDoc(u, p.item))
		case "children":
			c.children(w, r, p.item, metadata)
		case "content":
			if p.item.folder {
				badRequest("Cannot get the content of a folder.").write(w, r)
				return
			}
			w.Header().Set("Location", c.presigned(u, p.item))
			w.WriteHeader(http.StatusFound)
		}
	}
}
