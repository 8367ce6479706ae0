package graph

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	// ChunkUnit divides the size of each chunk but the last, in bytes.
	ChunkUnit = 320 << 10

	defaultChunk = 16 * ChunkUnit // 5 MiB
	maxChunk     = 60 << 20
	maxFile      = 250 << 30
	// smallFile is how many bytes are sent in one request. Graph allows more, but cuts
	// requests that take ten seconds (OneDrive/onedrive-api-docs issue 1230).
	smallFile = 1 << 20

	// chunkTime bounds the transfer of one chunk.
	chunkTime = 5 * time.Minute
	// mostStarts is how often an upload begins, if its sessions get lost.
	mostStarts = 3
	// clockSkew is how far Microsoft's clocks may be apart from each other.
	clockSkew = 1 * time.Minute
)

var (
	// ErrUploadExpired means that an upload session has ended before the file was
	// complete, and the content cannot be read from its beginning again, or that
	// this has happened to three sessions.
	ErrUploadExpired = errors.New("graph: the upload session has expired")
	// ErrUploadUnknown means that the answer to the last bytes of an upload was
	// lost, and the drive does not tell whether the file was stored.
	ErrUploadUnknown = errors.New("graph: it is not known whether the file was stored")
)

// UploadOptions are how a file is uploaded. The zero value is a good choice.
type UploadOptions struct {
	// Conflict says what happens if the file exists. The default is Fail.
	Conflict Conflict

	// ChunkSize is how many bytes are sent at once, and held in memory: a
	// multiple of [ChunkUnit], at most 60 MiB. The default is 5 MiB. Larger ones
	// are faster over long distances.
	ChunkSize int

	// Progress is called with the number of bytes that have arrived, after each
	// chunk.
	Progress func(done, total int64)

	// Session is called with each upload session that begins, for an app that
	// wants to go on after a restart: see [Client.ResumeUpload]. With it, a
	// session is kept if Upload fails where trying later may help; without it,
	// it is cancelled. An error ends the upload.
	Session func(UploadSession) error

	// Created and LastModified are the times of the file on the person's own
	// computer, if known.
	Created, LastModified time.Time
}

// Upload stores a file of a size in bytes, which content must have exactly. It
// reads content as it sends it, in chunks, and never holds more than one. Small
// files are sent in one request.
//
// at is a path whose last name is that of the file, from the root or from the
// folder with at.ID; folders that are missing are made. Without a path, at.ID is
// a file that gets new content, and Conflict should be Replace.
//
// A chunk that was lost or refused for a while is sent again, from the byte that
// the drive asks for, and one call waits a minute at most without any progress.
// If a session is lost, the upload begins again where content is an [io.Seeker],
// and fails with [ErrUploadExpired] where not. If the file exists and Conflict is
// Fail, errors.Is(err, fs.ErrExist). An item that is shorter than the content, or
// whose hash is not that of the content, is [ErrCorrupt]; it is not deleted.
//
// When ctx is done, Upload returns its error without another request, and the drive
// forgets what has arrived when the session expires. Until then it may refuse the
// name to others, of work accounts for about 15 minutes: to avoid that, let reading
// content fail in place of ctx, or keep the Session and call [Client.CancelUpload].
func (f *Files) Upload(ctx context.Context, at Ref, content io.Reader, size int64, o UploadOptions) (DriveItem, error) {
	if size == 0 || size > 0 && size <= smallFile && o.Conflict == Replace && o.Created.IsZero() && o.LastModified.IsZero() {
		return f.put(ctx, at, content, size, o)
	}
	u, err := newUpload(ctx, f, at, content, size, o)
	if err != nil {
		return DriveItem{}, err
	}
	if err := u.start(ctx); err != nil {
		return DriveItem{}, err
	}
	return u.run(ctx, 0)
}

