package graph

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// ErrChanged means that a file was changed while it was downloaded.
var ErrChanged = errors.New("graph: the file has changed during the download")

// DownloadOptions say which part of a file to download. The zero value is all of it.
type DownloadOptions struct {
	// Offset is the first byte, and Length the number of bytes; 0 means up to the
	// end. Less comes if the file is shorter.
	Offset, Length int64

	// CTag, if not empty, is the [DriveItem.CTag] that the file must still have: that
	// of an earlier download with which this one goes on. If it has another,
	// the error is [ErrChanged].
	CTag string

	// Progress is called with the number of bytes of the part that were read.
	Progress func(done, total int64)
}

// A Download is the content of a file. It must be closed, and must not be used by
// several goroutines at once.
type Download struct {
	Item   DriveItem // the file
	Size   int64     // of all its content, in bytes
	Offset int64     // of the part that is downloaded
	Length int64     // of that part

	f       *Files
	ctx     context.Context
	o       DownloadOptions
	url     *url.URL // of the storage host; nil if another is needed
	eTag    string   // of the storage host
	body    io.ReadCloser
	pos     int64 // within the part
	fresh   int   // URLs that were asked for without a byte in between
	waits   waiting
	endless bool    // the answer does not say how long it is
	sum     *hasher // nil if the part is not the whole, or there is no hash
	failed  error   // what every Read returns from now on
}

// mostFresh is how often a download asks for another URL without getting a byte.
const mostFresh = 3

// Download opens a file. A transfer that breaks off, or stands still for a minute,
// goes on where it was, at another URL if that one has expired; no call of Read
// waits for more than a minute in all without any progress. A file that was
// changed meanwhile is [ErrChanged].
//
// The last bytes are not returned before all were checked: of a whole file that has
// a hash, content that does not have it is [ErrCorrupt]; and a transfer that ends
// too early is never io.EOF. A picture or a document of Office may come in another
// size than the item has (OneDrive/onedrive-api-docs issues 1066 and 1723): the
// hash is not that of the content then, and is not checked. Of any other file that
// is an [Error].
//
// An Offset beyond the end is an [Error] with status 416, and what is not a file an
// [InvalidError]. The download ends with ctx.
func (f *Files) Download(ctx context.Context, item Ref, o DownloadOptions) (*Download, error) {
	if o.Offset < 0 || o.Length < 0 {
		return nil, &InvalidError{Field: "offset", Value: fmt.Sprint(o.Offset, "+", o.Length), Reason: "must not be negative"}
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	d := &Download{f: f, ctx: ctx, o: o, Offset: o.Offset, waits: waiting{patient: true}}
	if err := d.locate(item); err != nil {
		return nil, err
	}
	if d.Size = d.Item.Size; d.o.Offset == d.Size && d.Size > 0 { // what remains of a file that is complete
		return d, nil
	}
	if err := d.connect(); err != nil {
		return nil, err
	}
	return d, nil
}

// locate reads the item and its pre-authenticated URL.
func (d *Download) locate(item Ref) error {
	it, u, err := d.f.locate(d.ctx, item)
	switch {
	case err != nil:
		return err
	case it.File == nil:
		return &InvalidError{Field: "item", Value: it.Name, Reason: "is not a file"}
	case d.o.CTag != "" && it.CTag != d.o.CTag:
		return ErrChanged
	}
	d.Item, d.url, d.o.CTag = it, u, it.CTag
	return nil
}

// locate returns a file and the URL of its content at the storage host.
func (f *Files) locate(ctx context.Context, item Ref) (DriveItem, *url.URL, error) {
	path, err := f.at(item, "")
	if err != nil {
		return DriveItem{}, nil, err
	}
	type located struct {
		DriveItem
		URL   string `json:"@microsoft.graph.downloadUrl"`
		Other string `json:"@content.downloadUrl"`
	}
	it, err := Get[located](ctx, f.c, path)
	if err != nil || it.File == nil {
		return it.DriveItem, nil, err
	}
	address := cmp.Or(it.URL, it.Other)
	if address == "" { // as happens at times
		if path, err = f.at(Ref{ID: it.ID}, "content"); err != nil {
			return DriveItem{}, nil, err
		}
		r, err := f.c.newRequest(http.MethodGet, path, nil, nil)
		if err != nil {
			return DriveItem{}, nil, err
		}
		r.found = true
		res, _, err := f.c.document(ctx, f.c.api, r)
		if err != nil {
			return DriveItem{}, nil, err
		}
		address = res.Header.Get("Location")
	}
	u, err := f.c.storageURL(address)
	return it.DriveItem, u, err
}

// connect opens the content at the current position, however often that takes.
func (d *Download) connect() error {
	for {
		if d.url == nil {
			err := d.locate(Ref{ID: d.Item.ID})
			if isConnection(err) && d.waits.pause(d.ctx, 0) {
				continue
			}
			if err != nil {
				return err
			}
		}
		err := d.try()
		e, isAnswer := errors.AsType[*Error](err)
		switch {
		case err == nil:
			return nil
		case d.ctx.Err() != nil:
			return &callError{"download", context.Cause(d.ctx)}
		case errors.Is(err, ErrChanged):
			return err
		case isAnswer && expired(e) && d.fresh < mostFresh:
			d.url = nil
			if d.fresh++; d.fresh == 1 {
				continue
			}
		case isAnswer && (!passes(e.Status) || e.Status == http.StatusRequestedRangeNotSatisfiable):
			return err
		}
		if !d.waits.pause(d.ctx, retryAfter(e)) {
			return ended(d.ctx, "download", err)
		}
	}
}

// expired reports whether another URL may help.
func expired(e *Error) bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return !e.HasCode("malwareDetected")
	}
	return false
}

