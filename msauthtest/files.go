package msauthtest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// Limits of a drive. Requests beyond them are refused, most of them with 507
// quotaLimitReached.
const (
	maxItems     = 10_000
	maxDriveSize = 5 << 30   // bytes: the quota
	maxSimple    = 250 << 20 // bytes of an upload without a session, as documented
	maxFragment  = 60 << 20  // bytes of one request of an upload session, as documented
	maxDocument  = 64 << 10  // bytes of a JSON body
)

// A problem is an error answer of Graph.
type problem struct {
	status        int
	code, message string
	inner         string // the code of innerError, if there is one
}

func (p *problem) write(w http.ResponseWriter, r *http.Request) {
	writeError(w, r, *p)
}

func badRequest(message string) *problem {
	return &problem{http.StatusBadRequest, "invalidRequest", message, ""}
}

func forbidden(message string) *problem {
	return &problem{http.StatusForbidden, "accessDenied", message, ""}
}

func notSupported(status int, message string) *problem {
	return &problem{status, "notSupported", message, ""}
}

// within returns a copy of the problem with the code of innerError.
func (p problem) within(inner string) *problem {
	p.inner = inner
	return &p
}

var (
	problemMissing  = &problem{http.StatusNotFound, "itemNotFound", "The resource could not be found.", ""}
	problemExists   = &problem{http.StatusConflict, "nameAlreadyExists", "An item with the same name already exists under the parent.", ""}
	problemName     = badRequest("The name provided is not valid.").within("nameContainsInvalidCharacters")
	problemPath     = badRequest("The path is longer than 400 characters.").within("pathIsTooLong")
	problemQuota    = &problem{http.StatusInsufficientStorage, "quotaLimitReached", "Insufficient Space Available", ""}
	problemChanged  = &problem{http.StatusPreconditionFailed, "resourceModified", "ETag does not match current item's value.", ""}
	problemTooLarge = &problem{http.StatusRequestEntityTooLarge, "invalidRequest", "The request body is too large.", ""}
	problemCut      = badRequest("The body is not as long as its headers say.")
	problemStorage  = &problem{http.StatusInternalServerError, "generalException", "The temporary directory of the local Microsoft is not available.", ""}
)

// A driveCall is a request to a drive. e.files is held.
type driveCall struct {
	*exchange
	user    User
	drive   *drive
	body    []byte   // a document
	content *content // that of PUT content
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
	c := &driveCall{exchange: e, user: u}
	rest = strings.Trim(rest, "/")
	t, known := parseTarget(rest)
	var bad *problem
	if r.Method == http.MethodPut && t.action == "content" {
		c.content, bad = e.readContent(r)
	} else {
		c.body, bad = readBody(r, maxDocument)
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	e.withFiles(w, func(w http.ResponseWriter) {
		c.drive = e.driveOf(u)
		c.finishCopies()
		switch {
		case full == "me/drives":
			if readOnly(w, r) {
				writeJSON(w, http.StatusOK, map[string]any{"value": []any{e.driveDoc(u, c.drive)}})
			}
		case rest == "":
			if readOnly(w, r) {
				c.graphJSON(w, r, "drives/$entity", c.driveDoc(u, c.drive))
			}
		case !known:
			problemMissing.write(w, r)
		default:
			c.answer(w, r, t)
		}
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

// decoded returns a reader of a body, which clients of Graph may compress.
func decoded(r *http.Request) (io.Reader, *problem) {
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
		return &wholeBody{r.Body, r.ContentLength}, nil
	case "gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, badRequest("The body is not gzip.")
		}
		return z, nil
	}
	return nil, &problem{http.StatusUnsupportedMediaType, "invalidRequest", "The content encoding is not supported.", ""}
}

// A wholeBody reads a body and fails at its end if that is not where
// Content-Length says. net/http does so for requests from a network.
type wholeBody struct {
	io.Reader
	left int64 // negative if the length is not known
}

func (b *wholeBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.left >= 0 {
		b.left -= int64(n)
		if b.left < 0 || err == io.EOF && b.left > 0 {
			return n, io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// readProblem returns the problem with a body that cannot be read.
func readProblem(err error) *problem {
	var tooLarge *http.MaxBytesError
	var storage errStorage
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return problemTooLarge
	case errors.As(err, &storage):
		return problemStorage
	case errors.Is(err, io.ErrUnexpectedEOF):
		return problemCut
	}
	return badRequest("The body cannot be read.")
}

// readBody reads a body of at most limit bytes.
func readBody(r *http.Request, limit int64) ([]byte, *problem) {
	from, bad := decoded(r)
	if bad != nil {
		return nil, bad
	}
	body, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err == nil && int64(len(body)) > limit {
		return nil, problemTooLarge
	}
	return body, readProblem(err)
}

// readContent reads the content of a file. One that is cut is not stored.
func (e *exchange) readContent(r *http.Request) (*content, *problem) {
	from, bad := decoded(r)
	if bad != nil {
		return nil, bad
	}
	c, err := e.temporary.collect(io.LimitReader(from, maxSimple+1))
	if err == nil && c.size > maxSimple {
		return nil, problemTooLarge
	}
	return c, readProblem(err)
}

// readDocument decodes a JSON body. An empty one leaves into unchanged.
func readDocument(body []byte, into any) *problem {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &problem{http.StatusBadRequest, "BadRequest", "Unable to read JSON request payload.", ""}
	}
	return nil
}