// ResumeUpload goes on with an upload that an earlier call, or an earlier process,
// has begun. content is the same as then, from its beginning. If the session has
// ended because the file is complete, its item is returned; if it has expired,
// the upload begins again. Another file of the same size would make a mixture of
// both, which is [ErrCorrupt] where the drive tells its hash.
func (c *Client) ResumeUpload(ctx context.Context, s UploadSession, content io.ReadSeeker, o UploadOptions) (DriveItem, error) {
	o.Conflict = s.conflict
	u, err := newUpload(ctx, c.Files(s.drive), s.at, content, s.Size, o)
	if err != nil {
		return DriveItem{}, err
	}
	u.session, u.starts, u.lastSent = s, 1, true
	next, err := c.UploadStatus(ctx, s)
	e, ok := errors.AsType[*Error](err)
	switch {
	case err == nil:
		return u.run(ctx, next)
	case ok && gone(e):
		return u.lost(ctx, err)
	}
	return DriveItem{}, err
}

// put stores a file with one request.
func (f *Files) put(ctx context.Context, at Ref, content io.Reader, size int64, o UploadOptions) (DriveItem, error) {
	var zero DriveItem
	if err := f.checkTarget(at); err != nil {
		return zero, err
	}
	src := newSource(ctx, content, size)
	body, err := src.chunk(0, int(size))
	if err != nil {
		return zero, ended(ctx, "upload", err)
	}
	target, err := f.at(at, "content")
	if err != nil {
		return zero, err
	}
	r, err := f.c.newRequest(http.MethodPut, target+"?"+conflictBehavior+"="+o.Conflict.String(), nil, nil)
	if err != nil {
		return zero, err
	}
	r.body, r.sized, r.time = body, true, chunkTime
	r.header.Set("Content-Type", "application/octet-stream")
	if o.Conflict != Replace { // twice might be two files
		r.repeat = ifRefused
	}
	var waits waiting
	res, doc, err := f.c.documentWithin(ctx, f.c.api, r, &waits)
	for o.Conflict == Replace && isConnection(err) && waits.pause(ctx, 0) { // twice is once
		res, doc, err = f.c.documentWithin(ctx, f.c.api, r, &waits)
	}
	if err != nil {
		return zero, ended(ctx, r.op, err)
	}
	var it DriveItem
	if err := decode(r.op, res, doc, &it); err != nil {
		return zero, err
	}
	if o.Progress != nil {
		o.Progress(size, size)
	}
	return src.check(it)
}

// isConnection reports whether err is that of a connection that has failed, and not
// of an attempt that took too long, or of a client that has no token.
func isConnection(err error) bool {
	_, isNet := errors.AsType[net.Error](err)
	_, isAnswer := errors.AsType[*Error](err)
	return !isAnswer && !errors.Is(err, context.DeadlineExceeded) && (isNet || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF))
}

// An upload is one call of Upload or ResumeUpload.
type upload struct {
	f        *Files
	at       Ref
	o        UploadOptions
	src      *source
	session  UploadSession
	starts   int
	lastSent bool // the last bytes may have been sent, so that the file may be there
}