// try sends one request for the rest of the part.
func (d *Download) try() error {
	from := d.Offset + d.pos
	r := &request{op: "download", method: http.MethodGet, url: d.url, header: identity()}
	if to := d.end(); from > 0 || to >= 0 {
		text := ""
		if to >= 0 {
			text = strconv.FormatInt(to, 10)
		}
		r.header.Set("Range", fmt.Sprintf("bytes=%d-%s", from, text))
		if d.eTag != "" && d.eTag[0] == '"' {
			r.header.Set("If-Range", d.eTag)
		}
	}
	res, err := d.f.c.begin(d.ctx, d.f.c.storage, r)
	if err != nil {
		return err
	}
	if err := d.accept(res, from); err != nil {
		res.Body.Close()
		return err
	}
	d.body = res.Body
	return nil
}

// end returns the last byte to ask for, or -1 for the last one of the file.
func (d *Download) end() int64 {
	switch {
	case d.Length > 0:
		return d.Offset + d.Length - 1
	case d.o.Length > 0:
		return d.o.Offset + d.o.Length - 1
	}
	return -1
}

var contentRange = regexp.MustCompile(`^bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)$`)

// accept checks that an answer is what was asked for, and takes its measures from
// the first one.
func (d *Download) accept(res *http.Response, from int64) error {
	bad := func(reason string) error { return unreadable("download", res, errors.New(reason)) }
	eTag := res.Header.Get("ETag")
	if d.eTag != "" && eTag != "" && eTag != d.eTag {
		return ErrChanged
	}
	if res.Header.Get("Content-Encoding") != "" && res.Header.Get("Content-Encoding") != "identity" {
		return unreadable("download", res, errEncoded)
	}
	size, skip := d.Item.Size, int64(0)
	if d.Length > 0 {
		size = d.Size
	}
	switch res.StatusCode {
	case http.StatusOK:
		if res.ContentLength >= 0 {
			size = res.ContentLength
		}
		skip = from
	case http.StatusPartialContent:
		fields := contentRange.FindStringSubmatch(res.Header.Get("Content-Range"))
		if fields == nil {
			return bad("Content-Range is missing or malformed")
		}
		first, _ := strconv.ParseInt(fields[1], 10, 64)
		last, _ := strconv.ParseInt(fields[2], 10, 64)
		if fields[3] != "*" {
			size, _ = strconv.ParseInt(fields[3], 10, 64)
		}
		if want := d.end(); first != from || last < first || last >= size || want >= 0 && last > want ||
			res.ContentLength >= 0 && res.ContentLength != last-first+1 {
			return bad("Content-Range is not what was asked for")
		}
	default:
		return bad("the status is unexpected")
	}
	if d.Length > 0 && size != d.Size {
		return ErrChanged
	}
	if d.Length == 0 && size != d.Item.Size && !d.mayDiffer(res) {
		d.url = nil // has it changed?
		return bad("the size is not that of the item")
	}
	if from > size || from == size && size > 0 {
		return &Error{Op: "download", Status: http.StatusRequestedRangeNotSatisfiable, Code: "invalidRange"}
	}
	if d.eTag == "" {
		d.eTag = eTag
	}
	if skip > 0 { // the host does not know ranges
		if _, err := io.CopyN(io.Discard, res.Body, skip); err != nil {
			return bad("it ended too early")
		}
	}
	if d.pos == 0 {
		d.measure(size)
	}
	if d.endless = res.ContentLength < 0; d.endless && size == 0 {
		if n, _ := io.ReadFull(res.Body, make([]byte, 1)); n > 0 {
			return ErrChanged
		}
	}
	return nil
}

