package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/msauth/graph"
)

// patience is how long a browser may take to send or receive a part of a file.
const patience = 2 * time.Minute

// download streams a file, or a part of it. Its content is not trusted: the
// browser is told to save it and, if it displays it anyway, to run no scripts.
func (a *app) download(w http.ResponseWriter, r *http.Request) error {
	f, err := a.drive(r)
	if err != nil {
		return err
	}
	ref := graph.Ref{ID: r.PathValue("id")}
	part, err := a.partOf(w, r, f, ref)
	if err != nil {
		return err
	}
	d, err := a.openDownload(r.Context(), f, ref, part)
	if err != nil {
		return err
	}
	defer d.Close()

	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	if _, _, err := mime.ParseMediaType(d.Item.File.MimeType); err == nil {
		h.Set("Content-Type", d.Item.File.MimeType)
	}
	h.Set("Content-Disposition", attachment(d.Item.Name))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(d.Length, 10))
	if tag := entityTag(d.Item); tag != "" {
		h.Set("ETag", tag)
	}
	status := http.StatusOK
	if part.Length > 0 {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", d.Offset, d.Offset+d.Length-1, d.Size))
	}
	out := patientWriter{w, http.NewResponseController(w)}
	out.extend()
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(out, d); err != nil {
		a.log.Info("a download was cut off", "error", err)
		panic(http.ErrAbortHandler) // cuts the connection, so that the client notices that the file is incomplete
	}
	return nil
}

// openDownload opens a file, and gives up if that takes too long. The content can
// be read until ctx is done.
func (a *app) openDownload(ctx context.Context, f *graph.Files, ref graph.Ref, part graph.DownloadOptions) (*graph.Download, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(a.set.AnswerTime, func() { cancel(context.DeadlineExceeded) })
	defer timer.Stop()
	return f.Download(ctx, ref, part)
}

// partOf returns the part of a file that a request asks for: all of it, unless it
// has a single range that suits the file. Where the range begins behind the file's
// end, the error has status 416, and the size is in the header.
func (a *app) partOf(w http.ResponseWriter, r *http.Request, f *graph.Files, ref graph.Ref) (graph.DownloadOptions, error) {
	var all graph.DownloadOptions
	if r.Header.Get("Range") == "" {
		return all, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.set.AnswerTime)
	defer cancel()
	it, err := f.Stat(ctx, ref)
	if err != nil {
		return all, err
	}
	if want := r.Header.Get("If-Range"); want != "" && want != entityTag(it) { // of another version
		return all, nil
	}
	offset, length, ok := parseRange(r.Header.Get("Range"), it.Size)
	switch {
	case !ok:
		return all, nil
	case length == 0:
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", it.Size))
		return all, &graph.Error{Op: "download", Status: http.StatusRequestedRangeNotSatisfiable, Code: "invalidRange"}
	}
	return graph.DownloadOptions{Offset: offset, Length: length, CTag: it.CTag}, nil
}

// parseRange reads a Range header with one range (RFC 9110 section 14.1.2). A
// length of 0 means that the file, of a size in bytes, has no such part. Several
// ranges, other units and errors are not ok: a server may ignore the header.
func parseRange(text string, size int64) (offset, length int64, ok bool) {
	text, ok = strings.CutPrefix(text, "bytes=")
	first, last, dash := strings.Cut(strings.TrimSpace(text), "-")
	if !ok || !dash || size == 0 {
		return 0, 0, false
	}
	from, errFrom := strconv.ParseUint(first, 10, 62)
	to, errTo := strconv.ParseUint(last, 10, 62)
	switch {
	case first == "" && errTo == nil: // the last bytes
		length = min(int64(to), size)
		return size - length, length, true
	case errFrom != nil || last != "" && errTo != nil || last != "" && to < from:
		return 0, 0, false
	case int64(from) >= size:
		return 0, 0, true
	case last == "" || int64(to) >= size:
		return int64(from), size - int64(from), true
	}
	return int64(from), int64(to-from) + 1, true
}

// entityTag returns the ETag of a file's content, or "" if it is not known.
func entityTag(it graph.DriveItem) string {
	if it.CTag == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(it.ID + "\x00" + it.CTag))
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// A patientWriter allows each part of a response some time, in place of the
// server's WriteTimeout for all of it.
type patientWriter struct {
	io.Writer
	control *http.ResponseController
}

func (p patientWriter) extend() { _ = p.control.SetWriteDeadline(time.Now().Add(patience)) }

func (p patientWriter) Write(b []byte) (int, error) {
	p.extend()
	return p.Writer.Write(b)
}

// attachment returns a Content-Disposition header for a file name (RFC 6266
// section 5): the name in UTF-8, and an ASCII version for old programs.
func attachment(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"%\`, r) {
			return '_'
		}
		return r
	}, name)
	encoded := strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	return fmt.Sprintf(`attachment; filename="%s"; filename*=UTF-8''%s`, plain, encoded)
}
