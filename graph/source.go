package graph

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strconv"
	"strings"
)

// errContent means that the content of an upload cannot be read.
var errContent = errors.New("graph: upload: cannot read the content")

// A source is the content of an upload. It holds one chunk, and hashes what it
// reads.
type source struct {
	r     io.Reader
	seek  io.Seeker // nil if r can be read once only
	first int64     // position of the content's first byte in seek
	size  int64

	buf   []byte
	start int64 // offset of buf in the content

	sum    hash.Hash
	hashed int64 // bytes from the beginning that sum has seen
}

func newSource(ctx context.Context, r io.Reader, size int64) *source {
	if r == nil {
		r = strings.NewReader("")
	}
	s := &source{r: steadyReader{ctx, r}, size: size, sum: NewQuickXorHash()}
	if seek, ok := r.(io.Seeker); ok {
		if at, err := seek.Seek(0, io.SeekCurrent); err == nil { // a pipe cannot
			s.seek, s.first = seek, at
		}
	}
	return s
}

// canRewind reports whether the content can be read from its beginning again.
func (s *source) canRewind() bool { return s.seek != nil || s.start == 0 }

// chunk returns the bytes from offset on: n, or fewer at the end of the content.
// They are valid until the next call. It is an error if the content is shorter or
// longer than it should be; this is found before its last bytes are returned.
func (s *source) chunk(offset int64, n int) ([]byte, error) {
	n = int(min(int64(n), s.size-offset))
	have := s.start + int64(len(s.buf))
	switch {
	case offset >= s.start && offset <= have:
		kept := copy(s.buf, s.buf[offset-s.start:])
		s.buf, s.start = s.buf[:kept], offset
	case s.seek != nil:
		if _, err := s.seek.Seek(s.first+offset, io.SeekStart); err != nil {
			return nil, fmt.Errorf("%w: %w", errContent, err)
		}
		s.buf, s.start = s.buf[:0], offset
	case offset < s.start:
		return nil, fmt.Errorf("%w: %w", errContent, ErrUploadExpired) // the drive has lost bytes that are gone here too
	default:
		return nil, &InvalidError{Field: "upload session", Reason: "has bytes that were not sent"}
	}
	if cap(s.buf) < n {
		s.buf = append(make([]byte, 0, n), s.buf...)
	}
	if got := len(s.buf); got < n {
		s.buf = s.buf[:n]
		read, err := io.ReadFull(s.r, s.buf[got:])
		s.buf = s.buf[:got+read]
		switch {
		case errors.Is(err, errContent):
			return nil, err
		case err != nil: // io.ReadFull's
			return nil, &InvalidError{Field: "size", Value: strconv.FormatInt(s.size, 10), Reason: "is more than the content has"}
		}
		s.add(s.start+int64(got), s.buf[got:])
	}
	if offset+int64(n) == s.size {
		if err := s.atEnd(); err != nil {
			return nil, err
		}
	}
	return s.buf[:n], nil
}

// add hashes bytes, if they follow those that were hashed.
func (s *source) add(offset int64, p []byte) {
	if skip := s.hashed - offset; skip >= 0 && skip < int64(len(p)) {
		s.sum.Write(p[skip:])
		s.hashed += int64(len(p)) - skip
	}
}

// atEnd checks that nothing follows.
func (s *source) atEnd() error {
	var more [1]byte
	switch n, err := io.ReadFull(s.r, more[:]); {
	case n > 0:
		return &InvalidError{Field: "size", Value: strconv.FormatInt(s.size, 10), Reason: "is less than the content has"}
	case errors.Is(err, errContent):
		return err
	}
	return nil
}

// A steadyReader marks the errors of a reader other than io.EOF, so that they are
// not taken for those of io.ReadFull. It ends with its context, and makes errors of
// what an io.Reader must not do.
type steadyReader struct {
	ctx context.Context
	r   io.Reader
}

func (s steadyReader) Read(p []byte) (int, error) {
	for range 100 {
		if s.ctx.Err() != nil {
			return 0, fmt.Errorf("%w: %w", errContent, context.Cause(s.ctx))
		}
		n, err := s.r.Read(p)
		if n < 0 || n > len(p) {
			return 0, fmt.Errorf("%w: Read returned %d for %d bytes", errContent, n, len(p))
		}
		if err != nil && err != io.EOF {
			err = fmt.Errorf("%w: %w", errContent, err)
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
	return 0, fmt.Errorf("%w: %w", errContent, io.ErrNoProgress)
}

// check compares the item that the drive has made with the content. Where it is
// larger, SharePoint has added properties to a document of Office, or OneDrive to a
// picture (OneDrive/onedrive-api-docs issue 935, microsoft-graph-docs-contrib issue
// 8903): that is no mistake. A document of Office is packed anew then, and may get
// smaller; of any other file, bytes are missing.
func (s *source) check(it DriveItem) (DriveItem, error) {
	switch {
	case it.Size < s.size && (it.Size == 0 || !isOffice(it.Name)):
		return DriveItem{}, ErrCorrupt
	case it.Size != s.size:
		return it, nil
	}
	if same, known := s.isContent(it); known && !same {
		return DriveItem{}, ErrCorrupt
	}
	return it, nil
}

// isContent reports whether an item has this content, and whether that can be
// known.
func (s *source) isContent(it DriveItem) (same, known bool) {
	if it.File == nil || it.Size != s.size {
		return false, true
	}
	h := it.File.Hashes.quickXor()
	if h != nil && s.hashed == s.size {
		h.Hash = s.sum
		return h.matches(), true
	}
	if h = it.File.Hashes.hasher(); h == nil || s.seek == nil {
		return false, false
	}
	if _, err := s.seek.Seek(s.first, io.SeekStart); err != nil {
		return false, false
	}
	s.buf, s.start = s.buf[:0], s.size+1 // what is read next must be sought
	if n, err := io.Copy(h, io.LimitReader(s.r, s.size)); err != nil || n != s.size {
		return false, false
	}
	return h.matches(), true
}

// isOffice reports whether SharePoint may write properties into a file.
func isOffice(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".docx", ".docm", ".dotx", ".dotm", ".xlsx", ".xlsm", ".xltx", ".xltm", ".xlsb", ".pptx", ".pptm", ".potx", ".potm", ".ppsx", ".ppsm", ".vsdx", ".doc", ".xls", ".ppt":
		return true
	}
	return false
}