// mayDiffer reports whether the content may have another size than the item: of
// pictures another form is sent, and documents of Office change while they are
// edited (OneDrive/onedrive-api-docs issues 1066 and 1723). A page of HTML is neither.
func (d *Download) mayDiffer(res *http.Response) bool {
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return kind != "text/html" && (isOffice(d.Item.Name) || isPicture(d.Item))
}

func isPicture(it DriveItem) bool {
	switch strings.ToLower(path.Ext(it.Name)) {
	case ".heic", ".heif", ".hif", ".jpg", ".jpeg", ".png", ".dng", ".mov":
		return true
	}
	return it.Image != nil || strings.HasPrefix(it.File.MimeType, "image/")
}

// measure sets the sizes, once the storage host has told that of the content.
func (d *Download) measure(size int64) {
	d.Size, d.Length = size, size-d.Offset
	if d.o.Length > 0 {
		d.Length = min(d.Length, d.o.Length)
	}
	if d.Length == size && size == d.Item.Size {
		d.sum = d.Item.File.Hashes.hasher()
	}
}

// Read implements [io.Reader].
func (d *Download) Read(p []byte) (int, error) {
	for {
		switch {
		case d.failed != nil:
			return 0, d.failed
		case d.f == nil:
			return 0, &InvalidError{Field: "download", Reason: "was not made by Files.Download"}
		case d.pos == d.Length:
			d.failed = io.EOF
			continue
		case len(p) == 0:
			return 0, nil
		}
		if d.body == nil {
			if d.failed = d.connect(); d.failed != nil {
				continue
			}
		}
		n, err := d.body.Read(p[:min(int64(len(p)), d.Length-d.pos)])
		if n > 0 {
			d.waits, d.fresh = waiting{patient: true}, 0
			d.pos += int64(n)
			if d.sum != nil {
				d.sum.Write(p[:n])
			}
			if d.failed = d.finish(); d.failed != nil {
				continue
			}
			d.o.Progress(d.pos, d.Length)
			return n, nil
		}
		if err != nil { // cut off, or ended too early
			d.body.Close()
			if d.body = nil; d.eTag == "" {
				d.url = nil // the item's CTag tells whether it has changed
			}
			if !d.waits.pause(d.ctx, 0) {
				d.failed = d.broken(err)
			}
		}
	}
}

// finish checks the content before its last bytes are returned.
func (d *Download) finish() error {
	if d.pos < d.Length {
		return nil
	}
	if d.sum != nil && !d.sum.matches() {
		return ErrCorrupt
	}
	if d.endless && d.Offset+d.Length == d.Size {
		var more [1]byte
		if n, _ := io.ReadFull(d.body, more[:]); n > 0 {
			return ErrChanged
		}
	}
	return nil
}

func (d *Download) broken(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return ended(d.ctx, "download", &callError{"download", err})
}

// Close ends the download.
func (d *Download) Close() error {
	if d.failed == nil {
		d.failed = errClosed
	}
	if d.body == nil {
		return nil
	}
	body := d.body
	d.body = nil
	return body.Close()
}

var errClosed = errors.New("graph: download: read after Close")
