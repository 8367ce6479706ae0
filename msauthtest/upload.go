package msauthtest

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// upload serves the URL of an upload session. The URL is the permission:
// requests with an access token are refused, as "driveItem:
// createUploadSession" warns.
func (e *exchange) upload(w http.ResponseWriter, r *http.Request) {
	if !e.noToken(w, r) {
		return
	}
	id := strings.TrimPrefix(r.URL.Path, "/upload/")
	if r.Method == http.MethodPut {
		e.receive(w, r, id)
		return
	}
	e.withFiles(w, func(w http.ResponseWriter) {
		up, c := e.uploadCall(id)
		if up == nil {
			problemNoSession.write(w, r)
			return
		}
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			writeJSON(w, http.StatusOK, up.status())
		case http.MethodDelete:
			delete(e.uploads, id)
			w.WriteHeader(http.StatusNoContent)
		case http.MethodPost: // of work accounts; personal ones need adopt
			switch {
			case c.user.personal():
				notSupported(http.StatusMethodNotAllowed, "Personal accounts complete an upload with PUT and @microsoft.graph.sourceUrl.").write(w, r)
			case !up.complete():
				badRequest("The upload is not complete.").within("uploadSessionIncomplete").write(w, r)
			default:
				c.commit(w, r, id, up.at, up.behavior)
			}
		default:
			w.Header().Set("Allow", "GET, HEAD, PUT, POST, DELETE")
			graphError(w, r, http.StatusMethodNotAllowed, "notSupported", "The method is not allowed here.")
		}
	})
}

// uploadCall returns an upload session and a call to its drive, or nil if there
// is no such session any longer. e.files is held.
func (e *exchange) uploadCall(id string) (*upload, *driveCall) {
	up, ok := e.uploads[id]
	if !ok || time.Now().After(up.expires) {
		return nil, nil
	}
	c := &driveCall{exchange: e, drive: e.drives[up.owner]}
	for _, u := range e.Users() {
		if u.ObjectID == up.owner {
			c.user = u
		}
	}
	return up, c
}

var contentRange = regexp.MustCompile(`^bytes (\d{1,15})-(\d{1,15})/(\d{1,15})$`)

// A part is a part of a file that is on its way to an upload session. Its bytes
// count when all of them are here.
type part struct {
	first, last, size int64 // of Content-Range
	sum               *sums // of the file up to the end of the part
	file              *tempFile
	offset            int64 // in file
	small             []byte
}

func (p *part) length() int64 { return p.last - p.first + 1 }

// parsePart parses the headers of a part.
func parsePart(r *http.Request) (*part, *problem) {
	fields := contentRange.FindStringSubmatch(r.Header.Get("Content-Range"))
	if fields == nil {
		return nil, badRequest("The Content-Range header is missing or malformed.")
	}
	var n [3]int64
	for i := range n {
		n[i], _ = strconv.ParseInt(fields[i+1], 10, 64) // at most 15 digits
	}
	p := &part{first: n[0], last: n[1], size: n[2]}
	switch {
	case p.last < p.first || p.last >= p.size || r.ContentLength >= 0 && r.ContentLength != p.length():
		return nil, badRequest("The Content-Range header does not suit the body.")
	case p.length() > maxFragment:
		return nil, problemTooLarge
	case p.last+1 < p.size && p.length()%uploadUnit != 0:
		return nil, badRequest("Every part but the last must be a multiple of 320 KiB (327,680 bytes).")
	}
	return p, nil
}

// expect checks that a part is the next one, and reserves the room for it.
func (c *driveCall) expect(p *part, up *upload) *problem {
	switch {
	case up.size >= 0 && up.size != p.size:
		return badRequest("The size of the file is another than before.").within("fragmentLengthMismatch")
	case p.first != up.got:
		return problemRange(p.first, up.got)
	}
	if bad := c.room(1, p.length()); bad != nil {
		return bad
	}
	p.sum = up.sum.clone()
	if p.size <= memoryLimit {
		return nil
	}
	if up.file == nil {
		f, err := c.temporary.create()
		if err != nil {
			return problemStorage
		}
		up.file = f
	}
	p.file, p.offset = up.file, up.end
	up.end += p.length()
	return nil
}

// problemRange is the answer to a part that is not the next one.
func problemRange(first, got int64) *problem {
	p := problem{http.StatusRequestedRangeNotSatisfiable, "invalidRange", "Uploaded fragment overlaps with existing data.", "fragmentOverlap"}
	if first > got {
		p.message, p.inner = "The uploaded fragment is out of order.", "fragmentOutOfOrder"
	}
	return &p
}

// problemTwice is the answer to a part that arrived while another request
// stored the same one.
var problemTwice = &problem{http.StatusRequestedRangeNotSatisfiable, "invalidRange", "Optimistic concurrency failure during fragmented upload", ""}

// problemNoSession is the answer if a session has expired, or has ended.
var problemNoSession = &problem{http.StatusNotFound, "itemNotFound", "The upload session was not found", ""}

// read reads the bytes of a part.
func (p *part) read(from io.Reader) *problem {
	from = &wholeBody{from, p.length()}
	if p.file != nil {
		return readProblem(copyTo(io.NewOffsetWriter(p.file, p.offset), p.sum, from))
	}
	var b bytes.Buffer
	_, err := io.Copy(io.MultiWriter(&b, p.sum), from)
	p.small = b.Bytes()
	return readProblem(err)
}

// receive serves PUT of a part. The lock is not held while it is read. A part
// that is cut is as if it had not come.
func (e *exchange) receive(w http.ResponseWriter, r *http.Request, id string) {
	p, bad := parsePart(r)
	if bad == nil {
		bad = e.begin(id, p)
	}
	if bad != nil {
		bad.write(w, r)
		return
	}
	bad = p.read(r.Body)
	e.withFiles(w, func(w http.ResponseWriter) {
		up, c := e.uploadCall(id)
		switch {
		case up == nil:
			problemNoSession.write(w, r)
			return
		case bad != nil && up.file != nil && up.end == p.offset+p.length():
			up.end = p.offset
		case bad == nil && up.got != p.first:
			bad = problemTwice
		}
		if bad != nil {
			bad.write(w, r)
			return
		}
		up.append(p)
		up.expires = c.uploadExpiry()
		if !up.complete() || up.deferred {
			writeJSON(w, http.StatusAccepted, up.status())
			return
		}
		c.commit(w, r, id, up.at, up.behavior)
	})
}

// begin finds the session of a part and reserves its room.
func (e *exchange) begin(id string, p *part) *problem {
	e.files.Lock()
	defer e.files.Unlock()
	up, c := e.uploadCall(id)
	if up == nil {
		return problemNoSession
	}
	return c.expect(p, up)
}

// append adds a part that is here.
func (up *upload) append(p *part) {
	up.size, up.fixed = p.size, true
	up.got += p.length()
	up.sum = p.sum
	if p.file == nil {
		up.small = p.small
		return
	}
	if n := len(up.places); n > 0 && up.places[n-1].offset+up.places[n-1].size == p.offset {
		up.places[n-1].size += p.length()
		return
	}
	up.places = append(up.places, extent{p.offset, p.length()})
}