func newUpload(ctx context.Context, f *Files, at Ref, content io.Reader, size int64, o UploadOptions) (*upload, error) {
	if o.ChunkSize == 0 {
		o.ChunkSize = defaultChunk
	}
	if o.ChunkSize < 0 || o.ChunkSize > maxChunk || o.ChunkSize%ChunkUnit != 0 {
		return nil, &InvalidError{Field: "chunk size", Value: strconv.Itoa(o.ChunkSize), Reason: "must be a multiple of 327680 bytes, at most 60 MiB"}
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	return &upload{f: f, at: at, o: o, src: newSource(ctx, content, size)}, nil
}

// start begins an upload session.
func (u *upload) start(ctx context.Context) error {
	s, err := u.f.StartUpload(ctx, u.at, u.src.size, u.o)
	if err != nil {
		return err
	}
	u.session, u.lastSent = s, false
	u.starts++
	if u.o.Session != nil {
		if err := u.o.Session(s); err != nil {
			u.cancel(ctx)
			return err
		}
	}
	return nil
}

// cancel ends the session, if one request does it: it expires anyway.
func (u *upload) cancel(ctx context.Context) {
	if r, err := u.f.c.sessionRequest(http.MethodDelete, u.session); err == nil && ctx.Err() == nil {
		_, _, _ = u.f.c.attempt(ctx, u.f.c.storage, r)
	}
}

// run sends the bytes from offset on, until the file is stored.
func (u *upload) run(ctx context.Context, offset int64) (DriveItem, error) {
	waits := waiting{patient: true}
	furthest := offset // bytes that get lost and arrive again are no progress
	for {
		var err error
		if offset < u.src.size {
			var it *DriveItem
			var next int64
			it, next, err = u.send(ctx, offset)
			switch {
			case err == nil && it != nil:
				return u.done(*it)
			case err == nil && next > offset && next < u.src.size:
				if offset = next; next > furthest {
					furthest, waits = next, waiting{patient: true}
				}
				u.o.Progress(offset, u.src.size)
				continue
			}
		}
		e, isAnswer := errors.AsType[*Error](err)
		switch {
		case ctx.Err() != nil:
			return DriveItem{}, &callError{"upload", context.Cause(ctx)}
		case isInvalid(err) || errors.Is(err, errContent):
			u.cancel(ctx)
			return DriveItem{}, err
		case isAnswer && gone(e):
			return u.lost(ctx, err)
		case isAnswer && !passes(e.Status):
			u.cancel(ctx)
			return DriveItem{}, err
		}
		if !waits.pause(ctx, retryAfter(e)) {
			return DriveItem{}, u.givenUp(ctx, err)
		}
		next, err := u.f.c.UploadStatus(ctx, u.session)
		e, isAnswer = errors.AsType[*Error](err)
		switch {
		case isAnswer && gone(e):
			return u.lost(ctx, err)
		case err != nil && isAnswer && !passes(e.Status):
			return DriveItem{}, u.givenUp(ctx, err)
		case err != nil: // this connection too has failed: once more
		case next == u.src.size: // all has arrived: the file is made, or about to be
			it, err := u.stored(ctx)
			if err != nil || it != nil {
				return u.outcome(it, err)
			}
			offset = next
		default:
			offset = next
		}
	}
}

func (u *upload) done(it DriveItem) (DriveItem, error) {
	u.o.Progress(u.src.size, u.src.size)
	return u.src.check(it)
}

// outcome is what stored has found, if it has found anything.
func (u *upload) outcome(it *DriveItem, err error) (DriveItem, error) {
	if err != nil {
		return DriveItem{}, err
	}
	return u.done(*it)
}

// passes reports whether a chunk that was answered so may be taken later.
func passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusRequestedRangeNotSatisfiable, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusInsufficientStorage:
		return false
	}
	return status >= 500 || status < 300 // an answer that could not be read
}

// givenUp is the end of an upload that may go on later.
func (u *upload) givenUp(ctx context.Context, err error) error {
	if u.o.Session == nil {
		u.cancel(ctx)
	}
	if err == nil {
		err = &callError{"upload", errors.New("the drive takes no more bytes")}
	}
	return ended(ctx, "upload", err)
}

// send sends the chunk at offset. It returns the item if the file is complete, and
// otherwise the next byte that the drive wants.
func (u *upload) send(ctx context.Context, offset int64) (*DriveItem, int64, error) {
	r, err := u.f.c.sessionRequest(http.MethodPut, u.session)
	if err != nil {
		return nil, 0, err
	}
	chunk, err := u.src.chunk(offset, u.o.ChunkSize)
	if err != nil {
		return nil, 0, err
	}
	end := offset + int64(len(chunk))
	u.lastSent = u.lastSent || end == u.src.size
	r.body, r.sized, r.time = chunk, true, chunkTime
	r.header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, end-1, u.src.size))
	r.header.Set("Content-Type", "application/octet-stream")
	res, doc, err := u.f.c.attempt(ctx, u.f.c.storage, r)
	if err != nil {
		return nil, 0, err
	}
	if res.StatusCode == http.StatusAccepted {
		next, err := nextRange(r.op, res, doc, u.src.size)
		if err == nil && next > end {
			err = unreadable(r.op, res, errors.New("nextExpectedRanges is beyond what was sent"))
		}
		return nil, next, err
	}
	var it DriveItem
	if err := decode(r.op, res, doc, &it); err != nil {
		return nil, 0, err
	}
	if end != u.src.size || it.ID == "" {
		return nil, 0, unreadable(r.op, res, errors.New("the drive says that the file is complete, and it is not"))
	}
	return &it, u.src.size, nil
}

// lost finds out what became of a session that is no more: the file is stored, or
// all begins again.
func (u *upload) lost(ctx context.Context, cause error) (DriveItem, error) {
	if u.lastSent {
		it, err := u.stored(ctx)
		if err != nil || it != nil {
			return u.outcome(it, err)
		}
	}
	if u.starts >= mostStarts || !u.src.canRewind() {
		return DriveItem{}, fmt.Errorf("%w: %w", ErrUploadExpired, cause)
	}
	u.cancel(ctx) // the drive may refuse a second session for the same file
	if err := u.start(ctx); err != nil {
		return DriveItem{}, err
	}
	return u.run(ctx, 0)
}

// stored looks for the file of a session whose last answer was lost. It returns nil
// if the file was not stored.
func (u *upload) stored(ctx context.Context) (*DriveItem, error) {
	unsure := false
	for attempt := range 3 {
		if attempt > 0 { // hashes may come later than files, and files than answers
			var w waiting
			if !w.pause(ctx, time.Second<<attempt) {
				break
			}
		}
		unsure = false
		for it, err := range u.candidates(ctx) {
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			isNew := it.Created.IsZero() || !it.Created.Before(u.session.began.Add(-clockSkew))
			if err != nil || u.o.Conflict == Rename && !isNew {
				continue
			}
			same, known := u.src.isContent(it)
			if same {
				return &it, nil
			}
			// What is larger may be this file: drives add to some (see check).
			unsure = unsure || !known || u.o.Conflict != Replace && isNew && it.File != nil && it.Size > u.src.size
		}
		if !unsure && u.o.Conflict == Replace { // to send it again does no harm
			return nil, nil
		}
	}
	if !unsure {
		return nil, ended(ctx, "upload", nil)
	}
	return nil, ended(ctx, "upload", ErrUploadUnknown)
}

// candidates are the items that may be the file of the upload.
func (u *upload) candidates(ctx context.Context) func(yield func(DriveItem, error) bool) {
	return func(yield func(DriveItem, error) bool) {
		it, err := u.f.Stat(ctx, u.at)
		if !yield(it, err) || u.o.Conflict != Rename || u.at.Path == "" {
			return
		}
		folder, name := path.Split(strings.Trim(u.at.Path, "/"))
		ext := path.Ext(name)
		for it, err := range u.f.List(ctx, Ref{u.at.ID, strings.Trim(folder, "/")}) {
			if err == nil && (!hasPrefixFold(it.Name, strings.TrimSuffix(name, ext)) || !strings.EqualFold(path.Ext(it.Name), ext) || strings.EqualFold(it.Name, name)) {
				continue
			}
			if !yield(it, err) {
				return
			}
		}
	}
}

// hasPrefixFold reports whether a name begins with prefix, as drives compare names.
func hasPrefixFold(name, prefix string) bool {
	return strings.HasPrefix(strings.ToLower(name), strings.ToLower(prefix))
}
